//! The prompt of `verso demo`: you speak as a contact and see what each phone shows.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use wa_simulator::Phone;

use super::stage::Stage;
use crate::actors::messages::{DecidePairing, ListPairing};
use crate::api::qr::Modules;
use crate::cli::login::half_blocks;

const HELP: &str = "\
  <text>              say it to the account you talk to
  /say <text>         the same for chat commands: /say /status, /say /help
  /as ann|bob|carl    speak as somebody else (Ann to begin with)
  /to work|personal   talk to another account
  /group <text>       say it in the group Friends (Ann, Bob and the personal number)
  /pairing            who asks to be let in
  /approve <code>     let somebody in;   /deny <code>  do not
  /status             the accounts
  /drop work|personal cut the connection and watch it come back
  /config             where verso.json lies: edit it while this runs
  /help  /quit";

/// Links both accounts in front of the person and reads lines until the end of the input or `/quit`.
pub async fn run(stage: &Stage) -> anyhow::Result<()> {
    println!("A simulated WhatsApp runs at {}; nothing leaves this machine.\n", stage.world.ws_url());
    for (account, phone) in [("work", &stage.work), ("personal", &stage.personal)] {
        let code = stage.qr(account).await?;
        println!("Account \"{account}\" ({}) shows this code, and its phone scans it:\n", phone.number());
        println!("{}", half_blocks(&Modules::of(&code)?, std::io::stdout().is_terminal()).join("\n"));
        phone.scan_qr(&code).await.map_err(|e| anyhow::anyhow!("{account} was not linked: {e}"))?;
        stage.wait_state(account, "connected").await?;
        println!("✅ \"{account}\" is linked and connected.\n");
    }
    println!("Ann, Bob and Carl know both numbers. Say something; /help tells more, Ctrl-C ends all.\n");
    let mut scene = Scene { stage, me: "ann", account: "work", shown: HashMap::new() };
    scene.skip_what_is_there();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut look = tokio::time::interval(Duration::from_millis(100));
    scene.ask();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                None => return Ok(()),
                Some(line) => {
                    if !scene.line(line.trim()).await? {
                        return Ok(());
                    }
                    scene.ask();
                }
            },
            _ = look.tick() => if scene.show_news() { scene.ask() },
        }
    }
}

struct Scene<'a> {
    stage: &'a Stage,
    me: &'static str,
    account: &'static str,
    /// Messages of each phone that were shown already.
    shown: HashMap<&'static str, usize>,
}

impl Scene<'_> {
    fn ask(&self) {
        use std::io::Write as _;
        print!("{} → {} > ", self.me, self.account);
        let _ = std::io::stdout().flush();
    }

    fn phone(&self, name: &str) -> Option<(&'static str, &Phone)> {
        self.stage.people().into_iter().find(|(n, _)| *n == name)
    }

    fn skip_what_is_there(&mut self) {
        for (name, phone) in self.stage.people() {
            self.shown.insert(name, phone.inbox().len());
        }
    }

    /// Prints what came to the contacts' phones since the last look; true when there was something.
    fn show_news(&mut self) -> bool {
        let mut any = false;
        for (name, phone) in self.stage.people().into_iter().take(3) {
            let inbox = phone.inbox();
            let seen = self.shown.insert(name, inbox.len()).unwrap_or(0);
            for received in inbox.iter().skip(seen) {
                if !any {
                    println!();
                }
                any = true;
                let from = self.name_of(&received.from);
                let text = match &received.reaction {
                    Some(reaction) => format!("reacts with {}", reaction.emoji),
                    None => received.text.clone(),
                };
                println!("  📱 {name}'s phone  {from}: {}", text.replace('\n', "\n                   "));
            }
        }
        any
    }

    fn name_of(&self, number: &str) -> String {
        let known = self.stage.people().into_iter().find(|(_, p)| p.number() == number);
        known.map_or_else(|| number.to_owned(), |(name, _)| name.to_owned())
    }

    /// Carries out one line; false ends the demo.
    async fn line(&mut self, line: &str) -> anyhow::Result<bool> {
        let (word, rest) = line.split_once(' ').map_or((line, ""), |(w, r)| (w, r.trim()));
        match word {
            "" => {}
            "/quit" | "/exit" => return Ok(false),
            "/help" => println!("{HELP}"),
            "/as" => match self.phone(rest).filter(|(n, _)| ["ann", "bob", "carl"].contains(n)) {
                Some((name, _)) => self.me = name,
                None => println!("nobody is called \"{rest}\"; there are ann, bob and carl"),
            },
            "/to" => match self.phone(rest).filter(|(n, _)| ["work", "personal"].contains(n)) {
                Some((name, _)) => self.account = name,
                None => println!("no account \"{rest}\"; there are work and personal"),
            },
            "/group" => {
                let (_, me) = self.phone(self.me).expect("one of the contacts");
                if self.me == "carl" {
                    println!("Carl is not in the group; /as ann or /as bob");
                } else {
                    me.says_in(&self.stage.group, rest, &[]);
                }
            }
            "/pairing" => self.pairing().await?,
            "/approve" | "/deny" => self.decide(rest, word == "/approve").await?,
            "/status" => {
                for a in self.stage.status().await?.accounts {
                    let next = a.next_step.map(|s| format!(" ({s})")).unwrap_or_default();
                    println!("  {}: {}{next}", a.account_id, a.state_text);
                }
            }
            "/drop" => match self.phone(rest).filter(|(n, _)| ["work", "personal"].contains(n)) {
                Some((_, phone)) => phone.devices().iter().for_each(|d| d.kick(wa_simulator::Kick::Drop)),
                None => println!("no account \"{rest}\"; there are work and personal"),
            },
            "/config" => println!("  {}", self.stage.config.display()),
            "/say" => self.say(rest),
            other if other.starts_with('/') => {
                println!("unknown command {other}; /help lists them, /say {other} sends it to the account")
            }
            _ => self.say(line),
        }
        Ok(true)
    }

    fn say(&self, text: &str) {
        let (_, me) = self.phone(self.me).expect("one of the contacts");
        let (_, to) = self.phone(self.account).expect("one of the accounts");
        me.says(to, text);
    }

    async fn pairing(&self) -> anyhow::Result<()> {
        let listed = self.stage.gateway.port.list_pairing.send(ListPairing { account: None }).await??;
        if listed.is_empty() {
            println!("  No pending whatsapp pairing requests.");
        }
        for request in listed {
            let name = request.name.unwrap_or_default();
            println!("  {}  {} {name} on {}", request.code, request.sender, request.account);
        }
        Ok(())
    }

    async fn decide(&self, code: &str, approve: bool) -> anyhow::Result<()> {
        let decide = DecidePairing { account: None, code: code.to_owned(), approve, notify: approve };
        match self.stage.gateway.port.decide_pairing.send(decide).await? {
            Ok(done) if approve => println!("  Approved whatsapp sender {}.", done.sender),
            Ok(done) => println!("  Denied whatsapp sender {}.", done.sender),
            Err(refusal) => println!("  {refusal}"),
        }
        Ok(())
    }
}
