//! How long received media stay on disk.

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
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(now).unwrap_or_default());
    let keep = Keep {
        since: now.checked_sub(retention.media).unwrap_or(SystemTime::UNIX_EPOCH),
        max_bytes: retention.media_max_bytes,
        needed: inbox::names(&needed),
    };
    match tokio::task::spawn_blocking(move || inbox.sweep(&keep, now)).await {
        Ok(Ok(0)) => {}
        Ok(Ok(files)) => tracing::info!(target: "gateway", files, "received media deleted after its retention"),
        Ok(Err(error)) => tracing::error!(target: "gateway", %error, "old media were not deleted"),
        Err(error) => tracing::error!(target: "gateway", %error, "old media were not deleted"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;
    use crate::clock::Clock;
    use crate::event::{Body, Content, InboundMessage, MediaKey, MediaKind, MediaRef, RemoteFile};
    use crate::ids::{AccountId, MessageId};

    fn with_media() -> InboundMessage {
        let file = RemoteFile {
            direct_path: "/v/x".into(),
            key: MediaKey::new("c2VjcmV0"),
            sha256: "a".into(),
            enc_sha256: "b".into(),
        };
        let media = Some(MediaRef { file: Some(file), ..MediaRef::new(MediaKind::Image) });
        InboundMessage {
            account: AccountId::new("work"),
            id: MessageId::new("OPEN"),
            chat: "77@lid".parse().expect("jid"),
            sender: "77@lid".parse().expect("jid"),
            sender_alt: None,
            sender_number: None,
            chat_number: None,
            from_me: false,
            push_name: None,
            timestamp: 900,
            offline: false,
            content: Content::Body(Body { media, ..Body::default() }),
        }
    }

    #[tokio::test]
    async fn files_go_by_age_and_by_size_but_not_that_of_a_message_without_an_answer() {
        const HOUR: Duration = Duration::from_secs(3600);
        let dir = tempfile::tempdir().expect("temp dir");
        let journal = Journal::open(&dir.path().join("state.db"), Clock::System).expect("opens");
        let message = with_media();
        let own = message.media().0.expect("its own");
        let needed = inbox::name(&message.account, &own).expect("it can be fetched") + ".jpg";
        journal.commit(vec![message.clone()]).await.expect("committed");
        let folder = dir.path().join("inbound");
        fs::create_dir(&folder).expect("made");
        for (name, hours) in [(needed.as_str(), 9), ("old.jpg", 9), ("late.jpg", 3), ("later.jpg", 2)] {
            let file = File::create(folder.join(name)).expect("a file");
            file.set_len(1000).expect("a size");
            file.set_modified(SystemTime::now() - HOUR * hours).expect("aged");
        }
        let sweep = async |media_max_bytes| {
            let day = HOUR * 24;
            let retention =
                RetentionConfig { journal: day, bodies: day, outbox: day, media: HOUR * 5, media_max_bytes };
            super::sweep(journal.clone(), Inbox::new(&folder), retention, Clock::System.now()).await;
            let names = fs::read_dir(&folder).expect("listed").map(|e| e.expect("readable").file_name());
            let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
            names.sort_by_key(|name| name.len());
            names
        };
        assert_eq!(sweep(1_000_000).await, ["late.jpg", "later.jpg", &needed], "too old");
        assert_eq!(sweep(2_500).await, ["later.jpg", &needed], "too many, the longest unused first");
        journal.answer(vec![message.key()], Vec::new()).await.expect("settled");
        assert_eq!(sweep(1_000_000).await, ["later.jpg"], "nobody needs it any more");
    }
}
