//! The deliveries of a height in the order in which they are judged: payload by payload, within one receiver by receiver.

use bftap_model::CaptureTime;

use crate::closing::ChainContext;
use crate::height::{Delivery, Height};

/// Copies of one payload from one party to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'h> {
    /// Index into the height's payloads. It depends on the order of arrival, so it is good for grouping only.
    pub(crate) payload: u32,
    /// Rank of the receiver's IP address.
    pub(crate) ip: u32,
    /// Place of the sender.
    pub(crate) place: u32,
    /// Parties.
    pub(crate) receiver: u32,
    pub(crate) sender: u32,
    pub(crate) delivery: &'h Delivery,
}

/// All deliveries, sorted by payload, receiver's IP address and sender's place.
pub(crate) fn sorted<'h>(height: &'h Height, chain: &ChainContext<'_>) -> Vec<Row<'h>> {
    let row = |(key, delivery): (&crate::height::DeliveryKey, &'h Delivery)| Row {
        payload: key.payload,
        ip: chain.ips.of_party[key.receiver as usize],
        place: chain.ips.place_of_party[key.sender as usize],
        receiver: key.receiver,
        sender: key.sender,
        delivery,
    };
    let mut rows: Vec<Row<'h>> = height.deliveries.iter().map(row).collect();
    rows.sort_unstable_by_key(|row| (row.payload, row.ip, row.place, row.receiver, row.sender));
    rows
}

/// Rows of one payload each.
pub(crate) fn by_payload<'r, 'h>(rows: &'r [Row<'h>]) -> impl Iterator<Item = &'r [Row<'h>]> {
    rows.chunk_by(|a, b| a.payload == b.payload)
}

/// Earliest sight of each payload anywhere, by its index.
pub(crate) fn first_sights(rows: &[Row<'_>], payloads: usize) -> Vec<CaptureTime> {
    let mut first = vec![CaptureTime::MAX; payloads];
    for row in rows {
        let known = &mut first[row.payload as usize];
        *known = (*known).min(row.delivery.first_seen);
    }
    first
}
