//! What was said in each session: `agents/<agentId>/sessions/<sessionId>.jsonl`, one turn a line, as users of the original
//! expect to find it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::ids::AgentId;
use crate::store::StoreError;
use crate::store::atomic::{private_dir, replace};
use crate::store::paths::StatePaths;

/// The end of a transcript that is read for the model's context.
const TAIL_BYTES: u64 = 256 * 1024;

/// One line of a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
    /// When.
    pub timestamp: UnixMs,
}

/// The transcripts below one state folder.
#[derive(Clone, Debug)]
pub struct Transcripts {
    paths: StatePaths,
}

impl Transcripts {
    /// The transcripts below `paths`.
    pub fn new(paths: StatePaths) -> Self {
        Self { paths }
    }

    fn file(&self, agent: &AgentId, session: &str) -> PathBuf {
        self.paths.sessions(agent).join(format!("{session}.jsonl"))
    }

    /// Adds turns to a session's transcript.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&self, agent: &AgentId, session: &str, turns: &[Turn]) -> Result<(), StoreError> {
        let path = self.file(agent, session);
        private_dir(&self.paths.sessions(agent))?;
        let mut lines = lines(turns);
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        // A half-written last line of a crash must not swallow the next turn.
        if ends_mid_line(&path) {
            lines.insert(0, b'\n');
        }
        file.write_all(&lines).map_err(StoreError::io("write", &path))
    }

    /// Makes `turns` the whole transcript of a session.
    ///
    /// # Errors
    /// When the file cannot be written; the one of before stays then.
    pub fn replace(&self, agent: &AgentId, session: &str, turns: &[Turn]) -> Result<(), StoreError> {
        replace(&self.file(agent, session), &lines(turns))
    }

    /// The last turns of a session, oldest first; lines that cannot be read are left out.
    ///
    /// # Errors
    /// When the file exists and cannot be read.
    pub fn tail(&self, agent: &AgentId, session: &str, most: usize) -> Result<Vec<Turn>, StoreError> {
        let path = self.file(agent, session);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(StoreError::io("read", &path)(e)),
        };
        let length = file.metadata().map_err(StoreError::io("read", &path))?.len();
        let from = length.saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(from)).map_err(StoreError::io("read", &path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(StoreError::io("read", &path))?;
        let text = String::from_utf8_lossy(&bytes);
        let mut turns: Vec<Turn> =
            text.lines().skip(usize::from(from > 0)).filter_map(|line| serde_json::from_str(line).ok()).collect();
        if turns.len() > most {
            turns.drain(..turns.len() - most);
        }
        Ok(turns)
    }
}

fn lines(turns: &[Turn]) -> Vec<u8> {
    let mut lines = Vec::new();
    for turn in turns {
        serde_json::to_writer(&mut lines, turn).expect("a turn is plain data");
        lines.push(b'\n');
    }
    lines
}

fn ends_mid_line(path: &Path) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let mut last = [0_u8];
    fs::metadata(path).is_ok_and(|m| m.len() > 0)
        && file.seek(SeekFrom::End(-1)).is_ok()
        && file.read_exact(&mut last).is_ok()
        && last[0] != b'\n'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(text: &str) -> Turn {
        Turn { role: "user".into(), content: text.into(), timestamp: 1 }
    }

    #[test]
    fn the_last_turns_come_back_in_order() {
        let dir = tempfile::tempdir().expect("temp dir");
        let transcripts = Transcripts::new(StatePaths::new(dir.path(), None));
        let agent = AgentId::new("main");
        assert!(transcripts.tail(&agent, "s", 5).expect("none yet").is_empty());
        for n in 0..5 {
            transcripts.append(&agent, "s", &[turn(&n.to_string())]).expect("written");
        }
        let read: Vec<_> = transcripts.tail(&agent, "s", 3).expect("read").into_iter().map(|t| t.content).collect();
        assert_eq!(read, ["2", "3", "4"]);
    }

    #[test]
    fn a_line_torn_by_a_crash_costs_only_itself() {
        let dir = tempfile::tempdir().expect("temp dir");
        let paths = StatePaths::new(dir.path(), None);
        let agent = AgentId::new("main");
        let transcripts = Transcripts::new(paths.clone());
        transcripts.append(&agent, "s", &[turn("one")]).expect("written");
        let path = paths.sessions(&agent).join("s.jsonl");
        let mut file = OpenOptions::new().append(true).open(&path).expect("open");
        file.write_all(b"{\"role\":\"us").expect("torn");
        transcripts.append(&agent, "s", &[turn("two")]).expect("written");
        let read: Vec<_> = transcripts.tail(&agent, "s", 9).expect("read").into_iter().map(|t| t.content).collect();
        assert_eq!(read, ["one", "two"]);
    }
}
