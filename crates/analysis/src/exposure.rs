//! Who may talk to whom, and who did: a policy of the operator against the sessions that were seen.
//!
//! Ends are IP addresses with the node behind each; groups of the policy contain ends by name, key, IP address or subnet. A group that is
//! *closed* lets its members talk only to those whom its kind or the policy allows. What an open group's members do among themselves or
//! with strangers is not looked at. docs/exposure.md is the page for users.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bftap_model::{Address, CaptureTime};

use crate::aggregator::SessionParties;
use crate::facts::{ChainName, EventFact, Label};
use crate::knowledge::Knowledge;
use crate::observation::SessionEnd;

/// Who may talk to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExposurePolicy {
    /// Groups of nodes.
    pub groups: Vec<ExposureGroup>,
    /// Pairs of groups, by their place in `groups`, whose members may talk to each other whatever their kinds are.
    pub allowed: BTreeSet<(usize, usize)>,
    /// How long prefixes of IPv4 and IPv6 addresses in one subnet are.
    pub subnet_bits: [u8; 2],
}

impl Default for ExposurePolicy {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            allowed: BTreeSet::new(),
            subnet_bits: [24, 64],
        }
    }
}

/// Nodes with one task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExposureGroup {
    /// What it is called.
    pub name: String,
    /// What its members are.
    pub kind: ExposureKind,
    /// Whether its members may talk only to those who are allowed.
    pub closed: bool,
    /// Of proxies and sentries: the groups that they stand in front of.
    pub serves: BTreeSet<usize>,
    /// Members by name.
    pub names: BTreeSet<String>,
    /// Members by their key's address.
    pub addresses: BTreeSet<Address>,
    /// Members by where they are.
    pub subnets: Vec<Subnet>,
}

/// What the members of a group are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExposureKind {
    /// Anything.
    #[default]
    Other,
    /// Takes part in consensus, and talks to consensus nodes and its own proxies.
    Consensus,
    /// Stands between consensus nodes and the public.
    Proxy,
    /// Takes part in consensus, and talks to its own sentries only.
    Validator,
    /// Stands between a validator and everybody else.
    Sentry,
}

impl ExposureKind {
    /// The word in policies and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Consensus => "consensus",
            Self::Proxy => "proxy",
            Self::Validator => "validator",
            Self::Sentry => "sentry",
        }
    }

    /// Whether it takes part in consensus, so that it should not be reached from outside.
    pub const fn is_inner(self) -> bool {
        matches!(self, Self::Consensus | Self::Validator)
    }
}

/// Addresses with a common prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// One of them.
    pub ip: IpAddr,
    /// Bits that they have in common.
    pub bits: u8,
}

impl Subnet {
    /// Whether an address is in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let (own, other, unused) = match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (
                u128::from(own.to_bits()),
                u128::from(other.to_bits()),
                32_u32.saturating_sub(self.bits.into()),
            ),
            (IpAddr::V6(own), IpAddr::V6(other)) => (
                own.to_bits(),
                other.to_bits(),
                128_u32.saturating_sub(self.bits.into()),
            ),
            _ => return false,
        };
        (own ^ other).checked_shr(unused).unwrap_or(0) == 0
    }
}

impl ExposureGroup {
    fn contains(&self, end: &End) -> bool {
        self.names.contains(&*end.label)
            || end
                .address
                .is_some_and(|address| self.addresses.contains(&address))
            || self.subnets.iter().any(|subnet| subnet.contains(end.ip))
    }
}

impl ExposurePolicy {
    fn groups_of(&self, end: &End) -> Vec<usize> {
        let all = self.groups.iter().enumerate();
        all.filter(|(_, group)| group.contains(end))
            .map(|(at, _)| at)
            .collect()
    }

    /// Whether a member of `own` may talk to one of `other`, as far as `own` has a say.
    fn lets(&self, own: usize, other: usize) -> bool {
        if self.allowed.contains(&(own, other)) || self.allowed.contains(&(other, own)) {
            return true;
        }
        let peer = &self.groups[other];
        let serves = peer.serves.contains(&own);
        match self.groups[own].kind {
            ExposureKind::Consensus => {
                peer.kind == ExposureKind::Consensus || peer.kind == ExposureKind::Proxy && serves
            }
            ExposureKind::Validator => peer.kind == ExposureKind::Sentry && serves,
            ExposureKind::Proxy | ExposureKind::Sentry => self.groups[own].serves.contains(&other),
            ExposureKind::Other => false,
        }
    }

    /// The closed group of the first end that forbids the second, if one does.
    fn forbidden_by(&self, own: &[usize], other: &[usize]) -> Option<usize> {
        let closed = own.iter().copied().find(|at| self.groups[*at].closed)?;
        let allowed = own
            .iter()
            .any(|own| other.iter().any(|other| self.lets(*own, *other)));
        (!allowed).then_some(closed)
    }
}

/// One end of sessions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    ip: IpAddr,
    address: Option<Address>,
    label: Label,
}

impl End {
    fn words(&self, policy: &ExposurePolicy, groups: &[usize]) -> String {
        let place = if *self.label == *self.ip.to_string() {
            self.label.to_string()
        } else {
            format!("{} at {}", self.label, self.ip)
        };
        match groups.first() {
            Some(at) => format!(
                "{place} ({} of group {})",
                policy.groups[*at].kind.as_str(),
                policy.groups[*at].name
            ),
            None => place,
        }
    }
}

/// Sessions of two ends.
#[derive(Clone, Debug)]
struct Contact {
    sessions: u64,
    first: CaptureTime,
    last: CaptureTime,
    chain: ChainName,
}

/// Of several chains the first; one that nobody told comes last.
fn join(chain: &mut ChainName, other: &ChainName) {
    let unknown = |name: &ChainName| **name == *"unknown";
    if (unknown(other), other) < (unknown(chain), chain) {
        *chain = other.clone();
    }
}

/// What is known of an end.
#[derive(Clone, Debug)]
struct Stay {
    first: CaptureTime,
    chain: ChainName,
}

/// What a policy has to say about sessions: one event for each pair of ends. At most `most`; gives how many more there are.
pub(crate) fn events(
    policy: &ExposurePolicy,
    sessions: &[(SessionEnd, SessionParties)],
    knowledge: &Knowledge,
    most: usize,
) -> (Vec<EventFact>, u64) {
    let mut contacts: BTreeMap<[End; 2], Contact> = BTreeMap::new();
    let mut ends: BTreeMap<End, Stay> = BTreeMap::new();
    for (end, parties) in sessions {
        let chain = &knowledge.names[parties.slot as usize];
        let mut pair = parties.parties.map(|party| {
            let party = &knowledge.resolved.parties[party as usize];
            End {
                ip: party.ip,
                address: party.address,
                label: party.label.clone(),
            }
        });
        pair.sort_unstable();
        let (first, last) = end.span;
        for end in &pair {
            let stay = ends.entry(end.clone()).or_insert_with(|| Stay {
                first,
                chain: chain.clone(),
            });
            stay.first = stay.first.min(first);
            join(&mut stay.chain, chain);
        }
        let contact = contacts.entry(pair).or_insert_with(|| Contact {
            sessions: 0,
            first,
            last,
            chain: chain.clone(),
        });
        join(&mut contact.chain, chain);
        contact.sessions += 1;
        contact.first = contact.first.min(first);
        contact.last = contact.last.max(last);
    }
    let mut list = List {
        knowledge,
        events: Vec::new(),
        most,
        more: 0,
    };
    let groups: BTreeMap<&End, Vec<usize>> = ends.keys().map(|end| (end, policy.groups_of(end))).collect();
    for (pair, contact) in &contacts {
        list.contact(policy, pair, contact, &groups);
    }
    let of_kind = |wanted: fn(ExposureKind) -> bool| {
        let groups = groups.iter();
        groups
            .filter(|(_, own)| own.iter().any(|at| wanted(policy.groups[*at].kind)))
            .map(|(end, own)| (*end, own.as_slice()))
            .collect::<Vec<_>>()
    };
    let outer = of_kind(|kind| matches!(kind, ExposureKind::Proxy | ExposureKind::Sentry));
    for inner in of_kind(ExposureKind::is_inner) {
        for outer in &outer {
            let (one, other) = (&ends[inner.0], &ends[outer.0]);
            let mut chain = one.chain.clone();
            join(&mut chain, &other.chain);
            let stay = Stay {
                first: one.first.max(other.first),
                chain,
            };
            list.subnet(policy, inner, *outer, stay, &contacts);
        }
    }
    (list.events, list.more)
}

/// Events, as many as there is room for.
struct List<'a> {
    knowledge: &'a Knowledge,
    events: Vec<EventFact>,
    most: usize,
    more: u64,
}

impl List<'_> {
    fn contact(
        &mut self,
        policy: &ExposurePolicy,
        pair: &[End; 2],
        contact: &Contact,
        groups: &BTreeMap<&End, Vec<usize>>,
    ) {
        let [a, b] = [0, 1].map(|at| groups[&pair[at]].as_slice());
        // Who is closed complains of the other; of two that are, the one with the smaller address.
        let (own, other) = match (policy.forbidden_by(a, b), policy.forbidden_by(b, a)) {
            (Some(_), _) => (0, 1),
            (None, Some(_)) => (1, 0),
            (None, None) => return,
        };
        let (of_own, of_other) = if own == 0 { (a, b) } else { (b, a) };
        let sessions = match contact.sessions {
            1 => "1 session".to_owned(),
            sessions => format!("{sessions} sessions"),
        };
        let (own, stranger) = (pair[own].words(policy, of_own), &pair[other]);
        let (rule, why) = if of_other.is_empty() {
            ("exposure_unknown_peer", "which is in no group of the policy")
        } else {
            ("exposure_violation", "which the policy does not allow")
        };
        let other = stranger.words(policy, of_other);
        let detail = format!("{own} talks to {other}, {why}: {sessions}");
        let mut event = EventFact::new(rule, contact.first, detail);
        event.sender = Some(stranger.label.clone());
        event.chain = contact.chain.clone();
        self.name(&mut event, stranger);
        event.numbers = numbers(Some(contact));
        self.push(event);
    }

    fn subnet(
        &mut self,
        policy: &ExposurePolicy,
        (inner, of_inner): (&End, &[usize]),
        (outer, of_outer): (&End, &[usize]),
        stay: Stay,
        contacts: &BTreeMap<[End; 2], Contact>,
    ) {
        let own = |at: &usize| {
            policy.groups[*at]
                .serves
                .iter()
                .any(|group| of_inner.contains(group))
        };
        if !of_outer.iter().any(own) || inner.ip == outer.ip && inner == outer {
            return;
        }
        let bits = policy.subnet_bits[usize::from(inner.ip.is_ipv6())];
        let subnet = Subnet { ip: inner.ip, bits };
        if !subnet.contains(outer.ip) {
            return;
        }
        let detail = format!(
            "{} and {}, which is public, are in one subnet of {bits} bits: whoever gets into one is next to the other",
            inner.words(policy, of_inner),
            outer.words(policy, of_outer)
        );
        let mut event = EventFact::new("exposure_shared_subnet", stay.first, detail);
        event.chain = stay.chain;
        let mut pair = [inner.clone(), outer.clone()];
        pair.sort_unstable();
        // Who is inside tells events apart: one proxy may be next to several.
        event.sender = Some(inner.label.clone());
        self.name(&mut event, outer);
        event.numbers = numbers(contacts.get(&pair));
        event.numbers.insert("subnet_bits", bits.into());
        self.push(event);
    }

    /// Names an end as the one that the event is about.
    fn name(&self, event: &mut EventFact, end: &End) {
        event.address = end.address;
        event.node_id = end
            .address
            .and_then(|address| self.knowledge.places.id_of(address));
        event.ip = Some(end.ip);
    }

    fn push(&mut self, event: EventFact) {
        if self.events.len() < self.most {
            self.events.push(event);
        } else {
            self.more += 1;
        }
    }
}

fn numbers(contact: Option<&Contact>) -> BTreeMap<&'static str, i64> {
    let Some(contact) = contact else {
        return [("sessions", 0)].into();
    };
    [
        ("sessions", i64::try_from(contact.sessions).unwrap_or(i64::MAX)),
        ("first_ns", contact.first.nanos()),
        ("last_ns", contact.last.nanos()),
    ]
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(last: u8) -> End {
        let ip = IpAddr::from([10, 0, 0, last]);
        End {
            ip,
            address: Some(Address([last; 20])),
            label: format!("n{last}").into(),
        }
    }

    fn group(kind: ExposureKind, members: &[u8], serves: &[usize]) -> ExposureGroup {
        ExposureGroup {
            name: kind.as_str().to_owned(),
            kind,
            closed: kind.is_inner(),
            serves: serves.iter().copied().collect(),
            names: members.iter().map(|member| format!("n{member}")).collect(),
            ..ExposureGroup::default()
        }
    }

    #[test]
    fn kinds_say_who_may_talk_to_whom() {
        use ExposureKind::{Consensus, Other, Proxy, Sentry, Validator};
        let mut policy = ExposurePolicy {
            groups: vec![
                group(Consensus, &[1, 2], &[]),
                group(Proxy, &[3], &[0]),
                group(Proxy, &[4], &[]),
                group(Validator, &[5], &[]),
                group(Sentry, &[6], &[3]),
                group(Other, &[7], &[]),
            ],
            ..ExposurePolicy::default()
        };
        let forbidden = |policy: &ExposurePolicy, a: u8, b: u8| {
            let [a, b] = [a, b].map(|last| policy.groups_of(&end(last)));
            policy.forbidden_by(&a, &b).is_some() || policy.forbidden_by(&b, &a).is_some()
        };
        for (a, b, expected) in [
            (1, 2, false),
            (1, 3, false),
            (1, 4, true),
            (1, 5, true),
            (1, 7, true),
            (1, 9, true),
            (5, 6, false),
            (5, 3, true),
            (5, 9, true),
            (3, 9, false),
            (3, 4, false),
            (6, 7, false),
            (8, 9, false),
        ] {
            assert_eq!(forbidden(&policy, a, b), expected, "{a} and {b}");
            assert_eq!(forbidden(&policy, b, a), expected, "{b} and {a}");
        }
        policy.allowed.insert((5, 0));
        assert!(!forbidden(&policy, 1, 7));
        policy.groups[5].closed = true;
        assert!(forbidden(&policy, 7, 9));
    }

    #[test]
    fn members_are_known_by_name_key_and_place() {
        let of = |group: ExposureGroup| {
            let policy = ExposurePolicy {
                groups: vec![group],
                ..ExposurePolicy::default()
            };
            (0..=255)
                .filter(|last| !policy.groups_of(&end(*last)).is_empty())
                .collect::<Vec<u8>>()
        };
        let none = ExposureGroup::default;
        let subnet = |ip: &str, bits| ExposureGroup {
            subnets: vec![Subnet {
                ip: ip.parse().unwrap(),
                bits,
            }],
            ..none()
        };
        assert_eq!(of(none()), []);
        assert_eq!(of(group(ExposureKind::Other, &[3], &[])), [3]);
        assert_eq!(
            of(ExposureGroup {
                addresses: [Address([9; 20])].into(),
                ..none()
            }),
            [9]
        );
        assert_eq!(of(subnet("10.0.0.7", 32)), [7]);
        assert_eq!(of(subnet("10.0.0.6", 31)), [6, 7]);
        assert_eq!(of(subnet("0.0.0.0", 0)).len(), 256);
        assert_eq!(of(subnet("10.0.1.0", 24)), []);
        assert_eq!(of(subnet("::", 0)), [], "another family");
        let v6 = Subnet {
            ip: "fd00::1".parse().unwrap(),
            bits: 64,
        };
        assert!(v6.contains("fd00::ffff".parse().unwrap()) && !v6.contains("fd00:0:0:1::1".parse().unwrap()));
    }
}
