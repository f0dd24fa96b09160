//! Entry points of the fuzz targets, kept beside the code so that unit tests run them too.
//!
//! Each takes any bytes and panics when a promise of this crate does not hold. Connections to the node are queues here, so nothing waits.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use bftap_decrypt::capability::Agreed;
use bftap_decrypt::disconnect::Disconnect;
use bftap_decrypt::hello::Hello;
use bftap_decrypt::status::Status;
use bftap_model::Direction;
use bftap_simnet::client::Client;
use bftap_simnet::devp2p::{CONSENSUS, DISCONNECT, HELLO};
use bftap_simnet::key::NodeKey;
use bftap_simnet::prng::Prng;
use bftap_simnet::rlpx::frame::compress;
use bftap_simnet::rlpx::handshake::{Initiator, PacketForm, SessionSecrets, respond};
use tokio::sync::{mpsc, watch};

use crate::connection::{MAX_HELLO, our_hello, places, read_packet};
use crate::frames::{FrameReader, MAX_FRAME};
use crate::node::{Event, Node, Timer};
use crate::options::{Network, NodeOptions, Validator};
use crate::outbox::{Outbox, Outgoing, Queued};
use crate::record::Record;
use crate::shared::Shared;

/// Takes bytes for what a peer sends from its first byte on: as they are, and as messages in frames with right MACs.
///
/// The first byte chooses client and side; then come messages, each with code (1 byte) and length (2 bytes).
pub fn fuzz_lab_connection(data: &[u8]) {
    let [choice, bytes @ ..] = data else { return };
    let client = Client::ALL[usize::from(*choice) % Client::ALL.len()];
    let dialled = choice & 0x80 != 0;
    let (keys, network) = lab();
    let (shared, _events, _stop) = shared(client, keys, network);

    let from = if dialled {
        Direction::FromRecipient
    } else {
        Direction::FromInitiator
    };
    let mut unread = bytes;
    if let Ok(packet) = at_once(read_packet(&mut unread, client, from)) {
        assert_eq!(packet.len() + unread.len(), bytes.len());
        let mut prng = Prng::new(5);
        // Nobody can guess what opens; that it fails is all there is to it.
        if dialled {
            let initiator = Initiator::new(&keys[0], keys[1].id(), EIP8, &mut prng).expect("a key of ours");
            drop(initiator.finish(&packet));
        } else {
            drop(respond(&keys[0], &packet, client.packet_form(), &mut prng));
        }
    }

    let secrets = secrets();
    let mut unread = bytes;
    let mut reader = FrameReader::new(&mut unread, secrets, from);
    assert!(
        !matches!(at_once(reader.next(MAX_FRAME)), Ok(Some(_))),
        "bytes without a MAC are no frame"
    );

    let mut writer = secrets.writer(from);
    let mut sealed = Vec::new();
    for (code, payload) in messages(bytes) {
        let packed = compress(payload);
        // Bytes that are no Snappy come from peers, too.
        let payload = match (code & 0x80, &packed) {
            (0, Ok(packed)) => packed,
            _ => payload,
        };
        writer
            .seal(u64::from(code & 0x7f), payload, &mut sealed)
            .expect("a small message");
    }
    let mut sealed = &sealed[..];
    let mut reader = FrameReader::new(&mut sealed, secrets, from);
    let mut agreed = None;
    loop {
        let limit = if agreed.is_none() { MAX_HELLO } else { MAX_FRAME };
        let Ok(Some(message)) = at_once(reader.next(limit)) else {
            break;
        };
        // After an error of one of these the connection ends; here the next message is looked at all the same.
        match message.code {
            HELLO => {
                let ours = Hello::parse(&our_hello(&shared)).expect("our own");
                if let Ok(theirs) = Hello::parse(&message.payload) {
                    reader.compressed = theirs.wants_snappy();
                    agreed = places(&Agreed::between(&ours, &theirs)).or(agreed);
                }
            }
            DISCONNECT => drop(Disconnect::parse(&message.payload)),
            code if agreed.is_some_and(|(chain, ..)| code == chain) => drop(Status::parse(&message.payload)),
            _ => drop(shared.received(1, &message.payload, message.bytes)),
        }
        reader.compressed |= message.code == CONSENSUS;
    }
}

/// Takes bytes for messages about blocks and of consensus from a connected validator, and lets the node do what follows.
///
/// The first byte chooses the client; then come messages, each with code (1 byte) and length (2 bytes).
pub fn fuzz_lab_chain(data: &[u8]) {
    let [choice, bytes @ ..] = data else { return };
    let client = Client::ALL[usize::from(*choice) % Client::ALL.len()];
    let (keys, network) = lab();
    let (shared, _events, _stop) = shared(client, keys, network);
    let mut node = Node::new(Arc::clone(&shared), Prng::new(9));
    let mut queues: Vec<mpsc::Receiver<Queued>> = Vec::new();
    for peer in (0..keys.len()).filter(|&peer| peer != shared.ours) {
        let (outbox, queue) = Outbox::new();
        queues.push(queue);
        node.take(Event::Up {
            peer,
            channel: 0,
            conn: peer as u64,
            outbox,
            height: 0,
        });
    }
    node.settle();
    let peer = (shared.ours + 1) % keys.len();
    let mut received = 0;
    for (code, payload) in messages(bytes).take(64) {
        received += 1;
        if code == CONSENSUS_HERE {
            if let Ok(message) = shared.received(peer, payload, payload.len()) {
                node.take(Event::Consensus {
                    peer,
                    message,
                    room: None,
                });
            }
        } else {
            node.take(Event::Chain {
                peer,
                code: u64::from(code),
                payload: payload.to_vec(),
                room: None,
            });
        }
        node.settle();
        let fetches = node
            .timers
            .iter()
            .filter(|(_, timer)| matches!(timer, Timer::Fetch(_)))
            .count();
        assert_eq!(
            fetches, 0,
            "no block without the seals of enough validators waits"
        );
    }
    assert_eq!(node.chain.head().number, 0, "nor is it imported");
    // One message asks for one answer, or makes the node ask once; what its own consensus says comes on top.
    for queue in &mut queues {
        let mut answers = 0;
        while let Ok(queued) = queue.try_recv() {
            answers += usize::from(matches!(queued.what, Outgoing::Chain(..)));
        }
        assert!(
            answers <= 2 * received,
            "{answers} answers to {received} messages"
        );
    }
}

/// Messages behind each other: code, length, content. What is cut off at the end is as long as it is.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [code, high, low, rest @ ..] = bytes else {
            return None;
        };
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (content, rest) = rest.split_at(len);
        bytes = rest;
        Some((*code, content))
    })
}

/// Runs what never waits: its input is all there.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("waits for something"),
    }
}

/// Four validators.
fn lab() -> &'static (Vec<NodeKey>, Network) {
    static LAB: OnceLock<(Vec<NodeKey>, Network)> = OnceLock::new();
    LAB.get_or_init(|| {
        let mut prng = Prng::new(3);
        let keys: Vec<_> = (0..4).map(|_| NodeKey::draw(&mut prng)).collect();
        let validator = |(index, key): (usize, &NodeKey)| Validator {
            name: format!("cn{index}"),
            id: *key.id(),
            address: key.address(),
            endpoint: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        };
        let validators = keys.iter().enumerate().map(validator).collect();
        let network = Network::new(validators, 1000, None).expect("four validators");
        (keys, network)
    })
}

/// What a handshake came to.
fn secrets() -> &'static SessionSecrets {
    static SECRETS: OnceLock<SessionSecrets> = OnceLock::new();
    SECRETS.get_or_init(|| {
        let (keys, _) = lab();
        let mut prng = Prng::new(4);
        let initiator = Initiator::new(&keys[0], keys[1].id(), EIP8, &mut prng).expect("a key of ours");
        respond(&keys[1], initiator.auth(), EIP8, &mut prng)
            .expect("our own packet")
            .secrets
    })
}

/// A node without sockets and files; its events go nowhere.
fn shared(
    client: Client,
    keys: &[NodeKey],
    network: &Network,
) -> (Arc<Shared>, mpsc::Receiver<Event>, watch::Sender<bool>) {
    let mut options = NodeOptions::new(keys[0].clone(), network.clone());
    options.client = client;
    let ours = network.index_of(keys[0].id()).expect("one of the network's");
    let record = Record::open(None).expect("no file");
    let (events, incoming) = mpsc::channel(1);
    let (stop, stopping) = watch::channel(false);
    let shared = Shared::new(options, ours, record, events, stopping);
    (Arc::new(shared), incoming, stop)
}

const EIP8: PacketForm = PacketForm::Eip8 {
    min_padding: 100,
    max_padding: 299,
    random_padding: true,
};

/// The code by which messages of [`fuzz_lab_chain`] are of consensus; of no chain capability.
const CONSENSUS_HERE: u8 = 0x40;

#[cfg(test)]
mod tests {
    use bftap_ibft_decode::istanbul::committed_seal_hash;
    use bftap_ibft_decode::{Kind, View};
    use bftap_model::Hash256;
    use bftap_simnet::consensus::{BlockPlan, Dialect, Proposal, SignedMessage};
    use bftap_simnet::devp2p::{self, ChainCodes};

    use super::*;
    use crate::outbox::kib;

    fn push(data: &mut Vec<u8>, code: u8, payload: &[u8]) {
        data.push(code);
        data.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        data.extend_from_slice(payload);
    }

    /// One input for each client: every message about blocks, and consensus.
    fn chain_seeds() -> Vec<Vec<u8>> {
        let (keys, network) = lab();
        let mut seeds = Vec::new();
        for (choice, client) in Client::ALL.into_iter().enumerate() {
            let dialect = client.dialect();
            let codes = ChainCodes::of(dialect);
            let mut data = vec![choice as u8];
            let block = block(client, keys, network, 1, 200);
            // Two seals of three that are needed: read to the end, and not believed.
            let seals: Vec<_> = keys[..2]
                .iter()
                .map(|key| key.sign(&committed_seal_hash(&block.hash())))
                .collect();
            push(
                &mut data,
                codes.new_block as u8,
                &devp2p::new_block(&block.decided_rlp(0, &seals), 1),
            );
            push(
                &mut data,
                codes.new_block_hashes as u8,
                &devp2p::new_block_hashes(&block.hash(), 9),
            );
            push(
                &mut data,
                codes.block_headers_request as u8,
                &devp2p::block_headers_request(1, 5),
            );
            push(
                &mut data,
                codes.block_bodies_request as u8,
                &devp2p::block_bodies_request(&[block.hash()]),
            );
            push(
                &mut data,
                codes.block_headers as u8,
                &devp2p::items([&block.header_rlp(0, &seals)[..]]),
            );
            push(
                &mut data,
                codes.block_bodies as u8,
                &devp2p::items([&devp2p::body(&[], dialect)[..]]),
            );
            for code in [0x02, 0x04, 0x0c, 0x0d, 0x0e, 0x0f, 0x12] {
                push(&mut data, code, &devp2p::items([&[0xa0; 33][..]]));
            }
            let view = View {
                sequence: 1,
                round: 0,
            };
            let vote = |kind| {
                SignedMessage::vote(dialect, &keys[1], kind, view, block.hash(), network.genesis, None)
            };
            for kind in [Kind::Prepare, Kind::Commit, Kind::RoundChange] {
                push(&mut data, CONSENSUS_HERE, &vote(kind).wire);
            }
            push(
                &mut data,
                CONSENSUS_HERE,
                &SignedMessage::preprepare(dialect, &keys[1], view, block).wire,
            );
            seeds.push(data);
        }
        seeds
    }

    fn block(
        client: Client,
        keys: &[NodeKey],
        network: &Network,
        number: u64,
        transactions: usize,
    ) -> Arc<Proposal> {
        let validators = network.addresses();
        let plan = BlockPlan {
            form: client.header_form(),
            parent: if number == 1 {
                network.genesis
            } else {
                Hash256([number as u8; 32])
            },
            number,
            centis: 100 * number,
            validators: &validators,
            transactions: vec![0x01; transactions],
            transaction_count: transactions,
            entropy: [number as u8; 32],
        };
        Arc::new(Proposal::seal(plan, &keys[1]))
    }

    fn connection_seeds() -> Vec<Vec<u8>> {
        let (keys, network) = lab();
        let mut seeds = Vec::new();
        for (choice, client) in Client::ALL.into_iter().enumerate() {
            let (node, _events, _stop) = shared(client, keys, network);
            let mut data = vec![choice as u8];
            // Neither this nor what comes before compression is on is Snappy.
            push(&mut data, 0x80, &our_hello(&node));
            let status = devp2p::Status {
                version: 64,
                network: 1000,
                height: 3,
                head: network.genesis,
                genesis: network.genesis,
            };
            push(&mut data, 0x10, &status.encode(client.dialect()));
            push(&mut data, 0x02, &devp2p::empty());
            let view = View {
                sequence: 1,
                round: 0,
            };
            let vote = SignedMessage::vote(
                client.dialect(),
                &keys[1],
                Kind::Commit,
                view,
                Hash256([1; 32]),
                network.genesis,
                None,
            );
            push(&mut data, 0x21, &vote.wire);
            push(
                &mut data,
                0x01,
                &devp2p::disconnect(devp2p::DisconnectReason::Quitting, client.disconnect_form()),
            );
            seeds.push(data);
        }
        let mut prng = Prng::new(8);
        let auth = Initiator::new(&keys[1], keys[0].id(), EIP8, &mut prng).unwrap();
        seeds.push([&[1], auth.auth()].concat());
        seeds
    }

    fn check(entry: fn(&[u8]), name: &str, seeds: Vec<Vec<u8>>) {
        for (number, seed) in seeds.into_iter().enumerate() {
            if std::env::var_os("BFTAP_BLESS").is_some() {
                let folder = format!("{}/../../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(format!("{folder}/{number}"), &seed).unwrap();
            }
            entry(&seed);
            for cut in (0..seed.len()).step_by(41) {
                entry(&seed[..cut]);
            }
            let mut changed = seed;
            for place in (0..changed.len()).step_by(17) {
                let bit = [0x80, 0x40, 0x01][place % 3];
                changed[place] ^= bit;
                entry(&changed);
                changed[place] ^= bit;
            }
        }
    }

    #[test]
    fn chain_messages_hold_every_promise() {
        check(fuzz_lab_chain, "lab_chain", chain_seeds());
    }

    #[test]
    fn connections_hold_every_promise() {
        check(fuzz_lab_connection, "lab_connection", connection_seeds());
    }

    #[test]
    fn seeds_are_understood() {
        let (keys, network) = lab();
        let (node, _events, _stop) = shared(Client::Klaytn1_12, keys, network);
        let view = View {
            sequence: 1,
            round: 0,
        };
        let block = block(Client::Klaytn1_12, keys, network, 1, 0);
        let message = SignedMessage::preprepare(Dialect::Klaytn, &keys[1], view, block);
        assert!(node.received(1, &message.wire, 0).unwrap().honest);
    }

    /// One block of 16 MiB a height: a queue holds less than five of them, however few messages that are.
    #[test]
    fn a_queue_is_full_by_bytes_and_has_room_again_when_they_are_written() {
        let (outbox, mut queue) = Outbox::new();
        let large: Arc<[u8]> = vec![0; 15 << 20].into();
        let mut taken = 0;
        while outbox.send(Outgoing::Chain(7, Arc::clone(&large))).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, 4);
        assert!(outbox.send(Outgoing::Close).is_ok(), "a small one still fits");
        assert!(!outbox.has_room(0), "and a flood leaves it alone");
        drop(queue.try_recv().unwrap());
        assert!(outbox.send(Outgoing::Chain(7, large)).is_ok());
        assert_eq!((kib(0), kib(1024), kib(usize::MAX)), (1, 2, u32::MAX));
    }

    /// What many peers push as the next block waits once, if enough validators sealed it, and not at all otherwise.
    #[test]
    fn blocks_of_peers_wait_once() {
        let (keys, network) = lab();
        let (shared, _events, _stop) = shared(Client::Klaytn1_12, keys, network);
        let mut node = Node::new(Arc::clone(&shared), Prng::new(9));
        let block = block(Client::Klaytn1_12, keys, network, 1, 0);
        let sealed = |seals: usize| {
            let signed = committed_seal_hash(&block.hash());
            let seals: Vec<_> = keys[..seals].iter().map(|key| key.sign(&signed)).collect();
            devp2p::new_block(&block.decided_rlp(0, &seals), 1)
        };
        let code = ChainCodes::of(Dialect::Klaytn).new_block;
        let waiting = |node: &Node| {
            let fetches = node.timers.iter();
            fetches
                .filter(|(_, timer)| matches!(timer, Timer::Fetch(_)))
                .count()
        };
        node.chain_message(1, code, &sealed(2));
        assert_eq!(waiting(&node), 0);
        for peer in [1, 2, 1, 3] {
            node.chain_message(peer, code, &sealed(3));
            assert_eq!(waiting(&node), 1);
        }
    }
}
