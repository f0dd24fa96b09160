//! What a network is made of before time begins.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use super::node::{Node, Tap};
use crate::capture::file::CaptureWriter;
use crate::key::NodeKey;
use crate::options::{CaptureLayout, SimulateOptions};
use crate::prng::Prng;

/// A node in the file of nodes.
#[derive(Serialize)]
pub(super) struct NodeEntry<'n> {
    name: &'n str,
    ip: IpAddr,
    port: u16,
    node_id: String,
    address: String,
}

impl<'n> NodeEntry<'n> {
    pub(super) fn of(node: &'n Node) -> Self {
        Self {
            name: &node.name,
            ip: node.ip,
            port: node.client.port(),
            node_id: node.key.id().to_hex(),
            address: node.key.address().to_string(),
        }
    }
}

pub(super) fn make_nodes(options: &SimulateOptions) -> Vec<Node> {
    let clients = options.clients.iter().cycle();
    (0..options.hosts())
        .zip(clients)
        .map(|(index, &client)| {
            let key = NodeKey::draw(&mut Prng::derive(options.seed, "node key", index as u64));
            let last = index as u8 + 1;
            let mut node = Node::new(
                options.name_of(index),
                ip(options.ipv6, last),
                mac(last),
                key,
                client,
            );
            if let Some(&role) = index
                .checked_sub(options.nodes)
                .and_then(|at| options.observers.get(at))
            {
                node.role = role;
            }
            node
        })
        .collect()
}

/// A host that runs something else.
pub(super) fn other_host(options: &SimulateOptions) -> Node {
    let key = NodeKey::draw(&mut Prng::derive(options.seed, "other host", 0));
    let last = 250;
    let mut host = Node::new(
        "other".to_owned(),
        ip(options.ipv6, last),
        mac(last),
        key,
        options.clients[0],
    );
    host.running = true;
    host.gone = true;
    host
}

fn ip(v6: bool, last: u8) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).into()
    } else {
        Ipv4Addr::new(10, 0, 0, last).into()
    }
}

/// A locally administered address.
const fn mac(last: u8) -> [u8; 6] {
    [0x02, 0, 0, 0, 0, last]
}

pub(super) fn open_captures<'a>(
    options: &SimulateOptions,
    sinks: Vec<Box<dyn Write + 'a>>,
    nodes: &mut [Node],
) -> io::Result<Vec<CaptureWriter<'a>>> {
    let tapped = options.tapped();
    let names: Vec<String> = tapped.iter().map(|&node| nodes[node].name.clone()).collect();
    for (position, &node) in tapped.iter().enumerate() {
        nodes[node].tap = Some(match options.layout {
            CaptureLayout::Together => Tap {
                file: 0,
                interface: position as u32,
            },
            CaptureLayout::PerTap => Tap {
                file: position,
                interface: 0,
            },
        });
    }
    let interfaces = |file: usize| match options.layout {
        CaptureLayout::Together => &names[..],
        CaptureLayout::PerTap => &names[file..=file],
    };
    sinks
        .into_iter()
        .enumerate()
        .map(|(file, sink)| CaptureWriter::new(sink, options.format, interfaces(file)))
        .collect()
}
