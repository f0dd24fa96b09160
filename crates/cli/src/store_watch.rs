//! Says on standard error when the store is away, when it is back, and when detail had to go meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bftap_store::WriterStatus;

use crate::report::count;
use crate::term::{Level, tell};

/// Watches a store until it is dropped.
pub(crate) struct StoreWatch {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What was said.
#[derive(Debug, Default)]
struct Said {
    away: bool,
    thinned: bool,
}

impl StoreWatch {
    /// Begins.
    pub(crate) fn start(status: Arc<WriterStatus>) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let watch = Arc::clone(&done);
        let follow = move || {
            let mut said = Said::default();
            while !watch.load(Ordering::Acquire) {
                for (level, text) in said.news(&status) {
                    tell(level, &text);
                }
                std::thread::park_timeout(EVERY);
            }
        };
        // Without a thread for it nothing is said meanwhile; the end says whether all is stored.
        let thread = std::thread::Builder::new()
            .name("store watch".to_owned())
            .spawn(follow)
            .ok();
        Self { done, thread }
    }
}

impl Drop for StoreWatch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It only prints; a panic there was printed, and must not become ours while we may be unwinding.
            let _ = thread.join();
        }
    }
}

impl Said {
    fn news(&mut self, status: &WriterStatus) -> Vec<(Level, String)> {
        let mut news = Vec::new();
        let away = status.away.load(Ordering::Relaxed);
        if away && !self.away {
            let text = format!(
                "{}; results wait for it, and are written when it is back",
                status.last_error()
            );
            news.push((Level::Warning, text));
        } else if self.away && !away {
            let waiting = status.waiting_batches.load(Ordering::Relaxed);
            let text = format!(
                "the store is back; {} batches that waited are being written",
                count(waiting)
            );
            news.push((Level::Note, text));
        }
        self.away = away;
        if !self.thinned && status.thinned_rows.load(Ordering::Relaxed) > 0 {
            self.thinned = true;
            let text = "the spool is full: messages by sender and signer of the oldest heights are not stored before the end; their sums are";
            news.push((Level::Warning, text.to_owned()));
        }
        news
    }
}

const EVERY: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_said_once() {
        let status = WriterStatus::default();
        let mut said = Said::default();
        assert!(said.news(&status).is_empty());
        status.away.store(true, Ordering::Relaxed);
        assert!(matches!(&said.news(&status)[..], [(Level::Warning, _)]));
        assert!(said.news(&status).is_empty());
        status.thinned_rows.store(3, Ordering::Relaxed);
        assert!(said.news(&status)[0].1.contains("spool is full"));
        status.away.store(false, Ordering::Relaxed);
        status.waiting_batches.store(1234, Ordering::Relaxed);
        let news = said.news(&status);
        assert!(
            matches!(&news[..], [(Level::Note, text)] if text.contains("1,234 batches")),
            "{news:?}"
        );
        assert!(said.news(&status).is_empty());
    }
}
