//! The part of the captures that was asked for (`--from`, `--to`, `--sequence`, `--port`), as it is told.

use bftap_model::CaptureTime;
use serde::Serialize;

use crate::args::ReadArgs;

/// What was given; not what it came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Part {
    /// Messages seen at or after this time.
    from_ns: Option<i64>,
    /// Messages seen at or before this time.
    to_ns: Option<i64>,
    /// Lowest height; `None` when all lower ones are meant too.
    first_sequence: Option<u64>,
    /// Highest height; `None` when it has no end.
    last_sequence: Option<u64>,
    /// TCP ports; empty for all.
    ports: Vec<u16>,
    #[serde(skip)]
    words: String,
}

impl Part {
    /// `None` for everything.
    pub(crate) fn of(args: &ReadArgs) -> Option<Self> {
        let mut ports = args.ports.clone();
        ports.sort_unstable();
        ports.dedup();
        let mut words = Vec::new();
        if let Some(from) = args.from {
            words.push(format!("from {from}"));
        }
        if let Some(to) = args.to {
            words.push(format!("to {to}"));
        }
        if let Some(sequence) = args.sequence {
            words.push(format!("heights {sequence}"));
        }
        if !ports.is_empty() {
            let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
            words.push(format!("ports {}", ports.join(" ")));
        }
        (!words.is_empty()).then(|| Self {
            from_ns: args.from.map(CaptureTime::nanos),
            to_ns: args.to.map(CaptureTime::nanos),
            first_sequence: args.sequence.map(|span| span.first).filter(|first| *first > 0),
            last_sequence: args
                .sequence
                .map(|span| span.last)
                .filter(|last| *last < u64::MAX),
            ports,
            words: words.join(", "),
        })
    }

    /// Whether heights are left out, by their number or their time.
    pub(crate) const fn cuts_heights(&self) -> bool {
        self.from_ns.is_some() || self.first_sequence.is_some()
    }

    /// In words.
    pub(crate) fn words(&self) -> &str {
        &self.words
    }

    /// As it stands in the JSON report.
    pub(crate) fn json(&self) -> String {
        // Numbers and lists of numbers: nothing in it can fail.
        serde_json::to_string(self).unwrap_or_else(|_| self.words.clone())
    }

    /// The same for the same part, in a form that can be hashed.
    pub(crate) fn canonical(&self) -> String {
        format!(
            "{:?} {:?} {:?} {:?} {:?}",
            self.from_ns, self.to_ns, self.first_sequence, self.last_sequence, self.ports
        )
    }
}
