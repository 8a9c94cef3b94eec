//! What is kept of a session between its turns.

use serde::{Deserialize, Serialize};

use super::freshness;
use crate::clock::UnixMs;
use crate::config::model::ResetPolicy;
use crate::text::zone::Zone;

/// One session under its key. It is stored as JSON, so the names are a format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Entry {
    /// Name of the transcript.
    pub session_id: String,
    /// Last sign of life.
    pub updated_at: UnixMs,
    /// Turns begun; 0 = only begun by `/new`.
    pub turns: u64,
    /// Tokens of all its turns, as far as the provider told them.
    pub usage: Option<Usage>,
    /// Tokens that the last turn was asked with.
    pub context_tokens: Option<u64>,
    /// `provider/name`, where another model than the agent's was chosen.
    pub model: Option<String>,
    /// Whose main session it is; `None` where the key itself says so, and where several people share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
}

/// Tokens as a provider counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Read by the model.
    pub input: u64,
    /// Written by the model.
    pub output: u64,
}

/// A session as the next message finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The session, updated.
    pub entry: Entry,
    /// When it was last active before; `None` when nobody knows.
    pub previous: Option<UnixMs>,
    /// It was another person's until now, and begins anew.
    pub taken_over: bool,
}

impl Entry {
    /// The session may be shown to this person. What is nobody's, as all sessions of older versions, is taken over.
    pub fn belongs_to(&self, person: Option<&str>) -> bool {
        self.person.is_none() || self.person.as_deref() == person
    }

    /// A session that begins now.
    pub fn begin(session_id: String, now: UnixMs) -> Self {
        Self { session_id, updated_at: now, ..Self::default() }
    }

    /// Reads a stored session; older versions kept its id only, written at `written_at`.
    pub fn parse(stored: &str, written_at: UnixMs) -> Self {
        serde_json::from_str(stored).unwrap_or_else(|_| Self::begin(stored.to_owned(), written_at))
    }

    /// As it is stored.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }

    /// A message comes in: the session goes on, or a new one begins as `new_id` because it is stale, another person's, or there is
    /// none. `person` is whose main session it is.
    pub fn open(
        known: Option<Self>,
        person: Option<&str>,
        policy: &ResetPolicy,
        now: UnixMs,
        zone: &Zone,
        new_id: String,
    ) -> Opened {
        // What another person said is no context, and nothing of it is told.
        let (known, other) = match known {
            Some(entry) if !entry.belongs_to(person) => (None, true),
            known => (known, false),
        };
        let previous = known.as_ref().filter(|e| e.turns > 0).map(|e| e.updated_at);
        let going_on = known.filter(|e| freshness::evaluate(e.updated_at, now, policy, zone).fresh);
        let mut entry = going_on.unwrap_or_else(|| Self::begin(new_id, now));
        entry.turns += 1;
        entry.updated_at = entry.updated_at.max(now);
        entry.person = person.map(str::to_owned);
        Opened { entry, previous, taken_over: other }
    }

    /// A turn is over.
    pub fn finish_turn(&mut self, usage: Option<Usage>, now: UnixMs) {
        self.updated_at = self.updated_at.max(now);
        if let Some(turn) = usage {
            let sum = self.usage.get_or_insert_default();
            sum.input = sum.input.saturating_add(turn.input);
            sum.output = sum.output.saturating_add(turn.output);
            self.context_tokens = Some(turn.input);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::ResetMode;

    const IDLE: ResetPolicy =
        ResetPolicy { mode: ResetMode::Idle, at_hour: 4, idle: Some(std::time::Duration::from_secs(60)) };

    #[test]
    fn a_stale_session_begins_anew_and_loses_what_was_chosen_for_it() {
        let open = |known, now| Entry::open(known, None, &IDLE, now, &Zone::Utc, "new".into());
        let first = open(None, 1_000);
        assert_eq!((first.entry.session_id.as_str(), first.previous), ("new", None));
        let mut entry = Entry { session_id: "old".into(), model: Some("a/b".into()), ..first.entry };
        entry.finish_turn(Some(Usage { input: 10, output: 2 }), 2_000);
        entry.finish_turn(Some(Usage { input: 15, output: 3 }), 3_000);
        entry.finish_turn(None, 3_500);
        assert_eq!((entry.usage, entry.context_tokens), (Some(Usage { input: 25, output: 5 }), Some(15)));
        let on = open(Some(entry.clone()), 63_500);
        assert_eq!((on.entry.session_id.as_str(), on.previous, on.entry.turns), ("old", Some(3_500), 2));
        let stale = open(Some(entry), 63_501);
        assert_eq!((stale.entry.session_id.as_str(), stale.entry.model, stale.entry.usage), ("new", None, None));
        assert_eq!(stale.previous, Some(3_500), "the time since the last turn is still told");
    }

    #[test]
    fn a_main_session_that_goes_to_another_person_begins_anew() {
        let open = |known: &Opened, person| {
            Entry::open(Some(known.entry.clone()), person, &IDLE, 2_000, &Zone::Utc, "new".into())
        };
        let old = Opened {
            entry: Entry { turns: 1, ..Entry::begin("old".into(), 1_000) },
            previous: None,
            taken_over: false,
        };
        // Older versions did not note whose it was.
        let anns = open(&old, Some("+1"));
        assert_eq!((anns.entry.session_id.as_str(), anns.taken_over), ("old", false));
        for (known, person, id, previous) in [
            (&anns, Some("+1"), "old", Some(2_000)),
            (&anns, Some("+2"), "new", None),
            (&anns, None, "new", None),
            (&open(&anns, None), Some("+2"), "new", Some(2_000)),
        ] {
            let opened = open(known, person);
            assert_eq!((opened.entry.session_id.as_str(), opened.previous), (id, previous), "{person:?}");
            assert_eq!(opened.entry.person.as_deref(), person);
        }
        assert!(open(&anns, Some("+2")).taken_over && open(&anns, None).taken_over);
    }

    #[test]
    fn what_older_versions_kept_is_read() {
        let entry = Entry::parse("6f6c-id", 7);
        assert_eq!(entry, Entry::begin("6f6c-id".into(), 7));
        assert_eq!(Entry::parse(&entry.to_text(), 9), entry);
    }
}
