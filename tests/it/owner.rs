//! Queues belong to a number: what is open for one never leaves from another (behaviour.md 24.11).

use std::path::Path;

use verso::actors::messages::{LoginProgress, LoginStarted};
use verso::clock::Clock;
use verso::event::{Body, Content, InboundMessage};
use verso::ids::{AccountId, Jid, MessageId};
use verso::store::journal::{Journal, OutboxPart};
use wa_simulator::{Kick, Phone, World};

use crate::process::{Process, write_config};
use crate::support::GatewayFixture;
use crate::support::model::Model;

const RULES: &str =
    "session: { dmScope: 'per-channel-peer' }, web: { reconnect: { initialMs: 600000, maxMs: 600000 } },
    channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], accounts: { work: {} } } }";

async fn linked_anew(gateway: &GatewayFixture, phone: &Phone) -> LoginProgress {
    let started = gateway.login("work", true, None).await.expect("a code");
    let LoginStarted::Qr { code, .. } = started else { panic!("no QR: {started:?}") };
    phone.scan_qr(&code).await.expect("the phone links");
    let end = gateway.login_end("work").await;
    gateway.wait_state("work", "connected").await;
    end
}

/// A gateway whose account has, behind a line that is cut, an answer to Ann in its outbox and one to Bob that the model still writes.
async fn cut_off(world: &World, model: &mut Model, a: &Phone, ann: &Phone, bob: &Phone) -> GatewayFixture {
    let gateway = GatewayFixture::start(world, &format!("{{ {}, {RULES} }}", model.config())).await;
    let device = gateway.link("work", a).await;
    ann.says(a, "a question for number A");
    model.asked().await;
    bob.says(a, "another one");
    model.asked().await;
    device.kick(Kick::Drop);
    gateway.wait_state("work", "backoff").await;
    model.release(1);
    gateway.wait("an answer to wait", |s| s.accounts[0].outbox.waiting == 1).await;
    gateway
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_one_number_never_leaves_from_another() {
    let world = World::start().await.expect("world");
    let (a, b) = (world.phone("+15550001111"), world.phone("+15550002222"));
    let people = ["+15557000001", "+15557000002", "+15557000003"].map(|number| world.contact(number, "Somebody"));
    let [ann, bob, carl] = &people;
    let mut model = Model::held("an answer").await;
    let gateway = cut_off(&world, &mut model, &a, ann, bob).await;
    let end = linked_anew(&gateway, &b).await;
    assert!(matches!(&end, LoginProgress::Linked { before: Some(before), .. } if before == "+15550001111"), "{end:?}");
    let status = gateway.status().await.accounts.remove(0);
    assert_eq!((status.outbox.waiting, status.outbox.expired), (0, 1));
    let gave_up = status.gave_up.expect("told");
    assert_eq!((gave_up.parts, gave_up.messages), (1, 1));
    // The model ends its answer to Bob only now; then it answers somebody who wrote to the new number.
    carl.says(&b, "a question for number B");
    model.asked().await;
    model.release(2);
    carl.expect_text("an answer").await.expect("the new number answers");
    assert!(ann.inbox().is_empty() && bob.inbox().is_empty(), "nothing of the old number left");
    // Nor after a restart.
    let folder = gateway.stop().await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("work", "connected").await;
    carl.says(&b, "once more");
    model.asked().await;
    model.release(1);
    carl.expect_text("an answer").await.expect("answered");
    assert!(ann.inbox().is_empty() && bob.inbox().is_empty(), "nothing of the old number left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_number_linked_again_keeps_everything() {
    let world = World::start().await.expect("world");
    let a = world.phone("+15550001111");
    let (ann, bob) = (world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let mut model = Model::held("an answer").await;
    let gateway = cut_off(&world, &mut model, &a, &ann, &bob).await;
    let end = linked_anew(&gateway, &a).await;
    assert!(matches!(&end, LoginProgress::Linked { before: None, .. }), "{end:?}");
    ann.expect_text("an answer").await.expect("it waited for this");
    model.release(1);
    bob.expect_text("an answer").await.expect("answered on the new link");
    assert_eq!(gateway.status().await.accounts[0].gave_up, None);
}

/// Leaves a part and an unanswered message for the account in a state folder that no gateway uses.
async fn leave_open(state: &Path, ann: &Phone) {
    let journal = Journal::open(&state.join("state.db"), Clock::System).expect("opened");
    let (account, chat): (_, Jid) = (AccountId::new("work"), ann.jid().to_string().parse().expect("a jid"));
    journal.enqueue(vec![OutboxPart::text(account.clone(), chat.clone(), "for A alone", None)]).await.expect("queued");
    let message = InboundMessage {
        account,
        id: MessageId::new("3EB0OPEN"),
        chat: chat.clone(),
        sender: chat,
        sender_alt: None,
        sender_number: None,
        chat_number: None,
        from_me: false,
        push_name: None,
        timestamp: Clock::System.now(),
        offline: false,
        content: Content::Body(Body { text: Some("to be echoed by A alone".to_owned()), ..Body::default() }),
    };
    journal.commit(vec![message]).await.expect("written");
    journal.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_the_new_link_and_the_note_of_its_number_changes_nothing() {
    let world = World::start().await.expect("world");
    let (a, b) = (world.phone("+15550001111"), world.phone("+15550002222"));
    let (ann, carl) = (world.contact("+15557000001", "Ann"), world.contact("+15557000003", "Carl"));
    let gateway = GatewayFixture::start(&world, &format!("{{ {RULES} }}")).await;
    gateway.link("work", &a).await;
    let folder = gateway.stop().await;
    leave_open(folder.path(), &ann).await;
    let other = GatewayFixture::start(&world, &format!("{{ {RULES} }}")).await;
    other.link("work", &b).await;
    let new = other.stop().await;
    let auth = |folder: &tempfile::TempDir| folder.path().join("credentials/whatsapp/work");
    std::fs::remove_dir_all(auth(&folder)).expect("removed");
    std::fs::rename(auth(&new), auth(&folder)).expect("moved");
    write_config(folder.path(), RULES);
    Process::dies_at(&world, folder.path(), "number-changed").await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    let status = gateway.wait_state("work", "connected").await;
    assert_eq!(status.self_number.map(|n| n.to_string()).as_deref(), Some("+15550002222"));
    carl.says(&b, "are you there?");
    carl.expect_text("are you there?").await.expect("answered");
    assert!(ann.inbox().is_empty(), "nothing of the old number left");
    let gave_up = gateway.status().await.accounts.remove(0).gave_up.expect("told");
    assert_eq!((gave_up.parts, gave_up.messages), (1, 1));
    let why = gateway.why("3EB0OPEN").await;
    assert_eq!((&why["state"], &why["decision"]["verdict"]["reason"]), (&"expired".into(), &"other-number".into()));
}
