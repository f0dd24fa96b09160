//! One height as rules see it: messages in the order of their sights, who votes, and what can be known.

use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime, Hash256};
use hashbrown::HashMap;

use super::RuleOptions;
use crate::closing::ChainContext;
use crate::facts::{EventFact, RoundFact};
use crate::height::{Height, PayloadEntry};
use crate::quorum::faulty;
use crate::who::ResolvedParty;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct HeightView<'a> {
    pub(crate) height: &'a Height,
    pub(crate) sequence: u64,
    pub(crate) chain: &'a ChainContext<'a>,
    /// Those with a vote, sorted.
    pub(crate) validators: &'a [Address],
    pub(crate) rounds: &'a [RoundFact],
    /// Author of the block before, if that is known.
    pub(crate) last_author: Option<Address>,
    /// By payload.
    pub(crate) sights: Vec<Sight>,
    /// The block before each proposed block.
    parents: HashMap<Hash256, Hash256>,
}

/// The copy of a payload that was seen first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub(crate) first: CaptureTime,
    /// The party that handed it over.
    pub(crate) sender: u32,
    pub(crate) copies: u64,
}

impl<'a> HeightView<'a> {
    pub(crate) fn new(
        height: &'a Height,
        sequence: u64,
        chain: &'a ChainContext<'a>,
        validators: &'a [Address],
        rounds: &'a [RoundFact],
        last_author: Option<Address>,
    ) -> Self {
        let none = Sight {
            first: CaptureTime::MAX,
            sender: u32::MAX,
            copies: 0,
        };
        let mut sights = vec![none; height.payloads.len()];
        for (key, delivery) in &height.deliveries {
            let sight = &mut sights[key.payload as usize];
            sight.copies += u64::from(delivery.copies);
            // Numbers of parties depend on who was seen first; their places do not.
            let sooner = delivery.first_seen < sight.first
                || delivery.first_seen == sight.first
                    && (sight.sender == u32::MAX || chain.rank(key.sender) < chain.rank(sight.sender));
            if sooner {
                sight.first = delivery.first_seen;
                sight.sender = key.sender;
            }
        }
        // Once for all: a flood of votes must not take a flood of searches.
        let mut parents = HashMap::new();
        for entry in &height.payloads {
            if let (Kind::Preprepare, false, Some(digest), Some(parent)) =
                (entry.kind, entry.invalid, entry.digest, entry.parent)
            {
                let known = parents.entry(digest).or_insert(parent);
                *known = parent.min(*known);
            }
        }
        Self {
            height,
            sequence,
            chain,
            validators,
            rounds,
            last_author,
            sights,
            parents,
        }
    }

    pub(crate) fn options(&self) -> &'a RuleOptions {
        self.chain.rules
    }

    /// Payloads with what was seen of them.
    pub(crate) fn payloads(&self) -> impl Iterator<Item = (&'a PayloadEntry, &Sight)> {
        self.height.payloads.iter().zip(&self.sights)
    }

    /// Those that are rightly signed by a validator.
    pub(crate) fn votes(&self) -> impl Iterator<Item = (Address, &'a PayloadEntry, &Sight)> {
        self.payloads().filter_map(|(entry, sight)| {
            let signer = entry.signer.filter(|_| !entry.invalid)?;
            self.is_validator(signer).then_some((signer, entry, sight))
        })
    }

    pub(crate) fn is_validator(&self, address: Address) -> bool {
        self.validators.binary_search(&address).is_ok()
    }

    /// How many validators may fail.
    pub(crate) fn faulty(&self) -> usize {
        let members = u32::try_from(self.validators.len()).unwrap_or(u32::MAX);
        faulty(members.min(self.chain.committee)) as usize
    }

    /// Votes that decide.
    pub(crate) fn quorum(&self) -> Option<usize> {
        self.rounds.first()?.quorum.map(|quorum| quorum as usize)
    }

    /// Everybody who may vote is known by name: there is no committee that the wire does not tell.
    pub(crate) fn all_vote(&self) -> bool {
        !self.validators.is_empty() && self.validators.len() <= self.chain.committee as usize
    }

    pub(crate) fn party(&self, party: u32) -> &'a ResolvedParty {
        &self.chain.who.parties[party as usize]
    }

    /// When the height was decided at the median node, and in which round.
    pub(crate) fn decided(&self) -> Option<(CaptureTime, u64)> {
        let times = self
            .rounds
            .iter()
            .filter_map(|round| Some((round.committed_ns?, round.round)));
        times.min()
    }

    /// The hash of the parent block, as far as a message or the block that it votes for tells it.
    pub(crate) fn parent_of(&self, entry: &PayloadEntry) -> Option<Hash256> {
        entry.parent.or_else(|| self.parents.get(&entry.digest?).copied())
    }

    /// Two messages of one height belong to one chain: one block before them, or sessions that all said which chain they are on.
    ///
    /// Istanbul's messages name no chain. A lab that begins again with another genesis block votes on the same heights once more, with
    /// the same keys.
    pub(crate) fn one_chain(&self, a: &PayloadEntry, b: &PayloadEntry) -> bool {
        match (self.parent_of(a), self.parent_of(b)) {
            (Some(a), Some(b)) => a == b,
            _ => self.chain.told,
        }
    }

    /// A node that starts anew has forgotten its locks and what it sent: whether it can have done so between two times.
    pub(crate) fn may_have_restarted(&self, address: Address, from: CaptureTime, to: CaptureTime) -> bool {
        to.since(from) >= self.options().restart && !self.chain.places.ran_through(address, from, to)
    }

    /// Whatever the validator sent between two times, the captures show it: its own port, or the ports of all whom it sends to.
    pub(crate) fn visible(&self, address: Address, span: (CaptureTime, CaptureTime)) -> bool {
        let span = (span.0.min(span.1), span.0.max(span.1));
        let visible = |address| {
            let ChainContext {
                places,
                coverage,
                losses,
                ..
            } = self.chain;
            places.visible(address, span, coverage, losses)
        };
        visible(address)
            || self.validators.len() > 1
                && self
                    .validators
                    .iter()
                    .all(|&other| other == address || visible(other))
    }

    /// An event about this height.
    pub(crate) fn event(&self, rule: &'static str, time: CaptureTime, detail: String) -> EventFact {
        let mut event = EventFact::new(rule, time, detail);
        event.chain = self.chain.name.clone();
        event.sequence = Some(self.sequence);
        event
    }

    /// Who should have proposed, as far as the policy and the block before tell.
    pub(crate) fn expected_proposer(&self, round: u64) -> Option<Address> {
        let policy = self.chain.policy?;
        policy.expected(self.validators, self.last_author?, round)
    }
}

/// Payloads that an event shows, at most.
pub(super) const SHOWN: usize = 4;

/// Adds a payload that shows it, if there is room.
pub(super) fn show(event: &mut EventFact, payload: Hash256) {
    if event.payloads.len() < SHOWN && !event.payloads.contains(&payload) {
        event.payloads.push(payload);
    }
}

/// A number for an event.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
