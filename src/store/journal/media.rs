//! Which received media messages still need.

use crate::event::InboundMessage;
use crate::store::StoreError;

use super::Journal;

impl Journal {
    /// The messages with media that an agent may still be shown: those without an answer, and those that are kept as context since
    /// the last answer of their chat.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn in_need_of_media(&self) -> Result<Vec<InboundMessage>, StoreError> {
        self.run(|db| {
            let rows: Vec<String> = db
                .prepare_cached(
                    "SELECT message FROM inbound AS waiting WHERE message LIKE '%\"directPath\"%' AND (
                         state IN ('new', 'admitted') OR state = 'held' AND seq > coalesce(
                             (SELECT max(seq) FROM inbound AS later WHERE later.account = waiting.account
                              AND later.chat = waiting.chat AND later.state = 'answered'
                              AND json_extract(later.decision, '$.verdict.command') IS NULL), 0))",
                )?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            Ok(rows.iter().filter_map(|json| serde_json::from_str(json).ok()).collect())
        })
        .await
    }
}
