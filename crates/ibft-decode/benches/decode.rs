//! Cost of one message: taking the envelope off (every copy), decoding (every distinct payload), recovering signers.

use std::hint::black_box;
use std::path::Path;

use bftap_ibft_decode::{SignatureCheck, dialect_named};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const LOCAL: u64 = 0x11;

const INPUTS: [(&str, &str, &str); 5] = [
    ("klaytn", "klaytn", "real-prepare"),
    ("klaytn", "klaytn", "real-commit"),
    ("klaytn", "klaytn", "real-preprepare-four-transactions"),
    ("quorum-ibft", "quorum_ibft", "real-prepare"),
    ("quorum-ibft", "quorum_ibft", "real-preprepare"),
];

fn decode(c: &mut Criterion) {
    for (name, folder, case) in INPUTS {
        let dialect = dialect_named(name).expect("a known dialect");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{folder}/{case}.hex"));
        let text = std::fs::read_to_string(path).expect("a golden input");
        let message = hex::decode(text.trim()).expect("hex");
        let payload = dialect.open(LOCAL, &message).expect("a good envelope").payload;

        let mut group = c.benchmark_group(format!("{name}/{case}"));
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_function("open", |b| b.iter(|| dialect.open(LOCAL, black_box(&message))));
        group.bench_function("decode", |b| {
            b.iter(|| dialect.decode(LOCAL, black_box(payload), SignatureCheck::Claimed));
        });
        group.bench_function("decode and recover", |b| {
            b.iter(|| dialect.decode(LOCAL, black_box(payload), SignatureCheck::Recover));
        });
        group.finish();
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
