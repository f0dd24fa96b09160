//! What the captures of real nodes tell of the network, against what others measured in them.

use std::collections::BTreeMap;

use bftap_analysis::facts::TcpLinkFact;

use crate::support::{Case, Found};

fn seven() -> Case {
    Case::new("klaytn-7cn", &["tap1.pcap"], "tap1.expected.json")
}

fn links(found: &Found) -> BTreeMap<String, &TcpLinkFact> {
    let name = |link: &TcpLinkFact| format!("{} > {}", link.sender_ip, link.receiver_ip);
    found.facts.links.iter().map(|link| (name(link), link)).collect()
}

#[test]
fn round_trips_are_those_of_tshark() {
    let expected: serde_json::Value =
        serde_json::from_str(include_str!("../data/klaytn-7cn.round-trips.json")).unwrap();
    let Some(found) = seven().analyze(2) else { return };
    let links = links(&found);
    let expected = expected["links"].as_object().unwrap();
    assert_eq!(
        links.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (name, expected) in expected {
        let link = links[name];
        let near = |figure: &str, ours: Option<i64>| {
            let theirs = expected[figure].as_i64().unwrap();
            let ours = ours.unwrap();
            assert!(
                (ours - theirs).abs() * 20 <= theirs,
                "{name}: {figure} is {ours}, tshark says {theirs}"
            );
        };
        near("min_ns", link.rtt_min_ns);
        near("mean_ns", link.rtt_mean_ns);
        near("samples", i64::try_from(link.rtt_samples).ok());
        assert!(link.rtt_smoothed_ns.unwrap() > 0);
        assert_eq!(
            (link.one_way_samples, link.one_way_min_ns, link.skew_ns),
            (0, None, None),
            "one tap"
        );
        assert_eq!(&*link.sender, format!("cn{}", &link.sender_ip.to_string()[7..]));
    }
}

#[test]
fn links_are_the_same_for_any_number_of_workers_and_order_of_files() {
    let files = ["tap1.pcap", "tap2.pcap", "tap3.pcap", "tap4.pcap"];
    let mut case = Case::new("klaytn-4cn-faults", &files, "all-taps.expected.json");
    let Some(found) = case.analyze(1) else { return };
    let bytes: u64 = found
        .facts
        .sessions
        .iter()
        .flat_map(|session| session.stream_bytes)
        .sum();
    let of_links: u64 = found.facts.links.iter().map(|link| link.bytes).sum();
    assert!(
        of_links >= bytes,
        "{of_links} < {bytes}: sent again or not, all payload is in segments"
    );
    assert!(
        found
            .facts
            .links
            .iter()
            .all(|link| link.one_way_samples > 0 && link.skew_ns.is_some())
    );
    // One host stamped all packets: its clock is one clock.
    assert!(
        found
            .facts
            .links
            .iter()
            .all(|link| link.skew_ns.unwrap().abs() < 20_000),
        "{:#?}",
        found.facts.links
    );
    case.files.reverse();
    for jobs in [2, 5] {
        assert_eq!(
            case.analyze(jobs).unwrap().facts.links,
            found.facts.links,
            "{jobs} workers"
        );
    }
}
