//! What commands and the status say of accounts.

use super::common::*;
use verso::api::protocol::ChannelAccount;
use verso::api::status_issue;

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "resolveChannelConfigWrites" => (config_writes, NEVER),
        "config.isEnabled" => (is_enabled, NEVER),
        "status.collectStatusIssues" => (issues, other_fix),
        "outbound.resolveTarget" => (target, explicit_without_target),
        _ => return None,
    })
}

fn config_writes(input: &Value) -> Outcome {
    let config = config(&input["cfg"])?;
    Ok(json!(account_of(&config, &input["accountId"])?.rules.config_writes))
}

fn is_enabled(input: &Value) -> Outcome {
    let mut cfg = if input["cfg"].is_object() { input["cfg"].clone() } else { json!({}) };
    cfg["channels"]["whatsapp"]["accounts"] = json!({"work": {"enabled": input["account"]["enabled"]}});
    let config = config(&cfg)?;
    Ok(json!(account_of(&config, &json!("work"))?.link.enabled))
}

fn issues(input: &Value) -> Outcome {
    let account = |raw: &Value| {
        let mut raw = without_nulls(raw);
        // What the original's snapshot leaves out is on.
        if raw["enabled"].is_null() {
            raw["enabled"] = json!(true);
        }
        serde_json::from_value::<ChannelAccount>(raw).expect("an account")
    };
    let accounts = input.as_array().into_iter().flatten().map(account);
    Ok(accounts.filter_map(|account| status_issue(&account)).map(|issue| json!(issue)).collect())
}

fn other_fix(input: &Value, expected: &Value) -> Option<&'static str> {
    let Ok(got) = issues(input) else { return None };
    let stopped = |a: &Value| a["linked"] == true && a["running"] != true && a["enabled"] != false;
    if input.as_array().is_some_and(|accounts| accounts.iter().any(stopped)) {
        return Some("16.2 linked but stopped is reported");
    }
    let without_fix = |issues: &Value| -> Vec<Value> {
        let bare = |issue: &Value| {
            let mut issue = issue.clone();
            issue.as_object_mut().map(|o| o.remove("fix"));
            issue
        };
        issues.as_array().into_iter().flatten().map(bare).collect()
    };
    (without_fix(&got) == without_fix(expected)).then_some("16.2 the fix names a command that Verso has")
}

fn target(input: &Value) -> Outcome {
    if input["mode"] != "explicit" {
        return Err(LeftOut("Verso redirects nothing: answers go to the chat that asked"));
    }
    Ok(match Target::parse(text(&input["to"])) {
        Ok(Target::Number(number)) => json!({"ok": true, "to": number}),
        Ok(other) => json!({"ok": true, "to": other.jid()}),
        Err(error) => json!({"ok": false, "error": error.to_string()}),
    })
}

/// Where the target is missing or wrong Verso says so, without the way out over `allowFrom`.
fn explicit_without_target(input: &Value, _: &Value) -> Option<&'static str> {
    let to = text(&input["to"]);
    let lid = to.to_lowercase().ends_with("@lid");
    (lid || Target::parse(to).is_err()).then_some("13.1 an explicit target that is empty or wrong is an error")
}
