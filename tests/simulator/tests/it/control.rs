//! The control API as a foreign program uses it: HTTP and JSON only.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use wa_simulator::control::Control;
use wa_simulator::{World, text_message};

use whatsapp_rust::wacore::types::events::Event;

use crate::client::Wa;

const ANN: &str = "15550100001";
const BOB: &str = "15550100002";

async fn http(control: &Control, method: &str, path: &str, body: &str) -> (u16, Value) {
    let url = control.url();
    let stream = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::builder().method(method).uri(path).header("host", "127.0.0.1");
    let response = sender.send_request(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap())
}

async fn ctl(control: &Control, name: &str, body: Value) -> Value {
    let (status, answer) = http(control, "POST", &format!("/ctl/{name}"), &body.to_string()).await;
    assert_eq!(status, 200, "{name} {body}: {answer}");
    answer
}

async fn start() -> (World, Control) {
    let world = World::start().await.unwrap();
    let control = Control::start(world.clone(), 0).await.unwrap();
    (world, control)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_held_over_http() {
    let (world, control) = start().await;
    let past = json!({ "pn": ANN, "chats": [{ "with": BOB, "name": "Bob", "texts": [{ "text": "long ago" }] }] });
    ctl(&control, "history", past).await;
    let (wa, device) = Wa::linked(&world, &world.phone(ANN)).await;
    let told = |event: &Event| match event {
        Event::HistorySync(history) => history.get().map(|history| history.conversations.clone()),
        _ => None,
    };
    let chats = wa.wait("history", told).await;
    let old = chats[0].messages[0].message.message.conversation.clone();
    assert_eq!((chats[0].name.as_deref(), old.as_deref()), (Some("Bob"), Some("long ago")));
    let addresses = control.addresses(&world);
    assert_eq!(addresses["ws"], world.ws_url());
    assert_eq!(addresses["root"].as_str().unwrap().len(), 64);

    let bob = ctl(&control, "contact", json!({ "pn": BOB, "name": "Bob" })).await;
    assert_eq!(bob["jid"], format!("{BOB}@s.whatsapp.net"));
    let sent = ctl(&control, "send", json!({ "from": BOB, "to": ANN, "text": "hello", "via": "pn" })).await;
    let id = sent["id"].as_str().unwrap().to_owned();
    let got = wa.message(&id).await;
    assert_eq!(got.message.conversation.as_deref(), Some("hello"));
    assert_eq!(got.info.push_name, "Bob");
    ctl(&control, "expect", json!({ "pn": BOB, "receipt": id, "kind": "delivered" })).await;

    let jid = world.phone(BOB).jid();
    wa.client.send_message(&jid, text_message("hello Bob")).await.unwrap();
    let seen = ctl(&control, "expect", json!({ "pn": BOB, "text": "hello Bob" })).await;
    assert_eq!(seen["from"], format!("+{ANN}"));
    let reacted = json!({ "from": BOB, "to": ANN, "id": seen["id"], "emoji": "👍" });
    let reaction = ctl(&control, "react", reacted).await;
    let got = wa.message(reaction["id"].as_str().unwrap()).await;
    assert_eq!(got.message.reaction_message.as_option().unwrap().text.as_deref(), Some("👍"));
    let quote = json!({ "from": BOB, "to": ANN, "text": "see", "quote": seen["id"], "mention": [ANN] });
    let answer = ctl(&control, "send", quote).await;
    let got = wa.message(answer["id"].as_str().unwrap()).await;
    let context = got.message.extended_text_message.as_option().unwrap().context_info.as_option().unwrap().clone();
    assert_eq!(context.stanza_id.as_deref(), seen["id"].as_str());
    assert_eq!(context.mentioned_jid, [world.phone(ANN).lid().to_string()]);

    let made = ctl(&control, "group", json!({ "owner": BOB, "subject": "Lunch", "members": [ANN] })).await;
    let said = ctl(&control, "gsend", json!({ "from": BOB, "group": made["group"], "text": "all" })).await;
    wa.message(said["id"].as_str().unwrap()).await;
    let rename = json!({ "group": made["group"], "by": BOB, "what": "subject", "text": "Dinner" });
    ctl(&control, "gchange", rename).await;
    assert_eq!(world.groups()[0].subject(), "Dinner");

    let story = ctl(&control, "status", json!({ "from": BOB, "to": [ANN], "text": "at the sea" })).await;
    assert_eq!(wa.message(story["id"].as_str().unwrap()).await.info.source.chat.to_string(), "status@broadcast");

    let before = device.sockets_opened();
    ctl(&control, "kick", json!({ "pn": ANN, "device": 1, "how": "drop" })).await;
    device.wait_sockets(before + 1).await.unwrap();
    let stats = ctl(&control, "stats", json!({})).await;
    assert_eq!(stats["devices"][0]["sockets_opened"], before + 1);
    assert_eq!(stats["unknown_iqs"], json!([]));
    let inbox = ctl(&control, "inbox", json!({ "pn": BOB })).await;
    assert!(inbox["messages"].as_array().unwrap().iter().any(|m| m["text"] == "hello Bob"));
    assert_eq!(inbox["undecryptable"], json!([]));
    let trace = ctl(&control, "trace", json!({ "since": 0 })).await;
    assert!(trace["lines"].as_array().unwrap().iter().any(|line| line.as_str().unwrap().contains("<pair-success>")));
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let (_world, control) = start().await;
    let table = [
        ("POST", "/ctl/dance", "{}", 404, "there are addresses, scan"),
        ("GET", "/ctl/stats", "", 405, "POST"),
        ("PUT", "/ctl", "", 404, "GET /ctl"),
        ("POST", "/elsewhere", "", 404, "/ctl/NAME"),
        ("POST", "/ctl/send", "{", 400, "not JSON"),
        ("POST", "/ctl/contact", "{}", 400, "missing field `pn`"),
        ("POST", "/ctl/contact", r#"{"pn":"1555","nme":"x"}"#, 400, "unknown field `nme`"),
        ("POST", "/ctl/send", r#"{"from":"1","to":"2"}"#, 400, "say text, image"),
        ("POST", "/ctl/send", r#"{"from":"1","to":"2","text":"x","txt":"x"}"#, 400, "txt"),
        ("POST", "/ctl/send", r#"{"from":"1","to":"2","image":"?"}"#, 400, "not base64"),
        ("POST", "/ctl/send", r#"{"from":"1","to":"2","text":"x","quote":"ID"}"#, 404, "never got ID"),
        ("POST", "/ctl/gsend", r#"{"from":"1","group":"9@g.us","text":"x"}"#, 404, "no group"),
        ("POST", "/ctl/scan", r#"{"pn":"1555","qr":"nonsense"}"#, 400, "linking code"),
        ("POST", "/ctl/kick", r#"{"pn":"1555","device":1,"how":"drop"}"#, 404, "no linked device 1"),
        ("POST", "/ctl/fault", r#"{"kind":"rain"}"#, 400, "rain"),
        ("POST", "/ctl/fault", r#"{"kind":"iq"}"#, 400, "xmlns"),
        ("POST", "/ctl/fault", r#"{"kind":"dead_address"}"#, 400, "via"),
        ("POST", "/ctl/fault", r#"{"kind":"min_version","version":"new"}"#, 400, "2.3000"),
        ("POST", "/ctl/fault", r#"{"kind":"page","how":"sideways"}"#, 400, "hang_up"),
        ("POST", "/ctl/media_fault", r#"{"kind":"status","value":404}"#, 400, "upload or download"),
        ("POST", "/ctl/expect", r#"{"pn":"1555"}"#, 400, "exactly one"),
        ("POST", "/ctl/react", r#"{"from":"1","id":"x","emoji":"y"}"#, 400, "to whom"),
    ];
    let (status, verbs) = http(&control, "GET", "/ctl", "").await;
    assert_eq!((status, verbs.as_object().unwrap().len()), (200, wa_simulator::control::VERBS.len()));
    for (method, path, body, status, why) in table {
        let (got, answer) = http(&control, method, path, body).await;
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(got == status && error.contains(why), "{method} {path} {body}: {got} {answer}");
    }
}

#[tokio::test]
async fn waiting_in_vain_is_a_timeout_that_names_what_was_waited_for() {
    let world = World::builder().deadline(Duration::from_millis(20)).start().await.unwrap();
    let control = Control::start(world, 0).await.unwrap();
    let (status, answer) = http(&control, "POST", "/ctl/expect", r#"{"pn":"1555","text":"anything"}"#).await;
    assert_eq!(status, 408);
    assert!(answer["error"].as_str().unwrap().contains("anything"), "{answer}");
}

#[tokio::test]
async fn shutdown_ends_the_world() {
    let (_world, control) = start().await;
    ctl(&control, "shutdown", json!({})).await;
    tokio::time::timeout(Duration::from_secs(20), control.ended()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_and_addresses_go_wrong_on_demand() {
    let (world, control) = start().await;
    let told = ctl(&control, "version", json!({ "current": "2.3000.1050000000" })).await;
    assert_eq!(told, json!({ "current": "2.3000.1050000000", "lookups": 0 }));
    assert_eq!(world.published_version(), wa_simulator::Version::of(1_050_000_000));
    for fault in [
        json!({ "kind": "min_version", "version": 1_050_000_000 }),
        json!({ "kind": "page", "how": 503 }),
        json!({ "kind": "page", "how": "garbage", "text": "x" }),
        json!({ "kind": "dead_address", "via": "lid", "contact": ANN }),
    ] {
        ctl(&control, "fault", fault).await;
    }
}
