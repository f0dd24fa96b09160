//! The frame log says where in the captured streams the frames lie.

mod reader;

use std::collections::BTreeMap;

use bftap_model::Nanos;
use bftap_simnet::client::Client;
use bftap_simnet::{
    Fault, FaultKind, LoggedFrame, SimulateOptions, Sinks, Taps, simulate, simulate_with_frames,
};
use reader::Place;

fn run(options: &SimulateOptions) -> (Vec<u8>, String, Vec<LoggedFrame>) {
    let [mut capture, mut key_log] = [const { Vec::new() }; 2];
    let mut frames = Vec::new();
    let sinks = Sinks {
        captures: vec![Box::new(&mut capture)],
        key_log: Box::new(&mut key_log),
        nodes: Box::new(std::io::sink()),
        truth: Box::new(std::io::sink()),
    };
    simulate_with_frames(options, sinks, &mut |frame| frames.push(frame)).unwrap();
    assert!(!frames.is_empty());
    (capture, String::from_utf8(key_log).unwrap(), frames)
}

fn networks() -> Vec<SimulateOptions> {
    let small = SimulateOptions {
        nodes: 4,
        sequences: Some(4),
        ..SimulateOptions::default()
    };
    vec![
        small.clone(),
        SimulateOptions {
            taps: Taps::Only(vec![2]),
            clients: vec![Client::Quorum20_10],
            ipv6: true,
            withhold_secret_every: Some(2),
            ..small.clone()
        },
        SimulateOptions {
            sequences: Some(12),
            round_timeout: Nanos::from_millis(2500),
            channels: 2,
            simultaneous_dials: true,
            loss: 20_000,
            reordering: 20_000,
            faults: vec![Fault {
                node: 3,
                from: Nanos::from_secs(5),
                until: Some(Nanos::from_secs(8)),
                kind: FaultKind::Killed,
            }],
            ..small
        },
    ]
}

#[test]
fn frames_lie_where_the_log_says() {
    for options in networks() {
        let (capture, key_log, log) = run(&options);
        let dialect = match options.clients[0] {
            Client::Quorum20_10 => "quorum-ibft",
            _ => "klaytn",
        };
        let contents = reader::read(&[capture], &key_log, dialect);
        assert!(contents.packets > log.len() as u64);
        let mut logged: BTreeMap<(String, String, usize), Vec<Place>> = BTreeMap::new();
        for frame in &log {
            let ends = (frame.initiator.to_string(), frame.recipient.to_string());
            let key = (ends.0, ends.1, frame.direction.index());
            if frame.secret_logged {
                let payload = frame.message.as_ref().map(|message| message.payload.0);
                logged
                    .entry(key)
                    .or_default()
                    .push((frame.stream.clone(), frame.code, payload));
            } else {
                assert!(!contents.places.contains_key(&key), "{key:?} cannot be opened");
            }
        }
        assert!(
            contents
                .places
                .values()
                .flatten()
                .any(|(.., payload)| payload.is_some())
        );
        for (key, read) in &contents.places {
            let logged = logged.get(key).map_or(&[][..], Vec::as_slice);
            // The last may not have left, or arrived, when the capture ended.
            assert!(logged.starts_with(read), "{key:?}: {read:?} {logged:?}");
        }
        let missing = log.iter().filter(|frame| frame.secret_logged).count()
            - contents.places.values().map(Vec::len).sum::<usize>();
        assert!(
            missing * 20 < log.len(),
            "{missing} of {} frames are not in the capture",
            log.len()
        );
    }
}

#[test]
fn the_log_tells_what_the_messages_are() {
    let options = &networks()[0];
    let (capture, key_log, log) = run(options);
    let contents = reader::read(&[capture], &key_log, "klaytn");
    let by_payload: BTreeMap<[u8; 32], &reader::Message> = contents
        .messages
        .iter()
        .map(|message| (message.payload, message))
        .collect();
    let mut compared = 0;
    for message in log.iter().filter_map(|frame| frame.message.as_ref()) {
        let Some(read) = by_payload.get(&message.payload.0) else {
            continue;
        };
        compared += 1;
        assert_eq!(
            (read.sequence, read.round),
            (message.view.sequence, message.view.round)
        );
        assert_eq!(read.kind, message.kind.to_string());
        assert_eq!(
            (read.claimed, read.signer),
            (Some(message.claimed), message.signer)
        );
    }
    assert!(compared >= contents.messages.len());
}

#[test]
fn who_listens_changes_nothing() {
    let options = &networks()[2];
    let mut alone = Vec::new();
    let sinks = Sinks {
        captures: vec![Box::new(&mut alone)],
        key_log: Box::new(std::io::sink()),
        nodes: Box::new(std::io::sink()),
        truth: Box::new(std::io::sink()),
    };
    simulate(options, sinks).unwrap();
    assert!(alone == run(options).0);
}
