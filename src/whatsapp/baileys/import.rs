//! Takes a Baileys folder over: into another folder, or where it lies.
//!
//! The steps are ordered so that a crash between any two of them leaves either Baileys' link whole or ours: the database is made
//! beside, the backup is complete before anything is replaced, and `creds.json` changes hands last, in one rename. A database that
//! was in use is never rolled back: when it holds the same device already, it stays as it is.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use whatsapp_rust::wacore::store::Device;

use super::files::{self, CREDENTIALS, CREDENTIALS_BACKUP, Folder};
use super::link::Link;
use super::{BaileysError, Imported, Taking, database, set_aside};
use crate::clock::UnixMs;
use crate::whatsapp::seal::{DATA_KEY, DATA_KEY_BACKUP, DataKeys};
use crate::whatsapp::{backend, database as file};

/// Sessions that were written so long ago may be those of an old copy.
const OLD_MS: UnixMs = 24 * 60 * 60 * 1000;
/// A folder that was written so shortly ago is looked at once more, after as long.
const JUST_NOW: Duration = Duration::from_secs(1);
/// The database until it is complete.
const UNFINISHED: &str = "signal.db.importing";

/// Takes over the Baileys link that lies in `auth_dir` itself; `None` when there is none. The caller holds the folder's lock.
pub(in crate::whatsapp) async fn in_place(
    auth_dir: &Path,
    now: UnixMs,
    keys: Option<&DataKeys>,
) -> Result<Option<Imported>, BaileysError> {
    let dir = auth_dir.to_path_buf();
    let credentials = blocking(move || Ok(files::read_json(&dir.join(CREDENTIALS)).ok().flatten())).await?;
    if !credentials.is_some_and(|c| files::is_linked(&c)) {
        return Ok(None);
    }
    let (folder, link) = read(auth_dir, now, Taking { force: true, fresh_sessions: false }).await?;
    let known = backend::same_device(auth_dir, &link.device, keys).await;
    let mut report = report(&folder, &link);
    if !known {
        build(auth_dir, &link).await?;
    }
    let dir = auth_dir.to_path_buf();
    let day = date(now);
    let (device, keys) = (link.device.clone(), keys.cloned());
    report.backup = Some(
        blocking(move || {
            let backup = back_up(&dir, &day)?;
            if !known {
                set_aside::aside(&dir, &["signal.db"], "replaced").map_err(BaileysError::io("rename in", &dir))?;
                place(&dir)?;
            }
            backend::mirror_device(&dir, &device, keys.as_ref()).map_err(BaileysError::io("write into", &dir))?;
            for path in files::own_files(&dir) {
                if path.file_name().is_none_or(|n| n != CREDENTIALS && n != CREDENTIALS_BACKUP) {
                    fs::remove_file(&path).map_err(BaileysError::io("delete", &path))?;
                }
            }
            Ok(backup)
        })
        .await?,
    );
    close_to_others(auth_dir, &folder, &mut report);
    Ok(Some(report))
}

/// Takes the Baileys folder `from` over into `auth_dir`; `from` stays as it is. A link that was in `auth_dir` is set aside. The caller
/// holds the lock of `auth_dir`.
///
/// # Errors
/// When `from` is no folder of a linked Baileys program, changes meanwhile, or a file cannot be read or written; `auth_dir` is unchanged
/// then.
pub async fn import(from: &Path, auth_dir: &Path, taking: Taking, now: UnixMs) -> Result<Imported, BaileysError> {
    let before = quiet(from, taking, now).await?;
    let (folder, link) = read(from, now, taking).await?;
    let mut report = report(&folder, &link);
    report.warnings.extend(age(&before, &link, now));
    let built = build(auth_dir, &link).await;
    let dir = auth_dir.to_path_buf();
    let source = from.to_path_buf();
    let device = link.device.clone();
    blocking(move || {
        let done = built.and_then(|()| {
            if !taking.force && stamps(&source) != before {
                return Err(BaileysError::InUse(source));
            }
            swap(&dir, &device)
        });
        if done.is_err() {
            // The reason is told already; an unfinished file that cannot be deleted is overwritten next time.
            let _ = set_aside::remove(&dir, UNFINISHED);
        }
        done
    })
    .await?;
    close_to_others(from, &folder, &mut report);
    Ok(report)
}

/// The new link takes the place of what is there; when that fails, what was there is back.
fn swap(dir: &Path, device: &Device) -> Result<(), BaileysError> {
    const OWN: [&str; 5] = [CREDENTIALS_BACKUP, CREDENTIALS, "signal.db", DATA_KEY_BACKUP, DATA_KEY];
    let kept = |name: &str| format!("{name}.replaced");
    let failed = || BaileysError::io("write into", dir);
    // From here on whatever is called so is what was there.
    OWN.iter().try_for_each(|name| set_aside::remove(dir, &kept(name))).map_err(failed())?;
    let stood = OWN.map(|name| dir.join(name).exists());
    let swapped = set_aside::aside(dir, &OWN, "replaced")
        .map_err(failed())
        .and_then(|()| place(dir))
        .and_then(|()| backend::mirror_device(dir, device, None).map_err(failed()));
    if swapped.is_err() {
        for (name, stood) in OWN.into_iter().zip(stood) {
            let undone = match (dir.join(kept(name)).exists(), stood) {
                (true, _) => set_aside::remove(dir, name).and_then(|()| set_aside::rename(dir, &kept(name), name)),
                (false, false) => set_aside::remove(dir, name),
                (false, true) => Ok(()),
            };
            if let Err(error) = undone {
                tracing::error!(target: "web-session", %error, "cannot put {name} back; it is kept as {}", kept(name));
            }
        }
    }
    swapped
}

/// Says what [`import`] would move; nothing is written.
///
/// # Errors
/// As there.
pub async fn inspect(from: &Path, taking: Taking, now: UnixMs) -> Result<Imported, BaileysError> {
    let before = quiet(from, taking, now).await?;
    let (folder, link) = read(from, now, taking).await?;
    let mut report = report(&folder, &link);
    report.warnings.extend(age(&before, &link, now));
    Ok(report)
}

/// Of each file of a folder its name, length and time of the last change (Unix ms).
type Stamps = Vec<(PathBuf, u64, i128)>;

fn stamps(dir: &Path) -> Stamps {
    let mut stamps: Stamps = files::own_files(dir)
        .into_iter()
        .filter_map(|path| {
            let meta = fs::metadata(&path).ok()?;
            Some((path, meta.len(), i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec())))
        })
        .collect();
    stamps.sort();
    stamps
}

fn newest(stamps: &Stamps) -> Option<UnixMs> {
    stamps.iter().map(|stamp| stamp.2).max().and_then(|at| UnixMs::try_from(at / 1_000_000).ok())
}

/// The state of a folder that nobody writes into. A program that is busy there shows itself within a moment; of one that waits there is
/// no sign, for Baileys keeps no lock.
async fn quiet(from: &Path, taking: Taking, now: UnixMs) -> Result<Stamps, BaileysError> {
    let look = |dir: PathBuf| blocking(move || Ok(stamps(&dir)));
    let before = look(from.to_path_buf()).await?;
    let moment = i64::try_from(JUST_NOW.as_millis()).unwrap_or(i64::MAX);
    if taking.force || newest(&before).is_none_or(|at| now - at > moment) {
        return Ok(before);
    }
    tokio::time::sleep(JUST_NOW).await;
    if look(from.to_path_buf()).await? != before {
        return Err(BaileysError::InUse(from.to_path_buf()));
    }
    Ok(before)
}

/// What a person should know who brings an old folder.
fn age(stamps: &Stamps, link: &Link, now: UnixMs) -> Option<String> {
    let days = (now - newest(stamps)?) / OLD_MS;
    let ratchets = !link.sessions.is_empty() || !link.sender_keys.is_empty();
    (days >= 1 && ratchets).then(|| {
        format!(
            "its files were last written {days} day{} ago; if this is a copy of a link that went on elsewhere since, import it with --fresh-sessions: session keys must not be used twice",
            if days == 1 { "" } else { "s" }
        )
    })
}

async fn read(dir: &Path, now: UnixMs, taking: Taking) -> Result<(Folder, Link), BaileysError> {
    let dir = dir.to_path_buf();
    blocking(move || {
        let mut folder = files::read(&dir)?;
        let mut link = Link::of(&folder, &dir, now)?;
        if link.pre_keys.is_empty() && link.device.next_pre_key_id > 1 {
            if !taking.force {
                return Err(BaileysError::Half(dir));
            }
            link.skipped.push(super::Skipped {
                file: "pre-key-*.json".to_owned(),
                reason: "they are not there; new ones go to WhatsApp at the next login".to_owned(),
            });
            backend::forget_pre_keys(&mut link.device);
        }
        if taking.fresh_sessions {
            link.sessions.clear();
            link.sender_keys.clear();
            link.pre_keys.clear();
            backend::forget_pre_keys(&mut link.device);
            folder.warnings.push(
                "sessions, group keys and pre-keys stayed behind: what comes first in each chat is asked for again"
                    .to_owned(),
            );
        }
        Ok((folder, link))
    })
    .await
}

async fn build(auth_dir: &Path, link: &Link) -> Result<(), BaileysError> {
    let path = auth_dir.join(UNFINISHED);
    let dir = auth_dir.to_path_buf();
    blocking(move || set_aside::remove(&dir, UNFINISHED).map_err(BaileysError::io("write into", &dir))).await?;
    let fresh = path.clone();
    blocking(move || file::prepare_file(&fresh).map_err(BaileysError::io("create", &fresh))).await?;
    database::build(&path, link).await
}

/// Keys that others could read stay secret from now on.
fn close_to_others(dir: &Path, folder: &Folder, report: &mut Imported) {
    if folder.open_to_others {
        let end = if files::tighten(dir) { "that is over now" } else { "the system does not let Verso change that" };
        report.warnings.push(format!("other users of this machine could read {}; {end}", dir.display()));
    }
}

/// The finished database becomes the one in use.
fn place(dir: &Path) -> Result<(), BaileysError> {
    fs::rename(dir.join(UNFINISHED), dir.join("signal.db")).map_err(BaileysError::io("rename in", dir))?;
    set_aside::remove(dir, UNFINISHED).map_err(BaileysError::io("write into", dir))?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(BaileysError::io("sync", dir))
}

/// Baileys' files once more, beside the folder.
fn back_up(dir: &Path, day: &str) -> Result<PathBuf, BaileysError> {
    let name = dir.file_name().map_or_else(|| "whatsapp".into(), |n| n.to_string_lossy().into_owned());
    let mut backup = dir.with_file_name(format!("{name}.baileys-backup-{day}"));
    let mut again = 1;
    while backup.exists() {
        again += 1;
        backup = dir.with_file_name(format!("{name}.baileys-backup-{day}-{again}"));
    }
    let failed = BaileysError::io("write", &backup);
    fs::DirBuilder::new().mode(0o700).create(&backup).map_err(failed)?;
    for path in files::own_files(dir) {
        let Some(name) = path.file_name() else { continue };
        let copy = backup.join(name);
        // The same bytes under a second name; another file system would not have them.
        fs::hard_link(&path, &copy)
            .or_else(|_| fs::copy(&path, &copy).map(drop))
            .map_err(BaileysError::io("write", &copy))?;
    }
    files::tighten(&backup);
    File::open(&backup).and_then(|d| d.sync_all()).map_err(BaileysError::io("sync", &backup))?;
    Ok(backup)
}

fn report(folder: &Folder, link: &Link) -> Imported {
    let device = &link.device;
    Imported {
        jid: device.pn.as_ref().map(ToString::to_string).unwrap_or_default(),
        pre_keys: link.pre_keys.len(),
        sessions: link.sessions.len(),
        identities: link.identities.len(),
        sender_keys: link.sender_keys.len(),
        lid_mappings: link.lid_mappings.len(),
        app_state_keys: link.sync_keys.len(),
        app_state_versions: link.sync_versions.len(),
        tokens: link.tokens.len(),
        told_again: link.told,
        skipped: link.skipped.clone(),
        warnings: folder.warnings.clone(),
        backup: None,
    }
}

fn date(now: UnixMs) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp(now / 1000).unwrap_or(time::OffsetDateTime::UNIX_EPOCH).date();
    format!("{:04}{:02}{:02}", at.year(), u8::from(at.month()), at.day())
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BaileysError> + Send + 'static,
) -> Result<T, BaileysError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| {
        Err(BaileysError::Io { what: "work on", path: PathBuf::new(), cause: io::Error::other(e.to_string()) })
    })
}
