//! The tool `whatsapp` that models are offered: a reaction to a message (behaviour.md 13.3). It leaves through the outbox of the
//! account that the chat belongs to, before the answer.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::RunAgents;
use crate::actors::sending::locate;
use crate::actors::supervisor::Deliver;
use crate::agent::toolbox::{Tool, Toolbox};
use crate::delivery::sending::{self, Action};
use crate::ids::{AccountId, Jid, MessageId};
use crate::outgoing::Outgoing;
use crate::routing::target::Target;
use crate::store::journal::{Journal, OutboxPart};

const NAME: &str = "whatsapp";

/// What the model of one run may do in WhatsApp.
pub(super) struct WhatsappTool {
    pub journal: Journal,
    /// The message that is answered.
    pub order: Arc<RunAgents>,
    /// False when nothing of this session may be sent.
    pub may_send: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Arguments {
    action: Option<String>,
    chat_jid: Option<String>,
    message_id: Option<String>,
    emoji: Option<String>,
    remove: Option<bool>,
    participant: Option<String>,
    from_me: Option<bool>,
    account_id: Option<String>,
}

/// Models leave out what they do not know, or write it empty.
fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

impl Toolbox for WhatsappTool {
    fn offered(&self) -> Vec<Tool> {
        if self.permitted().is_err() {
            return Vec::new();
        }
        let text = |about: &str| json!({"type": "string", "description": about});
        vec![Tool {
            name: NAME,
            about: "React with an emoji to a WhatsApp message. The answer itself is not sent with this tool.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "action": {"type": "string", "enum": ["react"]},
                    "emoji": text("One emoji"),
                    "messageId": text("The message; the one that is being answered when left out"),
                    "chatJid": text("The chat of the message; the current one when left out"),
                    "participant": text("In groups: SenderId of the message's author"),
                    "fromMe": {"type": "boolean", "description": "The message is one of your own"},
                    "remove": {"type": "boolean", "description": "Take the reaction back"},
                },
                "required": ["action", "emoji"],
            }),
        }]
    }

    fn call<'a>(&'a self, name: &'a str, arguments: Value) -> BoxFuture<'a, Result<Value, String>> {
        async move {
            if name != NAME {
                return Err(format!("There is no tool \"{name}\"."));
            }
            let asked: Arguments =
                serde_json::from_value(arguments).map_err(|error| format!("The arguments cannot be read: {error}."))?;
            match given(&asked.action) {
                Some("react") => self.react(&asked).await,
                other => Err(format!("Unknown action \"{}\"; there is only \"react\".", other.unwrap_or_default())),
            }
        }
        .boxed()
    }
}

impl WhatsappTool {
    fn permitted(&self) -> Result<(), String> {
        sending::allowed(Action::React, &self.order.account.rules.actions)?;
        if self.may_send { Ok(()) } else { Err("session.sendPolicy keeps this session from sending.".to_owned()) }
    }

    async fn react(&self, asked: &Arguments) -> Result<Value, String> {
        self.permitted()?;
        let message = &self.order.message;
        if let Some(other) = given(&asked.account_id).filter(|id| AccountId::new(id) != message.account) {
            return Err(format!(
                "This chat belongs to the account \"{}\"; nothing leaves through \"{other}\". Leave accountId out.",
                message.account
            ));
        }
        let emoji = sending::reaction(asked.emoji.as_deref().unwrap_or_default(), asked.remove.unwrap_or_default())
            .map_err(|mistake| mistake.to_string())?;
        let chat = self.chat(given(&asked.chat_jid))?;
        let here = chat == message.chat;
        let id = match given(&asked.message_id) {
            Some(id) => MessageId::new(id),
            None if here => message.id.clone(),
            None => return Err("messageId is required for a message of another chat.".to_owned()),
        };
        let participant = given(&asked.participant).map(Target::parse).transpose().map_err(|e| e.to_string())?;
        let participant = participant.map(|author| author.jid());
        let target = locate(&id, participant.as_ref(), asked.from_me, &message.account, &chat, &self.journal)
            .await
            .map_err(|error| error.to_string())?;
        let done =
            if emoji.is_empty() { json!({"ok": true, "removed": true}) } else { json!({"ok": true, "added": emoji}) };
        let answers = here.then(|| message.key());
        let part = OutboxPart::new(message.account.clone(), chat, Outgoing::Reaction { target, emoji }, answers);
        self.journal.enqueue(vec![part]).await.map_err(|error| error.to_string())?;
        self.order.supervisor.do_send(Deliver);
        Ok(done)
    }

    /// The chat that the model names: it knows people by number, WhatsApp may hold their chat under another address.
    fn chat(&self, named: Option<&str>) -> Result<Jid, String> {
        let message = &self.order.message;
        let Some(named) = named else { return Ok(message.chat.clone()) };
        match Target::parse(named).map_err(|error| error.to_string())? {
            Target::Number(number) if message.chat_number.as_ref() == Some(&number) => Ok(message.chat.clone()),
            target => Ok(target.jid()),
        }
    }
}
