//! The capture holds exactly what the truth says, whatever is simulated.

mod reader;
mod written;

use std::collections::{BTreeMap, BTreeSet};

use bftap_model::Nanos;
use bftap_simnet::client::Client;
use bftap_simnet::{
    CaptureFormat, CaptureLayout, ClockStep, Ending, FaultKind, Gossip, SecretsPlace, SimulateOptions, Sinks,
    Taps, simulate,
};
use written::{Key, check, copies_of, counts_in, fault, list, run, small, text};

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let options = SimulateOptions {
        loss: 10_000,
        other_flows: 2,
        ..small()
    };
    assert!(run(&options) == run(&options));
    assert!(
        run(&SimulateOptions {
            seed: 2,
            ..options.clone()
        })
        .captures
            != run(&options).captures
    );
}

#[test]
fn flooding_brings_each_prepare_up_to_n_minus_1_times() {
    let options = SimulateOptions {
        sequences: Some(6),
        ..SimulateOptions::default()
    };
    let (written, _) = check(&options);
    let n = options.nodes as u64;
    let mut rounds = 0;
    for ((_, sequence, _, kind), [messages, useful, ..]) in counts_in(&written.truth) {
        // The last height may be cut, and a node that is late to the first may skip its votes.
        if kind == "prepare" && (2..6).contains(&sequence) {
            rounds += 1;
            assert!(
                (n - 1..=n * (n - 1)).contains(&messages),
                "{messages} in {sequence}"
            );
            assert_eq!(useful, n - 1);
        }
    }
    assert_eq!(rounds, 4 * n);
    let echoes: u64 = counts_in(&written.truth).values().map(|row| row[3]).sum();
    assert!(echoes > 0, "own messages come back");
}

#[test]
fn direct_sending_brings_each_prepare_once() {
    for client in [Client::Klaytn1_4, Client::Quorum20_10] {
        let options = SimulateOptions {
            gossip: Gossip::Direct,
            clients: vec![client],
            ..SimulateOptions::default()
        };
        let (written, contents) = check(&options);
        let n = options.nodes as u64;
        let mut prepares: BTreeMap<(u64, String), u64> = BTreeMap::new();
        for ((receiver, sequence, round, kind), [messages, ..]) in counts_in(&written.truth) {
            assert_eq!(round, 0);
            if kind == "prepare" && sequence < 10 {
                *prepares.entry((sequence, receiver)).or_default() += messages;
            }
        }
        assert_eq!(prepares.len() as u64, 9 * n);
        assert!(
            prepares.values().all(|&messages| messages == n - 1),
            "{prepares:?}"
        );
        assert!(copies_of(&contents.messages).values().all(|&copies| copies == 1));
    }
}

#[test]
fn every_signature_leads_to_its_author() {
    let (written, contents) = check(&small());
    let addresses: BTreeSet<String> = list(&written.nodes)
        .iter()
        .map(|node| text(&node["address"]))
        .collect();
    assert!(!contents.messages.is_empty());
    for message in &contents.messages {
        assert_eq!(message.signer, message.claimed);
        assert!(addresses.contains(&message.signer.unwrap().to_string()));
    }
}

#[test]
fn every_client_and_mixed_networks() {
    let mut networks: Vec<Vec<Client>> = Client::ALL.into_iter().map(|client| vec![client]).collect();
    networks.push(vec![Client::Klaytn1_4, Client::Klaytn1_12, Client::Kaia2_2]);
    networks.push(vec![Client::Quorum24_4, Client::Quorum20_10]);
    for clients in networks {
        let (written, contents) = check(&SimulateOptions {
            clients: clients.clone(),
            ..small()
        });
        // 0x32 between two GoQuorum v24.4 nodes, else 0x21.
        let codes: Vec<bool> = ["33", "50"]
            .map(|code| contents.codes.contains_key(code))
            .to_vec();
        let modern = clients.contains(&Client::Quorum24_4);
        assert_eq!(codes, [clients != [Client::Quorum24_4], modern], "{clients:?}");
        assert_eq!(written.summary.height, 4);
    }
}

#[test]
fn every_format_and_layout() {
    for (format, layout, taps, files) in [
        (CaptureFormat::Pcap, CaptureLayout::Together, Taps::All, 1),
        (CaptureFormat::PcapNanos, CaptureLayout::PerTap, Taps::All, 4),
        (
            CaptureFormat::Pcapng,
            CaptureLayout::PerTap,
            Taps::Only(vec![2, 0]),
            2,
        ),
        (
            CaptureFormat::Pcapng,
            CaptureLayout::Together,
            Taps::Only(vec![3]),
            1,
        ),
    ] {
        let options = SimulateOptions {
            format,
            layout,
            taps,
            secrets: SecretsPlace::KeyLogAndCapture,
            ipv6: format == CaptureFormat::PcapNanos,
            vlan: (format == CaptureFormat::Pcap).then_some(5),
            ..small()
        };
        let (written, _) = check(&options);
        assert_eq!(written.captures.len(), files);
        let secret = written.key_log.split(' ').nth(2).unwrap().as_bytes();
        let inside = written.captures[0].windows(64).any(|window| window == secret);
        assert_eq!(inside, format == CaptureFormat::Pcapng);
    }
}

#[test]
fn lost_and_reordered_segments_change_no_count_but_at_the_end() {
    for taps in [Taps::All, Taps::Only(vec![1])] {
        check(&SimulateOptions {
            loss: 20_000,
            reordering: 20_000,
            taps,
            ..small()
        });
    }
}

#[test]
fn two_channels_and_simultaneous_dials() {
    let options = SimulateOptions {
        channels: 2,
        simultaneous_dials: true,
        transactions: 20,
        ..small()
    };
    let (written, contents) = check(&options);
    // Some dials met: such sessions end with Disconnect, "already connected".
    assert!(contents.disconnects.contains(&vec![0xc1, 0x05]));
    let ports = |port: &str| {
        let sessions = list(&written.truth["sessions"]).iter();
        sessions
            .filter(|session| text(&session["server"]).ends_with(port) && session["state"] == "ok")
            .count()
    };
    assert!(ports(":32323") >= 6 && ports(":32324") >= 6);
}

#[test]
fn a_silent_proposer_costs_a_round() {
    let options = SimulateOptions {
        faults: fault(1, 0, None, FaultKind::NoProposals),
        round_timeout: Nanos::from_millis(2500),
        ..small()
    };
    let (written, _) = check(&options);
    let rounds: Vec<(u64, u64)> = list(&written.truth["rounds"])
        .iter()
        .filter(|round| !list(&round["deciders"]).is_empty())
        .map(|round| {
            (
                round["sequence"].as_u64().unwrap(),
                round["round"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(rounds.len(), 4);
    // The others take their turns in between.
    let changed: Vec<u64> = rounds
        .iter()
        .filter(|(_, round)| *round == 1)
        .map(|&(sequence, _)| sequence)
        .collect();
    assert_eq!(changed, [1, 4]);
    let asked = counts_in(&written.truth)
        .into_iter()
        .filter(|((.., kind), _)| kind == "roundchange");
    assert!(asked.count() > 0);
}

#[test]
fn crashes_bring_new_sessions_and_torn_frames() {
    for kind in [FaultKind::Killed, FaultKind::PowerLoss] {
        let options = SimulateOptions {
            sequences: Some(16),
            round_timeout: Nanos::from_millis(2500),
            faults: fault(3, 5_000, Some(8_000), kind),
            ..small()
        };
        let (written, _) = check(&options);
        assert_eq!(written.summary.height, 16, "the node catches up");
        let ok = list(&written.truth["sessions"])
            .iter()
            .filter(|session| session["state"] == "ok");
        assert!(ok.count() > 6, "sessions are made anew");
    }
}

#[test]
fn pauses_slowness_and_silence() {
    for kind in [
        FaultKind::Paused,
        FaultKind::Slow(Nanos::from_millis(30)),
        FaultKind::Silent,
    ] {
        let options = SimulateOptions {
            sequences: Some(6),
            round_timeout: Nanos::from_millis(2500),
            faults: fault(2, 3_000, Some(6_000), kind),
            ..small()
        };
        let (written, _) = check(&options);
        assert_eq!(written.summary.height, 6, "{kind:?}");
    }
}

#[test]
fn forged_votes_are_invalid_and_not_passed_on() {
    for kind in [FaultKind::WrongSignatures, FaultKind::WrongAddresses] {
        let (written, contents) = check(&SimulateOptions {
            faults: fault(1, 0, None, kind),
            ..small()
        });
        let invalid: u64 = counts_in(&written.truth).values().map(|row| row[4]).sum();
        assert!(invalid > 0);
        let copies = copies_of(&contents.messages);
        for message in contents
            .messages
            .iter()
            .filter(|message| message.signer != message.claimed)
        {
            assert_eq!(copies[&(message.receiver.clone(), message.payload)], 1);
        }
    }
}

#[test]
fn an_equivocating_proposer_sends_two_blocks() {
    let options = SimulateOptions {
        nodes: 7,
        sequences: Some(8),
        round_timeout: Nanos::from_millis(2500),
        faults: fault(1, 0, None, FaultKind::Equivocation),
        ..SimulateOptions::default()
    };
    let (written, contents) = check(&options);
    assert_eq!(written.summary.height, 8);
    let mut proposals: BTreeMap<(u64, u64), BTreeSet<[u8; 32]>> = BTreeMap::new();
    for message in contents
        .messages
        .iter()
        .filter(|message| message.kind == "preprepare")
    {
        proposals
            .entry((message.sequence, message.round))
            .or_default()
            .insert(message.payload);
    }
    assert!(proposals.values().any(|payloads| payloads.len() == 2));
}

#[test]
fn a_new_chain_begins_at_height_1_again() {
    let options = SimulateOptions {
        reinitialize: Some(Nanos::from_secs(6)),
        ..small()
    };
    let (written, _) = check(&options);
    assert_eq!(list(&written.truth["chains"]).len(), 2);
    let rows = list(&written.truth["counts"])
        .iter()
        .filter(|row| row["sequence"] == 2 && row["round"] == 0);
    let chains: BTreeSet<String> = rows.map(|row| text(&row["chain"])).collect();
    assert_eq!(chains.len(), 2);
}

#[test]
fn withheld_secrets_leave_their_messages_out() {
    let (written, contents) = check(&SimulateOptions {
        withhold_secret_every: Some(3),
        ..small()
    });
    let states: Vec<String> = list(&written.truth["sessions"])
        .iter()
        .map(|session| text(&session["state"]))
        .collect();
    assert_eq!(states.iter().filter(|state| *state == "no-secret").count(), 2);
    assert_eq!(
        contents.frames.len(),
        states.iter().filter(|state| *state == "ok").count()
    );
}

#[test]
fn nodes_quit_in_good_order() {
    for (client, reason) in [
        (Client::Klaytn1_4, vec![0xc1, 0x08]),
        (Client::Klaytn1_12, vec![0x08]),
    ] {
        let options = SimulateOptions {
            ending: Ending::Quit,
            clients: vec![client],
            other_flows: 3,
            ..small()
        };
        let (written, contents) = check(&options);
        assert!(
            contents.disconnects.contains(&reason),
            "{:?}",
            contents.disconnects
        );
        assert_eq!(written.truth["totals"]["other_flows"], 3);
    }
}

#[test]
fn the_clock_steps_and_the_truth_does_not() {
    let step = ClockStep {
        at: Nanos::from_millis(4_500),
        by: Nanos::from_secs(3600),
    };
    let plain = run(&small());
    let stepped = run(&SimulateOptions {
        clock_steps: vec![step],
        ..small()
    });
    assert_eq!(
        plain.truth["copies_per_unique_message"],
        stepped.truth["copies_per_unique_message"]
    );
    assert!(plain.captures != stepped.captures);
}

#[test]
fn capturing_late_counts_only_what_comes_after() {
    let options = SimulateOptions {
        capture_from: Nanos::from_millis(4_200),
        ..small()
    };
    let (late, whole) = (run(&options), run(&small()));
    let (late, whole) = (counts_in(&late.truth), counts_in(&whole.truth));
    assert!(!late.is_empty());
    for (key, row) in &late {
        assert!(row[0] <= whole[key][0], "{key:?}");
    }
    // The last height is wholly inside.
    let last = |counts: &BTreeMap<Key, [u64; 6]>| -> u64 {
        counts
            .iter()
            .filter(|(key, _)| key.1 == 4)
            .map(|(_, row)| row[0])
            .sum()
    };
    assert_eq!(last(&late), last(&whole));
}

#[test]
fn without_background_only_consensus_moves() {
    let (_, contents) = check(&SimulateOptions {
        background: false,
        ..small()
    });
    let codes: Vec<&String> = contents.codes.keys().collect();
    assert_eq!(codes, ["0", "16", "33"]);
}

#[test]
fn a_network_that_cannot_go_on_ends() {
    let faults = [
        fault(1, 3_500, None, FaultKind::Killed),
        fault(2, 3_500, None, FaultKind::PowerLoss),
    ]
    .concat();
    let (written, _) = check(&SimulateOptions { faults, ..small() });
    assert!(written.summary.stalled);
    assert!(written.summary.height < 4);
    assert!(!run(&small()).summary.stalled);
}

#[test]
fn options_and_sinks_must_fit() {
    let options = SimulateOptions {
        layout: CaptureLayout::PerTap,
        ..small()
    };
    let sinks = Sinks {
        captures: vec![Box::new(std::io::sink())],
        key_log: Box::new(std::io::sink()),
        nodes: Box::new(std::io::sink()),
        truth: Box::new(std::io::sink()),
    };
    let error = simulate(&options, sinks).unwrap_err();
    assert_eq!(
        error.to_string(),
        "4 capture files are to be written, 1 sinks were given"
    );
}

#[test]
fn a_sink_that_fails_ends_the_simulation() {
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(bytes.len())
                .ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for room in [0, 10_000] {
        let sinks = Sinks {
            captures: vec![Box::new(Full(room))],
            key_log: Box::new(std::io::sink()),
            nodes: Box::new(std::io::sink()),
            truth: Box::new(std::io::sink()),
        };
        let error = simulate(&small(), sinks).unwrap_err();
        assert!(matches!(error, bftap_simnet::SimulateError::Write(_)), "{error}");
    }
}

#[test]
fn nobody_needs_a_tap_to_be_connected() {
    for client in Client::ALL {
        for jitter in [80_000, 300_000] {
            let (written, _) = check(&SimulateOptions {
                nodes: 7,
                clients: vec![client],
                gossip: Gossip::Direct,
                taps: Taps::Only(vec![0]),
                latency: Nanos(900_000),
                jitter: Nanos(jitter),
                background: false,
                ..small()
            });
            assert_eq!(written.summary.height, 4, "{client:?} {jitter}");
            assert!(!written.summary.stalled, "{client:?}");
        }
    }
}
