//! What a user sends: by the gateway's port, seen by the contact's phone.

use verso::actors::messages::{Draft, Named, Refusal, SendOut, Sent, Wanted};
use verso::ids::{Jid, MessageId};
use wa_simulator::{Fault, IqFault, Phone, World};

use crate::support::GatewayFixture;

const TWO: &str = "{ channels: { whatsapp: { dmPolicy: 'disabled', groupPolicy: 'disabled', accounts: { work: {}, personal: {} } } } }";

async fn send(gateway: &GatewayFixture, to: &str, key: &str, what: Wanted) -> Result<Sent, Refusal> {
    let send = SendOut { account: Some("work".into()), to: to.into(), what, idempotency_key: key.into() };
    gateway.port.send.send(send).await.expect("the gateway answers")
}

fn text(text: &str) -> Wanted {
    Wanted::Message(Draft { text: text.into(), ..Draft::default() })
}

fn named(id: &str, participant: Option<Jid>, from_me: Option<bool>) -> Named {
    Named { id: MessageId::new(id), participant, from_me }
}

async fn stage(world: &World, config: &str) -> (GatewayFixture, Phone, Phone) {
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(world, config).await;
    gateway.link("work", &work).await;
    (gateway, work, ann)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reactions_edits_polls_and_deletions_are_seen_by_the_contact() {
    let world = World::start().await.expect("world");
    let (gateway, work, ann) = stage(&world, TWO).await;
    let to = ann.number();
    let asked = ann.says(&work, "hello");
    let sent = send(&gateway, &to, "k1", text("first")).await.expect("sent");
    ann.expect_text("first").await.expect("delivered");

    let react = |emoji: &str| Wanted::React { target: named(&asked, None, None), emoji: emoji.into() };
    send(&gateway, &to, "k2", react("👍")).await.expect("sent");
    let seen = ann.expect_reaction(&asked).await.expect("seen");
    assert_eq!(seen.emoji, "👍");
    send(&gateway, &to, "k3", react("")).await.expect("sent");
    ann.expect_message(|r| r.reaction.as_ref().is_some_and(|r| r.target == *asked && r.emoji.is_empty()))
        .await
        .expect("taken back");

    let edit = Wanted::Edit { id: sent.message_id.clone(), text: "second".into() };
    send(&gateway, &to, "k4", edit).await.expect("sent");
    let edited = ann.expect_message(|r| r.message.protocol_message.edited_message.is_set()).await.expect("seen");
    let protocol = edited.message.protocol_message.as_option().expect("an edit");
    assert_eq!(protocol.edited_message.conversation.as_deref(), Some("second"));
    assert_eq!(protocol.key.id.as_deref(), Some(sent.message_id.as_str()));

    send(&gateway, &to, "k5", Wanted::Delete { target: named(sent.message_id.as_str(), None, None) })
        .await
        .expect("sent");
    let deleted = ann
        .expect_message(|r| r.message.protocol_message.is_set() && !r.message.protocol_message.edited_message.is_set())
        .await
        .expect("seen");
    let key = deleted.message.protocol_message.key.as_option().expect("a key").clone();
    assert_eq!((key.id.as_deref(), key.from_me), (Some(sent.message_id.as_str()), Some(true)));

    // Somebody else's message is neither edited nor taken back, and nobody is told that it was.
    assert_eq!(gateway.verdict(&asked).await, "dm-disabled");
    let refused = send(&gateway, &to, "k10", Wanted::Edit { id: MessageId::new(&*asked), text: "mine".into() }).await;
    let refused = refused.expect_err("not ours").to_string();
    assert!(refused.contains(&*asked) && refused.contains("written by somebody else"), "{refused}");
    let delete = Wanted::Delete { target: named(&asked, None, None) };
    let refused = send(&gateway, &to, "k11", delete).await.expect_err("not ours").to_string();
    assert!(refused.contains("only own messages can be deleted"), "{refused}");
    let endless = Wanted::Edit { id: sent.message_id.clone(), text: "x".repeat(65_537) };
    let refused = send(&gateway, &to, "k12", endless).await.expect_err("too long").to_string();
    assert!(refused.contains("65537 characters") && refused.contains("65536 at most"), "{refused}");

    let poll = |options: &[&str], selections| Wanted::Poll {
        question: "Lunch?".into(),
        options: options.iter().map(|o| (*o).to_owned()).collect(),
        selections,
    };
    send(&gateway, &to, "k6", poll(&["yes", "no"], None)).await.expect("sent");
    let seen = ann.expect_message(|r| r.message.poll_creation_message_v3.is_set()).await.expect("seen");
    let shown = seen.message.poll_creation_message_v3.as_option().expect("a poll");
    assert_eq!((shown.name.as_deref(), shown.selectable_options_count), (Some("Lunch?"), Some(1)));
    let names: Vec<_> = shown.options.iter().filter_map(|o| o.option_name.as_deref()).collect();
    assert_eq!(names, ["yes", "no"]);
    assert!(seen.message.message_context_info.message_secret.as_ref().is_some_and(|s| s.len() == 32), "votes need it");
    send(&gateway, &to, "k7", poll(&["a", "b", "c"], Some(2))).await.expect("sent");
    let seen = ann.expect_message(|r| r.message.poll_creation_message.is_set()).await.expect("seen");
    assert_eq!(seen.message.poll_creation_message.selectable_options_count, Some(2));
    let refused = send(&gateway, &to, "k8", poll(&["only"], None)).await.expect_err("refused");
    assert_eq!(refused.to_string(), "Poll requires at least 2 options");

    let large = tempfile::Builder::new().suffix(".bin").tempfile().expect("a file");
    large.as_file().set_len(6 << 20).expect("grown");
    let media = vec![large.path().display().to_string()];
    let refused = send(&gateway, &to, "k9", Wanted::Message(Draft { media, ..Draft::default() })).await;
    assert_eq!(
        refused.expect_err("refused").to_string(),
        "Media exceeds 5MB limit (got 6.00MB); the limit is agents.defaults.mediaMaxMb"
    );
    assert!(ann.undecryptable().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_groups_a_message_is_named_with_its_author_and_an_answer_quotes_it() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557654321", "Ann"), world.contact("+15557000002", "Bob"));
    let group = world.group("Friends", &ann, &[&bob, &work]);
    let gateway = GatewayFixture::start(&world, TWO).await;
    gateway.link("work", &work).await;
    let to = group.jid().to_string();
    let asked = bob.says_in(&group, "who is there?", &[]);
    gateway.wait_count("work", "group-disabled", 1).await;
    let react = Wanted::React { target: named(&asked, None, None), emoji: "✋".into() };
    send(&gateway, &to, "k1", react).await.expect("sent");
    let seen = ann.expect_message(|r| r.reaction.is_some()).await.expect("seen");
    let key = seen.message.reaction_message.key.as_option().expect("a key").clone();
    assert_eq!((key.id.as_deref(), key.from_me), (Some(&*asked), Some(false)));
    let author = key.participant.expect("the author, from the journal");
    assert!([bob.jid().to_string(), bob.lid().to_string()].contains(&author), "{author}");

    let draft = Draft { text: "me".into(), reply_to: Some(MessageId::new(&*asked)), ..Draft::default() };
    send(&gateway, &to, "k2", Wanted::Message(draft)).await.expect("sent");
    let seen = ann.expect_text("me").await.expect("delivered");
    let context = seen.message.extended_text_message.context_info.as_option().expect("a quote").clone();
    assert_eq!((context.stanza_id.as_deref(), context.participant), (Some(&*asked), Some(author.clone())));

    // An admin takes back what another one wrote.
    send(&gateway, &to, "k3", Wanted::Delete { target: named(&asked, None, None) }).await.expect("sent");
    let seen = ann.expect_message(|r| r.message.protocol_message.is_set()).await.expect("seen");
    let key = seen.message.protocol_message.key.as_option().expect("a key").clone();
    assert_eq!((key.id.as_deref(), key.from_me, key.participant), (Some(&*asked), Some(false), Some(author)));

    // Of an unknown message nobody knows the author, and without him no phone finds it.
    let quote = Draft { text: "re".into(), reply_to: Some(MessageId::new("NOPE")), ..Draft::default() };
    let react = |participant| Wanted::React { target: named("NOPE", participant, None), emoji: "✋".into() };
    for (key, what) in [("k4", Wanted::Message(quote)), ("k5", react(None))] {
        let refused = send(&gateway, &to, key, what).await.expect_err("unknown").to_string();
        assert!(refused.contains("message NOPE in this group") && refused.contains("participant"), "{refused}");
    }
    send(&gateway, &to, "k6", react(Some(bob.lid().to_string().parse().expect("jid")))).await.expect("sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_arrives_once_also_when_asked_at_the_same_time_and_after_a_restart() {
    let world = World::start().await.expect("world");
    let (gateway, work, ann) = stage(&world, TWO).await;
    let to = ann.number();
    let first = send(&gateway, &to, "key", text("once")).await.expect("sent");
    ann.expect_text("once").await.expect("delivered");
    let folder = gateway.stop().await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("work", "connected").await;
    assert_eq!(send(&gateway, &to, "key", text("once")).await.expect("known"), first);
    send(&gateway, &to, "marker", text("marker")).await.expect("sent");
    ann.expect_text("marker").await.expect("delivered");
    let texts: Vec<String> = ann.inbox().into_iter().filter(|r| r.from == work.number()).map(|r| r.text).collect();
    assert_eq!(texts, ["once", "marker"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_whatsapp_refuses_is_reported_and_neither_kept_nor_sent_later() {
    let world = World::start().await.expect("world");
    let (gateway, work, ann) = stage(&world, TWO).await;
    let to = ann.number();
    let device = work.device(1);
    device.set_fault(Fault::NackMessages { error: 479 });
    let refused = send(&gateway, &to, "key", text("again")).await.expect_err("refused");
    assert!(refused.to_string().contains("code 479"), "{refused}");
    let status = gateway.status().await;
    let outbox = status.accounts.iter().find(|a| a.account_id.as_str() == "work").expect("work").outbox;
    assert_eq!((outbox.waiting, outbox.failed), (0, 1));
    device.clear_faults();
    let sent = send(&gateway, &to, "key", text("again")).await.expect("a failure is not kept under its key");
    let got = ann.expect_text("again").await.expect("delivered");
    assert_eq!(got.id, sent.message_id.as_str());

    let nobody = send(&gateway, "+15559999999", "k2", text("hi")).await.expect_err("not on WhatsApp");
    assert_eq!(nobody.to_string(), "+15559999999 is not on WhatsApp; check the number and its country code");
    let lid = send(&gateway, &ann.lid().to_string(), "k3", text("by lid")).await.expect("sent");
    assert!(lid.to_jid.is_lid());
    ann.expect_text("by lid").await.expect("delivered");
    device.set_fault(Fault::Iq { xmlns: "usync".into(), how: IqFault::Error(500) });
    let failed = send(&gateway, "+15558888888", "k4", text("hi")).await.expect_err("the look-up failed");
    assert!(matches!(failed, Refusal::Unavailable(_)), "{failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_sent_with_the_text_below_the_first_or_not_at_all() {
    let world = World::start().await.expect("world");
    let (gateway, work, ann) = stage(&world, TWO).await;
    let to = ann.number();
    let folder = tempfile::tempdir().expect("temp dir");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    std::fs::write(path("a.txt"), "first file").expect("written");
    std::fs::write(path("b.bin"), [7_u8, 0, 255].repeat(1_000)).expect("written");
    let draft = |media: &[&str]| {
        let media = media.iter().map(|name| path(name)).collect();
        Wanted::Message(Draft { text: "both".into(), media, ..Draft::default() })
    };
    let refused = send(&gateway, &to, "key", draft(&["a.txt", "gone.txt"])).await.expect_err("one is missing");
    assert!(refused.to_string().contains("gone.txt"), "{refused}");
    let sent = send(&gateway, &to, "key", draft(&["a.txt", "b.bin"])).await.expect("sent");
    let last = ann.expect_message(|r| r.id == sent.message_id.as_str()).await.expect("delivered");
    let inbox: Vec<_> = ann.inbox().into_iter().filter(|r| r.from == work.number()).collect();
    assert_eq!(inbox.len(), 2, "nothing of the refused request was sent");
    let opened = |message| world.media().open(message).expect("opens").expect("a file");
    let (first, second) = (opened(&inbox[0].message), opened(&last.message));
    assert_eq!((first.bytes.as_slice(), first.caption.as_deref()), (&b"first file"[..], Some("both")));
    assert_eq!((first.file_name.as_deref(), second.caption), (Some("a.txt"), None));
    assert!(second.bytes == [7_u8, 0, 255].repeat(1_000));
    let outbound = gateway.state.join("media").join("outbound");
    gateway.wait("the prepared files to be gone", |_| std::fs::read_dir(&outbound).is_ok_and(|d| d.count() == 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_contacts_leave_slowly_and_hold_up_no_answer_and_no_other_message() {
    let world = World::start().await.expect("world");
    let slow = "{ channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], pacing: { gapMs: 0, perMinute: 0, firstContactSeconds: 3600 }, accounts: { work: {} } } } }";
    let (gateway, work, ann) = stage(&world, slow).await;
    let (bob, cy) = (world.contact("+15557000002", "Bob"), world.contact("+15557000003", "Cy"));
    send(&gateway, &ann.number(), "k1", text("first")).await.expect("sent");
    let (port, to) = (gateway.port.clone(), bob.number());
    let waits = tokio::spawn(async move {
        let send = SendOut { account: None, to, what: text("second"), idempotency_key: "k2".into() };
        port.send.send(send).await
    });
    gateway.wait("the second one to wait", |s| s.accounts[0].outbox.waiting == 1).await;
    cy.says(&work, "hello");
    cy.expect_text("hello").await.expect("answered at once");
    send(&gateway, &ann.number(), "k3", text("once more")).await.expect("Ann is no first contact any more");
    ann.expect_text("once more").await.expect("delivered");
    assert!(bob.inbox().is_empty(), "an hour has not passed");
    bob.says(&work, "are you there?");
    bob.expect_text("are you there?").await.expect("an answer does not wait, in his chat neither");
    assert_eq!(bob.inbox().len(), 1);
    waits.abort();
}
