//! Whose own port a tap is: the address that is an end of every TCP flow seen there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bftap_model::TapId;

/// Addresses that were an end of every TCP packet so far, per tap.
#[derive(Debug, Default)]
pub(crate) struct TapEnds {
    taps: Vec<Option<Common>>,
}

#[derive(Clone, Copy, Debug)]
struct Common {
    first: Option<IpAddr>,
    second: Option<IpAddr>,
}

impl TapEnds {
    /// Notes a TCP packet.
    #[inline]
    pub(crate) fn note(&mut self, tap: TapId, source: IpAddr, destination: IpAddr) {
        let index = usize::from(tap.0);
        if self.taps.len() <= index {
            self.taps.resize(index + 1, None);
        }
        match &mut self.taps[index] {
            None => {
                self.taps[index] = Some(Common {
                    first: Some(source),
                    second: Some(destination),
                });
            }
            Some(common) => {
                for end in [&mut common.first, &mut common.second] {
                    if let Some(ip) = *end
                        && ip != source
                        && ip != destination
                    {
                        *end = None;
                    }
                }
            }
        }
    }

    /// More than one tap gave packets.
    pub(crate) fn several(&self) -> bool {
        self.taps.iter().flatten().count() > 1
    }

    /// Per tap with packets, the addresses common to all of them.
    pub(crate) fn ends(&self) -> Vec<BTreeSet<IpAddr>> {
        let ends = |common: &Common| [common.first, common.second].into_iter().flatten().collect();
        self.taps.iter().flatten().map(ends).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_end_of_all_flows_is_found() {
        let ip = |last| IpAddr::from([10, 0, 0, last]);
        let mut taps = TapEnds::default();
        assert!(!taps.several());
        taps.note(TapId(1), ip(1), ip(2));
        assert_eq!(taps.ends(), [BTreeSet::from([ip(1), ip(2)])]);
        taps.note(TapId(1), ip(3), ip(1));
        assert!(!taps.several());
        taps.note(TapId(0), ip(2), ip(3));
        taps.note(TapId(0), ip(4), ip(5));
        assert!(taps.several());
        assert_eq!(taps.ends(), [BTreeSet::new(), BTreeSet::from([ip(1)])]);
    }
}
