//! The nodes at the ends of sessions, as a crawler would list them, from what passed by: Hello, Status, Disconnect, and the connections
//! themselves.
//!
//! A crawler asks, and gets an answer from whoever has room for it; this list has whoever talked on a captured wire, and says what
//! was said there to others. "Latest" is by capture time, and where two say something at once, the larger value.

mod client;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bftap_model::{Address, CaptureTime, Endpoint, NodeId};
use hashbrown::HashMap;

use self::client::Client;
use crate::aggregator::SessionParties;
use crate::facts::{CensusFact, DialFact, PeerFact, SessionState};
use crate::observation::{ChainId, Refused, SessionEnd, StatusSeen};
use crate::who::{Resolved, Who};

/// The lists of peers.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    /// By label.
    pub(crate) peers: Vec<PeerFact>,
    /// By the two IP addresses.
    pub(crate) dials: Vec<DialFact>,
    /// By list and value.
    pub(crate) census: Vec<CensusFact>,
}

/// Connections between two ends that came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefusedSum {
    /// How many.
    pub(crate) count: u64,
    /// The first packet of the first one.
    pub(crate) first: CaptureTime,
    /// The last packet of the last one.
    pub(crate) last: CaptureTime,
}

/// By who dialled, and what was dialled.
pub(crate) type RefusedSums = BTreeMap<(IpAddr, Endpoint), RefusedSum>;

crate::kept! {
    RefusedSum { count, first, last }
}

impl RefusedSum {
    pub(crate) fn of(refused: &Refused) -> Self {
        Self {
            count: 1,
            first: refused.span.0,
            last: refused.span.1,
        }
    }

    pub(crate) fn join(&mut self, other: &Self) {
        self.count += other.count;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// A node: its key's address where that is known, else where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PeerKey {
    Address(Address),
    Ip(IpAddr),
}

impl PeerKey {
    /// Of a party of a session.
    pub(crate) fn of_party(party: u32, resolved: &Resolved) -> Self {
        let party = &resolved.parties[party as usize];
        party.address.map_or(Self::Ip(party.ip), Self::Address)
    }

    fn at(ip: IpAddr, resolved: &Resolved) -> Self {
        resolved.address_at(ip).map_or(Self::Ip(ip), Self::Address)
    }
}

/// What is gathered of one node.
#[derive(Debug, Default)]
struct Peer<'s> {
    ips: BTreeSet<IpAddr>,
    hello: Option<LatestHello<'s>>,
    status: Option<(CaptureTime, &'s StatusSeen)>,
    role: Option<(CaptureTime, &'static str)>,
    dials: [u64; 2],
    refused: [u64; 2],
    useless: u64,
    lengths: Vec<i64>,
    reconnects: Vec<i64>,
    sent: BTreeMap<String, u64>,
    received: BTreeMap<String, u64>,
}

/// When, the client's name, and what it offers.
type LatestHello<'s> = (CaptureTime, &'s str, &'s [String]);

/// What connections one IP address dialled to another came to.
#[derive(Clone, Copy, Debug)]
struct Dial {
    dials: u64,
    refused: u64,
    useless: u64,
    first: CaptureTime,
    last: CaptureTime,
}

impl Dial {
    fn new((first, last): (CaptureTime, CaptureTime)) -> Self {
        Self {
            dials: 0,
            refused: 0,
            useless: 0,
            first,
            last,
        }
    }

    fn span(&mut self, (first, last): (CaptureTime, CaptureTime)) {
        self.first = self.first.min(first);
        self.last = self.last.max(last);
    }
}

impl Peers {
    /// `refused` are those between nodes.
    pub(crate) fn new<'r>(
        sessions: &[(SessionEnd, SessionParties)],
        refused: impl Iterator<Item = (&'r (IpAddr, Endpoint), &'r RefusedSum)>,
        resolved: &Resolved,
        who: &Who,
    ) -> Self {
        let mut peers: BTreeMap<PeerKey, Peer<'_>> = BTreeMap::new();
        let mut dials: BTreeMap<(IpAddr, IpAddr), Dial> = BTreeMap::new();
        for (end, parties) in sessions {
            let keys = parties.parties.map(|party| PeerKey::of_party(party, resolved));
            let useless = u64::from(is_useless(end));
            for at in [0, 1] {
                let peer = peers.entry(keys[at]).or_default();
                peer.take(end, at);
                peer.useless += useless;
            }
            let dial = dials
                .entry((end.info.ends[0].ip, end.info.ends[1].ip))
                .or_insert_with(|| Dial::new(end.span));
            dial.span(end.span);
            dial.dials += 1;
            dial.useless += useless;
        }
        for (&(initiator, recipient), sum) in refused {
            for (at, ip) in [initiator, recipient.ip].into_iter().enumerate() {
                let peer = peers.entry(PeerKey::at(ip, resolved)).or_default();
                peer.ips.insert(ip);
                peer.dials[at] += sum.count;
                peer.refused[at] += sum.count;
            }
            let span = (sum.first, sum.last);
            let dial = dials
                .entry((initiator, recipient.ip))
                .or_insert_with(|| Dial::new(span));
            dial.span(span);
            dial.dials += sum.count;
            dial.refused += sum.count;
        }
        reconnects(sessions, resolved, &mut peers);
        let statuses = sessions.iter().flat_map(|(end, _)| &end.network.statuses);
        let heads = Heads::new(statuses.flatten());
        let ids: HashMap<Address, NodeId> = who.nodes().iter().map(|node| (node.address, node.id)).collect();
        let mut facts: Vec<PeerFact> = peers
            .into_iter()
            .map(|(key, peer)| peer.fact(key, resolved, &ids, &heads))
            .collect();
        facts.sort_by(|a, b| (&a.node, &a.node_id, &a.ips).cmp(&(&b.node, &b.node_id, &b.ips)));
        let dial_fact = |((initiator_ip, recipient_ip), dial): ((IpAddr, IpAddr), Dial)| DialFact {
            initiator_ip,
            initiator: resolved.receiver_label(initiator_ip),
            recipient_ip,
            recipient: resolved.receiver_label(recipient_ip),
            dials: dial.dials,
            refused: dial.refused,
            useless: dial.useless,
            first_seen_ns: dial.first,
            last_seen_ns: dial.last,
        };
        Self {
            census: census(&facts),
            dials: dials.into_iter().map(dial_fact).collect(),
            peers: facts,
        }
    }
}

impl<'s> Peer<'s> {
    /// Takes what a session says of its end `at`.
    fn take(&mut self, end: &'s SessionEnd, at: usize) {
        self.ips.insert(end.info.ends[at].ip);
        self.dials[at] += 1;
        let network = &end.network;
        if let Some(client) = &end.info.clients[at] {
            let seen = network.hellos_seen[at].unwrap_or(end.span.0);
            self.hello = self.hello.max(Some((seen, client, &network.offers[at])));
        }
        if let Some(status) = &network.statuses[at] {
            self.status = self.status.max(Some((status.seen, status)));
        }
        if let Some(role) = end.roles[at] {
            self.role = self.role.max(Some((end.span.0, role)));
        }
        self.lengths.push(end.span.1.since(end.span.0).0);
        for (reasons, from) in [(&mut self.sent, at), (&mut self.received, 1 - at)] {
            if let Some(reason) = &network.disconnects[from] {
                *reasons.entry(reason.clone()).or_default() += 1;
            }
        }
    }

    fn fact(
        self,
        key: PeerKey,
        resolved: &Resolved,
        ids: &HashMap<Address, NodeId>,
        heads: &Heads,
    ) -> PeerFact {
        let client = self.hello.map(|(_, client, _)| client);
        let parsed = client.map(Client::parse).unwrap_or_default();
        let status = self.status.map(|(_, status)| status);
        let sessions = self.lengths.len() as u64;
        PeerFact {
            node: match key {
                PeerKey::Address(address) => resolved.names.label_of(address),
                PeerKey::Ip(ip) => resolved.names.label(ip, None),
            },
            node_id: match key {
                PeerKey::Address(address) => ids.get(&address).copied(),
                PeerKey::Ip(_) => None,
            },
            ips: self.ips.into_iter().collect(),
            client: client.map(str::to_owned),
            software: parsed.software,
            version: parsed.version,
            offers: self.hello.map(|(.., offers)| offers.to_vec()).unwrap_or_default(),
            network_id: status.map(|status| status.chain.network_id),
            genesis: status.map(|status| status.chain.genesis.to_string()),
            head: status.map(|status| status.head.to_string()),
            total_difficulty: status
                .and_then(|status| status.total_difficulty)
                .map(|difficulty| difficulty.to_string()),
            behind: status
                .and_then(|status| heads.behind(status))
                .map(|behind| behind.to_string()),
            role: self.role.map(|(_, role)| role),
            dials_out: self.dials[0],
            dials_in: self.dials[1],
            refused_out: self.refused[0],
            refused_in: self.refused[1],
            useless: self.useless,
            sessions,
            session_p50_ns: lower_median(self.lengths),
            reconnects: self.reconnects.len() as u64,
            reconnect_p50_ns: lower_median(self.reconnects),
            disconnects_sent: self.sent,
            disconnects_received: self.received,
        }
    }
}

/// Whether a session carried nothing but Hello, Disconnect, Ping and Pong. Only where all of it was read: else it may have.
fn is_useless(end: &SessionEnd) -> bool {
    end.state == SessionState::Decrypted
        && end.attached == Some("handshake")
        && end.gaps == 0
        && end.network.other_frames == 0
}

/// Tells both ends how long after a session the next one with the same peer came. Sessions that overlap, because both dialled or
/// because there are several for each pair, count as one.
fn reconnects(
    sessions: &[(SessionEnd, SessionParties)],
    resolved: &Resolved,
    peers: &mut BTreeMap<PeerKey, Peer<'_>>,
) {
    let mut spans: Vec<([PeerKey; 2], (CaptureTime, CaptureTime))> = sessions
        .iter()
        .filter(|(end, _)| !matches!(end.state, SessionState::NoHandshake))
        .map(|(end, parties)| {
            let mut keys = parties.parties.map(|party| PeerKey::of_party(party, resolved));
            keys.sort_unstable();
            (keys, end.span)
        })
        .collect();
    spans.sort_unstable();
    for pair in spans.chunk_by(|a, b| a.0 == b.0) {
        let keys = pair[0].0;
        let mut until = pair[0].1.1;
        for (_, (from, to)) in &pair[1..] {
            if *from > until {
                for key in keys {
                    if let Some(peer) = peers.get_mut(&key) {
                        peer.reconnects.push(from.since(until).0);
                    }
                }
            }
            until = until.max(*to);
        }
    }
}

/// The highest head of each chain over time, as Status told it: by total difficulty, or by number where that is what is told.
#[derive(Debug, Default)]
struct Heads(BTreeMap<(ChainId, bool), Vec<(CaptureTime, u128)>>);

impl Heads {
    fn new<'s>(statuses: impl Iterator<Item = &'s StatusSeen>) -> Self {
        let mut heads = Self::default();
        for status in statuses {
            if let Some((kind, height)) = status.height() {
                let told = heads.0.entry((status.chain, kind)).or_default();
                told.push((status.seen, height));
            }
        }
        for told in heads.0.values_mut() {
            told.sort_unstable();
            let mut highest = 0;
            for (_, height) in told {
                highest = highest.max(*height);
                *height = highest;
            }
        }
        heads
    }

    fn behind(&self, status: &StatusSeen) -> Option<u128> {
        let (kind, height) = status.height()?;
        let told = self.0.get(&(status.chain, kind))?;
        let so_far = told.partition_point(|(seen, _)| *seen <= status.seen);
        let (_, highest) = told.get(so_far.checked_sub(1)?)?;
        Some(highest.saturating_sub(height))
    }
}

/// Histograms over the peers.
fn census(peers: &[PeerFact]) -> Vec<CensusFact> {
    let mut counts: BTreeMap<(&'static str, String), u64> = BTreeMap::new();
    let mut count = |list, value: String, more| *counts.entry((list, value)).or_default() += more;
    for peer in peers {
        if let Some(software) = &peer.software {
            count("software", software.clone(), 1);
            if let Some(version) = &peer.version {
                count("version", format!("{software}/{version}"), 1);
            }
        }
        for offer in peer.offers.iter().collect::<BTreeSet<_>>() {
            count("capability", offer.clone(), 1);
        }
        if let Some(role) = peer.role {
            count("role", role.to_owned(), 1);
        }
        for (reason, times) in &peer.disconnects_sent {
            count("disconnect", reason.clone(), *times);
        }
    }
    let fact = |((list, value), count)| CensusFact { list, value, count };
    counts.into_iter().map(fact).collect()
}

fn lower_median(mut spans: Vec<i64>) -> Option<i64> {
    spans.sort_unstable();
    spans.get(spans.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use bftap_model::Hash256;

    use super::*;

    fn status(seen: i64, height: u128) -> StatusSeen {
        StatusSeen {
            seen: CaptureTime::from_nanos(seen),
            chain: ChainId {
                network_id: 1,
                genesis: Hash256([1; 32]),
            },
            head: Hash256([2; 32]),
            total_difficulty: Some(height),
            head_number: None,
        }
    }

    #[test]
    fn a_node_is_behind_the_highest_head_told_before_it() {
        let all = [status(10, 100), status(20, 70), status(30, 130), status(30, 120)];
        let heads = Heads::new(all.iter());
        let behind = all.each_ref().map(|status| heads.behind(status));
        assert_eq!(behind, [Some(0), Some(30), Some(0), Some(10)]);
        let by_number = StatusSeen {
            total_difficulty: None,
            head_number: Some(7),
            ..status(40, 0)
        };
        assert_eq!(heads.behind(&by_number), None, "nothing to compare it with");
    }

    #[test]
    fn medians_are_the_lower_ones() {
        assert_eq!(lower_median(vec![]), None);
        assert_eq!(lower_median(vec![5]), Some(5));
        assert_eq!(lower_median(vec![9, 1]), Some(1));
        assert_eq!(lower_median(vec![9, 1, 4]), Some(4));
    }
}
