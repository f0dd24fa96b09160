//! Writing RLPx frames for one direction (WIRE-FORMATS 2.5, 3): messages in, bytes out, no I/O.

use std::fmt;
use std::ops::Range;

use bftap_decrypt::keystream::{BLOCK_LEN, Keystream};
use bftap_decrypt::mac::{FrameMac, MAC_LEN};
use bftap_decrypt::secrets::AesSecret;
use bftap_ibft_decode::encode::write_uint;

/// Largest content of a frame: its size has three bytes.
pub const MAX_FRAME_SIZE: usize = 0x00ff_ffff;

/// Seals messages into frames, one after the other.
pub struct FrameWriter {
    keystream: Keystream,
    mac: FrameMac,
}

/// A message that does not fit into a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message of {size} bytes does not fit into a frame of at most {MAX_FRAME_SIZE}")]
pub struct TooLarge {
    /// Bytes of code and payload.
    pub size: usize,
}

/// Where the parts of a frame are, from its first byte: some clients write each with a call of its own (2.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameParts {
    /// Header and its MAC.
    pub header: Range<usize>,
    /// Message code.
    pub code: Range<usize>,
    /// Payload, compressed or not.
    pub payload: Range<usize>,
    /// Zeros up to a whole block.
    pub padding: Range<usize>,
    /// Frame MAC.
    pub mac: Range<usize>,
}

impl FrameParts {
    /// Parts of the frame of a message.
    pub fn of(code: u64, payload_len: usize) -> Self {
        let code_end = HEADER_END + code_len(code);
        let payload_end = code_end + payload_len;
        let body_end = HEADER_END + (payload_end - HEADER_END).next_multiple_of(BLOCK_LEN);
        Self {
            header: 0..HEADER_END,
            code: HEADER_END..code_end,
            payload: code_end..payload_end,
            padding: payload_end..body_end,
            mac: body_end..body_end + MAC_LEN,
        }
    }

    /// Bytes of the frame on the wire.
    pub const fn len(&self) -> usize {
        self.mac.end
    }

    /// Never true: a frame has a header at least.
    pub const fn is_empty(&self) -> bool {
        self.mac.end == 0
    }
}

impl FrameWriter {
    /// The start of a direction, with its MAC state.
    pub fn new(secret: &AesSecret, mac: FrameMac) -> Self {
        Self {
            keystream: Keystream::new(secret),
            mac,
        }
    }

    /// Appends the frame of a message to `out`; gives its parts, counted from the frame's first byte.
    ///
    /// `payload` goes in as it is: compress it before ([`compress`]) where Snappy is on.
    pub fn seal(&mut self, code: u64, payload: &[u8], out: &mut Vec<u8>) -> Result<FrameParts, TooLarge> {
        let parts = FrameParts::of(code, payload.len());
        let size = parts.payload.end - parts.code.start;
        if size > MAX_FRAME_SIZE {
            return Err(TooLarge { size });
        }
        out.reserve(parts.len());
        let mut header = [0; BLOCK_LEN];
        header[..3].copy_from_slice(&(size as u32).to_be_bytes()[1..]);
        header[3..6].copy_from_slice(&HEADER_DATA);
        self.keystream.apply(&mut header);
        out.extend_from_slice(&header);
        out.extend_from_slice(&self.mac.header(&header));

        let body = out.len();
        write_uint(out, code);
        out.extend_from_slice(payload);
        out.resize(body + size.next_multiple_of(BLOCK_LEN), 0);
        self.keystream.apply(&mut out[body..]);
        let mac = self.mac.body(&out[body..]);
        out.extend_from_slice(&mac);
        Ok(parts)
    }
}

impl fmt::Debug for FrameWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameWriter")
            .field("keystream", &self.keystream)
            .finish_non_exhaustive()
    }
}

/// Compresses a payload as devp2p does: Snappy's raw block format.
pub fn compress(payload: &[u8]) -> Result<Vec<u8>, TooLarge> {
    snap::raw::Encoder::new()
        .compress_vec(payload)
        .map_err(|_| TooLarge { size: payload.len() })
}

/// Bytes of a message code in front of the payload: an RLP integer.
const fn code_len(code: u64) -> usize {
    if code < 0x80 {
        1
    } else {
        1 + (u64::BITS - code.leading_zeros()).div_ceil(8) as usize
    }
}

/// Empty capability id and context id, as a list: every client writes this and none reads it.
const HEADER_DATA: [u8; 3] = [0xc2, 0x80, 0x80];
const HEADER_END: usize = BLOCK_LEN + MAC_LEN;

#[cfg(test)]
mod tests {
    use bftap_decrypt::secrets::MacSecret;

    use super::*;

    fn mac() -> FrameMac {
        FrameMac::new(&MacSecret::new([2; 32]), &[3; 32], b"auth")
    }

    #[test]
    fn frames_open_again_one_after_the_other() {
        let secret = AesSecret::new([1; 32]);
        let mut writer = FrameWriter::new(&secret, mac());
        let (mut keystream, mut check) = (Keystream::new(&secret), mac());
        for (code, len) in [
            (0, 0),
            (0x21, 15),
            (0x21, 16),
            (0x7f, 17),
            (0x80, 300),
            (0x1234, 1),
        ] {
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut wire = Vec::new();
            let parts = writer.seal(code, &payload, &mut wire).unwrap();
            assert_eq!(wire.len(), parts.len());
            assert_eq!((wire.len() - 48) % 16, 0);

            let mut header: [u8; 16] = wire[..16].try_into().unwrap();
            assert_eq!(check.header(&header), wire[16..32]);
            keystream.apply(&mut header);
            let size = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            assert_eq!(header[3..], [0xc2, 0x80, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            let mut body = wire[32..wire.len() - 16].to_vec();
            assert_eq!(check.body(&body), wire[wire.len() - 16..]);
            keystream.apply(&mut body);
            assert_eq!(body[size - len..size], payload);
            assert_eq!(body[..size - len], bftap_ibft_decode::encode::uint(code));
            assert!(body[size..].iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn a_frame_has_a_largest_size() {
        let mut writer = FrameWriter::new(&AesSecret::new([1; 32]), mac());
        let error = writer
            .seal(0x21, &vec![0; MAX_FRAME_SIZE], &mut Vec::new())
            .unwrap_err();
        assert_eq!(error.size, MAX_FRAME_SIZE + 1);
    }
}
