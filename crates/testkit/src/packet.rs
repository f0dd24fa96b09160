//! Packets for tests: TCP in IP in whatever a tap may see around it.
//!
//! Functions take what goes inside and give it with their header in front, so that packets are built from the inside out:
//! `ethernet(IPV4, &ipv4(..., &gre(ETHERNET_IN_GRE, ..., &inner)))`.

use std::net::{IpAddr, SocketAddr};

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of a whole Ethernet frame (GRE, Geneve).
pub const TRANSPARENT_ETHERNET: u16 = 0x6558;
/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;
/// IP protocol number of GRE.
pub const GRE: u8 = 47;

/// A TCP segment to be, with all its header fields.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// Who sends it.
    pub source: SocketAddr,
    /// Whom it is for; of the same IP version.
    pub destination: SocketAddr,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; sets the flag.
    pub ack: Option<u32>,
    /// Other flags: FIN 1, SYN 2, RST 4, PSH 8.
    pub flags: u8,
    /// Receive window.
    pub window: u16,
    /// Options as they stand in the header, padded with end-of-options.
    pub options: Vec<u8>,
    /// Identification in the IPv4 header.
    pub ip_id: u16,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Tcp {
    /// A segment without flags, options and payload.
    ///
    /// # Panics
    /// If an end is no address and port, `10.0.0.1:40000`.
    pub fn new(source: &str, destination: &str) -> Self {
        Self {
            source: source.parse().expect("address and port"),
            destination: destination.parse().expect("address and port"),
            seq: 0,
            ack: None,
            flags: 0,
            window: 501,
            options: Vec::new(),
            ip_id: 0,
            payload: Vec::new(),
        }
    }

    /// With this sequence number.
    #[must_use]
    pub fn seq(self, seq: u32) -> Self {
        Self { seq, ..self }
    }

    /// With this acknowledgement number.
    #[must_use]
    pub fn ack(self, ack: u32) -> Self {
        Self {
            ack: Some(ack),
            ..self
        }
    }

    /// With these flags beside ACK.
    #[must_use]
    pub fn flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    /// With this payload.
    #[must_use]
    pub fn payload(self, payload: &[u8]) -> Self {
        Self {
            payload: payload.to_vec(),
            ..self
        }
    }

    /// With this identification in the IPv4 header.
    #[must_use]
    pub fn ip_id(self, ip_id: u16) -> Self {
        Self { ip_id, ..self }
    }

    /// With the timestamps option as most systems write it.
    #[must_use]
    pub fn timestamps(self, value: u32, echo: u32) -> Self {
        Self {
            options: [&[1, 1, 8, 10], &value.to_be_bytes()[..], &echo.to_be_bytes()].concat(),
            ..self
        }
    }

    /// TCP header and payload, with the right checksum.
    pub fn segment(&self) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let words = 5 + options.len() / 4;
        let mut bytes = Vec::new();
        bytes.extend(self.source.port().to_be_bytes());
        bytes.extend(self.destination.port().to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.unwrap_or(0).to_be_bytes());
        bytes.extend([
            (words as u8) << 4,
            self.flags | if self.ack.is_some() { 0x10 } else { 0 },
        ]);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(options);
        bytes.extend(&self.payload);
        let mut pseudo = [octets(self.source.ip()), octets(self.destination.ip())].concat();
        pseudo.extend((bytes.len() as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, TCP]);
        let checksum = checksum(&[&pseudo, &bytes]);
        bytes[16..18].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// The segment in IP.
    pub fn ip(&self) -> Vec<u8> {
        match self.source {
            SocketAddr::V4(_) => {
                let mut packet = ip(self.source.ip(), self.destination.ip(), TCP, &self.segment());
                packet[4..6].copy_from_slice(&self.ip_id.to_be_bytes());
                sign_ipv4(&mut packet);
                packet
            }
            SocketAddr::V6(_) => ip(self.source.ip(), self.destination.ip(), TCP, &self.segment()),
        }
    }

    /// The segment in IP in Ethernet.
    pub fn ethernet(&self) -> Vec<u8> {
        ethernet_ip(&self.ip())
    }
}

/// An Ethernet frame.
pub fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [
        &[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1],
        &ether_type.to_be_bytes()[..],
        payload,
    ]
    .concat()
}

/// An Ethernet frame around an IPv4 or IPv6 packet.
pub fn ethernet_ip(packet: &[u8]) -> Vec<u8> {
    ethernet(ether_type_of(packet), packet)
}

/// EtherType that goes with an IP packet's version.
pub fn ether_type_of(packet: &[u8]) -> u16 {
    if packet.first().is_some_and(|byte| byte >> 4 == 6) {
        IPV6
    } else {
        IPV4
    }
}

/// Puts a VLAN tag of this type into an Ethernet frame, as the outermost.
pub fn vlan(frame: &[u8], tag_type: u16, id: u16) -> Vec<u8> {
    [
        &frame[..12],
        &tag_type.to_be_bytes(),
        &id.to_be_bytes(),
        &frame[12..],
    ]
    .concat()
}

/// Linux cooked capture, version 1, around an IP packet.
pub fn linux_sll(packet: &[u8]) -> Vec<u8> {
    let head = [0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
    [&head, &ether_type_of(packet).to_be_bytes()[..], packet].concat()
}

/// Linux cooked capture, version 2, around an IP packet.
pub fn linux_sll2(packet: &[u8]) -> Vec<u8> {
    let head = [0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
    [&ether_type_of(packet).to_be_bytes(), &head[..], packet].concat()
}

/// An IP packet; both addresses are of one version.
///
/// # Panics
/// If they are not, or the payload is too long.
pub fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip_with(source, destination, protocol, &[], payload)
}

/// An IP packet with IPv4 options (a multiple of four bytes), or with IPv6 extension headers of which `protocol` is the first.
///
/// # Panics
/// If the addresses are of two versions, or the payload is too long.
pub fn ip_with(source: IpAddr, destination: IpAddr, protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    assert_eq!(
        source.is_ipv4(),
        destination.is_ipv4(),
        "addresses of one version"
    );
    let addresses = [octets(source), octets(destination)].concat();
    let len = |len: usize| {
        u16::try_from(len)
            .expect("a packet of at most 65535 bytes")
            .to_be_bytes()
    };
    if source.is_ipv4() {
        let head_len = 20 + options.len();
        let [l0, l1] = len(head_len + payload.len());
        let head = [
            0x40 | (head_len / 4) as u8,
            0,
            l0,
            l1,
            0,
            0,
            0x40,
            0,
            64,
            protocol,
            0,
            0,
        ];
        let mut packet = [&head, &addresses[..], options, payload].concat();
        sign_ipv4(&mut packet);
        packet
    } else {
        let [l0, l1] = len(options.len() + payload.len());
        let head = [0x60, 0, 0, 0, l0, l1, protocol, 64];
        [&head, &addresses[..], options, payload].concat()
    }
}

/// Cuts the payload of an IPv4 packet without options into fragments of `size` bytes, a multiple of eight.
pub fn fragments_of_ipv4(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (head, payload) = packet.split_at(20);
    let pieces = payload.chunks(size).enumerate().map(|(index, piece)| {
        let place = (index * size / 8) as u16;
        let more = if (index + 1) * size < payload.len() {
            0x2000
        } else {
            0
        };
        let mut fragment = [head, piece].concat();
        fragment[2..4].copy_from_slice(&((20 + piece.len()) as u16).to_be_bytes());
        fragment[6..8].copy_from_slice(&(place | more).to_be_bytes());
        sign_ipv4(&mut fragment);
        fragment
    });
    pieces.collect()
}

/// Cuts the payload of an IPv6 packet without extension headers into fragments of `size` bytes, a multiple of eight.
pub fn fragments_of_ipv6(packet: &[u8], id: u32, size: usize) -> Vec<Vec<u8>> {
    let (head, payload) = packet.split_at(40);
    let pieces = payload.chunks(size).enumerate().map(|(index, piece)| {
        let place = (index * size) as u16 | u16::from((index + 1) * size < payload.len());
        let mut fragment = [
            head,
            &[head[6], 0],
            &place.to_be_bytes(),
            &id.to_be_bytes(),
            piece,
        ]
        .concat();
        fragment[4..6].copy_from_slice(&((8 + piece.len()) as u16).to_be_bytes());
        fragment[6] = 44;
        fragment
    });
    pieces.collect()
}

/// A UDP datagram (without checksum, as tunnels send it).
pub fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let len = (8 + payload.len()) as u16;
    [
        &source.to_be_bytes(),
        &destination.to_be_bytes(),
        &len.to_be_bytes(),
        &[0, 0],
        payload,
    ]
    .concat()
}

/// A GRE packet with those of the optional fields that are given.
pub fn gre(
    protocol: u16,
    checksum: bool,
    key: Option<u32>,
    sequence: Option<u32>,
    payload: &[u8],
) -> Vec<u8> {
    let mut flags = 0_u16;
    let mut fields = Vec::new();
    if checksum {
        flags |= 0x8000;
        fields.extend([0xab, 0xcd, 0, 0]);
    }
    if let Some(key) = key {
        flags |= 0x2000;
        fields.extend(key.to_be_bytes());
    }
    if let Some(sequence) = sequence {
        flags |= 0x1000;
        fields.extend(sequence.to_be_bytes());
    }
    [
        &flags.to_be_bytes(),
        &protocol.to_be_bytes(),
        &fields[..],
        payload,
    ]
    .concat()
}

/// A mirrored frame in ERSPAN type I, in GRE.
pub fn erspan_1(frame: &[u8]) -> Vec<u8> {
    gre(0x88be, false, None, None, frame)
}

/// A mirrored frame in ERSPAN type II, in GRE.
pub fn erspan_2(frame: &[u8]) -> Vec<u8> {
    gre(
        0x88be,
        false,
        None,
        Some(1),
        &[&[0x10, 0, 0, 7, 0, 0, 0, 1], frame].concat(),
    )
}

/// A mirrored frame in ERSPAN type III, in GRE, with or without the sub-header.
pub fn erspan_3(subheader: bool, frame: &[u8]) -> Vec<u8> {
    let head = [0x20, 0, 0, 7, 0, 1, 2, 3, 0, 0, 0, u8::from(subheader)];
    gre(
        0x22eb,
        false,
        None,
        Some(1),
        &[&head, &[0x55; 8][..if subheader { 8 } else { 0 }], frame].concat(),
    )
}

/// A frame in VXLAN, in UDP.
pub fn vxlan(port: u16, frame: &[u8]) -> Vec<u8> {
    udp(50_000, port, &[&[8, 0, 0, 0, 0, 0, 7, 0], frame].concat())
}

/// A frame or packet in Geneve, in UDP; `options` are a multiple of four bytes.
pub fn geneve(protocol: u16, options: &[u8], inner: &[u8]) -> Vec<u8> {
    let head = [(options.len() / 4) as u8, 0];
    udp(
        50_000,
        6081,
        &[&head, &protocol.to_be_bytes(), &[0, 0, 7, 0][..], options, inner].concat(),
    )
}

/// The internet checksum over pieces, each of an even length but for the last.
pub fn checksum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// Writes the header checksum of an IPv4 packet.
pub fn sign_ipv4(packet: &mut [u8]) {
    let head_len = usize::from(packet[0] & 0xf) * 4;
    packet[10..12].fill(0);
    let checksum = checksum(&[&packet[..head_len]]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}
