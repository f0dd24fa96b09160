//! What is blocked, as OpenFlow rules, and back.
//!
//! Rules of one block share a cookie: 16 bits that say ours, 4 bits that say what it is, 44 bits of a hash of its addresses. What is
//! blocked is read from the matches; the cookie only holds together what belongs together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

/// A node: its name, and all its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// As it is shown.
    pub name: String,
    /// At least one.
    pub ips: Vec<IpAddr>,
}

/// Whose packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All packets from and to a node.
    Node(Party),
    /// Packets between two nodes.
    Pair(Party, Party),
}

/// What becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// None gets through.
    Drop,
    /// So many packets a second get through. Of a node: those it sends; of a pair: both directions together.
    PacketsPerSecond(u32),
    /// So many kilobits a second get through.
    KilobitsPerSecond(u32),
}

impl Measure {
    /// Whether so little gets through that a validator is as good as blocked. Consensus of a few dozen nodes takes some hundred packets and
    /// some hundred kilobits a second.
    pub fn starves(self) -> bool {
        match self {
            Self::Drop => true,
            Self::PacketsPerSecond(rate) => rate < 100,
            Self::KilobitsPerSecond(rate) => rate < 500,
        }
    }
}

/// Above rules of controllers: 32768 is what they give when they do not say, 65535 the highest.
pub const PRIORITY: u16 = 65_000;

/// Longest time that a rule can be told to stay, in seconds: `hard_timeout` has 16 bits.
pub const LONGEST_TTL: u32 = 65_535;

/// First 16 bits of our cookies.
const OURS: u64 = 0xbf7a << 48;

/// Meters that are ours. OVS has 65,536 of them at least; controllers count from 1.
pub const METERS: std::ops::Range<u32> = 47_000..48_000;

/// Selects all our rules.
pub const ALL_OURS: &str = "cookie=0xbf7a000000000000/0xffff000000000000";

impl Target {
    /// In words.
    pub fn words(&self) -> String {
        match self {
            Self::Node(node) => node.name.clone(),
            Self::Pair(a, b) => format!("{} and {}", a.name, b.name),
        }
    }

    /// The cookie of its rules: the same for the same addresses.
    pub fn cookie(&self) -> u64 {
        let mut text = String::new();
        for ips in self.sorted() {
            for ip in ips {
                // Writing to a string cannot fail.
                let _ = write!(text, "{ip},");
            }
            text.push('|');
        }
        // FNV-1a: the same in all versions, unlike the standard library's hash.
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let kind = match self {
            Self::Node(_) => 1_u64,
            Self::Pair(..) => 2,
        };
        OURS | kind << 44 | (hash & ((1 << 44) - 1))
    }

    fn sorted(&self) -> Vec<BTreeSet<IpAddr>> {
        let mut parties: Vec<BTreeSet<IpAddr>> = match self {
            Self::Node(node) => vec![node.ips.iter().copied().collect()],
            Self::Pair(a, b) => vec![a.ips.iter().copied().collect(), b.ips.iter().copied().collect()],
        };
        parties.sort();
        parties
    }

    /// Its rules as `ovs-ofctl add-flows` takes them.
    pub fn flows(&self, measure: Measure, meter: Option<u32>, ttl: u32) -> Vec<String> {
        let mut matches = Vec::new();
        match self {
            Self::Node(node) => {
                for ip in &node.ips {
                    matches.push(match_of(Some(*ip), None));
                    if measure == Measure::Drop {
                        matches.push(match_of(None, Some(*ip)));
                    }
                }
            }
            Self::Pair(a, b) => {
                for a in &a.ips {
                    for b in b.ips.iter().filter(|b| a.is_ipv4() == b.is_ipv4()) {
                        matches.push(match_of(Some(*a), Some(*b)));
                        matches.push(match_of(Some(*b), Some(*a)));
                    }
                }
            }
        }
        let actions = match meter {
            None => "drop".to_owned(),
            Some(meter) => format!("meter:{meter},normal"),
        };
        let cookie = self.cookie();
        let timeout = match ttl {
            0 => String::new(),
            ttl => format!("hard_timeout={ttl},"),
        };
        matches
            .into_iter()
            .map(|matched| {
                format!(
                    "cookie={cookie:#018x},table=0,priority={PRIORITY},{timeout}{matched},actions={actions}"
                )
            })
            .collect()
    }
}

fn match_of(from: Option<IpAddr>, to: Option<IpAddr>) -> String {
    let is_v4 = from.or(to).is_none_or(|ip| ip.is_ipv4());
    let (kind, source, destination) = if is_v4 {
        ("ip", "nw_src", "nw_dst")
    } else {
        ("ipv6", "ipv6_src", "ipv6_dst")
    };
    let mut text = kind.to_owned();
    for (field, ip) in [(source, from), (destination, to)] {
        if let Some(ip) = ip {
            let _ = write!(text, ",{field}={ip}");
        }
    }
    text
}

impl Measure {
    /// The meter that it takes, as `ovs-ofctl add-meter` takes it; a tenth of a second of burst, or what one packet takes.
    pub fn meter(self, number: u32) -> Option<String> {
        let (unit, rate, burst) = match self {
            Self::Drop => return None,
            Self::PacketsPerSecond(rate) => ("pktps", rate, (rate / 10).max(1)),
            Self::KilobitsPerSecond(rate) => ("kbps", rate, (rate / 10).max(24)),
        };
        Some(format!(
            "meter={number},{unit},burst,stats,band=type=drop,rate={rate},burst_size={burst}"
        ))
    }
}

/// One of our rules, as the switch tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Holds together what belongs together.
    pub cookie: u64,
    /// Seconds since it was made.
    pub age: f64,
    /// Seconds after which it goes; `None`: never.
    pub ttl: Option<u32>,
    /// Packets that met it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Source address, if it asks for one.
    pub from: Option<IpAddr>,
    /// Destination address, if it asks for one.
    pub to: Option<IpAddr>,
    /// Meter that they go through; `None`: dropped.
    pub meter: Option<u32>,
}

/// Reads what `ovs-ofctl dump-flows` tells; lines that cannot be understood come back, for what is not known must not be taken as absent.
pub fn parse_flows(text: &str) -> (Vec<Flow>, Vec<String>) {
    let (mut flows, mut others) = (Vec::new(), Vec::new());
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("cookie=0xbf7a"))
    {
        match parse_flow(line) {
            Some(flow) => flows.push(flow),
            None => others.push(line.to_owned()),
        }
    }
    (flows, others)
}

fn parse_flow(line: &str) -> Option<Flow> {
    let (fields, actions) = line.split_once(" actions=")?;
    let mut flow = Flow {
        cookie: 0,
        age: 0.0,
        ttl: None,
        packets: 0,
        bytes: 0,
        from: None,
        to: None,
        meter: None,
    };
    for field in fields.split(',').map(str::trim) {
        let Some((name, value)) = field.split_once('=') else {
            continue;
        };
        match name {
            "cookie" => flow.cookie = u64::from_str_radix(value.strip_prefix("0x")?, 16).ok()?,
            "duration" => flow.age = value.strip_suffix('s')?.parse().ok()?,
            "hard_timeout" => flow.ttl = Some(value.parse().ok()?),
            "n_packets" => flow.packets = value.parse().ok()?,
            "n_bytes" => flow.bytes = value.parse().ok()?,
            "nw_src" | "ipv6_src" => flow.from = Some(value.parse().ok()?),
            "nw_dst" | "ipv6_dst" => flow.to = Some(value.parse().ok()?),
            _ => {}
        }
    }
    flow.meter = match actions {
        "drop" => None,
        actions => Some(
            actions
                .split(',')
                .find_map(|action| action.strip_prefix("meter:"))?
                .parse()
                .ok()?,
        ),
    };
    Some(flow)
}

/// One meter, as the switch tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// What it lets through; `None`: it is not one of ours in kind.
    pub measure: Option<Measure>,
    /// Packets that it dropped.
    pub dropped: u64,
}

/// Reads what `ovs-ofctl dump-meters` and `meter-stats` tell.
pub fn parse_meters(config: &str, stats: &str) -> BTreeMap<u32, Meter> {
    let mut meters: BTreeMap<u32, Meter> = BTreeMap::new();
    let mut current = None;
    for line in config.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("meter=") {
            let mut words = rest.split_whitespace();
            let number = words.next().and_then(|number| number.parse().ok());
            current = number.map(|number: u32| (number, words.any(|word| word == "pktps")));
            if let Some((number, _)) = current {
                meters.entry(number).or_default();
            }
        } else if let (Some((number, packets)), Some(rest)) = (current, line.strip_prefix("type=drop ")) {
            let rate = rest
                .split_whitespace()
                .find_map(|word| word.strip_prefix("rate=")?.parse().ok());
            meters.entry(number).or_default().measure = rate.map(|rate| {
                if packets {
                    Measure::PacketsPerSecond(rate)
                } else {
                    Measure::KilobitsPerSecond(rate)
                }
            });
        }
    }
    let mut current = None;
    for line in stats.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("meter:") {
            current = rest
                .split_whitespace()
                .next()
                .and_then(|number| number.parse().ok());
        } else if let (Some(number), Some(rest)) = (current, line.strip_prefix("0: packet_count:")) {
            let dropped = rest
                .split_whitespace()
                .next()
                .and_then(|count| count.parse().ok());
            meters.entry(number).or_default().dropped = dropped.unwrap_or(0);
        }
    }
    meters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(name: &str, ips: &[&str]) -> Party {
        Party {
            name: name.to_owned(),
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn a_node_is_blocked_in_both_directions_at_all_its_addresses() {
        let target = Target::Node(party("cn3", &["10.0.0.3", "fd00::3"]));
        let cookie = format!("{:#018x}", target.cookie());
        assert!(cookie.starts_with("0xbf7a1"), "{cookie}");
        assert_eq!(
            target.flows(Measure::Drop, None, 300),
            [
                format!(
                    "cookie={cookie},table=0,priority=65000,hard_timeout=300,ip,nw_src=10.0.0.3,actions=drop"
                ),
                format!(
                    "cookie={cookie},table=0,priority=65000,hard_timeout=300,ip,nw_dst=10.0.0.3,actions=drop"
                ),
                format!(
                    "cookie={cookie},table=0,priority=65000,hard_timeout=300,ipv6,ipv6_src=fd00::3,actions=drop"
                ),
                format!(
                    "cookie={cookie},table=0,priority=65000,hard_timeout=300,ipv6,ipv6_dst=fd00::3,actions=drop"
                ),
            ]
        );
        let limited = target.flows(Measure::PacketsPerSecond(500), Some(47_000), 0);
        assert_eq!(limited.len(), 2, "what it sends");
        assert!(
            limited[0].ends_with("priority=65000,ip,nw_src=10.0.0.3,actions=meter:47000,normal"),
            "{limited:?}"
        );
    }

    #[test]
    fn a_pair_is_the_same_in_either_order_and_within_one_family() {
        let (a, b) = (
            party("a", &["10.0.0.1", "fd00::1"]),
            party("b", &["10.0.0.2", "fd00::2"]),
        );
        let pair = Target::Pair(a.clone(), b.clone());
        assert_eq!(pair.cookie(), Target::Pair(b.clone(), a.clone()).cookie());
        assert_ne!(pair.cookie(), Target::Node(a).cookie());
        let flows = pair.flows(Measure::Drop, None, 10);
        assert_eq!(flows.len(), 4, "{flows:?}");
        assert!(
            flows[0].contains("ip,nw_src=10.0.0.1,nw_dst=10.0.0.2"),
            "{flows:?}"
        );
        assert!(
            flows[3].contains("ipv6,ipv6_src=fd00::2,ipv6_dst=fd00::1"),
            "{flows:?}"
        );
    }

    /// As Open vSwitch 3.1 tells it.
    #[test]
    fn what_the_switch_tells_is_understood() {
        let (flows, others) = parse_flows(
            "OFPST_FLOW reply (OF1.3) (xid=0x6):\n \
             cookie=0xbf7a100000000001, duration=1.539s, table=0, n_packets=7, n_bytes=420, hard_timeout=300, priority=65000,ip,nw_src=10.0.0.3 actions=drop\n \
             cookie=0xbf7a200000000002, duration=0.039s, table=0, n_packets=0, n_bytes=0, priority=65000,ipv6,ipv6_src=fd00::1,ipv6_dst=fd00::3 actions=meter:47001,NORMAL\n \
             cookie=0x0, duration=0.139s, table=0, n_packets=0, n_bytes=0, priority=0 actions=NORMAL\n \
             cookie=0xbf7a300000000000, duration=0.1s, table=0, n_packets=0, n_bytes=0, priority=1,ip,nw_src=10.0.0.0/8 actions=drop\n",
        );
        assert_eq!(flows.len(), 2);
        assert_eq!(
            (flows[0].age, flows[0].ttl, flows[0].packets, flows[0].bytes),
            (1.539, Some(300), 7, 420)
        );
        assert_eq!(
            (flows[0].from, flows[0].to),
            (Some("10.0.0.3".parse().unwrap()), None)
        );
        assert_eq!((flows[1].meter, flows[1].ttl), (Some(47_001), None));
        assert_eq!(flows[1].to, Some("fd00::3".parse().unwrap()));
        assert_eq!(others.len(), 1, "what is not understood is told: {others:?}");
        let meters = parse_meters(
            "OFPST_METER_CONFIG reply (OF1.3) (xid=0x2):\nmeter=47001 kbps burst stats bands=\ntype=drop rate=20000 burst_size=2000\n\
             meter=47002 pktps burst stats bands=\ntype=drop rate=500 burst_size=50\n",
            "OFPST_METER reply (OF1.3) (xid=0x2):\nmeter:47001 flow_count:1 packet_in_count:9 byte_in_count:0 duration:0.084s bands:\n\
             0: packet_count:4 byte_count:0\n",
        );
        assert_eq!(
            meters[&47_001],
            Meter {
                measure: Some(Measure::KilobitsPerSecond(20_000)),
                dropped: 4
            }
        );
        assert_eq!(meters[&47_002].measure, Some(Measure::PacketsPerSecond(500)));
    }
}
