//! Phones write, react, type, and change groups.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use waproto::buffa::MessageField;
use waproto::whatsapp as wa;

use super::Refused;
use super::verbs::read;
use crate::group::Group;
use crate::groups;
use crate::media::{Attachment, Kind};
use crate::phone::{Addressing, Phone, text_message};
use crate::world::World;

/// Where a message goes, and what it says: the parameters named in `place` apart from all others.
pub(super) fn read_message<T: DeserializeOwned>(
    mut parameters: Value,
    place: &[&str],
) -> Result<(T, Content), Refused> {
    let whole = parameters.as_object_mut().ok_or_else(|| Refused::bad("the parameters are not an object"))?;
    let place = place.iter().filter_map(|name| Some(((*name).to_owned(), whole.shift_remove(*name)?)));
    let place = Value::Object(place.collect());
    Ok((read(place)?, read(parameters)?))
}

/// What a message says: a text, or one file in base64.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Content {
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
                let quoted = self.quote.map(|id| quoted(world, from, &id, name)).transpose()?.unwrap_or_default();
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
pub(super) struct Send {
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

pub(super) fn send(world: &World, (asked, content): (Send, Content)) -> Result<Value, Refused> {
    let (from, to) = (world.phone(&asked.from), world.phone(&asked.to));
    let via = addressing(asked.via.as_ref());
    let message = content.message(world, &from, via == Addressing::Lid)?;
    Ok(json!({ "id": from.sends_via(&to, message, via) }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewGroup {
    owner: String,
    subject: String,
    #[serde(default)]
    members: Vec<String>,
    via: Option<Via>,
}

pub(super) fn group(world: &World, asked: &NewGroup) -> Value {
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
pub(super) struct GroupSend {
    from: String,
    group: String,
}

pub(super) fn group_send(world: &World, (asked, content): (GroupSend, Content)) -> Result<Value, Refused> {
    let (from, group) = (world.phone(&asked.from), find_group(world, &asked.group)?);
    let message = content.message(world, &from, group.is_lid_addressed())?;
    Ok(json!({ "id": from.sends_in(&group, message) }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupChange {
    group: String,
    by: String,
    what: String,
    #[serde(default)]
    who: Vec<String>,
    #[serde(default)]
    text: String,
}

pub(super) fn group_change(world: &World, asked: &GroupChange) -> Result<Value, Refused> {
    let group = find_group(world, &asked.group)?;
    let who: Vec<Phone> = asked.who.iter().map(|pn| world.phone(pn)).collect();
    let who: Vec<&Phone> = who.iter().collect();
    let changed = group.change(&world.phone(&asked.by), &asked.what, &who, &asked.text);
    changed.map(|()| json!({})).map_err(|(code, why)| Refused::bad(format!("{}: {code} {why}", asked.what)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct React {
    from: String,
    to: Option<String>,
    group: Option<String>,
    author: Option<String>,
    id: String,
    emoji: String,
}

pub(super) fn react(world: &World, asked: &React) -> Result<Value, Refused> {
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
pub(super) struct Status {
    from: String,
    to: Vec<String>,
    text: String,
}

pub(super) fn status(world: &World, asked: &Status) -> Value {
    let viewers: Vec<Phone> = asked.to.iter().map(|pn| world.phone(pn)).collect();
    let viewers: Vec<&Phone> = viewers.iter().collect();
    json!({ "id": world.phone(&asked.from).posts_status(&asked.text, &viewers) })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Typing {
    from: String,
    to: String,
    on: Option<bool>,
}

pub(super) fn typing(world: &World, asked: &Typing) -> Value {
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
pub(super) struct Presence {
    pn: String,
    online: bool,
}

pub(super) fn presence(world: &World, asked: &Presence) -> Value {
    let phone = world.phone(&asked.pn);
    if asked.online {
        phone.comes_online()
    } else {
        phone.goes_offline()
    }
    json!({})
}
