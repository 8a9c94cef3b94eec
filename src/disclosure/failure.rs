//! What a run came to, and why it failed. Journalled as JSON, so the names are a format.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::ids::SessionKey;

/// Why a run failed, in a word for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The configuration names something that cannot run.
    Config,
    /// The model's address does not answer.
    Unreachable,
    /// The provider refused the key.
    Unauthorized,
    /// The provider takes no more requests for now.
    RateLimited,
    /// The provider answered with another error.
    Refused,
    /// The provider's answer cannot be read.
    BadAnswer,
    /// The model said nothing at all, also when asked once more.
    EmptyCompletion,
    /// It took too long.
    Timeout,
    /// The model answered, and nothing of it can be sent.
    NothingLeft,
    /// Something else, which a newer version may have a word for.
    #[serde(other)]
    Internal,
}

impl FailureKind {
    /// The word.
    pub fn code(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Unreachable => "unreachable",
            Self::Unauthorized => "unauthorized",
            Self::RateLimited => "rate-limited",
            Self::Refused => "refused",
            Self::BadAnswer => "bad-answer",
            Self::EmptyCompletion => "empty-completion",
            Self::Timeout => "timeout",
            Self::NothingLeft => "nothing-left",
            Self::Internal => "internal",
        }
    }
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// In a word.
    pub kind: FailureKind,
    /// The provider in `models.providers` that was asked.
    pub provider: String,
    /// In a sentence, with the provider's words, an address or a key; no secrets. For commanders, logs and `verso why` alone.
    pub cause: String,
}

impl Failure {
    /// A failure; secrets in the cause are hidden here.
    pub fn new(kind: FailureKind, provider: &str, cause: &str) -> Self {
        Self { kind, provider: provider.to_owned(), cause: super::scrub(cause) }
    }
}

/// What one agent's run on a message came to (behaviour.md 24.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// It was answered.
    Answered {
        /// Files of the answer that could not be sent, with the causes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unsent: Vec<String>,
    },
    /// The agent said nothing (`NO_REPLY`).
    Silent,
    /// The model returned an empty completion.
    EmptyCompletion {
        /// The failure.
        failure: Failure,
    },
    /// It ended in another error.
    Failed {
        /// The failure.
        failure: Failure,
    },
    /// Answers of this session are switched off (`/send off`, `session.sendPolicy`).
    SendOff,
    /// Somebody stopped it.
    Stopped,
    /// Too many messages waited for the agent.
    QueueFull,
}

impl Outcome {
    /// The outcome of a failed run.
    pub fn of(failure: Failure) -> Self {
        match failure.kind {
            FailureKind::EmptyCompletion => Self::EmptyCompletion { failure },
            _ => Self::Failed { failure },
        }
    }

    /// In a word, under which it is counted.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Answered { .. } => "answered",
            Self::Silent => "silent",
            Self::EmptyCompletion { .. } => "empty-completion",
            Self::Failed { .. } => "failed",
            Self::SendOff => "send-off",
            Self::Stopped => "stopped",
            Self::QueueFull => "queue-full",
        }
    }

    /// In a sentence.
    pub fn sentence(&self) -> String {
        match self {
            Self::Answered { unsent } if unsent.is_empty() => "the message was answered".to_owned(),
            Self::Answered { unsent } => format!("the message was answered, without a file: {}", unsent.join("; ")),
            Self::Silent => "the agent said nothing".to_owned(),
            Self::EmptyCompletion { failure } | Self::Failed { failure } => failure.cause.clone(),
            Self::SendOff => "answers of this session are switched off (/send off, or session.sendPolicy)".to_owned(),
            Self::Stopped => "the run was stopped".to_owned(),
            Self::QueueFull => "too many messages waited for the agent, and messages.queue let this one go".to_owned(),
        }
    }

    /// The failure of a run that failed.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::EmptyCompletion { failure } | Self::Failed { failure } => Some(failure),
            _ => None,
        }
    }
}

/// The outcome in one session; a message that several agents answer has several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOutcome {
    /// The session.
    pub session: SessionKey,
    /// What it came to there.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The one that stands for all: an answer before a failure, a failure before silence.
pub fn foremost(outcomes: &[SessionOutcome]) -> Option<&Outcome> {
    let rank = |outcome: &Outcome| match outcome {
        Outcome::Answered { .. } => 0,
        Outcome::Failed { .. } | Outcome::EmptyCompletion { .. } => 1,
        _ => 2,
    };
    outcomes.iter().map(|one| &one.outcome).min_by_key(|outcome| rank(outcome))
}

/// How the runs of one agent on one account ended since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunTally {
    /// Runs by the code of their outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// The last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastFailure>,
    /// No run went well since the last failure.
    pub failing: bool,
}

/// The last failure of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastFailure {
    /// When, in Unix milliseconds.
    pub at: UnixMs,
    /// Why.
    #[serde(flatten)]
    pub failure: Failure,
}

impl RunTally {
    /// Counts a run that ended.
    pub fn note(&mut self, outcome: &Outcome, now: UnixMs) {
        *self.outcomes.entry(outcome.code().to_owned()).or_default() += 1;
        match outcome {
            Outcome::Failed { failure } | Outcome::EmptyCompletion { failure } => {
                self.last_error = Some(LastFailure { at: now, failure: failure.clone() });
                self.failing = true;
            }
            Outcome::Answered { .. } | Outcome::Silent | Outcome::SendOff => self.failing = false,
            Outcome::Stopped | Outcome::QueueFull => {}
        }
    }

    /// Runs that failed.
    pub fn failures(&self) -> u64 {
        ["failed", "empty-completion"].iter().filter_map(|code| self.outcomes.get(*code)).sum()
    }
}

/// Why a file of an answer is not sent, as a chat may know it (behaviour.md 24.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaFault {
    /// It is larger than allowed.
    TooLarge,
    /// It is not there.
    NotFound,
    /// It may not be sent.
    NotAllowed,
    /// It is there and cannot be used.
    Unreadable,
    /// Its address gave no file.
    NotFetched,
}

impl fmt::Display for MediaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "too large",
            Self::NotFound => "not found",
            Self::NotAllowed => "not allowed",
            Self::Unreadable => "unreadable",
            Self::NotFetched => "could not be fetched",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn failure(kind: FailureKind) -> Failure {
        Failure::new(kind, "stub", "it broke")
    }

    #[test]
    fn outcomes_have_one_word_each_and_keep_it_on_disk() {
        let all = [
            Outcome::Answered { unsent: Vec::new() },
            Outcome::Silent,
            Outcome::of(failure(FailureKind::EmptyCompletion)),
            Outcome::of(failure(FailureKind::Timeout)),
            Outcome::SendOff,
            Outcome::Stopped,
            Outcome::QueueFull,
        ];
        for (at, outcome) in all.iter().enumerate() {
            let json = serde_json::to_value(outcome).expect("json");
            assert_eq!(json["outcome"], outcome.code());
            assert_eq!(&serde_json::from_value::<Outcome>(json).expect("read"), outcome);
            assert!(all[..at].iter().all(|other| other.code() != outcome.code()));
        }
        let kinds: Vec<FailureKind> = serde_json::from_value(json!(["rate-limited", "of-the-future"])).expect("read");
        assert_eq!(kinds, [FailureKind::RateLimited, FailureKind::Internal]);
        assert_eq!(json!(FailureKind::NothingLeft), FailureKind::NothingLeft.code());
    }

    #[test]
    fn an_answer_stands_before_a_failure_and_a_failure_before_silence() {
        let in_session = |outcome| SessionOutcome { session: SessionKey::new("agent:main:main"), outcome };
        let (silent, failed) = (in_session(Outcome::Silent), in_session(Outcome::of(failure(FailureKind::Config))));
        let answered = in_session(Outcome::Answered { unsent: Vec::new() });
        assert_eq!(foremost(&[silent.clone(), failed.clone()]), Some(&failed.outcome));
        assert_eq!(foremost(&[silent, failed, answered.clone()]), Some(&answered.outcome));
        assert_eq!(foremost(&[]), None);
    }

    #[test]
    fn a_tally_counts_and_knows_whether_it_still_fails() {
        let mut tally = RunTally::default();
        tally.note(&Outcome::of(failure(FailureKind::Timeout)), 5);
        tally.note(&Outcome::of(failure(FailureKind::EmptyCompletion)), 6);
        tally.note(&Outcome::Stopped, 7);
        assert!(tally.failing && tally.failures() == 2);
        let json = json!(tally);
        assert_eq!((&json["lastError"]["at"], &json["lastError"]["kind"]), (&json!(6), &json!("empty-completion")));
        tally.note(&Outcome::Silent, 8);
        assert!(!tally.failing && tally.last_error.is_some());
    }
}
