//! `kill -9` at random moments under two-way traffic: every admitted message is answered, none twice, and in order per chat.

use std::collections::HashSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wa_simulator::{Phone, World};

use crate::process::{Process, link_by_code, state};

/// Kills in the run of the tests; `VERSO_CRASH_KILLS` asks for more, `VERSO_CRASH_SEED` for another course.
const KILLS: u64 = 10;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// What a contact's phone shows of an account, in order of arrival, with the message ids. A part whose ack was cut off by the kill is
/// sent again with the same id, and a phone shows one id once.
fn shown(contact: &Phone, account: &Phone) -> Vec<(String, String)> {
    let from = account.number();
    let mut seen = HashSet::new();
    let texts = contact.inbox().into_iter().filter(|r| r.from == from && !r.text.is_empty());
    texts.filter(|r| seen.insert(r.id.clone())).map(|r| (r.id, r.text)).collect()
}

fn answers(contact: &Phone, account: &Phone) -> Vec<String> {
    shown(contact, account).into_iter().map(|(_, text)| text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_answered_twice_however_often_it_is_killed() {
    let (seed, kills) = (from_env("VERSO_CRASH_SEED", 20_261_121), from_env("VERSO_CRASH_KILLS", KILLS));
    println!("seed {seed}, {kills} kills");
    let mut rng = StdRng::seed_from_u64(seed);
    let world = World::start().await.expect("world");
    let accounts = [world.phone("+15550001111"), world.phone("+15550002222")];
    let contacts: Vec<Phone> = (1..=3).map(|n| world.contact(&format!("+1555700000{n}"), "Somebody")).collect();
    let mut gateway = Process::start(
        &world,
        state("web: { reconnect: { initialMs: 250, maxMs: 500 } }, channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], accounts: { a: {}, b: {} } } }"),
    )
    .await;
    for (phone, account) in accounts.iter().zip(["a", "b"]) {
        link_by_code(gateway.folder(), &world, phone, account).await;
    }

    let mut sent: Vec<Vec<Vec<String>>> = vec![vec![Vec::new(); accounts.len()]; contacts.len()];
    let mut n = 0;
    for _ in 0..kills {
        // The kill falls somewhere into the answers to a burst: after so many of them, whatever else is under way then.
        let burst = rng.random_range(5..25);
        for _ in 0..burst {
            let (c, a) = (rng.random_range(0..contacts.len()), rng.random_range(0..accounts.len()));
            n += 1;
            let text = format!("message {n}");
            contacts[c].says(&accounts[a], &text);
            sent[c][a].push(text);
        }
        let before: usize = contacts.iter().map(|c| c.inbox().len()).sum();
        let wanted = before + rng.random_range(0..burst);
        let (watched, reached) = (contacts.clone(), format!("{wanted} answers"));
        wait_until(&reached, || watched.iter().map(|c| c.inbox().len()).sum::<usize>() >= wanted).await;
        let folder = gateway.kill();
        gateway = Process::start(&world, folder).await;
    }
    for (c, contact) in contacts.iter().enumerate() {
        for (a, account) in accounts.iter().enumerate() {
            let all = sent[c][a].len();
            wait_until(&format!("all {all} answers of chat {c}/{a}"), || answers(contact, account).len() >= all).await;
        }
    }
    // Whatever would be doubled has its turn before this one is answered.
    for (c, contact) in contacts.iter().enumerate() {
        for (a, account) in accounts.iter().enumerate() {
            contact.says(account, "the end");
            sent[c][a].push("the end".to_owned());
            wait_until("the end", || answers(contact, account).iter().any(|t| t == "the end")).await;
        }
    }
    for (c, contact) in contacts.iter().enumerate() {
        // A message that the phone could not open at first was sent again by the client library, behind later ones.
        let resent: HashSet<String> = contact.undecryptable().into_iter().map(|lost| lost.id).collect();
        for (a, account) in accounts.iter().enumerate() {
            let got = shown(contact, account);
            let mut texts: Vec<&String> = got.iter().map(|(_, text)| text).collect();
            let mut wanted: Vec<&String> = sent[c][a].iter().collect();
            texts.sort();
            wanted.sort();
            assert_eq!(texts, wanted, "lost or doubled: contact {c}, account {a}, seed {seed}");
            let in_order: Vec<&String> =
                got.iter().filter(|(id, _)| !resent.contains(id)).map(|(_, text)| text).collect();
            let expected: Vec<&String> = sent[c][a].iter().filter(|text| in_order.contains(text)).collect();
            assert_eq!(in_order, expected, "out of order: contact {c}, account {a}, seed {seed}");
        }
        assert!(contact.undecryptable().iter().all(|lost| lost.recovered), "seed {seed}");
    }
}

async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}
