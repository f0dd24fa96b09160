//! TCP between two IP addresses, over all their sessions.
//!
//! # Where a round trip is measured
//!
//! At one tap: the one at the sender, where that is known from packets that passed two taps, else the one with the longest shortest round
//! trip, which is the farthest from the receiver.
//!
//! # One way
//!
//! A packet that passes two taps is stamped by two clocks. Let the clock of the recipient's tap be s ahead of that of the sender's: then a
//! passage seems to take d + s one way and d - s back, as far as the path is the same both ways. So with the shortest passages of
//! both directions, s is half of their difference and d half of their sum. As long as nothing is known of one direction, s is
//! not, and nothing is said of d either. (Moon, Skelly and Towsley, "Estimation and Removal of Clock Skew from Network Delay Measurements",
//! INFOCOM 1999, go on to clocks that run at different speeds; here one value holds for the whole run.)

use std::collections::BTreeMap;
use std::net::IpAddr;

use bftap_model::{CaptureTime, Nanos, Spread, TapId};

use crate::facts::TcpLinkFact;
use crate::observation::SessionEnd;
use crate::who::Resolved;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// By sender and receiver.
    ways: BTreeMap<(IpAddr, IpAddr), Way>,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    segments: u64,
    bytes: u64,
    retransmissions: u64,
    trips: BTreeMap<TapId, Trips>,
    passages: BTreeMap<[TapId; 2], Spread>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Trips {
    spread: Spread,
    /// The smoothed value of the latest connection, and what makes it the latest.
    latest: Option<(CaptureTime, CaptureTime, [u16; 2], i64)>,
}

/// What packets say that passed two taps, one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Passage {
    taps: [TapId; 2],
    samples: u64,
    /// Shortest and mean time, and what the receiver's clock is ahead; `None` with packets of one direction only.
    times: Option<(i64, i64, i64)>,
}

impl Links {
    pub(crate) fn new<'s>(sessions: impl Iterator<Item = &'s SessionEnd>) -> Self {
        let mut links = Self::default();
        for end in sessions {
            let [initiator, recipient] = end.info.ends;
            for (way, (from, to)) in end
                .network
                .ways
                .iter()
                .zip([(initiator, recipient), (recipient, initiator)])
            {
                if way.segments == 0 {
                    continue;
                }
                let sum = links.ways.entry((from.ip, to.ip)).or_default();
                sum.segments += way.segments;
                sum.bytes += way.bytes;
                sum.retransmissions += way.retransmissions;
                for trips in &way.round_trips {
                    let known = sum.trips.entry(trips.tap).or_default();
                    known.spread.join(&trips.spread);
                    let latest = (end.span.1, end.span.0, [from.port, to.port], trips.smoothed);
                    known.latest = known.latest.max(Some(latest));
                }
                for passages in &way.passages {
                    let known = sum.passages.entry(passages.taps).or_default();
                    known.join(&passages.spread);
                }
            }
        }
        links
    }

    /// The shortest round trip between two IP addresses, from stack to stack.
    ///
    /// At one tap in the middle, or at one end, it is the sum of what it is from there to both ends. Where only one direction told
    /// something it is as much as that, which is less than all of it if the tap is far from the sender.
    // A lookup for whoever asks what was on its way at a time; nobody does so far.
    #[cfg_attr(not(test), allow(dead_code))]
    pub(crate) fn rtt_min(&self, a: IpAddr, b: IpAddr) -> Option<Nanos> {
        let there = &self.ways.get(&(a, b))?.trips;
        let back = self.ways.get(&(b, a)).map(|way| &way.trips);
        let both = there
            .iter()
            .filter_map(|(tap, there)| {
                let back = back?.get(tap)?;
                Some(there.spread.min.saturating_add(back.spread.min))
            })
            .min();
        let one = there.values().chain(back.into_iter().flat_map(BTreeMap::values));
        both.or_else(|| one.map(|trips| trips.spread.min).max())
            .map(Nanos)
    }

    /// All of them, by sender and receiver.
    pub(crate) fn facts(&self, names: &Resolved) -> Vec<TcpLinkFact> {
        let fact = |(&(sender_ip, receiver_ip), way): (&(IpAddr, IpAddr), &Way)| {
            let passage = self.passage(sender_ip, receiver_ip);
            let trips = way.trips_at(passage.filter(|passage| passage.times.is_some()));
            let spread = trips.spread;
            let told = |value: i64| (spread.count > 0).then_some(value);
            let times = passage.and_then(|passage| passage.times);
            TcpLinkFact {
                sender_ip,
                sender: names.receiver_label(sender_ip),
                receiver_ip,
                receiver: names.receiver_label(receiver_ip),
                segments: way.segments,
                bytes: way.bytes,
                retransmissions: way.retransmissions,
                rtt_samples: spread.count,
                rtt_min_ns: told(spread.min),
                rtt_mean_ns: spread.mean(),
                rtt_max_ns: told(spread.max),
                rtt_smoothed_ns: trips.latest.map(|(.., smoothed)| smoothed),
                one_way_samples: passage.map_or(0, |passage| passage.samples),
                one_way_min_ns: times.map(|(min, ..)| min),
                one_way_mean_ns: times.map(|(_, mean, _)| mean),
                skew_ns: times.map(|(.., skew)| skew),
            }
        };
        self.ways.iter().map(fact).collect()
    }

    /// What passed two taps on its way from `sender` to `receiver`: of several pairs of taps, the one that both directions passed, and most
    /// packets.
    fn passage(&self, sender: IpAddr, receiver: IpAddr) -> Option<Passage> {
        let back = self.ways.get(&(receiver, sender));
        let passages = self.ways.get(&(sender, receiver))?.passages.iter();
        let all = passages.map(|(&taps, there)| {
            let back = back.and_then(|way| way.passages.get(&taps));
            Passage::new(taps, there, back)
        });
        all.max_by_key(|passage| {
            let shortest = passage.times.map(|(min, ..)| min);
            (passage.times.is_some(), passage.samples, shortest, passage.times)
        })
    }
}

impl Passage {
    /// `there` and `back` count from the first tap to the second.
    fn new(taps: [TapId; 2], there: &Spread, back: Option<&Spread>) -> Self {
        let samples = there.count;
        let unknown = Self {
            taps,
            samples,
            times: None,
        };
        let (Some(back), Some(mean)) = (back, there.mean()) else {
            return unknown;
        };
        let Some(back_mean) = back.mean() else {
            return unknown;
        };
        // Whoever sends passes its own tap first, whatever the clocks say: the two directions differ in that alone.
        if mean >= back_mean {
            let skew = there.min.midpoint(back.max);
            Self {
                taps,
                samples,
                times: Some((there.min - skew, mean - skew, skew)),
            }
        } else {
            let skew = there.max.midpoint(back.min);
            Self {
                taps: [taps[1], taps[0]],
                samples,
                times: Some((skew - there.max, skew - mean, -skew)),
            }
        }
    }
}

impl Way {
    fn trips_at(&self, passage: Option<Passage>) -> Trips {
        let at_sender = passage.and_then(|passage| self.trips.get(&passage.taps[0]));
        let farthest = || {
            self.trips.values().max_by_key(|trips| {
                (
                    trips.spread.min,
                    trips.spread.count,
                    trips.spread.max,
                    trips.latest,
                )
            })
        };
        at_sender.or_else(farthest).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(spans: &[i64]) -> Spread {
        let mut spread = Spread::default();
        for span in spans {
            spread.add(Nanos(*span));
        }
        spread
    }

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn trips(min: i64) -> Trips {
        Trips {
            spread: spread(&[min, min + 10]),
            latest: Some((CaptureTime::MIN, CaptureTime::MIN, [1, 2], min + 1)),
        }
    }

    const ONE: TapId = TapId(1);
    const TWO: TapId = TapId(2);

    #[test]
    fn skew_is_taken_off_whichever_tap_is_nearer() {
        // 50 there and back at least, 60 and 55 on average; the clock of tap 2 is 1,000 ahead.
        let there = spread(&[1_050, 1_070]);
        let back = spread(&[950, 940]);
        let expected = Passage {
            taps: [ONE, TWO],
            samples: 2,
            times: Some((50, 60, 1_000)),
        };
        assert_eq!(Passage::new([ONE, TWO], &there, Some(&back)), expected);
        assert_eq!(
            Passage::new([ONE, TWO], &back, Some(&there)),
            Passage {
                taps: [TWO, ONE],
                samples: 2,
                times: Some((50, 55, -1_000)),
            }
        );
        // The same packets, taps numbered the other way round.
        let (there, back) = (spread(&[-1_050, -1_070]), spread(&[-950, -940]));
        assert_eq!(
            Passage::new([ONE, TWO], &there, Some(&back)).times,
            expected.times,
            "the numbers of taps do not matter"
        );
        assert_eq!(Passage::new([ONE, TWO], &there, None).times, None);
    }

    #[test]
    fn round_trips_are_those_of_the_tap_at_the_sender() {
        let mut links = Links::default();
        let way = |near: TapId, far: TapId, passage: &[i64]| Way {
            segments: 1,
            trips: [(near, trips(100)), (far, trips(20))].into(),
            passages: [([ONE, TWO], spread(passage))].into(),
            ..Way::default()
        };
        links.ways.insert((ip(1), ip(2)), way(ONE, TWO, &[40]));
        links.ways.insert((ip(2), ip(1)), way(TWO, ONE, &[-40]));
        let facts = links.facts(&Resolved::default());
        let round_trips: Vec<_> = facts
            .iter()
            .map(|link| (link.rtt_min_ns, link.rtt_mean_ns, link.rtt_smoothed_ns))
            .collect();
        assert_eq!(round_trips, [(Some(100), Some(105), Some(101)); 2]);
        assert_eq!(facts[0].one_way_min_ns, Some(40));
        assert_eq!(links.rtt_min(ip(1), ip(2)), Some(Nanos(120)));
        assert_eq!(links.rtt_min(ip(2), ip(1)), Some(Nanos(120)));
        assert_eq!(links.rtt_min(ip(2), ip(3)), None);
        links.ways.remove(&(ip(2), ip(1)));
        assert_eq!(links.rtt_min(ip(1), ip(2)), Some(Nanos(100)));
        assert_eq!(
            links.facts(&Resolved::default())[0].rtt_min_ns,
            Some(100),
            "the farthest"
        );
        assert_eq!(links.facts(&Resolved::default())[0].one_way_min_ns, None);
    }
}
