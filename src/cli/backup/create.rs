//! `verso backup create`.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::json;

use super::secret::SealArgs;
use super::{
    Failure, ONE_MACHINE, Place, Printer, described, failed, is_of_a_link, lenient, lines, link_folders, show,
};
use crate::api::iso_time;
use crate::clock::Clock;
use crate::config::{Config, file};
use crate::store::StoreError;
use crate::store::backup::collect::Found;
use crate::store::backup::manifest::{LinkEntry, Manifest, Member, STATE_DB, TOKEN};
use crate::store::backup::seal::{Lock, Seal};
use crate::store::backup::write::ArchiveWriter;
use crate::store::journal::copy;
use crate::store::lock::AccountLock;
use crate::whatsapp::snapshot::{self, Copy};

/// A folder of copies that a crash left is deleted after this.
const LEFTOVER: Duration = Duration::from_secs(24 * 3600);
/// So much may be added to the state while the backup is made, besides a quarter of it.
const GROWTH: u64 = 64 << 20;

/// Arguments of `verso backup create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The archive: a new file, a folder for a file named after the time, or - for standard output [default: this folder]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    seal: SealArgs,
    /// Take along the media that people sent
    #[arg(long)]
    media: bool,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What goes into the archive.
struct Content {
    manifest: Manifest,
    found: Found,
    warnings: Vec<String>,
}

/// Runs `verso backup create`.
pub(super) fn run(args: &CreateArgs, p: &mut Printer<'_>) -> Result<(), Failure> {
    let place = Place::of_process();
    super::finish_restore(&place)?;
    let root = place.paths.root();
    if !root.is_dir() {
        return Err(Failure::new(format!("there is nothing to back up: {} does not exist", root.display()))
            .hint("run this where the gateway runs, or set VERSO_STATE_DIR to its state folder"));
    }
    let to_stdout = args.file.as_deref() == Some(Path::new("-"));
    if to_stdout && args.json {
        return Err(Failure::usage("--json and - both want standard output").hint("name a file"));
    }
    let seal = args.seal.seal()?;
    let now = Clock::System.now();
    let target = target(args.file.as_deref(), now, matches!(seal, Seal::None));
    if !to_stdout {
        check_target(&target, args.force)?;
    }
    sweep(root);
    let work = tempfile::Builder::new()
        .prefix(".backup-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(root)
        .map_err(|e| Failure::new(format!("cannot write into {}: {e}", root.display())))?;
    let mut content = collect(&place, work.path(), args.media, now)?;
    let members = if to_stdout {
        let out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        archive(out, &seal, &content).map_err(|e| failed(Path::new("-"), e))?.0
    } else {
        write(&target, &seal, &content, args.force)?
    };
    let lock = match &seal {
        Seal::None => Lock::None,
        Seal::Passphrase(_) => Lock::Passphrase,
        Seal::Recipients(_) => Lock::Recipients,
    };
    if lock == Lock::None {
        content.warnings.push(
            "the archive is not encrypted and holds the keys of your WhatsApp accounts; encrypt it with --passphrase or --recipient"
                .into(),
        );
    }
    report(p, &target, to_stdout, &content, &members, lock);
    Ok(())
}

fn report(p: &mut Printer<'_>, target: &Path, to_stdout: bool, content: &Content, members: &[Member], lock: Lock) {
    if !to_stdout {
        let mut value = described(&content.manifest, members, lock);
        value["file"] = json!(target);
        value["warnings"] = json!(content.warnings);
        show(p, &value, || {
            let size = fs::metadata(target).map(|m| super::size(m.len())).unwrap_or_default();
            let mut out = vec![format!("Wrote {} ({size}).", target.display())];
            out.extend(lines(&content.manifest, members, lock));
            out
        });
    }
    if !p.json() {
        content.warnings.iter().for_each(|warning| p.note(format!("warning: {warning}")));
        if !content.manifest.links.is_empty() {
            p.note(format!("{ONE_MACHINE} Stop this gateway for good before you start a restored one."));
        }
    }
}

/// The file to be written.
fn target(named: Option<&Path>, now: i64, plain: bool) -> PathBuf {
    let stamp: String = iso_time(now).chars().take(19).map(|c| if c == ':' { '-' } else { c }).collect();
    let name = format!("verso-backup-{stamp}.tar.gz{}", if plain { "" } else { ".age" });
    match named {
        None => PathBuf::from(name),
        Some(dir) if dir.is_dir() => dir.join(name),
        Some(file) => file.to_path_buf(),
    }
}

fn check_target(target: &Path, force: bool) -> Result<(), Failure> {
    if target.exists() && !force {
        return Err(Failure::new(format!("{} is there already", target.display()))
            .hint("name another file or a folder, or add --force to replace it"));
    }
    let folder = folder_of(target);
    if !folder.is_dir() {
        return Err(Failure::new(format!("the folder {} does not exist", folder.display())).hint("make it first"));
    }
    Ok(())
}

fn folder_of(target: &Path) -> &Path {
    target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Deletes the copies of a run that died; one that is young may be somebody's.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let age =
            entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| SystemTime::now().duration_since(t).ok());
        if entry.file_name().to_string_lossy().starts_with(".backup-") && age.is_some_and(|a| a > LEFTOVER) {
            // One that stays does no harm.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Finds what goes into the archive; what the gateway writes to is copied to `work` first.
fn collect(place: &Place, work: &Path, media: bool, now: i64) -> Result<Content, Failure> {
    let mut content = Content {
        manifest: Manifest {
            format: "verso-backup/1".into(),
            verso: env!("CARGO_PKG_VERSION").into(),
            created_at: now,
            home: place.location.env.home.display().to_string(),
            state_dir: place.paths.root().display().to_string(),
            links: Vec::new(),
            journal: None,
            media,
            max_bytes: 0,
        },
        found: Found::default(),
        warnings: Vec::new(),
    };
    let config = configuration(place, &mut content)?;
    links(place, config.as_deref(), work, &mut content)?;
    let Content { manifest, found, warnings } = &mut content;
    found.add(TOKEN, place.paths.gateway_token());
    let whatsapp = place.paths.credentials().join("whatsapp");
    let old_place = place.paths.credentials().to_path_buf();
    found.walk(place.paths.credentials(), "credentials", &|path| {
        path == whatsapp || (path.parent() == Some(&old_place) && is_of_a_link(path))
    })?;
    let journal = copy::copy(&place.paths.state_db(), &work.join(STATE_DB))?;
    let mut waiting = Vec::new();
    if let Some(journal) = journal {
        manifest.journal = Some(journal.entry);
        found.add(STATE_DB, work.join(STATE_DB));
        waiting = journal.files;
    }
    found.walk(&place.paths.root().join("agents"), "agents", &|_| false)?;
    if media {
        found.walk(&place.paths.media(), "media", &|_| false)?;
    } else {
        let outbound = place.paths.media_outbound();
        waiting.sort();
        waiting.dedup();
        for file in waiting.iter().filter(|file| file.parent() == Some(&outbound)) {
            if let Some(name) = file.file_name().and_then(|n| n.to_str()) {
                found.add(format!("media/outbound/{name}"), file.clone());
            }
        }
    }
    for path in &found.skipped {
        warnings.push(format!("{} is left out: it is no plain file", path.display()));
    }
    for agent in config.iter().flat_map(|c| &c.agents.list) {
        if let Some(outside) = agent.workspace.as_ref().filter(|w| !w.starts_with(place.paths.root().join("agents"))) {
            warnings.push(format!(
                "the workspace of agent {} is left out: {} lies outside the state folder",
                agent.id,
                outside.display()
            ));
        }
    }
    manifest.max_bytes = found.bytes + found.bytes / 4 + GROWTH;
    Ok(content)
}

/// The configuration file and what it includes, under their places relative to it.
fn configuration(place: &Place, content: &mut Content) -> Result<Option<std::sync::Arc<Config>>, Failure> {
    if !file::exists(&place.location) {
        return Ok(None);
    }
    let loaded = lenient(&place.location).map_err(|rejected| {
        Failure::new(format!("the configuration cannot be read, so that links might be missed:\n{rejected}"))
            .hint("put it right first: verso config validate")
    })?;
    let folder = folder_of(&place.location.path);
    for (at, path) in loaded.files.iter().enumerate() {
        let name = if at == 0 { Some("verso.json") } else { path.strip_prefix(folder).ok().and_then(Path::to_str) };
        match name {
            Some(name) => content.found.add(format!("config/{name}"), path.clone()),
            None => {
                content.warnings.push(format!("{} is left out: it lies outside {}", path.display(), folder.display()))
            }
        }
    }
    Ok(Some(loaded.config))
}

fn links(place: &Place, config: Option<&Config>, work: &Path, content: &mut Content) -> Result<(), Failure> {
    for (account, dir) in link_folders(place, config) {
        if !dir.is_dir() {
            continue;
        }
        let to = work.join("links").join(account.as_str());
        let (in_use, _lock) = match AccountLock::acquire(&dir) {
            Ok(lock) => (false, Some(lock)),
            Err(StoreError::Busy(_)) => (true, None),
            Err(error) => return Err(error.into()),
        };
        let copied = snapshot::copy(&dir, &to, in_use)
            .map_err(|e| Failure::new(format!("the link of account {account} cannot be copied: {e}")))?;
        let look = match copied {
            Copy::NotLinked => continue,
            Copy::Foreign => {
                content.warnings.push(format!(
                    "the link of account {account} is left out: it is another program's; start the gateway once, so that it is taken over"
                ));
                continue;
            }
            Copy::Linked(look) => look,
        };
        content.warnings.extend(look.warning.map(|warning| format!("account {account}: {warning}")));
        content.found.walk(&to, &format!("links/{account}"), &|_| false)?;
        let configured = config.and_then(|c| c.account(&account)).and_then(|a| a.link.auth_dir.as_ref());
        content.manifest.links.push(LinkEntry {
            jid: look.identity.map(|i| i.jid.to_string()),
            epoch: look.epoch,
            auth_dir: configured.map(|dir| dir.display().to_string()),
            data_key: look.data_key,
            account,
        });
    }
    Ok(())
}

/// Writes the archive beside its place and moves it there when all of it is on disk.
fn write(target: &Path, seal: &Seal, content: &Content, force: bool) -> Result<Vec<Member>, Failure> {
    let cannot = |e: io::Error| {
        Failure::new(format!("cannot write {}: {e}", target.display()))
            .hint("check that the disk is not full and the folder is yours")
    };
    let folder = folder_of(target);
    let mut temporary = tempfile::Builder::new()
        .prefix(".verso-backup-")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)
        .map_err(cannot)?;
    let out = BufWriter::with_capacity(1 << 16, temporary.as_file_mut());
    let (members, out) = archive(out, seal, content).map_err(|e| failed(target, e))?;
    drop(out);
    temporary.as_file().sync_all().map_err(cannot)?;
    let placed = if force { temporary.persist(target) } else { temporary.persist_noclobber(target) };
    placed.map_err(|e| cannot(e.error))?;
    File::open(folder).and_then(|d| d.sync_all()).map_err(cannot)?;
    Ok(members)
}

fn archive<W: Write>(
    out: W,
    seal: &Seal,
    content: &Content,
) -> Result<(Vec<Member>, W), crate::store::backup::BackupError> {
    let mut archive = ArchiveWriter::begin(out, seal, &content.manifest)?;
    for (member, path) in &content.found.files {
        archive.file(member, path)?;
    }
    archive.finish()
}
