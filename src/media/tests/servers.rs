//! Sources on servers: good ones, slow ones, and those that lie.

use super::*;

type Answer = Response<BoxBody<Bytes, Infallible>>;

fn whole(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::new(body.into()).boxed()).expect("a response")
}

/// A body without a length, `pieces` times 64 KiB.
fn flood(pieces: usize) -> Answer {
    let piece = Bytes::from(vec![7; 64 * 1024]);
    let frames = stream::iter((0..pieces).map(move |_| Ok(Frame::data(piece.clone()))));
    Response::new(BodyExt::boxed(StreamBody::new(frames)))
}

fn answer(request: &Request<Incoming>) -> Answer {
    let to = |target: &str| whole(302, &[("location", target)], "");
    match request.uri().path() {
        "/photo" => {
            whole(200, &[("content-type", "application/octet-stream")], encoded(flag(300, 200), ImageFormat::Png))
        }
        "/report" => whole(
            200,
            &[
                ("content-type", "application/pdf"),
                ("content-disposition", "attachment; filename*=UTF-8''Quarter%20%C3%9C.pdf"),
            ],
            "%PDF-1.7",
        ),
        "/tail%20name" => whole(200, &[("content-type", "text/csv")], "a,b\n"),
        "/gone" => whole(404, &[], "<p>no\n  such   file</p>"),
        "/silent-error" => whole(500, &[], ""),
        "/loop" => to("/loop"),
        "/once" => to("/photo"),
        "/to-file" => to("file:///etc/passwd"),
        "/to-far" => to(&format!("/gone?{}", "x".repeat(6_000))),
        "/to-nothing" => to(&format!("http://user:secret@:99999/{}", "x".repeat(6_000))),
        "/to-long-scheme" => to(&format!("{}:x", "s".repeat(6_000))),
        "/to-metadata" => to("http://169.254.169.254/latest/meta-data/"),
        "/page.png" => whole(200, &[("content-type", "text/html")], "<!DOCTYPE html><title>Sign in</title>"),
        "/empty" => whole(200, &[], ""),
        "/large" => whole(200, &[("content-type", "application/zip")], vec![1; 3 << 20]),
        "/endless" => flood(1_000_000),
        "/stream64" => flood(1024),
        "/to-mapped" => to("http://[::ffff:10.0.0.1]/"),
        // 4 MB of the same, packed into a few KB.
        "/gzip-bomb" => {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut packed, &vec![1; 4 << 20]).expect("packed");
            whole(200, &[("content-encoding", "gzip")], packed.finish().expect("packed"))
        }
        _ => whole(400, &[], "unknown"),
    }
}

async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = hyper::service::service_fn(|request| async move { Ok::<_, Infallible>(answer(&request)) });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(hyper_util::rt::TokioIo::new(socket), service),
            );
        }
    });
    addr
}

/// A server that says these bytes to everybody who asks; then it ends, or says nothing more.
async fn raw(bytes: &'static [u8], hang: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 2048];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(bytes).await;
            if hang {
                open.push(socket);
            }
        }
    });
    addr
}

#[tokio::test]
async fn files_come_from_servers_with_their_names() {
    let (place, addr) = (place(), server().await);
    let get =
        async |path: &str| place.ask(&Wish::new(format!("http://user:secret@{addr}{path}"), 5 * MB)).await.expect(path);
    let media = get("/photo").await;
    assert_eq!((media.kind, media.size), (MediaKind::Image, Some((300, 200))), "the bytes decide");
    assert_eq!(get("/once").await.kind, MediaKind::Image, "redirects are followed");
    assert_eq!(get("/report").await.file_name.as_deref(), Some("Quarter Ü.pdf"));
    let media = get("/tail%20name").await;
    assert_eq!((media.file_name.as_deref(), media.mime.as_str()), (Some("tail name.csv"), "text/csv"));
}

#[tokio::test]
async fn servers_that_give_no_file_are_named_with_the_reason() {
    let (place, addr) = (place(), server().await);
    let check = async |path: &str, cap: u64, document: bool, expected: &str| {
        let mut wish = Wish::new(format!("http://user:secret@{addr}{path}"), cap);
        wish.as_document = document;
        let error = place.ask(&wish).await.expect_err("an error");
        assert_eq!(error.replace(&addr.to_string(), "HOST"), expected);
    };
    let failed = |path: &str, why: &str| format!("Failed to fetch media from http://HOST{path}: {why}");
    check("/gone", MB, false, &failed("/gone", "HTTP 404 Not Found; body: <p>no such file</p>")).await;
    check("/silent-error", MB, false, &failed("/silent-error", "HTTP 500 Internal Server Error; empty response body"))
        .await;
    check("/loop", MB, false, &failed("/loop", "more than 5 redirects")).await;
    check("/to-file", MB, false, &failed("/to-file", "it leads to a file address; only http and https are fetched"))
        .await;
    check(
        "/to-metadata",
        MB,
        false,
        &failed("/to-metadata", "169.254.169.254 cannot be used: only this machine may be reached here"),
    )
    .await;
    check("/page.png", MB, false, &failed("/page.png", "expected image/png, got text/html")).await;
    check("/empty", MB, false, &failed("/empty", "the answer is empty")).await;
    check("/large", 1000, true, &failed("/large", "content length 3145728 exceeds maxBytes 1000")).await;
    check("/large", MB, false, "Media exceeds 1MB limit (got 3.00MB)").await;
    check("/endless", MB, false, &failed("/endless", "payload exceeds maxBytes 1048576")).await;
    check("/gzip-bomb", MB, false, &failed("/gzip-bomb", "payload exceeds maxBytes 1048576")).await;
    check(
        "/to-mapped",
        MB,
        false,
        &failed("/to-mapped", "[::ffff:a00:1] cannot be used: only this machine may be reached here"),
    )
    .await;
    assert_eq!(place.left(), 0, "nothing stays behind");
}

#[tokio::test]
async fn what_a_server_or_a_source_says_is_quoted_short_and_without_passwords() {
    let (place, addr) = (place(), server().await);
    let check = async |source: String, expected: &str| {
        let error = place.ask(&Wish::new(source, MB)).await.expect_err("an error");
        assert!(error.contains(expected) && error.chars().count() < 900 && !error.contains("secret"), "{error}");
    };
    check(format!("http://{addr}/to-far"), "HTTP 404 Not Found").await;
    check(format!("http://{addr}/to-nothing"), "which is no URL").await;
    check(format!("http://{addr}/to-long-scheme"), "only http and https are fetched").await;
    check(format!("http://user:secret@{addr}/gone?{}", "x".repeat(6_000)), "HTTP 404 Not Found").await;
    check("http://user:secret@host:99999/x".into(), "http://…@host:99999/x: invalid port number").await;
    check(format!("./{}", "x".repeat(6_000)), "cannot read ./xxx").await;
}

#[tokio::test]
async fn servers_that_hang_or_lie_end() {
    let place = place();
    let check = async |addr: SocketAddr, expected: &str| {
        let error = place.ask(&Wish::new(format!("http://{addr}/x.png"), MB)).await.expect_err("an error");
        assert!(error.contains(expected), "{error}");
    };
    check(raw(b"", true).await, "no answer within").await;
    check(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\nabc", true).await, "the transfer stood still").await;
    check(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\nabc", false).await, "the transfer broke off").await;
    check(raw(b"nonsense\r\n\r\n", false).await, "the request failed").await;
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    check(closed, "cannot connect").await;
    let error = place.ask(&Wish::new("http://no-such-host.invalid/x", MB)).await.expect_err("an error");
    assert!(error.starts_with("Failed to fetch media from http://no-such-host.invalid/x: "), "{error}");
    assert_eq!(place.left(), 0, "nothing stays behind");
}

/// A server that gives a byte of a large file every now and then, for ever.
async fn dripping() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = socket.read(&mut [0; 2048]).await;
                let mut said = &b"HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\n"[..];
                while socket.write_all(said).await.is_ok() {
                    said = b"x";
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
        }
    });
    addr
}

#[tokio::test]
async fn a_server_that_drips_ends_with_the_time_for_the_whole() {
    let dir = tempfile::tempdir().expect("temp dir");
    let patience = Patience { idle: Duration::from_secs(60), whole: Duration::from_millis(400), ..Patience::default() };
    let loader = Loader::with(dir.path().join("out"), Reach::Loopback, patience, None).expect("a loader");
    let wish = Wish::new(format!("http://{}/x.png", dripping().await), MB);
    let error = loader.prepare(&wish, &Trust::Owner).await.expect_err("an error").to_string();
    assert!(error.contains("it took longer than 0.4 s"), "{error}");
    assert_eq!(fs::read_dir(dir.path().join("out")).map_or(0, Iterator::count), 0, "nothing stays behind");
}

#[tokio::test]
async fn a_model_reaches_no_private_address() {
    let dir = tempfile::tempdir().expect("temp dir");
    let loader = Loader::new(dir.path(), Reach::Internet).expect("a loader");
    let model = Trust::Model(crate::media::OpenFiles { roots: vec![dir.path().to_path_buf()], ..Default::default() });
    let port = server().await.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f.1",
        "017700000001",
        "127.0.0.1.",
        "①②⑦.0.0.1",
        "[64:ff9b::127.0.0.1]",
        "0.0.0.0",
        "10.0.0.1",
        "169.254.169.254",
    ] {
        let wish = Wish::new(format!("http://{host}:{port}/photo"), MB);
        let error = loader.prepare(&wish, &model).await.expect_err(host).to_string();
        assert!(error.contains("cannot be used: it is a private or reserved address"), "{host}: {error}");
    }
    let owner = loader.prepare(&Wish::new(format!("http://127.0.0.1:{port}/photo"), MB), &Trust::Owner).await;
    assert_eq!(owner.expect("it is his network").kind, MediaKind::Image);
}

#[tokio::test]
async fn large_files_pass_in_small_steps() {
    let (place, addr) = (place(), server().await);
    let mut wish = Wish::new(format!("http://{addr}/stream64"), 100 * MB);
    wish.as_document = true;
    assert_eq!(place.ask(&wish).await.expect("sent").bytes, 64 * MB);

    // What is asked of the source at a time is what memory holds of it.
    struct Counting(u64, usize);
    impl std::io::Read for Counting {
        fn read(&mut self, piece: &mut [u8]) -> std::io::Result<usize> {
            let n = piece.len().min(self.0 as usize).min(100_000);
            (self.0, self.1) = (self.0 - n as u64, self.1.max(piece.len()));
            Ok(n)
        }
    }
    let mut source = Counting(64 * MB, 0);
    let copy =
        local::drain(&mut source, intake::Intake::new(place.dir.path(), Box::new(|_| u64::MAX)).expect("a copy"));
    assert_eq!((copy.map_err(|_| "failed").expect("read").bytes, source.1), (64 * MB, intake::STEP));
}
