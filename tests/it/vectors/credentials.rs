//! Credentials on disk: restored, found, deleted.

use std::fs;
use std::path::Path;

use super::common::*;
use verso::store::credentials::{LinkFiles, any_files, auth_dir, link_state, remove};
use verso::store::paths::StatePaths;

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "creds restore + existence" => (restore, |input, _| {
            let nobody = |key: &str| parsed(&input[key]).is_some_and(|creds| creds["me"]["id"].as_str().is_none());
            let broken =
                |key: &str| input[key].as_str().is_some_and(|text| text.len() > 1) && parsed(&input[key]).is_none();
            if broken("creds") {
                Some("4.3 credentials that do not parse are restored as well")
            } else {
                (nobody("creds") || nobody("bak")).then_some("4.1 credentials name whose they are")
            }
        }),
        "logoutWeb" => (logout, |input, expected| {
            // Only what was logged out of is emptied; the original forgets the files that newer versions of Baileys write.
            let newer = |name: &&str| ["device-list-", "lid-mapping-", "tctoken-"].iter().any(|p| name.starts_with(p));
            let forgotten = strings(&expected["remaining"]).iter().any(newer);
            let emptied = input["legacy"] == true && expected["returned"] == true;
            (emptied && forgotten).then_some("4.7 logout deletes every session file, those of newer Baileys too")
        }),
        "legacy auth dir selection" => (legacy, NEVER),
        _ => return None,
    })
}

/// A case's credentials, where they are any.
fn parsed(text_of_file: &Value) -> Option<Value> {
    serde_json::from_str::<Value>(text(text_of_file)).ok().filter(Value::is_object)
}

/// The keys without which no program could log in; the cases leave them out.
const KEYS: [&str; 2] = ["noiseKey", "signedIdentityKey"];

fn restore(input: &Value) -> Outcome {
    let dir = tempfile::tempdir().expect("temp dir");
    for (key, name) in [("creds", "creds.json"), ("bak", "creds.json.bak")] {
        let Some(written) = input[key].as_str() else { continue };
        let complete = parsed(&input[key]).map(|mut creds| {
            KEYS.iter().for_each(|key| creds[*key] = json!({}));
            creds.to_string()
        });
        fs::write(dir.path().join(name), complete.as_deref().unwrap_or(written)).expect("written");
    }
    let (exists, number, jid) = match link_state(dir.path()) {
        LinkFiles::Linked { identity, .. } => {
            (true, identity.number().map(|n| n.to_string()), Some(identity.jid.to_string()))
        }
        LinkFiles::NotLinked | LinkFiles::Unusable(_) => (false, None, None),
    };
    let after = fs::read_to_string(dir.path().join("creds.json")).ok().map(|after| match parsed(&json!(after)) {
        Some(Value::Object(mut creds)) => {
            KEYS.iter().for_each(|key| drop(creds.shift_remove(*key)));
            Value::Object(creds).to_string()
        }
        _ => after,
    });
    Ok(json!({"exists": exists, "credsAfter": after, "self": {"e164": number, "jid": jid}}))
}

fn logout(input: &Value) -> Outcome {
    let state = tempfile::tempdir().expect("temp dir");
    let paths = StatePaths::new(state.path(), None);
    let legacy = input["legacy"] == true;
    let dir = if legacy { paths.credentials().to_path_buf() } else { paths.whatsapp_auth(&AccountId::new("default")) };
    fs::create_dir_all(&dir).expect("made");
    let mut names = vec![
        "app-state-sync-key-A.json",
        "app-state-sync-version-x.json",
        "device-list-1.json",
        "lid-mapping-1_reverse.json",
        "pre-key-1.json",
        "sender-key-9.json",
        "sender-key-memory-9.json",
        "session-1.0.json",
        "tctoken-1.json",
    ];
    if legacy {
        // The folder is shared with others there.
        names.extend(["oauth.json", "other.json", "session-1.txt", "whatsapp-pairing.json"]);
        fs::create_dir_all(dir.join("whatsapp")).expect("made");
    }
    if input["noCreds"] != true {
        names.push("creds.json");
    }
    for name in names {
        fs::write(dir.join(name), "{}").expect("written");
    }
    let had = any_files(&dir);
    let removed = remove(&paths, &dir).expect("removable");
    assert_eq!(had, removed);
    let log =
        if removed { "Cleared WhatsApp Web credentials." } else { "No WhatsApp Web session found; nothing to delete." };
    Ok(json!({"returned": removed, "logs": [log], "dirExists": dir.exists(), "remaining": list(&dir)}))
}

fn list(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn legacy(input: &Value) -> Outcome {
    let state = tempfile::tempdir().expect("temp dir");
    let paths = StatePaths::new(state.path(), None);
    let place = |dir: &Path| {
        fs::create_dir_all(dir).expect("made");
        fs::write(dir.join("creds.json"), "{}").expect("written");
    };
    if input["root"] == true {
        place(paths.credentials());
    }
    if input["def"] == true {
        place(&paths.whatsapp_auth(&AccountId::new("default")));
    }
    let dir = auth_dir(&paths, &AccountId::new(text(&input["account"])), None);
    let shown = dir.display().to_string().replace(&state.path().display().to_string(), "<STATE>");
    Ok(json!({"authDir": shown, "isLegacy": dir == paths.credentials()}))
}
