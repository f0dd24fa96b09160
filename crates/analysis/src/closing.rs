//! A height becomes rows: counts per receiver, deliveries per sender and signer.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime};
use hashbrown::HashMap;

use crate::coverage::{CoverageMap, Losses};
use crate::facts::{ChainName, CountFact, Coverage, DeliveryFact, HeightFacts, Label};
use crate::height::{Delivery, Height};
use crate::known::{KnownCopies, KnownPayloads};
use crate::proposer::ProposerPolicy;
use crate::quorum::QuorumRule;
use crate::round;
use crate::rules::{self, HeightView, RuleOptions, RuleState, Whereabouts};
use crate::tally::Tally;
use crate::who::Resolved;

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
    /// When rules speak.
    pub(crate) rules: &'a RuleOptions,
    /// The nodes behind keys.
    pub(crate) places: &'a Whereabouts,
    /// All sessions of the chain told that they are on it; none was put there because nothing speaks against it.
    pub(crate) told: bool,
    /// Everybody whom a header of the chain names.
    pub(crate) listed: &'a BTreeSet<Address>,
}

impl ChainContext<'_> {
    /// The place of a party, to sort by: numbers of parties depend on who was seen first.
    pub(crate) fn rank(&self, party: u32) -> (u32, Option<Address>) {
        let party = party as usize;
        (self.ips.of_party[party], self.who.parties[party].address)
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
}

impl IpRanks {
    pub(crate) fn new(who: &Resolved) -> Self {
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
        Self {
            ips,
            of_party,
            labels,
            addresses,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Sums {
    messages: u64,
    useful: u64,
    repeats: u64,
    echoes: u64,
    invalid: u64,
    bytes: u64,
    first_seen: CaptureTime,
    last_seen: CaptureTime,
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            messages: 0,
            useful: 0,
            repeats: 0,
            echoes: 0,
            invalid: 0,
            bytes: 0,
            first_seen: CaptureTime::MAX,
            last_seen: CaptureTime::MIN,
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
    mut keep: Option<&mut KnownPayloads>,
) -> HeightFacts {
    let mut rows: Vec<(u32, u32, u32, Delivery)> = height
        .deliveries
        .iter()
        .map(|(key, delivery)| {
            (
                key.payload,
                chain.ips.of_party[key.receiver as usize],
                key.receiver,
                *delivery,
            )
        })
        .collect();
    rows.sort_unstable_by_key(|row| (row.0, row.1, row.2));

    let mut sums: HashMap<(u64, u32, Kind), Sums> = HashMap::new();
    let (mut from, mut to) = (CaptureTime::MAX, CaptureTime::MIN);
    let before = chain.known.height(&chain.name, sequence);
    for group in rows.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        let (payload, ip, ..) = group[0];
        let entry = &height.payloads[payload as usize];
        let sum = sums.entry((entry.round, ip, entry.kind)).or_default();
        let (mut total, mut echoes) = (0, 0);
        for &(_, _, receiver, delivery) in group {
            let number = u64::from(delivery.copies);
            total += number;
            let own = chain.who.parties[receiver as usize].address;
            if entry.signer.is_some() && entry.signer == own {
                echoes += number;
            }
            sum.bytes += delivery.bytes;
            sum.first_seen = sum.first_seen.min(delivery.first_seen);
            sum.last_seen = sum.last_seen.max(delivery.last_seen);
        }
        let others = total - echoes;
        let receiver_ip = chain.ips.ips[ip as usize];
        let had_one = before
            .and_then(|before| before.copies(receiver_ip, entry.hash))
            .is_some_and(|before| before.copies > before.echoes);
        let useful = if had_one { 0 } else { others.min(1) };
        sum.messages += total;
        sum.echoes += echoes;
        sum.useful += useful;
        sum.repeats += others - useful;
        if let Some(keep) = &mut keep {
            keep.add(
                (chain.name.clone(), sequence),
                sum.last_seen,
                (receiver_ip, entry.hash),
                KnownCopies {
                    copies: total,
                    echoes,
                },
            );
        }
        if entry.invalid {
            sum.invalid += total;
        }
        from = from.min(sum.first_seen);
        to = to.max(sum.last_seen);
        *tally.copies.entry((receiver_ip, total)).or_default() += 1;
    }

    let mut counts: Vec<CountFact> = sums
        .into_iter()
        .map(|((round, ip, kind), sum)| {
            let receiver_ip = chain.ips.ips[ip as usize];
            CountFact {
                chain: chain.name.clone(),
                receiver_ip,
                receiver: chain.ips.labels[ip as usize].clone(),
                sequence,
                round,
                kind,
                messages: sum.messages,
                useful: sum.useful,
                repeats: sum.repeats,
                echoes: sum.echoes,
                resent: 0,
                echo_source: 0,
                crossing: 0,
                regossip: sum.repeats,
                invalid: sum.invalid,
                bytes: sum.bytes,
                lower_bound: chain.coverage.of(receiver_ip) != Coverage::Full
                    || chain.losses.overlap(receiver_ip, from, to),
                first_seen: sum.first_seen,
                last_seen: sum.last_seen,
            }
        })
        .collect();
    counts.sort_unstable_by_key(|count| (count.round, count.receiver_ip, count.kind));

    for count in &counts {
        let sum = tally.messages.entry((count.receiver_ip, count.kind)).or_default();
        sum.messages += count.messages;
        sum.useful += count.useful;
        sum.repeats += count.repeats;
        sum.echoes += count.echoes;
    }

    let last_author = state
        .last_block
        .filter(|&(last, _)| sequence.checked_sub(1) == Some(last))
        .map(|(_, author)| author);
    let before_it = state.validators.clone();
    let rounds = round::judge(height, sequence, &counts, (from, to), chain, state, tally);
    let deliveries = if chain.deliveries {
        deliveries(height, sequence, chain)
    } else {
        Vec::new()
    };
    let mut events = Vec::new();
    if state.validators != before_it {
        rules::replaced(&mut state.rules, &before_it, &state.validators);
    }
    let validators = match chain.fixed_validators {
        Some(fixed) => fixed.to_vec(),
        None => state.validators.clone(),
    };
    let view = HeightView::new(height, sequence, chain, &validators, &rounds, last_author);
    rules::of_height(&view, state, tally, &mut events);
    HeightFacts {
        counts,
        deliveries,
        rounds,
        node_rounds: Vec::new(),
        votes: Vec::new(),
        events,
    }
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
