//! What rules have to say of a lab, by its nodes' records; and whether they do, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bftap_analysis::RULES;
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use crate::lab::read_json;
use crate::lab_logs::{Deed, Logs, NodeLog, rounds_of};

/// Something that a rule has to say, or may.
struct Expected {
    rule: &'static str,
    /// Node, or address of a key that no node has; empty: nobody.
    blamed: String,
    /// Of a height in here, if the rule is about heights.
    sequences: Option<BTreeSet<u64>>,
    suspicious: bool,
    must: bool,
    /// Payloads that may be shown for it, if it shows any.
    payloads: Option<BTreeSet<String>>,
    /// Who handed it over, where that is another question.
    sender: Option<String>,
}

pub(crate) struct Judge<'l> {
    folder: PathBuf,
    logs: &'l Logs,
    expected: Vec<Expected>,
    /// Nodes by name: address, IP address, node id.
    nodes: BTreeMap<String, [String; 3]>,
}

impl<'l> Judge<'l> {
    pub(crate) fn new(folder: &Path, logs: &'l Logs) -> Self {
        let text = |node: &Value, key: &str| {
            node[key]
                .as_str()
                .unwrap()
                .trim_start_matches("0x")
                .to_lowercase()
        };
        let nodes = read_json(&folder.join("keys.nodes.json"));
        let nodes = nodes.as_array().unwrap().iter().map(|node| {
            let keys = ["address", "ip", "node_id"].map(|key| text(node, key));
            (text(node, "name"), keys)
        });
        let mut expected = Vec::new();
        for (name, log) in logs.named() {
            for fault in log.faults() {
                expected.extend(of_fault(&fault, &name, log, logs));
            }
        }
        expected.extend(of_all(logs));
        Self {
            folder: folder.to_owned(),
            logs,
            expected,
            nodes: nodes.collect(),
        }
    }

    /// Events of a report that judge nodes, and whatever else is suspicious.
    pub(crate) fn events(&self, report: &str) -> Vec<Value> {
        let report = read_json(&self.folder.join(report));
        let events = report["events"].as_array().unwrap().iter();
        events.filter(|event| judges(event)).cloned().collect()
    }

    /// Rules that spoke, each with the node that it names.
    pub(crate) fn rules(&self, report: &str) -> BTreeSet<(String, Option<String>)> {
        let named = |event: &Value| (text(event, "rule"), self.blamed(event));
        self.events(report).iter().map(named).collect()
    }

    /// The same events in both reports.
    pub(crate) fn same(&self, one: &str, other: &str) {
        let [one, other] = [one, other].map(|report| {
            let events = self.events(report);
            events.iter().map(identity).collect::<BTreeSet<_>>()
        });
        let differ: Vec<_> = one.symmetric_difference(&other).collect();
        assert!(differ.is_empty(), "live and afterwards: {differ:#?}");
    }

    /// Everything that had to be found is, with the right one to blame, and nothing else; in the report, in the lines that were told
    /// on the way, and in the store.
    pub(crate) fn judge(&self, report: &str, lines: &str, store: &str) {
        let events = self.events(report);
        let mut wrong = String::new();
        for event in &events {
            if let Err(why) = self.is_expected(event) {
                let _ = writeln!(wrong, "{why}: {event}");
            }
        }
        for expected in self.expected.iter().filter(|expected| expected.must) {
            if !events.iter().any(|event| self.fits(expected, event)) {
                let heights = expected.sequences.as_ref();
                let _ = writeln!(
                    wrong,
                    "not found: {} of {} {heights:?}",
                    expected.rule, expected.blamed
                );
            }
        }
        let told = fs::read_to_string(self.folder.join(lines)).unwrap();
        let told: Vec<Value> = told
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        for line in told.iter().filter(|line| line["suspicious"] == true) {
            if let Err(why) = self.is_expected(line) {
                let _ = writeln!(wrong, "told on the way, {why}: {line}");
            }
        }
        let told: BTreeSet<_> = told.iter().map(identity).collect();
        for event in events.iter().filter(|event| !told.contains(&identity(event))) {
            let _ = writeln!(wrong, "never told: {event}");
        }
        let stored = stored(&self.folder, store);
        let shown: BTreeSet<_> = events.iter().map(identity).collect();
        for row in shown.symmetric_difference(&stored) {
            let _ = writeln!(wrong, "not both in the report and in the store: {row:?}");
        }
        assert!(wrong.is_empty(), "{report}:\n{wrong}{}", self.told_of_deeds());
    }

    fn told_of_deeds(&self) -> String {
        let lines = self.expected.iter().map(|expected| {
            let word = if expected.must { "must" } else { "may" };
            format!(
                "{word}: {} of {} {:?}\n",
                expected.rule, expected.blamed, expected.sequences
            )
        });
        lines.collect()
    }

    fn is_expected(&self, event: &Value) -> Result<(), &'static str> {
        let blamed = self.blamed(event).unwrap_or_default();
        let expected = self.expected.iter().any(|expected| self.fits(expected, event));
        if !expected && !self.logs.admits(&blamed, event) {
            return Err("not expected");
        }
        // All that is said of who is to blame is of one node.
        if let Some([address, ip, id]) = self.nodes.get(&blamed) {
            let said = ["address", "ip", "node_id"].map(|key| plain(event, key));
            if said != [address, ip, id].map(Clone::clone) {
                return Err("the blamed node is described wrongly");
            }
            let role = if SENDERS.contains(&&*text(event, "rule")) {
                "sender"
            } else {
                "signer"
            };
            if text(event, role) != blamed {
                return Err("the wrong role is blamed");
            }
        }
        Ok(())
    }

    fn fits(&self, expected: &Expected, event: &Value) -> bool {
        let shown = event["payloads"].as_array().into_iter().flatten();
        let shown: BTreeSet<String> = shown
            .map(|payload| payload.as_str().unwrap().trim_start_matches("0x").to_owned())
            .collect();
        event["rule"] == expected.rule
            && self.blamed(event).unwrap_or_default() == expected.blamed
            && event["suspicious"] == expected.suspicious
            && expected.sequences.as_ref().is_none_or(|sequences| {
                event["sequence"]
                    .as_u64()
                    .is_some_and(|sequence| sequences.contains(&sequence))
            })
            && expected
                .payloads
                .as_ref()
                .is_none_or(|payloads| !shown.is_empty() && shown.is_subset(payloads))
            && expected
                .sender
                .as_ref()
                .is_none_or(|sender| event["sender"] == **sender)
    }

    /// The node that an event blames or names: by its key, or else by its IP address.
    fn blamed(&self, event: &Value) -> Option<String> {
        let named = |at: usize, key: &str| {
            let value = plain(event, key);
            let node = self.nodes.iter().find(|(_, keys)| keys[at] == value);
            node.map(|(name, _)| name.clone())
        };
        match event["address"].as_str() {
            Some(_) => Some(named(0, "address").unwrap_or_else(|| plain(event, "address"))),
            None => event["ip"]
                .as_str()
                .map(|_| named(1, "ip").unwrap_or_else(|| plain(event, "ip"))),
        }
    }
}

fn text(event: &Value, key: &str) -> String {
    event[key].as_str().unwrap_or_default().to_owned()
}

fn plain(event: &Value, key: &str) -> String {
    text(event, key).trim_start_matches("0x").to_lowercase()
}

fn judges(event: &Value) -> bool {
    RULES.contains(&event["rule"].as_str().unwrap()) || event["suspicious"] == true
}

/// What makes an event the same in reports, lines and stores.
type Identity = (String, i64, String, String, i64, i64, bool);

fn identity(event: &Value) -> Identity {
    let number = |key: &str| event[key].as_i64().unwrap_or(-1);
    (
        text(event, "rule"),
        number("time_ns"),
        text(event, "signer"),
        text(event, "sender"),
        number("sequence"),
        number("round"),
        event["suspicious"] == true,
    )
}

fn rows<T>(folder: &Path, file: &str, sql: &str, read: impl Fn(sqlx::sqlite::SqliteRow) -> T) -> Vec<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(folder.join(file));
        let mut connection = options.connect().await.unwrap();
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        rows.into_iter().map(read).collect()
    })
}

/// Events of the store, as [`identity`] has them.
fn stored(folder: &Path, file: &str) -> BTreeSet<Identity> {
    let sql = "SELECT rule, time_ns, coalesce(signer, ''), coalesce(sender, ''), coalesce(sequence, -1), coalesce(round, -1), \
               suspicious FROM event";
    let all = rows(folder, file, sql, |row| -> Identity {
        let suspicious: i64 = row.get(6);
        (
            row.get(0),
            row.get(1),
            row.get(2),
            row.get(3),
            row.get(4),
            row.get(5),
            suspicious != 0,
        )
    });
    all.into_iter()
        .filter(|row| RULES.contains(&&*row.0) || row.6)
        .collect()
}

/// The number of the first event of a rule and signer in a store.
pub(crate) fn event_number(folder: &Path, file: &str, rule: &str, signer: &str) -> i64 {
    let sql = format!(
        "SELECT event_number FROM event WHERE rule = '{rule}' AND signer = '{signer}' ORDER BY event_number LIMIT 1"
    );
    rows(folder, file, &sql, |row| row.get(0))[0]
}

/// What has to be said, or may be, of a node with a fault.
fn of_fault(fault: &str, name: &str, log: &NodeLog, logs: &Logs) -> Vec<Expected> {
    let word = fault.split(['=', '@']).next().unwrap_or_default();
    let kind = fault.split('@').next().unwrap_or_default();
    let deeds = log.deeds(word);
    let decided = logs.all_decided();
    let sequences: BTreeSet<u64> = deeds.iter().filter_map(Deed::sequence).collect();
    // A height that was left in the middle is not judged.
    let over: BTreeSet<u64> = sequences.range(..decided.max(1)).copied().collect();
    let payload = |deed: &Deed<'_>| deed.entry["payload"].as_str().map(str::to_owned);
    let payloads: BTreeSet<String> = deeds.iter().filter_map(payload).collect();
    let own: BTreeSet<String> = log.own.values().flatten().cloned().collect();
    let by = |rule: &'static str, must: bool| Expected {
        rule,
        blamed: name.to_owned(),
        sequences: None,
        suspicious: true,
        must,
        payloads: None,
        sender: None,
    };
    // One for each height that is over; of the last one there may be one.
    let each = |rule: &'static str, heights: &BTreeSet<u64>, payloads: &BTreeSet<String>| {
        let heights = heights.iter().map(|&height| Expected {
            sequences: Some(BTreeSet::from([height])),
            payloads: Some(payloads.clone()),
            ..by(rule, over.contains(&height))
        });
        heights.collect::<Vec<_>>()
    };
    let common =
        |heights: BTreeSet<u64>| -> BTreeSet<u64> { heights.intersection(&sequences).copied().collect() };
    let preprepares = || -> BTreeSet<u64> {
        let held = deeds.iter().filter(|deed| deed.is("preprepare"));
        held.filter_map(Deed::sequence).collect()
    };
    let missing = |heights: BTreeSet<u64>| Expected {
        must: heights.range(..decided.max(1)).next().is_some(),
        sequences: Some(heights),
        suspicious: false,
        ..by("missing_proposer", true)
    };
    match word {
        "equivocation" => {
            let mut all = each("equivocation", &common(log.two_faced()), &own);
            // It votes for the other block in each round, and so in two rounds.
            all.push(by("conflicting_lock", false));
            all
        }
        "conflicting-commits" => {
            let mut all = each("conflicting_lock", &common(log.committed_twice()), &own);
            for expected in &mut all {
                let heights = expected.sequences.as_ref().and_then(BTreeSet::first).copied();
                let about = deeds.iter().filter(|deed| deed.sequence() == heights);
                let rounds: BTreeSet<_> = about.map(Deed::round).collect();
                // Where it was prepared in two rounds, each has two blocks of it.
                expected.must &= rounds.len() == 1;
            }
            all.extend(
                each("equivocation", &common(log.two_faced()), &own)
                    .into_iter()
                    .map(|expected| Expected {
                        must: false,
                        ..expected
                    }),
            );
            all
        }
        "wrong-signatures" => each("bad_signature", &sequences, &payloads),
        "wrong-addresses" => each("wrong_signer", &sequences, &payloads),
        "strange-votes" => {
            let stranger = deeds
                .first()
                .map(|deed| plain(deed.entry, "signer"))
                .unwrap_or_default();
            let mut all = each("not_validator", &sequences, &payloads);
            for expected in &mut all {
                expected.blamed.clone_from(&stranger);
                expected.sender = Some(name.to_owned());
            }
            all
        }
        "oversized" => each("oversized", &sequences, &payloads),
        "role" => vec![by("forbidden_code", true)],
        "churn" => {
            let times: Vec<u64> = deeds
                .iter()
                .filter(|deed| deed.entry["peers"][0] == deeds[0].entry["peers"][0])
                .map(|deed| deed.time_ns)
                .collect();
            let often = times
                .windows(22)
                .any(|times| times[21] - times[0] < 55_000_000_000);
            vec![by("connection_churn", often)]
        }
        "flood" if kind.ends_with(":same") => {
            let mut all = each("repeated_payload", &log.repeated(4), &payloads);
            let number = name.trim_start_matches("cn").parse().unwrap();
            all.push(by("volume", logs.is_loud(number)));
            all
        }
        "flood" if kind.ends_with(":future") => vec![by("future_flood", deeds.len() >= 100)],
        "flood" if kind.ends_with(":stale") => {
            let number = name.trim_start_matches("cn").parse().unwrap();
            vec![by("stale_flood", logs.stale_deeds(number) >= 150)]
        }
        "flood" if kind.ends_with(":undecodable") => vec![by("undecodable_flood", deeds.len() >= 60)],
        "flood" => {
            let rounds = rounds_of(&deeds);
            let stormy = rounds.iter().filter(|(_, rounds)| rounds.len() > 16);
            let stormy: BTreeSet<u64> = stormy.map(|(sequence, _)| *sequence).collect();
            each("roundchange_storm", &stormy, &payloads)
        }
        "silent" => {
            let silent: BTreeSet<_> = deeds.iter().map(|deed| (deed.sequence(), deed.round())).collect();
            let first = sequences.first().copied().unwrap_or(0);
            let number = name.trim_start_matches("cn").parse().unwrap();
            vec![
                missing(preprepares()),
                Expected {
                    sequences: Some(BTreeSet::from([first, first + 1])),
                    suspicious: false,
                    ..by("silent_validator", silent.len() >= 5 && logs.silence(number) >= 8)
                },
            ]
        }
        "no-proposals" => vec![missing(preprepares())],
        "slow-proposals" => vec![Expected {
            sequences: Some(sequences.clone()),
            suspicious: false,
            ..by("slow_proposer", {
                let number = name.trim_start_matches("cn").parse().unwrap();
                logs.slow_turns(number) >= 2
            })
        }],
        "partial" => vec![Expected {
            suspicious: false,
            sequences: Some(sequences.clone()),
            ..by("partial_sender", over.len() >= 6)
        }],
        // A vote for the block of the height before, as the node had given it: nobody is harmed.
        "stale-rounds" => Vec::new(),
        other => panic!("nobody knows what to expect of {other}"),
    }
}

/// What is nobody's fault, or what one fault brings with it.
fn of_all(logs: &Logs) -> Vec<Expected> {
    let nobody = |rule: &'static str, must: bool| Expected {
        rule,
        blamed: String::new(),
        sequences: None,
        suspicious: false,
        must,
        payloads: None,
        sender: None,
    };
    let mut all = Vec::new();
    if logs.stands_still() >= 30 {
        all.push(nobody("stalled_chain", logs.stands_still() >= 34));
    }
    if logs.round_changes() > 0 {
        // Some are prepared when a round is left, and some not.
        all.push(nobody("conflicting_lock", false));
    }
    for (name, log) in logs.named() {
        // Whose votes for heights to come, or long over, or for the height before contradict its own, as rounds were left.
        let votes_elsewhere = log
            .faults()
            .iter()
            .any(|fault| fault.starts_with("flood") || fault.starts_with("stale-rounds"));
        if votes_elsewhere && logs.round_changes() > 0 {
            all.push(Expected {
                blamed: name.clone(),
                sequences: Some(log.two_faced()),
                suspicious: true,
                ..nobody("equivocation", false)
            });
        }
    }
    all
}

/// Rules that blame who handed something over.
const SENDERS: [&str; 10] = [
    "bad_signature",
    "future_flood",
    "stale_flood",
    "roundchange_storm",
    "repeated_payload",
    "volume",
    "undecodable_flood",
    "oversized",
    "forbidden_code",
    "connection_churn",
];
