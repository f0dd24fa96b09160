//! What simulated captures tell of the network, against what was simulated.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Cursor;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bftap_analysis::facts::{Coverage, FactSink, HeightFacts, LinkCountFact, RunFacts};
use bftap_decrypt::SecretStore;
use bftap_decrypt::keylog::LastLine;
use bftap_model::Nanos;
use bftap_pipeline::{Input, PipelineOptions, Progress, analyze};
use bftap_simnet::{
    CaptureFormat, CaptureLayout, Fault, FaultKind, Role, SimulateOptions, Sinks, Taps, simulate,
};

struct Nowhere;

impl FactSink for Nowhere {
    type Error = Infallible;

    fn height(&mut self, _: &HeightFacts) -> Result<(), Infallible> {
        Ok(())
    }

    fn minute(&mut self, _: &[LinkCountFact]) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A capture for each node, and the key log.
struct Files {
    captures: Vec<Vec<u8>>,
    key_log: Vec<u8>,
}

fn simulated(options: &SimulateOptions) -> Files {
    let options = SimulateOptions {
        layout: CaptureLayout::PerTap,
        format: CaptureFormat::PcapNanos,
        ..options.clone()
    };
    let mut captures = vec![Vec::new(); options.nodes];
    let [mut key_log, mut nodes, mut truth] = [const { Vec::new() }; 3];
    let sinks = Sinks {
        captures: captures
            .iter_mut()
            .map(|capture| Box::new(capture) as Box<dyn std::io::Write>)
            .collect(),
        key_log: Box::new(&mut key_log),
        nodes: Box::new(&mut nodes),
        truth: Box::new(&mut truth),
    };
    simulate(&options, sinks).unwrap();
    Files { captures, key_log }
}

impl Files {
    fn analyze(&self, jobs: usize, order: &[usize]) -> RunFacts {
        let secrets = SecretStore::new();
        secrets.add_key_log(&self.key_log, 1, LastLine::Whole, &"simulated".into());
        let options = PipelineOptions {
            jobs,
            secrets: Arc::new(secrets),
            ..PipelineOptions::default()
        };
        let input = |&index: &usize| Input {
            path: index.to_string(),
            read: Box::new(Cursor::new(self.captures[index].clone())),
        };
        let inputs = order.iter().map(input).collect();
        analyze(inputs, Arc::new(options), &Progress::default(), &mut Nowhere)
            .unwrap()
            .facts
    }
}

/// A packet with payload, as far as it is looked at here.
struct Packet {
    seen: i64,
    ends: [IpAddr; 2],
    /// Which bytes of which stream.
    bytes: ([u16; 2], u32, usize),
    ip_id: u16,
}

/// Packets with payload of a capture that the simulator wrote: Ethernet, IPv4 without options, TCP.
fn packets(capture: &[u8]) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut at = 24;
    while at < capture.len() {
        let word = |at: usize| u32::from_le_bytes(capture[at..at + 4].try_into().unwrap());
        let (seconds, nanos, len) = (word(at), word(at + 4), word(at + 8) as usize);
        let packet = &capture[at + 16..at + 16 + len];
        at += 16 + len;
        let half = |at: usize| u16::from_be_bytes(packet[at..at + 2].try_into().unwrap());
        assert_eq!(
            (half(12), packet[14], packet[23]),
            (0x0800, 0x45, 6),
            "TCP over IPv4"
        );
        let header = 4 * usize::from(packet[46] >> 4);
        let payload = usize::from(half(16)) - 20 - header;
        if payload == 0 {
            continue;
        }
        let ip = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
        packets.push(Packet {
            seen: i64::from(seconds) * 1_000_000_000 + i64::from(nanos),
            ends: [ip(26), ip(30)],
            bytes: (
                [half(34), half(36)],
                u32::from_be_bytes(packet[38..42].try_into().unwrap()),
                payload,
            ),
            ip_id: half(18),
        });
    }
    packets
}

/// Sets the clock of a capture forward.
fn shift(capture: &mut [u8], by: Nanos) {
    let mut at = 24;
    while at < capture.len() {
        let word = |at: usize| u32::from_le_bytes(capture[at..at + 4].try_into().unwrap());
        let len = word(at + 8) as usize;
        let time = i64::from(word(at)) * 1_000_000_000 + i64::from(word(at + 4)) + by.0;
        capture[at..at + 4].copy_from_slice(&((time / 1_000_000_000) as u32).to_le_bytes());
        capture[at + 4..at + 8].copy_from_slice(&((time % 1_000_000_000) as u32).to_le_bytes());
        at += 16 + len;
    }
}

fn ip(node: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, node as u8 + 1).into()
}

#[test]
fn what_is_sent_again_is_counted_once_and_what_is_late_is_not() {
    let files = simulated(&SimulateOptions {
        seed: 11,
        nodes: 4,
        sequences: Some(30),
        loss: 5_000,
        reordering: 20_000,
        ..SimulateOptions::default()
    });
    let facts = files.analyze(2, &[0, 1, 2, 3]);
    let (mut repeats, mut lost) = (0, 0);
    for link in &facts.links {
        let sent_by = |sender: usize, tap: usize| {
            packets(&files.captures[tap]).into_iter().filter(move |packet| {
                packet.ends == [link.sender_ip, link.receiver_ip] && packet.ends[0] == ip(sender)
            })
        };
        let node_at = |at: IpAddr| (0..4).find(|node| ip(*node) == at).unwrap();
        let (sender, receiver) = (node_at(link.sender_ip), node_at(link.receiver_ip));
        let mut sent: BTreeMap<_, u64> = BTreeMap::new();
        for packet in sent_by(sender, sender) {
            *sent.entry(packet.bytes).or_default() += 1;
        }
        let segments: u64 = sent.values().sum();
        let again = segments - sent.len() as u64;
        let bytes: u64 = sent.iter().map(|((.., len), times)| *len as u64 * times).sum();
        assert_eq!(
            (link.segments, link.bytes, link.retransmissions),
            (segments, bytes, again),
            "{} to {}",
            link.sender_ip,
            link.receiver_ip
        );
        repeats += again;
        lost += segments - sent_by(sender, receiver).count() as u64;
    }
    assert_eq!(facts.links.len(), 12);
    assert!(repeats > 20, "{repeats}: something is lost");
    assert!(
        (repeats..=repeats + 3).contains(&lost),
        "{lost} lost, {repeats} sent again: only at the end one is not"
    );
}

#[test]
fn one_way_delays_are_those_of_the_packets_whatever_the_clocks_say() {
    let options = SimulateOptions {
        seed: 12,
        nodes: 4,
        sequences: Some(20),
        latency: Nanos::from_millis(4),
        jitter: Nanos::from_millis(1),
        ..SimulateOptions::default()
    };
    let mut files = simulated(&options);
    // What each packet really took.
    let mut sent: BTreeMap<_, i64> = BTreeMap::new();
    let mut taken: BTreeMap<[IpAddr; 2], Vec<i64>> = BTreeMap::new();
    let key = |packet: &Packet| (packet.ends, packet.bytes, packet.ip_id);
    for (node, capture) in files.captures.iter().enumerate() {
        let own = packets(capture)
            .into_iter()
            .filter(|packet| packet.ends[0] == ip(node));
        sent.extend(own.map(|packet| (key(&packet), packet.seen)));
    }
    for (node, capture) in files.captures.iter().enumerate() {
        for packet in packets(capture)
            .iter()
            .filter(|packet| packet.ends[1] == ip(node))
        {
            let delays = taken.entry(packet.ends).or_default();
            delays.push(packet.seen - sent[&key(packet)]);
        }
    }
    // Of clock n, as far as the order of packets at one tap allows.
    let ahead = [0, 30, -40, 7].map(Nanos::from_millis);
    for (capture, by) in files.captures.iter_mut().zip(ahead) {
        shift(capture, by);
    }
    let facts = files.analyze(2, &[0, 1, 2, 3]);
    assert_eq!(facts.links.len(), 12);
    let skew_of = |at: IpAddr| ahead[(0..4).find(|node| ip(*node) == at).unwrap()].0;
    for link in &facts.links {
        let name = format!("{} to {}", link.sender_ip, link.receiver_ip);
        let there = &taken[&[link.sender_ip, link.receiver_ip]];
        let back = &taken[&[link.receiver_ip, link.sender_ip]];
        let min = |delays: &[i64]| *delays.iter().min().unwrap();
        // The estimate takes the path for symmetric: it is off by half of the difference.
        let off = (min(there) - min(back)) / 2;
        let skew = skew_of(link.receiver_ip) - skew_of(link.sender_ip);
        assert!(
            (link.skew_ns.unwrap() - skew - off).abs() <= 1,
            "{name}: {link:?}"
        );
        assert!(off.abs() < 1_000_000, "{name}: {off}");
        assert_eq!(link.one_way_samples, there.len() as u64, "{name}");
        assert!(
            (link.one_way_min_ns.unwrap() - (min(there) + min(back)) / 2).abs() <= 1,
            "{name}"
        );
        let mean = there.iter().sum::<i64>() / there.len() as i64;
        assert!((link.one_way_mean_ns.unwrap() - mean + off).abs() <= 2, "{name}");
        // From the sender's tap to the receiver and back, whose stack takes 9 microseconds or waits 40 ms.
        let shortest = min(there) + min(back);
        let round_trip = link.rtt_min_ns.unwrap();
        assert!(
            round_trip >= shortest && round_trip < shortest + 2_500_000,
            "{name}: {round_trip}, and packets took {shortest}"
        );
    }
    let again = files.analyze(3, &[2, 0, 3, 1]);
    assert_eq!(again.links, facts.links, "order of files, number of workers");
}

/// An observer shows the key of a validator that is silent, again and again: every node that reads it sends it away.
#[test]
fn a_stranger_with_a_validators_key_is_a_stranger() {
    let (victim, stranger) = (2, 4);
    let fault = |node, from, until: Option<i64>, kind| Fault {
        node,
        from: Nanos::from_secs(from),
        until: until.map(Nanos::from_secs),
        kind,
    };
    let files = simulated(&SimulateOptions {
        seed: 5,
        nodes: 4,
        observers: vec![Role::Endpoint],
        taps: Taps::Only((0..4).collect()),
        sequences: Some(24),
        faults: vec![
            fault(stranger, 0, None, FaultKind::FalseKey(victim)),
            fault(stranger, 0, None, FaultKind::Churn(Nanos::from_millis(500))),
            fault(victim, 8, Some(24), FaultKind::Silent),
        ],
        ..SimulateOptions::default()
    });
    let facts = files.analyze(3, &[0, 1, 2, 3]);
    let node = facts
        .nodes
        .iter()
        .find(|node| node.ips.contains(&ip(victim)))
        .unwrap();
    assert_eq!((&*node.ips, node.coverage), (&[ip(victim)][..], Coverage::Full));
    let of_rule = |rule: &str| facts.events.iter().find(|event| event.rule == rule);
    let silent = of_rule("silent_validator").unwrap_or_else(|| panic!("{:#?}", facts.events));
    assert_eq!((silent.address, silent.ip), (node.address, Some(ip(victim))));
    let churn = of_rule("connection_churn").unwrap_or_else(|| panic!("{:#?}", facts.events));
    assert_eq!((churn.address, churn.ip), (None, Some(ip(stranger))));
    assert!(facts.totals.limits_reached["unproven_keys"] > 24);
    let peer = facts
        .peers
        .iter()
        .find(|peer| peer.ips == [ip(stranger)])
        .unwrap();
    assert_eq!(peer.node_id, None);
    let refused = peer
        .disconnects_received
        .iter()
        .find(|(reason, _)| *reason == "unexpected identity");
    assert!(refused.is_some(), "{peer:?}");
    let again = files.analyze(1, &[3, 2, 1, 0]);
    assert_eq!(again.events, facts.events, "whoever looked first");
}
