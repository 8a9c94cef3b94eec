use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::config::model::ReconnectPolicy;
use crate::policy::web_version::BUILT_IN;

const T0: UnixMs = 1_767_225_600_000;

fn web() -> WebConfig {
    WebConfig {
        enabled: true,
        heartbeat: Duration::from_secs(60),
        reconnect: ReconnectPolicy {
            initial: Duration::from_secs(2),
            max: Duration::from_secs(30),
            factor: 1.8,
            jitter: 0.0,
            max_attempts: 3,
            slow_probe: Some(Duration::from_secs(300)),
        },
    }
}

/// Feeds inputs to a machine and returns the last actions.
fn feed(machine: &mut LinkMachine, inputs: impl IntoIterator<Item = Input>) -> Vec<Action> {
    let mut rng = StdRng::seed_from_u64(1);
    inputs.into_iter().map(|input| machine.on(input, &web(), T0, &mut rng)).last().unwrap_or_default()
}

fn down(reason: DownReason) -> Input {
    Input::Down { reason, lived: Duration::ZERO }
}

fn lost() -> Input {
    down(DownReason::Lost { detail: "reset".into() })
}

fn connected() -> LinkMachine {
    let mut machine = LinkMachine::default();
    feed(&mut machine, [Input::Enable { linked: true }, Input::CatchingUp { pending: Some(2) }, Input::Connected]);
    machine
}

#[test]
fn linking_a_phone_ends_connected() {
    let mut machine = LinkMachine::default();
    assert_eq!(feed(&mut machine, [Input::Enable { linked: false }]), []);
    assert_eq!(machine.state.code(), "not-linked");
    let link = Input::Link { method: LinkMethod::Qr, force: false };
    assert_eq!(feed(&mut machine, [link]), [Action::ShowCodes(LinkMethod::Qr)]);
    assert_eq!(feed(&mut machine, [Input::Paired, down(DownReason::RestartRequired)]), [Action::Resume]);
    assert_eq!(machine.state, AccountState::Connecting);
    feed(&mut machine, [Input::CatchingUp { pending: None }, Input::Connected]);
    assert_eq!(machine.state, AccountState::Connected { since: T0 });
}

#[test]
fn a_qr_nobody_scans_ends_and_a_line_that_breaks_gets_one_more_try() {
    let mut machine = LinkMachine::default();
    let link = Input::Link { method: LinkMethod::Code, force: false };
    feed(&mut machine, [Input::Enable { linked: false }, link]);
    assert_eq!(feed(&mut machine, [lost()]), [Action::ShowCodes(LinkMethod::Code)]);
    assert_eq!(feed(&mut machine, [lost()]), []);
    assert_eq!(machine.state.code(), "not-linked");
    assert!(machine.state.sentence(T0).contains("connection lost"));
    feed(&mut machine, [Input::Link { method: LinkMethod::Qr, force: false }]);
    assert_eq!(feed(&mut machine, [down(DownReason::QrExpired)]), []);
    assert_eq!(machine.state.code(), "not-linked");
}

#[test]
fn a_login_that_the_phone_cannot_finish_says_why() {
    let mut machine = LinkMachine::default();
    let link = Input::Link { method: LinkMethod::Qr, force: false };
    let failed = Input::CancelLink { cause: Some("a passkey is asked for".to_owned()) };
    assert_eq!(feed(&mut machine, [Input::Enable { linked: false }, link, failed]), [Action::Close]);
    assert_eq!(machine.state.sentence(T0), "not linked to a phone; the last login failed: a passkey is asked for");
}

#[test]
fn a_lost_connection_comes_back_by_timer_until_the_attempts_are_used_up() {
    let mut machine = connected();
    assert_eq!(feed(&mut machine, [lost()]), [Action::StartTimer(Duration::from_millis(2000))]);
    assert!(matches!(machine.state, AccountState::Backoff { attempt: 1, until, .. } if until == T0 + 2000));
    assert_eq!(feed(&mut machine, [Input::Timer]), [Action::Resume]);
    let open_failed = || down(DownReason::OpenFailed { detail: "no such host".into() });
    assert_eq!(feed(&mut machine, [open_failed()]), [Action::StartTimer(Duration::from_millis(3600))]);
    assert_eq!(feed(&mut machine, [Input::Timer, open_failed()]), [Action::StartTimer(Duration::from_secs(300))]);
    assert_eq!(machine.state.code(), "degraded");
    assert_eq!(feed(&mut machine, [Input::Timer]), [Action::Resume]);
    assert_eq!(feed(&mut machine, [open_failed()]), [Action::StartTimer(Duration::from_secs(300))]);
    assert_eq!(feed(&mut machine, [Input::Start { linked: true }]), [Action::CancelTimer, Action::Resume]);
    assert_eq!(machine.retry, Retry::default());
}

#[test]
fn what_needs_a_person_starts_no_timer_and_says_what_to_do() {
    let account = AccountId::new("work");
    for (reason, code, step) in [
        (DownReason::LoggedOut { message: None }, "logged-out", "login --channel whatsapp --account work"),
        (DownReason::Conflict, "conflict", "channels start --account work"),
        (DownReason::Banned { expires_in: Some(Duration::from_secs(3600)) }, "banned", "on the phone"),
        (DownReason::Rejected { code: 411 }, "rejected", "login --channel whatsapp --account work --force"),
        (DownReason::Locked { detail: "sealed with another key".into() }, "locked", "credentials.encryption"),
    ] {
        let mut machine = connected();
        assert_eq!(feed(&mut machine, [down(reason)]), []);
        assert_eq!(machine.state.code(), code);
        assert_eq!(feed(&mut machine, [Input::Timer]), [], "{code}: a stray timer");
        assert_eq!(machine.state.code(), code);
        let got = machine.state.next_step(&account).expect("a step");
        assert!(got.contains(step), "{code}: {got}");
    }
}

fn refused(renewal: Renewal) -> Input {
    Input::Refused { version: BUILT_IN, renewal }
}

fn unknown() -> Renewal {
    Renewal::Unknown { cause: "no route".to_owned() }
}

fn hourly(actions: &[Action]) -> bool {
    matches!(actions, [Action::StartTimer(after)] if (45 * 60..=75 * 60).contains(&after.as_secs()))
}

#[test]
fn a_refused_version_is_renewed_tried_once_at_once_and_then_hourly() {
    let mut machine = connected();
    assert_eq!(feed(&mut machine, [refused(Renewal::Changed)]), [Action::Resume]);
    assert_eq!(machine.state, AccountState::Connecting);
    assert!(hourly(&feed(&mut machine, [refused(Renewal::Changed)])), "a second new version waits");
    assert_eq!(machine.state.code(), "outdated");
    assert!(machine.state.wants_socket());
    assert_eq!(feed(&mut machine, [Input::Timer]), [Action::Resume]);
    assert_eq!(feed(&mut machine, [refused(Renewal::Changed)]), [Action::Resume], "each hour has its own try");
    feed(&mut machine, [Input::CatchingUp { pending: None }, Input::Connected]);
    assert_eq!(feed(&mut machine, [refused(Renewal::Changed)]), [Action::Resume], "a login sets it back");
    assert_eq!(machine.attempts(), 0, "no failure of the line");
}

#[test]
fn a_refusal_says_what_to_do_and_only_the_newest_version_asks_for_an_update() {
    let account = AccountId::new("work");
    for (renewal, said, step) in [
        (Renewal::Newest, "the newest version", "update Verso"),
        (Renewal::Pinned, "web.version pins", "remove web.version"),
        (unknown(), "could not be looked up: no route", "set web.version"),
    ] {
        let mut machine = connected();
        assert!(hourly(&feed(&mut machine, [refused(renewal.clone())])), "{renewal:?}");
        let sentence = machine.state.sentence(T0);
        assert!(
            sentence.contains(said) && sentence.contains("next try in ") && sentence.contains(&BUILT_IN.to_string()),
            "{sentence}"
        );
        let told = machine.state.next_step(&account).expect("a step");
        assert!(told.contains(step), "{told}");
        assert_eq!(told == "update Verso", renewal == Renewal::Newest);
        assert_eq!(feed(&mut machine, [Input::Start { linked: true }]), [Action::CancelTimer, Action::Resume]);
    }
}

#[test]
fn a_login_whose_version_is_refused_shows_codes_again_or_says_why_not() {
    let mut machine = LinkMachine::default();
    let link = || Input::Link { method: LinkMethod::Qr, force: false };
    feed(&mut machine, [Input::Enable { linked: false }, link()]);
    assert_eq!(feed(&mut machine, [refused(Renewal::Changed)]), [Action::ShowCodes(LinkMethod::Qr)]);
    assert_eq!(machine.state, AccountState::Linking { method: LinkMethod::Qr });
    assert_eq!(feed(&mut machine, [refused(Renewal::Newest)]), []);
    let sentence = machine.state.sentence(T0);
    assert!(sentence.contains("the last login failed") && sentence.ends_with("update Verso"), "{sentence}");
    assert_eq!(feed(&mut machine, [link()]), [Action::ShowCodes(LinkMethod::Qr)]);
    assert_eq!(
        feed(&mut machine, [refused(Renewal::Changed)]),
        [Action::ShowCodes(LinkMethod::Qr)],
        "a new login, a new try"
    );
}

#[test]
fn another_version_wakes_those_that_wait_for_one_and_touches_nobody_else() {
    let mut machine = connected();
    feed(&mut machine, [refused(Renewal::Pinned)]);
    let actions = feed(&mut machine, [Input::Renewed { at_once: false }]);
    assert!(
        matches!(actions[..], [Action::CancelTimer, Action::StartTimer(after)] if after < Duration::from_secs(60)),
        "{actions:?}"
    );
    assert_eq!(feed(&mut machine, [Input::Renewed { at_once: true }]), [Action::CancelTimer, Action::Resume]);
    for inputs in [vec![], vec![lost()], vec![Input::Stop], vec![down(DownReason::Conflict)], vec![Input::Disable]] {
        let mut machine = connected();
        feed(&mut machine, inputs);
        let before = machine.state.clone();
        for at_once in [true, false] {
            assert_eq!(feed(&mut machine, [Input::Renewed { at_once }]), [], "{before:?}");
        }
        assert_eq!(machine.state, before);
    }
}

#[test]
fn a_working_link_is_given_up_by_force_only() {
    let mut machine = connected();
    let link = |force| Input::Link { method: LinkMethod::Qr, force };
    assert_eq!(feed(&mut machine, [link(false)]), [Action::RefuseLink]);
    assert_eq!(machine.state.code(), "connected");
    assert_eq!(
        feed(&mut machine, [link(true)]),
        [Action::Close, Action::ClearCredentials, Action::ShowCodes(LinkMethod::Qr)]
    );
    let mut machine = connected();
    feed(&mut machine, [down(DownReason::LoggedOut { message: None })]);
    assert_eq!(feed(&mut machine, [link(false)]), [Action::ClearCredentials, Action::ShowCodes(LinkMethod::Qr)]);
}

#[test]
fn a_late_word_about_the_backlog_does_not_undo_connected() {
    let mut machine = connected();
    feed(&mut machine, [Input::CatchingUp { pending: Some(1) }]);
    assert_eq!(machine.state().code(), "connected");
}

#[test]
fn stop_disable_and_logout_end_socket_or_timer() {
    for (input, code) in [(Input::Stop, "stopped"), (Input::Disable, "disabled"), (Input::Unlinked, "not-linked")] {
        let mut machine = connected();
        assert_eq!(feed(&mut machine, [input.clone()]), [Action::Close]);
        assert_eq!(machine.state.code(), code);
        assert_eq!(feed(&mut machine, [lost(), Input::Connected]), [], "{code}: late words of the old socket");
        assert_eq!(machine.state.code(), code);
        let mut machine = connected();
        assert_eq!(feed(&mut machine, [lost(), input]), [Action::CancelTimer]);
    }
    let mut machine = connected();
    feed(&mut machine, [Input::Stop]);
    assert_eq!(feed(&mut machine, [Input::Enable { linked: true }]), [], "a reload does not undo a person's stop");
    assert_eq!(feed(&mut machine, [Input::Start { linked: true }]), [Action::Resume]);
}

#[test]
fn states_serialise_with_their_code() {
    let state = AccountState::Backoff { attempt: 2, until: 5, cause: "x".into() };
    let json = serde_json::to_value(&state).expect("json");
    assert_eq!(json["state"], state.code());
    assert_eq!(serde_json::from_value::<AccountState>(json).expect("back"), state);
}

fn any_input() -> impl Strategy<Value = Input> {
    let reason = prop_oneof![
        Just(DownReason::Stopped),
        Just(DownReason::RestartRequired),
        Just(DownReason::LoggedOut { message: None }),
        Just(DownReason::Conflict),
        Just(DownReason::Banned { expires_in: None }),
        Just(DownReason::RateLimited),
        Just(DownReason::Lost { detail: String::new() }),
        Just(DownReason::QrExpired),
        Just(DownReason::Internal { detail: String::new() }),
    ];
    prop_oneof![
        any::<bool>().prop_map(|linked| Input::Enable { linked }),
        Just(Input::Disable),
        any::<bool>().prop_map(|linked| Input::Start { linked }),
        Just(Input::Stop),
        any::<bool>().prop_map(|force| Input::Link { method: LinkMethod::Qr, force }),
        Just(Input::CancelLink { cause: None }),
        Just(Input::Unlinked),
        Just(Input::Relinked),
        Just(Input::Paired),
        Just(Input::CatchingUp { pending: None }),
        Just(Input::Connected),
        (reason, 0u64..200).prop_map(|(reason, s)| Input::Down { reason, lived: Duration::from_secs(s) }),
        prop_oneof![Just(Renewal::Changed), Just(Renewal::Newest), Just(Renewal::Pinned), Just(unknown())]
            .prop_map(refused),
        any::<bool>().prop_map(|at_once| Input::Renewed { at_once }),
        Just(Input::Timer),
    ]
}

proptest! {
    /// Whatever happens, the actions agree with the state: never two sockets, never two timers, none of both in a resting state.
    #[test]
    fn sockets_and_timers_match_the_state(inputs in proptest::collection::vec(any_input(), 0..60)) {
        let (mut machine, mut rng) = (LinkMachine::default(), StdRng::seed_from_u64(1));
        let (mut socket, mut timer) = (false, false);
        for input in inputs {
            if input == Input::Timer {
                if !timer { continue; }
                timer = false;
            }
            if matches!(input, Input::Down { .. } | Input::Refused { .. }) {
                if !socket { continue; }
                socket = false;
            }
            for action in machine.on(input.clone(), &web(), T0, &mut rng) {
                match action {
                    Action::Resume | Action::ShowCodes(_) => { prop_assert!(!socket, "second socket after {input:?}"); socket = true; }
                    Action::Close => { prop_assert!(socket); socket = false; }
                    Action::StartTimer(_) => { prop_assert!(!timer); timer = true; }
                    Action::CancelTimer => { prop_assert!(timer); timer = false; }
                    Action::ClearCredentials => prop_assert!(!socket, "credentials cleared under an open socket"),
                    Action::Adopt => prop_assert!(!socket, "a link replaced under an open socket"),
                    Action::RefuseLink => {}
                }
            }
            prop_assert_eq!(socket, machine.state.is_live(), "{:?} after {:?}", &machine.state, &input);
            let timed = matches!(machine.state, AccountState::Backoff { .. } | AccountState::Degraded { probe_at: Some(_), .. } | AccountState::Outdated { .. });
            prop_assert_eq!(timer, timed, "{:?} after {:?}", &machine.state, &input);
        }
    }
}
