//! Sessions that an earlier decoder left open: gone on with where the bytes confirm it, and left alone where they do not.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use bftap_decrypt::sample::Sample;
use bftap_decrypt::secret_store::Candidate;
use bftap_decrypt::{
    Attached, Chain, Recognised, Remembered, RememberedPlace, SecretStore, SessionDecoder, SessionOptions,
    SessionOutput,
};
use bftap_model::{
    CaptureTime, Direction, Endpoint, FlowKey, Hash256, Side, StreamChunk, StreamGap, StreamItem,
    StreamOffset,
};

const FROM: [Direction; 2] = [Direction::FromInitiator, Direction::FromRecipient];

/// By its ports the high side is the one that listens, so nothing but the earlier decoder can say that it dialled.
const INITIATOR: Side = Side::High;

fn key() -> FlowKey {
    let end = |host: u8, port| Endpoint {
        ip: [10, 0, 0, host].into(),
        port,
    };
    FlowKey::of(end(1, 40_000), end(2, 32_323)).0
}

fn side(direction: Direction) -> Side {
    match direction {
        Direction::FromInitiator => INITIATOR,
        Direction::FromRecipient => INITIATOR.other(),
    }
}

/// A session with messages in both directions, and where in both streams the messages begin.
fn session() -> (Sample, [Vec<usize>; 2], SecretStore) {
    let mut sample = Sample::new(7, None);
    for direction in FROM {
        sample.hello(direction);
    }
    for direction in FROM {
        sample.status(direction);
    }
    let mut starts = [Vec::new(), Vec::new()];
    for number in 0..60_u8 {
        for direction in FROM {
            starts[direction.index()].push(sample.streams[direction.index()].len());
            let payload = vec![number; usize::from(number) * 9 % 200];
            let mut item = rlp::RlpStream::new_list(2);
            item.append(&number).append(&payload);
            sample.message(direction, 0x21, &item.out());
        }
    }
    let secrets = SecretStore::new();
    secrets.add(sample.key_log_entry(), &"sample".into());
    (sample, starts, secrets)
}

/// A decoder of a part of the session's streams, and what it said.
struct Run<'a> {
    sample: &'a Sample,
    secrets: &'a SecretStore,
    decoder: SessionDecoder,
    /// Where in the streams its offset 0 is, by direction.
    first: [usize; 2],
    /// Starts of the frames in the whole stream, by direction.
    frames: [Vec<usize>; 2],
    names: Vec<&'static str>,
}

impl<'a> Run<'a> {
    fn new(sample: &'a Sample, secrets: &'a SecretStore, syn: bool, first: [usize; 2]) -> Self {
        let options = Arc::new(SessionOptions::default());
        Self {
            sample,
            secrets,
            decoder: SessionDecoder::new(options, key(), syn.then_some(INITIATOR)),
            first,
            frames: [Vec::new(), Vec::new()],
            names: Vec::new(),
        }
    }

    fn push(&mut self, direction: Direction, from: usize, to: usize) {
        let index = direction.index();
        for from in (from..to).step_by(100) {
            let to = (from + 100).min(to);
            let chunk = StreamChunk {
                offset: StreamOffset((from - self.first[index]) as u64),
                seen: CaptureTime::from_nanos(1),
                bytes: Cow::Borrowed(&self.sample.streams[index][from..to]),
            };
            self.decoder
                .push(side(direction), StreamItem::Data(chunk), self.secrets);
            self.drain();
        }
    }

    fn gap(&mut self, direction: Direction, from: usize, to: usize) {
        let gap = StreamGap {
            offset: StreamOffset((from - self.first[direction.index()]) as u64),
            len: (to - from) as u64,
            seen: CaptureTime::from_nanos(1),
        };
        self.decoder
            .push(side(direction), StreamItem::Gap(gap), self.secrets);
        self.drain();
    }

    fn finish(&mut self) {
        self.decoder.finish(self.secrets);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.decoder.poll() {
            if let SessionOutput::Message(message) = output {
                let index = message.direction.index();
                self.frames[index].push(message.origin.offset.0 as usize + self.first[index]);
                if let bftap_model::Meaning::Sub { name, .. } = message.meaning {
                    self.names.push(name);
                }
            }
        }
    }
}

/// What a decoder remembers that saw both streams up to these places.
fn remembered(sample: &Sample, secrets: &SecretStore, to: [usize; 2]) -> Remembered {
    let mut run = Run::new(sample, secrets, true, [0, 0]);
    for direction in FROM {
        run.push(direction, 0, to[direction.index()]);
    }
    run.finish();
    run.decoder.to_remember().unwrap()
}

/// The same in terms of streams that begin at `first`.
fn shifted(mut remembered: Remembered, first: [usize; 2]) -> Remembered {
    for direction in FROM {
        if let Some(place) = &mut remembered.places[side(direction).index()] {
            place.offset -= first[direction.index()] as i64;
        }
    }
    remembered
}

/// Wherever the streams are cut, and with some bytes missing there or not: all frames behind the cut come out that are whole, and
/// their codes and their chain are known.
#[test]
fn a_session_goes_on_behind_any_cut() {
    let (sample, starts, secrets) = session();
    let ends = sample.streams.each_ref().map(Vec::len);
    for lost in [0, 1, 40, 1000] {
        for cut in (starts[0][2]..starts[0][30]).step_by(13) {
            let to = [cut, cut + 50];
            let first = to.map(|to| to + lost);
            let memory = remembered(&sample, &secrets, to);
            assert!(!format!("{memory:?}").contains(&hex::encode(sample.secrets.aes.expose())));
            let mut run = Run::new(&sample, &secrets, false, first);
            run.decoder.resume(shifted(memory, first));
            for direction in FROM {
                let index = direction.index();
                run.push(direction, first[index], ends[index]);
                let whole: Vec<usize> = starts[index]
                    .iter()
                    .copied()
                    .filter(|&start| start >= first[index])
                    .collect();
                assert_eq!(
                    run.frames[index], whole,
                    "cut at {cut}, {lost} lost, {direction:?}"
                );
            }
            let names: BTreeSet<&str> = run.names.iter().copied().collect();
            assert_eq!(
                names,
                BTreeSet::from(["IstanbulMsg"]),
                "cut at {cut}, {lost} lost"
            );
            let summary = run.decoder.summary();
            assert_eq!(
                (summary.recognised, summary.attached, summary.initiator),
                (Recognised::Decrypted, Some(Attached::Midstream), INITIATOR)
            );
            let chain = Chain {
                network_id: 1000,
                genesis: Hash256([0xbb; 32]),
            };
            assert_eq!(summary.chain, Some(chain));
            assert_eq!(summary.capabilities.len(), 1);
            let ids = summary.hellos.map(|hello| hello.unwrap().node_id.0[0]);
            assert_eq!(ids, [1, 2]);
        }
    }
}

/// A memory that is wrong in any way yields nothing, and the session can be joined as ever.
#[test]
fn what_is_not_so_is_not_believed() {
    let (sample, starts, secrets) = session();
    let ends = sample.streams.each_ref().map(Vec::len);
    let to = [starts[0][10] + 20, starts[1][10] + 20];
    let memory = shifted(remembered(&sample, &secrets, to), to);
    let stranger = Sample::new(8, None);
    let other_secret = Candidate {
        secrets: Arc::new(stranger.secrets.clone()),
        session: None,
        source: "other".into(),
    };
    type Change = Box<dyn Fn(&mut Remembered)>;
    let each_place = |change: fn(&mut RememberedPlace)| -> Change {
        Box::new(move |memory| memory.places.iter_mut().flatten().for_each(change))
    };
    let changes: Vec<(&str, Change)> = vec![
        ("a block before", each_place(|place| place.block -= 1)),
        ("a block behind", each_place(|place| place.block += 1)),
        ("far away", each_place(|place| place.block += 1 << 40)),
        (
            "at the end of numbers",
            each_place(|place| place.block = u64::MAX),
        ),
        ("another byte", each_place(|place| place.offset += 1)),
        ("another place", each_place(|place| place.offset += 16)),
        ("in the future", each_place(|place| place.offset = 30 << 20)),
        (
            "at the end of offsets",
            each_place(|place| place.offset = i64::MIN),
        ),
        (
            "another secret",
            Box::new(move |memory| memory.candidate = other_secret.clone()),
        ),
    ];
    let mut plain = Run::new(&sample, &secrets, false, to);
    for direction in FROM {
        plain.push(direction, to[direction.index()], ends[direction.index()]);
    }
    plain.finish();
    assert!(plain.decoder.sought().is_some());
    for (name, change) in changes {
        let mut wrong = memory.clone();
        change(&mut wrong);
        let mut run = Run::new(&sample, &secrets, false, to);
        run.decoder.resume(wrong);
        for direction in FROM {
            run.push(direction, to[direction.index()], ends[direction.index()]);
        }
        assert_eq!(run.frames, [vec![], vec![]], "{name}");
        run.finish();
        assert!(!run.decoder.is_resuming(), "{name}");
        assert_eq!(run.frames, [vec![], vec![]], "{name}");
        let sought = |run: &Run<'_>| format!("{:?}", run.decoder.sought());
        assert_eq!(sought(&run), sought(&plain), "{name}");
    }
}

/// Bytes that neither confirm nor refute a place are searched like others after a while.
#[test]
fn patience_has_an_end() {
    let (mut sample, starts, secrets) = session();
    let to = [starts[0][10] + 20, starts[1][10] + 20];
    let memory = shifted(remembered(&sample, &secrets, to), to);
    let long = sample.streams[0].len();
    sample.streams[0].extend((0..100_000_u32).map(|number| ((number * 7919) >> 5) as u8));
    sample.streams[0].drain(to[0]..long);
    let mut run = Run::new(&sample, &secrets, false, to);
    run.decoder.resume(memory);
    run.push(FROM[0], to[0], to[0] + 1000);
    run.push(FROM[1], to[1], to[1] + 10);
    assert!(run.decoder.sought().is_none() || run.decoder.is_resuming());
    run.push(FROM[0], to[0] + 1000, to[0] + 100_000);
    assert!(run.decoder.sought().is_some() && !run.decoder.is_resuming());
    assert!(run.frames[0].is_empty());
}

#[test]
fn sides_are_confirmed_each_by_itself() {
    let (sample, starts, secrets) = session();
    let to = [starts[0][10] + 20, starts[1][10] + 20];
    let memory = shifted(remembered(&sample, &secrets, to), to);
    let places = memory.places;
    let mut run = Run::new(&sample, &secrets, false, to);
    // What came before it was known which session this is waits, and so does a side whose beginning is not known.
    run.push(FROM[0], to[0], starts[0][14] + 3);
    run.decoder.resume(Remembered {
        places: [None; 2],
        ..memory
    });
    let [one, other] = FROM.map(side);
    assert!(!run.decoder.is_resuming());
    run.decoder.resume_side(one, places[one.index()].unwrap());
    run.drain();
    assert_eq!(run.frames, [starts[0][11..14].to_vec(), vec![]]);
    run.push(FROM[0], starts[0][14] + 3, starts[0][20]);
    assert_eq!(run.frames[0], starts[0][11..20]);
    // Nothing waits for the side that is silent.
    assert!(run.decoder.sought().is_none());
    run.decoder.resume_side(other, places[other.index()].unwrap());
    assert!(run.decoder.is_awaited(other));
    run.gap(FROM[1], to[1], starts[1][20] - 1);
    run.push(FROM[1], starts[1][20] - 1, starts[1][30]);
    assert_eq!(run.frames[1], starts[1][20..30]);
    assert!(!run.decoder.is_awaited(other));

    // The next one can go on from here.
    let again = run.decoder.to_remember().unwrap();
    let place = again.places[other.index()].unwrap();
    assert_eq!(place.offset as usize + to[1], starts[1][30]);
    assert_eq!(again.told.hello_count(), 2);
}

/// So little was seen that nothing could be confirmed or refuted: the memory goes on to the next run.
#[test]
fn what_was_not_refuted_is_still_remembered() {
    let (sample, starts, secrets) = session();
    let to = [starts[0][10] + 20, starts[1][10] + 20];
    let memory = shifted(remembered(&sample, &secrets, to), to);
    let mut run = Run::new(&sample, &secrets, false, to);
    run.decoder.resume(memory.clone());
    run.push(FROM[0], to[0], to[0] + 9);
    run.finish();
    assert_eq!(run.frames, [vec![], vec![]]);
    let again = run.decoder.to_remember().unwrap();
    assert_eq!((again.places, again.told), (memory.places, memory.told));

    let nobody = Run::new(&sample, &secrets, false, to);
    assert!(nobody.decoder.to_remember().is_none());
}
