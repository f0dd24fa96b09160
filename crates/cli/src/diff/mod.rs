//! Two stored runs side by side (docs/diff.md): measures by height, their differences, and how sure those are.

mod measured;
mod show;
mod stats;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::counted;

use measured::{MEASURES, Unit};
pub(crate) use measured::{Measured, measure};
pub(crate) use show::text;
use stats::{Difference, Sample};

/// Fewer heights than this say nothing of chance.
const FEWEST_HEIGHTS: usize = 40;

/// Heights are resampled in blocks of consecutive ones: they are not independent of their neighbours. At least so many blocks, of at least five
/// heights where there are enough; and not more blocks than this.
const FEWEST_BLOCKS: usize = 20;
const MOST_BLOCKS: usize = 500;

/// Values of a quantile's sample: of more, evenly chosen ones stand for all.
const MOST_VALUES: usize = 10_000;

/// Two runs compared.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    /// The two runs.
    pub(crate) runs: [About; 2],
    /// Whether differences say something about what was changed between them.
    pub(crate) comparable: bool,
    /// Why they do not, in words.
    pub(crate) reasons: Vec<String>,
    /// Measure by measure.
    pub(crate) measures: Vec<Compared>,
    /// Node by node, those that have delays in both runs.
    pub(crate) delays: Vec<DelayCompared>,
}

/// How long payloads took to reach one node: in the first run, and in the second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct DelayCompared {
    /// The node in text.
    pub(crate) node: String,
    /// Payloads measured.
    pub(crate) payloads: [i64; 2],
    /// Median.
    pub(crate) p50_ns: [i64; 2],
    /// 95 % are at least as fast.
    pub(crate) p95_ns: [i64; 2],
    /// 99 % are at least as fast.
    pub(crate) p99_ns: [i64; 2],
}

/// What one run is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct About {
    /// Its name.
    pub(crate) run: String,
    /// Its store, without password.
    pub(crate) store: String,
    /// Heights measured.
    pub(crate) heights: usize,
    /// Validators with a vote, in most rounds.
    pub(crate) validators: Option<i64>,
    /// Receivers that were seen in full and without loss: messages are compared at these.
    pub(crate) receivers: Vec<String>,
    /// Nodes whose coverage is full.
    pub(crate) full_coverage: usize,
    /// Sessions that were not read to the end.
    pub(crate) unread_sessions: usize,
    /// Stream bytes that were lost.
    pub(crate) lost_bytes: i64,
    /// Events that no honest node shows, by rule.
    pub(crate) suspicious_events: BTreeMap<String, usize>,
}

/// One measure of both runs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Compared {
    /// What is measured.
    pub(crate) measure: &'static str,
    /// `nanoseconds`, `messages` ...
    #[serde(serialize_with = "unit_word")]
    pub(crate) unit: Unit,
    /// In the first run; `null` where nothing was measured.
    pub(crate) a: Option<f64>,
    /// In the second run.
    pub(crate) b: Option<f64>,
    /// `b - a`.
    pub(crate) difference: Option<f64>,
    /// Ends of the 95 % confidence interval of the difference; `null` with too few heights.
    pub(crate) low: Option<f64>,
    /// See there.
    pub(crate) high: Option<f64>,
    /// Whether chance alone would not make such a difference; `null` where that cannot be told.
    pub(crate) beyond_chance: Option<bool>,
}

fn unit_word<S: serde::Serializer>(unit: &Unit, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(unit.word())
}

/// Compares two runs.
pub(crate) fn compare(a: &Measured, b: &Measured) -> Comparison {
    let reasons = reasons(a, b);
    let enough = a.heights.len().min(b.heights.len()) >= FEWEST_HEIGHTS;
    let measured: Vec<_> = MEASURES
        .iter()
        .map(|measure| {
            let (of_a, of_b) = (sample(a, measure), sample(b, measure));
            let difference = enough.then(|| Difference::of(&of_a, &of_b)).flatten();
            (measure, of_a.statistic(), of_b.statistic(), difference)
        })
        .filter(|(_, a, b, _)| a.is_some() || b.is_some())
        .collect();
    let comparisons = measured.iter().filter(|row| row.3.is_some()).count();
    let measures = measured
        .into_iter()
        .map(|(measure, a, b, difference)| {
            let interval = difference.map(|difference| difference.interval(0.95));
            Compared {
                measure: measure.name,
                unit: measure.unit,
                a,
                b,
                difference: a.zip(b).map(|(a, b)| b - a),
                low: interval.map(|[low, _]| low),
                high: interval.map(|[_, high]| high),
                beyond_chance: difference
                    .filter(|_| reasons.is_empty())
                    .map(|difference| difference.is_beyond_chance(comparisons)),
            }
        })
        .collect();
    Comparison {
        runs: [a.about.clone(), b.about.clone()],
        comparable: reasons.is_empty(),
        reasons,
        measures,
        delays: delays(a, b),
    }
}

/// Nodes that are shown alike in both runs.
fn delays(a: &Measured, b: &Measured) -> Vec<DelayCompared> {
    let both = a
        .delays
        .iter()
        .filter_map(|(node, of_a)| Some((node, of_a, b.delays.get(node)?)));
    both.map(|(node, of_a, of_b)| DelayCompared {
        node: node.clone(),
        payloads: [of_a.payloads, of_b.payloads],
        p50_ns: [of_a.quantiles[0], of_b.quantiles[0]],
        p95_ns: [of_a.quantiles[1], of_b.quantiles[1]],
        p99_ns: [of_a.quantiles[2], of_b.quantiles[2]],
    })
    .collect()
}

/// Why differences may come from something else than what was changed.
fn reasons(a: &Measured, b: &Measured) -> Vec<String> {
    let mut reasons = Vec::new();
    let [one, other] = [&a.about, &b.about];
    if one.validators != other.validators {
        let words = |about: &About| about.validators.map_or("unknown".to_owned(), |n| n.to_string());
        reasons.push(format!(
            "number of validators: A {}, B {}",
            words(one),
            words(other)
        ));
    }
    if one.receivers.len() != other.receivers.len() {
        reasons.push(format!(
            "receivers seen in full and without loss: A {}, B {}",
            one.receivers.len(),
            other.receivers.len()
        ));
    }
    if one.full_coverage != other.full_coverage {
        reasons.push(format!(
            "nodes with full coverage: A {}, B {}",
            one.full_coverage, other.full_coverage
        ));
    }
    for (name, about, measured) in [("A", one, a), ("B", other, b)] {
        if about.receivers.is_empty() {
            reasons.push(format!(
                "{name} saw no receiver in full and without loss: there are no messages to compare"
            ));
        }
        if about.lost_bytes > 0 || about.unread_sessions > 0 {
            reasons.push(format!(
                "{name} has losses: {} lost, {} not read to the end",
                counted(about.lost_bytes.unsigned_abs(), "byte", "bytes"),
                counted(about.unread_sessions as u64, "session", "sessions")
            ));
        }
        if measured.selection {
            reasons.push(format!("{name} is of a part of its captures only"));
        }
        if measured.thinned {
            reasons.push(format!(
                "{name} was thinned out: only its latest heights are there"
            ));
        }
        if measured.cut {
            reasons.push(format!(
                "{name} has more heights than are compared: only the first {} are",
                measured.heights.len()
            ));
        }
    }
    reasons
}

/// A run's values of a measure, in blocks of consecutive heights.
fn sample(run: &Measured, measure: &measured::Measure) -> Sample {
    let heights = run.heights.len();
    let blocks = (heights / 5)
        .clamp(FEWEST_BLOCKS, MOST_BLOCKS)
        .min(heights.max(1));
    // Every block has as many heights as any other, give or take one.
    let block_of = |height: usize| height * blocks / heights.max(1);
    match measure.of {
        measured::Of::Ratio(numerator, denominator) => {
            let mut units = vec![[0.0; 2]; blocks];
            for (height, sums) in run.heights.values().map(|height| &height.sums).enumerate() {
                let unit = &mut units[block_of(height)];
                unit[0] += sums[numerator as usize];
                unit[1] += sums[denominator as usize];
            }
            Sample::Ratio(units)
        }
        measured::Of::Quantile(share, time) => {
            let all: usize = run
                .heights
                .values()
                .map(|height| height.times[time as usize].len())
                .sum();
            let step = all.div_ceil(MOST_VALUES).max(1);
            let mut units = vec![Vec::new(); blocks];
            let values = run.heights.values().enumerate().flat_map(|(height, values)| {
                let values = &values.times[time as usize];
                values.iter().map(move |value| (height, *value))
            });
            for (height, value) in values.step_by(step) {
                units[block_of(height)].push(value as f64);
            }
            Sample::Quantile(share, units)
        }
    }
}

#[cfg(test)]
mod tests;
