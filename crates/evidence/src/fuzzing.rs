//! Entry point of the fuzz target, kept beside the code so that unit tests run it too.

use std::collections::BTreeMap;

use crate::bundle::{sha256, sums};
use crate::check::{Outcome, verify};
use crate::manifest::{FileEntry, MANIFEST, Manifest, README, SIGNATURE, SUMS};

/// Checks any bytes as a bundle: files one after the other, each with a byte for the length of its name, the name, three bytes for its length
/// (big-endian), and its content. An odd first byte asks for right hashes, so that what is behind them is reached.
///
/// Panics when a promise of this crate does not hold.
pub fn fuzz_bundle(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else {
        return;
    };
    let mut files = unpack(rest);
    if first & 1 == 1 {
        mend(&mut files);
    }
    let verdict = verify(&mut files.clone(), None);
    if verdict.outcome() == Outcome::Broken {
        assert!(verdict.findings.is_empty());
        assert!(
            verdict
                .problems
                .iter()
                .all(|problem| !problem.contains(char::is_control))
        );
        return;
    }
    assert!(
        verdict
            .findings
            .iter()
            .all(|finding| !finding.text.contains(char::is_control))
    );
    // Nothing may be taken away or added.
    for name in files.keys().filter(|name| *name != SIGNATURE) {
        let mut fewer = files.clone();
        fewer.remove(name);
        assert_eq!(
            verify(&mut fewer, None).outcome(),
            Outcome::Broken,
            "without {name}"
        );
    }
    files.insert("messages/more".to_owned(), Vec::new());
    assert_eq!(verify(&mut files, None).outcome(), Outcome::Broken);
}

/// The other way round, for seeds.
pub fn pack(files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut data = vec![1];
    for (name, content) in files {
        data.push(name.len() as u8);
        data.extend_from_slice(name.as_bytes());
        data.extend_from_slice(&(content.len() as u32).to_be_bytes()[1..]);
        data.extend_from_slice(content);
    }
    data
}

fn unpack(mut rest: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    while let Some((&len, after)) = rest.split_first() {
        let len = usize::from(len).min(after.len());
        let (name, after) = after.split_at(len);
        let Some((&[a, b, c], after)) = after.split_first_chunk() else {
            break;
        };
        let len = (u32::from_be_bytes([0, a, b, c]) as usize).min(after.len());
        let (content, after) = after.split_at(len);
        files.insert(String::from_utf8_lossy(name).into_owned(), content.to_vec());
        rest = after;
    }
    files
}

/// Writes the manifest as it should be written, with the hashes of the files that are there.
fn mend(files: &mut BTreeMap<String, Vec<u8>>) {
    let Some(mut manifest) = files
        .get(MANIFEST)
        .and_then(|text| serde_json::from_slice::<Manifest>(text).ok())
    else {
        return;
    };
    files.entry(README.to_owned()).or_default();
    manifest.files = files
        .iter()
        .filter(|(name, _)| ![MANIFEST, SUMS, SIGNATURE].contains(&name.as_str()))
        .map(|(name, content)| FileEntry {
            name: name.clone(),
            bytes: content.len() as u64,
            sha256: sha256(content),
        })
        .collect();
    let text = manifest.to_text().into_bytes();
    files.insert(SUMS.to_owned(), sums(&manifest, &text).into_bytes());
    files.insert(MANIFEST.to_owned(), text);
}
