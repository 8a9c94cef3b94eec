//! Which session a received file belongs to: its name says so (behaviour.md 24.1).
//!
//! ```text
//! bc111964-e4d0-44a6-babf-06eadd8720e0.jpg
//! ^ the attachment   ^ the session's tag      together a UUID
//! ```
//! In names that older versions gave, the second half is no session's tag, so those files belong to none.

use sha2::{Digest, Sha256};

use crate::ids::SessionKey;

/// Characters of an attachment's half, without the dash after it.
const HALF: usize = 18;
/// Characters of a tag.
const TAG: usize = 17;

/// The first half of the name, of the hash of what identifies an attachment.
pub fn attachment(hash: &[u8]) -> String {
    uuid_of(hash, &[])[..HALF].to_owned()
}

/// The tag of a session's files. A main session that goes to another person has another one.
pub fn tag(session: &SessionKey, person: Option<&str>) -> String {
    let mut hash = Sha256::new();
    for part in [session.as_str(), person.unwrap_or_default()] {
        hash.update(part);
        hash.update([0]);
    }
    uuid_of(&[], &hash.finalize())[HALF + 1..].to_owned()
}

fn uuid_of(first: &[u8], second: &[u8]) -> String {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(first.iter().take(8)).for_each(|(to, from)| *to = *from);
    bytes[8..].iter_mut().zip(second).for_each(|(to, from)| *to = *from);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// The attachment's half of a file's name; for other names everything before the extension.
pub fn attachment_of(file: &str) -> &str {
    let stem = file.split('.').next().unwrap_or_default();
    stem.get(..HALF).unwrap_or(stem)
}

/// The tag in a file's name.
pub fn tag_of(file: &str) -> Option<&str> {
    let tag = file.split('.').next()?.get(HALF + 1..)?;
    (tag.len() == TAG).then_some(tag)
}

/// The name of a file: `extension` is without the dot and may be empty.
pub fn name(attachment: &str, tag: &str, extension: &str) -> String {
    if extension.is_empty() { format!("{attachment}-{tag}") } else { format!("{attachment}-{tag}.{extension}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_uuid_that_tells_its_session_and_nobody_elses() {
        let (ann, bob) = (SessionKey::new("agent:main:whatsapp:work:direct:+1"), SessionKey::new("agent:main:main"));
        let all = [tag(&ann, None), tag(&bob, None), tag(&bob, Some("+1")), tag(&bob, Some("+2"))];
        let attachment = attachment(&[7; 32]);
        for (n, one) in all.iter().enumerate() {
            assert!(!all[..n].contains(one));
            for extension in ["jpg", "tar.gz", ""] {
                let file = name(&attachment, one, extension);
                let stem = file.split('.').next().expect("a stem");
                assert_eq!(stem.parse::<uuid::Uuid>().expect("a UUID").get_version_num(), 4);
                assert_eq!((attachment_of(&file), tag_of(&file)), (attachment.as_str(), Some(one.as_str())));
            }
        }
        for other in ["6f6c.jpg", "6f6c", ".part-x", "é", "", "bc111964-e4d0-44a6-babf-06eadd8720e0x.jpg"] {
            assert_eq!(tag_of(other), None, "{other}");
        }
        assert_eq!((attachment_of("6f6c.jpg"), attachment_of("")), ("6f6c", ""));
    }
}
