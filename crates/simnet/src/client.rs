//! Which client the nodes run: what tells one version from another on the wire.

use crate::consensus::{Dialect, HeaderForm};
use crate::devp2p::AgreedCapability;
use crate::rlpx::handshake::PacketForm;

/// A client and its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// Klaytn v1.4.2: `istanbul/64`, frames written in pieces, quorum 2F+1.
    Klaytn1_4,
    /// Klaytn v1.12.1: `istanbul/64` and `65`, whole frames, quorum ceil(2n/3), Disconnect as a bare byte.
    Klaytn1_12,
    /// Kaia v2.2.1: `istanbul/64` to `67`, headers with Randao.
    Kaia2_2,
    /// GoQuorum v20.10.0: `istanbul/64` and `99`, frames written in pieces, consensus code 0x21.
    Quorum20_10,
    /// GoQuorum v24.4.0: `eth` and `istanbul/100`, whole frames, consensus code 0x32.
    Quorum24_4,
}

/// How a client hands a frame to the socket (WIRE-FORMATS 2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// Header, code, payload, padding and MAC one by one.
    Pieces,
    /// All at once.
    Whole,
}

/// What a Disconnect message looks like (3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectForm {
    /// A list of one.
    List,
    /// The reason as a bare byte.
    Byte,
}

impl Client {
    /// All clients.
    pub const ALL: [Self; 5] = [
        Self::Klaytn1_4,
        Self::Klaytn1_12,
        Self::Kaia2_2,
        Self::Quorum20_10,
        Self::Quorum24_4,
    ];

    /// The word used in options.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Klaytn1_4 => "klaytn-1.4",
            Self::Klaytn1_12 => "klaytn-1.12",
            Self::Kaia2_2 => "kaia-2.2",
            Self::Quorum20_10 => "quorum-20.10",
            Self::Quorum24_4 => "quorum-24.4",
        }
    }

    /// The name in Hello, as nodes of this version write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Klaytn1_4 => "Klaytn/v1.4.2/linux-amd64/go1.19.8",
            Self::Klaytn1_12 => "Klaytn/v1.12.1/linux-amd64/go1.20.6",
            Self::Kaia2_2 => "Kaia/v2.2.1/linux-amd64/go1.25.4",
            Self::Quorum20_10 => "Geth/v1.9.7-stable(quorum-v20.10.0)/linux-amd64/go1.19.8",
            Self::Quorum24_4 => "Geth/v1.10.3-stable(quorum-v24.4.0)/linux-amd64/go1.19.8",
        }
    }

    /// How its consensus messages are encoded.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Klaytn1_4 | Self::Klaytn1_12 | Self::Kaia2_2 => Dialect::Klaytn,
            Self::Quorum20_10 | Self::Quorum24_4 => Dialect::QuorumIbft,
        }
    }

    /// Form of its block headers.
    pub const fn header_form(self) -> HeaderForm {
        match self {
            Self::Klaytn1_4 => HeaderForm::Klaytn,
            Self::Klaytn1_12 => HeaderForm::KlaytnMagma,
            Self::Kaia2_2 => HeaderForm::KlaytnRandao,
            Self::Quorum20_10 | Self::Quorum24_4 => HeaderForm::Eth,
        }
    }

    /// The capabilities in its Hello, sorted as it sends them.
    pub const fn capabilities(self) -> &'static [(&'static str, u32)] {
        match self {
            Self::Klaytn1_4 => &[("istanbul", 64)],
            Self::Klaytn1_12 => &[("istanbul", 64), ("istanbul", 65)],
            Self::Kaia2_2 => &[
                ("istanbul", 64),
                ("istanbul", 65),
                ("istanbul", 66),
                ("istanbul", 67),
            ],
            Self::Quorum20_10 => &[("istanbul", 64), ("istanbul", 99)],
            Self::Quorum24_4 => &[
                ("eth", 64),
                ("eth", 65),
                ("istanbul", 64),
                ("istanbul", 99),
                ("istanbul", 100),
            ],
        }
    }

    /// Number of message codes of one of its capabilities (WIRE-FORMATS 4).
    pub fn code_count(self, name: &str, version: u32) -> u64 {
        match (self.dialect(), name, version) {
            (_, "eth", _) => 17,
            (Dialect::Klaytn, _, 64) => 21,
            (Dialect::Klaytn, _, 65) => 23,
            (Dialect::Klaytn, _, 66) => 24,
            (Dialect::Klaytn, _, _) => 26,
            (Dialect::QuorumIbft, _, 100) => 22,
            (Dialect::QuorumIbft, _, _) => 18,
        }
    }

    /// Which of the agreed capabilities carries Status, blocks and transactions: the first one.
    ///
    /// Klaytn, Kaia and GoQuorum before v21.4 have but one.
    pub fn chain_capability(agreed: &[AgreedCapability]) -> Option<&AgreedCapability> {
        agreed.first()
    }

    /// Which of them carries consensus messages, local code 0x11.
    pub fn consensus_capability(agreed: &[AgreedCapability]) -> Option<&AgreedCapability> {
        agreed.iter().find(|capability| capability.name == "istanbul")
    }

    /// Form of its handshake packets.
    pub const fn packet_form(self) -> PacketForm {
        let max_padding = match self {
            Self::Klaytn1_12 | Self::Kaia2_2 => 199,
            Self::Klaytn1_4 | Self::Quorum20_10 | Self::Quorum24_4 => 299,
        };
        PacketForm::Eip8 {
            min_padding: 100,
            max_padding,
            random_padding: false,
        }
    }

    /// How it hands frames to the socket.
    pub const fn writes(self) -> Writes {
        match self {
            Self::Klaytn1_4 | Self::Quorum20_10 => Writes::Pieces,
            Self::Klaytn1_12 | Self::Kaia2_2 | Self::Quorum24_4 => Writes::Whole,
        }
    }

    /// Form of its Disconnect messages.
    pub const fn disconnect_form(self) -> DisconnectForm {
        match self {
            Self::Klaytn1_12 | Self::Kaia2_2 => DisconnectForm::Byte,
            Self::Klaytn1_4 | Self::Quorum20_10 | Self::Quorum24_4 => DisconnectForm::List,
        }
    }

    /// Votes that prepare and commit a block among `validators` (WIRE-FORMATS 7.4).
    pub const fn quorum(self, validators: usize) -> usize {
        match self {
            Self::Klaytn1_12 | Self::Kaia2_2 => (2 * validators).div_ceil(3),
            Self::Klaytn1_4 | Self::Quorum20_10 | Self::Quorum24_4 => {
                2 * validators.div_ceil(3).saturating_sub(1) + 1
            }
        }
    }

    /// Whether a commit can complete the votes that prepare a block (`handleCommit` in `consensus/istanbul/core/commit.go`):
    /// in later Klaytn and in Kaia; in Klaytn v1.4.2 and GoQuorum only a prepare can.
    pub const fn commits_prepare(self) -> bool {
        matches!(self, Self::Klaytn1_12 | Self::Kaia2_2)
    }

    /// Port it listens on; its second one, for transactions, follows (Klaytn's multichannel).
    pub const fn port(self) -> u16 {
        match self.dialect() {
            Dialect::Klaytn => 32_323,
            Dialect::QuorumIbft => 30_303,
        }
    }

    /// How many payloads its gossip caches hold (`inmemoryMessages`).
    pub const fn gossip_cache(self) -> usize {
        match self.dialect() {
            Dialect::Klaytn => 4096,
            Dialect::QuorumIbft => 1024,
        }
    }
}

impl std::str::FromStr for Client {
    type Err = UnknownClient;

    fn from_str(text: &str) -> Result<Self, UnknownClient> {
        Self::ALL
            .into_iter()
            .find(|client| client.as_str() == text)
            .ok_or(UnknownClient)
    }
}

/// A word that names no client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a known client: use klaytn-1.4, klaytn-1.12, kaia-2.2, quorum-20.10 or quorum-24.4")]
pub struct UnknownClient;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorums_are_those_of_the_table() {
        // WIRE-FORMATS 7.4: 2F+1 against ceil(2n/3).
        for (validators, two_f, two_thirds) in [
            (4, 3, 3),
            (5, 3, 4),
            (6, 3, 4),
            (7, 5, 5),
            (21, 13, 14),
            (22, 15, 15),
        ] {
            assert_eq!(Client::Klaytn1_4.quorum(validators), two_f);
            assert_eq!(Client::Kaia2_2.quorum(validators), two_thirds);
        }
    }

    #[test]
    fn every_client_is_found_by_its_word() {
        for client in Client::ALL {
            assert_eq!(client.as_str().parse(), Ok(client));
        }
        assert_eq!("geth".parse::<Client>(), Err(UnknownClient));
    }
}
