//! Numbers with two spellings, and what is let in before a restart and not after it.

use wa_simulator::World;

use crate::process::{Process, link_by_code, state, write_config};
use crate::support::GatewayFixture;
use crate::support::model::Model;

const CLOSED: &str = "channels: { whatsapp: { dmPolicy: 'allowlist', pacing: { gapMs: 0, firstContactSeconds: 0 }, accounts: { work: {} } } }";

/// WhatsApp knows one of the two spellings, and only under that one anybody is written to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_finds_the_spelling_that_whatsapp_knows() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let people = [
        ("+5215512345678", "+52 55 1234 5678"),
        ("+525587654321", "+52 1 55 8765 4321"),
        ("+5491112345678", "+54 11 1234 5678"),
        ("+553161234567", "+55 31 96123-4567"),
        ("+5511987654321", "0055 11 8765 4321"),
    ];
    let phones = people.map(|(known, _)| world.contact(known, "Somebody"));
    let gateway = Process::start(&world, state(CLOSED)).await;
    gateway.link(&world, &work).await;
    for ((known, written), phone) in people.iter().zip(&phones) {
        let text = format!("to {written}");
        let sent = gateway.run(&world, &["message", "send", "--account", "work", "-t", written, "-m", &text]).await;
        let said = String::from_utf8_lossy(&sent.stdout).into_owned();
        assert!(said.contains(&format!("to {known}. Message ID: ")), "{said}{}", String::from_utf8_lossy(&sent.stderr));
        phone.expect_text(text.as_str()).await.expect("it arrives");
    }
    // A landline is nobody's other spelling, and letters are repaired for nobody.
    for (written, says) in [
        ("+55 11 3123-4567", "is not on WhatsApp"),
        ("+1555700hello0002", "\"h\" cannot stand in a phone number"),
        ("0555 700 0002", "it begins with \"0\""),
    ] {
        let refused = gateway.run(&world, &["message", "send", "--account", "work", "-t", written, "-m", "x"]).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(says), "{written}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_in_the_other_spelling_lets_its_person_in() {
    let world = World::start().await.expect("world");
    let (work, ana) = (world.phone("+15550001111"), world.contact("+5215512345678", "Ana"));
    let config = "{ session: { dmScope: 'per-peer' }, channels: { whatsapp: { dmPolicy: 'allowlist', allowFrom: ['+52 55 1234 5678'], accounts: { work: {} } } } }";
    let gateway = GatewayFixture::start(&world, config).await;
    gateway.link("work", &work).await;
    let id = ana.says(&work, "hola");
    ana.expect_text("hola").await.expect("let in");
    let told = gateway.why(&id).await;
    assert!(told.to_string().contains("agent:main:direct:+525512345678"), "{told:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_admitted_before_a_restart_is_judged_again() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let mut model = Model::held("here you are").await;
    let config = |list: &str| {
        format!(
            "{}, session: {{ dmScope: 'per-peer' }}, messages: {{ queue: {{ mode: 'followup', debounceMs: 0 }} }},
             channels: {{ whatsapp: {{ dmPolicy: 'allowlist', allowFrom: [{list}], accounts: {{ work: {{}} }} }} }}",
            model.config()
        )
    };
    let both = config("'+15557000001', '+15557000002'");
    let only_ann = config("'+15557000001'");
    let gateway = Process::start(&world, state(&both)).await;
    link_by_code(gateway.folder(), &world, &work, "work").await;
    gateway.wait_connected(&world).await;
    let (from_ann, from_bob) = (ann.says(&work, "from Ann"), bob.says(&work, "from Bob"));
    // Both are with the model, so both were admitted.
    model.asked().await;
    model.asked().await;
    let folder = gateway.kill();
    write_config(folder.path(), &only_ann);
    model.release(8);
    let gateway = Process::start(&world, folder).await;
    ann.expect_text("here you are").await.expect("she is answered still");
    let why = async |id: &str| -> serde_json::Value {
        let out = gateway.run(&world, &["why", id, "--json"]).await;
        serde_json::from_slice::<serde_json::Value>(&out.stdout).expect("json")["messages"][0].clone()
    };
    let told = why(&from_bob).await;
    assert_eq!(
        (&told["state"], &told["reason"]["code"]),
        (&"dropped".into(), &"dm-not-allowlisted".into()),
        "{told:#}"
    );
    assert_eq!(why(&from_ann).await["reason"], serde_json::Value::Null);
    // A marker after it: nothing comes for Bob.
    ann.says(&work, "and now?");
    ann.expect_message(|_| ann.inbox().len() == 2).await.expect("answered");
    assert!(bob.inbox().is_empty(), "{:?}", bob.inbox());
}
