//! When "typing" is shown (behaviour.md 11).

use crate::config::model::TypingMode;
use crate::policy::decision::ChatKind;

/// The configured mode; else at once where the agent was spoken to, and with the first text where it was not.
pub fn mode(configured: Option<TypingMode>, chat: ChatKind, mentioned: bool, heartbeat: bool) -> TypingMode {
    match configured {
        _ if heartbeat => TypingMode::Never,
        Some(mode) => mode,
        None if chat == ChatKind::Direct || mentioned => TypingMode::Instant,
        None => TypingMode::Message,
    }
}
