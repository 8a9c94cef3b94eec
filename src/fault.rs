//! Points between two steps where a test ends a demo build, or makes it fail: `VERSO_FAULT_AT=<point>` ends it as a power cut does,
//! `VERSO_FAULT_PANIC_TEXT=<point>:<text>` panics and `VERSO_FAULT_ABORT_TEXT=<point>:<text>` ends it when a message with this text
//! passes, and `VERSO_FAULT_PANIC_AT=<point>` panics there. `VERSO_FAULT_HANG_AT=<point>` waits there for ever,
//! `VERSO_FAULT_SLOW_AT=<point>` for three seconds.
//!
//! Points of texts: `decide` (judgement), `run` (an agent's run begins), `send` (it is handed to the connection).

/// Ends the process without another word when a test named this point.
pub(crate) fn passes(point: &str) {
    if names("VERSO_FAULT_AT", point) {
        std::process::abort();
    }
}

/// Panics when a test named this point.
pub(crate) fn panics(point: &str) {
    assert!(!names("VERSO_FAULT_PANIC_AT", point), "injected by a test at {point}");
}

/// Waits for ever when a test named this point.
pub(crate) async fn hangs(point: &str) {
    if names("VERSO_FAULT_HANG_AT", point) {
        std::future::pending::<()>().await;
    }
}

/// Takes its time when a test named this point.
pub(crate) async fn takes_time(point: &str) {
    if names("VERSO_FAULT_SLOW_AT", point) {
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    }
}

/// Fails at a message that says exactly what a test named.
pub(crate) fn text(point: &str, text: Option<&str>) {
    let named = |variable: &str| {
        let wanted = std::env::var(variable).unwrap_or_default();
        wanted.split_once(':').is_some_and(|(at, what)| at == point && text == Some(what))
    };
    assert!(!named("VERSO_FAULT_PANIC_TEXT"), "injected by a test at {text:?}");
    if named("VERSO_FAULT_ABORT_TEXT") {
        std::process::abort();
    }
}

fn names(variable: &str, point: &str) -> bool {
    std::env::var(variable).is_ok_and(|wanted| wanted == point)
}

/// Panics with the text that a test gave: `VERSO_FAULT_PANIC=<text>`.
pub(crate) fn panics_with() {
    if let Ok(text) = std::env::var("VERSO_FAULT_PANIC") {
        panic!("{text}");
    }
}
