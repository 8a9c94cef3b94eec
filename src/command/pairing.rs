//! `/pairing [list] | approve <code> | deny <code>`: reading the command.

/// What `/pairing` is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairingCommand {
    /// Show who waits.
    List,
    /// Let somebody in or not.
    Decide {
        /// The code of the request, as typed.
        code: String,
        /// Let in.
        approve: bool,
    },
    /// It is no such command.
    Usage,
}

/// Reads what follows `/pairing`.
pub fn parse(rest: &str) -> PairingCommand {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let decide = |code: &str, approve| PairingCommand::Decide { code: code.to_owned(), approve };
    match words.as_slice() {
        [] => PairingCommand::List,
        [action] if action.eq_ignore_ascii_case("list") => PairingCommand::List,
        [action, code] if action.eq_ignore_ascii_case("approve") => decide(code, true),
        [action, code] if action.eq_ignore_ascii_case("deny") => decide(code, false),
        _ => PairingCommand::Usage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions() {
        let decide = |approve| PairingCommand::Decide { code: "abcd2345".to_owned(), approve };
        for (rest, want) in [
            ("", PairingCommand::List),
            (" List", PairingCommand::List),
            ("approve abcd2345", decide(true)),
            ("DENY  abcd2345 ", decide(false)),
            ("approve", PairingCommand::Usage),
            ("approve a b", PairingCommand::Usage),
            ("accept abcd2345", PairingCommand::Usage),
        ] {
            assert_eq!(parse(rest), want, "{rest:?}");
        }
    }
}
