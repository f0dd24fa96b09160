//! Prints what TCP tells of each link of captures, as JSON: `cargo run --example links -- CAPTURE...`. Needs no secrets.
//!
//! For `scripts/tshark-round-trips --compare`.

use std::convert::Infallible;
use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use bftap_analysis::facts::{FactSink, HeightFacts, LinkCountFact};
use bftap_pipeline::{Input, PipelineOptions, Progress, analyze};

/// Wants no heights.
struct Nowhere;

impl FactSink for Nowhere {
    type Error = Infallible;

    fn height(&mut self, _: &HeightFacts) -> Result<(), Infallible> {
        Ok(())
    }

    fn minute(&mut self, _: &[LinkCountFact]) -> Result<(), Infallible> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut inputs = Vec::new();
    for path in std::env::args().skip(1) {
        inputs.push(Input {
            read: Box::new(File::open(&path)?),
            path,
        });
    }
    let options = Arc::new(PipelineOptions::default());
    let analysis = analyze(inputs, options, &Progress::default(), &mut Nowhere)?;
    let text = serde_json::to_string_pretty(&analysis.facts.links)?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
