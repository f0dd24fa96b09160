//! Packets as a pcapng file, as they were captured.
//!
//! Block types and options: draft-ietf-opsawg-pcapng; byte order is little-endian throughout.

use std::io::{self, Write};

use bftap_model::{CaptureTime, TapId};
use hashbrown::HashMap;

use super::packet_source::InputStats;
use crate::link::LinkType;
use crate::packet::{CapturedPacket, RLPX_SECRETS};

/// Writes one pcapng file. Interfaces are described when their first packet comes, because their kind is known then.
#[derive(Debug)]
pub struct PcapngWriter<W> {
    out: W,
    names: Vec<String>,
    snap_length: u32,
    /// Numbers of the file's interfaces: an interface that comes back as another kind is another one.
    numbers: HashMap<(TapId, LinkType), u32>,
    /// Tap of each.
    described: Vec<TapId>,
    /// Bytes written.
    bytes: u64,
    /// Latest packet.
    last: CaptureTime,
    block: Vec<u8>,
}

impl<W: Write> PcapngWriter<W> {
    /// Begins a file. `names`: of the taps.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(out: W, names: Vec<String>, snap_length: u32) -> io::Result<Self> {
        Self::begin_by(out, "bftap live", names, snap_length)
    }

    /// As [`begin`](Self::begin), in the name of another part of the program.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin_by(out: W, application: &str, names: Vec<String>, snap_length: u32) -> io::Result<Self> {
        let mut writer = Self {
            out,
            names,
            snap_length,
            numbers: HashMap::new(),
            described: Vec::new(),
            bytes: 0,
            last: CaptureTime::from_nanos(0),
            block: Vec::new(),
        };
        let mut section = BYTE_ORDER.to_le_bytes().to_vec();
        // Version 1.0, of unknown length.
        section.extend_from_slice(&[1, 0, 0, 0]);
        section.extend_from_slice(&u64::MAX.to_le_bytes());
        put_option(&mut section, OPTION_APPLICATION, application.as_bytes());
        put_option(&mut section, OPTION_END, &[]);
        writer.put(SECTION_HEADER, &[&section])?;
        Ok(writer)
    }

    /// Writes a packet.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn packet(&mut self, packet: &CapturedPacket<'_>) -> io::Result<()> {
        let number = match self.numbers.get(&(packet.tap, packet.link)) {
            Some(&number) => number,
            None => self.describe(packet.tap, packet.link)?,
        };
        self.last = self.last.max(packet.seen);
        let [high, low] = stamp(packet.seen);
        let mut head = [0; 20];
        let fields = [number, high, low, packet.bytes.len() as u32, packet.orig_len];
        for (space, field) in head.chunks_exact_mut(4).zip(fields) {
            space.copy_from_slice(&field.to_le_bytes());
        }
        self.put(ENHANCED_PACKET, &[&head, packet.bytes])
    }

    /// Writes lines of a key log.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn secrets(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut head = [0; 8];
        head[..4].copy_from_slice(&RLPX_SECRETS.to_le_bytes());
        head[4..].copy_from_slice(&(lines.len() as u32).to_le_bytes());
        self.put(DECRYPTION_SECRETS, &[&head, lines])
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes what was written so far readable for others.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Ends the file with what is known of each interface, by tap: what was lost since `before`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self, now: &[InputStats], before: &[InputStats]) -> io::Result<W> {
        for (index, stats) in now.iter().enumerate() {
            let tap = TapId(u16::try_from(index).unwrap_or(u16::MAX));
            let was = before.get(index);
            let since = |of: fn(&InputStats) -> Option<u64>| {
                of(stats)
                    .unwrap_or(0)
                    .saturating_sub(was.and_then(of).unwrap_or(0))
            };
            let (kernel, interface) = (since(|of| of.kernel_drops), since(|of| of.interface_drops));
            let number = match self.described.iter().position(|described| *described == tap) {
                Some(number) => number as u32,
                // That nothing of it came does not mean that nothing was lost.
                None => self.describe(tap, LinkType::ETHERNET)?,
            };
            let [high, low] = stamp(self.last);
            let mut body = Vec::new();
            for field in [number, high, low] {
                body.extend_from_slice(&field.to_le_bytes());
            }
            put_option(&mut body, OPTION_INTERFACE_DROPS, &interface.to_le_bytes());
            put_option(&mut body, OPTION_SYSTEM_DROPS, &kernel.to_le_bytes());
            put_option(&mut body, OPTION_END, &[]);
            self.put(INTERFACE_STATISTICS, &[&body])?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn describe(&mut self, tap: TapId, link: LinkType) -> io::Result<u32> {
        // What the system calls raw IP has another number in files.
        let LinkType(kind) = match link {
            LinkType::RAW_BSD | LinkType::RAW_OPENBSD => LinkType::RAW,
            other => other,
        };
        let mut body = kind.to_le_bytes().to_vec();
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(&self.snap_length.to_le_bytes());
        if let Some(name) = self.names.get(usize::from(tap.0)) {
            put_option(&mut body, OPTION_NAME, name.as_bytes());
        }
        put_option(&mut body, OPTION_RESOLUTION, &[NANOSECONDS]);
        put_option(&mut body, OPTION_END, &[]);
        self.put(INTERFACE_DESCRIPTION, &[&body])?;
        let number = self.described.len() as u32;
        self.described.push(tap);
        self.numbers.insert((tap, link), number);
        Ok(number)
    }

    fn put(&mut self, kind: u32, pieces: &[&[u8]]) -> io::Result<()> {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let total = len.next_multiple_of(4) + 12;
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        block.extend_from_slice(&kind.to_le_bytes());
        block.extend_from_slice(&(total as u32).to_le_bytes());
        for piece in pieces {
            block.extend_from_slice(piece);
        }
        block.resize(total - 4, 0);
        block.extend_from_slice(&(total as u32).to_le_bytes());
        self.bytes += total as u64;
        let written = self.out.write_all(&block);
        if kind == DECRYPTION_SECRETS {
            block.fill(0);
        }
        self.block = block;
        written
    }
}

/// Upper and lower half of a time in nanoseconds.
fn stamp(time: CaptureTime) -> [u32; 2] {
    let nanos = time.nanos().max(0).cast_unsigned();
    [(nanos >> 32) as u32, nanos as u32]
}

fn put_option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const DECRYPTION_SECRETS: u32 = 10;
const OPTION_END: u16 = 0;
const OPTION_NAME: u16 = 2;
const OPTION_APPLICATION: u16 = 4;
const OPTION_INTERFACE_DROPS: u16 = 5;
const OPTION_SYSTEM_DROPS: u16 = 7;
const OPTION_RESOLUTION: u16 = 9;
/// As a power of ten.
const NANOSECONDS: u8 = 9;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::source::{CaptureReader, ReadLimits};

    #[test]
    fn what_is_written_is_what_is_read() {
        let names = vec!["mon0".to_owned(), "tun0".to_owned(), "idle".to_owned()];
        let mut writer = PcapngWriter::begin(Vec::new(), names, 262_144).unwrap();
        let packet = |nanos, tap, link, bytes: &'static [u8]| CapturedPacket {
            seen: CaptureTime::from_nanos(nanos),
            tap: TapId(tap),
            link,
            bytes,
            orig_len: 2000,
        };
        let first = 1_795_251_600_123_456_789;
        let packets = [
            packet(first, 1, LinkType::RAW_BSD, b"12345"),
            packet(first + 1, 0, LinkType::ETHERNET, b"1234"),
            packet(first + 2, 1, LinkType::ETHERNET, b""),
        ];
        for packet in &packets {
            writer.packet(packet).unwrap();
        }
        writer.secrets(b"# nothing\n").unwrap();
        let stats = |kernel, interface| InputStats {
            kernel_drops: Some(kernel),
            interface_drops: Some(interface),
            ..InputStats::default()
        };
        let before = [stats(100, 0), stats(0, 0), stats(0, 0)];
        let now = [stats(107, 2), stats(0, 0), stats(1, 0)];
        let len = writer.bytes();
        let file = writer.finish(&now, &before).unwrap();
        assert!(file.len() as u64 > len);

        let mut reader = CaptureReader::open(Box::new(Cursor::new(file)), ReadLimits::default()).unwrap();
        let batch = reader.next_batch().unwrap().unwrap();
        assert!(reader.next_batch().unwrap().is_none());
        let read: Vec<_> = batch.packets().collect();
        assert_eq!(read.len(), 3);
        for (read, written) in read.iter().zip(&packets) {
            assert_eq!(
                (read.seen, read.bytes, read.orig_len),
                (written.seen, written.bytes, 2000)
            );
        }
        assert_eq!(batch.secrets[0].lines.as_slice(), b"# nothing\n");
        let described: Vec<_> = reader
            .interfaces()
            .iter()
            .map(|interface| (interface.name.clone(), interface.link, interface.dropped))
            .collect();
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(
            described,
            [
                (name("tun0"), LinkType::RAW, Some(0)),
                (name("mon0"), LinkType::ETHERNET, Some(9)),
                (name("tun0"), LinkType::ETHERNET, None),
                (name("idle"), LinkType::ETHERNET, Some(1)),
            ]
        );
    }
}
