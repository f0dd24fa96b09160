//! What a file that is no capture looks like, for the error message.

use super::error::CaptureError;

/// Bytes that [`not_a_capture`] wants to see, if the file has them.
pub(super) const SNIFF_LEN: usize = 512;

/// Why a file with these first bytes, unpacked by `inside` if it was compressed, cannot be read.
pub(super) fn not_a_capture(head: &[u8], inside: Option<&str>) -> CaptureError {
    if head.is_empty() {
        return CaptureError::Empty;
    }
    for &(magic, what) in OTHER_CAPTURES {
        if head.starts_with(magic) {
            return CaptureError::Unsupported {
                what: what.to_owned(),
            };
        }
    }
    if looks_like_erf(head) {
        return CaptureError::Unsupported {
            what: "an Endace ERF capture".to_owned(),
        };
    }
    let looks_like = OTHER_FILES
        .iter()
        .find(|(magic, _)| head.starts_with(magic))
        .map_or_else(|| shape(head), |&(_, what)| what);
    CaptureError::NotACapture {
        looks_like: match inside {
            Some(format) => format!("{looks_like}, packed with {format}"),
            None => looks_like.to_owned(),
        },
    }
}

const OTHER_CAPTURES: &[(&[u8], &str)] = &[
    (b"snoop\0\0\0", "a Solaris snoop capture"),
    (b"btsnoop\0", "a Bluetooth HCI capture (btsnoop)"),
    (b"GMBU", "a Microsoft Network Monitor 2 capture"),
    (b"RTSS", "a Microsoft Network Monitor 1 capture"),
    (b"TRSNIFF data    \x1a", "a Network General Sniffer capture"),
    (b"iptrace 1.0", "an AIX iptrace capture"),
    (b"iptrace 2.0", "an AIX iptrace capture"),
    (b"XCP\0", "a NetXRay capture"),
    (b"\x7fVER", "a Savvius *Peek capture"),
    (b"\x1c\x00\x01\xac", "an Ixia pcap with hardware time stamps"),
    (b"\xac\x01\x00\x1c", "an Ixia pcap with hardware time stamps"),
    (b"\x1c\x00\x01\xab", "an Ixia pcap with software time stamps"),
    (b"\xab\x01\x00\x1c", "an Ixia pcap with software time stamps"),
];

const OTHER_FILES: &[(&[u8], &str)] = &[
    (b"\x7fELF", "an ELF program"),
    (b"MZ", "a Windows program"),
    (b"\x1f\x8b", "gzip inside of a compressed file (unpack it once)"),
    (
        b"\x28\xb5\x2f\xfd",
        "zstd inside of a compressed file (unpack it once)",
    ),
    (b"\xfd7zXZ\0", "xz data (unpack it first)"),
    (b"BZh", "bzip2 data (unpack it first)"),
    (b"\x04\x22\x4d\x18", "lz4 data (unpack it first)"),
    (b"PK\x03\x04", "a zip archive (unpack it first)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive (unpack it first)"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x89PNG", "a PNG picture"),
    (b"%PDF", "a PDF document"),
    (b"RLPX", "a key log (give it with --keylog)"),
];

/// The kind of a file without a magic number.
fn shape(head: &[u8]) -> &'static str {
    if head.get(257..262) == Some(b"ustar") {
        return "a tar archive (unpack it first)";
    }
    if head.iter().all(|&byte| byte == 0) {
        return "zeros";
    }
    let valid = match std::str::from_utf8(head) {
        Ok(text) => Some(text),
        // The last character may be cut by the end of the sample.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).ok(),
        Err(_) => None,
    };
    let Some(text) = valid.filter(|text| text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace()))
    else {
        return "binary data of a kind unknown here";
    };
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with("RLPX") || text.lines().any(|line| line.starts_with("RLPX")) {
        "a key log (give it with --keylog)"
    } else if text.starts_with('{') || text.starts_with('[') {
        "JSON"
    } else if text.starts_with('<') {
        "HTML or XML"
    } else {
        "text"
    }
}

/// ERF has no magic number: a little-endian time in 2^-32 s, then type (bit 7: extension headers), flags, lengths.
fn looks_like_erf(head: &[u8]) -> bool {
    let Some(&[_, _, _, _, s0, s1, s2, s3, kind, _, r0, r1, _, _, w0, w1]) = head.first_chunk::<16>() else {
        return false;
    };
    const YEAR_2000: u32 = 946_684_800;
    const TYPE_ETHERNET: u8 = 2;
    let record = u16::from_be_bytes([r0, r1]);
    let wire = u16::from_be_bytes([w0, w1]);
    kind & 0x7f == TYPE_ETHERNET
        && u32::from_le_bytes([s0, s1, s2, s3]) > YEAR_2000
        && record >= 16 + 14
        && wire >= 14
        && u32::from(record) <= u32::from(wire) + 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_kinds_are_named() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "the file is empty"),
            (b"\x7fELF\x02\x01\x01", "ELF"),
            (b"{\"version\": 1}", "JSON"),
            (b"\n [1, 2]", "JSON"),
            (b"<!doctype html>", "HTML"),
            (b"hello\nworld\n", "text"),
            ("caf\u{e9}".as_bytes().split_last().unwrap().1, "text"),
            (b"# secrets\nRLPX 00 00 00 00 00\n", "key log"),
            (b"SQLite format 3\0....", "SQLite"),
            (b"snoop\0\0\0\0\0\0\x02", "snoop"),
            (b"\xfd7zXZ\0\0", "xz"),
            (&[0; 40], "zeros"),
            (&[9, 0, 255, 3, 7], "binary data"),
            (b"\0\0\0\0\0\x10\xe0\x5f\x02\0\0\x60\0\0\0\x50more", "ERF"),
        ];
        for (head, word) in cases {
            let message = not_a_capture(head, None).to_string();
            assert!(message.contains(word), "{message:?} lacks {word:?}");
        }
    }
}
