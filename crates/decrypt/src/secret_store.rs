//! All session secrets that are known, found by session or by their key stream.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bftap_model::Hash256;
use hashbrown::HashMap;

use crate::keylog::{KeyLog, KeyLogEntry, LastLine, parse_key_log};
use crate::keystream::{BLOCK_LEN, Keystream};
use crate::legacy::{LegacyError, parse_legacy};
use crate::secrets::{AesSecret, SecretId, SessionSecrets};

/// Secrets by session, and by the key stream that they produce.
///
/// Shared by all workers: adding takes `&self`, and a decoder looks here only when a session starts or when
/// [`generation`](Self::generation) has grown. Auth hashes are public, so a line proves nothing: all distinct candidates
/// of a session are kept up to a limit, and the decoder takes the one that opens the session.
#[derive(Debug, Default)]
pub struct SecretStore {
    limits: SecretLimits,
    generation: AtomicU64,
    inner: RwLock<Inner>,
}

/// Bounds of a [`SecretStore`].
#[derive(Clone, Copy, Debug)]
pub struct SecretLimits {
    /// Distinct candidates kept for one session, and for one AES secret.
    pub per_session: usize,
    /// Secrets kept in all; about 400 bytes each.
    pub total: usize,
}

impl Default for SecretLimits {
    fn default() -> Self {
        Self {
            per_session: 16,
            total: 1 << 18,
        }
    }
}

/// A secret that may belong to a session.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The secrets.
    pub secrets: Arc<SessionSecrets>,
    /// Session that the line names, if it names one.
    pub session: Option<Hash256>,
    /// Where it comes from, in words that may be shown.
    pub source: Arc<str>,
}

impl Candidate {
    /// Public name of the secret.
    pub fn id(&self) -> SecretId {
        self.secrets.id()
    }
}

/// What became of a secret that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is new.
    New,
    /// The same line is there already, for instance from the session's other end.
    Known,
    /// A limit is reached: it was dropped.
    Dropped,
}

/// What became of the secrets of one text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddReport {
    /// Secrets that were new.
    pub new: u64,
    /// Secrets that were there already.
    pub known: u64,
    /// Secrets dropped because of a limit.
    pub dropped: u64,
}

/// Numbers for a person who checks a key source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecretCounts {
    /// Secrets with keys for MACs.
    pub whole: usize,
    /// AES secrets that name their session.
    pub aes_named: usize,
    /// AES secrets to be found by trial.
    pub aes_only: usize,
    /// Sessions with at least one secret.
    pub sessions: usize,
    /// Secrets dropped because of a limit.
    pub dropped: u64,
}

/// Bytes 3 to 15 of a session's first block of key stream: the part that shows through the constant tail of a header.
pub(crate) type StreamMark = [u8; 13];

#[derive(Debug, Default)]
struct Inner {
    by_session: HashMap<Hash256, Vec<Candidate>>,
    by_mark: HashMap<StreamMark, Vec<Candidate>>,
    /// The first one of each name.
    by_id: HashMap<SecretId, Candidate>,
    counts: SecretCounts,
}

impl SecretCounts {
    /// Whether there is no secret at all.
    pub fn is_empty(&self) -> bool {
        self.whole + self.aes_named + self.aes_only == 0
    }
}

impl SecretStore {
    /// An empty store with the usual limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store with other limits.
    pub fn with_limits(limits: SecretLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Grows whenever something new is added, so that sessions in wait know when looking again may help.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Adds one secret. `source` is shown to people, so it must not contain keys.
    pub fn add(&self, entry: KeyLogEntry, source: &Arc<str>) -> Added {
        let mark = stream_mark(&entry.secrets.aes);
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let Inner {
            by_session,
            by_mark,
            by_id,
            counts,
        } = &mut *inner;

        // Equal secrets have equal marks, so the list by mark tells whether a line is there already.
        let same_mark = by_mark.entry(mark).or_default();
        let same = |known: &Candidate| known.session == entry.session && *known.secrets == entry.secrets;
        if same_mark.iter().any(same) {
            return Added::Known;
        }
        let full = counts.whole + counts.aes_named + counts.aes_only >= self.limits.total
            || same_mark.len() >= self.limits.per_session
            || entry
                .session
                .and_then(|session| by_session.get(&session))
                .is_some_and(|list| list.len() >= self.limits.per_session);
        if full {
            counts.dropped += 1;
            if same_mark.is_empty() {
                by_mark.remove(&mark);
            }
            return Added::Dropped;
        }
        match (&entry.secrets.mac, entry.session) {
            (Some(_), _) => counts.whole += 1,
            (None, Some(_)) => counts.aes_named += 1,
            (None, None) => counts.aes_only += 1,
        }
        let candidate = Candidate {
            secrets: Arc::new(entry.secrets),
            session: entry.session,
            source: Arc::clone(source),
        };
        same_mark.push(candidate.clone());
        by_id.entry(candidate.id()).or_insert_with(|| candidate.clone());
        if let Some(session) = candidate.session {
            by_session.entry(session).or_default().push(candidate);
        }
        counts.sessions = by_session.len();
        drop(inner);
        self.generation.fetch_add(1, Ordering::Release);
        Added::New
    }

    /// Adds what the text of a key log holds; see [`parse_key_log`]. The log comes back without its entries.
    pub fn add_key_log(
        &self,
        text: &[u8],
        first_line: u64,
        last_line: LastLine,
        source: &Arc<str>,
    ) -> (AddReport, KeyLog) {
        let mut log = parse_key_log(text, first_line, last_line);
        let mut report = AddReport::default();
        for entry in log.entries.drain(..) {
            report.count(self.add(entry, source));
        }
        (report, log)
    }

    /// Adds the key in a file of the original tool's layout; see [`parse_legacy`].
    pub fn add_legacy(&self, content: &[u8], source: &Arc<str>) -> Result<Added, LegacyError> {
        let secrets = SessionSecrets {
            aes: parse_legacy(content)?,
            mac: None,
        };
        Ok(self.add(
            KeyLogEntry {
                session: None,
                secrets,
                role: None,
            },
            source,
        ))
    }

    /// All of them, in an order that depends on nothing but the secrets.
    pub fn all(&self) -> Vec<Candidate> {
        let inner = self.read();
        let mut all: Vec<Candidate> = inner.by_mark.values().flatten().cloned().collect();
        drop(inner);
        all.sort_by_key(|candidate| (candidate.id(), candidate.session, candidate.secrets.mac.is_none()));
        all
    }

    /// How much is known.
    pub fn counts(&self) -> SecretCounts {
        self.read().counts
    }

    /// Whether a line names this session.
    pub fn names_session(&self, session: &Hash256) -> bool {
        self.read().by_session.contains_key(session)
    }

    /// Candidates whose line names this session.
    pub fn of_session(&self, session: &Hash256) -> Vec<Candidate> {
        self.read().by_session.get(session).cloned().unwrap_or_default()
    }

    /// The secret of this name.
    pub fn with_id(&self, id: SecretId) -> Option<Candidate> {
        self.read().by_id.get(&id).cloned()
    }

    /// Candidates whose key stream starts so.
    pub(crate) fn of_mark(&self, mark: &StreamMark) -> Vec<Candidate> {
        self.read().by_mark.get(mark).cloned().unwrap_or_default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AddReport {
    /// Counts one addition.
    pub fn count(&mut self, added: Added) {
        match added {
            Added::New => self.new += 1,
            Added::Known => self.known += 1,
            Added::Dropped => self.dropped += 1,
        }
    }
}

fn stream_mark(secret: &AesSecret) -> StreamMark {
    let mut block = [0; BLOCK_LEN];
    Keystream::new(secret).apply(&mut block);
    let (_, mark) = block
        .split_last_chunk()
        .expect("a block is longer than the part of it that shows");
    *mark
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::{MacSecret, MacSecrets};

    fn entry(session: Option<u8>, aes: u8, mac: Option<u8>) -> KeyLogEntry {
        KeyLogEntry {
            session: session.map(|byte| Hash256([byte; 32])),
            secrets: SessionSecrets {
                aes: AesSecret::new([aes; 32]),
                mac: mac.map(|byte| MacSecrets {
                    secret: MacSecret::new([byte; 32]),
                    initiator_nonce: [0; 32],
                    recipient_nonce: [0; 32],
                }),
            },
            role: None,
        }
    }

    #[test]
    fn lines_of_both_ends_are_one_secret() {
        let store = SecretStore::new();
        let source: Arc<str> = "a".into();
        assert_eq!(store.add(entry(Some(1), 2, Some(3)), &source), Added::New);
        assert_eq!(store.generation(), 1);
        assert_eq!(store.add(entry(Some(1), 2, Some(3)), &"b".into()), Added::Known);
        assert_eq!(store.generation(), 1);
        let found = store.of_session(&Hash256([1; 32]));
        assert_eq!(found.len(), 1);
        assert_eq!(&*found[0].source, "a");
        assert!(store.names_session(&Hash256([1; 32])) && !store.names_session(&Hash256([2; 32])));
    }

    #[test]
    fn distinct_candidates_are_kept_up_to_the_limit_and_the_rest_is_counted() {
        let store = SecretStore::with_limits(SecretLimits {
            per_session: 4,
            total: 6,
        });
        let source: Arc<str> = "a".into();
        for aes in 0..10 {
            let added = store.add(entry(Some(1), aes, Some(9)), &source);
            assert_eq!(added == Added::New, aes < 4);
        }
        assert_eq!(store.of_session(&Hash256([1; 32])).len(), 4);
        assert_eq!(store.add(entry(None, 20, None), &source), Added::New);
        assert_eq!(store.add(entry(Some(2), 21, None), &source), Added::New);
        assert_eq!(store.add(entry(None, 22, None), &source), Added::Dropped);
        assert_eq!(
            store.counts(),
            SecretCounts {
                whole: 4,
                aes_named: 1,
                aes_only: 1,
                sessions: 2,
                dropped: 7
            }
        );
        assert_eq!(store.generation(), 6);
    }

    #[test]
    fn a_secret_is_found_by_its_key_stream() {
        let store = SecretStore::new();
        for aes in 0..100 {
            store.add(entry(None, aes, None), &"a".into());
        }
        let mut header = [0; BLOCK_LEN];
        Keystream::new(&AesSecret::new([42; 32])).apply(&mut header);
        let mark = header[3..].try_into().unwrap();
        let found = store.of_mark(&mark);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].secrets.aes, AesSecret::new([42; 32]));
        assert!(store.of_mark(&[0; 13]).is_empty());
        let id = found[0].id();
        assert_eq!(store.with_id(id).map(|found| found.id()), Some(id));
        assert!(store.with_id(SecretId(!id.0)).is_none());
    }

    #[test]
    fn texts_are_added_whole() {
        let store = SecretStore::new();
        let line = format!("RLPX-AES {}\n", "07".repeat(32));
        let text = format!("{line}{line}RLPX-AES 07\n");
        let (report, log) = store.add_key_log(text.as_bytes(), 1, LastLine::Whole, &"k".into());
        assert_eq!(
            report,
            AddReport {
                new: 1,
                known: 1,
                dropped: 0
            }
        );
        assert_eq!((log.problem_count, log.entries.len()), (1, 0));
        assert_eq!(
            store.add_legacy("7".repeat(63).as_bytes(), &"cn1_…".into()),
            Ok(Added::New)
        );
        assert_eq!(store.counts().aes_only, 2);
        assert!(!format!("{store:?}").contains("07"), "no secret in Debug");
    }
}
