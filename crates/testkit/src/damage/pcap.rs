//! pcap files taken apart.

use crate::impair::Packet;

/// Why a capture cannot be damaged or judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// Not a pcap file of Ethernet frames in little-endian byte order.
    #[error("not a little-endian pcap file of Ethernet frames")]
    NotPcap,
    /// The file ends inside a packet.
    #[error("the capture ends inside the packet at byte {at}")]
    Truncated {
        /// Where the packet begins in the file.
        at: usize,
    },
    /// A stream has more bytes than sequence numbers tell apart.
    #[error("connection {connection} has a stream of 4 GiB or more")]
    StreamTooLong {
        /// Number of the connection.
        connection: u32,
    },
}

/// The packets of a pcap file, with times in nanoseconds. [`crate::impair::pcap`] makes a file of them again.
pub fn packets(capture: &[u8]) -> Result<Vec<Packet>, CaptureError> {
    let word = |at: usize| -> Option<u32> {
        let bytes = capture.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let unit = match word(0) {
        Some(MICROS) => 1000,
        Some(NANOS) => 1,
        _ => return Err(CaptureError::NotPcap),
    };
    // The upper bits tell of a frame check sequence; there is none in captures that this is for.
    if word(20) != Some(ETHERNET) {
        return Err(CaptureError::NotPcap);
    }
    let mut packets = Vec::new();
    let mut at = FILE_HEADER_LEN;
    while at < capture.len() {
        let field = |number: usize| word(at + 4 * number).ok_or(CaptureError::Truncated { at });
        let nanos = i64::from(field(0)?) * 1_000_000_000 + i64::from(field(1)?) * unit;
        let (captured, len) = (field(2)? as usize, field(3)?);
        let start = at + RECORD_HEADER_LEN;
        let bytes = capture
            .get(start..start.saturating_add(captured))
            .ok_or(CaptureError::Truncated { at })?;
        packets.push((nanos, bytes.to_vec(), len));
        at = start + captured;
    }
    Ok(packets)
}

const MICROS: u32 = 0xa1b2_c3d4;
const NANOS: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;
const FILE_HEADER_LEN: usize = 24;
const RECORD_HEADER_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture_file::PcapFile;
    use crate::impair::pcap;

    #[test]
    fn packets_come_back_as_they_were() {
        let written = [(1_795_000_000_123_456_789, vec![1, 2, 3], 9), (5, vec![], 0)];
        assert_eq!(packets(&pcap(&written)).unwrap(), written);
        let mut micros = PcapFile::new(false, PcapFile::MICROS, 1);
        micros.packet(7, 8, b"ab", 2);
        assert_eq!(
            packets(&micros.bytes()).unwrap(),
            [(7_000_008_000, b"ab".to_vec(), 2)]
        );
    }

    #[test]
    fn other_files_are_refused() {
        let file = pcap(&[(1, vec![1, 2, 3], 3)]);
        assert_eq!(
            packets(&file[..file.len() - 1]),
            Err(CaptureError::Truncated { at: 24 })
        );
        assert_eq!(packets(&file[..30]), Err(CaptureError::Truncated { at: 24 }));
        assert_eq!(packets(&file[..20]), Err(CaptureError::NotPcap));
        assert_eq!(packets(b""), Err(CaptureError::NotPcap));
        assert_eq!(
            packets(&PcapFile::new(false, PcapFile::NANOS, 113).bytes()),
            Err(CaptureError::NotPcap)
        );
        assert_eq!(
            packets(&PcapFile::new(true, PcapFile::NANOS, 1).bytes()),
            Err(CaptureError::NotPcap)
        );
    }
}
