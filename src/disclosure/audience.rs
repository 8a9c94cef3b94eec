//! What a chat is told of a failed run (behaviour.md 24.2).

use super::Failure;
use crate::config::model::{AllowList, CommandsConfig};
use crate::ids::{AgentId, MessageId};
use crate::policy::allowlist::{Person, named};

/// `messages.errorText` where nobody sets it.
pub const ERROR_TEXT: &str = "Sorry, I can't answer right now.";
/// Milliseconds between two of these texts in one chat.
pub const ERROR_TEXT_EVERY_MS: i64 = 10 * 60 * 1000;
/// Milliseconds between two notices of one kind of failure of one provider in the account's own chat.
pub const NOTICE_EVERY_MS: i64 = 60 * 60 * 1000;

/// Who reads the answer to the message whose run failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Somebody who commands Verso, in a direct chat.
    Commander,
    /// Anybody else, or a group.
    Contact,
}

/// True for those who are told causes: whom `commands.ownerAllowFrom` names; where that is not set, the first number of `allowFrom`.
/// `"*"` names nobody here.
pub fn is_commander(commands: &CommandsConfig, allow_from: &AllowList, person: &Person) -> bool {
    match (&commands.owner_allow_from, allow_from.numbers.first()) {
        (Some(list), _) => named(list, person).is_some(),
        (None, Some(first)) => {
            let first = AllowList { numbers: vec![first.clone()], ..AllowList::default() };
            named(&first, person).is_some()
        }
        (None, None) => {
            let first = AllowList { lids: allow_from.lids.iter().take(1).cloned().collect(), ..AllowList::default() };
            named(&first, person).is_some()
        }
    }
}

/// The answer to a message whose run failed; `None` = nothing is said. A contact's answer is not to be repeated within
/// [`ERROR_TEXT_EVERY_MS`].
pub fn no_answer(failure: &Failure, reader: Reader, error_text: &str) -> Option<String> {
    match reader {
        Reader::Commander => Some(format!("⚠️ No answer: {}.", failure.cause.trim_end_matches('.'))),
        Reader::Contact => Some(error_text.trim()).filter(|text| !text.is_empty()).map(str::to_owned),
    }
}

/// The notice in the account's own chat. It does not say who wrote.
pub fn notice(failure: &Failure, agent: &AgentId, id: &MessageId) -> String {
    format!(
        "Verso: agent {agent} could not answer a message: {}.\n\nMore: verso why {id}",
        failure.cause.trim_end_matches('.')
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disclosure::FailureKind;
    use crate::ids::E164;
    use crate::policy::allowlist::parse_list;

    fn commands(owners: Option<&[&str]>) -> CommandsConfig {
        CommandsConfig {
            config: false,
            debug: false,
            restart: false,
            text: true,
            use_access_groups: true,
            owner_allow_from: owners.map(|list| parse_list(list.iter().copied())),
        }
    }

    fn check(owners: Option<&[&str]>, allow_from: &[&str], wanted: &[&str]) {
        let (commands, allow_from) = (commands(owners), parse_list(allow_from.iter().copied()));
        let all = ["+15550000001", "+15550000002", "+15550000003"];
        let found: Vec<&str> = all
            .into_iter()
            .filter(|number| {
                let person = Person { number: E164::parse(number).ok(), lid: None };
                is_commander(&commands, &allow_from, &person)
            })
            .collect();
        assert_eq!(found, wanted);
        assert!(!is_commander(&commands, &allow_from, &Person::default()), "nobody knows who it is");
    }

    #[test]
    fn causes_are_for_owners_else_for_the_first_number() {
        check(None, &["+15550000001", "+15550000002"], &["+15550000001"]);
        check(None, &["*", "+15550000002", "+15550000001"], &["+15550000002"]);
        check(None, &["*"], &[]);
        check(None, &[], &[]);
        check(Some(&["+15550000002", "+15550000003"]), &["+15550000001"], &["+15550000002", "+15550000003"]);
        check(Some(&["*"]), &["+15550000001"], &[]);
        check(Some(&[]), &["+15550000001"], &[]);
    }

    #[test]
    fn a_contact_reads_the_error_text_and_nothing_else() {
        let failure = Failure::new(FailureKind::Unreachable, "stub", "the model at http://10.0.0.5 cannot be reached");
        let said = no_answer(&failure, Reader::Contact, ERROR_TEXT).expect("a text");
        assert_eq!(said, ERROR_TEXT);
        assert_eq!(no_answer(&failure, Reader::Contact, " "), None);
        let said = no_answer(&failure, Reader::Commander, "").expect("a text");
        assert_eq!(said, "⚠️ No answer: the model at http://10.0.0.5 cannot be reached.");
        let told = notice(&failure, &AgentId::new("main"), &MessageId::new("3EB0"));
        assert!(told.contains("10.0.0.5") && told.ends_with("verso why 3EB0"));
    }
}
