//! A Hello in a checkpoint. Its client name was escaped when it was read, and must still be harmless.

use std::sync::Arc;

use bftap_decrypt::hello::{Hello, ListenPorts, Offer};
use bftap_model::{MAX_PEER_TEXT, NodeId, is_harmless};
use serde::{Deserialize, Serialize};

/// See the module's documentation.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HelloText {
    version: u64,
    client: String,
    /// Names in hex: they are bytes that a peer chose.
    capabilities: Vec<(String, u32)>,
    /// A number or a list, as on the wire.
    listen: Listen,
    node_id: String,
    multichannel: Option<bool>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Listen {
    One(u64),
    List(Vec<u64>),
}

/// Most capabilities, ports, and bytes of a name: more is no Hello of a client that exists.
const MOST: usize = 32;

impl HelloText {
    /// `None` if it has more than any client's, which is not kept.
    pub(super) fn of(hello: &Hello) -> Option<Self> {
        let listen = match &hello.listen {
            ListenPorts::One(port) => Listen::One(*port),
            ListenPorts::List(ports) => Listen::List(ports.clone()),
        };
        let capability = |offer: &Offer| (hex::encode(&offer.name), offer.version);
        let text = Self {
            version: hello.version,
            client: hello.client.clone(),
            capabilities: hello.capabilities.iter().map(capability).collect(),
            listen,
            node_id: hello.node_id.to_hex(),
            multichannel: hello.multichannel,
        };
        text.read().map(|_| text)
    }

    /// `None` if it cannot have been written by [`of`](Self::of).
    pub(super) fn read(&self) -> Option<Arc<Hello>> {
        let offer = |(name, version): &(String, u32)| {
            (name.len() <= 2 * MOST).then_some(())?;
            Some(Offer {
                name: hex::decode(name).ok()?,
                version: *version,
            })
        };
        let listen = match &self.listen {
            Listen::One(port) => ListenPorts::One(*port),
            Listen::List(ports) => ListenPorts::List(ports.clone()),
        };
        let ports = match &listen {
            ListenPorts::One(_) => 1,
            ListenPorts::List(ports) => ports.len(),
        };
        // A cut name has an ellipsis at its end.
        let harmless = self.client.len() <= MAX_PEER_TEXT + 4 && self.client.chars().all(is_harmless);
        if !harmless || ports > MOST || self.capabilities.len() > MOST {
            return None;
        }
        Some(Arc::new(Hello {
            version: self.version,
            client: self.client.clone(),
            capabilities: self.capabilities.iter().map(offer).collect::<Option<_>>()?,
            listen,
            node_id: self.node_id.parse::<NodeId>().ok()?,
            multichannel: self.multichannel,
        }))
    }
}
