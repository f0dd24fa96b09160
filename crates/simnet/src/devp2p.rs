//! Messages of the base protocol, and those that nodes exchange beside consensus (WIRE-FORMATS 3, 4, 9).
//!
//! Each function gives a message's payload: what stands behind the message code, before Snappy.

use bftap_ibft_decode::encode::{List, string};
use bftap_model::{Hash256, NodeId};

use crate::client::{Client, DisconnectForm};
use crate::consensus::Dialect;

/// Base protocol: who is there and what it speaks. Never compressed.
pub const HELLO: u64 = 0x00;
/// Base protocol: the connection ends, with a reason.
pub const DISCONNECT: u64 = 0x01;
/// Base protocol: are you there?
pub const PING: u64 = 0x02;
/// Base protocol: yes.
pub const PONG: u64 = 0x03;
/// First code of the capabilities.
pub const FIRST_OFFSET: u64 = 0x10;
/// Local code of consensus messages in every `istanbul` capability spoken here.
pub const CONSENSUS: u64 = 0x11;
/// Time between two pings of an end.
pub const PING_INTERVAL_SECS: u64 = 15;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectReason {
    /// Asked for.
    Requested = 0x00,
    /// Something that the protocol does not allow.
    Breach = 0x02,
    /// Nothing in common, or not on this node's list.
    UselessPeer = 0x03,
    /// There is a connection to this node already.
    AlreadyConnected = 0x05,
    /// The client stops.
    Quitting = 0x08,
    /// Not the node that was dialled.
    UnexpectedIdentity = 0x09,
    /// Nothing came for too long.
    ReadTimeout = 0x0b,
    /// The capability's own handshake failed: another chain.
    Subprotocol = 0x10,
}

/// Hello of either family.
#[derive(Clone, Debug)]
pub struct Hello<'a> {
    /// Client name.
    pub name: &'a str,
    /// Name and version of each capability.
    pub capabilities: &'a [(&'a str, u32)],
    /// The family decides on the shape of the ports.
    pub dialect: Dialect,
    /// Ports of a Klaytn multichannel server (empty for a single channel), or the one port of a GoQuorum node.
    pub ports: &'a [u16],
    /// The node's key.
    pub id: &'a NodeId,
}

impl Hello<'_> {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let capabilities = self
            .capabilities
            .iter()
            .fold(List::new(), |list, (name, version)| {
                list.list(&List::new().bytes(name.as_bytes()).uint((*version).into()))
            });
        let hello = List::new()
            .uint(P2P_VERSION)
            .bytes(self.name.as_bytes())
            .list(&capabilities);
        match self.dialect {
            Dialect::Klaytn => {
                let ports = self
                    .ports
                    .iter()
                    .fold(List::new(), |list, &port| list.uint(port.into()));
                let multichannel = u64::from(self.ports.len() > 1);
                hello.list(&ports).bytes(&self.id.0).uint(multichannel).finish()
            }
            Dialect::QuorumIbft => {
                let port = self.ports.first().copied().unwrap_or(0);
                hello.uint(port.into()).bytes(&self.id.0).finish()
            }
        }
    }
}

/// Payload of Ping and Pong.
pub fn empty() -> Vec<u8> {
    List::new().finish()
}

/// Payload of Disconnect.
pub fn disconnect(reason: DisconnectReason, form: DisconnectForm) -> Vec<u8> {
    let reason = reason as u8;
    match form {
        DisconnectForm::List => List::new().uint(reason.into()).finish(),
        // The reason became an 8-bit type, so its list became a byte string: reason 0 is `00`, not `80`.
        DisconnectForm::Byte => string(&[reason]),
    }
}

/// A capability that both ends have, and where its codes start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreedCapability {
    /// Name as in Hello.
    pub name: &'static str,
    /// Version as in Hello.
    pub version: u32,
    /// First code on the wire.
    pub offset: u64,
}

/// What two clients agree on: of each name the highest common version, sorted by name (WIRE-FORMATS 4).
pub fn agree(ours: Client, theirs: Client) -> Vec<AgreedCapability> {
    let mut agreed: Vec<AgreedCapability> = Vec::new();
    // Sorted by name and version, so a later version replaces the one before it.
    for &(name, version) in ours.capabilities() {
        if !theirs.capabilities().contains(&(name, version)) {
            continue;
        }
        let capability = AgreedCapability {
            name,
            version,
            offset: 0,
        };
        match agreed.last_mut() {
            Some(last) if last.name == name => *last = capability,
            _ => agreed.push(capability),
        }
    }
    let mut offset = FIRST_OFFSET;
    for capability in &mut agreed {
        capability.offset = offset;
        offset += ours.code_count(capability.name, capability.version);
    }
    agreed
}

/// A node's chain, as Status tells it.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Version of the capability that carries it.
    pub version: u32,
    /// Network id; in Klaytn also the chain id.
    pub network: u64,
    /// Height of the head; with a difficulty of 1 a block, the total difficulty too.
    pub height: u64,
    /// Hash of the head.
    pub head: Hash256,
    /// Hash of the genesis block.
    pub genesis: Hash256,
}

impl Status {
    /// The payload.
    pub fn encode(&self, dialect: Dialect) -> Vec<u8> {
        let status = List::new()
            .uint(self.version.into())
            .uint(self.network)
            .uint(self.height + 1)
            .bytes(&self.head.0)
            .bytes(&self.genesis.0);
        match dialect {
            Dialect::Klaytn => status.uint(self.network),
            Dialect::QuorumIbft => status.list(&List::new().bytes(&self.genesis.0[..4]).uint(0)),
        }
        .finish()
    }
}

/// Local codes of the messages about blocks and transactions, which differ between the families (4.3, 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "each field is named as the message is in WIRE-FORMATS 4.3 and 4.4"
)]
pub struct ChainCodes {
    pub status: u64,
    pub new_block_hashes: u64,
    pub transactions: u64,
    pub block_headers_request: u64,
    pub block_headers: u64,
    pub block_bodies_request: u64,
    pub block_bodies: u64,
    pub new_block: u64,
}

impl ChainCodes {
    /// Those of a family.
    pub const fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Klaytn => Self {
                status: 0x00,
                new_block_hashes: 0x01,
                transactions: 0x06,
                block_headers_request: 0x07,
                block_headers: 0x08,
                block_bodies_request: 0x09,
                block_bodies: 0x0a,
                new_block: 0x0b,
            },
            Dialect::QuorumIbft => Self {
                status: 0x00,
                new_block_hashes: 0x01,
                transactions: 0x02,
                block_headers_request: 0x03,
                block_headers: 0x04,
                block_bodies_request: 0x05,
                block_bodies: 0x06,
                new_block: 0x07,
            },
        }
    }
}

/// NewBlock: the block, and the total difficulty with it.
pub fn new_block(block: &[u8], height: u64) -> Vec<u8> {
    List::new().raw(block).uint(height + 1).finish()
}

/// NewBlockHashes with one block.
pub fn new_block_hashes(hash: &Hash256, height: u64) -> Vec<u8> {
    List::new()
        .list(&List::new().bytes(&hash.0).uint(height))
        .finish()
}

/// A request for `amount` headers from a height on.
pub fn block_headers_request(from: u64, amount: u64) -> Vec<u8> {
    List::new().uint(from).uint(amount).uint(0).uint(0).finish()
}

/// A list of items that are encoded already: headers, bodies, transactions.
pub fn items<'a>(encoded: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    encoded.into_iter().fold(List::new(), List::raw).finish()
}

/// A request for bodies, by the hashes of their blocks.
pub fn block_bodies_request<'a>(hashes: impl IntoIterator<Item = &'a Hash256>) -> Vec<u8> {
    hashes
        .into_iter()
        .fold(List::new(), |list, hash| list.bytes(&hash.0))
        .finish()
}

/// A block's body.
pub fn body(transactions: &[u8], dialect: Dialect) -> Vec<u8> {
    let transactions = List::new().raw(transactions);
    match dialect {
        Dialect::Klaytn => List::new().list(&transactions),
        Dialect::QuorumIbft => List::new().list(&transactions).list(&List::new()),
    }
    .finish()
}

/// Version of the base protocol; from 5 on messages are compressed.
const P2P_VERSION: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn consensus_code(ours: Client, theirs: Client) -> u64 {
        let agreed = agree(ours, theirs);
        Client::consensus_capability(&agreed).unwrap().offset + CONSENSUS
    }

    #[test]
    fn consensus_codes_are_those_of_the_table() {
        use Client::*;
        // WIRE-FORMATS 4.2.
        for (ours, theirs, code) in [
            (Klaytn1_4, Klaytn1_4, 0x21),
            (Klaytn1_4, Kaia2_2, 0x21),
            (Kaia2_2, Kaia2_2, 0x21),
            (Quorum20_10, Quorum20_10, 0x21),
            (Quorum24_4, Quorum20_10, 0x21),
            (Quorum24_4, Quorum24_4, 0x32),
        ] {
            assert_eq!(consensus_code(ours, theirs), code, "{ours:?} and {theirs:?}");
            assert_eq!(agree(ours, theirs), agree(theirs, ours));
        }
        assert_eq!(
            agree(Quorum24_4, Quorum24_4)[0],
            AgreedCapability {
                name: "eth",
                version: 65,
                offset: 0x10
            }
        );
        assert_eq!(agree(Klaytn1_12, Kaia2_2)[0].version, 65);
    }

    #[test]
    fn disconnects_have_both_shapes() {
        let reason = DisconnectReason::AlreadyConnected;
        assert_eq!(disconnect(reason, DisconnectForm::List), [0xc1, 0x05]);
        assert_eq!(disconnect(reason, DisconnectForm::Byte), [0x05]);
        assert_eq!(
            disconnect(DisconnectReason::Requested, DisconnectForm::List),
            [0xc1, 0x80]
        );
        assert_eq!(
            disconnect(DisconnectReason::Requested, DisconnectForm::Byte),
            [0x00]
        );
    }

    #[test]
    fn the_port_tells_the_families_apart() {
        let id = NodeId([9; 64]);
        let hello = |dialect, ports: &[u16]| {
            Hello {
                name: "n",
                capabilities: &[("istanbul", 64)],
                dialect,
                ports,
                id: &id,
            }
            .encode()
        };
        let tail = |bytes: &[u8], id_at: usize| bytes[..bytes.len() - id_at].to_vec();
        assert!(tail(&hello(Dialect::Klaytn, &[]), 67).ends_with(&[64, 0xc0]));
        assert!(
            tail(&hello(Dialect::Klaytn, &[32323, 32324]), 67)
                .ends_with(&[0xc6, 0x82, 0x7e, 0x43, 0x82, 0x7e, 0x44])
        );
        assert_eq!(hello(Dialect::Klaytn, &[32323, 32324]).last(), Some(&1));
        assert!(tail(&hello(Dialect::QuorumIbft, &[30303]), 66).ends_with(&[64, 0x82, 0x76, 0x5f]));
    }
}
