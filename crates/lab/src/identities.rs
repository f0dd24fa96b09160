//! Keys and names of lab nodes.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bftap_simnet::key::NodeKey;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::plan::Plan;

#[derive(Serialize)]
struct Entry {
    name: String,
    ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

/// Draws a key for each node into its folder, and writes the nodes file.
///
/// The numbers of nodes follow the order of their addresses, so validators propose in the order of their numbers.
pub(crate) fn draw(plan: &Plan, port: u16) -> io::Result<()> {
    let mut entries = Vec::new();
    let mut keys = (1..=plan.nodes)
        .map(|_| fresh_key())
        .collect::<io::Result<Vec<_>>>()?;
    keys.sort_by_key(|(_, key)| key.address());
    for (node, (digits, key)) in (1..).zip(keys) {
        write(&plan.node_dir(node).join("key"), digits.as_bytes(), 0o600)?;
        entries.push(Entry {
            port: Some(port),
            node_id: Some(key.id().to_hex()),
            address: Some(key.address().to_string()),
            ..entry(plan, node)
        });
    }
    write_nodes(plan, &entries)
}

/// Writes the nodes file for nodes whose keys are not known here.
pub(crate) fn names_only(plan: &Plan) -> io::Result<()> {
    let entries: Vec<_> = (1..=plan.nodes).map(|node| entry(plan, node)).collect();
    write_nodes(plan, &entries)
}

fn entry(plan: &Plan, node: usize) -> Entry {
    Entry {
        name: format!("cn{node}"),
        ip: plan.subnet.address(node).to_string(),
        port: None,
        node_id: None,
        address: None,
    }
}

fn write_nodes(plan: &Plan, entries: &[Entry]) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(entries)?;
    text.push(b'\n');
    write(&plan.nodes_file(), &text, 0o644)
}

fn fresh_key() -> io::Result<(Zeroizing<String>, NodeKey)> {
    let mut random = File::open("/dev/urandom")?;
    loop {
        let mut bytes = Zeroizing::new([0; 32]);
        random.read_exact(&mut *bytes)?;
        // A draw that is no key comes once in 2^128.
        if let Ok(key) = NodeKey::from_bytes(*bytes) {
            return Ok((Zeroizing::new(hex::encode(*bytes) + "\n"), key));
        }
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)
}
