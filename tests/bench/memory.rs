//! What large files cost the gateway's process in memory: `cargo bench --features demo --bench memory`. Prints JSON and fails above the
//! limit. The simulator, which holds every file in memory, is this process and not measured.

#[path = "../it/process.rs"]
#[allow(dead_code, unused_imports)]
mod process;

use std::path::Path;
use std::time::{Duration, Instant};

use process::Process;
use serde_json::{Value, json};
use wa_simulator::media::{Attachment, Kind};
use wa_simulator::{Phone, World};

const MIB: usize = 1024 * 1024;
/// What a file of any size may add to the process, in KiB.
const MOST_GROWTH: usize = 16 * 1024;

/// KiB of the process: now, or at most since [`forget_peak`].
fn memory(gateway: &Process, line: &str) -> usize {
    let status = std::fs::read_to_string(proc_file(gateway, "status")).expect("running");
    let line = status.lines().find_map(|l| l.strip_prefix(line)).expect("Linux tells");
    line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse().expect("a number")
}

fn forget_peak(gateway: &Process) {
    std::fs::write(proc_file(gateway, "clear_refs"), "5").expect("our own process");
}

fn proc_file(gateway: &Process, name: &str) -> String {
    let lock = std::fs::read_to_string(gateway.folder().join("gateway.lock")).expect("running");
    format!("/proc/{}/{name}", lock.split_whitespace().next().expect("its id"))
}

/// Bytes that do not repeat soon.
fn bytes(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

struct Stage {
    world: World,
    gateway: Process,
    work: Phone,
    ann: Phone,
}

impl Stage {
    /// Measures one transfer.
    async fn measure(&self, what: &str, size: usize, transfer: impl Future<Output = ()>) -> Value {
        forget_peak(&self.gateway);
        let before = memory(&self.gateway, "VmRSS");
        let began = Instant::now();
        transfer.await;
        let (peak, after) = (memory(&self.gateway, "VmHWM"), memory(&self.gateway, "VmRSS"));
        json!({
            "what": what, "fileMb": size / MIB, "beforeKb": before, "peakKb": peak, "afterKb": after,
            "growthKb": peak.saturating_sub(before), "seconds": began.elapsed().as_secs_f32(),
        })
    }

    /// Sends a file of this machine by the command line, as a document.
    async fn up(&self, file: &Path, size: usize) {
        let to = self.ann.number();
        let path = file.display().to_string();
        let args = ["message", "send", "--timeout", "300000", "--force-document", "-t", &to, "--media", &path];
        let sent = self.gateway.run(&self.world, &args).await;
        assert!(sent.status.success(), "{sent:?}");
        let arrived = |r: &wa_simulator::Received| r.message.document_message.file_length == Some(size as u64);
        let message = self.ann.expect_message(arrived).await.expect("delivered").message;
        let opened = self.world.media().open(&message).expect("opens").expect("a file");
        assert!(opened.bytes == std::fs::read(file).expect("readable"), "the same bytes");
    }

    /// Sends a file to the account and waits for the answer.
    async fn down(&self, kind: Kind, content: &[u8], caption: &str) {
        let file = Attachment::new(kind, content.to_vec()).caption(caption);
        self.ann.sends(&self.work, self.world.media().attach(&file, 1).expect("encrypted"));
        self.ann.expect_text(caption).await.expect("answered");
        let saved = std::fs::read_dir(self.gateway.folder().join("media/inbound")).expect("listed");
        let mut sizes = saved.map(|entry| entry.expect("readable").metadata().expect("readable").len());
        assert!(sizes.any(|size| size == content.len() as u64), "it is saved");
    }
}

async fn run() -> Vec<Value> {
    let world = World::builder().deadline(Duration::from_secs(300)).start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let config = "agents: { defaults: { mediaMaxMb: 128 } }, \
                  channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], mediaMaxMb: 128, accounts: { work: {} } } }";
    let gateway = Process::start(&world, process::state(config)).await;
    gateway.link(&world, &work).await;
    let stage = Stage { world, gateway, work, ann };
    let folder = tempfile::tempdir().expect("temp dir");
    let content = bytes(100 * MIB);
    let write = |size: usize| {
        let path = folder.path().join(format!("{size}.bin"));
        std::fs::write(&path, &content[..size]).expect("written");
        path
    };
    let (small, large) = (write(100_000), write(100 * MIB));
    // Both ways are walked once before, so that connections and buffers are there.
    stage.up(&small, 100_000).await;
    stage.down(Kind::Document, &content[..100_000], "small").await;
    vec![
        stage.measure("document up", 100 * MIB, stage.up(&large, 100 * MIB)).await,
        stage.measure("document down", 100 * MIB, stage.down(Kind::Document, &content, "large")).await,
        stage.measure("video down", 50 * MIB, stage.down(Kind::Video, &content[..50 * MIB], "film")).await,
    ]
}

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let transfers = runtime.block_on(run());
    let build = if cfg!(debug_assertions) { "dev" } else { "release" };
    println!(
        "{}",
        json!({
            "bench": "memory", "command": "cargo bench --features demo --bench memory", "build": build,
            "transfers": transfers, "limitKb": MOST_GROWTH,
        })
    );
    for transfer in &transfers {
        let growth = transfer["growthKb"].as_u64().expect("a number") as usize;
        assert!(growth < MOST_GROWTH, "{} grew by {growth} KiB", transfer["what"]);
    }
}
