//! The damages of `tools/damage.py` of the shared captures, packet for packet, so that its exact answers can be compared with.
//!
//! The tool draws from Python's `random`: a Mersenne Twister seeded with an array of one word, and 53 bits a number.

use rand_mt::Mt;

/// A damage, as the tool names it.
#[derive(Clone, Copy, Debug)]
pub enum SharedDamage {
    /// Each packet lost with this probability.
    Drop(f64),
    /// Bursts of twenty lost, so that about this share of all is.
    Burst(f64),
    /// Only what comes so many seconds after the start.
    Cut(f64),
    /// Packets cut to 128 bytes with this probability.
    Snap(f64),
}

/// A damaged copy of a capture: pcap, little endian, microseconds.
///
/// # Panics
/// When the file is anything else.
pub fn damage_shared(capture: &[u8], damage: SharedDamage, seed: u32) -> Vec<u8> {
    let (header, mut rest) = capture.split_at(24);
    assert_eq!(header[..4], 0xa1b2_c3d4_u32.to_le_bytes(), "not such a pcap file");
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut random = Random(Mt::new_with_key([seed]));
    let mut out = header.to_vec();
    let mut start = None;
    let mut skip = 0;
    while !rest.is_empty() {
        let len = word(rest, 8) as usize;
        let (record, behind) = rest.split_at(16 + len);
        rest = behind;
        let time = f64::from(word(record, 0)) + f64::from(word(record, 4)) / 1e6;
        let start = *start.get_or_insert(time);
        match damage {
            SharedDamage::Drop(share) if random.next() < share => continue,
            SharedDamage::Burst(_) if skip > 0 => {
                skip -= 1;
                continue;
            }
            SharedDamage::Burst(share) if random.next() < share / 20.0 => {
                skip = 20;
                continue;
            }
            SharedDamage::Cut(seconds) if time - start < seconds => continue,
            SharedDamage::Snap(share) if len > 128 && random.next() < share => {
                out.extend_from_slice(&record[..8]);
                out.extend_from_slice(&128_u32.to_le_bytes());
                out.extend_from_slice(&(len as u32).to_le_bytes());
                out.extend_from_slice(&record[16..16 + 128]);
                continue;
            }
            _ => {}
        }
        out.extend_from_slice(record);
    }
    out
}

struct Random(Mt);

impl Random {
    fn next(&mut self) -> f64 {
        let (high, low) = (self.0.next_u32() >> 5, self.0.next_u32() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python 3 gives for `random.Random(1)` and `random.Random(7)`.
    #[test]
    fn numbers_are_those_of_python() {
        let mut random = Random(Mt::new_with_key([1]));
        assert_eq!(
            [random.next(), random.next()],
            [0.134_364_244_112_401_22, 0.847_433_736_937_232_7]
        );
        assert_eq!(Random(Mt::new_with_key([7])).next(), 0.323_832_764_833_162_37);
    }
}
