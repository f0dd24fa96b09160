//! The shipped samples are what the simulator makes, on any machine.

use std::fs;
use std::path::PathBuf;

use bftap_model::Nanos;
use bftap_simnet::client::Client;
use bftap_simnet::{Fault, FaultKind, Gossip, SecretsPlace, SimulateOptions, Sinks, Taps, simulate};

fn check(sample: &str, options: &SimulateOptions) {
    let mut files = [const { Vec::new() }; 4];
    let [capture, key_log, nodes, truth] = &mut files;
    let sinks = Sinks {
        captures: vec![Box::new(capture)],
        key_log: Box::new(key_log),
        nodes: Box::new(nodes),
        truth: Box::new(truth),
    };
    simulate(options, sinks).unwrap();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../samples")
        .join(sample);
    let names = ["capture.pcapng", "sessions.keylog", "nodes.json", "truth.json"];
    for (name, made) in names.into_iter().zip(files) {
        if std::env::var_os("BFTAP_BLESS").is_some() {
            fs::write(folder.join(name), &made).unwrap();
        }
        let shipped = fs::read(folder.join(name)).unwrap();
        assert!(
            made == shipped,
            "{sample}/{name}: {} bytes are made now, {} are shipped, the first {} are the same; make the samples anew \
             as samples/README.md says, if the simulator was meant to change",
            made.len(),
            shipped.len(),
            made.iter()
                .zip(&shipped)
                .take_while(|(made, shipped)| made == shipped)
                .count()
        );
    }
}

#[test]
fn klaytn_7_is_made_again() {
    let fault = Fault {
        node: 2,
        from: Nanos(0),
        until: None,
        kind: FaultKind::NoProposals,
    };
    let options = SimulateOptions {
        sequences: Some(8),
        seed: 2,
        clients: vec![Client::Klaytn1_12],
        taps: Taps::Only(vec![0]),
        round_timeout: Nanos::from_secs(3),
        faults: vec![fault],
        ..SimulateOptions::default()
    };
    check("klaytn-7", &options);
}

#[test]
fn tiny_is_made_again() {
    let options = SimulateOptions {
        nodes: 4,
        sequences: Some(1),
        clients: vec![Client::Klaytn1_12],
        taps: Taps::Only(vec![0]),
        gossip: Gossip::Direct,
        background: false,
        transactions: 0,
        secrets: SecretsPlace::KeyLogAndCapture,
        ..SimulateOptions::default()
    };
    check("tiny", &options);
}
