//! The API over a real socket, with a real WebSocket client, in front of a scripted gateway.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::server::ApiHandle;
use super::testing::{Script, TOKEN, options, served};
use crate::actors::messages::{Draft, GatewayEvent, LoginProgress, Named, Wanted};
use crate::ids::{AccountId, MessageId};

struct Client {
    socket: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
    nonce: String,
    next: u32,
}

enum Got {
    Frame(Value),
    Closed(Option<CloseFrame>),
}

impl Client {
    async fn open(api: &ApiHandle, headers: &[(&'static str, &str)]) -> Self {
        let mut request = format!("ws://{}/", api.address()).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let mut client = Self { socket, nonce: String::new(), next: 0 };
        let challenge = client.frame().await;
        assert_eq!(challenge["event"], "connect.challenge");
        assert!(challenge["payload"]["ts"].is_i64());
        client.nonce = challenge["payload"]["nonce"].as_str().unwrap().to_owned();
        client
    }

    async fn got(&mut self) -> Got {
        loop {
            let message =
                tokio::time::timeout(Duration::from_secs(5), self.socket.next()).await.expect("a frame in time");
            match message {
                Some(Ok(Message::Text(text))) => return Got::Frame(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return Got::Closed(frame),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Got::Closed(None),
            }
        }
    }

    async fn frame(&mut self) -> Value {
        match self.got().await {
            Got::Frame(frame) => frame,
            Got::Closed(close) => panic!("closed: {close:?}"),
        }
    }

    async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.got().await {
                Got::Frame(_) => {}
                Got::Closed(Some(frame)) => return (frame.code.into(), frame.reason.to_string()),
                Got::Closed(None) => panic!("closed without a code"),
            }
        }
    }

    async fn send(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
    }

    async fn connect(&mut self, more: Value) -> Value {
        let mut params = json!({"minProtocol": 3, "maxProtocol": 4, "auth": {"token": TOKEN}, "role": "operator",
            "client": {"id": "cli", "version": "dev", "platform": "linux", "mode": "cli"}});
        for (key, value) in more.as_object().unwrap() {
            params[key] = value.clone();
        }
        self.send(&json!({"type": "req", "id": "c", "method": "connect", "params": params})).await;
        self.frame().await
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = format!("{}", self.next);
        self.send(&json!({"type": "req", "id": id, "method": method, "params": params})).await;
        loop {
            let frame = self.frame().await;
            if frame["id"] == id.as_str() {
                return frame;
            }
        }
    }

    async fn event(&mut self, name: &str) -> Value {
        loop {
            let frame = self.frame().await;
            if frame["event"] == name {
                return frame;
            }
        }
    }
}

async fn hello(api: &ApiHandle) -> Client {
    let mut client = Client::open(api, &[]).await;
    assert_eq!(client.connect(json!({})).await["payload"]["type"], "hello-ok");
    client
}

#[actix_web::test]
async fn both_protocols_get_a_full_hello() {
    let api = served(&Script::default(), options());
    for (min, max, want) in [(3, 3, 3), (4, 4, 4), (3, 4, 4)] {
        let mut client = Client::open(&api, &[]).await;
        let answer = client.connect(json!({"minProtocol": min, "maxProtocol": max, "scopes": ["operator.read"]})).await;
        let hello = &answer["payload"];
        assert_eq!((&hello["type"], &hello["protocol"]), (&json!("hello-ok"), &json!(want)));
        assert_eq!(hello["auth"], json!({"role": "operator", "scopes": ["operator.read"]}));
        assert_eq!(hello["policy"]["tickIntervalMs"], 30_000);
        assert_eq!(hello["snapshot"]["sessionDefaults"]["mainSessionKey"], "agent:main:main");
        let health = &hello["snapshot"]["health"];
        assert_eq!(health["channels"]["whatsapp"]["accounts"]["home"]["linked"], true);
        for key in ["ts", "durationMs"] {
            assert!(health[key].is_i64(), "{key}");
        }
        assert!(hello["features"]["methods"].as_array().unwrap().contains(&json!("web.login.wait")));
    }
}

#[actix_web::test]
async fn refusals_have_their_words_details_and_close_codes() {
    let api = served(&Script::default(), options());
    for (more, code, message, detail, close) in [
        (
            json!({"auth": {"token": "no"}}),
            "INVALID_REQUEST",
            "unauthorized: gateway token mismatch",
            "AUTH_TOKEN_MISMATCH",
            1008,
        ),
        (json!({"auth": {}}), "INVALID_REQUEST", "unauthorized: gateway token missing", "AUTH_TOKEN_MISSING", 1008),
        (
            json!({"minProtocol": 5, "maxProtocol": 6}),
            "INVALID_REQUEST",
            "protocol mismatch",
            "PROTOCOL_MISMATCH",
            1002,
        ),
        (json!({"role": "node"}), "INVALID_REQUEST", "invalid role", "", 1008),
        (json!({"client": {}}), "INVALID_REQUEST", "invalid connect params: ", "", 1008),
        (
            json!({"device": {"id": "00", "publicKey": "AA", "signature": "AA", "signedAt": 1, "nonce": "x"}}),
            "INVALID_REQUEST",
            "device identity mismatch",
            "DEVICE_AUTH_DEVICE_ID_MISMATCH",
            1008,
        ),
    ] {
        let mut client = Client::open(&api, &[]).await;
        let answer = client.connect(more).await;
        assert_eq!(answer["ok"], false);
        let error = &answer["error"];
        assert_eq!(error["code"], code);
        assert!(error["message"].as_str().unwrap().starts_with(message), "{error}");
        assert_eq!(error["details"]["code"].as_str().unwrap_or_default(), detail);
        assert_eq!(client.closed().await.0, close, "{message}");
    }
    let mut client = Client::open(&api, &[]).await;
    client.send(&json!({"type": "req", "id": "1", "method": "health"})).await;
    assert_eq!(client.frame().await["error"]["message"], "invalid handshake: first request must be connect");
    assert_eq!(client.closed().await.0, 1008);
    let mut client = Client::open(&api, &[]).await;
    client.socket.send(Message::text("hello?")).await.unwrap();
    assert_eq!(client.closed().await.0, 1008);
}

/// The status with which an upgrade is refused, or `101`.
async fn upgrade(api: &ApiHandle, headers: &[(&'static str, &str)]) -> (u16, Value) {
    let mut request = format!("ws://{}/", api.address()).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok(_) => (101, Value::Null),
        Err(tokio_tungstenite::tungstenite::Error::Http(refused)) => {
            let body = refused.body().as_deref().map(|b| serde_json::from_slice(b).unwrap_or_default());
            (refused.status().as_u16(), body.unwrap_or_default())
        }
        Err(error) => panic!("{error}"),
    }
}

#[actix_web::test]
async fn a_page_from_elsewhere_is_refused_before_the_upgrade() {
    let api = served(&Script::default(), options());
    for headers in [
        [("origin", "https://evil.example")],
        [("origin", "null")],
        [("origin", "http://localhost:3000")],
        [("host", "evil.example")],
        [("sec-fetch-site", "cross-site")],
    ] {
        let (status, body) = upgrade(&api, &headers).await;
        assert_eq!(status, 403, "{headers:?}");
        assert!(body["error"].as_str().unwrap().contains("gateway.controlUi.allowedOrigins"), "{body}");
    }
    let own = format!("http://{}", api.address());
    let mut client = Client::open(&api, &[("origin", &own)]).await;
    assert_eq!(client.connect(json!({})).await["ok"], true);
}

#[actix_web::test]
async fn who_guesses_is_slowed_down_and_the_right_token_still_passes() {
    let api = served(&Script::default(), options());
    let mut told = Vec::new();
    for n in 0..12 {
        let mut client = Client::open(&api, &[]).await;
        let answer = client.connect(json!({"auth": {"token": format!("guess-{n}")}})).await;
        told.push(answer["error"]["details"]["code"].as_str().unwrap().to_owned());
    }
    assert_eq!((told[0].as_str(), told[11].as_str()), ("AUTH_TOKEN_MISMATCH", "AUTH_RATE_LIMITED"));
    hello(&api).await;
    // What does not fit into the queue of attempts is refused before the upgrade.
    let mut waiting = Vec::new();
    let refused = loop {
        match upgrade(&api, &[]).await {
            (101, _) => {
                let mut client = Client::open(&api, &[]).await;
                let params = json!({"minProtocol": 3, "maxProtocol": 4, "auth": {"token": "guess"},
                    "client": {"id": "cli", "version": "dev", "platform": "linux", "mode": "cli"}});
                client.send(&json!({"type": "req", "id": "c", "method": "connect", "params": params})).await;
                waiting.push(client);
                assert!(waiting.len() < 40, "the queue has no end");
            }
            refused => break refused,
        }
    };
    assert_eq!(refused.0, 429);
}

#[actix_web::test]
async fn a_new_token_or_origin_list_ends_what_no_longer_qualifies() {
    use std::sync::{Arc, Mutex};
    let now = Arc::new(Mutex::new(super::testing::settings()));
    now.lock().unwrap().allowed_origins = vec!["https://ui.example".into()];
    let source = Arc::clone(&now);
    let api = served(&Script::default(), super::ApiOptions::new(Arc::new(move || source.lock().unwrap().clone())));
    let mut page = Client::open(&api, &[("origin", "https://ui.example")]).await;
    assert_eq!(page.connect(json!({})).await["ok"], true);
    let mut native = hello(&api).await;
    now.lock().unwrap().allowed_origins.clear();
    let (code, reason) = page.closed().await;
    assert!(code == 1008 && reason.contains("origin not allowed any more"), "{reason}");
    assert_eq!(native.call("health", json!({})).await["ok"], true);
    now.lock().unwrap().token = "another-token-0123456789".into();
    let (code, reason) = native.closed().await;
    assert!(code == 1008 && reason.contains("token was changed"), "{reason}");
}

#[actix_web::test]
async fn a_client_that_pings_and_never_reads_is_closed_and_sees_no_less_of_the_shutdown() {
    let mut fast = options();
    fast.tick = Duration::from_millis(300);
    let api = served(&Script::default(), fast);
    let mut deaf = hello(&api).await;
    let mut idle = hello(&api).await;
    // Its own buffers take a few megabytes; what is more stays with the gateway.
    for n in 0..2000 {
        api.publish("verso.account", json!({"n": n, "pad": "x".repeat(16 * 1024)}));
        if n % 10 == 0 && deaf.socket.send(Message::Ping(vec![7; 100].into())).await.is_err() {
            break;
        }
        if n % 100 == 0 {
            idle.event("verso.account").await;
        }
    }
    let mut frames = 0;
    while let Got::Frame(_) = deaf.got().await {
        frames += 1;
    }
    assert!(frames < 2000, "it was cut off: {frames}");
}

#[actix_web::test]
async fn a_signed_device_is_let_in() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ring::signature::KeyPair;
    use sha2::Digest;
    let api = served(&Script::default(), options());
    let key = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = key.public_key().as_ref();
    let id: String = sha2::Sha256::digest(public).iter().map(|b| format!("{b:02x}")).collect();
    let mut client = Client::open(&api, &[]).await;
    let at = crate::clock::Clock::System.now();
    let text = format!("v3|{id}|cli|cli|operator|operator.read|{at}|{TOKEN}|{}|linux|", client.nonce);
    let device = json!({"id": id, "publicKey": URL_SAFE_NO_PAD.encode(public), "signedAt": at, "nonce": client.nonce,
        "signature": URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()))});
    let answer = client.connect(json!({"device": device, "scopes": ["operator.read"]})).await;
    assert_eq!(answer["ok"], true, "{answer}");
}

#[actix_web::test]
async fn binary_and_fragmented_frames_are_read() {
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    };
    let api = served(&Script::default(), options());
    let mut client = Client::open(&api, &[]).await;
    let connect = json!({"type": "req", "id": "c", "method": "connect", "params": {"minProtocol": 4, "maxProtocol": 4,
        "auth": {"token": TOKEN}, "client": {"id": "openclaw-macos", "version": "1", "platform": "macos", "mode": "ui"}}})
    .to_string();
    let (a, b) = connect.as_bytes().split_at(40);
    client.socket.send(Message::Frame(Frame::message(a.to_vec(), OpCode::Data(Data::Binary), false))).await.unwrap();
    client.socket.send(Message::Frame(Frame::message(b.to_vec(), OpCode::Data(Data::Continue), true))).await.unwrap();
    assert_eq!(client.frame().await["ok"], true);
    let health = json!({"type": "req", "id": "h", "method": "health"}).to_string();
    client.socket.send(Message::binary(health.into_bytes())).await.unwrap();
    loop {
        let frame = client.frame().await;
        if frame["id"] == "h" {
            assert_eq!(frame["payload"]["channels"]["whatsapp"]["accountId"], "work");
            break;
        }
    }
    let present = client.call("system-presence", json!({})).await;
    assert_eq!(present["payload"].as_array().unwrap().len(), 2, "the gateway and the app: {present}");
}

#[actix_web::test]
async fn large_frames_wait_for_the_hello() {
    let api = served(&Script::default(), options());
    let big = "x".repeat(100 * 1024);
    let mut early = Client::open(&api, &[]).await;
    early.send(&json!({"type": "req", "id": "c", "method": "connect", "params": {"pad": big}})).await;
    assert_eq!(early.closed().await.0, 1009);
    let mut client = hello(&api).await;
    let answer = client.call("send", json!({"to": "+15551234567", "message": big, "idempotencyKey": "big"})).await;
    assert_eq!(answer["ok"], true);
}

#[actix_web::test]
async fn silence_before_the_hello_ends_the_connection() {
    let mut slow = options();
    slow.handshake_timeout = Duration::from_millis(50);
    let api = served(&Script::default(), slow);
    let mut client = Client::open(&api, &[]).await;
    assert_eq!(client.closed().await, (1008, "handshake timeout".to_owned()));
}

#[actix_web::test]
async fn scopes_limit_and_both_protocols_say_so_in_their_way() {
    let api = served(&Script::default(), options());
    for (protocol, code) in [(3, "INVALID_REQUEST"), (4, "FORBIDDEN")] {
        let mut client = Client::open(&api, &[]).await;
        client.connect(json!({"minProtocol": protocol, "maxProtocol": protocol, "scopes": ["operator.read"]})).await;
        let refused = client.call("send", json!({"to": "+1000000", "message": "x", "idempotencyKey": "1"})).await;
        assert_eq!(refused["error"]["code"], code);
        assert_eq!(refused["error"]["message"], "missing scope: operator.write");
        assert_eq!(client.call("no.such", json!({})).await["error"]["message"], "missing scope: operator.admin");
        assert_eq!(client.call("health", json!({})).await["ok"], true);
    }
    let mut admin = hello(&api).await;
    assert_eq!(admin.call("no.such", json!({})).await["error"]["message"], "unknown method: no.such");
}

#[actix_web::test]
async fn every_listed_method_is_answered() {
    let api = served(&Script::default(), options());
    let mut client = hello(&api).await;
    for method in super::methods::features().methods {
        let answer = client.call(method, json!({"channel": "whatsapp", "timeoutMs": 1})).await;
        let said = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(!said.starts_with("unknown method"), "{method}: {answer}");
    }
}

#[actix_web::test]
async fn malformed_requests_are_answered_and_the_connection_stays() {
    let api = served(&Script::default(), options());
    let mut client = hello(&api).await;
    client.socket.send(Message::text("not json")).await.unwrap();
    client.send(&json!({"type": "req", "id": "m", "method": 5})).await;
    let answer = client.frame().await;
    assert_eq!(answer["id"], "m");
    assert!(answer["error"]["message"].as_str().unwrap().starts_with("invalid request frame: "));
    let status = client.call("channels.status", json!({"bogus": 1})).await;
    assert_eq!(status["error"]["message"], "invalid channels.status params: at root: unexpected property 'bogus'");
    assert_eq!(client.call("channels.status", json!({"probe": true, "timeoutMs": 5000})).await["ok"], true);
}

#[actix_web::test]
async fn send_needs_its_key_and_sends_once() {
    let script = Script::default();
    let api = served(&script, options());
    let mut client = hello(&api).await;
    for (params, said) in [
        (
            json!({"to": "+1555000", "message": "x"}),
            "invalid send params: must have required property 'idempotencyKey'",
        ),
        (
            json!({"to": "+1555000", "idempotencyKey": "k"}),
            "invalid send params: must have required property 'message'",
        ),
        (json!({"message": "x", "idempotencyKey": "k"}), "invalid send params: must have required property 'to'"),
        (
            json!({"to": "+1555000", "message": "x", "channel": "nochan", "idempotencyKey": "k"}),
            "unsupported channel: nochan",
        ),
        (
            json!({"to": "+1555000", "message": "x", "mediaUrls": ["/a", 5], "idempotencyKey": "k"}),
            "invalid send params: at /mediaUrls: must be array of strings",
        ),
        (
            json!({"to": "+1555000", "message": "x", "accountId": "nope", "idempotencyKey": "k"}),
            "unknown account \"nope\"; configured: home, work",
        ),
        (
            json!({"to": "+1555000", "media": "/s.webp", "asSticker": true, "forceDocument": true, "idempotencyKey": "k"}),
            "invalid send params: forceDocument and asSticker exclude each other; give one of them",
        ),
    ] {
        assert_eq!(client.call("send", params).await["error"]["message"], said);
    }
    let params = json!({"to": "+15551234567", "message": "hi", "channel": "whatsapp", "gifPlayback": false, "idempotencyKey": "key-1"});
    let mut other = hello(&api).await;
    let (a, b) = tokio::join!(client.call("send", params.clone()), other.call("send", params.clone()));
    assert_eq!(a["payload"], b["payload"]);
    assert_eq!(a["payload"]["toJid"], "15551234567@s.whatsapp.net");
    assert_eq!(a["payload"]["runId"], "key-1");
    assert_eq!(client.call("send", params).await["payload"], a["payload"]);
    assert_eq!(script.sent.lock().unwrap().len(), 1);
    *script.linked.lock().unwrap() = false;
    let params = json!({"to": "+15551234567", "message": "hi", "accountId": "work", "idempotencyKey": "key-2"});
    let failed = client.call("send", params.clone()).await;
    assert_eq!(failed["error"]["code"], "UNAVAILABLE");
    assert_eq!(
        failed["error"]["message"],
        "No active WhatsApp Web listener (account: work). Start the gateway, then link WhatsApp with: verso channels login --channel whatsapp --account work."
    );
    *script.linked.lock().unwrap() = true;
    assert_eq!(client.call("send", params).await["ok"], true, "a failure is not kept under its key");
}

#[actix_web::test]
async fn everything_that_can_be_sent_reaches_the_gateway_as_meant() {
    let script = Script::default();
    let api = served(&script, options());
    let mut client = hello(&api).await;
    let named = |from_me| Named { id: MessageId::new("M"), participant: None, from_me };
    let action = |action: &str, params: Value| json!({"channel": "whatsapp", "action": action, "params": params});
    let cases = [
        (
            "send",
            json!({"to": "+1555000", "message": "", "mediaUrl": "/a.mp4", "mediaUrls": ["/a.mp4", "/b.png"], "gifPlayback": true,
                "replyToId": "Q"}),
            Wanted::Message(Draft {
                media: vec!["/a.mp4".into(), "/b.png".into()],
                gif_playback: true,
                reply_to: Some(MessageId::new("Q")),
                ..Draft::default()
            }),
        ),
        (
            "send",
            json!({"to": "+1555000", "message": "", "mediaUrl": "/s.webp", "asSticker": true}),
            Wanted::Message(Draft { media: vec!["/s.webp".into()], as_sticker: true, ..Draft::default() }),
        ),
        (
            "send",
            json!({"to": "+1555000", "message": "x", "buffer": "aGk=", "contentType": "text/plain", "filename": "hi.txt"}),
            Wanted::Message(Draft {
                text: "x".into(),
                media: vec!["data:text/plain;base64,aGk=".into()],
                file_name: Some("hi.txt".into()),
                ..Draft::default()
            }),
        ),
        (
            "poll",
            json!({"to": "+1555000", "question": "Q", "options": ["a", "b"], "maxSelections": 2}),
            Wanted::Poll { question: "Q".into(), options: vec!["a".into(), "b".into()], selections: Some(2) },
        ),
        (
            "message.action",
            action("react", json!({"target": "+1555000", "messageId": "M", "emoji": "👍", "fromMe": false})),
            Wanted::React { target: named(Some(false)), emoji: "👍".into() },
        ),
        (
            "message.action",
            action("react", json!({"chatJid": "+1555000", "messageId": "M", "emoji": "👍", "remove": true})),
            Wanted::React { target: named(None), emoji: String::new() },
        ),
        (
            "message.action",
            action("edit", json!({"to": "+1555000", "messageId": "M", "message": "new"})),
            Wanted::Edit { id: MessageId::new("M"), text: "new".into() },
        ),
        (
            "message.action",
            action("unsend", json!({"to": "+1555000", "messageId": "M"})),
            Wanted::Delete { target: named(None) },
        ),
    ];
    for (n, (method, mut params, want)) in cases.into_iter().enumerate() {
        params["idempotencyKey"] = json!(format!("key-{n}"));
        let answer = client.call(method, params.clone()).await;
        assert_eq!(answer["ok"], true, "{params}: {answer}");
        assert_eq!(script.sent.lock().unwrap().last().unwrap().what, want, "{params}");
    }
    let answer = |params: Value| json!({"idempotencyKey": params.to_string(), "action": "react", "params": params});
    let added = client.call("message.action", answer(json!({"to": "+1000000", "messageId": "M", "emoji": "👍"}))).await;
    assert_eq!(added["payload"], json!({"ok": true, "added": "👍"}));
    let removed = client
        .call("message.action", answer(json!({"to": "+1000000", "messageId": "M", "emoji": "👍", "remove": true})))
        .await;
    assert_eq!(removed["payload"]["removed"], true);
}

#[actix_web::test]
async fn polls_and_actions_are_refused_in_the_words_of_the_original() {
    let api = served(&Script::default(), options());
    let mut client = hello(&api).await;
    let options = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>();
    for (method, params, said) in [
        ("poll", json!({"question": "Q", "options": options(1)}), "Poll requires at least 2 options"),
        ("poll", json!({"question": "Q", "options": options(13)}), "Poll supports at most 12 options"),
        (
            "poll",
            json!({"question": "Q", "options": options(2), "maxSelections": 3}),
            "maxSelections cannot exceed option count",
        ),
        (
            "message.action",
            json!({"action": "react", "params": {"to": "+1000000", "messageId": "M", "remove": true}}),
            "invalid message.action params: Emoji is required to remove a WhatsApp reaction.",
        ),
        (
            "message.action",
            json!({"action": "dance", "params": {"to": "+1000000"}}),
            "invalid message.action params: unsupported action: dance; use send, react, poll, edit or delete",
        ),
    ] {
        let mut params = params;
        params["to"] = json!("+1555000");
        params["idempotencyKey"] = json!("k");
        assert_eq!(client.call(method, params).await["error"]["message"], said);
    }
}

#[actix_web::test]
async fn linking_by_qr_rotates_and_ends() {
    let script = Script::default();
    let api = served(&script, options());
    let mut client = hello(&api).await;
    let linked = client.call("web.login.start", json!({"accountId": "home"})).await;
    assert_eq!(
        linked["payload"]["message"],
        "WhatsApp is already linked (+15550001111). Say “relink” if you want a fresh QR."
    );
    *script.linked.lock().unwrap() = false;
    let start = client.call("web.login.start", json!({"timeoutMs": 30000})).await["payload"].clone();
    assert_eq!((&start["qr"], &start["accountId"]), (&json!("2@first,code"), &json!("work")));
    let image = start["qrDataUrl"].as_str().unwrap();
    assert!(image.starts_with("data:image/png;base64,"));
    *script.waits.lock().unwrap() = vec![
        LoginProgress::NewQr { code: "2@second,code".into() },
        LoginProgress::StillWaiting,
        LoginProgress::Linked { account: AccountId::new("work"), who: "+15550001111".into(), before: None },
    ];
    let rotated = client.call("web.login.wait", json!({"currentQrDataUrl": image})).await["payload"].clone();
    assert_eq!((&rotated["connected"], &rotated["qr"]), (&json!(false), &json!("2@second,code")));
    client.call("web.login.wait", json!({"currentQrDataUrl": image})).await;
    let done = client.call("web.login.wait", json!({"currentQrDataUrl": rotated["qrDataUrl"]})).await;
    assert_eq!(done["payload"]["message"], "✅ Linked! WhatsApp is ready.");
    assert_eq!(
        *script.shown.lock().unwrap(),
        [Some("2@first,code".to_owned()), Some(String::new()), Some("2@second,code".into())],
        "an image that was replaced counts as outdated"
    );
    let none = client.call("web.login.wait", json!({})).await;
    assert_eq!(none["payload"]["message"], "No active WhatsApp login in progress.");
    let code = client.call("web.login.start", json!({"phone": "+1 555 000 1111"})).await["payload"].clone();
    assert_eq!(code["code"], "ABCD2345");
    for (phone, says) in
        [("+1555O001111", "\"O\" cannot stand in a phone number"), ("0555 000 1111", "begins with \"0\"")]
    {
        let bad = client.call("web.login.start", json!({"phone": phone})).await.to_string().replace("\\\"", "\"");
        assert!(bad.contains("at /phone: ") && bad.contains(says) && bad.contains("such as +15551234567"), "{bad}");
    }
    let bad = client.call("web.login.start", json!({"phone": "abc"})).await;
    assert!(bad["error"]["message"].as_str().unwrap().contains("+15551234567"));
}

#[actix_web::test]
async fn pairing_by_request_id_and_by_code() {
    let script = Script::default();
    let api = served(&script, options());
    let mut client = hello(&api).await;
    let list = client.call("channels.pairing.list", json!({})).await["payload"].clone();
    insta::assert_snapshot!(serde_json::to_string_pretty(&list["requests"][0]).unwrap(), @r#"
    {
      "requestId": "e72d489c44b0a919b2994484",
      "channel": "whatsapp",
      "channelLabel": "WhatsApp",
      "accountId": "work",
      "senderId": "+15557654321",
      "senderLabel": "Ann",
      "metadata": {
        "code": "ABCDEFGH",
        "name": "Ann"
      },
      "createdAt": "2026-11-21T20:18:39Z",
      "lastSeenAt": "2026-11-21T20:18:40Z",
      "expiresAt": "2026-11-21T21:18:39Z",
      "notifySupported": true
    }
    "#);
    let wrong = client.call("channels.pairing.approve", json!({"channel": "whatsapp", "code": "ZZZZZZZZ"})).await;
    assert_eq!(wrong["error"]["message"], "No pending pairing request found for code: ZZZZZZZZ");
    let id = &list["requests"][0]["requestId"];
    let params = json!({"channel": "whatsapp", "accountId": "work", "requestId": id, "notify": true});
    let done = client.call("channels.pairing.approve", params.clone()).await["payload"].clone();
    assert_eq!((&done["senderId"], &done["notification"]), (&json!("+15557654321"), &json!("sent")));
    let again = client.call("channels.pairing.approve", params).await;
    assert!(again["error"]["message"].as_str().unwrap().starts_with("No pending pairing request found for id: "));
}

#[actix_web::test]
async fn logout_start_stop() {
    let script = Script::default();
    let api = served(&script, options());
    let mut client = hello(&api).await;
    assert_eq!(
        client.call("channels.logout", json!({})).await["error"]["message"],
        "invalid channels.logout params: must have required property 'channel'"
    );
    let start = client.call("channels.start", json!({"channel": "whatsapp"})).await;
    assert_eq!(start["payload"]["outcome"], json!({"status": "handed-off"}));
    for cleared in [true, false] {
        let out = client.call("channels.logout", json!({"channel": "whatsapp", "accountId": "work"})).await;
        assert_eq!(
            out["payload"],
            json!({"channel": "whatsapp", "accountId": "work", "cleared": cleared, "loggedOut": cleared, "unlinked": cleared})
        );
    }
    let start = client.call("channels.start", json!({"channel": "whatsapp"})).await;
    assert_eq!(start["payload"]["outcome"], json!({"status": "skipped", "reason": "unlinked"}));
    let stop = client.call("channels.stop", json!({"channel": "whatsapp"})).await;
    assert_eq!(stop["payload"]["stopped"], true);
}

#[actix_web::test]
async fn what_happens_is_pushed_and_counted_per_connection() {
    let script = Script::default();
    let mut fast = options();
    fast.tick = Duration::from_millis(400);
    let api = served(&script, fast);
    let mut client = hello(&api).await;
    let mut narrow = Client::open(&api, &[]).await;
    narrow.connect(json!({"scopes": ["operator.pairing"]})).await;
    let tick = client.event("tick").await;
    assert!(tick["payload"]["ts"].is_i64() && tick.get("seq").is_none());
    script.events.send(GatewayEvent::Account(Box::new(script.account("work")))).unwrap();
    let account = client.event("verso.account").await;
    assert_eq!((&account["payload"]["accountId"], &account["seq"]), (&json!("work"), &json!(1)));
    let health = client.event("health").await;
    assert_eq!((&health["seq"], &health["stateVersion"]["health"]), (&json!(2), &json!(2)));
    loop {
        let frame = narrow.frame().await;
        assert_ne!(frame["event"], "verso.account", "needs operator.read");
        if frame["event"] == "health" {
            assert_eq!(frame["seq"], 1, "what is not sent does not count");
            break;
        }
    }
    script.events.send(GatewayEvent::Reload(json!({"revision": 2}))).unwrap();
    assert_eq!(client.event("verso.reload").await["payload"]["revision"], 2);
}

#[actix_web::test]
async fn stopping_is_announced() {
    let api = served(&Script::default(), options());
    let mut client = hello(&api).await;
    let (shutdown, ()) = tokio::join!(client.event("shutdown"), api.stop("gateway stopping"));
    assert_eq!(shutdown["payload"], json!({"reason": "gateway stopping"}));
    assert_eq!(client.closed().await, (1012, "service restart".to_owned()));
}

#[actix_web::test]
async fn status_health_agents_logs_and_config() {
    let dir = tempfile::tempdir().unwrap();
    let (log, config) = (dir.path().join("verso.log"), dir.path().join("verso.json"));
    std::fs::write(&log, "{\"a\":1}\n{\"a\":2}\n").unwrap();
    std::fs::write(&config, "{ gateway: { auth: { token: \"tok-very-secret\" } } }").unwrap();
    let mut with = options();
    with.config_path = config;
    with.log_file = std::sync::Arc::new(move || Some(log.clone()));
    let api = served(&Script::default(), with);
    let mut client = hello(&api).await;
    let status = client.call("channels.status", json!({})).await["payload"].clone();
    assert_eq!(status["channelDefaultAccountId"]["whatsapp"], "work");
    let account = &status["channelAccounts"]["whatsapp"][1];
    for key in ["configured", "linked", "running", "connected"] {
        assert_eq!(account[key], true, "{key}");
    }
    assert_eq!((&account["dmPolicy"], &account["reconnectAttempts"]), (&json!("pairing"), &json!(0)));
    assert_eq!(client.call("status", json!({})).await["payload"]["linkChannel"]["authAgeMs"], 720_000);
    let agents = client.call("agents.list", json!({})).await["payload"].clone();
    assert_eq!(agents["agents"], json!([{"id": "main", "identity": {"name": "Vera"}}]));
    let identity = client.call("agent.identity.get", json!({"sessionKey": "agent:main:main"})).await;
    assert_eq!(identity["payload"], json!({"agentId": "main", "name": "Vera", "avatar": "V"}));
    let tail = client.call("logs.tail", json!({"limit": 1})).await["payload"].clone();
    assert_eq!((&tail["lines"], &tail["cursor"]), (&json!(["{\"a\":2}"]), &json!(16)));
    let config = client.call("config.get", json!({})).await["payload"].clone();
    assert!(!config.to_string().contains("tok-very-secret"));
    assert_eq!(config["parsed"]["gateway"]["auth"]["token"], "__OPENCLAW_REDACTED__");
    assert_eq!(config["hash"].as_str().unwrap().len(), 64);
    let why = client.call("verso.explain", json!({"messageId": "3EB0"})).await;
    assert_eq!(why["payload"]["messageId"], "3EB0");
    assert_eq!(why["payload"]["messages"][0]["state"], "acked");
    assert_eq!(client.call("verso.reload", json!({})).await["payload"]["revision"], 2);
}

#[actix_web::test]
async fn health_pages_need_no_token() {
    let actor = actix::Actor::start(Script::default());
    let port = crate::actors::messages::GatewayPort::of(&actor);
    let listeners = super::listen(super::Bind::Loopback, 0).unwrap();
    let api = super::serve(options(), listeners, port).unwrap();
    let get = async |path: &str| {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut socket = tokio::net::TcpStream::connect(api.address()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", api.address());
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        let status: u16 = text.split(' ').nth(1).unwrap().parse().unwrap();
        let body: Value = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        (status, body)
    };
    assert_eq!(get("/startupz").await, (503, json!({"ok": false, "status": "starting"})));
    assert_eq!(get("/readyz").await.0, 503);
    api.ready();
    assert_eq!(get("/health").await, (200, json!({"ok": true, "status": "live"})));
    assert_eq!(get("/readyz").await, (200, json!({"ready": true, "failing": []})));
    assert_eq!(get("/startupz").await.0, 200);
    assert_eq!(get("/nothing").await.0, 404);
}

#[actix_web::test]
async fn a_client_that_does_not_read_is_closed_and_nobody_else_notices() {
    let api = served(&Script::default(), options());
    let mut slow = hello(&api).await;
    let mut fast = hello(&api).await;
    let pad = "x".repeat(64 * 1024);
    let mut seen = 0;
    for n in 1..=600 {
        api.publish("verso.account", json!({"n": n, "pad": pad}));
        let event = fast.event("verso.account").await;
        assert_eq!((&event["payload"]["n"], &event["seq"]), (&json!(n), &json!(n)), "complete and in order");
        seen = n;
    }
    assert_eq!(seen, 600);
    assert_eq!(fast.call("health", json!({})).await["ok"], true);
    let mut got = 0;
    while let Got::Frame(_) = slow.got().await {
        got += 1;
    }
    assert!(got < 600, "it was cut off: {got}");
}
