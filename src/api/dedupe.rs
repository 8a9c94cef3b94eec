//! One idempotency key, one execution: whoever repeats a running request gets its result, whoever repeats a finished one its success.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::protocol::ErrorShape;

/// How long a success is repeated from memory; the gateway itself remembers longer.
const KEEP: Duration = Duration::from_secs(300);
/// Successes kept at most.
const MOST: usize = 1000;

type Outcome = Result<Value, ErrorShape>;

#[derive(Debug)]
enum Entry {
    Running { what: String, result: watch::Receiver<Option<Outcome>> },
    Done { what: String, at: Instant, payload: Value },
}

/// The requests by method and key.
#[derive(Clone, Debug, Default)]
pub struct Dedupe {
    entries: Arc<Mutex<HashMap<(&'static str, String), Entry>>>,
}

impl Dedupe {
    /// Runs `work` unless the same key already runs or has succeeded; beside the key comes what it stands for. The work goes on when the caller goes away. Failures are not kept.
    ///
    /// # Errors
    /// What the work answered, or that the key stands for something else.
    pub async fn once<F>(&self, method: &'static str, (key, what): (&str, String), work: F) -> Outcome
    where
        F: Future<Output = Outcome> + 'static,
    {
        let slot = (method, key.to_owned());
        let mut result = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            match entries.get(&slot) {
                Some(Entry::Done { at, what: known, .. }) if at.elapsed() < KEEP && *known != what => {
                    return Err(reused(key));
                }
                Some(Entry::Done { at, payload, .. }) if at.elapsed() < KEEP => return Ok(payload.clone()),
                Some(Entry::Running { what: known, result }) if result.has_changed().is_ok() => {
                    if *known != what {
                        return Err(reused(key));
                    }
                    result.clone()
                }
                _ => {
                    let (report, result) = watch::channel(None);
                    entries.insert(slot.clone(), Entry::Running { what: what.clone(), result: result.clone() });
                    let this = self.clone();
                    actix_web::rt::spawn(async move {
                        let outcome = work.await;
                        this.finished(slot, what, &outcome);
                        report.send_replace(Some(outcome));
                    });
                    result
                }
            }
        };
        let outcome = result.wait_for(Option::is_some).await.ok().and_then(|o| o.clone());
        outcome.unwrap_or_else(|| Err(ErrorShape::unavailable("the request was lost; try again")))
    }

    fn finished(&self, slot: (&'static str, String), what: String, outcome: &Outcome) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(payload) => {
                if entries.len() >= MOST {
                    entries.retain(|_, e| !matches!(e, Entry::Done { at, .. } if at.elapsed() >= KEEP));
                }
                if entries.len() >= MOST {
                    let oldest = entries
                        .iter()
                        .filter_map(|(k, e)| if let Entry::Done { at, .. } = e { Some((*at, k.clone())) } else { None })
                        .min_by_key(|(at, _)| *at);
                    if let Some((_, key)) = oldest {
                        entries.remove(&key);
                    }
                }
                entries.insert(slot, Entry::Done { what, at: Instant::now(), payload: payload.clone() });
            }
            Err(_) => {
                entries.remove(&slot);
            }
        }
    }
}

/// One key is one message: repeating the first one's success would claim that another one was sent.
fn reused(key: &str) -> ErrorShape {
    ErrorShape::invalid(format!(
        "the idempotency key \"{key}\" was used for another recipient or message before; use a new key for each message"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::cell::Cell;
    use std::rc::Rc;

    #[actix_web::test]
    async fn the_same_key_runs_once_and_failures_are_not_kept() {
        let dedupe = Dedupe::default();
        let runs = Rc::new(Cell::new(0));
        let work = |outcome: Outcome, gate: Option<tokio::sync::oneshot::Receiver<()>>| {
            let runs = Rc::clone(&runs);
            async move {
                runs.set(runs.get() + 1);
                if let Some(gate) = gate {
                    gate.await.ok();
                }
                outcome
            }
        };
        let (open, gate) = tokio::sync::oneshot::channel();
        let first = dedupe.once("send", ("k", "same".into()), work(Ok(json!(1)), Some(gate)));
        let second = dedupe.once("send", ("k", "same".into()), work(Ok(json!(2)), None));
        let (a, b, ()) = tokio::join!(first, second, async { open.send(()).unwrap() });
        assert_eq!((a, b), (Ok(json!(1)), Ok(json!(1))));
        assert_eq!(dedupe.once("send", ("k", "same".into()), work(Ok(json!(3)), None)).await, Ok(json!(1)));
        assert_eq!(runs.get(), 1);
        assert!(
            dedupe.once("send", ("bad", "same".into()), work(Err(ErrorShape::unavailable("x")), None)).await.is_err()
        );
        assert_eq!(dedupe.once("send", ("bad", "same".into()), work(Ok(json!(4)), None)).await, Ok(json!(4)));
        assert_eq!(runs.get(), 3);
        let other = dedupe.once("send", ("k", "other".into()), work(Ok(json!(5)), None)).await;
        assert!(other.unwrap_err().message.contains("another recipient or message"));
        assert_eq!(runs.get(), 3);
    }

    #[actix_web::test]
    async fn the_work_goes_on_when_the_caller_goes_away() {
        let dedupe = Dedupe::default();
        let (open, gate) = tokio::sync::oneshot::channel::<()>();
        let slow = dedupe.once("send", ("k", "same".into()), async move {
            gate.await.ok();
            Ok(json!("sent"))
        });
        assert!(tokio::time::timeout(Duration::from_millis(20), slow).await.is_err());
        open.send(()).unwrap();
        assert_eq!(dedupe.once("send", ("k", "same".into()), async { Ok(json!("again")) }).await, Ok(json!("sent")));
    }
}
