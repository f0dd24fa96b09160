//! Records as an aggregator writes them are the seeds of the fuzz targets; here they are cut and changed.

use bftap_analysis::fuzzing::{fuzz_recall, fuzz_record};
use bftap_analysis::record::RecordWriter;
use bftap_analysis::{Aggregator, AnalysisOptions, Now, Observation, SessionEnd};

use crate::network::{Network, Tap, read_facts};

fn piece(seed: &mut Vec<u8>, what: u8, bytes: &[u8]) {
    seed.push(what);
    seed.extend_from_slice(&u16::try_from(bytes.len()).unwrap().to_be_bytes());
    seed.extend_from_slice(bytes);
}

fn observations() -> Vec<Observation> {
    let mut network = Network::new(4);
    network.height(5, &[0]);
    network.height(6, &[0, 1]);
    network.observations()
}

/// What was told in two pieces.
fn told() -> Vec<u8> {
    let observations = observations();
    let mut aggregator = Aggregator::new(AnalysisOptions::default());
    aggregator.keep_changes();
    let mut seed = Vec::new();
    let half = observations.len() / 2;
    for (number, observation) in observations.into_iter().enumerate() {
        aggregator.push(observation).unwrap();
        if number == half {
            aggregator.update(Now::default()).unwrap();
            let told = aggregator.changes(&[], false);
            piece(&mut seed, 0, &told.rest);
            piece(&mut seed, 1, &told.messages);
        }
    }
    aggregator.update(Now::default()).unwrap();
    let told = aggregator.changes(&[], false);
    piece(&mut seed, 2, &told.rest);
    piece(&mut seed, 3, &told.messages);
    seed
}

fn records() -> Vec<Vec<u8>> {
    let observations = observations();
    let ends: Vec<SessionEnd> = observations
        .iter()
        .filter_map(|observation| match observation {
            Observation::End(_, end) => Some((**end).clone()),
            _ => None,
        })
        .take(2)
        .collect();
    assert_eq!(ends.len(), 2);
    let read = read_facts(&observations, &Tap::Of(1));
    let mut seeds = Vec::new();
    let mut seed = |what: u8, put: &dyn Fn(&mut RecordWriter)| {
        let mut record = RecordWriter(vec![what]);
        put(&mut record);
        seeds.push(record.0);
    };
    seed(0, &|record| record.put(&ends));
    seed(3, &|record| record.put(&read));
    // Of a height and of a minute, without and with one entry that is cut.
    seed(5, &|record| (0..2).for_each(|_| record.u32(0)));
    seed(6, &|record| record.u32(1));
    seeds
}

fn check(entry: fn(&[u8]), name: &str, seeds: &[Vec<u8>], step: usize) {
    for (number, seed) in seeds.iter().enumerate() {
        if std::env::var_os("BFTAP_BLESS").is_some() {
            let folder = format!("{}/../../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(format!("{folder}/{number}"), seed).unwrap();
        }
        entry(seed);
        let mut changed = seed.clone();
        for place in (0..seed.len()).step_by(step) {
            entry(&seed[..place]);
            changed[place] ^= [0xff, 0x01, 0x80][place % 3];
            entry(&changed);
            changed[place] = seed[place];
        }
    }
}

#[test]
fn damaged_records_are_errors() {
    check(fuzz_record, "record", &records(), 1);
}

#[test]
fn damaged_recollections_are_errors() {
    check(fuzz_recall, "recall", &[told()], 29);
}
