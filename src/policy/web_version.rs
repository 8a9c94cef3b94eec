//! Which version of WhatsApp Web the accounts report, and what follows when WhatsApp refuses it (behaviour.md 24.17).
//!
//! ```text
//! web.version ─► pinned        otherwise the newest of: looked up in this process, kept on disk, built in
//! ```
//! A version that is found counts only when it is not older than the one at hand; a page that says nonsense changes nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::config::model::WebVersion;

/// The version of this release, the one of whatsapp-rust 0.7.0: what is reported until a newer one is known.
pub const BUILT_IN: WebVersion = WebVersion::of(1_035_194_821).expect("a possible revision");
/// When it was published: 2026-08-06.
const BUILT_IN_SINCE: UnixMs = 1_785_974_400_000;

/// A version that was looked up is asked for again after this.
pub const RENEW_AFTER: Duration = Duration::from_secs(24 * 3600);
/// A look-up that failed is repeated after this.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(15 * 60);

/// Where a version comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VersionSource {
    /// `web.version` names it.
    Pinned,
    /// This process asked WhatsApp.
    LookedUp,
    /// An earlier process asked WhatsApp.
    Cached,
    /// This release brought it along.
    BuiltIn,
}

impl VersionSource {
    /// The source in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Pinned => "pinned by web.version",
            Self::LookedUp => "looked up",
            Self::Cached => "kept from an earlier look-up",
            Self::BuiltIn => "built in",
        }
    }
}

/// The version that accounts report now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionInUse {
    /// The version.
    pub version: WebVersion,
    /// Where it comes from.
    pub source: VersionSource,
    /// When it was looked up or, if built in, published; `None` for a pinned one.
    pub since: Option<UnixMs>,
}

/// Why a version that was found is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the page names {found}, which is older than {known}")]
pub struct Older {
    found: WebVersion,
    known: WebVersion,
}

/// What is known about versions in one process.
#[derive(Clone, Debug, Default)]
pub struct WebVersions {
    pin: Option<WebVersion>,
    known: Option<Known>,
    /// The last one that WhatsApp refused.
    refused: Option<WebVersion>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    version: WebVersion,
    at: UnixMs,
    source: VersionSource,
}

impl WebVersions {
    /// What is known at the start: the pin, and what an earlier process found and when. What is older than the built-in one is
    /// forgotten.
    pub fn new(pin: Option<WebVersion>, cached: Option<(WebVersion, UnixMs)>) -> Self {
        let cached = cached.filter(|(version, _)| *version > BUILT_IN);
        let known = cached.map(|(version, at)| Known { version, at, source: VersionSource::Cached });
        Self { pin, known, refused: None }
    }

    /// Takes another `web.version`; true when the version in use is another one now.
    pub fn pin(&mut self, pin: Option<WebVersion>) -> bool {
        let before = self.in_use().version;
        self.pin = pin;
        self.in_use().version != before
    }

    /// The version to report.
    pub fn in_use(&self) -> VersionInUse {
        match (self.pin, self.known) {
            (Some(version), _) => VersionInUse { version, source: VersionSource::Pinned, since: None },
            (None, Some(known)) => VersionInUse { version: known.version, source: known.source, since: Some(known.at) },
            (None, None) => {
                VersionInUse { version: BUILT_IN, source: VersionSource::BuiltIn, since: Some(BUILT_IN_SINCE) }
            }
        }
    }

    /// The version that this process looked up last, and when; `None` when it has not.
    pub fn looked_up(&self) -> Option<(WebVersion, UnixMs)> {
        let known = self.known.filter(|known| known.source == VersionSource::LookedUp)?;
        Some((known.version, known.at))
    }

    /// Notes that WhatsApp refused a version.
    pub fn refused(&mut self, version: WebVersion) {
        self.refused = Some(version);
    }

    /// Takes a version that was looked up; true when it is not the one that was known before.
    ///
    /// # Errors
    /// When it is older than the one that is known. One that WhatsApp has refused meanwhile gives way to any that is not older than
    /// the built-in one: a wrong number must not stay for ever.
    pub fn found(&mut self, found: WebVersion, now: UnixMs) -> Result<bool, Older> {
        let known = self.known.map_or(BUILT_IN, |known| known.version);
        let floor = if self.refused == Some(known) { BUILT_IN } else { known.max(BUILT_IN) };
        if found < floor {
            return Err(Older { found, known: floor });
        }
        self.known = Some(Known { version: found, at: now, source: VersionSource::LookedUp });
        Ok(found != known)
    }
}

/// What a renewal after a refusal (405) came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Another version is in use now.
    Changed,
    /// WhatsApp's own page names the one that was refused.
    Newest,
    /// `web.version` pins the one that was refused.
    Pinned,
    /// The current one could not be looked up.
    Unknown {
        /// Why.
        cause: String,
    },
}

impl Renewal {
    /// The outcome for an account that reported `used`, given what is in use now and how the last look-up ended.
    pub fn of(used: WebVersion, now: &VersionInUse, looked_up: &Result<(), String>) -> Self {
        match looked_up {
            _ if now.version != used => Self::Changed,
            _ if now.source == VersionSource::Pinned => Self::Pinned,
            Ok(()) => Self::Newest,
            Err(cause) => Self::Unknown { cause: cause.clone() },
        }
    }
}

/// Whether it is time to look the version up again, given when that last succeeded and when it was last tried. A clock that was set
/// back counts as time that has passed.
pub fn is_due(now: UnixMs, succeeded: Option<UnixMs>, tried: Option<UnixMs>) -> bool {
    let passed = |at: Option<UnixMs>, limit: Duration| {
        at.is_none_or(|at| u128::from((now - at).unsigned_abs()) >= limit.as_millis() || at > now)
    };
    passed(succeeded, RENEW_AFTER) && passed(tried, TRY_AGAIN_AFTER)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T0: UnixMs = 1_790_000_000_000;

    fn version(above: u32) -> WebVersion {
        WebVersion::of(BUILT_IN.numbers().2 + above).expect("possible")
    }

    fn older(below: u32) -> WebVersion {
        WebVersion::of(BUILT_IN.numbers().2 - below).expect("possible")
    }

    #[test]
    fn the_pin_wins_then_what_was_found_then_what_is_built_in() {
        let shown = |versions: &WebVersions| {
            let VersionInUse { version, source, since } = versions.in_use();
            (version, source, since)
        };
        let mut versions = WebVersions::new(None, None);
        assert_eq!(shown(&versions), (BUILT_IN, VersionSource::BuiltIn, Some(BUILT_IN_SINCE)));
        versions = WebVersions::new(None, Some((version(5), T0)));
        assert_eq!(shown(&versions), (version(5), VersionSource::Cached, Some(T0)));
        assert_eq!(versions.found(version(9), T0 + 1), Ok(true));
        assert_eq!(shown(&versions), (version(9), VersionSource::LookedUp, Some(T0 + 1)));
        assert!(versions.pin(Some(older(1))), "an old pin is still what the owner wants");
        assert_eq!(shown(&versions), (older(1), VersionSource::Pinned, None));
        assert!(!versions.pin(Some(older(1))));
        assert!(versions.pin(None));
        assert_eq!(shown(&versions), (version(9), VersionSource::LookedUp, Some(T0 + 1)));
    }

    #[test]
    fn an_older_version_is_never_taken() {
        let mut versions = WebVersions::new(None, Some((version(5), T0)));
        let refusal = versions.found(version(4), T0).expect_err("older");
        assert!(refusal.to_string().ends_with(&format!("older than {}", version(5))), "{refusal}");
        assert_eq!(versions.in_use().version, version(5));
        assert_eq!(versions.found(version(5), T0 + 7), Ok(false), "the same counts as renewed");
        assert_eq!(versions.in_use().since, Some(T0 + 7));
        let kept = WebVersions::new(None, Some((older(1), T0)));
        assert_eq!(kept.in_use().source, VersionSource::BuiltIn, "an update brought a newer one than the cache holds");
    }

    #[test]
    fn a_kept_version_that_whatsapp_refuses_gives_way_but_never_to_one_below_the_built_in() {
        let mut versions = WebVersions::new(None, Some((version(900), T0)));
        versions.refused(version(900));
        assert!(versions.found(older(1), T0).is_err());
        assert_eq!(versions.found(version(5), T0), Ok(true));
        assert_eq!(versions.in_use().version, version(5));
        assert!(versions.found(version(4), T0).is_err(), "this one was not refused");
        let mut versions = WebVersions::new(None, None);
        versions.refused(BUILT_IN);
        assert!(versions.found(older(1), T0).is_err());
    }

    #[test]
    fn a_refusal_is_told_by_what_the_look_up_gave() {
        let (found, failed) = (Ok(()), Err("no route".to_owned()));
        let pinned = WebVersions::new(Some(BUILT_IN), None).in_use();
        let built_in = WebVersions::new(None, None).in_use();
        let newer = WebVersions::new(None, Some((version(1), T0))).in_use();
        for (used, now, looked_up, wanted) in [
            (BUILT_IN, &newer, &found, Renewal::Changed),
            (BUILT_IN, &newer, &failed, Renewal::Changed),
            (version(1), &pinned, &found, Renewal::Changed),
            (BUILT_IN, &pinned, &found, Renewal::Pinned),
            (BUILT_IN, &built_in, &found, Renewal::Newest),
            (BUILT_IN, &built_in, &failed, Renewal::Unknown { cause: "no route".to_owned() }),
        ] {
            assert_eq!(Renewal::of(used, now, looked_up), wanted, "{used} {now:?} {looked_up:?}");
        }
    }

    #[test]
    fn a_look_up_is_due_daily_and_soon_after_one_that_failed() {
        let minute = 60_000;
        let day = 24 * 60 * minute;
        for (succeeded, tried, wanted) in [
            (None, None, true),
            (None, Some(T0 - 14 * minute), false),
            (None, Some(T0 - 15 * minute), true),
            (Some(T0 - day + 1), Some(T0 - day + 1), false),
            (Some(T0 - day), Some(T0 - day), true),
            (Some(T0 - 2 * day), Some(T0 - minute), false),
            (Some(T0 + day), Some(T0 + day), true),
        ] {
            assert_eq!(is_due(T0, succeeded, tried), wanted, "{succeeded:?} {tried:?}");
        }
    }

    proptest! {
        #[test]
        fn without_a_pin_no_page_lowers_the_version(pages in proptest::collection::vec(1..=i32::MAX.unsigned_abs(), 0..20)) {
            let mut versions = WebVersions::default();
            let mut highest = BUILT_IN;
            for page in pages {
                let _ = versions.found(WebVersion::of(page).expect("possible"), T0);
                prop_assert!(versions.in_use().version >= highest);
                highest = versions.in_use().version;
            }
        }
    }
}
