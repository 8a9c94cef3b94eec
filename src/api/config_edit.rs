//! `config.set`, `config.apply` and `config.patch`: edits of the file, each made on the text that its client has seen.

use serde_json::{Map, Value, json};

use super::config_view::{REDACTED, hash};
use super::methods;
use super::params::Params;
use super::protocol::ErrorShape;
use super::server::Api;
use crate::actors::messages::Reload;
use crate::config::file::{self, ConfigSource, UpdateError};
use crate::config::{edit, redact, redact_text};

/// How the new text comes about: from the one that stands there and what the client sent.
type Make = fn(&str, &str) -> Result<String, ErrorShape>;

/// Methods `config.set` and `config.apply`: the client's text takes the place of the file's.
pub(super) async fn set(api: &Api, params: &Params) -> Result<Value, ErrorShape> {
    write(api, params, whole).await
}

/// Method `config.patch`: a merge patch; `null` deletes. Comments and layout of the rest are kept.
pub(super) async fn patch(api: &Api, params: &Params) -> Result<Value, ErrorShape> {
    write(api, params, patched).await
}

async fn write(api: &Api, params: &Params, make: Make) -> Result<Value, ErrorShape> {
    let raw = params.required("raw")?;
    let base = params.text("baseHash")?;
    let Some(source) = api.source.clone() else {
        return Err(ErrorShape::unavailable("this gateway has no config file that could be edited"));
    };
    let path = source.path.display().to_string();
    let done = tokio::task::spawn_blocking(move || update(&source, &raw, base.as_deref(), make)).await;
    let after = done.map_err(|e| ErrorShape::unavailable(format!("the config was not edited: {e}")))??;
    tracing::info!(target: "config", "the config was edited by an API client");
    // The edit is in force when it is confirmed; a config that was edited again meanwhile is reported by the gateway itself.
    drop(methods::ask(api.port.reload.send(Reload).await));
    let config = redact_text(&after, REDACTED).map_or_else(|| json!({}), |(_, config)| config);
    Ok(json!({"ok": true, "path": path, "config": config, "hash": hash(&after)}))
}

fn update(source: &ConfigSource, raw: &str, base: Option<&str>, make: Make) -> Result<String, ErrorShape> {
    let updated = file::update(&source.path, |before| {
        match base {
            _ if before.is_empty() => {}
            None => return Err(ErrorShape::invalid("config base hash required; re-run config.get and retry")),
            Some(base) if base != hash(before) => {
                return Err(ErrorShape::invalid("config changed since last load; re-run config.get and retry"));
            }
            Some(_) => {}
        }
        let after = make(before, raw)?;
        match file::load_edited(source, &after) {
            Ok(_) => Ok(Some(after)),
            Err(rejected) => Err(invalid(rejected.iter().map(|p| (p.key_path.to_string(), p.message.clone())))),
        }
    });
    match updated {
        Ok(updated) => Ok(updated.map(|u| u.after).unwrap_or_default()),
        Err(UpdateError::Refused(error)) => Err(error),
        Err(UpdateError::Busy(why) | UpdateError::Unreadable(why)) => {
            Err(ErrorShape::unavailable(format!("the config file was not edited: {why}")))
        }
        Err(UpdateError::Unwritable(error)) => {
            Err(ErrorShape::unavailable(format!("the config file cannot be written: {error}")))
        }
    }
}

fn invalid(issues: impl Iterator<Item = (String, String)>) -> ErrorShape {
    let issues: Vec<Value> = issues.map(|(path, message)| json!({"path": path, "message": message})).collect();
    ErrorShape::invalid("invalid config").with(json!({"issues": issues}))
}

fn issue(path: &[String], message: impl Into<String>) -> ErrorShape {
    invalid([(path.join("."), message.into())].into_iter())
}

fn parse(text: &str) -> Result<Value, ErrorShape> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    edit::json5_value(text).map_err(|why| issue(&[], why))
}

fn whole(before: &str, raw: &str) -> Result<String, ErrorShape> {
    let (old, new) = (parse(before)?, parse(raw)?);
    if !new.is_object() {
        return Err(issue(&[], "the config must be an object"));
    }
    let mut kept = Vec::new();
    keep(&new, Some(&old), &mut Vec::new(), &mut kept)?;
    kept.into_iter().try_fold(raw.to_owned(), |text, (path, value)| {
        edit::set(&text, &path, &value).map_err(|e| issue(&path, e.to_string()))
    })
}

fn patched(before: &str, raw: &str) -> Result<String, ErrorShape> {
    let (old, patch) = (parse(before)?, parse(raw)?);
    let Value::Object(patch) = patch else { return Err(issue(&[], "the patch must be an object")) };
    let mut text = before.to_owned();
    merge(&mut text, &old, &patch, &mut Vec::new())?;
    Ok(text)
}

fn merge(text: &mut String, old: &Value, patch: &Map<String, Value>, path: &mut Vec<String>) -> Result<(), ErrorShape> {
    for (key, value) in patch {
        path.push(key.clone());
        let there = edit::get(old, path);
        let failed = |e: edit::EditError| issue(path, e.to_string());
        match value {
            Value::Null => {
                if let Some(after) = edit::unset(text, path).map_err(failed)? {
                    *text = after;
                }
            }
            Value::Object(inner) if there.is_some_and(Value::is_object) => merge(text, old, inner, path)?,
            value => {
                let mut value = value.clone();
                let mut kept = Vec::new();
                keep(&value, there, &mut path.clone(), &mut kept)?;
                for (at, secret) in kept {
                    put(&mut value, &at[path.len()..], secret);
                }
                *text = edit::set(text, path, &value).map_err(failed)?;
            }
        }
        path.pop();
    }
    Ok(())
}

fn put(value: &mut Value, path: &[String], new: Value) {
    let Some((step, rest)) = path.split_first() else {
        *value = new;
        return;
    };
    let next = match value {
        Value::Object(map) => map.get_mut(step),
        Value::Array(list) => step.parse::<usize>().ok().and_then(|n| list.get_mut(n)),
        _ => None,
    };
    if let Some(next) = next {
        put(next, rest, new);
    }
}

/// Finds the markers of hidden secrets in a new value, each with what it stood for in the old one.
fn keep(
    new: &Value,
    old: Option<&Value>,
    path: &mut Vec<String>,
    kept: &mut Vec<(Vec<String>, Value)>,
) -> Result<(), ErrorShape> {
    let mut step = |step: String, new: &Value, old: Option<&Value>| {
        path.push(step);
        let done = keep(new, old, path, kept);
        path.pop();
        done
    };
    match new {
        Value::Object(map) => map.iter().try_for_each(|(k, v)| step(k.clone(), v, old.and_then(|o| o.get(k)))),
        Value::Array(list) => {
            list.iter().enumerate().try_for_each(|(n, v)| step(n.to_string(), v, old.and_then(|o| o.get(n))))
        }
        Value::String(text) if text.contains(REDACTED) => {
            let hidden = old.map(|old| {
                // Hidden as a part of an address it is found by hiding the old one in the same way.
                let mut hidden = json!({ "x": old });
                redact(&mut hidden, REDACTED, &mut Vec::new());
                hidden["x"].take()
            });
            match old {
                Some(old) if text == REDACTED || hidden.as_ref() == Some(new) => {
                    kept.push((path.clone(), old.clone()));
                    Ok(())
                }
                _ => Err(issue(path, format!("{REDACTED} stands here, but there is no secret that could be kept"))),
            }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ResolveEnv;

    const FILE: &str = "{ // mine\n  gateway: { auth: { token: 'a-long-secret-token' } },\n  models: { providers: { a: { api: 'openai-completions', baseUrl: 'http://127.0.0.1:1/v1', apiKey: 'k-secret-1' } } },\n  channels: { whatsapp: { dmPolicy: 'pairing' } },\n}";

    fn place(text: &str) -> (tempfile::TempDir, ConfigSource) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verso.json");
        std::fs::write(&path, text).unwrap();
        (dir, ConfigSource { path, env: ResolveEnv::new("/h", "/s") })
    }

    #[test]
    fn an_edit_needs_the_hash_of_what_it_was_made_on() {
        let (_dir, source) = place(FILE);
        let patch = "{ channels: { whatsapp: { dmPolicy: 'disabled' } } }";
        let told = |base: Option<&str>| update(&source, patch, base, patched).unwrap_err().message;
        assert_eq!(told(None), "config base hash required; re-run config.get and retry");
        assert_eq!(told(Some("0")), "config changed since last load; re-run config.get and retry");
        let after = update(&source, patch, Some(&hash(FILE)), patched).unwrap();
        assert!(after.contains("// mine") && after.contains("'disabled'") && after.contains("a-long-secret-token"));
        assert_eq!(std::fs::read_to_string(&source.path).unwrap(), after);
        assert_eq!(told(Some(&hash(FILE))), "config changed since last load; re-run config.get and retry");
    }

    #[test]
    fn a_marker_keeps_the_secret_that_it_hides() {
        let (_dir, source) = place(FILE);
        let (shown, _) = redact_text(FILE, REDACTED).unwrap();
        assert!(!shown.contains("secret"), "{shown}");
        let after = update(&source, &shown.replace("pairing", "disabled"), Some(&hash(FILE)), whole).unwrap();
        assert_eq!(edit::json5_value(&after), edit::json5_value(&FILE.replace("pairing", "disabled")));
        let patch = format!("{{ models: {{ providers: {{ a: {{ apiKey: '{REDACTED}', timeoutSeconds: 5 }} }} }} }}");
        let after = update(&source, &patch, Some(&hash(&after)), patched).unwrap();
        assert!(after.contains("k-secret-1") && after.contains("timeoutSeconds"), "{after}");
        let stray = format!("{{ models: {{ providers: {{ b: {{ api: 'echo', apiKey: '{REDACTED}' }} }} }} }}");
        let error = update(&source, &stray, Some(&hash(&after)), patched).unwrap_err();
        assert_eq!(error.details.unwrap()["issues"][0]["path"], "models.providers.b.apiKey");
    }

    #[test]
    fn what_would_not_load_is_not_written() {
        let (_dir, source) = place(FILE);
        let error = update(&source, "{ gateway: 5 }", Some(&hash(FILE)), whole).unwrap_err();
        assert_eq!(error.message, "invalid config");
        assert_eq!(error.details.unwrap()["issues"][0]["path"], "gateway");
        let after = update(&source, "{ gateway: null }", Some(&hash(FILE)), patched).unwrap();
        assert!(!after.contains("gateway"), "null deletes: {after}");
    }
}
