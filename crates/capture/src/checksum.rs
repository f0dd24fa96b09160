//! The internet checksum of TCP (RFC 1071, RFC 9293 section 3.1).

use std::net::IpAddr;

/// True if the checksum in `segment`, a whole TCP segment from its header on, is right for these addresses.
pub(crate) fn tcp_is_right(source: IpAddr, destination: IpAddr, segment: &[u8]) -> bool {
    const TCP: u8 = 6;
    let addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => sum(&source.octets()) + sum(&destination.octets()),
        (IpAddr::V6(source), IpAddr::V6(destination)) => sum(&source.octets()) + sum(&destination.octets()),
        // No packet has addresses of both kinds.
        _ => return false,
    };
    let pseudo = addresses + sum(&[0, TCP]) + sum(&(segment.len() as u32).to_be_bytes());
    fold(pseudo + sum(segment)) == 0xffff
}

/// Sum of the bytes' 32-bit words; folded, it equals the folded sum of 16-bit words, in any byte order.
///
/// A `u64` takes the words of 16 GiB without overflow.
#[inline]
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    let words: u64 = words
        .iter()
        .map(|&word| u64::from(u32::from_ne_bytes(word)))
        .sum();
    words + u64::from(u32::from_ne_bytes(last))
}

/// Adds the carries back in until 16 bits are left.
#[inline]
fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_any_length_fold_to_those_of_16_bit_words() {
        let bytes: Vec<u8> = (0..200_u32).map(|i| (i * 151 + 7) as u8).collect();
        for len in 0..bytes.len() {
            let mut padded = bytes[..len].to_vec();
            padded.resize(len.next_multiple_of(2), 0);
            let mut plain = padded
                .chunks(2)
                .map(|w| u64::from(u16::from_ne_bytes([w[0], w[1]])))
                .sum::<u64>();
            while plain > 0xffff {
                plain = (plain >> 16) + (plain & 0xffff);
            }
            assert_eq!(u64::from(fold(sum(&bytes[..len]))), plain, "{len} bytes");
        }
        assert_eq!(fold(u64::MAX), 0xffff);
    }

    #[test]
    fn etherparse_agrees() {
        let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let mut header = etherparse::TcpHeader::new(40_000, 32_323, 77, 500);
        let payload = b"odd length of payload";
        header.checksum = header.calc_checksum_ipv4_raw(a, b, payload).unwrap();
        let mut segment = header.to_bytes().to_vec();
        segment.extend_from_slice(payload);
        assert!(tcp_is_right(a.into(), b.into(), &segment));
        segment[25] ^= 1;
        assert!(!tcp_is_right(a.into(), b.into(), &segment));

        let (a, b) = ([0xfd; 16], [0x20; 16]);
        header.checksum = header.calc_checksum_ipv6_raw(a, b, payload).unwrap();
        let mut segment = header.to_bytes().to_vec();
        segment.extend_from_slice(payload);
        assert!(tcp_is_right(a.into(), b.into(), &segment));
        assert!(!tcp_is_right(b.into(), IpAddr::from([10, 0, 0, 1]), &segment));
    }
}
