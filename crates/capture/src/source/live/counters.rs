//! What is counted of an interface, shared with whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::super::packet_source::InputStats;

/// See the module's documentation. Written by the interface's thread alone.
#[derive(Debug, Default)]
pub(super) struct Counters {
    name: String,
    packets: AtomicU64,
    bytes: AtomicU64,
    kernel_drops: AtomicU64,
    interface_drops: AtomicU64,
    times_down: AtomicU64,
    problem: Mutex<Option<String>>,
}

impl Counters {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    pub(super) fn add(&self, packets: u64, bytes: u64) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_drops(&self, drops: Drops) {
        self.kernel_drops.fetch_add(drops.kernel, Ordering::Relaxed);
        self.interface_drops.fetch_add(drops.interface, Ordering::Relaxed);
    }

    pub(super) fn went_down(&self) {
        self.times_down.fetch_add(1, Ordering::Relaxed);
    }

    /// Why it cannot be read at the moment; `None` if it can.
    pub(super) fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    pub(super) fn stats(&self) -> InputStats {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        InputStats {
            name: self.name.clone(),
            sha256: String::new(),
            packets: load(&self.packets),
            bytes: load(&self.bytes),
            kernel_drops: Some(load(&self.kernel_drops)),
            interface_drops: Some(load(&self.interface_drops)),
            times_down: Some(load(&self.times_down)),
            problem: self
                .problem
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}

/// Packets lost since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Drops {
    pub(super) kernel: u64,
    pub(super) interface: u64,
}

/// Libpcap's counters, which start over at 2^32.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DropCounters {
    kernel: u32,
    interface: u32,
}

impl DropCounters {
    /// What was lost between the last reading and this one.
    pub(super) fn advance(&mut self, kernel: u32, interface: u32) -> Drops {
        let drops = Drops {
            kernel: kernel.wrapping_sub(self.kernel).into(),
            interface: interface.wrapping_sub(self.interface).into(),
        };
        *self = Self { kernel, interface };
        drops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_may_start_over() {
        let mut counters = DropCounters::default();
        let drops = |kernel, interface| Drops { kernel, interface };
        assert_eq!(counters.advance(u32::MAX - 1, 0), drops(4_294_967_294, 0));
        assert_eq!(counters.advance(3, 0), drops(5, 0));
        assert_eq!(counters.advance(3, 9), drops(0, 9));
    }
}
