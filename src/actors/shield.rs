//! A panic while one message is handled costs that message and nothing else, and tells nothing of what the message says.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// True while this thread handles a message: what a panic says may quote it, as the standard library does with text that is cut in the
/// middle of a character. For the panic hook.
pub fn is_quiet() -> bool {
    QUIET.get()
}

/// The work panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panicked;

struct Quiet(bool);

impl Quiet {
    fn begin() -> Self {
        Self(QUIET.replace(true))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        QUIET.set(self.0);
    }
}

/// Does the work on a message. Whoever calls it has to leave its own state such that half of the work does no harm.
///
/// # Errors
/// When the work panicked.
pub(super) fn shielded<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    let _quiet = Quiet::begin();
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
}

/// The same work as a task of its own, whose panic its handle tells of.
pub(super) async fn quietly<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        let _quiet = Quiet::begin();
        work.as_mut().poll(cx)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_work_alone_and_is_quiet_meanwhile() {
        assert_eq!(shielded(is_quiet), Ok(true));
        assert_eq!(shielded(|| panic!("injected by a test")), Err::<(), _>(Panicked));
        assert!(!is_quiet(), "nor is it afterwards");
        assert!(quietly(async { is_quiet() }).await && !is_quiet());
        assert!(tokio::spawn(quietly(async { panic!("injected by a test") })).await.is_err());
        assert!(!is_quiet());
    }
}
