//! The config on disk: find it, read it with its includes, replace it atomically. The only file of this folder that touches the disk.

mod keys;
mod linked;

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use keys::missing_key;

use super::{Context, Loaded, Problem, Rejected, ResolveEnv, load as load_source};
use crate::disclosure::{self, Secrets};

/// What the environment says about places; the caller reads it, so that tests need not set variables.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `VERSO_CONFIG_PATH`: the config file.
    pub config_path: Option<PathBuf>,
    /// `VERSO_STATE_DIR`: the state folder.
    pub state_dir: Option<PathBuf>,
    /// `VERSO_HOME`, else `HOME`: the home folder.
    pub home: Option<PathBuf>,
    /// `VERSO_OAUTH_DIR`: the folder of the credentials.
    pub credentials: Option<PathBuf>,
    /// `VERSO_GATEWAY_TOKEN`: token of the API.
    pub gateway_token: Option<String>,
}

impl Environment {
    /// Reads the variables of this process.
    pub fn of_process() -> Self {
        let path = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        Self {
            config_path: path("VERSO_CONFIG_PATH"),
            state_dir: path("VERSO_STATE_DIR"),
            home: path("VERSO_HOME").or_else(|| path("HOME")),
            credentials: path("VERSO_OAUTH_DIR"),
            gateway_token: std::env::var("VERSO_GATEWAY_TOKEN").ok().filter(|t| !t.is_empty()),
        }
    }
}

/// Where one gateway's config and state are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSource {
    /// The config file, absolute; it need not exist.
    pub path: PathBuf,
    /// Home and state folder, for the paths inside the config.
    pub env: ResolveEnv,
}

impl ConfigSource {
    /// The config file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Applies the rules of behaviour.md 1: `VERSO_CONFIG_PATH`, else `<state>/verso.json`; `VERSO_STATE_DIR`, else `~/.verso`.
    pub fn find(environment: &Environment) -> Self {
        let absolute = |p: &Path| std::path::absolute(p).unwrap_or_else(|_| p.to_owned());
        let home = environment.home.as_deref().map(absolute).unwrap_or_else(|| PathBuf::from("/"));
        let expand = |p: &Path| match p.strip_prefix("~") {
            Ok(rest) => home.join(rest),
            Err(_) => absolute(p),
        };
        let state_dir = environment.state_dir.as_deref().map_or_else(|| home.join(".verso"), expand);
        let path = environment.config_path.as_deref().map_or_else(|| state_dir.join("verso.json"), expand);
        let mut env = ResolveEnv::new(home.clone(), state_dir);
        if let Some(credentials) = environment.credentials.as_deref() {
            env.credentials = expand(credentials);
        }
        env.gateway_token.clone_from(&environment.gateway_token);
        Self { path, env }
    }

    /// What the config's relative things relate to at this moment: also whether the account `default` is linked.
    pub fn env_now(&self) -> ResolveEnv {
        ResolveEnv { default_link: linked::default_link(&self.env.credentials), ..self.env.clone() }
    }
}

/// Reads the config file with its includes and the environment of this process.
///
/// A file that does not exist is a problem; whether to start without one is the caller's decision ([`exists`]).
///
/// # Errors
/// Every problem at once.
pub fn load(source: &ConfigSource) -> Result<Loaded, Rejected> {
    let text = read_text(&source.path).map_err(|why| {
        let mut hasher = DefaultHasher::new();
        why.hash(&mut hasher);
        let problems = vec![unreadable(&source.path, why)];
        Rejected {
            problems,
            files: vec![source.path.clone()],
            fingerprint: hasher.finish(),
            secrets: Secrets::default(),
        }
    })?;
    let loaded = load_edited(source, &text);
    if let Ok(loaded) = &loaded {
        let logging = &loaded.config.logging;
        disclosure::use_patterns(super::patterns_of(
            logging.redact,
            logging.redact_patterns.iter().map(String::as_str),
        ));
    }
    loaded
}

/// Like [`load`]; where there is no file, what [`super::FIRST_CONFIG`] means.
///
/// # Errors
/// Every problem at once.
pub fn load_or_first(source: &ConfigSource) -> Result<Loaded, Rejected> {
    if exists(source) { load(source) } else { load_edited(source, super::FIRST_CONFIG) }
}

/// Like [`load`], with this text in the place of the main file's: what an edit would give. From here on nothing says the secrets of
/// the text, also not when it is refused: [`disclosure`] knows them.
///
/// # Errors
/// Every problem at once.
pub fn load_edited(source: &ConfigSource, text: &str) -> Result<Loaded, Rejected> {
    let var = |name: &str| std::env::var(name).ok();
    let loaded = load_with(source, text, &var);
    match &loaded {
        Ok(Loaded { secrets, .. }) | Err(Rejected { secrets, .. }) => disclosure::remember(secrets.iter()),
    }
    disclosure::remember(source.env.gateway_token.as_deref());
    loaded
}

/// Like [`load_edited`], with these values of the environment variables.
///
/// # Errors
/// Every problem at once.
pub fn load_with(source: &ConfigSource, text: &str, var: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Rejected> {
    let load = |env: &ResolveEnv| {
        let mut read = |path: &Path| read_text(path);
        load_source(text, Context { path: Some(&source.path), var, read: &mut read }, env)
    };
    let mut env = source.env_now();
    match load(&env) {
        Ok(loaded) if linked::is_taken(&loaded.config, &env) => {
            env.default_link = None;
            load(&env)
        }
        outcome => outcome,
    }
}

/// True when the config file is there.
pub fn exists(source: &ConfigSource) -> bool {
    source.path.exists()
}

/// The text of a config file; the error is a reason for people.
///
/// # Errors
/// The file is missing, unreadable, or no text.
pub fn read_text(path: &Path) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => e.to_string(),
    })?;
    String::from_utf8(bytes).map_err(|e| format!("byte {} is no UTF-8 text", e.utf8_error().valid_up_to()))
}

fn unreadable(path: &Path, why: String) -> Problem {
    Problem {
        key_path: super::KeyPath::default(),
        file: Some(path.to_owned()),
        line: 0,
        column: 0,
        message: format!("cannot read the config: {why}"),
        hint: Some("create it with at least {}, or point VERSO_CONFIG_PATH at it".to_owned()),
        // Some editors delete the file and make it anew.
        incomplete: !path.exists(),
    }
}

/// Every path whose change can change what `file` says: the file, and each symlink on the way to it.
pub fn trail(file: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut rest: Vec<std::path::PathBuf> = file.components().rev().map(|c| PathBuf::from(c.as_os_str())).collect();
    let mut current = PathBuf::new();
    while let Some(part) = rest.pop() {
        let next = if part == Path::new("..") {
            current.parent().map(Path::to_owned).unwrap_or_default()
        } else {
            current.join(&part)
        };
        match fs::read_link(&next) {
            Ok(target) if out.len() < 40 => {
                out.push(next.clone());
                if target.is_absolute() {
                    current = PathBuf::new();
                }
                rest.extend(target.components().rev().map(|c| PathBuf::from(c.as_os_str())));
            }
            _ => current = next,
        }
    }
    out.push(current);
    out
}

/// True when the file itself is a mount point, as a single file bound into a container is: replacing it outside is never seen inside.
pub fn is_mount_point(file: &Path) -> bool {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else { return false };
    let file = file.display().to_string().replace(' ', "\\040");
    mounts.lines().any(|line| line.split(' ').nth(4) == Some(file.as_str()))
}

/// How a file was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// In one step; a reader sees the old or the new text.
    Atomically,
    /// Written over in place, because the file itself is a mount point and cannot be renamed over.
    InPlace,
}

/// Replaces the config file: the old text goes to `<name>.bak`, older ones to `.bak.1` … `.bak.4`; mode, owner and symlink are kept.
///
/// # Errors
/// What the disk said; the old file is untouched then, unless it had to be written in place.
pub fn replace(path: &Path, text: &str) -> io::Result<Replaced> {
    let target = resolve_link(path)?;
    let folder = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    fs::create_dir_all(&folder)?;
    let old = match fs::metadata(&target) {
        Ok(meta) => Some(meta),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    if old.is_some() {
        back_up(&target)?;
    }
    let temp = suffixed(&target, &format!(".{}.{}.tmp", std::process::id(), uuid::Uuid::new_v4()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temp)?;
        if let Some(old) = &old {
            file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
            let new = file.metadata()?;
            if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
                // Only root may give a file away; the text matters more than its owner.
                let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
            }
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temp, &target)
    })();
    match written {
        Ok(()) => {
            sync_folder(&folder)?;
            Ok(Replaced::Atomically)
        }
        Err(error) => {
            let _ = fs::remove_file(&temp);
            if error.raw_os_error() != Some(libc::EBUSY) {
                return Err(error);
            }
            let mut file = OpenOptions::new().write(true).truncate(true).open(&target)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            Ok(Replaced::InPlace)
        }
    }
}

/// How long an edit waits for the ones before it.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);
/// How often an edit is made anew because somebody else saved the file meanwhile.
const TRIES: u32 = 5;

/// What an edit has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Updated {
    /// The text that it was made on; empty when there was no file.
    pub before: String,
    /// The text that stands there now.
    pub after: String,
    /// How it was written.
    pub replaced: Replaced,
}

/// Why a file was not edited; it is as it was.
#[derive(Debug)]
pub enum UpdateError<E> {
    /// The edit itself was refused.
    Refused(E),
    /// Somebody else holds the lock, or saves faster than the edit can be made.
    Busy(String),
    /// The file cannot be read, or is no text.
    Unreadable(String),
    /// The file cannot be written.
    Unwritable(io::Error),
}

impl<E: fmt::Display> fmt::Display for UpdateError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "{why}"),
            Self::Busy(why) => write!(f, "the config file is being edited by somebody else ({why}); try again"),
            Self::Unreadable(why) => write!(f, "the config file cannot be read: {why}"),
            Self::Unwritable(error) => write!(f, "the config file cannot be written: {error}"),
        }
    }
}

/// Edits the config file; edits go one after another, each on the text that it replaces. Everybody who edits through Verso holds the lock beside
/// the file from reading to writing; an editor that knows nothing of it is noticed by its text. `edit` gets its text (empty where there is none) and gives the new one, or `None` to leave it alone. It is called
/// again when somebody else saved the file meanwhile.
///
/// # Errors
/// [`UpdateError`].
pub fn update<E>(
    path: &Path,
    mut edit: impl FnMut(&str) -> Result<Option<String>, E>,
) -> Result<Option<Updated>, UpdateError<E>> {
    let _lock = lock(path)?;
    for _ in 0..TRIES {
        let before = text(path)?;
        let Some(after) = edit(&before).map_err(UpdateError::Refused)? else { return Ok(None) };
        if text(path)? != before {
            continue;
        }
        let replaced = replace(path, &after).map_err(UpdateError::Unwritable)?;
        return Ok(Some(Updated { before, after, replaced }));
    }
    Err(UpdateError::Busy("it is saved again and again".to_owned()))
}

fn text<E>(path: &Path) -> Result<String, UpdateError<E>> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        _ if !path.exists() => Ok(String::new()),
        _ => read_text(path).map_err(UpdateError::Unreadable),
    }
}

/// The lock beside the file that a chain of symlinks ends in. `None` in a folder where no file can be made: a file that is mounted by itself
/// is still edited.
fn lock<E>(path: &Path) -> Result<Option<File>, UpdateError<E>> {
    let target = resolve_link(path).map_err(UpdateError::Unwritable)?;
    if let Some(folder) = target.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(UpdateError::Unwritable)?;
    }
    let beside = suffixed(&target, ".lock");
    let Ok(file) = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(beside) else {
        return Ok(None);
    };
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => std::thread::sleep(LOOK),
            Err(TryLockError::WouldBlock) => return Err(UpdateError::Busy("its lock is held".to_owned())),
            // A file system without locks.
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
}

/// Where a chain of symlinks ends; a dangling one names the file to be made.
fn resolve_link(path: &Path) -> io::Result<PathBuf> {
    let mut current = path.to_owned();
    for _ in 0..40 {
        match fs::read_link(&current) {
            Ok(next) => current = current.parent().unwrap_or(Path::new("")).join(next),
            Err(_) => return Ok(current),
        }
    }
    Err(io::Error::other("too many symlinks"))
}

fn back_up(target: &Path) -> io::Result<()> {
    let bak = |n: u8| suffixed(target, &if n == 0 { ".bak".to_owned() } else { format!(".bak.{n}") });
    for n in (0..4).rev() {
        match fs::rename(bak(n), bak(n + 1)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    let text = fs::read(target)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(bak(0))?;
    file.write_all(&text)?;
    file.sync_all()
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::edit;
    use serde_json::json;
    use std::convert::Infallible;

    #[test]
    fn places_follow_the_environment() {
        let at = |config: Option<&str>, state: Option<&str>| {
            let found = ConfigSource::find(&Environment {
                config_path: config.map(PathBuf::from),
                state_dir: state.map(PathBuf::from),
                home: Some("/home/u".into()),
                ..Environment::default()
            });
            (found.path.display().to_string(), found.env.state_dir.display().to_string())
        };
        assert_eq!(at(None, None), ("/home/u/.verso/verso.json".into(), "/home/u/.verso".into()));
        assert_eq!(at(None, Some("/s")), ("/s/verso.json".into(), "/s".into()));
        assert_eq!(at(Some("/etc/v.json"), None), ("/etc/v.json".into(), "/home/u/.verso".into()));
        assert_eq!(at(Some("~/v.json"), Some("~/s")), ("/home/u/v.json".into(), "/home/u/s".into()));
    }

    #[test]
    fn replacing_keeps_mode_and_symlink_and_five_old_texts() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real.json");
        let link = dir.path().join("verso.json");
        fs::write(&real, "0").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real.json", &link).unwrap();
        for n in 1..=7 {
            assert_eq!(replace(&link, &n.to_string()).unwrap(), Replaced::Atomically);
        }
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o777, 0o640);
        let text = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(text("real.json"), "7");
        let kept: Vec<String> =
            [".bak", ".bak.1", ".bak.2", ".bak.3", ".bak.4"].iter().map(|s| text(&format!("real.json{s}"))).collect();
        assert_eq!(kept, ["6", "5", "4", "3", "2"]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 7, "no temporary files are left");
    }

    #[test]
    fn a_new_file_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/verso.json");
        replace(&path, "{}").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn includes_are_read_beside_the_file_and_may_not_leave_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verso.json");
        fs::write(&path, "{ channels: { $include: './a/ch.json' }, bindings: { $include: '../x.json' } }").unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/ch.json"), "{ whatsapp: {\n historyLimit: -1 } }").unwrap();
        let source = ConfigSource { path: path.clone(), env: ResolveEnv::new("/h", "/s") };
        let rejected = load(&source).unwrap_err();
        let text = rejected.to_string();
        assert!(text.contains("lies outside the config folder"), "{text}");
        assert!(text.contains("a/ch.json:2:16: channels.whatsapp.historyLimit: Too small"), "{text}");
        assert_eq!(rejected.files, [path, dir.path().join("a/ch.json")]);
    }

    fn set(path: &Path, key: &str, value: i64) {
        let steps = edit::parse_path(key).unwrap();
        let done = update::<edit::EditError>(path, |before| edit::set(before, &steps, &json!(value)).map(Some));
        assert!(done.unwrap().is_some());
    }

    #[test]
    fn writers_side_by_side_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verso.json");
        std::thread::scope(|threads| {
            for writer in 0..4 {
                let path = &path;
                threads.spawn(move || (0..15).for_each(|n| set(path, &format!("w{writer}.k{n}"), n)));
            }
        });
        let value = edit::json5_value(&fs::read_to_string(&path).unwrap()).unwrap();
        for writer in 0..4 {
            assert_eq!(value[format!("w{writer}")].as_object().unwrap().len(), 15);
        }
    }

    #[test]
    fn an_editor_without_the_lock_is_noticed_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verso.json");
        fs::write(&path, "{ a: 1 }").unwrap();
        let mut seen = Vec::new();
        let updated = update::<edit::EditError>(&path, |before| {
            seen.push(before.to_owned());
            if seen.len() == 1 {
                fs::write(&path, "{ a: 2 }").unwrap();
            }
            edit::set(before, &["b".to_owned()], &json!(3)).map(Some)
        });
        assert_eq!(seen, ["{ a: 1 }", "{ a: 2 }"]);
        assert_eq!(updated.unwrap().unwrap().before, "{ a: 2 }");
        let value = edit::json5_value(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(value, json!({"a": 2, "b": 3}));
        let restless = update::<Infallible>(&path, |before| {
            fs::write(&path, format!("{before} ")).unwrap();
            Ok(Some("{}".to_owned()))
        });
        assert!(matches!(restless, Err(UpdateError::Busy(_))));
    }

    #[test]
    fn what_is_refused_or_left_alone_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verso.json");
        assert!(matches!(update(&path, |_| Err("no")), Err(UpdateError::Refused("no"))));
        assert_eq!(update::<Infallible>(&path, |_| Ok(None)).unwrap(), None);
        assert!(!path.exists());
    }
}
