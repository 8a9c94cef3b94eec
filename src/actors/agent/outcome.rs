//! The end of a run (behaviour.md 24.2, 24.4): the parts of its answer, or what is said instead of one, and the outcome that is
//! written down with them. Who is told what of a failure, [`crate::disclosure`] decides.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::answer::{Contents, Files};
use super::run::AgentRun;
use super::work::{Ended, Item};
use crate::actors::supervisor::Deliver;
use crate::agent::{AgentError, AgentReply};
use crate::clock::UnixMs;
use crate::delivery::{self, Delivery};
use crate::disclosure::{self, ERROR_TEXT_EVERY_MS, Failure, FailureKind, NOTICE_EVERY_MS, Outcome, Reader, RunTally};
use crate::heartbeat;
use crate::ids::{AccountId, AgentId, Jid};
use crate::media::OpenFiles;
use crate::outgoing::Outgoing;
use crate::policy::allowlist::Person;
use crate::policy::decide::ChatKind;
use crate::session::files;
use crate::store::journal::{Once, OutboxPart};
use crate::text::chunk;

/// The end of a run, not written down yet.
pub(super) struct Conclusion {
    /// The parts that answer the message.
    pub contents: Contents,
    /// What it came to.
    pub outcome: Outcome,
    /// What is said only when it was not said lately.
    pub once: Vec<Once>,
}

impl Conclusion {
    /// Without a word.
    pub fn wordless(outcome: Outcome) -> Self {
        Self { contents: Contents::default(), outcome, once: Vec::new() }
    }
}

/// How runs ended since the start, by account and agent. Clones share one count.
#[derive(Clone, Debug, Default)]
pub struct Tallies(Arc<Mutex<BTreeMap<AccountId, BTreeMap<AgentId, RunTally>>>>);

impl Tallies {
    /// Counts a run that ended.
    pub(super) fn note(&self, item: &Item, outcome: &Outcome, now: UnixMs) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_account = all.entry(item.order.message.account.clone()).or_default();
        of_account.entry(item.run.agent.clone()).or_default().note(outcome, now);
    }

    /// Of one account, by agent.
    pub fn of(&self, account: &AccountId) -> BTreeMap<AgentId, RunTally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(account).cloned().unwrap_or_default()
    }
}

impl AgentRun {
    /// What the answer becomes; its files are prepared.
    pub(super) async fn concluded(&self, answer: Result<AgentReply, AgentError>) -> Conclusion {
        let Item { order, run, .. } = self.work.last();
        let failure = match answer {
            Ok(reply) => match self.said(&reply).await {
                Ok(conclusion) => return conclusion,
                Err(failure) => failure,
            },
            Err(error) => self.failure(&error),
        };
        let (kind, cause) = (failure.kind.code(), &failure.cause);
        tracing::warn!(target: "agent", agent = %run.agent, session = %run.session.in_short(), id = %order.message.id, kind, %cause, "no answer");
        self.failed(failure).await
    }

    /// An answer of the model. One of which nothing is left is none.
    async fn said(&self, reply: &AgentReply) -> Result<Conclusion, Failure> {
        let Item { order, run, .. } = self.work.last();
        if reply.text.trim().is_empty() || delivery::is_silent(&reply.text) {
            return Ok(Conclusion::wordless(Outcome::Silent));
        }
        if !self.may_send().await {
            tracing::info!(target: "agent", session = %run.session.in_short(), id = %order.message.id, "session.sendPolicy keeps the answer back");
            return Ok(Conclusion::wordless(Outcome::SendOff));
        }
        let agent = self.config.agent(&run.agent).unwrap_or(self.config.agents.default_agent());
        let prepared = Files {
            loader: &self.tools.loader,
            open: OpenFiles {
                roots: vec![self.workspace(agent)],
                closed: vec![self.tools.paths.root().to_owned(), self.tools.paths.credentials().to_owned()],
                received: Some((self.tools.paths.media_inbound(), files::tag(&run.session, run.person.as_deref()))),
            },
            max_bytes: self.config.agents.media_max_bytes,
            tell: self.config.agents.report_errors,
        };
        let delivery = Delivery { rules: &order.account.rules, agent, own_chat: order.dispatch.own_chat };
        let (contents, unsent) = prepared.contents(reply, &delivery).await;
        if !contents.parts.is_empty() {
            return Ok(Conclusion { contents, outcome: Outcome::Answered { unsent }, once: Vec::new() });
        }
        let stripped = heartbeat::strip(&reply.text);
        if stripped.found && stripped.text.is_empty() {
            return Ok(Conclusion::wordless(Outcome::Silent));
        }
        let cause = match unsent.as_slice() {
            [] => "nothing of the model's answer can be sent".to_owned(),
            unsent => format!("nothing of the model's answer can be sent: {}", unsent.join("; ")),
        };
        Err(Failure::new(FailureKind::NothingLeft, self.provider(), &cause))
    }

    /// What is said of a failure, and to whom.
    async fn failed(&self, failure: Failure) -> Conclusion {
        let Item { order, run, .. } = self.work.last();
        let (message, dispatch, rules) = (&order.message, &order.dispatch, &order.account.rules);
        let mut conclusion = Conclusion::wordless(Outcome::of(failure.clone()));
        if !self.config.agents.report_errors {
            return conclusion;
        }
        let part = |chat: Jid, text, answers| OutboxPart::text(message.account.clone(), chat, text, answers);
        if self.may_send().await {
            let reader = self.reader();
            let text = disclosure::no_answer(&failure, reader, &self.config.messages.error_text);
            let text = text.map(disclosure::masked);
            let texts =
                text.map(|text| chunk::chunk(&text, rules.text_chunk_limit, rules.chunk_mode)).unwrap_or_default();
            match reader {
                Reader::Commander => conclusion.contents = Contents::texts(texts),
                Reader::Contact if texts.is_empty() => {}
                Reader::Contact => conclusion.once.push(Once {
                    fact: format!("said:error:{}:{}", message.account, message.chat),
                    every_ms: ERROR_TEXT_EVERY_MS,
                    parts: texts
                        .into_iter()
                        .map(|text| part(message.chat.clone(), text, Some(message.key())))
                        .collect(),
                }),
            }
        }
        // In the account's own chat the answer is the notice.
        if let Some(own) = order.identity.number().filter(|_| !dispatch.own_chat) {
            let notice = disclosure::notice(&failure, &run.agent, &message.id);
            let kind = failure.kind.code();
            conclusion.once.push(Once {
                fact: format!("said:notice:{}:{}:{kind}", message.account, failure.provider),
                every_ms: NOTICE_EVERY_MS,
                parts: vec![part(Jid::of_number(&own), notice, None)],
            });
        }
        conclusion
    }

    /// Who reads the answer.
    fn reader(&self) -> Reader {
        let order = &self.work.last().order;
        if order.dispatch.chat == ChatKind::Group {
            return Reader::Contact;
        }
        let (commands, allow_from) = (&self.config.commands, &order.account.rules.allow_from);
        let commands = disclosure::is_commander(commands, allow_from, &Person::sender(&order.message));
        if order.dispatch.own_chat || commands { Reader::Commander } else { Reader::Contact }
    }

    fn failure(&self, error: &AgentError) -> Failure {
        let kind = match error {
            AgentError::Config(_) => FailureKind::Config,
            AgentError::Unreachable { .. } => FailureKind::Unreachable,
            AgentError::Unauthorized(_) => FailureKind::Unauthorized,
            AgentError::RateLimited(_) => FailureKind::RateLimited,
            AgentError::Failed { .. } => FailureKind::Refused,
            AgentError::BadAnswer { .. } => FailureKind::BadAnswer,
            AgentError::Empty { .. } => FailureKind::EmptyCompletion,
            AgentError::Timeout(_) => FailureKind::Timeout,
        };
        Failure::new(kind, self.provider(), &error.to_string())
    }

    /// The provider that the agent asks.
    fn provider(&self) -> &str {
        let agent = self.config.agent(&self.work.last().run.agent);
        agent.map_or("", |agent| agent.model.provider.as_str())
    }

    /// Commits how the run ended and tells the account that something waits.
    pub(super) async fn settle(&self, conclusion: Conclusion, ended: Ended) {
        let Item { order, .. } = self.work.last();
        let message = &order.message;
        let Conclusion { contents, outcome, once } = conclusion;
        let part =
            |content| OutboxPart::new(message.account.clone(), message.chat.clone(), content, Some(message.key()));
        // What the configuration adds to an answer, such as a prefix, may hold a secret as well.
        let hidden = |mut content: Outgoing| {
            content.change_text(disclosure::masked);
            content
        };
        let parts: Vec<OutboxPart> = contents.parts.into_iter().map(hidden).map(part).collect();
        // Whatever becomes of the commit: a file is not deleted below a part that may be written down.
        contents.files.hand_over();
        let written = self.tools.journal.answer_turns(self.work.turns(ended, &outcome), parts, once).await;
        match written {
            Ok(settled) => {
                // What was settled or taken back meanwhile came to nothing.
                if settled {
                    self.tools.tallies.note(self.work.last(), &outcome, self.tools.clock.now());
                }
                order.supervisor.do_send(Deliver);
            }
            Err(error) => {
                tracing::error!(target: "agent", id = %message.id, %error, "the answer could not be written down; the message is taken up after a restart");
            }
        }
    }
}
