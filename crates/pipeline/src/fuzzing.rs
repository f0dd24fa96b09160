//! Entry points of the fuzz targets, kept beside the code so that unit tests run them too.
//!
//! Each takes any bytes and panics when a promise of this crate does not hold.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bftap_analysis::{Aggregator, AnalysisOptions, ReadFacts, WorkerTotals};
use bftap_model::CaptureTime;

use crate::Journal;
use crate::journal::{Before, frame_record};

/// Takes bytes for a journal.
///
/// With an odd first byte the rest is the state file as it stands on the disk. Else come records, each with a byte that tells the file
/// (even: state, odd: messages) and its length (2 bytes): they get right checksums, so that what stands in them is read.
///
/// It is refused, or it can be gone on with: kept once more, and taken back once more.
pub fn fuzz_journal(data: &[u8]) {
    let [form, bytes @ ..] = data else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("state");
    fs::create_dir(&path).expect("a folder");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("our own folder");
    let mut state = Vec::new();
    let mut messages = Vec::new();
    if form % 2 == 1 {
        state.extend_from_slice(bytes);
    } else {
        state.extend_from_slice(b"bftap-journal-state-0003");
        messages.extend_from_slice(b"bftap-journal-parts-0003");
        for (what, record) in records(bytes) {
            let file = if what % 2 == 0 { &mut state } else { &mut messages };
            frame_record(record, file);
        }
    }
    write(&path.join("state.000001"), &state);
    write(&path.join("messages.000001"), &messages);
    if go_on(&path) {
        assert!(go_on(&path), "what was kept once more comes back");
    }
}

/// Whether the journal could be taken back; then it is kept once more.
fn go_on(path: &Path) -> bool {
    let options = AnalysisOptions::default();
    let Ok(mut journal) = Journal::open(path, None, "run") else {
        return false;
    };
    let mut aggregator = Aggregator::new(options.clone());
    let Ok(recalled) = journal.recall(&mut aggregator, &options) else {
        return false;
    };
    let before = Before::new(recalled);
    let later = CaptureTime::from_nanos(2_000_000_000_000_000_000);
    let pause = before.seen.map(|seen| (seen.min(later), later));
    if let Some((from, to)) = pause {
        aggregator.pause(from, to);
    }
    let (totals, read) = (WorkerTotals::default(), ReadFacts::default());
    let (now, noted) = before.now(Vec::new(), totals, read, Some(later), pause);
    let update = aggregator.update(now).expect("a temporary file");
    journal.keep(&mut aggregator, update.number, noted, &options);
    assert_eq!(journal.problem(), None);
    true
}

fn write(path: &Path, content: &[u8]) {
    fs::write(path, content).expect("a small file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("our own file");
}

fn records(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [what, high, low, rest @ ..] = bytes else {
            return None;
        };
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (content, rest) = rest.split_at(len);
        bytes = rest;
        Some((*what, content))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bftap_analysis::facts::SessionState;
    use bftap_analysis::{ChainId, Observation, Occurrence, Payload, SessionEnd, SessionInfo, SessionKey};
    use bftap_ibft_decode::{ConsensusMessage, Justification, Kind, Validity, View};
    use bftap_model::{
        Address, Direction, Endpoint, FlowKey, Hash256, MacState, NodeId, SeqNumber, keccak256,
    };

    use super::*;
    use crate::checkpoint::tests::session;
    use crate::journal::{Noted, Part};

    fn info() -> SessionInfo {
        SessionInfo {
            ends: [1, 2].map(|last| Endpoint {
                ip: [10, 0, 0, last].into(),
                port: 30_300 + u16::from(last),
            }),
            node_ids: [Some(NodeId([7; 64])), None],
            accepted: [true, false],
            clients: [None, Some("Klaytn/v1.4.2".to_owned())],
            chain: Some(ChainId {
                network_id: 1000,
                genesis: Hash256([9; 32]),
            }),
        }
    }

    fn end() -> SessionEnd {
        SessionEnd {
            info: info(),
            state: SessionState::Decrypted,
            candidate: false,
            attached: Some("handshake"),
            opened_by: Some("a file".into()),
            mac: Some(MacState::Verified),
            frames: [3, 4],
            gaps: 1,
            lost_bytes: 4,
            incomplete_bytes: 5,
            frames_lost: [1, 0],
            capabilities: vec!["istanbul/64".to_owned()],
            inferred: None,
            stream_bytes: [800, 900],
            roles: [Some("cn"), None],
            detail: None,
            span: (CaptureTime::from_nanos(1), CaptureTime::from_nanos(9_000_000_000)),
            losses: vec![(CaptureTime::from_nanos(3), CaptureTime::from_nanos(4))],
            blind: Vec::new(),
            spoken: Default::default(),
            network: Default::default(),
        }
    }

    fn part(id: u64) -> Part {
        let [low, high] = info().ends;
        let mut totals = WorkerTotals {
            consensus_messages: 2,
            ..WorkerTotals::default()
        };
        totals
            .codes
            .insert(("istanbul/64".to_owned(), "x".to_owned(), 17), (2, 600));
        Part {
            id,
            flow: FlowKey::of(low, high).0,
            end: Some(end()),
            totals,
            saved: Some(session(1, 70)),
            stream_ends: [Some(SeqNumber(77)), None],
            accounted: [0, 9],
            last_seen: CaptureTime::from_nanos(70),
        }
    }

    fn message(sequence: u64, second: i64) -> Observation {
        let address = Address([5; 20]);
        let payload = Payload {
            hash: keccak256(&sequence.to_be_bytes()),
            dialect: "klaytn",
            message: ConsensusMessage {
                kind: Kind::Commit,
                view: View { sequence, round: 0 },
                claimed: Some(address),
                signer: Some(address),
                validity: Validity::Valid,
                digest: Some(Hash256([3; 32])),
                parent: None,
                subject_parent: None,
                commit_seal: None,
                proposal: None,
                justification: Justification::default(),
            },
        };
        Observation::Message(Occurrence {
            session: KEY,
            direction: Direction::FromInitiator,
            payload: Arc::new(payload),
            seen: CaptureTime::from_nanos(second * 1_000_000_000),
            arrived: None,
            stale: false,
            wire_len: 304,
        })
    }

    const KEY: SessionKey = SessionKey {
        worker: 0,
        connection: 1,
    };

    /// A journal of three updates, as records.
    fn seed() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let options = AnalysisOptions::default();
        let mut journal = Journal::open(&path, None, "run").unwrap();
        let mut aggregator = Aggregator::new(options.clone());
        journal.recall(&mut aggregator, &options).unwrap();
        aggregator.track_changes();
        aggregator
            .push(Observation::Session(KEY, Box::new(info())))
            .unwrap();
        for update in 1..=3_u64 {
            aggregator.push(message(update, update as i64)).unwrap();
            aggregator.push(message(update + 1, update as i64 + 70)).unwrap();
            if update == 2 {
                let ended = SessionKey {
                    worker: 1,
                    connection: 9,
                };
                aggregator.push(Observation::End(ended, Box::new(end()))).unwrap();
            }
            let number = aggregator.update(Default::default()).unwrap().number;
            let noted = Noted {
                seen: Some(CaptureTime::from_nanos(update as i64)),
                parts: vec![(Some(KEY), part(0))],
                ..Noted::default()
            };
            journal.keep(&mut aggregator, number, noted, &options);
        }
        assert_eq!(journal.problem(), None);
        let mut seed = vec![0];
        for (what, name) in [(0, "state.000001"), (1, "messages.000001")] {
            let file = fs::read(path.join(name)).unwrap();
            let mut rest = &file[24..];
            while let Some((frame, behind)) = rest.split_first_chunk::<12>() {
                let len = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
                let (record, behind) = behind.split_at(len);
                seed.push(what);
                seed.extend_from_slice(&(len as u16).to_be_bytes());
                seed.extend_from_slice(record);
                rest = behind;
            }
        }
        seed
    }

    #[test]
    fn seeds_hold_every_promise_whole_cut_and_changed() {
        let seed = seed();
        let mut raw = vec![1];
        raw.extend_from_slice(b"bftap-journal-state-0003");
        records(&seed[1..])
            .filter(|(what, _)| *what == 0)
            .for_each(|(_, record)| frame_record(record, &mut raw));
        if std::env::var_os("BFTAP_BLESS").is_some() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/journal");
            fs::create_dir_all(folder).unwrap();
            fs::write(format!("{folder}/records"), &seed).unwrap();
            fs::write(format!("{folder}/file"), &raw).unwrap();
        }
        for seed in [seed, raw] {
            fuzz_journal(&seed);
            let mut changed = seed.clone();
            for place in (0..seed.len()).step_by(13) {
                fuzz_journal(&seed[..place]);
                changed[place] ^= [0xff, 0x01, 0x80][place % 3];
                fuzz_journal(&changed);
                changed[place] = seed[place];
            }
        }
    }

    #[test]
    fn the_seed_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let (mut state, mut messages) = (
            b"bftap-journal-state-0003".to_vec(),
            b"bftap-journal-parts-0003".to_vec(),
        );
        for (what, record) in records(&seed()[1..]) {
            frame_record(record, if what == 0 { &mut state } else { &mut messages });
        }
        write(&path.join("state.000001"), &state);
        write(&path.join("messages.000001"), &messages);
        assert!(go_on(&path) && go_on(&path));
    }

    #[test]
    fn what_cannot_be_kept_is_told_once_and_when_it_happens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let options = AnalysisOptions::default();
        let mut journal = Journal::open(&path, None, "run").unwrap();
        let (told, hear) = std::sync::mpsc::channel();
        journal.set_teller(Box::new(move |problem| told.send(problem.to_owned()).unwrap()));
        let mut aggregator = Aggregator::new(options.clone());
        journal.recall(&mut aggregator, &options).unwrap();
        aggregator.track_changes();
        journal.keep(&mut aggregator, 1, Noted::default(), &options);
        assert!(hear.try_recv().is_err() && journal.problem().is_none());
        // The next file of messages cannot be begun.
        fs::remove_dir_all(&path).unwrap();
        aggregator
            .push(Observation::Session(KEY, Box::new(info())))
            .unwrap();
        aggregator.push(message(1, 1)).unwrap();
        journal.keep(&mut aggregator, 2, Noted::default(), &options);
        let problem = hear.try_recv().unwrap();
        assert!(problem.contains("the state could not be written"), "{problem}");
        assert_eq!(journal.problem(), Some(problem));
        journal.keep(&mut aggregator, 3, Noted::default(), &options);
        assert!(hear.try_recv().is_err(), "once");
    }
}
