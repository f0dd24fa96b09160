//! Finding the secret that opens a session.

use bftap_model::{Direction, Hash256};

use crate::frame::HEADER_TAIL;
use crate::keystream::BLOCK_LEN;
use crate::mac::{FrameMac, MAC_LEN};
use crate::secret_store::{Candidate, SecretStore, StreamMark};
use crate::secrets::SessionSecrets;

/// What is known of a session when its secret is looked for. Pairs are by [`Direction::index`].
pub(crate) struct Door<'a> {
    /// Keccak-256 of the auth packet.
    pub(crate) session: Hash256,
    /// Auth and ack, as on the wire.
    pub(crate) packets: [&'a [u8]; 2],
    /// What came behind them.
    pub(crate) frames: [&'a [u8]; 2],
    /// More may come, so a choice between candidates can wait.
    pub(crate) more: bool,
}

/// What became of the search.
#[derive(Debug)]
pub(crate) enum Opening {
    /// No secret is known for it.
    NoSecret,
    /// There are secrets; more bytes will tell whether they open it.
    Undecided { candidates: usize, whole: bool },
    /// There are secrets that name it, and none of them opens it.
    Wrong { candidates: usize },
    /// This one opens it; so many others do not, or not as well.
    Opened { candidate: Candidate, unused: usize },
}

impl Door<'_> {
    /// Looks for the secret of this session.
    ///
    /// The first header of either direction singles out the AES secret (13 known bytes); among candidates with that secret, the one
    /// whose header MAC fits is taken, for a wrong line in a key log must not hide the right one.
    pub(crate) fn open(&self, secrets: &SecretStore) -> Opening {
        let mut fitting: Vec<Candidate> = Vec::new();
        let headers = self.frames.map(<[u8]>::first_chunk::<BLOCK_LEN>);
        for header in headers.into_iter().flatten() {
            for candidate in secrets.of_mark(&mark(header)) {
                let known = |other: &Candidate| std::sync::Arc::ptr_eq(&other.secrets, &candidate.secrets);
                if !fitting.iter().any(known) {
                    fitting.push(candidate);
                }
            }
        }
        let named = secrets.of_session(&self.session);
        if fitting.is_empty() {
            let candidates = named.len();
            let whole = named.iter().any(|candidate| candidate.secrets.mac.is_some());
            return match (candidates, headers) {
                (0, _) => Opening::NoSecret,
                (_, [None, None]) => Opening::Undecided { candidates, whole },
                _ => Opening::Wrong { candidates },
            };
        }

        let ranks: Vec<Rank> = fitting.iter().map(|candidate| self.rank(candidate)).collect();
        let whole = ranks.iter().filter(|rank| rank.mac != MacRank::None).count();
        if self.more && whole > 1 && ranks.iter().any(|rank| rank.mac == MacRank::NotYet) {
            return Opening::Undecided {
                candidates: fitting.len(),
                whole: true,
            };
        }
        // Among equals the first one added: which one does not matter, they decrypt alike.
        let best = (0..fitting.len())
            .rev()
            .max_by_key(|&index| ranks[index])
            .unwrap_or(0);
        let candidate = fitting.swap_remove(best);
        let wrong = |other: &&Candidate| !std::sync::Arc::ptr_eq(&other.secrets, &candidate.secrets);
        let strangers = fitting
            .iter()
            .filter(|other| other.session != Some(self.session))
            .count();
        let unused = named.iter().filter(wrong).count() + strangers;
        Opening::Opened { candidate, unused }
    }

    /// The running MAC at the start of a direction.
    pub(crate) fn frame_mac(&self, secrets: &SessionSecrets, direction: Direction) -> Option<FrameMac> {
        let mac = secrets.mac.as_ref()?;
        let nonce = match direction {
            Direction::FromInitiator => &mac.recipient_nonce,
            Direction::FromRecipient => &mac.initiator_nonce,
        };
        Some(FrameMac::new(&mac.secret, nonce, self.packets[direction.index()]))
    }

    fn rank(&self, candidate: &Candidate) -> Rank {
        let names_it = candidate.session == Some(self.session);
        if candidate.secrets.mac.is_none() {
            return Rank {
                mac: MacRank::None,
                names_it,
            };
        }
        let mut rank = MacRank::NotYet;
        for direction in [Direction::FromInitiator, Direction::FromRecipient] {
            let Some(head) = self.frames[direction.index()].first_chunk::<{ BLOCK_LEN + MAC_LEN }>() else {
                continue;
            };
            let (header, mac) = head.split_at(BLOCK_LEN);
            let fits = header
                .first_chunk()
                .zip(self.frame_mac(&candidate.secrets, direction))
                .is_some_and(|(header, mut running)| running.header(header) == mac);
            rank = match (rank, fits) {
                (MacRank::Wrong, _) | (_, false) => MacRank::Wrong,
                _ => MacRank::Right,
            };
        }
        Rank { mac: rank, names_it }
    }
}

/// How well a candidate fits whose AES secret is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    mac: MacRank,
    names_it: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum MacRank {
    /// It has no mac-secret.
    None,
    Wrong,
    NotYet,
    Right,
}

/// The key stream that shows through a header.
fn mark(header: &[u8; BLOCK_LEN]) -> StreamMark {
    std::array::from_fn(|index| header[index + 3] ^ HEADER_TAIL[index])
}
