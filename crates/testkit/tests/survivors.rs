//! What survives in a damaged capture is told exactly.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bftap_ibft_decode::{Kind, View};
use bftap_model::{Address, CaptureTime, Direction, Endpoint, Hash256, Nanos};
use bftap_simnet::client::Client;
use bftap_simnet::{Fault, FaultKind, LoggedFrame, LoggedMessage, SimulateOptions, Taps};
use bftap_testkit::damage::{
    CaptureError, MessageKey, Simulated, packets, recoverable, segment, simulated, surviving,
};
use bftap_testkit::impair::{Packet, pcap};
use bftap_testkit::packet::{Tcp, vlan};

fn small() -> SimulateOptions {
    SimulateOptions {
        nodes: 4,
        sequences: Some(4),
        ..SimulateOptions::default()
    }
}

fn fault(kind: FaultKind) -> Vec<Fault> {
    vec![Fault {
        node: 3,
        from: Nanos::from_secs(5),
        until: Some(Nanos::from_secs(8)),
        kind,
    }]
}

/// Networks with what makes streams differ: retransmissions, second connections, dead nodes, another IP version, tags.
fn networks() -> Vec<SimulateOptions> {
    let long = SimulateOptions {
        sequences: Some(12),
        round_timeout: Nanos::from_millis(2500),
        ..small()
    };
    vec![
        small(),
        SimulateOptions {
            taps: Taps::Only(vec![1]),
            ..small()
        },
        SimulateOptions {
            taps: Taps::Only(vec![0, 2]),
            clients: vec![Client::Quorum24_4, Client::Quorum20_10],
            ipv6: true,
            vlan: Some(9),
            mss: 300,
            ..small()
        },
        SimulateOptions {
            loss: 20_000,
            reordering: 20_000,
            withhold_secret_every: Some(3),
            channels: 2,
            simultaneous_dials: true,
            ..small()
        },
        SimulateOptions {
            faults: fault(FaultKind::Killed),
            ..long.clone()
        },
        SimulateOptions {
            faults: fault(FaultKind::PowerLoss),
            taps: Taps::Only(vec![3]),
            ..long.clone()
        },
        SimulateOptions {
            reinitialize: Some(Nanos::from_secs(6)),
            sequences: Some(3),
            ..long
        },
    ]
}

type Counts = BTreeMap<(String, String, u64, u64, String), u64>;

fn in_the_truth(simulated: &Simulated) -> Counts {
    let rows = simulated.truth["counts"].as_array().unwrap().iter();
    rows.map(|row| {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let number = |name: &str| row[name].as_u64().unwrap();
        let key = (
            text("chain"),
            text("receiver"),
            number("sequence"),
            number("round"),
            text("kind"),
        );
        (key, number("messages"))
    })
    .collect()
}

fn summed(messages: &BTreeMap<MessageKey, u64>) -> Counts {
    let mut counts = Counts::new();
    for (key, messages) in messages {
        let key = (
            key.chain.clone(),
            key.receiver.to_string(),
            key.sequence,
            key.round,
            key.kind.to_string(),
        );
        *counts.entry(key).or_default() += messages;
    }
    counts
}

#[test]
fn an_undamaged_capture_gives_the_truth() {
    for options in networks() {
        let network = simulated(&options).unwrap();
        let found = recoverable(&[&network.capture], &network.frames).unwrap();
        assert_eq!(summed(&found), in_the_truth(&network), "{options:?}");
        assert_eq!(found.values().sum::<u64>(), network.summary.messages);
        assert!(found.keys().all(|key| key.sender != key.receiver));
        assert!(
            found.keys().any(|key| key.signer.is_some()),
            "messages have authors"
        );
    }
}

#[test]
fn the_syns_of_the_capture_are_those_of_the_log() {
    for options in networks() {
        let network = simulated(&options).unwrap();
        let mut syns: BTreeSet<(Endpoint, Endpoint, u32)> = BTreeSet::new();
        let mut first: HashMap<(Endpoint, Endpoint), i64> = HashMap::new();
        for (time, bytes, _) in packets(&network.capture).unwrap() {
            let seen = segment(&bytes).unwrap();
            if seen.is_syn() || seen.is_syn_ack() {
                syns.insert((seen.source, seen.destination, seen.seq));
                first.entry((seen.source, seen.destination)).or_insert(time);
            }
        }
        for frame in &network.frames {
            let ends = (frame.initiator, frame.recipient);
            assert!(syns.contains(&(ends.0, ends.1, frame.isn[0])));
            assert!(syns.contains(&(ends.1, ends.0, frame.isn[1])));
            assert!(frame.dialled.nanos() <= first[&ends]);
        }
    }
}

#[test]
fn a_lost_packet_takes_the_messages_whose_bytes_it_carried() {
    // One tap: no packet is there twice.
    let network = simulated(&SimulateOptions {
        taps: Taps::Only(vec![2]),
        mss: 500,
        ..small()
    })
    .unwrap();
    let all = packets(&network.capture).unwrap();
    let whole = surviving(&[&network.capture], &network.frames).unwrap();
    let mut hit = [0; 3];
    for lost in (0..all.len()).step_by(23) {
        let seen = segment(&all[lost].1).unwrap();
        let carried = |frame: &&LoggedFrame| {
            let isn = frame.isn[frame.direction.index()];
            let start = u64::from(seen.seq.wrapping_sub(isn).wrapping_sub(1));
            (frame.sender(), frame.receiver()) == (seen.source, seen.destination)
                && start < frame.stream.end
                && frame.stream.start < start + u64::from(seen.sent)
        };
        let expected: Vec<&LoggedFrame> = whole.iter().copied().filter(|frame| !carried(frame)).collect();
        let mut rest = all.clone();
        rest.remove(lost);
        let left = surviving(&[&pcap(&rest)], &network.frames).unwrap();
        assert_eq!(left, expected);
        hit[(whole.len() - left.len()).min(2)] += 1;
        // Messages are counted as frames are.
        let counts = recoverable(&[&pcap(&rest)], &network.frames).unwrap();
        let messages = expected.iter().filter(|frame| frame.message.is_some()).count();
        assert_eq!(counts.values().sum::<u64>(), messages as u64);
    }
    assert!(
        hit[0] > 0 && hit[1] > 0,
        "packets with and without frames were lost: {hit:?}"
    );
}

#[test]
fn another_tap_has_what_one_lost() {
    let network = simulated(&small()).unwrap();
    let all = packets(&network.capture).unwrap();
    let whole = surviving(&[&network.capture], &network.frames).unwrap();
    let pick = |keep: fn(usize) -> bool| -> Vec<u8> {
        let kept = all.iter().enumerate().filter(|(index, _)| keep(*index));
        pcap(&kept.map(|(_, packet)| packet.clone()).collect::<Vec<_>>())
    };
    let (one, other) = (pick(|index| index % 2 == 0), pick(|index| index % 2 == 1));
    let counted = |captures: &[&[u8]]| surviving(captures, &network.frames).unwrap().len();
    assert!(counted(&[&one]) < whole.len() && counted(&[&other]) < whole.len());
    assert_eq!(surviving(&[&one, &other], &network.frames).unwrap(), whole);
    assert_eq!(surviving(&[&other, &one, &one], &network.frames).unwrap(), whole);
    assert_eq!(counted(&[]), 0);
}

/// A frame of a connection written by hand: `a` dials `b`.
fn frame(
    connection: u32,
    dialled: i64,
    isn: [u32; 2],
    direction: Direction,
    start: u64,
    end: u64,
) -> LoggedFrame {
    let end_at = |text: &str| {
        let address: std::net::SocketAddr = text.parse().unwrap();
        Endpoint {
            ip: address.ip(),
            port: address.port(),
        }
    };
    LoggedFrame {
        connection,
        initiator: end_at(A),
        recipient: end_at(B),
        dialled: CaptureTime::from_nanos(dialled),
        isn,
        direction,
        stream: start..end,
        code: 0x21,
        secret_logged: true,
        message: Some(LoggedMessage {
            chain: "1/0x00".to_owned(),
            kind: Kind::Prepare,
            view: View {
                sequence: 1,
                round: 0,
            },
            claimed: Address([1; 20]),
            signer: Some(Address([1; 20])),
            payload: Hash256([connection as u8; 32]),
        }),
    }
}

const A: &str = "10.0.0.1:40000";
const B: &str = "10.0.0.2:32323";

/// Bytes of the stream from `start` on, in a packet at `time`.
fn data(time: i64, isn: u32, start: u32, len: usize) -> Packet {
    let seq = isn.wrapping_add(1).wrapping_add(start);
    let bytes = Tcp::new(A, B).seq(seq).ack(1).payload(&vec![7; len]).ethernet();
    let len = bytes.len() as u32;
    (time, bytes, len)
}

fn survives(packets: &[Packet], log: &[LoggedFrame]) -> Vec<bool> {
    let whole = surviving(&[&pcap(packets)], log).unwrap();
    log.iter()
        .map(|frame| whole.iter().any(|whole| std::ptr::eq(*whole, frame)))
        .collect()
}

#[test]
fn bytes_may_come_in_any_packets() {
    // Numbers begin anew inside the first frame.
    let isn = u32::MAX - 5;
    let log = [
        frame(0, 0, [isn, 9], Direction::FromInitiator, 0, 100),
        frame(0, 0, [isn, 9], Direction::FromInitiator, 100, 200),
        frame(0, 0, [isn, 9], Direction::FromRecipient, 0, 100),
    ];
    let check = |packets: &[Packet], expected: [bool; 3]| assert_eq!(survives(packets, &log), expected);
    check(&[], [false; 3]);
    check(
        &[data(1, isn, 0, 100), data(2, isn, 100, 100)],
        [true, true, false],
    );
    check(&[data(1, isn, 0, 200)], [true, true, false]);
    // Backwards, overlapping, twice.
    let sent_again = [
        data(1, isn, 150, 50),
        data(2, isn, 40, 120),
        data(3, isn, 0, 41),
        data(4, isn, 0, 41),
    ];
    check(&sent_again, [true, true, false]);
    check(&sent_again[..2], [false, true, false]);
    // One byte is missing; then it comes.
    let mut holed = vec![
        data(1, isn, 0, 50),
        data(2, isn, 51, 49),
        data(3, isn, 100, 99),
        data(4, isn, 200, 10),
    ];
    check(&holed, [false; 3]);
    holed.push(data(9, isn, 50, 1));
    check(&holed, [true, false, false]);
    // Cut to its headers and 99 bytes.
    let mut cut = data(1, isn, 0, 200);
    cut.1.truncate(54 + 99);
    check(std::slice::from_ref(&cut), [false; 3]);
    let mut cut = data(1, isn, 0, 200);
    cut.1.truncate(54 + 100);
    check(std::slice::from_ref(&cut), [true, false, false]);
    // Tagged; and padded behind the IP packet.
    let (time, bytes, len) = data(1, isn, 0, 100);
    check(&[(time, vlan(&bytes, 0x8100, 3), len + 4)], [true, false, false]);
    let (time, bytes, len) = data(1, isn, 0, 99);
    check(&[(time, [bytes, vec![0; 20]].concat(), len + 20)], [false; 3]);
    // Other connections have nothing to do with it.
    let other = Tcp::new("10.0.0.1:40001", B)
        .seq(isn.wrapping_add(1))
        .payload(&[7; 100])
        .ethernet();
    let len = other.len() as u32;
    check(&[(1, other, len)], [false; 3]);
}

#[test]
fn connections_between_the_same_ends_are_told_apart() {
    let second = 1_000_000;
    let initiator = Direction::FromInitiator;
    // Far apart: the numbers decide, whatever the time says.
    let log = [
        frame(3, 0, [1_000, 1], initiator, 0, 100),
        frame(8, second, [3_000_000_000, 2], initiator, 0, 100),
    ];
    assert_eq!(survives(&[data(5, 1_000, 0, 100)], &log), [true, false]);
    assert_eq!(
        survives(&[data(second + 5, 1_000, 0, 100)], &log),
        [true, false],
        "late"
    );
    assert_eq!(
        survives(&[data(5, 3_000_000_000, 0, 100)], &log),
        [false, true],
        "reordered to before its SYN"
    );
    // So close that a number may be of either: the time decides.
    let log = [
        frame(3, 0, [1_000, 1], initiator, 0, 100),
        frame(8, second, [1_050, 2], initiator, 0, 100),
    ];
    assert_eq!(survives(&[data(5, 1_000, 0, 100)], &log), [true, false]);
    assert_eq!(survives(&[data(second, 1_050, 0, 100)], &log), [false, true]);
    assert_eq!(
        survives(&[data(5, 1_000, 0, 100), data(second, 1_050, 0, 100)], &log),
        [true, true]
    );
    // Order of the log does not matter.
    let turned = [log[1].clone(), log[0].clone()];
    assert_eq!(survives(&[data(second, 1_050, 0, 100)], &turned), [true, false]);
}

#[test]
fn what_no_secret_opens_is_not_recoverable() {
    let mut log = vec![frame(0, 0, [1, 2], Direction::FromInitiator, 0, 100)];
    let capture = pcap(&[data(1, 1, 0, 100)]);
    let counts = recoverable(&[&capture], &log).unwrap();
    let (key, messages) = counts.first_key_value().unwrap();
    assert_eq!((counts.len(), *messages), (1, 1));
    assert_eq!(
        (key.sender.to_string(), key.receiver.to_string()),
        ("10.0.0.1".to_owned(), "10.0.0.2".to_owned())
    );
    log[0].secret_logged = false;
    assert!(recoverable(&[&capture], &log).unwrap().is_empty());
    assert_eq!(surviving(&[&capture], &log).unwrap().len(), 1);
    log[0].stream = 0..u64::from(u32::MAX) + 1;
    assert_eq!(
        surviving(&[&capture], &log),
        Err(CaptureError::StreamTooLong { connection: 0 })
    );
}
