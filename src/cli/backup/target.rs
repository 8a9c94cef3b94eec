//! What lies where a backup is to be restored: is any of it newer than the backup, or not in it at all?

use std::path::Path;

use super::{Place, is_of_a_link, link_folders};
use crate::config::Config;
use crate::ids::AccountId;
use crate::store::StoreError;
use crate::store::backup::collect::Found;
use crate::store::backup::manifest::{LinkEntry, Manifest, STATE_DB};
use crate::store::backup::read::Contents;
use crate::store::journal::copy;
use crate::whatsapp::snapshot::{self, Look};

/// So many files are named.
const NAMED: usize = 3;

/// Why the present state is not to be replaced unasked; empty when the backup holds all of it. `staged` is the unpacked archive; `only`
/// are the accounts whose links alone are replaced.
pub(super) fn objections(
    place: &Place,
    config: Option<&Config>,
    contents: &Contents,
    staged: &Path,
    only: Option<&[AccountId]>,
) -> Vec<String> {
    let mut found = Vec::new();
    for (account, dir) in link_folders(place, config) {
        if only.is_some_and(|only| !only.contains(&account)) {
            continue;
        }
        match snapshot::look(&dir) {
            Ok(None) => {}
            Ok(Some(look)) => found.extend(of_link(&contents.manifest, &account, &look)),
            Err(error) => found.push(format!("the link of account {account} cannot be read: {error}")),
        }
    }
    if only.is_none() {
        match of_journal(&place.paths.state_db(), &contents.manifest, staged) {
            Ok(objection) => found.extend(objection),
            Err(error) => found.push(error.to_string()),
        }
        match of_files(place, contents) {
            Ok(objection) => found.extend(objection),
            Err(error) => found.push(error.to_string()),
        }
    }
    found
}

fn of_link(manifest: &Manifest, account: &AccountId, look: &Look) -> Option<String> {
    let jid = look.identity.as_ref().map(|i| i.jid.to_string());
    let present =
        LinkEntry { account: account.clone(), jid: jid.clone(), epoch: look.epoch, auth_dir: None, data_key: None };
    let number = super::who(&present);
    let Some(backed_up) = manifest.links.iter().find(|link| link.account == *account) else {
        return Some(format!("account {account} is linked to {number}, and the backup has no link of it"));
    };
    if jid.is_some() && backed_up.jid.is_some() && jid != backed_up.jid {
        return Some(format!(
            "account {account} is another device ({number}) than in the backup ({})",
            super::who(backed_up)
        ));
    }
    (look.epoch > backed_up.epoch)
        .then(|| format!("the link of account {account} ({number}) was used after the backup was made"))
}

fn of_journal(present: &Path, manifest: &Manifest, staged: &Path) -> Result<Option<String>, StoreError> {
    if !present.is_file() {
        return Ok(None);
    }
    let mine = copy::entry(present)?;
    let theirs = manifest.journal.unwrap_or_default();
    let newer = (mine.inbound - theirs.inbound).max(0) + (mine.outbox - theirs.outbox).max(0);
    if newer > 0 {
        return Ok(Some(format!("the journal has {newer} messages that came or went after the backup was made")));
    }
    let backup = staged.join(STATE_DB);
    if (mine.inbound > 0 || mine.outbox > 0) && !copy::is_contained(present, &backup)? {
        return Ok(Some("the journal is of another gateway: the backup does not have its messages".to_owned()));
    }
    Ok(None)
}

/// Files of people and agents that the backup does not have.
fn of_files(place: &Place, contents: &Contents) -> Result<Option<String>, StoreError> {
    let mut present = Found::default();
    let credentials = place.paths.credentials();
    present.walk(&place.paths.root().join("agents"), "agents", &|_| false)?;
    present.walk(credentials, "credentials", &|path| {
        path.parent() == Some(credentials) && (path.ends_with("whatsapp") || is_of_a_link(path))
    })?;
    let known: std::collections::HashSet<&str> = contents.members.iter().map(|m| m.path.as_str()).collect();
    let strange: Vec<&str> =
        present.files.iter().map(|(member, _)| member.as_str()).filter(|member| !known.contains(member)).collect();
    let more = strange.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let named = strange.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    Ok((!strange.is_empty()).then(|| format!("the backup does not have {named}{more}")))
}
