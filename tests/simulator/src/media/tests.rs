use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

struct Answer {
    status: u16,
    body: Vec<u8>,
    /// `Content-Length` promised more than came.
    cut: bool,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Option<Answer> {
    // A host that hangs up early makes writing fail; what it said until then still counts.
    let _ = stream.write_all(request).await;
    let mut raw = Vec::new();
    let _ = stream.read_to_end(&mut raw).await;
    let head_end = raw.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8(raw[..head_end].to_vec()).unwrap().to_lowercase();
    let body = raw[head_end + 4..].to_vec();
    let promised: usize =
        head.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or(body.len(), |l| l.parse().unwrap());
    Some(Answer { status: head[9..12].parse().unwrap(), cut: promised > body.len(), body })
}

async fn plain(host: &MediaHost, head: &str, body: &[u8]) -> Option<Answer> {
    let stream = TcpStream::connect(host.addr()).await.unwrap();
    exchange(stream, &request(head, body)).await
}

async fn tls(host: &MediaHost, head: &str, body: &[u8]) -> Option<Answer> {
    use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(host.cert_pem().as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(host.addr()).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    exchange(stream, &request(head, body)).await
}

fn request(head: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len())
            .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn auth(host: &MediaHost) -> String {
    host.media_conn().attrs().optional_string("auth").unwrap().into_owned()
}

fn post(host: &MediaHost, token: &str, more: &str) -> String {
    format!("POST /mms/image/{token}?auth={}&token={token}{more}", auth(host))
}

#[tokio::test]
async fn one_port_takes_an_upload_over_tls_and_gives_it_back_plain() {
    let host = MediaHost::start().await.unwrap();
    let file = vec![7u8; 70_000];
    let token = token_of(&file);
    let padded = format!("{token}%3D");

    let up = tls(&host, &post(&host, &padded, ""), &file).await.unwrap();
    assert_eq!(up.status, 200);
    let direct_path = format!("/v/x/{token}");
    assert_eq!(up.json()["direct_path"], direct_path);
    assert_eq!(up.json()["url"], host.url(&direct_path));

    let down = plain(&host, &format!("GET {direct_path}?auth=whatever"), b"").await.unwrap();
    assert_eq!((down.status, down.body == file), (200, true));
    assert_eq!(host.get(&direct_path).unwrap(), file);
    let seen = Upload { kind: "image".into(), direct_path, size: file.len(), resumed_at: 0, tls: true };
    assert_eq!((host.uploads(), host.downloads()), (vec![seen], 1));
}

#[tokio::test]
async fn a_chunked_body_is_stored_whole() {
    let host = MediaHost::start().await.unwrap();
    let token = token_of(b"hello world");
    let raw = format!(
        "{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        post(&host, &token, "")
    );
    let answer = exchange(TcpStream::connect(host.addr()).await.unwrap(), raw.as_bytes()).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(host.get(&format!("/v/x/{token}")).unwrap(), &b"hello world"[..]);
}

#[tokio::test]
async fn an_interrupted_upload_goes_on_where_it_broke() {
    let host = MediaHost::start().await.unwrap();
    let file: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
    let token = token_of(&file);
    let ask = || post(&host, &token, "&resume=1");
    assert_eq!(plain(&host, &ask(), b"").await.unwrap().json()["resume"], "0");

    host.fault(On::Upload, Fault::Cut(50_000), 1);
    assert!(plain(&host, &post(&host, &token, ""), &file).await.is_none(), "the connection breaks without an answer");
    assert_eq!(plain(&host, &ask(), b"").await.unwrap().json()["resume"], "50000");

    let rest = plain(&host, &post(&host, &token, "&file_offset=50000"), &file[50_000..]).await.unwrap();
    assert_eq!(rest.status, 200);
    assert_eq!(host.uploads()[0].resumed_at, 50_000);
    assert_eq!(host.get(&format!("/v/x/{token}")).unwrap(), file);
    let done = plain(&host, &ask(), b"").await.unwrap().json();
    assert_eq!((&done["resume"], &done["direct_path"]), (&"complete".into(), &format!("/v/x/{token}").into()));
}

#[tokio::test]
async fn wrong_requests_are_refused_with_a_reason() {
    let host = MediaHost::start().await.unwrap();
    let token = token_of(b"file");
    let old = post(&host, &token, "");
    host.expire_auth();
    let table = [
        (old, 401, "auth"),
        (post(&host, &token_of(b"other"), ""), 400, "SHA-256 of what was sent"),
        (post(&host, "short", ""), 400, "base64"),
        (post(&host, &token, "&file_offset=9"), 400, "file_offset"),
        (format!("GET /v/x/{token}"), 404, "no such file"),
        ("GET /nowhere".to_owned(), 404, "no such path"),
    ];
    for (head, status, why) in table {
        let answer = plain(&host, &head, b"file").await.unwrap();
        assert_eq!(answer.status, status, "{head}");
        assert!(answer.json()["error"].as_str().unwrap().contains(why), "{head}");
    }
    assert!(host.uploads().is_empty());
}

#[tokio::test]
async fn faults_hit_as_often_as_asked_and_then_the_file_comes() {
    let host = MediaHost::start().await.unwrap();
    let file = vec![3u8; 4000];
    let get = format!("GET {}", host.put(file.clone()));
    host.fault(On::Download, Fault::Status(410), 2);
    host.fault(On::Download, Fault::Cut(1000), 1);
    host.fault(On::Download, Fault::Flip, 1);
    host.fault(On::Download, Fault::Slow(Duration::from_millis(1)), 1);

    assert_eq!(plain(&host, &get, b"").await.unwrap().status, 410);
    assert_eq!(plain(&host, &get, b"").await.unwrap().status, 410);
    assert!(plain(&host, &get, b"").await.is_none_or(|a| a.cut), "a cut file is shorter than promised");
    let flipped = plain(&host, &get, b"").await.unwrap();
    assert_eq!((flipped.body[0], flipped.body[1..] == file[1..]), (2, true));
    assert_eq!(plain(&host, &get, b"").await.unwrap().body, file);
    assert_eq!(plain(&host, &get, b"").await.unwrap().body, file);
    assert_eq!(host.downloads(), 2);
}

#[tokio::test]
async fn the_port_closes_with_the_last_handle() {
    let host = MediaHost::start().await.unwrap();
    let (addr, other) = (host.addr(), host.clone());
    drop(host);
    assert!(TcpStream::connect(addr).await.is_ok());
    drop(other);
    tokio::time::timeout(Duration::from_secs(5), async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the listener goes away");
}

#[tokio::test]
async fn every_kind_of_attachment_survives_the_way_over_the_host() {
    let host = MediaHost::start().await.unwrap();
    for kind in [Kind::Image, Kind::Video, Kind::Audio, Kind::Document, Kind::Sticker] {
        let captioned = matches!(kind, Kind::Image | Kind::Video | Kind::Document);
        let sent = Attachment {
            mime: Some("x/y".to_owned()),
            caption: captioned.then(|| "look".to_owned()),
            file_name: (kind == Kind::Document).then(|| "a.pdf".to_owned()),
            voice: kind == Kind::Audio,
            ..Attachment::new(kind, vec![1; 1000])
        };
        let message = host.attach(&sent, 100).unwrap();
        assert_eq!(host.open(&message).unwrap(), Some(sent));
        assert_eq!(Kind::parse(kind.as_str()), Some(kind));
    }
    assert_eq!(host.open(&Default::default()).unwrap(), None);
}

#[tokio::test]
async fn a_phone_says_why_it_cannot_open_media() {
    let host = MediaHost::start().await.unwrap();
    let good = host.attach(&Attachment::new(Kind::Image, *b"picture"), 100).unwrap();
    let broken = |change: fn(&mut waproto::whatsapp::message::ImageMessage)| {
        let mut message = good.clone();
        let mut image = message.image_message.as_option().unwrap().clone();
        change(&mut image);
        message.image_message = waproto::buffa::MessageField::some(image);
        host.open(&message).unwrap_err().to_string()
    };
    assert!(broken(|m| m.direct_path = Some("/v/x/none".into())).contains("nothing was uploaded"));
    assert!(broken(|m| m.media_key = None).contains("media key"));
    assert!(broken(|m| m.media_key = Some(vec![0; 32])).contains("MAC"));
    assert!(broken(|m| m.file_sha256 = Some(vec![0; 32])).contains("hash"));
    assert!(broken(|m| m.file_length = Some(1)).contains("length"));
}
