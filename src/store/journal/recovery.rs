//! What an earlier process left: read in pages, so that the writer is never held up for long, and row by row, so that one that nobody can
//! read costs only itself.

use rusqlite::{Connection, params};

use super::rows::{Left, RawInbound, lossy};
use super::{Journal, StoreError};
use crate::event::InboundMessage;
use crate::ids::{AccountId, MessageId};

/// Rows that one job reads.
const PAGE: usize = 200;
/// Chats whose context one job reads.
const CHATS: usize = 50;

/// A row and whether Verso itself sent the message.
struct Found {
    row: RawInbound,
    ours: bool,
}

impl Found {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { row: RawInbound::read(row)?, ours: row.get("ours")? })
    }
}

const OURS: &str =
    "EXISTS (SELECT 1 FROM outbox WHERE outbox.account = inbound.account AND outbox.id = inbound.id) AS ours";

/// The last message of a chat (?1, ?2) that an agent answered; a command is none.
const LAST_ANSWERED: &str = "SELECT coalesce(max(seq), 0) FROM inbound INDEXED BY inbound_answered
    WHERE account = ?1 AND chat = CAST(?2 AS TEXT) AND state = 'answered'
    AND CASE WHEN json_valid(decision) THEN json_extract(decision, '$.verdict.command') END IS NULL";

impl Journal {
    /// What an earlier process left of an account, oldest first: messages without a decision or an answer, and the group messages that
    /// are kept as context. What came in since this process opened the journal is on its way already and not listed.
    ///
    /// Context are the messages held since the last one of their chat that an agent answered (a command is none), of each chat the
    /// newest up to its limit. A row that cannot be read is dropped with its cause. While the disk is full or the file is locked it
    /// waits.
    ///
    /// # Errors
    /// When they cannot be read and will not be.
    pub async fn left(&self, account: &AccountId) -> Result<Vec<Left>, StoreError> {
        let mut found = self.open_rows(account).await?;
        found.append(&mut self.context(account).await?);
        found.append(&mut self.odd_rows(account).await?);
        found.sort_by_key(|found| found.row.seq);
        let parsed = tokio::task::spawn_blocking(move || {
            let parse = |found: Found| (found.row.parse(), found);
            found.into_iter().map(parse).collect::<Vec<_>>()
        });
        let mut left = Vec::new();
        for (parsed, Found { row, ours }) in parsed.await.map_err(|_| StoreError::Closed)? {
            match parsed {
                Ok(parsed) => {
                    left.push(Left { row: parsed, ours, tries: row.tries });
                }
                Err(cause) => self.drop_unreadable(account.clone(), MessageId::new(row.id), row.seq, cause).await,
            }
        }
        Ok(left)
    }

    /// Messages without a decision or an answer.
    async fn open_rows(&self, account: &AccountId) -> Result<Vec<Found>, StoreError> {
        let mut all = Vec::new();
        loop {
            let (account, inherited) = (account.clone(), self.inherited);
            let after = all.last().map_or(0, |found: &Found| found.row.seq);
            let read = move |db: &Connection| {
                db.prepare_cached(&format!(
                    "SELECT *, {OURS} FROM inbound WHERE account = ?1 AND state IN ('new', 'admitted') AND seq > ?2 AND seq <= ?3
                     ORDER BY seq LIMIT {PAGE}"
                ))?
                .query_map(params![account.as_str(), after, inherited], Found::read)?
                .collect::<rusqlite::Result<Vec<_>>>()
            };
            let mut page = self.run_surely(read, |_| {}).await?;
            let last = page.len() < PAGE;
            all.append(&mut page);
            if last {
                return Ok(all);
            }
        }
    }

    /// Messages in a state that nobody knows.
    async fn odd_rows(&self, account: &AccountId) -> Result<Vec<Found>, StoreError> {
        let account = account.clone();
        let read = move |db: &Connection| {
            db.prepare_cached(&format!(
                "SELECT *, {OURS} FROM inbound INDEXED BY inbound_odd
                 WHERE account = ?1 AND state NOT IN ('new', 'admitted', 'answered', 'held', 'dropped') AND state <> 'expired' ORDER BY seq"
            ))?
            .query_map([account.as_str()], Found::read)?
            .collect()
        };
        self.run_surely(read, |_| {}).await
    }

    /// Group messages that wait for the next answer of their chat.
    async fn context(&self, account: &AccountId) -> Result<Vec<Found>, StoreError> {
        let (mut all, mut chat) = (Vec::new(), Vec::new());
        loop {
            let (account, inherited, from) = (account.clone(), self.inherited, chat);
            let read = move |db: &Connection| context_page(db, account.as_str(), &from, inherited);
            let (mut page, next) = self.run_surely(read, |_| {}).await?;
            all.append(&mut page);
            match next {
                Some(next) => chat = next,
                None => return Ok(all),
            }
        }
    }

    /// The messages with media that an agent may still be shown: those without an answer, and those that are kept as context since
    /// the last answer of their chat.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn in_need_of_media(&self) -> Result<Vec<InboundMessage>, StoreError> {
        let (mut found, mut after) = (Vec::new(), 0);
        loop {
            let (page, next) = self.run(move |db| media_page(db, after)).await?;
            found.extend(page);
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        // One that cannot be read is settled when it is taken up.
        Ok(found.iter().filter_map(|json: &String| serde_json::from_str(json).ok()).collect())
    }
}

/// Context of some chats after `from`, and the last of them when there may be more.
fn context_page(
    db: &Connection,
    account: &str,
    from: &[u8],
    inherited: i64,
) -> rusqlite::Result<(Vec<Found>, Option<Vec<u8>>)> {
    let mut next_chat = db.prepare_cached(
        "SELECT CAST(chat AS BLOB) FROM inbound INDEXED BY inbound_held WHERE account = ?1 AND chat > CAST(?2 AS TEXT) AND state = 'held'
         ORDER BY chat LIMIT 1",
    )?;
    let mut last_answered = db.prepare_cached(LAST_ANSWERED)?;
    let mut held = db.prepare_cached(&format!(
        "SELECT *, {OURS}, CASE WHEN json_valid(decision) THEN coalesce(json_extract(decision, '$.verdict.limit'), 0) END AS most
         FROM inbound INDEXED BY inbound_held WHERE account = ?1 AND chat = CAST(?2 AS TEXT) AND state = 'held' AND seq > ?3 AND seq <= ?4
         ORDER BY seq DESC"
    ))?;
    let (mut found, mut chat) = (Vec::new(), from.to_vec());
    for _ in 0..CHATS {
        let mut chats = next_chat.query(params![account, chat])?;
        let Some(row) = chats.next()? else { return Ok((found, None)) };
        chat = row.get(0)?;
        let answered: i64 = last_answered.query_row(params![account, chat], |r| r.get(0))?;
        let mut rows = held.query(params![account, chat, answered, inherited])?;
        let mut kept = 0;
        while let Some(row) = rows.next()? {
            // A decision that cannot be read is settled like a message that cannot.
            if let Some(most) = row.get::<_, Option<i64>>("most").unwrap_or(None) {
                kept += 1;
                if kept > most {
                    break;
                }
            }
            found.push(Found::read(row)?);
        }
        if found.len() >= PAGE {
            break;
        }
    }
    Ok((found, Some(chat)))
}

/// Messages with media of a page of rows, and where the next page begins when there may be one.
fn media_page(db: &Connection, after: i64) -> rusqlite::Result<(Vec<String>, Option<i64>)> {
    let mut rows = db.prepare_cached(&format!(
        "SELECT seq, CASE WHEN state IN ('new', 'admitted') OR state = 'held' AND seq > coalesce((
             SELECT max(a.seq) FROM inbound AS a INDEXED BY inbound_answered
             WHERE a.account = inbound.account AND a.chat = inbound.chat AND a.state = 'answered'
             AND CASE WHEN json_valid(a.decision) THEN json_extract(a.decision, '$.verdict.command') END IS NULL), 0)
             THEN message END AS message
         FROM inbound WHERE seq > ?1 ORDER BY seq LIMIT {PAGE}"
    ))?;
    let mut rows = rows.query([after])?;
    let (mut found, mut seen, mut last) = (Vec::new(), 0, after);
    while let Some(row) = rows.next()? {
        (seen, last) = (seen + 1, row.get(0)?);
        let message = lossy(row, "message")?;
        if message.contains("\"directPath\"") {
            found.push(message);
        }
    }
    Ok((found, (seen == PAGE).then_some(last)))
}
