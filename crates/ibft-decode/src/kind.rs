//! The four kinds of consensus message, and the view they belong to.

use std::fmt;
use std::str::FromStr;

/// Kind of a consensus message, named alike in every dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The proposal of a block (`Proposal` in Besu).
    Preprepare,
    /// A vote for the proposal.
    Prepare,
    /// A vote to commit it.
    Commit,
    /// A vote to leave the round; its round is the one asked for.
    RoundChange,
}

impl Kind {
    /// All kinds, in the order of a round.
    pub const ALL: [Self; 4] = [Self::Preprepare, Self::Prepare, Self::Commit, Self::RoundChange];

    /// The word used in reports, tables and options.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preprepare => "preprepare",
            Self::Prepare => "prepare",
            Self::Commit => "commit",
            Self::RoundChange => "roundchange",
        }
    }

    /// Position in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(UnknownKind)
    }
}

/// A word that names no kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of consensus message: use preprepare, prepare, commit or roundchange")]
pub struct UnknownKind;

/// Which block, and which attempt at it.
///
/// `sequence` is the block height under agreement; `round` restarts at 0 for each height. Field order gives the
/// derived ordering. Order on the wire depends on the dialect and is decoded there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct View {
    /// Block height; at most `i64::MAX`, so that every store can hold it.
    pub sequence: u64,
    /// Attempt; at most `i64::MAX`.
    pub round: u64,
}
