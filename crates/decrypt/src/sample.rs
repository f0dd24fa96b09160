//! A session as its two ends write it, made from nothing: for tests, benches and fuzz targets.
//!
//! Auth and ack have the right shape and random content; what follows is real frames with real MACs.

use bftap_model::{Direction, Hash256, keccak256};

use crate::frame::HEADER_TAIL;
use crate::keylog::KeyLogEntry;
use crate::keystream::{BLOCK_LEN, Keystream};
use crate::mac::FrameMac;
use crate::secrets::{AesSecret, MacSecret, MacSecrets, SessionSecrets};

/// Both streams of a session, by [`Direction::index`], and the secrets that open it.
pub struct Sample {
    /// What each end has sent so far, connection-type byte and handshake packet first.
    pub streams: [Vec<u8>; 2],
    /// Length of that start of each stream.
    pub handshake: [usize; 2],
    /// Keccak-256 of the auth packet.
    pub session: Hash256,
    /// The secrets.
    pub secrets: SessionSecrets,
    keystreams: [Keystream; 2],
    macs: [FrameMac; 2],
}

impl Sample {
    /// A session after its handshake; with a connection-type byte if one is given.
    pub fn new(seed: u8, connection_type: Option<u8>) -> Self {
        let bytes = |label: u8| keccak256(&[seed, label]).0;
        let packet = |label: u8, len: usize| {
            let random = |i: usize| keccak256(&[seed, label, i as u8]).0[i % 32];
            let mut packet: Vec<u8> = (0..len).map(random).collect();
            packet[..2].copy_from_slice(&(len as u16 - 2).to_be_bytes());
            packet[2] = 0x04;
            packet
        };
        let packets = [
            packet(0, 384 + usize::from(seed)),
            packet(1, 317 + usize::from(seed / 2)),
        ];
        let aes = AesSecret::new(bytes(2));
        let mac = MacSecrets {
            secret: MacSecret::new(bytes(3)),
            initiator_nonce: bytes(4),
            recipient_nonce: bytes(5),
        };
        let macs = [
            FrameMac::new(&mac.secret, &mac.recipient_nonce, &packets[0]),
            FrameMac::new(&mac.secret, &mac.initiator_nonce, &packets[1]),
        ];
        let session = keccak256(&packets[0]);
        let streams = packets.map(|packet| connection_type.into_iter().chain(packet).collect::<Vec<u8>>());
        Self {
            handshake: streams.each_ref().map(Vec::len),
            streams,
            session,
            keystreams: [Keystream::new(&aes), Keystream::new(&aes)],
            macs,
            secrets: SessionSecrets { aes, mac: Some(mac) },
        }
    }

    /// What a node would log.
    pub fn key_log_entry(&self) -> KeyLogEntry {
        KeyLogEntry {
            session: Some(self.session),
            secrets: self.secrets.clone(),
            role: None,
        }
    }

    /// Writes a frame with these contents, code included; they are below 16 MiB.
    pub fn frame(&mut self, direction: Direction, data: &[u8]) {
        let (keystream, mac) = (
            &mut self.keystreams[direction.index()],
            &mut self.macs[direction.index()],
        );
        let stream = &mut self.streams[direction.index()];
        let mut header = [0; BLOCK_LEN];
        header[..3].copy_from_slice(&(data.len() as u32).to_be_bytes()[1..]);
        header[3..].copy_from_slice(&HEADER_TAIL);
        keystream.apply(&mut header);
        stream.extend_from_slice(&header);
        stream.extend_from_slice(&mac.header(&header));
        let start = stream.len();
        stream.extend_from_slice(data);
        stream.resize(start + data.len().next_multiple_of(BLOCK_LEN), 0);
        keystream.apply(&mut stream[start..]);
        let frame_mac = mac.body(&stream[start..]);
        stream.extend_from_slice(&frame_mac);
    }

    /// Goes on as if frames of so many blocks of key stream had been written, which nobody will see. MACs are wrong from here on.
    pub fn skip_blocks(&mut self, direction: Direction, blocks: u64) {
        let keystream = &mut self.keystreams[direction.index()];
        keystream.seek_block(keystream.block() + blocks);
    }

    /// Writes a message as it goes after Hello: its payload compressed.
    pub fn message(&mut self, direction: Direction, code: u8, payload: &[u8]) {
        let mut data = vec![if code == 0 { 0x80 } else { code }];
        // Compression only fails beyond 4 GiB.
        data.extend(
            snap::raw::Encoder::new()
                .compress_vec(payload)
                .unwrap_or_default(),
        );
        self.frame(direction, &data);
    }

    /// Writes the Hello of a Klaytn node that offers `istanbul/64`.
    pub fn hello(&mut self, direction: Direction) {
        let mut hello = rlp::RlpStream::new_list(6);
        hello
            .append(&5_u8)
            .append(&"Klaytn/sample")
            .begin_list(1)
            .begin_list(2)
            .append(&"istanbul")
            .append(&64_u8);
        hello
            .begin_list(0)
            .append(&vec![direction.index() as u8 + 1; 64])
            .append(&0_u8);
        self.frame(direction, &[&[0x80], &hello.out()[..]].concat());
    }

    /// Writes a Status with network id 1000.
    pub fn status(&mut self, direction: Direction) {
        let mut status = rlp::RlpStream::new_list(6);
        status.append(&64_u8).append(&1000_u16).append(&7_u8);
        status
            .append(&vec![0xaa; 32])
            .append(&vec![0xbb; 32])
            .append(&1000_u16);
        self.message(direction, 0x10, &status.out());
    }
}
