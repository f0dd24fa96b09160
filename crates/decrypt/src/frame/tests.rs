//! Frames come out of a stream whatever is missing from it.

use bftap_model::Direction;

use super::*;
use crate::sample::Sample;

const FROM: Direction = Direction::FromInitiator;

fn reader(sample: &Sample) -> FrameReader {
    let offset = StreamOffset(sample.handshake[0] as u64);
    FrameReader::new(Keystream::new(&sample.secrets.aes), offset, MacCheck::Skipped)
}

fn at(nanos: i64) -> CaptureTime {
    CaptureTime::from_nanos(nanos)
}

#[test]
fn a_reader_can_start_at_any_frame_once_both_places_are_known() {
    let mut sample = Sample::new(1, None);
    for len in [5, 0, 300, 16] {
        sample.frame(FROM, &vec![0x21; len]);
    }
    let mut first = reader(&sample);
    first.push(&sample.streams[0][sample.handshake[0]..], at(1));
    let mut places = Vec::new();
    while let Some(frame) = first.poll() {
        places.push((frame.unwrap().place, first.place()));
    }
    assert_eq!(places.len(), 4);
    for (index, (_, next)) in places.iter().enumerate().take(3) {
        let (offset, block) = next.unwrap();
        let expected = places[index + 1].0;
        assert_eq!((offset, block), (expected.origin.offset, expected.block));
        let mut keystream = Keystream::new(&sample.secrets.aes);
        keystream.seek_block(block);
        let mut later = FrameReader::new(keystream, offset, MacCheck::Unverifiable);
        later.push(&sample.streams[0][offset.0 as usize..], at(1));
        let place = later.poll().unwrap().unwrap().place;
        assert_eq!(
            place,
            FramePlace {
                mac: MacState::Unverifiable,
                ..expected
            }
        );
    }
}

#[test]
fn a_frame_is_complete_when_its_last_packet_was_captured() {
    let mut sample = Sample::new(1, None);
    sample.frame(FROM, &[1; 16]);
    sample.frame(FROM, &[2; 16]);
    sample.frame(FROM, &[3; 16]);
    let stream = &sample.streams[0][sample.handshake[0]..];
    let mut reader = reader(&sample);
    // The first piece came late; the others were captured before it.
    reader.push(&stream[..40], at(9));
    reader.push(&stream[40..140], at(5));
    reader.push(&stream[140..], at(6));
    let seen: Vec<_> =
        std::iter::from_fn(|| reader.poll().map(|frame| frame.unwrap().place.origin.seen)).collect();
    assert_eq!(seen, [at(9), at(5), at(6)]);
}

/// What a reader makes of a stream with these spans missing: offsets of the frames, errors, and the reader.
fn read_around(sample: &Sample, missing: &[Range<usize>]) -> (Vec<usize>, Vec<FrameError>, FrameReader) {
    let keys = sample.secrets.mac.as_ref().unwrap();
    let auth = &sample.streams[0][..sample.handshake[0]];
    let mac = FrameMac::new(&keys.secret, &keys.recipient_nonce, auth);
    let offset = StreamOffset(sample.handshake[0] as u64);
    let keystream = Keystream::new(&sample.secrets.aes);
    let mut reader = FrameReader::new(keystream, offset, MacCheck::Running(Box::new(mac)));
    let stream = &sample.streams[0];
    let mut at = sample.handshake[0];
    let (mut frames, mut errors) = (Vec::new(), Vec::new());
    let mut drain = |reader: &mut FrameReader| {
        while let Some(frame) = reader.poll() {
            match frame {
                Ok(frame) => frames.push(frame.place.origin.offset.0 as usize),
                Err(error) => errors.push(error),
            }
        }
    };
    for span in missing {
        reader.push(&stream[at..span.start], at_time(at));
        drain(&mut reader);
        reader.gap(span.len() as u64);
        drain(&mut reader);
        at = span.end;
    }
    reader.push(&stream[at..], at_time(at));
    drain(&mut reader);
    reader.finish();
    drain(&mut reader);
    (frames, errors, reader)
}

fn at_time(offset: usize) -> CaptureTime {
    at(offset as i64)
}

/// Frames of many sizes, and where they start; the last entry is the end.
fn many_frames() -> (Sample, Vec<usize>) {
    let mut sample = Sample::new(1, None);
    let mut starts = Vec::new();
    for number in 0_usize..60 {
        starts.push(sample.streams[0].len());
        let len = [1, 16, 33, 250, 17, 900, 64, 0][number % 8] + number / 8 * 7;
        sample.frame(FROM, &vec![number as u8; len]);
    }
    starts.push(sample.streams[0].len());
    (sample, starts)
}

/// Wherever one or two gaps lie, exactly the frames come out that they do not touch, and all bytes are accounted for.
#[test]
fn every_frame_whose_bytes_are_all_there_comes_out() {
    let (sample, starts) = many_frames();
    let (first, end) = (starts[0], starts[60]);
    let whole = |missing: &[Range<usize>]| -> Vec<usize> {
        starts
            .windows(2)
            .filter(|frame| {
                missing
                    .iter()
                    .all(|gap| gap.end <= frame[0] || frame[1] <= gap.start)
            })
            .map(|frame| frame[0])
            .collect()
    };
    let mut cases: Vec<Vec<Range<usize>>> = Vec::new();
    for from in (first..end - 1).step_by(13) {
        for len in [1, 15, 16, 17, 48, 100, 1460, 5000] {
            let to = (from + len).min(end);
            let one = from..to;
            cases.push(vec![one]);
            let again = to + (from * 7 + len) % 700 + 1;
            if again < end {
                cases.push(vec![from..to, again..(again + len * 3 / 2).min(end)]);
            }
        }
    }
    for missing in cases {
        let (frames, errors, reader) = read_around(&sample, &missing);
        assert_eq!(frames, whole(&missing), "{missing:?}");
        let bytes: usize = starts
            .windows(2)
            .filter(|frame| frames.contains(&frame[0]))
            .map(|frame| frame[1] - frame[0])
            .sum();
        assert_eq!(reader.lost_bytes() as usize + bytes, end - first, "{missing:?}");
        assert_eq!(reader.incomplete_bytes(), 0, "{missing:?}");
        match &errors[..] {
            [] => assert_eq!(frames.len() as u64 + reader.frames_lost(), 60, "{missing:?}"),
            [error] => {
                assert_eq!(error.kind, FrameErrorKind::NotFound, "{missing:?}");
                let last = frames.last().copied();
                assert!(last.is_none_or(|last| last < missing[missing.len() - 1].end));
                assert_eq!(reader.lost_since(), Some(error.origin.offset));
            }
            errors => panic!("{missing:?}: {errors:?}"),
        }
    }
}

/// A large gap, filled with small frames as well as with one large one.
#[test]
fn the_place_is_found_behind_large_gaps() {
    for (frames, len) in [(30_000_usize, 3), (3, 9_000_000), (2000, 250)] {
        let mut sample = Sample::new(1, None);
        sample.frame(FROM, &[1; 40]);
        let from = sample.streams[0].len() - 1;
        for number in 0..frames {
            sample.frame(FROM, &vec![3; len + number % 3]);
        }
        let to = sample.streams[0].len() + 5;
        // A long frame is cut last, so that many bytes come before the next header.
        sample.frame(FROM, &vec![4; 1_500_000]);
        let next = sample.streams[0].len();
        sample.frame(FROM, &[5; 40]);
        let (found, errors, reader) = read_around(&sample, std::slice::from_ref(&(from..to)));
        assert_eq!((found, errors), (vec![next], vec![]), "{frames} of {len}");
        assert_eq!(reader.frames_lost() as usize, frames + 2);
    }
}

#[test]
fn a_gap_of_unknown_size_ends_the_reading() {
    let (sample, starts) = many_frames();
    let mut reader = reader(&sample);
    let stream = &sample.streams[0];
    reader.push(&stream[starts[0]..starts[2] + 3], at(1));
    reader.gap(1 << 31);
    reader.push(&stream[starts[3]..starts[5]], at(2));
    assert!(reader.poll().unwrap().is_ok() && reader.poll().unwrap().is_ok());
    let error = reader.poll().unwrap().unwrap_err();
    assert_eq!(error.kind, FrameErrorKind::GapTooLarge { missing: 1 << 31 });
    assert_eq!(reader.poll(), None);
    let lost = (1 << 31) + 3 + (starts[5] - starts[3]) as u64;
    assert_eq!(reader.lost_bytes(), lost);
    reader.push(&stream[starts[5]..], at(3));
    assert_eq!(reader.poll(), None);
    assert_eq!(reader.lost_bytes(), lost + (starts[60] - starts[5]) as u64);
}

#[test]
fn a_changed_header_costs_its_own_frame_only() {
    let (sample, starts) = many_frames();
    let tail = [FrameErrorKind::HeaderTail];
    let size = [FrameErrorKind::HeaderMac];
    for (byte, told, lost) in [(3, &tail, 1), (15, &tail, 1), (1, &size, 1), (2, &tail, 2)] {
        let mut changed = Sample::new(1, None);
        changed.streams = sample.streams.clone();
        changed.streams[0][starts[10] + byte] ^= 0x40;
        let (found, errors, reader) = read_around(&changed, &[]);
        let kinds: Vec<_> = errors.iter().map(|error| error.kind.clone()).collect();
        assert_eq!(kinds, told, "byte {byte}");
        for error in errors {
            assert!(error.to_string().contains(&error.origin.offset.to_string()));
        }
        // With a wrong size a frame is read that is none, and the one behind it may be lost with it.
        let missing: Vec<_> = starts[..60]
            .iter()
            .filter(|start| !found.contains(start))
            .collect();
        assert!(missing.len() <= lost, "byte {byte}: {missing:?}");
        assert!(found.contains(&starts[59]));
        assert_eq!(reader.lost_since(), None);
    }
}

/// Gap after gap with too little in between: at some point the search ends, and says so.
#[test]
fn searching_has_a_limit() {
    let (sample, starts) = many_frames();
    let mut reader = reader(&sample);
    reader.push(&sample.streams[0][starts[0]..starts[1] + 3], at(1));
    let mut errors = Vec::new();
    for _ in 0..100_000 {
        reader.gap(1 << 30);
        reader.push(&[7; 64], at(2));
        while let Some(frame) = reader.poll() {
            errors.extend(frame.err().map(|error| error.kind));
        }
        if !errors.is_empty() {
            break;
        }
    }
    assert_eq!(errors, [FrameErrorKind::SearchLimit]);
    assert!(reader.buffer.capacity() < 1 << 20);
}

#[test]
fn memory_of_a_large_frame_is_given_back() {
    let mut sample = Sample::new(1, None);
    sample.frame(FROM, &vec![1; 2 << 20]);
    sample.frame(FROM, &[2; 10]);
    let mut reader = reader(&sample);
    for piece in sample.streams[0][sample.handshake[0]..].chunks(1000) {
        reader.push(piece, at(1));
        while let Some(frame) = reader.poll() {
            frame.unwrap();
        }
    }
    reader.push(&[0; 16], at(2));
    assert!(
        reader.buffer.capacity() <= KEPT_CAPACITY,
        "{}",
        reader.buffer.capacity()
    );
    assert!(reader.arrivals.pieces.len() <= 1);
}
