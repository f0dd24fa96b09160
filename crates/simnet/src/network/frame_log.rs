//! Where in which TCP stream each frame lies: what a tap must have kept for a frame to be readable.

use std::ops::Range;

use bftap_ibft_decode::{Kind, View};
use bftap_model::{Address, CaptureTime, Direction, Endpoint, Hash256};

use super::conn::Conn;
use crate::consensus::SignedMessage;

/// A whole frame that an end of a captured connection handed to its socket.
///
/// Whether all its packets left, and passed a tap, is another matter: a capture may end before, or the host lose its power.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedFrame {
    /// Number of the connection, from 0 in the order of dialling; connections that no tap sees have numbers, too.
    pub connection: u32,
    /// The end that dialled.
    pub initiator: Endpoint,
    /// The end that listened.
    pub recipient: Endpoint,
    /// When it dialled, on the clock that stamps the packets: before every packet of this connection, and behind most of an
    /// earlier one between the same ends.
    pub dialled: CaptureTime,
    /// TCP sequence numbers of the SYNs, the initiator's first; stream byte 0 has the next number.
    pub isn: [u32; 2],
    /// Who sends the frame.
    pub direction: Direction,
    /// The bytes of the stream in which the frame lies, MAC and padding included.
    pub stream: Range<u64>,
    /// Message code as it stands in the frame.
    pub code: u64,
    /// The session's secret is in the key log.
    pub secret_logged: bool,
    /// What it carries, if that is a consensus message.
    pub message: Option<LoggedMessage>,
}

/// A consensus message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedMessage {
    /// Chain that the session is for, as in the truth.
    pub chain: String,
    /// Kind.
    pub kind: Kind,
    /// View; of a round change the one asked for.
    pub view: View,
    /// Address that it claims.
    pub claimed: Address,
    /// Address whose key signed it; `None` when no key of the network did.
    pub signer: Option<Address>,
    /// Hash of its payload: copies have the same.
    pub payload: Hash256,
}

impl LoggedFrame {
    /// The end that sends the frame.
    pub const fn sender(&self) -> Endpoint {
        match self.direction {
            Direction::FromInitiator => self.initiator,
            Direction::FromRecipient => self.recipient,
        }
    }

    /// The end that it is for.
    pub const fn receiver(&self) -> Endpoint {
        match self.direction {
            Direction::FromInitiator => self.recipient,
            Direction::FromRecipient => self.initiator,
        }
    }

    pub(super) fn of(
        conn: &Conn,
        connection: u32,
        [initiator, recipient]: [Endpoint; 2],
        side: usize,
        (code, message): (u64, Option<&SignedMessage>),
        len: usize,
        chain: &str,
    ) -> Self {
        let start = conn.halves[side].queued;
        Self {
            connection,
            initiator,
            recipient,
            dialled: conn.dialled,
            isn: [conn.halves[0].isn, conn.halves[1].isn],
            direction: if side == 0 {
                Direction::FromInitiator
            } else {
                Direction::FromRecipient
            },
            stream: start..start + len as u64,
            code,
            secret_logged: conn.session.secret_logged(),
            message: message.map(|message| LoggedMessage {
                chain: chain.to_owned(),
                kind: message.kind,
                view: message.view,
                claimed: message.claimed,
                signer: message.signer,
                payload: message.payload_hash,
            }),
        }
    }
}
