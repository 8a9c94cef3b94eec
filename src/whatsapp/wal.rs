//! Whether the write-ahead log beside a database still has all that was committed to it. SQLite itself cannot tell: it takes a log that
//! is lost, cut off or damaged for one that ends earlier, and keys that were used would be used again.
//!
//! ```text
//! signal.db       header: "in use" from the opening of a link until its end
//! signal.db-wal   header, then frames; each carries the log's salts and a checksum over all frames before it
//! signal.db-shm   shared memory of the log's users: how many frames are committed. It outlives a process, not always the machine
//! ```
//! A database that is not in use was closed with everything in it. One that is in use lay through a crash: its log has to hold as many
//! frames as the shared memory says. Without that word nothing is known, and keys that cannot be trusted are given up: sessions are
//! made anew with the next message. Only where SQLite itself had begun to write it anew since the machine started, a process died while
//! it opened the database: it had looked at the log before, and the end of a process takes nothing away from files.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OpenFlags};

/// The application id of a database that a link has open.
const IN_USE: i32 = i32::from_be_bytes(*b"vers");
/// Where SQLite's header has it.
const ID_AT: usize = 68;

/// Notes that a link uses the database from now on. Its own connection is open already, so the note lies in the log and, as SQLite brings
/// the log over, in the file.
pub(super) fn begin_use(path: &Path) -> rusqlite::Result<()> {
    let database = connect(path)?;
    database.pragma_update(None, "application_id", IN_USE)?;
    // Others may read meanwhile: then the note comes over with the next checkpoint.
    database.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// Notes that the link has ended and nothing more is written.
pub(super) fn end_use(path: &Path) -> rusqlite::Result<()> {
    connect(path)?.pragma_update(None, "application_id", 0)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    database.busy_timeout(Duration::from_secs(5))?;
    Ok(database)
}

/// True when the log does not hold all that was committed, or nobody can tell. Asked before the database is opened: SQLite drops what
/// does not fit then.
pub(super) fn is_lost(path: &Path) -> io::Result<bool> {
    if !is_in_use(path)? {
        return Ok(false);
    }
    let memory = beside(path, "-shm");
    let bytes = read(&memory)?;
    let Some(index) = Index::read(&bytes) else {
        return Ok(!(is_begun_anew(&bytes) && has_changed_since(&memory, machine_start())));
    };
    Ok(index.frames > 0 && committed(&read(&beside(path, "-wal"))?, index.salts) < index.frames)
}

/// SQLite cuts shared memory that nobody uses to three bytes before it reads the log, and fills in the head when it has.
fn is_begun_anew(memory: &[u8]) -> bool {
    memory.len() >= 3 && memory.iter().take(2 * Index::LENGTH).skip(3).all(|byte| *byte == 0)
}

fn has_changed_since(path: &Path, start: Option<SystemTime>) -> bool {
    let changed = fs::metadata(path).and_then(|file| file.modified());
    start.zip(changed.ok()).is_some_and(|(start, changed)| changed >= start)
}

/// When the machine started, where that is known.
fn machine_start() -> Option<SystemTime> {
    let told = fs::read_to_string("/proc/stat").ok()?;
    let seconds = told.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn is_in_use(path: &Path) -> io::Result<bool> {
    let mut header = [0; ID_AT + 4];
    let mut file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    Ok(file.read_exact(&mut header).is_ok() && header[ID_AT..] == IN_USE.to_be_bytes())
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// The head of the shared memory.
struct Index {
    /// Committed frames of the log.
    frames: u32,
    /// Of the log that they are in.
    salts: [u8; 8],
}

impl Index {
    const LENGTH: usize = 48;

    /// `None` when it is missing, not in use, or was caught while it was written. It stands there twice, in the order of this machine.
    fn read(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..Self::LENGTH)?;
        if bytes.get(Self::LENGTH..2 * Self::LENGTH)? != head || head[12] != 1 {
            return None;
        }
        let word = |at: usize| head.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let sums = checksum(&head[..40], cfg!(target_endian = "big"), (0, 0));
        if sums != (word(40)?, word(44)?) {
            return None;
        }
        Some(Self { frames: word(16)?, salts: head[32..40].try_into().ok()? })
    }
}

/// Frames of a log up to its last commit, as far as the checksums hold; none when it is another log than the one of these salts.
fn committed(log: &[u8], salts: [u8; 8]) -> u32 {
    const HEADER: usize = 32;
    const FRAME_HEADER: usize = 24;
    let word =
        |bytes: &[u8], at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes);
    let sums = |bytes: &[u8], at: usize| (word(bytes, at), word(bytes, at + 4));
    let Some(header) = log.get(..HEADER) else { return 0 };
    let (magic, page) = (word(header, 0), word(header, 8) as usize);
    let big = magic & 1 == 1;
    let mut sum = checksum(&header[..24], big, (0, 0));
    let whole = magic & !1 == 0x377f_0682 && page.is_power_of_two() && (512..=65_536).contains(&page);
    if !whole || header[16..24] != salts || sum != sums(header, 24) {
        return 0;
    }
    let mut last = 0;
    for (number, frame) in (1..).zip(log[HEADER..].chunks_exact(FRAME_HEADER + page)) {
        let (head, content) = frame.split_at(FRAME_HEADER);
        sum = checksum(content, big, checksum(&head[..8], big, sum));
        if head[8..16] != salts || sum != sums(head, 16) {
            break;
        }
        // The size of the database stands in frames that commit.
        if word(head, 4) > 0 {
            last = number;
        }
    }
    last
}

/// SQLite's checksum: two sums that run over pairs of words.
fn checksum(bytes: &[u8], big: bool, start: (u32, u32)) -> (u32, u32) {
    let word = |bytes: &[u8]| {
        let bytes: [u8; 4] = bytes.try_into().unwrap_or_default();
        if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    bytes.chunks_exact(8).fold(start, |(a, b), pair| {
        let a = a.wrapping_add(word(&pair[..4])).wrapping_add(b);
        (a, b.wrapping_add(word(&pair[4..])).wrapping_add(a))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database in use, and what a crash leaves of it after `rows` commits.
    struct Crashed {
        _home: tempfile::TempDir,
        path: PathBuf,
        rows: i64,
    }

    impl Crashed {
        fn after(rows: i64, checkpoint_at: Option<i64>) -> Self {
            let home = tempfile::tempdir().expect("temp dir");
            let live = home.path().join("live.db");
            let database = Connection::open(&live).expect("opened");
            database.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(())).expect("a log");
            database.execute_batch("PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x)").expect("made");
            begin_use(&live).expect("noted");
            for row in 0..rows {
                if checkpoint_at == Some(row) {
                    database.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).expect("brought over");
                }
                database.execute("INSERT INTO t VALUES (?1)", [row.to_string().repeat(300)]).expect("written");
            }
            let path = home.path().join("signal.db");
            for end in ["", "-wal", "-shm"] {
                fs::copy(beside(&live, end), beside(&path, end)).expect("copied");
            }
            Self { _home: home, path, rows }
        }

        /// Whether the crash left everything, and whether the look at it says so. SQLite's own reading comes second: it changes files.
        fn judged(&self) -> (bool, bool) {
            let lost = is_lost(&self.path).expect("readable");
            let read = Connection::open(&self.path)
                .and_then(|db| db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)));
            (read == Ok(self.rows), lost)
        }

        fn change(&self, end: &str, change: impl FnOnce(&mut Vec<u8>)) {
            let path = beside(&self.path, end);
            let mut bytes = fs::read(&path).expect("there");
            change(&mut bytes);
            fs::write(path, bytes).expect("written");
        }
    }

    #[test]
    fn a_log_that_is_whole_is_trusted() {
        for (rows, checkpoint) in [(0, None), (1, None), (20, None), (20, Some(7)), (20, Some(19))] {
            assert_eq!(Crashed::after(rows, checkpoint).judged(), (true, false), "{rows} rows, {checkpoint:?}");
        }
        let torn = Crashed::after(3, None);
        torn.change("-wal", |log| log.extend([7; 1_000]));
        assert_eq!(torn.judged(), (true, false), "what was being written when it died was promised to nobody");
        let home = tempfile::tempdir().expect("temp dir");
        let path = home.path().join("signal.db");
        assert!(!is_lost(&path).expect("no file"));
        let database = Connection::open(&path).expect("opened");
        database.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(())).expect("a log");
        database.execute_batch("CREATE TABLE t(x)").expect("made");
        begin_use(&path).expect("noted");
        end_use(&path).expect("noted");
        drop(database);
        assert!(!beside(&path, "-wal").exists() && !is_lost(&path).expect("readable"), "closed in order");
    }

    #[test]
    fn a_log_that_lost_anything_is_noticed_wherever_it_is_hit() {
        let (mut noticed, mut needless) = (0, 0);
        let length = fs::metadata(beside(&Crashed::after(8, Some(3)).path, "-wal")).expect("there").len() as usize;
        // Every step but one of these falls into the middle of something.
        for at in (0..length).step_by(509).chain([0, 1, 23, 24, 31, 32, 33, 55, length - 1]) {
            for cut in [true, false] {
                let crashed = Crashed::after(8, Some(3));
                crashed.change("-wal", |log| if cut { log.truncate(at) } else { log[at] ^= 0x20 });
                let (whole, lost) = crashed.judged();
                assert!(whole || lost, "rolled back unnoticed: at {at}, cut {cut}");
                noticed += usize::from(lost && !whole);
                needless += usize::from(lost && whole);
            }
        }
        assert!(noticed > 20 && needless < noticed, "{noticed} noticed, {needless} without need");
    }

    #[test]
    fn a_process_that_died_while_it_opened_the_database_took_nothing_away() {
        for length in [3, 32_768] {
            let crashed = Crashed::after(5, Some(2));
            crashed.change("-shm", |bytes| {
                bytes.truncate(3);
                bytes.resize(length, 0);
            });
            assert_eq!(crashed.judged(), (true, machine_start().is_none()), "{length}");
            let memory = beside(&crashed.path, "-shm");
            let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 36);
            assert!(!has_changed_since(&memory, Some(later)), "a machine that started later may have lost something");
        }
        assert!(!is_begun_anew(&[]) && !is_begun_anew(&[7; 96]));
    }

    #[test]
    fn without_the_log_or_the_word_of_it_nothing_is_trusted() {
        for gone in [&["-wal"][..], &["-shm"], &["-wal", "-shm"]] {
            let crashed = Crashed::after(5, Some(2));
            for end in gone {
                fs::remove_file(beside(&crashed.path, end)).expect("removed");
            }
            assert!(is_lost(&crashed.path).expect("readable"), "{gone:?}");
        }
        let older = Crashed::after(5, None);
        let log = fs::read(beside(&Crashed::after(9, None).path, "-wal")).expect("there");
        older.change("-wal", |bytes| *bytes = log);
        assert!(is_lost(&older.path).expect("readable"), "the log of another database");
        let garbled = Crashed::after(5, None);
        garbled.change("-shm", |bytes| bytes[16] ^= 1);
        assert!(is_lost(&garbled.path).expect("readable"), "a damaged word");
    }
}
