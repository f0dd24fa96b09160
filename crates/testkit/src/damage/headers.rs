//! TCP headers of Ethernet frames, read once more and apart from `bftap-capture`.

use std::net::IpAddr;

use bftap_model::Endpoint;

/// A TCP segment as far as a capture holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Who sent it.
    pub source: Endpoint,
    /// Whom it is for.
    pub destination: Endpoint,
    /// Sequence number in the header.
    pub seq: u32,
    /// Control flags: FIN 1, SYN 2, RST 4, PSH 8, ACK 16.
    pub flags: u8,
    /// Bytes of payload that were sent.
    pub sent: u32,
    /// Bytes of payload that the capture holds; fewer where the packet was cut.
    pub captured: u32,
}

impl Segment {
    /// It opens a connection.
    pub const fn is_syn(&self) -> bool {
        self.flags & (SYN | ACK) == SYN
    }

    /// It answers an opening one.
    pub const fn is_syn_ack(&self) -> bool {
        self.flags & (SYN | ACK) == SYN | ACK
    }

    /// Sequence number of the first byte of payload: SYN has one of its own.
    pub const fn payload_seq(&self) -> u32 {
        self.seq.wrapping_add((self.flags & SYN != 0) as u32)
    }
}

/// Reads an Ethernet frame, with or without VLAN tags. `None` if there is no TCP header in it, or it was cut off.
pub fn segment(frame: &[u8]) -> Option<Segment> {
    let mut at = 12;
    while matches!(u16_at(frame, at)?, 0x8100 | 0x88a8) {
        at += 4;
    }
    let ip = frame.get(at + 2..)?;
    let (addresses, tcp_at, tcp_len) = match u16_at(frame, at)? {
        0x0800 => {
            let head_len = usize::from(ip.first()? & 15) * 4;
            let total = usize::from(u16_at(ip, 2)?);
            let is_fragment = u16_at(ip, 6)? & 0x3fff != 0;
            if *ip.get(9)? != TCP || is_fragment {
                return None;
            }
            let address = |at: usize| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<4>()?));
            (
                [address(12)?, address(16)?],
                head_len,
                total.checked_sub(head_len)?,
            )
        }
        0x86dd => {
            if *ip.get(6)? != TCP {
                return None;
            }
            let address = |at: usize| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<16>()?));
            ([address(8)?, address(24)?], 40, usize::from(u16_at(ip, 4)?))
        }
        _ => return None,
    };
    // What follows the IP packet is padding of Ethernet.
    let tcp = ip.get(tcp_at..)?;
    let tcp = &tcp[..tcp.len().min(tcp_len)];
    let head_len = usize::from(tcp.get(12)? >> 4) * 4;
    let sent = u32::try_from(tcp_len.checked_sub(head_len)?).ok()?;
    Some(Segment {
        source: Endpoint {
            ip: addresses[0],
            port: u16_at(tcp, 0)?,
        },
        destination: Endpoint {
            ip: addresses[1],
            port: u16_at(tcp, 2)?,
        },
        seq: u32::from_be_bytes(*tcp.get(4..)?.first_chunk()?),
        flags: *tcp.get(13)?,
        sent,
        captured: tcp.len().saturating_sub(head_len) as u32,
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

const SYN: u8 = 2;
const ACK: u8 = 16;
const TCP: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Tcp, ethernet_ip, fragments_of_ipv4, vlan};

    #[test]
    fn headers_of_both_ip_versions_with_and_without_tags() {
        for (source, destination) in [
            ("10.0.0.1:40000", "10.0.0.2:32323"),
            ("[fd00::1]:40000", "[fd00::2]:32323"),
        ] {
            let tcp = Tcp::new(source, destination)
                .seq(7)
                .ack(9)
                .timestamps(1, 2)
                .payload(b"eleven byte");
            let frame = tcp.ethernet();
            let seen = segment(&frame).unwrap();
            assert_eq!(seen.source.to_string(), source);
            assert_eq!(seen.destination.to_string(), destination);
            assert_eq!((seen.seq, seen.flags, seen.sent, seen.captured), (7, 16, 11, 11));
            assert_eq!(segment(&vlan(&frame, 0x8100, 5)), Some(seen));
            // Ethernet pads short frames.
            let padded = [&frame[..], &[0; 20]].concat();
            assert_eq!(segment(&padded), Some(seen));
            // Cut in the payload, in the options, in the header.
            let cut = |len: usize| segment(&frame[..len]).map(|seen| (seen.sent, seen.captured));
            assert_eq!(cut(frame.len() - 3), Some((11, 8)));
            assert_eq!(cut(frame.len() - 11 - 8), Some((11, 0)));
            assert_eq!(cut(frame.len() - 11 - 20), None);
            for len in 0..frame.len() - 11 - 20 {
                assert_eq!(cut(len), None);
            }
        }
    }

    #[test]
    fn a_syn_has_a_number_of_its_own() {
        let syn = Tcp::new("10.0.0.1:1", "10.0.0.2:2").seq(u32::MAX).flags(2);
        let seen = segment(&syn.ethernet()).unwrap();
        assert!(seen.is_syn() && !seen.is_syn_ack());
        assert_eq!(seen.payload_seq(), 0);
        let seen = segment(&syn.ack(1).ethernet()).unwrap();
        assert!(seen.is_syn_ack() && !seen.is_syn());
    }

    #[test]
    fn fragments_have_no_header_of_their_own() {
        let packet = Tcp::new("10.0.0.1:1", "10.0.0.2:2").payload(&[0; 64]).ip();
        for fragment in fragments_of_ipv4(&packet, 40) {
            assert_eq!(segment(&ethernet_ip(&fragment)), None);
        }
    }
}
