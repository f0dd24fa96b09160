//! What went wrong in a session, and where.

use std::fmt;

use bftap_model::{Direction, Origin};

use crate::frame::{FrameErrorKind, MacPart};
use crate::hello::HelloError;
use crate::snappy::SnappyError;
use crate::status::StatusError;

/// Something in a session that could not be read or trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is.
    pub kind: ProblemKind,
    /// In which direction; `None` if it concerns the session as a whole.
    pub direction: Option<Direction>,
    /// Place and time: of the frame, or of the start of the session.
    pub origin: Origin,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The first wrong MAC of a direction. Later ones are only counted: one changed byte spoils all MACs behind it.
    #[error("wrong {0}: the bytes were changed on the way, or the mac-secret is wrong")]
    Mac(MacPart),
    /// What should be a frame header is none: bytes were changed on the way, or put in. The next good frame is looked for.
    #[error("a frame header does not decrypt to its constant part")]
    BadHeader,
    /// Frames cannot be told apart any more in this direction.
    #[error("the place in the stream is lost for good: {0}")]
    PlaceLost(FrameErrorKind),
    /// A frame without a readable message code.
    #[error("a frame of {len} bytes has no readable message code")]
    NoCode {
        /// Its size field.
        len: usize,
    },
    /// A frame that is neither Snappy nor plain RLP.
    #[error("message {code:#x} does not decompress: {error}")]
    Snappy {
        /// Its message code.
        code: u64,
        /// What is wrong with it.
        error: SnappyError,
    },
    /// A Hello that cannot be read: capabilities stay unknown.
    #[error("{0}")]
    Hello(HelloError),
    /// A Status that cannot be read: the chain stays unknown.
    #[error("{0}")]
    Status(StatusError),
    /// Secrets are known for this session, and none of them opens it.
    #[error("{candidates} secret(s) match this session, and none of them decrypts its first frames")]
    WrongSecret {
        /// How many there are.
        candidates: usize,
    },
    /// The first two frame headers contradict each other.
    #[error("what follows the handshake does not look like frames of one session")]
    HeadersDisagree,
    /// Bytes came before the secret, or the place in its key stream, did, and could not be kept until then.
    #[error(
        "more came before its secret, or its place in the key stream, than is kept (at most {limit} bytes); the rest is lost"
    )]
    WaitingLimit {
        /// Bytes that may wait.
        limit: usize,
    },
    /// Unfinished frames of all sessions hold all that they may, so bytes of a large one are lost.
    #[error(
        "large unfinished frames of all sessions hold all the memory they may ({limit} bytes); bytes of this one are lost"
    )]
    FrameMemory {
        /// Bytes that unfinished frames may hold.
        limit: usize,
    },
}

impl Problem {
    pub(crate) fn at(direction: Direction, origin: Origin, kind: ProblemKind) -> Self {
        Self {
            kind,
            direction: Some(direction),
            origin,
        }
    }

    pub(crate) fn of_session(kind: ProblemKind) -> Self {
        Self {
            kind,
            direction: None,
            origin: Origin::default(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.direction {
            Some(Direction::FromInitiator) => write!(f, "from initiator, {}: {}", self.origin, self.kind),
            Some(Direction::FromRecipient) => write!(f, "from recipient, {}: {}", self.origin, self.kind),
            None => self.kind.fmt(f),
        }
    }
}
