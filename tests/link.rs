//! A real link against the simulator: every way in, every way out, and nothing acknowledged that is not written down.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use verso::clock::Clock;
use verso::event::{Content, DownReason, InboundMessage, LinkEvent, ReceiptKind};
use verso::ids::{AccountId, E164, Jid, MessageId};
use verso::outgoing::{Letter, Outlet};
use verso::store::journal::{Journal, OutboxPart};
use verso::whatsapp::{CommitFailed, Endpoint, Link, LinkError, LinkSink, LinkSpec, Links};
use wa_simulator::{Addressing, Direction, Fault, IqFault, Kick, LinkedDevice, Phone, World};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Longer than anything here takes; a failure, not a pause.
const DEADLINE: Duration = Duration::from_secs(20);

/// The letter of an account, as its outbox seals it.
async fn letter(outlet: &impl Outlet, chat: &Jid, id: &MessageId, text: &str) -> Letter {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = Journal::open(&dir.path().join("state.db"), Clock::System).expect("opens");
    let account = outlet.account().clone();
    let part = OutboxPart { id: id.clone(), ..OutboxPart::text(account, chat.clone(), text, None) };
    journal.enqueue(vec![part]).await.expect("queued");
    journal.outbox(outlet).waiting().await.expect("read").remove(0)
}

async fn send_text(link: &Link, chat: &Jid, id: &MessageId, text: &str) -> std::result::Result<(), LinkError> {
    link.send(&letter(link, chat, id, text).await).await
}

/// Another account's way out.
struct Stranger(AccountId);

impl Outlet for Stranger {
    fn account(&self) -> &AccountId {
        &self.0
    }
}

/// Collects what a link delivers; commits fail while told to.
struct Sink {
    events: mpsc::UnboundedSender<LinkEvent>,
    messages: mpsc::UnboundedSender<InboundMessage>,
    failing: AtomicBool,
    panicking: AtomicBool,
}

impl LinkSink for Sink {
    fn event(&self, event: LinkEvent) {
        let _ = self.events.send(event);
    }

    fn commit(&self, messages: Vec<InboundMessage>) -> BoxFuture<'_, std::result::Result<(), CommitFailed>> {
        async move {
            assert!(!self.panicking.load(Ordering::SeqCst), "a panic on purpose");
            if self.failing.load(Ordering::SeqCst) {
                return Err(CommitFailed("the disk is full".to_owned()));
            }
            for message in messages {
                let _ = self.messages.send(message);
            }
            Ok(())
        }
        .boxed()
    }
}

/// One account with its link and what came out of it.
struct Account {
    link: Link,
    sink: Arc<Sink>,
    events: Mutex<mpsc::UnboundedReceiver<LinkEvent>>,
    messages: Mutex<mpsc::UnboundedReceiver<InboundMessage>>,
}

async fn open(url: &str, dir: &Path) -> Result<Account> {
    open_as(url, dir, true).await
}

async fn open_as(url: &str, dir: &Path, available: bool) -> Result<Account> {
    let links = Links::new(Endpoint::from_env(Some(url.to_owned()))?, Handle::current())?;
    let (events, events_out) = mpsc::unbounded_channel();
    let (messages, messages_out) = mpsc::unbounded_channel();
    let sink = Arc::new(Sink { events, messages, failing: AtomicBool::new(false), panicking: AtomicBool::new(false) });
    let spec = LinkSpec {
        account: AccountId::new("work"),
        auth_dir: dir.to_owned(),
        device_name: "Verso".to_owned(),
        available,
        linking: false,
        encryption: None,
    };
    let link = links.open(spec, Arc::clone(&sink) as Arc<dyn LinkSink>).await?;
    Ok(Account { link, sink, events: Mutex::new(events_out), messages: Mutex::new(messages_out) })
}

impl Account {
    /// Begins one connection attempt.
    fn run(&self) -> JoinHandle<DownReason> {
        let link = self.link.clone();
        tokio::spawn(async move { link.run().await })
    }

    /// The first event that `wanted` takes; others before it are passed over.
    async fn event<T>(&self, what: &str, mut wanted: impl FnMut(LinkEvent) -> Option<T>) -> Result<T> {
        let mut events = self.events.lock().await;
        let mut seen = Vec::new();
        let found = async {
            while let Some(event) = events.recv().await {
                seen.push(format!("{event:?}"));
                if let Some(found) = wanted(event) {
                    return Some(found);
                }
            }
            None
        };
        match timeout(DEADLINE, found).await {
            Ok(Some(found)) => Ok(found),
            _ => Err(format!("waited in vain for {what}; saw {seen:#?}").into()),
        }
    }

    async fn qr(&self) -> Result<String> {
        self.event("a QR code", |e| if let LinkEvent::Qr { code, .. } = e { Some(code) } else { None }).await
    }

    async fn connected(&self) -> Result {
        self.event("Connected", |e| matches!(e, LinkEvent::Connected(_)).then_some(())).await
    }

    async fn message(&self) -> Result<InboundMessage> {
        let next = async { self.messages.lock().await.recv().await };
        timeout(DEADLINE, next).await?.ok_or_else(|| "no more messages".into())
    }

    async fn text(&self) -> Result<String> {
        let message = self.message().await?;
        Ok(text_of(&message).to_owned())
    }
}

fn text_of(message: &InboundMessage) -> &str {
    match &message.content {
        Content::Body(body) => body.text.as_deref().unwrap_or_default(),
        other => panic!("no body: {other:?}"),
    }
}

async fn ended(run: JoinHandle<DownReason>) -> Result<DownReason> {
    Ok(timeout(DEADLINE, run).await??)
}

/// Links by QR code, restarts as WhatsApp asks, and is connected.
async fn link_up(account: &Account, owner: &Phone) -> Result<(LinkedDevice, JoinHandle<DownReason>)> {
    let run = account.run();
    let code = account.qr().await?;
    let device = owner.scan_qr(&code).await?;
    account.event("Paired", |e| matches!(e, LinkEvent::Paired(_)).then_some(())).await?;
    assert_eq!(ended(run).await?, DownReason::RestartRequired);
    let run = account.run();
    account.connected().await?;
    Ok((device, run))
}

fn ours(jid: &impl ToString) -> Jid {
    jid.to_string().parse().expect("the simulator's addresses are addresses")
}

fn number(phone: &Phone) -> Option<E164> {
    E164::from_digits(&phone.number())
}

struct Stage {
    world: World,
    ann: Phone,
    owner: Phone,
    dir: tempfile::TempDir,
}

async fn stage() -> Result<Stage> {
    let world = World::start().await?;
    let ann = world.contact("+15550100001", "Ann");
    let owner = world.contact("+15550100002", "Owner");
    Ok(Stage { world, ann, owner, dir: tempfile::tempdir()? })
}

#[tokio::test(flavor = "multi_thread")]
async fn links_by_qr_and_talks_both_ways() -> Result {
    let s = stage().await?;
    let account = open(&s.world.ws_url(), s.dir.path()).await?;
    assert!(!account.link.is_linked());
    assert_eq!(account.link.new_message_id().as_str().get(..4), Some("3EB0"));
    let (device, run) = link_up(&account, &s.owner).await?;
    let me = account.link.identity().ok_or("linked, but nobody")?;
    assert_eq!(me.number(), number(&s.owner));
    assert_eq!(me.jid, ours(&device.jid()));
    assert_eq!(me.lid, Some(ours(&device.lid())));
    assert!(s.dir.path().join("creds.json").exists());

    let sent = s.ann.says(&s.owner, "hello");
    let got = account.message().await?;
    assert_eq!(text_of(&got), "hello");
    assert_eq!(got.id.as_str(), sent);
    assert!(!got.from_me && !got.offline);
    assert_eq!(got.push_name.as_deref(), Some("Ann"));
    assert_eq!(got.sender_number, number(&s.ann), "a LID sender has a number");
    assert_eq!(got.chat_number, number(&s.ann));
    device.wait_drained().await?;

    let id = account.link.new_message_id();
    account.link.typing(&got.chat, true).await?;
    s.ann.expect_typing(&s.owner).await?;
    send_text(&account.link, &got.chat, &id, "hello yourself").await?;
    let seen = s.ann.expect_text("hello yourself").await?;
    assert_eq!(seen.id, id.as_str(), "the id is ours");
    let (mut acked, mut delivered) = (false, false);
    let confirmed = |event| {
        match event {
            LinkEvent::ServerAck { id: which, error: None } => acked |= which == id,
            LinkEvent::Receipt { ids, kind: ReceiptKind::Delivered, .. } => delivered |= ids == [id.clone()],
            _ => {}
        }
        (acked && delivered).then_some(())
    };
    account.event("the server's ack and the delivery receipt", confirmed).await?;

    account.link.mark_read(&got.chat, None, std::slice::from_ref(&got.id)).await?;
    s.ann.expect_receipt(&sent, wa_simulator::ReceiptKind::Read).await?;
    account.link.send_reaction(&got.chat, &got.id, None, false, "👀", &MessageId::new("3EB0REACTION")).await?;
    assert_eq!(s.ann.expect_reaction(&sent).await?.emoji, "👀");
    s.ann.reacts(&s.owner, id.as_str(), "👍");
    let reaction = account.message().await?.content;
    assert!(
        matches!(&reaction, Content::Reaction { target, target_from_me: true, emoji, .. } if *target == id && emoji == "👍"),
        "{reaction:?}"
    );

    assert!(account.link.probe().await? < DEADLINE);
    assert!(account.link.vitals().frames_in > 0);
    account.link.close().await;
    assert_eq!(ended(run).await?, DownReason::Stopped);
    assert_eq!(send_text(&account.link, &got.chat, &id, "too late").await, Err(LinkError::NotConnected));
    device.wait_disconnected().await?;
    drop(account);
    let released = async {
        while open_files(s.dir.path()) > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, released).await.map_err(|_| "the closed link still holds its files")?;
    Ok(())
}

fn open_files(dir: &Path) -> usize {
    let files = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    files.filter(|file| std::fs::read_link(file.path()).is_ok_and(|target| target.starts_with(dir))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn links_by_code() -> Result {
    let s = stage().await?;
    let account = open(&s.world.ws_url(), s.dir.path()).await?;
    let run = account.run();
    account.qr().await?;
    let owner = number(&s.owner).ok_or("no number")?;
    let code = account.link.request_pairing_code(&owner).await?;
    assert_eq!(code.chars().filter(char::is_ascii_alphanumeric).count(), 8, "{code}");
    let told = |e| if let LinkEvent::PairingCode { code, .. } = e { Some(code) } else { None };
    assert_eq!(account.event("the code as an event", told).await?, code);
    s.owner.enter_code(&code).await?;
    account.event("Paired", |e| matches!(e, LinkEvent::Paired(_)).then_some(())).await?;
    assert_eq!(ended(run).await?, DownReason::RestartRequired);
    let run = account.run();
    account.connected().await?;
    account.link.close().await;
    assert_eq!(ended(run).await?, DownReason::Stopped);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_written_down_comes_again() -> Result {
    let s = stage().await?;
    let account = open(&s.world.ws_url(), s.dir.path()).await?;
    let (device, run) = link_up(&account, &s.owner).await?;
    s.ann.says(&s.owner, "first");
    assert_eq!(account.text().await?, "first");
    device.wait_drained().await?;

    account.sink.failing.store(true, Ordering::SeqCst);
    let id = s.ann.says(&s.owner, "second");
    let end = ended(run).await?;
    assert!(matches!(&end, DownReason::Internal { detail } if detail.contains("disk is full")), "{end:?}");
    assert!(device.offline_queue_len() > 0, "WhatsApp was told that it arrived");
    assert_eq!(account.link.vitals().commits_failed, 1);

    account.sink.failing.store(false, Ordering::SeqCst);
    let run = account.run();
    let again = account.message().await?;
    assert_eq!((text_of(&again), again.id.as_str()), ("second", id.as_str()));
    account.connected().await?;
    device.wait_drained().await?;
    account.link.close().await;
    assert_eq!(ended(run).await?, DownReason::Stopped);

    // A panic while writing is a failure like any other, and the link lives on.
    let run = {
        let account = open(&s.world.ws_url(), s.dir.path()).await?;
        let run = account.run();
        account.connected().await?;
        account.sink.panicking.store(true, Ordering::SeqCst);
        s.ann.says(&s.owner, "in between");
        let end = ended(run).await?;
        assert!(matches!(end, DownReason::Internal { .. }), "{end:?}");
        account.sink.panicking.store(false, Ordering::SeqCst);
        let run = account.run();
        assert_eq!(account.text().await?, "in between");
        device.wait_drained().await?;
        account.link.close().await;
        run
    };
    assert_eq!(ended(run).await?, DownReason::Stopped);

    // The same after a restart of the process: a new link on the same files.
    let account = open(&s.world.ws_url(), s.dir.path()).await?;
    assert!(account.link.is_linked());
    account.sink.failing.store(true, Ordering::SeqCst);
    s.ann.says(&s.owner, "third");
    let run = account.run();
    let end = ended(run).await?;
    assert!(matches!(end, DownReason::Internal { .. }), "{end:?}");
    account.link.close().await;
    let account = open(&s.world.ws_url(), s.dir.path()).await?;
    let run = account.run();
    assert_eq!(account.text().await?, "third");
    account.link.close().await;
    ended(run).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_offline_queue_is_delivered_in_order_before_connected() -> Result {
    let s = stage().await?;
    let account = open(&s.world.ws_url(), s.dir.path()).await?;
    let (device, run) = link_up(&account, &s.owner).await?;
    device.kick(Kick::Drop);
    let end = ended(run).await?;
    assert!(matches!(end, DownReason::Lost { .. }), "{end:?}");
    device.wait_disconnected().await?;
    for n in 0..30 {
        s.ann.says(&s.owner, &format!("message {n}"));
    }
    let run = account.run();
    let mut catching_up = false;
    let events = account.event("Connected", |e| match e {
        LinkEvent::CatchingUp { .. } => {
            catching_up = true;
            None
        }
        LinkEvent::Connected(_) => Some(()),
        _ => None,
    });
    events.await?;
    assert!(catching_up, "the backlog was announced");
    for n in 0..30 {
        let message = account.message().await?;
        assert_eq!(text_of(&message), format!("message {n}"));
        assert!(message.offline);
    }
    device.wait_drained().await?;
    account.link.close().await;
    ended(run).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_says_why() -> Result {
    let s = stage().await?;
    let account = open(&s.world.ws_url(), s.dir.path()).await?;
    let (device, mut run) = link_up(&account, &s.owner).await?;
    for (kick, want) in [
        (Kick::StreamError(515), DownReason::RestartRequired),
        (Kick::StreamError(429), DownReason::RateLimited),
        (Kick::StreamError(503), DownReason::Unavailable { code: 503 }),
        (Kick::Conflict, DownReason::Conflict),
    ] {
        device.kick(kick);
        assert_eq!(ended(run).await?, want, "{kick:?}");
        run = account.run();
        account.connected().await?;
    }
    for kick in [Kick::Drop, Kick::Close, Kick::StreamEnd] {
        device.kick(kick);
        let end = ended(run).await?;
        assert!(matches!(end, DownReason::Lost { .. }), "{kick:?}: {end:?}");
        run = account.run();
        account.connected().await?;
    }
    device.kick(Kick::Drop);
    ended(run).await?;
    for (reason, want) in [
        (405, DownReason::Outdated),
        (500, DownReason::Unavailable { code: 500 }),
        (503, DownReason::Unavailable { code: 503 }),
        (403, DownReason::Banned { expires_in: None }),
        (400, DownReason::Rejected { code: 400 }),
    ] {
        device.set_fault(Fault::LoginFailure { reason, code: None, expire: None });
        assert_eq!(ended(account.run()).await?, want);
    }
    let minutes = Duration::from_secs(600);
    device.set_fault(Fault::ban(101, minutes));
    assert_eq!(ended(account.run()).await?, DownReason::Banned { expires_in: Some(minutes) });
    device.clear_faults();
    let run = account.run();
    account.connected().await?;
    s.owner.unlink(&device);
    let end = ended(run).await?;
    assert!(matches!(end, DownReason::LoggedOut { .. }), "{end:?}");
    account.link.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_says_where_it_broke() -> Result {
    let s = stage().await?;
    let account = open(&s.world.ws_url(), s.dir.path()).await?;
    let broken = |end: DownReason, word: &str| {
        assert!(matches!(&end, DownReason::OpenFailed { detail } if detail.contains(word)), "{word}: {end:?}");
    };
    s.world.set_fault(Fault::HangUpInHandshake);
    broken(ended(account.run()).await?, "hung up");
    s.world.clear_faults();
    s.world.refuse_connections(1);
    broken(ended(account.run()).await?, "hung up");
    // The same link connects as soon as the server is well again.
    let (_device, run) = link_up(&account, &s.owner).await?;
    account.link.close().await;
    ended(run).await?;

    let free: SocketAddr = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let dir = tempfile::tempdir()?;
    let nobody = open(&format!("ws://{free}/ws/chat"), dir.path()).await?;
    broken(ended(nobody.run()).await?, "refused the connection");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_found_by_every_means() -> Result {
    let s = stage().await?;
    let account = open(&s.world.ws_url(), s.dir.path()).await?;
    let (_device, run) = link_up(&account, &s.owner).await?;
    for addressing in [Addressing::Lid, Addressing::Pn] {
        s.ann.says_via(&s.owner, "who am I", addressing);
        let got = account.message().await?;
        assert_eq!(got.sender_number, number(&s.ann), "{addressing:?}");
        assert_eq!(account.link.number_of(&got.sender).await, number(&s.ann));
    }
    let bob = s.world.contact("+15550100003", "Bob");
    assert_eq!(account.link.number_of(&ours(&bob.lid())).await, number(&bob), "WhatsApp was asked");
    assert_eq!(account.link.number_of(&"999999999999@lid".parse()?).await, None);
    let known = number(&s.ann).ok_or("no number")?;
    assert_eq!(account.link.lookup(&known).await?, Some(Jid::of_number(&known)));
    let nobody = E164::from_digits("+15559999999").ok_or("no number")?;
    assert_eq!(account.link.lookup(&nobody).await?, None);
    account.link.close().await;
    ended(run).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_media_and_own_messages_are_understood() -> Result {
    let s = stage().await?;
    let account = open(&s.world.ws_url(), s.dir.path()).await?;
    let (_device, run) = link_up(&account, &s.owner).await?;
    let group = s.world.group("Picnic", &s.ann, &[&s.owner]);
    s.ann.says_in(&group, "hi all", &[&s.owner]);
    let got = account.message().await?;
    assert_eq!(text_of(&got), "hi all");
    assert_eq!(got.chat, ours(&group.jid()));
    assert_eq!((got.sender_number.clone(), got.chat_number), (number(&s.ann), None));
    let Content::Body(body) = &got.content else { return Err("no body".into()) };
    assert_eq!(body.mentions.len(), 1);
    let info = account.link.group_info(&got.chat).await?;
    assert_eq!(info.subject, "Picnic");
    let mut numbers: Vec<_> = info.members.iter().map(|m| m.number.clone()).collect();
    numbers.sort();
    assert_eq!(numbers, [number(&s.ann), number(&s.owner)]);
    let id = account.link.new_message_id();
    send_text(&account.link, &got.chat, &id, "hi Ann").await?;
    s.ann.expect_text("hi Ann").await?;
    account
        .link
        .send_reaction(&got.chat, &got.id, Some(&got.sender), false, "🎉", &account.link.new_message_id())
        .await?;
    assert_eq!(s.ann.expect_reaction(got.id.as_str()).await?.emoji, "🎉");

    s.owner.says(&s.ann, "from my phone");
    let own = account.message().await?;
    assert!(own.from_me);
    assert_eq!(own.sender_number, number(&s.owner));
    assert_eq!(own.chat_number, number(&s.ann));
    account.link.close().await;
    ended(run).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_does_not_keep_an_account_from_connecting() -> Result {
    let s = stage().await?;
    for xmlns in ["w:sync:app:state", "abt", "blocklist", "privacy", "w"] {
        s.world.set_fault(Fault::Iq { xmlns: xmlns.to_owned(), how: IqFault::Silent });
    }
    let account = open(&s.world.ws_url(), s.dir.path()).await?;
    let (_device, run) = link_up(&account, &s.owner).await?;
    s.ann.says(&s.owner, "hello");
    assert_eq!(account.text().await?, "hello");
    account.link.close().await;
    ended(run).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nack_reaches_the_sender_and_another_accounts_letter_goes_nowhere() -> Result {
    let s = stage().await?;
    let account = open(&s.world.ws_url(), s.dir.path()).await?;
    let (device, run) = link_up(&account, &s.owner).await?;
    let to = ours(&s.ann.jid());
    let foreign = letter(&Stranger(AccountId::new("stranger")), &to, &account.link.new_message_id(), "not mine").await;
    let refused = account.link.send(&foreign).await.expect_err("refused");
    assert!(matches!(&refused, LinkError::Invalid(text) if text.contains("\"stranger\"")), "{refused}");
    device.set_fault(Fault::NackMessages { error: 479 });
    let id = account.link.new_message_id();
    send_text(&account.link, &ours(&s.ann.jid()), &id, "refused").await?;
    let nacked = |e| if let LinkEvent::ServerAck { id, error } = e { Some((id, error)) } else { None };
    assert_eq!(account.event("the nack", nacked).await?, (id, Some("479".to_owned())));
    account.link.close().await;
    ended(run).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_follows_the_account() -> Result {
    let s = stage().await?;
    let account = open_as(&s.world.ws_url(), s.dir.path(), false).await?;
    let (device, run) = link_up(&account, &s.owner).await?;
    let presence = |kind: &'static str| {
        s.world.wait_for_stanza(move |entry| {
            entry.direction == Direction::FromClient
                && entry.xml.starts_with("<presence")
                && entry.xml.contains(&format!("type=\"{kind}\""))
        })
    };
    presence("unavailable").await?;
    account.link.set_available(true).await?;
    presence("available").await?;
    assert!(device.linked());
    account.link.close().await;
    ended(run).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_tells_whatsapp() -> Result {
    let s = stage().await?;
    let account = open(&s.world.ws_url(), s.dir.path()).await?;
    let (device, run) = link_up(&account, &s.owner).await?;
    account.link.logout().await?;
    ended(run).await?;
    assert!(!device.linked(), "the phone still lists the device");
    Ok(())
}
