//! The heights that took longest, and where in them the time went.

use std::cmp::Reverse;

use bftap_analysis::facts::{ChainName, RoundFact};

use super::page::{count, duration};

/// So many are told.
const MOST: usize = 3;

/// One height, by the round in which its block was decided.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Height {
    /// Nanoseconds from the block before.
    block_time: i64,
    chain: Reverse<ChainName>,
    sequence: Reverse<u64>,
    round: u64,
    /// Nanoseconds of it behind the first sight of the proposal.
    from_proposal: Option<i64>,
}

/// The slowest heights so far, the slowest first.
#[derive(Debug, Default)]
pub(crate) struct Slowest(Vec<Height>);

impl Slowest {
    pub(crate) fn add(&mut self, round: &RoundFact) {
        let Some(block_time) = round.block_time_ns else {
            return;
        };
        let height = Height {
            block_time,
            chain: Reverse(round.chain.clone()),
            sequence: Reverse(round.sequence),
            round: round.round,
            from_proposal: round
                .committed_ns
                .zip(round.preprepare_ns)
                .map(|(committed, proposed)| committed.since(proposed).0),
        };
        let place = self.0.partition_point(|kept| *kept > height);
        if place < MOST {
            self.0.truncate(MOST - 1);
            self.0.insert(place, height);
        }
    }

    /// `height 26 after 4.66 s (round 1, 2.45 ms of it from its proposal on)`; nothing without a height that has a block before it.
    pub(crate) fn text(&self) -> Option<String> {
        let told = self.0.iter().map(|height| {
            let mut parts = Vec::new();
            if height.round > 0 {
                parts.push(format!("round {}", count(height.round)));
            }
            if let Some(nanos) = height.from_proposal {
                parts.push(format!("{} of it from its proposal on", duration(nanos)));
            }
            let parts = if parts.is_empty() {
                String::new()
            } else {
                format!(" ({})", parts.join(", "))
            };
            format!(
                "height {} after {}{parts}",
                count(height.sequence.0),
                duration(height.block_time)
            )
        });
        let told: Vec<_> = told.collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use bftap_model::CaptureTime;

    use super::*;
    use crate::report::sample;

    #[test]
    fn the_slowest_are_told_whatever_comes_first() {
        let rounds: Vec<RoundFact> = [(1, 4), (2, 9), (3, 2), (4, 6), (5, 9)]
            .map(|(sequence, seconds)| {
                let mut round = sample::heights()[1].rounds[0].clone();
                round.sequence = sequence;
                round.round = u64::from(sequence == 4);
                round.block_time_ns = Some(seconds * 1_000_000_000);
                round.preprepare_ns = Some(CaptureTime::from_nanos(0));
                round.committed_ns = (sequence != 2).then(|| CaptureTime::from_nanos(3_000_000));
                round
            })
            .into();
        let told = |rounds: &mut dyn Iterator<Item = &RoundFact>| {
            let mut slowest = Slowest::default();
            rounds.for_each(|round| slowest.add(round));
            slowest.text().unwrap()
        };
        let text = told(&mut rounds.iter());
        assert_eq!(
            text,
            "height 2 after 9.0 s; height 5 after 9.0 s (3.00 ms of it from its proposal on); \
             height 4 after 6.0 s (round 1, 3.00 ms of it from its proposal on)"
        );
        assert_eq!(told(&mut rounds.iter().rev()), text);
        assert_eq!(Slowest::default().text(), None);
    }
}
