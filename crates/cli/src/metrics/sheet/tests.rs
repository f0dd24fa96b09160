use bftap_analysis::facts::{RoundStanding, RunFacts};
use bftap_analysis::{MessageSums, ReceiverSum};
use bftap_ibft_decode::Kind;

use super::*;

const PAGE: &str = include_str!("../../../../../docs/metrics.md");

fn sum(receiver: &str, kind: Kind, messages: u64) -> ReceiverSum {
    ReceiverSum {
        receiver: receiver.into(),
        receiver_ip: [10, 0, 0, 1].into(),
        kind,
        sums: MessageSums {
            messages,
            useful: 1,
            repeats: messages - 1,
            echoes: 0,
        },
    }
}

fn full_sheet() -> Sheet {
    let progress = Arc::new(Progress::default());
    progress.packets.store(7, Ordering::Relaxed);
    let mut sheet = Sheet::new(progress);
    let status = WriterStatus::default();
    status.committed_ns.store(1, Ordering::Relaxed);
    sheet.watch_store(Arc::new(status));
    let interface = InputStats {
        name: "mon0".to_owned(),
        packets: 9,
        kernel_drops: Some(4),
        ..InputStats::default()
    };
    sheet.watch_interfaces(Box::new(move || (vec![interface.clone()], 2)));
    let mut facts = RunFacts::default();
    facts.totals.gaps = 3;
    facts.totals.limits_reached.insert("flows".to_owned(), 2);
    let round = |(sequence, round, standing)| bftap_analysis::facts::RoundFact {
        chain: "1000/0xaa".into(),
        sequence,
        round,
        proposer: None,
        validators: Some(4),
        quorum: Some(3),
        preprepare_ns: None,
        prepared_ns: None,
        committed_ns: None,
        messages: 5,
        outcome: bftap_analysis::facts::Outcome::Open,
        standing,
        cause: None,
        block_time_ns: None,
    };
    let mut update = Update {
        facts,
        sums: vec![
            sum("cn1", Kind::Prepare, 5),
            sum("say \"hi\"\n\\", Kind::Commit, 2),
        ],
        ..Update::default()
    };
    update.heights.push(bftap_analysis::facts::HeightFacts {
        counts: vec![bftap_analysis::facts::CountFact {
            chain: "1000/0xaa".into(),
            receiver_ip: [10, 0, 0, 1].into(),
            receiver: "cn1".into(),
            sequence: 42,
            round: 1,
            kind: Kind::Prepare,
            messages: 5,
            useful: 1,
            repeats: 4,
            echoes: 0,
            resent: 0,
            echo_source: 0,
            crossing: 0,
            regossip: 4,
            invalid: 0,
            bytes: 1,
            lower_bound: false,
            first_seen: bftap_model::CaptureTime::MIN,
            last_seen: bftap_model::CaptureTime::MAX,
        }],
        rounds: [(42, 1, RoundStanding::Entered), (42, 77, RoundStanding::Claimed)]
            .map(round)
            .into(),
        ..Default::default()
    });
    update.heights.push(bftap_analysis::facts::HeightFacts {
        rounds: vec![round((9_000, 0, RoundStanding::Claimed))],
        ..Default::default()
    });
    sheet.update(&update, Duration::from_millis(250));
    sheet
}

/// Name, labels and value of each sample.
type Samples = Vec<(String, String, f64)>;

/// Samples, read as strictly as Prometheus does; panics where it would refuse.
fn parse(text: &str) -> Samples {
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut families: BTreeMap<String, String> = BTreeMap::new();
    let mut samples = Vec::new();
    for line in text.lines() {
        let name_ok = |name: &str| {
            name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && !name.starts_with(|c: char| c.is_ascii_digit())
        };
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.split(' ');
            let (Some(what), name) = (words.next(), words.next()) else {
                panic!("{line}")
            };
            match (what, name) {
                ("TYPE", Some(name)) => {
                    let kind = words.next().unwrap();
                    assert!(["counter", "gauge", "info"].contains(&kind), "{line}");
                    assert!(
                        families.insert(name.to_owned(), kind.to_owned()).is_none(),
                        "{line}: twice"
                    );
                }
                ("HELP" | "UNIT", Some(name)) => assert!(name_ok(name), "{line}"),
                ("EOF", None) => {}
                other => panic!("{other:?}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"))),
            None => (series, ""),
        };
        assert!(name_ok(name), "{line}");
        let family = ["_total", "_info", ""]
            .iter()
            .find_map(|suffix| families.get(name.strip_suffix(suffix)?))
            .unwrap_or_else(|| panic!("{line}: no type"));
        assert_eq!(family == "counter", name.ends_with("_total"), "{line}");
        // Every quote and backslash within a value is escaped, and line ends, too.
        let mut rest = labels;
        while !rest.is_empty() {
            let (label, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(name_ok(label), "{line}");
            let mut escaped = false;
            let end = value
                .find(|c| {
                    let ends = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                })
                .unwrap_or_else(|| panic!("{line}"));
            rest = value[end + 1..].strip_prefix(',').unwrap_or(&value[end + 1..]);
        }
        samples.push((name.to_owned(), labels.to_owned(), value));
    }
    samples
}

#[test]
fn what_is_served_is_what_the_page_documents() {
    let text = full_sheet().render();
    let samples = parse(&text);
    let served: BTreeSet<&str> = samples.iter().map(|(name, ..)| name.as_str()).collect();
    let documented: BTreeSet<&str> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next())
        .filter(|name| name.starts_with("bftap_"))
        .collect();
    assert_eq!(served, documented);
    let value = |name: &str, part: &str| {
        let found = samples
            .iter()
            .find(|(own, labels, _)| own == name && labels.contains(part));
        found.unwrap_or_else(|| panic!("{name} {part}: {text}")).2
    };
    assert_eq!(
        value("bftap_messages_total", "receiver=\"cn1\",kind=\"prepare\""),
        5.0
    );
    assert_eq!(value("bftap_chain_height", "chain=\"1000/0xaa\""), 42.0);
    assert_eq!(value("bftap_lag_seconds", ""), 0.25);
    assert_eq!(value("bftap_read_packets_total", ""), 7.0);
    assert_eq!(value("bftap_limits_reached_total", "limit=\"flows\""), 2.0);
    if cfg!(target_os = "linux") {
        assert!(value("bftap_resident_memory_bytes", "") > 1e6);
    }
}

#[test]
fn labels_are_bounded() {
    let mut sheet = Sheet::new(Arc::default());
    let sums = (0..5000)
        .map(|number| sum(&format!("node{number}"), Kind::Commit, 2))
        .collect();
    let update = Update {
        sums,
        ..Update::default()
    };
    sheet.update(&update, Duration::ZERO);
    sheet.update(&update, Duration::ZERO);
    let samples = parse(&sheet.render());
    let messages = samples.iter().filter(|(name, ..)| name == "bftap_messages_total");
    let values: Vec<_> = messages.collect();
    assert_eq!(values.len(), RECEIVERS + 1);
    let other = values
        .iter()
        .find(|(_, labels, _)| labels.contains("receiver=\"other\""))
        .unwrap();
    assert_eq!(other.2, 2.0 * (5000 - RECEIVERS) as f64);
}

#[test]
fn counters_never_fall() {
    let mut sheet = Sheet::new(Arc::default());
    for messages in [9, 4] {
        let update = Update {
            sums: vec![sum("cn1", Kind::Commit, messages)],
            ..Update::default()
        };
        sheet.update(&update, Duration::ZERO);
    }
    let samples = parse(&sheet.render());
    assert!(
        samples
            .iter()
            .any(|(name, _, value)| name == "bftap_messages_total" && *value == 9.0)
    );
}
