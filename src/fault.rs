//! Points between two steps where a test ends a demo build, as a power cut does: `VERSO_FAULT_AT=<point>`.

/// Ends the process without another word when a test named this point.
pub(crate) fn passes(point: &str) {
    if std::env::var("VERSO_FAULT_AT").is_ok_and(|wanted| wanted == point) {
        std::process::abort();
    }
}
