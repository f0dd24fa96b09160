//! How much of a node's traffic the captures show.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bftap_model::{Address, CaptureTime};

use crate::facts::Coverage;
use crate::observation::SessionEnd;

/// Spans of time in which messages to or from an IP address may have passed unread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Losses {
    spans: BTreeMap<IpAddr, Vec<(CaptureTime, CaptureTime)>>,
    /// Where something was lost, and not only not read yet.
    lossy: BTreeSet<IpAddr>,
    /// Spans of time in which nobody looked at all; sorted and apart once settled.
    everywhere: Vec<(CaptureTime, CaptureTime)>,
    /// All of it in the order in which it came.
    told: Vec<Loss>,
}

/// One thing that may be missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    /// `None`: anywhere.
    ip: Option<IpAddr>,
    span: (CaptureTime, CaptureTime),
    /// It was lost, and not only not read yet.
    lost: bool,
}

crate::kept! {
    Loss { ip, span, lost }
}

impl Losses {
    pub(crate) fn add(&mut self, ip: IpAddr, from: CaptureTime, to: CaptureTime) {
        self.recall(Loss {
            ip: Some(ip),
            span: (from, to),
            lost: true,
        });
    }

    fn add_blind(&mut self, ip: IpAddr, from: CaptureTime, to: CaptureTime) {
        self.recall(Loss {
            ip: Some(ip),
            span: (from, to),
            lost: false,
        });
    }

    /// Nobody looked between two times.
    pub(crate) fn add_everywhere(&mut self, from: CaptureTime, to: CaptureTime) {
        self.recall(Loss {
            ip: None,
            span: (from, to),
            lost: true,
        });
    }

    /// Adds a loss.
    pub(crate) fn recall(&mut self, loss: Loss) {
        let (from, to) = loss.span;
        let span = (from.min(to), from.max(to));
        match loss.ip {
            Some(ip) => {
                if loss.lost {
                    self.lossy.insert(ip);
                }
                self.spans.entry(ip).or_default().push(span);
            }
            None => self.everywhere.push(span),
        }
        self.told.push(loss);
    }

    /// All of it in the order in which it came.
    pub(crate) fn told(&self) -> &[Loss] {
        &self.told
    }

    /// Notes what a session may hide, at both of its ends.
    pub(crate) fn note(&mut self, end: &SessionEnd) {
        for &(from, to) in &end.losses {
            for endpoint in end.info.ends {
                self.add(endpoint.ip, from, to);
            }
        }
        for &(from, to) in &end.blind {
            for endpoint in end.info.ends {
                self.add_blind(endpoint.ip, from, to);
            }
        }
    }

    /// Sorts and joins the spans, so that they can be searched.
    pub(crate) fn settle(&mut self) {
        for spans in self.spans.values_mut().chain([&mut self.everywhere]) {
            spans.sort_unstable();
            let mut joined: Vec<(CaptureTime, CaptureTime)> = Vec::with_capacity(spans.len());
            for &(from, to) in &*spans {
                match joined.last_mut() {
                    Some(last) if from <= last.1 => last.1 = last.1.max(to),
                    _ => joined.push((from, to)),
                }
            }
            *spans = joined;
        }
    }

    /// Whether something may be missing at `ip` between two times, both included. Needs [`settle`](Self::settle).
    pub(crate) fn overlap(&self, ip: IpAddr, from: CaptureTime, to: CaptureTime) -> bool {
        overlap(&self.everywhere, from, to)
            || self.spans.get(&ip).is_some_and(|spans| overlap(spans, from, to))
    }

    /// Whether what there was of an IP address is not all known. A time when nobody looked is no property of one.
    pub(crate) fn any(&self, ip: IpAddr) -> bool {
        self.lossy.contains(&ip)
    }

    /// Whether something may be missing anywhere between two times.
    pub(crate) fn overlap_anywhere(&self, from: CaptureTime, to: CaptureTime) -> bool {
        overlap(&self.everywhere, from, to) || self.spans.values().any(|spans| overlap(spans, from, to))
    }
}

fn overlap(spans: &[(CaptureTime, CaptureTime)], from: CaptureTime, to: CaptureTime) -> bool {
    let after = spans.partition_point(|span| span.0 <= to);
    after > 0 && spans[after - 1].1 >= from
}

/// What the captures show of each IP address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CoverageMap {
    by_ip: BTreeMap<IpAddr, Coverage>,
}

impl CoverageMap {
    /// `tapped`: own port captured. `peers`: addresses behind the decrypted sessions of an IP address.
    pub(crate) fn new(
        ips: impl IntoIterator<Item = (IpAddr, Option<Address>)>,
        tapped: &BTreeSet<IpAddr>,
        peers: &BTreeMap<IpAddr, BTreeSet<Address>>,
        validators: &BTreeMap<IpAddr, BTreeSet<Address>>,
        losses: &Losses,
    ) -> Self {
        let none = BTreeSet::new();
        let mut by_ip = BTreeMap::new();
        for (ip, own) in ips {
            let validators = validators.get(&ip).unwrap_or(&none);
            let seen = peers.get(&ip).unwrap_or(&none);
            let all_peers = validators.len() > 1
                && own.is_some()
                && validators
                    .iter()
                    .all(|validator| Some(*validator) == own || seen.contains(validator));
            let coverage = match tapped.contains(&ip) || all_peers {
                true if losses.any(ip) => Coverage::Lossy,
                true => Coverage::Full,
                false => Coverage::Partial,
            };
            by_ip.insert(ip, coverage);
        }
        Self { by_ip }
    }

    pub(crate) fn of(&self, ip: IpAddr) -> Coverage {
        self.by_ip.get(&ip).copied().unwrap_or(Coverage::Partial)
    }

    /// The worst of several addresses of one node.
    pub(crate) fn worst<'a>(&self, ips: impl IntoIterator<Item = &'a IpAddr>) -> Coverage {
        let mut worst = Coverage::Full;
        let mut any = false;
        for &ip in ips {
            any = true;
            worst = match (worst, self.of(ip)) {
                (Coverage::Partial, _) | (_, Coverage::Partial) => Coverage::Partial,
                (Coverage::Lossy, _) | (_, Coverage::Lossy) => Coverage::Lossy,
                _ => Coverage::Full,
            };
        }
        if any { worst } else { Coverage::Partial }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> CaptureTime {
        CaptureTime::from_nanos(seconds)
    }

    #[test]
    fn losses_are_found_by_time() {
        let ip = IpAddr::from([10, 0, 0, 1]);
        let mut losses = Losses::default();
        losses.add(ip, at(10), at(20));
        losses.add(ip, at(50), at(40));
        losses.add(ip, at(15), at(30));
        losses.settle();
        assert!(losses.overlap(ip, at(25), at(26)));
        assert!(losses.overlap(ip, at(0), at(10)));
        assert!(losses.overlap(ip, at(30), at(35)));
        assert!(!losses.overlap(ip, at(31), at(39)));
        assert!(losses.overlap(ip, at(0), at(100)));
        assert!(!losses.overlap(ip, at(51), at(100)));
        let other = [10, 0, 0, 2].into();
        assert!(!losses.overlap(other, at(0), at(100)));
        assert!(losses.any(ip) && !losses.any(other));
        losses.add_everywhere(at(60), at(70));
        losses.settle();
        assert!(losses.overlap(other, at(65), at(66)) && losses.overlap_anywhere(at(70), at(80)));
        assert!(!losses.overlap(other, at(71), at(100)) && !losses.any(other));
    }

    #[test]
    fn a_session_to_every_validator_is_as_good_as_a_tap() {
        let [ip, other]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let address = |n| Address([n; 20]);
        let all = BTreeSet::from([address(1), address(2), address(3)]);
        let validators = BTreeMap::from([(ip, all.clone()), (other, all)]);
        let peers = BTreeMap::from([
            (ip, BTreeSet::from([address(2), address(3)])),
            (other, BTreeSet::from([address(1)])),
        ]);
        let ips = [(ip, Some(address(1))), (other, Some(address(2)))];
        let map = CoverageMap::new(ips, &BTreeSet::new(), &peers, &validators, &Losses::default());
        assert_eq!((map.of(ip), map.of(other)), (Coverage::Full, Coverage::Partial));
        let mut losses = Losses::default();
        losses.add(ip, at(1), at(2));
        let map = CoverageMap::new(ips, &BTreeSet::from([other]), &peers, &validators, &losses);
        assert_eq!((map.of(ip), map.of(other)), (Coverage::Lossy, Coverage::Full));
        assert_eq!(map.worst(&[ip, other]), Coverage::Lossy);
    }
}
