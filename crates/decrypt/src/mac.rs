//! The running MAC of one direction.
//!
//! A Keccak-256 state that is never finished: every frame is absorbed, and each MAC is the first half of the digest at
//! that point (WIRE-FORMATS 2.5; devp2p `rlpx.md`, "MAC"). The same code makes MACs and checks them.

use std::fmt;

use aes::Aes256Enc;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use zeroize::Zeroize;

use crate::keccak::keccak_f1600;
use crate::keystream::BLOCK_LEN;
use crate::secrets::MacSecret;

/// Bytes of a header MAC or a frame MAC.
pub const MAC_LEN: usize = 16;

/// Running MAC of one direction of a session.
///
/// Per frame call [`header`](Self::header), then [`body`](Self::body).
pub struct FrameMac {
    sponge: Sponge,
    cipher: Aes256Enc,
    /// Digest of the sponge as it stands: the frame MAC before, so the next header need not compute it again.
    digest: [u8; MAC_LEN],
}

impl FrameMac {
    /// State before the first frame of a direction.
    ///
    /// `nonce` is the one of the *other* end (the recipient's for frames from the initiator), and `handshake_packet` is the
    /// sender's own auth or ack as it stands on the wire, size prefix included, connection-type byte not.
    pub fn new(secret: &MacSecret, nonce: &[u8; 32], handshake_packet: &[u8]) -> Self {
        let mut start = *nonce;
        start
            .iter_mut()
            .zip(secret.expose())
            .for_each(|(byte, key)| *byte ^= key);
        let mut sponge = Sponge::default();
        sponge.absorb(&start);
        start.zeroize();
        sponge.absorb(handshake_packet);
        let digest = sponge.digest();
        Self {
            sponge,
            cipher: Aes256Enc::new(secret.expose().into()),
            digest,
        }
    }

    /// MAC of a frame's header, given as it stands on the wire.
    #[inline]
    pub fn header(&mut self, ciphertext: &[u8; BLOCK_LEN]) -> [u8; MAC_LEN] {
        self.mix(self.digest, ciphertext)
    }

    /// MAC of a whole frame: `ciphertext` is its padded body as it stands on the wire.
    #[inline]
    pub fn body(&mut self, ciphertext: &[u8]) -> [u8; MAC_LEN] {
        self.sponge.absorb(ciphertext);
        let digest = self.sponge.digest();
        self.mix(digest, &digest)
    }

    /// Absorbs `E(digest) ^ with`; gives the new digest.
    fn mix(&mut self, digest: [u8; MAC_LEN], with: &[u8; BLOCK_LEN]) -> [u8; MAC_LEN] {
        let mut seed = digest.into();
        self.cipher.encrypt_block(&mut seed);
        seed.iter_mut().zip(with).for_each(|(byte, other)| *byte ^= other);
        self.sponge.absorb(&seed);
        self.digest = self.sponge.digest();
        self.digest
    }
}

impl fmt::Debug for FrameMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrameMac(…)")
    }
}

/// Lanes that Keccak-256 absorbs between two permutations: 136 bytes.
const RATE: usize = 17;

/// A Keccak-256 that gives the digest of all it has absorbed at any time, and goes on absorbing.
///
/// Frames are short, and three digests are due for each, so a digest must cost no more than its permutation. Input goes straight into
/// the lanes, word by word. A handshake packet has any length, so all that follows it is shifted against the lanes by a few bytes.
#[derive(Default)]
struct Sponge {
    lanes: [u64; 25],
    /// Lane that the next word goes into, below [`RATE`].
    lane: usize,
    /// Bits of that lane which are absorbed already; a multiple of 8, below 64.
    shift: u32,
    /// Those bits, not in `lanes` yet.
    carry: u64,
}

impl Sponge {
    #[inline]
    fn absorb(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        loop {
            for lane in &mut self.lanes[self.lane..RATE] {
                let Some(word) = words.next() else {
                    return self.absorb_rest(rest);
                };
                *lane ^= self.carry | word << self.shift;
                // In two steps, for a shift by all 64 bits is not one.
                self.carry = (word >> 1) >> (63 - self.shift);
                self.lane += 1;
            }
            self.lane = 0;
            keccak_f1600(&mut self.lanes);
        }
    }

    /// Absorbs less than a word.
    #[inline]
    fn absorb_rest(&mut self, rest: &[u8]) {
        for &byte in rest {
            self.carry |= u64::from(byte) << self.shift;
            self.shift += 8;
            if self.shift == 64 {
                self.lanes[self.lane] ^= self.carry;
                (self.carry, self.shift) = (0, 0);
                self.lane += 1;
                if self.lane == RATE {
                    self.lane = 0;
                    keccak_f1600(&mut self.lanes);
                }
            }
        }
    }

    /// First half of the Keccak-256 digest of everything absorbed.
    #[inline]
    fn digest(&self) -> [u8; MAC_LEN] {
        let mut lanes = self.lanes;
        lanes[self.lane] ^= self.carry | 0x01 << self.shift;
        lanes[RATE - 1] ^= 0x80 << 56;
        keccak_f1600(&mut lanes);
        let mut digest = [0; MAC_LEN];
        digest[..8].copy_from_slice(&lanes[0].to_le_bytes());
        digest[8..].copy_from_slice(&lanes[1].to_le_bytes());
        digest
    }
}

impl Drop for Sponge {
    /// The permutation can be run backwards: a state tells the mac-secret.
    fn drop(&mut self) {
        self.lanes.zeroize();
        self.carry.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use bftap_model::keccak256;

    use super::*;

    #[test]
    fn the_sponge_is_keccak_256_at_every_length() {
        let bytes: Vec<u8> = (0..=2 * 8 * RATE + 3).map(|i| (i * 7) as u8).collect();
        let mut running = Sponge::default();
        for len in 0..bytes.len() {
            assert_eq!(
                running.digest(),
                keccak256(&bytes[..len]).0[..16],
                "{len} bytes one by one"
            );
            running.absorb(&bytes[len..=len]);
            let mut split = Sponge::default();
            split.absorb(&bytes[..len / 3]);
            split.absorb(&bytes[len / 3..len]);
            assert_eq!(
                split.digest(),
                keccak256(&bytes[..len]).0[..16],
                "{len} bytes in two pieces"
            );
        }
    }

    /// Secrets, nonces and packets of "Auth 2, Ack 2" in EIP-8's test vectors; node B is the recipient.
    #[test]
    fn the_start_state_is_that_of_eip_8() {
        let secret = hex32("2ea74ec5dae199227dff1af715362700e989d889d7a493cb0639691efb8e5f98");
        let nonce_b = hex32("559aead08264d5795d3909718cdd05abd49572e84fe55590eef31a88a08fdffd");
        let auth = hex::decode(concat!(
            "01b304ab7578555167be8154d5cc456f567d5ba302662433674222360f08d5f1534499d3678b513b",
            "0fca474f3a514b18e75683032eb63fccb16c156dc6eb2c0b1593f0d84ac74f6e475f1b8d56116b84",
            "9634a8c458705bf83a626ea0384d4d7341aae591fae42ce6bd5c850bfe0b999a694a49bbbaf3ef6c",
            "da61110601d3b4c02ab6c30437257a6e0117792631a4b47c1d52fc0f8f89caadeb7d02770bf999cc",
            "147d2df3b62e1ffb2c9d8c125a3984865356266bca11ce7d3a688663a51d82defaa8aad69da39ab6",
            "d5470e81ec5f2a7a47fb865ff7cca21516f9299a07b1bc63ba56c7a1a892112841ca44b6e0034dee",
            "70c9adabc15d76a54f443593fafdc3b27af8059703f88928e199cb122362a4b35f62386da7caad09",
            "c001edaeb5f8a06d2b26fb6cb93c52a9fca51853b68193916982358fe1e5369e249875bb8d0d0ec3",
            "6f917bc5e1eafd5896d46bd61ff23f1a863a8a8dcd54c7b109b771c8e61ec9c8908c733c0263440e",
            "2aa067241aaa433f0bb053c7b31a838504b148f570c0ad62837129e547678c5190341e4f1693956c",
            "3bf7678318e2d5b5340c9e488eefea198576344afbdf66db5f51204a6961a63ce072c8926c",
        ))
        .unwrap();
        let mut ingress_of_b = FrameMac::new(&MacSecret::new(secret), &nonce_b, &auth);
        ingress_of_b.sponge.absorb(b"foo");
        let expected = hex32("0c7ec6340062cc46f5e9f1e3cf86f8c8c403c5a0964f5df0ebd34a75ddc86db5");
        assert_eq!(ingress_of_b.sponge.digest(), expected[..16]);
    }

    /// The steps of WIRE-FORMATS 2.5 word by word, on a transcript that is hashed anew for every digest.
    #[test]
    fn macs_follow_the_definition() {
        let secret = MacSecret::new([0x5a; 32]);
        let cipher = Aes256Enc::new(secret.expose().into());
        let seed = |digest: [u8; 16], with: &[u8; 16]| -> [u8; 16] {
            let mut block = digest.into();
            cipher.encrypt_block(&mut block);
            std::array::from_fn(|i| block[i] ^ with[i])
        };
        let half = |transcript: &[u8]| -> [u8; 16] { keccak256(transcript).0[..16].try_into().unwrap() };

        let mut mac = FrameMac::new(&secret, &[0x0f; 32], b"auth");
        let mut transcript = vec![0x55; 32];
        transcript.extend_from_slice(b"auth");
        for blocks in [0_usize, 1, 2, 7, 8, 9, 16, 17, 40, 300] {
            let header: [u8; 16] = std::array::from_fn(|i| (i + blocks) as u8);
            transcript.extend_from_slice(&seed(half(&transcript), &header));
            assert_eq!(
                mac.header(&header),
                half(&transcript),
                "header before {blocks} blocks"
            );

            let body: Vec<u8> = (0..blocks * 16).map(|i| (i * 31) as u8).collect();
            transcript.extend_from_slice(&body);
            let digest = half(&transcript);
            transcript.extend_from_slice(&seed(digest, &digest));
            assert_eq!(mac.body(&body), half(&transcript), "body of {blocks} blocks");
        }
    }

    fn hex32(text: &str) -> [u8; 32] {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).unwrap();
        bytes
    }
}
