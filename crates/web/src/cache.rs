//! Answers that were given, as long as nothing changed: ten thousand who ask the same cost one query.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use tokio::sync::OnceCell;

use crate::answers::RunState;
use crate::{Ask, Problem};

/// Most answers that are kept.
const ANSWERS: usize = 256;

/// Most bytes that they have together.
const BYTES: usize = 32 << 20;

/// What was asked, and how the runs concerned stood then.
pub(crate) type Key = (Ask, Vec<RunState>);

/// Answers by question; the oldest go first.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<Key, Arc<OnceCell<Bytes>>>,
    order: VecDeque<Key>,
}

impl Cache {
    /// The answer that is kept, or else the one that `make` gives. While one makes it, others who ask the same wait for it.
    ///
    /// # Errors
    /// What `make` says; nothing is kept then.
    pub(crate) async fn get<F>(&self, key: Key, make: impl FnOnce() -> F) -> Result<Bytes, Problem>
    where
        F: Future<Output = Result<Bytes, Problem>>,
    {
        let cell = self.cell(key);
        cell.get_or_try_init(make).await.cloned()
    }

    fn cell(&self, key: Key) -> Arc<OnceCell<Bytes>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = kept.answers.get(&key) {
            return Arc::clone(cell);
        }
        let size = |cell: &Arc<OnceCell<Bytes>>| cell.get().map_or(0, Bytes::len);
        let mut bytes: usize = kept.answers.values().map(size).sum();
        while kept.order.len() >= ANSWERS || bytes > BYTES {
            let Some(oldest) = kept.order.pop_front() else {
                break;
            };
            if let Some(cell) = kept.answers.remove(&oldest) {
                bytes -= size(&cell).min(bytes);
            }
        }
        let cell = Arc::<OnceCell<Bytes>>::default();
        kept.answers.insert(key.clone(), Arc::clone(&cell));
        kept.order.push_back(key);
        cell
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn key(a: i64) -> Key {
        (Ask::Compare { a, b: 0 }, Vec::new())
    }

    #[tokio::test]
    async fn the_same_is_made_once_and_little_is_kept() {
        let cache = Cache::default();
        let made = AtomicUsize::new(0);
        let make = |size: usize| {
            made.fetch_add(1, Ordering::Relaxed);
            async move { Ok(Bytes::from(vec![0; size])) }
        };
        let (one, two) = tokio::join!(cache.get(key(0), || make(7)), cache.get(key(0), || make(7)));
        assert_eq!((one.unwrap().len(), two.unwrap().len()), (7, 7));
        assert_eq!(made.load(Ordering::Relaxed), 1);
        let refused = cache
            .get(key(1), || async { Err(Problem::Busy("no".to_owned())) })
            .await;
        assert!(refused.is_err());
        assert!(
            cache.get(key(1), || make(1)).await.is_ok(),
            "an error is not kept"
        );
        for a in 2..2 + 2 * ANSWERS as i64 {
            cache.get(key(a), || make(1)).await.unwrap();
        }
        assert!(cache.0.lock().unwrap().answers.len() <= ANSWERS);
        for a in 10_000..10_010 {
            cache.get(key(a), || make(BYTES / 2 + 1)).await.unwrap();
        }
        assert!(cache.0.lock().unwrap().answers.len() <= 4);
        let kept = cache.0.lock().unwrap();
        assert_eq!(kept.order.len(), kept.answers.len());
    }
}
