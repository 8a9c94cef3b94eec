//! What this process hides. Log lines and panics come from everywhere, also from libraries, so there is one list for the process; it
//! only grows: a secret that was replaced by a reload may still stand in an error that is on its way.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{LazyLock, PoisonError, RwLock};

use serde_json::Value;

use super::mask::{MASKED, MASKED_IN_MARKDOWN, Mask, SHORTEST, each_text};
use super::patterns::{BUILT_IN, Patterns};

struct Known {
    secrets: BTreeSet<String>,
    mask: Mask,
    patterns: Patterns,
}

static KNOWN: LazyLock<RwLock<Known>> = LazyLock::new(|| {
    RwLock::new(Known {
        secrets: BTreeSet::new(),
        mask: Mask::default(),
        patterns: Patterns::new(BUILT_IN.iter().copied()),
    })
});

/// Runs `work` with what is known. Nothing in here logs: it would come back here.
fn with<T>(work: impl FnOnce(&Known) -> T) -> T {
    work(&KNOWN.read().unwrap_or_else(PoisonError::into_inner))
}

/// Hides these texts from now on, as long as the process lives. Those of fewer than [`SHORTEST`] characters are left out.
pub fn remember<'a>(secrets: impl IntoIterator<Item = &'a str>) {
    let mut new: BTreeSet<&str> =
        secrets.into_iter().map(str::trim).filter(|s| s.chars().count() >= SHORTEST && *s != MASKED).collect();
    with(|known| new.retain(|secret| !known.secrets.contains(*secret)));
    if new.is_empty() {
        return;
    }
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    known.secrets.extend(new.into_iter().map(str::to_owned));
    known.mask = Mask::new(known.secrets.iter().map(String::as_str));
}

/// Replaces what is hidden besides secrets in log lines, findings and the texts of errors.
pub fn use_patterns(patterns: Patterns) {
    KNOWN.write().unwrap_or_else(PoisonError::into_inner).patterns = patterns;
}

/// The text without secrets.
pub fn mask(text: &str) -> Cow<'_, str> {
    with(|known| known.mask.apply(text))
}

/// What a model wrote, without secrets; its markup stays what it is.
pub fn mask_markdown(text: &str) -> String {
    with(|known| known.mask.put(MASKED_IN_MARKDOWN, text).into_owned())
}

/// As [`mask`], for a text that is one's own.
pub fn masked(text: String) -> String {
    match mask(&text) {
        Cow::Owned(hidden) => hidden,
        Cow::Borrowed(_) => text,
    }
}

/// Hides secrets in every text of a value.
pub fn mask_value(value: &mut Value) {
    let mask = with(|known| known.mask.clone());
    mask.apply_to(value);
}

/// The text without secrets and without what the patterns of `logging` match.
pub fn scrub(text: &str) -> String {
    with(|known| known.patterns.apply(&known.mask.apply(text)).into_owned())
}

/// As [`scrub`], in every text of a value.
pub fn scrub_value(value: &mut Value) {
    each_text(value, &mut |text| *text = scrub(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_known_once_stays_hidden() {
        remember(["known-secret-one", "short"]);
        remember(["known-secret-two"]);
        assert_eq!(mask("known-secret-one known-secret-two short"), "*** *** short");
        assert_eq!(masked("plain".to_owned()), "plain");
        assert_eq!(mask_markdown("**known-secret-one**"), "**•••**");
        let mut value = serde_json::json!(["known-secret-one"]);
        mask_value(&mut value);
        assert_eq!(value, serde_json::json!(["***"]));
        assert_eq!(scrub("known-secret-two and Authorization: Basic abc="), "*** and Authorization: Basic ***");
    }
}
