//! Holds a tree against the schema and reports everything at once: unknown keys with the nearest known one, wrong types, values out of bounds.
//!
//! The wording is that of the original (vectors `config_schema`), so that people find the same sentences.

use serde_json::Value;

use super::problem::{Finding, Findings, KeyPath};
use super::source::{Kind, Node};

/// Names that are at least this alike are taken for a slip of the finger (measured in runtime.md 3).
const ALIKE: f64 = 0.85;

/// Checks the whole tree.
pub(super) fn check(node: &Node, schema: &Value, findings: &mut Findings) {
    Checker { root: schema, findings }.value(node, schema, &KeyPath::default());
}

struct Checker<'a> {
    root: &'a Value,
    findings: &'a mut Findings,
}

impl<'a> Checker<'a> {
    fn problem(&mut self, node: &Node, path: &KeyPath, message: String, hint: Option<String>) {
        self.findings.problems.push(Finding {
            path: path.clone(),
            message,
            hint,
            at: node.at.or(node.key_at),
            other: None,
        });
    }

    fn value(&mut self, node: &Node, schema: &'a Value, path: &KeyPath) {
        let schema = self.target(schema);
        if let Some(options) = options(schema) {
            self.choice(node, &options, path);
            return;
        }
        let Some(wanted) = schema.get("type").and_then(Value::as_str) else { return };
        let fits = match (wanted, &node.kind) {
            ("integer", Kind::Number(n)) => n.is_i64() || n.is_u64(),
            ("number", Kind::Number(_)) => true,
            _ => wanted == node.type_name(),
        };
        if !fits {
            self.wrong_type(node, wanted, path);
            return;
        }
        match &node.kind {
            Kind::Number(n) => self.bounds(node, n.as_f64().unwrap_or(0.0), schema, path),
            Kind::Text(text) => self.length(node, text, schema, path),
            Kind::List(list) => {
                if let Some(items) = schema.get("items") {
                    for (i, item) in list.iter().enumerate() {
                        self.value(item, items, &path.index(i));
                    }
                }
            }
            Kind::Map(map) => {
                for (key, value) in map {
                    self.key(key, value, schema, path);
                }
                for key in
                    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
                {
                    if !map.contains_key(key) {
                        self.problem(
                            node,
                            &path.key(key),
                            format!("the key {key} is missing"),
                            Some(format!("add {key} here")),
                        );
                    }
                }
            }
            Kind::Null | Kind::Bool(_) => {}
        }
    }

    /// Follows `$ref`.
    fn target(&self, mut schema: &'a Value) -> &'a Value {
        while let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let Some(next) = self.root.pointer(name.trim_start_matches('#')) else { break };
            schema = next;
        }
        schema
    }

    fn key(&mut self, key: &str, value: &Node, schema: &'a Value, path: &KeyPath) {
        let at = path.key(key);
        let properties = schema.get("properties").and_then(Value::as_object);
        if let Some(known) = properties.and_then(|p| p.get(key)) {
            self.value(value, known, &at);
            return;
        }
        match schema.get("additionalProperties") {
            Some(Value::Bool(false)) | None => {
                let known = properties.into_iter().flatten().map(|(k, _)| k.as_str());
                let hint = match nearest(key, known) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => "remove it; verso config schema lists every key".to_owned(),
                };
                let message = format!("Unrecognized key: \"{key}\"");
                self.findings.problems.push(Finding {
                    path: at,
                    message,
                    hint: Some(hint),
                    at: value.key_at.or(value.at),
                    other: None,
                });
            }
            Some(other) => self.value(value, other, &at),
        }
    }

    fn wrong_type(&mut self, node: &Node, wanted: &str, path: &KeyPath) {
        let got = node.type_name();
        let message = match (wanted, got) {
            ("integer", "number") => "Invalid input: expected int, received number".to_owned(),
            ("integer", _) => format!("Invalid input: expected number, received {got}"),
            _ => format!("Invalid input: expected {wanted}, received {got}"),
        };
        let hint = match (wanted, &node.kind) {
            (_, Kind::Null) => "remove the key to use its default".to_owned(),
            ("string", Kind::Number(n)) => format!("put it into quotes: \"{n}\""),
            ("boolean", Kind::Text(_)) => "write true or false without quotes".to_owned(),
            ("number" | "integer", Kind::Text(t)) if t.trim().parse::<f64>().is_ok() => {
                format!("write {} without quotes", t.trim())
            }
            ("array", Kind::Text(_) | Kind::Number(_)) => "put it into brackets: [ … ]".to_owned(),
            ("integer", _) => "write a whole number".to_owned(),
            ("object", _) => "write { … }".to_owned(),
            _ => format!("write a value of type {wanted}"),
        };
        self.problem(node, path, message, Some(hint));
    }

    fn choice(&mut self, node: &Node, options: &[&str], path: &KeyPath) {
        let Kind::Text(text) = &node.kind else {
            self.wrong_type(node, "string", path);
            return;
        };
        if !options.contains(&text.as_str()) {
            let list: Vec<String> = options.iter().map(|o| format!("\"{o}\"")).collect();
            let hint = nearest(text, options.iter().copied()).map(|near| format!("did you mean \"{near}\"?"));
            let hint = hint.unwrap_or_else(|| format!("\"{text}\" is none of them"));
            self.problem(node, path, format!("Invalid option: expected one of {}", list.join("|")), Some(hint));
        }
    }

    fn bounds(&mut self, node: &Node, number: f64, schema: &Value, path: &KeyPath) {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let message = if let Some(min) = bound("exclusiveMinimum").filter(|min| number <= *min) {
            format!("Too small: expected number to be >{min}")
        } else if let Some(min) = bound("minimum").filter(|min| number < *min) {
            format!("Too small: expected number to be >={min}")
        } else if let Some(max) = bound("maximum").filter(|max| number > *max) {
            format!("Too big: expected number to be <={max}")
        } else {
            return;
        };
        self.problem(node, path, message, Some(format!("it is {number}")));
    }

    fn length(&mut self, node: &Node, text: &str, schema: &Value, path: &KeyPath) {
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
        let count = text.chars().count() as u64;
        if let Some(min) = bound("minLength").filter(|min| count < *min) {
            self.problem(node, path, format!("Too small: expected string to have >={min} characters"), None);
        } else if let Some(max) = bound("maxLength").filter(|max| count > *max) {
            self.problem(node, path, format!("Too big: expected string to have <={max} characters"), None);
        }
    }
}

/// The texts that an enumeration allows.
fn options(schema: &Value) -> Option<Vec<&str>> {
    if let Some(list) = schema.get("enum").and_then(Value::as_array) {
        return Some(list.iter().filter_map(Value::as_str).collect());
    }
    let list = schema.get("oneOf").and_then(Value::as_array)?;
    let mut out = Vec::new();
    for one in list {
        match (one.get("const").and_then(Value::as_str), options(one)) {
            (Some(text), _) => out.push(text),
            (None, Some(more)) => out.extend(more),
            (None, None) => {}
        }
    }
    Some(out)
}

/// The known word that `word` was probably meant to be.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let lower = word.to_lowercase();
    let score = |k: &str| strsim::jaro_winkler(&lower, &k.to_lowercase());
    known.map(|k| (score(k), k)).filter(|(s, _)| *s >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, k)| k)
}
