//! A score for each node, in the manner of GossipSub v1.1's peer score: advice to a person, and nothing acts on it.
//!
//! Formula, sources and defaults are in `docs/score.md`. Heights give sums by node and stretch of time to the [`Tally`]; the age of a
//! stretch decides how much of it still counts. All is arithmetic on sums in a fixed order, so the same input gives the same thousandths.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime, Nanos};
use hashbrown::HashMap;

use crate::facts::{EventFact, NodeFact, ScoreFact};
use crate::knowledge::Knowledge;
use crate::rules::HeightView;
use crate::tally::{Summed as _, Tallies, Tally};

/// Weights, caps and decay.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreOptions {
    /// What happened so long ago counts half.
    pub half_life: Nanos,
    /// For each `time_in_mesh_quantum` with an open session.
    pub time_in_mesh_weight: f64,
    /// See there.
    pub time_in_mesh_quantum: Nanos,
    /// Most quanta that count.
    pub time_in_mesh_cap: f64,
    /// For each payload that it was the first to hand over to a node.
    pub first_deliveries_weight: f64,
    /// Most that count.
    pub first_deliveries_cap: f64,
    /// Against the square of the deficit, in tenths of what was due.
    pub delivery_deficit_weight: f64,
    /// Share of what is due that is enough.
    pub delivery_deficit_threshold: f64,
    /// Against the square of invalid messages.
    pub invalid_weight: f64,
    /// Most that count.
    pub invalid_cap: f64,
    /// Against the square of further keys at its IP address.
    pub colocation_weight: f64,
    /// Keys at one IP address that are in order.
    pub colocation_threshold: f64,
    /// Most further keys that count.
    pub colocation_cap: f64,
    /// Against the square of what suspicious events add up to: critical ones 4, others 1.
    pub behaviour_weight: f64,
    /// Sum that is in order.
    pub behaviour_threshold: f64,
    /// Largest sum.
    pub behaviour_cap: f64,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        Self {
            half_life: Nanos::from_secs(3600),
            time_in_mesh_weight: 0.1,
            time_in_mesh_quantum: Nanos::from_secs(60),
            time_in_mesh_cap: 60.0,
            first_deliveries_weight: 0.01,
            first_deliveries_cap: 1000.0,
            delivery_deficit_weight: -0.5,
            delivery_deficit_threshold: 0.5,
            invalid_weight: -10.0,
            invalid_cap: 10.0,
            colocation_weight: -5.0,
            colocation_threshold: 1.0,
            colocation_cap: 10.0,
            behaviour_weight: -5.0,
            behaviour_threshold: 0.0,
            behaviour_cap: 12.0,
        }
    }
}

/// A node in sums: its address, or its IP address where the key is not known; and the start of the stretch of time.
pub(crate) type PeerKey = (Option<Address>, Option<IpAddr>, i64);

/// The same for all time.
type Peer = (Option<Address>, Option<IpAddr>);

/// What one node handed over in one stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PeerSums {
    /// Votes that it was the first to hand over to a receiver.
    pub(crate) firsts: u64,
    /// Receivers that it should have handed anything to, height by height.
    pub(crate) due: u64,
    /// Those of them that it did.
    pub(crate) present: u64,
    /// Invalid messages that are its fault.
    pub(crate) invalid: u64,
}

crate::tally::summed! {
    PeerSums { firsts, due, present, invalid }
}

crate::kept! {
    PeerSums { firsts, due, present, invalid }
}

/// Length of a stretch of time.
const STRETCH: i64 = 600_000_000_000;

fn stretch_of(time: CaptureTime) -> i64 {
    time.nanos().saturating_sub(time.nanos().rem_euclid(STRETCH))
}

/// Stretches that begin before this count for nothing: less than a four thousand millionth of what they did.
pub(crate) fn oldest_stretch(now: CaptureTime, options: &ScoreOptions) -> i64 {
    let span = options
        .half_life
        .0
        .max(1)
        .saturating_mul(HALF_LIVES)
        .saturating_add(STRETCH);
    now.nanos().saturating_sub(span)
}

const HALF_LIVES: i64 = 32;

fn key_of(address: Option<Address>, ip: IpAddr, stretch: i64) -> PeerKey {
    (address, address.is_none().then_some(ip), stretch)
}

/// Rounds that the chain went to, by their numbers: more validators than may fail signed something of them. What a single node makes up, or F
/// of them, is no work that is due from anybody, and no merit of who hands it over.
fn rounds_there(view: &HeightView<'_>) -> BTreeSet<u64> {
    let there = view.rounds.iter().filter(|round| round.standing.is_there());
    there.map(|round| round.round).collect()
}

/// What stands for one vote, whatever payloads its author made of it: round, kind and author.
type Vote = (u64, Kind, Address);

/// Adds what a height tells of who handed over what.
pub(crate) fn count(view: &HeightView<'_>, known: &dyn Fn(Address) -> bool, tally: &mut Tally) {
    let span = view.sights.iter().map(|sight| sight.first);
    let (Some(begin), Some(end)) = (span.clone().min(), span.max()) else {
        return;
    };
    let stretch = stretch_of(begin);
    let mut add = |key: PeerKey, sums: PeerSums| {
        let sum = tally.peers.entry(key).or_default();
        sum.firsts += sums.firsts;
        sum.due += sums.due;
        sum.present += sums.present;
        sum.invalid += sums.invalid;
    };
    let rounds = rounds_there(view);
    if !rounds.is_empty() {
        deliveries(view, &rounds, (begin, end), &mut add);
    }
    for (entry, sight) in view.payloads() {
        if entry.invalid {
            let signer = entry.signer.filter(|signer| known(*signer));
            let sender = view.party(sight.sender);
            let key = signer.map_or_else(
                || key_of(sender.address, sender.ip, stretch),
                |signer| (Some(signer), None, stretch),
            );
            let sums = PeerSums {
                invalid: 1,
                ..PeerSums::default()
            };
            add(key, sums);
        }
    }
}

/// Adds who was first, and who reached whom, with votes of rounds that are there.
fn deliveries(
    view: &HeightView<'_>,
    rounds: &BTreeSet<u64>,
    (begin, end): (CaptureTime, CaptureTime),
    add: &mut dyn FnMut(PeerKey, PeerSums),
) {
    let stretch = stretch_of(begin);
    // By payload, as small numbers: sorting them takes less than sorting votes.
    let mut numbers: HashMap<Vote, u32> = HashMap::new();
    let payloads = view.height.payloads.iter();
    let votes: Vec<Option<u32>> = payloads
        .map(|entry| {
            let signer = entry.signer.filter(|_| !entry.invalid)?;
            if !rounds.contains(&entry.round) || !view.is_validator(signer) {
                return None;
            }
            let next = numbers.len() as u32;
            Some(*numbers.entry((entry.round, entry.kind, signer)).or_insert(next))
        })
        .collect();
    // The first copy at each receiver; ties as everywhere by place.
    let mut arrivals: Vec<(u32, u32, CaptureTime, CaptureTime, u32)> =
        Vec::with_capacity(view.height.deliveries.len());
    let mut links: BTreeSet<(u32, u32)> = BTreeSet::new();
    for (key, delivery) in &view.height.deliveries {
        let Some(vote) = votes[key.payload as usize] else {
            continue;
        };
        let receiver = view.chain.ips.of_party[key.receiver as usize];
        arrivals.push((
            vote,
            receiver,
            delivery.first_arrival,
            delivery.first_seen,
            key.sender,
        ));
        links.insert((key.sender, receiver));
    }
    arrivals.sort_unstable_by(|a, b| {
        (a.0, a.1, a.2, a.3)
            .cmp(&(b.0, b.1, b.2, b.3))
            .then_with(|| view.chain.rank(a.4).cmp(&view.chain.rank(b.4)))
    });
    let mut firsts: BTreeMap<u32, u64> = BTreeMap::new();
    for copies in arrivals.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        *firsts.entry(copies[0].4).or_default() += 1;
    }
    for (party, firsts) in firsts {
        let party = view.party(party);
        let sums = PeerSums {
            firsts,
            ..PeerSums::default()
        };
        add(key_of(party.address, party.ip, stretch), sums);
    }
    let mut reached: BTreeMap<PeerKey, u64> = BTreeMap::new();
    for (sender, _) in links {
        let party = view.party(sender);
        *reached
            .entry(key_of(party.address, party.ip, stretch))
            .or_default() += 1;
    }
    let mut usual: Vec<u64> = reached.values().copied().collect();
    usual.sort_unstable();
    let usual = usual.get(usual.len() / 2).copied().unwrap_or(0);
    for &validator in view.validators {
        // What a session without a secret carried, or a gap swallowed, is nobody's lack.
        let places = view.chain.places;
        if places.connected(validator, begin) && places.is_read(validator, (begin, end), view.chain.losses) {
            let key = (Some(validator), None, stretch);
            let present = reached.get(&key).copied().unwrap_or(0).min(usual);
            let sums = PeerSums {
                due: usual,
                present,
                ..PeerSums::default()
            };
            add(key, sums);
        }
    }
}

/// A sum that fades, and that is capped as it grows: what was far too much is forgotten as fast as what was just too much.
#[derive(Clone, Copy, Debug)]
struct Counter {
    value: f64,
    cap: f64,
    at: Option<i64>,
}

impl Counter {
    const fn new(cap: f64) -> Self {
        Self {
            value: 0.0,
            cap,
            at: None,
        }
    }

    /// Adds what came at a time, none earlier than those before.
    fn add(&mut self, at: i64, amount: f64, options: &ScoreOptions) {
        self.fade(at, options);
        self.value = (self.value + amount).min(self.cap);
    }

    /// What is left of it.
    fn fade(&mut self, now: i64, options: &ScoreOptions) {
        if let Some(at) = self.at {
            self.value *= options.left(now.saturating_sub(at));
        }
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
    }

    fn now(mut self, now: i64, options: &ScoreOptions) -> f64 {
        self.fade(now, options);
        self.value
    }
}

impl ScoreOptions {
    /// The share that is left of what is so many nanoseconds old.
    fn left(&self, age: i64) -> f64 {
        0.5_f64.powf(age.max(0) as f64 / self.half_life.0.max(1) as f64)
    }
}

/// Sums of a node with what is left of them by now.
#[derive(Clone, Copy, Debug, Default)]
struct Decayed {
    firsts: f64,
    due: f64,
    present: f64,
    invalid: f64,
    behaviour: f64,
}

/// The score of each node.
pub(crate) fn scores(
    knowledge: &Knowledge,
    nodes: &[NodeFact],
    tallies: &Tallies,
    events: &[EventFact],
    options: &ScoreOptions,
) -> Vec<ScoreFact> {
    let now = knowledge.places.end().unwrap_or_default().nanos();
    let mut stretches: BTreeMap<Peer, BTreeMap<i64, PeerSums>> = BTreeMap::new();
    for tally in tallies.values() {
        for (&(address, ip, stretch), peer) in &tally.peers {
            let of_peer = stretches.entry((address, ip)).or_default();
            of_peer.entry(stretch).or_default().add(peer);
        }
    }
    let mut sums: BTreeMap<Peer, Decayed> = BTreeMap::new();
    for (peer, stretches) in stretches {
        let sum = sums.entry(peer).or_default();
        let mut firsts = Counter::new(options.first_deliveries_cap);
        let mut invalid = Counter::new(options.invalid_cap);
        for (stretch, peer) in stretches {
            // A stretch counts in full until it is over.
            let over = stretch.saturating_add(STRETCH);
            let left = options.left(now.saturating_sub(over));
            firsts.add(over, peer.firsts as f64, options);
            invalid.add(over, peer.invalid as f64, options);
            sum.due += left * peer.due as f64;
            sum.present += left * peer.present as f64;
        }
        sum.firsts = firsts.now(now, options);
        sum.invalid = invalid.now(now, options);
    }
    let mut blame: BTreeMap<Peer, Vec<(i64, f64)>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.suspicious) {
        let weight = if event.severity == "critical" { 4.0 } else { 1.0 };
        let ip = event.ip.filter(|_| event.address.is_none());
        if event.address.is_some() || ip.is_some() {
            let of_peer = blame.entry((event.address, ip)).or_default();
            of_peer.push((event.time_ns.nanos(), weight));
        }
    }
    for (peer, mut events) in blame {
        events.sort_unstable_by_key(|event| event.0);
        let mut behaviour = Counter::new(options.behaviour_cap);
        for (time, weight) in events {
            behaviour.add(time, weight, options);
        }
        sums.entry(peer).or_default().behaviour = behaviour.now(now, options);
    }
    let mut keys_at: BTreeMap<IpAddr, u64> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.address.is_some()) {
        for &ip in &node.ips {
            *keys_at.entry(ip).or_default() += 1;
        }
    }
    nodes
        .iter()
        .map(|node| {
            let ip = node.ips.first().copied();
            let key = (node.address, ip.filter(|_| node.address.is_none()));
            let sum = sums.get(&key).copied().unwrap_or_default();
            let connected = node
                .address
                .map_or(Nanos(0), |address| knowledge.places.connected_for(address));
            let keys = node.ips.iter().filter_map(|ip| keys_at.get(ip)).max().copied();
            score(node, ip, sum, connected, keys.unwrap_or(1), options)
        })
        .collect()
}

fn score(
    node: &NodeFact,
    ip: Option<IpAddr>,
    sum: Decayed,
    connected: Nanos,
    keys: u64,
    options: &ScoreOptions,
) -> ScoreFact {
    let quanta = connected.0 as f64 / options.time_in_mesh_quantum.0.max(1) as f64;
    let time_in_mesh = options.time_in_mesh_weight * quanta.min(options.time_in_mesh_cap);
    let firsts = options.first_deliveries_weight * sum.firsts.min(options.first_deliveries_cap);
    let deficit = if sum.due > 0.0 {
        10.0 * (options.delivery_deficit_threshold - sum.present / sum.due).max(0.0)
    } else {
        0.0
    };
    let squared = |weight: f64, value: f64| weight * value * value;
    let above = |value: f64, threshold: f64| (value - threshold).max(0.0);
    let parts = [
        time_in_mesh,
        firsts,
        squared(options.delivery_deficit_weight, deficit),
        squared(options.invalid_weight, sum.invalid),
        squared(
            options.colocation_weight,
            above(keys as f64, options.colocation_threshold).min(options.colocation_cap),
        ),
        squared(
            options.behaviour_weight,
            above(sum.behaviour, options.behaviour_threshold),
        ),
    ];
    // Rounded one by one, so that the parts that are shown add up to the sum that is shown.
    let [time_in_mesh, firsts, deficit, invalid, colocation, behaviour] = parts.map(milli);
    ScoreFact {
        node: node.label.clone(),
        address: node.address,
        ip,
        score_milli: [time_in_mesh, firsts, deficit, invalid, colocation, behaviour]
            .into_iter()
            .fold(0, i64::saturating_add),
        time_in_mesh_milli: time_in_mesh,
        first_deliveries_milli: firsts,
        delivery_deficit_milli: deficit,
        invalid_milli: invalid,
        colocation_milli: colocation,
        behaviour_milli: behaviour,
    }
}

/// Thousandths; far from the ends of the range, so that sums cannot leave it.
fn milli(value: f64) -> i64 {
    (value * 1000.0).round().clamp(-1e15, 1e15) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Coverage;

    fn node() -> NodeFact {
        NodeFact {
            name: None,
            label: "cn1".into(),
            node_id: None,
            address: Some(Address([1; 20])),
            ips: Vec::new(),
            client: None,
            role: None,
            coverage: Coverage::Full,
            validator: true,
        }
    }

    fn of(sum: Decayed, minutes: i64, keys: u64) -> ScoreFact {
        score(
            &node(),
            None,
            sum,
            Nanos::from_secs(60 * minutes),
            keys,
            &ScoreOptions::default(),
        )
    }

    #[test]
    fn each_part_follows_its_formula() {
        let sum = Decayed {
            firsts: 250.0,
            due: 100.0,
            present: 20.0,
            invalid: 3.0,
            behaviour: 4.0,
        };
        let score = of(sum, 30, 3);
        assert_eq!(score.time_in_mesh_milli, 3_000);
        assert_eq!(score.first_deliveries_milli, 2_500);
        assert_eq!(
            score.delivery_deficit_milli, -4_500,
            "three tenths, squared, by half"
        );
        assert_eq!(score.invalid_milli, -90_000);
        assert_eq!(score.colocation_milli, -20_000);
        assert_eq!(score.behaviour_milli, -80_000);
        assert_eq!(
            score.score_milli,
            3_000 + 2_500 - 4_500 - 90_000 - 20_000 - 80_000
        );
    }

    #[test]
    fn caps_and_thresholds_hold() {
        let sum = Decayed {
            firsts: 1e9,
            due: 100.0,
            present: 81.0,
            ..Decayed::default()
        };
        let score = of(sum, 1_000_000, 1);
        assert_eq!(
            (score.time_in_mesh_milli, score.first_deliveries_milli),
            (6_000, 10_000)
        );
        assert_eq!(score.score_milli, 16_000, "nothing is held against it");
        assert_eq!(of(Decayed::default(), 0, 1_000).colocation_milli, -500_000);
        assert_eq!(milli(f64::NAN), 0);
        assert_eq!(milli(-1e300), -1_000_000_000_000_000);
    }

    /// A storm of a thousand events is no worse than a dozen, and is over as soon.
    #[test]
    fn counters_are_capped_as_they_grow_and_fade_from_there() {
        let options = ScoreOptions::default();
        let hour = options.half_life.0;
        let mut storm = Counter::new(options.behaviour_cap);
        let mut three = Counter::new(options.behaviour_cap);
        for step in 0..1_000 {
            storm.add(step, 4.0, &options);
        }
        for step in 0..3 {
            three.add(step, 4.0, &options);
        }
        let near = |value: f64, expected: f64| assert!((value - expected).abs() < 1e-3, "{value} {expected}");
        near(storm.now(1_000, &options), 12.0);
        near(three.now(1_000, &options), 12.0);
        near(storm.now(999 + hour, &options), 6.0);
        near(storm.now(999 + 3 * hour, &options), 1.5);
        storm.add(999 + hour, 1.0, &options);
        near(storm.now(999 + hour, &options), 7.0);
        // A clock that was set back makes nothing grow.
        near(storm.now(0, &options), 7.0);
        storm.add(0, 1.0, &options);
        near(storm.now(999 + hour, &options), 8.0);
    }

    #[test]
    fn no_score_is_below_the_floor() {
        let sum = Decayed {
            due: 100.0,
            invalid: ScoreOptions::default().invalid_cap,
            behaviour: ScoreOptions::default().behaviour_cap,
            ..Decayed::default()
        };
        assert_eq!(
            of(sum, 0, u64::MAX).score_milli,
            -12_500 - 1_000_000 - 500_000 - 720_000
        );
    }
}
