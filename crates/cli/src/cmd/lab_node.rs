//! `bftap lab-node`: a validator for labs, until it is told to stop.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bftap_lab_node::{Network, NodeOptions, start};
use bftap_model::Nanos;
use bftap_simnet::Gossip;
use bftap_simnet::key::NodeKey;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use crate::args::LabNodeArgs;
use crate::exit::{Status, Usage};
use crate::term::{Level, safe_display, tell};

/// Runs the command.
pub(crate) fn run(args: &LabNodeArgs) -> anyhow::Result<Status> {
    let behaviour = &args.behaviour;
    let list = std::fs::read(&args.nodes)
        .with_context(|| format!("cannot read {}", safe_display(args.nodes.display())))?;
    let network = Network::read(&list, behaviour.network_id, args.genesis)
        .with_context(|| safe_display(args.nodes.display()))?;
    let mut options = NodeOptions::new(read_key(&args.key)?, network);
    options.listen = args.listen;
    options.client = behaviour.client();
    if behaviour.direct {
        options.gossip = Gossip::Direct;
    }
    options.multichannel = behaviour.channels == 2;
    options.simultaneous_dials = behaviour.simultaneous_dials;
    options.block_period = duration(behaviour.block_period);
    options.round_timeout = duration(behaviour.round_timeout);
    options.transactions = behaviour.transactions as usize;
    options.key_log.clone_from(&args.keylog);
    options.record.clone_from(&args.record);
    options.faults.clone_from(&args.faults);
    if options.block_period < SHORTEST_PERIOD {
        return Err(Usage("--block-period: at least 10ms".to_owned()).into());
    }

    // One processor is enough for a node, and labs have more nodes than processors.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let node = start(options).await?;
        tell(Level::Note, "the node runs");
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        let height = node.status().height;
        node.stop().await;
        tell(Level::Note, &format!("stopped at height {height}"));
        anyhow::Ok(Status::Complete)
    })
}

fn read_key(path: &Path) -> anyhow::Result<NodeKey> {
    let shown = || safe_display(path.display());
    let mut file = File::open(path).with_context(|| format!("cannot read the key {}", shown()))?;
    if file.metadata().is_ok_and(|metadata| metadata.mode() & 0o077 != 0) {
        tell(
            Level::Warning,
            &format!("others may read the key {}: chmod 600 it", shown()),
        );
    }
    let mut text = Zeroizing::new([0; KEY_FILE]);
    let len = file
        .read(&mut *text)
        .with_context(|| format!("cannot read the key {}", shown()))?;
    let digits = text[..len].trim_ascii();
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(digits, &mut *bytes)
        .ok()
        .and_then(|()| NodeKey::from_bytes(*bytes).ok())
        .ok_or_else(|| anyhow!("{} holds no key: 64 hexadecimal digits belong in it", shown()))
}

fn duration(nanos: Nanos) -> Duration {
    Duration::from_nanos(nanos.0.max(0).cast_unsigned())
}

/// A key, with a line's end or two.
const KEY_FILE: usize = 80;
const SHORTEST_PERIOD: Duration = Duration::from_millis(10);
