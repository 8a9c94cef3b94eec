//! How long received media stay on disk.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use crate::clock::UnixMs;
use crate::config::model::RetentionConfig;
use crate::store::inbox::{self, Inbox, Keep};
use crate::store::journal::Journal;

/// Deletes received media that the retention does not allow and no message needs.
pub(super) async fn sweep(journal: Journal, inbox: Inbox, retention: RetentionConfig, now: UnixMs) {
    let needed = match journal.in_need_of_media().await {
        Ok(messages) => messages,
        Err(error) => {
            tracing::error!(target: "gateway", %error, "which media are still needed cannot be read; none is deleted");
            return;
        }
    };
    let names = needed.iter().flat_map(|message| {
        let (own, quoted) = message.media();
        own.into_iter().chain(quoted).filter_map(|source| inbox::name(&message.account, &source))
    });
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(now).unwrap_or_default());
    let keep = Keep {
        since: now.checked_sub(retention.media).unwrap_or(SystemTime::UNIX_EPOCH),
        max_bytes: retention.media_max_bytes,
        needed: names.collect::<HashSet<_>>(),
    };
    match tokio::task::spawn_blocking(move || inbox.sweep(&keep, now)).await {
        Ok(Ok(0)) => {}
        Ok(Ok(files)) => tracing::info!(target: "gateway", files, "received media deleted after its retention"),
        Ok(Err(error)) => tracing::error!(target: "gateway", %error, "old media were not deleted"),
        Err(error) => tracing::error!(target: "gateway", %error, "old media were not deleted"),
    }
}
