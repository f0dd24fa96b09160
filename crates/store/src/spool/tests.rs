use std::io::Write as _;

use bftap_analysis::facts::{
    CountFact, DeliveryFact, LinkCountFact, NodeRoundFact, Outcome, RoundCause, RoundFact, RoundStanding,
    VoteFact, VoteState,
};
use bftap_ibft_decode::Kind;
use bftap_model::{CaptureTime, Hash256};

use super::*;
use crate::store::{HeightVotes, Replaced};

/// An update of a height; of two with the same sequence the one with the higher version is the later.
fn batch(sequence: u64, version: u64) -> Batch {
    let at = |nanos: u64| CaptureTime::from_nanos(nanos as i64);
    let chain: std::sync::Arc<str> = "1000/0xé".into();
    let mut batch = Batch::default();
    for (receiver, kind) in [(1_u8, Kind::Prepare), (2, Kind::Commit)] {
        batch.counts.push(CountFact {
            chain: chain.clone(),
            receiver_ip: [10, 0, 0, receiver].into(),
            receiver: format!("cn{receiver}").into(),
            sequence,
            round: 0,
            kind,
            messages: version,
            useful: 1,
            repeats: 2,
            echoes: 3,
            resent: 5,
            echo_source: 6,
            crossing: 7,
            regossip: 8,
            invalid: 4,
            bytes: u64::MAX,
            lower_bound: receiver == 1,
            first_seen: at(sequence),
            last_seen: at(sequence + version),
        });
        for sender in 0..9 {
            batch.deliveries.push(DeliveryFact {
                chain: chain.clone(),
                receiver_ip: "fe80::1".parse().unwrap(),
                sender: format!("cn{sender}").into(),
                signer: "unknown".into(),
                sequence,
                round: 0,
                kind,
                copies: version,
                first_seen: at(1),
                last_seen: at(2),
            });
        }
    }
    batch.rounds.push(RoundFact {
        chain: chain.clone(),
        sequence,
        round: 0,
        proposer: (version % 2 == 1).then(|| "cn1".into()),
        validators: Some(4),
        quorum: None,
        preprepare_ns: Some(CaptureTime::MIN),
        prepared_ns: None,
        committed_ns: Some(at(version)),
        messages: version,
        outcome: [
            Outcome::Open,
            Outcome::Decided,
            Outcome::Changed,
            Outcome::Unknown,
        ][version as usize % 4],
        standing: RoundStanding::ALL[version as usize % 3],
        cause: (version % 2 == 1).then_some(RoundCause::VotesMissing),
        block_time_ns: (version % 3 == 1).then_some(version as i64),
    });
    for (ip, lower_bound) in [([10, 0, 0, 1].into(), false), ("fe80::1".parse().unwrap(), true)] {
        batch.node_rounds.push(NodeRoundFact {
            chain: chain.clone(),
            sequence,
            round: 0,
            node_ip: ip,
            node: "cn1".into(),
            preprepare_ns: Some(at(version)),
            prepared_ns: lower_bound.then(|| at(5)),
            committed_ns: None,
            roundchange_ns: Some(CaptureTime::MAX),
            lower_bound,
        });
    }
    let states = [
        VoteState::Complete,
        VoteState::Late,
        VoteState::Partial,
        VoteState::Missing,
        VoteState::Unknown,
        VoteState::NotNeeded,
    ];
    let votes = (0..version % 3 + 1).map(|number| VoteFact {
        chain: chain.clone(),
        sequence,
        round: 1,
        kind: Kind::Commit,
        signer: "cn3".into(),
        digest: (number == 0).then_some(Hash256([7; 32])),
        first_ns: (number == 1).then(|| at(3)),
        first_sender: (number == 1).then(|| "cn2".into()),
        reached: 4,
        of: u32::MAX,
        not_reached: vec!["cn5".into(); number as usize],
        state: states[version as usize % states.len()],
        received: Vec::new(),
    });
    batch.votes.push(HeightVotes {
        chain: chain.clone(),
        sequence,
        votes: votes.collect(),
    });
    batch.links.push(LinkCountFact {
        chain,
        minute: at(0),
        receiver_ip: [10, 0, 0, 1].into(),
        receiver: "cn1".into(),
        sender: "cn2".into(),
        kind: Kind::RoundChange,
        messages: sequence,
        bytes: version,
    });
    batch
}

fn text(batch: &Batch) -> String {
    format!("{batch:?}")
}

fn told(seen: i64) -> Option<Told> {
    Some(Told {
        seen_ns: Some(seen),
        ..Told::default()
    })
}

fn spool(limit: u64) -> Spool {
    Spool::create(&std::env::temp_dir(), limit).unwrap()
}

fn spool_of(batch: &Batch) -> Spool {
    let mut spool = spool(1 << 20);
    assert!(spool.push(batch, None).unwrap());
    spool
}

#[test]
fn batches_come_back_as_they_went_in_order() {
    let mut all = batch(7, 3);
    all.replaced = Replaced {
        heights: vec![("x".into(), 3), ("1000/0xé".into(), u64::MAX)],
        minutes: vec![CaptureTime::MAX],
    };
    let mut spool = spool(1 << 20);
    for (number, batch) in [all, batch(8, 1), Batch::default()].iter().enumerate() {
        assert!(spool.push(batch, told(number as i64)).unwrap());
        let mut copy = spool_of(batch);
        assert_eq!(text(&copy.pop().unwrap().unwrap().0), text(batch));
    }
    assert_eq!(spool.len(), 3);
    for number in 0..3 {
        assert_eq!(spool.pop().unwrap().unwrap().1, told(number));
    }
    assert!(spool.pop().unwrap().is_none() && spool.is_empty() && spool.bytes() == 0);
}

#[test]
fn room_is_used_again() {
    let one = record::write(&batch(1, 1)).len() as u64;
    let mut spool = spool(5 * one + one / 2);
    let (mut next, mut expected) = (0, 0);
    for step in 0..200_u64 {
        while spool.push(&batch(next, 1), None).unwrap() {
            next += 1;
        }
        // Ranks are closed once a quarter is free: until then less fits than there is room for.
        assert!((4..=5).contains(&spool.len()) && spool.end <= spool.limit);
        for _ in 0..=step % 5 {
            let (batch, _) = spool.pop().unwrap().unwrap();
            assert_eq!(batch.rounds[0].sequence, expected);
            expected += 1;
        }
    }
}

#[test]
fn a_full_spool_gives_up_what_is_superseded_and_then_the_oldest_detail() {
    let one = record::write(&batch(1, 1)).len() as u64;
    let mut spool = spool(40 * one);
    // Twenty versions of two heights: eighteen of each are superseded.
    for version in 0..20 {
        assert!(
            spool.push(&batch(1, version), told(1)).unwrap()
                && spool.push(&batch(2, version), told(2)).unwrap()
        );
    }
    assert!(!spool.push(&batch(3, 0), None).unwrap() && spool.can_shrink());
    assert_eq!(
        spool.shrink().unwrap(),
        Thinned::default(),
        "nothing is lost that has no later version"
    );
    assert!(spool.bytes() < 4 * one);
    let (merged, of) = spool.pop().unwrap().unwrap();
    assert_eq!(
        (merged.counts.len(), merged.deliveries.len(), of),
        (4, 36, told(2))
    );
    assert!(merged.counts.iter().all(|row| row.messages == 19));
    assert_eq!((merged.links.len(), merged.links[0].messages), (1, 2));
    let votes = merged
        .votes
        .iter()
        .map(|height| (height.sequence, height.votes.len()));
    assert_eq!(votes.collect::<Vec<_>>(), [(1, 2), (2, 2)]);
    assert_eq!(merged.node_rounds.len(), 4);
    assert!(
        merged
            .node_rounds
            .iter()
            .all(|row| row.preprepare_ns == Some(CaptureTime::from_nanos(19)))
    );

    // Heights that all differ: their detail has to go, and no more of it than is needed.
    let mut sequence = 0;
    let (mut rows, mut copies, mut shrunk) = (0, 0, 0);
    while shrunk < 4 {
        if spool.push(&batch(sequence, 5), told(3)).unwrap() {
            sequence += 1;
        } else {
            let thinned = spool.shrink().unwrap();
            rows += thinned.rows;
            copies += thinned.copies;
            shrunk += 1;
        }
    }
    assert!(rows > 0);
    let (mut left, mut counts, mut before) = (0, 0, None);
    while let Some((batch, _)) = spool.pop().unwrap() {
        for row in &batch.counts {
            assert!(before <= Some(row.sequence), "in order");
            before = Some(row.sequence);
            counts += 1;
        }
        left += batch.deliveries.len() as u64;
    }
    assert_eq!((counts, left + rows), (2 * sequence, 18 * sequence));
    assert_eq!(copies, 5 * rows);
}

#[test]
fn a_damaged_file_is_an_error() {
    let mut spool = spool(1 << 20);
    spool.push(&batch(1, 1), None).unwrap();
    spool.file.seek(SeekFrom::Start(40)).unwrap();
    spool.file.write_all(b"!").unwrap();
    let error = spool.pop().unwrap_err();
    assert!(matches!(error, StoreError::Spool { .. }), "{error}");
    let mut spool = spool_of(&batch(1, 1));
    spool.file.set_len(10).unwrap();
    assert!(matches!(spool.pop().unwrap_err(), StoreError::Spool { .. }));
}

#[test]
fn records_that_are_no_records_are_errors() {
    let record = record::write(&batch(1, 1));
    for len in 0..record.len() {
        assert!(record::read(&record[..len]).is_err(), "{len}");
    }
    for at in 0..record.len() {
        let mut damaged = record.clone();
        damaged[at] ^= 0xff;
        // Whatever it is then, it is no panic and takes no memory.
        let _ = record::read(&damaged);
    }
}

#[test]
fn a_missing_folder_is_told() {
    let error = Spool::create(Path::new("/nowhere/at/all"), 1).unwrap_err();
    assert!(
        error.to_string().contains("/nowhere/at/all") && error.to_string().contains("spool_folder"),
        "{error}"
    );
}

#[test]
fn merging_is_writing_one_after_the_other() {
    let mut second = batch(1, 2);
    second.deliveries.truncate(3);
    second.replaced.heights.push(("1000/0xé".into(), 1));
    let third = batch(2, 1);
    let merged = merge(vec![batch(1, 1), second, third]);
    // All of the first version is gone, not only what the second one has.
    assert_eq!(merged.deliveries.len(), 3 + 18);
    assert_eq!(merged.replaced.heights.len(), 1);
    assert_eq!((merged.node_rounds.len(), merged.votes.len()), (4, 2));
    assert_eq!(merged.votes[0].votes.len(), 3);
    assert!(
        merged
            .rounds
            .iter()
            .all(|row| row.messages != 1 || row.sequence == 2)
    );
}

/// Words that stand as numbers in a record: each comes back as itself.
#[test]
fn every_state_and_outcome_comes_back() {
    for version in 0..12 {
        let batch = batch(3, version);
        let back = record::read(&record::write(&batch)).unwrap();
        assert_eq!(text(&back), text(&batch), "{version}");
    }
}
