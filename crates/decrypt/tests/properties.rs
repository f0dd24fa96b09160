//! However the bytes of a session arrive, the same messages come out; whatever is done to them, every byte is accounted for.

use std::borrow::Cow;
use std::sync::Arc;

use bftap_decrypt::fuzzing;
use bftap_decrypt::sample::Sample;
use bftap_decrypt::search::{SearchLimits, SearchRequest, search};
use bftap_decrypt::{
    Attached, ProblemKind, Recognised, SecretStore, SessionDecoder, SessionOptions, SessionOutput,
    SessionSummary, WaitingPool,
};
use bftap_model::{
    CaptureTime, Direction, Endpoint, FlowKey, MacState, Side, StreamChunk, StreamGap, StreamItem,
    StreamOffset,
};
use proptest::prelude::*;

/// All that is told of a message.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    code: u64,
    meaning: String,
    payload: Vec<u8>,
    offset: u64,
    seen: i64,
    block: u64,
    wire_len: u32,
    mac: MacState,
}

type Outcome = ([Vec<Told>; 2], Vec<ProblemKind>, SessionSummary);

fn sample(connection_type: Option<u8>) -> Sample {
    let mut sample = Sample::new(11, connection_type);
    for direction in [Direction::FromInitiator, Direction::FromRecipient] {
        sample.hello(direction);
        sample.status(direction);
    }
    for len in [0, 1, 15, 16, 17, 100, 700] {
        sample.message(Direction::FromInitiator, 0x21, &vec![len as u8; len]);
        sample.message(Direction::FromRecipient, 0x02, &[0xc0]);
    }
    sample.message(Direction::FromRecipient, 0x01, &[0xc1, 0x04]);
    sample
}

fn decoder(options: SessionOptions) -> SessionDecoder {
    let end = |port| Endpoint {
        ip: [10, 0, 0, 1].into(),
        port,
    };
    SessionDecoder::new(
        Arc::new(options),
        FlowKey {
            low: end(32_323),
            high: end(40_000),
        },
        Some(Side::High),
    )
}

fn side(direction: Direction) -> Side {
    match direction {
        Direction::FromInitiator => Side::High,
        Direction::FromRecipient => Side::Low,
    }
}

fn drain(decoder: &mut SessionDecoder, told: &mut [Vec<Told>; 2], problems: &mut Vec<ProblemKind>) {
    while let Some(output) = decoder.poll() {
        match output {
            SessionOutput::Message(message) => told[message.direction.index()].push(Told {
                code: message.code,
                meaning: format!("{:?}", message.meaning),
                payload: message.payload.to_vec(),
                offset: message.origin.offset.0,
                seen: message.origin.seen.nanos(),
                block: message.block,
                wire_len: message.wire_len,
                mac: message.mac,
            }),
            SessionOutput::Problem(problem) => problems.push(problem.kind),
        }
    }
}

/// Feeds pieces, each captured a nanosecond after the one before; the secrets come before piece `secret_at`.
fn run(sample: &Sample, pieces: &[(Direction, std::ops::Range<usize>)], secret_at: usize) -> Outcome {
    let secrets = SecretStore::new();
    let mut decoder = decoder(SessionOptions::default());
    let (mut told, mut problems) = ([Vec::new(), Vec::new()], Vec::new());
    for (index, (direction, range)) in pieces.iter().enumerate() {
        if index == secret_at {
            secrets.add(sample.key_log_entry(), &"sample".into());
            decoder.retry(&secrets);
            drain(&mut decoder, &mut told, &mut problems);
        }
        let chunk = StreamChunk {
            offset: StreamOffset(range.start as u64),
            seen: CaptureTime::from_nanos(index as i64),
            bytes: Cow::Borrowed(&sample.streams[direction.index()][range.clone()]),
        };
        decoder.push(side(*direction), StreamItem::Data(chunk), &secrets);
        drain(&mut decoder, &mut told, &mut problems);
    }
    if secret_at >= pieces.len() {
        secrets.add(sample.key_log_entry(), &"sample".into());
    }
    decoder.finish(&secrets);
    drain(&mut decoder, &mut told, &mut problems);
    (told, problems, decoder.summary())
}

/// Every message whose frame is whole, as a decoder gives it that gets each stream in one piece; times taken off.
fn reference(sample: &Sample) -> Outcome {
    let whole = |direction: Direction| (direction, 0..sample.streams[direction.index()].len());
    let outcome = run(
        sample,
        &[whole(Direction::FromInitiator), whole(Direction::FromRecipient)],
        0,
    );
    assert_eq!(outcome.1, []);
    assert_eq!([outcome.0[0].len(), outcome.0[1].len()], [9, 10]);
    assert_eq!(
        (outcome.2.recognised, outcome.2.mac),
        (Recognised::Decrypted, Some(MacState::Verified))
    );
    outcome
}

fn without_times(mut outcome: Outcome) -> Outcome {
    outcome.0.iter_mut().flatten().for_each(|told| told.seen = 0);
    outcome
}

#[test]
fn messages_are_what_was_sent() {
    for connection_type in [None, Some(0), Some(1)] {
        let sample = sample(connection_type);
        let (told, _, summary) = reference(&sample);
        let meanings: Vec<_> = told[0]
            .iter()
            .map(|told| (told.code, told.payload.len()))
            .collect();
        assert_eq!(
            meanings[2..],
            [
                (0x21, 0),
                (0x21, 1),
                (0x21, 15),
                (0x21, 16),
                (0x21, 17),
                (0x21, 100),
                (0x21, 700)
            ]
        );
        assert!(
            told[0][2].meaning.contains("IstanbulMsg"),
            "{}",
            told[0][2].meaning
        );
        assert_eq!(told[1][9].payload, [0xc1, 0x04]);
        assert_eq!(summary.disconnects[1].unwrap().reason, Some(4));
        assert_eq!(summary.connection_types, [connection_type; 2]);
        assert_eq!(summary.chain.unwrap().network_id, 1000);
        assert_eq!(summary.frames, [9, 10]);
        let bytes: u64 = told.iter().flatten().map(|told| u64::from(told.wire_len)).sum();
        assert_eq!(
            bytes + sample.handshake.iter().sum::<usize>() as u64,
            summary.stream_bytes.iter().sum::<u64>()
        );
        for one_way in &told {
            for pair in one_way.windows(2) {
                assert_eq!(pair[1].offset, pair[0].offset + u64::from(pair[0].wire_len));
                assert_eq!(
                    pair[1].block,
                    pair[0].block + u64::from(pair[0].wire_len - 32) / 16
                );
            }
        }
    }
}

#[test]
fn a_stream_cut_at_any_byte_gives_the_same() {
    for connection_type in [None, Some(0)] {
        let sample = sample(connection_type);
        let expected = without_times(reference(&sample));
        for direction in [Direction::FromInitiator, Direction::FromRecipient] {
            let len = sample.streams[direction.index()].len();
            let other = (
                direction.other(),
                0..sample.streams[direction.other().index()].len(),
            );
            for cut in 0..=len {
                let (first, second) = ((direction, 0..cut), (direction, cut..len));
                for pieces in [
                    [first.clone(), second.clone(), other.clone()],
                    [first.clone(), other.clone(), second.clone()],
                    [other.clone(), first, second],
                ] {
                    assert_eq!(without_times(run(&sample, &pieces, 0)), expected, "cut at {cut}");
                }
            }
        }
    }
}

#[test]
fn a_message_has_the_time_of_the_piece_that_completes_it() {
    let sample = sample(Some(0));
    let single = |direction: Direction| {
        (0..sample.streams[direction.index()].len()).map(move |at| (direction, at..at + 1))
    };
    let pieces: Vec<_> = single(Direction::FromInitiator)
        .chain(single(Direction::FromRecipient))
        .collect();
    for secret_at in [0, 600, pieces.len()] {
        let (told, problems, _) = run(&sample, &pieces, secret_at);
        assert_eq!(problems, []);
        let first_of_recipient = sample.streams[0].len() as i64;
        for (one_way, start) in told.iter().zip([0, first_of_recipient]) {
            for told in one_way {
                assert_eq!(
                    told.seen,
                    start + told.offset as i64 + i64::from(told.wire_len) - 1
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_pieces_and_late_secrets_give_the_same(
        sizes in prop::collection::vec((any::<bool>(), 1_usize..400), 1..60),
        secret_at in 0_usize..70,
    ) {
        let sample = sample(Some(0));
        let mut used = [0_usize; 2];
        let mut pieces = Vec::new();
        let rest = [(true, usize::MAX), (false, usize::MAX)];
        for (from_initiator, size) in sizes.into_iter().chain(rest) {
            let direction = if from_initiator { Direction::FromInitiator } else { Direction::FromRecipient };
            let start = used[direction.index()];
            let end = start.saturating_add(size).min(sample.streams[direction.index()].len());
            pieces.push((direction, start..end));
            used[direction.index()] = end;
        }
        let outcome = run(&sample, &pieces, secret_at);
        prop_assert_eq!(without_times(outcome), without_times(reference(&sample)));
    }
}

#[test]
fn a_cut_capture_tells_what_is_incomplete() {
    let sample = sample(Some(0));
    let (expected, ..) = reference(&sample);
    let [auth_end, ack_end] = sample.handshake;
    let recipient = (Direction::FromRecipient, 0..sample.streams[1].len());
    for end in 0..sample.streams[0].len() {
        let (told, problems, summary) = run(
            &sample,
            &[(Direction::FromInitiator, 0..end), recipient.clone()],
            0,
        );
        assert_eq!(problems, []);
        let whole = expected[0]
            .iter()
            .filter(|told| told.offset + u64::from(told.wire_len) <= end as u64)
            .count();
        assert_eq!(told[0].len(), whole);
        if end < auth_end {
            assert_eq!(summary.recognised, Recognised::NoHandshake, "cut at {end}");
            assert!(told[1].is_empty());
        } else {
            assert_eq!(
                (summary.recognised, summary.lost_bytes),
                (Recognised::Decrypted, 0)
            );
            let of_frames: u64 = told.iter().flatten().map(|told| u64::from(told.wire_len)).sum();
            let all = (end + sample.streams[1].len()) as u64;
            assert_eq!(
                of_frames + summary.incomplete_bytes + (auth_end + ack_end) as u64,
                all
            );
        }
    }
}

/// Whatever is missing behind the handshake, all frames come out that it does not touch, in both directions.
#[test]
fn a_gap_costs_the_frames_it_touches() {
    let sample = sample(Some(0));
    let secrets = SecretStore::new();
    secrets.add(sample.key_log_entry(), &"sample".into());
    let (expected, ..) = reference(&sample);
    let len = sample.streams[0].len();
    for start in (sample.handshake[0]..len).step_by(3) {
        for missing in [1, 16, 500] {
            let hole = start..(start + missing).min(len);
            let summary = fuzzing::decode(
                &sample.streams,
                97,
                &secrets,
                Some((Direction::FromInitiator, hole.clone())),
            );
            assert_eq!(summary.gaps, 1);
            let end_of = |told: &Told| (told.offset + u64::from(told.wire_len)) as usize;
            let whole: Vec<_> = expected[0]
                .iter()
                .filter(|told| end_of(told) <= hole.start || told.offset as usize >= hole.end)
                .collect();
            assert_eq!(summary.frames, [whole.len() as u64, 10], "gap at {start}");
            let bytes: u64 = whole.iter().map(|told| u64::from(told.wire_len)).sum();
            let lost = (len - sample.handshake[0]) as u64 - bytes;
            assert_eq!(summary.lost_bytes, lost, "gap at {start}");
            assert_eq!(summary.incomplete_bytes, 0);
            let found_again = whole.last().is_some_and(|told| told.offset as usize >= hole.end);
            if found_again {
                assert_eq!(summary.recognised, Recognised::Decrypted);
                assert_eq!(summary.frames_lost, [9 - whole.len() as u64, 0]);
                assert_eq!(summary.mac, Some(MacState::Unverifiable));
            } else if summary.recognised == Recognised::Lost {
                assert!(summary.detail.unwrap().contains("for good"));
            }
        }
    }
}

/// One changed byte behind the handshake is always noticed, in its direction, and nowhere else.
#[test]
fn a_flipped_byte_is_noticed() {
    let original = sample(None);
    let (expected, ..) = reference(&original);
    for at in 0..original.streams[0].len() {
        let mut sample = sample(None);
        sample.streams[0][at] ^= 0x40;
        let whole = |direction: Direction| (direction, 0..sample.streams[direction.index()].len());
        let pieces = [whole(Direction::FromInitiator), whole(Direction::FromRecipient)];
        let (told, problems, summary) = run(&sample, &pieces, 0);
        if at < sample.handshake[0] {
            // The auth's hash, and with it the session's name, or its size changed: but the key stream is the same.
            let untouched =
                summary.recognised == Recognised::Decrypted && summary.mac == Some(MacState::Verified);
            assert!(!untouched, "flip at {at}");
            continue;
        }
        assert!(!problems.is_empty(), "flip at {at}: {summary:?}");
        // A header that is none costs its frame, and with it the running hash.
        assert!(
            matches!(summary.mac, Some(MacState::Failed | MacState::Unverifiable))
                || summary.recognised == Recognised::Lost,
            "flip at {at}"
        );
        let before = |told: &&Told| told.offset + u64::from(told.wire_len) <= at as u64;
        let count = expected[0].iter().filter(before).count();
        assert_eq!(told[0][..count], expected[0][..count]);
        if count > 0 {
            // Codes are known from the Hello, so the other direction does not change.
            let times_off = |told: &[Told]| {
                told.iter()
                    .cloned()
                    .map(|told| Told { seen: 0, ..told })
                    .collect::<Vec<_>>()
            };
            assert_eq!(times_off(&told[1]), times_off(&expected[1]));
        }
    }
}

#[test]
fn without_the_mac_keys_or_the_wish_frames_come_unverified() {
    let sample = sample(Some(0));
    for (verify_mac, aes_only, state) in [
        (true, true, MacState::Unverifiable),
        (false, false, MacState::Skipped),
        (false, true, MacState::Skipped),
        (true, false, MacState::Verified),
    ] {
        let secrets = SecretStore::new();
        let mut entry = sample.key_log_entry();
        if aes_only {
            entry.session = None;
            entry.secrets.mac = None;
        }
        secrets.add(entry, &"sample".into());
        let mut decoder = decoder(SessionOptions {
            verify_mac,
            ..SessionOptions::default()
        });
        for direction in [Direction::FromRecipient, Direction::FromInitiator] {
            let chunk = StreamChunk {
                offset: StreamOffset(0),
                seen: CaptureTime::from_nanos(0),
                bytes: Cow::Borrowed(&sample.streams[direction.index()]),
            };
            decoder.push(side(direction), StreamItem::Data(chunk), &secrets);
        }
        let (mut told, mut problems) = ([Vec::new(), Vec::new()], Vec::new());
        drain(&mut decoder, &mut told, &mut problems);
        assert_eq!((problems.len(), told[0].len(), told[1].len()), (0, 9, 10));
        assert!(told.iter().flatten().all(|told| told.mac == state));
        assert_eq!(decoder.summary().mac, Some(state));
    }
}

#[test]
fn what_falls_off_the_waiting_limit_is_lost_and_counted() {
    let mut sample = sample(None);
    for _ in 0..40 {
        sample.message(Direction::FromInitiator, 0x21, &(0..=255).collect::<Vec<u8>>());
    }
    let secrets = SecretStore::new();
    let mut decoder = decoder(SessionOptions {
        waiting_limit: 8 << 10,
        ..SessionOptions::default()
    });
    let (mut told, mut problems) = ([Vec::new(), Vec::new()], Vec::new());
    for direction in [Direction::FromRecipient, Direction::FromInitiator] {
        for (index, piece) in sample.streams[direction.index()].chunks(1000).enumerate() {
            let chunk = StreamChunk {
                offset: StreamOffset(1000 * index as u64),
                seen: CaptureTime::from_nanos(0),
                bytes: Cow::Borrowed(piece),
            };
            decoder.push(side(direction), StreamItem::Data(chunk), &secrets);
            drain(&mut decoder, &mut told, &mut problems);
        }
    }
    assert_eq!(problems, [ProblemKind::WaitingLimit { limit: 8 << 10 }]);
    let summary = decoder.summary();
    assert_eq!(summary.recognised, Recognised::NoSecret);
    assert!(summary.dropped_bytes > 0);
    assert_eq!(summary.lost_bytes, 0, "nothing is missing from the capture");

    secrets.add(sample.key_log_entry(), &"late".into());
    decoder.retry(&secrets);
    drain(&mut decoder, &mut told, &mut problems);
    let summary = decoder.summary();
    assert_eq!(summary.recognised, Recognised::Decrypted);
    assert!(told[0].len() > 9 && told[1].len() == 10);
    // Behind what was dropped it goes on.
    let before = told[0].len();
    let offset = StreamOffset(sample.streams[0].len() as u64);
    let start = offset.0 as usize;
    for _ in 0..3 {
        sample.message(Direction::FromInitiator, 0x21, &[7; 100]);
    }
    let chunk = StreamChunk {
        offset,
        seen: CaptureTime::from_nanos(1),
        bytes: Cow::Borrowed(&sample.streams[0][start..]),
    };
    decoder.push(side(Direction::FromInitiator), StreamItem::Data(chunk), &secrets);
    drain(&mut decoder, &mut told, &mut problems);
    assert_eq!(told[0].len(), before + 3);
    let summary = decoder.summary();
    let of_frames: u64 = told.iter().flatten().map(|told| u64::from(told.wire_len)).sum();
    let handshake: usize = sample.handshake.iter().sum();
    assert_eq!(
        of_frames + summary.lost_bytes + handshake as u64,
        summary.stream_bytes.iter().sum::<u64>()
    );
}

#[test]
fn secrets_that_open_nothing_make_it_failed_until_the_right_one_comes() {
    let sample = sample(None);
    let secrets = SecretStore::new();
    for seed in [1, 2] {
        let mut wrong = Sample::new(seed, None).key_log_entry();
        wrong.session = Some(sample.session);
        secrets.add(wrong, &"wrong".into());
    }
    let mut decoder = decoder(SessionOptions::default());
    let (mut told, mut problems) = ([Vec::new(), Vec::new()], Vec::new());
    let push = |decoder: &mut SessionDecoder, direction: Direction, range: std::ops::Range<usize>| {
        let bytes = Cow::Borrowed(&sample.streams[direction.index()][range.clone()]);
        let chunk = StreamChunk {
            offset: StreamOffset(range.start as u64),
            seen: CaptureTime::from_nanos(0),
            bytes,
        };
        decoder.push(side(direction), StreamItem::Data(chunk), &secrets);
    };
    push(&mut decoder, Direction::FromInitiator, 0..sample.handshake[0]);
    push(&mut decoder, Direction::FromRecipient, 0..sample.handshake[1]);
    assert_eq!(
        decoder.summary().recognised,
        Recognised::Decrypted,
        "a secret fits, and no frame follows"
    );
    push(
        &mut decoder,
        Direction::FromInitiator,
        sample.handshake[0]..sample.streams[0].len(),
    );
    drain(&mut decoder, &mut told, &mut problems);
    assert_eq!(problems, [ProblemKind::WrongSecret { candidates: 2 }]);
    assert_eq!(
        (decoder.summary().recognised, decoder.summary().unused_candidates),
        (Recognised::Failed, 2)
    );

    secrets.add(sample.key_log_entry(), &"right".into());
    push(
        &mut decoder,
        Direction::FromRecipient,
        sample.handshake[1]..sample.streams[1].len(),
    );
    drain(&mut decoder, &mut told, &mut problems);
    let summary = decoder.summary();
    assert_eq!(
        (summary.recognised, summary.unused_candidates),
        (Recognised::Decrypted, 2)
    );
    assert_eq!([told[0].len(), told[1].len()], [9, 10]);
    assert_eq!(summary.secret_source.as_deref(), Some("right"));
}

/// Senders decide when their frames end, so all sessions share a limit of what unfinished ones may hold. What is beyond costs the frame it
/// belongs to, is counted, and reading goes on behind it.
#[test]
fn unfinished_frames_of_all_sessions_share_a_limit() {
    const LARGE: usize = 700_000;
    let frames = WaitingPool::new(LARGE + 100_000);
    let mut sample = sample(None);
    let small = sample.streams[0].len();
    sample.message(Direction::FromInitiator, 0x22, &incompressible(LARGE));
    let large = sample.streams[0].len();
    assert!(large - small > LARGE);
    sample.message(Direction::FromInitiator, 0x23, &[0xc0]);
    let all = sample.streams[0].len();
    let secrets = SecretStore::new();
    secrets.add(sample.key_log_entry(), &"sample".into());

    struct Session(SessionDecoder, [Vec<Told>; 2], Vec<ProblemKind>);
    let mut sessions = [0, 1].map(|_| {
        let options = SessionOptions {
            frames: frames.clone(),
            ..SessionOptions::default()
        };
        Session(decoder(options), Default::default(), Vec::new())
    });
    let push = |session: &mut Session, direction: Direction, range: std::ops::Range<usize>| {
        let stream = &sample.streams[direction.index()];
        for start in range.clone().step_by(1000) {
            let chunk = StreamChunk {
                offset: StreamOffset(start as u64),
                seen: CaptureTime::from_nanos(0),
                bytes: Cow::Borrowed(&stream[start..range.end.min(start + 1000)]),
            };
            session.0.push(side(direction), StreamItem::Data(chunk), &secrets);
            drain(&mut session.0, &mut session.1, &mut session.2);
        }
    };
    // Both are in the middle of their large frame, then both go on.
    let half = small + LARGE / 2 + 100_000;
    for session in &mut sessions {
        push(session, Direction::FromInitiator, 0..small);
        push(session, Direction::FromRecipient, 0..sample.streams[1].len());
        push(session, Direction::FromInitiator, small..half);
    }
    for session in &mut sessions {
        push(session, Direction::FromInitiator, half..all);
    }
    let codes =
        |session: &Session| -> Vec<u64> { session.1[0].iter().map(|told| told.code).skip(9).collect() };
    let [first, second] = &sessions;
    assert_eq!(codes(first), [0x22, 0x23]);
    assert_eq!((first.2.len(), first.0.summary().lost_bytes), (0, 0));
    assert_eq!(codes(second), [0x23]);
    assert!(
        matches!(second.2[..], [ProblemKind::FrameMemory { .. }]),
        "{:?}",
        second.2
    );
    let summary = second.0.summary();
    assert_eq!(summary.lost_bytes, (large - small) as u64);
    assert_eq!(summary.frames_lost, [1, 0]);
    assert!(summary.dropped_bytes > 0 && summary.dropped_bytes < LARGE as u64 / 2);
    // What was held is given back: a third one finds room.
    let mut third = Session(
        decoder(SessionOptions {
            frames,
            ..SessionOptions::default()
        }),
        Default::default(),
        Vec::new(),
    );
    push(&mut third, Direction::FromInitiator, 0..small);
    push(&mut third, Direction::FromRecipient, 0..sample.streams[1].len());
    push(&mut third, Direction::FromInitiator, small..all);
    assert_eq!(codes(&third), [0x22, 0x23]);
}

/// Bytes that Snappy cannot make smaller.
fn incompressible(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// A session whose place was sought in vain holds nothing until other secrets come; what fell on the floor until then is counted, and the
/// offsets behind it are right.
#[test]
fn what_a_session_without_hope_drops_is_counted_once_it_is_joined() {
    let sample = sample(Some(0));
    let secrets = SecretStore::new();
    let (expected, ..) = reference(&sample);
    let mut decoder = decoder(SessionOptions::default());
    // The handshake is missing; then some of the rest, some more, and what comes behind it.
    let cuts = [0, 1].map(|index| {
        let (start, end) = (sample.handshake[index], sample.streams[index].len());
        [start, start + (end - start) / 4, start + (end - start) / 2, end]
    });
    for step in 0..3 {
        if step == 0 {
            for direction in [Direction::FromInitiator, Direction::FromRecipient] {
                let gap = StreamGap {
                    offset: StreamOffset(0),
                    len: sample.handshake[direction.index()] as u64,
                    seen: CaptureTime::from_nanos(0),
                };
                decoder.push(side(direction), StreamItem::Gap(gap), &secrets);
            }
        }
        for direction in [Direction::FromInitiator, Direction::FromRecipient] {
            let cut = cuts[direction.index()];
            let chunk = StreamChunk {
                offset: StreamOffset(cut[step] as u64),
                seen: CaptureTime::from_nanos(0),
                bytes: Cow::Borrowed(&sample.streams[direction.index()][cut[step]..cut[step + 1]]),
            };
            decoder.push(side(direction), StreamItem::Data(chunk), &secrets);
        }
        match step {
            0 => {
                assert!(decoder.sought().is_some());
                decoder.give_up(secrets.generation());
                assert!(decoder.sought().is_none());
            }
            1 => {
                assert!(decoder.sought().is_none(), "nothing is held");
                secrets.add(sample.key_log_entry(), &"late".into());
            }
            _ => {}
        }
    }
    let dropped: usize = cuts.iter().map(|cut| cut[2] - cut[0]).sum();
    assert_eq!(decoder.summary().dropped_bytes, dropped as u64);
    let mut request = SearchRequest {
        reach: u64::MAX,
        ..SearchRequest::default()
    };
    for (side, runs) in decoder.sought().unwrap().runs.iter().enumerate() {
        request.runs[side] = runs.iter().map(|(offset, run)| (*offset, run.to_vec())).collect();
    }
    let limits = SearchLimits {
        jobs: 1,
        budget: 1 << 20,
    };
    let answer = search(&[request], &secrets.all(), 0..1 << 16, limits)
        .answers
        .remove(0)
        .unwrap();
    decoder.attach(&answer.candidate, answer.places);
    let (mut told, mut problems) = ([Vec::new(), Vec::new()], Vec::new());
    drain(&mut decoder, &mut told, &mut problems);
    let mut before = 0;
    for direction in [Direction::FromInitiator, Direction::FromRecipient] {
        let behind: Vec<u64> = expected[direction.index()]
            .iter()
            .map(|told| told.offset)
            .filter(|&offset| offset >= cuts[direction.index()][2] as u64)
            .collect();
        let found: Vec<u64> = told[direction.index()].iter().map(|told| told.offset).collect();
        assert!(!behind.is_empty());
        assert_eq!(found, behind);
        before += behind[0];
    }
    let summary = decoder.summary();
    assert_eq!(summary.recognised, Recognised::Decrypted);
    assert_eq!(summary.lost_bytes, before);
    assert!(
        matches!(problems[..], [ProblemKind::WaitingLimit { .. }]),
        "{problems:?}"
    );
}

/// The handshake is whole, and gaps swallow the first headers of both directions: no header tells which secret it is, but a later
/// place does, once somebody has searched for it.
#[test]
fn behind_a_handshake_whose_first_frames_are_lost_the_place_is_sought() {
    let sample = sample(Some(0));
    let secrets = SecretStore::new();
    secrets.add(sample.key_log_entry(), &"sample".into());
    let (expected, ..) = reference(&sample);
    let mut decoder = decoder(SessionOptions::default());
    let mut holes = [0; 2];
    for direction in [Direction::FromInitiator, Direction::FromRecipient] {
        let stream = &sample.streams[direction.index()];
        let start = sample.handshake[direction.index()];
        let end = start + 300;
        holes[direction.index()] = end;
        for (offset, bytes) in [(0, &stream[..start]), (end, &stream[end..])] {
            if offset > 0 {
                let gap = StreamGap {
                    offset: StreamOffset(start as u64),
                    len: (end - start) as u64,
                    seen: CaptureTime::from_nanos(0),
                };
                decoder.push(side(direction), StreamItem::Gap(gap), &secrets);
            }
            let chunk = StreamChunk {
                offset: StreamOffset(offset as u64),
                seen: CaptureTime::from_nanos(0),
                bytes: Cow::Borrowed(bytes),
            };
            decoder.push(side(direction), StreamItem::Data(chunk), &secrets);
        }
    }
    assert_eq!(decoder.summary().recognised, Recognised::Lost);
    let mut request = SearchRequest {
        reach: u64::MAX,
        ..SearchRequest::default()
    };
    let sought = decoder.sought().unwrap();
    assert!(sought.only.is_none());
    for (side, runs) in sought.runs.iter().enumerate() {
        request.runs[side] = runs.iter().map(|(offset, run)| (*offset, run.to_vec())).collect();
    }
    let limits = SearchLimits {
        jobs: 1,
        budget: 1 << 20,
    };
    let answer = search(&[request], &secrets.all(), 0..1 << 16, limits)
        .answers
        .remove(0)
        .unwrap();
    decoder.attach(&answer.candidate, answer.places);
    let (mut told, mut problems) = ([Vec::new(), Vec::new()], Vec::new());
    drain(&mut decoder, &mut told, &mut problems);
    for direction in [Direction::FromInitiator, Direction::FromRecipient] {
        let behind: Vec<u64> = expected[direction.index()]
            .iter()
            .map(|told| told.offset)
            .filter(|&offset| offset >= holes[direction.index()] as u64)
            .collect();
        let found: Vec<u64> = told[direction.index()].iter().map(|told| told.offset).collect();
        assert!(!behind.is_empty());
        assert_eq!(found, behind);
    }
    let summary = decoder.summary();
    assert_eq!(summary.recognised, Recognised::Decrypted);
    assert_eq!(summary.attached, Some(Attached::Midstream));
    assert_eq!(summary.session, Some(sample.session));
}
