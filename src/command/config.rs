//! `/config show|get|set|unset`: reading the command.

use serde_json::Value;

use crate::config::edit;

/// What `/config` is to do. Paths are as they were typed.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigCommand {
    /// Show the file or one value of it.
    Show {
        /// Which value; `None` = the whole file.
        path: Option<String>,
    },
    /// Set one value.
    Set {
        /// Where.
        path: String,
        /// To what.
        value: Value,
    },
    /// Remove one value.
    Unset {
        /// Where.
        path: String,
    },
    /// It is no such command; the sentence says why.
    Error(String),
}

/// Reads a text that starts with `/config`.
pub fn parse(text: &str) -> ConfigCommand {
    let text = text.trim();
    let rest = text.get("/config".len()..).unwrap_or_default();
    let rest = rest.trim_start().trim_start_matches(':').trim();
    let (action, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let argument = argument.trim();
    match action.to_lowercase().as_str() {
        "" => ConfigCommand::Show { path: None },
        "show" | "get" => ConfigCommand::Show { path: Some(argument.to_owned()).filter(|p| !p.is_empty()) },
        "unset" if argument.is_empty() => ConfigCommand::Error("Usage: /config unset path".to_owned()),
        "unset" => ConfigCommand::Unset { path: argument.to_owned() },
        "set" => set(argument),
        _ => ConfigCommand::Error("Usage: /config show|set|unset".to_owned()),
    }
}

fn set(argument: &str) -> ConfigCommand {
    let usage = || ConfigCommand::Error("Usage: /config set path=value".to_owned());
    let Some((path, value)) = argument.split_once('=') else { return usage() };
    let (path, value) = (path.trim(), value.trim());
    if path.is_empty() || value.is_empty() {
        return usage();
    }
    // Half an object must not become a text.
    let value = if value.starts_with(['{', '[']) {
        match edit::json5_value(value) {
            Ok(value) => value,
            Err(why) => return ConfigCommand::Error(format!("Invalid JSON: {why}")),
        }
    } else {
        edit::typed_value(value)
    };
    ConfigCommand::Set { path: path.to_owned(), value }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn actions() {
        let set = |path: &str, value| ConfigCommand::Set { path: path.to_owned(), value };
        for (text, want) in [
            ("/config", ConfigCommand::Show { path: None }),
            ("/Config: get a.b", ConfigCommand::Show { path: Some("a.b".to_owned()) }),
            ("/config set a.b = x y", set("a.b", json!("x y"))),
            ("/config set a=[1,\n2]", set("a", json!([1, 2]))),
            ("/config set a=+1555", set("a", json!("+1555"))),
            ("/config set a=x=y", set("a", json!("x=y"))),
            ("/config set a=", ConfigCommand::Error("Usage: /config set path=value".to_owned())),
            ("/config unset", ConfigCommand::Error("Usage: /config unset path".to_owned())),
        ] {
            assert_eq!(parse(text), want, "{text:?}");
        }
        assert!(matches!(parse("/config set a={b"), ConfigCommand::Error(why) if why.starts_with("Invalid JSON: ")));
    }
}
