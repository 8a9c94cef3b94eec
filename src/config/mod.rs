//! The config file: as written, as meant, checked, compared, edited.
//!
//! ```text
//! text ── source (json5 + positions) ── include, env ── legacy ── check (schema) ── raw ── resolve + validate ── Arc<Config>
//! ```
//!
//! Everything here is pure but [`mod@file`], the one place that touches the disk.

pub mod chat_edits;
mod check;
pub mod diff;
pub mod edit;
pub mod edit_notes;
pub mod file;
mod include;
mod legacy;
pub mod model;
mod places;
mod problem;
mod quotes;
pub mod raw;
mod redact;
mod resolve;
mod schema;
mod secrets;
mod source;
mod validate;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use include::ReadInclude;
pub use model::*;
pub use places::{Places, SetIn};
pub use problem::{Finding, Findings, KeyPath, Problem, Seg, Warning};
pub use redact::{redact, redact_text};
pub use resolve::{ResolveEnv, Resolved, duration_text, resolve};
pub use schema::schema;

use crate::disclosure::{self, Patterns, Secrets};
use include::Expansion;
use quotes::Quotes;
use source::{Node, Sources};

/// What somebody starts with who has no config file yet.
pub const FIRST_CONFIG: &str = r#"// Configuration of Verso (JSON5). Saved changes are live at once; no restart.
// Every key: `verso config schema`, or config/verso.example.json in the sources.
{
  channels: {
    whatsapp: {
      // Who may write to you: "pairing" (unknown people get a code that you approve), "allowlist", "open", "disabled".
      dmPolicy: "pairing",
      // Who is listed here may write and command. The first number (without one: the account's own) uses the agent's main session;
      // everybody else has a conversation of their own, so nobody sees what another one wrote.
      allowFrom: [],
    },
  },
}
"#;

/// A config that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The config as meant.
    pub config: Arc<Config>,
    /// What somebody should know about it.
    pub warnings: Vec<Warning>,
    /// Every file it was read from, the main one first.
    pub files: Vec<PathBuf>,
    /// Equal for equal texts of the same files.
    pub fingerprint: u64,
    /// Where its keys stand.
    pub places: Arc<Places>,
    /// What nothing may say.
    pub secrets: Secrets,
}

/// A config that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Everything that is wrong with it, in file order.
    pub problems: Vec<Problem>,
    /// Every file that takes part in it, also the missing ones: a change of any of them may put it right.
    pub files: Vec<PathBuf>,
    /// Equal for equal texts of the same files.
    pub fingerprint: u64,
    /// What nothing may say, as far as it could be read.
    pub secrets: Secrets,
}

impl Rejected {
    /// The problems, in file order.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.problems.iter()
    }

    /// The file just ends too early, as a file does while somebody writes it.
    pub fn is_incomplete(&self) -> bool {
        self.problems.iter().any(|p| p.incomplete)
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejected {}

/// What a config text may refer to.
pub struct Context<'a, 'b> {
    /// The file that the text is from; includes are looked for beside it.
    pub path: Option<&'a Path>,
    /// Value of an environment variable, for `${NAME}`.
    pub var: &'a dyn Fn(&str) -> Option<String>,
    /// Reads an included file.
    pub read: &'a mut ReadInclude<'b>,
}

/// Reads a config from its text alone: no file can be included and no environment variable is set.
///
/// # Errors
/// Every problem of the text at once.
pub fn load_text(text: &str, env: &ResolveEnv) -> Result<Loaded, Vec<Problem>> {
    let mut no_files = |_: &Path| Err("this text is no file and can include none".to_owned());
    load(text, Context { path: None, var: &|_| None, read: &mut no_files }, env).map_err(|r| r.problems)
}

/// The values of a config text as they are written, neither expanded nor checked.
///
/// # Errors
/// When the text is no JSON5; the sentence names line and column.
pub fn parse_text(text: &str) -> Result<serde_json::Value, String> {
    let mut sources = Sources::default();
    sources.parse(None, text, &mut Findings::default()).map(|tree| tree.to_value()).map_err(|p| p.to_string())
}

/// The text of the config file `path` with what it includes written out in its place, and the files that came in. Placeholders of the
/// environment stay; of the included files the values count, not the comments.
///
/// # Errors
/// Every include that cannot be followed.
pub fn written_out(text: &str, path: &Path, read: &mut ReadInclude<'_>) -> Result<(String, Vec<PathBuf>), Rejected> {
    let (mut sources, mut findings, mut problems) = (Sources::default(), Findings::default(), Vec::new());
    let rejected = |problems, sources: &Sources| {
        let (files, fingerprint) = (sources.paths(), sources.fingerprint());
        Rejected { problems, files, fingerprint, secrets: Secrets::default() }
    };
    let tree = sources
        .parse(Some(path.to_owned()), text, &mut findings)
        .map_err(|problem| rejected(vec![problem], &sources))?;
    let mut places = Vec::new();
    include::places(&tree, &KeyPath::default(), &mut places);
    let mut out = text.to_owned();
    for (place, node) in places {
        let mut includer = include::Includer {
            // Somebody else's rule about folders is not checked here: this is one reading, by the owner.
            root: PathBuf::from("/"),
            read: &mut *read,
            sources: &mut sources,
            findings: &mut findings,
            problems: &mut problems,
            chain: vec![path.to_owned()],
        };
        let value = includer.expand(node, &place).to_value();
        let keys: Vec<String> = place
            .0
            .iter()
            .map(|step| match step {
                Seg::Key(key) => key.clone(),
                Seg::Index(at) => at.to_string(),
            })
            .collect();
        out = if keys.is_empty() {
            serde_json::to_string_pretty(&value).expect("plain data")
        } else {
            edit::set(&out, &keys, &value).map_err(|e| {
                let problem = sources.problem(None, e.to_string());
                rejected(vec![Problem { key_path: place, ..problem }], &sources)
            })?
        };
    }
    if !problems.is_empty() {
        return Err(rejected(problems, &sources));
    }
    Ok((out, sources.paths().split_off(1)))
}

/// Reads a config from its text and what that refers to.
///
/// # Errors
/// Every problem at once, each with its key, file, line, column and a hint.
pub fn load(text: &str, context: Context<'_, '_>, env: &ResolveEnv) -> Result<Loaded, Rejected> {
    let mut sources = Sources::default();
    let mut findings = Findings::default();
    let (tree, mut problems) = read_tree(text, context, &mut sources, &mut findings);
    let Some((tree, expansions)) = tree else {
        let (files, fingerprint) = (sources.paths(), sources.fingerprint());
        return Err(Rejected { problems, files, fingerprint, secrets: Secrets::default() });
    };
    secrets::warn_of_short(&tree, &mut findings);
    let secrets = secrets::collect(&tree, &expansions, &mut |_, _| {});
    // What the schema refused is taken out, so that the rules can speak about the rest in the same breath.
    let refused: Vec<KeyPath> = findings.problems.iter().map(|f| f.path.clone()).collect();
    let config = meaning(&tree.without(&refused), env, &refused, &mut findings);
    let quotes = Quotes::new(&expansions, &secrets, patterns(&tree));
    for f in findings.problems.into_iter().map(|finding| quotes.restored(finding)) {
        let pos = f.at.or_else(|| tree.locate(&f.path));
        problems.push(Problem { key_path: f.path, hint: f.hint, ..sources.problem(pos, f.message) });
    }
    match config {
        Some(mut config) if problems.is_empty() => {
            config.written = Written::new(tree.to_value());
            let warning = |f: Finding| {
                let pos = f.at.or_else(|| tree.locate(&f.path));
                let other = f.other.and_then(|path| tree.locate(&path));
                let message = match other {
                    Some(other) => f.message.replace("{line}", &sources.place(other)),
                    None => f.message,
                };
                sources.warning(f.path, pos, message)
            };
            let warnings = findings.warnings.into_iter().map(|finding| warning(quotes.restored(finding))).collect();
            Ok(Loaded {
                config: Arc::new(config),
                warnings,
                files: sources.paths(),
                fingerprint: sources.fingerprint(),
                places: Arc::new(Places::of(&tree, &sources)),
                secrets,
            })
        }
        _ => {
            let files = sources.paths();
            let order = |p: &Problem| (files.iter().position(|f| Some(f) == p.file.as_ref()), p.line, p.column);
            problems.sort_by_key(order);
            Err(Rejected { problems, files, fingerprint: sources.fingerprint(), secrets })
        }
    }
}

/// Text → one tree in the current spelling, checked against the schema.
fn read_tree(
    text: &str,
    context: Context<'_, '_>,
    sources: &mut Sources,
    findings: &mut Findings,
) -> (Option<(Node, Vec<Expansion>)>, Vec<Problem>) {
    let mut problems = Vec::new();
    let tree = match sources.parse(context.path.map(Path::to_owned), text, findings) {
        Ok(tree) => tree,
        Err(problem) => return (None, vec![problem]),
    };
    let mut includer = include::Includer {
        root: context.path.and_then(Path::parent).map(Path::to_owned).unwrap_or_default(),
        read: context.read,
        sources,
        findings,
        problems: &mut problems,
        chain: context.path.map(Path::to_owned).into_iter().collect(),
    };
    let mut tree = includer.expand(tree, &KeyPath::default());
    legacy::modernize(&mut tree, findings);
    // Keys that are not served are gone by now: a variable that only they name need not be set.
    let expansions = include::substitute(&mut tree, &KeyPath::default(), context.var, findings);
    check::check(&tree, schema(), findings);
    (Some((tree, expansions)), problems)
}

/// What `logging` hides besides secrets.
fn patterns(tree: &Node) -> Patterns {
    let logging = tree.get("logging").map(Node::to_value).unwrap_or_default();
    let texts = logging["redactPatterns"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str);
    patterns_of(logging["redactSensitive"] != "off", texts)
}

/// The patterns in force: the owner's, else those of what looks like a secret; none when they are off.
pub fn patterns_of<'a>(on: bool, own: impl IntoIterator<Item = &'a str>) -> Patterns {
    let own: Vec<&str> = own.into_iter().collect();
    match (on, own.is_empty()) {
        (false, _) => Patterns::default(),
        (true, true) => Patterns::new(disclosure::BUILT_IN.iter().copied()),
        (true, false) => Patterns::new(own),
    }
}

/// Checked tree → config. What the rules say about keys near refused ones is left out: it may come from their absence.
fn meaning(tree: &Node, env: &ResolveEnv, refused: &[KeyPath], findings: &mut Findings) -> Option<Config> {
    match serde_path_to_error::deserialize::<_, raw::RawConfig>(tree.to_value()) {
        Ok(raw) => {
            let resolved = resolve(&raw, env);
            let near = |f: &Finding| refused.iter().any(|r| r.starts_with(&f.path) || f.path.starts_with(r));
            findings.problems.extend(resolved.findings.problems.into_iter().filter(|f| !near(f)));
            findings.warnings.extend(resolved.findings.warnings);
            Some(resolved.config)
        }
        Err(error) => {
            // The schema is made from the same types, so this is a gap in check.rs; the file's author still gets a sentence.
            let path: Vec<String> = error.path().iter().map(|s| s.to_string()).collect();
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            findings.problem(KeyPath::of(&path), error.inner().to_string(), "see verso config schema for this key");
            None
        }
    }
}

#[cfg(test)]
mod tests;
