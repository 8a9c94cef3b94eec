//! What can be asked of the control API.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Refused;
use super::trouble::{fault, kick, media_fault, version};
use super::write::{group, group_change, group_send, presence, react, read_message, send, status, typing};
use crate::appstate::{PastChat, PastMessage};
use crate::device::LinkedDevice;
use crate::media::Kind;
use crate::phone::{ReceiptKind, Received};
use crate::world::World;

/// Every name with what it takes. `?` marks what may be left out; `pn` is a phone number.
pub const VERBS: &[(&str, &str)] = &[
    ("addresses", "-> ws, media, root (hex), media_cert (PEM)"),
    ("scan", "pn, qr -> device, jid, lid"),
    ("code", "pn, code -> device, jid, lid"),
    ("contact", "pn, name?, auto_receipts?, auto_read? -> jid, lid"),
    (
        "history",
        "pn, chats [{with (pn), name?, texts [{text, from_me?, t? (unix seconds)}]}]; told to what is linked from now on",
    ),
    ("devices", "pn -> devices"),
    ("unlink", "pn, device"),
    ("reinstall", "pn, announced?"),
    (
        "send",
        "from, to, via? (lid|pn), + content: text, mention?, quote? | image|video|audio|document|sticker (base64), caption?, mime?, file_name?, voice? -> id",
    ),
    ("group", "owner, subject, members, via? (lid|pn) -> group"),
    ("gsend", "from, group, + content as for send -> id"),
    ("gchange", "group, by, what, who?, text?"),
    ("status", "from, to [pn], text -> id; a story for these people"),
    ("react", "from, to, id, emoji | from, group, author, id, emoji -> id"),
    ("type", "from, to, on?"),
    ("presence", "pn, online"),
    ("inbox", "pn -> messages, receipts, undecryptable"),
    (
        "expect",
        "pn, + one of: text | media (id) | reaction (id) | receipt (id), kind? (delivered|read|played|retry) | typing (pn); each is returned once",
    ),
    ("kick", "pn, device, how (conflict|device_removed|stream_end|close|drop|freeze|a stream error code)"),
    (
        "fault",
        "pn?, device?, kind, + ms | messages | error | xmlns, how (silent|empty|code) | reason, code?, seconds? | version (min_version) | via (dead_address: lid|pn), contact? (pn) | how (page: silent|hang_up|huge|garbage|a status), text?; kind clear ends all; kind refuse takes n",
    ),
    (
        "media_fault",
        "on (upload|download), kind (status|slow|cut|flip|clear|expire_auth|remove), value?, times?, path?",
    ),
    (
        "version",
        "current? (2.3000.N or N) -> current, lookups; the version of WhatsApp Web that the page at /sw.js names",
    ),
    ("trace", "since? -> lines, last"),
    ("stats", "-> sockets, devices, unknown_iqs, unanswered_iqs, uploads, downloads"),
    ("shutdown", ""),
];

pub(super) async fn call(world: &World, name: &str, parameters: Value) -> Result<Value, Refused> {
    match name {
        "addresses" => Ok(addresses(world)),
        "scan" => scan(world, read(parameters)?).await,
        "code" => code(world, read(parameters)?).await,
        "contact" => Ok(contact(world, read(parameters)?)),
        "history" => Ok(history(world, read(parameters)?)),
        "devices" => Ok(devices(world, &read(parameters)?)),
        "unlink" => unlink(world, &read(parameters)?),
        "reinstall" => Ok(reinstall(world, &read(parameters)?)),
        "send" => send(world, read_message(parameters, &["from", "to", "via"])?),
        "group" => Ok(group(world, &read(parameters)?)),
        "gsend" => group_send(world, read_message(parameters, &["from", "group"])?),
        "gchange" => group_change(world, &read(parameters)?),
        "status" => Ok(status(world, &read(parameters)?)),
        "react" => react(world, &read(parameters)?),
        "type" => Ok(typing(world, &read(parameters)?)),
        "presence" => Ok(presence(world, &read(parameters)?)),
        "inbox" => Ok(inbox(world, &read(parameters)?)),
        "expect" => expect(world, read(parameters)?).await,
        "kick" => kick(world, &read(parameters)?),
        "fault" => fault(world, read(parameters)?),
        "media_fault" => media_fault(world, &read(parameters)?),
        "version" => version(world, &read(parameters)?),
        "trace" => Ok(trace(world, &read(parameters)?)),
        "stats" => Ok(stats(world)),
        _ => {
            let known: Vec<&str> = VERBS.iter().map(|(name, _)| *name).collect();
            Err(Refused::not_found(format!("no verb {name:?}; there are {}", known.join(", "))))
        }
    }
}

pub(super) fn read<T: DeserializeOwned>(parameters: Value) -> Result<T, Refused> {
    serde_json::from_value(parameters).map_err(Refused::bad)
}

pub(super) fn addresses(world: &World) -> Value {
    let root: String = world.root_public_key().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "ws": world.ws_url(), "media": world.media_url(), "root": root, "media_cert": world.media_cert_pem() })
}

// --- phones and linking ----------------------------------------------------------------------------------------------

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scan {
    pn: String,
    qr: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    pn: String,
    code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contact {
    pn: String,
    name: Option<String>,
    auto_receipts: Option<bool>,
    auto_read: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pn {
    pn: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Device {
    pn: String,
    device: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reinstall {
    pn: String,
    #[serde(default)]
    announced: bool,
}

fn linked(device: &LinkedDevice) -> Value {
    json!({ "device": device.id(), "jid": device.jid().to_string(), "lid": device.lid().to_string() })
}

async fn scan(world: &World, asked: Scan) -> Result<Value, Refused> {
    world.phone(&asked.pn).scan_qr(&asked.qr).await.map(|device| linked(&device)).map_err(Refused::bad)
}

async fn code(world: &World, asked: Code) -> Result<Value, Refused> {
    world.phone(&asked.pn).enter_code(&asked.code).await.map(|device| linked(&device)).map_err(Refused::bad)
}

fn contact(world: &World, asked: Contact) -> Value {
    let phone = world.phone(&asked.pn);
    if let Some(name) = &asked.name {
        phone.set_name(name);
    }
    if let Some(yes) = asked.auto_receipts {
        phone.set_auto_receipts(yes);
    }
    if let Some(yes) = asked.auto_read {
        phone.set_auto_read(yes);
    }
    json!({ "jid": phone.jid().to_string(), "lid": phone.lid().to_string() })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct History {
    pn: String,
    chats: Vec<OldChat>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OldChat {
    with: String,
    name: Option<String>,
    #[serde(default)]
    texts: Vec<OldText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OldText {
    text: String,
    #[serde(default)]
    from_me: bool,
    t: Option<u64>,
}

fn history(world: &World, asked: History) -> Value {
    let now = crate::state::unix_now();
    let chats = asked.chats.into_iter().enumerate().map(|(n, chat)| {
        let messages = chat.texts.into_iter().enumerate().map(|(m, old)| PastMessage {
            id: format!("OLD{n:03}{m:05}"),
            from_me: old.from_me,
            participant: None,
            t: old.t.unwrap_or(now),
            text: old.text,
        });
        let jid = world.phone(&chat.with).jid().to_string();
        PastChat { jid, name: chat.name, messages: messages.collect() }
    });
    let chats = chats.collect();
    world.phone(&asked.pn).set_history(chats);
    json!({})
}

fn devices(world: &World, asked: &Pn) -> Value {
    let devices: Vec<Value> = world.phone(&asked.pn).devices().iter().map(device_facts).collect();
    json!({ "devices": devices })
}

fn device_facts(device: &LinkedDevice) -> Value {
    let mut facts = linked(device);
    facts["number"] = device.number().into();
    facts["connected"] = device.connected().into();
    facts["active"] = device.active().into();
    facts["sockets_opened"] = device.sockets_opened().into();
    facts["queue"] = device.offline_queue_len().into();
    facts["one_time_keys"] = device.one_time_keys_left().into();
    facts["handshake"] = device.handshake().map(|how| format!("{how:?}")).into();
    facts
}

pub(super) fn device(world: &World, pn: &str, n: u16) -> Result<LinkedDevice, Refused> {
    let device = world.device(pn, n);
    if device.linked() { Ok(device) } else { Err(Refused::not_found(format!("{pn} has no linked device {n}"))) }
}

fn unlink(world: &World, asked: &Device) -> Result<Value, Refused> {
    world.phone(&asked.pn).unlink(&device(world, &asked.pn, asked.device)?);
    Ok(json!({}))
}

fn reinstall(world: &World, asked: &Reinstall) -> Value {
    world.phone(&asked.pn).reinstall(asked.announced);
    json!({})
}

// --- looking and waiting ---------------------------------------------------------------------------------------------

fn shown(received: &Received) -> Value {
    let m = &received.message;
    let kinds = [
        (m.image_message.is_set(), Kind::Image),
        (m.video_message.is_set(), Kind::Video),
        (m.audio_message.is_set(), Kind::Audio),
        (m.document_message.is_set() || m.document_with_caption_message.is_set(), Kind::Document),
        (m.sticker_message.is_set(), Kind::Sticker),
    ];
    let media = kinds.iter().find(|(there, _)| *there).map(|(_, kind)| kind.as_str());
    json!({
        "id": received.id,
        "from": received.from,
        "device": received.device,
        "chat": received.chat,
        "own": received.own,
        "text": received.text,
        "media": media,
        "reaction": received.reaction.as_ref().map(|r| json!({ "target": r.target, "emoji": r.emoji })),
    })
}

fn inbox(world: &World, asked: &Pn) -> Value {
    let phone = world.phone(&asked.pn);
    let messages: Vec<Value> = phone.inbox().iter().map(shown).collect();
    let receipts: Vec<Value> = phone
        .receipts()
        .iter()
        .map(|r| json!({ "id": r.id, "from": r.from, "device": r.device, "kind": format!("{:?}", r.kind).to_lowercase() }))
        .collect();
    let undecryptable: Vec<Value> = phone
        .undecryptable()
        .iter()
        .map(|u| json!({ "id": u.id, "from": u.from, "reason": u.reason, "recovered": u.recovered }))
        .collect();
    json!({ "messages": messages, "receipts": receipts, "undecryptable": undecryptable })
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ReceiptName {
    Delivered,
    Read,
    Played,
    Retry,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    pn: String,
    text: Option<String>,
    media: Option<String>,
    reaction: Option<String>,
    receipt: Option<String>,
    kind: Option<ReceiptName>,
    typing: Option<String>,
}

async fn expect(world: &World, asked: Expect) -> Result<Value, Refused> {
    let phone = world.phone(&asked.pn);
    match (asked.text, asked.media, asked.reaction, asked.receipt, asked.typing) {
        (Some(text), None, None, None, None) => Ok(shown(&phone.expect_text(text).await.map_err(Refused::timeout)?)),
        (None, Some(id), None, None, None) => {
            let received = phone.expect_message(|r| r.id == id).await.map_err(Refused::timeout)?;
            let mut facts = shown(&received);
            match world.media().open(&received.message) {
                Ok(Some(file)) => {
                    facts["base64"] = STANDARD.encode(&file.bytes).into();
                    facts["mime"] = file.mime.into();
                    facts["file_name"] = file.file_name.into();
                    Ok(facts)
                }
                Ok(None) => Err(Refused::bad(format!("{id} carries no file"))),
                Err(error) => Err(Refused::bad(format!("{id} cannot be opened: {error:#}"))),
            }
        }
        (None, None, Some(id), None, None) => {
            let reaction = phone.expect_reaction(&id).await.map_err(Refused::timeout)?;
            Ok(json!({ "target": reaction.target, "emoji": reaction.emoji }))
        }
        (None, None, None, Some(id), None) => {
            let kind = match asked.kind {
                None | Some(ReceiptName::Delivered) => ReceiptKind::Delivered,
                Some(ReceiptName::Read) => ReceiptKind::Read,
                Some(ReceiptName::Played) => ReceiptKind::Played,
                Some(ReceiptName::Retry) => ReceiptKind::Retry,
            };
            let receipt = phone.expect_receipt(&id, kind).await.map_err(Refused::timeout)?;
            Ok(json!({ "id": receipt.id, "from": receipt.from, "device": receipt.device }))
        }
        (None, None, None, None, Some(pn)) => {
            let sign = phone.expect_typing(&world.phone(&pn)).await.map_err(Refused::timeout)?;
            Ok(json!({ "from": sign.from, "what": sign.what, "chat": sign.chat }))
        }
        _ => Err(Refused::bad("say exactly one of text, media, reaction, receipt, typing")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trace {
    #[serde(default)]
    since: u64,
}

fn trace(world: &World, asked: &Trace) -> Value {
    let lines: Vec<String> = world.trace_since(asked.since).iter().map(ToString::to_string).collect();
    json!({ "lines": lines, "last": world.trace_position() })
}

fn stats(world: &World) -> Value {
    let devices: Vec<Value> = world.devices().iter().map(device_facts).collect();
    json!({
        "sockets": world.sockets_opened(),
        "devices": devices,
        "unknown_iqs": world.unknown_iqs(),
        "unanswered_iqs": world.unanswered_iqs(),
        "uploads": world.media().uploads().len(),
        "downloads": world.media().downloads(),
    })
}
