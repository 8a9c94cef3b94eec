//! Questions to the person at the terminal.

use std::io::{self, IsTerminal, Write};

/// True when somebody can be asked.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks; anything but yes is no.
pub(super) fn confirm(question: &str) -> bool {
    let mut err = io::stderr();
    drop(write!(err, "{question} [y/N] "));
    drop(err.flush());
    let mut line = String::new();
    io::stdin().read_line(&mut line).is_ok() && is_yes(&line)
}

fn is_yes(line: &str) -> bool {
    matches!(line.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::is_yes;

    #[test]
    fn only_a_yes_is_one() {
        assert!(["y", "Y\n", " yes \n"].into_iter().all(is_yes));
        assert!(!["", "\n", "n", "no", "ye", "yes please"].into_iter().any(is_yes));
    }
}
