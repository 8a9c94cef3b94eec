//! Files from http(s) servers.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode, Url, header};

use super::error::MediaError;
use super::intake::{Cap, Copy, Intake, STEP, Stop};
use super::net::{Ground, Resolver};
use super::{Reach, Trust, kind, name};

/// More than this many redirects in a row lead nowhere.
const REDIRECTS: usize = 5;
/// How much of an error page is quoted.
const QUOTED: usize = 200;

/// How long servers and tools may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until the connection stands.
    pub connect: Duration,
    /// Without a byte.
    pub idle: Duration,
    /// For everything, redirects and the whole file.
    pub whole: Duration,
    /// For one run of ffmpeg: minutes of sound take seconds, whatever takes longer hangs.
    pub tool: Duration,
    /// For one conversion by what is built in, once it has its turn: large pictures and hours of sound take seconds.
    pub conversion: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            whole: Duration::from_secs(300),
            tool: Duration::from_secs(120),
            conversion: Duration::from_secs(30),
        }
    }
}

/// The clients: connections made for the owner are not used for models.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    public: Client,
    any: Client,
    loopback: Client,
    reach: Reach,
    patience: Patience,
}

impl Fetcher {
    pub(super) fn new(reach: Reach, patience: Patience) -> Result<Self, MediaError> {
        // A second call finds the provider installed and is no failure.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = |ground| {
            Client::builder()
                .dns_resolver(Resolver(ground))
                .connect_timeout(patience.connect)
                .read_timeout(patience.idle)
                // Every hop is judged here, and a proxy would connect where nobody judged.
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .referer(false)
                .user_agent(concat!("verso/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|e| MediaError::Tls(e.to_string()))
        };
        let (public, any, loopback) = (client(Ground::Public)?, client(Ground::Any)?, client(Ground::Loopback)?);
        Ok(Self { public, any, loopback, reach, patience })
    }

    /// Downloads `url`. `cap` is told the declared type and the name, and decides by them and the first bytes; `limit` is the most that
    /// it ever grants.
    pub(super) async fn fetch(
        &self,
        url: &str,
        trust: &Trust,
        folder: &Path,
        limit: u64,
        cap: impl FnOnce(Option<&str>, Option<&str>) -> Cap,
    ) -> Result<Copy, MediaError> {
        let shown = name::source(url);
        let parsed = Url::parse(url).map_err(|e| MediaError::Fetch { url: shown.clone(), why: e.to_string() })?;
        let whole = self.patience.whole;
        match tokio::time::timeout(whole, self.load(parsed, &shown, trust, folder, limit, cap)).await {
            Ok(loaded) => loaded,
            Err(_) => {
                Err(MediaError::Fetch { url: shown, why: format!("it took longer than {} s", whole.as_secs_f32()) })
            }
        }
    }

    async fn load(
        &self,
        url: Url,
        shown: &str,
        trust: &Trust,
        folder: &Path,
        limit: u64,
        cap: impl FnOnce(Option<&str>, Option<&str>) -> Cap,
    ) -> Result<Copy, MediaError> {
        let failed = |why: String| MediaError::Fetch { url: shown.to_owned(), why };
        let response = self.follow(url, trust).await.map_err(failed)?;
        let status = response.status();
        let moved = match name::public_form(response.url()) {
            last if last != shown => format!(" (redirected to {last})"),
            _ => String::new(),
        };
        let failed = |why: String| MediaError::Fetch { url: format!("{shown}{moved}"), why };
        let exceeds = |what: String, cap| MediaError::FetchExceeds { url: format!("{shown}{moved}"), what, cap };
        if !status.is_success() {
            return Err(failed(refusal(response, status).await));
        }
        let length = response.content_length();
        if let Some(length) = length.filter(|length| *length > limit) {
            return Err(exceeds(format!("content length {length}"), limit));
        }
        let text = |name| response.headers().get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        let declared = text(header::CONTENT_TYPE);
        let name = text(header::CONTENT_DISPOSITION)
            .and_then(|d| name::from_disposition(&d))
            .or_else(|| name::from_tail(response.url().path()));
        let intake = Intake::new(folder, cap(declared.as_deref(), name.as_deref()))?;
        let mut copy = stream(response, intake, length).await.map_err(|broken| match broken {
            Broken::Why(why) => failed(why),
            Broken::Over(cap) => exceeds("payload".to_owned(), cap),
            Broken::Error(error) => error,
        })?;
        if let Some((promised, found)) = kind::broken_promise(&copy.head, declared.as_deref(), name.as_deref()) {
            return Err(failed(format!("expected {promised}, got {found}")));
        }
        copy.declared = declared;
        copy.name = name;
        Ok(copy)
    }

    /// Asks, and follows redirects; each hop is judged like a first one.
    async fn follow(&self, mut url: Url, trust: &Trust) -> Result<Response, String> {
        let mut ground = match (self.reach, trust) {
            (Reach::Loopback, _) => Ground::Loopback,
            (Reach::Internet, Trust::Owner) => Ground::Any,
            (Reach::Internet, Trust::Client(fence)) if !fence.confined => Ground::Any,
            (Reach::Internet, Trust::Model(_) | Trust::Client(_)) => Ground::Public,
        };
        for _ in 0..=REDIRECTS {
            let client = match ground {
                Ground::Public => &self.public,
                Ground::Any => &self.any,
                Ground::Loopback => &self.loopback,
            };
            judge(&url, ground)?;
            let response = client.get(url.clone()).send().await.map_err(|e| reason(&e, self.patience))?;
            let target = response.headers().get(header::LOCATION).filter(|_| is_redirect(response.status()));
            let Some(target) = target else { return Ok(response) };
            let target = String::from_utf8_lossy(target.as_bytes()).into_owned();
            let next = url
                .join(&target)
                .map_err(|e| format!("it redirects to \"{}\", which is no URL: {e}", name::source(&target)))?;
            ground = ground.after(response.remote_addr());
            url = next;
        }
        Err(format!("more than {REDIRECTS} redirects"))
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Literal addresses never meet the resolver.
fn judge(url: &Url, ground: Ground) -> Result<(), String> {
    if !matches!(url.scheme(), "http" | "https") {
        let scheme = name::short(url.scheme());
        return Err(format!("it leads to a {scheme} address; only http and https are fetched"));
    }
    let host = url.host_str().unwrap_or_default();
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => ground.admits(ip).map_err(|why| format!("{host} cannot be used: {why}")),
        Err(_) => Ok(()),
    }
}

enum Broken {
    Why(String),
    /// More than so many bytes came.
    Over(u64),
    Error(MediaError),
}

/// From the network to the disk, a step at a time.
async fn stream(mut response: Response, mut intake: Intake, length: Option<u64>) -> Result<Copy, Broken> {
    let mut piece: Vec<u8> = Vec::new();
    let mut first = true;
    loop {
        let chunk = response.chunk().await.map_err(|e| Broken::Why(cut_off(&e)))?;
        let ended = chunk.is_none();
        piece.extend_from_slice(&chunk.unwrap_or_default());
        // The first step is short, so that a file of the wrong kind ends early.
        let enough = piece.len() >= if first { kind::HEAD } else { STEP };
        if piece.is_empty() || !(enough || ended) {
            if ended {
                break;
            }
            continue;
        }
        let step = std::mem::take(&mut piece);
        let (kept, pushed) = tokio::task::spawn_blocking(move || {
            let pushed = intake.push(&step);
            (intake, pushed)
        })
        .await
        .map_err(|e| Broken::Why(e.to_string()))?;
        intake = kept;
        match (pushed, length) {
            (Err(Stop::Disk(error)), _) => return Err(Broken::Error(error)),
            (_, Some(length)) if length > intake.cap() => return Err(Broken::Error(intake.exceeds(length))),
            (Err(Stop::Over), _) => return Err(Broken::Over(intake.cap())),
            (Ok(()), _) => {}
        }
        first = false;
        if ended {
            break;
        }
    }
    let copy = intake.finish();
    if copy.bytes == 0 {
        return Err(Broken::Why("the answer is empty".into()));
    }
    Ok(copy)
}

/// `HTTP 404 Not Found; body: ...`
async fn refusal(mut response: Response, status: StatusCode) -> String {
    let mut body = Vec::new();
    while body.len() < 4096 {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            _ => break,
        }
    }
    let text = String::from_utf8_lossy(&body);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let quoted: String = words.chars().filter(|c| !c.is_control()).take(QUOTED).collect();
    let status = format!("HTTP {} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    match quoted.is_empty() {
        true => format!("{}; empty response body", status.trim_end()),
        false => format!("{}; body: {quoted}", status.trim_end()),
    }
}

/// The innermost cause: reqwest's own words repeat the URL.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn reason(error: &reqwest::Error, patience: Patience) -> String {
    if error.is_timeout() {
        let waited = if error.is_connect() { patience.connect } else { patience.idle };
        return format!("no answer within {} s", waited.as_secs_f32());
    }
    let what = if error.is_connect() { "cannot connect" } else { "the request failed" };
    format!("{what}: {}", root(error))
}

fn cut_off(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "the transfer stood still".into();
    }
    format!("the transfer broke off: {}", root(error))
}
