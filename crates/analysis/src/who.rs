//! Who is who: a node is its public key; IP addresses, names and client versions hang on it.
//!
//! Where the key is unknown the IP address stands in, and where exactly one key is known behind that address, that key.
//!
//! Anybody can show any key in Hello. A key is believed of an IP address when a session of the two was *accepted*
//! ([`SessionInfo::accepted`](crate::SessionInfo)): by then the peer has compared it with the one that the handshake proved. Until then
//! the party is its IP address like one without Hello; so neither a stranger's claim, nor what it does afterwards, touches whom it names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bftap_model::{Address, NodeId};
use hashbrown::HashMap;

use crate::facts::Label;

/// A node as the user named it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownNode {
    /// Name shown in text.
    pub name: String,
    /// Where it is.
    pub ip: Option<IpAddr>,
    /// Port it listens on.
    pub port: Option<u16>,
    /// Its public key.
    pub node_id: Option<NodeId>,
    /// Its address, if it differs from the key's or the key is not known.
    pub address: Option<Address>,
}

impl KnownNode {
    fn address(&self) -> Option<Address> {
        self.address.or_else(|| self.node_id.map(|id| id.address()))
    }
}

/// One end of a session: where it is, and which key Hello showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Party {
    pub(crate) ip: IpAddr,
    pub(crate) node: Option<u32>,
}

/// A node by its key.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) address: Address,
}

/// A party with everything that the whole run tells of it.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedParty {
    pub(crate) ip: IpAddr,
    /// The key that it showed itself, if that was accepted.
    pub(crate) id: Option<NodeId>,
    pub(crate) address: Option<Address>,
    pub(crate) label: Label,
}

/// Everybody seen in the run.
#[derive(Debug, Default)]
pub(crate) struct Who {
    known: Vec<KnownNode>,
    nodes: Vec<Node>,
    node_index: HashMap<NodeId, u32>,
    parties: Vec<Party>,
    party_index: HashMap<Party, u32>,
    /// Parties whose key was accepted, in the order in which that was seen.
    accepted: Vec<u32>,
    is_accepted: Vec<bool>,
}

impl Who {
    pub(crate) fn new(known: Vec<KnownNode>) -> Self {
        Self {
            known,
            ..Self::default()
        }
    }

    /// Number of the party at `ip`.
    pub(crate) fn party(&mut self, ip: IpAddr, id: Option<NodeId>) -> u32 {
        let node = id.map(|id| {
            *self.node_index.entry(id).or_insert_with(|| {
                self.nodes.push(Node {
                    id,
                    address: id.address(),
                });
                self.nodes.len() as u32 - 1
            })
        });
        let party = Party { ip, node };
        *self.party_index.entry(party).or_insert_with(|| {
            self.parties.push(party);
            self.parties.len() as u32 - 1
        })
    }

    /// Adds the next party as it was numbered in an earlier life; `None` if it cannot be the next one.
    pub(crate) fn recall(&mut self, ip: IpAddr, id: Option<NodeId>) -> Option<()> {
        let next = self.parties.len() as u32;
        (self.party(ip, id) == next).then_some(())
    }

    /// The key of a party was accepted in a session.
    pub(crate) fn accept(&mut self, party: u32) {
        if self.parties[party as usize].node.is_none() {
            return;
        }
        let at = party as usize;
        if self.is_accepted.len() <= at {
            self.is_accepted.resize(at + 1, false);
        }
        if !self.is_accepted[at] {
            self.is_accepted[at] = true;
            self.accepted.push(party);
        }
    }

    /// Those of [`accept`](Self::accept), in the order in which they came.
    pub(crate) fn accepted(&self) -> &[u32] {
        &self.accepted
    }

    /// The key that a party showed, if it did.
    pub(crate) fn id_of(&self, party: &Party) -> Option<NodeId> {
        party.node.map(|node| self.nodes[node as usize].id)
    }

    /// Nodes as the user named them.
    pub(crate) fn known(&self) -> &[KnownNode] {
        &self.known
    }

    /// Keys that the user named.
    pub(crate) fn named_ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.known.iter().filter_map(|node| node.node_id)
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The party that showed this key at this place, if there was one.
    pub(crate) fn find(&self, ip: IpAddr, id: NodeId) -> Option<u32> {
        let node = Some(*self.node_index.get(&id)?);
        self.party_index.get(&Party { ip, node }).copied()
    }

    pub(crate) fn parties(&self) -> &[Party] {
        &self.parties
    }

    /// Joins what was learnt over the whole run.
    pub(crate) fn resolve(&self) -> Resolved {
        let mut resolved = Resolved {
            names: Names::new(&self.known),
            ..Resolved::default()
        };
        // Of each party the node whose key it showed, if that was accepted.
        let known = self.is_accepted.iter().copied().chain(std::iter::repeat(false));
        let own: Vec<Option<&Node>> = self
            .parties
            .iter()
            .zip(known)
            .map(|(party, known)| {
                party
                    .node
                    .filter(|_| known)
                    .map(|node| &self.nodes[node as usize])
            })
            .collect();
        for (party, node) in self.parties.iter().zip(&own) {
            if let Some(node) = node {
                resolved.names.saw(party.ip, node.address);
            }
        }
        resolved.parties = self
            .parties
            .iter()
            .zip(&own)
            .map(|(party, node)| {
                let own = node.map(|node| node.address);
                let address = own.or_else(|| resolved.address_at(party.ip));
                ResolvedParty {
                    ip: party.ip,
                    id: node.map(|node| node.id),
                    address,
                    label: resolved.names.label(party.ip, address),
                }
            })
            .collect();
        resolved
    }
}

/// The names that the user gave, and the keys seen where the user only named an IP address.
#[derive(Clone, Debug, Default)]
pub struct Names {
    by_address: HashMap<Address, Label>,
    by_ip: BTreeMap<IpAddr, BTreeSet<Label>>,
    /// Keys that the user ties to an IP address.
    listed_at: BTreeMap<IpAddr, BTreeSet<Address>>,
    /// Keys that Hello showed at an IP address, and that were accepted.
    seen_at: BTreeMap<IpAddr, BTreeSet<Address>>,
    /// Keys that have their name from the only IP address where they, and no other key, were seen.
    tied: HashMap<Address, BTreeSet<(Label, IpAddr)>>,
}

impl Names {
    /// From a list of nodes; of two names for one key the first one counts.
    pub fn new(known: &[KnownNode]) -> Self {
        let mut names = Self::default();
        for node in known {
            if let Some(address) = node.address() {
                names
                    .by_address
                    .entry(address)
                    .or_insert_with(|| node.name.as_str().into());
            }
            if let Some(ip) = node.ip {
                names
                    .by_ip
                    .entry(ip)
                    .or_default()
                    .insert(node.name.as_str().into());
                if let Some(address) = node.address() {
                    names.listed_at.entry(ip).or_default().insert(address);
                }
            }
        }
        names
    }

    /// Takes note that Hello showed a key at an IP address.
    ///
    /// Where the user named just the address, the name is from now on that of the key, so that the node has one name as
    /// sender, receiver and signer. A second key there (a proxy, several nodes on one machine) ends that.
    pub fn saw(&mut self, ip: IpAddr, address: Address) {
        let seen = self.seen_at.entry(ip).or_default();
        let first = seen.first().copied();
        if !seen.insert(address) || self.listed_at.contains_key(&ip) {
            return;
        }
        let Some(name) = self.by_ip.get(&ip).and_then(only) else {
            return;
        };
        let tie = (name.clone(), ip);
        match first {
            None => {
                self.tied.entry(address).or_default().insert(tie);
            }
            Some(first) => {
                if let Some(ties) = self.tied.get_mut(&first) {
                    ties.remove(&tie);
                }
                // A later, smaller key is `first` next time: nothing is tied to it here.
            }
        }
    }

    /// Whether a key has another name than it had when `earlier` was taken, as far as names come from where keys were seen.
    pub(crate) fn renames(&self, earlier: &Self) -> bool {
        let named = |names: &Self, address: &Address| names.name(*address).cloned();
        self.tied
            .keys()
            .chain(earlier.tied.keys())
            .any(|address| named(self, address) != named(earlier, address))
    }

    /// The name of a key, if it has one.
    pub fn name(&self, address: Address) -> Option<&Label> {
        self.by_address.get(&address).or_else(|| {
            let (name, _) = self.tied.get(&address)?.first()?;
            Some(name)
        })
    }

    /// A validator in text: its name, else its address.
    pub fn label_of(&self, address: Address) -> Label {
        self.name(address)
            .cloned()
            .unwrap_or_else(|| address.to_string().into())
    }

    /// A node in text: its name, else its address, else its IP address.
    pub fn label(&self, ip: IpAddr, address: Option<Address>) -> Label {
        if let Some(name) = address.and_then(|address| self.name(address)) {
            return name.clone();
        }
        // A name that the user gave to an IP address holds unless the user ties another key to it.
        let listed = self.listed_at.get(&ip);
        if listed.is_none_or(|listed| address.is_none() && listed.len() == 1)
            && let Some(name) = self.by_ip.get(&ip).and_then(only)
        {
            return name.clone();
        }
        address.map_or_else(|| ip.to_string().into(), |address| address.to_string().into())
    }

    /// The one key known behind an IP address: seen in Hello, else listed by the user.
    pub fn address_at(&self, ip: IpAddr) -> Option<Address> {
        let known = self.seen_at.get(&ip).or_else(|| self.listed_at.get(&ip));
        known.and_then(only).copied()
    }
}

/// Names and addresses, when the run is over.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) parties: Vec<ResolvedParty>,
    pub(crate) names: Names,
}

impl Resolved {
    /// See [`Names::address_at`].
    pub(crate) fn address_at(&self, ip: IpAddr) -> Option<Address> {
        self.names.address_at(ip)
    }

    /// How the receiver behind an IP address is shown: by its one key, else by the address alone.
    pub(crate) fn receiver_label(&self, ip: IpAddr) -> Label {
        self.names.label(ip, self.address_at(ip))
    }
}

fn only<T: Ord>(set: &BTreeSet<T>) -> Option<&T> {
    if set.len() == 1 { set.first() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    /// With all keys accepted.
    fn resolved(who: &mut Who) -> Resolved {
        (0..who.parties.len() as u32).for_each(|party| who.accept(party));
        who.resolve()
    }

    #[test]
    fn a_key_that_nobody_accepted_is_nobodys() {
        let (honest, other) = (NodeId([7; 64]), NodeId([8; 64]));
        let mut who = Who::new(Vec::new());
        let own = who.party(ip(1), Some(honest));
        let stranger = who.party(ip(9), Some(honest));
        // Somebody behind a known node's address shows another key there.
        let beside = who.party(ip(1), Some(other));
        who.accept(own);
        let resolved = who.resolve();
        let address = |party: u32| resolved.parties[party as usize].address;
        assert_eq!(address(own), Some(honest.address()));
        assert_eq!(address(stranger), None);
        assert_eq!(&*resolved.parties[stranger as usize].label, "10.0.0.9");
        assert_eq!(
            address(beside),
            Some(honest.address()),
            "the one key that is known there"
        );
        assert_eq!(resolved.parties[beside as usize].id, None);
        who.accept(beside);
        who.accept(beside);
        assert_eq!(who.accepted(), [own, beside]);
        let resolved = who.resolve();
        assert_eq!(resolved.parties[beside as usize].address, Some(other.address()));
        assert_eq!(resolved.address_at(ip(1)), None);
    }

    #[test]
    fn names_go_by_key_before_ip_address() {
        let key = NodeId([7; 64]);
        let mut who = Who::new(vec![
            KnownNode {
                name: "cn1".into(),
                ip: Some(ip(1)),
                node_id: Some(key),
                ..KnownNode::default()
            },
            KnownNode {
                name: "proxy".into(),
                ip: Some(ip(9)),
                ..KnownNode::default()
            },
        ]);
        let moved = who.party(ip(5), Some(key));
        let silent = who.party(ip(1), None);
        let proxy = who.party(ip(9), Some(NodeId([9; 64])));
        let stranger = who.party(ip(4), Some(NodeId([4; 64])));
        let unknown = who.party(ip(3), None);
        let resolved = resolved(&mut who);
        let label = |party: u32| resolved.parties[party as usize].label.to_string();
        assert_eq!(label(moved), "cn1");
        assert_eq!(label(silent), "cn1", "the user says who is there");
        assert_eq!(label(proxy), "proxy");
        assert_eq!(label(stranger), NodeId([4; 64]).address().to_string());
        assert_eq!(label(unknown), "10.0.0.3");
    }

    #[test]
    fn another_key_at_a_listed_address_does_not_get_its_name() {
        let mut who = Who::new(vec![KnownNode {
            name: "cn1".into(),
            ip: Some(ip(1)),
            node_id: Some(NodeId([7; 64])),
            ..KnownNode::default()
        }]);
        let impostor = who.party(ip(1), Some(NodeId([8; 64])));
        let resolved = resolved(&mut who);
        assert_eq!(
            *resolved.parties[impostor as usize].label,
            *NodeId([8; 64]).address().to_string()
        );
    }

    #[test]
    fn a_name_for_an_ip_address_is_that_of_the_one_key_seen_there() {
        let (key, other) = (NodeId([7; 64]).address(), NodeId([8; 64]).address());
        let mut names = Names::new(&[KnownNode {
            name: "cn4".into(),
            ip: Some(ip(4)),
            ..KnownNode::default()
        }]);
        assert_eq!(names.name(key), None);
        names.saw(ip(4), key);
        assert_eq!(
            (&*names.label_of(key), names.address_at(ip(4))),
            ("cn4", Some(key))
        );
        names.saw(ip(4), key);
        assert_eq!(&*names.label_of(key), "cn4");
        names.saw(ip(4), other);
        assert_eq!(
            (names.name(key), names.name(other)),
            (None, None),
            "which of them?"
        );
        assert_eq!(names.address_at(ip(4)), None);
    }

    #[test]
    fn an_address_with_two_keys_is_shown_as_ip() {
        let mut who = Who::new(Vec::new());
        who.party(ip(1), Some(NodeId([1; 64])));
        assert_eq!(
            *resolved(&mut who).receiver_label(ip(1)),
            *NodeId([1; 64]).address().to_string()
        );
        who.party(ip(1), Some(NodeId([2; 64])));
        assert_eq!(&*resolved(&mut who).receiver_label(ip(1)), "10.0.0.1");
    }
}
