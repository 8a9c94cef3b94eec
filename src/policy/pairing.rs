//! Pairing requests of one account: a stranger asks, the owner approves or denies by code (behaviour.md 8.2).
//!
//! ```text
//! stranger writes ──► request ──► New{code}   (the text with the code is sent once)
//!                        ├──────► Refreshed   (asked again: same code, nothing is sent)
//!                        └──────► Full        (three others wait: nothing is kept or sent)
//! owner ── approve(code) ──► the record leaves the book; the caller adds its id to the approved store
//!       └─ deny(code) ─────► the record leaves the book
//! one hour after its creation a record is gone by itself
//! ```

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::ids::AccountId;

/// Characters of a code: no 0, O, 1 or I, which people mix up.
pub const CODE_ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Length of a code.
pub const CODE_LENGTH: usize = 8;
/// How long a request stands; strictly older ones are gone.
pub const REQUEST_TTL_MS: i64 = 3_600_000;
/// Most requests that wait at the same time, per account.
pub const MAX_PENDING: usize = 3;
/// A message that is older than the connection by more than this never triggers pairing.
pub const HISTORY_GRACE_MS: i64 = 30_000;

/// One waiting request, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PairingRecord {
    /// Who asks: E.164, or `<digits>@lid` when the number is unknown.
    pub id: String,
    /// The code, upper case.
    pub code: String,
    /// First request.
    pub created_at: UnixMs,
    /// Latest request.
    pub last_seen_at: UnixMs,
    /// The name that the sender gave itself.
    pub name: Option<String>,
    /// The account that was written to.
    pub account: AccountId,
}

/// What a request led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requested {
    /// A new request: the sender gets the text with this code, unless the account is silent to strangers.
    New {
        /// The code.
        code: String,
    },
    /// The sender asked before: code and creation time stay, nothing is sent.
    Refreshed {
        /// The code of the first request.
        code: String,
    },
    /// [`MAX_PENDING`] others wait: nothing is kept, nothing is sent.
    Full,
}

/// The waiting requests of one account.
#[derive(Clone, Debug)]
pub struct PairingBook {
    account: AccountId,
    pending: Vec<PairingRecord>,
}

impl PairingBook {
    /// An empty book.
    pub fn new(account: AccountId) -> Self {
        Self { account, pending: Vec::new() }
    }

    /// The book as it was stored; expired records and records of other accounts are left out, and of too many the most recently seen stay.
    pub fn load(account: AccountId, records: impl IntoIterator<Item = PairingRecord>, now: UnixMs) -> Self {
        let mut pending: Vec<PairingRecord> =
            records.into_iter().filter(|r| r.account == account && !expired(r, now)).collect();
        while pending.len() > MAX_PENDING {
            let oldest =
                (0..pending.len()).min_by_key(|&i| pending[i].last_seen_at).expect("more than MAX_PENDING records");
            pending.remove(oldest);
        }
        Self { account, pending }
    }

    /// The records to store, oldest first.
    pub fn records(&self) -> &[PairingRecord] {
        &self.pending
    }

    /// The account that this book belongs to.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// Records that somebody asks to be let in.
    pub fn request(&mut self, id: &str, name: Option<&str>, now: UnixMs, rng: &mut impl rand::Rng) -> Requested {
        self.expire(now);
        let name = name.map(str::trim).filter(|name| !name.is_empty());
        if let Some(known) = self.pending.iter_mut().find(|r| r.id == id) {
            known.last_seen_at = now;
            if let Some(name) = name {
                known.name = Some(name.to_owned());
            }
            return Requested::Refreshed { code: known.code.clone() };
        }
        if self.pending.len() >= MAX_PENDING {
            return Requested::Full;
        }
        let code = self.fresh_code(rng);
        self.pending.push(PairingRecord {
            id: id.to_owned(),
            code: code.clone(),
            created_at: now,
            last_seen_at: now,
            name: name.map(str::to_owned),
            account: self.account.clone(),
        });
        Requested::New { code }
    }

    /// Takes the request with this code (any case, blanks around it ignored) out of the book; its id may write from now on.
    ///
    /// `None`: no such request waits, or it expired.
    pub fn approve(&mut self, code: &str, now: UnixMs) -> Option<PairingRecord> {
        self.take(code, now)
    }

    /// Takes the request with this code out of the book; the sender may ask again.
    pub fn deny(&mut self, code: &str, now: UnixMs) -> Option<PairingRecord> {
        self.take(code, now)
    }

    /// The waiting requests, oldest first.
    pub fn list(&self, now: UnixMs) -> Vec<&PairingRecord> {
        self.pending.iter().filter(|r| !expired(r, now)).collect()
    }

    /// Takes out what expired and returns it.
    pub fn expire(&mut self, now: UnixMs) -> Vec<PairingRecord> {
        self.pending.extract_if(.., |r| expired(r, now)).collect()
    }

    fn take(&mut self, code: &str, now: UnixMs) -> Option<PairingRecord> {
        self.expire(now);
        let at = self.pending.iter().position(|r| r.code.eq_ignore_ascii_case(code.trim()))?;
        Some(self.pending.remove(at))
    }

    fn fresh_code(&self, rng: &mut impl rand::Rng) -> String {
        let first = random_code(rng);
        if !self.has_code(&first) {
            return first;
        }
        let again = random_code(rng);
        if !self.has_code(&again) {
            return again;
        }
        // A generator that repeats itself (only a broken one does) must not hang the gateway: count on from its code.
        let mut digits: Vec<usize> =
            again.bytes().map(|b| CODE_ALPHABET.iter().position(|&c| c == b).unwrap_or(0)).collect();
        loop {
            for digit in digits.iter_mut().rev() {
                *digit = (*digit + 1) % CODE_ALPHABET.len();
                if *digit != 0 {
                    break;
                }
            }
            let code: String = digits.iter().map(|&d| char::from(CODE_ALPHABET[d])).collect();
            if !self.has_code(&code) {
                return code;
            }
        }
    }

    fn has_code(&self, code: &str) -> bool {
        self.pending.iter().any(|r| r.code == code)
    }
}

fn expired(record: &PairingRecord, now: UnixMs) -> bool {
    // A creation time far in the future comes from a clock that was wrong; such a record must not stand for ever.
    now.saturating_sub(record.created_at) > REQUEST_TTL_MS || record.created_at.saturating_sub(now) > REQUEST_TTL_MS
}

/// One code from the given generator, which must be cryptographically secure outside tests.
pub fn random_code(rng: &mut impl rand::Rng) -> String {
    (0..CODE_LENGTH).map(|_| char::from(CODE_ALPHABET[rng.random_range(0..CODE_ALPHABET.len())])).collect()
}

/// What a stranger is told, once per request. `id` is an E.164 number or `<digits>@lid`.
pub fn pairing_text(id: &str, code: &str) -> String {
    let label = if id.contains('@') { "Your WhatsApp id" } else { "Your WhatsApp phone number" };
    format!(
        "Verso: access not configured.\n\n{label}: {id}\n\nPairing code: {code}\n\nAsk the bot owner to approve with:\nverso pairing approve whatsapp <code>"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const T0: UnixMs = 1_767_225_600_000;

    fn book() -> (PairingBook, StdRng) {
        (PairingBook::new(AccountId::new("work")), StdRng::seed_from_u64(7))
    }

    fn code(requested: Requested) -> String {
        match requested {
            Requested::New { code } | Requested::Refreshed { code } => code,
            Requested::Full => panic!("the book is full"),
        }
    }

    #[test]
    fn a_blank_name_is_none() {
        let (mut book, mut rng) = book();
        book.request("+1", Some("  "), T0, &mut rng);
        assert_eq!(book.list(T0)[0].name, None);
        book.request("+1", Some(" Ann "), T0, &mut rng);
        book.request("+1", Some(""), T0, &mut rng);
        assert_eq!(book.list(T0)[0].name.as_deref(), Some("Ann"));
    }

    #[test]
    fn asking_again_keeps_code_and_creation_and_updates_the_name() {
        let (mut book, mut rng) = book();
        let first = code(book.request("+1", Some("Ann"), T0, &mut rng));
        let again = book.request("+1", Some("Anna"), T0 + 5, &mut rng);
        assert_eq!(again, Requested::Refreshed { code: first });
        let record = book.list(T0 + 5)[0].clone();
        assert_eq!((record.created_at, record.last_seen_at, record.name.as_deref()), (T0, T0 + 5, Some("Anna")));
        book.request("+1", None, T0 + 6, &mut rng);
        assert_eq!(book.list(T0 + 6)[0].name.as_deref(), Some("Anna"), "a nameless message does not erase the name");
    }

    #[test]
    fn a_request_stands_one_hour_and_no_longer() {
        let (mut book, mut rng) = book();
        let code = code(book.request("+1", None, T0, &mut rng));
        assert_eq!(book.list(T0 + REQUEST_TTL_MS).len(), 1, "exactly one hour is not expired");
        assert_eq!(book.list(T0 + REQUEST_TTL_MS + 1).len(), 0);
        assert_eq!(book.approve(&code, T0 + REQUEST_TTL_MS + 1), None, "an expired code approves nobody");
        assert!(matches!(book.request("+1", None, T0 + REQUEST_TTL_MS + 1, &mut rng), Requested::New { .. }));
    }

    #[test]
    fn three_wait_and_the_fourth_gets_nothing_until_one_leaves() {
        let (mut book, mut rng) = book();
        let first = code(book.request("+1", None, T0, &mut rng));
        book.request("+2", None, T0, &mut rng);
        book.request("+3", None, T0, &mut rng);
        assert_eq!(book.request("+4", None, T0, &mut rng), Requested::Full);
        assert!(matches!(book.request("+2", None, T0, &mut rng), Requested::Refreshed { .. }));
        assert_eq!(book.deny(&first.to_lowercase(), T0).map(|r| r.id), Some("+1".to_owned()));
        assert!(matches!(book.request("+4", None, T0, &mut rng), Requested::New { .. }));
    }

    #[test]
    fn codes_are_taken_once_in_any_case() {
        let (mut book, mut rng) = book();
        let code = code(book.request("+1", None, T0, &mut rng));
        assert_eq!(book.approve(&format!(" {} ", code.to_lowercase()), T0).map(|r| r.id), Some("+1".to_owned()));
        assert_eq!(book.approve(&code, T0), None);
    }

    #[test]
    fn loading_drops_the_expired_the_foreign_and_the_surplus() {
        let (mut old, mut rng) = book();
        for id in ["+1", "+2", "+3"] {
            old.request(id, None, T0, &mut rng);
        }
        let mut records = old.records().to_vec();
        records.push(PairingRecord {
            id: "+4".into(),
            code: "AAAAAAAA".into(),
            last_seen_at: T0 + 9,
            ..records[0].clone()
        });
        records.push(PairingRecord { account: AccountId::new("other"), ..records[0].clone() });
        let book = PairingBook::load(AccountId::new("work"), records.clone(), T0 + 10);
        let ids: Vec<&str> = book.list(T0 + 10).iter().map(|r| r.id.as_str()).collect();
        assert_eq!(ids, ["+2", "+3", "+4"]);
        assert!(PairingBook::load(AccountId::new("work"), records, T0 + REQUEST_TTL_MS + 1).records().is_empty());
    }

    #[test]
    fn a_generator_that_repeats_itself_still_gives_different_codes() {
        let mut book = PairingBook::new(AccountId::new("work"));
        let mut codes: Vec<String> = ["+1", "+2", "+3"]
            .iter()
            .map(|id| code(book.request(id, None, T0, &mut StdRng::seed_from_u64(1))))
            .collect();
        codes.dedup();
        assert_eq!(codes.len(), 3);
    }

    #[test]
    fn the_text_names_number_or_id() {
        assert_eq!(
            pairing_text("+15551234567", "ABCDEFGH"),
            "Verso: access not configured.\n\nYour WhatsApp phone number: +15551234567\n\nPairing code: ABCDEFGH\n\nAsk the bot owner to approve with:\nverso pairing approve whatsapp <code>"
        );
        assert!(pairing_text("77@lid", "ABCDEFGH").contains("\n\nYour WhatsApp id: 77@lid\n\n"));
    }

    proptest! {
        #[test]
        fn never_over_three_and_codes_unique(steps in proptest::collection::vec((0u8..8, 0u8..4, 0i64..4_000_000), 1..60), seed: u64) {
            let mut book = PairingBook::new(AccountId::new("a"));
            let mut rng = StdRng::seed_from_u64(seed);
            let mut now = T0;
            for (who, what, wait) in steps {
                now += wait;
                match what {
                    0 => { if let Some(code) = book.list(now).first().map(|r| r.code.clone()) { book.approve(&code, now); } }
                    1 => { book.expire(now); }
                    _ => { book.request(&format!("+{who}"), None, now, &mut rng); }
                }
                let listed = book.list(now);
                prop_assert!(listed.len() <= MAX_PENDING && book.records().len() <= MAX_PENDING);
                for (i, record) in listed.iter().enumerate() {
                    prop_assert!(record.code.len() == CODE_LENGTH && record.code.bytes().all(|b| CODE_ALPHABET.contains(&b)));
                    prop_assert!(listed[..i].iter().all(|other| other.code != record.code && other.id != record.id));
                }
            }
        }
    }
}
