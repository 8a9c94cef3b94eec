//! What can be asked of the control API.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use waproto::buffa::MessageField;
use waproto::whatsapp as wa;

use super::Refused;
use crate::device::LinkedDevice;
use crate::faults::{Fault, IqFault, Kick};
use crate::group::Group;
use crate::groups;
use crate::media::{self, Attachment, Kind};
use crate::phone::{Addressing, Phone, ReceiptKind, Received, text_message};
use crate::world::World;

/// Every name with what it takes. `?` marks what may be left out; `pn` is a phone number.
pub const NAMES: &[(&str, &str)] = &[
    ("addresses", "-> ws, media, root (hex), media_cert (PEM)"),
    ("scan", "pn, qr -> device, jid, lid"),
    ("code", "pn, code -> device, jid, lid"),
    ("contact", "pn, name?, auto_receipts?, auto_read? -> jid, lid"),
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
        "pn?, device?, kind, + ms | messages | error | xmlns, how (silent|empty|code) | reason, code?, seconds?; kind clear ends all; kind refuse takes n",
    ),
    (
        "media_fault",
        "on (upload|download), kind (status|slow|cut|flip|clear|expire_auth|remove), value?, times?, path?",
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
        "devices" => Ok(devices(world, &read(parameters)?)),
        "unlink" => unlink(world, &read(parameters)?),
        "reinstall" => Ok(reinstall(world, &read(parameters)?)),
        "send" => send(world, read_message(parameters, &["from", "to", "via"])?),
        "group" => Ok(group(world, &read(parameters)?)),
        "gsend" => group_send(world, read_message(parameters, &["from", "group"])?),
        "gchange" => group_change(world, &read(parameters)?),
        "react" => react(world, &read(parameters)?),
        "type" => Ok(typing(world, &read(parameters)?)),
        "presence" => Ok(presence(world, &read(parameters)?)),
        "inbox" => Ok(inbox(world, &read(parameters)?)),
        "expect" => expect(world, read(parameters)?).await,
        "kick" => kick(world, &read(parameters)?),
        "fault" => fault(world, read(parameters)?),
        "media_fault" => media_fault(world, &read(parameters)?),
        "trace" => Ok(trace(world, &read(parameters)?)),
        "stats" => Ok(stats(world)),
        _ => {
            let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            Err(Refused::not_found(format!("no verb {name:?}; there are {}", known.join(", "))))
        }
    }
}

fn read<T: DeserializeOwned>(parameters: Value) -> Result<T, Refused> {
    serde_json::from_value(parameters).map_err(Refused::bad)
}

/// Where a message goes, and what it says: the parameters named in `place` apart from all others.
fn read_message<T: DeserializeOwned>(mut parameters: Value, place: &[&str]) -> Result<(T, Content), Refused> {
    let whole = parameters.as_object_mut().ok_or_else(|| Refused::bad("the parameters are not an object"))?;
    let place = place.iter().filter_map(|name| Some(((*name).to_owned(), whole.shift_remove(*name)?)));
    let place = Value::Object(place.collect());
    Ok((read(place)?, read(parameters)?))
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

fn device(world: &World, pn: &str, n: u16) -> Result<LinkedDevice, Refused> {
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

// --- writing ---------------------------------------------------------------------------------------------------------

/// What a message says: a text, or one file in base64.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Content {
    text: Option<String>,
    mention: Vec<String>,
    quote: Option<String>,
    image: Option<String>,
    video: Option<String>,
    audio: Option<String>,
    document: Option<String>,
    sticker: Option<String>,
    caption: Option<String>,
    mime: Option<String>,
    file_name: Option<String>,
    voice: bool,
}

impl Content {
    /// `by_lid` says how people are named in it.
    fn message(self, world: &World, from: &Phone, by_lid: bool) -> Result<wa::Message, Refused> {
        let files = [
            (Kind::Image, &self.image),
            (Kind::Video, &self.video),
            (Kind::Audio, &self.audio),
            (Kind::Document, &self.document),
            (Kind::Sticker, &self.sticker),
        ];
        let file = files.into_iter().find_map(|(kind, file)| file.as_ref().map(|file| (kind, file)));
        let name = |phone: &Phone| if by_lid { phone.lid().to_string() } else { phone.jid().to_string() };
        match (file, self.text) {
            (Some(_), Some(_)) => Err(Refused::bad("a message is a text or a file; the text of a file is its caption")),
            (None, None) => Err(Refused::bad("say text, image, video, audio, document or sticker")),
            (Some((kind, file)), None) => {
                let bytes = STANDARD.decode(file).map_err(|error| Refused::bad(format!("not base64: {error}")))?;
                let attachment = Attachment {
                    mime: self.mime,
                    caption: self.caption,
                    file_name: self.file_name,
                    voice: self.voice,
                    ..Attachment::new(kind, bytes)
                };
                let now = crate::state::unix_now() as i64;
                world.media().attach(&attachment, now).map_err(Refused::bad)
            }
            (None, Some(text)) if self.mention.is_empty() && self.quote.is_none() => Ok(text_message(&text)),
            (None, Some(text)) => {
                let quoted = self.quote.map(|id| quoted(world, from, &id, &name)).transpose()?.unwrap_or_default();
                let context = wa::ContextInfo {
                    mentioned_jid: self.mention.iter().map(|pn| name(&world.phone(pn))).collect(),
                    ..quoted
                };
                Ok(wa::Message {
                    extended_text_message: MessageField::some(wa::message::ExtendedTextMessage {
                        text: Some(text),
                        context_info: MessageField::some(context),
                        ..Default::default()
                    }),
                    ..Default::default()
                })
            }
        }
    }
}

/// The context of an answer to a message in the inbox.
fn quoted(world: &World, from: &Phone, id: &str, name: impl Fn(&Phone) -> String) -> Result<wa::ContextInfo, Refused> {
    let inbox = from.inbox();
    let found = inbox.iter().find(|received| received.id == id);
    let received = found.ok_or_else(|| Refused::not_found(format!("{} never got {id}", from.number())))?;
    Ok(wa::ContextInfo {
        stanza_id: Some(id.to_owned()),
        participant: Some(name(&world.phone(&received.from))),
        quoted_message: MessageField::some(received.message.clone()),
        ..Default::default()
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Via {
    Lid,
    Pn,
}

#[derive(Deserialize)]
struct Send {
    from: String,
    to: String,
    via: Option<Via>,
}

fn addressing(via: Option<&Via>) -> Addressing {
    match via {
        Some(Via::Pn) => Addressing::Pn,
        _ => Addressing::Lid,
    }
}

fn send(world: &World, (asked, content): (Send, Content)) -> Result<Value, Refused> {
    let (from, to) = (world.phone(&asked.from), world.phone(&asked.to));
    let via = addressing(asked.via.as_ref());
    let message = content.message(world, &from, via == Addressing::Lid)?;
    Ok(json!({ "id": from.sends_via(&to, message, via) }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGroup {
    owner: String,
    subject: String,
    #[serde(default)]
    members: Vec<String>,
    via: Option<Via>,
}

fn group(world: &World, asked: &NewGroup) -> Value {
    let members: Vec<Phone> = asked.members.iter().map(|pn| world.phone(pn)).collect();
    let members: Vec<&Phone> = members.iter().collect();
    let addressing = match asked.via {
        Some(Via::Pn) => groups::Addressing::Pn,
        _ => groups::Addressing::Lid,
    };
    let group = world.group_addressed(&asked.subject, &world.phone(&asked.owner), &members, addressing);
    json!({ "group": group.jid().to_string() })
}

fn find_group(world: &World, jid: &str) -> Result<Group, Refused> {
    let found = world.groups().into_iter().find(|group| group.jid().to_string() == jid);
    found.ok_or_else(|| Refused::not_found(format!("no group {jid}")))
}

#[derive(Deserialize)]
struct GroupSend {
    from: String,
    group: String,
}

fn group_send(world: &World, (asked, content): (GroupSend, Content)) -> Result<Value, Refused> {
    let (from, group) = (world.phone(&asked.from), find_group(world, &asked.group)?);
    let message = content.message(world, &from, group.is_lid_addressed())?;
    Ok(json!({ "id": from.sends_in(&group, message) }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupChange {
    group: String,
    by: String,
    what: String,
    #[serde(default)]
    who: Vec<String>,
    #[serde(default)]
    text: String,
}

fn group_change(world: &World, asked: &GroupChange) -> Result<Value, Refused> {
    let group = find_group(world, &asked.group)?;
    let who: Vec<Phone> = asked.who.iter().map(|pn| world.phone(pn)).collect();
    let who: Vec<&Phone> = who.iter().collect();
    let changed = group.change(&world.phone(&asked.by), &asked.what, &who, &asked.text);
    changed.map(|()| json!({})).map_err(|(code, why)| Refused::bad(format!("{}: {code} {why}", asked.what)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct React {
    from: String,
    to: Option<String>,
    group: Option<String>,
    author: Option<String>,
    id: String,
    emoji: String,
}

fn react(world: &World, asked: &React) -> Result<Value, Refused> {
    let from = world.phone(&asked.from);
    let id = match (&asked.to, &asked.group, &asked.author) {
        (Some(to), None, None) => from.reacts(&world.phone(to), &asked.id, &asked.emoji),
        (None, Some(group), Some(author)) => {
            from.reacts_in(&find_group(world, group)?, &world.phone(author), &asked.id, &asked.emoji)
        }
        _ => return Err(Refused::bad("say to whom (to), or in which group and to whose message (group, author)")),
    };
    Ok(json!({ "id": id }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typing {
    from: String,
    to: String,
    on: Option<bool>,
}

fn typing(world: &World, asked: &Typing) -> Value {
    let (from, to) = (world.phone(&asked.from), world.phone(&asked.to));
    if asked.on == Some(false) {
        from.stops_typing(&to)
    } else {
        from.types(&to)
    }
    json!({})
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Presence {
    pn: String,
    online: bool,
}

fn presence(world: &World, asked: &Presence) -> Value {
    let phone = world.phone(&asked.pn);
    if asked.online {
        phone.comes_online()
    } else {
        phone.goes_offline()
    }
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

// --- trouble ---------------------------------------------------------------------------------------------------------

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KickOut {
    pn: String,
    device: u16,
    how: Value,
}

fn kick(world: &World, asked: &KickOut) -> Result<Value, Refused> {
    let how = match (asked.how.as_str(), asked.how.as_u64().and_then(|code| u16::try_from(code).ok())) {
        (Some("conflict"), _) => Kick::Conflict,
        (Some("device_removed"), _) => Kick::DeviceRemoved,
        (Some("stream_end"), _) => Kick::StreamEnd,
        (Some("close"), _) => Kick::Close,
        (Some("drop"), _) => Kick::Drop,
        (Some("freeze"), _) => Kick::Freeze,
        (_, Some(code)) => Kick::StreamError(code),
        _ => return Err(Refused::bad(format!("no way to kick called {}", asked.how))),
    };
    device(world, &asked.pn, asked.device)?.kick(how);
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trouble {
    pn: Option<String>,
    device: Option<u16>,
    kind: String,
    #[serde(default)]
    ms: u64,
    #[serde(default)]
    messages: usize,
    error: Option<u16>,
    xmlns: Option<String>,
    how: Option<Value>,
    reason: Option<u16>,
    code: Option<u32>,
    seconds: Option<u64>,
    n: Option<usize>,
}

fn fault(world: &World, asked: Trouble) -> Result<Value, Refused> {
    let missing = |what: &str| Refused::bad(format!("this fault needs {what:?}"));
    let only = match (&asked.pn, asked.device) {
        (Some(pn), n) => Some(device(world, pn, n.unwrap_or(1))?),
        (None, _) => None,
    };
    let fault = match asked.kind.as_str() {
        "clear" => {
            match only {
                Some(device) => device.clear_faults(),
                None => world.clear_faults(),
            }
            return Ok(json!({}));
        }
        "refuse" => {
            world.refuse_connections(asked.n.unwrap_or(usize::MAX));
            return Ok(json!({}));
        }
        "delay" => Fault::Delay(Duration::from_millis(asked.ms)),
        "half_open" => Fault::HalfOpen,
        "duplicate" => Fault::DuplicateMessages,
        "swap" => Fault::SwapMessages,
        "flip" => Fault::FlipBit { messages: asked.messages.max(1) },
        "nack" => Fault::NackMessages { error: asked.error.unwrap_or(479) },
        "swallow" => Fault::SwallowMessages,
        "iq" => {
            let how = match asked.how.unwrap_or(json!("silent")) {
                Value::String(how) if how == "silent" => IqFault::Silent,
                Value::String(how) if how == "empty" => IqFault::Empty,
                how => IqFault::Error(
                    how.as_u64().and_then(|code| u16::try_from(code).ok()).ok_or_else(|| missing("how"))?,
                ),
            };
            Fault::Iq { xmlns: asked.xmlns.ok_or_else(|| missing("xmlns"))?, how }
        }
        "login_failure" => Fault::LoginFailure {
            reason: asked.reason.ok_or_else(|| missing("reason"))?,
            code: asked.code,
            expire: asked.seconds.map(Duration::from_secs),
        },
        "refuse_ik" => Fault::RefuseIk,
        "hang_up" => Fault::HangUpInHandshake,
        other => return Err(Refused::bad(format!("no fault called {other:?}"))),
    };
    match only {
        Some(device) => device.set_fault(fault),
        None => world.set_fault(fault),
    }
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum On {
    Upload,
    Download,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MediaTrouble {
    on: Option<On>,
    kind: String,
    #[serde(default)]
    value: u64,
    times: Option<u32>,
    path: Option<String>,
}

fn media_fault(world: &World, asked: &MediaTrouble) -> Result<Value, Refused> {
    let host = world.media();
    let fault = match asked.kind.as_str() {
        "clear" => {
            host.clear_faults();
            return Ok(json!({}));
        }
        "expire_auth" => {
            host.expire_auth();
            return Ok(json!({}));
        }
        "remove" => {
            let path = asked.path.as_deref().ok_or_else(|| Refused::bad("say which path"))?;
            return if host.remove(path) { Ok(json!({})) } else { Err(Refused::not_found("no such file")) };
        }
        "status" => media::Fault::Status(u16::try_from(asked.value).map_err(Refused::bad)?),
        "slow" => media::Fault::Slow(Duration::from_millis(asked.value)),
        "cut" => media::Fault::Cut(usize::try_from(asked.value).map_err(Refused::bad)?),
        "flip" => media::Fault::Flip,
        other => return Err(Refused::bad(format!("no media fault called {other:?}"))),
    };
    let on = match asked.on {
        Some(On::Upload) => media::On::Upload,
        Some(On::Download) => media::On::Download,
        None => return Err(Refused::bad("say on: upload or download")),
    };
    host.fault(on, fault, asked.times.unwrap_or(1));
    Ok(json!({}))
}
