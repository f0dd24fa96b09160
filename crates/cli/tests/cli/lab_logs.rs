//! What lab nodes recorded of themselves, read while it grows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

/// Kind, height and round.
pub(crate) type View = (String, u64, u64);

/// The records of all nodes.
pub(crate) struct Logs {
    /// Node 1 first.
    nodes: Vec<NodeLog>,
}

/// What one node recorded, but for what came to it.
#[derive(Default)]
pub(crate) struct NodeLog {
    path: PathBuf,
    /// Bytes that were read.
    offset: u64,
    entries: Vec<Value>,
    /// Messages handed to each peer in each minute of the clock.
    sent: BTreeMap<(String, u64), u64>,
    /// Copies of each payload handed to each peer, and the height of the payload.
    copies: BTreeMap<(String, String), (u64, u64)>,
    /// Payloads that it signed itself, by view.
    pub(crate) own: BTreeMap<View, BTreeSet<String>>,
    /// When it first handed over something of its own, by view, and every time.
    own_first: BTreeMap<View, u64>,
    own_times: BTreeSet<u64>,
}

/// One thing that a fault made a node do, or leave undone.
pub(crate) struct Deed<'l> {
    pub(crate) time_ns: u64,
    pub(crate) entry: &'l Value,
    /// Height of the node's chain at the time.
    pub(crate) head: u64,
}

impl Deed<'_> {
    pub(crate) fn sequence(&self) -> Option<u64> {
        self.entry["sequence"].as_u64()
    }

    pub(crate) fn round(&self) -> Option<u64> {
        self.entry["round"].as_u64()
    }

    pub(crate) fn is(&self, kind: &str) -> bool {
        self.entry["kind"] == kind
    }
}

impl NodeLog {
    /// Takes in whole lines that were added.
    fn read(&mut self) {
        let Ok(mut file) = File::open(&self.path) else {
            return;
        };
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(self.offset)).unwrap();
        file.read_to_end(&mut text).unwrap();
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        self.offset += whole as u64;
        for line in text[..whole].split(|byte| *byte == b'\n') {
            // What came from others is told by those.
            if line.is_empty()
                || line
                    .windows(18)
                    .take(80)
                    .any(|part| part == b"\"what\":\"received\"")
            {
                continue;
            }
            let entry: Value = serde_json::from_slice(line).unwrap();
            match entry["what"].as_str() {
                Some("sent") => self.count(&entry),
                _ => self.entries.push(entry),
            }
        }
    }

    fn count(&mut self, entry: &Value) {
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        let number = |key: &str| entry[key].as_u64().unwrap();
        *self
            .sent
            .entry((text("peer"), number("time_ns") / MINUTE))
            .or_default() += 1;
        let copies = self.copies.entry((text("peer"), text("payload"))).or_default();
        *copies = (copies.0 + 1, number("sequence"));
        if entry["own"] == true {
            let view = (text("kind"), number("sequence"), number("round"));
            self.own_first.entry(view.clone()).or_insert(number("time_ns"));
            self.own_times.insert(number("time_ns"));
            self.own.entry(view).or_default().insert(text("payload"));
        }
    }

    pub(crate) fn of(&self, what: &str) -> impl Iterator<Item = &Value> {
        self.entries.iter().filter(move |entry| entry["what"] == what)
    }

    /// Faults as they were given.
    pub(crate) fn faults(&self) -> Vec<String> {
        let lists = self.of("start").filter_map(|entry| entry["faults"].as_array());
        lists
            .flatten()
            .map(|fault| fault.as_str().unwrap().to_owned())
            .collect()
    }

    /// What a fault made it do; all of them with an empty word.
    pub(crate) fn deeds(&self, fault: &str) -> Vec<Deed<'_>> {
        let mut head = 0;
        let mut deeds = Vec::new();
        for entry in &self.entries {
            match entry["what"].as_str() {
                Some("decided") => head = entry["sequence"].as_u64().unwrap(),
                Some("deed") if entry["fault"].as_str().unwrap().starts_with(fault) => deeds.push(Deed {
                    time_ns: entry["time_ns"].as_u64().unwrap(),
                    entry,
                    head,
                }),
                _ => {}
            }
        }
        deeds
    }

    fn height(&self) -> u64 {
        let heights = self.of("decided").filter_map(|entry| entry["sequence"].as_u64());
        heights.max().unwrap_or(0)
    }

    /// Heights of payloads that went to one peer more often than so.
    pub(crate) fn repeated(&self, most: u64) -> BTreeSet<u64> {
        let often = self.copies.values().filter(|(copies, _)| *copies > most);
        often.map(|(_, sequence)| *sequence).collect()
    }

    /// Heights in which it signed two payloads of one view; round changes contradict nothing.
    pub(crate) fn two_faced(&self) -> BTreeSet<u64> {
        let twice = self
            .own
            .iter()
            .filter(|((kind, ..), payloads)| kind != "roundchange" && payloads.len() > 1);
        twice.map(|((_, sequence, _), _)| *sequence).collect()
    }

    /// Heights in which it signed commits in two rounds.
    pub(crate) fn committed_twice(&self) -> BTreeSet<u64> {
        let mut rounds: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for (kind, sequence, round) in self.own.keys() {
            if kind == "commit" {
                rounds.entry(*sequence).or_default().insert(*round);
            }
        }
        let several = rounds.into_iter().filter(|(_, rounds)| rounds.len() > 1);
        several.map(|(sequence, _)| sequence).collect()
    }

    /// When it handed over its own proposal for a round.
    fn proposed(&self, sequence: u64, round: u64) -> Option<u64> {
        let view = ("preprepare".to_owned(), sequence, round);
        self.own_first.get(&view).copied()
    }

    /// When it had the block of a height.
    fn decided(&self, sequence: u64) -> Option<u64> {
        let decided = self.of("decided").find(|entry| entry["sequence"] == sequence);
        decided.and_then(|entry| entry["time_ns"].as_u64())
    }
}

impl Logs {
    pub(crate) fn new(folder: &Path, nodes: usize) -> Self {
        let node = |node| NodeLog {
            path: folder.join(format!("cn{node}.jsonl")),
            ..NodeLog::default()
        };
        Self {
            nodes: (1..=nodes).map(node).collect(),
        }
    }

    /// Takes in what was added.
    pub(crate) fn read(&mut self) {
        for node in &mut self.nodes {
            node.read();
        }
    }

    /// Waits until the records have something; no time is promised on a busy machine, but it does not wait for ever.
    pub(crate) fn wait(&mut self, what: &str, mut met: impl FnMut(&Self) -> bool, mut look: impl FnMut()) {
        for _ in 0..1200 {
            self.read();
            if met(self) {
                return;
            }
            look();
            std::thread::sleep(Duration::from_millis(300));
        }
        let of = |node: &NodeLog| {
            let deeds = node.deeds("").len();
            format!(
                "{:?}: height {}, {deeds} deeds",
                node.path.file_name(),
                node.height()
            )
        };
        let told: Vec<_> = self.nodes.iter().map(of).collect();
        panic!("not within six minutes: {what}; {told:#?}");
    }

    /// Node 1 is `cn1`.
    pub(crate) fn node(&self, node: usize) -> &NodeLog {
        &self.nodes[node - 1]
    }

    /// All nodes with their names.
    pub(crate) fn named(&self) -> impl Iterator<Item = (String, &NodeLog)> {
        let named = self.nodes.iter().enumerate();
        named.map(|(at, node)| (format!("cn{}", at + 1), node))
    }

    /// The height that all honest nodes have.
    pub(crate) fn all_decided(&self) -> u64 {
        let honest = self.nodes.iter().filter(|node| node.faults().is_empty());
        honest.map(NodeLog::height).min().unwrap_or(0)
    }

    /// A machine that stands still makes honest nodes late. Whether a node's own record says of itself what a rule says that it left
    /// undone.
    pub(crate) fn admits(&self, name: &str, event: &Value) -> bool {
        let Some((_, log)) = self.named().find(|(own, _)| own == name) else {
            return false;
        };
        let number = |key: &str| event[key].as_u64().unwrap_or(0);
        let (sequence, round) = (number("sequence"), number("round"));
        match event["rule"].as_str() {
            _ if event["suspicious"] == true => false,
            Some("missing_proposer") => {
                let asked = |entry: &&Value| {
                    entry["sequence"] == sequence
                        && entry["round"].as_u64().is_some_and(|asked| asked > round)
                };
                let changes = self
                    .nodes
                    .iter()
                    .flat_map(|node| node.of("round_change"))
                    .filter(asked);
                let left = changes.filter_map(|entry| entry["time_ns"].as_u64()).min();
                left.is_some_and(|left| {
                    log.proposed(sequence, round)
                        .is_none_or(|proposed| proposed > left)
                })
            }
            Some("slow_proposer") => {
                let since = sequence.checked_sub(1).and_then(|before| log.decided(before));
                let took = log
                    .proposed(sequence, 0)
                    .zip(since)
                    .map(|(at, since)| at.saturating_sub(since));
                took.is_some_and(|took| took >= SECOND)
            }
            Some("silent_validator") => {
                let times: Vec<u64> = log.own_times.iter().copied().collect();
                let from = event["numbers"]["from_ns"].as_u64().unwrap_or(0);
                let gap = |pair: &[u64]| {
                    pair[1] - pair[0] >= 4 * SECOND && pair[0] < from + SECOND && from < pair[1]
                };
                times.windows(2).any(gap)
            }
            _ => false,
        }
    }

    pub(crate) fn round_changes(&self) -> usize {
        self.nodes
            .iter()
            .map(|node| node.of("round_change").count())
            .sum()
    }

    /// Whether each node had something to say every second from its first message to its last.
    pub(crate) fn never_stood_still(&self) -> bool {
        self.nodes.iter().all(|node| {
            let times: Vec<u64> = node.own_times.iter().copied().collect();
            times.windows(2).all(|pair| pair[1] - pair[0] < SECOND)
        })
    }

    pub(crate) fn deeds(&self, node: usize, fault: &str) -> usize {
        self.node(node).deeds(fault).len()
    }

    pub(crate) fn deeds_of(&self, node: usize, fault: &str, kind: &str) -> usize {
        let deeds = self.node(node).deeds(fault);
        deeds.iter().filter(|deed| deed.is(kind)).count()
    }

    /// Decided heights about which the fault did something.
    pub(crate) fn heights_of(&self, node: usize, fault: &str) -> usize {
        let decided = self.all_decided();
        let deeds = self.node(node).deeds(fault);
        let heights: BTreeSet<_> = deeds.iter().filter_map(Deed::sequence).collect();
        heights.range(..=decided).count()
    }

    /// A height was decided though the fault had done this in it, and some behind it.
    pub(crate) fn decided_behind_deed(&self, node: usize, fault: &str, kind: &str) -> bool {
        let decided = self.all_decided();
        let deeds = self.node(node).deeds(fault);
        deeds
            .iter()
            .any(|deed| deed.is(kind) && deed.sequence().is_some_and(|sequence| sequence < decided))
    }

    /// A node handed far more to a peer in a minute than any other did, and than itself before.
    pub(crate) fn is_loud(&self, node: usize) -> bool {
        let log = self.node(node);
        let rival = |peer: &str, minute: u64| {
            let others = (1..=self.nodes.len()).filter(|other| *other != node);
            let counts = others.filter_map(|other| self.node(other).sent.get(&(peer.to_owned(), minute)));
            counts.max().copied().unwrap_or(0)
        };
        log.sent.iter().any(|((peer, minute), &count)| {
            let stands_out = |count: u64, minute: u64| count >= 2500 && count >= 10 * rival(peer, minute);
            let before = (1..=10).filter_map(|ago| {
                let minute = minute.checked_sub(ago)?;
                Some((log.sent.get(&(peer.clone(), minute)).copied()?, minute))
            });
            // The minute in which a flood began is no ordinary one, once this one has more than twice as much.
            let first = |minute: u64| {
                log.sent
                    .get(&(peer.clone(), minute + 1))
                    .is_some_and(|&next| stands_out(next, minute + 1))
            };
            let began = |before: u64, minute: u64| {
                before >= 10 * rival(peer, minute) && first(minute) && 2 * count >= 5 * before
            };
            let mut ordinary =
                before.filter(|&(count, minute)| !stands_out(count, minute) && !began(count, minute));
            stands_out(count, *minute) && ordinary.all(|(before, _)| count >= 10 * before)
        })
    }

    /// Deeds of a flood for heights that everybody had left behind long ago.
    pub(crate) fn stale_deeds(&self, node: usize) -> usize {
        let deeds = self.node(node).deeds("flood");
        let stale = |deed: &&Deed<'_>| deed.sequence().is_some_and(|sequence| sequence + 23 < deed.head);
        deeds.iter().filter(stale).count()
    }

    /// Decided heights for which it asked for more than twice as many rounds as are suspicious.
    pub(crate) fn stormy_heights(&self, node: usize) -> usize {
        let decided = self.all_decided();
        let rounds = rounds_of(&self.node(node).deeds("flood"));
        let stormy = rounds
            .iter()
            .filter(|(sequence, rounds)| **sequence <= decided && rounds.len() > 18);
        stormy.count()
    }

    /// Seconds from the first message that it held back to the last one.
    pub(crate) fn silence(&self, node: usize) -> u64 {
        let deeds = self.node(node).deeds("silent");
        let times = || deeds.iter().map(|deed| deed.time_ns);
        (times().max().unwrap_or(0) - times().min().unwrap_or(0)) / 1_000_000_000
    }

    /// Turns that it let pass for a while, of decided heights, once there is something to compare with.
    pub(crate) fn slow_turns(&self, node: usize) -> usize {
        let decided = self.all_decided();
        let deeds = self.node(node).deeds("slow-proposals");
        let counted = |deed: &&Deed<'_>| {
            deed.round() == Some(0) && deed.sequence().is_some_and(|at| (11..decided).contains(&at))
        };
        deeds.iter().filter(counted).count()
    }

    /// Seconds from the last block to the last line.
    pub(crate) fn stands_still(&self) -> u64 {
        let time = |entry: &Value| entry["time_ns"].as_u64().unwrap();
        let last = self
            .nodes
            .iter()
            .flat_map(|node| node.of("decided"))
            .map(time)
            .max();
        let now = self.nodes.iter().flat_map(|node| &node.entries).map(time).max();
        now.zip(last)
            .map_or(0, |(now, last)| (now - last) / 1_000_000_000)
    }

    /// Decided heights in which the fault did something in round 0.
    pub(crate) fn in_round_zero(&self, node: usize, fault: &str) -> usize {
        let decided = self.all_decided();
        let deeds = self.node(node).deeds(fault);
        let first = |deed: &&Deed<'_>| {
            deed.round() == Some(0) && deed.sequence().is_some_and(|sequence| sequence < decided)
        };
        deeds.iter().filter(first).count()
    }

    pub(crate) fn visits(&self, node: usize) -> usize {
        self.deeds(node, "churn")
    }
}

/// Rounds by height.
pub(crate) fn rounds_of(deeds: &[Deed<'_>]) -> BTreeMap<u64, BTreeSet<u64>> {
    let mut rounds: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for deed in deeds {
        if let Some((sequence, round)) = deed.sequence().zip(deed.round()) {
            rounds.entry(sequence).or_default().insert(round);
        }
    }
    rounds
}

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
