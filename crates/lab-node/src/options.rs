//! Who the validators are, and what this one does.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bftap_model::{Address, Hash256, NodeId, keccak256};
use bftap_simnet::Gossip;
use bftap_simnet::client::Client;
use bftap_simnet::consensus::MAX_VALIDATORS;
use bftap_simnet::key::NodeKey;
use serde::Deserialize;

use crate::faults::Fault;

/// A validator of the network.
#[derive(Clone, Debug)]
pub struct Validator {
    /// Name, for the record.
    pub name: String,
    /// Public key.
    pub id: NodeId,
    /// Address of the key.
    pub address: Address,
    /// Where it listens; with two channels the second one is the port behind.
    pub endpoint: SocketAddr,
}

/// All validators and their chain.
#[derive(Clone, Debug)]
pub struct Network {
    /// Ascending by address.
    pub validators: Vec<Validator>,
    /// Network id in Status; in Klaytn also the chain id.
    pub network_id: u64,
    /// Hash of the genesis block.
    pub genesis: Hash256,
}

/// Why a nodes file describes no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Not a list of nodes.
    #[error("not a JSON list of nodes")]
    Json(#[from] serde_json::Error),
    /// A validator without what others need to reach it.
    #[error("{name} has no {what}: a validator needs ip, port and node_id")]
    Missing {
        /// Its name.
        name: String,
        /// What is missing, or cannot be read.
        what: &'static str,
    },
    /// Two with one key.
    #[error("two validators have the address {0}")]
    Twice(Address),
    /// None, or too many.
    #[error("{0} validators: 1 to {MAX_VALIDATORS} can be")]
    Count(usize),
}

impl Network {
    /// Reads a nodes file, as `bftap analyze --nodes` takes it: every node in it is a validator.
    ///
    /// Without `genesis`, the genesis hash follows from network id and validators.
    ///
    /// # Errors
    /// When it is none, or nodes lack what it takes to reach them.
    pub fn read(json: &[u8], network_id: u64, genesis: Option<Hash256>) -> Result<Self, NetworkError> {
        let entries: Vec<Entry> = serde_json::from_slice(json)?;
        let mut validators = Vec::new();
        for entry in entries {
            let missing = |what| NetworkError::Missing {
                name: entry.name.clone(),
                what,
            };
            let ip: IpAddr = entry
                .ip
                .as_deref()
                .and_then(|ip| ip.parse().ok())
                .ok_or_else(|| missing("ip"))?;
            let port = entry
                .port
                .filter(|&port| port > 0 && port < u16::MAX)
                .ok_or_else(|| missing("port"))?;
            let id: NodeId = entry
                .node_id
                .as_deref()
                .and_then(|id| id.parse().ok())
                .ok_or_else(|| missing("node_id"))?;
            validators.push(Validator {
                address: id.address(),
                id,
                endpoint: SocketAddr::new(ip, port),
                name: entry.name,
            });
        }
        Self::new(validators, network_id, genesis)
    }

    /// From validators in any order.
    ///
    /// # Errors
    /// When there are none or too many, or two are one.
    pub fn new(
        mut validators: Vec<Validator>,
        network_id: u64,
        genesis: Option<Hash256>,
    ) -> Result<Self, NetworkError> {
        if !(1..=MAX_VALIDATORS).contains(&validators.len()) {
            return Err(NetworkError::Count(validators.len()));
        }
        validators.sort_by_key(|validator| validator.address);
        if let Some(pair) = validators
            .windows(2)
            .find(|pair| pair[0].address == pair[1].address)
        {
            return Err(NetworkError::Twice(pair[0].address));
        }
        let genesis = genesis.unwrap_or_else(|| {
            let mut seed = b"bftap lab genesis".to_vec();
            seed.extend_from_slice(&network_id.to_be_bytes());
            for validator in &validators {
                seed.extend_from_slice(&validator.address.0);
            }
            keccak256(&seed)
        });
        Ok(Self {
            validators,
            network_id,
            genesis,
        })
    }

    /// The addresses, ascending.
    pub fn addresses(&self) -> Vec<Address> {
        self.validators
            .iter()
            .map(|validator| validator.address)
            .collect()
    }

    /// Place of a key among the validators.
    pub fn index_of(&self, id: &NodeId) -> Option<usize> {
        let address = id.address();
        self.validators
            .binary_search_by_key(&address, |validator| validator.address)
            .ok()
    }
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    ip: Option<String>,
    port: Option<u16>,
    node_id: Option<String>,
}

/// What one validator does.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Its key; it must be one of the network's.
    pub key: NodeKey,
    /// All validators.
    pub network: Network,
    /// Where it listens instead of its endpoint in `network`.
    pub listen: Option<SocketAddr>,
    /// The client it behaves like.
    pub client: Client,
    /// How consensus messages spread.
    pub gossip: Gossip,
    /// Two TCP connections for each pair of nodes (Klaytn's multichannel).
    pub multichannel: bool,
    /// All nodes dial all others at once; else the one with the lower address dials first.
    pub simultaneous_dials: bool,
    /// From one block's time to the next proposal.
    pub block_period: Duration,
    /// Time of round 0; round r has `2^r` seconds more.
    pub round_timeout: Duration,
    /// Consensus begins when all validators are connected, and at the latest so long after the start.
    pub warm_up: Duration,
    /// Transactions in a block, at most; nodes send each other those they make.
    pub transactions: usize,
    /// Where the secrets of its sessions are appended.
    pub key_log: Option<PathBuf>,
    /// Where what it does is recorded.
    pub record: Option<PathBuf>,
    /// What it does wrong.
    pub faults: Vec<Fault>,
}

impl NodeOptions {
    /// A well-behaved Klaytn v1.12 validator with a block each second, which writes no files.
    pub const fn new(key: NodeKey, network: Network) -> Self {
        Self {
            key,
            network,
            listen: None,
            client: Client::Klaytn1_12,
            gossip: Gossip::Flood,
            multichannel: false,
            simultaneous_dials: false,
            block_period: Duration::from_secs(1),
            round_timeout: Duration::from_secs(10),
            warm_up: Duration::from_secs(5),
            transactions: 3,
            key_log: None,
            record: None,
            faults: Vec::new(),
        }
    }
}
