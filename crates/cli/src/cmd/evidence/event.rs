//! An event as the store has it, and what messages can show of it.

use std::net::IpAddr;

use bftap_analysis::KnownNode;
use bftap_evidence::{Accusation, ClaimKind, EventEntry};
use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime, Endpoint, Hash256};
use bftap_store::RunDetails;
use bftap_store::rows::EventRow;

use crate::report::short;

/// The one place that knows how the store writes events.
#[derive(Clone, Debug)]
pub(super) struct StoredEvent {
    pub(super) number: i64,
    pub(super) rule: String,
    pub(super) severity: String,
    pub(super) signer: Option<String>,
    pub(super) chain: String,
    pub(super) sequence: Option<u64>,
    pub(super) round: Option<u64>,
    pub(super) suspicious: bool,
    sender: Option<String>,
    address: Option<String>,
    ip: Option<String>,
    time: CaptureTime,
    detail: String,
    kind: Option<Kind>,
    /// Whose key is accused: where content is to blame, and not who handed it over.
    accused: Option<Address>,
    payloads: Vec<Hash256>,
}

impl StoredEvent {
    pub(super) fn of(row: &EventRow, details: &RunDetails) -> Self {
        let chain = details.chains.iter().find(|chain| chain.chain_id == row.chain_id);
        let positive = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        Self {
            number: row.event_number,
            rule: row.rule.clone(),
            severity: row.severity.clone(),
            signer: row.signer.clone(),
            chain: chain.map_or_else(|| "unknown".to_owned(), |chain| chain.chain.clone()),
            sequence: positive(row.sequence),
            round: positive(row.round),
            suspicious: row.suspicious,
            sender: row.sender.clone(),
            address: row.address.clone(),
            ip: row.ip.clone(),
            time: CaptureTime::from_nanos(row.time_ns),
            detail: row.detail.clone(),
            kind: row.kind.as_deref().and_then(|kind| kind.parse().ok()),
            accused: row.signer.as_deref().and_then(|label| {
                let blamed = row.address.as_deref().and_then(|address| address.parse().ok());
                let nodes = details.nodes.iter();
                signer_of(
                    label,
                    blamed,
                    nodes.map(|node| (&*node.label, node.address.as_deref())),
                )
            }),
            payloads: row.payloads.as_deref().map(payloads_of).unwrap_or_default(),
        }
    }

    /// What messages can show of it; else why they cannot, in words.
    pub(super) fn accusation(&self) -> Result<Accusation, String> {
        let what = ClaimKind::of_rule(&self.rule);
        if self.payloads.is_empty() && !what.finds_messages() {
            return Err(format!(
                "the rule {} is not about signed messages, or the event does not name them",
                self.rule
            ));
        }
        let sequence = self
            .sequence
            .ok_or("the event names no height, so its messages cannot be found")?;
        Ok(Accusation {
            what,
            sequence,
            // Locks are in conflict across rounds.
            round: self.round.filter(|_| what != ClaimKind::ConflictingLock),
            kind: self.kind,
            accused: self.accused,
            payloads: self.payloads.clone(),
        })
    }

    /// Who signed, else who handed it over, else the node that it is about, in text.
    pub(super) fn blamed(&self) -> Option<String> {
        let label = self.signer.as_deref().or(self.sender.as_deref());
        label
            .or(self.address.as_deref())
            .or(self.ip.as_deref())
            .map(short)
    }

    /// Seconds are enough for a person.
    pub(super) fn time(&self) -> String {
        let text = self.time.to_string();
        text.split('.').next().unwrap_or_default().replace('T', " ")
    }

    /// As it stands in a bundle.
    pub(super) fn entry(&self, run: &str) -> EventEntry {
        EventEntry {
            run: run.to_owned(),
            number: self.number,
            rule: self.rule.clone(),
            time_ns: self.time.nanos(),
            severity: self.severity.clone(),
            signer: self.signer.clone(),
            sender: self.sender.clone(),
            chain: self.chain.clone(),
            detail: self.detail.clone(),
        }
    }
}

/// Hashes in a JSON list. What is none is left out: stores are input like any other.
fn payloads_of(list: &str) -> Vec<Hash256> {
    let texts: Vec<String> = serde_json::from_str(list).unwrap_or_default();
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// The address of a signer in text: its label is its name, else its address. The event's own address is that of whom it blames, which may be
/// whoever handed the messages over; it tells which is meant where two nodes have one name, or none is known by it.
fn signer_of<'a>(
    label: &str,
    blamed: Option<Address>,
    nodes: impl Iterator<Item = (&'a str, Option<&'a str>)>,
) -> Option<Address> {
    let named: Vec<Address> = nodes
        .filter(|(own, _)| *own == label)
        .filter_map(|(_, address)| address?.parse().ok())
        .collect();
    blamed
        .filter(|blamed| named.contains(blamed))
        .or_else(|| named.first().copied())
        .or_else(|| label.parse().ok())
        .or(blamed)
}

/// Names of nodes: those that the user gives, else those of the run.
#[derive(Debug)]
pub(super) struct Names(Vec<(String, Option<IpAddr>, Option<Address>)>);

impl Names {
    pub(super) fn new(nodes: &[KnownNode], details: &RunDetails) -> Self {
        if !nodes.is_empty() {
            let known = nodes.iter().map(|node| {
                let address = node.address.or_else(|| node.node_id.map(|id| id.address()));
                (node.name.clone(), node.ip, address)
            });
            return Self(known.collect());
        }
        let known = details.nodes.iter().filter_map(|node| {
            let ips = details
                .node_ips
                .iter()
                .find(|ip| ip.node_number == node.node_number);
            let address = node.address.as_deref().and_then(|address| address.parse().ok());
            Some((node.name.clone()?, ips.and_then(|ip| ip.ip.parse().ok()), address))
        });
        Self(known.collect())
    }

    pub(super) fn of(&self, end: Endpoint, address: Option<Address>) -> Option<String> {
        let by_address = self
            .0
            .iter()
            .find(|(_, _, known)| address.is_some() && *known == address);
        let known = by_address.or_else(|| {
            // Whoever showed a key is who it says.
            let mut at = self.0.iter().filter(|(_, ip, _)| *ip == Some(end.ip));
            at.next().filter(|_| address.is_none())
        });
        known.map(|(name, ..)| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event that blames whoever handed the messages over has that one's address.
    #[test]
    fn the_signer_is_accused_and_not_who_handed_it_over() {
        let [signer, relay, other] = [1, 2, 3].map(|byte| Address([byte; 20]));
        let texts = [signer, relay, other].map(|address| address.to_string());
        let nodes = [
            ("cn1", Some(&*texts[0])),
            ("cn2", Some(&*texts[1])),
            ("cn3", None),
        ];
        let of = |label: &str, blamed| signer_of(label, blamed, nodes.into_iter());
        assert_eq!(of("cn1", Some(relay)), Some(signer));
        assert_eq!(of("cn1", None), Some(signer));
        assert_eq!(of(&texts[2], Some(relay)), Some(other), "a key that has no name");
        assert_eq!(of("cn3", Some(other)), Some(other), "the nodes do not tell");
        assert_eq!(of("cn3", None), None);
        // Two nodes of one name.
        let twins = [("cn", Some(&*texts[0])), ("cn", Some(&*texts[1]))];
        assert_eq!(signer_of("cn", Some(relay), twins.into_iter()), Some(relay));
    }

    #[test]
    fn payloads_are_read_as_far_as_they_are_hashes() {
        let hash = Hash256([7; 32]);
        assert_eq!(payloads_of(&format!("[\"{hash}\",\"0x07\"]")), [hash]);
        for none in ["", "null", "{}", "[1]", "[\"0x"] {
            assert_eq!(payloads_of(none), [], "{none}");
        }
    }
}
