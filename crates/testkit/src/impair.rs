//! Captures damaged the way taps damage them, from a seed.

/// A packet: nanoseconds since the epoch, captured bytes, length on the wire.
pub type Packet = (i64, Vec<u8>, u32);

/// Pseudo-random numbers that are the same everywhere (splitmix64).
#[derive(Clone, Debug)]
pub struct Seed(pub u64);

impl Seed {
    /// The next number.
    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    ///
    /// # Panics
    /// If `limit` is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next_number() % limit as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// Each packet twice, as a mirror of both ports shows it.
pub fn duplicate(packets: &[Packet]) -> Vec<Packet> {
    packets
        .iter()
        .flat_map(|packet| [packet.clone(), packet.clone()])
        .collect()
}

/// Neighbours change places, once in `times`; the times of capture stay in order.
pub fn reorder(packets: &[Packet], times: usize, seed: &mut Seed) -> Vec<Packet> {
    let mut packets = packets.to_vec();
    let mut at = 0;
    while at + 1 < packets.len() {
        if seed.once_in(times) {
            let (first, second) = (packets[at].0, packets[at + 1].0);
            packets.swap(at, at + 1);
            (packets[at].0, packets[at + 1].0) = (first, second);
            at += 1;
        }
        at += 1;
    }
    packets
}

/// Ethernet packets with an 802.1Q tag.
pub fn tag(packets: &[Packet]) -> Vec<Packet> {
    let tag = |(time, bytes, len): &Packet| {
        let (addresses, rest) = bytes.split_at(12);
        (*time, [addresses, &[0x81, 0, 0, 7], rest].concat(), len + 4)
    };
    packets.iter().map(tag).collect()
}

/// Packets lost, once in `times`.
pub fn lose(packets: &[Packet], times: usize, seed: &mut Seed) -> Vec<Packet> {
    packets.iter().filter(|_| !seed.once_in(times)).cloned().collect()
}

/// A pcap file (nanoseconds, Ethernet) of these packets.
pub fn pcap(packets: &[Packet]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_3c4d_u32, 2 | 4 << 16, 0, 0, 262_144, 1] {
        file.extend(word.to_le_bytes());
    }
    for (time, bytes, len) in packets {
        let words = [
            time.div_euclid(1_000_000_000) as u32,
            time.rem_euclid(1_000_000_000) as u32,
            bytes.len() as u32,
            *len,
        ];
        for word in words {
            file.extend(word.to_le_bytes());
        }
        file.extend(bytes);
    }
    file
}
