//! `/status` and `/new`: what a session is and how it begins anew.

use super::{Desk, Order};
use crate::actors::agent::GetQueueDepth;
use crate::actors::supervisor::Deliver;
use crate::command::reply;
use crate::command::status::Status;
use crate::config::model::{ModelRef, ProviderApi};
use crate::policy::decision::Run;
use crate::session::entry::Entry;
use crate::session::model_hint;
use crate::store::StoreError;
use crate::store::journal::{Carried, OutboxPart};

impl Desk {
    pub(super) async fn status(&self, order: &Order) -> Result<String, StoreError> {
        let dispatch = &order.run.dispatch;
        let (run, config) = (dispatch.first(), &order.config);
        let entry = self.journal.session(&run.session).await?;
        // What another person left there is nobody's business.
        let entry = entry.filter(|entry| entry.belongs_to(run.person.as_deref()));
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
        let first = order.run.dispatch.first();
        let agent = config.agent(&first.agent).unwrap_or(config.agents.default_agent());
        let model = chosen.as_ref().unwrap_or(&agent.model);
        // An echo cannot greet.
        let greets = config.providers.get(&model.provider).is_some_and(|p| p.api != ProviderApi::Echo);
        let started = reply::new_session(&model.to_string());
        let (now, model) = (self.clock.now(), chosen.as_ref().map(ModelRef::to_string));
        let begin = |run: &Run| {
            let entry = Entry::begin(uuid::Uuid::new_v4().to_string(), now);
            (run.session.clone(), Entry { model: model.clone(), person: run.person.clone(), ..entry })
        };
        let sessions = order.run.dispatch.runs.iter().map(begin).collect();
        if rest.is_empty() && (chosen.is_some() || !greets) {
            self.journal.begin_sessions(sessions, None).await?;
            return self.answer(&started, order).await;
        }
        let message = &order.run.message;
        let told = chosen
            .is_some()
            .then(|| OutboxPart::text(message.account.clone(), message.chat.clone(), started, Some(message.key())));
        let rest = if rest.is_empty() { reply::GREETING_PROMPT.to_owned() } else { rest };
        let carried = Carried { key: message.key(), rest: rest.clone(), told };
        self.journal.begin_sessions(sessions, Some(carried)).await?;
        order.run.supervisor.do_send(Deliver);
        #[cfg(feature = "demo")]
        crate::fault::passes("session-begun");
        let mut run = order.run.clone();
        run.message.content = run.message.content.with_text(rest);
        self.agents.do_send(run);
        Ok(())
    }
}
