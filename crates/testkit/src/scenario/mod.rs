//! Networks that misbehave, or only look as if they did, made from a seed, with what rules are to say of them.
//!
//! About a third is healthy or in honest trouble: crashes and restarts, pauses, lost power, a chain that begins again, steps of the clock, lossy
//! taps, withheld secrets, sessions joined in the middle, loss and reordering. The others have one or two nodes that misbehave, at a
//! random time, from barely above the documented thresholds to grossly.
//!
//! What is to be found follows from the options; whether it really happened is for the nodes' own log to say (`decisions` in the
//! truth): an expectation without its deed is none.

mod honest;
mod misbehaviour;
mod shape;

use bftap_model::Nanos;
use bftap_simnet::prng::Prng;
use bftap_simnet::{CaptureFormat, SimulateError, SimulateOptions, Sinks, Summary, simulate};
use serde_json::Value;

/// A simulated network and what rules are to say of it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Everything follows from this.
    pub seed: u64,
    /// What goes on in it, in words.
    pub about: Vec<String>,
    /// What to simulate.
    pub options: SimulateOptions,
    /// Whether the names of the nodes are given to the analysis.
    pub named: bool,
    /// What must be found.
    pub must: Vec<Expected>,
    /// What may be found, besides.
    pub may: Vec<Expected>,
}

/// An event, or several of one rule about one node.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Which rule.
    pub rule: &'static str,
    /// Who is named; `None`: nobody.
    pub node: Option<usize>,
    /// Whether behaviour is blamed that honest nodes do not show; `None`: either.
    pub suspicious: Option<bool>,
    /// Between which times of the simulation it lies, where the rule tells a time finer than a minute.
    pub between: Option<(Nanos, Nanos)>,
    /// The deed in the truth, by its kind and node, and how often it must have been done; below that, nothing need be found.
    pub deed: Option<(&'static str, usize, u64)>,
}

impl Expected {
    pub(crate) const fn new(rule: &'static str, node: Option<usize>) -> Self {
        Self {
            rule,
            node,
            suspicious: None,
            between: None,
            deed: None,
        }
    }

    pub(crate) const fn suspicious(mut self, suspicious: bool) -> Self {
        self.suspicious = Some(suspicious);
        self
    }

    pub(crate) const fn between(mut self, from: Nanos, until: Nanos) -> Self {
        self.between = Some((from, until));
        self
    }

    pub(crate) const fn deed(mut self, kind: &'static str, node: usize, least: u64) -> Self {
        self.deed = Some((kind, node, least));
        self
    }
}

/// What a scenario's simulation wrote.
#[derive(Debug)]
pub struct Played {
    /// A pcapng file with an interface for each tap.
    pub capture: Vec<u8>,
    /// Secrets of the simulated sessions.
    pub key_log: Vec<u8>,
    /// Names, addresses and keys of the nodes.
    pub nodes: Value,
    /// The truth.
    pub truth: Value,
    /// What the simulator says of it.
    pub summary: Summary,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn new(seed: u64) -> Self {
        let mut dice = Prng::derive(seed, "scenario", 0);
        let mut scenario = shape::shape(seed, &mut dice);
        match dice.below(100) {
            0..=7 => scenario.about.push("healthy".to_owned()),
            8..=34 => honest::trouble(&mut scenario, &mut dice),
            35..=84 => misbehaviour::one(&mut scenario, &mut dice),
            _ => misbehaviour::two(&mut scenario, &mut dice),
        }
        if scenario.options.simultaneous_dials {
            scenario.begin_later();
        }
        scenario
    }

    /// Dials that meet end each other and are tried again seconds later: consensus waits for that.
    fn begin_later(&mut self) {
        let by = ms(5_000);
        let later = |time: Nanos| Nanos(time.0 + by.0);
        let options = &mut self.options;
        options.warm_up = later(options.warm_up);
        options.duration = options.duration.map(later);
        options.reinitialize = options.reinitialize.map(later);
        if options.capture_from > Nanos(0) {
            options.capture_from = later(options.capture_from);
        }
        for fault in &mut options.faults {
            fault.from = later(fault.from);
            fault.until = fault.until.map(later);
        }
        for step in &mut options.clock_steps {
            step.at = later(step.at);
        }
        for expected in self.must.iter_mut().chain(&mut self.may) {
            expected.between = expected.between.map(|(from, until)| (later(from), later(until)));
        }
    }

    /// Simulates it.
    ///
    /// # Errors
    /// When the options cannot be simulated, which is a fault of the scenario.
    ///
    /// # Panics
    /// If the truth or the nodes are no JSON.
    pub fn play(&self) -> Result<Played, SimulateError> {
        let [mut capture, mut key_log, mut nodes, mut truth] = [const { Vec::new() }; 4];
        let options = SimulateOptions {
            format: CaptureFormat::Pcapng,
            ..self.options.clone()
        };
        let summary = simulate(
            &options,
            Sinks {
                captures: vec![Box::new(&mut capture)],
                key_log: Box::new(&mut key_log),
                nodes: Box::new(&mut nodes),
                truth: Box::new(&mut truth),
            },
        )?;
        Ok(Played {
            capture,
            key_log,
            nodes: serde_json::from_slice(&nodes).expect("JSON of the nodes"),
            truth: serde_json::from_slice(&truth).expect("JSON of the truth"),
            summary,
        })
    }

    /// What must and what may be found, now that the nodes' own log is known.
    pub fn expected(&self, truth: &Value) -> (Vec<&Expected>, Vec<&Expected>) {
        let (must, less): (Vec<_>, Vec<_>) = self.must.iter().partition(|expected| {
            expected
                .deed
                .is_none_or(|(kind, node, least)| deeds(truth, kind, &self.options.name_of(node)) >= least)
        });
        (must, less.into_iter().chain(&self.may).collect())
    }
}

/// How often a node did something, by its own account.
pub fn deeds(truth: &Value, kind: &str, node: &str) -> u64 {
    let decisions = truth["decisions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let own = decisions.iter().filter(|decision| {
        let told = decision["kind"].as_str().unwrap_or_default();
        // `flood=30:future` is told as the kind `flood:future`, whatever its rate.
        let (word, argument) = told.split_once('=').unwrap_or((told, ""));
        let of = argument.split_once(':').map(|(_, of)| of);
        decision["node"] == node
            && match kind.split_once(':') {
                Some((wanted, wanted_of)) => word == wanted && of == Some(wanted_of),
                None => word == kind,
            }
    });
    own.filter_map(|decision| decision["count"].as_u64()).sum()
}

const fn ms(millis: i64) -> Nanos {
    Nanos::from_millis(millis)
}

/// A number from `low` to `high`, both included.
fn from_to(dice: &mut Prng, low: i64, high: i64) -> i64 {
    low + dice.below((high - low + 1).unsigned_abs()).cast_signed()
}

/// One of several.
fn one_of<T: Copy>(dice: &mut Prng, of: &[T]) -> T {
    of[dice.below(of.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_follow_from_their_seeds_and_can_be_simulated() {
        let mut rules = std::collections::BTreeMap::new();
        let mut honest = 0;
        for seed in 0..2_000 {
            let scenario = Scenario::new(seed);
            assert_eq!(format!("{scenario:?}"), format!("{:?}", Scenario::new(seed)));
            assert_eq!(scenario.options.check(), Ok(()), "{scenario:#?}");
            honest += usize::from(
                scenario
                    .must
                    .iter()
                    .all(|expected| expected.suspicious != Some(true)),
            );
            for expected in &scenario.must {
                *rules.entry(expected.rule).or_insert(0) += 1;
            }
        }
        assert_eq!(rules.len(), 19, "every rule is asked for: {rules:?}");
        assert!(rules.values().all(|&count| count >= 20), "{rules:?}");
        assert!((400..1_200).contains(&honest), "{honest}");
    }

    #[test]
    fn the_truth_tells_what_a_node_did() {
        let truth = serde_json::json!({ "decisions": [
            { "node": "cn1", "kind": "flood=30:future", "count": 3 },
            { "node": "cn1", "kind": "flood=30:same", "count": 4 },
            { "node": "cn1", "kind": "silent", "count": 5 },
            { "node": "cn2", "kind": "silent", "count": 6 },
        ]});
        assert_eq!(deeds(&truth, "flood:future", "cn1"), 3);
        assert_eq!(deeds(&truth, "flood", "cn1"), 7);
        assert_eq!(deeds(&truth, "silent", "cn1"), 5);
        assert_eq!(deeds(&truth, "silent", "cn3"), 0);
    }
}
