//! Several batches as one, in which of rows with the same key only the latest is left.

use std::collections::HashSet;
use std::net::IpAddr;

use bftap_analysis::NamedHeight;
use bftap_analysis::facts::{ChainName, Label};
use bftap_ibft_decode::Kind;
use bftap_model::CaptureTime;

use crate::store::Batch;

/// Puts batches together that were made one after the other. What the store holds afterwards is the same.
pub(crate) fn merge(batches: Vec<Batch>) -> Batch {
    let mut seen = Seen::default();
    let mut merged = Batch::default();
    // From the latest to the earliest: what is known already is superseded.
    for batch in batches.into_iter().rev() {
        let Batch {
            counts,
            deliveries,
            rounds,
            node_rounds,
            votes,
            links,
            replaced,
            live,
        } = batch;
        let mut counts = counts;
        counts.retain(|row| {
            let of_height = (row.chain.clone(), row.sequence);
            !seen.heights.contains(&of_height)
                && seen
                    .counts
                    .insert((of_height, row.round, row.receiver_ip, row.kind))
        });
        merged.counts.extend(counts.into_iter().rev());
        let mut deliveries = deliveries;
        deliveries.retain(|row| {
            let of_height = (row.chain.clone(), row.sequence);
            !seen.heights.contains(&of_height)
                && seen.deliveries.insert((
                    (of_height, row.round, row.receiver_ip, row.kind),
                    row.sender.clone(),
                    row.signer.clone(),
                ))
        });
        merged.deliveries.extend(deliveries.into_iter().rev());
        let mut rounds = rounds;
        rounds.retain(|row| {
            let of_height = (row.chain.clone(), row.sequence);
            !seen.heights.contains(&of_height) && seen.rounds.insert((of_height, row.round))
        });
        merged.rounds.extend(rounds.into_iter().rev());
        let mut node_rounds = node_rounds;
        node_rounds.retain(|row| {
            let of_height = (row.chain.clone(), row.sequence);
            !seen.heights.contains(&of_height) && seen.node_rounds.insert((of_height, row.round, row.node_ip))
        });
        merged.node_rounds.extend(node_rounds.into_iter().rev());
        // Votes of a height replace each other as a whole, and within a batch the last ones count.
        for height in votes.into_iter().rev() {
            let named = (height.chain.clone(), height.sequence);
            if !seen.heights.contains(&named) && seen.votes.insert(named) {
                merged.votes.push(height);
            }
        }
        let mut links = links;
        links.retain(|row| {
            let key = (
                row.minute,
                row.chain.clone(),
                row.receiver_ip,
                row.sender.clone(),
                row.kind,
            );
            !seen.minutes.contains(&row.minute) && seen.links.insert(key)
        });
        merged.links.extend(links.into_iter().rev());
        for height in replaced.heights {
            if seen.heights.insert(height.clone()) {
                merged.replaced.heights.push(height);
            }
        }
        for minute in replaced.minutes {
            if seen.minutes.insert(minute) {
                merged.replaced.minutes.push(minute);
            }
        }
        merged.live = merged.live.or(live);
    }
    merged.counts.reverse();
    merged.deliveries.reverse();
    merged.rounds.reverse();
    merged.node_rounds.reverse();
    merged.votes.reverse();
    merged.links.reverse();
    merged
}

type CountKey = (NamedHeight, u64, IpAddr, Kind);

/// Keys of rows that came later, and what is replaced as a whole.
#[derive(Default)]
struct Seen {
    heights: HashSet<NamedHeight>,
    minutes: HashSet<CaptureTime>,
    counts: HashSet<CountKey>,
    deliveries: HashSet<(CountKey, Label, Label)>,
    rounds: HashSet<(NamedHeight, u64)>,
    node_rounds: HashSet<(NamedHeight, u64, IpAddr)>,
    votes: HashSet<NamedHeight>,
    links: HashSet<(CaptureTime, ChainName, IpAddr, Label, Kind)>,
}
