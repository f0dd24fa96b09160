//! What the report says of heights, added up while they stream by.
//!
//! Holds a bounded amount whatever the length of the run: sums and spreads a receiver, spans a chain, and the
//! busiest rounds. The exact rows are in the JSON report and in the store.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;

use bftap_analysis::facts::{ChainName, CountFact, HeightFacts, Label, Outcome, RoundCause, RoundFact};
use bftap_ibft_decode::Kind;

use super::page::shown_duration;
use super::slowest::Slowest;

/// Sums over all heights of a run.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    receivers: BTreeMap<IpAddr, Receiver>,
    /// Everything at receivers beyond the limit.
    beyond: Tally,
    kinds: [Tally; 4],
    chains: BTreeMap<ChainName, Chain>,
    outcomes: [u64; 4],
    claimed_rounds: u64,
    /// Messages of rounds that only liars name.
    claimed: Tally,
    slowest: Slowest,
    rounds_without_quorum: u64,
    /// By cause, in the order of [`cause_index`].
    causes: [u64; 5],
    to_prepared: Spread,
    to_committed: Spread,
    busiest: BinaryHeap<Reverse<Busy>>,
}

/// Messages and what they were worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) messages: u64,
    pub(crate) useful: u64,
    pub(crate) repeats: u64,
    pub(crate) echoes: u64,
    pub(crate) resent: u64,
    pub(crate) echo_source: u64,
    pub(crate) crossing: u64,
    pub(crate) regossip: u64,
    pub(crate) invalid: u64,
    pub(crate) bytes: u64,
}

impl Tally {
    fn add(&mut self, count: &CountFact) {
        self.messages += count.messages;
        self.useful += count.useful;
        self.repeats += count.repeats;
        self.echoes += count.echoes;
        self.resent += count.resent;
        self.echo_source += count.echo_source;
        self.crossing += count.crossing;
        self.regossip += count.regossip;
        self.invalid += count.invalid;
        self.bytes += count.bytes;
    }

    fn without(self, part: &Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(part.messages),
            useful: self.useful.saturating_sub(part.useful),
            repeats: self.repeats.saturating_sub(part.repeats),
            echoes: self.echoes.saturating_sub(part.echoes),
            resent: self.resent.saturating_sub(part.resent),
            echo_source: self.echo_source.saturating_sub(part.echo_source),
            crossing: self.crossing.saturating_sub(part.crossing),
            regossip: self.regossip.saturating_sub(part.regossip),
            invalid: self.invalid.saturating_sub(part.invalid),
            bytes: self.bytes.saturating_sub(part.bytes),
        }
    }

    fn plus(mut self, other: &Self) -> Self {
        self.messages += other.messages;
        self.useful += other.useful;
        self.repeats += other.repeats;
        self.echoes += other.echoes;
        self.resent += other.resent;
        self.echo_source += other.echo_source;
        self.crossing += other.crossing;
        self.regossip += other.regossip;
        self.invalid += other.invalid;
        self.bytes += other.bytes;
        self
    }

    /// Messages a useful one cost; `None` without a useful one.
    pub(crate) fn redundancy(&self) -> Option<f64> {
        (self.useful > 0).then(|| self.messages as f64 / self.useful as f64)
    }
}

/// What reached one IP address.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// The receiver in text.
    pub(crate) label: Label,
    /// By kind, in the order of [`Kind::ALL`].
    pub(crate) kinds: [KindAtReceiver; 4],
    /// Rows that are lower bounds.
    pub(crate) lower_bounds: u64,
}

impl Receiver {
    /// Over all kinds.
    pub(crate) fn total(&self) -> Tally {
        self.kinds
            .iter()
            .fold(Tally::default(), |sum, kind| sum.plus(&kind.tally))
    }
}

/// Messages of one kind at one receiver.
#[derive(Debug, Default)]
pub(crate) struct KindAtReceiver {
    /// Over all rounds.
    pub(crate) tally: Tally,
    /// Messages a round, over the rounds in which any arrived.
    pub(crate) per_round: Spread,
    ideal: u64,
    bound: u64,
    largest_bound: u64,
    rounds_of_known_size: u64,
}

impl KindAtReceiver {
    /// Messages a round if each payload of another validator came once; `None` if the number of validators is unknown.
    pub(crate) fn ideal(&self) -> Option<f64> {
        (self.rounds_of_known_size > 0).then(|| self.ideal as f64 / self.rounds_of_known_size as f64)
    }

    /// Messages a round if every neighbour handed on every payload, as [`ideal`](Self::ideal).
    pub(crate) fn bound(&self) -> Option<f64> {
        (self.rounds_of_known_size > 0).then(|| self.bound as f64 / self.rounds_of_known_size as f64)
    }

    /// The bound of the round with most validators.
    pub(crate) const fn largest_bound(&self) -> u64 {
        self.largest_bound
    }
}

/// Heights of one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Lowest height.
    pub(crate) first: u64,
    /// Highest height.
    pub(crate) last: u64,
    /// How many.
    pub(crate) heights: u64,
}

/// A round with many messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Busy {
    pub(crate) messages: u64,
    pub(crate) chain: ChainName,
    pub(crate) sequence: u64,
    pub(crate) round: u64,
    pub(crate) outcome: Outcome,
    pub(crate) proposer: Option<Label>,
    /// Nanoseconds from the preprepare to the commit quorum.
    pub(crate) took: Option<i64>,
}

impl Busy {
    /// More messages first, then the earlier round: equal numbers do not depend on the order of arrival.
    fn rank(&self) -> (u64, Reverse<(&ChainName, u64, u64)>) {
        (self.messages, Reverse((&self.chain, self.sequence, self.round)))
    }
}

impl Ord for Busy {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Busy {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A round that only liars name.
fn is_claimed(round: &RoundFact) -> bool {
    !round.standing.is_there()
}

impl Summary {
    /// Takes one height.
    pub(crate) fn add(&mut self, height: &HeightFacts) {
        for count in &height.counts {
            self.kinds[count.kind.index()].add(count);
            let round = height
                .rounds
                .iter()
                .find(|round| round.round == count.round && round.chain == count.chain);
            if round.is_some_and(is_claimed) {
                self.claimed.add(count);
            }
            self.add_at_receiver(count, round);
        }
        for round in &height.rounds {
            self.add_round(round);
        }
        // A height has one chain and one sequence, so any of its rows tells them.
        let place = height
            .rounds
            .first()
            .map(|round| (&round.chain, round.sequence))
            .or_else(|| height.counts.first().map(|count| (&count.chain, count.sequence)));
        if let Some((chain, sequence)) = place
            && height.is_there()
        {
            self.add_height(chain, sequence);
        }
    }

    fn add_at_receiver(&mut self, count: &CountFact, round: Option<&RoundFact>) {
        if self.receivers.len() >= MAX_RECEIVERS && !self.receivers.contains_key(&count.receiver_ip) {
            self.beyond.add(count);
            return;
        }
        let receiver = self
            .receivers
            .entry(count.receiver_ip)
            .or_insert_with(|| Receiver {
                label: count.receiver.clone(),
                kinds: Default::default(),
                lower_bounds: 0,
            });
        receiver.lower_bounds += u64::from(count.lower_bound);
        let kind = &mut receiver.kinds[count.kind.index()];
        kind.tally.add(count);
        // What is only spoken of says nothing about rounds.
        if round.is_some_and(is_claimed) {
            return;
        }
        kind.per_round.add_count(count.messages);
        if let Some(validators) = round.and_then(|round| round.validators) {
            let (ideal, bound) = ideal_and_bound(count.kind, validators);
            kind.ideal += ideal;
            kind.bound += bound;
            kind.largest_bound = kind.largest_bound.max(bound);
            kind.rounds_of_known_size += 1;
        }
    }

    fn add_round(&mut self, round: &RoundFact) {
        if let Some(outcome) = round.counted() {
            self.outcomes[outcome_index(outcome)] += 1;
            self.rounds_without_quorum += u64::from(round.quorum.is_none());
            if let Some(cause) = round.cause.filter(|_| outcome == Outcome::Changed) {
                self.causes[cause_index(cause)] += 1;
            }
            self.slowest.add(round);
        } else {
            self.claimed_rounds += 1;
        }
        let since_proposal = |time: Option<bftap_model::CaptureTime>| {
            Some(time?.since(round.preprepare_ns?).0).filter(|&nanos| nanos >= 0)
        };
        if let Some(nanos) = since_proposal(round.prepared_ns) {
            self.to_prepared.add_duration(nanos.unsigned_abs());
        }
        let took = since_proposal(round.committed_ns);
        if let Some(nanos) = took {
            self.to_committed.add_duration(nanos.unsigned_abs());
        }
        if round.messages == 0 {
            return;
        }
        let candidate = Busy {
            messages: round.messages,
            chain: round.chain.clone(),
            sequence: round.sequence,
            round: round.round,
            outcome: round.outcome,
            proposer: round.proposer.clone(),
            took,
        };
        if self.busiest.len() < BUSIEST_KEPT {
            self.busiest.push(Reverse(candidate));
        } else if self
            .busiest
            .peek()
            .is_some_and(|Reverse(least)| *least < candidate)
        {
            self.busiest.pop();
            self.busiest.push(Reverse(candidate));
        }
    }

    fn add_height(&mut self, chain: &ChainName, sequence: u64) {
        if let Some(known) = self.chains.get_mut(chain) {
            known.first = known.first.min(sequence);
            known.last = known.last.max(sequence);
            known.heights += 1;
        } else if self.chains.len() < MAX_CHAINS {
            self.chains.insert(
                chain.clone(),
                Chain {
                    first: sequence,
                    last: sequence,
                    heights: 1,
                },
            );
        }
    }

    /// Receivers, busiest first; ties by address.
    pub(crate) fn receivers(&self) -> Vec<(IpAddr, &Receiver)> {
        let mut receivers: Vec<_> = self
            .receivers
            .iter()
            .map(|(&ip, receiver)| (ip, receiver))
            .collect();
        receivers.sort_by_key(|(ip, receiver)| (Reverse(receiver.total().messages), *ip));
        receivers
    }

    /// What reached receivers that are not kept apart, because there are more than this report holds.
    pub(crate) const fn beyond(&self) -> &Tally {
        &self.beyond
    }

    /// Sums of a kind over all receivers.
    pub(crate) const fn kind(&self, kind: Kind) -> &Tally {
        &self.kinds[kind.index()]
    }

    /// Sums over all kinds and receivers.
    pub(crate) fn total(&self) -> Tally {
        self.kinds.iter().fold(Tally::default(), Tally::plus)
    }

    /// Chains with their heights, by name.
    pub(crate) fn chains(&self) -> impl ExactSizeIterator<Item = (&ChainName, &Chain)> {
        self.chains.iter()
    }

    /// Rounds of an outcome.
    pub(crate) const fn rounds_with(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome_index(outcome)]
    }

    /// Rounds that were left for a higher one, for this cause.
    pub(crate) const fn rounds_left_by(&self, cause: RoundCause) -> u64 {
        self.causes[cause_index(cause)]
    }

    /// Rounds that no more validators than may be faulty speak of: they are in no other number.
    pub(crate) const fn claimed_rounds(&self) -> u64 {
        self.claimed_rounds
    }

    /// Messages of these, and those of all the others.
    pub(crate) fn claimed_and_rest(&self) -> (Tally, Tally) {
        (self.claimed, self.total().without(&self.claimed))
    }

    /// The heights that took longest, in words.
    pub(crate) fn slowest(&self) -> Option<String> {
        self.slowest.text()
    }

    /// All rounds that count.
    pub(crate) fn rounds(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Rounds whose quorum is not known, because no validator set is.
    pub(crate) const fn rounds_without_quorum(&self) -> u64 {
        self.rounds_without_quorum
    }

    /// Nanoseconds from preprepare to prepared and to committed.
    pub(crate) const fn phases(&self) -> [(&'static str, &Spread); 2] {
        [("prepared", &self.to_prepared), ("committed", &self.to_committed)]
    }

    /// The rounds with most messages, busiest first.
    pub(crate) fn busiest(&self) -> Vec<&Busy> {
        let mut rounds: Vec<_> = self.busiest.iter().map(|Reverse(round)| round).collect();
        rounds.sort_by(|a, b| b.cmp(a));
        rounds
    }
}

/// Messages of a kind that a validator receives in a round among `validators`: if each payload came once, and at most.
///
/// Every neighbour hands a payload on at most once, and the receiver's own comes back (WIRE-FORMATS 7.2): of
/// n payloads n-1 copies each. A preprepare is one payload.
const fn ideal_and_bound(kind: Kind, validators: u32) -> (u64, u64) {
    let others = (validators as u64).saturating_sub(1);
    match kind {
        Kind::Preprepare => (1, others),
        Kind::Prepare | Kind::Commit | Kind::RoundChange => (others, others * validators as u64),
    }
}

const fn cause_index(cause: RoundCause) -> usize {
    match cause {
        RoundCause::NoPreprepare => 0,
        RoundCause::LatePreprepare => 1,
        RoundCause::VotesMissing => 2,
        RoundCause::QuorumTooLate => 3,
        RoundCause::Unknown => 4,
    }
}

const fn outcome_index(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Decided => 0,
        Outcome::Changed => 1,
        Outcome::Open => 2,
        Outcome::Unknown => 3,
    }
}

/// Distribution of whole numbers in bounded memory: numbers are kept as they will be shown, so that what is shown of a
/// percentile is what the exact one would show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spread {
    /// How many numbers are shown as this one.
    shown: BTreeMap<u64, u64>,
    count: u64,
    sum: u128,
    max: u64,
}

impl Spread {
    /// Adds a number of things; [`shown_count`] of it is kept.
    fn add_count(&mut self, value: u64) {
        self.add(value, shown_count(value));
    }

    /// Adds a span of time in nanoseconds; [`shown_duration`] of it is kept.
    fn add_duration(&mut self, nanos: u64) {
        self.add(nanos, shown_duration(nanos));
    }

    /// `shown` must not fall when `value` grows.
    fn add(&mut self, value: u64, shown: u64) {
        *self.shown.entry(shown).or_default() += 1;
        self.max = self.max.max(value);
        self.count += 1;
        self.sum += u128::from(value);
    }

    /// How many numbers.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Their mean.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// The largest.
    pub(crate) fn max(&self) -> Option<u64> {
        (self.count > 0).then_some(self.max)
    }

    /// The smallest number that `share` percent of all do not exceed, as it is shown.
    pub(crate) fn percentile(&self, share: u64) -> Option<u64> {
        let rank = u128::from(self.count) * u128::from(share);
        let rank = rank.div_ceil(100).max(1);
        let mut passed = 0;
        self.shown
            .iter()
            .find(|(_, count)| {
                passed += u128::from(**count);
                passed >= rank
            })
            .map(|(shown, _)| *shown)
    }
}

/// A number of messages in a round as it is shown: itself, up to the bound of 128 validators; above, a thousandth off at most.
pub(crate) const fn shown_count(value: u64) -> u64 {
    if value < EXACT_COUNTS {
        return value;
    }
    // Halves of steps, so that the middle of a step stands for it.
    let step = 1 << (value.ilog2() - STEP_BITS);
    value - value % step + step / 2
}

/// Whether [`shown_count`] of a number is the number.
pub(crate) const fn is_exact(shown: u64) -> bool {
    shown < EXACT_COUNTS
}

/// Counts below this are kept one by one: n(n-1) for 128 validators is 16,256.
const EXACT_COUNTS: u64 = 1 << 14;

/// Steps a power of two above that, as bits.
const STEP_BITS: u32 = 10;

/// Receivers kept apart. Far above real networks; some 10 KiB each.
const MAX_RECEIVERS: usize = 4096;

/// Chains kept apart.
const MAX_CHAINS: usize = 1024;

/// Busiest rounds kept.
const BUSIEST_KEPT: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use bftap_analysis::facts::RoundStanding;

    use crate::report::{duration, sample};

    #[test]
    fn sums_are_by_receiver_and_kind() {
        let mut summary = Summary::default();
        for height in sample::heights() {
            summary.add(&height);
        }
        let total = summary.total();
        assert_eq!(total.messages, total.useful + total.repeats + total.echoes);
        let (ip, first) = summary.receivers()[0];
        assert_eq!(ip, IpAddr::from([10, 0, 0, 1]));
        let prepare = &first.kinds[Kind::Prepare.index()];
        assert_eq!(prepare.ideal(), Some(6.0));
        assert_eq!(prepare.bound(), Some(42.0));
        assert_eq!(prepare.largest_bound(), 42);
        assert_eq!(prepare.per_round.max(), Some(36));
        assert_eq!(
            prepare.tally.redundancy(),
            Some(prepare.tally.messages as f64 / prepare.tally.useful as f64)
        );
        assert_eq!(summary.chains().len(), 1);
    }

    #[test]
    fn what_only_a_liar_names_is_in_no_number_of_rounds() {
        let mut summary = Summary::default();
        let mut lying = Summary::default();
        for height in sample::heights() {
            summary.add(&height);
            lying.add(&height);
        }
        for sequence in 500..700 {
            let mut height = sample::height(sequence, 3);
            height.rounds[0].outcome = Outcome::Changed;
            height.rounds[0].cause = Some(RoundCause::VotesMissing);
            height.rounds[0].standing = RoundStanding::Claimed;
            lying.add(&height);
        }
        assert_eq!(lying.claimed_rounds(), 200);
        assert_eq!(lying.rounds(), summary.rounds());
        assert_eq!(lying.rounds_with(Outcome::Changed), 1);
        assert_eq!(lying.rounds_left_by(RoundCause::VotesMissing), 1);
        assert!(lying.chains().eq(summary.chains()));
        let (claimed, rest) = lying.claimed_and_rest();
        assert_eq!(rest, summary.total());
        assert_eq!(claimed.messages, lying.total().messages - rest.messages);
        assert!(claimed.messages > 0 && summary.claimed_and_rest().0 == Tally::default());
        let per_round = |summary: &Summary| {
            let (_, first) = summary.receivers()[0];
            first.kinds[Kind::Prepare.index()].per_round.count()
        };
        assert_eq!(per_round(&lying), per_round(&summary));
        // A round in which more than may fail were, and that only a liar calls left, is open.
        let mut height = sample::height(20, 3);
        height.rounds[0].outcome = Outcome::Changed;
        lying.add(&height);
        assert_eq!(
            (
                lying.rounds_with(Outcome::Changed),
                lying.rounds_with(Outcome::Open)
            ),
            (1, 1)
        );
    }

    #[test]
    fn busiest_rounds_do_not_depend_on_order() {
        let heights: Vec<_> = (1..100)
            .map(|sequence| sample::height(sequence, sequence % 7 * 10))
            .collect();
        let mut forward = Summary::default();
        let mut backward = Summary::default();
        heights.iter().for_each(|height| forward.add(height));
        heights.iter().rev().for_each(|height| backward.add(height));
        assert_eq!(forward.busiest(), backward.busiest());
        assert_eq!(forward.busiest().len(), BUSIEST_KEPT);
        assert!(
            forward
                .busiest()
                .windows(2)
                .all(|pair| pair[0].messages >= pair[1].messages)
        );
        assert_eq!(forward.busiest()[0].sequence, 6, "of equal rounds the earliest");
    }

    #[test]
    fn receivers_beyond_the_limit_are_counted_together() {
        let mut summary = Summary::default();
        let template = sample::height(1, 5);
        for number in 0..MAX_RECEIVERS as u32 + 10 {
            let mut height = HeightFacts::default();
            let mut count = template.counts[0].clone();
            count.receiver_ip = IpAddr::from(number.to_be_bytes());
            height.counts.push(count);
            summary.add(&height);
        }
        assert_eq!(summary.receivers().len(), MAX_RECEIVERS);
        assert_eq!(summary.beyond().messages, 10 * template.counts[0].messages);
    }

    #[test]
    fn large_counts_are_shown_a_thousandth_off_at_most_and_small_ones_as_they_are() {
        let mut last = 0;
        let around = |value: u64| [value - 1, value, value.saturating_add(1)];
        for value in (0..17_000)
            .chain((15..64).flat_map(|bit| around(1 << bit)))
            .chain([u64::MAX])
        {
            let shown = shown_count(value);
            assert!(shown.abs_diff(value) <= value / 1000, "{value}: {shown}");
            assert!(shown == value || !is_exact(shown), "{value}: {shown}");
            assert!(shown >= last, "{value}: {shown} after {last}");
            last = shown;
        }
    }

    #[test]
    fn percentiles_are_numbers_of_the_set() {
        let mut spread = Spread::default();
        assert_eq!(
            (spread.percentile(50), spread.mean(), spread.max()),
            (None, None, None)
        );
        for value in [5, 1, 3, 1000] {
            spread.add_count(value);
        }
        assert_eq!(spread.percentile(50), Some(3));
        assert_eq!(spread.percentile(0), Some(1));
        assert_eq!(spread.percentile(100), Some(1000));
        assert_eq!((spread.max(), spread.count()), (Some(1000), 4));
        assert_eq!(spread.mean(), Some(252.25));
    }

    /// What a report shows of a percentile is what it would show of the number at that rank.
    #[test]
    fn percentiles_of_durations_are_exact_to_the_digits_shown() {
        let mut state = 7u64;
        let mut values: Vec<u64> = (0..2000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 20) >> (state % 44)
            })
            .collect();
        let mut spread = Spread::default();
        values.iter().for_each(|&value| spread.add_duration(value));
        values.sort_unstable();
        for share in 1..=100u64 {
            let exact = values[(values.len() * share as usize).div_ceil(100) - 1];
            let shown = spread.percentile(share).unwrap();
            assert_eq!(duration(shown as i64), duration(exact as i64), "{share} %");
        }
    }
}
