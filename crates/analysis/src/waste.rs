//! Copies of no use, by link, kind and cause, over all heights.

use std::collections::BTreeMap;

use bftap_ibft_decode::Kind;

use crate::facts::{ChainName, WasteCause, WasteFact};
use crate::knowledge::Knowledge;

/// Which copies: parties of the run, so that a name that comes late changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WasteKey {
    pub(crate) receiver: u32,
    pub(crate) sender: u32,
    pub(crate) kind: Kind,
    /// Index into [`WasteCause::ALL`].
    pub(crate) cause: u8,
}

/// How many, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WasteSum {
    pub(crate) copies: u64,
    pub(crate) bytes: u64,
}

crate::tally::summed! {
    WasteSum { copies, bytes }
}

crate::kept! {
    WasteKey { receiver, sender, kind, cause }
    WasteSum { copies, bytes }
}

/// Sums over heights.
pub(crate) type Waste = BTreeMap<WasteKey, WasteSum>;

/// Adds what one height gave, in any order.
pub(crate) fn add(waste: &mut Waste, mut items: Vec<(WasteKey, WasteSum)>) {
    items.sort_unstable_by_key(|(key, _)| *key);
    for group in items.chunk_by(|a, b| a.0 == b.0) {
        let sum = waste.entry(group[0].0).or_default();
        for (_, item) in group {
            sum.copies += item.copies;
            sum.bytes += item.bytes;
        }
    }
}

/// The rows of a chain, sorted by receiver IP, sender, kind, cause.
pub(crate) fn rows(chain: &ChainName, waste: &Waste, knowledge: &Knowledge) -> Vec<WasteFact> {
    let mut rows: BTreeMap<_, WasteSum> = BTreeMap::new();
    for (key, sum) in waste {
        let (receiver, sender) = (
            knowledge.ip_of(key.receiver),
            knowledge.label_of_party(key.sender),
        );
        let row = rows.entry((receiver, sender, key.kind, key.cause)).or_default();
        row.copies += sum.copies;
        row.bytes += sum.bytes;
    }
    rows.into_iter()
        .map(|((receiver_ip, sender, kind, cause), sum)| WasteFact {
            chain: chain.clone(),
            receiver_ip,
            receiver: knowledge.resolved.receiver_label(receiver_ip),
            sender: sender.clone(),
            kind,
            cause: WasteCause::ALL[usize::from(cause) % WasteCause::ALL.len()],
            copies: sum.copies,
            bytes: sum.bytes,
        })
        .collect()
}
