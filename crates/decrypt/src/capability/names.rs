//! Names of messages by capability (WIRE-FORMATS 3.1, 4.3 to 4.5).

use crate::hello::Family;

/// Name of a message of the base protocol.
pub const fn base_name(code: u64) -> &'static str {
    match code {
        0x00 => "Hello",
        0x01 => "Disconnect",
        0x02 => "Ping",
        0x03 => "Pong",
        _ => "reserved",
    }
}

/// Name of a capability's message, `unknown` where it has none here.
///
/// `family` is that of both ends, `None` where they differ.
pub fn message_name(capability: &str, version: u32, family: Option<Family>, local: u64) -> &'static str {
    match (capability, version) {
        ("istanbul", _) if family == Some(Family::Klaytn) => klaytn(local),
        ("klay" | "kaia", _) => klaytn(local),
        ("istanbul", 100) => qbft(local),
        // GoQuorum's legacy protocols are eth/63 with the consensus message at 0x11.
        ("istanbul", _) if local == 0x11 => "IstanbulMsg",
        ("istanbul", _) => eth(63, local),
        ("eth", version) => eth(version, local),
        ("snap", _) => snap(local),
        ("IBF", _) => ibf(local),
        ("servicechain", _) => service_chain(local),
        _ => UNKNOWN,
    }
}

const UNKNOWN: &str = "unknown";

fn klaytn(local: u64) -> &'static str {
    match local {
        0x00 => "Status",
        0x01 => "NewBlockHashes",
        0x02 => "BlockHeaderFetchRequest",
        0x03 => "BlockHeaderFetchResponse",
        0x04 => "BlockBodiesFetchRequest",
        0x05 => "BlockBodiesFetchResponse",
        0x06 => "Transactions",
        0x07 => "BlockHeadersRequest",
        0x08 => "BlockHeaders",
        0x09 => "BlockBodiesRequest",
        0x0a => "BlockBodies",
        0x0b => "NewBlock",
        0x0c => "NodeDataRequest",
        0x0d => "NodeData",
        0x0e => "ReceiptsRequest",
        0x0f => "Receipts",
        0x11 => "IstanbulMsg",
        0x12 => "StakingInfoRequest",
        0x13 => "StakingInfo",
        0x14 => "Bid",
        0x15 => "BlobSidecarsRequest",
        0x16 => "BlobSidecars",
        _ => UNKNOWN,
    }
}

fn eth(version: u32, local: u64) -> &'static str {
    match local {
        0x00 => "Status",
        0x01 => "NewBlockHashes",
        0x02 => "Transactions",
        0x03 => "GetBlockHeaders",
        0x04 => "BlockHeaders",
        0x05 => "GetBlockBodies",
        0x06 => "BlockBodies",
        0x07 => "NewBlock",
        0x08 if version >= 65 => "NewPooledTransactionHashes",
        0x09 if version >= 65 => "GetPooledTransactions",
        0x0a if version >= 65 => "PooledTransactions",
        0x0d if version <= 66 => "GetNodeData",
        0x0e if version <= 66 => "NodeData",
        0x0f => "GetReceipts",
        0x10 => "Receipts",
        0x11 if version >= 69 => "BlockRangeUpdate",
        _ => UNKNOWN,
    }
}

fn qbft(local: u64) -> &'static str {
    match local {
        0x11 => "IstanbulMsg",
        0x12 => "QbftProposal",
        0x13 => "QbftPrepare",
        0x14 => "QbftCommit",
        0x15 => "QbftRoundChange",
        _ => UNKNOWN,
    }
}

fn ibf(local: u64) -> &'static str {
    match local {
        0x00 => "Proposal",
        0x01 => "Prepare",
        0x02 => "Commit",
        0x03 => "RoundChange",
        _ => UNKNOWN,
    }
}

/// devp2p `caps/snap.md`.
fn snap(local: u64) -> &'static str {
    match local {
        0x00 => "GetAccountRange",
        0x01 => "AccountRange",
        0x02 => "GetStorageRanges",
        0x03 => "StorageRanges",
        0x04 => "GetByteCodes",
        0x05 => "ByteCodes",
        0x06 => "GetTrieNodes",
        0x07 => "TrieNodes",
        _ => UNKNOWN,
    }
}

fn service_chain(local: u64) -> &'static str {
    match local {
        0x00 => "Status",
        0x01 => "Txs",
        0x02 => "ReceiptResponse",
        0x03 => "ReceiptRequest",
        0x04 => "ParentChainInfoResponse",
        0x05 => "ParentChainInfoRequest",
        0x06 => "Call",
        0x07 => "Response",
        0x08 => "Notify",
        0x09 => "InvalidTxResponse",
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_code_has_many_names() {
        let klaytn = Some(Family::Klaytn);
        let ethereum = Some(Family::Ethereum);
        for (capability, version, family, local, name) in [
            ("istanbul", 64, klaytn, 0x06, "Transactions"),
            ("istanbul", 64, ethereum, 0x06, "BlockBodies"),
            ("istanbul", 65, klaytn, 0x13, "StakingInfo"),
            ("istanbul", 64, klaytn, 0x11, "IstanbulMsg"),
            ("istanbul", 99, ethereum, 0x11, "IstanbulMsg"),
            ("istanbul", 100, ethereum, 0x11, "IstanbulMsg"),
            ("istanbul", 100, ethereum, 0x13, "QbftPrepare"),
            ("istanbul", 100, ethereum, 0x00, "unknown"),
            ("eth", 64, ethereum, 0x08, "unknown"),
            ("eth", 65, ethereum, 0x08, "NewPooledTransactionHashes"),
            ("eth", 67, ethereum, 0x0d, "unknown"),
            ("eth", 69, ethereum, 0x11, "BlockRangeUpdate"),
            ("IBF", 1, ethereum, 0x03, "RoundChange"),
            ("servicechain", 2, klaytn, 0x09, "InvalidTxResponse"),
            ("snap", 1, ethereum, 0x07, "TrieNodes"),
            ("other", 1, None, 0x00, "unknown"),
        ] {
            assert_eq!(
                message_name(capability, version, family, local),
                name,
                "{capability}/{version} {local:#x}"
            );
        }
    }
}
