//! `verso demo --check`: the scripted tour, one line a step.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use wa_simulator::{Kick, LinkedDevice, Phone};

use super::stage::Stage;
use crate::actors::messages::{AccountStatus, DecidePairing, ListPairing};

/// Plays the tour; true when every step held.
pub async fn run(stage: &Stage) -> anyhow::Result<bool> {
    let began = Instant::now();
    let mut tour = Tour { held: 0, failed: 0, began };
    let devices = tour.step("two accounts are linked", link_both(stage)).await;
    let Some((work, personal)) = devices else { return Ok(tour.close()) };
    tour.step("a stranger gets a code and nothing else", stranger(stage)).await;
    tour.step("approved, she is answered on the account she wrote to", approved(stage)).await;
    tour.step("a binding sends one person to another agent", binding(stage)).await;
    tour.step("a policy edit is live, no socket dropped", policy_edit(stage, &work, &personal)).await;
    tour.step("an account is added while everything runs", added(stage, &work, &personal)).await;
    tour.step("a dropped socket comes back and answers what it missed", dropped(stage, &work)).await;
    tour.step("a conflict is shown as such", conflict(stage, &personal)).await;
    tour.step("a log-out is shown as such", logged_out(stage, &work)).await;
    Ok(tour.close())
}

struct Tour {
    held: u32,
    failed: u32,
    began: Instant,
}

impl Tour {
    async fn step<T>(&mut self, name: &str, work: impl Future<Output = anyhow::Result<(T, String)>>) -> Option<T> {
        let began = Instant::now();
        let result = work.await;
        let ms = began.elapsed().as_millis();
        match result {
            Ok((value, detail)) => {
                self.held += 1;
                println!("ok    {ms:>6} ms  {name}{}{detail}", if detail.is_empty() { "" } else { ": " });
                Some(value)
            }
            Err(error) => {
                self.failed += 1;
                println!("FAIL  {ms:>6} ms  {name}: {error:#}");
                None
            }
        }
    }

    fn close(&self) -> bool {
        println!("{} passed, {} failed in {:.1} s", self.held, self.failed, self.began.elapsed().as_secs_f64());
        self.failed == 0
    }
}

fn said(text: &str) -> impl Fn(&wa_simulator::Received) -> bool + use<'_> {
    move |r| r.text == text
}

async fn link_both(stage: &Stage) -> anyhow::Result<((LinkedDevice, LinkedDevice), String)> {
    let (work, personal) = tokio::join!(stage.link("work", &stage.work), stage.link("personal", &stage.personal));
    Ok(((work?, personal?), "work and personal are connected".to_owned()))
}

async fn stranger(stage: &Stage) -> anyhow::Result<((), String)> {
    stage.ann.says(&stage.work, "hello, is anybody there?");
    let told = stage.ann.expect_message(|r| r.text.contains("Pairing code:")).await?;
    ensure!(told.text.contains(&stage.ann.number()), "the text does not name her number");
    stage.ann.says(&stage.work, "hello again");
    // The second message belongs to the same request: it is judged, and she hears nothing more.
    let twice = |a: &AccountStatus| a.account_id.as_str() == "work" && a.counters.get("pairing-required") == Some(&2);
    stage.wait("her second message to be judged", |s| s.accounts.iter().any(twice)).await?;
    let listed = stage.gateway.port.list_pairing.send(ListPairing { account: None }).await??;
    ensure!(listed.len() == 1, "{} requests wait instead of one", listed.len());
    Ok(((), format!("code {}", listed[0].code)))
}

async fn approve(stage: &Stage, who: &Phone) -> anyhow::Result<()> {
    let listed = stage.gateway.port.list_pairing.send(ListPairing { account: None }).await??;
    let request = listed.iter().find(|r| r.sender == who.number()).context("no request of hers waits")?;
    let decide = DecidePairing {
        account: Some("work".to_owned()),
        code: request.code.to_lowercase(),
        approve: true,
        notify: false,
    };
    stage.gateway.port.decide_pairing.send(decide).await??;
    Ok(())
}

async fn approved(stage: &Stage) -> anyhow::Result<((), String)> {
    approve(stage, &stage.ann).await?;
    let before = stage.ann.inbox().len();
    stage.ann.says(&stage.work, "what is new?");
    let answer = stage.ann.expect_message(said("what is new?")).await?;
    ensure!(answer.from == stage.work.number(), "the answer came from {}", answer.from);
    ensure!(stage.ann.inbox().len() == before + 1, "more than one message came");
    Ok(((), format!("echo from {}", answer.from)))
}

async fn binding(stage: &Stage) -> anyhow::Result<((), String)> {
    stage.carl.says(&stage.work, "hi");
    stage.carl.expect_message(|r| r.text.contains("Pairing code:")).await?;
    approve(stage, &stage.carl).await?;
    stage.carl.says(&stage.work, "look this up");
    let answer = stage.carl.expect_message(|r| r.text.contains("look this up")).await?;
    ensure!(answer.text == "[Research] look this up", "the answer was {:?}", answer.text);
    Ok(((), answer.text))
}

async fn edit(stage: &Stage, from: &str, to: &str) -> anyhow::Result<Duration> {
    let text = std::fs::read_to_string(&stage.config)?;
    ensure!(text.contains(from), "demo.json has no {from}");
    let revision = stage.status().await?.revision;
    let temporary = stage.config.with_extension("json.new");
    std::fs::write(&temporary, text.replacen(from, to, 1))?;
    let saved = Instant::now();
    std::fs::rename(temporary, &stage.config)?;
    stage.wait("the edit to be live", |s| s.revision > revision).await?;
    Ok(saved.elapsed())
}

async fn policy_edit(stage: &Stage, work: &LinkedDevice, personal: &LinkedDevice) -> anyhow::Result<((), String)> {
    let before = (work.sockets_opened(), personal.sockets_opened());
    let took = edit(
        stage,
        r#"personal: { name: "Personal" }"#,
        r#"personal: { name: "Personal", dmPolicy: "open", allowFrom: ["*"] }"#,
    )
    .await?;
    stage.bob.says(&stage.personal, "may I?");
    let answer = stage.bob.expect_message(|r| r.text.contains("may I?")).await?;
    ensure!(answer.from == stage.personal.number(), "the answer came from {}", answer.from);
    let after = (work.sockets_opened(), personal.sockets_opened());
    ensure!(before == after && work.connected() && personal.connected(), "sockets went from {before:?} to {after:?}");
    Ok(((), format!("{} ms after the save", took.as_millis())))
}

async fn added(stage: &Stage, work: &LinkedDevice, personal: &LinkedDevice) -> anyhow::Result<((), String)> {
    let before = (work.sockets_opened(), personal.sockets_opened());
    edit(
        stage,
        r#"work: { name: "Work" },"#,
        r#"work: { name: "Work" }, shop: { name: "Shop", dmPolicy: "open", allowFrom: ["*"] },"#,
    )
    .await?;
    let phone = stage.world.phone("+15550003333");
    stage.link("shop", &phone).await?;
    stage.bob.says(&phone, "open today?");
    let answer = stage.bob.expect_message(|r| r.text.contains("open today?")).await?;
    ensure!(answer.from == phone.number(), "the answer came from {}", answer.from);
    ensure!(before == (work.sockets_opened(), personal.sockets_opened()), "a sibling's socket was touched");
    Ok(((), "shop is linked and answers".to_owned()))
}

async fn dropped(stage: &Stage, work: &LinkedDevice) -> anyhow::Result<((), String)> {
    let sockets = work.sockets_opened();
    work.kick(Kick::Drop);
    work.wait_disconnected().await?;
    stage.ann.says(&stage.work, "did you get this?");
    let cut = Instant::now();
    work.wait_sockets(sockets + 1).await?;
    let answer = stage.ann.expect_message(said("did you get this?")).await?;
    ensure!(answer.from == stage.work.number(), "the answer came from {}", answer.from);
    stage.wait_state("work", "connected").await?;
    Ok(((), format!("back and answered after {} ms", cut.elapsed().as_millis())))
}

async fn conflict(stage: &Stage, personal: &LinkedDevice) -> anyhow::Result<((), String)> {
    personal.kick(Kick::Conflict);
    let status = stage.wait_state("personal", "conflict").await?;
    ensure!(!status.running && status.last_disconnect.as_ref().is_some_and(|d| d.status == 440), "status {status:?}");
    Ok(((), status.state_text))
}

async fn logged_out(stage: &Stage, work: &LinkedDevice) -> anyhow::Result<((), String)> {
    stage.work.unlink(work);
    let status = stage.wait_state("work", "logged-out").await?;
    ensure!(!status.running && status.last_disconnect.as_ref().is_some_and(|d| d.logged_out), "status {status:?}");
    Ok(((), status.next_step.unwrap_or(status.state_text)))
}
