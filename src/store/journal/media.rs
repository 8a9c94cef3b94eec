//! Which received media messages still need.

use rusqlite::params;

use crate::event::{InboundMessage, MessageKey};
use crate::store::StoreError;

use super::{Journal, LAST_ANSWERED};

impl Journal {
    /// The messages with media that an agent may still be shown: those without an answer, and those that are kept as context since
    /// the last answer of their chat.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn in_need_of_media(&self) -> Result<Vec<InboundMessage>, StoreError> {
        self.run(|db| {
            let rows: Vec<String> = db
                .prepare_cached(&format!(
                    "WITH last AS ({LAST_ANSWERED}) SELECT message FROM inbound LEFT JOIN last USING (account, chat)
                     WHERE (state IN ('new', 'admitted') OR state = 'held' AND seq > coalesce(last.answered, 0))
                     AND message LIKE '%\"directPath\"%' ORDER BY seq"
                ))?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            Ok(rows.iter().filter_map(|json| serde_json::from_str(json).ok()).collect())
        })
        .await
    }

    /// Notes beside a message's decision why a file of it is not there. Nobody waits for it: only `verso why` tells it.
    pub fn note_missing_media(&self, key: &MessageKey, why: &str) {
        let (key, why) = (key.clone(), why.to_owned());
        let note = move |db: &rusqlite::Connection| {
            db.prepare_cached(
                "UPDATE inbound SET decision = json_set(decision, '$.mediaMissing', ?5)
                 WHERE account = ?1 AND chat = ?2 AND sender = ?3 AND id = ?4 AND json_valid(decision)",
            )?
            .execute(params![
                key.account.as_str(),
                key.chat.to_string(),
                key.sender.to_string(),
                key.id.as_str(),
                why
            ])
        };
        let noted = self.submit(false, note, |result| {
            if let Err(error) = result {
                tracing::warn!(target: "whatsapp/inbound", %error, "why a file is missing was not noted");
            }
        });
        // The journal is closed only when the process ends.
        drop(noted);
    }
}
