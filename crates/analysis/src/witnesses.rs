//! Whose word counts for what was not seen: where each node is, and when it was connected.
//!
//! That a vote did not reach a node can only be said of a node whose traffic was seen, at a time when it was there. All of it is kept by
//! rank of the IP address.

use bftap_model::{Address, CaptureTime, Nanos};
use hashbrown::HashMap;

use crate::facts::{Coverage, SessionState};
use crate::observation::SessionEnd;
use crate::spans::Spans;
use crate::{closing::IpRanks, coverage::CoverageMap, coverage::Losses};

/// Where nodes are, and when.
#[derive(Debug, Default)]
pub(crate) struct Witnesses {
    homes: HashMap<Address, Vec<u32>>,
    /// When there was a session.
    there: Vec<Spans>,
    /// Latest packet of any session; `None` without sessions.
    pub(crate) until: Option<CaptureTime>,
    /// When the first session was joined that had begun before the capture.
    pub(crate) joined: Option<CaptureTime>,
}

/// What can be said of a node for a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// All that it sent and got was seen, and it was there all the time.
    Whole,
    /// All that it sent and got was seen, but it was not always there.
    Absent,
    /// Something of it may not have been seen.
    Poor,
}

impl Witnesses {
    pub(crate) fn new<'s>(
        ips: &IpRanks,
        parties: impl Iterator<Item = (u32, Option<Address>)>,
        sessions: impl Iterator<Item = &'s SessionEnd>,
    ) -> Self {
        let mut witnesses = Self {
            there: vec![Spans::default(); ips.ips.len()],
            ..Self::default()
        };
        for (ip, address) in parties {
            if let Some(address) = address {
                let homes = witnesses.homes.entry(address).or_default();
                if !homes.contains(&ip) {
                    homes.push(ip);
                }
            }
        }
        for session in sessions {
            witnesses.until = witnesses.until.max(Some(session.span.1));
            if session.state == SessionState::NoHandshake {
                continue;
            }
            if session.attached == Some("midstream") {
                let joined = witnesses.joined.get_or_insert(session.span.0);
                *joined = (*joined).min(session.span.0);
            }
            for end in session.info.ends {
                if let Ok(ip) = ips.ips.binary_search(&end.ip) {
                    witnesses.there[ip].push(session.span);
                }
            }
        }
        witnesses.there.iter_mut().for_each(Spans::join);
        witnesses
    }

    /// Ranks of the IP addresses at which a node was seen.
    pub(crate) fn homes(&self, address: &Address) -> &[u32] {
        self.homes.get(address).map_or(&[], Vec::as_slice)
    }

    /// What can be said of a node for a span of time, and a little before and behind it.
    pub(crate) fn sight(
        &self,
        address: &Address,
        (from, to): (CaptureTime, CaptureTime),
        ips: &IpRanks,
        coverage: &CoverageMap,
        losses: &Losses,
    ) -> Sight {
        let homes = self.homes(address);
        let to = to.saturating_add(ON_THE_WAY);
        let seen = |&home: &u32| {
            let ip = ips.ips[home as usize];
            coverage.of(ip) != Coverage::Partial && !losses.overlap(ip, from, to)
        };
        if homes.is_empty() || !homes.iter().all(seen) {
            return Sight::Poor;
        }
        let from = from.saturating_add(Nanos(-ENTERING.0));
        let there = |&home: &u32| self.there[home as usize].hold((from, to));
        if homes.iter().any(there) {
            Sight::Whole
        } else {
            Sight::Absent
        }
    }

    /// Whether what was last seen at a time has had the time to be followed by what belongs to it.
    pub(crate) fn settled(&self, last: CaptureTime) -> bool {
        self.until
            .is_some_and(|until| last.saturating_add(ON_THE_WAY) <= until)
    }
}

/// What a vote may take to get everywhere, and a validator to send one: what the last second of a capture does not show may have come
/// behind it. Istanbul's rounds take some milliseconds, and time out after ten seconds.
pub(crate) const ON_THE_WAY: Nanos = Nanos::from_secs(1);
/// What a node takes from its first packet until others send it votes: handshake, Hello and Status.
const ENTERING: Nanos = Nanos::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_one_behind_the_other_are_one_presence() {
        let at = |seconds: i64| CaptureTime::from_nanos(seconds * 1_000_000_000);
        let address = Address([1; 20]);
        let ip = std::net::IpAddr::from([10, 0, 0, 1]);
        let ips = IpRanks {
            ips: vec![ip],
            of_party: vec![0],
            labels: vec!["one".into()],
            addresses: vec![Some(address)],
            tapped: vec![true],
            place_of_party: vec![0],
            ip_of_place: vec![0],
        };
        let mut witnesses = Witnesses {
            there: vec![[(at(0), at(10)), (at(20), at(30))].into_iter().collect()],
            ..Witnesses::default()
        };
        witnesses.homes.insert(address, vec![0]);
        let tapped = std::collections::BTreeSet::from([ip]);
        let (none, mut losses) = (std::collections::BTreeMap::new(), Losses::default());
        let coverage = CoverageMap::new([(ip, Some(address))], &tapped, &none, &none, &losses);
        let sight = |losses: &Losses, address: &Address, from, to| {
            witnesses.sight(address, (at(from), at(to)), &ips, &coverage, losses)
        };
        assert_eq!(sight(&losses, &address, 2, 9), Sight::Whole);
        assert_eq!(
            sight(&losses, &address, 2, 10),
            Sight::Absent,
            "it may have left first"
        );
        assert_eq!(sight(&losses, &address, 0, 5), Sight::Absent, "it may just come");
        assert_eq!(sight(&losses, &address, 12, 14), Sight::Absent);
        assert_eq!(sight(&losses, &address, 8, 24), Sight::Absent);
        assert_eq!(sight(&losses, &Address([2; 20]), 2, 9), Sight::Poor);
        losses.add(ip, at(10), at(11));
        losses.settle();
        assert_eq!(sight(&losses, &address, 2, 9), Sight::Poor);
        assert_eq!(sight(&losses, &address, 2, 8), Sight::Whole);
    }
}
