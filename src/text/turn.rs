//! One message as the agent is told of it: what was said before in its group, its envelope, its quote (behaviour.md 7). Pure.

use crate::clock::UnixMs;
use crate::config::model::{AgentConfig, RulesConfig};
use crate::event::{Content, InboundMessage};
use crate::ids::{E164, MessageId};
use crate::policy::decision::{ChatKind, Dispatch};
use crate::session::pending::PendingMessage;
use crate::text::envelope::{self, Options};
use crate::text::history;

/// A message and everything that its wording depends on.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// The message.
    pub message: &'a InboundMessage,
    /// How it was admitted.
    pub dispatch: &'a Dispatch,
    /// The account's rules.
    pub rules: &'a RulesConfig,
    /// Who is told.
    pub agent: &'a AgentConfig,
    /// What was said in the group since the last answer.
    pub history: &'a [PendingMessage],
    /// What became of the message's media, see [`super::attached`].
    pub attached: Option<&'a str>,
    /// What became of the quoted media.
    pub quoted_attached: Option<&'a str>,
    /// When the session's previous turn was.
    pub previous: Option<UnixMs>,
}

impl Turn<'_> {
    /// The text for the agent.
    pub fn prompt(&self, options: &Options) -> String {
        let Self { message, dispatch, rules, .. } = self;
        let id = message.sender.without_device().to_string();
        let name = self.agent.identity.name.as_deref();
        let prefix = envelope::message_prefix(rules.message_prefix.as_deref(), !rules.allow_from.is_empty(), name);
        let quote = match &message.content {
            Content::Body(body) => body.quote.as_ref(),
            Content::Reaction { .. } | Content::Other { .. } => None,
        };
        let quoted_by = quote
            .and_then(|quote| quote.sender.as_ref())
            .map(|jid| jid.e164().map_or_else(|| jid.to_string(), |number| number.to_string()));
        let line = envelope::Line {
            from: &dispatch.peer,
            body: &said(message),
            attached: self.attached,
            prefix: &prefix,
            sender: (dispatch.chat == ChatKind::Group).then(|| sender(message, &id)),
            quote: quote.map(|quote| envelope::Quoted {
                sender: quoted_by.as_deref(),
                id: quote.id.as_ref().map(MessageId::as_str),
                body: &quote.body,
                attached: self.quoted_attached,
            }),
            timestamp: Some(message.timestamp).filter(|at| *at > 0),
            previous: self.previous,
        };
        history::with_pending(self.history, &dispatch.peer, &line.render_for_agent(options), options)
    }
}

/// The text of a message, or what stands for its media.
pub fn said(message: &InboundMessage) -> String {
    match &message.content {
        Content::Body(body) => body.text_or_placeholder(),
        Content::Reaction { .. } | Content::Other { .. } => String::new(),
    }
}

/// Who wrote a message; `id` is the sender's JID without device.
pub fn sender<'a>(message: &'a InboundMessage, id: &'a str) -> envelope::Sender<'a> {
    envelope::Sender {
        name: message.push_name.as_deref(),
        number: message.sender_number.as_ref().map(E164::as_str),
        id: Some(id),
    }
}

/// In the place of a name: the account's owner wrote it to the other person, not the agent. Nobody else can be called so
/// ([`envelope::neutralise`]).
const OWNER: &str = "[the account's owner, from the phone]";

/// A message as it is kept for its chat's next answer; `None` when it says nothing.
pub fn kept(message: &InboundMessage) -> Option<PendingMessage> {
    let Content::Body(body) = &message.content else { return None };
    let id = message.sender.without_device().to_string();
    let own_words = message.from_me && !message.chat.is_group();
    let label = if own_words { Some(OWNER.to_owned()) } else { sender(message, &id).label() };
    Some(PendingMessage {
        sender: label.unwrap_or_else(|| "Unknown".to_owned()),
        body: body.text_or_placeholder(),
        timestamp: Some(message.timestamp).filter(|at| *at > 0),
        id: Some(message.id.clone()),
        media: message.media().0,
        attached: None,
    })
}
