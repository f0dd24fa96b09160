//! Each `tests/data/<dialect>/<case>.hex` decodes, or fails, as the `.json` beside it says.
//!
//! Inputs named `real-*` were sent by real nodes (tests/data/README.md); the others are forged here with the encoders, so
//! that their bytes are pinned too. `BFTAP_BLESS=1` rewrites forged inputs and all `.json`; then read the diff.

mod forge;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bftap_ibft_decode::{
    CommitSeal, ConsensusMessage, DecodeError, Dialect, FieldSource, SignatureCheck, Validity, What, detect,
    dialect_named, dissect,
};
use bftap_model::{Address, keccak256};
use serde_json::{Value, json};

const LOCAL: u64 = 0x11;

#[test]
fn klaytn_matches_golden() {
    check_folder("klaytn", "klaytn", &forge::klaytn());
}

#[test]
fn quorum_ibft_matches_golden() {
    check_folder("quorum_ibft", "quorum-ibft", &forge::quorum_ibft());
}

/// Whoever changes a byte of a payload without the key makes it undecodable, or invalid.
#[test]
fn a_changed_byte_never_stays_valid() {
    for (folder, name) in [("klaytn", "klaytn"), ("quorum_ibft", "quorum-ibft")] {
        let dialect = dialect_named(name).unwrap();
        for path in inputs(folder).iter().filter(|path| is_real(path)) {
            let message = read_hex(path);
            let mut payload = dialect.open(LOCAL, &message).unwrap().payload.to_vec();
            for place in 0..payload.len() {
                for bit in [0x80, 0x01] {
                    payload[place] ^= bit;
                    if let Ok(decoded) = dialect.decode(LOCAL, &payload, SignatureCheck::Recover) {
                        assert!(decoded.validity.is_invalid(), "{}: byte {place}", path.display());
                    }
                    payload[place] ^= bit;
                }
            }
        }
    }
}

/// What real nodes vote for is the hash that is computed of the proposed block, and seals and signatures are theirs.
#[test]
fn real_messages_agree_with_each_other() {
    for (folder, name) in [("klaytn", "klaytn"), ("quorum_ibft", "quorum-ibft")] {
        let dialect = dialect_named(name).unwrap();
        let nodes: BTreeSet<_> = fs::read_to_string(data().join(folder).join("validators.txt"))
            .unwrap()
            .lines()
            .map(|line| line.parse::<Address>().unwrap())
            .collect();
        let messages: Vec<ConsensusMessage> = inputs(folder)
            .iter()
            .filter(|path| is_real(path))
            .map(|path| decode(dialect, &read_hex(path)).unwrap())
            .collect();
        let mut proposals = 0;
        for message in &messages {
            assert_eq!(message.validity, Validity::Valid);
            assert!(nodes.contains(&message.signer.unwrap()));
            if let Some(CommitSeal::Recovered { signer, .. }) = message.commit_seal {
                assert_eq!(Some(signer), message.signer);
            }
            let Some(proposal) = &message.proposal else {
                continue;
            };
            assert_eq!(proposal.proposer, message.signer);
            assert_eq!(proposal.number, message.view.sequence);
            assert!(
                proposal
                    .validators
                    .iter()
                    .all(|validator| nodes.contains(validator))
            );
            let votes = messages
                .iter()
                .filter(|vote| vote.view == message.view && vote.proposal.is_none());
            let digests: Vec<_> = votes
                .filter_map(|vote| vote.digest)
                .filter(|digest| digest.0 != [0; 32])
                .collect();
            if !digests.is_empty() {
                proposals += 1;
                assert!(digests.iter().all(|digest| *digest == proposal.hash));
            }
        }
        assert!(proposals >= 1, "{folder}: no proposal with votes for it");
    }
}

#[test]
fn real_messages_are_detected() {
    for (folder, name) in [("klaytn", "klaytn"), ("quorum_ibft", "quorum-ibft")] {
        for path in inputs(folder).iter().filter(|path| is_real(path)) {
            let message = read_hex(path);
            let payload = dialect_named(name)
                .unwrap()
                .open(LOCAL, &message)
                .unwrap()
                .payload;
            for (what, bytes) in [(What::Message, &message[..]), (What::Payload, payload)] {
                let found = detect(bytes);
                assert_eq!(found.len(), 1, "{}: {found:?}", path.display());
                let (dialect, likeness) = found[0];
                assert_eq!(
                    (dialect.name(), likeness.what, likeness.decodes),
                    (name, what, true)
                );
                // cut off in the signature it is still recognised
                let (dialect, likeness) = detect(&bytes[..bytes.len() - 80])[0];
                assert_eq!(
                    (dialect.name(), likeness.what, likeness.decodes),
                    (name, what, false)
                );
            }
        }
    }
}

fn check_folder(folder: &str, name: &str, forged: &[(&str, Vec<u8>)]) {
    let dialect = dialect_named(name).unwrap();
    for (case, bytes) in forged {
        check(
            &data().join(folder).join(case).with_extension("hex"),
            &format!("{}\n", hex::encode(bytes)),
        );
    }
    let inputs = inputs(folder);
    for input in &inputs {
        let case = input.file_stem().unwrap().to_str().unwrap();
        assert!(
            is_real(input) || forged.iter().any(|(name, _)| *name == case),
            "{case} comes from nowhere"
        );
        let got = serde_json::to_string_pretty(&outcome(dialect, &read_hex(input))).unwrap();
        check(&input.with_extension("json"), &format!("{got}\n"));
    }
}

/// Compares with a golden file, or rewrites it under `BFTAP_BLESS=1`.
fn check(path: &Path, got: &str) {
    if std::env::var_os("BFTAP_BLESS").is_some() {
        return fs::write(path, got).unwrap();
    }
    let want = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        want,
        got,
        "{}: run with BFTAP_BLESS=1, then read the diff",
        path.display()
    );
}

fn outcome(dialect: &dyn Dialect, message: &[u8]) -> Value {
    let lines: Vec<String> = dissect(dialect, What::Message, LOCAL, message)
        .iter()
        .map(|field| {
            let mark = match field.source {
                FieldSource::Bytes => format!(" [{}..{}]", field.place.start, field.place.end),
                FieldSource::Derived => " =".to_owned(),
                FieldSource::Problem => " !".to_owned(),
            };
            format!(
                "{}{}{mark}: {}",
                "  ".repeat(field.depth),
                field.name,
                field.value
            )
        })
        .collect();
    let outcome = match decode(dialect, message) {
        Ok(decoded) => json!({ "message": message_json(&decoded) }),
        Err(error) => json!({ "error": error_json(&error) }),
    };
    let envelope = dialect.open(LOCAL, message).map(|envelope| {
        json!({
            "payload_hash": keccak256(envelope.payload).to_string(),
            "offset": envelope.offset,
            "parent": envelope.parent.map(|hash| hash.to_string()),
            "trailing": envelope.trailing,
        })
    });
    json!({ "envelope": envelope.ok(), "outcome": outcome, "lines": lines })
}

fn decode(dialect: &dyn Dialect, message: &[u8]) -> Result<ConsensusMessage, DecodeError> {
    let envelope = dialect.open(LOCAL, message)?;
    dialect
        .decode(LOCAL, envelope.payload, SignatureCheck::Recover)
        .map_err(|error| error.shifted(envelope.offset))
}

fn error_json(error: &DecodeError) -> Value {
    json!({
        "offset": error.offset,
        "field": error.field,
        "reason": error.reason(),
        "text": format!("{error}: {}", error.kind),
    })
}

fn message_json(message: &ConsensusMessage) -> Value {
    let text = |value: Option<&dyn ToString>| value.map(ToString::to_string);
    json!({
        "kind": message.kind.as_str(),
        "sequence": message.view.sequence,
        "round": message.view.round,
        "claimed": text(message.claimed.as_ref().map(|value| value as _)),
        "signer": text(message.signer.as_ref().map(|value| value as _)),
        "validity": message.validity.as_str(),
        "digest": text(message.digest.as_ref().map(|value| value as _)),
        "parent": text(message.parent.as_ref().map(|value| value as _)),
        "subject_parent": text(message.subject_parent.as_ref().map(|value| value as _)),
        "commit_seal": message.commit_seal.map(|seal| match seal {
            CommitSeal::Recovered { signer, .. } => signer.to_string(),
            CommitSeal::Unrecoverable { .. } => "unrecoverable".to_owned(),
            CommitSeal::NotChecked { .. } => "not checked".to_owned(),
            CommitSeal::WrongLength { len } => format!("{len} bytes"),
        }),
        "proposal": message.proposal.as_ref().map(|proposal| json!({
            "number": proposal.number,
            "hash": proposal.hash.to_string(),
            "parent": proposal.parent.to_string(),
            "proposer": text(proposal.proposer.as_ref().map(|value| value as _)),
            "transactions": proposal.transactions,
            "size": proposal.size,
            "time": proposal.time_of_header().map(|time| time.to_string()),
            "validators": proposal.validators.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "committed_seals": proposal.committed_seals,
            "round_in_header": proposal.round_in_header,
            "vanity": proposal.vanity.map(hex::encode),
            "extra_error": proposal.extra_error.as_ref().map(error_json),
        })),
    })
}

fn inputs(folder: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(data().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .collect();
    paths.sort();
    assert!(
        paths.iter().any(|path| is_real(path)),
        "{folder}: no inputs of real nodes"
    );
    paths
}

fn is_real(path: &Path) -> bool {
    path.file_stem().unwrap().to_str().unwrap().starts_with("real-")
}

fn read_hex(path: &Path) -> Vec<u8> {
    hex::decode(fs::read_to_string(path).unwrap().trim()).unwrap()
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}
