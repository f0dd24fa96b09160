//! Interfaces as a source of packets, through libpcap: one thread an interface, their packets merged by time.
//!
//! [`Interfaces::open`] opens what is there, which takes privileges; [`Interfaces::start`] begins to read, which takes none but
//! `CAP_NET_RAW` on the reading threads, to open an interface that comes back. They inherit it from the thread that starts them.
//!
//! The only loss is in the kernel's buffer, where it is counted: whoever is slow makes the channels full, the threads wait, and the
//! buffer takes what it can.

mod counters;
mod device;
mod error;
mod fill;
mod filter;
mod follow;
mod join;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::bounded;

use super::packet_source::{InputStats, PacketSource};
use crate::packet::Batch;
use counters::Counters;
use device::Device;
use follow::Follower;
use join::Join;

pub use error::LiveError;

/// How interfaces are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveOptions {
    /// Only TCP connections with such a port at either end; empty for all.
    pub ports: Vec<u16>,
    /// A filter in libpcap's language, in place of the one that follows from the ports.
    pub filter: Option<String>,
    /// Bytes of each packet that are kept. Receive offload makes packets larger than any link carries.
    pub snap_length: u32,
    /// Size of the kernel's buffer for each interface, in bytes.
    pub buffer: u32,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            ports: Vec::new(),
            filter: None,
            snap_length: 256 << 10,
            buffer: 64 << 20,
        }
    }
}

/// Something about an interface that a person wants to know at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceNews {
    /// It is gone, or cannot be read, and is waited for.
    Away {
        /// Its name.
        interface: String,
        /// Why.
        why: String,
    },
    /// It is read again, or for the first time.
    There {
        /// Its name.
        interface: String,
    },
}

/// Who is told of news; called on the reading threads.
pub type Teller = Arc<dyn Fn(InterfaceNews) + Send + Sync>;

/// Interfaces, opened as far as they are there.
pub struct Interfaces {
    followers: Vec<Follower>,
}

impl Interfaces {
    /// Opens interfaces. Those that are not there yet are waited for once reading begins.
    ///
    /// # Errors
    /// None is there, one that is there cannot be opened, or a filter does not compile.
    pub fn open(names: &[String], options: &LiveOptions) -> Result<Self, LiveError> {
        if names.is_empty() {
            return Err(LiveError::NoneNamed);
        }
        let mut followers = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return Err(LiveError::NamedTwice {
                    interface: name.clone(),
                });
            }
            let device = match Device::open(name, options) {
                Ok(device) => Some(device),
                Err(LiveError::Away { .. }) => None,
                Err(error) => return Err(error),
            };
            followers.push(Follower::new(index, name.clone(), options.clone(), device));
        }
        if followers.iter().all(|follower| !follower.is_there()) {
            return Err(LiveError::NoneThere {
                interfaces: names.join(", "),
            });
        }
        Ok(Self { followers })
    }

    /// Names of those that are not there yet.
    pub fn awaited(&self) -> Vec<String> {
        let away = self.followers.iter().filter(|follower| !follower.is_there());
        away.map(|follower| follower.name().to_owned()).collect()
    }

    /// Begins to read. `teller` is told when an interface goes or comes.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn start(self, teller: &Teller) -> Result<LiveCapture, LiveError> {
        let stop = Arc::new(AtomicBool::new(false));
        let counters: Vec<Arc<Counters>> = self.followers.iter().map(Follower::counters).collect();
        let (sender, arrivals) = bounded(QUEUED + self.followers.len());
        for follower in self.followers {
            let (sender, stop, teller) = (sender.clone(), Arc::clone(&stop), Arc::clone(teller));
            std::thread::Builder::new()
                // Linux shows 15 characters.
                .name(format!("tap {}", follower.name()))
                .spawn(move || follower.run(&sender, &stop, &teller))
                .map_err(LiveError::Thread)?;
        }
        Ok(LiveCapture {
            join: Join::new(counters.len(), arrivals),
            counters,
            stop,
            delay: Arc::default(),
        })
    }
}

/// Pieces of packets that may wait to be merged, all interfaces together.
const QUEUED: usize = 16;

/// Packets of interfaces. Each interface is one tap, and one input.
pub struct LiveCapture {
    join: Join,
    counters: Vec<Arc<Counters>>,
    stop: Arc<AtomicBool>,
    /// Age of the newest packet of the last batch when it was given, in nanoseconds.
    delay: Arc<AtomicU64>,
}

impl LiveCapture {
    /// Ends the reading: what the kernel has taken up to now still comes.
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// The interfaces' numbers, for whoever shows them meanwhile.
    pub fn watch(&self) -> LiveWatch {
        LiveWatch {
            counters: self.counters.clone(),
            late: self.join.late(),
            delay: Arc::clone(&self.delay),
        }
    }
}

impl PacketSource for LiveCapture {
    fn next_batch(&mut self) -> Option<Batch> {
        let batch = self.join.next_batch()?;
        if let Some(last) = batch.records.last() {
            let delay = follow::wall().since(last.seen).0.max(0);
            self.delay.store(delay.unsigned_abs(), Ordering::Relaxed);
        }
        Some(batch)
    }

    fn inputs_of_taps(&self) -> Vec<usize> {
        (0..self.counters.len()).collect()
    }

    fn inputs(&self) -> Vec<InputStats> {
        self.counters.iter().map(|counters| counters.stats()).collect()
    }
}

impl Drop for LiveCapture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// See [`LiveCapture::stopper`].
#[derive(Clone, Debug)]
pub struct Stopper(Arc<AtomicBool>);

impl Stopper {
    /// No more packets are read.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// See [`LiveCapture::watch`].
#[derive(Clone, Debug)]
pub struct LiveWatch {
    counters: Vec<Arc<Counters>>,
    late: Arc<AtomicU64>,
    delay: Arc<AtomicU64>,
}

impl LiveWatch {
    /// What is known of each interface now.
    pub fn inputs(&self) -> Vec<InputStats> {
        self.counters.iter().map(|counters| counters.stats()).collect()
    }

    /// How old the newest packet was when it was given last.
    pub fn delay(&self) -> Duration {
        Duration::from_nanos(self.delay.load(Ordering::Relaxed))
    }

    /// Packets that came too late to be put in order with those of other interfaces.
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }
}
