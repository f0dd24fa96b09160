//! The ledger of copies: which was useful, and why each of the others was not.
//!
//! Of the copies of a payload that reached a receiver, those that it signed itself are echoes, and of the rest the one that arrived
//! first is useful. Each other copy has the first cause of [`WasteCause`] that holds, so causes add up to repeats and echoes. How the
//! order of events at a sender is told, depending on where the taps are: [`ends`]; docs/redundancy.md says it in words.

use bftap_ibft_decode::Kind;
use bftap_model::{CaptureTime, Nanos};
use hashbrown::HashMap;

use crate::closing::ChainContext;
use crate::facts::{CountFact, Coverage, WasteCause};
use crate::height::Height;
use crate::known::{KnownCopies, KnownPayloads};
use crate::rows::{self, Row};
use crate::tally::Tally;
use crate::waste::{self, WasteKey, WasteSum};

#[derive(Clone, Copy, Debug)]
struct Sums {
    messages: u64,
    useful: u64,
    /// By the index of the cause.
    causes: [u64; WasteCause::ALL.len()],
    invalid: u64,
    bytes: u64,
    first_seen: CaptureTime,
    last_seen: CaptureTime,
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            messages: 0,
            useful: 0,
            causes: [0; WasteCause::ALL.len()],
            invalid: 0,
            bytes: 0,
            first_seen: CaptureTime::MAX,
            last_seen: CaptureTime::MIN,
        }
    }
}

impl Sums {
    fn of(&self, cause: WasteCause) -> u64 {
        self.causes[cause as usize]
    }
}

/// Copies of a payload that one sender handed to a receiver who did not sign it.
#[derive(Clone, Copy, Debug)]
struct FromOne {
    place: u32,
    receiver: u32,
    sender: u32,
    copies: u64,
    bytes: u64,
    first_seen: CaptureTime,
    first_arrival: CaptureTime,
}

impl FromOne {
    fn of(row: &Row<'_>) -> Self {
        Self {
            place: row.place,
            receiver: row.receiver,
            sender: row.sender,
            copies: u64::from(row.delivery.copies),
            bytes: row.delivery.bytes,
            first_seen: row.delivery.first_seen,
            first_arrival: row.delivery.first_arrival,
        }
    }

    /// The same two nodes by other sessions.
    fn join(&mut self, row: &Row<'_>) {
        self.copies += u64::from(row.delivery.copies);
        self.bytes += row.delivery.bytes;
        self.first_seen = self.first_seen.min(row.delivery.first_seen);
        self.first_arrival = self.first_arrival.min(row.delivery.first_arrival);
    }
}

/// Counts what reached each receiver, sorted by round, receiver IP and kind. What a later run has to know is added to `keep`.
pub(crate) fn count(
    height: &Height,
    rows: &[Row<'_>],
    sequence: u64,
    chain: &ChainContext<'_>,
    tally: &mut Tally,
    mut keep: Option<&mut KnownPayloads>,
) -> Vec<CountFact> {
    let mut sums: HashMap<(u64, u32, Kind), Sums> = HashMap::new();
    let before = chain.known.height(&chain.name, sequence);
    let mut wasted = Vec::new();
    let mut senders: Vec<FromOne> = Vec::new();
    for of_payload in rows::by_payload(rows) {
        let entry = &height.payloads[of_payload[0].payload as usize];
        for group in of_payload.chunk_by(|a, b| a.ip == b.ip) {
            let ip = group[0].ip;
            let sum = sums.entry((entry.round, ip, entry.kind)).or_default();
            let (mut total, mut echoes) = (0, 0);
            senders.clear();
            for row in group {
                let number = u64::from(row.delivery.copies);
                total += number;
                sum.bytes += row.delivery.bytes;
                sum.first_seen = sum.first_seen.min(row.delivery.first_seen);
                sum.last_seen = sum.last_seen.max(row.delivery.last_seen);
                let own = chain.who.parties[row.receiver as usize].address;
                if entry.signer.is_some() && entry.signer == own {
                    echoes += number;
                    wasted.push(item(
                        row.receiver,
                        row.sender,
                        entry.kind,
                        WasteCause::EchoSigner,
                        number,
                        row.delivery.bytes,
                    ));
                } else if let Some(last) = senders.last_mut().filter(|last| last.place == row.place) {
                    last.join(row);
                } else {
                    senders.push(FromOne::of(row));
                }
            }
            let receiver_ip = chain.ips.ips[ip as usize];
            let had_one = before
                .and_then(|before| before.copies(receiver_ip, entry.hash))
                .is_some_and(|before| before.copies > before.echoes);
            let first = senders
                .iter()
                .filter(|_| !had_one)
                .min_by_key(|from| (from.first_arrival, from.first_seen, from.place))
                .map(|from| from.place);
            sum.messages += total;
            sum.useful += u64::from(first.is_some());
            sum.causes[WasteCause::EchoSigner as usize] += echoes;
            for from in &senders {
                // Copies of one payload are equally long, but for what compression makes of an envelope.
                let one = from.bytes / from.copies.max(1);
                let mut note = |cause: WasteCause, copies, bytes| {
                    sum.causes[cause as usize] += copies;
                    wasted.push(item(from.receiver, from.sender, entry.kind, cause, copies, bytes));
                };
                if from.copies > 1 {
                    note(WasteCause::Resent, from.copies - 1, from.bytes - one);
                }
                if first != Some(from.place) {
                    note(cause(of_payload, ip, from, chain), 1, one);
                }
            }
            if let Some(keep) = &mut keep {
                keep.add(
                    (chain.name.clone(), sequence),
                    sum.last_seen,
                    (receiver_ip, entry.hash),
                    KnownCopies {
                        copies: total,
                        echoes,
                    },
                );
            }
            if entry.invalid {
                sum.invalid += total;
            }
            *tally.copies.entry((receiver_ip, total)).or_default() += 1;
        }
    }
    waste::add(&mut tally.waste, wasted);

    let (mut from, mut to) = (CaptureTime::MAX, CaptureTime::MIN);
    for sum in sums.values() {
        from = from.min(sum.first_seen);
        to = to.max(sum.last_seen);
    }
    let mut counts: Vec<CountFact> = sums
        .into_iter()
        .map(|((round, ip, kind), sum)| {
            let receiver_ip = chain.ips.ips[ip as usize];
            let of = |cause| sum.of(cause);
            CountFact {
                chain: chain.name.clone(),
                receiver_ip,
                receiver: chain.ips.labels[ip as usize].clone(),
                sequence,
                round,
                kind,
                messages: sum.messages,
                useful: sum.useful,
                repeats: sum.messages - sum.useful - of(WasteCause::EchoSigner),
                echoes: of(WasteCause::EchoSigner),
                resent: of(WasteCause::Resent),
                echo_source: of(WasteCause::EchoSource),
                crossing: of(WasteCause::Crossing),
                regossip: of(WasteCause::Regossip),
                invalid: sum.invalid,
                bytes: sum.bytes,
                lower_bound: chain.coverage.of(receiver_ip) != Coverage::Full
                    || chain.losses.overlap(receiver_ip, from, to),
                first_seen: sum.first_seen,
                last_seen: sum.last_seen,
            }
        })
        .collect();
    counts.sort_unstable_by_key(|count| (count.round, count.receiver_ip, count.kind));
    for count in &counts {
        let sum = tally.messages.entry((count.receiver_ip, count.kind)).or_default();
        sum.messages += count.messages;
        sum.useful += count.useful;
        sum.repeats += count.repeats;
        sum.echoes += count.echoes;
    }
    counts
}

fn item(
    receiver: u32,
    sender: u32,
    kind: Kind,
    cause: WasteCause,
    copies: u64,
    bytes: u64,
) -> (WasteKey, WasteSum) {
    let key = WasteKey {
        receiver,
        sender,
        kind,
        cause: cause as u8,
    };
    (key, WasteSum { copies, bytes })
}

/// Why the first copy from a sender was of no use to the receiver at `ip`; `rows` are all of its payload.
fn cause(rows: &[Row<'_>], ip: u32, from: &FromOne, chain: &ChainContext<'_>) -> WasteCause {
    let ips = chain.ips;
    let sender_ip = ips.ip_of_place[from.place as usize];
    let receiver_place = ips.place_of_party[from.receiver as usize];
    let back = (sender_ip, receiver_place);
    let start = rows.partition_point(|row| (row.ip, row.place) < back);
    let mut reverse = rows[start..]
        .iter()
        .take_while(|row| (row.ip, row.place) == back)
        .map(|row| (row.delivery.first_seen, row.delivery.first_arrival));
    let Some(first) = reverse.next() else {
        return WasteCause::Regossip;
    };
    let (seen, arrival) = reverse.fold(first, |(seen, arrival), (other_seen, other_arrival)| {
        (seen.min(other_seen), arrival.min(other_arrival))
    });
    let [at_sender, at_receiver] = [sender_ip, ip].map(|ip| ips.tapped[ip as usize]);
    let way = Nanos(chain.rtt_min(sender_ip, ip).map_or(0, |rtt| rtt.0.max(0) / 2));
    let (sent, _) = ends(
        (from.first_seen, from.first_arrival),
        [at_sender, at_receiver],
        way,
    );
    let (own_sent, own_arrived) = ends((seen, arrival), [at_receiver, at_sender], way);
    if own_arrived <= sent {
        WasteCause::EchoSource
    } else if own_sent <= sent {
        WasteCause::Crossing
    } else {
        WasteCause::Regossip
    }
}

/// When a message left its sender and when it reached its receiver.
///
/// `sights`: the first, and that at the last tap on the way. Two different ones are those of two taps, and are taken as they are. One
/// alone is that of the tap at the sender, or at the receiver, as `tapped` says, and the other end is `way` from it; it is half of that from
/// both where the tap is at neither.
fn ends(sights: (CaptureTime, CaptureTime), tapped: [bool; 2], way: Nanos) -> (CaptureTime, CaptureTime) {
    let (seen, arrival) = sights;
    if arrival > seen {
        return sights;
    }
    let before = |span: i64| seen.saturating_add(Nanos(-span));
    let after = |span: i64| seen.saturating_add(Nanos(span));
    match tapped {
        [true, true] => (seen, seen),
        [true, false] => (seen, after(way.0)),
        [false, true] => (before(way.0), seen),
        [false, false] => (before(way.0 / 2), after(way.0 - way.0 / 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: i64) -> CaptureTime {
        CaptureTime::from_nanos(nanos)
    }

    #[test]
    fn ends_are_told_from_where_the_taps_are() {
        let way = Nanos(30);
        let one = (at(100), at(100));
        assert_eq!(ends((at(100), at(140)), [false; 2], way), (at(100), at(140)));
        assert_eq!(ends(one, [true, true], way), (at(100), at(100)));
        assert_eq!(ends(one, [true, false], way), (at(100), at(130)));
        assert_eq!(ends(one, [false, true], way), (at(70), at(100)));
        assert_eq!(ends(one, [false, false], way), (at(85), at(115)));
    }
}
