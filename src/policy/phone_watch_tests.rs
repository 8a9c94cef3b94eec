use super::*;

/// 2026-11-01 00:00 UTC.
const T0: UnixMs = 1_793_491_200_000;

/// A phone that confirmed at `T0` and left unconfirmed what was sent an hour later.
fn silent() -> PhoneWatch {
    let mut watch = PhoneWatch::linked(T0 - DAY);
    watch.asked(T0);
    watch.saw(T0, true, T0);
    watch.asked(T0 + HOUR);
    watch
}

/// Looks every hour for so many days; the warnings with the hour they came in.
fn watched(watch: &mut PhoneWatch, from: UnixMs, days: i64) -> Vec<(i64, u8)> {
    let looks = (0..=days * 24).map(|hour| from + hour * HOUR);
    looks.filter_map(|now| watch.look(now).map(|w| ((now - T0) / DAY, w.days))).collect()
}

#[test]
fn the_owner_is_warned_once_each_after_7_10_and_13_days() {
    let mut watch = silent();
    assert_eq!(watched(&mut watch, T0 + 2 * HOUR, 20), [(7, 7), (10, 10), (13, 13)]);
    let shown = watch.shown(T0 + 8 * DAY);
    assert_eq!((shown.state, shown.silent_since), (PhoneState::Silent, Some(T0 + HOUR)));
    assert_eq!(shown.unlinked_at, Some(T0 + 14 * DAY));
    assert_eq!(
        shown.warning.as_deref(),
        Some(
            "the phone has not been seen for 7 days (last on 2026-11-01); WhatsApp unlinks this device from 2026-11-15 on"
        )
    );
    let late = watch.shown(T0 + 15 * DAY).warning.unwrap_or_default();
    assert!(late.ends_with("WhatsApp may unlink this device at any moment"), "{late}");
}

#[test]
fn a_sign_of_life_ends_the_warning_and_the_next_silence_is_warned_of_anew() {
    let mut watch = silent();
    assert_eq!(watched(&mut watch, T0 + 2 * HOUR, 8), [(7, 7)]);
    let back = T0 + 9 * DAY;
    watch.saw(back, false, back);
    assert_eq!(watch.shown(back).state, PhoneState::Seen);
    assert_eq!(watch.shown(back).warning, None);
    watch.asked(back + HOUR);
    watch.disconnected();
    assert_eq!(watched(&mut watch, back + 2 * HOUR, 8), [(16, 7)]);
}

#[test]
fn a_confirmation_counts_that_is_heard_of_before_the_message_it_is_for() {
    let mut watch = PhoneWatch::linked(T0 - DAY);
    watch.saw(T0, true, T0);
    watch.asked(T0);
    assert_eq!(watch.shown(T0 + 8 * DAY).state, PhoneState::Unknown);
    assert_eq!(watched(&mut watch, T0 + HOUR, 20), []);
    // Seen at a time that has not come yet, by a clock that was wrong, is no confirmation.
    let mut wrong = PhoneWatch::linked(T0 - DAY);
    wrong.saw(T0 + 30 * DAY, true, T0 + 30 * DAY);
    wrong.asked(T0);
    assert_eq!(wrong.shown(T0 + 2 * HOUR).state, PhoneState::Silent);
}

#[test]
fn nobody_is_warned_of_a_phone_that_had_nothing_to_confirm() {
    let mut quiet = PhoneWatch::linked(T0);
    quiet.saw(T0, true, T0);
    assert_eq!(watched(&mut quiet, T0, 40), []);
    let shown = quiet.shown(T0 + 40 * DAY);
    assert_eq!((shown.state, shown.last_seen_at, shown.unlinked_at), (PhoneState::Unknown, Some(T0), None));
    // Nor of one that has never confirmed anything: it may be one that does not.
    let mut mute = PhoneWatch::linked(T0);
    mute.asked(T0 + HOUR);
    assert_eq!(watched(&mut mute, T0 + 2 * HOUR, 40), []);
    assert_eq!(mute.shown(T0 + 40 * DAY).state, PhoneState::Unknown);
    // Nor within the hour in which a phone without signal may still confirm.
    let mut quick = silent();
    quick.asked = Some(T0 + 8 * DAY);
    assert_eq!(quick.look(T0 + 8 * DAY + PATIENCE - 1), None);
}

#[test]
fn a_quiet_account_that_writes_again_is_warned_with_a_date_that_can_be_true() {
    let mut watch = PhoneWatch::linked(T0);
    watch.saw(T0, true, T0);
    // The link works after 40 days, so the phone was there meanwhile.
    let asked = T0 + 40 * DAY;
    watch.asked(asked);
    let warning = watch.look(asked + 2 * HOUR).expect("it did not confirm");
    assert_eq!((warning.days, warning.unlinked_at), (13, asked));
}

#[test]
fn a_restart_neither_repeats_nor_forgets_a_warning() {
    let mut watch = silent();
    assert_eq!(watched(&mut watch, T0 + 2 * HOUR, 8), [(7, 7)]);
    let stored = serde_json::to_string(&watch.to_store(None, T0 + 8 * DAY)).unwrap();
    let mut again: PhoneWatch = serde_json::from_str(&stored).unwrap();
    assert_eq!(again.look(T0 + 8 * DAY + HOUR), None, "given before");
    assert_eq!(
        again.look(T0 + 11 * DAY).map(|w| w.days),
        None,
        "a look that comes days late means that the clock was set"
    );
    let mut again: PhoneWatch = serde_json::from_str(&stored).unwrap();
    assert_eq!(again.look(T0 + 11 * DAY).map(|w| w.days), Some(10), "the process was down for days");
}

#[test]
fn what_the_phone_said_while_the_gateway_was_away_counts() {
    let mut watch = silent();
    watch.disconnected();
    // Delivered at the login, with its own time.
    watch.saw(T0 + 5 * DAY, true, T0 + 9 * DAY);
    assert_eq!(watch.look(T0 + 9 * DAY), None);
    assert_eq!(watch.shown(T0 + 9 * DAY).last_seen_at, Some(T0 + 5 * DAY));
    // An older word does not excuse a later silence.
    let mut watch = silent();
    watch.asked = Some(T0 + 2 * DAY);
    watch.saw(T0 + DAY, false, T0 + 9 * DAY);
    assert_eq!(watch.look(T0 + 9 * DAY).map(|w| w.days), Some(7));
}

#[test]
fn a_clock_that_is_set_warns_of_nothing() {
    let mut watch = silent();
    assert_eq!(watch.look(T0 + 2 * HOUR), None);
    assert_eq!(watch.look(T0 + 400 * DAY), None, "an hour later by any other clock");
    assert_eq!(watch.shown(T0 + 400 * DAY).state, PhoneState::Unknown);
    // A sign from a time that lay ahead does not hide what comes after the clock was put right.
    watch.saw(T0 + 400 * DAY, true, T0 + 400 * DAY);
    watch.saw(T0 + DAY, true, T0 + DAY);
    assert_eq!(watch.shown(T0 + DAY).last_seen_at, Some(T0 + DAY));
    watch.asked(T0 + DAY + HOUR);
    watch.disconnected();
    assert_eq!(watched(&mut watch, T0 + DAY + 2 * HOUR, 8), [(8, 7)]);
}

#[test]
fn it_is_written_down_at_most_once_an_hour_unless_something_changed() {
    let mut watch = PhoneWatch::default();
    assert_eq!(watch.to_store(None, T0), None, "nothing is known");
    watch.saw(T0, true, T0);
    let stored = watch.to_store(None, T0).expect("the first sign");
    watch.asked(T0 + MINUTE);
    assert_eq!(watch.to_store(Some((&stored, T0)), T0 + 2 * MINUTE), None, "the confirmation may be under way");
    watch.saw(T0 + 2 * MINUTE, true, T0 + 2 * MINUTE);
    assert_eq!(watch.to_store(Some((&stored, T0)), T0 + 3 * MINUTE), None);
    assert!(watch.to_store(Some((&stored, T0)), T0 + WRITE_EVERY).is_some());
    watch.asked(T0 + 4 * MINUTE);
    let unconfirmed = watch.to_store(Some((&stored, T0)), T0 + 4 * MINUTE + IN_FLIGHT).expect("it did not confirm");
    watch.saw(T0 + 20 * MINUTE, true, T0 + 20 * MINUTE);
    let cleared = watch.to_store(Some((&unconfirmed, T0 + 15 * MINUTE)), T0 + 20 * MINUTE);
    assert!(cleared.is_some(), "at once: after a crash it would be blamed for what it confirmed");
}
