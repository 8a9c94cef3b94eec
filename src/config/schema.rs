//! The JSON Schema of the config: made from `raw.rs`, printed by `verso config schema`, and what every file is checked against.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use super::raw::RawConfig;

/// JSON Schema (draft 2020-12) of the config file, with a description at every key.
pub fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let mut schema = schemars::schema_for!(RawConfig).to_value();
        tidy(&mut schema);
        // Keys that schemars takes for required have a default in Rust, but a binding without an agent is none.
        for (name, keys) in [
            ("AgentRaw", json!(["id"])),
            ("BindingRaw", json!(["agentId", "match"])),
            ("BindingMatchRaw", json!(["channel"])),
            ("BindingPeerRaw", json!(["kind", "id"])),
            ("SendRuleRaw", json!(["action"])),
        ] {
            if let Some(def) = schema.pointer_mut(&format!("/$defs/{name}")) {
                def["required"] = keys;
            }
        }
        // Other channels' settings are accepted; the loader takes them out before it checks, so that `whatsap` is still found.
        schema["title"] = json!("verso.json");
        schema
    })
}

/// `null` is no value in the config, objects have no keys but the known ones, and Rust's number formats mean nothing to a reader.
fn tidy(node: &mut Value) {
    match node {
        Value::Array(list) => list.iter_mut().for_each(tidy),
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|t| t != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(any)) = map.get_mut("anyOf") {
                any.retain(|t| t.get("type") != Some(&json!("null")));
                if let [Value::Object(only)] = any.as_slice() {
                    let only: Map<String, Value> = only.clone();
                    map.remove("anyOf");
                    for (k, v) in only {
                        map.entry(k).or_insert(v);
                    }
                }
            }
            map.remove("format");
            if map.get("default") == Some(&Value::Null) {
                map.remove("default");
            }
            if map.contains_key("properties") {
                map.remove("default");
                map.remove("required");
                map.entry("additionalProperties").or_insert(json!(false));
            }
            map.values_mut().for_each(tidy);
        }
        _ => {}
    }
}
