//! What a session's row in the report is made of.

use std::sync::Arc;

use bftap_model::{Capability, Direction, Hash256, MacState, Side};

use super::{Fits, Phase, SessionDecoder, likely_initiator};
use crate::backlog::Backlog;
use crate::disconnect::Disconnect;
use crate::frame::FrameReader;
use crate::handshake::HeaderCheck;
use crate::hello::Hello;
use crate::secrets::SecretId;
use crate::status::Status;

/// What became of a connection's bytes, as far as its own streams tell.
///
/// With what only the capture knows (was a SYN seen, which port is it) this is the `state` of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recognised {
    /// No payload in any direction.
    NoPayload,
    /// Payload that has no shape known here: another protocol, or a session joined in its middle.
    NotRlpx,
    /// The beginning of a handshake whose auth and ack are not both complete.
    NoHandshake,
    /// A handshake, and no secret for it.
    NoSecret,
    /// Decrypted; also when a secret fits the handshake and no frame follows.
    Decrypted,
    /// Decrypted until the place in the key stream was lost, in at least one direction.
    Lost,
    /// Secrets match the handshake, and none of them opens it.
    Failed,
}

/// How a decrypted session was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attached {
    /// From its handshake on.
    Handshake,
    /// At a place found in its middle.
    Midstream,
}

/// A chain, as Status tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chain {
    /// Network id.
    pub network_id: u64,
    /// Hash of block 0.
    pub genesis: Hash256,
}

/// What is known of a session. Pairs are by [`Direction::index`]: the initiator's first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSummary {
    /// The end that dialled: sender of the SYN, else by the handshake, else by the ports.
    pub initiator: Side,
    /// What became of it.
    pub recognised: Recognised,
    /// How it was opened; `None` if it was not.
    pub attached: Option<Attached>,
    /// The worst MAC state of its frames; `None` if it was not opened.
    pub mac: Option<MacState>,
    /// Frames with a wrong MAC.
    pub mac_failures: u64,
    /// Whole frames.
    pub frames: [u64; 2],
    /// Bytes of TCP payload seen.
    pub stream_bytes: [u64; 2],
    /// Holes in its streams.
    pub gaps: u64,
    /// Stream bytes missing from the capture, bytes of frames that this cut, and bytes behind a lost place.
    pub lost_bytes: u64,
    /// Frames that gaps cut or swallowed, as far as the place behind them was found.
    pub frames_lost: [u64; 2],
    /// Bytes at the end that do not complete a frame.
    pub incomplete_bytes: u64,
    /// Bytes that fell off a limit: that of waiting before a secret came, or that of unfinished frames.
    pub dropped_bytes: u64,
    /// Agreed capabilities, in the order of their codes.
    pub capabilities: Vec<Arc<Capability>>,
    /// Hello of each end.
    pub hellos: [Option<Arc<Hello>>; 2],
    /// Klaytn's and Kaia's connection-type bytes: 0 CN, 1 EN, 2 PN, 3 BN.
    pub connection_types: [Option<u8>; 2],
    /// Status of each end.
    pub statuses: [Option<Status>; 2],
    /// The last Disconnect of each end.
    pub disconnects: [Option<Disconnect>; 2],
    /// The chain both ends are on, or the one that is known; `None` when they contradict each other.
    pub chain: Option<Chain>,
    /// Keccak-256 of the auth packet.
    pub session: Option<Hash256>,
    /// Public name of the secret that opened it.
    pub secret_id: Option<SecretId>,
    /// Where that secret came from.
    pub secret_source: Option<Arc<str>>,
    /// Secrets for this session that did not open it, or not as well.
    pub unused_candidates: usize,
    /// Messages that were compressed, or not, against expectation.
    pub unexpected_compression: u64,
    /// Why it is not decrypted to its end, in words for a person.
    pub detail: Option<String>,
}

pub(super) fn of(decoder: &SessionDecoder) -> SessionSummary {
    let handshake = match &decoder.phase {
        Phase::Waiting(waiting) => Some(&waiting.handshake),
        Phase::Open(open) => open.handshake.as_ref(),
        Phase::Seeking(seeking) => seeking.handshake.as_ref().map(|(known, _)| known),
        Phase::Handshake(_) | Phase::Closed { .. } => None,
    };
    let initiator = handshake
        .map(|known| known.split.initiator)
        .or(decoder.syn_from)
        .unwrap_or_else(|| likely_initiator(&decoder.key));
    let sides = [initiator, initiator.other()].map(Side::index);
    let mut summary = SessionSummary {
        initiator,
        recognised: Recognised::NoPayload,
        attached: None,
        mac: None,
        mac_failures: 0,
        frames: [0; 2],
        stream_bytes: sides.map(|side| decoder.stream_bytes[side]),
        gaps: decoder.gaps,
        lost_bytes: decoder.missing_bytes,
        frames_lost: [0; 2],
        incomplete_bytes: 0,
        dropped_bytes: decoder.dropped_bytes,
        capabilities: Vec::new(),
        hellos: [None, None],
        connection_types: sides.map(|side| Some(handshake?.split.connection_type?[side])),
        statuses: [None, None],
        disconnects: [None, None],
        chain: None,
        session: handshake.map(|known| known.session),
        secret_id: None,
        secret_source: None,
        unused_candidates: 0,
        unexpected_compression: 0,
        detail: None,
    };
    match &decoder.phase {
        Phase::Handshake(backlogs) => summary.unread(backlogs, decoder.gaps),
        Phase::Closed { looks_like_rlpx } => summary.closed(*looks_like_rlpx),
        Phase::Seeking(seeking) => match seeking.handshake {
            Some((_, fits)) => summary.waiting(fits, decoder.options.verify_mac),
            None => summary.closed(seeking.looks_like_rlpx),
        },
        Phase::Waiting(waiting) => {
            summary.waiting(waiting.fits, decoder.options.verify_mac);
            if waiting.handshake.split.headers == HeaderCheck::Disagree {
                let told = summary.detail.get_or_insert_default();
                told.push_str("; what follows the handshake does not look like frames of one session");
            }
        }
        Phase::Open(open) => {
            summary.secret_id = Some(open.candidate.id());
            summary.initiator = open.initiator;
            summary.secret_source = Some(Arc::clone(&open.source));
            summary.unused_candidates = open.unused_candidates;
            summary.opened(open);
        }
    }
    summary
}

impl SessionSummary {
    fn unread(&mut self, backlogs: &[Backlog; 2], gaps: u64) {
        if gaps > 0 || backlogs.iter().any(|backlog| !backlog.prefix().is_empty()) {
            self.closed(true);
        }
    }

    fn closed(&mut self, looks_like_rlpx: bool) {
        let (recognised, detail) = match (looks_like_rlpx, self.gaps) {
            (true, 0) => (Recognised::NoHandshake, "auth and ack are not both complete"),
            (true, _) => (
                Recognised::NoHandshake,
                "the capture lacks a part of the handshake",
            ),
            (false, _) => (Recognised::NotRlpx, "does not begin with an RLPx handshake"),
        };
        self.recognised = recognised;
        self.detail = Some(detail.to_owned());
    }

    fn waiting(&mut self, fits: Fits, verify_mac: bool) {
        match fits {
            Fits::None => {
                self.recognised = Recognised::NoSecret;
                self.detail = Some("no secret is known for this session".to_owned());
            }
            // What follows the handshake has a hole before its first header, so no place in the key stream is known.
            Fits::Named { whole, .. } if self.gaps > 0 => {
                self.recognised = Recognised::Lost;
                self.attached = Some(Attached::Handshake);
                self.mac = Some(initial_mac(verify_mac, whole));
                self.detail = Some("the first frames of both directions are cut by gaps".to_owned());
            }
            Fits::Named { whole, .. } => {
                self.recognised = Recognised::Decrypted;
                self.attached = Some(Attached::Handshake);
                self.mac = Some(initial_mac(verify_mac, whole));
            }
            Fits::Wrong { candidates } => {
                self.recognised = Recognised::Failed;
                self.unused_candidates = candidates;
                self.detail = Some(format!(
                    "{candidates} secret(s) match this session, and none of them decrypts its first frames"
                ));
            }
        }
    }

    fn opened(&mut self, open: &super::Opened) {
        let messages = &open.messages;
        let readers = messages.readers();
        let counts = messages.counts();
        self.attached = Some(open.attached);
        self.mac = counts.worst_mac.or(Some(readers[0].mac_state()));
        self.mac_failures = counts.mac_failures;
        self.unexpected_compression = counts.unexpected_compression;
        self.frames = messages.frames();
        self.lost_bytes = readers[0].lost_bytes().saturating_add(readers[1].lost_bytes());
        self.frames_lost = readers.map(FrameReader::frames_lost);
        self.incomplete_bytes = readers.iter().map(|reader| reader.incomplete_bytes()).sum();
        self.capabilities = messages.agreed().capabilities().to_vec();
        self.hellos = messages.hellos();
        self.disconnects = messages.disconnects();
        self.statuses = messages.statuses();
        self.chain = match &self.statuses {
            [Some(one), Some(other)] => Some(one.chain()).filter(|chain| *chain == other.chain()),
            [Some(one), None] | [None, Some(one)] => Some(one.chain()),
            [None, None] => open.told.as_ref().and_then(|told| told.chain),
        };
        if let Some(told) = &open.told {
            self.connection_types = told.connection_types;
        }
        let lost = |direction: Direction| readers[direction.index()].lost_since();
        let told = match (lost(Direction::FromInitiator), lost(Direction::FromRecipient)) {
            (None, None) => None,
            (Some(at), None) => Some(format!(
                "the place is lost for good from byte {at} of the initiator's stream on"
            )),
            (None, Some(at)) => Some(format!(
                "the place is lost for good from byte {at} of the recipient's stream on"
            )),
            (Some(one), Some(other)) => Some(format!(
                "the place is lost for good from byte {one} of the initiator's stream and byte {other} of the recipient's on"
            )),
        };
        self.recognised = if told.is_some() {
            Recognised::Lost
        } else {
            Recognised::Decrypted
        };
        self.detail = told;
    }
}

/// The MAC state of a session without frames.
fn initial_mac(verify: bool, whole: bool) -> MacState {
    match (verify, whole) {
        (false, _) => MacState::Skipped,
        (true, true) => MacState::Verified,
        (true, false) => MacState::Unverifiable,
    }
}

impl Status {
    /// The chain it tells of.
    pub fn chain(&self) -> Chain {
        Chain {
            network_id: self.network_id,
            genesis: self.genesis,
        }
    }
}
