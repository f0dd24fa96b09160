//! The kernel's filter that follows from `--port`.
//!
//! It keeps everything in which the slicer may find a TCP segment with such a port: the exact choice is made there, on headers that
//! the kernel's filter cannot follow (fragments, IPv6 extension headers, tunnels). What the filter takes away is what costs: all
//! other TCP and UDP.

use crate::link::LinkType;

/// In libpcap's language; `None` keeps all. `outer` is the kind of packets the interface gives.
pub(super) fn of_ports(ports: &[u16], outer: LinkType) -> Option<String> {
    if ports.is_empty() {
        return None;
    }
    let ports: Vec<String> = ports.iter().map(|port| format!("tcp port {port}")).collect();
    let kept = format!(
        "{} or {FRAGMENTS} or {EXTENSIONS} or {TUNNELS}",
        ports.join(" or ")
    );
    // `vlan` moves the offsets of all that follows it, so the untagged come first.
    Some(match outer {
        LinkType::ETHERNET => format!("{kept} or (vlan and ({kept} or (vlan and ({kept}))))"),
        _ => kept,
    })
}

/// All fragments: later ones have no ports, and the first one may be too short to.
const FRAGMENTS: &str = "ip[6:2] & 0x3fff != 0";

/// IPv6 with anything between its header and TCP: hop-by-hop options, routing, fragment, destination options, authentication.
const EXTENSIONS: &str = "ip6[6] == 0 or ip6[6] == 43 or ip6[6] == 44 or ip6[6] == 60 or ip6[6] == 51";

/// What remote mirrors of switches send: IP in IP, GRE and ERSPAN, VXLAN, Geneve.
const TUNNELS: &str = "ip proto 4 or ip proto 41 or ip proto 47 or ip6 proto 4 or ip6 proto 41 or ip6 proto 47 \
    or udp dst port 4789 or udp dst port 8472 or udp dst port 6081";

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use bftap_testkit::packet::{
        Tcp, erspan_2, ethernet_ip, fragments_of_ipv4, fragments_of_ipv6, ip, linux_sll, udp, vlan, vxlan,
    };
    use pcap::{Capture, Linktype};

    use super::*;

    fn keeps(link: LinkType, packet: &[u8]) -> bool {
        let text = of_ports(&[32323, 30303], link).unwrap();
        let dead = Capture::dead(Linktype(link.0.into())).unwrap();
        dead.compile(&text, true).unwrap().filter(packet)
    }

    fn tcp(source: &str, destination: &str) -> Tcp {
        Tcp::new(source, destination).payload(&[7; 100])
    }

    #[test]
    fn all_is_kept_without_ports() {
        assert_eq!(of_ports(&[], LinkType::ETHERNET), None);
    }

    #[test]
    fn ports_are_chosen_at_either_end_and_inside_tags() {
        for (source, destination, kept) in [
            ("10.0.0.1:32323", "10.0.0.2:50000", true),
            ("10.0.0.1:50000", "10.0.0.2:30303", true),
            ("10.0.0.1:50000", "10.0.0.2:443", false),
            ("[fd00::1]:50000", "[fd00::2]:32323", true),
            ("[fd00::1]:50000", "[fd00::2]:22", false),
        ] {
            let tcp = tcp(source, destination);
            let frame = tcp.ethernet();
            let tagged = vlan(&frame, 0x8100, 5);
            let twice = vlan(&tagged, 0x88a8, 6);
            for packet in [&frame, &tagged, &twice] {
                assert_eq!(keeps(LinkType::ETHERNET, packet), kept, "{source} {destination}");
            }
            assert_eq!(keeps(LinkType::LINUX_SLL, &linux_sll(&tcp.ip())), kept);
            assert_eq!(keeps(LinkType::RAW_BSD, &tcp.ip()), kept);
        }
    }

    #[test]
    fn what_the_kernel_cannot_look_into_is_kept() {
        let whole = tcp("10.0.0.1:50000", "10.0.0.2:443").ip();
        for fragment in fragments_of_ipv4(&whole, 64) {
            assert!(keeps(LinkType::ETHERNET, &ethernet_ip(&fragment)));
        }
        for fragment in fragments_of_ipv6(&tcp("[fd00::1]:50000", "[fd00::2]:22").ip(), 9, 64) {
            assert!(keeps(LinkType::ETHERNET, &ethernet_ip(&fragment)));
        }
        let inner = tcp("10.0.0.1:50000", "10.0.0.2:443").ethernet();
        let ends: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        let outer = |protocol, payload: &[u8]| ethernet_ip(&ip(ends[0], ends[1], protocol, payload));
        assert!(keeps(LinkType::ETHERNET, &outer(47, &erspan_2(&inner))));
        assert!(keeps(LinkType::ETHERNET, &outer(17, &vxlan(4789, &inner))));
        assert!(!keeps(LinkType::ETHERNET, &outer(17, &udp(4000, 53, &[0; 40]))));
    }
}
