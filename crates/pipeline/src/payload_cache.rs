//! Each distinct payload is hashed, decoded and its signature recovered once, however many copies of it pass.
//!
//! A copy is recognised by a fast keyed hash and then by comparing all bytes, so the costly Keccak hash and the recovery
//! run once per distinct payload, and nobody can make two payloads pass for one. The cache only saves work: what falls out
//! of it is decoded again, with the same result.

use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use bftap_analysis::Payload;
use bftap_ibft_decode::{DecodeError, Dialect, SignatureCheck};
use bftap_model::keccak256;
use hashbrown::{DefaultHashBuilder, HashTable};

/// What a payload turned out to be.
pub(crate) type Decoded = Result<Arc<Payload>, Arc<DecodeError>>;

#[derive(Debug)]
struct Entry {
    hash: u64,
    dialect: &'static str,
    local: u64,
    bytes: Box<[u8]>,
    decoded: Decoded,
}

/// Two generations: when the young one is full it becomes the old one, and what was used since then moves along.
#[derive(Debug, Default)]
struct Shard {
    young: HashTable<Entry>,
    old: HashTable<Entry>,
    young_bytes: usize,
}

/// Shared by all workers; see the module's documentation.
#[derive(Debug)]
pub(crate) struct PayloadCache {
    shards: Box<[Mutex<Shard>]>,
    hasher: DefaultHashBuilder,
    check: SignatureCheck,
    /// Bytes that one generation of one shard may hold.
    shard_bytes: usize,
}

const SHARDS: usize = 64;
/// What an entry costs beside its bytes: table slot, decoded message, counters.
const ENTRY_OVERHEAD: usize = 640;

impl PayloadCache {
    /// Holds about `bytes` in all.
    pub(crate) fn new(check: SignatureCheck, bytes: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: DefaultHashBuilder::default(),
            check,
            shard_bytes: (bytes / SHARDS / 2).max(1),
        }
    }

    /// Decodes a payload, or remembers.
    pub(crate) fn decode(&self, dialect: &'static dyn Dialect, local: u64, payload: &[u8]) -> Decoded {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(payload);
        hasher.write_u64(local);
        let hash = hasher.finish();
        let shard = &self.shards[(hash >> 57) as usize % SHARDS];
        let same = |entry: &Entry| {
            entry.hash == hash
                && entry.local == local
                && *entry.bytes == *payload
                && entry.dialect == dialect.name()
        };
        {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(entry) = shard.young.find(hash, same) {
                return entry.decoded.clone();
            }
            if let Ok(occupied) = shard.old.find_entry(hash, same) {
                let (entry, _) = occupied.remove();
                let decoded = entry.decoded.clone();
                self.keep(&mut shard, entry);
                return decoded;
            }
        }
        // Decoded outside of the lock: two workers may do it at once, with the same result.
        let decoded = match dialect.decode(local, payload, self.check) {
            Ok(message) => Ok(Arc::new(Payload {
                hash: keccak256(payload),
                dialect: dialect.name(),
                message,
            })),
            Err(error) => Err(Arc::new(error)),
        };
        if payload.len() + ENTRY_OVERHEAD <= self.shard_bytes {
            let entry = Entry {
                hash,
                dialect: dialect.name(),
                local,
                bytes: payload.into(),
                decoded: decoded.clone(),
            };
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            if shard.young.find(hash, same).is_none() {
                self.keep(&mut shard, entry);
            }
        }
        decoded
    }

    fn keep(&self, shard: &mut Shard, entry: Entry) {
        let cost = entry.bytes.len() + ENTRY_OVERHEAD;
        if shard.young_bytes + cost > self.shard_bytes {
            shard.old = std::mem::take(&mut shard.young);
            shard.young_bytes = 0;
        }
        shard.young_bytes += cost;
        shard.young.insert_unique(entry.hash, entry, |entry| entry.hash);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use bftap_ibft_decode::{
        BlockHeader, ConsensusMessage, DecodeErrorKind, Envelope, Family, Field, Justification, Kind,
        Resemblance, Validity, View, What,
    };
    use bftap_model::{Capability, Hash256};

    use super::*;

    /// Counts how often it decodes; a payload is its own sequence number.
    #[derive(Debug)]
    struct Counting(AtomicU64);

    static DECODED: Counting = Counting(AtomicU64::new(0));

    impl Dialect for Counting {
        fn name(&self) -> &'static str {
            "counting"
        }
        fn applies(&self, _: &Capability, _: Family) -> bool {
            true
        }
        fn offsets(&self) -> &'static [u64] {
            &[]
        }

        fn family(&self) -> Family {
            Family::Unknown
        }

        fn is_consensus(&self, _: u64) -> bool {
            true
        }
        fn open<'a>(&self, _: u64, message: &'a [u8]) -> Result<Envelope<'a>, DecodeError> {
            Ok(Envelope {
                payload: message,
                offset: 0,
                parent: None,
                trailing: 0,
            })
        }
        fn decode(&self, _: u64, payload: &[u8], _: SignatureCheck) -> Result<ConsensusMessage, DecodeError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let Some(number) = payload.first_chunk() else {
                return Err(DecodeError {
                    offset: 0,
                    field: "number",
                    kind: DecodeErrorKind::UnknownCode { code: 9 },
                });
            };
            Ok(ConsensusMessage {
                kind: Kind::Prepare,
                view: View {
                    sequence: u64::from_le_bytes(*number),
                    round: 0,
                },
                claimed: None,
                signer: None,
                validity: Validity::NotChecked,
                digest: None,
                parent: None,
                subject_parent: None,
                commit_seal: None,
                proposal: None,
                justification: Justification::default(),
            })
        }
        fn header_in<'a>(&self, _: u64, _: &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
            Ok(None)
        }
        fn read_header(&self, _: &[u8], _: SignatureCheck) -> Result<BlockHeader, DecodeError> {
            Err(DecodeError {
                offset: 0,
                field: "header",
                kind: DecodeErrorKind::UnknownCode { code: 0 },
            })
        }
        fn committed_seal_hash(&self, block: &Hash256) -> Hash256 {
            *block
        }
        fn dissect(&self, _: What, _: u64, _: &[u8]) -> Vec<Field> {
            Vec::new()
        }
        fn resemblance(&self, _: &[u8]) -> Option<Resemblance> {
            None
        }
    }

    #[test]
    fn copies_are_decoded_once_and_memory_is_bounded() {
        let cache = PayloadCache::new(SignatureCheck::Claimed, SHARDS * 2 * (ENTRY_OVERHEAD + 8) * 4);
        let ask = |number: u64| cache.decode(&DECODED, 0, &number.to_le_bytes()).unwrap();
        for _ in 0..5 {
            assert_eq!(ask(7).message.view.sequence, 7);
        }
        assert_eq!(DECODED.0.load(Ordering::Relaxed), 1);
        assert_eq!(ask(7).hash, keccak256(&7_u64.to_le_bytes()));
        for number in 0..10_000 {
            assert_eq!(ask(number).message.view.sequence, number);
            ask(7);
        }
        assert_eq!(DECODED.0.load(Ordering::Relaxed), 10_000, "what is in use stays");
        let kept: usize = cache
            .shards
            .iter()
            .map(|shard| {
                shard
                    .lock()
                    .map(|shard| shard.young.len() + shard.old.len())
                    .unwrap()
            })
            .sum();
        assert!(kept <= SHARDS * 8, "{kept} entries");
        assert_eq!(cache.decode(&DECODED, 0, b"short").unwrap_err().field, "number");
    }
}
