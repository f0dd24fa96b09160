//! The thread of one interface: reads it while it is there, and waits for it while it is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bftap_model::{CaptureTime, Nanos, TapId};
use crossbeam_channel::{SendTimeoutError, Sender, TrySendError};

use super::counters::Counters;
use super::device::Device;
use super::error::LiveError;
use super::fill::{Filler, Piece};
use super::{InterfaceNews, LiveOptions, Teller};
use crate::packet::Batch;

/// How long packets may wait for others that fill their block up.
const FLUSH: Duration = Duration::from_millis(20);

/// How often an interface that gives nothing says how time goes on.
const TICK: Duration = Duration::from_millis(50);

/// What an interface that gives nothing may still hold back in the kernel: blocks are retired every 10 ms, by a timer that may be
/// late on a busy machine.
const HELD_BACK: Nanos = Nanos::from_millis(100);

/// How often an interface that is not there is looked for.
const LOOK: Duration = Duration::from_millis(500);

/// How often the kernel is asked for what was lost.
const STATISTICS: Duration = Duration::from_millis(250);

/// How long what was taken before the end is waited for.
const DRAIN: Duration = Duration::from_millis(150);

/// Longest wait in one piece, so that the end is noticed.
const WAIT: Duration = Duration::from_millis(20);

/// See the module's documentation.
pub(super) struct Follower {
    interface: usize,
    name: String,
    options: LiveOptions,
    device: Option<Device>,
    counters: Arc<Counters>,
}

/// Whoever merges is gone: there is nothing left to do.
struct Gone;

impl Follower {
    pub(super) fn new(interface: usize, name: String, options: LiveOptions, device: Option<Device>) -> Self {
        let counters = Counters::new(name.clone());
        if device.is_none() {
            counters.went_down();
            counters.set_problem(Some(NOT_THERE.to_owned()));
        }
        Self {
            interface,
            name,
            options,
            device,
            counters: Arc::new(counters),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_there(&self) -> bool {
        self.device.is_some()
    }

    pub(super) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Reads until it is told to stop, or nobody wants packets any more.
    pub(super) fn run(mut self, sender: &Sender<Piece>, stop: &AtomicBool, teller: &Teller) {
        let mut filler = Filler::new();
        let mut said = None;
        while !stop.load(Ordering::Acquire) {
            let read = match self.device.take() {
                Some(device) => self.read(device, &mut filler, sender, stop).map(Some),
                None => self.look_for(sender, stop, &mut said, teller).map(|()| None),
            };
            match read {
                Err(Gone) => return,
                Ok(Some(why)) => {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    self.counters.went_down();
                    self.counters.set_problem(Some(why.clone()));
                    said = Some(why.clone());
                    teller(InterfaceNews::Away {
                        interface: self.name.clone(),
                        why,
                    });
                }
                Ok(None) => {}
            }
        }
    }

    /// Reads a device until it fails, and says why; or until the end.
    fn read(
        &self,
        mut device: Device,
        filler: &mut Filler,
        sender: &Sender<Piece>,
        stop: &AtomicBool,
    ) -> Result<String, Gone> {
        let tap = TapId(u16::try_from(self.interface).unwrap_or(u16::MAX));
        let mut flushed = now();
        let mut ticked = flushed;
        let mut asked = flushed;
        let mut ending: Option<(Instant, CaptureTime)> = None;
        loop {
            let before = wall();
            let read = device.read(tap, filler);
            let at = now();
            let (packets, bytes) = filler.counted();
            self.counters.add(packets, bytes);
            if let Ok(0) = read
                && !filler.has_rest()
            {
                flushed = at;
            }
            if at.duration_since(flushed) >= FLUSH || read.is_err() {
                filler.flush();
                flushed = at;
            }
            for batch in filler.take_full() {
                ticked = at;
                self.hand_on(batch, sender)?;
            }
            if at.duration_since(asked) >= STATISTICS || read.is_err() {
                self.counters.add_drops(device.drops());
                asked = at;
            }
            if ending.is_none() && stop.load(Ordering::Acquire) {
                ending = Some((at, wall()));
            }
            match read {
                Err(why) => return Ok(why),
                Ok(count) => {
                    if let Some((since, end)) = ending
                        && at.duration_since(since) >= DRAIN
                        && (count == 0 || filler.latest().is_some_and(|latest| latest > end))
                    {
                        filler.flush();
                        for batch in filler.take_full() {
                            self.hand_on(batch, sender)?;
                        }
                        self.counters.add_drops(device.drops());
                        return Ok(String::new());
                    }
                    if count == 0 {
                        if !filler.has_rest() && at.duration_since(ticked) >= TICK {
                            self.tick(before, sender)?;
                            ticked = at;
                        }
                        device.wait(WAIT);
                    }
                }
            }
        }
    }

    /// Waits for the interface. The first failure of each kind is told.
    fn look_for(
        &mut self,
        sender: &Sender<Piece>,
        stop: &AtomicBool,
        said: &mut Option<String>,
        teller: &Teller,
    ) -> Result<(), Gone> {
        let since = now();
        while now().duration_since(since) < LOOK {
            if stop.load(Ordering::Acquire) {
                return Ok(());
            }
            self.tick(wall(), sender)?;
            std::thread::sleep(TICK);
        }
        match Device::open(&self.name, &self.options) {
            Ok(device) => {
                self.device = Some(device);
                self.counters.set_problem(None);
                *said = None;
                teller(InterfaceNews::There {
                    interface: self.name.clone(),
                });
            }
            Err(LiveError::Away { .. }) => {}
            Err(error) => {
                let why = error.to_string();
                self.counters.set_problem(Some(why.clone()));
                if said.as_ref() != Some(&why) {
                    *said = Some(why.clone());
                    teller(InterfaceNews::Away {
                        interface: self.name.clone(),
                        why,
                    });
                }
            }
        }
        Ok(())
    }

    /// Waits until there is room: meanwhile the kernel's buffer takes what comes.
    fn hand_on(&self, batch: Batch, sender: &Sender<Piece>) -> Result<(), Gone> {
        let mut piece = Piece {
            interface: self.interface,
            reached: batch.records.last().map(|last| last.seen),
            batch,
            at: now(),
        };
        loop {
            match sender.send_timeout(piece, WAIT) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) => piece = back,
                Err(SendTimeoutError::Disconnected(_)) => return Err(Gone),
            }
        }
    }

    /// Says that nothing came up to about that time.
    fn tick(&self, idle: CaptureTime, sender: &Sender<Piece>) -> Result<(), Gone> {
        let piece = Piece {
            interface: self.interface,
            batch: Batch::default(),
            reached: Some(idle.saturating_add(Nanos(-HELD_BACK.0))),
            at: now(),
        };
        match sender.try_send(piece) {
            // Where there is no room, others have more to say.
            Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(Gone),
        }
    }
}

/// Why an interface cannot be read that is not there.
const NOT_THERE: &str = "it is not there";

#[allow(
    clippy::disallowed_methods,
    reason = "how long packets wait for others is about this machine"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The clock that the kernel stamps packets with.
#[allow(
    clippy::disallowed_methods,
    reason = "an interface that gives nothing has no packets to tell the time by"
)]
pub(super) fn wall() -> CaptureTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    CaptureTime::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
