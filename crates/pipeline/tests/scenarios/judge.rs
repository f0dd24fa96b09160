//! Plays a scenario, analyses its capture, and compares what rules say with what the nodes' own log lets expect.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::Cursor;
use std::net::IpAddr;
use std::sync::Arc;

use bftap_analysis::facts::{EventFact, FactSink, HeightFacts, LinkCountFact, RunFacts};
use bftap_analysis::{AnalysisOptions, KnownNode, RULES};
use bftap_decrypt::SecretStore;
use bftap_decrypt::keylog::LastLine;
use bftap_model::{Address, NodeId};
use bftap_pipeline::{Input, PipelineOptions, Progress, analyze};
use bftap_testkit::scenario::{Expected, Played, Scenario};
use serde_json::Value;

/// How one rule did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Score {
    /// What was to be found.
    pub(crate) expected: u64,
    /// Of that, what was.
    pub(crate) found: u64,
    /// Events.
    pub(crate) events: u64,
    /// Of these, those that nobody expected.
    pub(crate) unexpected: u64,
}

/// How the rules did in one scenario, or in many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) scores: BTreeMap<&'static str, Score>,
    /// What is wrong, in words; each line begins with the seed.
    pub(crate) wrong: Vec<String>,
    /// Scenarios in which nothing suspicious was to be found.
    pub(crate) honest: u64,
    pub(crate) scenarios: u64,
    pub(crate) messages: u64,
}

impl Verdict {
    /// Adds another one.
    #[allow(dead_code, reason = "the test of a few scenarios adds none")]
    pub(crate) fn add(&mut self, other: Self) {
        for (rule, score) in other.scores {
            let sum = self.scores.entry(rule).or_default();
            sum.expected += score.expected;
            sum.found += score.found;
            sum.events += score.events;
            sum.unexpected += score.unexpected;
        }
        self.wrong.extend(other.wrong);
        self.honest += other.honest;
        self.scenarios += other.scenarios;
        self.messages += other.messages;
    }

    /// A table in Markdown.
    #[allow(dead_code, reason = "the test of a few scenarios prints none")]
    pub(crate) fn table(&self) -> String {
        let mut out = String::from(
            "| rule | to be found | found | recall | events | not expected | precision |\n|---|--:|--:|--:|--:|--:|--:|\n",
        );
        let percent = |part: u64, of: u64| match of {
            0 => "-".to_owned(),
            _ => format!("{:.2} %", 100.0 * part as f64 / of as f64),
        };
        let mut sum = Score::default();
        let mut line = |name: &str, score: &Score| {
            let right = score.events - score.unexpected;
            let _ = writeln!(
                out,
                "| {name} | {} | {} | {} | {} | {} | {} |",
                score.expected,
                score.found,
                percent(score.found, score.expected),
                score.events,
                score.unexpected,
                percent(right, score.events)
            );
        };
        for rule in RULES {
            let score = self.scores.get(rule).cloned().unwrap_or_default();
            line(&format!("`{rule}`"), &score);
            sum.expected += score.expected;
            sum.found += score.found;
            sum.events += score.events;
            sum.unexpected += score.unexpected;
        }
        line("all", &sum);
        out
    }
}

/// Plays the scenario of a seed and judges it; with `verbose` the events are told, too.
pub(crate) fn judge(seed: u64, verbose: bool) -> Verdict {
    judge_scenario(&Scenario::new(seed), verbose)
}

/// Plays a scenario and judges it.
pub(crate) fn judge_scenario(scenario: &Scenario, verbose: bool) -> Verdict {
    let seed = scenario.seed;
    let mut verdict = Verdict {
        scenarios: 1,
        ..Verdict::default()
    };
    let played = match scenario.play() {
        Ok(played) => played,
        Err(error) => {
            verdict.wrong.push(format!("{seed}: {error}"));
            return verdict;
        }
    };
    verdict.messages = played.summary.messages;
    let facts = match facts(scenario, &played) {
        Ok(facts) => facts,
        Err(error) => {
            verdict
                .wrong
                .push(format!("{seed}: the analysis failed: {error}"));
            return verdict;
        }
    };
    // Each round that was decided counts once at most: what is left was not needed.
    for part in &facts.participation {
        if part.commits + part.missing + part.unknown > part.rounds {
            verdict
                .wrong
                .push(format!("{seed}: commits do not add up: {part:?}"));
        }
    }
    let events = facts.events;
    let nodes = Nodes::new(&played.nodes);
    let (must, may) = scenario.expected(&played.truth);
    verdict.honest = u64::from(must.iter().all(|expected| expected.suspicious != Some(true)));
    let mut met: BTreeSet<usize> = BTreeSet::new();
    for event in events.iter().filter(|event| RULES.contains(&event.rule)) {
        let score = verdict.scores.entry(event.rule).or_default();
        score.events += 1;
        let fitting: Vec<usize> = (0..must.len())
            .filter(|&at| fits(scenario, &nodes, must[at], event))
            .collect();
        met.extend(&fitting);
        if fitting.is_empty() && !may.iter().any(|expected| fits(scenario, &nodes, expected, event)) {
            score.unexpected += 1;
            verdict
                .wrong
                .push(format!("{seed}: not expected: {}", told(scenario, &nodes, event)));
        }
    }
    for (at, expected) in must.iter().enumerate() {
        let score = verdict.scores.entry(expected.rule).or_default();
        score.expected += 1;
        if met.contains(&at) {
            score.found += 1;
        } else {
            let who = expected.node.map(|node| scenario.options.name_of(node));
            verdict.wrong.push(format!(
                "{seed}: not found: {} {who:?} {:?}",
                expected.rule, expected.between
            ));
        }
    }
    if verbose {
        eprintln!("{seed}: {}", scenario.about.join("; "));
        eprintln!("{:#?}", scenario.options);
        for list in ["rounds", "decisions"] {
            for entry in played.truth[list].as_array().into_iter().flatten() {
                eprintln!("  {entry}");
            }
        }
        for event in &events {
            eprintln!("  {}", told(scenario, &nodes, event));
        }
    }
    if !verdict.wrong.is_empty() {
        let options = &scenario.options;
        verdict.wrong.push(format!(
            "{seed}: {} {:?} {:?} taps {:?}: {}",
            options.nodes,
            options.clients,
            options.gossip,
            options.taps,
            scenario.about.join("; ")
        ));
    }
    verdict
}

fn told(scenario: &Scenario, nodes: &Nodes, event: &EventFact) -> String {
    let who = nodes.of(event).map(|node| scenario.options.name_of(node));
    let at = event.time_ns.since(scenario.options.start).0 / 1_000_000;
    // Hashes tell nobody anything here.
    let detail = event.detail.split(" for block 0x").next().unwrap_or_default();
    let mark = if event.suspicious { "!" } else { "" };
    format!(
        "{}{mark} {who:?} at {at} ms, height {:?}: {}",
        event.rule, event.sequence, detail
    )
}

fn fits(scenario: &Scenario, nodes: &Nodes, expected: &Expected, event: &EventFact) -> bool {
    let since = event.time_ns.since(scenario.options.start);
    // Where the capture's clock steps, nobody can say what its times mean.
    let in_time = !scenario.options.clock_steps.is_empty()
        || expected
            .between
            .is_none_or(|(from, until)| (from..=until).contains(&since));
    expected.rule == event.rule
        && expected.node == nodes.of(event)
        && expected
            .suspicious
            .is_none_or(|suspicious| suspicious == event.suspicious)
        && in_time
}

/// Nodes by what events call them.
struct Nodes {
    addresses: BTreeMap<Address, usize>,
    ips: BTreeMap<IpAddr, usize>,
}

impl Nodes {
    fn new(nodes: &Value) -> Self {
        let nodes = known(nodes);
        let by = |node: &KnownNode| node.node_id.map(|id| id.address());
        Self {
            addresses: nodes
                .iter()
                .enumerate()
                .filter_map(|(at, node)| Some((by(node)?, at)))
                .collect(),
            ips: nodes
                .iter()
                .enumerate()
                .filter_map(|(at, node)| Some((node.ip?, at)))
                .collect(),
        }
    }

    /// The node that an event names; a number that no node has if it names somebody unknown.
    fn of(&self, event: &EventFact) -> Option<usize> {
        let by_address = event.address.map(|address| self.addresses.get(&address).copied());
        let by_ip = event.ip.map(|ip| self.ips.get(&ip).copied());
        match by_address.flatten().or(by_ip.flatten()) {
            Some(node) => Some(node),
            None => (event.address.is_some() || event.ip.is_some()).then_some(usize::MAX),
        }
    }
}

fn known(nodes: &Value) -> Vec<KnownNode> {
    let text = |node: &Value, key: &str| node[key].as_str().unwrap_or_default().to_owned();
    let nodes = nodes.as_array().map(Vec::as_slice).unwrap_or_default();
    nodes
        .iter()
        .map(|node| KnownNode {
            name: text(node, "name"),
            ip: text(node, "ip").parse().ok(),
            port: None,
            node_id: node_id(&text(node, "node_id")),
            address: None,
        })
        .collect()
}

struct Nothing;

impl FactSink for Nothing {
    type Error = Infallible;

    fn height(&mut self, _: &HeightFacts) -> Result<(), Infallible> {
        Ok(())
    }

    fn minute(&mut self, _: &[LinkCountFact]) -> Result<(), Infallible> {
        Ok(())
    }
}

fn facts(scenario: &Scenario, played: &Played) -> Result<RunFacts, String> {
    let secrets = SecretStore::new();
    secrets.add_key_log(&played.key_log, 1, LastLine::Whole, &"simulated".into());
    let options = PipelineOptions {
        jobs: 1,
        secrets: Arc::new(secrets),
        analysis: AnalysisOptions {
            nodes: if scenario.named {
                known(&played.nodes)
            } else {
                Vec::new()
            },
            ..AnalysisOptions::default()
        },
        ..PipelineOptions::default()
    };
    let input = Input {
        path: "simulated".to_owned(),
        read: Box::new(Cursor::new(played.capture.clone())),
    };
    let analysis = analyze(vec![input], Arc::new(options), &Progress::default(), &mut Nothing);
    analysis
        .map(|analysis| analysis.facts)
        .map_err(|error| error.to_string())
}

fn node_id(text: &str) -> Option<NodeId> {
    let mut id = [0; NodeId::LEN];
    hex::decode_to_slice(text, &mut id).ok()?;
    Some(NodeId(id))
}
