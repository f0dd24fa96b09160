//! What sessions together may hold while they wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the sessions of a run together may hold: while they wait for secrets or for their place, or of large unfinished frames. Clones share
/// one account.
#[derive(Clone, Debug)]
pub struct WaitingPool {
    limit: usize,
    held: Arc<AtomicUsize>,
}

impl WaitingPool {
    /// Allows `limit` bytes in all.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            held: Arc::default(),
        }
    }

    /// What is allowed.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether more than half of it is used.
    pub fn is_pressed(&self) -> bool {
        self.room() < self.limit / 2
    }

    pub(crate) fn room(&self) -> usize {
        self.limit.saturating_sub(self.held.load(Ordering::Relaxed))
    }

    pub(crate) fn charge(&self) -> Charge {
        Charge {
            held: Arc::clone(&self.held),
            amount: 0,
        }
    }
}

impl Default for WaitingPool {
    /// 64 MiB.
    fn default() -> Self {
        Self::new(64 << 20)
    }
}

/// A session's part of what a [`WaitingPool`] holds; given back when nothing is held any more, or its owner is gone.
#[derive(Debug)]
pub(crate) struct Charge {
    held: Arc<AtomicUsize>,
    amount: usize,
}

impl Charge {
    /// What is held of this account.
    pub(crate) fn amount(&self) -> usize {
        self.amount
    }

    pub(crate) fn set(&mut self, amount: usize) {
        if amount >= self.amount {
            self.held.fetch_add(amount - self.amount, Ordering::Relaxed);
        } else {
            self.held.fetch_sub(self.amount - amount, Ordering::Relaxed);
        }
        self.amount = amount;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}
