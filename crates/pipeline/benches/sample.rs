//! The whole way from a capture to facts, over the shipped sample: MiB and messages a second with all checks, and without MACs.

use std::convert::Infallible;
use std::hint::black_box;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use bftap_analysis::facts::{FactSink, HeightFacts, LinkCountFact};
use bftap_decrypt::keylog::LastLine;
use bftap_decrypt::{SecretStore, SessionOptions};
use bftap_pipeline::{Input, PipelineOptions, Progress, analyze};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

struct Nowhere;

impl FactSink for Nowhere {
    type Error = Infallible;

    fn height(&mut self, height: &HeightFacts) -> Result<(), Infallible> {
        black_box(height);
        Ok(())
    }

    fn minute(&mut self, links: &[LinkCountFact]) -> Result<(), Infallible> {
        black_box(links);
        Ok(())
    }
}

fn sample(c: &mut Criterion) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples/klaytn-7");
    let read = |file: &str| std::fs::read(folder.join(file)).expect("the sample is in the repository");
    let capture = read("capture.pcapng");
    let secrets = Arc::new(SecretStore::new());
    secrets.add_key_log(&read("sessions.keylog"), 1, LastLine::Whole, &"sample".into());

    let mut group = c.benchmark_group("sample");
    group.throughput(Throughput::Bytes(capture.len() as u64));
    for (name, verify_mac) in [("all checks", true), ("without MACs", false)] {
        let options = Arc::new(PipelineOptions {
            secrets: Arc::clone(&secrets),
            sessions: SessionOptions {
                verify_mac,
                ..SessionOptions::default()
            },
            ..PipelineOptions::default()
        });
        group.bench_function(name, |b| {
            b.iter(|| {
                let input = Input {
                    path: "sample".to_owned(),
                    read: Box::new(Cursor::new(capture.clone())),
                };
                analyze(
                    vec![input],
                    Arc::clone(&options),
                    &Progress::default(),
                    &mut Nowhere,
                )
            });
        });
    }
    group.finish();
}

criterion_group!(benches, sample);
criterion_main!(benches);
