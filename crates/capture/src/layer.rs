//! The bytes of one protocol layer inside a captured packet.

use etherparse::EtherType;

use crate::link::LinkType;
use crate::slice::SkipReason;

/// What is captured of one layer, and how much of it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layer<'p> {
    /// The captured bytes.
    pub(crate) bytes: &'p [u8],
    /// Where they start in the packet (or in the reassembled datagram).
    pub(crate) start: u32,
    /// How many more the layer had on the wire: cut off by a snap length.
    pub(crate) missing: u32,
}

/// What a layer below TCP starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// An Ethernet header.
    Ethernet,
    /// An IPv4 or IPv6 header.
    Ip,
}

impl Entry {
    /// The layer that an EtherType announces, as far as it can lead to TCP.
    pub(crate) fn of(ether_type: u16) -> Result<Self, SkipReason> {
        /// RFC 1701: "Transparent Ethernet Bridging".
        const TRANSPARENT_ETHERNET: u16 = 0x6558;
        match EtherType(ether_type) {
            EtherType::IPV4 | EtherType::IPV6 => Ok(Self::Ip),
            EtherType(TRANSPARENT_ETHERNET) => Ok(Self::Ethernet),
            _ => Err(SkipReason::NotIp),
        }
    }
}

impl<'p> Layer<'p> {
    /// Why a header is not wholly in this layer.
    pub(crate) fn short(&self) -> SkipReason {
        if self.missing > 0 {
            SkipReason::TruncatedHeaders
        } else {
            SkipReason::Malformed
        }
    }

    /// The first bytes.
    #[inline]
    pub(crate) fn head<const N: usize>(&self) -> Result<&'p [u8; N], SkipReason> {
        self.bytes.first_chunk().ok_or_else(|| self.short())
    }

    /// What follows the first `len` bytes.
    #[inline]
    pub(crate) fn after(&self, len: usize) -> Result<Self, SkipReason> {
        let bytes = self.bytes.get(len..).ok_or_else(|| self.short())?;
        Ok(Self {
            bytes,
            start: self.start + len as u32,
            missing: self.missing,
        })
    }

    /// This layer with the length that its own header gives: without padding behind it, and with what is cut off
    /// by that length.
    #[inline]
    pub(crate) fn of_len(&self, len: usize) -> Self {
        match self.bytes.get(..len) {
            Some(bytes) => Self {
                bytes,
                start: self.start,
                missing: 0,
            },
            None => Self {
                missing: (len - self.bytes.len()) as u32,
                ..*self
            },
        }
    }

    /// What follows the link header of a captured packet.
    pub(crate) fn behind_link(&self, link: LinkType) -> Result<Self, SkipReason> {
        match link {
            LinkType::ETHERNET => self.behind_ethernet(),
            LinkType::RAW | LinkType::RAW_BSD | LinkType::RAW_OPENBSD | LinkType::IPV4 | LinkType::IPV6 => {
                Ok(*self)
            }
            LinkType::LINUX_SLL => {
                let &[.., high, low] = self.head::<16>()?;
                self.after(16)?.behind_tags(u16::from_be_bytes([high, low]))
            }
            LinkType::LINUX_SLL2 => {
                let &[high, low, ..] = self.head::<20>()?;
                self.after(20)?.behind_tags(u16::from_be_bytes([high, low]))
            }
            LinkType::NULL | LinkType::LOOP => {
                let family = u32::from_be_bytes(*self.head()?);
                // In NULL the order is the capturing machine's; no family has a number that reads as another's.
                if is_ip_family(family) || is_ip_family(family.swap_bytes()) {
                    self.after(4)
                } else {
                    Err(SkipReason::NotIp)
                }
            }
            _ => Err(SkipReason::UnknownLink),
        }
    }

    /// What follows an Ethernet header and its tags.
    #[inline]
    pub(crate) fn behind_ethernet(&self) -> Result<Self, SkipReason> {
        let &[.., high, low] = self.head::<14>()?;
        self.after(14)?.behind_tags(u16::from_be_bytes([high, low]))
    }

    /// What follows the VLAN tags (none, one or a stack) that an EtherType announces, if it is IP.
    #[inline]
    fn behind_tags(mut self, mut ether_type: u16) -> Result<Self, SkipReason> {
        while let EtherType::VLAN_TAGGED_FRAME
        | EtherType::PROVIDER_BRIDGING
        | EtherType::VLAN_DOUBLE_TAGGED_FRAME = EtherType(ether_type)
        {
            let &[_, _, high, low] = self.head::<4>()?;
            ether_type = u16::from_be_bytes([high, low]);
            self = self.after(4)?;
        }
        match EtherType(ether_type) {
            EtherType::IPV4 | EtherType::IPV6 => Ok(self),
            _ => Err(SkipReason::NotIp),
        }
    }
}

/// `AF_INET` everywhere, and `AF_INET6` of NetBSD and OpenBSD, FreeBSD, macOS, and Linux.
fn is_ip_family(family: u32) -> bool {
    matches!(family, 2 | 24 | 28 | 30 | 10)
}
