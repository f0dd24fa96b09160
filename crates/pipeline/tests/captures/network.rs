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

/// Connections by who dialled and who was dialled, of the independent decoder.
fn dialled(expected: &serde_json::Value) -> BTreeMap<(String, String), u64> {
    let mut dials = BTreeMap::new();
    for session in expected["sessions"].as_array().unwrap() {
        let host = |end: &str| {
            session[end]
                .as_str()
                .unwrap()
                .split(':')
                .next()
                .unwrap()
                .to_owned()
        };
        *dials.entry((host("client"), host("server"))).or_default() +=
            u64::from(session["bytes"] != serde_json::json!([0, 0]));
    }
    dials
}

#[test]
fn peers_of_a_faulty_network_are_described() {
    let files = ["tap1.pcap", "tap2.pcap", "tap3.pcap", "tap4.pcap"];
    let case = Case::new("klaytn-4cn-faults", &files, "all-taps.expected.json");
    let Some(found) = case.analyze(2) else { return };
    let expected = case.expected();
    let facts = &found.facts;
    let dials: BTreeMap<_, u64> = facts
        .dials
        .iter()
        .map(|dial| {
            let ends = (dial.initiator_ip.to_string(), dial.recipient_ip.to_string());
            (ends, dial.dials - dial.refused)
        })
        .collect();
    assert_eq!(dials, dialled(&expected));
    let refused: u64 = facts.dials.iter().map(|dial| dial.refused).sum();
    assert_eq!(refused, facts.totals.refused);
    assert!(refused > 0, "who is not there yet refuses");

    let names: Vec<&str> = facts.peers.iter().map(|peer| &*peer.node).collect();
    assert_eq!(names, ["cn1", "cn2", "cn3", "cn4"]);
    let disconnects = expected["codes"]["1"].as_u64().unwrap();
    let sum = |reasons: &BTreeMap<String, u64>| reasons.values().sum::<u64>();
    assert_eq!(
        facts
            .peers
            .iter()
            .map(|peer| sum(&peer.disconnects_sent))
            .sum::<u64>(),
        disconnects
    );
    assert_eq!(
        facts
            .peers
            .iter()
            .map(|peer| sum(&peer.disconnects_received))
            .sum::<u64>(),
        disconnects
    );
    for peer in &facts.peers {
        assert_eq!(
            (
                peer.software.as_deref(),
                peer.version.as_deref(),
                peer.role,
                &peer.offers[..]
            ),
            (
                Some("Klaytn"),
                Some("v1.4.2"),
                Some("cn"),
                &["istanbul/64".to_owned()][..]
            )
        );
        assert_eq!(
            (peer.network_id, &peer.behind),
            (Some(1000), &Some("0".to_owned()))
        );
        assert_eq!(
            peer.dials_out + peer.dials_in - peer.refused_out - peer.refused_in,
            peer.sessions
        );
        assert!(peer.useless <= peer.sessions);
    }
    // It was killed, and came back nine seconds later: everybody had to connect to it again.
    let [.., killed] = &facts.peers[..] else { panic!() };
    assert!(killed.reconnects >= 3, "{killed:#?}");
    let census: Vec<(&str, &str, u64)> = facts
        .census
        .iter()
        .map(|row| (row.list, &*row.value, row.count))
        .collect();
    assert_eq!(
        census,
        [
            ("capability", "istanbul/64", 4),
            ("disconnect", "already connected", 2),
            ("disconnect", "client quitting", 6),
            ("disconnect", "useless peer", 6),
            ("role", "cn", 4),
            ("software", "Klaytn", 4),
            ("version", "Klaytn/v1.4.2", 4),
        ]
    );
}

#[test]
fn dials_are_those_of_the_other_decoder() {
    let files = ["tap1.pcap", "tap2.pcap", "tap3.pcap", "tap4.pcap"];
    for (name, files, expected) in [
        ("klaytn-7cn", &files[..1], "tap1.expected.json"),
        ("quorum-4", &files[..], "all-taps.expected.json"),
    ] {
        let case = Case::new(name, files, expected);
        let Some(found) = case.analyze(2) else { return };
        let mut dials = dialled(&case.expected());
        dials.retain(|_, count| *count > 0);
        let mut ours = BTreeMap::new();
        for dial in found.facts.dials.iter().filter(|dial| dial.dials > dial.refused) {
            let ends = (dial.initiator_ip.to_string(), dial.recipient_ip.to_string());
            ours.insert(ends, dial.dials - dial.refused);
        }
        assert_eq!(ours, dials, "{name}");
        if name == "quorum-4" {
            let is = |peer: &bftap_analysis::facts::PeerFact| {
                (peer.software.as_deref(), peer.version.as_deref()) == (Some("GoQuorum"), Some("v20.10.0"))
            };
            assert!(found.facts.peers.len() == 4 && found.facts.peers.iter().all(is));
        }
    }
}
