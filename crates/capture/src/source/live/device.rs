//! One interface, opened.

use std::time::Duration;

use bftap_model::{CaptureTime, TapId};
use pcap::{Active, Capture, Error, Linktype, Precision};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketType};

use super::LiveOptions;
use super::counters::{DropCounters, Drops};
use super::error::LiveError;
use super::fill::Filler;
use super::filter::of_ports;
use crate::link::LinkType;

/// A packet socket with its ring of memory, through libpcap.
pub(super) struct Device {
    capture: Capture<Active>,
    link: LinkType,
    drops: DropCounters,
}

/// How long the kernel may hold packets of a block that is not full, in milliseconds. Not more than it has to be: packets of
/// several interfaces wait for each other.
const RETIRE_MS: i32 = 10;

/// Packets that are taken at once, so that whoever wants to stop need not wait long.
const AT_ONCE: usize = 4096;

/// The interface that stands for all of them.
const ANY: &str = "any";

impl Device {
    /// Opens it, filtered from its first packet on.
    pub(super) fn open(name: &str, options: &LiveOptions) -> Result<Self, LiveError> {
        if !is_name(name) {
            return Err(LiveError::Name {
                interface: name.to_owned(),
            });
        }
        if name != ANY && !is_there(name) {
            return Err(LiveError::Away {
                why: "it is not there".to_owned(),
            });
        }
        let fail = |error: Error| failure(name, &error);
        // Not in immediate mode: that takes a slot of the snap length for each packet, so the buffer holds few of them.
        let capture = Capture::from_device(name)
            .map_err(fail)?
            // All interfaces at once cannot be promiscuous.
            .promisc(name != ANY)
            .snaplen(i32::try_from(options.snap_length).unwrap_or(i32::MAX))
            .buffer_size(i32::try_from(options.buffer).unwrap_or(i32::MAX))
            .timeout(RETIRE_MS)
            // Linux stamps packets to the nanosecond.
            .precision(Precision::Nano)
            .open()
            .map_err(fail)?;
        let mut capture = capture.setnonblock().map_err(fail)?;
        let Linktype(number) = capture.get_datalink();
        let link = LinkType(u16::try_from(number).unwrap_or(u16::MAX));
        let filter = options.filter.clone().or_else(|| of_ports(&options.ports, link));
        if let Some(filter) = filter {
            capture.filter(&filter, true).map_err(|error| LiveError::Filter {
                interface: name.to_owned(),
                why: words(&error),
            })?;
        }
        Ok(Self {
            capture,
            link,
            drops: DropCounters::default(),
        })
    }

    /// Waits until there is something to read, or it is gone, but not for long.
    pub(super) fn wait(&self, at_most: Duration) {
        let mut ready = [PollFd::new(&self.capture, PollFlags::IN)];
        let at_most = Timespec {
            tv_sec: 0,
            tv_nsec: at_most.subsec_nanos().into(),
        };
        // Whatever is wrong with it, reading says so; a signal does no harm.
        let _ = poll(&mut ready, Some(&at_most));
    }

    /// Reads what is there, but not for ever, and says how many packets it was.
    pub(super) fn read(&mut self, tap: TapId, filler: &mut Filler) -> Result<usize, String> {
        let link = self.link;
        self.capture
            .dispatch(Some(AT_ONCE), |packet| {
                let stamp = packet.header.ts;
                // The second field holds nanoseconds, since that precision was asked for.
                #[allow(clippy::useless_conversion, reason = "they have other widths elsewhere")]
                let (seconds, nanos) = (i64::from(stamp.tv_sec), i64::from(stamp.tv_usec));
                let seen =
                    CaptureTime::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos));
                filler.push(seen, tap, link, packet.data, packet.header.len);
            })
            .map_err(|error| words(&error))
    }

    /// What was lost since the last time.
    pub(super) fn drops(&mut self) -> Drops {
        match self.capture.stats() {
            Ok(stats) => self.drops.advance(stats.dropped, stats.if_dropped),
            // That it is gone shows when it is read.
            Err(_) => Drops::default(),
        }
    }
}

/// As the kernel's `dev_valid_name`.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() < 16
        && name != "."
        && name != ".."
        && !name
            .bytes()
            .any(|byte| matches!(byte, b'/' | b':' | 0) || byte.is_ascii_whitespace())
}

/// Whether an interface of that name is in this network namespace.
fn is_there(name: &str) -> bool {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)
        .or_else(|_| rustix::net::socket(AddressFamily::INET6, SocketType::DGRAM, None));
    // Where there is no way to ask, opening it tells.
    socket.map_or(true, |socket| {
        rustix::net::netdevice::name_to_index(socket, name).is_ok()
    })
}

/// Libpcap gives no codes through the safe interface, so its words have to do (pcap-linux.c, `pcap_activate`).
fn failure(name: &str, error: &Error) -> LiveError {
    let why = words(error);
    let has = |word: &str| why.to_ascii_lowercase().contains(word);
    if has("permission") || has("not permitted") || has("cap_net_raw") {
        LiveError::Denied {
            interface: name.to_owned(),
            why,
        }
    } else if has("not up") || has("no such device") {
        LiveError::Away { why }
    } else {
        LiveError::Open {
            interface: name.to_owned(),
            why,
        }
    }
}

fn words(error: &Error) -> String {
    match error {
        Error::PcapError(text) if !text.is_empty() => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_kernel_takes() {
        for name in ["eth0", "mon0", "any", "br-lan.5", "a123456789abcde"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a b", "eth/0", "a123456789abcdef", "x\0", ".."] {
            assert!(!is_name(name), "{name}");
        }
    }
}
