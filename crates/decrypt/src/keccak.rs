//! The permutation Keccak-f\[1600\] (FIPS 202, section 3.3), written for processors without rotate-and-not instructions.
//!
//! Hashing is what checking MACs costs, so this is the innermost loop of the whole program. Two things make it a fifth
//! faster than the `keccak` crate's portable code: four rounds are unrolled, each gathering its rows straight from the state
//! before it, and six lanes are kept complemented through all rounds, which leaves one NOT in five of chi's
//! ("lane complementing", Keccak implementation overview 3.2, section 2.2).

/// Permutes the state; lane `x + 5 y` is `state[x + 5 * y]`.
#[inline(never)]
pub fn keccak_f1600(state: &mut [u64; 25]) {
    let (rounds, _) = ROUND_CONSTANTS.as_chunks::<4>();
    let mut lanes = *state;
    complement(&mut lanes);
    for [first, second, third, fourth] in rounds {
        lanes = round(&lanes, *first);
        lanes = round(&lanes, *second);
        lanes = round(&lanes, *third);
        lanes = round(&lanes, *fourth);
    }
    complement(&mut lanes);
    *state = lanes;
}

/// Switches between a plain state and one with the complemented lanes that [`round`] works on.
#[inline(always)]
fn complement(lanes: &mut [u64; 25]) {
    for lane in [1, 2, 8, 12, 17, 20] {
        lanes[lane] = !lanes[lane];
    }
}

/// Row `y` of the state after theta, rho and pi: lane and rotation of its five members.
macro_rules! row {
    ($lanes:ident, $theta:ident: $($lane:literal <<< $by:literal),*) => {
        [$(($lanes[$lane] ^ $theta[$lane % 5]).rotate_left($by)),*]
    };
}

/// One round on complemented lanes. In each row, chi's `!b & c` turns into `b & c`, `b | c` or, where the complements
/// do not cancel, a NOT of its own; the tests compare with the definition.
#[inline(always)]
fn round(a: &[u64; 25], constant: u64) -> [u64; 25] {
    let c0 = a[0] ^ a[5] ^ a[10] ^ a[15] ^ a[20];
    let c1 = a[1] ^ a[6] ^ a[11] ^ a[16] ^ a[21];
    let c2 = a[2] ^ a[7] ^ a[12] ^ a[17] ^ a[22];
    let c3 = a[3] ^ a[8] ^ a[13] ^ a[18] ^ a[23];
    let c4 = a[4] ^ a[9] ^ a[14] ^ a[19] ^ a[24];
    let d = [
        c4 ^ c1.rotate_left(1),
        c0 ^ c2.rotate_left(1),
        c1 ^ c3.rotate_left(1),
        c2 ^ c4.rotate_left(1),
        c3 ^ c0.rotate_left(1),
    ];

    let [b0, b1, b2, b3, b4] = row!(a, d: 0 <<< 0, 6 <<< 44, 12 <<< 43, 18 <<< 21, 24 <<< 14);
    let e = [
        b0 ^ (b1 | b2) ^ constant,
        b1 ^ (!b2 | b3),
        b2 ^ (b3 & b4),
        b3 ^ (b4 | b0),
        b4 ^ (b0 & b1),
    ];

    let [b0, b1, b2, b3, b4] = row!(a, d: 3 <<< 28, 9 <<< 20, 10 <<< 3, 16 <<< 45, 22 <<< 61);
    let f = [
        b0 ^ (b1 | b2),
        b1 ^ (b2 & b3),
        b2 ^ (b3 | !b4),
        b3 ^ (b4 | b0),
        b4 ^ (b0 & b1),
    ];

    let [b0, b1, b2, b3, b4] = row!(a, d: 1 <<< 1, 7 <<< 6, 13 <<< 25, 19 <<< 8, 20 <<< 18);
    let n3 = !b3;
    let g = [
        b0 ^ (b1 | b2),
        b1 ^ (b2 & b3),
        b2 ^ (n3 & b4),
        n3 ^ (b4 | b0),
        b4 ^ (b0 & b1),
    ];

    let [b0, b1, b2, b3, b4] = row!(a, d: 4 <<< 27, 5 <<< 36, 11 <<< 10, 17 <<< 15, 23 <<< 56);
    let n3 = !b3;
    let h = [
        b0 ^ (b1 & b2),
        b1 ^ (b2 | b3),
        b2 ^ (n3 | b4),
        n3 ^ (b4 & b0),
        b4 ^ (b0 | b1),
    ];

    let [b0, b1, b2, b3, b4] = row!(a, d: 2 <<< 62, 8 <<< 55, 14 <<< 39, 15 <<< 41, 21 <<< 2);
    let n1 = !b1;
    let i = [
        b0 ^ (n1 & b2),
        n1 ^ (b2 | b3),
        b2 ^ (b3 & b4),
        b3 ^ (b4 | b0),
        b4 ^ (b0 & b1),
    ];

    [
        e[0], e[1], e[2], e[3], e[4], f[0], f[1], f[2], f[3], f[4], g[0], g[1], g[2], g[3], g[4], h[0], h[1],
        h[2], h[3], h[4], i[0], i[1], i[2], i[3], i[4],
    ]
}

/// The constants of iota.
const ROUND_CONSTANTS: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808a,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808b,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008a,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000a,
    0x0000_0000_8000_808b,
    0x8000_0000_0000_008b,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800a,
    0x8000_0000_8000_000a,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_keccak_crate_over_a_long_chain() {
        let mut ours = [0; 25];
        let mut theirs = [0; 25];
        for step in 0..1000 {
            ours[step % 25] ^= u64::MAX / (step as u64 + 3);
            theirs[step % 25] ^= u64::MAX / (step as u64 + 3);
            keccak_f1600(&mut ours);
            keccak::Keccak::new().with_f1600(|permute| permute(&mut theirs));
            assert_eq!(ours, theirs, "step {step}");
        }
    }
}
