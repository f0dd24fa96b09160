//! Snappy, in its raw block format, with the declared length checked before any memory is taken.

/// A decompressor with a buffer that is used again and again.
#[derive(Debug, Default)]
pub struct SnappyReader {
    decoder: snap::raw::Decoder,
    output: Vec<u8>,
}

impl SnappyReader {
    /// Decompresses one message; the result stands in [`output`](Self::output).
    pub fn decompress(&mut self, input: &[u8]) -> Result<usize, SnappyError> {
        let (declared, behind) = declared_len(input)?;
        if declared > MAX_DECOMPRESSED {
            return Err(SnappyError::TooLarge { declared });
        }
        // The best that elements can do is a copy of 64 bytes in three bytes.
        let reachable = (behind as u64).saturating_mul(64) / 3;
        if declared > reachable {
            return Err(SnappyError::Unreachable {
                declared,
                compressed: input.len(),
            });
        }
        let len = declared as usize;
        if self.output.len() > KEPT_LEN && len <= KEPT_LEN {
            self.output = Vec::new();
        }
        if self.output.len() < len {
            self.output.resize(len, 0);
        }
        let written = self
            .decoder
            .decompress(input, &mut self.output[..len])
            .map_err(|_| SnappyError::Malformed {
                compressed: input.len(),
            })?;
        Ok(written)
    }

    /// The first `len` bytes of what was decompressed last.
    pub fn output(&self, len: usize) -> &[u8] {
        &self.output[..len]
    }
}

/// Why bytes are no Snappy block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnappyError {
    /// There is no length in front.
    #[error("no valid length in front of the compressed data")]
    NoLength,
    /// The length in front is more than a message may have.
    #[error("declares {declared} bytes, more than the {MAX_DECOMPRESSED} that a message may have")]
    TooLarge {
        /// Length in front.
        declared: u64,
    },
    /// So much cannot come out of so little.
    #[error("declares {declared} bytes, more than {compressed} compressed bytes can hold")]
    Unreachable {
        /// Length in front.
        declared: u64,
        /// Bytes of the whole block.
        compressed: usize,
    },
    /// The elements are broken.
    #[error("{compressed} bytes that do not decompress")]
    Malformed {
        /// Bytes of the whole block.
        compressed: usize,
    },
}

/// Longest message after decompression: what fits a frame's size field (`rlpx.md`, "Snappy compression").
pub const MAX_DECOMPRESSED: u64 = (1 << 24) - 1;

/// A buffer up to this size is kept for the next messages.
const KEPT_LEN: usize = 1 << 20;

/// The length in front, and how many bytes follow it.
fn declared_len(input: &[u8]) -> Result<(u64, usize), SnappyError> {
    let mut declared = 0;
    for (index, &byte) in input.iter().take(5).enumerate() {
        declared |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((declared, input.len() - index - 1));
        }
    }
    Err(SnappyError::NoLength)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_whole_whatever_was_in_the_buffer_before() {
        let mut reader = SnappyReader::default();
        for len in [0, 1, 60, 5_000, 3, 2_000_000, 70] {
            for bytes in [
                vec![7; len],
                (0..len).map(|i| ((i * i) >> 3) as u8).collect::<Vec<_>>(),
            ] {
                let compressed = snap::raw::Encoder::new().compress_vec(&bytes).unwrap();
                assert_eq!(reader.decompress(&compressed), Ok(len));
                assert_eq!(reader.output(len), bytes);
            }
        }
        assert!(reader.output.capacity() <= KEPT_LEN);
    }

    #[test]
    fn a_length_is_refused_before_memory_is_taken() {
        let mut reader = SnappyReader::default();
        let huge = [0xff, 0xff, 0xff, 0x07, 0x00];
        assert_eq!(
            reader.decompress(&huge),
            Err(SnappyError::Unreachable {
                declared: 0xff_ffff,
                compressed: 5
            })
        );
        let more = [0x80, 0x80, 0x80, 0x08];
        assert_eq!(
            reader.decompress(&more),
            Err(SnappyError::TooLarge { declared: 1 << 24 })
        );
        assert_eq!(reader.decompress(&[0xff; 12]), Err(SnappyError::NoLength));
        assert_eq!(reader.decompress(&[]), Err(SnappyError::NoLength));
        assert_eq!(reader.output.capacity(), 0);
        assert_eq!(
            reader.decompress(&[0xc1, 0x04]),
            Err(SnappyError::Unreachable {
                declared: 577,
                compressed: 2
            })
        );
        assert_eq!(
            reader.decompress(&[4, 0, 0]),
            Err(SnappyError::Malformed { compressed: 3 })
        );
    }

    /// The tightest block there is: one literal byte, then copies of 64 bytes.
    #[test]
    fn the_highest_ratio_of_the_format_passes() {
        let copies = 1000;
        let mut block = vec![];
        let len: u32 = 1 + 64 * copies;
        let mut rest = len;
        while rest >= 0x80 {
            block.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        block.extend_from_slice(&[rest as u8, 0, 42]);
        for _ in 0..copies {
            block.extend_from_slice(&[63 << 2 | 2, 1, 0]);
        }
        let mut reader = SnappyReader::default();
        assert_eq!(reader.decompress(&block), Ok(len as usize));
        assert!(reader.output(len as usize).iter().all(|&byte| byte == 42));
    }
}
