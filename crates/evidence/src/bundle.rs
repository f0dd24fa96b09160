//! The files of a bundle.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bftap_ibft_decode::Kind;
use bftap_model::{Address, Endpoint, Hash256};
use sha2::{Digest as _, Sha256};

use crate::choose::Chosen;
use crate::collect::{Collector, Sight};
use crate::findings::{self, Finding};
use crate::manifest::{
    CaptureEntry, EventEntry, FORMAT, FileEntry, MANIFEST, Manifest, PACKETS, PacketEntry, PacketsEntry,
    PartyEntry, PlaceEntry, README, SIGNATURE, SUMS, VERSION,
};
use crate::material::{Anchor, Header, Material, Message};
use crate::pcapng;
use crate::readme;
use crate::signing::SigningKey;

/// What a bundle is made of.
pub struct Bundle<'a> {
    /// Name and version of the program.
    pub tool: String,
    /// The event.
    pub event: EventEntry,
    /// What was chosen.
    pub chosen: &'a Chosen,
    /// From these messages.
    pub collector: &'a Collector,
    /// Name of a node, by where it is and its address.
    pub name: &'a dyn Fn(Endpoint, Option<Address>) -> Option<String>,
    /// The captures.
    pub captures: Vec<CaptureEntry>,
    /// The packets.
    pub packets: Option<Packets>,
    /// Limits that were reached, by name.
    pub limits: BTreeMap<String, u64>,
    /// Who signs it.
    pub key: Option<&'a SigningKey>,
}

/// Packets that carried the messages.
#[derive(Clone, Debug, Default)]
pub struct Packets {
    /// A pcapng file of them.
    pub file: Vec<u8>,
    /// How they were chosen, in words.
    pub chosen_by: String,
    /// Packets that there was no room for.
    pub left_out: u64,
    /// Which packets carried the frame of a sight, by payload and number of the sight.
    pub of: BTreeMap<(Hash256, usize), Vec<PacketEntry>>,
}

/// Why no bundle can be made of what was chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Something that was collected cannot be read again.
    #[error("{what} cannot be read again: {why}")]
    Unreadable {
        /// Which file it would be.
        what: String,
        /// Why, in words.
        why: String,
    },
}

/// Makes the files, by name, and says what they prove. The same input gives the same bytes.
///
/// # Errors
/// See [`BuildError`].
pub fn build(bundle: Bundle<'_>) -> Result<(BTreeMap<String, Vec<u8>>, Vec<Finding>), BuildError> {
    let Bundle {
        chosen, collector, ..
    } = bundle;
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let accused: BTreeSet<Hash256> = chosen.accused.iter().copied().collect();
    let mut messages = Vec::new();
    let mut entries = Vec::new();
    let mut names: BTreeMap<Hash256, String> = BTreeMap::new();
    let mut sights: BTreeMap<Hash256, Vec<(usize, &Sight)>> = BTreeMap::new();
    for (hash, index, sight) in chosen.sights(collector) {
        sights.entry(hash).or_default().push((index, sight));
    }
    for (number, hash) in chosen.messages().into_iter().enumerate() {
        let Some(found) = collector.found().get(&hash) else {
            continue;
        };
        let name = message_file(number, found.message.kind, &hash);
        let message = Message::read(
            &name,
            accused.contains(&hash),
            found.dialect.name(),
            found.local,
            &found.bytes,
        );
        let message = message.map_err(|why| BuildError::Unreadable {
            what: name.clone(),
            why,
        })?;
        let listed = sights.remove(&hash).unwrap_or_default();
        let left_out = found.sights.len() as u64 + found.sights_left_out - listed.len() as u64;
        let places = listed
            .into_iter()
            .map(|(index, sight)| place(&bundle, hash, index, sight))
            .collect();
        entries.push(message.entry(places, left_out));
        messages.push(message);
        files.insert(name.clone(), found.bytes.clone());
        names.insert(hash, name);
    }
    let mut headers = Vec::new();
    for (hash, (dialect, bytes)) in &chosen.headers {
        let name = header_file(hash);
        let header = Header::read(&name, dialect, bytes).map_err(|why| BuildError::Unreadable {
            what: name.clone(),
            why,
        })?;
        headers.push(header);
        files.insert(name, bytes.clone());
    }
    let mut anchors = Vec::new();
    for anchor in &chosen.anchors {
        let seals: Vec<String> = anchor
            .seals
            .iter()
            .filter_map(|seal| names.get(seal).cloned())
            .collect();
        let index = headers
            .iter()
            .position(|header| header.header.hash == anchor.block);
        let index = index.unwrap_or(usize::MAX);
        let anchor = Anchor::count(&headers, index, &messages, &seals);
        anchors.push(anchor.map_err(|why| BuildError::Unreadable {
            what: "a sealed block".to_owned(),
            why,
        })?);
    }
    let material = Material {
        claim: chosen.claim.clone(),
        messages,
        headers,
        anchors,
    };
    let findings = findings::of(&material);

    let packets = match bundle.packets {
        Some(packets) => {
            let count = pcapng::packets(&packets.file).map_err(|why| BuildError::Unreadable {
                what: PACKETS.to_owned(),
                why,
            })?;
            files.insert(PACKETS.to_owned(), packets.file);
            Some(PacketsEntry {
                file: PACKETS.to_owned(),
                count,
                chosen_by: packets.chosen_by,
                left_out: packets.left_out,
            })
        }
        None => None,
    };
    let mut limits = bundle.limits;
    if chosen.left_out > 0 {
        limits.insert("accused_messages".to_owned(), chosen.left_out);
    }
    let mut manifest = Manifest {
        format: FORMAT.to_owned(),
        version: VERSION,
        tool: bundle.tool,
        event: bundle.event,
        claim: chosen.claim.clone(),
        messages: entries,
        headers: material.headers.iter().map(Header::entry).collect(),
        anchors: material
            .anchors
            .iter()
            .filter_map(|anchor| anchor.entry(&material.headers))
            .collect(),
        packets,
        captures: bundle.captures,
        missing_payloads: chosen.missing.clone(),
        limits,
        findings: findings.iter().map(Finding::mark).collect(),
        files: Vec::new(),
    };
    files.insert(
        README.to_owned(),
        readme::text(&manifest, &findings, bundle.key.is_some()).into_bytes(),
    );
    manifest.files = files
        .iter()
        .map(|(name, bytes)| FileEntry {
            name: name.clone(),
            bytes: bytes.len() as u64,
            sha256: sha256(bytes),
        })
        .collect();
    let text = manifest.to_text().into_bytes();
    files.insert(SUMS.to_owned(), sums(&manifest, &text).into_bytes());
    if let Some(key) = bundle.key {
        files.insert(SIGNATURE.to_owned(), key.sign(&text).into_bytes());
    }
    files.insert(MANIFEST.to_owned(), text);
    Ok((files, findings))
}

fn place(bundle: &Bundle<'_>, hash: Hash256, index: usize, sight: &Sight) -> PlaceEntry {
    let party = |end: Endpoint, id: Option<bftap_model::NodeId>| {
        let address = id.map(|id| id.address());
        PartyEntry {
            end: end.to_string(),
            node_id: id,
            address,
            name: (bundle.name)(end, address),
        }
    };
    let packets = bundle
        .packets
        .as_ref()
        .and_then(|packets| packets.of.get(&(hash, index)));
    PlaceEntry {
        time_ns: sight.seen.nanos(),
        from: party(sight.sender(), sight.from),
        to: party(sight.receiver(), sight.to),
        stream_offset: sight.offset,
        frame_bytes: sight.frame_bytes,
        mac: sight.mac.as_str().to_owned(),
        packets: packets.cloned().unwrap_or_default(),
    }
}

fn message_file(number: usize, kind: Kind, payload: &Hash256) -> String {
    let hash = payload.to_hex();
    format!("messages/{:03}-{}-{}.bin", number + 1, kind.as_str(), &hash[..16])
}

fn header_file(block: &Hash256) -> String {
    format!("headers/{}.rlp", block.to_hex())
}

/// The text of `SHA256SUMS`: as `sha256sum` writes it, of all files of the manifest and the manifest itself, by name.
pub(crate) fn sums(manifest: &Manifest, text: &[u8]) -> String {
    let mut all: BTreeMap<&str, String> = manifest
        .files
        .iter()
        .map(|file| (file.name.as_str(), file.sha256.clone()))
        .collect();
    all.insert(MANIFEST, sha256(text));
    let mut sums = String::new();
    for (name, hash) in all {
        // Writing to a text cannot fail.
        let _ = writeln!(sums, "{hash}  {name}");
    }
    sums
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
