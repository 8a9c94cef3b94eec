//! A gateway made of one actor that answers from a script: what the tests of the doors talk to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Context, Handler, ResponseFuture};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::server::{ApiHandle, ApiOptions, Bind, listen, serve};
use super::settings::{AgentFacts, Settings};
use crate::actors::messages::*;
use crate::actors::web_version::WebVersionStatus;
use crate::ids::{AccountId, E164, Jid, MessageId};

pub(crate) const TOKEN: &str = "tok-test-0123456789";
pub(crate) const START: i64 = 1_795_292_319_000;

/// What the test sees and sets.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) sent: Arc<Mutex<Vec<SendOut>>>,
    pub(crate) linked: Arc<Mutex<bool>>,
    pub(crate) pairing: Arc<Mutex<Vec<PairingRequest>>>,
    pub(crate) waits: Arc<Mutex<Vec<LoginProgress>>>,
    pub(crate) shown: Arc<Mutex<Vec<Option<String>>>>,
    pub(crate) events: broadcast::Sender<GatewayEvent>,
    pub(crate) send_delay: Duration,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            sent: Arc::default(),
            linked: Arc::new(Mutex::new(true)),
            pairing: Arc::new(Mutex::new(vec![PairingRequest {
                account: AccountId::new("work"),
                sender: "+15557654321".into(),
                name: Some("Ann".into()),
                code: "ABCDEFGH".into(),
                created_at: START,
                last_seen_at: START + 1000,
                expires_at: START + 3_600_000,
            }])),
            waits: Arc::default(),
            shown: Arc::default(),
            events: broadcast::channel(16).0,
            send_delay: Duration::from_millis(20),
        }
    }
}

impl Script {
    pub(crate) fn account(&self, id: &str) -> AccountStatus {
        let linked = *self.linked.lock().unwrap();
        AccountStatus {
            account_id: AccountId::new(id),
            name: None,
            enabled: true,
            linked,
            running: linked,
            connected: linked,
            state: if linked { "connected" } else { "not-linked" }.into(),
            state_text: if linked { "connected" } else { "not linked" }.into(),
            next_step: None,
            reconnect_attempts: 0,
            sockets_opened: 1,
            last_connected_at: linked.then_some(START),
            last_disconnect: None,
            last_error: (!linked).then(|| "not linked".into()),
            last_message_at: None,
            last_event_at: Some(START),
            last_inbound_at: None,
            last_outbound_at: None,
            last_start_at: Some(START),
            last_stop_at: None,
            dm_policy: "pairing".into(),
            allow_from: vec!["+15551230000".into()],
            self_number: linked.then(|| E164::from_digits("+15550001111").unwrap()),
            self_jid: linked.then(|| "15550001111@s.whatsapp.net".parse().unwrap()),
            self_lid: None,
            auth_age_ms: linked.then_some(720_000),
            unsaved: None,
            phone: crate::policy::phone_watch::PhoneSeen::default(),
            outbox: crate::store::journal::OutboxCounts { waiting: 2, failed: 1, expired: 0 },
            unconfirmed: Vec::new(),
            set_aside: crate::store::journal::SetAside::default(),
            agents: std::collections::BTreeMap::default(),
            gave_up: None,
            counters: std::collections::BTreeMap::default(),
            handover: crate::policy::handover::HandoverCount::default(),
            listen_only: false,
        }
    }

    fn known(&self, account: Option<&str>) -> Result<AccountId, Refusal> {
        match account {
            None => Ok(AccountId::new("work")),
            Some("work" | "home") => Ok(AccountId::new(account.unwrap_or_default())),
            Some(other) => Err(Refusal::UnknownAccount { account: other.into(), known: "home, work".into() }),
        }
    }
}

impl Actor for Script {
    type Context = Context<Self>;
}

impl Handler<GetStatus> for Script {
    type Result = GatewayStatus;
    fn handle(&mut self, _: GetStatus, _: &mut Self::Context) -> GatewayStatus {
        GatewayStatus {
            started_at: START,
            revision: 1,
            last_reload: Value::Null,
            config_problems: Vec::new(),
            default_account: AccountId::new("work"),
            web_version: WebVersionStatus::unknown(),
            unlisted_default: false,
            unclaimed: Vec::new(),
            accounts: vec![self.account("home"), self.account("work")],
            stuck_conversions: 0,
            unreadable: crate::store::journal::Unreadable::default(),
            sessions: Vec::new(),
        }
    }
}

impl Handler<LoginStart> for Script {
    type Result = Result<LoginStarted, Refusal>;
    fn handle(&mut self, m: LoginStart, _: &mut Self::Context) -> Self::Result {
        let account = self.known(m.account.as_deref())?;
        if *self.linked.lock().unwrap() && !m.force {
            return Ok(LoginStarted::AlreadyLinked { account, who: "+15550001111".into() });
        }
        Ok(match m.phone {
            Some(_) => LoginStarted::Code { account, code: "ABCD2345".into() },
            None => LoginStarted::Qr { account, code: "2@first,code".into(), fresh: true },
        })
    }
}

impl Handler<LoginWait> for Script {
    type Result = Result<LoginProgress, Refusal>;
    fn handle(&mut self, m: LoginWait, _: &mut Self::Context) -> Self::Result {
        self.known(m.account.as_deref())?;
        self.shown.lock().unwrap().push(m.shown);
        let mut waits = self.waits.lock().unwrap();
        Ok(if waits.is_empty() { LoginProgress::NotStarted } else { waits.remove(0) })
    }
}

impl Handler<LoginCancel> for Script {
    type Result = Result<bool, Refusal>;
    fn handle(&mut self, m: LoginCancel, _: &mut Self::Context) -> Self::Result {
        self.known(m.account.as_deref()).map(|_| true)
    }
}

impl Handler<Logout> for Script {
    type Result = Result<LoggedOut, Refusal>;
    fn handle(&mut self, m: Logout, _: &mut Self::Context) -> Self::Result {
        let account = self.known(m.account.as_deref())?;
        let cleared = std::mem::replace(&mut *self.linked.lock().unwrap(), false);
        Ok(LoggedOut { account, cleared, unlinked: cleared })
    }
}

impl Handler<StartAccount> for Script {
    type Result = Result<AccountId, Refusal>;
    fn handle(&mut self, m: StartAccount, _: &mut Self::Context) -> Self::Result {
        self.known(m.account.as_deref())
    }
}

impl Handler<StopAccount> for Script {
    type Result = Result<AccountId, Refusal>;
    fn handle(&mut self, m: StopAccount, _: &mut Self::Context) -> Self::Result {
        self.known(m.account.as_deref())
    }
}

impl Handler<SendOut> for Script {
    type Result = ResponseFuture<Result<Sent, Refusal>>;
    fn handle(&mut self, m: SendOut, _: &mut Self::Context) -> Self::Result {
        let account = self.known(m.account.as_deref());
        let listening = *self.linked.lock().unwrap();
        let (sent, delay) = (Arc::clone(&self.sent), self.send_delay);
        Box::pin(async move {
            let account = account?;
            if !listening {
                return Err(Refusal::NoListener { account });
            }
            tokio::time::sleep(delay).await;
            let mut sent = sent.lock().unwrap();
            let number = E164::parse(&m.to).ok();
            sent.push(m);
            let number = number.ok_or_else(|| Refusal::Invalid("not a target".into()))?;
            Ok(Sent {
                account,
                message_id: MessageId::new(format!("3EB0{}", sent.len())),
                to_jid: Jid::of_number(&number),
            })
        })
    }
}

impl Handler<ListPairing> for Script {
    type Result = Result<Vec<PairingRequest>, Refusal>;
    fn handle(&mut self, m: ListPairing, _: &mut Self::Context) -> Self::Result {
        if let Some(account) = &m.account {
            self.known(Some(account))?;
        }
        let all = self.pairing.lock().unwrap().clone();
        Ok(all.into_iter().filter(|r| m.account.as_ref().is_none_or(|a| r.account.as_str() == a)).collect())
    }
}

impl Handler<DecidePairing> for Script {
    type Result = Result<PairingDecided, Refusal>;
    fn handle(&mut self, m: DecidePairing, _: &mut Self::Context) -> Self::Result {
        let mut all = self.pairing.lock().unwrap();
        let Some(at) = all.iter().position(|r| r.code.eq_ignore_ascii_case(&m.code)) else {
            return Err(Refusal::Invalid(format!("No pending pairing request found for code: {}", m.code)));
        };
        let request = all.remove(at);
        Ok(PairingDecided { account: request.account, sender: request.sender, notified: m.notify })
    }
}

impl Handler<Reload> for Script {
    type Result = Result<Value, Refusal>;
    fn handle(&mut self, _: Reload, _: &mut Self::Context) -> Self::Result {
        Ok(json!({"revision": 2}))
    }
}

impl Handler<ExplainMessage> for Script {
    type Result = Result<Value, Refusal>;
    fn handle(&mut self, m: ExplainMessage, _: &mut Self::Context) -> Self::Result {
        Ok(json!({"rows": [{"outgoing": {"account": "work", "id": m.id, "state": "acked"}}]}))
    }
}

impl Handler<Subscribe> for Script {
    type Result = Events;
    fn handle(&mut self, _: Subscribe, _: &mut Self::Context) -> Events {
        Events(self.events.subscribe())
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        token: TOKEN.into(),
        allowed_origins: Vec::new(),
        agents: vec![AgentFacts {
            id: "main".into(),
            name: None,
            identity_name: Some("Vera".into()),
            identity_emoji: None,
        }],
        default_agent: "main".into(),
        main_key: "main".into(),
        global_scope: false,
    }
}

pub(crate) fn options() -> ApiOptions {
    ApiOptions::new(Arc::new(settings))
}

/// A served API in front of the script.
pub(crate) fn served(script: &Script, options: ApiOptions) -> ApiHandle {
    let actor = script.clone().start();
    let listeners = listen(Bind::Loopback, 0).expect("a free port");
    let handle = serve(options, listeners, GatewayPort::of(&actor)).expect("open sockets");
    handle.ready();
    handle
}
