//! Captures as taps really make them: what is whole in the capture is decoded, message for message, and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use crate::support::{Counts, Found, analyze_bytes};
use bftap_analysis::facts::SessionState;
use bftap_decrypt::SecretStore;
use bftap_decrypt::keylog::LastLine;
use bftap_model::MacState;
use bftap_pipeline::{AttachOptions, PipelineOptions};
use bftap_testkit::{SharedDamage, damage_shared};

const CUT: SharedDamage = SharedDamage::Cut(40.0);

/// The names in `damaged.expected.json`, and how each copy is made.
const DAMAGES: [(&str, &[(SharedDamage, u32)]); 6] = [
    ("cut40", &[(CUT, 1)]),
    ("drop", &[(SharedDamage::Drop(0.005), 1)]),
    ("burst", &[(SharedDamage::Burst(0.01), 1)]),
    ("snap", &[(SharedDamage::Snap(0.01), 1)]),
    ("drop5", &[(SharedDamage::Drop(0.05), 7)]),
    ("cut40-of-drop", &[(SharedDamage::Drop(0.005), 1), (CUT, 1)]),
];

fn folder() -> Option<PathBuf> {
    Some(bftap_testkit::shared_captures()?.join("klaytn-7cn"))
}

fn damaged(folder: &std::path::Path, steps: &[(SharedDamage, u32)]) -> Vec<u8> {
    let capture = fs::read(folder.join("tap1.pcap")).unwrap();
    steps.iter().fold(capture, |capture, (damage, seed)| {
        damage_shared(&capture, *damage, *seed)
    })
}

fn secrets(folder: &std::path::Path, legacy: bool) -> Arc<SecretStore> {
    let secrets = SecretStore::new();
    if legacy {
        for file in fs::read_dir(folder.join("legacy-secrets")).unwrap() {
            let content = fs::read(file.unwrap().path()).unwrap();
            secrets.add_legacy(&content, &"legacy".into()).unwrap();
        }
    } else {
        let text = fs::read(folder.join("sessions.keylog")).unwrap();
        secrets.add_key_log(&text, 1, LastLine::Whole, &"sessions.keylog".into());
    }
    Arc::new(secrets)
}

fn options(secrets: Arc<SecretStore>, jobs: usize) -> PipelineOptions {
    PipelineOptions {
        jobs,
        secrets,
        ..PipelineOptions::default()
    }
}

fn expected(folder: &std::path::Path, name: &str) -> Counts {
    let text = fs::read(folder.join("damaged.expected.json")).unwrap();
    let all: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let rows = all[name]["counts"].as_array().unwrap();
    let counts: Counts = rows
        .iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap().to_owned();
            let number = |key: &str| row[key].as_u64().unwrap();
            let key = (
                text("receiver"),
                number("sequence"),
                number("round"),
                text("kind"),
            );
            (key, number("messages"))
        })
        .collect();
    let all_messages: u64 = counts.values().sum();
    assert_eq!(all_messages, all[name]["recoverable"].as_u64().unwrap());
    counts
}

/// What differs, for a person.
fn differences(found: &Counts, expected: &Counts) -> BTreeMap<(String, u64, u64, String), (u64, u64)> {
    let keys = found.keys().chain(expected.keys());
    keys.map(|key| {
        let count = |counts: &Counts| counts.get(key).copied().unwrap_or(0);
        (key.clone(), (count(found), count(expected)))
    })
    .filter(|(_, (found, expected))| found != expected)
    .collect()
}

fn no_difference(what: &str, found: &Found, expected: &Counts) {
    let differences = differences(&found.counts(), expected);
    let sum = |counts: &Counts| counts.values().sum::<u64>();
    assert!(
        differences.is_empty(),
        "{what}: {} of {} messages; (found, expected) differ in {} rows: {:?}",
        sum(&found.counts()),
        sum(expected),
        differences.len(),
        differences.iter().take(8).collect::<Vec<_>>()
    );
}

#[test]
fn damaged_captures_give_what_a_perfect_analyzer_reaches() {
    let Some(folder) = folder() else { return };
    for (name, steps) in DAMAGES {
        let capture = damaged(&folder, steps);
        let expected = expected(&folder, name);
        let mut texts = Vec::new();
        for (jobs, legacy) in [(2, false), (1, false), (2, true)] {
            let found = analyze_bytes(vec![capture.clone()], options(secrets(&folder, legacy), jobs));
            no_difference(&format!("{name}, legacy secrets: {legacy}"), &found, &expected);
            if !legacy {
                texts.push(found.text());
            }
        }
        assert!(
            texts[0] == texts[1],
            "{name}: the number of workers makes a difference"
        );
    }
}

/// All twelve directions of the six sessions that were open at second 40 are joined, and say so.
#[test]
fn sessions_open_at_the_start_are_joined_in_their_middle() {
    let Some(folder) = folder() else { return };
    let capture = damaged(&folder, &[(CUT, 1)]);
    let found = analyze_bytes(vec![capture], options(secrets(&folder, false), 2));
    let joined: Vec<_> = found
        .facts
        .sessions
        .iter()
        .filter(|session| session.attached == Some("midstream"))
        .collect();
    let directions = joined
        .iter()
        .flat_map(|session| [session.frames_from_initiator, session.frames_from_recipient])
        .filter(|frames| *frames > 0);
    assert_eq!(directions.count(), 12);
    for session in joined {
        assert_eq!(session.state, SessionState::Decrypted, "{session:?}");
        assert_eq!(session.mac, Some(MacState::Unverifiable));
        assert_eq!(session.capabilities, ["istanbul/?"]);
        let inferred = session.inferred.as_deref().unwrap();
        assert!(inferred.starts_with("klaytn, inferred: "), "{inferred}");
    }
    assert!(found.facts.totals.searched_bytes > 0);
    // What passed before the first headers is missing from the first height; from then on nothing is.
    let first = &found.heights[0].counts;
    assert!(!first.is_empty() && first.iter().all(|count| count.lower_bound));
    let later = found.heights[2..].iter().flat_map(|height| &height.counts);
    let tapped = later.filter(|count| count.receiver_ip.to_string() == "10.0.0.1");
    assert!(tapped.clone().count() > 0 && tapped.into_iter().all(|count| !count.lower_bound));
}

#[test]
fn wrong_secrets_yield_nothing() {
    let Some(folder) = folder() else { return };
    let capture = damaged(&folder, &[(CUT, 1)]);
    let secrets = SecretStore::new();
    for seed in 0..40_u8 {
        let line = format!("RLPX-AES {}\n", hex::encode(bftap_model::keccak256(&[seed]).0));
        secrets.add_key_log(line.as_bytes(), 1, LastLine::Whole, &"wrong".into());
    }
    assert_eq!(secrets.counts().aes_only, 40);
    let options = PipelineOptions {
        attach: AttachOptions::new(1, 1),
        ..options(Arc::new(secrets), 2)
    };
    let found = analyze_bytes(vec![capture], options);
    assert_eq!(found.facts.totals.consensus_messages, 0);
    assert!(
        found
            .facts
            .sessions
            .iter()
            .all(|session| session.attached.is_none())
    );
}
