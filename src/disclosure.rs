//! Decides what may leave the process (behaviour.md 24.2 to 24.4): who sees what of a failure, and which texts are hidden from
//! everybody.
//!
//! | reader | sees of a failed run |
//! |---|---|
//! | log, `verso why`, `channels status`, API client | the cause |
//! | the account's own chat | the cause, once per provider, kind and hour |
//! | a commander, in a direct chat, about the own message | the cause |
//! | everybody else, and every group | `messages.errorText`, once per chat and ten minutes |
//!
//! Secrets are hidden in all of them. [`mask`] hides secrets and nothing else, so it fits conversations, numbers and JIDs; [`scrub`]
//! hides what `logging.redactPatterns` matches as well, and is for log lines, findings and the texts of errors.

mod audience;
mod failure;
mod known;
mod mask;
mod patterns;
mod secrets;

pub use audience::{ERROR_TEXT, ERROR_TEXT_EVERY_MS, NOTICE_EVERY_MS, Reader, is_commander, no_answer, notice};
pub use failure::{Failure, FailureKind, LastFailure, MediaFault, Outcome, RunTally, SessionOutcome, foremost};
pub use known::{mask, mask_markdown, mask_value, masked, remember, scrub, scrub_value, use_patterns};
pub use mask::{MASKED, Mask, SHORTEST, each_text};
pub use patterns::{BUILT_IN, Patterns};
pub use secrets::{Secrets, is_secret_header, is_secret_key, is_secret_variable, userinfo};
