//! Entry points of the fuzz targets, kept beside the code so that unit tests run them too.
//!
//! Each takes any bytes and panics when a promise of this crate does not hold.

use zeroize::Zeroizing;

use crate::line::{Extent, LONGEST, line_of, parse_line};
use crate::receiving::{Receiving, Request};
use crate::sending::{Answer, Sending};
use crate::wire::{Frame, MAX_CONTENT};

/// Takes bytes for what one end of a connection sends the other: as frames, and as what a shipper and a receiver are told by them.
pub fn fuzz_keyship(data: &[u8]) {
    let mut receiving = Receiving::default();
    let mut refused = false;
    let mut lines = 0;
    let mut sending = Sending::default();
    for place in 0..LINES {
        sending.push(Zeroizing::new("x".to_owned()), place);
    }
    drop(sending.connected());
    let mut stored = Vec::new();
    let mut rest = data;
    while let Ok(Some((frame, used))) = Frame::decode(rest) {
        assert!(used > 2 && used <= MAX_CONTENT + 2);
        let mut again = Vec::new();
        frame.encode(&mut again);
        assert_eq!(again, &rest[..used], "a frame has one form");
        let cut = Frame::decode(&rest[..used - 1]);
        assert!(matches!(cut, Ok(None)), "a frame that is cut is waited for");
        rest = &rest[used..];

        if !refused {
            match receiving.receive(frame.clone()) {
                Ok(Request::Store(received)) => {
                    lines += 1;
                    assert!(received.text.len() <= LONGEST);
                    let same = [Extent::WithMac, Extent::ReadOnly]
                        .into_iter()
                        .any(|extent| *line_of(&received.entry, extent) == *received.text);
                    assert!(same, "what is stored is what the line says");
                    assert!(matches!(receiving.stored(), Frame::Stored { number } if number == lines));
                }
                Ok(Request::Answer(_)) => {}
                // The connection ends here.
                Err(_) => refused = true,
            }
        }
        while sending.next_line().is_some() {}
        if let Ok(Answer::Stored(places)) = sending.receive(frame) {
            stored.extend(places);
        }
    }
    let once: Vec<usize> = (0..stored.len()).collect();
    assert_eq!(stored, once, "each line is acknowledged once, and in order");
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(entry) = parse_line(text)
    {
        let short = line_of(&entry, Extent::ReadOnly);
        let read = parse_line(&short).expect("what is sent is taken");
        assert!(read.secrets.mac.is_none(), "MAC keys leave only when told to");
    }
}

/// Lines that wait to be sent.
const LINES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ReceiverId, VERSION};

    fn seeds() -> Vec<Vec<u8>> {
        let key = hex::encode([7; 32]);
        let line = |number| Frame::Line {
            number,
            text: Zeroizing::new(format!("RLPX-AES {key} session={key}")),
        };
        let full = Frame::Line {
            number: 3,
            text: Zeroizing::new(format!("RLPX {key} {key} {key} {key} {key}")),
        };
        let frames: [&[Frame]; 3] = [
            &[
                Frame::Hello { version: VERSION },
                line(1),
                line(2),
                full,
                Frame::Ping,
            ],
            &[
                Frame::Welcome {
                    version: VERSION,
                    receiver: ReceiverId([9; 16]),
                },
                Frame::Stored { number: 2 },
                Frame::Pong,
                Frame::Stored { number: 20 },
            ],
            &[Frame::Sorry {
                reason: "because".to_owned(),
            }],
        ];
        let mut seeds: Vec<Vec<u8>> = frames
            .iter()
            .map(|frames| {
                let mut bytes = Vec::new();
                frames.iter().for_each(|frame| frame.encode(&mut bytes));
                bytes
            })
            .collect();
        seeds.push(format!("RLPX {key} {key} {key} {key} {key}").into_bytes());
        seeds
    }

    #[test]
    fn seeds_hold_every_promise_whole_cut_and_changed() {
        for (number, seed) in seeds().into_iter().enumerate() {
            if std::env::var_os("BFTAP_BLESS").is_some() {
                let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/keyship");
                std::fs::create_dir_all(folder).unwrap();
                std::fs::write(format!("{folder}/{number}"), &seed).unwrap();
            }
            fuzz_keyship(&seed);
            for cut in 0..seed.len() {
                fuzz_keyship(&seed[..cut]);
            }
            let mut changed = seed;
            for place in 0..changed.len() {
                let bit = [0x80, 0x40, 0x01][place % 3];
                changed[place] ^= bit;
                fuzz_keyship(&changed);
                changed[place] ^= bit;
            }
        }
    }
}
