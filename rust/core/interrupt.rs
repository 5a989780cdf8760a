//! Work that can be stopped: every long loop asks by [`check`] whether it is to go on.
//!
//! Who calls says how that is found out ([`interruptible`]). The thread that called asks, every few
//! milliseconds, since it may be the only one that can; the call's other threads look at a flag. Other calls
//! go on. Where nobody has said how, nothing is ever stopped.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// Why a call is to end, for who made it.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Asks who made the call; an error says that it is to end.
pub type Ask = fn() -> std::result::Result<(), Cause>;

/// Checks between two looks at the clock, which takes longer than all else here.
const CHECKS: u32 = 16;
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(5);
/// At most this share of the time goes by with questions: the answer may have to wait for a lock ...
const SHARE: u32 = 20;
/// ... but for no longer than so.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

thread_local! {
    /// What this thread works for.
    static HERE: RefCell<Option<Rc<Here>>> = const { RefCell::new(None) };
}

/// One call, as its threads share it.
#[derive(Default)]
struct Call {
    is_stopped: AtomicBool,
    cause: Mutex<Option<Cause>>,
}

/// One thread of a call.
struct Here {
    call: Arc<Call>,
    ask: Option<Ask>,
    checks: Cell<u32>,
    due: Cell<Instant>,
}

/// Does `work`, which ends early once `ask` gives a cause, or [`stop`] is given one in it.
///
/// # Errors
/// That cause, whatever `work` has come to.
pub fn interruptible<T>(
    ask: Option<Ask>,
    work: impl FnOnce() -> T,
) -> std::result::Result<T, Cause> {
    let call = Arc::new(Call::default());
    let done = entered(Arc::clone(&call), ask, work);
    let mut cause = call.cause.lock().unwrap_or_else(PoisonError::into_inner);
    cause.take().map_or(Ok(done), Err)
}

/// Whether the work goes on. Cheap enough for each packet, block or header.
///
/// # Errors
/// [`ErrorKind::Interrupted`], from then on always: nothing may be written or kept of what it ends.
#[inline]
pub fn check() -> Result<()> {
    HERE.with_borrow(|here| match here {
        None => Some(Ok(())),
        Some(here) if here.is_to_look() => None,
        Some(here) => Some(here.call.state()),
    })
    .unwrap_or_else(check_now)
}

/// [`check`] for what takes a millisecond or longer, such as a read: it looks at the clock each time.
///
/// # Errors
/// As for [`check`].
pub fn check_now() -> Result<()> {
    // Nothing is borrowed while it asks: who is asked may make calls of his own on this thread.
    let Some(here) = here() else {
        return Ok(());
    };
    here.ask_when_due();
    here.call.state()
}

/// Ends the call that this thread works for; the first cause counts.
pub fn stop(cause: Cause) {
    if let Some(here) = here() {
        here.call.stop(cause);
    }
}

/// The error that ends stopped work.
pub fn stopped() -> Error {
    Error::new(ErrorKind::Interrupted, "the work was stopped")
}

/// The call that this thread works for, to be taken to its other threads.
pub(crate) struct Shared(Option<Arc<Call>>);

/// See [`Shared`].
pub(crate) fn shared() -> Shared {
    Shared(here().map(|here| Arc::clone(&here.call)))
}

impl Shared {
    /// Does `work` on another thread of the call.
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(call) => entered(Arc::clone(call), None, work),
            None => work(),
        }
    }
}

/// Waits for the call's other threads until `is_done`, and asks meanwhile. Whoever makes it true unparks
/// this thread.
pub(crate) fn wait_until(is_done: impl Fn() -> bool) {
    let here = here().filter(|here| here.ask.is_some());
    while !is_done() {
        match &here {
            None => thread::park(),
            Some(here) => {
                thread::park_timeout(PAUSE);
                here.ask_when_due();
            }
        }
    }
}

fn here() -> Option<Rc<Here>> {
    HERE.with_borrow(Clone::clone)
}

/// Does `work` for `call`; afterwards the thread works for whom it worked before.
fn entered<T>(call: Arc<Call>, ask: Option<Ask>, work: impl FnOnce() -> T) -> T {
    struct Back(Option<Rc<Here>>);
    impl Drop for Back {
        fn drop(&mut self) {
            HERE.set(self.0.take());
        }
    }
    let here = Here {
        call,
        ask,
        checks: Cell::new(CHECKS),
        due: Cell::new(Instant::now() + PAUSE),
    };
    let _back = Back(HERE.replace(Some(Rc::new(here))));
    work()
}

impl Call {
    fn stop(&self, cause: Cause) {
        let mut first = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(cause);
        self.is_stopped.store(true, Relaxed);
    }

    fn state(&self) -> Result<()> {
        match self.is_stopped.load(Relaxed) {
            true => Err(stopped()),
            false => Ok(()),
        }
    }
}

impl Here {
    /// Whether it is the turn of a look at the clock.
    fn is_to_look(&self) -> bool {
        if self.ask.is_none() {
            return false;
        }
        let left = self.checks.get().saturating_sub(1);
        self.checks.set(if left == 0 { CHECKS } else { left });
        left == 0
    }

    fn ask_when_due(&self) {
        let begun = Instant::now();
        let is_due = begun >= self.due.get() && !self.call.is_stopped.load(Relaxed);
        let Some(ask) = self.ask.filter(|_| is_due) else {
            return;
        };
        // Not before this answer, should the answer ask for something that comes here.
        self.due.set(begun + LONGEST_PAUSE);
        if let Err(cause) = ask() {
            self.call.stop(cause);
        }
        let pause = (SHARE * begun.elapsed()).clamp(PAUSE, LONGEST_PAUSE);
        self.due.set(Instant::now() + pause);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::pool;

    fn no() -> std::result::Result<(), Cause> {
        Err("no more".into())
    }

    fn until_stopped(_: usize) -> Result<()> {
        loop {
            check()?;
            thread::yield_now();
        }
    }

    #[test]
    fn all_threads_of_a_call_end_and_its_cause_is_given() {
        for threads in [1, 3] {
            let work = || pool::each((0..6).collect(), threads, until_stopped);
            let cause = interruptible(Some(no), work).unwrap_err();
            assert_eq!(cause.to_string(), "no more");
        }
    }

    #[test]
    fn who_waits_for_the_others_asks_meanwhile() {
        let caller = thread::current().id();
        let work = |item: usize| match thread::current().id() == caller {
            // The others take a turn each before this one is through.
            true if item == 0 => {
                thread::sleep(Duration::from_millis(20));
                Ok(())
            }
            true => Ok(()),
            false => until_stopped(item),
        };
        let work = || pool::each((0..3).collect(), 3, work);
        assert!(interruptible(Some(no), work).is_err());
    }

    #[test]
    fn a_call_inside_a_call_ends_alone() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        fn yes() -> std::result::Result<(), Cause> {
            // As the handler of a signal may.
            assert!(interruptible(None, || stop("the inner one".into())).is_err());
            ASKED.fetch_add(1, Relaxed);
            Ok(())
        }
        let done = interruptible(Some(yes), || {
            while ASKED.load(Relaxed) < 2 {
                check()?;
            }
            check()
        });
        assert!(done.unwrap().is_ok());
        stop("nobody's".into());
        assert!(check().is_ok());
    }

    #[test]
    fn what_is_stopped_stays_so() {
        let work = || {
            stop("first".into());
            stop("second".into());
            [check(), check()].map(|state| state.unwrap_err().kind())
        };
        assert_eq!(interruptible(None, work).unwrap_err().to_string(), "first");
    }
}
