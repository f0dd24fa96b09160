//! Ethernet, VLAN, IP and TCP headers around a segment, with right checksums.

use std::net::IpAddr;

use bftap_model::Endpoint;

/// TCP control flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(pub(crate) u8);

impl Flags {
    pub(crate) const SYN: Self = Self(0x02);
    pub(crate) const SYN_ACK: Self = Self(0x12);
    pub(crate) const ACK: Self = Self(0x10);
    pub(crate) const PSH_ACK: Self = Self(0x18);
    pub(crate) const FIN_ACK: Self = Self(0x11);
    pub(crate) const RST: Self = Self(0x04);
    pub(crate) const RST_ACK: Self = Self(0x14);

    pub(crate) const fn syn(self) -> bool {
        self.0 & 0x02 != 0
    }

    pub(crate) const fn rst(self) -> bool {
        self.0 & 0x04 != 0
    }
}

/// One end as it stands in headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Station {
    pub(crate) endpoint: Endpoint,
    pub(crate) mac: [u8; 6],
}

/// What the headers of a packet say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) from: Station,
    pub(crate) to: Station,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    /// Timestamps option: value and echo.
    pub(crate) timestamps: (u32, u32),
    pub(crate) mss: u16,
    /// IPv4 identification.
    pub(crate) id: u16,
    pub(crate) vlan: Option<u16>,
    pub(crate) payload: &'a [u8],
}

/// Writes the packet into `out`, which is emptied before.
pub(crate) fn write(segment: &Segment<'_>, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&segment.to.mac);
    out.extend_from_slice(&segment.from.mac);
    if let Some(vlan) = segment.vlan {
        out.extend_from_slice(&[0x81, 0x00]);
        out.extend_from_slice(&(vlan & 0x0fff).to_be_bytes());
    }
    let mut options = [0; SYN_OPTIONS_LEN];
    let options = write_options(segment, &mut options);
    let tcp_len = TCP_HEADER_LEN + options.len() + segment.payload.len();
    let mut pseudo = Checksum::default();
    match (segment.from.endpoint.ip, segment.to.endpoint.ip) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&[0x08, 0x00]);
            let start = out.len();
            out.extend_from_slice(&[0x45, 0x00]);
            out.extend_from_slice(&((IPV4_HEADER_LEN + tcp_len) as u16).to_be_bytes());
            out.extend_from_slice(&segment.id.to_be_bytes());
            out.extend_from_slice(&[0x40, 0x00, TTL, TCP, 0, 0]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
            let checksum = Checksum::default().add(&out[start..]).finish();
            out[start + 10..start + 12].copy_from_slice(&checksum);
            pseudo = pseudo.add(&from.octets()).add(&to.octets());
        }
        (from, to) => {
            let [from, to] = [from, to].map(|ip| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            });
            out.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
            out.extend_from_slice(&(tcp_len as u16).to_be_bytes());
            out.extend_from_slice(&[TCP, TTL]);
            out.extend_from_slice(&from);
            out.extend_from_slice(&to);
            pseudo = pseudo.add(&from).add(&to);
        }
    }
    let start = out.len();
    out.extend_from_slice(&segment.from.endpoint.port.to_be_bytes());
    out.extend_from_slice(&segment.to.endpoint.port.to_be_bytes());
    out.extend_from_slice(&segment.seq.to_be_bytes());
    out.extend_from_slice(&segment.ack.to_be_bytes());
    out.push((((TCP_HEADER_LEN + options.len()) / 4) as u8) << 4);
    out.push(segment.flags.0);
    out.extend_from_slice(&segment.window.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(options);
    out.extend_from_slice(segment.payload);
    let checksum = pseudo
        .add(&[0, TCP])
        .add(&(tcp_len as u16).to_be_bytes())
        .add(&out[start..])
        .finish();
    out[start + 16..start + 18].copy_from_slice(&checksum);
}

/// The options that Linux sends: on SYN, on everything else but RST, none on RST.
fn write_options<'a>(segment: &Segment<'_>, options: &'a mut [u8; SYN_OPTIONS_LEN]) -> &'a [u8] {
    let (value, echo) = segment.timestamps;
    if segment.flags.rst() {
        return &[];
    }
    if segment.flags.syn() {
        options[..2].copy_from_slice(&[2, 4]);
        options[2..4].copy_from_slice(&segment.mss.to_be_bytes());
        options[4..8].copy_from_slice(&[4, 2, 8, 10]);
        options[8..12].copy_from_slice(&value.to_be_bytes());
        options[12..16].copy_from_slice(&echo.to_be_bytes());
        options[16..20].copy_from_slice(&[1, 3, 3, WINDOW_SCALE]);
        return options;
    }
    options[..4].copy_from_slice(&[1, 1, 8, 10]);
    options[4..8].copy_from_slice(&value.to_be_bytes());
    options[8..12].copy_from_slice(&echo.to_be_bytes());
    &options[..12]
}

/// Bytes of Ethernet, IP and TCP headers in front of a data segment's payload, at most.
pub(crate) const MAX_HEADERS: usize = 14 + 4 + 40 + TCP_HEADER_LEN + SYN_OPTIONS_LEN;

const IPV4_HEADER_LEN: usize = 20;
const TCP_HEADER_LEN: usize = 20;
const SYN_OPTIONS_LEN: usize = 20;
const TTL: u8 = 64;
const TCP: u8 = 6;
const WINDOW_SCALE: u8 = 10;

/// The Internet checksum (RFC 1071) of pieces that all but the last have an even length.
#[derive(Default)]
struct Checksum(u64);

impl Checksum {
    fn add(mut self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        for word in words {
            self.0 += u64::from(u32::from_be_bytes(*word));
        }
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        self.0 += u64::from(u32::from_be_bytes(last));
        self
    }

    fn finish(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!(sum as u16)).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment<'a>(from: IpAddr, to: IpAddr, flags: Flags, payload: &'a [u8]) -> Segment<'a> {
        let station = |ip, port| Station {
            endpoint: Endpoint { ip, port },
            mac: [2, 0, 0, 0, 0, 1],
        };
        Segment {
            from: station(from, 40_000),
            to: station(to, 32_323),
            seq: 0x0102_0304,
            ack: 7,
            flags,
            window: 64,
            timestamps: (1, 2),
            mss: 1460,
            id: 9,
            vlan: None,
            payload,
        }
    }

    #[test]
    fn checksums_over_whole_headers_come_out_as_zero() {
        let (from, to) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        for payload in [&b""[..], b"odd", b"even"] {
            let mut out = Vec::new();
            write(
                &segment(from.into(), to.into(), Flags::PSH_ACK, payload),
                &mut out,
            );
            assert_eq!(out.len(), 14 + 20 + 32 + payload.len());
            assert_eq!(Checksum::default().add(&out[14..34]).finish(), [0, 0]);
            let tcp_len = (out.len() - 34) as u16;
            let pseudo = Checksum::default()
                .add(&from)
                .add(&to)
                .add(&[0, 6])
                .add(&tcp_len.to_be_bytes());
            assert_eq!(pseudo.add(&out[34..]).finish(), [0, 0]);
        }
    }

    #[test]
    fn ipv6_and_vlan_have_their_headers() {
        let ip: IpAddr = "fd00::1".parse().unwrap();
        let mut out = Vec::new();
        let mut syn = segment(ip, ip, Flags::SYN, &[]);
        syn.vlan = Some(100);
        write(&syn, &mut out);
        assert_eq!(out[12..20], [0x81, 0x00, 0, 100, 0x86, 0xdd, 0x60, 0]);
        assert_eq!(out.len(), 18 + 40 + 40);
        assert!(out.len() <= MAX_HEADERS);
    }
}
