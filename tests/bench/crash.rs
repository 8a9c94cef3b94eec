//! The crash campaign of `tests/it/crash.rs`, longer: 500 kills unless `VERSO_CRASH_KILLS` says otherwise.
//!
//! `cargo bench --bench crash --features demo` prints JSON and fails when anything is lost, doubled or out of order.

#[path = "../it/crash.rs"]
#[allow(dead_code)]
mod crash;
#[path = "../it/support/model.rs"]
#[allow(dead_code)]
mod model;
#[path = "../it/process.rs"]
#[allow(dead_code, unused_imports)]
mod process;
mod support {
    pub use crate::model;
}

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a model is waited for.
const DEADLINE: Duration = Duration::from_secs(20);

fn main() {
    let new = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (kills, seed) = crash::asked_for(500, new);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let began = Instant::now();
    let outcome = runtime.block_on(crash::campaign(kills, seed));
    println!(
        "{}",
        serde_json::json!({
            "bench": "crash", "seed": seed, "kills": kills, "seconds": began.elapsed().as_secs(),
            "messages": outcome.messages, "answers": outcome.answers, "askedAgain": outcome.asked_again, "late": outcome.late, "lost": 0, "doubled": 0,
        })
    );
}
