//! The parts of the cases, and the words for their results, that several topics share.

pub use std::sync::Arc;
pub use std::time::Duration;

pub use serde_json::{Map, Value, json};
pub use unicode_segmentation::UnicodeSegmentation;
pub use verso::backoff;
pub use verso::command::{self, Activation, ConfigCommand, Switches};
pub use verso::config::model::*;
pub use verso::config::{ResolveEnv, edit, load_text};
pub use verso::delivery::{self, Delivery, Variables};
pub use verso::event::{Body, Content, DownReason, Identity, InboundMessage, Quote};
pub use verso::ids::{AccountId, AgentId, E164, Jid, MessageId, SessionKey};
pub use verso::policy::allowlist::{Person, owners, parse_approved, parse_list};
pub use verso::policy::decide::{Decision, Effect, Hold, IgnoreReason, Verdict, View, decide};
pub use verso::policy::decision::ChatKind;
pub use verso::policy::link_state::{Action, Input, LinkMachine};
pub use verso::policy::mention::{self, Mention, MentionTable, Patterns};
pub use verso::policy::pairing::{CODE_ALPHABET, PairingBook, Requested, pairing_text, random_code};
pub use verso::policy::{dm, group, receipts};
pub use verso::routing::bindings::{Chat, route};
pub use verso::routing::main_session::OwnNumbers;
pub use verso::routing::session_key::{self, KeyParts};
pub use verso::routing::target::Target;
pub use verso::session::pending::{Pending, PendingMessage};
pub use verso::text::chunk;
pub use verso::text::envelope::{self, Line, Options, Quoted, Sender};
pub use verso::text::history;

/// A case that Verso's function cannot be given, with the reason.
pub struct LeftOut(pub &'static str);

/// What Verso's function gives.
pub type Outcome = Result<Value, LeftOut>;
pub type Run = fn(&Value) -> Outcome;

/// The section that says why Verso differs in this case.
pub type Deviation = fn(&Value, &Value) -> Option<&'static str>;
/// No deviation is known.
pub const NEVER: Deviation = |_, _| None;
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The config as Verso means it. A refusal must be one that the specification asks for.
pub fn config(value: &Value) -> Result<Arc<Config>, LeftOut> {
    let config = if value.is_object() { without_nulls(value).to_string() } else { "{}".to_owned() };
    load_text(&config, &ResolveEnv::new("/home/u", "/home/u/.verso")).map(|loaded| loaded.config).map_err(|rejected| {
        let text: String = rejected.iter().map(|problem| format!("{problem}\n")).collect();
        let asked_for = |words: &[&str]| words.iter().all(|w| text.contains(w));
        if asked_for(&["llowFrom", "names nobody"]) || asked_for(&["llowFrom", "digit"]) {
            LeftOut("8.1 entries that name nobody are refused by the config")
        } else if asked_for(&["groupPolicy=\"open\" requires groupAllowFrom"]) {
            LeftOut("24.5 open and a list that does not name everybody contradict each other")
        } else if asked_for(&["textChunkLimit"]) || asked_for(&["heartbeatSeconds"]) {
            LeftOut("2.4 the config refuses numbers that must be above 0")
        } else if asked_for(&["bindings.", "names no such chat"]) {
            LeftOut("16.4 a binding that can never match is refused by the config")
        } else {
            panic!("the config is refused: {text}\n{config}")
        }
    })
}

pub fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), without_nulls(v))).collect()
        }
        Value::Array(list) => list.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

pub fn account_of(config: &Config, id: &Value) -> Result<Arc<AccountConfig>, LeftOut> {
    let id = id.as_str().map_or_else(|| config.default_account.clone(), AccountId::new);
    config.account(&id).cloned().ok_or(LeftOut("an account that is not configured has no rules"))
}

pub fn jid(raw: &str) -> Option<Jid> {
    raw.parse().ok()
}

pub fn identity(number: &Value, own_jid: &Value) -> Option<Identity> {
    let jid = jid(text(own_jid)).or_else(|| Some(Jid::of_number(&E164::from_digits(text(number))?)))?;
    Some(Identity { jid, lid: None, push_name: None })
}

/// A sender that WhatsApp does not identify.
pub fn nobody() -> Jid {
    jid("0@unknown").expect("a JID")
}

pub fn message(account: &AccountId, chat: &str, sender: &Value) -> Result<InboundMessage, LeftOut> {
    let number = E164::from_digits(text(sender));
    let chat = Target::parse(chat).map(|t| t.jid()).map_err(|_| LeftOut("a chat that is no address"))?;
    Ok(InboundMessage {
        account: account.clone(),
        id: MessageId::new("M1"),
        sender: number.as_ref().map_or_else(nobody, Jid::of_number),
        sender_alt: None,
        sender_number: number,
        chat_number: None,
        chat,
        from_me: false,
        push_name: None,
        timestamp: 0,
        offline: false,
        content: Content::Body(Body { text: Some("hello".into()), ..Body::default() }),
    })
}

/// What a message is judged with besides the config.
pub struct Judge<'a> {
    pub me: Option<Identity>,
    pub approved: Vec<&'a str>,
    pub connected_at: i64,
    pub activation: Option<Activation>,
}

impl Judge<'_> {
    pub fn decide(&self, config: &Config, account: &AccountConfig, message: &InboundMessage) -> Decision {
        let (mentions, _) = MentionTable::compile(config);
        let approved = parse_approved(self.approved.iter().copied());
        let activation = |_: &SessionKey| self.activation;
        decide(
            message,
            &View {
                config,
                account,
                revision: 1,
                me: self.me.as_ref(),
                own_numbers: &OwnNumbers::new(),
                approved: &approved,
                connected_at: Some(self.connected_at),
                now: self.connected_at,
                mentions: &mentions,
                activation: &activation,
                owner_wrote: None,
                sent_by_us: false,
            },
        )
    }
}

/// A generator that gives zeros.
pub struct Zeros;

impl rand::TryRng for Zeros {
    type Error = std::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(0)
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(0)
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.fill(0);
        Ok(())
    }
}
