//! Random numbers that are the same on every machine.
//!
//! xoshiro256** seeded with splitmix64 (Blackman and Vigna, public domain). Not for secrets of a real network: everything a
//! simulation makes follows from its seed, keys included.

/// A seeded source of random numbers.
#[derive(Clone, Debug)]
pub struct Prng {
    state: [u64; 4],
}

impl Prng {
    /// The source of a seed.
    pub fn new(seed: u64) -> Self {
        let mut mix = seed;
        Self {
            state: std::array::from_fn(|_| splitmix(&mut mix)),
        }
    }

    /// A source that starts from 32 bytes of the system's randomness.
    ///
    /// For lab nodes' handshakes, with fresh bytes for each: not a generator for keys that protect something.
    pub fn from_entropy(entropy: &[u8; 32]) -> Self {
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(entropy.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        // The one state that the generator never leaves.
        if state == [0; 4] {
            return Self::new(0);
        }
        Self { state }
    }

    /// A source of its own for one purpose, so that drawing more numbers in one place changes nothing elsewhere.
    pub fn derive(seed: u64, purpose: &str, index: u64) -> Self {
        let mut mix = seed;
        let mut folded = splitmix(&mut mix);
        for byte in purpose.bytes() {
            mix ^= u64::from(byte);
            folded ^= splitmix(&mut mix);
        }
        mix ^= index;
        Self::new(folded ^ splitmix(&mut mix))
    }

    /// The next 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let out = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        out
    }

    /// A number below `bound`, or 0 if that is 0. Evenly spread as far as a simulation can tell.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    #[inline]
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low.saturating_add(self.below(high.saturating_sub(low).saturating_add(1)))
    }

    /// True `per_million` times in a million.
    #[inline]
    pub fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// An array of random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generators_are_the_published_ones() {
        // First output of splitmix64 for seed 0, and of xoshiro256** for the state 1, 2, 3, 4.
        let mut seed = 0;
        assert_eq!(splitmix(&mut seed), 0xe220_a839_7b1d_cdaf);
        let mut prng = Prng { state: [1, 2, 3, 4] };
        assert_eq!(
            [prng.next_u64(), prng.next_u64(), prng.next_u64()],
            [11_520, 0, 1_509_978_240]
        );
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let mut prng = Prng::new(7);
        for _ in 0..1000 {
            assert!((3..=9).contains(&prng.between(3, 9)));
            assert!(prng.below(5) < 5);
        }
        assert_eq!(prng.below(0), 0);
        assert!((0..100).all(|_| !prng.chance(0) && prng.chance(1_000_000)));
    }

    #[test]
    fn purposes_have_numbers_of_their_own() {
        let draw = |purpose, index| Prng::derive(1, purpose, index).next_u64();
        assert_ne!(draw("a", 0), draw("b", 0));
        assert_ne!(draw("a", 0), draw("a", 1));
        assert_eq!(draw("a", 1), draw("a", 1));
    }
}
