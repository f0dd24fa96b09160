//! The nodes file: who is behind an address or a key, in the user's words.
//!
//! A JSON list of objects with `name`, and what is known of `ip`, `port`, `node_id` (64 bytes of public key, hex) and
//! `address` (20 bytes, hex).

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::net::IpAddr;
use std::path::Path;

use bftap_analysis::KnownNode;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::nearest::nearest;

/// Names of nodes, and what was odd about the file.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    /// In the order of the file.
    pub(crate) known: Vec<KnownNode>,
    /// For a person; reading goes on without the entry or the value.
    pub(crate) problems: Vec<String>,
}

/// Why a nodes file is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodesError {
    /// It cannot be read.
    #[error("cannot read the nodes file {path}: {source}")]
    Read { path: String, source: std::io::Error },
    /// It is larger than any list of names.
    #[error("the nodes file {path} is larger than {MAX_FILE} bytes: is it a nodes file?")]
    TooLarge { path: String },
    /// It is a capture.
    #[error(
        "the nodes file {path} is a capture ({format}), no list of nodes: captures are named without --nodes, and --nodes takes \
         the JSON file with names (docs/cli.md)"
    )]
    Capture { path: String, format: &'static str },
    /// It is not JSON, or not a list of nodes.
    #[error("the nodes file {path} is not a list of nodes: {source}")]
    Shape { path: String, source: serde_json::Error },
}

/// One entry as it is written. Keys that other tools put beside ours are ignored, unless they look like one of ours.
#[derive(Debug, Deserialize)]
struct Entry {
    name: String,
    #[serde(default)]
    ip: Option<String>,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    node_id: Option<String>,
    #[serde(default)]
    address: Option<String>,
    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

const KEYS: &[&str] = &["name", "ip", "port", "node_id", "address"];

/// Reads a nodes file.
///
/// # Errors
/// When it cannot be read or is not a JSON list of objects with names; the message says line and column.
pub(crate) fn read(path: &Path) -> Result<Nodes, NodesError> {
    let shown = || crate::term::safe_display(path.display());
    let failed = |source| NodesError::Read {
        path: shown(),
        source,
    };
    let mut text = Vec::new();
    let file = File::open(path).map_err(failed)?;
    BufReader::new(file)
        .take(MAX_FILE + 1)
        .read_to_end(&mut text)
        .map_err(failed)?;
    if let Some((_, format)) = CAPTURES.iter().find(|(magic, _)| text.starts_with(magic)) {
        return Err(NodesError::Capture {
            path: shown(),
            format,
        });
    }
    if text.len() as u64 > MAX_FILE {
        return Err(NodesError::TooLarge { path: shown() });
    }
    parse(&text).map_err(|source| NodesError::Shape {
        path: shown(),
        source,
    })
}

fn parse(text: &[u8]) -> Result<Nodes, serde_json::Error> {
    // Windows editors put a byte order mark in front.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let entries: Vec<Entry> = serde_json::from_slice(text)?;
    let mut nodes = Nodes::default();
    let mut seen: HashMap<Identity, usize> = HashMap::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let number = index + 1;
        let mut problems = Vec::new();
        for key in entry.others.keys() {
            if let Some(meant) = nearest(key, KEYS) {
                problems.push(format!("there is no key {key}: is {meant} meant? It is not used"));
            }
        }
        let mut known = KnownNode {
            name: entry.name.trim().to_owned(),
            ..KnownNode::default()
        };
        known.port = entry.port;
        known.ip = value(
            "ip",
            entry.ip,
            |text| text.parse().map_err(|_| "not an IP address".to_owned()),
            &mut problems,
        );
        known.node_id = value("node_id", entry.node_id, hex, &mut problems);
        known.address = value("address", entry.address, hex, &mut problems);
        if known.name.is_empty() {
            problems.push("the name is empty; the entry is not used".to_owned());
        }
        if let (Some(id), Some(address)) = (known.node_id, known.address)
            && id.address() != address
        {
            problems.push(format!(
                "address {address} is not that of its node_id ({})",
                id.address()
            ));
        }
        for identity in identities(&known) {
            match seen.get(&identity) {
                Some(first) => problems.push(format!("{identity} stands in entry {first} too")),
                None => {
                    seen.insert(identity, number);
                }
            }
        }
        let place = if known.name.is_empty() {
            format!("entry {number}")
        } else {
            format!("entry {number} ({})", known.name)
        };
        nodes
            .problems
            .extend(problems.into_iter().map(|problem| format!("{place}: {problem}")));
        if !known.name.is_empty() {
            nodes.known.push(known);
        }
    }
    Ok(nodes)
}

/// What two entries should not share.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Identity {
    Name(String),
    Place(IpAddr, Option<u16>),
    Key(String),
    Address(String),
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "the name {name}"),
            Self::Place(ip, Some(port)) => write!(f, "{ip} port {port}"),
            Self::Place(ip, None) => write!(f, "{ip}"),
            Self::Key(_) => write!(f, "the node_id"),
            Self::Address(address) => write!(f, "address {address}"),
        }
    }
}

fn identities(node: &KnownNode) -> Vec<Identity> {
    let mut identities = Vec::new();
    if !node.name.is_empty() {
        identities.push(Identity::Name(node.name.clone()));
    }
    identities.extend(node.ip.map(|ip| Identity::Place(ip, node.port)));
    identities.extend(node.node_id.map(|id| Identity::Key(id.to_hex())));
    // An entry with both is told once, by its key.
    if node.node_id.is_none() {
        identities.extend(node.address.map(|address| Identity::Address(address.to_string())));
    }
    identities
}

/// The parsed value of a field, if it is there and makes sense.
fn value<T>(
    field: &str,
    text: Option<String>,
    parse: impl Fn(&str) -> Result<T, String>,
    problems: &mut Vec<String>,
) -> Option<T> {
    match parse(text.as_deref().map(str::trim).filter(|text| !text.is_empty())?) {
        Ok(value) => Some(value),
        Err(why) => {
            problems.push(format!("{field}: {why}; it is not used"));
            None
        }
    }
}

fn hex<T: std::str::FromStr<Err = bftap_model::ParseHexError>>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|error: bftap_model::ParseHexError| error.to_string())
}

/// How captures begin, and what may be one.
const CAPTURES: [(&[u8], &str); 7] = [
    (b"\x0a\x0d\x0d\x0a", "pcapng"),
    (b"\xd4\xc3\xb2\xa1", "pcap"),
    (b"\xa1\xb2\xc3\xd4", "pcap"),
    (b"\x4d\x3c\xb2\xa1", "pcap"),
    (b"\xa1\xb2\x3c\x4d", "pcap"),
    (b"\x1f\x8b", "or packed with gzip"),
    (b"\x28\xb5\x2f\xfd", "or packed with zstd"),
];

/// Far above any real list: 16 MiB is some 50,000 nodes.
const MAX_FILE: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "2f6392bf0a207b19e63cf42cc631820fc006e7d6b56adeaee765b94191c28837\
                      bd2918549ec433ac7122d9d50750b601de2da66555974aded031eb33f5a6b50c";

    #[test]
    fn the_shape_of_the_shared_captures_is_read() {
        let text = format!(
            r#"[{{"name": "cn1", "ip": "10.0.0.1", "port": 32323, "node_id": "{ID}",
                "address": "0x7e3d7640ffc956d8f7024664c4506049ebd5954b", "comment": 1}}, {{"name": "spare"}}]"#
        );
        let nodes = parse(text.as_bytes()).unwrap();
        assert_eq!(nodes.problems, [""; 0]);
        assert_eq!(nodes.known.len(), 2);
        assert_eq!(nodes.known[0].ip, Some([10, 0, 0, 1].into()));
        assert_eq!(nodes.known[0].node_id.unwrap().to_hex(), ID);
        assert_eq!(
            nodes.known[1],
            KnownNode {
                name: "spare".to_owned(),
                ..KnownNode::default()
            }
        );
    }

    #[test]
    fn odd_entries_are_told_and_the_rest_is_used() {
        let text = format!(
            r#"[{{"name": "a", "ip": "10.0.0.1", "node_id": "{ID}", "address": "0x{}"}},
                {{"name": "a", "ip": "10.0.0.1"}},
                {{"name": " ", "ip": "10.0.0.3"}},
                {{"name": "d", "ip": "ten", "node_id": "0xzz"}}]"#,
            "11".repeat(20)
        );
        let nodes = parse(text.as_bytes()).unwrap();
        let told = nodes.problems.join("\n");
        assert_eq!(
            told,
            "entry 1 (a): address 0x1111111111111111111111111111111111111111 is not that of its node_id \
             (0x7e3d7640ffc956d8f7024664c4506049ebd5954b)\n\
             entry 2 (a): the name a stands in entry 1 too\n\
             entry 2 (a): 10.0.0.1 stands in entry 1 too\n\
             entry 3: the name is empty; the entry is not used\n\
             entry 4 (d): ip: not an IP address; it is not used\n\
             entry 4 (d): node_id: 2 characters where 128 hex digits belong; it is not used"
        );
        assert_eq!(nodes.known.len(), 3);
    }

    #[test]
    fn misspelt_keys_are_told_with_what_is_meant() {
        let text = format!(
            r#"[{{"name": "a", "nodeid": "{ID}", "adress": "0x00", "IP": "10.0.0.1", "comment": 1, "enode": "x"}}]"#
        );
        assert_eq!(
            parse(text.as_bytes()).unwrap().problems,
            [
                "entry 1 (a): there is no key IP: is ip meant? It is not used",
                "entry 1 (a): there is no key adress: is address meant? It is not used",
                "entry 1 (a): there is no key nodeid: is node_id meant? It is not used",
            ]
        );
    }

    #[test]
    fn errors_say_where() {
        let error = parse(b"[\n {\"ip\": \"10.0.0.1\"}\n]").unwrap_err().to_string();
        assert!(
            error.contains("missing field `name`") && error.contains("line 2"),
            "{error}"
        );
        let error = parse(b"{}").unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
        assert!(parse(b"\xef\xbb\xbf[]").unwrap().known.is_empty());
    }

    #[test]
    fn a_capture_in_its_place_is_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.pcapng");
        for (start, format) in CAPTURES {
            std::fs::write(&path, [start, &[0; 20]].concat()).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("is a capture ({format})")), "{error}");
        }
        std::fs::write(&path, "[]").unwrap();
        assert!(read(&path).unwrap().known.is_empty());
    }

    #[test]
    fn a_missing_file_is_named() {
        let path = Path::new("no/such\x1b/nodes.json");
        let error = read(path).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot read the nodes file no/such\\u{1b}/nodes.json: "),
            "{error}"
        );
    }
}
