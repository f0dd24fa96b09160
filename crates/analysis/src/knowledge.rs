//! Everything that heights and minutes are judged by, as it is known at one moment: at the end of the run, or while it goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime, Nanos, NodeId};
use hashbrown::HashMap;

use crate::aggregator::{ReadFacts, SessionParties};
use crate::chain::{SlotBook, Slots};
use crate::closing::{ChainContext, ChainState, IpRanks, NOBODY};
use crate::coverage::{CoverageMap, Losses};
use crate::facts::{ChainName, Coverage, Label, LinkCountFact, NodeFact, SessionState};
use crate::known::KnownPayloads;
use crate::links::Links;
use crate::minutes::{LinkKey, LinkSum};
use crate::observation::SessionEnd;
use crate::options::AnalysisOptions;
use crate::quorum::QuorumRule;
use crate::rules::Whereabouts;
use crate::score::{self, ScoreOptions};
use crate::who::{Resolved, ResolvedParty, Who};
use crate::witnesses::Witnesses;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Knowledge {
    /// The chain's name of each slot.
    pub(crate) names: Vec<ChainName>,
    pub(crate) resolved: Resolved,
    ips: IpRanks,
    chains: BTreeMap<ChainName, ChainBook>,
    coverage: CoverageMap,
    pub(crate) losses: Losses,
    /// The nodes behind keys.
    pub(crate) places: Whereabouts,
    witnesses: Witnesses,
    /// Least round trip times between IP addresses, the lower one first, where they were measured.
    rtt_min: BTreeMap<(IpAddr, IpAddr), Nanos>,
    /// For the what-if of a fixed degree.
    pub(crate) what_if_degree: u32,
    pub(crate) links: Links,
    /// Ends of sessions that showed a key in Hello which no session from their IP address had accepted.
    pub(crate) unproven_keys: u64,
}

impl Knowledge {
    /// `losses` are those of sessions that are not in `sessions`.
    pub(crate) fn new(
        options: &AnalysisOptions,
        who: &Who,
        slots: &Slots,
        sessions: &[(SessionEnd, SessionParties)],
        mut losses: Losses,
        read: &ReadFacts,
    ) -> Self {
        for (end, _) in sessions {
            losses.note(end);
        }
        losses.settle();
        let resolved = who.resolve();
        let names = slots.names();
        let ids = resolved.parties.iter().filter_map(|party| party.id);
        let mut places = Whereabouts::new(&resolved, ids.chain(who.named_ids()));
        let mut unproven_keys = 0;
        for (end, session) in sessions {
            if end.spoken.iter().any(|spoken| spoken.messages > 0) {
                places.lasted(&names[session.slot as usize], end.span.1);
            }
            for at in [0, 1] {
                let party = &resolved.parties[session.parties[at] as usize];
                unproven_keys += u64::from(end.info.node_ids[at].is_some() && party.id.is_none());
                if let Some(address) = party.address {
                    places.session(address, end.span, end.spoken[at].last);
                }
            }
        }
        places.settle();
        let tapped = read.tap_ends.iter().flatten().chain(&options.tapped);
        let tapped = tapped.copied().collect();
        let ips = IpRanks::new(&resolved, &tapped);
        let parties = resolved.parties.iter().map(|party| party.address);
        let witnesses = Witnesses::new(
            &ips,
            ips.of_party.iter().copied().zip(parties),
            sessions.iter().map(|(end, _)| end),
        );
        let links = Links::new(sessions.iter().map(|(end, _)| end));
        let mut knowledge = Self {
            ips,
            chains: chain_books(slots, &names, sessions, &resolved),
            names,
            resolved,
            coverage: CoverageMap::default(),
            losses,
            places,
            witnesses,
            rtt_min: links.round_trips(),
            links,
            what_if_degree: options.what_if_degree,
            unproven_keys,
        };
        knowledge.coverage = knowledge.coverage(&tapped, sessions);
        knowledge
    }

    /// The IP address of a party.
    pub(crate) fn ip_of(&self, party: u32) -> IpAddr {
        self.resolved.parties[party as usize].ip
    }

    /// How a party is shown in text.
    pub(crate) fn label_of_party(&self, party: u32) -> &Label {
        &self.resolved.parties[party as usize].label
    }

    /// Whether a height that was last seen at a time can be judged for good.
    pub(crate) fn settled(&self, last: CaptureTime) -> bool {
        self.witnesses.settled(last)
    }

    /// Sums for scores of before this count for nothing.
    pub(crate) fn oldest_stretch(&self, options: &ScoreOptions) -> i64 {
        score::oldest_stretch(self.places.end().unwrap_or_default(), options)
    }

    /// What heights of a chain are judged by, and what is known before the first of them.
    pub(crate) fn chain<'a>(
        &'a self,
        name: &ChainName,
        options: &'a AnalysisOptions,
        known: &'a KnownPayloads,
    ) -> (ChainContext<'a>, ChainState) {
        let book = &self.chains[name];
        let ips = &self.ips;
        let covered = |address: &Address| {
            let mut at = ips
                .ips
                .iter()
                .zip(&ips.addresses)
                .filter(|(_, own)| **own == Some(*address))
                .peekable();
            at.peek().is_some() && at.all(|(&ip, _)| self.coverage.of(ip) == Coverage::Full)
        };
        let validators = book.book.known_validators();
        let fixed = options.validators.iter().flatten();
        let members: BTreeSet<Address> = validators.iter().chain(fixed).copied().collect();
        let members: Vec<Address> = members.into_iter().collect();
        let member = |party: &ResolvedParty| {
            let index = party
                .address
                .and_then(|address| members.binary_search(&address).ok());
            index.map_or(NOBODY, |index| index as u32)
        };
        let first = book.book.evidence.first_validators().unwrap_or_default();
        let mut first = first.to_vec();
        first.sort_unstable();
        first.dedup();
        let state = ChainState {
            validators: first.clone(),
            ..ChainState::default()
        };
        let context = ChainContext {
            name: name.clone(),
            first_validators: first,
            who: &self.resolved,
            ips,
            coverage: &self.coverage,
            losses: &self.losses,
            rule: options.quorum.unwrap_or(book.rule),
            committee: options.committee,
            policy: options.policy.or_else(|| book.book.evidence.policy()),
            fixed_validators: options.validators.as_deref(),
            all_validators_covered: !validators.is_empty() && validators.iter().all(covered),
            deliveries: options.deliveries,
            known,
            rules: &options.rules,
            places: &self.places,
            told: book.told && **name != *"unknown",
            listed: &book.book.validators,
            member_of_party: self.resolved.parties.iter().map(member).collect(),
            members,
            witnesses: &self.witnesses,
            rtt_min: &self.rtt_min,
            what_if_degree: options.what_if_degree,
        };
        (context, state)
    }

    /// Rank of a party's IP address.
    pub(crate) fn rank_of(&self, party: u32) -> u32 {
        self.ips.of_party[party as usize]
    }

    /// A receiver in text, by the rank of its IP address.
    pub(crate) fn receiver_at(&self, rank: u32) -> &Label {
        &self.ips.labels[rank as usize]
    }

    /// The row of a link, but for its sums.
    pub(crate) fn link_row(&self, key: &LinkKey) -> LinkRow<'_> {
        LinkRow {
            chain: &self.names[key.chain as usize],
            receiver: self.ips.of_party[key.receiver as usize],
            sender: &self.resolved.parties[key.sender as usize].label,
            kind: key.kind,
        }
    }

    /// Rows of the links of a minute.
    pub(crate) fn link_rows<'m>(
        &self,
        start: CaptureTime,
        links: impl IntoIterator<Item = (&'m LinkKey, &'m LinkSum)>,
    ) -> Vec<LinkCountFact> {
        // Ranks of IP addresses sort as the addresses do.
        let mut sums: BTreeMap<LinkRow<'_>, LinkSum> = BTreeMap::new();
        for (key, sum) in links {
            let row = sums.entry(self.link_row(key)).or_default();
            row.messages += sum.messages;
            row.bytes += sum.bytes;
            row.stale = row.stale.saturating_add(sum.stale);
        }
        let fact = |(row, sum): (LinkRow<'_>, LinkSum)| LinkCountFact {
            chain: row.chain.clone(),
            minute: start,
            receiver_ip: self.ips.ips[row.receiver as usize],
            receiver: self.ips.labels[row.receiver as usize].clone(),
            sender: row.sender.clone(),
            kind: row.kind,
            messages: sum.messages,
            bytes: sum.bytes,
        };
        sums.into_iter().map(fact).collect()
    }

    fn coverage(&self, tapped: &BTreeSet<IpAddr>, sessions: &[(SessionEnd, SessionParties)]) -> CoverageMap {
        let mut peers: BTreeMap<IpAddr, BTreeSet<Address>> = BTreeMap::new();
        let mut validators: BTreeMap<IpAddr, BTreeSet<Address>> = BTreeMap::new();
        for (end, session) in sessions {
            let known = &self.chains[&self.names[session.slot as usize]];
            for (at, other) in [(0, 1), (1, 0)] {
                let ip = end.info.ends[at].ip;
                if end.state == SessionState::Decrypted
                    && let Some(address) = self.resolved.parties[session.parties[other] as usize].address
                {
                    peers.entry(ip).or_default().insert(address);
                }
                if known.name_is_known(&self.names[session.slot as usize]) {
                    validators
                        .entry(ip)
                        .or_default()
                        .extend(known.book.known_validators());
                }
            }
        }
        CoverageMap::new(
            self.ips
                .ips
                .iter()
                .copied()
                .zip(self.ips.addresses.iter().copied()),
            tapped,
            &peers,
            &validators,
            &self.losses,
        )
    }

    /// All nodes.
    pub(crate) fn nodes(&self, who: &Who, sessions: &[(SessionEnd, SessionParties)]) -> Vec<NodeFact> {
        #[derive(Default)]
        struct Seen<'a> {
            ips: BTreeSet<IpAddr>,
            client: Option<&'a str>,
            role: Option<&'static str>,
        }
        let mut by_address: BTreeMap<Address, Seen<'_>> = BTreeMap::new();
        let mut by_ip: BTreeMap<IpAddr, Seen<'_>> = BTreeMap::new();
        for (end, session) in sessions {
            for at in [0, 1] {
                let party = &self.resolved.parties[session.parties[at] as usize];
                let seen = match party.address {
                    Some(address) => by_address.entry(address).or_default(),
                    None => by_ip.entry(party.ip).or_default(),
                };
                seen.ips.insert(party.ip);
                seen.client = seen.client.max(end.info.clients[at].as_deref());
                seen.role = seen.role.max(end.roles[at]);
            }
        }
        let validators: BTreeSet<Address> = self
            .chains
            .values()
            .flat_map(|chain| chain.book.known_validators())
            .copied()
            .collect();
        for &validator in &validators {
            by_address.entry(validator).or_default();
        }
        // A node whose key is known from some sessions is not listed once more for those without Hello.
        by_ip.retain(|ip, _| self.resolved.address_at(*ip).is_none());

        let ids: HashMap<Address, NodeId> = who.nodes().iter().map(|node| (node.address, node.id)).collect();
        let mut nodes: Vec<NodeFact> = by_address
            .into_iter()
            .map(|(address, seen)| NodeFact {
                name: self.resolved.names.name(address).map(ToString::to_string),
                label: self.resolved.names.label_of(address),
                node_id: ids.get(&address).copied(),
                address: Some(address),
                client: seen.client.map(str::to_owned),
                role: seen.role,
                coverage: self.coverage.worst(&seen.ips),
                validator: validators.contains(&address),
                ips: seen.ips.into_iter().collect(),
            })
            .chain(by_ip.into_iter().map(|(ip, seen)| {
                let label = self.resolved.names.label(ip, None);
                NodeFact {
                    name: (*label != *ip.to_string()).then(|| label.to_string()),
                    label,
                    node_id: None,
                    address: None,
                    client: seen.client.map(str::to_owned),
                    role: seen.role,
                    coverage: self.coverage.of(ip),
                    validator: false,
                    ips: vec![ip],
                }
            }))
            .collect();
        nodes.sort_by(|a, b| (&a.label, &a.address, &a.ips).cmp(&(&b.label, &b.address, &b.ips)));
        nodes
    }
}

/// What makes a row of a link; sorted as the rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkRow<'a> {
    chain: &'a ChainName,
    /// Rank of the receiver's IP address.
    receiver: u32,
    sender: &'a Label,
    kind: Kind,
}

/// What was learnt per chain, slots of one chain joined.
fn chain_books(
    slots: &Slots,
    names: &[ChainName],
    sessions: &[(SessionEnd, SessionParties)],
    resolved: &Resolved,
) -> BTreeMap<ChainName, ChainBook> {
    let mut chains: BTreeMap<ChainName, ChainBook> = BTreeMap::new();
    for (slot, book) in slots.books.iter().enumerate() {
        let chain = chains.entry(names[slot].clone()).or_default();
        chain.book.merge(book);
        chain.told &= slots.is_told(slot) || book.dialects.is_empty();
    }
    // One vote a node: the rule that most nodes of the chain follow.
    let mut clients: BTreeMap<(ChainName, Address), &str> = BTreeMap::new();
    for (end, session) in sessions {
        for (party, client) in session.parties.iter().zip(&end.info.clients) {
            let party = &resolved.parties[*party as usize];
            let own = party.address.filter(|_| party.id.is_some());
            if let (Some(address), Some(client)) = (own, client) {
                let kept = clients
                    .entry((names[session.slot as usize].clone(), address))
                    .or_insert(client);
                *kept = (*kept).max(client);
            }
        }
    }
    for (name, chain) in &mut chains {
        let dialect = chain.book.dialects.first().copied().unwrap_or_default();
        let own = clients.iter().filter(|((of, _), _)| of == name);
        let (mut kaia, mut others) = (0_u32, 0_u32);
        for (_, client) in own {
            match QuorumRule::of_client(Some(client), dialect) {
                QuorumRule::KAIA => kaia += 1,
                _ => others += 1,
            }
        }
        chain.rule = if kaia > others {
            QuorumRule::KAIA
        } else {
            QuorumRule::of_client(None, dialect)
        };
    }
    chains
}

/// What was learnt of one chain.
#[derive(Debug)]
struct ChainBook {
    book: SlotBook,
    rule: QuorumRule,
    /// Nothing was put here but what sessions with a Status carried.
    told: bool,
}

impl Default for ChainBook {
    fn default() -> Self {
        Self {
            book: SlotBook::default(),
            rule: QuorumRule::ISTANBUL,
            told: true,
        }
    }
}

impl ChainBook {
    /// Sessions that never told their chain say nothing about who should be seen.
    fn name_is_known(&self, name: &ChainName) -> bool {
        &**name != "unknown" || !self.book.known_validators().is_empty()
    }
}
