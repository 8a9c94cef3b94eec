//! Which received media messages still need.

use crate::event::InboundMessage;
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
}
