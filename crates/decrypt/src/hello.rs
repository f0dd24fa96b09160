//! Hello: the first message of each end, telling its version, name, capabilities and key.

use std::fmt;

use bftap_model::{NodeId, escape_peer_text};
use rlp::Rlp;

/// What an end of a session says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Version of the base protocol; from 5 on the *other* end compresses what it sends.
    pub version: u64,
    /// Name and version of the client, escaped.
    pub client: String,
    /// Capabilities on offer, as listed.
    pub capabilities: Vec<Offer>,
    /// Ports; their form tells the family.
    pub listen: ListenPorts,
    /// The node's public key.
    pub node_id: NodeId,
    /// Whether the node takes several connections per peer; Klaytn and Kaia only.
    pub multichannel: Option<bool>,
}

/// A capability that an end offers. The name is what the peer chose: print it with `Display`, which escapes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offer {
    /// Name, as its bytes.
    pub name: Vec<u8>,
    /// Version.
    pub version: u32,
}

impl fmt::Display for Offer {
    /// `istanbul/64`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", escape_peer_text(&self.name), self.version)
    }
}

/// Item 3 of Hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenPorts {
    /// One number: Ethereum family.
    One(u64),
    /// A list, empty on single-channel servers: Klaytn family.
    List(Vec<u64>),
}

/// Which of the two lines of clients wrote a Hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Klaytn and Kaia.
    Klaytn,
    /// go-ethereum, GoQuorum, Besu.
    Ethereum,
}

impl Hello {
    /// Reads the payload behind the message code. Items beyond the known ones are ignored, as EIP-8 asks.
    pub fn parse(payload: &[u8]) -> Result<Self, HelloError> {
        if payload.len() > MAX_LEN {
            return Err(HelloError::TooLarge { len: payload.len() });
        }
        let item = |index, name| {
            let list = Rlp::new(payload);
            if list.is_list() {
                list.at(index).map_err(|_| HelloError::Item { name })
            } else {
                Err(HelloError::NotAList)
            }
        };
        let version = item(0, "version")?
            .as_val()
            .map_err(|_| HelloError::Item { name: "version" })?;
        let client = item(1, "client id")?
            .data()
            .map_err(|_| HelloError::Item { name: "client id" })?;
        let offers = item(2, "capabilities")?;
        if !offers.is_list() {
            return Err(HelloError::Item { name: "capabilities" });
        }
        // An offer of another shape is nobody's capability, and no reason to lose the others.
        let offer = |offer: Rlp<'_>| {
            let name = offer.at(0).ok()?.data().ok()?.to_vec();
            Some(Offer {
                name,
                version: offer.val_at(1).ok()?,
            })
        };
        let capabilities = offers.iter().filter_map(offer).collect();
        let port = item(3, "listen port")?;
        let listen = if port.is_list() {
            ListenPorts::List(port.iter().filter_map(|port| port.as_val().ok()).collect())
        } else {
            ListenPorts::One(
                port.as_val()
                    .map_err(|_| HelloError::Item { name: "listen port" })?,
            )
        };
        let key = item(4, "node id")?
            .data()
            .map_err(|_| HelloError::Item { name: "node id" })?;
        let node_id = NodeId::from_slice(key).ok_or(HelloError::NodeId { len: key.len() })?;
        let multichannel = match listen {
            ListenPorts::List(_) => item(5, "multichannel")
                .ok()
                .and_then(|flag| flag.as_val::<u8>().ok()),
            ListenPorts::One(_) => None,
        };
        Ok(Self {
            version,
            client: escape_peer_text(client),
            capabilities,
            listen,
            node_id,
            multichannel: multichannel.map(|flag| flag != 0),
        })
    }

    /// Which line of clients wrote it.
    pub fn family(&self) -> Family {
        match self.listen {
            ListenPorts::List(_) => Family::Klaytn,
            ListenPorts::One(_) => Family::Ethereum,
        }
    }

    /// Whether the other end compresses what it sends to this one.
    pub fn wants_snappy(&self) -> bool {
        self.version >= SNAPPY_VERSION
    }
}

/// Why a Hello cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Larger than any node accepts.
    #[error("Hello has {len} bytes, more than the {MAX_LEN} that nodes accept")]
    TooLarge {
        /// Its size.
        len: usize,
    },
    /// Not an RLP list.
    #[error("Hello is not a list")]
    NotAList,
    /// An item is missing or of the wrong kind.
    #[error("Hello has no readable {name}")]
    Item {
        /// Which one.
        name: &'static str,
    },
    /// The key has the wrong length.
    #[error("node id in Hello has {len} bytes instead of 64")]
    NodeId {
        /// Its length.
        len: usize,
    },
}

/// `baseProtocolMaxMsgSize` of all Go clients.
const MAX_LEN: usize = 2048;

/// First version of the base protocol with Snappy (EIP-706).
const SNAPPY_VERSION: u64 = 5;

#[cfg(test)]
pub(crate) mod tests {
    use rlp::RlpStream;

    use super::*;

    pub(crate) fn encode(family: Family, client: &[u8], offers: &[(&str, u32)], extra: usize) -> Vec<u8> {
        let klaytn = family == Family::Klaytn;
        let mut stream = RlpStream::new_list(5 + usize::from(klaytn) + extra);
        stream.append(&5_u8).append(&client.to_vec());
        stream.begin_list(offers.len());
        for (name, version) in offers {
            stream.begin_list(2).append(name).append(version);
        }
        if klaytn {
            stream.begin_list(2).append(&32_323_u16).append(&32_324_u16);
        } else {
            stream.append(&30_303_u16);
        }
        stream.append(&vec![0x42; 64]);
        if klaytn {
            stream.append(&1_u8);
        }
        for _ in 0..extra {
            stream.begin_list(1).append(&"later");
        }
        stream.out().to_vec()
    }

    #[test]
    fn both_families_are_read_and_told_apart() {
        let payload = encode(
            Family::Klaytn,
            b"Klaytn/v1.4.2",
            &[("istanbul", 64), ("istanbul", 65)],
            0,
        );
        let hello = Hello::parse(&payload).unwrap();
        assert_eq!(hello.family(), Family::Klaytn);
        assert_eq!(hello.listen, ListenPorts::List(vec![32_323, 32_324]));
        assert_eq!(hello.multichannel, Some(true));
        assert_eq!(
            hello
                .capabilities
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            ["istanbul/64", "istanbul/65"]
        );
        assert_eq!(hello.node_id, NodeId([0x42; 64]));

        let payload = encode(Family::Ethereum, b"Geth/v1", &[("eth", 65)], 3);
        let hello = Hello::parse(&payload).unwrap();
        assert_eq!((hello.family(), hello.multichannel), (Family::Ethereum, None));
        assert_eq!(
            (hello.listen, hello.client.as_str()),
            (ListenPorts::One(30_303), "Geth/v1")
        );
    }

    /// "Hello packet advertising version 22 and containing a few additional list elements" of EIP-8.
    #[test]
    fn the_hello_of_eip_8_is_read() {
        let payload = hex::decode(concat!(
            "f87137916b6e6574682f76302e39312f706c616e39cdc5836574683dc6846d6f726b1682270fb840",
            "fda1cff674c90c9a197539fe3dfb53086ace64f83ed7c6eabec741f7f381cc803e52ab2cd55d5569",
            "bce4347107a310dfd5f88a010cd2ffd1005ca406f1842877c883666f6f836261720304",
        ))
        .unwrap();
        let hello = Hello::parse(&payload).unwrap();
        assert_eq!((hello.version, hello.client.as_str()), (55, "kneth/v0.91/plan9"));
        assert_eq!(
            hello
                .capabilities
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            ["eth/61", "mork/22"]
        );
        assert!(hello.wants_snappy());
    }

    #[test]
    fn names_are_escaped_and_strange_offers_skipped() {
        let payload = encode(Family::Ethereum, b"a\x1b[2Jb", &[("e\nth", 1)], 0);
        let hello = Hello::parse(&payload).unwrap();
        assert_eq!(hello.client, "a\\u{1b}[2Jb");
        assert_eq!(hello.capabilities[0].to_string(), "e\\u{a}th/1");

        let mut stream = RlpStream::new_list(5);
        stream.append(&5_u8).append(&"x").begin_list(3);
        stream
            .append(&"eth")
            .begin_list(1)
            .append(&"eth")
            .begin_list(2)
            .append(&"eth")
            .append(&66_u8);
        stream.append(&0_u8).append(&vec![1; 64]);
        let hello = Hello::parse(&stream.out()).unwrap();
        assert_eq!(
            hello.capabilities,
            [Offer {
                name: b"eth".to_vec(),
                version: 66
            }]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(
            Hello::parse(&[0xc0; 2049]),
            Err(HelloError::TooLarge { len: 2049 })
        );
        assert_eq!(Hello::parse(b"\x80"), Err(HelloError::NotAList));
        assert_eq!(Hello::parse(b""), Err(HelloError::NotAList));
        assert_eq!(Hello::parse(b"\xc0"), Err(HelloError::Item { name: "version" }));
        let mut stream = RlpStream::new_list(5);
        stream
            .append(&5_u8)
            .append(&"x")
            .begin_list(0)
            .append(&0_u8)
            .append(&vec![1; 63]);
        assert_eq!(Hello::parse(&stream.out()), Err(HelloError::NodeId { len: 63 }));
    }
}
