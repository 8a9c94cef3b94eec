//! `/status` and `/new`: what a session is and how it begins anew.

use super::{Desk, Order};
use crate::actors::agent::GetQueueDepth;
use crate::actors::supervisor::Deliver;
use crate::command::reply;
use crate::command::status::Status;
use crate::config::model::{ModelRef, ProviderApi};
use crate::event::{Body, Content};
use crate::session::entry::Entry;
use crate::session::model_hint;
use crate::store::StoreError;
use crate::store::journal::OutboxPart;

impl Desk {
    pub(super) async fn status(&self, order: &Order) -> Result<String, StoreError> {
        let dispatch = &order.run.dispatch;
        let (run, config) = (dispatch.first(), &order.config);
        let entry = self.journal.session(&run.session).await?;
        let agent = config.agent(&run.agent).unwrap_or(config.agents.default_agent());
        let chosen = entry.as_ref().and_then(|e| e.model.as_deref()).and_then(|model| model_hint::parse(model, config));
        let model = chosen.as_ref().unwrap_or(&agent.model);
        // An agent actor that is gone has nothing waiting.
        let waiting = self.agents.send(GetQueueDepth(run.session.clone())).await.unwrap_or(0);
        let status = Status {
            version: env!("CARGO_PKG_VERSION"),
            account: order.run.account.id.as_str(),
            agent: run.agent.as_str(),
            model: &model.to_string(),
            runtime: config.providers.get(&model.provider).map(|provider| provider.api),
            session: run.session.as_str(),
            entry: entry.as_ref(),
            now: self.clock.now(),
            activation: dispatch.activation,
            queue: config.messages.queue.mode,
            waiting,
            revision: order.revision,
        };
        Ok(status.text())
    }

    /// A new session under the same key: what was said before is neither deleted nor shown to the model any more. The first word
    /// after the trigger may choose its model.
    pub(super) async fn reset(&self, rest: String, order: &Order) -> Result<(), StoreError> {
        let config = &order.config;
        let (chosen, rest) = match model_hint::split(&rest, config) {
            Some((model, rest)) => (Some(model), rest.to_owned()),
            None => (None, rest),
        };
        for run in &order.run.dispatch.runs {
            let (now, model) = (self.clock.now(), chosen.as_ref().map(ModelRef::to_string));
            let id = uuid::Uuid::new_v4().to_string();
            let begin = move |_| (Some(Entry { model, ..Entry::begin(id, now) }), ());
            self.journal.change_session(&run.session, begin).await?;
        }
        let first = order.run.dispatch.first();
        let agent = config.agent(&first.agent).unwrap_or(config.agents.default_agent());
        let model = chosen.as_ref().unwrap_or(&agent.model);
        // An echo cannot greet.
        let greets = config.providers.get(&model.provider).is_some_and(|p| p.api != ProviderApi::Echo);
        let started = reply::new_session(&model.to_string());
        if rest.is_empty() && (chosen.is_some() || !greets) {
            return self.answer(&started, order).await;
        }
        if chosen.is_some() {
            let message = &order.run.message;
            let part = OutboxPart::text(message.account.clone(), message.chat.clone(), started, Some(message.key()));
            self.journal.enqueue(vec![part]).await?;
            order.run.supervisor.do_send(Deliver);
        }
        let text = if rest.is_empty() { reply::GREETING_PROMPT.to_owned() } else { rest };
        let mut run = order.run.clone();
        run.message.content = match run.message.content {
            Content::Body(body) => Content::Body(Body { text: Some(text), ..body }),
            other => other,
        };
        self.agents.do_send(run);
        Ok(())
    }
}
