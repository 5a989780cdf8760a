//! What is dear to make and can be used again, kept between clips.

use std::borrow::Borrow;
use std::sync::Mutex;

/// A bounded store of idle values, each under a key; the latest ones stay.
pub(crate) struct Idle<K, V> {
    kept: Mutex<Vec<(K, V)>>,
    most: usize,
}

impl<K, V> Idle<K, V> {
    /// An empty store that will hold at most `most` values.
    pub(crate) const fn new(most: usize) -> Self {
        Self {
            kept: Mutex::new(Vec::new()),
            most,
        }
    }

    /// A value that was kept under `key`, if there is one.
    pub(crate) fn take<Q: PartialEq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.with(|kept| {
            let at = kept.iter().rposition(|(other, _)| other.borrow() == key)?;
            Some(kept.remove(at).1)
        })
        .flatten()
    }

    /// A copy of the value under `key`, which stays.
    pub(crate) fn share<Q: PartialEq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        V: Clone,
    {
        self.with(|kept| {
            let mut all = kept.iter().rev();
            let (_, value) = all.find(|(other, _)| other.borrow() == key)?;
            Some(value.clone())
        })
        .flatten()
    }

    /// Keeps `value` for the next [`Idle::take`]; the oldest one makes room.
    pub(crate) fn keep(&self, key: K, value: V) {
        let dropped = self.with(|kept| {
            kept.push((key, value));
            (kept.len() > self.most).then(|| kept.remove(0))
        });
        drop(dropped);
    }

    /// Runs `work` on the store; `None` when the lock cannot be had.
    ///
    /// Never waits for long: in a forked child the lock may be held by a thread that does not exist.
    fn with<T>(&self, work: impl FnOnce(&mut Vec<(K, V)>) -> T) -> Option<T> {
        for _ in 0..1000 {
            if let Ok(mut kept) = self.kept.try_lock() {
                return Some(work(&mut kept));
            }
            std::thread::yield_now();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_kept_under_the_same_key_and_drops_the_oldest() {
        let idle = Idle::<String, u32>::new(2);
        for (key, value) in [("a", 1), ("b", 2), ("b", 3)] {
            idle.keep(key.to_owned(), value);
        }
        assert_eq!(idle.take("a"), None);
        assert_eq!(
            [idle.take("b"), idle.take("b"), idle.take("b")],
            [Some(3), Some(2), None]
        );
    }
}
