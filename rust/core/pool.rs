//! Work on many items by threads that live as long as the call: nothing is left behind that a fork
//! could break.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::error::{Error, ErrorKind, Result};
use crate::guard::guarded;
use crate::interrupt;

/// Does `work` on every item on up to `threads` threads; results in the order of the items.
///
/// The calling thread works too. A panic of `work` is the error of its item; what has not begun when the call
/// is [stopped](interrupt) never does.
pub fn each<T: Send, R: Send>(
    items: Vec<T>,
    threads: usize,
    work: impl Fn(T) -> Result<R> + Sync,
) -> Vec<Result<R>> {
    each_heaviest_first(items, threads, |_| 0, work)
}

/// [`each`], where the items of most `weight` are begun first, so that the threads end together.
pub fn each_heaviest_first<T: Send, R: Send>(
    items: Vec<T>,
    threads: usize,
    weight: impl Fn(&T) -> u64,
    work: impl Fn(T) -> Result<R> + Sync,
) -> Vec<Result<R>> {
    let one = |item| {
        guarded(|| {
            interrupt::check()?;
            work(item)
        })
    };
    if threads <= 1 || items.len() <= 1 {
        return items.into_iter().map(one).collect();
    }
    let mut order: Vec<usize> = (0..items.len()).collect();
    let weights: Vec<u64> = items.iter().map(weight).collect();
    // Stable: items of one weight stay in order.
    order.sort_by_key(|&index| std::cmp::Reverse(weights[index]));
    let slots: Vec<_> = items
        .into_iter()
        .map(|item| Mutex::new((Some(item), None)))
        .collect();
    let next = AtomicUsize::new(0);
    let turns = || order.get(next.fetch_add(1, Ordering::Relaxed));
    let run = || {
        while let Some(&index) = turns() {
            // No two threads have the same turn: nobody ever waits for a lock.
            if let Ok(mut slot) = slots[index].lock() {
                slot.1 = slot.0.take().map(one);
            }
        }
    };
    beside(threads.min(slots.len()) - 1, &run);
    slots.into_iter().map(result).collect()
}

/// Runs `work` here, and on so many `others` beside; asks meanwhile whether the call goes on.
fn beside(others: usize, work: &(impl Fn() + Sync)) {
    let (caller, call) = (thread::current(), interrupt::shared());
    let running = AtomicUsize::new(0);
    let other = || {
        call.enter(work);
        running.fetch_sub(1, Ordering::Release);
        caller.unpark();
    };
    thread::scope(|scope| {
        for _ in 0..others {
            running.fetch_add(1, Ordering::Relaxed);
            // A thread that cannot be started leaves its share to the others.
            if thread::Builder::new().spawn_scoped(scope, other).is_err() {
                running.fetch_sub(1, Ordering::Relaxed);
            }
        }
        work();
        interrupt::wait_until(|| running.load(Ordering::Acquire) == 0);
    });
}

fn result<T, R>(slot: Mutex<(Option<T>, Option<Result<R>>)>) -> Result<R> {
    let lost = || Err(Error::new(ErrorKind::Decode, "the item was not processed"));
    let done = slot.into_inner().ok().and_then(|(_, done)| done);
    done.unwrap_or_else(lost)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn results_are_in_order_on_any_number_of_threads(
            items in prop::collection::vec(any::<u32>(), 0..50),
            threads in 0usize..6,
        ) {
            let double = |item: u32| Ok(u64::from(item) * 2);
            let expected: Vec<u64> = items.iter().map(|item| u64::from(*item) * 2).collect();
            let plain: Vec<_> = each(items.clone(), threads, double);
            let weighed = each_heaviest_first(items, threads, |item| u64::from(*item), double);
            prop_assert_eq!(plain.into_iter().map(Result::unwrap).collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(weighed.into_iter().map(Result::unwrap).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_panic_is_the_error_of_its_item_alone() {
        for threads in [1, 3] {
            let work = |item: usize| match item {
                7 => panic!("item seven"),
                item => Ok(item),
            };
            let results = each((0..20).collect(), threads, work);
            for (index, result) in results.into_iter().enumerate() {
                match result {
                    Ok(item) => assert!(item == index && item != 7),
                    Err(error) => assert!(index == 7 && error.to_string().contains("item seven")),
                }
            }
        }
    }

    #[test]
    fn the_heaviest_is_begun_first_and_all_threads_work() {
        let begun = Mutex::new(Vec::new());
        let barrier = std::sync::Barrier::new(2);
        let work = |item: u64| {
            begun
                .lock()
                .unwrap()
                .push((std::thread::current().id(), item));
            if item >= 9 {
                // Nobody gets past the two heaviest ones alone.
                barrier.wait();
            }
            Ok(())
        };
        each_heaviest_first((1..=10).collect(), 2, |item| *item, work);
        let begun = begun.into_inner().unwrap();
        let first: HashSet<u64> = begun.iter().take(2).map(|(_, item)| *item).collect();
        let threads: HashSet<_> = begun.iter().map(|(id, _)| *id).collect();
        assert_eq!((first, threads.len()), (HashSet::from([9, 10]), 2));
    }
}
