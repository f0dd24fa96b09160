//! A height becomes rows: what is needed to judge it, and the order in which that goes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime, Nanos};
use hashbrown::HashMap;

use crate::coverage::{CoverageMap, Losses};
use crate::facts::{ChainName, CountFact, DeliveryFact, HeightFacts, Label};
use crate::height::Height;
use crate::known::KnownPayloads;
use crate::proposer::ProposerPolicy;
use crate::quorum::QuorumRule;
use crate::rules::{HeightView, RuleOptions, RuleState, Whereabouts};
use crate::tally::Tally;
use crate::votes::{self, Table};
use crate::who::{Resolved, ResolvedParty};
use crate::witnesses::Witnesses;
use crate::{delays, ledger, lived, participation, phases, round, rows, rules, what_if};

/// What a height is judged by; the same for all heights of a chain.
#[derive(Debug)]
pub(crate) struct ChainContext<'a> {
    pub(crate) name: ChainName,
    pub(crate) who: &'a Resolved,
    pub(crate) ips: &'a IpRanks,
    pub(crate) coverage: &'a CoverageMap,
    pub(crate) losses: &'a Losses,
    pub(crate) rule: QuorumRule,
    /// Votes are counted among at most so many validators.
    pub(crate) committee: u32,
    pub(crate) policy: Option<ProposerPolicy>,
    /// From the configuration; else they are learnt from headers.
    pub(crate) fixed_validators: Option<&'a [Address]>,
    /// Every validator's own traffic was captured, so nothing can hide elsewhere.
    pub(crate) all_validators_covered: bool,
    /// Rows per delivery are wanted.
    pub(crate) deliveries: bool,
    /// What came before this run.
    pub(crate) known: &'a KnownPayloads,
    /// The validators before the first height.
    pub(crate) first_validators: Vec<Address>,
    /// Everybody with a vote as far as the whole run tells, sorted.
    pub(crate) members: Vec<Address>,
    /// Index of each party among them; [`NOBODY`] of others.
    pub(crate) member_of_party: Vec<u32>,
    pub(crate) witnesses: &'a Witnesses,
    /// Least round trip times between IP addresses, the lower one first.
    pub(crate) rtt_min: &'a BTreeMap<(IpAddr, IpAddr), Nanos>,
    /// Peers to which nodes hand on in the what-if of a fixed degree.
    pub(crate) what_if_degree: u32,
    /// When rules speak.
    pub(crate) rules: &'a RuleOptions,
    /// The nodes behind keys.
    pub(crate) places: &'a Whereabouts,
    /// All sessions of the chain told that they are on it; none was put there because nothing speaks against it.
    pub(crate) told: bool,
    /// Everybody whom a header of the chain names.
    pub(crate) listed: &'a BTreeSet<Address>,
}

/// No validator.
pub(crate) const NOBODY: u32 = u32::MAX;

/// What of it changes while a run goes on, and speaks of all heights alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Basis {
    rule: QuorumRule,
    policy: Option<ProposerPolicy>,
    first_validators: Vec<Address>,
    members: Vec<Address>,
    coverage: CoverageMap,
}

impl ChainContext<'_> {
    /// The place of a party, to sort by: numbers of parties depend on who was seen first.
    pub(crate) fn rank(&self, party: u32) -> (u32, Option<Address>) {
        let party = party as usize;
        (self.ips.of_party[party], self.who.parties[party].address)
    }

    pub(crate) fn basis(&self) -> Basis {
        Basis {
            rule: self.rule,
            policy: self.policy,
            first_validators: self.first_validators.clone(),
            members: self.members.clone(),
            coverage: self.coverage.clone(),
        }
    }

    /// Least round trip time between two IP addresses, by their ranks, if it was measured.
    pub(crate) fn rtt_min(&self, a: u32, b: u32) -> Option<Nanos> {
        if self.rtt_min.is_empty() {
            return None;
        }
        let [a, b] = [a.min(b), a.max(b)].map(|ip| self.ips.ips[ip as usize]);
        self.rtt_min.get(&(a, b)).copied()
    }
}

/// What one height leaves to the next one of its chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChainState {
    pub(crate) validators: Vec<Address>,
    /// Sequence and author of the last block.
    pub(crate) last_block: Option<(u64, Address)>,
    /// Sequence of the last block, and when it was committed at the median tapped node.
    pub(crate) last_commit: Option<(u64, CaptureTime)>,
    /// What rules remember.
    pub(crate) rules: RuleState,
}

impl ChainState {
    /// About how many numbers it holds.
    pub(crate) fn len(&self) -> usize {
        let rules = &self.rules;
        let small = self.validators.len() + rules.former.len() + rules.decided.len() + rules.paces.len();
        small + 2 * rules.lives.len() + 3 * rules.troubles.len()
    }
}

crate::kept! {
    ChainState { validators, last_block, last_commit, rules }
}

/// IP addresses of parties as small numbers that sort like the addresses.
#[derive(Debug)]
pub(crate) struct IpRanks {
    pub(crate) ips: Vec<IpAddr>,
    /// By party.
    pub(crate) of_party: Vec<u32>,
    /// How each is shown as a receiver.
    pub(crate) labels: Vec<Label>,
    /// The one key behind each.
    pub(crate) addresses: Vec<Option<Address>>,
    /// Whose own ports are captured.
    pub(crate) tapped: Vec<bool>,
    /// By party: a number of its IP address and key together, small like the others. Sessions whose ends showed no key are told from
    /// those that did only where several keys are behind one address.
    pub(crate) place_of_party: Vec<u32>,
    /// By place.
    pub(crate) ip_of_place: Vec<u32>,
}

impl IpRanks {
    pub(crate) fn new(who: &Resolved, tapped: &BTreeSet<IpAddr>) -> Self {
        let mut ips: Vec<IpAddr> = who.parties.iter().map(|party| party.ip).collect();
        ips.sort_unstable();
        ips.dedup();
        let of_party = who
            .parties
            .iter()
            .map(|party| {
                ips.binary_search(&party.ip)
                    .expect("each party's address is listed") as u32
            })
            .collect();
        let labels = ips.iter().map(|&ip| who.receiver_label(ip)).collect();
        let addresses = ips.iter().map(|&ip| who.address_at(ip)).collect();
        let place = |party: &ResolvedParty| (party.ip, party.address);
        let mut places: Vec<(IpAddr, Option<Address>)> = who.parties.iter().map(place).collect();
        places.sort_unstable();
        places.dedup();
        let rank = |ip: &IpAddr| ips.binary_search(ip).expect("each party's address is listed") as u32;
        let number = |party| places.binary_search(&place(party)).expect("listed above") as u32;
        Self {
            tapped: ips.iter().map(|ip| tapped.contains(ip)).collect(),
            place_of_party: who.parties.iter().map(number).collect(),
            ip_of_place: places.iter().map(|(ip, _)| rank(ip)).collect(),
            ips,
            of_party,
            labels,
            addresses,
        }
    }
}

/// Judges one height. What a later run has to know of it is added to `keep`.
pub(crate) fn close(
    height: &Height,
    sequence: u64,
    chain: &ChainContext<'_>,
    state: &mut ChainState,
    tally: &mut Tally,
    keep: Option<&mut KnownPayloads>,
) -> HeightFacts {
    let last_author = state
        .last_block
        .filter(|&(last, _)| sequence.checked_sub(1) == Some(last))
        .map(|(_, author)| author);
    let before = state.validators.clone();
    let rows = rows::sorted(height, chain);
    let counts = ledger::count(height, &rows, sequence, chain, tally, keep);
    let span = span_of(&counts);
    let judged = round::judge(height, &rows, sequence, &counts, span, chain, state, tally);
    let node_rounds = lived::node_rounds(&judged.lives, &counts, sequence, span, chain);
    let table = votes::table(&Table {
        height,
        rows: &rows,
        sequence,
        span,
        judged: &judged,
        chain,
    });
    participation::add(&mut tally.participation, &judged, &table, height, &rows, chain);
    phases::add(&mut tally.phases, &judged);
    delays::add(&mut tally.delays, &table);
    what_if::add(&mut tally.what_if, &judged, height, &rows, span, chain);
    let deliveries = if chain.deliveries {
        deliveries(height, sequence, chain)
    } else {
        Vec::new()
    };
    let round::Rounds {
        validators, rounds, ..
    } = judged;
    let mut facts = HeightFacts {
        counts,
        deliveries,
        rounds: rounds.into_iter().map(|(fact, _)| fact).collect(),
        node_rounds,
        votes: table.into_iter().map(|(_, fact)| fact).collect(),
        events: Vec::new(),
    };
    rules::replaced(&mut state.rules, &before, &state.validators);
    let view = HeightView::new(height, sequence, chain, &validators, &facts.rounds, last_author);
    rules::of_height(&view, state, tally, &mut facts.events);
    facts
}

/// First and last sight of anything of a height.
pub(crate) fn span_of(counts: &[CountFact]) -> (CaptureTime, CaptureTime) {
    let none = (CaptureTime::MAX, CaptureTime::MIN);
    counts.iter().fold(none, |(from, to), count| {
        (from.min(count.first_seen), to.max(count.last_seen))
    })
}

fn deliveries(height: &Height, sequence: u64, chain: &ChainContext<'_>) -> Vec<DeliveryFact> {
    let unsigned: Label = "unknown".into();
    let signers: Vec<Label> = height
        .payloads
        .iter()
        .map(|entry| {
            entry
                .shown_signer()
                .map_or_else(|| unsigned.clone(), |signer| chain.who.names.label_of(signer))
        })
        .collect();
    let mut sums: HashMap<(u64, u32, Kind, &str, &str), DeliveryFact> = HashMap::new();
    for (key, delivery) in &height.deliveries {
        let entry = &height.payloads[key.payload as usize];
        let ip = chain.ips.of_party[key.receiver as usize];
        let sender = &chain.who.parties[key.sender as usize].label;
        let signer = &signers[key.payload as usize];
        sums.entry((entry.round, ip, entry.kind, sender, signer))
            .and_modify(|sum| {
                sum.copies += u64::from(delivery.copies);
                sum.first_seen = sum.first_seen.min(delivery.first_seen);
                sum.last_seen = sum.last_seen.max(delivery.last_seen);
            })
            .or_insert_with(|| DeliveryFact {
                chain: chain.name.clone(),
                receiver_ip: chain.ips.ips[ip as usize],
                sender: sender.clone(),
                signer: signer.clone(),
                sequence,
                round: entry.round,
                kind: entry.kind,
                copies: u64::from(delivery.copies),
                first_seen: delivery.first_seen,
                last_seen: delivery.last_seen,
            });
    }
    let mut rows: Vec<DeliveryFact> = sums.into_values().collect();
    rows.sort_unstable_by(|a, b| {
        let key = |row: &'_ DeliveryFact| (row.round, row.receiver_ip, row.kind);
        key(a)
            .cmp(&key(b))
            .then_with(|| a.sender.cmp(&b.sender))
            .then_with(|| a.signer.cmp(&b.signer))
    });
    rows
}
