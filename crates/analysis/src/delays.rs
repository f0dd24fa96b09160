//! How long payloads of validators took to reach each node: one by one in the truth table, and over all heights.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bftap_model::{Address, CaptureTime, Nanos};

use crate::closing::ChainContext;
use crate::facts::{ChainName, Coverage, DelayBound, DelayFact, ReceivedFact, VoteFact};
use crate::histogram::Histogram;
use crate::knowledge::Knowledge;
use crate::rows::Row;
use crate::witnesses::{ON_THE_WAY, Sight};

/// What reached one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delay {
    payloads: u64,
    exact: Histogram,
}

crate::tally::summed! {
    Delay { payloads, exact }
}

crate::kept! {
    Delay { payloads, exact }
}

/// By IP address.
pub(crate) type Delays = BTreeMap<IpAddr, Delay>;

/// Where a payload of `signer` arrived first, and from whom, at each node but the signer; `rows` are all of the payload, sorted, and
/// `first` is its first sight anywhere.
pub(crate) fn received(
    rows: &[Row<'_>],
    signer: &Address,
    first: CaptureTime,
    chain: &ChainContext<'_>,
) -> Vec<ReceivedFact> {
    let before = first.saturating_add(Nanos(-ON_THE_WAY.0));
    let sight = chain
        .witnesses
        .sight(signer, (before, first), chain.ips, chain.coverage, chain.losses);
    let signer_seen = sight != Sight::Poor;
    let mut received = Vec::new();
    for group in rows.chunk_by(|a, b| a.ip == b.ip) {
        let foreign = group
            .iter()
            .filter(|row| chain.who.parties[row.receiver as usize].address != Some(*signer));
        // The same that the ledger takes for the useful one.
        let earliest =
            foreign.min_by_key(|row| (row.delivery.first_arrival, row.delivery.first_seen, row.place));
        let Some(row) = earliest else { continue };
        let node_ip = chain.ips.ips[row.ip as usize];
        let arrival = row.delivery.first_arrival;
        let seen = chain.coverage.of(node_ip) != Coverage::Partial
            && !chain.losses.overlap(node_ip, before.min(arrival), arrival);
        received.push(ReceivedFact {
            node_ip,
            node: chain.ips.labels[row.ip as usize].clone(),
            sender: chain.who.parties[row.sender as usize].label.clone(),
            delay_ns: arrival.since(first).0.max(0),
            bound: match (signer_seen, seen) {
                (true, true) => DelayBound::Exact,
                (false, true) => DelayBound::AtLeast,
                (true, false) => DelayBound::AtMost,
                (false, false) => DelayBound::Unknown,
            },
        });
    }
    received.sort_by_key(|received| (received.delay_ns, received.node_ip));
    received
}

/// Adds what one height gave.
pub(crate) fn add(delays: &mut Delays, table: &[(Address, VoteFact)]) {
    for received in table.iter().flat_map(|(_, vote)| &vote.received) {
        let delay = delays.entry(received.node_ip).or_default();
        delay.payloads += 1;
        if received.bound == DelayBound::Exact {
            delay.exact.note(received.delay_ns);
        }
    }
}

/// The rows of a chain, sorted by IP address.
pub(crate) fn rows(chain: &ChainName, delays: &Delays, knowledge: &Knowledge) -> Vec<DelayFact> {
    let row = |(&node_ip, delay): (&IpAddr, &Delay)| DelayFact {
        chain: chain.clone(),
        node_ip,
        node: knowledge.resolved.receiver_label(node_ip),
        payloads: delay.payloads,
        exact: delay.exact.count(),
        p50_ns: delay.exact.quantile(50),
        p95_ns: delay.exact.quantile(95),
        p99_ns: delay.exact.quantile(99),
        max_ns: delay.exact.quantile(100),
    };
    delays.iter().map(row).collect()
}
