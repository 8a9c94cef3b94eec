//! `kill -9` at random moments under two-way traffic: every admitted message is answered, none twice, and in order per chat.
//!
//! Two accounts, three contacts who write to both, a group each: one where everything is answered, one where only mentions are. They
//! send texts, pictures with captions, and texts so long that the answer takes several parts. One account answers by echo, the other
//! by a model whose answers bring files along. Every line carries its own mark, and the marks that the contacts' phones show are
//! counted. Beside them a program sends through the API and repeats what failed with the same key.
//! `tests/bench/crash.rs` runs more of it.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use regex::Regex;
use tokio::task::JoinHandle;
use wa_simulator::media::{Attachment, Kind};
use wa_simulator::{Group, Phone, ReceiptKind, World};

use crate::process::{Process, call, link_by_code, state, write_config};
use crate::support::model::Model;

/// Kills in the run of the tests.
const KILLS: u64 = 50;
/// The course of the run of the tests.
const SEED: u64 = 20_261_121;
/// Lines of a long text, of some 700 characters each: its answer takes three parts.
const LONG: usize = 12;
/// How long progress is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

static MARK: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\bm\d+\.\d+\b").expect("a pattern"));

/// `VERSO_CRASH_KILLS` and `VERSO_CRASH_SEED` set another length and course.
pub fn asked_for(kills: u64, seed: u64) -> (u64, u64) {
    let from_env = |name: &str| std::env::var(name).ok().and_then(|v| v.parse().ok());
    (from_env("VERSO_CRASH_KILLS").unwrap_or(kills), from_env("VERSO_CRASH_SEED").unwrap_or(seed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_answered_twice_however_often_it_is_killed() {
    let (kills, seed) = asked_for(KILLS, SEED);
    let Outcome { messages, answers, asked_again, late } = campaign(kills, seed).await;
    println!("{messages} messages, {answers} answers, {asked_again} asked for again, {late} lines late");
    assert!(answers > messages, "long answers take several parts");
}

/// What a campaign saw.
#[derive(Debug)]
pub struct Outcome {
    /// Messages that had to be answered.
    pub messages: usize,
    /// Messages that the phones showed for them, pictures and parts of long answers counted one by one.
    pub answers: usize,
    /// Answers that a phone could not open at first and asked for again.
    pub asked_again: usize,
    /// Lines that the gateway could not open at first and asked for again.
    pub late: usize,
}

/// A conversation with one account: a contact's, or a group's.
struct Chat {
    account: usize,
    group: Option<usize>,
    /// Who write in it; the first one's phone is looked at.
    people: Vec<Phone>,
    /// The marks that have to come back, in order.
    owed: Vec<String>,
    /// Who wrote which message with which marks.
    written: Vec<(Phone, String, Vec<String>)>,
}

struct Campaign {
    world: World,
    accounts: [Phone; 2],
    groups: [Group; 2],
    chats: Vec<Chat>,
    rng: StdRng,
    messages: usize,
    /// What the program sends: to whom, from which account, and whether it was told that it is sent.
    requests: Vec<(usize, usize, bool)>,
    /// The gateway's state.
    folder: PathBuf,
}

/// Kills a gateway `kills` times and counts.
///
/// # Panics
/// When an answer is lost, doubled or out of order.
pub async fn campaign(kills: u64, seed: u64) -> Outcome {
    println!("seed {seed}, {kills} kills");
    let world = World::start().await.expect("world");
    let accounts = [world.phone("+15550001111"), world.phone("+15550002222")];
    let people: Vec<Phone> = (1..=3).map(|n| world.contact(&format!("+1555700000{n}"), "Somebody")).collect();
    let members = |account: &Phone| {
        let mut members: Vec<Phone> = people[1..].to_vec();
        members.push(account.clone());
        members
    };
    let [first, second] = accounts.each_ref().map(members);
    let groups = [
        world.group("Everything", &people[0], &first.iter().collect::<Vec<_>>()),
        world.group("Mentions", &people[0], &second.iter().collect::<Vec<_>>()),
    ];
    let model = Model::by(answer).await;
    let agents =
        model.config().replace("agents: {", "agents: { list: [{ id: 'main', model: 'echo/any' }, { id: 'files' }],");
    let config = format!(
        "{agents}, bindings: [{{ agentId: 'files', match: {{ channel: 'whatsapp', accountId: 'b' }} }}],
         web: {{ reconnect: {{ initialMs: 100, maxMs: 200 }} }}, messages: {{ queue: {{ mode: 'followup', debounceMs: 0, cap: 10000 }} }},
         channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'], groupPolicy: 'open', accounts: {{ a: {{}}, b: {{}} }},
         pacing: {{ gapMs: 0, perMinute: 0, firstContactSeconds: 0 }},
         groups: {{ '{}': {{ requireMention: false }}, '*': {{ requireMention: true }} }} }} }}",
        groups[0].jid()
    );
    let mut gateway = Process::start(&world, state("channels: { whatsapp: { accounts: { a: {}, b: {} } } }")).await;
    for (phone, account) in accounts.iter().zip(["a", "b"]) {
        link_by_code(gateway.folder(), &world, phone, account).await;
    }
    let folder = gateway.kill();
    write_config(folder.path(), &config);
    let workspace = folder.path().join("agents/files/workspace");
    std::fs::create_dir_all(&workspace).expect("a workspace");
    std::fs::write(workspace.join("note.txt"), "a note").expect("a file");
    gateway = Process::start(&world, folder).await;

    let mut chats: Vec<Chat> = Vec::new();
    for account in 0..accounts.len() {
        let alone = people.iter().map(|person| Chat {
            account,
            group: None,
            people: vec![person.clone()],
            owed: vec![],
            written: vec![],
        });
        chats.extend(alone);
        chats.push(Chat { account, group: Some(account), people: people.clone(), owed: vec![], written: vec![] });
    }
    let mut campaign = Campaign {
        world,
        accounts,
        groups,
        chats,
        rng: StdRng::seed_from_u64(seed),
        messages: 0,
        requests: Vec::new(),
        folder: gateway.folder().to_owned(),
    };
    for _ in 0..kills {
        let burst = campaign.rng.random_range(3..15);
        let before = campaign.shown();
        for _ in 0..burst {
            let chat = campaign.rng.random_range(0..campaign.chats.len());
            campaign.say(chat);
        }
        if campaign.rng.random_ratio(1, 3) {
            let (person, account) = (campaign.rng.random_range(0..people.len()), campaign.rng.random_range(0..2));
            campaign.requests.push((person, account, false));
        }
        let asked = campaign.ask(&people);
        // The kill falls somewhere into the answers to the burst, whatever else is under way then, or into the start.
        if campaign.rng.random_ratio(3, 4) {
            let wanted = before + campaign.rng.random_range(0..burst);
            until(&format!("{wanted} messages, seed {seed}"), || campaign.shown() >= wanted).await;
        }
        tokio::time::sleep(Duration::from_micros(campaign.rng.random_range(0..200_000))).await;
        let folder = gateway.kill();
        campaign.told(asked).await;
        gateway = Process::start(&campaign.world, folder).await;
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while campaign.requests.iter().any(|(_, _, done)| !done) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "a request fails for ever, seed {seed}; see {}",
            campaign.keep(seed).display()
        );
        let asked = campaign.ask(&people);
        campaign.told(asked).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for chat in 0..campaign.chats.len() {
        campaign.settled(chat, seed).await;
    }
    // Whatever would be doubled has its turn before this one is answered.
    for chat in 0..campaign.chats.len() {
        campaign.say(chat);
        campaign.settled(chat, seed).await;
    }
    campaign.opened(&people).await;
    campaign.sent_once(&people, seed);
    campaign.judge(seed)
}

/// What the model answers: every line with a mark again, and for every fourth message a file.
fn answer(asked: &str) -> String {
    let mut lines: Vec<String> = asked.lines().filter(|line| MARK.is_match(line)).map(str::to_owned).collect();
    let first = MARK.find(asked).map(|mark| mark.as_str().trim_start_matches('m'));
    let n: usize = first.and_then(|mark| mark.split('.').next()?.parse().ok()).unwrap_or(1);
    if lines.len() == 1 && n.is_multiple_of(4) {
        lines.push("MEDIA: ./note.txt".to_owned());
    }
    lines.join("\n\n")
}

impl Campaign {
    /// The program asks for everything that it was not told to be sent, each under its own key.
    fn ask(&self, people: &[Phone]) -> Vec<(usize, JoinHandle<bool>)> {
        let open = self.requests.iter().enumerate().filter(|(_, (_, _, done))| !done);
        let ask = |(n, (person, account, _)): (usize, &(usize, usize, bool))| {
            let params = serde_json::json!({
                "to": people[*person].number(), "message": format!("request {n}."), "channel": "whatsapp",
                "accountId": (if *account == 0 { "a" } else { "b" }), "idempotencyKey": format!("request-{n}"),
            });
            let folder = self.folder.clone();
            (n, tokio::spawn(async move { call(&folder, "send", params).await.is_ok() }))
        };
        open.map(ask).collect()
    }

    async fn told(&mut self, asked: Vec<(usize, JoinHandle<bool>)>) {
        for (n, request) in asked {
            self.requests[n].2 = request.await.expect("no panic");
        }
    }

    /// Every request is shown by its recipient's phone once.
    fn sent_once(&self, people: &[Phone], seed: u64) {
        for (n, (person, account, _)) in self.requests.iter().enumerate() {
            let from = self.accounts[*account].number();
            let shown = people[*person].shown();
            let times = shown.iter().filter(|r| r.from == from && r.text == format!("request {n}.")).count();
            assert_eq!(times, 1, "request {n}, seed {seed}; see {}", self.keep(seed).display());
        }
    }

    /// Somebody writes something into a chat.
    fn say(&mut self, chat: usize) {
        let (n, kind) = (self.messages, self.rng.random_range(0..10));
        let chat = &mut self.chats[chat];
        let person = &chat.people[self.rng.random_range(0..chat.people.len())];
        let account = &self.accounts[chat.account];
        let lines = if kind == 0 { LONG } else { 1 };
        let marks: Vec<String> = (0..lines).map(|i| format!("m{n}.{i}")).collect();
        let filler = if kind == 0 { " and so on".repeat(70) } else { String::new() };
        let text = marks.iter().map(|mark| format!("{mark} says{filler}")).collect::<Vec<_>>().join("\n\n");
        let picture = || {
            let bytes: Vec<u8> = (0..20_000_usize).map(|i| (i * 7 + n) as u8).collect();
            self.world.media().attach(&Attachment::new(Kind::Image, bytes).caption(&text), 1).expect("encrypted")
        };
        let id = match chat.group.map(|g| (g, &self.groups[g])) {
            None if kind == 1 => person.sends(account, picture()),
            None => person.says(account, &text),
            Some((0, group)) if kind == 1 => person.sends_in(group, picture()),
            Some((0, group)) => person.says_in(group, &text, &[]),
            Some((_, group)) if kind == 2 => {
                person.says_in(group, "among ourselves", &[]);
                return;
            }
            Some((_, group)) => person.says_in(group, &text, &[account]),
        };
        self.messages += 1;
        chat.owed.extend(marks.iter().cloned());
        chat.written.push((person.clone(), id, marks));
    }

    /// Messages that the phones show.
    fn shown(&self) -> usize {
        self.chats.iter().filter(|chat| chat.group.is_none() && chat.account == 0).map(|c| c.people[0].received()).sum()
    }

    /// What the phone shows in a chat, in order of arrival: ids and marks. A part whose ack was cut off by the kill is sent again with
    /// the same id, and a phone shows one id once.
    fn answers(&self, chat: &Chat) -> Vec<(String, Vec<String>)> {
        let (from, group) =
            (self.accounts[chat.account].number(), chat.group.map(|g| self.groups[g].jid().to_string()));
        let shown = chat.people[0].shown().into_iter();
        shown
            .filter(|r| r.from == from && group.as_ref().map_or(!r.chat.ends_with("@g.us"), |group| r.chat == *group))
            .filter(|r| !r.text.is_empty() && !r.text.starts_with("request "))
            .map(|r| (r.id, MARK.find_iter(&r.text).map(|mark| mark.as_str().to_owned()).collect()))
            .collect()
    }

    /// Waits until a chat shows as many marks as it is owed.
    async fn settled(&self, chat: usize, seed: u64) {
        let chat = &self.chats[chat];
        let shows = || self.answers(chat).into_iter().flat_map(|(_, marks)| marks);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while shows().count() < chat.owed.len() {
            if tokio::time::Instant::now() > deadline {
                let shown: HashSet<String> = shows().collect();
                let lost = chat.written.iter().filter(|(_, _, marks)| marks.iter().any(|mark| !shown.contains(mark)));
                let lost: Vec<_> = lost.map(|(_, id, marks)| (id, &marks[0])).collect();
                let kept = self.keep(seed);
                panic!(
                    "not answered: {lost:?}, account {}, {:?}, {}, never opened: {:?}, seed {seed}; see {}",
                    chat.account,
                    chat.group,
                    chat.people[0].number(),
                    chat.people[0].undecryptable().into_iter().filter(|lost| !lost.recovered).collect::<Vec<_>>(),
                    kept.display()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the phones have opened what they asked for again: of requests that come at once the client answers one, and the
    /// gateway looks for the others twice a minute. What stays closed is judged.
    async fn opened(&self, people: &[Phone]) {
        let closed = || people.iter().any(|phone| phone.undecryptable().iter().any(|lost| !lost.recovered));
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while closed() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Keeps what went over the wire and the state of the gateway beside the temporary files, to be looked at.
    fn keep(&self, seed: u64) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("verso-crash-{seed}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let trace: Vec<String> = self.world.trace().iter().map(|entry| entry.to_string()).collect();
        std::fs::write(folder.join("trace"), trace.join("\n")).expect("written");
        for file in ["state.db", "state.db-wal", "verso.log"] {
            // A file that is not there tells something, too.
            let _ = std::fs::copy(self.folder.join(file), folder.join(file));
        }
        folder
    }

    fn judge(&self, seed: u64) -> Outcome {
        let mut outcome = Outcome { messages: self.messages, answers: 0, asked_again: 0, late: 0 };
        for chat in &self.chats {
            let name = format!("account {}, {:?}, {}, seed {seed}", chat.account, chat.group, chat.people[0].number());
            // A message that the phone could not open at first was sent again by the client library, behind later ones.
            let lost = chat.people[0].undecryptable();
            assert!(
                lost.iter().all(|lost| lost.recovered),
                "never opened: {name}: {lost:?}; see {}",
                self.keep(seed).display()
            );
            let again: HashSet<String> = lost.into_iter().map(|lost| lost.id).collect();
            // The same the other way: the account asked its writer for a message again.
            let late: HashSet<&String> = chat
                .written
                .iter()
                .filter(|(person, id, _)| person.receipts().iter().any(|r| r.id == *id && r.kind == ReceiptKind::Retry))
                .flat_map(|(_, _, marks)| marks)
                .collect();
            let answers = self.answers(chat);
            let (mut got, mut owed): (Vec<&String>, Vec<&String>) =
                (answers.iter().flat_map(|(_, marks)| marks).collect(), chat.owed.iter().collect());
            got.sort();
            owed.sort();
            assert_eq!(got, owed, "lost or doubled: {name}");
            let in_time = answers.iter().filter(|(id, _)| !again.contains(id)).flat_map(|(_, marks)| marks);
            let in_order: Vec<&String> = in_time.filter(|mark| !late.contains(mark)).collect();
            let kept: HashSet<&String> = in_order.iter().copied().collect();
            let expected: Vec<&String> = chat.owed.iter().filter(|mark| kept.contains(mark)).collect();
            if in_order != expected {
                let wrong: Vec<_> = in_order.iter().zip(&expected).filter(|(got, due)| got != due).take(12).collect();
                let authors: Vec<(String, &String)> = chat
                    .written
                    .iter()
                    .filter(|(_, _, marks)| wrong.iter().any(|(got, _)| **got == &marks[0]))
                    .map(|(person, _, marks)| (person.number(), &marks[0]))
                    .collect();
                panic!("out of order: {name}: (is, should be) {wrong:?}, written by {authors:?}");
            }
            outcome.answers += answers.len();
            outcome.late += late.len();
            outcome.asked_again += answers.iter().filter(|(id, _)| again.contains(id)).count();
        }
        outcome
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
