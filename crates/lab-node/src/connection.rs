//! One TCP connection: from the first byte to the last (WIRE-FORMATS 1 to 4, 9.1).

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bftap_decrypt::capability::Agreed;
use bftap_decrypt::disconnect::Disconnect;
use bftap_decrypt::hello::{Hello, HelloError};
use bftap_decrypt::status::{Status, StatusError};
use bftap_model::{Direction, NodeId};
use bftap_simnet::client::Client;
use bftap_simnet::consensus::Dialect;
use bftap_simnet::devp2p::{
    self, CONSENSUS, DISCONNECT, DisconnectReason, FIRST_OFFSET, HELLO, PING, PING_INTERVAL_SECS, PONG,
};
use bftap_simnet::key::InvalidNodeId;
use bftap_simnet::rlpx::handshake::{HandshakeError, Initiator, packet_len, respond};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, sleep, timeout};

use crate::faults::FaultKind;
use crate::frames::{FrameError, FrameReader, FrameSink, Incoming, MAX_FRAME};
use crate::node::{EVENTS_KIB, Event};
use crate::outbox::{Outbox, Outgoing, Queued, kib};
use crate::record::Entry;
use crate::shared::{PeerIndex, Reservation, Shared, fresh_prng};

/// Which end of a connection a node is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    Dialled { peer: PeerIndex, channel: u8 },
    Accepted { channel: u8 },
}

/// Why a connection ended, or came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("handshake: {0}")]
    Handshake(#[from] HandshakeError),
    #[error("the key on the list is no key")]
    Key(#[from] InvalidNodeId),
    #[error("handshake packet of {0} bytes")]
    PacketLength(usize),
    #[error("a plain handshake, which this client does not take")]
    PlainHandshake,
    #[error("the handshake took too long")]
    HandshakeTime,
    #[error("the key log cannot be written: {0}")]
    KeyLog(io::Error),
    #[error("not a validator of the list")]
    Stranger,
    #[error("Hello: {0}")]
    Hello(#[from] HelloError),
    #[error("Hello of another node")]
    Identity,
    #[error("no capability in common")]
    NoCapability,
    #[error("Status: {0}")]
    Status(#[from] StatusError),
    #[error("Status of another {0}")]
    OtherChain(&'static str),
    #[error("connected already")]
    AlreadyConnected,
    #[error("message {0:#x} where it does not belong")]
    Breach(u64),
    #[error("closed by the peer")]
    Closed,
    #[error("Disconnect: {}", .0.name())]
    Disconnected(Disconnect),
    #[error("nothing came for {} s", READ_TIMEOUT.as_secs())]
    ReadTimeout,
    #[error("dropped: it takes messages too slowly")]
    Killed,
    #[error("this node stops")]
    Stopped,
}

/// A connection that is ready.
struct Session {
    peer: PeerIndex,
    channel: u8,
    initiator: bool,
    reservation: Reservation,
    reader: FrameReader,
    sink: FrameSink,
    /// First codes of the chain's and of the consensus capability.
    chain: u64,
    consensus: u64,
    height: u64,
}

/// Runs a connection to its end; the error says why it came to nothing, and with whom if that is known.
pub(crate) async fn run(shared: Arc<Shared>, stream: TcpStream, role: Role) -> Result<(), End> {
    // As Go does.
    stream.set_nodelay(true)?;
    let ip = stream.peer_addr()?.ip();
    let mut stop = shared.stop.clone();
    let ready = tokio::select! {
        ready = timeout(HANDSHAKE_TIME, prepare(&shared, stream, role)) => ready,
        _ = stop.wait_for(|stop| *stop) => return Err(End::Stopped),
    };
    let session = match ready {
        Ok(Ok(session)) => session,
        failed => {
            let end = match failed {
                Ok(Err(end)) => end,
                _ => End::HandshakeTime,
            };
            tell_failure(&shared, role, ip, &end);
            return Err(end);
        }
    };
    serve(shared, session).await;
    Ok(())
}

fn tell_failure(shared: &Shared, role: Role, ip: IpAddr, end: &End) {
    let listed;
    let peer = match role {
        Role::Dialled { peer, .. } => shared.name(peer),
        Role::Accepted { .. } => {
            listed = ip.to_string();
            &listed
        }
    };
    shared.record.tell(Entry::Failed {
        peer,
        why: end.to_string(),
    });
}

/// A connection behind the handshake.
struct Secured {
    reader: FrameReader,
    sink: FrameSink,
    initiator: bool,
    channel: u8,
    id: NodeId,
}

/// The handshake.
async fn secure(shared: &Arc<Shared>, stream: TcpStream, role: Role) -> Result<Secured, End> {
    let client = shared.options.client;
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::with_capacity(READ_BUFFER, read);
    if client.dialect() == Dialect::Klaytn {
        write.write_all(&[connection_type(shared, role)]).await?;
        // Any byte will do: the role is the peer's affair.
        read.read_u8().await?;
    }
    let mut prng = fresh_prng()?;
    let key = &shared.options.key;
    let form = client.packet_form();
    let (initiator, channel, id, secrets) = match role {
        Role::Dialled { peer, channel } => {
            let id = shared.validator(peer).id;
            let initiator = Initiator::new(key, &id, form, &mut prng)?;
            write.write_all(initiator.auth()).await?;
            let ack = read_packet(&mut read, client, Direction::FromRecipient).await?;
            (true, channel, id, initiator.finish(&ack)?)
        }
        Role::Accepted { channel } => {
            let auth = read_packet(&mut read, client, Direction::FromInitiator).await?;
            let response = respond(key, &auth, form, &mut prng)?;
            write.write_all(&response.ack).await?;
            (false, channel, response.initiator, response.secrets)
        }
    };
    shared.log_secrets(&secrets, initiator).map_err(End::KeyLog)?;
    let (ours, theirs) = if initiator {
        (Direction::FromInitiator, Direction::FromRecipient)
    } else {
        (Direction::FromRecipient, Direction::FromInitiator)
    };
    Ok(Secured {
        sink: FrameSink::new(write, &secrets, ours, client.writes()),
        reader: FrameReader::new(read, &secrets, theirs),
        initiator,
        channel,
        id,
    })
}

/// What the node says that it is.
fn connection_type(shared: &Shared, role: Role) -> u8 {
    let told = shared.faults().find_map(|fault| match fault {
        FaultKind::Role(told) => Some((fault, told)),
        _ => None,
    });
    let Some((fault, told)) = told else {
        return CONSENSUS_NODE;
    };
    // Who dials is not known yet.
    let peer = match role {
        Role::Dialled { peer, .. } => Some(peer),
        Role::Accepted { .. } => None,
    };
    shared.deed(fault, (None, None), None, peer.into_iter());
    told.connection_type()
}

/// Connects to one peer after the other, says Hello and goes, as long as the fault is on.
pub(crate) async fn churn(shared: Arc<Shared>) {
    let count = shared.options.network.validators.len();
    let mut peer = shared.ours;
    let mut running = tokio::task::JoinSet::new();
    loop {
        while running.try_join_next().is_some() {}
        let on = shared.faults().find_map(|fault| match fault {
            FaultKind::Churn(every) => Some((fault, every)),
            _ => None,
        });
        let Some((fault, every)) = on else {
            sleep(CHURN_LOOK).await;
            continue;
        };
        sleep(every).await;
        peer = (peer + 1) % count;
        if peer != shared.ours && running.len() < MOST_VISITS {
            let shared = Arc::clone(&shared);
            running.spawn(async move {
                let visited = timeout(HANDSHAKE_TIME, visit(&shared, peer)).await;
                if matches!(visited, Ok(Ok(()))) {
                    shared.deed(fault, (None, None), None, std::iter::once(peer));
                }
            });
        }
    }
}

/// A connection that comes to nothing, on purpose: both ends are through with the handshake, and one says Hello.
async fn visit(shared: &Arc<Shared>, peer: PeerIndex) -> Result<(), End> {
    let stream = TcpStream::connect(shared.validator(peer).endpoint).await?;
    stream.set_nodelay(true)?;
    let role = Role::Dialled { peer, channel: 0 };
    let mut secured = secure(shared, stream, role).await?;
    secured.sink.send(HELLO, &our_hello(shared)).await?;
    // Whatever the answer is: most likely that they are connected already.
    let _ = secured.reader.next(MAX_HELLO).await;
    refuse(
        &mut secured.sink,
        shared.options.client,
        DisconnectReason::Requested,
    )
    .await;
    Ok(())
}

/// Handshake, Hello, Status.
async fn prepare(shared: &Arc<Shared>, stream: TcpStream, role: Role) -> Result<Session, End> {
    let client = shared.options.client;
    let Secured {
        mut reader,
        mut sink,
        initiator,
        channel,
        id,
    } = secure(shared, stream, role).await?;
    let peer = shared
        .options
        .network
        .index_of(&id)
        .filter(|&peer| peer != shared.ours);
    let Some(peer) = peer else {
        refuse(&mut sink, client, DisconnectReason::UselessPeer).await;
        return Err(End::Stranger);
    };
    if shared.is_connected(peer, channel) {
        refuse(&mut sink, client, DisconnectReason::AlreadyConnected).await;
        return Err(End::AlreadyConnected);
    }
    let ours = our_hello(shared);
    sink.send(HELLO, &ours).await?;
    let message = reader.next(MAX_HELLO).await?.ok_or(End::Closed)?;
    let theirs = match message.code {
        HELLO => Hello::parse(&message.payload)?,
        DISCONNECT => return Err(End::Disconnected(Disconnect::parse(&message.payload))),
        code => return Err(End::Breach(code)),
    };
    // Each end compresses once it knows that the other understands it; both write Hello first.
    sink.compressed = theirs.wants_snappy();
    reader.compressed = theirs.wants_snappy();
    if theirs.node_id != id {
        refuse(&mut sink, client, DisconnectReason::UnexpectedIdentity).await;
        return Err(End::Identity);
    }
    let agreed = Agreed::between(&Hello::parse(&ours)?, &theirs);
    let Some((chain, version, consensus)) = places(&agreed) else {
        refuse(&mut sink, client, DisconnectReason::UselessPeer).await;
        return Err(End::NoCapability);
    };
    let Some(reservation) = shared.reserve(peer, channel) else {
        refuse(&mut sink, client, DisconnectReason::AlreadyConnected).await;
        return Err(End::AlreadyConnected);
    };
    let mut session = Session {
        peer,
        channel,
        initiator,
        reservation,
        reader,
        sink,
        chain,
        consensus,
        height: 0,
    };
    if channel == 0 {
        exchange_status(shared, &mut session, version).await?;
    }
    Ok(session)
}

async fn exchange_status(shared: &Shared, session: &mut Session, version: u32) -> Result<(), End> {
    let network = &shared.options.network;
    let (height, head) = shared.head();
    let status = devp2p::Status {
        version,
        network: network.network_id,
        height,
        head,
        genesis: network.genesis,
    };
    let payload = status.encode(shared.dialect());
    session.sink.send(session.chain, &payload).await?;
    let theirs = loop {
        let message = session.reader.next(MAX_FRAME).await?.ok_or(End::Closed)?;
        match message.code {
            PING => drop(session.sink.send(PONG, &devp2p::empty()).await?),
            PONG => {}
            DISCONNECT => return Err(End::Disconnected(Disconnect::parse(&message.payload))),
            code if code == session.chain => break Status::parse(&message.payload)?,
            code => return Err(End::Breach(code)),
        }
    };
    let differs = if theirs.network_id != network.network_id {
        "network"
    } else if theirs.genesis != network.genesis {
        "genesis block"
    } else if theirs.protocol_version != u64::from(version) {
        "protocol version"
    } else {
        // With a difficulty of 1 a block, the total difficulty is the height and one.
        let difficulty = theirs.total_difficulty.unwrap_or(1);
        session.height = u64::try_from(difficulty).unwrap_or(0).saturating_sub(1);
        return Ok(());
    };
    refuse(
        &mut session.sink,
        shared.options.client,
        DisconnectReason::Subprotocol,
    )
    .await;
    Err(End::OtherChain(differs))
}

/// Reads and writes until the end.
async fn serve(shared: Arc<Shared>, session: Session) {
    let Session {
        peer,
        channel,
        initiator,
        reservation,
        mut reader,
        sink,
        chain,
        consensus,
        height,
    } = session;
    shared.record.tell(Entry::Up {
        peer: shared.name(peer),
        channel,
        initiator,
    });
    let (outbox, outgoing) = Outbox::new();
    let conn = reservation.conn;
    let up = Event::Up {
        peer,
        channel,
        conn,
        outbox: outbox.clone(),
        height,
    };
    if shared.events.send(up).await.is_err() {
        return;
    }
    let mut writer = tokio::spawn(write_all(
        Arc::clone(&shared),
        sink,
        outgoing,
        peer,
        chain,
        consensus,
    ));
    let codes = Codes {
        chain,
        consensus: consensus + CONSENSUS,
    };
    let end = {
        let reading = read_all(&shared, &mut reader, &codes, peer, channel, &outbox);
        tokio::pin!(reading);
        let mut stop = shared.stop.clone();
        tokio::select! {
            end = &mut reading => end,
            () = outbox.kill.notified() => End::Killed,
            written = &mut writer => match written {
                // It said goodbye: what the peer sends before it closes is still read.
                Ok(Ok(())) => timeout(LINGER, &mut reading).await.unwrap_or(End::Stopped),
                Ok(Err(error)) => error.into(),
                Err(_) => End::Closed,
            },
            () = async {
                let _ = stop.wait_for(|stop| *stop).await;
                sleep(LINGER).await;
            } => End::Stopped,
        }
    };
    match end {
        End::Breach(_) => drop(outbox.send(Outgoing::Disconnect(DisconnectReason::Breach))),
        End::ReadTimeout => drop(outbox.send(Outgoing::Disconnect(DisconnectReason::ReadTimeout))),
        End::Killed => writer.abort(),
        _ => drop(outbox.send(Outgoing::Close)),
    }
    if !writer.is_finished() && timeout(CLOSE_TIME, &mut writer).await.is_err() {
        writer.abort();
    }
    shared.record.tell(Entry::Down {
        peer: shared.name(peer),
        channel,
        why: end.to_string(),
    });
    drop(reservation);
    let _ = shared.events.send(Event::Down { peer, channel, conn }).await;
}

struct Codes {
    chain: u64,
    consensus: u64,
}

async fn read_all(
    shared: &Shared,
    reader: &mut FrameReader,
    codes: &Codes,
    peer: PeerIndex,
    channel: u8,
    outbox: &Outbox,
) -> End {
    loop {
        let message = match timeout(READ_TIMEOUT, reader.next(MAX_FRAME)).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return End::Closed,
            Ok(Err(error)) => return error.into(),
            Err(_) => return End::ReadTimeout,
        };
        let held = message.payload.len() + message.bytes;
        let event = match message.code {
            PING => {
                if outbox.send(Outgoing::Base(PONG, devp2p::empty())).is_err() {
                    return End::Killed;
                }
                continue;
            }
            DISCONNECT => return End::Disconnected(Disconnect::parse(&message.payload)),
            code if code == codes.consensus && channel == 0 => {
                let Incoming { payload, bytes, .. } = message;
                match shared.received(peer, &payload, bytes) {
                    Ok(message) => Event::Consensus {
                        peer,
                        message,
                        room: None,
                    },
                    Err(error) => {
                        // Nodes say so in their log, and go on.
                        shared.record.tell(Entry::Undecodable {
                            peer: shared.name(peer),
                            bytes,
                            why: error.to_string(),
                        });
                        continue;
                    }
                }
            }
            code if code >= codes.chain => Event::Chain {
                peer,
                code: code - codes.chain,
                payload: message.payload,
                room: None,
            },
            HELLO => return End::Breach(HELLO),
            // Pong, and codes that the base protocol has left free.
            _ => continue,
        };
        // The node is busy: this connection waits with its message, then the peer with the next one.
        let room = kib(held).min(EVENTS_KIB);
        let Ok(room) = Arc::clone(&shared.room).acquire_many_owned(room).await else {
            return End::Stopped;
        };
        if shared.events.send(event.holding(room)).await.is_err() {
            return End::Stopped;
        }
    }
}

async fn write_all(
    shared: Arc<Shared>,
    mut sink: FrameSink,
    mut outgoing: mpsc::Receiver<Queued>,
    peer: PeerIndex,
    chain: u64,
    consensus: u64,
) -> Result<(), FrameError> {
    let every = Duration::from_secs(PING_INTERVAL_SECS);
    let mut pings = interval_at(Instant::now() + every, every);
    loop {
        let (next, _room) = tokio::select! {
            next = outgoing.recv() => match next {
                Some(Queued { what, room }) => (what, Some(room)),
                None => (Outgoing::Close, None),
            },
            _ = pings.tick() => (Outgoing::Base(PING, devp2p::empty()), None),
        };
        match next {
            Outgoing::Consensus(message) => {
                let bytes = sink
                    .send_as_is(consensus + CONSENSUS, &message.compressed)
                    .await?;
                shared.sent(peer, &message, bytes);
            }
            Outgoing::Padded(message, content) => {
                let bytes = sink.send_as_is(consensus + CONSENSUS, &content).await?;
                shared.sent(peer, &message, bytes);
            }
            Outgoing::Junk(payload) => drop(sink.send(consensus + CONSENSUS, &payload).await?),
            Outgoing::Chain(code, payload) => drop(sink.send(chain + code, &payload).await?),
            Outgoing::Base(code, payload) => drop(sink.send(code, &payload).await?),
            Outgoing::Disconnect(reason) => {
                let form = shared.options.client.disconnect_form();
                sink.send(DISCONNECT, &devp2p::disconnect(reason, form)).await?;
                sink.stream.shutdown().await.map_err(FrameError::from)?;
                return Ok(());
            }
            Outgoing::Close => {
                sink.stream.shutdown().await.map_err(FrameError::from)?;
                return Ok(());
            }
        }
    }
}

/// Says why, and closes; whether it arrives is the peer's affair.
async fn refuse(sink: &mut FrameSink, client: Client, reason: DisconnectReason) {
    let payload = devp2p::disconnect(reason, client.disconnect_form());
    if sink.send(DISCONNECT, &payload).await.is_ok() {
        let _ = sink.stream.shutdown().await;
    }
}

pub(crate) async fn read_packet(
    read: &mut (impl AsyncRead + Unpin),
    client: Client,
    from: Direction,
) -> Result<Vec<u8>, End> {
    let mut packet = vec![0; 2];
    read.read_exact(&mut packet).await?;
    let eip8_only = matches!(client, Client::Klaytn1_12 | Client::Kaia2_2);
    if packet[0] == 0x04 && eip8_only {
        return Err(End::PlainHandshake);
    }
    let len = packet_len(&packet, from).unwrap_or(0);
    if !(packet.len()..=MAX_PACKET).contains(&len) {
        return Err(End::PacketLength(len));
    }
    packet.resize(len, 0);
    read.read_exact(&mut packet[2..]).await?;
    Ok(packet)
}

pub(crate) fn our_hello(shared: &Shared) -> Vec<u8> {
    let options = &shared.options;
    let port = options
        .listen
        .unwrap_or(shared.validator(shared.ours).endpoint)
        .port();
    let ports = [port, port.saturating_add(1)];
    let ports = match (shared.dialect(), options.multichannel) {
        (Dialect::Klaytn, false) => &ports[..0],
        (Dialect::Klaytn, true) => &ports[..],
        (Dialect::QuorumIbft, _) => &ports[..1],
    };
    devp2p::Hello {
        name: options.client.name(),
        capabilities: options.client.capabilities(),
        dialect: shared.dialect(),
        ports,
        id: options.key.id(),
    }
    .encode()
}

/// First code and version of the capability with Status and blocks, and first code of the one with consensus.
pub(crate) fn places(agreed: &Agreed) -> Option<(u64, u32, u64)> {
    let capabilities = agreed.capabilities();
    let chain = capabilities.first()?;
    let consensus = capabilities
        .iter()
        .find(|capability| capability.name == "istanbul")?;
    let placed = |offset: u64| (FIRST_OFFSET..1 << 32).contains(&offset);
    (placed(chain.offset) && placed(consensus.offset)).then_some((
        chain.offset,
        chain.version,
        consensus.offset,
    ))
}

/// Klaytn's connection type of a consensus node.
const CONSENSUS_NODE: u8 = 0;
/// How often a node looks whether it is to churn.
const CHURN_LOOK: Duration = Duration::from_millis(50);
/// Visits at once; a peer that answers slowly must not make them pile up.
const MOST_VISITS: usize = 32;
/// `handshakeTimeout` and the ones of the protocols above it.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// `frameReadTimeout`.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// So long a node that stops reads what its peers still send.
const LINGER: Duration = Duration::from_secs(3);
/// So long what is queued may take after the end.
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// `baseProtocolMaxMsgSize`.
pub(crate) const MAX_HELLO: usize = 2048;
/// Far above any client's padding.
const MAX_PACKET: usize = 2048;
const READ_BUFFER: usize = 1 << 16;
