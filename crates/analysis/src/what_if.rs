//! What other ways of handing on would have cost: each payload is replayed over the nodes that took part in its height.
//!
//! An estimate; docs/redundancy.md has its assumptions. Only what reaches receivers that were seen whole is counted, so that messages as seen
//! and messages of a policy are of the same receivers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use bftap_model::{Address, CaptureTime};

use crate::closing::ChainContext;
use crate::facts::{ChainName, WhatIfFact};
use crate::height::Height;
use crate::histogram::Histogram;
use crate::lived::earlier;
use crate::round::Rounds;
use crate::rows::{self, Row};
use crate::tally::Summed as _;
use crate::votes::{index_at, index_of_members};
use crate::witnesses::Sight;

/// Ways of handing on; in the order of [`POLICIES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    AsSeen,
    None,
    NotToSignerAndSource,
    Sqrt,
    Degree,
}

const POLICIES: [Policy; 5] = [
    Policy::AsSeen,
    Policy::None,
    Policy::NotToSignerAndSource,
    Policy::Sqrt,
    Policy::Degree,
];

/// Sums of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PolicySum {
    payloads: u64,
    messages: u64,
    bytes: u64,
    not_delivered: u64,
    delays: Histogram,
}

crate::tally::summed! {
    PolicySum { payloads, messages, bytes, not_delivered, delays }
}

crate::kept! {
    PolicySum { payloads, messages, bytes, not_delivered, delays }
}

/// By the place of the policy among [`POLICIES`].
pub(crate) type WhatIf = BTreeMap<u8, PolicySum>;

/// The rows of a chain, sorted by policy.
pub(crate) fn rows(chain: &ChainName, sums: &WhatIf, degree: u32) -> Vec<WhatIfFact> {
    let row = |(&policy, sum): (&u8, &PolicySum)| WhatIfFact {
        chain: chain.clone(),
        policy: match POLICIES[usize::from(policy)] {
            Policy::AsSeen => "as_seen".into(),
            Policy::None => "none".into(),
            Policy::NotToSignerAndSource => "not_to_signer_and_source".into(),
            Policy::Sqrt => "sqrt".into(),
            Policy::Degree => format!("degree_{degree}").into(),
        },
        payloads: sum.payloads,
        messages: sum.messages,
        bytes: sum.bytes,
        not_delivered: sum.not_delivered,
        delay_p50_ns: sum.delays.quantile(50),
        delay_p95_ns: sum.delays.quantile(95),
    };
    let mut rows: Vec<WhatIfFact> = sums.iter().map(row).collect();
    rows.sort_by(|a, b| a.policy.cmp(&b.policy));
    rows
}

/// Adds what one height gave. Without known validators there is nothing to replay over.
pub(crate) fn add(
    sums: &mut WhatIf,
    judged: &Rounds,
    height: &Height,
    rows: &[Row<'_>],
    span: (CaptureTime, CaptureTime),
    chain: &ChainContext<'_>,
) {
    let validators = &judged.validators;
    // A header may list whom it likes, and what follows grows with the square of their number.
    if validators.is_empty() || validators.len() > MOST_VALIDATORS {
        return;
    }
    let index_of = index_of_members(validators, chain);
    let whole = |validator: &Address| {
        let sight = chain
            .witnesses
            .sight(validator, span, chain.ips, chain.coverage, chain.losses);
        sight != Sight::Poor
    };
    let whole: Vec<bool> = validators.iter().map(whole).collect();
    if !whole.contains(&true) {
        return;
    }
    let mut replay = Replay::new(judged, rows, &index_of, height, chain);
    let mut results: [PolicySum; POLICIES.len()] = std::array::from_fn(|_| PolicySum::default());
    let mut copy = Copies::new(validators.len());
    for group in rows::by_payload(rows) {
        let entry = &height.payloads[group[0].payload as usize];
        let author = entry.signer.filter(|_| !entry.invalid);
        let Some(author) = author.and_then(|author| validators.binary_search(&author).ok()) else {
            continue;
        };
        copy.read(group, author, &whole, &index_of, chain);
        if copy.messages == 0 {
            continue;
        }
        for (policy, result) in POLICIES.into_iter().zip(&mut results) {
            result.payloads += 1;
            if policy == Policy::AsSeen {
                result.messages += copy.messages;
                result.bytes = result.bytes.saturating_add(copy.bytes);
                for &receiver in &copy.receivers {
                    if let Some((origin, arrival)) = copy.origin.zip(copy.arrival[receiver]) {
                        result.delays.note(arrival.since(origin).0);
                    }
                }
                continue;
            }
            let messages = replay.run(policy, author, &copy, result);
            result.messages += messages;
            // Copies of a payload are equally long, but for what compression makes of an envelope.
            result.bytes = result.bytes.saturating_add(messages.saturating_mul(copy.frame));
        }
    }
    for (policy, result) in (0..).zip(&results) {
        if result.payloads > 0 {
            sums.entry(policy).or_default().add(result);
        }
    }
}

/// How one payload went, by index of the validator.
#[derive(Debug)]
struct Copies {
    /// Seen whole, reached, and not the author.
    receivers: Vec<usize>,
    /// Messages at nodes that were seen whole, the author among them, and their bytes.
    messages: u64,
    bytes: u64,
    /// Bytes of a frame.
    frame: u64,
    /// When it left its author; known where a copy was seen at both ends.
    origin: Option<CaptureTime>,
    /// First arrival seen at the receiver's end.
    arrival: Vec<Option<CaptureTime>>,
    /// Arrival of the author's own copy, the same.
    direct: Vec<Option<CaptureTime>>,
    reached: Vec<bool>,
}

impl Copies {
    fn new(validators: usize) -> Self {
        Self {
            receivers: Vec::new(),
            messages: 0,
            bytes: 0,
            frame: 0,
            origin: None,
            arrival: vec![None; validators],
            direct: vec![None; validators],
            reached: vec![false; validators],
        }
    }

    fn read(
        &mut self,
        group: &[Row<'_>],
        author: usize,
        whole: &[bool],
        index_of: &[Option<usize>],
        chain: &ChainContext<'_>,
    ) {
        self.receivers.clear();
        (self.messages, self.bytes, self.origin) = (0, 0, None);
        self.arrival.fill(None);
        self.direct.fill(None);
        self.reached.fill(false);
        let (mut copies, mut bytes) = (0, 0);
        for row in group {
            let delivery = row.delivery;
            copies += u64::from(delivery.copies);
            bytes += delivery.bytes;
            let own = index_at(index_of, chain, row.sender) == Some(author);
            let twice = delivery.first_arrival > delivery.first_seen;
            if own && twice {
                self.origin = earlier(self.origin, Some(delivery.first_seen));
            }
            let Some(receiver) = index_at(index_of, chain, row.receiver) else {
                continue;
            };
            if !whole[receiver] {
                continue;
            }
            self.messages += u64::from(delivery.copies);
            self.bytes += delivery.bytes;
            self.reached[receiver] |= receiver != author;
            if twice {
                let earliest = Some(delivery.first_arrival);
                self.arrival[receiver] = earlier(self.arrival[receiver], earliest);
                if own {
                    self.direct[receiver] = earlier(self.direct[receiver], earliest);
                }
            }
        }
        self.frame = bytes / copies.max(1);
        let reached = self.reached.iter().enumerate();
        self.receivers
            .extend(reached.filter(|(_, reached)| **reached).map(|(index, _)| index));
    }
}

/// Replays the payloads of one height.
#[derive(Debug)]
struct Replay<'a> {
    validators: &'a [Address],
    sequence: u64,
    /// Validators that sent or got something of the height: others hand on nothing.
    active: Vec<usize>,
    /// Place of each among the active ones.
    place: Vec<Option<usize>>,
    /// Nanoseconds of each link, sender times number of validators plus receiver; empty where no link was measured.
    links: Vec<i64>,
    /// From a payload's arrival at a node to its leaving it, in nanoseconds.
    hold: i64,
    /// Peers that each node hands a payload to.
    sqrt: usize,
    degree: usize,
    /// How payloads of an author spread, by policy and author: all of one height go the same way.
    spreads: [Vec<Option<Spread>>; POLICIES.len()],
}

/// How a payload spreads, by index of the validator.
#[derive(Clone, Debug, Default)]
struct Spread {
    /// When it is there first, in nanoseconds, or in steps where no link was measured.
    arrived: Vec<Option<i64>>,
    messages: Vec<u64>,
}

impl<'a> Replay<'a> {
    fn new(
        judged: &'a Rounds,
        rows: &[Row<'_>],
        index_of: &[Option<usize>],
        height: &Height,
        chain: &ChainContext<'_>,
    ) -> Self {
        let validators = &judged.validators;
        let count = validators.len();
        let mut is_active = vec![false; count];
        let mut delays: Vec<(usize, i64)> = Vec::new();
        let mut direct: Vec<(usize, usize, CaptureTime)> = Vec::new();
        let mut holds: Vec<i64> = Vec::new();
        let mut left: Vec<Option<CaptureTime>> = vec![None; count];
        let mut came: Vec<Option<CaptureTime>> = vec![None; count];
        for group in rows::by_payload(rows) {
            let author = height.payloads[group[0].payload as usize].signer;
            left.fill(None);
            came.fill(None);
            for row in group {
                let [sender, receiver] =
                    [row.sender, row.receiver].map(|party| index_at(index_of, chain, party));
                let delivery = row.delivery;
                if let Some(receiver) = receiver {
                    is_active[receiver] = true;
                    came[receiver] = earlier(came[receiver], Some(delivery.first_arrival));
                }
                if let Some(sender) = sender {
                    is_active[sender] = true;
                    left[sender] = earlier(left[sender], Some(delivery.first_seen));
                    if let Some(receiver) = receiver
                        && delivery.first_arrival > delivery.first_seen
                        && Some(validators[sender]) == author
                    {
                        direct.push((sender, receiver, delivery.first_arrival));
                    }
                }
            }
            for (sender, receiver, arrival) in direct.drain(..) {
                if let Some(left) = left[sender] {
                    delays.push((sender * count + receiver, arrival.since(left).0));
                }
            }
            for (index, (left, came)) in left.iter().zip(&came).enumerate() {
                if let (Some(left), Some(came)) = (left, came)
                    && Some(validators[index]) != author
                    && left >= came
                {
                    holds.push(left.since(*came).0);
                }
            }
        }
        let active: Vec<usize> = (0..count).filter(|&index| is_active[index]).collect();
        let mut place = vec![None; count];
        for (at, &index) in active.iter().enumerate() {
            place[index] = Some(at);
        }
        Self {
            validators,
            sequence: judged.rounds.first().map_or(0, |(fact, _)| fact.sequence),
            links: links(delays, count),
            hold: lower_median(&mut holds).unwrap_or(0),
            sqrt: (active.len() as f64).sqrt().ceil() as usize,
            degree: chain.what_if_degree as usize,
            spreads: std::array::from_fn(|_| vec![None; count]),
            active,
            place,
        }
    }

    /// Replays a payload: adds what was not delivered, and delays, and gives the messages at the receivers.
    fn run(&mut self, policy: Policy, author: usize, copy: &Copies, result: &mut PolicySum) -> u64 {
        if policy == Policy::None {
            for &receiver in &copy.receivers {
                let measured = copy.origin.zip(copy.direct[receiver]);
                let delay = measured.map(|(origin, arrival)| arrival.since(origin).0);
                if let Some(delay) = delay.or_else(|| self.link(author, receiver)) {
                    result.delays.note(delay);
                }
            }
            return copy.receivers.len() as u64;
        }
        if self.spreads[policy as usize][author].is_none() {
            self.spreads[policy as usize][author] = Some(self.spread(policy, author));
        }
        let Some(spread) = &self.spreads[policy as usize][author] else {
            return 0;
        };
        let mut messages = 0;
        for &receiver in &copy.receivers {
            messages += spread.messages[receiver];
            match spread.arrived[receiver] {
                Some(delay) if !self.links.is_empty() => result.delays.note(delay),
                Some(_) => {}
                None => result.not_delivered += 1,
            }
        }
        messages
    }

    fn link(&self, sender: usize, receiver: usize) -> Option<i64> {
        self.links.get(sender * self.validators.len() + receiver).copied()
    }

    /// Lets a payload spread: each node hands it on once, when it comes first. Nobody hands it to its author or back to where it came
    /// from.
    fn spread(&self, policy: Policy, author: usize) -> Spread {
        let fanout = match policy {
            Policy::Sqrt => self.sqrt,
            Policy::Degree => self.degree,
            Policy::AsSeen | Policy::None | Policy::NotToSignerAndSource => return self.flood(author),
        };
        let mut spread = Spread {
            arrived: vec![None; self.validators.len()],
            messages: vec![0; self.validators.len()],
        };
        let mut picked = Vec::new();
        let mut waiting = BinaryHeap::from([Reverse((0, author, author))]);
        while let Some(Reverse((time, node, source))) = waiting.pop() {
            if spread.arrived[node].is_some() {
                continue;
            }
            spread.arrived[node] = Some(time);
            self.pick(node, [author, source], fanout, &mut picked);
            for &receiver in &picked {
                spread.messages[receiver] += 1;
                if spread.arrived[receiver].is_none() {
                    waiting.push(Reverse((
                        self.comes(time, node, receiver, author),
                        receiver,
                        node,
                    )));
                }
            }
        }
        spread
    }

    /// The same where each node hands it to all others.
    fn flood(&self, author: usize) -> Spread {
        let count = self.validators.len();
        let mut spread = Spread {
            arrived: vec![None; count],
            messages: vec![0; count],
        };
        let mut best: Vec<(i64, usize)> = vec![(i64::MAX, author); count];
        best[author] = (0, author);
        loop {
            let open = self.active.iter().filter(|&&node| spread.arrived[node].is_none());
            let Some((time, node, source)) = open
                .map(|&node| (best[node].0, node, best[node].1))
                .min()
                .filter(|next| next.0 < i64::MAX)
            else {
                return spread;
            };
            spread.arrived[node] = Some(time);
            for &receiver in &self.active {
                if receiver != node && receiver != author && receiver != source {
                    spread.messages[receiver] += 1;
                    let way = (self.comes(time, node, receiver, author), node);
                    best[receiver] = best[receiver].min(way);
                }
            }
        }
    }

    /// When what came to a node at a time comes to the next one.
    fn comes(&self, time: i64, node: usize, receiver: usize, author: usize) -> i64 {
        match self.link(node, receiver) {
            Some(way) if node == author => time.saturating_add(way),
            Some(way) => time.saturating_add(self.hold).saturating_add(way),
            None => time + 1,
        }
    }

    /// Chooses whom a node hands a payload to: the same for each author, node and height, whatever else is known.
    fn pick(&self, node: usize, [author, source]: [usize; 2], fanout: usize, picked: &mut Vec<usize>) {
        picked.clear();
        let mut barred: Vec<usize> = [node, author, source]
            .into_iter()
            .filter_map(|index| self.place[index])
            .collect();
        barred.sort_unstable();
        barred.dedup();
        // The so-manyth of those that are not barred.
        let nth = |number: usize| {
            let at = barred
                .iter()
                .fold(number, |at, &place| at + usize::from(place <= at));
            self.active[at]
        };
        let candidates = self.active.len() - barred.len();
        if fanout >= candidates {
            picked.extend((0..candidates).map(nth));
            return;
        }
        let number = |index: usize| {
            let address = &self.validators[index].0;
            u64::from_be_bytes(std::array::from_fn(|at| address[at]))
        };
        let mut state = number(author).rotate_left(32) ^ number(node) ^ self.sequence;
        // Floyd's choice of some among more, each set equally likely: no number is drawn in vain.
        for last in candidates - fanout..candidates {
            let drawn = (u128::from(next(&mut state)) * (last as u128 + 1)) >> 64;
            let peer = nth(drawn as usize);
            let peer = if picked.contains(&peer) { nth(last) } else { peer };
            picked.push(peer);
        }
    }
}

/// Heights of more validators are not replayed: far more than any Istanbul network has.
const MOST_VALIDATORS: usize = 256;

/// Medians of the links; a link that was not measured takes as long as the median of those that were.
fn links(mut delays: Vec<(usize, i64)>, count: usize) -> Vec<i64> {
    if delays.is_empty() {
        return Vec::new();
    }
    let mut all: Vec<i64> = delays.iter().map(|(_, delay)| *delay).collect();
    let median = lower_median(&mut all).unwrap_or(0);
    let mut links = vec![median; count * count];
    delays.sort_unstable();
    for of_link in delays.chunk_by(|a, b| a.0 == b.0) {
        let (link, delay) = of_link[(of_link.len() - 1) / 2];
        links[link] = delay;
    }
    links
}

fn lower_median(values: &mut [i64]) -> Option<i64> {
    let middle = values.len().checked_sub(1)? / 2;
    Some(*values.select_nth_unstable(middle).1)
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten validators; a link takes as many nanoseconds as its ends are apart.
    fn replay(validators: &[Address]) -> Replay<'_> {
        let count = validators.len();
        Replay {
            validators,
            sequence: 7,
            active: (0..count).collect(),
            place: (0..count).map(Some).collect(),
            links: (0..count * count)
                .map(|link| (link / count).abs_diff(link % count) as i64 * 100)
                .collect(),
            hold: 5,
            sqrt: 4,
            degree: 3,
            spreads: std::array::from_fn(|_| vec![None; count]),
        }
    }

    fn validators() -> Vec<Address> {
        (0..10_u8).map(|number| Address([number * 7 + 1; 20])).collect()
    }

    #[test]
    fn besu_hands_on_once_to_all_but_author_and_source() {
        let validators = validators();
        let mut replay = replay(&validators);
        let direct = replay.flood(4);
        // All have it from the author first, so each gets it from all others: n - 1 copies.
        assert_eq!(direct.messages[4], 0);
        assert!(
            direct
                .messages
                .iter()
                .enumerate()
                .all(|(at, &copies)| at == 4 || copies == 9)
        );
        assert_eq!(direct.arrived[9], Some(500));
        // A link so slow that a way over another node is shorter: who handed it on is not handed it back.
        replay.links[4 * 10 + 9] = 100_000;
        let around = replay.flood(4);
        assert_eq!(around.arrived[9], Some(500 + 5));
        assert_eq!(around.messages.iter().sum::<u64>(), 9 * 9 - 1);
        replay.links.clear();
        assert_eq!(
            replay.flood(4).messages,
            direct.messages,
            "without delays, by steps"
        );
    }

    #[test]
    fn so_many_peers_are_picked_and_always_the_same() {
        let validators = validators();
        let replay = replay(&validators);
        let mut seen = [0; 10];
        for node in 0..10 {
            for source in 0..10 {
                let (mut picked, mut again) = (Vec::new(), Vec::new());
                replay.pick(node, [3, source], 3, &mut picked);
                replay.pick(node, [3, source], 3, &mut again);
                assert_eq!(picked, again);
                picked.iter().for_each(|&peer| seen[peer] += 1);
                picked.sort_unstable();
                picked.dedup();
                assert_eq!(picked.len(), 3);
                assert!(picked.iter().all(|peer| ![node, 3, source].contains(peer)));
                replay.pick(node, [3, source], 100, &mut picked);
                let barred = std::collections::BTreeSet::from([node, 3, source]).len();
                assert_eq!(picked.len(), 10 - barred);
            }
        }
        assert!(
            seen[3] == 0 && (0..10).all(|peer| peer == 3 || seen[peer] > 10),
            "{seen:?}"
        );
    }

    #[test]
    fn few_peers_cost_less_and_take_longer() {
        let validators = validators();
        let mut replay = replay(&validators);
        let all = replay.flood(0);
        let few = replay.spread(Policy::Degree, 0);
        let sum = |spread: &Spread| spread.messages.iter().sum::<u64>();
        assert!(sum(&few) <= 10 * 3 && sum(&few) < sum(&all));
        let times = |spread: &Spread| spread.arrived.iter().flatten().sum::<i64>();
        let reached = few.arrived.iter().flatten().count();
        assert!(times(&few) > times(&all) || reached < 10);
        // One peer each: a chain, that ends where it comes to a node for the second time.
        replay.degree = 1;
        let chain = replay.spread(Policy::Degree, 0);
        let reached = chain.arrived.iter().flatten().count() as u64;
        assert!(reached >= 2 && sum(&chain) <= reached, "{chain:?}");
        assert!(chain.arrived.iter().any(Option::is_none));
    }
}
