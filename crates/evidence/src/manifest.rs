//! `manifest.json`: what a bundle holds, in one way of writing it.

use std::collections::BTreeMap;

use bftap_model::{Address, Hash256, NodeId};
use serde::{Deserialize, Serialize};

use crate::claim::ClaimKind;
use crate::findings::Mark;

/// Name of the manifest.
pub const MANIFEST: &str = "manifest.json";
/// Name of the text for a person.
pub const README: &str = "README.md";
/// Name of the list of hashes, as `sha256sum` writes it.
pub const SUMS: &str = "SHA256SUMS";
/// Name of the packets.
pub const PACKETS: &str = "packets.pcapng";
/// Name of the operator's signature.
pub const SIGNATURE: &str = "manifest.sig";

/// Of [`Manifest::format`].
pub(crate) const FORMAT: &str = "bftap-evidence";
/// Of [`Manifest::version`].
pub(crate) const VERSION: u32 = 1;

/// See the module's documentation; every key is explained in `docs/evidence.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `bftap-evidence`.
    pub format: String,
    /// Version of this form.
    pub version: u32,
    /// What made it.
    pub tool: String,
    /// The event as the run tells it. Not proven by anything in the bundle.
    pub event: EventEntry,
    /// What the messages are said to show.
    pub claim: Claim,
    /// Messages.
    pub messages: Vec<MessageEntry>,
    /// Headers.
    pub headers: Vec<HeaderEntry>,
    /// Sealed blocks that bind the validator set to the chain.
    pub anchors: Vec<AnchorEntry>,
    /// Packets that carried the messages; null if there are none.
    pub packets: Option<PacketsEntry>,
    /// Captures that it was made from.
    pub captures: Vec<CaptureEntry>,
    /// Payloads that the event names and the captures do not hold.
    #[serde(with = "hex_list")]
    pub missing_payloads: Vec<Hash256>,
    /// Limits that were reached while it was made, and how often.
    pub limits: BTreeMap<String, u64>,
    /// What the bytes prove and what not.
    pub findings: Vec<Mark>,
    /// All files but the manifest itself, [`SUMS`] and [`SIGNATURE`], by name.
    pub files: Vec<FileEntry>,
}

/// An event of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventEntry {
    /// Name of the run.
    pub run: String,
    /// Number in the run.
    pub number: i64,
    /// Which rule noticed it.
    pub rule: String,
    /// When, nanoseconds since 1970.
    pub time_ns: i64,
    /// `info`, `warning`, `critical`.
    pub severity: String,
    /// Who signed, as the run names it.
    pub signer: Option<String>,
    /// Who handed it over, as the run names it.
    pub sender: Option<String>,
    /// Chain, as the run names it.
    pub chain: String,
    /// In words.
    pub detail: String,
}

/// What is claimed, of whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// What.
    pub what: ClaimKind,
    /// Whose key signed; null where no key is accused.
    #[serde(with = "hex_optional")]
    pub accused: Option<Address>,
    /// Height.
    pub sequence: u64,
    /// Round; null where several are meant.
    pub round: Option<u64>,
    /// Kind; null where several are meant.
    pub kind: Option<String>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageEntry {
    /// Its file: the message as it was on the wire behind its code, decompressed, envelope included.
    pub file: String,
    /// Whether it is one of those that the claim is about; the others are commits that seal a block.
    pub accused: bool,
    /// How it is encoded.
    pub dialect: String,
    /// Its code, the capability's offset taken off.
    pub local_code: u64,
    /// Keccak-256 of the payload.
    #[serde(with = "hex_text")]
    pub payload: Hash256,
    /// Kind.
    pub kind: String,
    /// Height.
    pub sequence: u64,
    /// Round; of a round change the one asked for.
    pub round: u64,
    /// Address that it claims for its sender.
    #[serde(with = "hex_optional")]
    pub claimed: Option<Address>,
    /// Address that the signature recovers to.
    #[serde(with = "hex_optional")]
    pub signer: Option<Address>,
    /// `valid`, `not_claimed` or `unrecoverable`.
    pub signature: String,
    /// Block that it proposes or votes for.
    #[serde(with = "hex_optional")]
    pub digest: Option<Hash256>,
    /// Parent block that it names.
    #[serde(with = "hex_optional")]
    pub parent: Option<Hash256>,
    /// Address that the committed seal of a commit recovers to.
    #[serde(with = "hex_optional")]
    pub sealed_by: Option<Address>,
    /// Where it was seen. Not proven by signatures.
    pub places: Vec<PlaceEntry>,
    /// Further places that are not listed.
    pub places_left_out: u64,
}

/// A place where a message was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceEntry {
    /// Capture time of the packet that completed its frame, nanoseconds since 1970.
    pub time_ns: i64,
    /// Who handed it over.
    pub from: PartyEntry,
    /// Who got it.
    pub to: PartyEntry,
    /// Offset of its frame in the bytes of the TCP connection in this direction.
    pub stream_offset: u64,
    /// Bytes of the frame.
    pub frame_bytes: u32,
    /// `verified`, `skipped`, `unverifiable` or `failed`: what was known of the frame's MACs.
    pub mac: String,
    /// Packets that carried the frame.
    pub packets: Vec<PacketEntry>,
}

/// An end of a TCP connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartyEntry {
    /// IP address and port.
    pub end: String,
    /// Key that it showed in Hello.
    #[serde(with = "hex_optional")]
    pub node_id: Option<NodeId>,
    /// Address of that key.
    #[serde(with = "hex_optional")]
    pub address: Option<Address>,
    /// Name in the nodes file of whoever made the bundle.
    pub name: Option<String>,
}

/// A packet of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketEntry {
    /// Position in [`Manifest::captures`].
    pub capture: usize,
    /// Number of the packet in its file, from 1.
    pub number: u64,
}

/// One header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderEntry {
    /// Its file: the header in RLP, as it stood in a proposal.
    pub file: String,
    /// How it is encoded.
    pub dialect: String,
    /// Block hash.
    #[serde(with = "hex_text")]
    pub hash: Hash256,
    /// Height.
    pub number: u64,
    /// Parent block.
    #[serde(with = "hex_text")]
    pub parent: Hash256,
    /// Who sealed it as proposer.
    #[serde(with = "hex_optional")]
    pub proposer: Option<Address>,
    /// Validators in it.
    #[serde(with = "hex_list")]
    pub validators: Vec<Address>,
}

/// A block with the seals of its own validators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorEntry {
    /// Block hash.
    #[serde(with = "hex_text")]
    pub block: Hash256,
    /// File of its header.
    pub header: String,
    /// Files of commits with seals for it.
    pub seals: Vec<String>,
    /// Distinct validators in the header.
    pub validators: u64,
    /// So many of them must have sealed it.
    pub needed: u64,
    /// Those who have, sorted.
    #[serde(with = "hex_list")]
    pub sealed_by: Vec<Address>,
}

/// The packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketsEntry {
    /// Its file.
    pub file: String,
    /// Packets in it.
    pub count: u64,
    /// How they were chosen, in words.
    pub chosen_by: String,
    /// Packets that were left out, because there was no room.
    pub left_out: u64,
}

/// A capture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureEntry {
    /// Name of the file, without folders.
    pub name: String,
    /// SHA-256 of its content.
    pub sha256: String,
    /// Whether the run was made from a capture of this content.
    pub of_the_run: bool,
}

/// A file of the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Name, with `/` between folder and file.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: String,
}

/// Why a text is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is no JSON of this form.
    #[error("it is not a manifest: {0}")]
    Shape(#[from] serde_json::Error),
    /// It is of another program.
    #[error("it is not a manifest of bftap evidence")]
    Foreign,
    /// It is of another version.
    #[error("it is of version {found}; this program knows version {VERSION}")]
    Version {
        /// Its version.
        found: u64,
    },
    /// It is written in another way than the one there is.
    #[error("it was changed: it is not written as bftap writes manifests")]
    NotCanonical,
}

#[derive(Deserialize)]
struct Head {
    format: String,
    version: u64,
}

impl Manifest {
    /// The text of the file.
    pub fn to_text(&self) -> String {
        // Texts, numbers and lists of them: nothing in it can fail.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// It is no manifest of this version, or is not written as [`to_text`](Self::to_text) writes it.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let head: Head = serde_json::from_slice(text)?;
        if head.format != FORMAT {
            return Err(ManifestError::Foreign);
        }
        if head.version != u64::from(VERSION) {
            return Err(ManifestError::Version { found: head.version });
        }
        let manifest: Self = serde_json::from_slice(text)?;
        if manifest.to_text().as_bytes() != text {
            return Err(ManifestError::NotCanonical);
        }
        Ok(manifest)
    }
}

/// `0x` and hex.
mod hex_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The same or null.
mod hex_optional {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serialize as _, Serializer, de};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(ToString::to_string).serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(de::Error::custom))
            .transpose()
    }
}

/// A list of them.
mod hex_list {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<T: Display, S: Serializer>(
        values: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts
            .iter()
            .map(|text| text.parse().map_err(de::Error::custom))
            .collect()
    }
}
