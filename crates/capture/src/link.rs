//! What stands at the start of a captured packet.

use std::fmt;

/// A link type as capture files write it: the `LINKTYPE_` registry of tcpdump.org.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback: four bytes of address family in the byte order of the capturing machine.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// Raw IP, under the number that OpenBSD's `DLT_RAW` leaks into files.
    pub const RAW_OPENBSD: Self = Self(14);
    /// Raw IP, under the number that other systems' `DLT_RAW` leaks into files.
    pub const RAW_BSD: Self = Self(12);
    /// Raw IP: the packet starts with its IPv4 or IPv6 header.
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback: four bytes of address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked capture, version 1: what the interface `any` gives.
    pub const LINUX_SLL: Self = Self(113);
    /// Raw IPv4.
    pub const IPV4: Self = Self(228);
    /// Raw IPv6.
    pub const IPV6: Self = Self(229);
    /// Linux cooked capture, version 2.
    pub const LINUX_SLL2: Self = Self(276);

    /// The link type of a pcap file header's last field.
    ///
    /// Its upper bits tell whether and how long a frame check sequence follows each packet (the IP length cuts
    /// that off); what does not fit the registry's 16 bits becomes the last, unassigned number.
    pub(crate) fn from_pcap_field(field: u32) -> Self {
        Self(u16::try_from(field & 0x03ff_ffff).unwrap_or(u16::MAX))
    }
}

impl fmt::Display for LinkType {
    /// The registry's short name where the type is read here, else its number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::NULL | Self::LOOP => "loopback",
            Self::ETHERNET => "ethernet",
            Self::RAW | Self::RAW_BSD | Self::RAW_OPENBSD => "raw",
            Self::LINUX_SLL => "linux-sll",
            Self::LINUX_SLL2 => "linux-sll2",
            Self::IPV4 => "ipv4",
            Self::IPV6 => "ipv6",
            Self(number) => return write!(f, "link type {number}"),
        };
        f.pad(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_about_the_frame_check_sequence_are_no_part_of_the_type() {
        assert_eq!(LinkType::from_pcap_field(0x4400_0001), LinkType::ETHERNET);
        assert_eq!(LinkType::from_pcap_field(276), LinkType::LINUX_SLL2);
        assert_eq!(LinkType::from_pcap_field(0x0201_0001), LinkType(u16::MAX));
    }
}
