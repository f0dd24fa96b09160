//! From a captured packet to its TCP segment, through link, tunnel and IP headers.

use std::net::IpAddr;

use bftap_model::{CaptureTime, Endpoint, SeqNumber, TapId};
use etherparse::{
    IpAuthHeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice, TcpHeaderSlice, TcpOptionElement, err,
};

use crate::checksum;
pub use crate::defrag::DefragLimits;
use crate::defrag::{Datagram, DatagramKey, DefragPool, Fragment, Outcome};
use crate::layer::{Entry, Layer};
use crate::packet::CapturedPacket;
use crate::segment::{PayloadPlace, SegmentHead, TcpFlags};
use crate::tunnel;

/// Tunnels inside of each other that are unwrapped.
const MAX_TUNNELS: u8 = 4;
/// Datagrams whose content is again a fragment, inside of each other, that are put together.
const MAX_REASSEMBLIES: u8 = 4;

/// What slicing checks and holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceOptions {
    /// Compare TCP checksums, of packets that were captured whole. A wrong one is only counted.
    pub verify_checksums: bool,
    /// What reassembly of IP fragments holds.
    pub defrag: DefragLimits,
}

impl Default for SliceOptions {
    fn default() -> Self {
        Self {
            verify_checksums: true,
            defrag: DefragLimits::default(),
        }
    }
}

/// What a packet turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sliced {
    /// It holds, or completes, a TCP segment.
    Segment(SegmentHead, PayloadPlace),
    /// It does not, for this reason.
    Skipped(SkipReason),
}

/// Why a packet gave no TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    /// Its link type is not known here.
    UnknownLink,
    /// ARP, LLDP, MPLS: anything but IP.
    NotIp,
    /// UDP, ICMP: anything but TCP.
    NotTcp,
    /// The snap length cut its headers.
    TruncatedHeaders,
    /// Its headers contradict themselves or each other.
    Malformed,
    /// A fragment whose datagram is not complete yet.
    FragmentWaiting,
    /// A fragment whose datagram did not become complete: in time, within the limits, or because this one was cut.
    FragmentLost,
    /// More tunnels, or fragments, inside of each other than are unwrapped.
    TunnelTooDeep,
    /// A tunnel of a kind or version not known here.
    UnknownTunnel,
}

impl SkipReason {
    /// All reasons, in order of [`index`](Self::index).
    pub const ALL: [Self; 9] = [
        Self::UnknownLink,
        Self::NotIp,
        Self::NotTcp,
        Self::TruncatedHeaders,
        Self::Malformed,
        Self::FragmentWaiting,
        Self::FragmentLost,
        Self::TunnelTooDeep,
        Self::UnknownTunnel,
    ];

    /// The word used in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownLink => "unknown_link",
            Self::NotIp => "not_ip",
            Self::NotTcp => "not_tcp",
            Self::TruncatedHeaders => "truncated_headers",
            Self::Malformed => "malformed",
            Self::FragmentWaiting => "fragment_waiting",
            Self::FragmentLost => "fragment_lost",
            Self::TunnelTooDeep => "tunnel_too_deep",
            Self::UnknownTunnel => "unknown_tunnel",
        }
    }

    /// Position in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What became of the packets: each one is counted once, in `segments`, `fragments_joined` or `skipped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SliceStats {
    /// All packets.
    pub packets: u64,
    /// Packets that gave a TCP segment.
    pub segments: u64,
    /// Fragments of reassembled datagrams, but for those that completed them.
    pub fragments_joined: u64,
    /// Packets that gave none, by [`SkipReason::index`].
    pub skipped: [u64; SkipReason::ALL.len()],
    /// Segments with a wrong TCP checksum: usual where a network card computes it behind the tap.
    pub bad_checksums: u64,
    /// Segments that were inside of a tunnel.
    pub tunnelled: u64,
    /// IP datagrams put together from fragments.
    pub datagrams_joined: u64,
    /// IP datagrams that were not completed.
    pub datagrams_lost: u64,
}

impl SliceStats {
    /// Packets skipped for a reason.
    pub fn skipped(&self, reason: SkipReason) -> u64 {
        self.skipped[reason.index()]
    }
}

/// Cuts TCP segments out of packets. Holds the fragments that wait for others.
#[derive(Debug)]
pub struct Slicer {
    verify_checksums: bool,
    defrag: DefragPool,
    /// Packets that are counted as waiting, though their datagrams are complete.
    joined: u64,
    /// A fragment came, so that packets counted as waiting may do so no more.
    unsettled: bool,
    stats: SliceStats,
}

/// What stays the same inside of a packet.
#[derive(Clone, Copy)]
struct Outside {
    seen: CaptureTime,
    tap: TapId,
    tunnels: u8,
    reassemblies: u8,
}

/// What the IP header says.
#[derive(Clone, Copy)]
struct Network {
    source: IpAddr,
    destination: IpAddr,
    /// Identification field (IPv4).
    id: u16,
}

type Found = Result<(SegmentHead, PayloadPlace), SkipReason>;

impl Slicer {
    /// A slicer without fragments.
    pub fn new(options: SliceOptions) -> Self {
        Self {
            verify_checksums: options.verify_checksums,
            defrag: DefragPool::new(options.defrag),
            joined: 0,
            unsettled: false,
            stats: SliceStats::default(),
        }
    }

    /// Takes the next packet of the capture.
    #[inline]
    pub fn slice(&mut self, packet: &CapturedPacket<'_>) -> Sliced {
        self.stats.packets += 1;
        let outside = Outside {
            seen: packet.seen,
            tap: packet.tap,
            tunnels: 0,
            reassemblies: 0,
        };
        let layer = Layer {
            bytes: packet.bytes,
            start: 0,
            missing: packet.orig_len.saturating_sub(packet.bytes.len() as u32),
        };
        let sliced = match layer
            .behind_link(packet.link)
            .and_then(|layer| self.network(outside, layer))
        {
            Ok((head, payload)) => {
                self.stats.segments += 1;
                Sliced::Segment(head, payload)
            }
            Err(reason) => {
                self.stats.skipped[reason.index()] += 1;
                Sliced::Skipped(reason)
            }
        };
        if self.unsettled {
            self.settle();
        }
        sliced
    }

    /// Counts fragments that still wait as lost. To be called at the end of the capture.
    pub fn finish(&mut self) {
        self.defrag.clear();
        self.settle();
    }

    /// Sums over the packets so far.
    pub fn stats(&self) -> SliceStats {
        self.stats
    }

    /// Reads an IP header.
    #[inline]
    fn network(&mut self, outside: Outside, layer: Layer<'_>) -> Found {
        match layer.bytes.first().map(|byte| byte >> 4) {
            Some(4) => self.ipv4(outside, layer),
            Some(6) => self.ipv6(outside, layer),
            Some(_) => Err(SkipReason::Malformed),
            None => Err(layer.short()),
        }
    }

    #[inline]
    fn ipv4(&mut self, outside: Outside, layer: Layer<'_>) -> Found {
        let header = Ipv4HeaderSlice::from_slice(layer.bytes).map_err(|error| match error {
            err::ipv4::HeaderSliceError::Len(_) => layer.short(),
            err::ipv4::HeaderSliceError::Content(_) => SkipReason::Malformed,
        })?;
        let header_len = header.slice().len();
        let datagram = match usize::from(header.total_len()) {
            // Segmentation offload: the card fills it in.
            0 => layer,
            len if len < header_len => return Err(SkipReason::Malformed),
            len => layer.of_len(len),
        };
        let network = Network {
            source: IpAddr::V4(header.source_addr()),
            destination: IpAddr::V4(header.destination_addr()),
            id: header.identification(),
        };
        let payload = datagram.after(header_len)?;
        let protocol = header.protocol();
        if header.is_fragmenting_payload() {
            let key = DatagramKey {
                tap: outside.tap,
                source: network.source,
                destination: network.destination,
                id: network.id.into(),
                protocol: protocol.0,
            };
            let offset = 8 * u32::from(header.fragments_offset().value());
            return self.fragment(
                outside,
                network,
                key,
                (offset, header.more_fragments(), protocol),
                payload,
            );
        }
        self.transport(outside, network, protocol, payload)
    }

    fn ipv6(&mut self, outside: Outside, layer: Layer<'_>) -> Found {
        let header = Ipv6HeaderSlice::from_slice(layer.bytes).map_err(|error| match error {
            err::ipv6::HeaderSliceError::Len(_) => layer.short(),
            err::ipv6::HeaderSliceError::Content(_) => SkipReason::Malformed,
        })?;
        let header_len = header.slice().len();
        let datagram = match usize::from(header.payload_length()) {
            // Segmentation offload, or a jumbogram: as long as it was on the wire.
            0 => layer,
            len => layer.of_len(header_len + len),
        };
        let network = Network {
            source: IpAddr::V6(header.source_addr()),
            destination: IpAddr::V6(header.destination_addr()),
            id: 0,
        };
        self.transport(
            outside,
            network,
            header.next_header(),
            datagram.after(header_len)?,
        )
    }

    /// Reads what an IP header announced: extension headers, then TCP or a tunnel.
    #[inline]
    fn transport(
        &mut self,
        outside: Outside,
        network: Network,
        protocol: IpNumber,
        layer: Layer<'_>,
    ) -> Found {
        match protocol {
            IpNumber::TCP => self.tcp(outside, network, layer),
            IpNumber::IPV4 | IpNumber::IPV6 => self.tunnel(outside, (Entry::Ip, layer)),
            IpNumber::UDP => self.tunnel(outside, tunnel::udp(layer)?),
            IpNumber::GRE => self.tunnel(outside, tunnel::gre(layer)?),
            _ => self.extension(outside, network, protocol, layer),
        }
    }

    /// Reads extension headers. Not inlined: hardly a packet has any.
    #[inline(never)]
    fn extension(
        &mut self,
        outside: Outside,
        network: Network,
        mut protocol: IpNumber,
        mut layer: Layer<'_>,
    ) -> Found {
        loop {
            match protocol {
                IpNumber::AUTHENTICATION_HEADER => {
                    let header = IpAuthHeaderSlice::from_slice(layer.bytes).map_err(|error| match error {
                        err::ip_auth::HeaderSliceError::Len(_) => layer.short(),
                        err::ip_auth::HeaderSliceError::Content(_) => SkipReason::Malformed,
                    })?;
                    protocol = header.next_header();
                    layer = layer.after(header.slice().len())?;
                }
                IpNumber::IPV6_HEADER_HOP_BY_HOP
                | IpNumber::IPV6_ROUTE_HEADER
                | IpNumber::IPV6_DESTINATION_OPTIONS
                | IpNumber::MOBILITY_HEADER
                | IpNumber::HIP
                | IpNumber::SHIM6
                    if network.source.is_ipv6() =>
                {
                    let header = Ipv6RawExtHeaderSlice::from_slice(layer.bytes).map_err(|_| layer.short())?;
                    protocol = header.next_header();
                    layer = layer.after(header.slice().len())?;
                }
                IpNumber::IPV6_FRAGMENTATION_HEADER if network.source.is_ipv6() => {
                    let header =
                        Ipv6FragmentHeaderSlice::from_slice(layer.bytes).map_err(|_| layer.short())?;
                    protocol = header.next_header();
                    layer = layer.after(header.slice().len())?;
                    if header.is_fragmenting_payload() {
                        let key = DatagramKey {
                            tap: outside.tap,
                            source: network.source,
                            destination: network.destination,
                            id: header.identification(),
                            protocol: 0,
                        };
                        let offset = 8 * u32::from(header.fragment_offset().value());
                        let place = (offset, header.more_fragments(), protocol);
                        return self.fragment(outside, network, key, place, layer);
                    }
                }
                IpNumber::TCP | IpNumber::IPV4 | IpNumber::IPV6 | IpNumber::UDP | IpNumber::GRE => {
                    return self.transport(outside, network, protocol, layer);
                }
                _ => return Err(SkipReason::NotTcp),
            }
        }
    }

    /// Goes on inside of a tunnel.
    #[inline(never)]
    fn tunnel(&mut self, mut outside: Outside, (entry, layer): (Entry, Layer<'_>)) -> Found {
        outside.tunnels += 1;
        if outside.tunnels > MAX_TUNNELS {
            return Err(SkipReason::TunnelTooDeep);
        }
        match entry {
            Entry::Ethernet => self.network(outside, layer.behind_ethernet()?),
            Entry::Ip => self.network(outside, layer),
        }
    }

    /// Takes a fragment, and goes on with its datagram once that is complete.
    #[inline(never)]
    fn fragment(
        &mut self,
        outside: Outside,
        network: Network,
        key: DatagramKey,
        (offset, more, protocol): (u32, bool, IpNumber),
        layer: Layer<'_>,
    ) -> Found {
        if layer.missing > 0 {
            return Err(SkipReason::FragmentLost);
        }
        let fragment = Fragment {
            offset,
            more,
            protocol: protocol.0,
            bytes: layer.bytes,
        };
        self.unsettled = true;
        match self.defrag.push(key, fragment, outside.seen) {
            Outcome::Waiting => Err(SkipReason::FragmentWaiting),
            Outcome::Malformed => Err(SkipReason::Malformed),
            Outcome::Repeated => {
                self.joined += 1;
                Err(SkipReason::FragmentWaiting)
            }
            Outcome::Whole(datagram) => {
                self.stats.datagrams_joined += 1;
                self.joined += datagram.waited;
                self.inside_datagram(outside, network, &datagram)
            }
        }
    }

    /// Goes on inside of a datagram that was put together.
    fn inside_datagram(&mut self, mut outside: Outside, network: Network, datagram: &Datagram) -> Found {
        outside.reassemblies += 1;
        if outside.reassemblies > MAX_REASSEMBLIES {
            return Err(SkipReason::TunnelTooDeep);
        }
        let layer = Layer {
            bytes: &datagram.bytes,
            start: 0,
            missing: 0,
        };
        let (head, payload) = self.transport(outside, network, IpNumber(datagram.protocol), layer)?;
        let payload = match payload {
            PayloadPlace::InPacket(range) => datagram.bytes[range.start as usize..range.end as usize].into(),
            PayloadPlace::Reassembled(bytes) => bytes,
        };
        Ok((head, PayloadPlace::Reassembled(payload)))
    }

    /// Moves packets that waited for a datagram to where they are counted for good.
    #[cold]
    fn settle(&mut self) {
        let lost = self.defrag.take_lost();
        let joined = std::mem::take(&mut self.joined);
        self.unsettled = false;
        self.stats.fragments_joined += joined;
        self.stats.datagrams_lost += lost.datagrams;
        self.stats.skipped[SkipReason::FragmentLost.index()] += lost.fragments;
        self.stats.skipped[SkipReason::FragmentWaiting.index()] -= joined + lost.fragments;
    }

    /// Reads a TCP header.
    #[inline]
    fn tcp(&mut self, outside: Outside, network: Network, layer: Layer<'_>) -> Found {
        let header = TcpHeaderSlice::from_slice(layer.bytes).map_err(|error| match error {
            err::tcp::HeaderSliceError::Len(_) => layer.short(),
            err::tcp::HeaderSliceError::Content(_) => SkipReason::Malformed,
        })?;
        let payload = layer.after(header.slice().len())?;
        if self.verify_checksums
            && layer.missing == 0
            && !checksum::tcp_is_right(network.source, network.destination, layer.bytes)
        {
            self.stats.bad_checksums += 1;
        }
        self.stats.tunnelled += u64::from(outside.tunnels > 0);
        let flags = TcpFlags(layer.bytes[13]);
        let captured = payload.bytes.len() as u32;
        let mut head = SegmentHead {
            source: Endpoint {
                ip: network.source,
                port: header.source_port(),
            },
            destination: Endpoint {
                ip: network.destination,
                port: header.destination_port(),
            },
            seq: SeqNumber(header.sequence_number()),
            ack: flags.ack().then(|| SeqNumber(header.acknowledgment_number())),
            flags,
            window: header.window_size(),
            timestamps: timestamps(&header),
            got_twice: got_twice(&header),
            cut: payload.missing,
            identity: 0,
            seen: outside.seen,
            tap: outside.tap,
        };
        let facts = PacketFacts {
            ip_id: network.id,
            checksum: header.checksum(),
            // With what the snap length cut, which may differ between taps.
            payload_len: captured.saturating_add(payload.missing),
        };
        head.identity = identity(&head, facts);
        Ok((
            head,
            PayloadPlace::InPacket(payload.start..payload.start + captured),
        ))
    }
}

/// The timestamps option; unreadable options are no reason to do without the payload.
#[inline]
fn timestamps(header: &TcpHeaderSlice<'_>) -> Option<(u32, u32)> {
    // Nearly all segments have just this option, aligned as RFC 7323, appendix A recommends.
    if let Some(&[1, 1, 8, 10, v0, v1, v2, v3, e0, e1, e2, e3]) = header.options().first_chunk() {
        return Some((
            u32::from_be_bytes([v0, v1, v2, v3]),
            u32::from_be_bytes([e0, e1, e2, e3]),
        ));
    }
    header
        .options_iterator()
        .map_while(Result::ok)
        .find_map(|option| match option {
            TcpOptionElement::Timestamp(value, echo) => Some((value, echo)),
            _ => None,
        })
}

/// The end of a range that an acknowledgement reports as received twice.
#[inline]
fn got_twice(header: &TcpHeaderSlice<'_>) -> Option<SeqNumber> {
    // Nearly all segments have nothing, or just timestamps.
    let options = header.options();
    let only_timestamps = options.len() == 12 && options.starts_with(&[1, 1, 8, 10]);
    if options.is_empty() || only_timestamps || !header.ack() || header.syn() {
        return None;
    }
    let block = header
        .options_iterator()
        .map_while(Result::ok)
        .find_map(|option| match option {
            TcpOptionElement::SelectiveAcknowledgement(first, _) => Some(first),
            _ => None,
        });
    let (start, end) = block.map(|(start, end)| (SeqNumber(start), SeqNumber(end)))?;
    let acknowledged = SeqNumber(header.acknowledgment_number());
    let is_range = end.distance_from(start) > 0;
    (is_range && acknowledged.distance_from(end) >= 0).then_some(end)
}

/// What tells packets apart beside what [`SegmentHead`] has.
struct PacketFacts {
    ip_id: u16,
    checksum: u16,
    payload_len: u32,
}

/// The hash that [`SegmentHead::identity`] describes.
#[inline]
fn identity(head: &SegmentHead, facts: PacketFacts) -> u64 {
    /// Multiplies and folds, as wyhash does: each step spreads all bits over all.
    #[inline]
    fn mix(state: u64, word: u64) -> u64 {
        // An odd number without pattern: the fraction of the golden ratio.
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(state ^ word) * u128::from(FACTOR);
        (product as u64) ^ (product >> 64) as u64
    }
    fn pair(high: u32, low: u32) -> u64 {
        u64::from(high) << 32 | u64::from(low)
    }
    fn halves(address: [u8; 16]) -> [u64; 2] {
        let bits = u128::from_be_bytes(address);
        [(bits >> 64) as u64, bits as u64]
    }

    let start = 0x62_6674_6170;
    let addresses = match (head.source.ip, head.destination.ip) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            mix(start, pair(source.to_bits(), destination.to_bits()))
        }
        (source, destination) => [source, destination]
            .into_iter()
            .flat_map(|ip| match ip {
                IpAddr::V4(ip) => halves(ip.to_ipv6_mapped().octets()),
                IpAddr::V6(ip) => halves(ip.octets()),
            })
            .fold(start, mix),
    };
    let ports = pair(
        u32::from(head.source.port) << 16 | u32::from(head.destination.port),
        u32::from(facts.ip_id) << 16 | u32::from(facts.checksum),
    );
    let numbers = pair(head.seq.0, head.ack.map_or(0, |ack| ack.0));
    let (value, echo) = head.timestamps.unwrap_or_default();
    let shape = u64::from(facts.payload_len) << 16
        | u64::from(head.timestamps.is_some()) << 8
        | u64::from(head.flags.0);
    [ports, numbers, shape, pair(value, echo)]
        .into_iter()
        .fold(addresses, mix)
}
