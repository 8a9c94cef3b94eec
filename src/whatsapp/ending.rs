//! Why a connection ended. Pure: facts in, reason out.
//!
//! The library's `run` returning is the truth that it ended. The last terminal event says why; several ends come without
//! one, and then what the socket saw decides.

use std::time::Duration;

use super::dial::DialReport;
use crate::event::DownReason;

/// What one run has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// The client panicked.
    pub panic: Option<String>,
    /// We closed the link.
    pub closed: bool,
    /// The last event that ends a connection.
    pub verdict: Option<Verdict>,
    /// The journal refused a message.
    pub commit_failed: Option<String>,
    /// The code of the last `<stream:error>`.
    pub stream_error: Option<String>,
    /// The phone accepted this device on this connection.
    pub paired: bool,
    /// The encrypted channel stood.
    pub ready: bool,
    /// The library noticed that the socket ended.
    pub disconnected: Option<String>,
    /// What the dialler saw.
    pub dial: DialReport,
}

/// An event that ends a connection, in our words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    LoggedOut { message: Option<String> },
    Locked,
    Replaced,
    Banned { expires_in: Option<Duration> },
    Outdated,
    Refused { code: u16 },
    QrExpired,
}

pub(super) fn classify(facts: &Facts) -> DownReason {
    if let Some(detail) = &facts.panic {
        return DownReason::Internal { detail: detail.clone() };
    }
    if facts.closed {
        return DownReason::Stopped;
    }
    if let Some(verdict) = &facts.verdict {
        return of_verdict(verdict);
    }
    if let Some(detail) = &facts.commit_failed {
        return DownReason::Internal { detail: detail.clone() };
    }
    match facts.stream_error.as_deref() {
        Some("515") => return DownReason::RestartRequired,
        Some("429") => return DownReason::RateLimited,
        Some("500") => return DownReason::Unavailable { code: 500 },
        Some("503") => return DownReason::Unavailable { code: 503 },
        _ => {}
    }
    if !facts.ready {
        return DownReason::OpenFailed { detail: not_opened(&facts.dial) };
    }
    if facts.paired {
        return DownReason::RestartRequired;
    }
    if let Some(detail) = &facts.disconnected {
        let detail = match facts.stream_error.as_deref() {
            Some(code) if !code.is_empty() => format!("{detail}, after stream error {code}"),
            _ => detail.clone(),
        };
        return DownReason::Lost { detail };
    }
    if facts.dial.silent_for.is_some_and(|silence| silence >= STALL) {
        return DownReason::Stalled;
    }
    DownReason::Lost { detail: "WhatsApp ended the stream".to_owned() }
}

/// The library gives up a silent connection after 20 s.
const STALL: Duration = Duration::from_secs(15);

fn of_verdict(verdict: &Verdict) -> DownReason {
    match verdict {
        Verdict::LoggedOut { message } => DownReason::LoggedOut { message: message.clone() },
        Verdict::Locked => DownReason::Banned { expires_in: None },
        Verdict::Replaced => DownReason::Conflict,
        Verdict::Banned { expires_in } => DownReason::Banned { expires_in: *expires_in },
        Verdict::Outdated => DownReason::Outdated,
        Verdict::Refused { code: 429 } => DownReason::RateLimited,
        Verdict::Refused { code: code @ (500 | 503) } => DownReason::Unavailable { code: *code },
        Verdict::Refused { code } => DownReason::Rejected { code: *code },
        Verdict::QrExpired => DownReason::QrExpired,
    }
}

/// The sentence for a connection that never came to stand.
fn not_opened(dial: &DialReport) -> String {
    if let Some(reason) = &dial.error {
        return reason.clone();
    }
    let text = match (dial.open, dial.answered, dial.ended) {
        (false, _, _) => "the connection was not opened",
        (true, false, true) => "the server hung up during the handshake",
        (true, false, false) => "the server did not answer the handshake",
        (true, true, true) => "the server hung up in the middle of the handshake",
        (true, true, false) => {
            "the server's answer to the handshake was refused: its certificate is not WhatsApp's, or something on the way changes the traffic"
        }
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(what: &str, facts: Facts, want: DownReason) {
        assert_eq!(classify(&facts), want, "{what}");
    }

    fn live() -> Facts {
        let dial = DialReport { open: true, answered: true, ..DialReport::default() };
        Facts { ready: true, dial, ..Facts::default() }
    }

    #[test]
    fn verdicts_decide() {
        let of = |verdict| Facts { verdict: Some(verdict), disconnected: Some("later".to_owned()), ..live() };
        check("401", of(Verdict::LoggedOut { message: None }), DownReason::LoggedOut { message: None });
        check("403", of(Verdict::Locked), DownReason::Banned { expires_in: None });
        check("replaced", of(Verdict::Replaced), DownReason::Conflict);
        check("405", of(Verdict::Outdated), DownReason::Outdated);
        check("503", of(Verdict::Refused { code: 503 }), DownReason::Unavailable { code: 503 });
        check("429", of(Verdict::Refused { code: 429 }), DownReason::RateLimited);
        check("411", of(Verdict::Refused { code: 411 }), DownReason::Rejected { code: 411 });
        check("qr", of(Verdict::QrExpired), DownReason::QrExpired);
    }

    #[test]
    fn ends_without_an_event_are_told_apart() {
        let silent = DialReport { silent_for: Some(Duration::from_secs(20)), ..live().dial };
        check("watchdog", Facts { dial: silent, ..live() }, DownReason::Stalled);
        check("stream end", live(), DownReason::Lost { detail: "WhatsApp ended the stream".to_owned() });
        check("paired", Facts { paired: true, ..live() }, DownReason::RestartRequired);
        let code = |code: &str| Facts { stream_error: Some(code.to_owned()), ..live() };
        check("515", code("515"), DownReason::RestartRequired);
        check("429", code("429"), DownReason::RateLimited);
        check("503", code("503"), DownReason::Unavailable { code: 503 });
        check(
            "eof",
            Facts { disconnected: Some("stream ended".to_owned()), ..live() },
            DownReason::Lost { detail: "stream ended".to_owned() },
        );
        check("closed", Facts { closed: true, verdict: Some(Verdict::Replaced), ..live() }, DownReason::Stopped);
        check(
            "journal",
            Facts { commit_failed: Some("disk full".to_owned()), ..live() },
            DownReason::Internal { detail: "disk full".to_owned() },
        );
        check(
            "panic",
            Facts { panic: Some("boom".to_owned()), closed: true, ..live() },
            DownReason::Internal { detail: "boom".to_owned() },
        );
    }

    #[test]
    fn what_never_stood_says_where_it_broke() {
        let dial = |open, answered, ended| DialReport { open, answered, ended, ..DialReport::default() };
        for (dial, word) in [
            (
                DialReport { error: Some("127.0.0.1:1 refused the connection".to_owned()), ..Default::default() },
                "refused",
            ),
            (dial(true, false, true), "hung up during"),
            (dial(true, false, false), "did not answer"),
            (dial(true, true, true), "in the middle"),
            (dial(true, true, false), "certificate"),
        ] {
            let got = classify(&Facts { dial, ..Facts::default() });
            assert!(matches!(&got, DownReason::OpenFailed { detail } if detail.contains(word)), "{got:?} {word}");
        }
    }
}
