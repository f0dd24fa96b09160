//! RLPx sessions on connections: who says what until both are ready, and the frames after that.

use bftap_model::Direction;

use super::Network;
use super::conn::EndState;
use super::event::{ConnIndex, Event, Time};
use super::messages::Message;
use super::truth::SessionTruth;
use crate::client::Client;
use crate::consensus::Dialect;
use crate::devp2p::{self, AgreedCapability, DisconnectReason, PING_INTERVAL_SECS};
use crate::rlpx::frame::FrameWriter;
use crate::rlpx::handshake::{Initiator, PacketForm, SessionSecrets, respond};

/// The upper half of a connection.
pub(super) struct Session {
    /// What runs on it.
    pub(super) kind: SessionKind,
    pub(super) clients: [Client; 2],
    pub(super) agreed: Vec<AgreedCapability>,
    /// First codes of the chain's and of the consensus protocol.
    offsets: [u64; 2],
    pub(super) sides: [Side; 2],
    initiator: Option<Initiator>,
    secret: SecretState,
    /// The initiator wants nothing but to say Hello.
    pub(super) visit: bool,
}

/// What runs on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionKind {
    /// RLPx, on channel 0 or 1.
    Rlpx {
        /// Channel.
        channel: u8,
    },
    /// Something that is not RLPx at all.
    Http,
}

#[derive(Default)]
pub(super) struct Side {
    pub(super) writer: Option<FrameWriter>,
    connection_type_read: bool,
    /// Both ends are through with the handshake as far as this one knows.
    secured: bool,
    pub(super) hello_sent: bool,
    pub(super) hello_read: bool,
    active: bool,
    /// The end gave the session up.
    over: bool,
    /// The other end told it that they are connected already.
    pub(super) sent_away: bool,
    /// Its node knows that the connection is no more.
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SecretState {
    /// The handshake is not through.
    None,
    Logged,
    Withheld,
}

/// What an end reads.
pub(super) enum Delivery {
    /// The connection is there.
    Connected,
    /// Klaytn's connection-type byte.
    ConnectionType,
    /// The auth packet; empty where nobody captures.
    Auth(Vec<u8>),
    /// The ack packet; empty where nobody captures.
    Ack(Vec<u8>),
    /// A frame.
    Frame(Message),
    /// A request for a page.
    HttpRequest,
    /// The page.
    HttpResponse,
    /// Bytes that make no sense alone: the begin of a frame that was never finished.
    Torn,
}

impl Session {
    pub(super) fn rlpx(clients: [Client; 2], channel: u8) -> Self {
        Self::new(SessionKind::Rlpx { channel }, clients)
    }

    /// A connection whose initiator goes once both have said Hello.
    pub(super) fn visit(clients: [Client; 2]) -> Self {
        Self {
            visit: true,
            ..Self::rlpx(clients, 0)
        }
    }

    pub(super) fn http(client: Client) -> Self {
        Self::new(SessionKind::Http, [client; 2])
    }

    fn new(kind: SessionKind, clients: [Client; 2]) -> Self {
        let agreed = devp2p::agree(clients[0], clients[1]);
        let offset = |capability: Option<&AgreedCapability>| {
            capability.map_or(devp2p::FIRST_OFFSET, |capability| capability.offset)
        };
        let offsets = [
            offset(Client::chain_capability(&agreed)),
            offset(Client::consensus_capability(&agreed)),
        ];
        Self {
            kind,
            clients,
            agreed,
            offsets,
            sides: Default::default(),
            initiator: None,
            secret: SecretState::None,
            visit: false,
        }
    }

    pub(super) fn is_rlpx(&self) -> bool {
        matches!(self.kind, SessionKind::Rlpx { .. })
    }

    pub(super) fn secret_logged(&self) -> bool {
        self.secret == SecretState::Logged
    }

    /// Both ends told their chain.
    pub(super) fn has_status(&self) -> bool {
        self.kind == (SessionKind::Rlpx { channel: 0 }) && self.sides.iter().all(|side| side.active)
    }

    /// Adds what is known of the session to its line of the truth.
    pub(super) fn tell(&self, truth: &mut SessionTruth) {
        truth.preamble = u8::from(self.clients[0].dialect() == Dialect::Klaytn);
        truth.state = match self.secret {
            SecretState::None => "no-key",
            SecretState::Logged => "ok",
            SecretState::Withheld => "no-secret",
        };
        if self.secret == SecretState::Logged && self.sides.iter().all(|side| side.hello_sent) {
            truth.caps = self
                .clients
                .iter()
                .map(|client| (client.name(), client.capabilities()))
                .collect();
        }
    }

    pub(super) const fn offset(&self, consensus: bool) -> u64 {
        self.offsets[consensus as usize]
    }
}

impl Network<'_> {
    /// An end reads something. `side` is the one that sent it.
    pub(super) fn deliver(&mut self, index: ConnIndex, side: usize, delivery: Delivery) {
        let reader = 1 - side;
        let Some(conn) = self.conn_mut(index) else { return };
        if conn.ends[reader].state != EndState::Open || conn.session.sides[reader].over {
            return;
        }
        match delivery {
            Delivery::Connected => self.on_connected(index, reader),
            Delivery::ConnectionType => {
                conn.session.sides[reader].connection_type_read = true;
                if reader == 0 {
                    self.send_auth(index);
                }
            }
            Delivery::Auth(auth) => self.on_auth(index, &auth),
            Delivery::Ack(ack) => self.on_ack(index, &ack),
            Delivery::Frame(message) => self.on_message(index, reader, message),
            Delivery::HttpRequest => {
                let page = http_page(conn.prng.below(6000) as usize);
                self.write_plain(index, reader, 400_000, page, Delivery::HttpResponse);
                self.close(index, reader);
            }
            Delivery::HttpResponse | Delivery::Torn => {}
        }
    }

    /// Sends Disconnect, then closes.
    pub(super) fn disconnect(&mut self, index: ConnIndex, side: usize, reason: DisconnectReason) {
        self.send(index, side, SHORT, Message::Disconnect(reason));
        if let Some(conn) = self.conn_mut(index) {
            conn.session.sides[side].over = true;
        }
        self.close(index, side);
    }

    /// An end pings, and goes on doing so.
    pub(super) fn ping(&mut self, index: ConnIndex, side: usize) {
        let Some(conn) = self.conn(index) else { return };
        if conn.ends[side].state != EndState::Open {
            return;
        }
        let resumes = self.nodes[conn.ends[side].node].paused_until;
        if resumes <= self.now {
            self.send(index, side, 0, Message::Ping);
        }
        // Who never goes on never pings again.
        let next = self
            .now
            .max(resumes)
            .saturating_add(PING_INTERVAL_SECS * 1_000_000_000);
        self.queue.push(
            next,
            Event::Ping {
                conn: index,
                side: side as u8,
            },
        );
    }

    /// An end is closed, by itself or by the other one.
    pub(super) fn end_closed(&mut self, index: ConnIndex, side: usize) {
        let Some(conn) = self.conn_mut(index) else { return };
        let SessionKind::Rlpx { channel } = conn.session.kind else {
            return;
        };
        conn.session.sides[side].over = true;
        if std::mem::replace(&mut conn.session.sides[side].closed, true) {
            return;
        }
        let (node, peer) = (conn.ends[side].node, conn.ends[1 - side].node);
        if !(conn.session.visit && side == 0) {
            self.session_over(index, node, peer, channel);
        }
    }

    fn on_connected(&mut self, index: ConnIndex, side: usize) {
        let Some(conn) = self.conn(index) else { return };
        let client = conn.session.clients[side];
        let role = self.nodes[conn.ends[side].node].role;
        let Some(conn) = self.conn_mut(index) else { return };
        match conn.session.kind {
            SessionKind::Http if side == 0 => {
                let request = b"GET /metrics HTTP/1.1\r\nHost: monitor\r\nConnection: close\r\n\r\n".to_vec();
                self.write_plain(index, side, 100_000, request, Delivery::HttpRequest);
            }
            SessionKind::Http => {}
            SessionKind::Rlpx { .. } if client.dialect() == Dialect::Klaytn => {
                let delay = 30_000 + conn.prng.below(80_000);
                self.write_plain(
                    index,
                    side,
                    delay,
                    vec![role.connection_type()],
                    Delivery::ConnectionType,
                );
                // The other byte may have come while this end stood still.
                if side == 0
                    && self
                        .conn(index)
                        .is_some_and(|conn| conn.session.sides[0].connection_type_read)
                {
                    self.send_auth(index);
                }
            }
            SessionKind::Rlpx { .. } if side == 0 => self.send_auth(index),
            SessionKind::Rlpx { .. } => {}
        }
    }

    fn send_auth(&mut self, index: ConnIndex) {
        let Some(conn) = self.conns.get_mut(index as usize).and_then(Option::as_mut) else {
            return;
        };
        if conn.session.initiator.is_some() {
            return;
        }
        let delay = 400_000 + conn.prng.below(500_000);
        let form = conn.session.clients[0].packet_form();
        if !conn.captured {
            let len = eip8_len(form, AUTH_LEN) + conn.prng.below(100) as usize;
            self.write_sized(index, 0, delay, len, Delivery::Auth(Vec::new()));
            return;
        }
        let (key, remote) = (
            &self.nodes[conn.ends[0].node].key,
            &self.nodes[conn.ends[1].node].key,
        );
        // Ids made from keys are points of the curve, so a handshake between nodes of the simulation succeeds.
        let Ok(initiator) = Initiator::new(key, remote.id(), form, &mut conn.prng) else {
            return;
        };
        let auth = initiator.auth().to_vec();
        conn.session.initiator = Some(initiator);
        self.write_plain(index, 0, delay, auth.clone(), Delivery::Auth(auth));
    }

    fn on_auth(&mut self, index: ConnIndex, auth: &[u8]) {
        let Some(conn) = self.conns.get_mut(index as usize).and_then(Option::as_mut) else {
            return;
        };
        let delay = 500_000 + conn.prng.below(600_000);
        let form = conn.session.clients[1].packet_form();
        if conn.captured {
            let key = &self.nodes[conn.ends[1].node].key;
            let Ok(response) = respond(key, auth, form, &mut conn.prng) else {
                return;
            };
            conn.session.sides[1].writer = Some(response.secrets.writer(Direction::FromRecipient));
            let ack = response.ack;
            self.write_plain(index, 1, delay, ack.clone(), Delivery::Ack(ack));
            self.log_secret(index, 1, &response.secrets);
        } else {
            let len = eip8_len(form, ACK_LEN) + conn.prng.below(100) as usize;
            self.write_sized(index, 1, delay, len, Delivery::Ack(Vec::new()));
        }
        self.secured(index, 1);
    }

    fn on_ack(&mut self, index: ConnIndex, ack: &[u8]) {
        let Some(conn) = self.conns.get_mut(index as usize).and_then(Option::as_mut) else {
            return;
        };
        if conn.captured {
            let Some(initiator) = conn.session.initiator.take() else {
                return;
            };
            let Ok(secrets) = initiator.finish(ack) else {
                return;
            };
            conn.session.sides[0].writer = Some(secrets.writer(Direction::FromInitiator));
            self.log_secret(index, 0, &secrets);
        }
        self.secured(index, 0);
    }

    /// The handshake is through for an end: Hello, or Disconnect if there is another session already.
    fn secured(&mut self, index: ConnIndex, side: usize) {
        let Some(conn) = self.conn_mut(index) else { return };
        conn.session.sides[side].secured = true;
        let delay = 200_000 + conn.prng.below(600_000);
        let visitor = conn.session.visit && side == 0;
        if !visitor && self.has_other_session(index, side) {
            self.disconnect(index, side, DisconnectReason::AlreadyConnected);
            return;
        }
        self.send(index, side, delay, Message::Hello);
        if let Some(conn) = self.conn_mut(index) {
            conn.session.sides[side].hello_sent = true;
        }
    }

    fn on_message(&mut self, index: ConnIndex, side: usize, message: Message) {
        let Some(conn) = self.conn_mut(index) else { return };
        let (node, peer) = (conn.ends[side].node, conn.ends[1 - side].node);
        match message {
            Message::Hello => self.on_hello(index, side),
            Message::Disconnect(reason) => {
                let end = &mut conn.session.sides[side];
                end.over = true;
                end.sent_away = reason == DisconnectReason::AlreadyConnected;
                self.close(index, side);
            }
            Message::Ping => self.send(index, side, SHORT, Message::Pong),
            // Klaytn and GoQuorum end the connection over a message that is none. Nodes here bear it, so that a flood can go on.
            Message::Junk(_) | Message::Pong | Message::Transactions(_) => {}
            Message::Status { chain, height } => {
                if chain == self.nodes[node].chain {
                    self.activate(index, side);
                    self.peer_height(node, peer, height);
                } else {
                    self.disconnect(index, side, DisconnectReason::Subprotocol);
                }
            }
            Message::Consensus(message) | Message::Padded(message, _) => {
                self.consensus_arrived(node, peer, message);
            }
            Message::NewBlock(block) => self.block_arrived(node, peer, block),
            Message::NewBlockHash(height) => self.peer_height(node, peer, height),
            Message::HeadersRequest { from, amount } => {
                let blocks = self.blocks(node, from, amount);
                self.send(index, side, SHORT, Message::Headers(blocks));
            }
            Message::Headers(blocks) if blocks.is_empty() => self.sync_over(node),
            Message::Headers(blocks) => self.send(index, side, SHORT, Message::BodiesRequest(blocks)),
            Message::BodiesRequest(blocks) => self.send(index, side, SHORT, Message::Bodies(blocks)),
            Message::Bodies(blocks) => self.blocks_arrived(node, blocks),
        }
    }

    fn on_hello(&mut self, index: ConnIndex, side: usize) {
        let Some(conn) = self.conn_mut(index) else { return };
        let SessionKind::Rlpx { channel } = conn.session.kind else {
            return;
        };
        conn.session.sides[side].hello_read = true;
        if conn.session.visit && side == 0 {
            self.disconnect(index, side, DisconnectReason::Requested);
            return;
        }
        let (node, peer) = (conn.ends[side].node, conn.ends[1 - side].node);
        if self.shown_key(peer) != peer {
            self.unmasked(peer);
            self.disconnect(index, side, DisconnectReason::UnexpectedIdentity);
            return;
        }
        if self.has_other_session(index, side) {
            self.disconnect(index, side, DisconnectReason::AlreadyConnected);
            return;
        }
        self.nodes[node].peers[peer].sessions[usize::from(channel)] = Some(index);
        let first_ping = self.now + PING_INTERVAL_SECS * 1_000_000_000;
        self.queue.push(
            first_ping,
            Event::Ping {
                conn: index,
                side: side as u8,
            },
        );
        if channel == 0 {
            let (chain, height) = (self.nodes[node].chain, self.nodes[node].head.number);
            if let Some(conn) = self.conn_mut(index) {
                conn.chain = chain;
            }
            self.send(index, side, 150_000, Message::Status { chain, height });
        } else {
            self.activate(index, side);
        }
    }

    fn activate(&mut self, index: ConnIndex, side: usize) {
        let Some(conn) = self.conn_mut(index) else { return };
        let was_active = std::mem::replace(&mut conn.session.sides[side].active, true);
        let (node, peer) = (conn.ends[side].node, conn.ends[1 - side].node);
        // Consensus messages go to validators only.
        let default_channel = conn.session.kind == (SessionKind::Rlpx { channel: 0 });
        if !was_active && default_channel && peer < self.options.nodes {
            let validator = self.nodes[peer].validator;
            self.nodes[node].connected.insert(validator);
        }
    }

    fn has_other_session(&self, index: ConnIndex, side: usize) -> bool {
        let Some(conn) = self.conn(index) else {
            return false;
        };
        let SessionKind::Rlpx { channel } = conn.session.kind else {
            return false;
        };
        let (node, peer) = (conn.ends[side].node, conn.ends[1 - side].node);
        let known = self.nodes[node].peers[peer].sessions[usize::from(channel)];
        known.is_some_and(|known| known != index)
    }

    /// An end logs the secrets, unless the options withhold this session's.
    fn log_secret(&mut self, index: ConnIndex, side: usize, secrets: &SessionSecrets) {
        let Some(conn) = self.conns.get_mut(index as usize).and_then(Option::as_mut) else {
            return;
        };
        if conn.session.secret == SecretState::None {
            self.secured_sessions += 1;
            let every = self.options.withhold_secret_every;
            let withheld = every.is_some_and(|every| self.secured_sessions.is_multiple_of(every));
            conn.session.secret = if withheld {
                SecretState::Withheld
            } else {
                SecretState::Logged
            };
        }
        if conn.session.secret == SecretState::Withheld {
            return;
        }
        let role = if side == 0 { "initiator" } else { "recipient" };
        let ends = [conn.ends[0].node, conn.ends[1].node];
        let line = secrets.key_log_line(&format!("role={role} time={}", self.capture_time(self.now)));
        let result = self.log_line(&line, ends, side == 1);
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }
}

/// An EIP-8 packet's length with the least padding.
const fn eip8_len(form: PacketForm, fields: usize) -> usize {
    match form {
        PacketForm::Plain => fields,
        PacketForm::Eip8 { min_padding, .. } => fields + min_padding as usize,
    }
}

fn http_page(lines: usize) -> Vec<u8> {
    let body: String = (0..lines / 30)
        .map(|line| format!("metric_{line} {}\n", line * line))
        .collect();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// What a node takes to answer something simple.
const SHORT: Time = 60_000;
/// Size prefix, fields and ECIES overhead of EIP-8 packets, without padding.
const AUTH_LEN: usize = 2 + 169 + 113;
const ACK_LEN: usize = 2 + 102 + 113;
