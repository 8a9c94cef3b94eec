//! `verso backup restore`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::place_in::Plan;
use super::secret::OpenArgs;
use super::{
    Failure, ONE_MACHINE, Place, Printer, described, failed, finish_restore, input, lenient, lines, show, size, staged,
    target,
};
use crate::cli::migrate::settings::without;
use crate::clock::Clock;
use crate::config::file::{ConfigSource, Environment};
use crate::config::parse_text;
use crate::ids::AccountId;
use crate::store::backup::BackupError;
use crate::store::backup::manifest::{CONFIG, Manifest, STATE_DB, TOKEN};
use crate::store::backup::read::{Contents, Unpack, unpack};
use crate::store::backup::swap;
use crate::store::credentials::auth_dir;
use crate::store::journal::copy::{self, Open};
use crate::store::lock::{AccountLock, GatewayLock};
use crate::store::paths::StatePaths;

/// Arguments of `verso backup restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The archive, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// State folder to restore into, with its configuration in it [default: this user's]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Bring back only the links of these accounts, and leave everything else as it is
    #[arg(long, value_name = "ID", value_delimiter = ',', conflicts_with_all = ["keep_config", "resume"])]
    accounts: Vec<String>,
    /// Leave the configuration that is there as it is
    #[arg(long)]
    keep_config: bool,
    /// The old gateway stopped right at the backup: answer and send what was open then
    #[arg(long)]
    resume: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Replace a state that is newer than the backup or not in it; it is kept beside
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    open: OpenArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What is told about a restore.
#[derive(Default)]
struct Told {
    kept: Vec<PathBuf>,
    open: Open,
    warnings: Vec<String>,
}

/// Runs `verso backup restore`.
pub(super) fn run(args: &RestoreArgs, p: &mut Printer<'_>) -> Result<(), Failure> {
    let place = match &args.to {
        Some(dir) => place_at(dir),
        None => Place::of_process(),
    };
    let root = place.paths.root();
    if let Some(pid) = GatewayLock::holder(&place.paths) {
        return Err(Failure::new(format!("a gateway (process {pid}) uses the state folder {}", root.display()))
            .hint("stop it first; or restore into another folder with --to"));
    }
    // A dry run leaves no trace in the state folder.
    let (scratch, _alone) = if args.dry_run {
        (staged::scratch()?, None)
    } else {
        finish_restore(&place)?;
        let lock = GatewayLock::acquire(&place.paths)?;
        sweep(root);
        let scratch = tempfile::Builder::new().prefix(swap::STAGING).tempdir_in(root);
        (scratch.map_err(|e| Failure::new(format!("cannot write into {}: {e}", root.display())))?, Some(lock))
    };
    let archive = scratch.path().join("archive");
    fs::create_dir(&archive).map_err(|e| Failure::new(format!("cannot write into {}: {e}", root.display())))?;
    let only: Vec<AccountId> = args.accounts.iter().map(|id| AccountId::new(id)).collect();
    let only = (!only.is_empty()).then_some(only.as_slice());
    let contents = read(args, &archive, only, &place)?;
    known_accounts(only, &contents.manifest)?;
    let remarks = staged::check(&archive, &contents.manifest)
        .map_err(|why| Failure::new(format!("{} cannot be used: {why}", args.file.display())))?;
    let mut told = Told { warnings: remarks, ..Told::default() };
    let present = lenient(&place.location).ok().map(|loaded| loaded.config);
    let objections = target::objections(&place, present.as_deref(), &contents, &archive, only);
    if !objections.is_empty() && !args.force {
        let list: Vec<String> = objections.iter().map(|o| format!("- {o}")).collect();
        return Err(Failure::new(format!(
            "{} would lose what the backup does not have:\n{}",
            root.display(),
            list.join("\n")
        ))
        .hint(
            "add --force to replace it all the same (it is kept in before-restore-…), or restore elsewhere with --to",
        ));
    }
    told.warnings.extend(objections.into_iter().map(|objection| format!("replaced by force: {objection}")));
    let config =
        if args.keep_config || only.is_some() { None } else { Some(archive.join(CONFIG)).filter(|c| c.is_file()) };
    if let Some(config) = &config {
        told.warnings.extend(usual_places(config, &contents.manifest, &place)?);
        told.warnings.extend(foreign_paths(config, &contents.manifest, &place));
    }
    if contents.manifest.journal.is_some() && only.is_none() {
        let (from, now) = (Path::new(&contents.manifest.state_dir), Clock::System.now());
        told.open = copy::settle(&archive.join(STATE_DB), now, args.resume, from, root)?;
    }
    let mut plan = Plan::new(root, scratch.path(), Clock::System.now());
    let folder = |id: &AccountId| match (&config, &present) {
        (None, Some(config)) => {
            let dir = auth_dir(&place.paths, id, config.account(id).and_then(|a| a.link.auth_dir.as_deref()));
            // Files of an old version lie among others; the usual place goes before them.
            if dir == place.paths.credentials() { place.paths.whatsapp_auth(id) } else { dir }
        }
        _ => place.paths.whatsapp_auth(id),
    };
    let chosen = contents.manifest.links.iter().filter(|link| only.is_none_or(|only| only.contains(&link.account)));
    let links: Vec<(AccountId, PathBuf)> = chosen.map(|link| (link.account.clone(), folder(&link.account))).collect();
    if !args.dry_run {
        let _locks = lock_links(&links)?;
        let unpacked = Unpacked {
            archive: &archive,
            links: &links,
            manifest: &contents.manifest,
            config: config.as_deref(),
            whole: only.is_none(),
            resume: args.resume,
        };
        unpacked.plan(&mut plan, &place)?;
        let done = plan.carry_out(&place.paths);
        if swap::is_unfinished(&place.paths) {
            // What is staged is needed when it goes on.
            let _ = scratch.keep();
        }
        told.kept = done?;
    }
    report(args, &contents, &place, &links, &told, p);
    Ok(())
}

fn place_at(dir: &Path) -> Place {
    let environment =
        Environment { config_path: None, state_dir: Some(dir.to_path_buf()), ..Environment::of_process() };
    let location = ConfigSource::find(&environment);
    let paths = StatePaths::new(location.env.state_dir.clone(), None);
    Place { location, paths }
}

/// Deletes what a restore that died before it changed anything has left.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(swap::STAGING) {
            // One that stays does no harm.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn read(args: &RestoreArgs, archive: &Path, only: Option<&[AccountId]>, place: &Place) -> Result<Contents, Failure> {
    let wants = |member: &str| match only {
        Some(only) => {
            let account = member.strip_prefix("links/").and_then(|rest| rest.split('/').next());
            account.is_some_and(|account| only.iter().any(|id| id.as_str() == account))
                || staged::is_looked_into(member)
        }
        None => !args.dry_run || staged::is_looked_into(member),
    };
    let mut judge = |manifest: &Manifest| {
        if args.dry_run {
            return Ok(());
        }
        let free = rustix::fs::statvfs(archive).map(|s| s.f_bavail.saturating_mul(s.f_frsize)).unwrap_or(u64::MAX);
        if manifest.max_bytes > free {
            return Err(BackupError::Space(format!(
                "the backup may need {}, and only {} are free in {}",
                size(manifest.max_bytes),
                size(free),
                place.paths.root().display()
            )));
        }
        Ok(())
    };
    let unpacking = Unpack { into: archive, judge: &mut judge, wants: &wants };
    unpack(input(&args.file)?, &mut |lock| args.open.key(lock), unpacking).map_err(|e| failed(&args.file, e))
}

fn known_accounts(only: Option<&[AccountId]>, manifest: &Manifest) -> Result<(), Failure> {
    let known = |id: &AccountId| manifest.links.iter().any(|link| link.account == *id);
    match only.and_then(|only| only.iter().find(|id| !known(id))) {
        None => Ok(()),
        Some(id) => {
            let all: Vec<&str> = manifest.links.iter().map(|link| link.account.as_str()).collect();
            let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
            Err(Failure::usage(format!("the backup has no link of account {id}; it has: {all}")))
        }
    }
}

/// Takes `authDir` out of the unpacked configuration: a link comes back below `credentials/whatsapp/`.
fn usual_places(config: &Path, manifest: &Manifest, place: &Place) -> Result<Vec<String>, Failure> {
    let cannot = |e: std::io::Error| Failure::new(format!("cannot edit {}: {e}", config.display()));
    let mut told = Vec::new();
    for link in manifest.links.iter().filter(|link| link.auth_dir.is_some()) {
        let text = fs::read_to_string(config).map_err(cannot)?;
        let usual = place.paths.whatsapp_auth(&link.account);
        let edited = auth_dir_keys(&text, &link.account)
            .iter()
            .fold(None, |edited: Option<String>, path| without(edited.as_deref().unwrap_or(&text), path).or(edited));
        let old = link.auth_dir.as_deref().unwrap_or_default();
        match edited {
            Some(edited) => {
                fs::write(config, edited).map_err(cannot)?;
                told.push(format!(
                    "the link of account {} lay in {old}; it is in {} now, and authDir is taken out of the configuration",
                    link.account,
                    usual.display()
                ));
            }
            None => told.push(format!(
                "the link of account {} lay in {old}; it is in {} now: take authDir out of the included configuration file before you start the gateway",
                link.account,
                usual.display()
            )),
        }
    }
    Ok(told)
}

/// Where the configuration may say it, as it is written.
fn auth_dir_keys(text: &str, account: &AccountId) -> Vec<Vec<String>> {
    let tree = parse_text(text).unwrap_or_default();
    let whatsapp = &tree["channels"]["whatsapp"];
    let path =
        |steps: &[&str]| ["channels", "whatsapp"].iter().chain(steps).map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let mut found = Vec::new();
    for (name, entry) in whatsapp["accounts"].as_object().into_iter().flatten() {
        if AccountId::new(name) == *account && entry.get("authDir").is_some() {
            found.push(path(&["accounts", name, "authDir"]));
        }
    }
    if whatsapp.get("authDir").is_some() {
        found.push(path(&["authDir"]));
    }
    found
}

fn foreign_paths(config: &Path, manifest: &Manifest, place: &Place) -> Vec<String> {
    let env = &place.location.env;
    let source = ConfigSource { path: config.to_path_buf(), env: env.clone() };
    let Ok(loaded) = lenient(&source) else { return Vec::new() };
    let found = staged::foreign_paths(&loaded.config, manifest, &env.home, &env.state_dir);
    found.into_iter().map(|(key, path)| format!("{key} = {path} was a place of the old machine; check it")).collect()
}

fn lock_links(links: &[(AccountId, PathBuf)]) -> Result<Vec<AccountLock>, Failure> {
    let present = links.iter().filter(|(_, dir)| dir.is_dir());
    present.map(|(_, dir)| AccountLock::acquire(dir).map_err(Failure::from)).collect()
}

/// What an archive was unpacked to, and what of it is wanted.
struct Unpacked<'a> {
    archive: &'a Path,
    links: &'a [(AccountId, PathBuf)],
    manifest: &'a Manifest,
    config: Option<&'a Path>,
    /// Not only some accounts.
    whole: bool,
    resume: bool,
}

impl Unpacked<'_> {
    /// Says where everything goes.
    fn plan(self, plan: &mut Plan, place: &Place) -> Result<(), Failure> {
        let Self { archive, links, manifest, config, whole, resume } = self;
        let paths = &place.paths;
        let credentials = archive.join("credentials");
        for (account, dir) in links {
            let from = archive.join("links").join(account.as_str());
            match dir.strip_prefix(paths.credentials()) {
                // With the rest of the folder.
                Ok(below) if whole => swap::bring(&from, &credentials.join(below))?,
                _ => plan.put(dir, &from)?,
            }
        }
        if !whole {
            return Ok(());
        }
        if paths.credentials().starts_with(paths.root()) {
            plan.replace(paths.credentials(), &credentials)?;
        } else {
            plan.replace_entries(paths.credentials(), &credentials)?;
        }
        let root = paths.root();
        for name in ["state.db-wal", "state.db-shm"] {
            plan.away(&root.join(name))?;
        }
        plan.replace(&root.join("agents"), &archive.join("agents"))?;
        plan.replace(&paths.state_db(), &archive.join(STATE_DB))?;
        if archive.join(TOKEN).is_file() {
            plan.put(&paths.gateway_token(), &archive.join(TOKEN))?;
        }
        if !resume {
            // Nothing that waits is sent, so nothing of it is needed.
            let _ = fs::remove_dir_all(archive.join("media/outbound"));
        }
        if manifest.media && archive.join("media").is_dir() {
            plan.put(&paths.media(), &archive.join("media"))?;
        } else if archive.join("media/outbound").is_dir() {
            plan.put(&paths.media_outbound(), &archive.join("media/outbound"))?;
        }
        if let Some(config) = config {
            plan.put_config(&place.location.path, config)?;
        }
        Ok(())
    }
}

fn report(
    args: &RestoreArgs,
    contents: &Contents,
    place: &Place,
    links: &[(AccountId, PathBuf)],
    told: &Told,
    p: &mut Printer<'_>,
) {
    let root = place.paths.root();
    let mut value = described(&contents.manifest, &contents.members, contents.lock);
    value["restoredTo"] = json!(root);
    value["dryRun"] = json!(args.dry_run);
    value["restoredLinks"] =
        links.iter().map(|(id, dir)| json!({"account": id, "folder": dir})).collect::<Vec<Value>>().into();
    value["kept"] = json!(told.kept);
    value["open"] = json!({"messages": told.open.messages, "parts": told.open.parts, "resumed": args.resume});
    value["warnings"] = json!(told.warnings);
    show(p, &value, || {
        let mut out = lines(&contents.manifest, &contents.members, contents.lock);
        let what = if args.accounts.is_empty() { "all of it" } else { "the links only" };
        let done = if args.dry_run { "Would restore" } else { "Restored" };
        out.push(format!("{done} {what} into {}.", root.display()));
        out.extend(links.iter().map(|(id, dir)| format!("- link {id}: {}", dir.display())));
        let Open { messages, parts } = told.open;
        if messages + parts > 0 {
            out.push(match args.resume {
                true => format!("{messages} messages that were open are answered now, and {parts} that waited are sent."),
                false => format!(
                    "{messages} messages that were open are not answered and {parts} that waited are not sent, because the old gateway may have done it: \"{}\" in verso why. --resume does it.",
                    "restored"
                ),
            });
        }
        out.extend(told.warnings.iter().map(|warning| format!("warning: {warning}")));
        out.extend(
            told.kept
                .iter()
                .map(|kept| format!("What was there is kept in {}; delete it when all is well.", kept.display())),
        );
        if !links.is_empty() {
            out.push(format!("{ONE_MACHINE} The gateway that was backed up must not run any more."));
        }
        if !args.dry_run {
            out.push(match &args.to {
                Some(_) => format!("Start it: VERSO_STATE_DIR={} verso gateway", root.display()),
                None => "Start it: verso gateway".to_owned(),
            });
        }
        out
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::backup::manifest::LinkEntry;

    #[test]
    fn a_link_with_a_folder_of_its_own_comes_back_to_the_usual_place() {
        let dir = tempfile::tempdir().expect("temp dir");
        let config = dir.path().join("verso.json");
        let text =
            "// mine\n{ channels: { whatsapp: { accounts: { Work: { authDir: '/old/wa' }, home: { name: 'x' } } } } }";
        fs::write(&config, text).expect("written");
        let link = |account: &str| LinkEntry {
            account: AccountId::new(account),
            jid: None,
            epoch: 1,
            auth_dir: Some("/old/wa".into()),
            data_key: None,
        };
        let manifest = Manifest {
            format: String::new(),
            verso: String::new(),
            created_at: 0,
            home: "/old".into(),
            state_dir: "/old/.verso".into(),
            links: vec![link("work"), link("elsewhere")],
            journal: None,
            media: false,
            max_bytes: 0,
        };
        let place = place_at(&dir.path().join("new"));
        let told = usual_places(&config, &manifest, &place).expect("edited");
        assert!(told[0].contains("new/credentials/whatsapp/work") && told[0].contains("taken out"), "{told:?}");
        assert!(told[1].contains("account elsewhere") && told[1].contains("included"), "{told:?}");
        let edited = fs::read_to_string(&config).expect("there");
        assert!(edited.starts_with("// mine") && !edited.contains("authDir"), "{edited}");
        assert_eq!(parse_text(&edited).expect("json5")["channels"]["whatsapp"]["accounts"]["Work"], json!({}));
    }
}
