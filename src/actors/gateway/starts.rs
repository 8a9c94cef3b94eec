//! When processes of this state folder started, as long as they end unasked: their successors start accounts one after another then.

use std::time::Duration;

use crate::clock::UnixMs;
use crate::policy::start_pace::{self, REMEMBERED};
use crate::store::journal::Journal;

/// The fact that holds the times of the starts.
const STARTS: &str = "verso:starts";

/// Notes a start; answers with the time that each account waits. A journal that cannot be written now is no reason to wait.
pub(super) async fn note(journal: &Journal, now: UnixMs, accounts: usize) -> Vec<Duration> {
    let known = journal.get(STARTS).await.ok().flatten();
    let mut starts: Vec<UnixMs> = known.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let delays = start_pace::delays(&starts, now, accounts);
    if let Some(last) = delays.last().filter(|last| !last.is_zero()) {
        tracing::warn!(
            target: "gateway", starts = starts.len(), ?last,
            "the gateway ended unasked several times in a row; accounts start one after another"
        );
    }
    starts.push(now);
    let oldest = starts.len().saturating_sub(REMEMBERED);
    put(journal, &starts[oldest..]).await;
    delays
}

/// The process was asked to stop: it does not count, nor do those before it.
pub(super) async fn forget(journal: &Journal) {
    put(journal, &[]).await;
}

async fn put(journal: &Journal, starts: &[UnixMs]) {
    let text = serde_json::to_string(starts).expect("plain data");
    if let Err(error) = journal.put(STARTS, &text).await {
        tracing::warn!(target: "gateway", %error, "the time of the start was not noted");
    }
}
