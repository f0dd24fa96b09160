//! From what was typed and configured to the settings of the pipeline; shared by the commands that read captures.

use std::path::PathBuf;
use std::sync::Arc;

use bftap_analysis::KnownNode;
use bftap_decrypt::SecretStore;
use bftap_ibft_decode::{SignatureCheck, dialect_named};
use bftap_model::CaptureTime;
use bftap_pipeline::{AttachOptions, PipelineOptions, Selection};
use bftap_store::WriterOptions;

use crate::args::{ReadArgs, Span};
use crate::config::Config;
use crate::exit::Usage;
use crate::key_sources;
use crate::nodes;
use crate::term::{Level, tell};

/// Settings, and what was said on the way to them.
pub(crate) struct Settings {
    /// For the pipeline; what only some commands know is still to be filled in.
    pub(crate) pipeline: PipelineOptions,
    /// Names of nodes.
    pub(crate) nodes: Vec<KnownNode>,
    /// For whoever writes a store.
    pub(crate) writer: WriterOptions,
}

/// Reads configuration, names and secrets that are there already, and tells what is odd about them.
///
/// # Errors
/// When a file that was named cannot be used: wrong usage, found before any capture is read.
pub(crate) fn gather(args: &ReadArgs, keylog: &[PathBuf]) -> anyhow::Result<Settings> {
    let config = match &args.config {
        Some(path) => Config::read(path).map_err(|error| Usage(error.to_string()))?,
        None => Config::default(),
    };
    let named = match &args.nodes {
        Some(path) => nodes::read(path).map_err(|error| Usage(error.to_string()))?,
        None => nodes::Nodes::default(),
    };
    for problem in &named.problems {
        tell(Level::Warning, &format!("nodes file: {problem}"));
    }
    let secrets = SecretStore::with_limits(config.secret_limits());
    let sources = key_sources::load(keylog, &secrets).map_err(|error| Usage(error.to_string()))?;
    sources.tell();
    if args.from.zip(args.to).is_some_and(|(from, to)| from > to) {
        return Err(Usage("--from is later than --to: nothing lies between".to_owned()).into());
    }
    let mut pipeline = config.pipeline(secrets);
    pipeline.ports = args.ports.iter().copied().collect();
    if let Some(name) = args.dialect {
        pipeline.dialect = dialect_named(name);
    }
    pipeline.signatures = if args.no_signatures {
        SignatureCheck::Claimed
    } else {
        SignatureCheck::Recover
    };
    pipeline.sessions.verify_mac = !args.no_mac;
    pipeline.attach = AttachOptions::new(args.attach_search.into(), args.attach_budget.into());
    pipeline.selection = Selection {
        from: args.from.unwrap_or(CaptureTime::MIN),
        to: args.to.unwrap_or(CaptureTime::MAX),
        sequences: args.sequence.map_or(0..=u64::MAX, Span::range),
        ..Selection::default()
    };
    pipeline.analysis.whole = args.from.is_none() && args.to.is_none() && args.sequence.is_none();
    pipeline.analysis.nodes = named.known.clone();
    pipeline.analysis.ports = pipeline.ports.clone();
    Ok(Settings {
        pipeline,
        nodes: named.known,
        writer: config.writer(),
    })
}

impl Settings {
    /// The pipeline's settings, to be shared with its threads.
    pub(crate) fn into_pipeline(self) -> Arc<PipelineOptions> {
        Arc::new(self.pipeline)
    }
}
