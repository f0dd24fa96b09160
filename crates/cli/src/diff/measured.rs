//! What of a stored run is compared, height by height.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bftap_store::rows::{CountRow, DelayRow, NodeRoundRow, RoundRow, RunRow, VoteRow};
use bftap_store::{RunId, Store, StoreError, each_row};

use super::About;

/// Most heights of a run that are compared; about 500 bytes each.
const MOST_HEIGHTS: usize = 200_000;

/// A run, measured.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) about: About,
    /// By chain and sequence.
    pub(super) heights: BTreeMap<(i64, i64), Height>,
    /// How long payloads took to reach nodes, by the node in text.
    pub(super) delays: BTreeMap<String, Delays>,
    /// It is of a part of its captures.
    pub(super) selection: bool,
    /// Detail was removed from it.
    pub(super) thinned: bool,
    /// It has more heights than are compared.
    pub(super) cut: bool,
}

/// Delays of payloads that reached a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delays {
    /// How many.
    pub(super) payloads: i64,
    /// Median, 95 % and 99 %, in nanoseconds.
    pub(super) quantiles: [i64; 3],
}

/// Of a node that is in several chains, those of the chain with most.
fn delays_of(rows: &[DelayRow]) -> BTreeMap<String, Delays> {
    let mut delays: BTreeMap<String, Delays> = BTreeMap::new();
    for row in rows {
        let (Some(p50), Some(p95), Some(p99)) = (row.p50_ns, row.p95_ns, row.p99_ns) else {
            continue;
        };
        if delays
            .get(&row.node)
            .is_none_or(|known| known.payloads < row.exact)
        {
            let of_node = Delays {
                payloads: row.exact,
                quantiles: [p50, p95, p99],
            };
            delays.insert(row.node.clone(), of_node);
        }
    }
    delays
}

/// One height of a chain.
#[derive(Clone, Debug, Default)]
pub(super) struct Height {
    pub(super) sums: [f64; Sum::COUNT],
    /// Nanoseconds.
    pub(super) times: [Vec<i64>; Time::COUNT],
}

/// What is added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sum {
    /// One for each height.
    Heights,
    /// Rounds above 0.
    HigherRounds,
    /// Messages of a kind at receivers seen in full, and rounds at these in which any arrived.
    Preprepares,
    PreprepareRounds,
    Prepares,
    PrepareRounds,
    Commits,
    CommitRounds,
    RoundChanges,
    RoundChangeRounds,
    Messages,
    Useful,
    Repeats,
    Echoes,
    Bytes,
    Resent,
    EchoSource,
    Crossing,
    Regossip,
    /// Useful messages of rows that have causes.
    UsefulWithCauses,
    /// Votes of which it is known what became: commits of decided rounds.
    CommitsDue,
    CommitsSeen,
    VotesKnown,
    VotesLate,
}

impl Sum {
    const COUNT: usize = Self::VotesLate as usize + 1;
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    Block,
    ToPrepared,
    ToCommitted,
    PreprepareDelivery,
}

impl Time {
    const COUNT: usize = Self::PreprepareDelivery as usize + 1;
}

/// A unit of a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Spans of time.
    Nanoseconds,
    /// Messages.
    Messages,
    /// Bytes.
    Bytes,
    /// One thing for each of another.
    Factor,
    /// A part of 1.
    Share,
}

impl Unit {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Nanoseconds => "nanoseconds",
            Self::Messages => "messages",
            Self::Bytes => "bytes",
            Self::Factor => "factor",
            Self::Share => "share",
        }
    }
}

/// One measure.
#[derive(Debug)]
pub(super) struct Measure {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    pub(super) of: Of,
}

/// How a measure is made of heights.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    Ratio(Sum, Sum),
    Quantile(f64, Time),
}

const fn ratio(name: &'static str, unit: Unit, numerator: Sum, denominator: Sum) -> Measure {
    Measure {
        name,
        unit,
        of: Of::Ratio(numerator, denominator),
    }
}

const fn time(name: &'static str, share: f64, time: Time) -> Measure {
    Measure {
        name,
        unit: Unit::Nanoseconds,
        of: Of::Quantile(share, time),
    }
}

/// All measures, in the order in which they are shown.
pub(super) const MEASURES: [Measure; 24] = [
    time("block time, median", 0.5, Time::Block),
    time("block time, 95 %", 0.95, Time::Block),
    time("preprepare to prepared, median", 0.5, Time::ToPrepared),
    time("preprepare to prepared, 95 %", 0.95, Time::ToPrepared),
    time("prepared to committed, median", 0.5, Time::ToCommitted),
    time("prepared to committed, 95 %", 0.95, Time::ToCommitted),
    time("preprepare delivery, median", 0.5, Time::PreprepareDelivery),
    time("preprepare delivery, 95 %", 0.95, Time::PreprepareDelivery),
    ratio(
        "round changes a height",
        Unit::Factor,
        Sum::HigherRounds,
        Sum::Heights,
    ),
    ratio(
        "commits seen, of those due",
        Unit::Share,
        Sum::CommitsSeen,
        Sum::CommitsDue,
    ),
    ratio(
        "votes late, of those known",
        Unit::Share,
        Sum::VotesLate,
        Sum::VotesKnown,
    ),
    ratio("redundancy factor", Unit::Factor, Sum::Messages, Sum::Useful),
    ratio(
        "repeats a useful message",
        Unit::Factor,
        Sum::Repeats,
        Sum::Useful,
    ),
    ratio(
        "  of these resent",
        Unit::Factor,
        Sum::Resent,
        Sum::UsefulWithCauses,
    ),
    ratio(
        "  echo to the source",
        Unit::Factor,
        Sum::EchoSource,
        Sum::UsefulWithCauses,
    ),
    ratio("  crossing", Unit::Factor, Sum::Crossing, Sum::UsefulWithCauses),
    ratio("  re-gossip", Unit::Factor, Sum::Regossip, Sum::UsefulWithCauses),
    ratio("echoes a useful message", Unit::Factor, Sum::Echoes, Sum::Useful),
    ratio("bytes a useful message", Unit::Bytes, Sum::Bytes, Sum::Useful),
    ratio(
        "useful messages a height",
        Unit::Messages,
        Sum::Useful,
        Sum::Heights,
    ),
    ratio(
        "preprepares a round",
        Unit::Messages,
        Sum::Preprepares,
        Sum::PreprepareRounds,
    ),
    ratio(
        "prepares a round",
        Unit::Messages,
        Sum::Prepares,
        Sum::PrepareRounds,
    ),
    ratio("commits a round", Unit::Messages, Sum::Commits, Sum::CommitRounds),
    ratio(
        "round change messages a round",
        Unit::Messages,
        Sum::RoundChanges,
        Sum::RoundChangeRounds,
    ),
];

/// Reads what is compared of a run.
pub(crate) async fn measure(
    store: &mut dyn Store,
    shown: String,
    run: &RunRow,
) -> Result<Measured, StoreError> {
    let id = RunId(run.run_id);
    let mut heights = Heights::default();
    let mut sizes: HashMap<i64, u64> = HashMap::new();
    let mut proposed: HashMap<(i64, i64, i64), i64> = HashMap::new();
    // Rounds that only a liar names, and with them heights, say nothing about the network.
    let mut claimed: HashSet<(i64, i64, i64)> = HashSet::new();
    each_row(store, id, |round: RoundRow| {
        if round.standing.as_deref() == Some("claimed") {
            claimed.insert((round.chain_id, round.sequence, round.round));
            return Ok(());
        }
        let Some(height) = heights.at(round.chain_id, round.sequence) else {
            return Ok(());
        };
        if let Some(preprepare) = round.preprepare_ns {
            proposed.insert((round.chain_id, round.sequence, round.round), preprepare);
        }
        height.sums[Sum::Heights as usize] = 1.0;
        height.add(Sum::HigherRounds, i64::from(round.round > 0));
        if let Some(validators) = round.validators {
            *sizes.entry(validators).or_default() += 1;
        }
        let between = |start: Option<i64>, end: Option<i64>| {
            start
                .zip(end)
                .map(|(start, end)| end.saturating_sub(start))
                .filter(|span| *span >= 0)
        };
        height.time(Time::Block, round.block_time_ns);
        height.time(Time::ToPrepared, between(round.preprepare_ns, round.prepared_ns));
        height.time(Time::ToCommitted, between(round.prepared_ns, round.committed_ns));
        Ok::<_, StoreError>(())
    })
    .await?;
    each_row(store, id, |lived: NodeRoundRow| {
        let key = (lived.chain_id, lived.sequence, lived.round);
        let (Some(first), Some(reached)) = (proposed.get(&key), lived.preprepare_ns) else {
            return Ok(());
        };
        // At the proposer it was first seen leaving: that is no delivery.
        if let Some(height) = heights.at(lived.chain_id, lived.sequence)
            && reached > *first
            && !lived.lower_bound
        {
            height.time(Time::PreprepareDelivery, Some(reached - first));
        }
        Ok::<_, StoreError>(())
    })
    .await?;
    drop(proposed);
    let mut receivers = BTreeSet::new();
    each_row(store, id, |count: CountRow| {
        if count.lower_bound || claimed.contains(&(count.chain_id, count.sequence, count.round)) {
            return Ok(());
        }
        if let Some(height) = heights.at(count.chain_id, count.sequence) {
            height.add_count(&count);
            if !receivers.contains(&count.receiver) {
                receivers.insert(count.receiver);
            }
        }
        Ok::<_, StoreError>(())
    })
    .await?;
    each_row(store, id, |vote: VoteRow| {
        if !claimed.contains(&(vote.chain_id, vote.sequence, vote.round))
            && let Some(height) = heights.at(vote.chain_id, vote.sequence)
        {
            height.add_vote(&vote);
        }
        Ok::<_, StoreError>(())
    })
    .await?;
    let details = store.details(id).await?;
    let unread = ["no_secret", "lost", "failed"];
    Ok(Measured {
        about: About {
            run: run.name.clone(),
            store: shown,
            heights: heights.of.len(),
            validators: sizes
                .into_iter()
                .max_by_key(|(validators, rounds)| (*rounds, *validators))
                .map(|(validators, _)| validators),
            receivers: receivers.into_iter().collect(),
            full_coverage: details
                .nodes
                .iter()
                .filter(|node| node.coverage == "full")
                .count(),
            unread_sessions: details
                .sessions
                .iter()
                .filter(|session| unread.contains(&&*session.state))
                .count(),
            lost_bytes: run.lost_bytes,
            suspicious_events: details.events.iter().filter(|event| event.suspicious).fold(
                BTreeMap::new(),
                |mut rules, event| {
                    *rules.entry(event.rule.clone()).or_default() += 1;
                    rules
                },
            ),
        },
        heights: heights.of,
        delays: delays_of(&details.delays),
        selection: run.selection.is_some(),
        thinned: run.thinned_before_ns.is_some(),
        cut: heights.cut,
    })
}

#[derive(Default)]
struct Heights {
    of: BTreeMap<(i64, i64), Height>,
    cut: bool,
}

impl Heights {
    /// A height; `None` beyond the most that are compared.
    fn at(&mut self, chain: i64, sequence: i64) -> Option<&mut Height> {
        let key = (chain, sequence);
        if self.of.len() >= MOST_HEIGHTS && !self.of.contains_key(&key) {
            self.cut = true;
            return None;
        }
        Some(self.of.entry(key).or_default())
    }
}

impl Height {
    pub(super) fn add(&mut self, sum: Sum, value: i64) {
        self.sums[sum as usize] += value as f64;
    }

    fn time(&mut self, time: Time, value: Option<i64>) {
        self.times[time as usize].extend(value);
    }

    pub(super) fn add_count(&mut self, count: &CountRow) {
        let of_kind = match &*count.kind {
            "preprepare" => Some((Sum::Preprepares, Sum::PreprepareRounds)),
            "prepare" => Some((Sum::Prepares, Sum::PrepareRounds)),
            "commit" => Some((Sum::Commits, Sum::CommitRounds)),
            "roundchange" => Some((Sum::RoundChanges, Sum::RoundChangeRounds)),
            _ => None,
        };
        if let Some((messages, rounds)) = of_kind {
            self.add(messages, count.messages);
            self.add(rounds, 1);
        }
        self.add(Sum::Messages, count.messages);
        self.add(Sum::Useful, count.useful);
        self.add(Sum::Repeats, count.repeats);
        self.add(Sum::Echoes, count.echoes);
        self.add(Sum::Bytes, count.bytes);
        let causes = [count.resent, count.echo_source, count.crossing, count.regossip];
        if let [Some(resent), Some(source), Some(crossing), Some(regossip)] = causes {
            self.add(Sum::Resent, resent);
            self.add(Sum::EchoSource, source);
            self.add(Sum::Crossing, crossing);
            self.add(Sum::Regossip, regossip);
            self.add(Sum::UsefulWithCauses, count.useful);
        }
    }

    fn add_vote(&mut self, vote: &VoteRow) {
        // What loss may hide says nothing.
        if vote.state == "unknown" || vote.kind == "roundchange" || vote.position > 0 {
            return;
        }
        if vote.kind == "commit" {
            self.add(Sum::CommitsDue, 1);
            self.add(Sum::CommitsSeen, i64::from(vote.first_ns.is_some()));
        }
        self.add(Sum::VotesKnown, 1);
        self.add(Sum::VotesLate, i64::from(vote.state == "late"));
    }
}
