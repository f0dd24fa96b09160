//! Messages of the heights in question, out of the captures.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::anyhow;
use bftap_analysis::facts::{CaptureFact, SessionState};
use bftap_analysis::{KnownNode, Observation};
use bftap_evidence::{CollectLimits, Collector, Sight};
use bftap_ibft_decode::dialect_named;
use bftap_pipeline::{RawMessage, RawSink};

use crate::args::{EvidenceMakeArgs, ReadArgs};
use crate::inputs;
use crate::report::counted;
use crate::settings;
use crate::term::{Level, safe, tell};

/// What was read.
pub(super) struct Collected {
    pub(super) collector: Collector,
    /// By path.
    pub(super) captures: Vec<CaptureFact>,
    /// Of the nodes file.
    pub(super) nodes: Vec<KnownNode>,
}

/// Reads the captures, and keeps the messages of this height and the one before, of this chain.
pub(super) fn read(
    args: &EvidenceMakeArgs,
    paths: &[PathBuf],
    chain: &str,
    sequence: u64,
) -> anyhow::Result<Collected> {
    let read = ReadArgs {
        nodes: args.nodes.clone(),
        config: args.config.clone(),
        dialect: args.dialect,
        ..ReadArgs::untyped()
    };
    let mut settings = settings::gather(&read, &args.keylog)?;
    let nodes = std::mem::take(&mut settings.nodes);
    let collector = Arc::new(Mutex::new(Collector::new(CollectLimits::default())));
    let taking = Arc::clone(&collector);
    let chain = chain.to_owned();
    settings.pipeline.selection.sequences = sequence.saturating_sub(1)..=sequence;
    settings.pipeline.raw = Some(RawSink::new(move |message| {
        let mut collector = taking.lock().unwrap_or_else(PoisonError::into_inner);
        take(message, &chain, &mut collector);
    }));

    let opened = inputs::open(paths)?;
    if opened.opened < paths.len() {
        return Err(anyhow!("not all captures could be opened"));
    }
    let (mut read, mut unread) = (0_u64, 0_u64);
    let (captures, _, problems) =
        bftap_pipeline::messages_hashed(opened.inputs, settings.into_pipeline(), |observation| {
            if let Observation::End(_, end) = observation
                && !end.candidate
            {
                match end.state {
                    SessionState::Decrypted => read += 1,
                    SessionState::NoHandshake => {}
                    _ => unread += 1,
                }
            }
            true
        });
    for problem in problems {
        tell(Level::Warning, &problem);
    }
    for capture in &captures {
        if let Some(problem) = &capture.problem {
            tell(Level::Warning, &format!("{}: {problem}", safe(&capture.path)));
        }
    }
    if unread > 0 {
        let why = if read == 0 && args.keylog.is_empty() {
            "no session secrets were given: name them with --keylog, unless they are in the captures"
        } else {
            "bftap analyze says why"
        };
        let text = format!(
            "{} could not be read to the end: messages in them are missing ({why})",
            counted(unread, "session", "sessions")
        );
        tell(Level::Warning, &text);
    }
    let collector = std::mem::take(&mut *collector.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Collected {
        collector,
        captures,
        nodes,
    })
}

fn take(message: RawMessage, chain: &str, collector: &mut Collector) {
    let of = message.session.chain.map(|chain| chain.to_string());
    // Where a Status is missing, signatures and hashes tell chains apart.
    if chain != "unknown" && of.is_some_and(|of| of != chain) {
        return;
    }
    let Some(dialect) = dialect_named(message.payload.dialect) else {
        return;
    };
    let own = |at: usize| message.session.node_ids[at].filter(|_| message.session.accepted[at]);
    let [initiator, recipient] = [own(0), own(1)];
    let (from, to) = match message.direction {
        bftap_model::Direction::FromInitiator => (initiator, recipient),
        bftap_model::Direction::FromRecipient => (recipient, initiator),
    };
    let sight = Sight {
        flow: message.flow,
        side: message.side,
        from,
        to,
        offset: message.offset.0,
        seq: message.seq,
        frame_bytes: message.wire_len,
        seen: message.seen,
        mac: message.mac,
    };
    collector.push(
        message.payload.hash,
        dialect,
        message.local,
        &message.payload.message,
        message.bytes,
        sight,
    );
}
