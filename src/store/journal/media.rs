//! Why media are missing.

use rusqlite::params;

use super::Journal;
use crate::event::MessageKey;

impl Journal {
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
