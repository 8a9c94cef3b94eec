//! `verso config …`: works on the file; a running gateway picks the edit up by itself.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::edited;
use super::output::Failure;
use crate::config::diff::{ConfigDiff, ReloadReceipt};
use crate::config::file::{self, ConfigSource, Replaced};
use crate::config::{Loaded, Rejected, edit, redact};
use crate::disclosure::MASKED;

/// Arguments of `verso config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print one value of the config file
    Get {
        /// Dots and brackets, such as channels.whatsapp.dmPolicy or channels.whatsapp.groups["12@g.us"]
        path: String,
        /// Print JSON, also for plain texts
        #[arg(long)]
        json: bool,
    },
    /// Set one value; comments and layout of the file are kept
    Set {
        /// Dots and brackets, such as channels.whatsapp.dmPolicy
        path: String,
        /// JSON5, or plain text
        #[arg(allow_hyphen_values = true)]
        value: String,
        /// Refuse a value that is not JSON5 instead of taking it as text
        #[arg(long)]
        json: bool,
    },
    /// Remove one value; comments and layout of the rest are kept
    Unset {
        /// Dots and brackets, such as channels.whatsapp.dmPolicy
        path: String,
    },
    /// Check a config file and print every problem with line and column
    Validate {
        /// Another file than the one in use
        file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what the gateway would do if this file became its config
    Diff {
        /// The new config
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the config file
    Schema,
}

/// Carries out `verso config`; the number is the exit code.
///
/// # Errors
/// The file cannot be read, edited or written; nothing is changed then.
pub fn run(args: ConfigArgs, source: &ConfigSource, out: &mut dyn Write) -> anyhow::Result<u8> {
    match carry_out(args, source, out) {
        // The reader, such as `head`, has seen enough.
        Err(error)
            if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) =>
        {
            Ok(0)
        }
        other => other,
    }
}

fn carry_out(args: ConfigArgs, source: &ConfigSource, out: &mut dyn Write) -> anyhow::Result<u8> {
    match args.command {
        ConfigCommand::Get { path, json } => get(source, &path, json, out),
        ConfigCommand::Set { path, value, json } => set(source, &path, &value, json, out),
        ConfigCommand::Unset { path } => unset(source, &path, out),
        ConfigCommand::Validate { file, json } => validate(source, file, json, out),
        ConfigCommand::Diff { file, json } => diff(source, file, json, out),
        ConfigCommand::Schema => {
            writeln!(out, "{:#}", crate::config::schema())?;
            Ok(0)
        }
    }
}

fn read(source: &ConfigSource) -> anyhow::Result<String> {
    file::read_text(&source.path).map_err(|why| {
        anyhow::anyhow!(
            "cannot read {}: {why}; create it with `verso config set`, or set VERSO_CONFIG_PATH",
            source.path.display()
        )
    })
}

fn get(source: &ConfigSource, path: &str, as_json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    let steps = edit::parse_path(path)?;
    let text = read(source)?;
    let own = edit::json5_value(&text).map_err(|why| anyhow::anyhow!("{}: {why}", source.path.display()))?;
    // Read whole in any case: from there on its secrets are known, and not shown.
    let loaded = file::load_edited(source, &text).ok();
    #[cfg(feature = "demo")]
    crate::fault::panics_with();
    let without_secrets = |mut tree: Value| {
        redact(&mut tree, MASKED, &mut Vec::new());
        edit::get(&tree, &steps).cloned()
    };
    // What stands in the file itself is shown as it stands there; the rest comes from included files.
    let found = without_secrets(own).or_else(|| without_secrets((*loaded?.config.written).clone()));
    let Some(value) = found else { bail!("Config path not found: {path}") };
    match &value {
        Value::String(text) if !as_json => writeln!(out, "{text}")?,
        value => writeln!(out, "{value:#}")?,
    }
    Ok(0)
}

fn set(source: &ConfigSource, path: &str, value: &str, strict: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    let steps = edit::parse_path(path)?;
    let value = if strict {
        edit::json5_value(value).map_err(|why| anyhow::anyhow!("the value is not JSON5: {why}"))?
    } else {
        edit::typed_value(value)
    };
    write(source, &format!("Updated {path}."), out, |before| Ok(edit::set(before, &steps, &value)?))
}

fn unset(source: &ConfigSource, path: &str, out: &mut dyn Write) -> anyhow::Result<u8> {
    let steps = edit::parse_path(path)?;
    read(source)?;
    write(source, &format!("Removed {path}."), out, |before| {
        edit::unset(before, &steps)?.ok_or_else(|| anyhow::anyhow!("Config path not found: {path}"))
    })
}

/// Writes the edited text if it makes a good config.
fn write(
    source: &ConfigSource,
    done: &str,
    out: &mut dyn Write,
    mut change: impl FnMut(&str) -> anyhow::Result<String>,
) -> anyhow::Result<u8> {
    let edited =
        edited::write(source, |before| change(before).map(Some).map_err(|why| Failure::new(format!("{why:#}"))))?
            .expect("an edit always gives a text");
    let refused = edited.refused();
    if !refused.is_empty() {
        writeln!(out, "{done} Restart the gateway to apply {}.", refused.join(", "))?;
    } else if !edited.is_followed() {
        writeln!(out, "{done} Restart the gateway to apply it (gateway.reload.mode is off).")?;
    } else {
        writeln!(out, "{done} A running gateway applies it at once.")?;
    }
    for note in edited.notes() {
        writeln!(out, "warning: {note}")?;
    }
    if edited.replaced == Replaced::InPlace {
        writeln!(out, "warning: the file is a mount point and was written in place; mount its folder instead")?;
    }
    Ok(0)
}

fn validate(source: &ConfigSource, file: Option<PathBuf>, as_json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut source = source.clone();
    if let Some(file) = file {
        source.path = std::path::absolute(&file).with_context(|| format!("no such path: {}", file.display()))?;
    }
    let outcome = file::load(&source).and_then(|loaded| match file::missing_key(&loaded.config) {
        Some(problem) => Err(Rejected {
            problems: vec![problem],
            files: loaded.files,
            fingerprint: loaded.fingerprint,
            secrets: loaded.secrets,
        }),
        None => Ok(loaded),
    });
    if as_json {
        let (warnings, problems) = match &outcome {
            Ok(Loaded { warnings, .. }) => (json!(warnings), json!([])),
            Err(Rejected { problems, .. }) => (json!([]), json!(problems)),
        };
        let answer = json!({"valid": outcome.is_ok(), "path": source.path, "problems": problems, "warnings": warnings});
        writeln!(out, "{answer:#}")?;
    } else {
        match &outcome {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    writeln!(out, "warning: {warning}")?;
                }
                writeln!(out, "{} is valid.", source.path.display())?;
            }
            Err(rejected) => {
                for problem in rejected.iter() {
                    writeln!(out, "{problem}")?;
                }
                let count = rejected.problems.len();
                writeln!(out, "{} {}.", count, if count == 1 { "problem" } else { "problems" })?;
            }
        }
    }
    Ok(u8::from(outcome.is_err()))
}

fn diff(source: &ConfigSource, file: PathBuf, as_json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    let current = if file::exists(source) { read(source)? } else { "{}".to_owned() };
    let current =
        file::load_edited(source, &current).map_err(|r| anyhow::anyhow!("the config in use is invalid:\n{r}"))?;
    let text = file::read_text(&file).map_err(|why| anyhow::anyhow!("cannot read {}: {why}", file.display()))?;
    // It is read as if it stood in the place of the config, so that includes and problems are those it would have there.
    let new = file::load_edited(source, &text).map_err(|mut rejected| {
        for problem in rejected.problems.iter_mut().filter(|p| p.file.as_ref() == Some(&source.path)) {
            problem.file = Some(file.clone());
        }
        anyhow::anyhow!("{} would be refused:\n{rejected}", file.display())
    })?;
    let diff = ConfigDiff::between(&current.config, &new.config);
    if as_json {
        writeln!(out, "{:#}", serde_json::to_value(&diff)?)?;
        return Ok(0);
    }
    for key in &diff.changed {
        writeln!(out, "{key}")?;
    }
    let line = ReloadReceipt::new(0, &diff, 0).to_string();
    writeln!(out, "{}", line.trim_start_matches("config revision 0: "))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::fs;

    use crate::config::ResolveEnv;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        config: ConfigArgs,
    }

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn with(text: &str) -> Self {
            let place = Self { dir: tempfile::tempdir().unwrap() };
            fs::write(place.path(), text).unwrap();
            place
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("verso.json")
        }

        fn text(&self) -> String {
            fs::read_to_string(self.path()).unwrap()
        }

        /// Output and exit code; an error is its text and 1.
        fn run(&self, args: &[&str]) -> (String, u8) {
            let cli = Cli::try_parse_from([&["config"], args].concat()).unwrap();
            let source = ConfigSource { path: self.path(), env: ResolveEnv::new("/h", "/s") };
            let mut out = Vec::new();
            match run(cli.config, &source, &mut out) {
                Ok(code) => {
                    (String::from_utf8(out).unwrap().replace(&self.dir.path().display().to_string(), "DIR"), code)
                }
                Err(error) => (format!("{error:#}").replace(&self.dir.path().display().to_string(), "DIR"), 1),
            }
        }
    }

    #[test]
    fn a_value_goes_in_and_comes_out() {
        let place = Place::with("{\n  // mine\n  channels: { whatsapp: { dmPolicy: 'pairing' } },\n}\n");
        let at = "channels.whatsapp.allowFrom";
        assert_eq!(
            place.run(&["set", "channels.whatsapp.dmPolicy", "disabled"]),
            ("Updated channels.whatsapp.dmPolicy. A running gateway applies it at once.\n".into(), 0)
        );
        assert_eq!(place.text(), "{\n  // mine\n  channels: { whatsapp: { dmPolicy: 'disabled' } },\n}\n");
        assert_eq!(place.run(&["get", "channels.whatsapp.dmPolicy"]), ("disabled\n".into(), 0));
        assert_eq!(place.run(&["set", at, "['+1555000']"]).1, 0);
        assert_eq!(place.run(&["get", at, "--json"]), ("[\n  \"+1555000\"\n]\n".into(), 0));
        assert_eq!(place.run(&["set", "channels.whatsapp.allowFrom[0]", "+1777000"]).1, 0);
        assert_eq!(place.run(&["get", "channels.whatsapp.allowFrom.0"]), ("+1777000\n".into(), 0));
        assert_eq!(place.run(&["unset", "channels"]).1, 0);
        assert_eq!(place.run(&["get", "channels"]), ("Config path not found: channels".into(), 1));
        assert_eq!(place.run(&["unset", "channels"]), ("Config path not found: channels".into(), 1));
        assert_eq!(
            place.run(&["set", "gateway.port", "1"]).0,
            "Updated gateway.port. Restart the gateway to apply gateway.port.\n"
        );
    }

    #[test]
    fn the_receipt_of_an_edit_says_what_it_changes_besides() {
        let place = Place::with("{ channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'] } } }");
        let group = "channels.whatsapp.groups[\"120363@g.us\"]";
        let (told, code) = place.run(&["set", group, "{}"]);
        assert_eq!(code, 0);
        assert!(
            told.ends_with("warning: every other group is not served any more (account default); to serve them as before, add \"*\": {} to channels.whatsapp.groups\n"),
            "{told}"
        );
        let (told, _) = place.run(&["unset", group]);
        assert!(told.ends_with("warning: no group is served now (account default)\n"), "{told}");
        assert!(place.text().contains("groups: {"), "{}", place.text());
        let (told, _) = place.run(&["unset", "channels.whatsapp.groups"]);
        assert!(told.contains("warning: every group is served now (account default)"), "{told}");
        assert_eq!(place.run(&["set", "channels.whatsapp.accounts.work", "{}"]).1, 0);
        let (told, _) = place.run(&["set", "channels.whatsapp.accounts.work.allowFrom", "['+15551234567']"]);
        assert!(told.contains("served as \"allowlist\""), "a new remark of the config is told: {told}");
        assert!(told.contains("the account's own allowFrom takes the place of channels.whatsapp.allowFrom"), "{told}");
    }

    #[test]
    fn an_edit_that_breaks_the_config_is_not_written() {
        let place = Place::with("{}");
        let (text, code) = place.run(&["set", "channels.whatsapp.dmPolicy", "opn"]);
        assert_eq!(code, 1);
        assert!(text.contains("nothing was written") && text.contains("did you mean \"open\"?"), "{text}");
        assert_eq!(place.text(), "{}");
        assert_eq!(place.run(&["set", "a..b", "1"]), ("Invalid path. Use dot notation (e.g. foo.bar).".into(), 1));
        assert!(place.run(&["set", "web.enabled", "tru", "--json"]).0.contains("the value is not JSON5"));
    }

    #[test]
    fn validate_names_every_problem() {
        let place = Place::with("{ web: { enabld: true },\n  gateway: { bind: 'lan' } }");
        let (text, code) = place.run(&["validate"]);
        assert_eq!(code, 1);
        assert_eq!(
            text,
            "DIR/verso.json:1:10: web.enabld: Unrecognized key: \"enabld\" (did you mean \"enabled\"?)\n\
             DIR/verso.json:2:20: gateway.bind: the API may be reached from other machines but has no token (set gateway.auth.token (for example \"${VERSO_GATEWAY_TOKEN}\"), or gateway.bind to \"loopback\")\n\
             2 problems.\n"
        );
        let good = Place::with("{ whatsapp: { allowFrom: ['+1555000'] } }");
        assert_eq!(
            good.run(&["validate"]),
            ("warning: DIR/verso.json:1:3: whatsapp: whatsapp config moved to channels.whatsapp (auto-migrated on load).\nDIR/verso.json is valid.\n".into(), 0)
        );
        assert!(good.run(&["validate", "--json"]).0.contains("\"valid\": true"));
    }

    #[test]
    fn diff_predicts_the_receipt() {
        let place = Place::with("{ channels: { whatsapp: { accounts: { work: {}, home: {} } } } }");
        let next = place.dir.path().join("next.json");
        fs::write(&next, "{ channels: { whatsapp: { accounts: { work: { dmPolicy: 'disabled' }, home: {} } } } }")
            .unwrap();
        let (text, code) = place.run(&["diff", next.to_str().unwrap()]);
        assert_eq!(code, 0);
        assert_eq!(
            text,
            "channels.whatsapp.accounts.work.dmPolicy\n1 key changed (channels.whatsapp.accounts.work.dmPolicy); refreshed: work; kept: home\n"
        );
    }

    #[test]
    fn diff_names_the_file_it_was_given() {
        let place = Place::with("{}");
        let next = place.dir.path().join("next.json");
        fs::write(&next, "{ web: 1 }").unwrap();
        let (text, code) = place.run(&["diff", next.to_str().unwrap()]);
        assert_eq!(code, 1);
        assert!(text.starts_with("DIR/next.json would be refused:\nDIR/next.json:1:8: web: Invalid input"), "{text}");
    }

    #[test]
    fn the_schema_is_printed() {
        let (text, _) = Place::with("{}").run(&["schema"]);
        let schema: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(schema["properties"]["web"]["description"], "The connection to WhatsApp.");
    }
}
