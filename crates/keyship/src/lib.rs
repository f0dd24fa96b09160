//! Session secrets on their way from a node to whoever reads its traffic.
//!
//! | room | what happens in it |
//! |---|---|
//! | [`recognise`] | what a file is by its first bytes, and how its path may be shown |
//! | [`follow`] | key files and directories of them, read on as they grow, rotate, shrink, come and go |
//! | [`mod@line`] | a secret as the one line that is sent and stored |
//! | [`wire`] | the frames that go over TLS; pure |
//! | [`sending`], [`receiving`] | the two ends of a connection as state machines; pure |
//! | [`ledger`] | what was received, on disk before it is acknowledged |
//! | [`positions`] | how far each followed file was acknowledged |
//! | [`certs`], [`tls`] | certificates made here, and TLS 1.3 with both ends known by them |
//! | [`shipper`], [`receiver`] | the ends with their sockets and threads |
//!
//! No line is lost or repeated: a shipper sends each line until it is acknowledged, a receiver stores before it acknowledges, and
//! knows by its content what it has. So a cut at any byte, or a crash of either end at any moment, costs work and nothing else.

pub mod certs;
pub mod follow;
pub mod fuzzing;
pub mod ledger;
pub mod line;
mod link;
pub mod positions;
pub mod receiver;
pub mod receiving;
pub mod recognise;
pub mod sending;
pub mod shipper;
pub mod tls;
pub mod wire;

use std::sync::Arc;

/// How bad something is that a person is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Said in passing.
    Note,
    /// Worth a look.
    Warning,
}

/// Where words for a person go. Texts hold no secret; names that others chose may stand in them, and are escaped by who prints.
pub type Tell = Arc<dyn Fn(Weight, &str) + Send + Sync>;
