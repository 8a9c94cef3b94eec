//! What is read from WhatsApp's messages. The cases hold them as JSON; they are encoded as WhatsApp sends them and read again.

use std::sync::LazyLock;

use super::common::*;
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage};
use verso::whatsapp::probe::{probe, probe_card};

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "extractText" => (|i| part(&i["message"], "text"), NEVER),
        "extractMediaPlaceholder" => (|i| part(&i["message"], "placeholder"), NEVER),
        "body(text+location+placeholder)" => (|i| part(&i["message"], "body"), NEVER),
        "describeReplyContext" => (reply_context, |_, e| {
            text(&e["senderE164"]).ends_with("@lid").then_some("13.1 a LID is not a phone number")
        }),
        "extractMentionedJids" => (mentioned, NEVER),
        "formatLocationText" => (location, |_, e| text(e).contains("±0m").then_some("7.4 no distance is no accuracy")),
        "parseVcard" => (|i| Ok(probe_card(text(i))), NEVER),
        _ => return None,
    })
}

/// WhatsApp's own description of its messages, from the package that Verso is built with.
static MESSAGE: LazyLock<prost_reflect::MessageDescriptor> = LazyLock::new(|| {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let ask = |args: &[&str]| {
        let asked = std::process::Command::new(&cargo).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output();
        let asked = asked.expect("cargo runs");
        assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
        asked
    };
    // Packages of other systems are not on this machine.
    let version = String::from_utf8(ask(&["-vV"]).stdout).expect("text");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo names its host");
    let asked = ask(&["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", host]);
    let metadata: Value = serde_json::from_slice(&asked.stdout).expect("cargo metadata");
    let package = metadata["packages"].as_array().into_iter().flatten().find(|p| p["name"] == "waproto");
    let manifest = std::path::Path::new(text(&package.expect("waproto is a dependency")["manifest_path"]));
    let bytes = std::fs::read(manifest.with_file_name("src").join("whatsapp.desc")).expect("its description");
    let pool = DescriptorPool::decode(bytes.as_slice()).expect("a description");
    pool.get_message_by_name("whatsapp.Message").expect("whatsapp.Message")
});

fn read(message: &Value) -> Result<Value, LeftOut> {
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message = DynamicMessage::deserialize_with_options(MESSAGE.clone(), without_nulls(message), &options)
        .map_err(|_| LeftOut("a message that WhatsApp's protocol cannot hold"))?;
    Ok(probe(&message.encode_to_vec()).expect("a message"))
}

fn part(message: &Value, key: &str) -> Outcome {
    Ok(read(message)?[key].clone())
}

fn reply_context(input: &Value) -> Outcome {
    let quote = part(&input["message"], "quote")?;
    if quote.is_null() {
        return Ok(Value::Null);
    }
    let number = jid(text(&quote["sender"])).and_then(|jid| jid.e164());
    let sender = number.as_ref().map_or_else(|| quote["sender"].clone(), |number| json!(number));
    Ok(json!({
        "id": quote["id"], "body": quote["body"], "senderJid": quote["sender"], "senderE164": number,
        "sender": if sender.is_null() { json!("unknown sender") } else { sender },
    }))
}

fn mentioned(input: &Value) -> Outcome {
    let found = read(input)?;
    let own_words = !found["body"].is_null();
    let list = if own_words { &found["mentions"] } else { &found["mentioned"] };
    Ok(if list.as_array().is_none_or(Vec::is_empty) { Value::Null } else { list.clone() })
}

/// The words for a place, from a message that holds it.
fn location(input: &Value) -> Outcome {
    let live = input["source"] == "live" || input["isLive"] == true;
    let number = |key: &str| input[key].as_f64();
    let mut place = json!({
        "degreesLatitude": number("latitude"), "degreesLongitude": number("longitude"),
        "accuracyInMeters": number("accuracy").filter(|m| *m > 0.0).map(f64::round),
    });
    if live {
        place["caption"] = input["caption"].clone();
    } else {
        place["name"] = input["name"].clone();
        place["address"] = input["address"].clone();
        place["comment"] = input["caption"].clone();
    }
    let kind = if live { "liveLocationMessage" } else { "locationMessage" };
    part(&Value::Object(Map::from_iter([(kind.to_owned(), place)])), "location")
}
