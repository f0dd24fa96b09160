//! A checkpoint as JSON.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bftap_analysis::{KnownCopies, KnownPayloads};
use bftap_decrypt::Chain;
use bftap_decrypt::secrets::SecretId;
use bftap_model::{CaptureTime, Endpoint, Hash256, SeqNumber};
use serde::{Deserialize, Serialize};

use super::hello::HelloText;
use super::{Checkpoint, SavedInference, SavedPlace, SavedSession};

/// The version written, and the only one that is read.
pub(super) const VERSION: u64 = 1;

/// The name that a checkpoint is known by; it comes first.
pub(super) const MARK: &str = "bftap_checkpoint";

/// See the module's documentation.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Document {
    bftap_checkpoint: u64,
    seen_ns: i64,
    sessions: Vec<Session>,
    heights: Vec<Height>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Session {
    initiator: SocketAddr,
    recipient: SocketAddr,
    secret_id: String,
    last_seen_ns: i64,
    places: [Option<Place>; 2],
    hellos: [Option<HelloText>; 2],
    connection_types: [Option<u8>; 2],
    network_id: Option<u64>,
    genesis: Option<String>,
    inferred: Option<Inference>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Place {
    sequence: u32,
    block: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Inference {
    dialect: String,
    offset: u64,
    told: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Height {
    chain: String,
    sequence: u64,
    last_seen_ns: i64,
    receivers: Vec<Receiver>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Receiver {
    ip: IpAddr,
    /// Hash, copies, and how many of them are echoes.
    payloads: Vec<(String, u64, u64)>,
}

/// A value that no checkpoint holds: which, in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WrongValue(pub(super) String);

/// Longest name of a chain or dialect.
const LONGEST_NAME: usize = 128;

impl Document {
    pub(super) fn of(checkpoint: &Checkpoint) -> Self {
        let height = |(chain, sequence, known): (&Arc<str>, u64, &bftap_analysis::KnownHeight)| {
            let mut receivers: Vec<Receiver> = Vec::new();
            for (ip, payload, copies) in known.all() {
                if receivers.last().is_none_or(|last| last.ip != ip) {
                    receivers.push(Receiver {
                        ip,
                        payloads: Vec::new(),
                    });
                }
                if let Some(last) = receivers.last_mut() {
                    last.payloads
                        .push((payload.to_hex(), copies.copies, copies.echoes));
                }
            }
            Height {
                chain: chain.to_string(),
                sequence,
                last_seen_ns: known.last_seen.nanos(),
                receivers,
            }
        };
        Self {
            bftap_checkpoint: VERSION,
            seen_ns: checkpoint.seen.nanos(),
            sessions: checkpoint.sessions.iter().map(Session::of).collect(),
            heights: checkpoint.payloads.heights().map(height).collect(),
        }
    }

    pub(super) fn read(self) -> Result<Checkpoint, WrongValue> {
        if self.sessions.len() > Checkpoint::SESSIONS {
            let text = format!(
                "{} sessions, where {} is the most",
                self.sessions.len(),
                Checkpoint::SESSIONS
            );
            return Err(WrongValue(text));
        }
        let sessions = self.sessions.into_iter().enumerate().map(|(index, session)| {
            session
                .read()
                .map_err(|what| WrongValue(format!("session {}: {what}", index + 1)))
        });
        let mut payloads = KnownPayloads::default();
        for height in &self.heights {
            height.read(&mut payloads)?;
        }
        let mut checkpoint = Checkpoint {
            seen: CaptureTime::from_nanos(self.seen_ns),
            sessions: sessions.collect::<Result<_, _>>()?,
            payloads: Arc::default(),
        };
        checkpoint.bound();
        payloads.keep_latest();
        checkpoint.payloads = Arc::new(payloads);
        Ok(checkpoint)
    }
}

impl SavedSession {
    /// What hardly ever changes of it, as JSON: all but its places and its latest packet.
    pub(crate) fn fixed_json(&self) -> Vec<u8> {
        let fixed = Session {
            places: [None, None],
            last_seen_ns: 0,
            ..Session::of(self)
        };
        // Numbers, texts and lists of them: nothing that JSON has not.
        serde_json::to_vec(&fixed).unwrap_or_default()
    }

    /// Reads what [`fixed_json`](Self::fixed_json) wrote; `None` if it cannot be.
    pub(crate) fn from_fixed_json(json: &[u8]) -> Option<Self> {
        let session: Session = serde_json::from_slice(json).ok()?;
        session.read().ok()
    }
}

impl Session {
    fn of(session: &SavedSession) -> Self {
        let end = |end: Endpoint| SocketAddr::new(end.ip, end.port);
        Self {
            initiator: end(session.initiator),
            recipient: end(session.recipient),
            secret_id: session.secret.to_string(),
            last_seen_ns: session.last_seen.nanos(),
            places: session.places.map(|place| {
                place.map(|place| Place {
                    sequence: place.sequence.0,
                    block: place.block,
                })
            }),
            hellos: session
                .hellos
                .each_ref()
                .map(|hello| HelloText::of(hello.as_ref()?)),
            connection_types: session.connection_types,
            network_id: session.chain.map(|chain| chain.network_id),
            genesis: session.chain.map(|chain| chain.genesis.to_string()),
            inferred: session.inferred.as_ref().map(|inferred| Inference {
                dialect: inferred.dialect.clone(),
                offset: inferred.offset,
                told: inferred.told,
            }),
        }
    }

    fn read(self) -> Result<SavedSession, &'static str> {
        let end = |end: SocketAddr| Endpoint {
            ip: end.ip(),
            port: end.port(),
        };
        let secret = Some(&self.secret_id)
            .filter(|id| id.len() == 16)
            .and_then(|id| u64::from_str_radix(id, 16).ok())
            .ok_or("its secret_id is not 16 hex digits")?;
        let chain = match (self.network_id, self.genesis) {
            (Some(network_id), Some(genesis)) => Some(Chain {
                network_id,
                genesis: genesis.parse().map_err(|_| "its genesis is no hash")?,
            }),
            _ => None,
        };
        let hello = |hello: &Option<HelloText>| match hello {
            Some(text) => text.read().map(Some).ok_or("one of its hellos is none"),
            None => Ok(None),
        };
        let [one, other] = self.hellos.each_ref().map(hello);
        if self
            .inferred
            .as_ref()
            .is_some_and(|inferred| inferred.dialect.len() > LONGEST_NAME)
        {
            return Err("its dialect has a name that is too long");
        }
        if self.initiator == self.recipient {
            return Err("its ends are the same");
        }
        Ok(SavedSession {
            initiator: end(self.initiator),
            recipient: end(self.recipient),
            secret: SecretId(secret),
            last_seen: CaptureTime::from_nanos(self.last_seen_ns),
            places: self.places.map(|place| {
                place.map(|place| SavedPlace {
                    sequence: SeqNumber(place.sequence),
                    block: place.block,
                })
            }),
            hellos: [one?, other?],
            connection_types: self.connection_types,
            chain,
            inferred: self.inferred.map(|inferred| SavedInference {
                dialect: inferred.dialect,
                offset: inferred.offset,
                told: inferred.told,
            }),
        })
    }
}

impl Height {
    fn read(&self, payloads: &mut KnownPayloads) -> Result<(), WrongValue> {
        if self.chain.len() > LONGEST_NAME {
            return Err(WrongValue("a chain has a name that is too long".to_owned()));
        }
        let chain: Arc<str> = self.chain.as_str().into();
        for receiver in &self.receivers {
            for (hash, copies, echoes) in &receiver.payloads {
                let hash: Hash256 = hash.parse().map_err(|_| {
                    WrongValue(format!(
                        "height {}: one of its payloads is no hash",
                        self.sequence
                    ))
                })?;
                payloads.add(
                    (Arc::clone(&chain), self.sequence),
                    CaptureTime::from_nanos(self.last_seen_ns),
                    (receiver.ip, hash),
                    KnownCopies {
                        copies: *copies,
                        echoes: *echoes,
                    },
                );
                if payloads.len() > KnownPayloads::ENTRIES {
                    let text = format!("more than {} payloads", KnownPayloads::ENTRIES);
                    return Err(WrongValue(text));
                }
            }
        }
        Ok(())
    }
}
