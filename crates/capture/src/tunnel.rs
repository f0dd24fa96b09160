//! Tunnel headers, as remote mirrors of switches put them before the mirrored packets.

use crate::layer::{Entry, Layer};
use crate::slice::SkipReason;

/// UDP port of VXLAN (RFC 7348), and the one that Linux took before there was a number.
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
/// UDP port of Geneve (RFC 8926).
const GENEVE_PORT: u16 = 6081;

/// What is in a GRE packet (RFC 2784, RFC 2890, `draft-foschiano-erspan`).
pub(crate) fn gre(layer: Layer<'_>) -> Result<(Entry, Layer<'_>), SkipReason> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const VERSION: u16 = 0x0007;
    const ERSPAN: u16 = 0x88be;
    const ERSPAN_3: u16 = 0x22eb;

    let &[f0, f1, p0, p1] = layer.head()?;
    let flags = u16::from_be_bytes([f0, f1]);
    // Version 1 is PPTP, which carries PPP; source routes went away with RFC 2784.
    if flags & (ROUTING | VERSION) != 0 {
        return Err(SkipReason::UnknownTunnel);
    }
    let optional = (flags & (CHECKSUM | KEY | SEQUENCE)).count_ones() as usize;
    let inner = layer.after(4 + 4 * optional)?;
    match u16::from_be_bytes([p0, p1]) {
        // Type I has no header of its own, and is told by that from type II, which numbers its packets.
        ERSPAN if flags & SEQUENCE == 0 => Ok((Entry::Ethernet, inner)),
        ERSPAN => Ok((Entry::Ethernet, inner.after(8)?)),
        ERSPAN_3 => erspan_3(inner),
        protocol => Ok((Entry::of(protocol).map_err(|_| SkipReason::UnknownTunnel)?, inner)),
    }
}

/// What is behind an ERSPAN type III header.
fn erspan_3(layer: Layer<'_>) -> Result<(Entry, Layer<'_>), SkipReason> {
    const FRAME_ETHERNET: u8 = 0;
    const FRAME_IP: u8 = 2;
    let &[.., high, low] = layer.head::<12>()?;
    let has_subheader = low & 1 != 0;
    let entry = match high >> 2 & 0x1f {
        FRAME_ETHERNET => Entry::Ethernet,
        FRAME_IP => Entry::Ip,
        _ => return Err(SkipReason::UnknownTunnel),
    };
    Ok((entry, layer.after(if has_subheader { 20 } else { 12 })?))
}

/// What is in a UDP packet, if its destination port is that of a tunnel.
pub(crate) fn udp(layer: Layer<'_>) -> Result<(Entry, Layer<'_>), SkipReason> {
    let &[_, _, p0, p1, l0, l1, _, _] = layer.head::<8>()?;
    let port = u16::from_be_bytes([p0, p1]);
    let is_vxlan = VXLAN_PORTS.contains(&port);
    if !is_vxlan && port != GENEVE_PORT {
        return Err(SkipReason::NotTcp);
    }
    let inner = match usize::from(u16::from_be_bytes([l0, l1])) {
        0 => layer,
        1..8 => return Err(SkipReason::Malformed),
        len => layer.of_len(len),
    }
    .after(8)?;
    if is_vxlan { vxlan(inner) } else { geneve(inner) }
}

fn vxlan(layer: Layer<'_>) -> Result<(Entry, Layer<'_>), SkipReason> {
    const HAS_NETWORK_ID: u8 = 0x08;
    let &[flags, ..] = layer.head::<8>()?;
    if flags & HAS_NETWORK_ID == 0 {
        // Some other program on that port.
        return Err(SkipReason::NotTcp);
    }
    Ok((Entry::Ethernet, layer.after(8)?))
}

fn geneve(layer: Layer<'_>) -> Result<(Entry, Layer<'_>), SkipReason> {
    const CONTROL: u8 = 0x80;
    let &[first, second, p0, p1, ..] = layer.head::<8>()?;
    if first >> 6 != 0 || second & CONTROL != 0 {
        return Err(SkipReason::UnknownTunnel);
    }
    let options = 4 * usize::from(first & 0x3f);
    let entry = Entry::of(u16::from_be_bytes([p0, p1])).map_err(|_| SkipReason::UnknownTunnel)?;
    Ok((entry, layer.after(8 + options)?))
}
