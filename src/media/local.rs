//! Files of this machine and data in the source itself.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use percent_encoding::percent_decode_str;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::error::{MediaError, NO_SUCH_FILE};
use super::intake::{Cap, Copy, Intake, STEP, Stop, fill};
use super::{OpenFiles, Trust, fence, name};
use crate::session::files;

/// Never follows a link in the last part of a path and never waits for the other end of a pipe.
const OPEN: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// Copies the file that `source` names. Blocking.
pub(super) fn copy(source: &str, trust: &Trust, folder: &Path, cap: Cap) -> Result<Copy, MediaError> {
    let read = |why: String| MediaError::Read { name: name::source(source), why };
    let path = path_of(source, trust).map_err(read)?;
    let mut file = match trust {
        Trust::Owner => open_any(&path).map_err(|e| read(reason(&e)))?,
        Trust::Client(fence) => fence::open(source, &path, fence)?,
        Trust::Model(open) => open_below(source, &path, open)?,
    };
    let facts = file.metadata().map_err(|e| read(reason(&e)))?;
    if !facts.is_file() {
        return Err(read(if facts.is_dir() { "it is a folder" } else { "it is no regular file" }.into()));
    }
    let mut copy = drain(&mut file, Intake::new(folder, cap)?).map_err(|broken| match broken {
        Broken::Source(e) => read(reason(&e)),
        Broken::Disk(error) => error,
        // The file may grow while it is read: what was read counts, not what the folder says.
        Broken::Over(intake) => intake.exceeds(facts.len().max(intake.cap() + 1)),
    })?;
    if copy.bytes == 0 {
        return Err(read("it is empty".into()));
    }
    // One that grows is a log; half of one is nothing.
    if copy.bytes < facts.len() {
        return Err(read("it changed while it was read; send it again".into()));
    }
    copy.name = path.file_name().and_then(|n| name::clean(&n.to_string_lossy()));
    Ok(copy)
}

/// Why a copy was not finished.
pub(super) enum Broken {
    Source(io::Error),
    Disk(MediaError),
    Over(Intake),
}

/// From a reader to the disk, a step at a time.
pub(super) fn drain(source: &mut impl io::Read, mut intake: Intake) -> Result<Copy, Broken> {
    let mut piece = vec![0; STEP];
    loop {
        let filled = fill(source, &mut piece).map_err(Broken::Source)?;
        if filled == 0 {
            return Ok(intake.finish());
        }
        match intake.push(&piece[..filled]) {
            Ok(()) => {}
            Err(Stop::Disk(error)) => return Err(Broken::Disk(error)),
            Err(Stop::Over) => return Err(Broken::Over(intake)),
        }
    }
}

/// `data:<mime>;base64,<data>` or percent-encoded text. Blocking.
pub(super) fn decode(source: &str, folder: &Path, cap: Cap) -> Result<Copy, MediaError> {
    let wrong = |why: &str| MediaError::Read { name: "the data URL".into(), why: why.into() };
    let (head, body) = source[5..].split_once(',').ok_or_else(|| wrong("it has no comma before the data"))?;
    let (mime, base64) = match head.len().checked_sub(7).map(|at| (head.get(..at), head.get(at..))) {
        Some((Some(mime), Some(tail))) if tail.eq_ignore_ascii_case(";base64") => (mime, true),
        _ => (head, false),
    };
    let bytes = if base64 {
        let compact: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        STANDARD.decode(&compact).or_else(|_| STANDARD_NO_PAD.decode(&compact)).map_err(|_| wrong("it is no base64"))?
    } else {
        percent_decode_str(body).collect()
    };
    if bytes.is_empty() {
        return Err(wrong("it is empty"));
    }
    let mut intake = Intake::new(folder, cap)?;
    match intake.push(&bytes) {
        Ok(()) => {}
        Err(Stop::Disk(error)) => return Err(error),
        Err(Stop::Over) => return Err(intake.exceeds(bytes.len() as u64)),
    }
    let mut copy = intake.finish();
    copy.declared = Some(mime.to_owned()).filter(|m| m.contains('/'));
    Ok(copy)
}

/// The path that a source names.
fn path_of(source: &str, trust: &Trust) -> Result<PathBuf, String> {
    if source.contains('\0') {
        return Err("a path holds no zero byte".into());
    }
    if source.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("file://")) {
        let url = reqwest::Url::parse(source).map_err(|e| e.to_string())?;
        return url.to_file_path().map_err(|()| "a file URL names a file of this machine: file:///path".into());
    }
    if let Some(rest) = source.strip_prefix("~/") {
        let home = std::env::home_dir().ok_or("this user has no home folder")?;
        return Ok(home.join(rest));
    }
    if Path::new(source).is_absolute() {
        return Ok(source.into());
    }
    match trust {
        Trust::Client(fence) if fence.confined => {
            fence.open.first().map(|root| root.join(source)).ok_or_else(|| "no folder is open to this client".into())
        }
        Trust::Owner | Trust::Client(_) => {
            std::env::current_dir().map(|base| base.join(source)).map_err(|e| e.to_string())
        }
        Trust::Model(open) => {
            open.roots.first().map(|root| root.join(source)).ok_or_else(|| "no folder is open to this agent".into())
        }
    }
}

pub(super) fn open_any(path: &Path) -> io::Result<File> {
    Ok(openat(CWD, path, OPEN, Mode::empty())?.into())
}

/// Opens a file that is open to a model: links are followed first, then every step of the resulting path is opened from the root on
/// without following any, so that a link put in between meanwhile is an error and not a way out.
pub(super) fn open_below(source: &str, path: &Path, open: &OpenFiles) -> Result<File, MediaError> {
    let read = |e: io::Error| MediaError::Read { name: name::source(source), why: reason(&e) };
    let refused = || MediaError::Refused {
        name: name::source(source),
        why: "it lies outside the folders that are open to this agent (its workspace, and files of this conversation)"
            .into(),
    };
    let borders = Borders::of(open);
    // A path that leads out tells nothing about what is there.
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(e) if borders.would_hold(path) => return Err(read(e)),
        Err(_) => return Err(refused()),
    };
    let root = borders.root_of(&real).ok_or_else(refused)?;
    let inner = real.strip_prefix(root).map_err(|_| refused())?;
    let steps = OPEN | OFlags::NOFOLLOW;
    let mut at: OwnedFd = openat(CWD, root, OPEN | OFlags::DIRECTORY, Mode::empty()).map_err(|e| read(e.into()))?;
    for step in inner.components() {
        let Component::Normal(step) = step else { return Err(refused()) };
        at = openat(&at, step, steps, Mode::empty()).map_err(|e| read(e.into()))?;
    }
    Ok(at.into())
}

/// What is open, with its links followed.
struct Borders<'a> {
    roots: Vec<PathBuf>,
    closed: Vec<PathBuf>,
    received: Option<(PathBuf, &'a str)>,
}

impl<'a> Borders<'a> {
    fn of(open: &'a OpenFiles) -> Self {
        let real = |paths: &[PathBuf]| paths.iter().filter_map(|path| path.canonicalize().ok()).collect();
        let received =
            open.received.as_ref().and_then(|(folder, tag)| Some((folder.canonicalize().ok()?, tag.as_str())));
        Self { roots: real(&open.roots), closed: real(&open.closed), received }
    }

    /// The folder from which a real path may be opened. Of a root and a closed folder that both hold it the inner one decides.
    fn root_of(&self, real: &Path) -> Option<&Path> {
        if let Some((folder, tag)) = &self.received
            && real.parent() == Some(folder)
            && real.file_name().and_then(|name| name.to_str()).and_then(files::tag_of) == Some(tag)
        {
            return Some(folder);
        }
        let depth = |path: &Path| path.components().count();
        let holds = |path: &&PathBuf| real.starts_with(path);
        let root = self.roots.iter().filter(holds).max_by_key(|path| depth(path))?;
        let closed = self.closed.iter().filter(holds).map(|path| depth(path)).max();
        closed.is_none_or(|closed| depth(root) > closed).then_some(root)
    }

    /// By its words alone, a path that does not exist would lie in an open folder.
    fn would_hold(&self, path: &Path) -> bool {
        let parent = path.ancestors().skip(1).find_map(|a| a.canonicalize().ok());
        !path.components().any(|c| c == Component::ParentDir) && parent.is_some_and(|p| self.root_of(&p).is_some())
    }
}

pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => NO_SUCH_FILE.into(),
        ErrorKind::PermissionDenied => "the user running Verso may not read it".into(),
        ErrorKind::NotADirectory => "a part of its path is no folder".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn unlimited() -> Cap {
        Box::new(|_| u64::MAX)
    }

    struct Place {
        dir: tempfile::TempDir,
        model: Trust,
    }

    /// A workspace with a file in it, and a secret beside it.
    fn place() -> Place {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::create_dir_all(dir.path().join("work/sub")).expect("folders");
        fs::write(dir.path().join("work/sub/note.txt"), "hello").expect("a file");
        fs::write(dir.path().join("secret.txt"), "secret").expect("a file");
        let model = Trust::Model(OpenFiles { roots: vec![dir.path().join("work")], ..OpenFiles::default() });
        Place { dir, model }
    }

    impl Place {
        fn load(&self, source: &str, trust: &Trust) -> Result<Copy, String> {
            copy(source, trust, &self.dir.path().join("out"), unlimited()).map_err(|e| e.to_string())
        }

        fn path(&self, name: &str) -> String {
            self.dir.path().join(name).to_string_lossy().into_owned()
        }
    }

    fn text(copy: &Copy) -> String {
        fs::read_to_string(copy.file.path()).expect("the copy")
    }

    #[test]
    fn a_model_reaches_its_folders_by_every_spelling() {
        let place = place();
        let absolute = place.path("work/sub/note.txt");
        symlink("sub/note.txt", place.path("work/inner-link")).expect("a link");
        for source in [
            "./sub/note.txt",
            "sub/note.txt",
            "sub/../sub/note.txt",
            "inner-link",
            &absolute,
            &format!("file://{absolute}"),
        ] {
            let copy = place.load(source, &place.model).unwrap_or_else(|e| panic!("{source}: {e}"));
            assert_eq!(text(&copy), "hello", "{source}");
        }
        let copy = place.load("./sub/note.txt", &place.model).expect("loaded");
        assert_eq!((copy.bytes, copy.name.as_deref()), (5, Some("note.txt")));
    }

    #[test]
    fn a_model_gets_nothing_from_outside() {
        let place = place();
        symlink(place.path("secret.txt"), place.path("work/link.txt")).expect("a link");
        symlink(place.dir.path(), place.path("work/up")).expect("a link");
        fs::create_dir(place.path("workshop")).expect("a folder whose name begins alike");
        fs::write(place.path("workshop/x"), "x").expect("a file");
        let secret = place.path("secret.txt");
        for source in [
            "../secret.txt",
            "sub/../../secret.txt",
            "link.txt",
            "up/secret.txt",
            &secret,
            &format!("file://{secret}"),
            "/etc/passwd",
            "/nowhere/at/all",
            "~/.ssh/id_rsa",
            &place.path("workshop/x"),
        ] {
            let error = place.load(source, &place.model).err().unwrap_or_else(|| panic!("{source} was read"));
            assert!(error.contains("outside the folders"), "{source}: {error}");
        }
        let no_roots = place.load("note.txt", &Trust::Model(OpenFiles::default())).err().expect("refused");
        assert!(no_roots.contains("no folder is open"), "{no_roots}");
    }

    #[test]
    fn a_run_reaches_the_files_of_its_own_session_only() {
        let place = place();
        let (ann, bob) = ("a0bf-06eadd8720e0".to_owned(), "b0bf-06eadd8720e0".to_owned());
        let file =
            |n: u8, tag: &str| crate::session::files::name(&crate::session::files::attachment(&[n; 32]), tag, "txt");
        fs::create_dir_all(place.path("state/media/inbound/sub")).expect("folders");
        fs::create_dir_all(place.path("state/agents/main/workspace")).expect("folders");
        let received = |file: &str| place.path(&format!("state/media/inbound/{file}"));
        let (own, other) = (received(&file(1, &ann)), received(&file(2, &bob)));
        let (old, deep) = (received("3.txt"), received(&format!("sub/{}", file(4, &ann))));
        let creds = place.path("state/creds.json");
        for (file, text) in [(&own, "mine"), (&other, "hers"), (&old, "old"), (&deep, "deep"), (&creds, "key")] {
            fs::write(file, text).expect("a file");
        }
        fs::write(place.path("state/agents/main/workspace/note.txt"), "note").expect("a file");
        symlink(&other, place.path("state/agents/main/workspace/link.txt")).expect("a link");
        symlink(place.path("state/media"), place.path("state/agents/main/workspace/media")).expect("a link");
        // Also where the workspace holds the state folder, or is the folder of everything.
        for workspace in ["state/agents/main/workspace", "state", ""] {
            let open = Trust::Model(OpenFiles {
                roots: vec![place.path(workspace).into()],
                closed: vec![place.path("state").into()],
                received: Some((place.path("state/media/inbound").into(), ann.clone())),
            });
            let link = place.path("state/agents/main/workspace/link.txt");
            let through = place.path(&format!("state/agents/main/workspace/media/inbound/{}", file(2, &bob)));
            let url = reqwest::Url::from_file_path(&other).expect("a URL").to_string();
            let spelled = url.replace("inbound", "%69nbound");
            let dotted = received(&format!("../inbound/./{}", file(2, &bob)));
            let missing = received(&file(5, &bob));
            for source in [&other, &old, &deep, &creds, &link, &through, &url, &spelled, &dotted, &missing] {
                let error = place.load(source, &open).err().unwrap_or_else(|| panic!("{source} was read"));
                assert!(error.contains("may not be sent"), "{workspace}: {source}: {error}");
            }
            assert_eq!(text(&place.load(&own, &open).expect("its own")), "mine");
            let own_url = reqwest::Url::from_file_path(&own).expect("a URL").to_string();
            assert_eq!(text(&place.load(&own_url, &open).expect("its own")), "mine");
        }
        let usual = Trust::Model(OpenFiles {
            roots: vec![place.path("state/agents/main/workspace").into()],
            closed: vec![place.path("state").into()],
            received: None,
        });
        assert_eq!(text(&place.load("note.txt", &usual).expect("the workspace is open")), "note");
    }

    #[test]
    fn a_link_put_in_after_the_look_is_an_error() {
        let place = place();
        let root = place.dir.path().join("work").canonicalize().expect("root");
        symlink(place.path("secret.txt"), root.join("late")).expect("a link");
        let at = openat(CWD, &root, OPEN | OFlags::DIRECTORY, Mode::empty()).expect("root opens");
        assert!(openat(&at, "late", OPEN | OFlags::NOFOLLOW, Mode::empty()).is_err());
    }

    #[test]
    fn the_owner_may_name_any_path() {
        let place = place();
        for source in [place.path("secret.txt"), format!("file://{}", place.path("secret.txt"))] {
            assert_eq!(text(&place.load(&source, &Trust::Owner).expect("loaded")), "secret");
        }
        let spaced = place.path("two words.txt");
        fs::write(&spaced, "x").expect("a file");
        let url = reqwest::Url::from_file_path(&spaced).expect("a URL");
        assert_eq!(place.load(url.as_str(), &Trust::Owner).expect("loaded").name.as_deref(), Some("two words.txt"));
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let place = place();
        rustix::fs::mkfifoat(CWD, place.path("work/pipe"), Mode::RWXU).expect("a pipe");
        fs::write(place.path("work/empty"), "").expect("a file");
        let check = |source: &str, expected: &str| {
            for (source, trust) in
                [(source.to_owned(), &place.model), (place.path(&format!("work/{source}")), &Trust::Owner)]
            {
                let error = place.load(&source, trust).err().expect("an error");
                assert!(error.contains(expected), "{source}: {error}");
            }
        };
        check("sub", "it is a folder");
        check("pipe", "it is no regular file");
        check("empty", "it is empty");
        check("missing.png", "there is no such file");
        check("sub/note.txt/x", "a part of its path is no folder");
        let device = place.load("/dev/zero", &Trust::Owner).err().expect("an error");
        assert!(device.contains("no regular file"), "{device}");
        let far = place.load("file://server/share/x", &Trust::Owner).err().expect("an error");
        assert!(far.contains("of this machine"), "{far}");
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_whole_or_an_error() {
        let place = place();
        let (path, out) = (place.path("work/large"), place.dir.path().join("out"));
        let fill = || fs::write(&path, vec![1; 3 * STEP]).expect("a file");
        // The cap is asked for when the first step is read.
        let meanwhile = |change: Box<dyn FnOnce() + Send>| -> Cap {
            Box::new(move |_| {
                change();
                u64::MAX
            })
        };
        fill();
        let (other, own) = (place.path("other"), path.clone());
        fs::write(&other, vec![2; 3 * STEP]).expect("a file");
        let replaced = meanwhile(Box::new(move || fs::rename(other, own).expect("replaced")));
        let copy = super::copy("large", &place.model, &out, replaced).expect("the file that was opened");
        assert!(fs::read(copy.file.path()).expect("the copy") == vec![1; 3 * STEP]);

        fill();
        let own = path.clone();
        let cut = meanwhile(Box::new(move || fs::write(own, "x").expect("cut")));
        let error = super::copy("large", &place.model, &out, cut).err().expect("an error").to_string();
        assert!(error.contains("it changed while it was read"), "{error}");

        fill();
        let own = path.clone();
        let grown = meanwhile(Box::new(move || {
            let mut log = fs::OpenOptions::new().append(true).open(own).expect("opens");
            std::io::Write::write_all(&mut log, b"one more line").expect("grown");
        }));
        assert_eq!(super::copy("large", &place.model, &out, grown).expect("read").bytes, 3 * STEP as u64 + 13);
    }

    #[test]
    fn the_copy_is_private_and_capped() {
        use std::os::unix::fs::PermissionsExt;
        let place = place();
        let out = place.dir.path().join("out");
        let copied = place.load("sub/note.txt", &place.model).expect("loaded");
        assert_eq!(fs::metadata(copied.file.path()).expect("exists").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&out).expect("exists").permissions().mode() & 0o777, 0o700);
        drop(copied);
        fs::write(place.path("work/large"), vec![0; 3 << 20]).expect("a file");
        let error = copy("large", &place.model, &out, Box::new(|_| 1 << 20)).err().expect("too large").to_string();
        assert_eq!(error, "Media exceeds 1MB limit (got 3.00MB)");
        assert_eq!(fs::read_dir(&out).expect("listable").count(), 0, "nothing stays behind");
    }

    #[test]
    fn data_in_the_source_itself() {
        let dir = tempfile::tempdir().expect("temp dir");
        let load = |source: &str| decode(source, dir.path(), unlimited()).map_err(|e| e.to_string());
        let copy = load("data:text/csv;charset=utf-8;base64,YSxi\nCg==").expect("decoded");
        assert_eq!((text(&copy).as_str(), copy.declared.as_deref()), ("a,b\n", Some("text/csv;charset=utf-8")));
        assert_eq!(text(&load("data:,a%20b").expect("decoded")), "a b");
        for (source, why) in [
            ("data:x", "no comma"),
            ("data:;base64,%%%", "no base64"),
            ("data:,", "empty"),
            ("data:é;base64,", "empty"),
        ] {
            let error = load(source).err().expect("refused");
            assert!(error.contains(why), "{source}: {error}");
        }
    }
}
