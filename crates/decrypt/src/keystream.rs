//! The key stream of one direction: AES-256-CTR with IV zero and a 128-bit big-endian counter.
//!
//! Both directions of a session use the same key stream, each with a place of its own, and only frame headers and
//! padded bodies advance it (WIRE-FORMATS 2.5; devp2p `rlpx.md`, "Framing"). So the place is a whole number of blocks.

use std::fmt;

use aes::Aes256Enc;
use aes::cipher::array::Array;
use aes::cipher::common::InnerIvInit;
use aes::cipher::{KeyInit, StreamCipherCore, StreamCipherSeekCore};
use ctr::{CtrCore, flavors};

use crate::secrets::AesSecret;

/// Bytes in a block of the key stream.
pub const BLOCK_LEN: usize = 16;

/// A place in a session's key stream; encrypts and decrypts alike.
pub struct Keystream {
    core: CtrCore<Aes256Enc, flavors::Ctr128BE>,
}

impl Keystream {
    /// The key stream of `secret`, at block 0.
    pub fn new(secret: &AesSecret) -> Self {
        let cipher = Aes256Enc::new(secret.expose().into());
        Self {
            core: CtrCore::inner_iv_init(cipher, &Array::default()),
        }
    }

    /// Combines `bytes` with the next blocks and moves on behind them.
    ///
    /// RLPx pads all it encrypts to whole blocks; a last part of a block uses up its block.
    #[inline]
    pub fn apply(&mut self, bytes: &mut [u8]) {
        let (blocks, rest) = Array::slice_as_chunks_mut(bytes);
        self.core.apply_keystream_blocks(blocks);
        if !rest.is_empty() {
            let mut block = Array::default();
            self.core.write_keystream_block(&mut block);
            rest.iter_mut().zip(block).for_each(|(byte, key)| *byte ^= key);
        }
    }

    /// Writes the next blocks of the key stream itself.
    #[inline]
    pub fn write_blocks(&mut self, blocks: &mut [[u8; BLOCK_LEN]]) {
        self.core
            .write_keystream_blocks(Array::cast_slice_from_core_mut(blocks));
    }

    /// Goes to the block that is `block` blocks from the start.
    pub fn seek_block(&mut self, block: u64) {
        self.core.set_block_pos(u128::from(block));
    }

    /// How many blocks from the start the place is.
    #[inline]
    pub fn block(&self) -> u64 {
        // Only 2^68 bytes of stream, or a seek there, come near the end of this range.
        self.core.get_block_pos() as u64
    }
}

impl fmt::Debug for Keystream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keystream")
            .field("block", &self.block())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use aes::cipher::BlockCipherEncrypt;

    use super::*;

    fn secret() -> AesSecret {
        AesSecret::new(std::array::from_fn(|i| i as u8))
    }

    #[test]
    fn the_first_block_is_the_cipher_of_zero() {
        // FIPS 197, C.3 has this key; counter 0 is the block of sixteen zeros.
        let mut expected = Array::default();
        Aes256Enc::new(secret().expose().into()).encrypt_block(&mut expected);
        let mut bytes = [0; BLOCK_LEN];
        Keystream::new(&secret()).apply(&mut bytes);
        assert_eq!(bytes, <[u8; BLOCK_LEN]>::from(expected));
    }

    #[test]
    fn pieces_and_seeks_give_the_bytes_of_one_pass() {
        let mut whole = [0_u8; 40 * BLOCK_LEN];
        Keystream::new(&secret()).apply(&mut whole);
        for cut in 0..40 {
            let mut pieces = [0_u8; 40 * BLOCK_LEN];
            let mut keystream = Keystream::new(&secret());
            let (left, right) = pieces.split_at_mut(cut * BLOCK_LEN);
            keystream.apply(left);
            assert_eq!(keystream.block(), cut as u64);
            keystream.apply(right);
            assert_eq!(pieces, whole);

            let mut part = [0; 5];
            keystream.seek_block(cut as u64);
            keystream.apply(&mut part);
            assert_eq!(part, whole[cut * BLOCK_LEN..][..5]);
            assert_eq!(keystream.block(), cut as u64 + 1);
        }
    }

    #[test]
    fn the_counter_carries_over_all_bytes() {
        let mut high = [0; 2 * BLOCK_LEN];
        let mut keystream = Keystream::new(&secret());
        keystream.seek_block(u64::from(u32::MAX));
        keystream.apply(&mut high);
        let mut counter = Array::default();
        counter[11] = 1;
        Aes256Enc::new(secret().expose().into()).encrypt_block(&mut counter);
        assert_eq!(high[BLOCK_LEN..], counter[..]);
        assert_eq!(keystream.block(), u64::from(u32::MAX) + 2);
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(
            format!("{:?}", Keystream::new(&secret())),
            "Keystream { block: 0, .. }"
        );
    }
}
