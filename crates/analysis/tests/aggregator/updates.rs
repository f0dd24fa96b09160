//! Facts while a run goes on: the latest rows of all updates and those of the end are the facts of the run, and an update when
//! everything was observed is as good as the end.

use std::collections::BTreeMap;

use bftap_analysis::facts::{HeightFacts, LinkCountFact, RunFacts};
use bftap_analysis::{
    Aggregator, AnalysisOptions, KnownNode, Now, Observation, SessionEnd, Update, WorkerTotals,
};

use crate::network::{Collect, Network, Tap, ip, judge, read_facts};

/// Rows as a store has them: by key, the latest one counts.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rows(BTreeMap<String, String>);

impl Rows {
    fn height(&mut self, height: &HeightFacts, replace: bool) {
        if replace && let Some(count) = height.counts.first() {
            self.forget(&format!("{} {} ", count.chain, count.sequence));
        }
        for row in &height.counts {
            let key = format!(
                "{} {} count {} {} {}",
                row.chain, row.sequence, row.round, row.receiver_ip, row.kind
            );
            self.0.insert(key, format!("{row:?}"));
        }
        for row in &height.deliveries {
            let key = format!(
                "{} {} delivery {} {} {} {} {}",
                row.chain, row.sequence, row.round, row.receiver_ip, row.kind, row.sender, row.signer
            );
            self.0.insert(key, format!("{row:?}"));
        }
        for row in &height.node_rounds {
            let key = format!(
                "{} {} node {} {}",
                row.chain, row.sequence, row.round, row.node_ip
            );
            self.0.insert(key, format!("{row:?}"));
        }
        // The lines of a height's table belong together: of a vote that was missing another line takes the place.
        self.forget_votes(height);
        for (at, row) in height.votes.iter().enumerate() {
            let key = format!("{} {} vote {at}", row.chain, row.sequence);
            self.0.insert(key, format!("{row:?}"));
        }
        for row in &height.rounds {
            self.0.insert(
                format!("{} {} round {}", row.chain, row.sequence, row.round),
                format!("{row:?}"),
            );
        }
    }

    fn forget_votes(&mut self, height: &HeightFacts) {
        if let Some(count) = height.counts.first() {
            self.forget(&format!("{} {} vote ", count.chain, count.sequence));
        }
    }

    fn links(&mut self, links: &[LinkCountFact], replace: bool) {
        for row in links.iter().filter(|_| replace) {
            self.forget(&format!("minute {} ", row.minute));
        }
        for row in links {
            let key = format!(
                "minute {} {} {} {} {}",
                row.minute, row.chain, row.receiver_ip, row.sender, row.kind
            );
            self.0.insert(key, format!("{row:?}"));
        }
    }

    pub(crate) fn update(&mut self, update: &Update) {
        for (chain, sequence) in &update.gone {
            self.forget(&format!("{chain} {sequence} "));
        }
        for height in &update.heights {
            self.height(height, update.renamed);
        }
        self.links(&update.links, update.renamed);
    }

    fn forget(&mut self, prefix: &str) {
        self.0.retain(|key, _| !key.starts_with(prefix));
    }

    pub(crate) fn of(heights: &[HeightFacts], links: &[LinkCountFact]) -> Self {
        let mut rows = Self::default();
        for height in heights {
            rows.height(height, false);
        }
        rows.links(links, false);
        rows
    }
}

/// Everything with updates now and then: rows after the last one, rows at the end, the last update and the facts at the end.
struct Played {
    before_end: Rows,
    at_end: Rows,
    last: Update,
    facts: RunFacts,
    finished: Collect,
}

fn play(observations: Vec<Observation>, options: &AnalysisOptions, every: usize, told: bool) -> Played {
    let read = read_facts(&observations, &Tap::All);
    let mut aggregator = Aggregator::new(options.clone());
    aggregator.track_changes();
    let mut rows = Rows::default();
    let mut renamed = false;
    let ends = |rest: &[Observation]| -> Vec<SessionEnd> {
        let end = |observation: &Observation| match observation {
            Observation::End(_, end) => Some((**end).clone()),
            _ => None,
        };
        rest.iter().filter_map(end).collect()
    };
    for (at, observation) in observations.iter().enumerate() {
        aggregator.push(observation.clone()).unwrap();
        if at % every == every - 1 {
            // What is still to end is open, whether or not anything of it was seen; or nobody tells what is open.
            let now = Now {
                read: read.clone(),
                open: if told {
                    ends(&observations[at + 1..])
                } else {
                    Vec::new()
                },
                ..Now::default()
            };
            let update = aggregator.update(now).unwrap();
            assert!(update.renamed >= renamed, "it stays set");
            renamed = update.renamed;
            rows.update(&update);
        }
    }
    let now = Now {
        read: read.clone(),
        last: true,
        ..Now::default()
    };
    let last = aggregator.update(now).unwrap();
    rows.update(&last);
    let before_end = Rows(rows.0.clone());
    let mut finished = Collect::default();
    let facts = aggregator
        .finish(read, WorkerTotals::default(), &mut finished)
        .unwrap();
    for height in &finished.heights {
        rows.height(height, last.renamed);
    }
    for minute in finished.minutes.chunk_by(|a, b| a.minute == b.minute) {
        rows.links(minute, last.renamed);
    }
    Played {
        before_end,
        at_end: rows,
        last,
        facts,
        finished,
    }
}

/// Sessions stay first and ends last.
pub(crate) fn shuffled(observations: &[Observation], seed: u64) -> Vec<Observation> {
    let mut shuffled = observations.to_vec();
    let is_end = |observation: &Observation| matches!(observation, Observation::End(..));
    let is_session = |observation: &Observation| matches!(observation, Observation::Session(..));
    let sessions = shuffled
        .iter()
        .filter(|observation| is_session(observation))
        .count();
    let ends = shuffled.iter().position(is_end).unwrap();
    let mut state = seed;
    for at in (sessions + 1..ends).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        shuffled.swap(at, sessions + (state >> 33) as usize % (at - sessions + 1));
    }
    shuffled
}

pub(crate) fn text(facts: &RunFacts) -> String {
    format!("{facts:#?}")
}

#[test]
fn the_latest_rows_are_those_of_the_whole() {
    let mut network = Network::new(4);
    for sequence in 1..30 {
        network.height(sequence, if sequence % 7 == 0 { &[0, 1] } else { &[0] });
    }
    let observations = network.observations();
    let options = AnalysisOptions::default();
    let (heights, facts) = judge(observations.clone(), &options, &Tap::All);
    for seed in 0..12_u64 {
        let tight = AnalysisOptions {
            // Also with heights that left memory between two updates.
            open_deliveries: if seed % 2 == 0 {
                40 * (seed as usize + 1)
            } else {
                400_000
            },
            open_links: if seed % 3 == 0 { 5 } else { 400_000 },
            ..options.clone()
        };
        let played = play(
            shuffled(&observations, seed),
            &tight,
            37 * (seed as usize + 1),
            seed % 4 != 3,
        );
        let expected = Rows::of(&heights, &played.finished.minutes);
        assert_eq!(played.at_end, expected, "seed {seed}");
        assert_eq!(
            played.before_end, expected,
            "seed {seed}: all was known at the last update"
        );
        assert_eq!(text(&played.facts), text(&facts), "seed {seed}");
        assert_eq!(
            text(&played.last.facts),
            text(&facts),
            "seed {seed}: copies and sums, too"
        );
        assert!(!played.last.renamed && played.last.gone.is_empty());
        for sum in &played.last.sums {
            let counts = heights.iter().flat_map(|height| &height.counts);
            let own = counts.filter(|count| (count.receiver_ip, count.kind) == (sum.receiver_ip, sum.kind));
            let messages: u64 = own.map(|count| count.messages).sum();
            assert_eq!(sum.sums.messages, messages, "seed {seed}");
        }
    }
}

#[test]
fn one_update_with_everything_is_the_end() {
    let mut network = Network::new(4);
    for sequence in 1..10 {
        network.height(sequence, &[0]);
    }
    let observations = network.observations();
    let (heights, facts) = judge(observations.clone(), &AnalysisOptions::default(), &Tap::All);
    let played = play(observations, &AnalysisOptions::default(), usize::MAX, true);
    assert_eq!(format!("{:?}", played.last.heights), format!("{heights:?}"));
    assert_eq!(played.last.links, played.finished.minutes);
    assert_eq!(text(&played.last.facts), text(&facts));
}

#[test]
fn an_update_tells_only_what_changed() {
    let mut network = Network::new(4);
    for sequence in 1..20 {
        network.height(sequence, &[0]);
    }
    let before = network.observations();
    let read = read_facts(&before, &Tap::All);
    let mut aggregator = Aggregator::new(AnalysisOptions::default());
    aggregator.track_changes();
    for observation in &before {
        if !matches!(observation, Observation::End(..)) {
            aggregator.push(observation.clone()).unwrap();
        }
    }
    let now = || Now {
        read: read.clone(),
        ..Now::default()
    };
    assert_eq!(aggregator.update(now()).unwrap().heights.len(), 19);
    let quiet = aggregator.update(now()).unwrap();
    assert!(quiet.heights.is_empty() && quiet.links.is_empty(), "{quiet:?}");
    let Some(Observation::Message(message)) = before.iter().find(|o| matches!(o, Observation::Message(_)))
    else {
        panic!("there are messages");
    };
    aggregator.push(Observation::Message(message.clone())).unwrap();
    let update = aggregator.update(now()).unwrap();
    assert_eq!((update.heights.len(), update.links.len()), (1, 1));
    assert_eq!(update.heights[0].counts[0].sequence, 1);
}

/// Messages first, and only then the Hello and Status that say whose they are.
fn names_late(network: &Network) -> (Vec<Observation>, usize) {
    let observations = network.observations();
    let mut anonymous = Vec::new();
    let mut named = Vec::new();
    let mut rest = Vec::new();
    for observation in observations {
        match observation {
            Observation::Session(key, info) => {
                let mut unknown = (*info).clone();
                unknown.node_ids = [None, None];
                unknown.clients = [None, None];
                unknown.chain = None;
                anonymous.push(Observation::Session(key, Box::new(unknown)));
                named.push(Observation::Session(key, info));
            }
            other => rest.push(other),
        }
    }
    let messages = rest
        .iter()
        .filter(|o| matches!(o, Observation::Message(_)))
        .count();
    let later = rest.split_off(messages / 2);
    let half = anonymous.len() + rest.len();
    let all = anonymous
        .into_iter()
        .chain(rest)
        .chain(named)
        .chain(later)
        .collect();
    (all, half)
}

#[test]
fn names_that_come_late_leave_no_rows_behind() {
    let mut network = Network::new(4);
    for sequence in 1..12 {
        network.height(sequence, &[0]);
    }
    let (observations, half) = names_late(&network);
    let nodes = vec![KnownNode {
        name: "first".into(),
        ip: Some(ip(0)),
        ..KnownNode::default()
    }];
    for options in [
        AnalysisOptions::default(),
        AnalysisOptions {
            nodes,
            ..AnalysisOptions::default()
        },
    ] {
        let (heights, facts) = judge(observations.clone(), &options, &Tap::All);
        for every in [half / 9, half / 3, half + 1] {
            let played = play(observations.clone(), &options, every, false);
            assert!(played.last.renamed, "{every}");
            assert_eq!(
                played.at_end,
                Rows::of(&heights, &played.finished.minutes),
                "{every}"
            );
            assert_eq!(text(&played.facts), text(&facts), "{every}");
            assert_eq!(
                format!("{:?}", played.last.facts.copies),
                format!("{:?}", facts.copies),
                "{every}: each payload counts once, under whatever chain"
            );
        }
    }
}
