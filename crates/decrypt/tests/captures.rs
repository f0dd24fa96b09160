//! Real captures decode as the independent decoder beside them says: states, frames per direction, codes, every MAC.

mod shared;

use std::collections::BTreeMap;
use std::sync::Arc;

use bftap_decrypt::keylog::LastLine;
use bftap_decrypt::legacy::legacy_label;
use bftap_decrypt::session::Attached;
use bftap_decrypt::{
    Problem, ProblemKind, Recognised, SecretStore, SessionDecoder, SessionOptions, SessionOutput,
    SessionSummary,
};
use bftap_model::{MacState, Meaning, Side};
use serde_json::Value;
use shared::{Connection, connections, expected, shared};

/// What came out of one connection.
struct Decoded {
    client: String,
    server: String,
    summary: SessionSummary,
    problems: Vec<Problem>,
    /// Code, name, MAC state of every message.
    messages: Vec<(u64, &'static str, MacState)>,
}

fn decode(connection: &Connection, secrets: &SecretStore) -> Decoded {
    let options = Arc::new(SessionOptions::default());
    let mut decoder = SessionDecoder::new(options, connection.key, Some(connection.client));
    let mut problems = Vec::new();
    let mut messages = Vec::new();
    let mut drain = |decoder: &mut SessionDecoder| {
        while let Some(output) = decoder.poll() {
            match output {
                SessionOutput::Message(message) => {
                    let name = match &message.meaning {
                        Meaning::Base { name } | Meaning::Sub { name, .. } => name,
                        Meaning::Unknown => "unknown",
                    };
                    messages.push((message.code, name, message.mac));
                }
                SessionOutput::Problem(problem) => problems.push(problem),
            }
        }
    };
    for (side, item) in connection.items() {
        decoder.push(side, item, secrets);
        drain(&mut decoder);
    }
    decoder.finish(secrets);
    drain(&mut decoder);
    let summary = decoder.summary();
    let name = |side: Side| connection.key.endpoint(side).to_string();
    Decoded {
        client: name(connection.client),
        server: name(connection.client.other()),
        summary,
        problems,
        messages,
    }
}

fn key_log(folder: &str) -> SecretStore {
    let store = SecretStore::new();
    let text = std::fs::read(shared().join(folder).join("sessions.keylog")).unwrap();
    let (report, log) = store.add_key_log(&text, 1, LastLine::Whole, &"key log".into());
    assert_eq!((log.problem_count, report.dropped), (0, 0));
    store
}

fn state(summary: &SessionSummary) -> &'static str {
    match summary.recognised {
        Recognised::Decrypted => "ok",
        Recognised::NoHandshake => "no-key",
        other => panic!("{other:?}"),
    }
}

/// Compares states, frames and codes; gives the decoded connections for further questions.
fn check(folder: &str, taps: &[&str], answers: &str, secrets: &SecretStore) -> Vec<Decoded> {
    let answers = expected(folder, answers);
    let decoded: Vec<Decoded> = connections(folder, taps)
        .iter()
        .map(|connection| decode(connection, secrets))
        .collect();
    let mut wanted = BTreeMap::new();
    for session in answers["sessions"].as_array().unwrap() {
        let text = |key: &str| session[key].as_str().unwrap().to_owned();
        let frames = session
            .get("frames")
            .map_or([0, 0], |frames| [0, 1].map(|i| frames[i].as_u64().unwrap()));
        let bytes = [0, 1].map(|i| session["bytes"][i].as_u64().unwrap());
        if bytes == [0, 0] {
            continue;
        }
        wanted.insert((text("client"), text("server")), (text("state"), frames, bytes));
    }
    let found: BTreeMap<_, _> = decoded
        .iter()
        .filter(|one| one.summary.recognised != Recognised::NoPayload)
        .map(|one| {
            let SessionSummary {
                frames, stream_bytes, ..
            } = one.summary;
            let state = state(&one.summary).to_owned();
            (
                (one.client.clone(), one.server.clone()),
                (state, frames, stream_bytes),
            )
        })
        .collect();
    assert_eq!(found, wanted);

    let mut codes: BTreeMap<String, u64> = BTreeMap::new();
    for (code, ..) in decoded.iter().flat_map(|one| &one.messages) {
        *codes.entry(code.to_string()).or_default() += 1;
    }
    let mut wanted: BTreeMap<String, u64> = answers["codes"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(code, n)| (code.clone(), n.as_u64().unwrap()))
        .collect();
    // Disconnects as an end's first frame: the other decoder counts them as code 1, and notes that they are not Snappy.
    wanted.remove("snappy-error");
    assert_eq!(codes, wanted);

    for one in &decoded {
        assert_eq!(one.problems, [], "{} to {}", one.client, one.server);
        assert!(one.messages.iter().all(|(.., mac)| *mac == MacState::Verified));
        if one.summary.recognised == Recognised::Decrypted {
            assert_eq!(one.summary.mac, Some(MacState::Verified));
            assert_eq!(one.summary.attached, Some(Attached::Handshake));
            assert_eq!(one.summary.lost_bytes, 0);
        }
    }
    decoded
}

#[test]
fn klaytn_with_seven_nodes() {
    if bftap_testkit::shared_captures().is_none() {
        return;
    }
    let decoded = check(
        "klaytn-7cn",
        &["tap1.pcap"],
        "tap1.expected.json",
        &key_log("klaytn-7cn"),
    );
    let messages: Vec<_> = decoded.iter().flat_map(|one| &one.messages).collect();
    assert_eq!(
        messages
            .iter()
            .filter(|(.., name, _)| *name == "IstanbulMsg")
            .count(),
        9471
    );
    let open = decoded
        .iter()
        .find(|one| one.summary.frames == [1009, 1106])
        .unwrap();
    let summary = &open.summary;
    assert_eq!(summary.connection_types, [Some(0), Some(0)]);
    assert_eq!(
        summary
            .capabilities
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["istanbul/64"]
    );
    let chain = summary.chain.unwrap();
    assert_eq!(chain, summary.statuses[1].as_ref().unwrap().chain());
    let hello = summary.hellos[0].as_ref().unwrap();
    assert_eq!(hello.client, "Klaytn/v1.4.2/linux-amd64/go1.19.8");
    // cn1 of nodes.json
    assert_eq!(
        hello.node_id.address().to_string(),
        "0x7e3d7640ffc956d8f7024664c4506049ebd5954b"
    );
}

#[test]
fn quorum_with_four_nodes() {
    if bftap_testkit::shared_captures().is_none() {
        return;
    }
    let taps = ["tap1.pcap", "tap2.pcap", "tap3.pcap", "tap4.pcap"];
    let decoded = check("quorum-4", &taps, "all-taps.expected.json", &key_log("quorum-4"));
    let open: Vec<_> = decoded
        .iter()
        .filter(|one| one.summary.recognised == Recognised::Decrypted)
        .collect();
    for one in open {
        assert_eq!(one.summary.connection_types, [None, None]);
        assert_eq!(one.summary.capabilities[0].to_string(), "istanbul/99");
        assert_eq!(one.summary.statuses[0].as_ref().unwrap().protocol_version, 99);
        assert!(one.summary.chain.is_some());
    }
}

#[test]
fn klaytn_with_faults() {
    if bftap_testkit::shared_captures().is_none() {
        return;
    }
    let taps = ["tap1.pcap", "tap2.pcap", "tap3.pcap", "tap4.pcap"];
    let decoded = check(
        "klaytn-4cn-faults",
        &taps,
        "all-taps.expected.json",
        &key_log("klaytn-4cn-faults"),
    );
    let raw: u64 = decoded.iter().map(|one| one.summary.unexpected_compression).sum();
    let gave_reasons = decoded
        .iter()
        .flat_map(|one| one.summary.disconnects)
        .flatten()
        .all(|d| d.reason.is_some());
    assert!(gave_reasons);
    assert_eq!(raw, 0, "what was not Snappy is an end's first frame");
}

/// Keys in the original tool's layout: frames as with the key log, MACs beyond checking, one session without a key.
#[test]
fn klaytn_with_the_original_tools_keys() {
    if bftap_testkit::shared_captures().is_none() {
        return;
    }
    let secrets = SecretStore::new();
    for file in std::fs::read_dir(shared().join("klaytn-7cn/legacy-secrets")).unwrap() {
        let file = file.unwrap();
        let label = legacy_label(file.file_name().to_str().unwrap());
        secrets
            .add_legacy(&std::fs::read(file.path()).unwrap(), &label.into())
            .unwrap();
    }
    let answers = expected("klaytn-7cn", "tap1.expected.json");
    let mut without = Vec::new();
    for connection in connections("klaytn-7cn", &["tap1.pcap"]) {
        let one = decode(&connection, &secrets);
        if one.summary.recognised == Recognised::NoPayload {
            continue;
        }
        let same = |session: &&Value| {
            session["client"].as_str() == Some(&one.client) && session["server"].as_str() == Some(&one.server)
        };
        let wanted = answers["sessions"].as_array().unwrap().iter().find(same).unwrap();
        match one.summary.recognised {
            Recognised::Decrypted => {
                assert_eq!(one.summary.mac, Some(MacState::Unverifiable));
                assert_eq!(
                    one.summary.frames.map(Value::from).to_vec(),
                    *wanted["frames"].as_array().unwrap()
                );
                assert_eq!(one.problems, []);
            }
            Recognised::NoSecret => without.push(one.client),
            _ => assert_eq!(wanted["state"], "no-key"),
        }
    }
    assert_eq!(without, ["10.0.0.7:58664"]);
}

/// The mac-secret of another session in an otherwise right line: frames come out, trust does not.
#[test]
fn a_wrong_mac_secret_is_told_once_and_frames_still_come() {
    if bftap_testkit::shared_captures().is_none() {
        return;
    }
    let text = std::fs::read_to_string(shared().join("klaytn-7cn/sessions.keylog")).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    let secrets = SecretStore::new();
    for (index, line) in lines.iter().enumerate() {
        let mut line = line.clone();
        line[3] = lines[(index + 7) % lines.len()][3];
        secrets.add_key_log(line.join(" ").as_bytes(), 1, LastLine::Whole, &"forged".into());
    }
    let connection = connections("klaytn-7cn", &["tap1.pcap"])
        .into_iter()
        .max_by_key(|connection| connection.items().count())
        .unwrap();
    let one = decode(&connection, &secrets);
    assert_eq!(one.summary.recognised, Recognised::Decrypted);
    assert_eq!(one.summary.mac, Some(MacState::Failed));
    assert_eq!(
        one.problems.len(),
        2,
        "one for each direction: {:?}",
        one.problems
    );
    assert!(
        one.problems
            .iter()
            .all(|problem| matches!(problem.kind, ProblemKind::Mac(_)))
    );
    let frames = one.summary.frames;
    assert_eq!(one.summary.mac_failures, frames[0] + frames[1]);

    // The right line, added after the wrong one, wins.
    secrets.add_key_log(text.as_bytes(), 1, LastLine::Whole, &"right".into());
    let one = decode(&connection, &secrets);
    assert_eq!(one.summary.mac, Some(MacState::Verified));
    assert_eq!(one.summary.secret_source.as_deref(), Some("right"));
    assert!(one.summary.unused_candidates >= 1);
}
