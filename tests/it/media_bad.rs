//! Sources that are no files, or not what they say: whoever sends one is told why, and an answer says it in the chat.

use std::io::{Cursor, Write};
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use verso::actors::messages::{Draft, SendOut, Wanted};
use wa_simulator::World;

use crate::support::GatewayFixture;
use crate::support::model::{Model, text};

/// A server of bad answers; gives its address.
async fn bad_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(answer(socket));
        }
    });
    address
}

async fn answer(mut socket: TcpStream) {
    let mut request = vec![0; 4096];
    let n = socket.read(&mut request).await.unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..n]).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let head =
        |status: &str, headers: &str| format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\n\r\n").into_bytes();
    let to = |target: &str| head("302 Found", &format!("location: {target}\r\ncontent-length: 0\r\n"));
    let bytes = match path {
        "/gone.png" => head("404 Not Found", "content-length: 0\r\n"),
        "/loop" => to("/loop"),
        "/to-file" => to("file:///etc/passwd"),
        "/to-private" => to("http://10.0.0.1/x.png"),
        "/to-metadata" => to("http://[::ffff:169.254.169.254]/latest/"),
        "/lie" => [head("200 OK", "content-length: 90000\r\n"), b"abc".to_vec()].concat(),
        "/page.png" => {
            head("200 OK", "content-type: text/html\r\n").into_iter().chain(*b"<!doctype html><p>Sign in").collect()
        }
        "/gzip-bomb" => {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(&vec![1; 8 << 20]).expect("packed");
            [head("200 OK", "content-encoding: gzip\r\n"), packed.finish().expect("packed")].concat()
        }
        "/endless" => {
            let _ = socket.write_all(&head("200 OK", "transfer-encoding: chunked\r\n")).await;
            let chunk = [b"10000\r\n".to_vec(), vec![7; 0x10000], b"\r\n".to_vec()].concat();
            while socket.write_all(&chunk).await.is_ok() {}
            return;
        }
        other => panic!("nothing asks for {other}"),
    };
    // Who has seen enough hangs up.
    let _ = socket.write_all(&bytes).await;
}

/// Puts files that cannot be sent into a workspace.
fn bad_files(folder: &Path) {
    let mut jpeg = Cursor::new(Vec::new());
    image::RgbImage::from_pixel(300, 300, image::Rgb([9, 90, 200]))
        .write_to(&mut jpeg, image::ImageFormat::Jpeg)
        .expect("encoded");
    let jpeg = jpeg.into_inner();
    std::fs::write(folder.join("cut.jpg"), &jpeg[..jpeg.len() / 2]).expect("written");
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let body = [&kind[..], data].concat();
        let mut crc = flate2::Crc::new();
        crc.update(&body);
        [&u32::try_from(data.len()).expect("short").to_be_bytes()[..], &body, &crc.sum().to_be_bytes()].concat()
    };
    let side = 50_000_u32.to_be_bytes();
    let head = chunk(b"IHDR", &[&side[..], &side, &[8, 6, 0, 0, 0]].concat());
    let bomb = [b"\x89PNG\r\n\x1a\n".to_vec(), head, chunk(b"IDAT", &[0x78, 0x9c]), chunk(b"IEND", &[])].concat();
    std::fs::write(folder.join("bomb.png"), bomb).expect("written");
    std::fs::write(folder.join("empty.pdf"), "").expect("written");
    std::fs::write(folder.join("large.zip"), [&b"PK\x03\x04"[..], &vec![0; 6 << 20]].concat()).expect("written");
    std::fs::create_dir(folder.join("folder")).expect("made");
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("pipe"), rustix::fs::Mode::RWXU).expect("a pipe");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_source_is_a_clear_error_for_the_sender_and_a_warning_in_an_answer() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let server = bad_server().await;
    let web = |path: &str| format!("http://{server}{path}");
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("bind").local_addr().expect("address");
    // What a model names, and what the error says. The owner names the same, with the whole path.
    let both = [
        (web("/gone.png"), "HTTP 404 Not Found; empty response body"),
        (web("/loop"), "more than 5 redirects"),
        (web("/to-file"), "it leads to a file address; only http and https are fetched"),
        (web("/to-private"), "10.0.0.1 cannot be used: only this machine may be reached here"),
        (web("/to-metadata"), "cannot be used: only this machine may be reached here"),
        (web("/lie"), "the transfer broke off"),
        (web("/page.png"), "expected image/png, got text/html"),
        (web("/gzip-bomb"), "payload exceeds maxBytes 5242880"),
        (web("/endless"), "payload exceeds maxBytes 5242880"),
        (format!("http://{closed}/x.png"), "cannot connect"),
        ("http://no-such-host.invalid/x.png".to_owned(), "cannot connect"),
        ("./cut.jpg".to_owned(), "is no usable picture: it ends too early"),
        ("./bomb.png".to_owned(), "is no usable picture: "),
        ("./empty.pdf".to_owned(), "it is empty"),
        ("./large.zip".to_owned(), "Media exceeds 5MB limit (got 6.00MB)"),
        ("./folder".to_owned(), "it is a folder"),
        ("./pipe".to_owned(), "it is no regular file"),
        ("./missing.png".to_owned(), "there is no such file"),
    ];
    let model = Model::scripted(both.iter().map(|(source, _)| text(&format!("look\nMEDIA: {source}"))).collect()).await;
    let config = format!(
        "{{ {}, channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'], accounts: {{ work: {{}} }} }} }} }}",
        model.config()
    );
    let gateway = GatewayFixture::start(&world, &config).await;
    gateway.link("work", &work).await;
    let folder = gateway.state.join("agents/main/workspace");
    std::fs::create_dir_all(&folder).expect("made");
    bad_files(&folder);

    let send = async |source: String, n: usize| {
        let draft = Draft { text: "look".into(), media: vec![source], ..Draft::default() };
        let request = SendOut {
            account: Some("work".into()),
            to: ann.number(),
            what: Wanted::Message(draft),
            idempotency_key: format!("k{n}"),
        };
        gateway.port.send.send(request).await.expect("the gateway answers").expect_err("refused").to_string()
    };
    for (n, (source, expected)) in both.iter().enumerate() {
        let whole = match source.strip_prefix("./") {
            Some(name) => folder.join(name).display().to_string(),
            None => source.clone(),
        };
        let error = send(whole, n).await;
        assert!(error.contains(expected), "{source}: {error}");
        // Where the sender can do something about it, he is told what.
        assert_eq!(error.contains("is no usable"), error.contains("--force-document"), "{error}");
        let large = error.starts_with("Media exceeds") || error.contains("exceeds maxBytes");
        assert_eq!(large, error.contains("agents.defaults.mediaMaxMb"), "{error}");
        assert!(ann.inbox().len() == n, "{source}: nothing is sent");

        ann.says(&work, &format!("{n}"));
        ann.expect_message(|_| ann.inbox().len() > n).await.unwrap_or_else(|e| panic!("{source}: {e}"));
        let told = ann.inbox()[n].text.clone();
        // The chat hears one of a few words; the error is for the owner.
        let word = match *expected {
            large if large.contains("exceeds") => "too large",
            "there is no such file" => "not found",
            _ if source.starts_with("http") => "could not be fetched",
            _ => "unreadable",
        };
        assert_eq!(told, format!("look\n⚠️ Media failed: {word}"), "{source}");
    }
    for (source, expected) in [
        ("/dev/zero", "it is no regular file"),
        ("/proc/self/mem", "cannot read /proc/self/mem"),
        ("file:///no/such/file", "there is no such file"),
        ("file://server/share", "of this machine"),
        ("ftp://example.com/x", "only http, https, file and data URLs"),
        ("data:image/png;base64,%%", "it is no base64"),
    ] {
        let error = send(source.to_owned(), 100).await;
        assert!(error.contains(expected), "{source}: {error}");
    }
    let left = std::fs::read_dir(gateway.state.join("media/outbound")).expect("listed").count();
    assert_eq!(left, 0, "nothing stays behind");
}
