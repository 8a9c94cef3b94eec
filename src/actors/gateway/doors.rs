//! What the doors ask: resolved to an account and passed on to its supervisor or to the router.

use std::sync::Arc;

use actix::prelude::*;

use super::GatewayActor;
use crate::actors::messages::{
    AccountStatus, DecidePairing, Events, ExplainMessage, GatewayStatus, GetStatus, ListPairing, LoggedOut,
    LoginCancel, LoginProgress, LoginStart, LoginStarted, LoginWait, Logout, PairingDecided, PairingRequest, Refusal,
    Reload, SendOut, Sent, StartAccount, StopAccount, Subscribe, UnconfirmedChat, Wanted,
};
use crate::actors::router::{GetCounters, GetHandovers};
use crate::actors::supervisor::{
    BeginLogin, CancelLogin, FollowLogin, Resume, SendNow, SupervisorActor, Suspend, Unlink,
};
use crate::actors::web_version::{ShowVersion, WebVersionStatus};
use crate::config::SetIn;
use crate::config::model::{AgentConfig, KeySource, SessionScope};
use crate::ids::{AccountId, Jid, MessageId};
use crate::media::{Fence, Trust};
use crate::policy::decide::LISTEN_ONLY;
use crate::routing::main_session::{self, OwnNumbers, Told};
use crate::routing::target::Target;
use crate::store::credentials;
use crate::store::journal::{Journal, Unconfirmed};

const RESTARTING: &str = "the account is being restarted after an internal error; try again in a moment";

/// How long a status waits for each thing that the router knows.
const ROUTER_PATIENCE: std::time::Duration = std::time::Duration::from_millis(400);

impl GatewayActor {
    fn resolve(&self, asked: Option<&str>) -> Result<(AccountId, Addr<SupervisorActor>), Refusal> {
        let id = match asked.map(str::trim).filter(|a| !a.is_empty()) {
            Some(asked) => AccountId::new(asked),
            None => self.config.default_account.clone(),
        };
        match self.accounts.get(&id) {
            Some(addr) => Ok((id, addr.clone())),
            None => Err(self.unknown_account(asked.unwrap_or(id.as_str()))),
        }
    }

    /// Why nothing can be sent through an account that only listens.
    fn only_listens(&self, asked: Option<&str>) -> Option<Refusal> {
        let (id, _) = self.resolve(asked).ok()?;
        if !self.config.account(&id)?.rules.listen_only {
            return None;
        }
        let cited = self.places.cite(&id, LISTEN_ONLY);
        let (key, place) = match cited {
            Some((key, SetIn::File { file, line })) => (key, format!(" ({}:{line})", file.display())),
            Some((key, SetIn::Default)) => (key, String::new()),
            None => (LISTEN_ONLY.to_owned(), String::new()),
        };
        Some(Refusal::Invalid(format!(
            "account \"{id}\" only listens, nothing was sent: {key}{place} is true; set it to false to send"
        )))
    }

    /// Who shares a session with whom; where several people do, with the line that says so.
    fn sessions(&self) -> Vec<Told> {
        let number = |status: &AccountStatus| Some((status.account_id.clone(), status.self_number.clone()?));
        let own_numbers: OwnNumbers = self.statuses.values().filter_map(number).collect();
        let mut told = main_session::told(&self.config, &own_numbers);
        let key = if self.config.session.scope == SessionScope::Global { "session.scope" } else { "session.dmScope" };
        if let Some((_, SetIn::File { file, line })) = self.places.cite(&self.config.default_account, key) {
            for one in told.iter_mut().filter(|one| one.shared) {
                one.text.push_str(&format!(" ({}:{line})", file.display()));
            }
        }
        told
    }

    /// What files the clients of the API may have sent.
    fn fence(&self, confined: bool) -> Fence {
        let (paths, config) = (&self.cx.paths, &self.config);
        let mut closed = vec![
            paths.gateway_token(),
            paths.gateway_lock(),
            paths.state_db(),
            paths.credentials().to_owned(),
            paths.root().join("agents"),
            paths.root().join("logs"),
            paths.root().join("before-restore"),
            self.source.path.clone(),
        ];
        if confined {
            closed.push(paths.root().to_owned());
        }
        closed.extend(config.accounts.values().filter_map(|a| a.link.auth_dir.clone()));
        for encryption in config.accounts.values().filter_map(|a| a.link.encryption.as_deref()) {
            let keys = [&encryption.key].into_iter().chain(&encryption.previous);
            closed
                .extend(keys.filter_map(|key| if let KeySource::File(path) = key { Some(path.clone()) } else { None }));
        }
        let workspace = |a: &Arc<AgentConfig>| a.workspace.clone().unwrap_or_else(|| paths.workspace(&a.id));
        let open = config.agents.list.iter().map(workspace).chain([paths.media()]).collect();
        Fence { closed, open, confined }
    }

    fn unknown_account(&self, asked: &str) -> Refusal {
        let known: Vec<&str> = self.config.accounts.keys().map(AccountId::as_str).collect();
        Refusal::UnknownAccount { account: asked.to_owned(), known: known.join(", ") }
    }

    /// Passes a request on to the account's supervisor.
    fn forward<M, T>(&self, account: Option<&str>, message: M) -> ResponseFuture<Result<T, Refusal>>
    where
        M: Message<Result = Result<T, Refusal>> + Send + 'static,
        T: Send + 'static,
        SupervisorActor: Handler<M>,
    {
        match self.resolve(account) {
            Err(refusal) => Box::pin(async move { Err(refusal) }),
            Ok((_, supervisor)) => Box::pin(async move {
                supervisor.send(message).await.unwrap_or_else(|_| Err(Refusal::Unavailable(RESTARTING.to_owned())))
            }),
        }
    }
}

impl Handler<GetStatus> for GatewayActor {
    type Result = ResponseFuture<GatewayStatus>;

    fn handle(&mut self, _: GetStatus, _: &mut Self::Context) -> Self::Result {
        let mut status = GatewayStatus {
            started_at: self.started_at,
            revision: self.revision,
            last_reload: self.last_reload.clone(),
            config_problems: self.problems.clone(),
            default_account: self.config.default_account.clone(),
            web_version: WebVersionStatus::unknown(),
            unlisted_default: self.config.unlisted_default,
            unclaimed: Vec::new(),
            accounts: self.statuses.values().cloned().collect(),
            stuck_conversions: self.cx.loader.stuck_conversions(),
            unreadable: self.cx.socket.journal.unreadable(),
            sessions: self.sessions(),
        };
        let paths = self.cx.paths.clone();
        let accounts = self.config.accounts.values();
        let used: Vec<_> = accounts.map(|a| credentials::auth_dir(&paths, &a.id, a.link.auth_dir.as_deref())).collect();
        for account in &mut status.accounts {
            account.outbox = self.cx.socket.journal.outbox_counts(&account.account_id);
            account.set_aside = self.cx.socket.journal.set_aside_messages(&account.account_id);
        }
        for account in &mut status.accounts {
            account.agents = self.tallies.of(&account.account_id);
        }
        let journal = self.cx.socket.journal.clone();
        let (router, version) = (self.router.clone(), self.cx.socket.version.clone());
        Box::pin(async move {
            // A router that is busy with a long backlog must not make the status wait for it.
            if let Ok(Ok(handovers)) = tokio::time::timeout(ROUTER_PATIENCE, router.send(GetHandovers)).await {
                for account in &mut status.accounts {
                    let found = handovers.iter().find(|(id, _)| *id == account.account_id);
                    account.handover = found.map(|(_, count)| *count).unwrap_or_default();
                }
            }
            if let Ok(shown) = version.send(ShowVersion).await {
                status.web_version = shown;
            }
            if let Ok(mut chats) = journal.unconfirmed_chats().await {
                for account in &mut status.accounts {
                    account.unconfirmed = chats.remove(&account.account_id).map(shown).unwrap_or_default();
                }
            }
            let looked = tokio::task::spawn_blocking(move || credentials::unclaimed(&paths, &used));
            status.unclaimed = looked.await.unwrap_or_default();
            if let Ok(Ok(mut counters)) = tokio::time::timeout(ROUTER_PATIENCE, router.send(GetCounters)).await {
                for account in &mut status.accounts {
                    account.counters = counters.remove(&account.account_id).unwrap_or_default();
                }
            }
            for account in &mut status.accounts {
                for (outcome, n) in account.agents.values().flat_map(|tally| &tally.outcomes) {
                    *account.counters.entry(outcome.clone()).or_default() += n;
                }
            }
            status
        })
    }
}

/// Chats as the status names them.
fn shown(chats: Vec<(Jid, Unconfirmed)>) -> Vec<UnconfirmedChat> {
    let chats = chats.into_iter();
    chats.map(|(chat, of)| UnconfirmedChat { chat: chat.redacted(), messages: of.ids.len(), since: of.since }).collect()
}

impl Handler<LoginStart> for GatewayActor {
    type Result = ResponseFuture<Result<LoginStarted, Refusal>>;

    fn handle(&mut self, login: LoginStart, _: &mut Self::Context) -> Self::Result {
        self.forward(
            login.account.as_deref(),
            BeginLogin { force: login.force, phone: login.phone.clone(), timeout: login.timeout },
        )
    }
}

impl Handler<LoginWait> for GatewayActor {
    type Result = ResponseFuture<Result<LoginProgress, Refusal>>;

    fn handle(&mut self, wait: LoginWait, _: &mut Self::Context) -> Self::Result {
        self.forward(wait.account.as_deref(), FollowLogin { shown: wait.shown.clone(), timeout: wait.timeout })
    }
}

impl Handler<LoginCancel> for GatewayActor {
    type Result = ResponseFuture<Result<bool, Refusal>>;

    fn handle(&mut self, cancel: LoginCancel, _: &mut Self::Context) -> Self::Result {
        self.forward(cancel.account.as_deref(), CancelLogin)
    }
}

impl Handler<Logout> for GatewayActor {
    type Result = ResponseActFuture<Self, Result<LoggedOut, Refusal>>;

    fn handle(&mut self, logout: Logout, _: &mut Self::Context) -> Self::Result {
        let unlinked = actix::fut::wrap_future(self.forward(logout.account.as_deref(), Unlink));
        Box::pin(unlinked.map(|answer, me: &mut Self, ctx| {
            // An account that was there for its link alone goes with it.
            if me.config.unlisted_default && answer.as_ref().is_ok_and(|out| out.account.as_str() == AccountId::DEFAULT)
            {
                ctx.notify(Reload);
            }
            answer
        }))
    }
}

impl Handler<StartAccount> for GatewayActor {
    type Result = ResponseFuture<Result<AccountId, Refusal>>;

    fn handle(&mut self, start: StartAccount, _: &mut Self::Context) -> Self::Result {
        self.forward(start.account.as_deref(), Resume)
    }
}

impl Handler<StopAccount> for GatewayActor {
    type Result = ResponseFuture<Result<AccountId, Refusal>>;

    fn handle(&mut self, stop: StopAccount, _: &mut Self::Context) -> Self::Result {
        self.forward(stop.account.as_deref(), Suspend)
    }
}

impl Handler<SendOut> for GatewayActor {
    type Result = ResponseFuture<Result<Sent, Refusal>>;

    fn handle(&mut self, send: SendOut, _: &mut Self::Context) -> Self::Result {
        let target = match Target::parse(&send.to) {
            Ok(target) => target,
            Err(error) => return Box::pin(async move { Err(Refusal::Invalid(error.to_string())) }),
        };
        let SendOut { account, what, idempotency_key, .. } = send;
        if let Some(refusal) = self.only_listens(account.as_deref()) {
            return Box::pin(async move { Err(refusal) });
        }
        let max_bytes = self.config.agents.media_max_bytes;
        let confined = matches!(&what, Wanted::Message(draft) if draft.confined);
        let by = Trust::Client(self.fence(confined));
        self.forward(account.as_deref(), SendNow { target, what, by, max_bytes, idempotency_key })
    }
}

impl Handler<ListPairing> for GatewayActor {
    type Result = ResponseFuture<Result<Vec<PairingRequest>, Refusal>>;

    fn handle(&mut self, list: ListPairing, _: &mut Self::Context) -> Self::Result {
        if let Some(asked) = &list.account
            && self.config.account(&AccountId::new(asked)).is_none()
        {
            let refusal = self.unknown_account(asked);
            return Box::pin(async move { Err(refusal) });
        }
        let router = self.router.clone();
        Box::pin(async move { router.send(list).await.unwrap_or_else(|e| Err(Refusal::Unavailable(e.to_string()))) })
    }
}

impl Handler<DecidePairing> for GatewayActor {
    type Result = ResponseFuture<Result<PairingDecided, Refusal>>;

    fn handle(&mut self, decide: DecidePairing, _: &mut Self::Context) -> Self::Result {
        if let Some(asked) = &decide.account
            && self.config.account(&AccountId::new(asked)).is_none()
        {
            let refusal = self.unknown_account(asked);
            return Box::pin(async move { Err(refusal) });
        }
        let router = self.router.clone();
        Box::pin(async move { router.send(decide).await.unwrap_or_else(|e| Err(Refusal::Unavailable(e.to_string()))) })
    }
}

impl Handler<ExplainMessage> for GatewayActor {
    type Result = ResponseFuture<Result<serde_json::Value, Refusal>>;

    fn handle(&mut self, ExplainMessage { id }: ExplainMessage, _: &mut Self::Context) -> Self::Result {
        let journal = self.cx.socket.journal.clone();
        Box::pin(async move { explain(&journal, &id).await })
    }
}

async fn explain(journal: &Journal, id: &MessageId) -> Result<serde_json::Value, Refusal> {
    let rows = journal.get_by_message_id(id).await.map_err(|e| Refusal::Unavailable(e.to_string()))?;
    if rows.is_empty() {
        return Err(Refusal::Invalid(format!(
            "no message with the id {id} is in the journal; ids are shown by `verso logs` and kept for the journal's retention time"
        )));
    }
    Ok(serde_json::json!({ "rows": rows }))
}

impl Handler<Subscribe> for GatewayActor {
    type Result = Events;

    fn handle(&mut self, _: Subscribe, _: &mut Self::Context) -> Self::Result {
        Events(self.events.subscribe())
    }
}
