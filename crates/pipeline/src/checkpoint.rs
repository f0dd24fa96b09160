//! What a run leaves to the next one: where the frames of open sessions are, and which payloads came lately.
//!
//! With it, a monitor that restarts, or a capture that is cut into files, goes on at once: nothing is searched for, codes, names and
//! chains are known, and a copy of a payload that came before is a repeat. It holds no secret, only the public names of secrets. Nothing
//! in it is taken on trust: a session goes on where its next header is found, and nowhere else.

mod file;
mod format;
mod hello;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bftap_analysis::KnownPayloads;
use bftap_decrypt::hello::Hello;
use bftap_decrypt::secrets::SecretId;
use bftap_decrypt::{Chain, Told};
use bftap_model::{CaptureTime, Direction, Endpoint, FlowKey, Nanos, SeqNumber, Side};

pub use file::{CheckpointError, Loaded};

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The latest capture time of the run that it comes from.
    pub seen: CaptureTime,
    /// Sessions that were open, each pair of ends once.
    pub sessions: Vec<SavedSession>,
    /// Payloads of the heights with the latest messages; see [`KnownPayloads::HEIGHTS`] and [`KnownPayloads::ENTRIES`].
    pub payloads: Arc<KnownPayloads>,
}

/// A session that was open. Pairs are by [`Direction::index`], the initiator's first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedSession {
    /// The end that dialled.
    pub initiator: Endpoint,
    /// The end that listened.
    pub recipient: Endpoint,
    /// Public name of the secret that opens it.
    pub secret: SecretId,
    /// Its latest packet.
    pub last_seen: CaptureTime,
    /// Where its frames are.
    pub places: [Option<SavedPlace>; 2],
    /// Hello of each end.
    pub hellos: [Option<Arc<Hello>>; 2],
    /// Klaytn's and Kaia's connection-type bytes.
    pub connection_types: [Option<u8>; 2],
    /// Chain, as Status told.
    pub chain: Option<Chain>,
    /// Where no Hello told what codes mean: what was inferred.
    pub inferred: Option<SavedInference>,
}

/// Where a frame starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedPlace {
    /// TCP sequence number of its first byte.
    pub sequence: SeqNumber,
    /// Key stream block of its header.
    pub block: u64,
}

/// Which dialect a session speaks, told from what decodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedInference {
    /// Its name.
    pub dialect: String,
    /// First code of its capability.
    pub offset: u64,
    /// The user said so.
    pub told: bool,
}

impl Checkpoint {
    /// Sessions kept; of more, those seen last.
    pub const SESSIONS: usize = 200_000;

    /// Lets sessions go that were seen longest ago, beyond the limit, and brings the rest into an order.
    pub(crate) fn bound(&mut self) {
        self.sessions
            .sort_by_key(|session| std::cmp::Reverse((session.last_seen, session.ends())));
        let mut known = BTreeSet::new();
        self.sessions.retain(|session| known.insert(session.flow().0));
        self.sessions.truncate(Self::SESSIONS);
        self.sessions.sort_by_key(SavedSession::ends);
    }

    /// Sessions by their ends.
    pub(crate) fn index(&self) -> BTreeMap<FlowKey, usize> {
        let by_flow = |(index, session): (usize, &SavedSession)| (session.flow().0, index);
        self.sessions.iter().enumerate().map(by_flow).collect()
    }

    /// Adds the sessions of an earlier checkpoint, but for these, of which this run knows better, and those that were silent for too
    /// long.
    pub(crate) fn carry_over(&mut self, earlier: &Self, touched: &BTreeSet<usize>, silence: Nanos) {
        let seen = self.seen;
        let rest =
            earlier.sessions.iter().enumerate().filter(|(index, session)| {
                !touched.contains(index) && seen.since(session.last_seen) <= silence
            });
        self.sessions.extend(rest.map(|(_, session)| session.clone()));
    }
}

impl SavedSession {
    /// Its flow, and which side dialled.
    pub(crate) fn flow(&self) -> (FlowKey, Side) {
        FlowKey::of(self.initiator, self.recipient)
    }

    fn ends(&self) -> (Endpoint, Endpoint) {
        (self.initiator, self.recipient)
    }

    /// The place of a side's frames.
    pub(crate) fn place(&self, side: Side) -> Option<SavedPlace> {
        self.places[self.direction(side).index()]
    }

    pub(crate) fn direction(&self, side: Side) -> Direction {
        if side == self.flow().1 {
            Direction::FromInitiator
        } else {
            Direction::FromRecipient
        }
    }

    pub(crate) fn told(&self) -> Told {
        Told {
            initiator: self.flow().1,
            hellos: self.hellos.clone(),
            connection_types: self.connection_types,
            chain: self.chain,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bftap_analysis::KnownCopies;
    use bftap_decrypt::hello::{ListenPorts, Offer};
    use bftap_model::{Hash256, NodeId};

    use super::*;

    pub(crate) fn session(number: u8, last_seen: i64) -> SavedSession {
        let hello = Hello {
            version: 5,
            client: "Klaytn/v1.4.2".to_owned(),
            capabilities: vec![Offer {
                name: b"istanbul".to_vec(),
                version: 64,
            }],
            listen: ListenPorts::List(vec![]),
            node_id: NodeId([number; 64]),
            multichannel: Some(false),
        };
        SavedSession {
            initiator: Endpoint {
                ip: [10, 0, 0, number].into(),
                port: 40_000,
            },
            recipient: Endpoint {
                ip: [10, 0, 0, 200].into(),
                port: 32_323,
            },
            secret: SecretId(u64::from(number)),
            last_seen: CaptureTime::from_nanos(last_seen),
            places: [
                Some(SavedPlace {
                    sequence: SeqNumber(u32::MAX),
                    block: 77,
                }),
                None,
            ],
            hellos: [Some(Arc::new(hello)), None],
            connection_types: [Some(0), Some(1)],
            chain: Some(Chain {
                network_id: 1000,
                genesis: Hash256([9; 32]),
            }),
            inferred: Some(SavedInference {
                dialect: "klaytn".to_owned(),
                offset: 16,
                told: false,
            }),
        }
    }

    pub(crate) fn checkpoint() -> Checkpoint {
        let mut payloads = KnownPayloads::default();
        for (receiver, copies) in [(1, 3), (2, 1)] {
            payloads.add(
                ("1000/0x09".into(), 5),
                CaptureTime::from_nanos(50),
                ([10, 0, 0, receiver].into(), Hash256([receiver; 32])),
                KnownCopies { copies, echoes: 1 },
            );
        }
        Checkpoint {
            seen: CaptureTime::from_nanos(60),
            sessions: vec![session(1, 50), session(2, 60)],
            payloads: Arc::new(payloads),
        }
    }

    #[test]
    fn the_latest_of_each_pair_of_ends_stays() {
        let mut checkpoint = Checkpoint {
            sessions: vec![session(3, 5), session(1, 9), session(3, 7), session(3, 6)],
            ..Checkpoint::default()
        };
        // The same ends, the other way round.
        let other = &mut checkpoint.sessions[3];
        std::mem::swap(&mut other.initiator, &mut other.recipient);
        checkpoint.bound();
        assert_eq!(checkpoint.sessions, [session(1, 9), session(3, 7)]);
    }

    #[test]
    fn silent_sessions_are_carried_over_for_a_while() {
        let earlier = Checkpoint {
            sessions: vec![session(1, 10), session(2, 90), session(3, 100)],
            ..Checkpoint::default()
        };
        let mut later = Checkpoint {
            seen: CaptureTime::from_nanos(110),
            ..Checkpoint::default()
        };
        later.carry_over(&earlier, &BTreeSet::from([2]), Nanos(50));
        assert_eq!(later.sessions, [session(2, 90)]);
    }
}
