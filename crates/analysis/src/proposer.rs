//! Who should have proposed a round nobody proposed: by the chain's policy, as far as the wire shows one.
//!
//! Klaytn (`consensus/istanbul/validator`) and GoQuorum count on from the proposer of the last block, over the validators
//! sorted by address: round robin takes the next one and one more a round, sticky takes the same one and one more a round.
//! Klaytn's weighted-random policy depends on stakes that are not in the messages, so nothing is expected there.

use std::collections::{BTreeMap, BTreeSet};

use bftap_model::Address;
use serde::Deserialize;

/// How proposers follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProposerPolicy {
    /// The next validator after the proposer of the last block, one further a round.
    RoundRobin,
    /// The proposer of the last block, one further a round.
    Sticky,
}

impl ProposerPolicy {
    /// Who proposes `round`, given who made the last block; `validators` are sorted by address.
    pub(crate) fn expected(self, validators: &[Address], last: Address, round: u64) -> Option<Address> {
        let count = validators.len() as u64;
        let at = validators.binary_search(&last).ok()? as u64;
        let step = match self {
            Self::RoundRobin => 1,
            Self::Sticky => 0,
        };
        validators
            .get(((at + step + round % count.max(1)) % count) as usize)
            .copied()
    }
}

/// A proposal as evidence of the policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Proposed {
    pub(crate) signer: Address,
    pub(crate) author: Address,
    pub(crate) validators: Vec<Address>,
}

crate::kept! {
    Proposed { signer, author, validators }
    PolicyEvidence { proposals }
}

/// The lowest proposals of a chain, enough to tell its policy: what is kept does not depend on the order of arrival.
#[derive(Clone, Debug, Default)]
pub(crate) struct PolicyEvidence {
    proposals: BTreeMap<(u64, u64), Proposed>,
}

impl PolicyEvidence {
    /// Notes a proposal of a view; of several for one view the smallest is kept.
    pub(crate) fn note(&mut self, sequence: u64, round: u64, proposed: Proposed) {
        self.proposals
            .entry((sequence, round))
            .and_modify(|known| {
                if proposed < *known {
                    *known = proposed.clone();
                }
            })
            .or_insert(proposed);
        if self.proposals.len() > KEPT_PROPOSALS {
            self.proposals.pop_last();
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (&(sequence, round), proposed) in &other.proposals {
            self.note(sequence, round, proposed.clone());
        }
    }

    /// The validators at the begin: of the lists in the lowest proposals the one that most of its own validators proposed under, then the one
    /// in most proposals, then the lowest. A liar can make up a list, and messages of heights long past, but not whose turn comes next.
    pub(crate) fn first_validators(&self) -> Option<&[Address]> {
        /// Who of a list proposed under it, how often it stands, and the lowest view with it.
        type Found = (BTreeSet<Address>, usize, (u64, u64));
        let mut lists: BTreeMap<&[Address], Found> = BTreeMap::new();
        for (&view, proposed) in &self.proposals {
            let (signers, times, _) = lists
                .entry(&proposed.validators)
                .or_insert_with(|| (BTreeSet::new(), 0, view));
            *times += 1;
            if proposed.validators.contains(&proposed.signer) {
                signers.insert(proposed.signer);
            }
        }
        let rank = |(signers, times, first): &Found| (signers.len(), *times, std::cmp::Reverse(*first));
        let (list, _) = lists.into_iter().max_by_key(|(_, found)| rank(found))?;
        Some(list)
    }

    /// The policy that all kept proposals follow, if enough of them tell it.
    pub(crate) fn policy(&self) -> Option<ProposerPolicy> {
        [ProposerPolicy::RoundRobin, ProposerPolicy::Sticky]
            .into_iter()
            .find(|&policy| {
                let (mut right, mut wrong) = (0, 0);
                for (&(sequence, round), proposed) in &self.proposals {
                    let Some((_, last)) = sequence
                        .checked_sub(1)
                        .and_then(|before| self.proposals.range((before, 0)..(sequence, 0)).next_back())
                    else {
                        continue;
                    };
                    match policy.expected(&proposed.validators, last.author, round) {
                        Some(expected) if expected == proposed.signer => right += 1,
                        _ => wrong += 1,
                    }
                }
                // One odd proposal in fifty may be a late or hostile one; a policy that fits by chance fails far sooner.
                right >= 3 && wrong * 50 <= right
            })
    }
}

const KEPT_PROPOSALS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u8) -> Address {
        Address([number; 20])
    }

    fn evidence(next: impl Fn(u64) -> u8) -> PolicyEvidence {
        let validators: Vec<_> = (0..4).map(address).collect();
        let mut evidence = PolicyEvidence::default();
        for sequence in 1..20 {
            let proposer = address(next(sequence));
            evidence.note(
                sequence,
                0,
                Proposed {
                    signer: proposer,
                    author: proposer,
                    validators: validators.clone(),
                },
            );
        }
        evidence
    }

    #[test]
    fn policies_are_told_from_proposals() {
        assert_eq!(
            evidence(|sequence| (sequence % 4) as u8).policy(),
            Some(ProposerPolicy::RoundRobin)
        );
        assert_eq!(evidence(|_| 2).policy(), Some(ProposerPolicy::Sticky));
        assert_eq!(
            evidence(|sequence| (sequence * sequence % 4) as u8).policy(),
            None
        );
        assert_eq!(PolicyEvidence::default().policy(), None);
    }

    #[test]
    fn a_liar_does_not_say_who_the_first_validators_are() {
        let mut evidence = evidence(|sequence| (sequence % 4) as u8);
        let honest: Vec<_> = (0..4).map(address).collect();
        // Height 0 and many views of height 1, all by one of them.
        for round in 1..200 {
            let proposed = Proposed {
                signer: address(3),
                author: address(3),
                validators: vec![address(3), address(77)],
            };
            evidence.note(1, round, proposed.clone());
            evidence.note(0, 0, proposed);
        }
        assert_eq!(evidence.first_validators(), Some(&*honest));
        assert_eq!(PolicyEvidence::default().first_validators(), None);
    }

    #[test]
    fn the_expected_proposer_wraps_and_needs_a_known_predecessor() {
        let validators: Vec<_> = (0..4).map(address).collect();
        let round_robin = |last, round| ProposerPolicy::RoundRobin.expected(&validators, last, round);
        assert_eq!(round_robin(address(3), 0), Some(address(0)));
        assert_eq!(round_robin(address(1), 6), Some(address(0)));
        assert_eq!(round_robin(address(1), u64::MAX), Some(address(1)));
        assert_eq!(round_robin(address(9), 0), None);
        assert_eq!(
            ProposerPolicy::Sticky.expected(&validators, address(1), 1),
            Some(address(2))
        );
        assert_eq!(ProposerPolicy::Sticky.expected(&[], address(1), 1), None);
    }
}
