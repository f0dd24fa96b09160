//! Status: which chain a node is on, and how far (WIRE-FORMATS 9.1).

use bftap_model::{Capability, Hash256};
use rlp::Rlp;

/// What a node says of its chain, right after Hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Version of the capability, as the message repeats it.
    pub protocol_version: u64,
    /// Network id, chosen by whoever set the network up.
    pub network_id: u64,
    /// Hash of block 0.
    pub genesis: Hash256,
    /// Hash of the newest block.
    pub head: Hash256,
    /// Number of the newest block, in the versions that tell it.
    pub head_number: Option<u64>,
    /// Total difficulty, or block score in Klaytn; `None` in the versions without it, and if above 128 bits.
    pub total_difficulty: Option<u128>,
    /// Chain id; Klaytn and Kaia only.
    pub chain_id: Option<u64>,
}

impl Status {
    /// Reads the decompressed payload of a capability's Status.
    ///
    /// Which layout it is shows in the items themselves: behind protocol version and network id comes the total difficulty (a
    /// number) or, from eth/69 on, the genesis (a hash); Klaytn has a number at the end where others have a list or nothing.
    pub fn parse(payload: &[u8]) -> Result<Self, StatusError> {
        let list = Rlp::new(payload);
        if !list.is_list() {
            return Err(StatusError::NotAList);
        }
        let item = |index, name| list.at(index).map_err(|_| StatusError::Item { name });
        let number = |index, name| {
            item(index, name)?
                .as_val::<u64>()
                .map_err(|_| StatusError::Item { name })
        };
        let hash = |index, name| {
            let bytes = item(index, name)?
                .data()
                .map_err(|_| StatusError::Item { name })?;
            Hash256::from_slice(bytes).ok_or(StatusError::Item { name })
        };
        let protocol_version = number(0, "protocol version")?;
        let network_id = number(1, "network id")?;
        if item(2, "total difficulty")?.size() == Hash256::LEN && item(3, "fork id")?.is_list() {
            return Ok(Self {
                protocol_version,
                network_id,
                genesis: hash(2, "genesis")?,
                head: hash(6, "latest hash")?,
                head_number: Some(number(5, "latest block")?),
                total_difficulty: None,
                chain_id: None,
            });
        }
        Ok(Self {
            protocol_version,
            network_id,
            genesis: hash(4, "genesis")?,
            head: hash(3, "head")?,
            head_number: None,
            total_difficulty: item(2, "total difficulty")?.as_val().ok(),
            chain_id: list
                .at(5)
                .ok()
                .filter(Rlp::is_data)
                .and_then(|id| id.as_val().ok()),
        })
    }

    /// Whether a message of this capability is a Status that [`parse`](Self::parse) reads.
    pub fn is_in(capability: &Capability, local: u64) -> bool {
        local == 0
            && match capability.name.as_str() {
                "eth" | "klay" | "kaia" => true,
                // Beside eth, this is a side protocol without a Status.
                "istanbul" => capability.version < 100,
                _ => false,
            }
    }
}

/// Why a Status cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// Not an RLP list.
    #[error("Status is not a list")]
    NotAList,
    /// An item is missing or of the wrong kind.
    #[error("Status has no readable {name}")]
    Item {
        /// Which one.
        name: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use rlp::RlpStream;

    use super::*;

    fn start(items: usize) -> RlpStream {
        let mut stream = RlpStream::new_list(items);
        stream.append(&64_u8).append(&1000_u16);
        stream
    }

    #[test]
    fn every_layout_is_read() {
        let (head, genesis) = (vec![0xaa; 32], vec![0xbb; 32]);
        let expected = Status {
            protocol_version: 64,
            network_id: 1000,
            genesis: Hash256([0xbb; 32]),
            head: Hash256([0xaa; 32]),
            head_number: None,
            total_difficulty: Some(7),
            chain_id: None,
        };

        let mut quorum = start(5);
        quorum.append(&7_u8).append(&head).append(&genesis);
        assert_eq!(Status::parse(&quorum.out()), Ok(expected.clone()));

        let mut klaytn = start(6);
        klaytn
            .append(&7_u8)
            .append(&head)
            .append(&genesis)
            .append(&8217_u16);
        assert_eq!(
            Status::parse(&klaytn.out()),
            Ok(Status {
                chain_id: Some(8217),
                ..expected.clone()
            })
        );

        let mut eth = start(6);
        eth.append(&7_u8)
            .append(&head)
            .append(&genesis)
            .begin_list(2)
            .append(&vec![1; 4])
            .append(&0_u8);
        assert_eq!(Status::parse(&eth.out()), Ok(expected.clone()));

        let mut eth69 = start(7);
        eth69
            .append(&genesis)
            .begin_list(2)
            .append(&vec![1; 4])
            .append(&0_u8);
        eth69.append(&0_u8).append(&12_345_u16).append(&head);
        let later = Status {
            total_difficulty: None,
            head_number: Some(12_345),
            ..expected.clone()
        };
        assert_eq!(Status::parse(&eth69.out()), Ok(later));

        let mut huge = start(5);
        huge.append(&vec![0xff; 32]).append(&head).append(&genesis);
        assert_eq!(
            Status::parse(&huge.out()),
            Ok(Status {
                total_difficulty: None,
                ..expected
            })
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(Status::parse(&[0x80]), Err(StatusError::NotAList));
        assert_eq!(
            Status::parse(&[0xc1, 0x40]),
            Err(StatusError::Item { name: "network id" })
        );
        let mut short = start(4);
        short.append(&7_u8).append(&vec![0xaa; 31]);
        assert_eq!(
            Status::parse(&short.out()),
            Err(StatusError::Item { name: "genesis" })
        );
    }

    #[test]
    fn only_main_protocols_have_one() {
        let capability = |name: &str, version| Capability {
            name: name.into(),
            version,
            offset: 0x10,
            len: None,
        };
        assert!(Status::is_in(&capability("istanbul", 64), 0));
        assert!(Status::is_in(&capability("eth", 69), 0));
        assert!(!Status::is_in(&capability("eth", 69), 1));
        assert!(!Status::is_in(&capability("istanbul", 100), 0));
        assert!(!Status::is_in(&capability("IBF", 1), 0));
    }
}
