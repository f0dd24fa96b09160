//! Peers that are not on the list, or speak nonsense.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bftap_decrypt::keystream::Keystream;
use bftap_lab_node::{LabNode, Network, NodeOptions, Validator, start};
use bftap_model::{Direction, NodeId};
use bftap_simnet::client::Client;
use bftap_simnet::key::NodeKey;
use bftap_simnet::prng::Prng;
use bftap_simnet::rlpx::handshake::{Initiator, PacketForm, packet_len};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A node that listens somewhere, and whose peers are not there.
async fn node(client: Client) -> (LabNode, SocketAddr, NodeId) {
    let mut prng = Prng::new(3);
    let keys: Vec<_> = (0..4).map(|_| NodeKey::draw(&mut prng)).collect();
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let validator = |(index, key): (usize, &NodeKey)| Validator {
        name: format!("cn{index}"),
        id: *key.id(),
        address: key.address(),
        // Port 1 of the loopback interface: nobody answers.
        endpoint: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
    };
    let network = Network::new(keys.iter().enumerate().map(validator).collect(), 1000, None).unwrap();
    let mut options = NodeOptions::new(keys[0].clone(), network);
    options.listen = Some(address);
    options.client = client;
    (start(options).await.unwrap(), address, *keys[0].id())
}

async fn dial(address: SocketAddr, preamble: bool) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    if preamble {
        stream.write_all(&[0]).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 0, "its own connection type");
    }
    stream
}

/// Whatever comes until the peer closes.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let read = timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await;
    // A reset is an end, too.
    drop(read.expect("the node ends it"));
    rest
}

/// Dials as somebody; gives code and payload of the node's first frame, which is not compressed.
async fn first_frame(client: Client, form: PacketForm) -> Option<(u8, Vec<u8>)> {
    let (node, address, id) = node(client).await;
    let mut stream = dial(address, client != Client::Quorum20_10).await;
    let mut prng = Prng::new(99);
    let stranger = NodeKey::draw(&mut prng);
    let initiator = Initiator::new(&stranger, &id, form, &mut prng).unwrap();
    stream.write_all(initiator.auth()).await.unwrap();
    let bytes = until_closed(&mut stream).await;
    node.stop().await;
    let len = packet_len(&bytes, Direction::FromRecipient)?;
    let (ack, frame) = bytes.split_at_checked(len)?;
    let secrets = initiator.finish(ack).unwrap();
    let (mut header, mut body) = (frame[..16].to_vec(), frame[32..frame.len() - 16].to_vec());
    let mut keystream = Keystream::new(secrets.aes());
    keystream.apply(&mut header);
    keystream.apply(&mut body);
    let size = usize::from(header[2]);
    Some((body[0], body[1..size].to_vec()))
}

const EIP8: PacketForm = PacketForm::Eip8 {
    min_padding: 100,
    max_padding: 299,
    random_padding: true,
};

#[tokio::test]
async fn strangers_are_told_that_they_are_useless() {
    // Disconnect, reason 3, in the form of each client.
    assert_eq!(first_frame(Client::Klaytn1_12, EIP8).await, Some((1, vec![0x03])));
    assert_eq!(
        first_frame(Client::Klaytn1_4, EIP8).await,
        Some((1, vec![0xc1, 0x03]))
    );
    assert_eq!(
        first_frame(Client::Quorum20_10, EIP8).await,
        Some((1, vec![0xc1, 0x03]))
    );
}

#[tokio::test]
async fn plain_handshakes_are_answered_where_the_client_does() {
    assert_eq!(
        first_frame(Client::Klaytn1_4, PacketForm::Plain).await,
        Some((1, vec![0xc1, 0x03]))
    );
    assert_eq!(first_frame(Client::Klaytn1_12, PacketForm::Plain).await, None);
}

#[tokio::test]
async fn nonsense_and_silence_end() {
    let (node, address, _) = node(Client::Klaytn1_12).await;
    for nonsense in [
        &[0xff; 4096][..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x01, 0x80, 0x04, 7, 7],
    ] {
        let mut stream = dial(address, true).await;
        stream.write_all(nonsense).await.unwrap();
        assert_eq!(
            until_closed(&mut stream).await,
            b"",
            "no answer to {} bytes",
            nonsense.len()
        );
    }
    let mut silent = dial(address, false).await;
    assert_eq!(
        until_closed(&mut silent).await,
        [0],
        "nothing but the connection type"
    );
    // Any number of them at once does not keep it from serving the next.
    let many: Vec<_> = futures_of((0..60).map(|_| dial(address, true))).await;
    assert_eq!(many.len(), 60);
    drop(many);
    let mut again = dial(address, true).await;
    again.write_all(&[0xff; 600]).await.unwrap();
    until_closed(&mut again).await;
    node.stop().await;
}

/// Connections that wait for each other's room would never end if taken one by one.
async fn futures_of<F>(all: impl Iterator<Item = F>) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let tasks: Vec<_> = all.map(tokio::spawn).collect();
    let mut outputs = Vec::new();
    for task in tasks {
        outputs.push(task.await.unwrap());
    }
    outputs
}
