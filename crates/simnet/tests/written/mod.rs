//! What a simulation wrote, read again and compared with its truth.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bftap_model::Nanos;
use bftap_simnet::client::Client;
use bftap_simnet::{Fault, FaultKind, SimulateOptions, Sinks, Summary, simulate};
use serde_json::Value;

use crate::reader::{self, Contents, Message};

/// Everything that a simulation wrote.
#[derive(PartialEq)]
pub(crate) struct Written {
    pub(crate) captures: Vec<Vec<u8>>,
    pub(crate) key_log: String,
    pub(crate) nodes: Value,
    pub(crate) truth: Value,
    pub(crate) summary: Summary,
}

pub(crate) fn run(options: &SimulateOptions) -> Written {
    let mut captures = vec![Vec::new(); options.capture_names().len()];
    let [mut key_log, mut nodes, mut truth] = [const { Vec::new() }; 3];
    let sinks = Sinks {
        captures: captures
            .iter_mut()
            .map(|capture| Box::new(capture) as _)
            .collect(),
        key_log: Box::new(&mut key_log),
        nodes: Box::new(&mut nodes),
        truth: Box::new(&mut truth),
    };
    let summary = simulate(options, sinks).unwrap();
    Written {
        captures,
        key_log: String::from_utf8(key_log).unwrap(),
        nodes: serde_json::from_slice(&nodes).unwrap(),
        truth: serde_json::from_slice(&truth).unwrap(),
        summary,
    }
}

/// Reads a simulation's captures again and compares all there is with its truth.
pub(crate) fn check(options: &SimulateOptions) -> (Written, Contents) {
    let written = run(options);
    let dialect = match options.clients[0] {
        Client::Quorum20_10 | Client::Quorum24_4 => "quorum-ibft",
        _ => "klaytn",
    };
    let contents = reader::read(&written.captures, &written.key_log, dialect);
    let truth = &written.truth;

    let packets: u64 = list(&truth["totals"]["packets"])
        .iter()
        .map(|count| count.as_u64().unwrap())
        .sum();
    assert_eq!((contents.packets, written.summary.packets), (packets, packets));
    assert_eq!(serde_json::to_value(&contents.codes).unwrap(), truth["codes"]);
    assert_eq!(contents.messages.len() as u64, written.summary.messages);

    let mut frames = BTreeMap::new();
    for session in list(&truth["sessions"]) {
        if session["state"] == "ok" || session["state"] == "lost" {
            let counts = list(&session["frames"])
                .iter()
                .map(|count| count.as_u64().unwrap());
            let key = (text(&session["client"]), text(&session["server"]));
            frames.insert(key, counts.collect::<Vec<_>>().try_into().unwrap());
        }
    }
    assert_eq!(contents.frames, frames);

    let addresses: HashMap<String, String> = list(&written.nodes)
        .iter()
        .map(|node| (text(&node["ip"]), text(&node["address"])))
        .collect();
    assert_eq!(counts_of(&contents.messages, &addresses), counts_in(truth));

    let mut copies: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for ((receiver, _), count) in copies_of(&contents.messages) {
        *copies
            .entry(receiver)
            .or_default()
            .entry(count.to_string())
            .or_default() += 1;
    }
    assert_eq!(
        serde_json::to_value(copies).unwrap(),
        truth["copies_per_unique_message"]
    );
    (written, contents)
}

pub(crate) type Key = (String, u64, u64, String);

/// Messages, useful, repeats, echoes, invalid, bytes.
pub(crate) fn counts_of(
    messages: &[Message],
    addresses: &HashMap<String, String>,
) -> BTreeMap<Key, [u64; 6]> {
    let mut counts: BTreeMap<Key, [u64; 6]> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for message in messages {
        let key = (
            message.receiver.clone(),
            message.sequence,
            message.round,
            message.kind.clone(),
        );
        let echo =
            message.signer.map(|signer| signer.to_string()).as_ref() == addresses.get(&message.receiver);
        let first = seen.insert((message.receiver.clone(), message.payload));
        let [all, useful, repeats, echoes, invalid, bytes] = counts.entry(key).or_default();
        *all += 1;
        *echoes += u64::from(echo);
        *useful += u64::from(!echo && first);
        *repeats += u64::from(!echo && !first);
        *invalid += u64::from(message.signer != message.claimed);
        *bytes += message.bytes;
    }
    counts
}

pub(crate) fn counts_in(truth: &Value) -> BTreeMap<Key, [u64; 6]> {
    let mut counts: BTreeMap<Key, [u64; 6]> = BTreeMap::new();
    for row in list(&truth["counts"]) {
        let number = |name: &str| row[name].as_u64().unwrap();
        let key = (
            text(&row["receiver"]),
            number("sequence"),
            number("round"),
            text(&row["kind"]),
        );
        let names = ["messages", "useful", "repeats", "echoes", "invalid", "bytes"];
        for (sum, name) in counts.entry(key).or_default().iter_mut().zip(names) {
            *sum += number(name);
        }
    }
    counts
}

pub(crate) fn copies_of(messages: &[Message]) -> BTreeMap<(String, [u8; 32]), u64> {
    let mut copies = BTreeMap::new();
    for message in messages {
        *copies
            .entry((message.receiver.clone(), message.payload))
            .or_default() += 1;
    }
    copies
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

pub(crate) fn small() -> SimulateOptions {
    SimulateOptions {
        nodes: 4,
        sequences: Some(4),
        ..SimulateOptions::default()
    }
}

pub(crate) fn fault(node: usize, from_ms: i64, until_ms: Option<i64>, kind: FaultKind) -> Vec<Fault> {
    let until = until_ms.map(Nanos::from_millis);
    vec![Fault {
        node,
        from: Nanos::from_millis(from_ms),
        until,
        kind,
    }]
}
