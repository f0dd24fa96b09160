//! A second, small reading of captures: nothing of bftap's analyzer is in it but the ciphers and the message decoders.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use bftap_decrypt::keystream::Keystream;
use bftap_decrypt::mac::FrameMac;
use bftap_decrypt::secrets::{AesSecret, MacSecret};
use bftap_ibft_decode::rlp_view::Item;
use bftap_ibft_decode::{SignatureCheck, dialect_named};
use bftap_model::{Address, keccak256};

pub(crate) type End = (String, u16);

/// What a capture holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) packets: u64,
    /// Whole frames of each direction, the client's first, by client and server.
    pub(crate) frames: BTreeMap<(String, String), [u64; 2]>,
    /// Where the frames of a stream lie, by client, server and side: bytes of the stream, code, hash of a consensus payload.
    pub(crate) places: BTreeMap<(String, String, usize), Vec<Place>>,
    pub(crate) codes: BTreeMap<String, u64>,
    pub(crate) messages: Vec<Message>,
    /// Frames of the consensus code that hold no message.
    pub(crate) undecodable: u64,
    /// Reasons of all Disconnect messages, as they stand on the wire.
    pub(crate) disconnects: Vec<Vec<u8>>,
}

pub(crate) type Place = (Range<u64>, u64, Option<[u8; 32]>);

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) sender: String,
    pub(crate) receiver: String,
    pub(crate) sequence: u64,
    pub(crate) round: u64,
    pub(crate) kind: String,
    pub(crate) claimed: Option<Address>,
    pub(crate) signer: Option<Address>,
    pub(crate) payload: [u8; 32],
    #[allow(dead_code, reason = "not every test that reads captures asks for it")]
    pub(crate) digest: Option<[u8; 32]>,
    pub(crate) bytes: u64,
}

#[derive(Default)]
struct Stream {
    isn: u32,
    pieces: BTreeMap<u32, Vec<u8>>,
}

#[derive(Default)]
struct Flow {
    client: Option<End>,
    server: Option<End>,
    streams: [Stream; 2],
}

/// Reads captures of one network; `dialect` is the name of its messages' encoding.
pub(crate) fn read(captures: &[Vec<u8>], key_log: &str, dialect: &str) -> Contents {
    let mut packets: Vec<_> = captures.iter().flat_map(|capture| packets(capture)).collect();
    packets.sort_by_key(|packet| packet.0);
    let mut contents = Contents {
        packets: packets.len() as u64,
        ..Contents::default()
    };
    let mut flows: Vec<Flow> = Vec::new();
    let mut current: HashMap<[End; 2], usize> = HashMap::new();
    for (_, packet) in &packets {
        let segment = segment(packet);
        let mut key = [segment.from.clone(), segment.to.clone()];
        key.sort();
        let opens = segment.flags & 0x12 == 0x02;
        let known = current.get(&key).is_some_and(|&flow| {
            let flow = &flows[flow];
            !opens || (flow.client.as_ref() == Some(&segment.from) && flow.streams[0].isn == segment.seq)
        });
        if !known {
            flows.push(Flow::default());
            current.insert(key.clone(), flows.len() - 1);
        }
        let flow = &mut flows[current[&key]];
        if opens {
            flow.client = Some(segment.from.clone());
            flow.server = Some(segment.to.clone());
        }
        let Some(client) = &flow.client else { continue };
        let stream = &mut flow.streams[usize::from(*client != segment.from)];
        if segment.flags & 0x02 != 0 {
            stream.isn = segment.seq;
        }
        if !segment.payload.is_empty() {
            let offset = segment.seq.wrapping_sub(stream.isn).wrapping_sub(1);
            let piece = stream.pieces.entry(offset).or_default();
            if piece.len() < segment.payload.len() {
                *piece = segment.payload.to_vec();
            }
        }
    }
    let keys = keys(key_log);
    let mut payloads: Payloads = HashMap::new();
    for flow in &flows {
        decrypt(flow, &keys, dialect, &mut payloads, &mut contents);
    }
    contents
}

/// Payloads, with what they decode to.
type Payloads = HashMap<Vec<u8>, Option<Message>>;

type Keys = HashMap<String, [[u8; 32]; 4]>;

fn keys(key_log: &str) -> Keys {
    let mut keys = Keys::new();
    for line in key_log.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        assert_eq!(fields[0], "RLPX");
        let mut values = [[0; 32]; 4];
        for (value, field) in values.iter_mut().zip(&fields[2..6]) {
            hex::decode_to_slice(field, value).unwrap();
        }
        let known = keys.insert(fields[1].to_owned(), values);
        assert!(
            known.is_none_or(|known| known == values),
            "both ends log the same secrets"
        );
    }
    keys
}

fn decrypt(flow: &Flow, keys: &Keys, dialect: &str, payloads: &mut Payloads, contents: &mut Contents) {
    let (Some(client), Some(server)) = (&flow.client, &flow.server) else {
        return;
    };
    let streams = [joined(&flow.streams[0]), joined(&flow.streams[1])];
    for preamble in [0, 1] {
        let Some(packets) = handshake(&streams, preamble) else {
            continue;
        };
        let session = keccak256(packets[0]).to_hex();
        let Some([aes, mac, initiator_nonce, recipient_nonce]) = keys.get(&session) else {
            continue;
        };
        let mut frames = [0, 0];
        for (side, nonce) in [recipient_nonce, initiator_nonce].into_iter().enumerate() {
            let mut keystream = Keystream::new(&AesSecret::new(*aes));
            let mut macs = FrameMac::new(&MacSecret::new(*mac), nonce, packets[side]);
            let mut rest = &streams[side][preamble + packets[side].len()..];
            let mut places: Vec<Place> = Vec::new();
            while let Some((body, wire_len)) = frame(rest, &mut keystream, &mut macs) {
                let start = (streams[side].len() - rest.len()) as u64;
                rest = &rest[wire_len..];
                let code = Item::first(&body, 0, "code").unwrap();
                let mut payload = body[code.raw().len()..].to_vec();
                let code = code.uint(u64::MAX, "code").unwrap();
                if frames[side] > 0 {
                    payload = snap::raw::Decoder::new().decompress_vec(&payload).unwrap();
                }
                frames[side] += 1;
                places.push((start..start + wire_len as u64, code, None));
                *contents.codes.entry(code.to_string()).or_default() += 1;
                if code == 1 {
                    contents.disconnects.push(payload);
                } else if matches!(code, 0x21 | 0x32) {
                    let message = payloads
                        .entry(payload)
                        .or_insert_with_key(|payload| message(payload, dialect));
                    let Some(mut message) = message.clone() else {
                        contents.undecodable += 1;
                        continue;
                    };
                    let ends = [client.0.clone(), server.0.clone()];
                    message.sender = ends[side].clone();
                    message.receiver = ends[1 - side].clone();
                    message.bytes = wire_len as u64;
                    places.last_mut().unwrap().2 = Some(message.payload);
                    contents.messages.push(message);
                }
            }
            contents
                .places
                .insert((shown(client), shown(server), side), places);
        }
        contents.frames.insert((shown(client), shown(server)), frames);
        return;
    }
}

fn handshake(streams: &[Vec<u8>; 2], preamble: usize) -> Option<[&[u8]; 2]> {
    let mut packets = [&[][..]; 2];
    for (packet, stream) in packets.iter_mut().zip(streams) {
        let stream = stream.get(preamble..)?;
        let size = u16::from_be_bytes([*stream.first()?, *stream.get(1)?]);
        *packet = stream.get(..2 + usize::from(size))?;
    }
    Some(packets)
}

/// Opens the next frame if it is whole: its content, and its bytes on the wire.
fn frame(stream: &[u8], keystream: &mut Keystream, macs: &mut FrameMac) -> Option<(Vec<u8>, usize)> {
    let mut header: [u8; 16] = *stream.first_chunk()?;
    let tag = stream.get(16..32)?;
    // A frame that is not whole is the stream's last: what it does to the state does not matter.
    assert_eq!(macs.header(&header), tag, "header MAC");
    keystream.apply(&mut header);
    assert_eq!(header[3..6], [0xc2, 0x80, 0x80]);
    let size = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
    let padded = size.next_multiple_of(16);
    let mut body = stream.get(32..32 + padded)?.to_vec();
    let tag = stream.get(32 + padded..48 + padded)?;
    assert_eq!(macs.body(&body), tag, "frame MAC");
    keystream.apply(&mut body);
    assert!(body[size..].iter().all(|&byte| byte == 0), "padding");
    body.truncate(size);
    Some((body, 48 + padded))
}

/// `None` where even the outermost list is none.
fn message(wire: &[u8], dialect: &str) -> Option<Message> {
    let dialect = dialect_named(dialect).unwrap();
    let envelope = dialect.open(0x11, wire).ok()?;
    let decoded = dialect
        .decode(0x11, envelope.payload, SignatureCheck::Recover)
        .unwrap();
    if let (Some(seal), true) = (&decoded.commit_seal, decoded.signer == decoded.claimed) {
        assert_eq!(seal.signer(), decoded.signer, "commit seal");
    }
    if let Some(proposal) = &decoded.proposal {
        assert_eq!(Some(proposal.hash), decoded.digest);
        assert!(
            proposal.validators.contains(&proposal.proposer.unwrap()),
            "proposer seal"
        );
    }
    Some(Message {
        sender: String::new(),
        receiver: String::new(),
        sequence: decoded.view.sequence,
        round: decoded.view.round,
        kind: decoded.kind.to_string(),
        claimed: decoded.claimed,
        signer: decoded.signer,
        payload: keccak256(envelope.payload).0,
        digest: decoded.digest.map(|digest| digest.0),
        bytes: 0,
    })
}

fn joined(stream: &Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (&offset, piece) in &stream.pieces {
        let offset = offset as usize;
        if offset > bytes.len() {
            // Only what was lost last and never came again is missing.
            break;
        }
        let overlap = bytes.len() - offset;
        assert_eq!(
            bytes[offset..][..overlap.min(piece.len())],
            piece[..overlap.min(piece.len())]
        );
        bytes.extend_from_slice(piece.get(overlap..).unwrap_or_default());
    }
    bytes
}

fn shown((ip, port): &End) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

struct Segment<'p> {
    from: End,
    to: End,
    seq: u32,
    flags: u8,
    payload: &'p [u8],
}

fn segment(packet: &[u8]) -> Segment<'_> {
    let ip = if packet[12..14] == [0x81, 0x00] {
        &packet[16..]
    } else {
        &packet[12..]
    };
    let (from, to, tcp) = match ip[..2] {
        [0x08, 0x00] => {
            let address = |at: usize| <[u8; 4]>::try_from(&ip[at..at + 4]).unwrap();
            (
                address(14).into(),
                address(18).into(),
                &ip[2 + usize::from(ip[2] & 15) * 4..],
            )
        }
        [0x86, 0xdd] => {
            let address = |at: usize| <[u8; 16]>::try_from(&ip[at..at + 16]).unwrap();
            (address(10).into(), address(26).into(), &ip[42..])
        }
        ref other => panic!("EtherType {other:?}"),
    };
    let (from, to): (std::net::IpAddr, std::net::IpAddr) = (from, to);
    let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    Segment {
        from: (from.to_string(), port(0)),
        to: (to.to_string(), port(2)),
        seq: u32::from_be_bytes(tcp[4..8].try_into().unwrap()),
        flags: tcp[13],
        payload: &tcp[usize::from(tcp[12] >> 4) * 4..],
    }
}

/// Packets of a pcap or pcapng file, with their times in nanoseconds.
fn packets(capture: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut packets = Vec::new();
    let magic = word(capture, 0);
    if magic == 0x0a0d_0d0a {
        let mut rest = capture;
        while !rest.is_empty() {
            let len = word(rest, 4) as usize;
            let block = &rest[..len];
            assert_eq!(
                word(block, len - 4) as usize,
                len,
                "both lengths of a block are the same"
            );
            if word(block, 0) == 6 {
                let nanos = u64::from(word(block, 12)) << 32 | u64::from(word(block, 16));
                packets.push((nanos, block[28..28 + word(block, 20) as usize].to_vec()));
            }
            rest = &rest[len..];
        }
    } else {
        let unit = if magic == 0xa1b2_3c4d { 1 } else { 1000 };
        let mut rest = &capture[24..];
        while !rest.is_empty() {
            let nanos = u64::from(word(rest, 0)) * 1_000_000_000 + u64::from(word(rest, 4)) * unit;
            let len = word(rest, 8) as usize;
            packets.push((nanos, rest[16..16 + len].to_vec()));
            rest = &rest[16 + len..];
        }
    }
    packets
}
