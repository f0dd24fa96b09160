//! Checking a bundle that may come from anybody.
//!
//! Nothing in it is believed: what the manifest says of messages, headers and seals is made anew from their bytes, and has to be the same.

use std::collections::{BTreeMap, BTreeSet};

use bftap_model::is_harmless;

use crate::bundle::{sha256, sums};
use crate::claim::ClaimKind;
use crate::findings::{self, Finding, is_proven};
use crate::manifest::{MANIFEST, Manifest, PACKETS, README, SIGNATURE, SUMS};
use crate::material::{Anchor, Header, MAX_HEADER, Material, Message};
use crate::pcapng;
use crate::signing::{self, PublicKey};
use crate::source::Source;

/// What came of a check.
#[derive(Debug)]
pub struct Verdict {
    /// What is wrong with the bundle itself; then nothing in it counts.
    pub problems: Vec<String>,
    /// What its bytes prove and what not.
    pub findings: Vec<Finding>,
    /// Whose signature is under it.
    pub signed: SignedBy,
    /// Its manifest, if it could be read. Hostile as long as there are problems; its texts are so always.
    pub manifest: Option<Manifest>,
}

/// Whose signature is under a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedBy {
    /// Nobody's.
    Nobody,
    /// That of a key which nobody asked for: whose it is must be known from elsewhere.
    Someone(PublicKey),
    /// That of the key that was asked for.
    TheKey(PublicKey),
}

/// The verdict in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Whole, and all that the claim needs is proven.
    Proven,
    /// Whole, but something that the claim needs is not proven.
    NotProven,
    /// Changed, incomplete, or not what it says.
    Broken,
}

impl Verdict {
    /// See [`Outcome`].
    pub fn outcome(&self) -> Outcome {
        if !self.problems.is_empty() {
            Outcome::Broken
        } else if is_proven(&self.findings) {
            Outcome::Proven
        } else {
            Outcome::NotProven
        }
    }
}

/// Checks a bundle; with `key`, it must be signed by it.
pub fn verify(source: &mut dyn Source, key: Option<&PublicKey>) -> Verdict {
    let mut verdict = Verdict {
        problems: Vec::new(),
        findings: Vec::new(),
        signed: SignedBy::Nobody,
        manifest: None,
    };
    if let Err(problem) = check(source, key, &mut verdict) {
        verdict.problems.push(problem);
    }
    // Parts of them are the bundle's own words.
    for problem in &mut verdict.problems {
        *problem = harmless(problem);
    }
    if !verdict.problems.is_empty() {
        verdict.findings.clear();
    }
    verdict
}

/// Everything; an error where going on makes no sense.
fn check(source: &mut dyn Source, key: Option<&PublicKey>, verdict: &mut Verdict) -> Result<(), String> {
    let names: BTreeSet<String> = source
        .names(MAX_FILES)
        .map_err(|error| format!("the folder cannot be listed: {error}"))?
        .into_iter()
        .collect();
    let text = read(source, MANIFEST, MAX_MANIFEST)?;
    let manifest = Manifest::parse(&text).map_err(|error| told(MANIFEST, error))?;
    let manifest = verdict.manifest.insert(manifest);

    if names.contains(SIGNATURE) {
        let signature = read(source, SIGNATURE, MAX_SMALL)?;
        match signing::check(&signature, &text) {
            Ok(found) if key == Some(&found) => verdict.signed = SignedBy::TheKey(found),
            Ok(found) => {
                verdict.signed = SignedBy::Someone(found);
                if key.is_some() {
                    verdict
                        .problems
                        .push(format!("{SIGNATURE} is of another key, {found}"));
                }
            }
            Err(problem) => verdict.problems.push(told(SIGNATURE, problem)),
        }
    } else if key.is_some() {
        verdict.problems.push("it is not signed".to_owned());
    }

    check_names(manifest, &names)?;
    let expected = sums(manifest, &text);
    if read(source, SUMS, expected.len() as u64)? != expected.as_bytes() {
        return Err(format!(
            "{SUMS} does not list the files of {MANIFEST} with their hashes"
        ));
    }
    check_claim(manifest)?;
    let files = read_files(source, manifest)?;
    let material = material_of(manifest, &files)?;
    let found = findings::of(&material);
    let marks: Vec<_> = found.iter().map(Finding::mark).collect();
    if marks != manifest.findings {
        return Err(format!("{MANIFEST}: its findings are not what the messages show"));
    }
    verdict.findings = found;
    Ok(())
}

/// The manifest lists each file once, in order, under a name that leads nowhere else; and those files are there, and no others.
fn check_names(manifest: &Manifest, names: &BTreeSet<String>) -> Result<(), String> {
    let mut listed = BTreeSet::new();
    let mut before = "";
    let mut total = 0_u64;
    for file in &manifest.files {
        if !is_plain(&file.name) || file.name.as_str() <= before {
            return Err(format!("{MANIFEST} lists a file in a wrong way: {}", file.name));
        }
        before = &file.name;
        listed.insert(file.name.as_str());
        total = total.saturating_add(file.bytes);
    }
    if listed.len() > MAX_FILES || total > MAX_TOTAL {
        return Err(format!(
            "it is larger than any bundle: {} files, {total} bytes",
            listed.len()
        ));
    }
    if !listed.contains(README) {
        return Err(format!("{MANIFEST} does not list {README}"));
    }
    for name in [MANIFEST, SUMS, SIGNATURE] {
        if listed.contains(name) {
            return Err(format!("{MANIFEST} lists {name}"));
        }
    }
    let own = [MANIFEST, SUMS, SIGNATURE];
    let missing = listed.iter().find(|name| !names.contains(**name));
    if let Some(missing) = missing {
        return Err(format!("{missing} is missing"));
    }
    if !names.contains(SUMS) {
        return Err(format!("{SUMS} is missing"));
    }
    let more = names
        .iter()
        .find(|name| !listed.contains(name.as_str()) && !own.contains(&name.as_str()));
    match more {
        Some(name) => Err(format!("{name} does not belong to the bundle")),
        None => Ok(()),
    }
}

/// A file at the top, or in one of the two folders: `messages/001-commit-00ff.bin`.
fn is_plain(name: &str) -> bool {
    let file = name
        .strip_prefix("messages/")
        .or_else(|| name.strip_prefix("headers/"));
    match file {
        Some(file) => is_plain_part(file),
        None => name == README || name == PACKETS,
    }
}

fn is_plain_part(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
}

/// Reads all files and compares their hashes; keeps messages and headers.
fn read_files(source: &mut dyn Source, manifest: &Manifest) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut kept = BTreeMap::new();
    for file in &manifest.files {
        let bytes = read(source, &file.name, file.bytes)?;
        if bytes.len() as u64 != file.bytes || sha256(&bytes) != file.sha256 {
            return Err(format!("{} was changed: its hash is another one", file.name));
        }
        if file.name == PACKETS {
            let counted = pcapng::packets(&bytes).map_err(|why| told(PACKETS, why))?;
            let said = manifest.packets.as_ref();
            if said.is_none_or(|said| said.file != PACKETS || said.count != counted) {
                return Err(format!(
                    "{PACKETS} holds {counted} packets, {MANIFEST} says otherwise"
                ));
            }
        } else if file.name != README {
            kept.insert(file.name.clone(), bytes);
        }
    }
    let has_packets = manifest.files.iter().any(|file| file.name == PACKETS);
    if manifest.packets.is_some() != has_packets {
        return Err(format!("{MANIFEST} tells of packets that are not there"));
    }
    Ok(kept)
}

/// A bundle for one rule must not claim what another one is about.
fn check_claim(manifest: &Manifest) -> Result<(), String> {
    if manifest.claim.what != ClaimKind::of_rule(&manifest.event.rule) {
        return Err(format!(
            "{MANIFEST} claims `{}` for an event of the rule `{}`",
            manifest.claim.what.as_str(),
            manifest.event.rule
        ));
    }
    if manifest.headers.len() > MAX_HEADERS || manifest.anchors.len() > MAX_ANCHORS {
        return Err(format!(
            "{MANIFEST} has more headers or sealed blocks than any bundle"
        ));
    }
    Ok(())
}

/// Reads messages, headers and seals anew, and compares with what the manifest says of them.
fn material_of(manifest: &Manifest, files: &BTreeMap<String, Vec<u8>>) -> Result<Material, String> {
    let differs = |file: &str| format!("{MANIFEST} says of {file} what is not in it");
    let mut left: BTreeSet<&str> = files.keys().map(String::as_str).collect();
    let mut messages = Vec::with_capacity(manifest.messages.len());
    for entry in &manifest.messages {
        let name = &entry.file;
        let bytes = files
            .get(&entry.file)
            .filter(|_| entry.file.starts_with("messages/") && left.remove(entry.file.as_str()))
            .ok_or_else(|| format!("{MANIFEST}: {name} is no message of the bundle"))?;
        let message = Message::read(
            &entry.file,
            entry.accused,
            &entry.dialect,
            entry.local_code,
            bytes,
        )
        .map_err(|why| told(name, why))?;
        if message.entry(entry.places.clone(), entry.places_left_out) != *entry {
            return Err(differs(name));
        }
        messages.push(message);
    }
    let mut headers = Vec::with_capacity(manifest.headers.len());
    for entry in &manifest.headers {
        let name = &entry.file;
        let bytes = files
            .get(&entry.file)
            .filter(|_| entry.file.starts_with("headers/") && left.remove(entry.file.as_str()))
            .ok_or_else(|| format!("{MANIFEST}: {name} is no header of the bundle"))?;
        if bytes.len() > MAX_HEADER {
            return Err(told(name, "it is longer than any header"));
        }
        let header = Header::read(&entry.file, &entry.dialect, bytes).map_err(|why| told(name, why))?;
        if header.entry() != *entry {
            return Err(differs(name));
        }
        headers.push(header);
    }
    if let Some(name) = left.first() {
        return Err(format!("{MANIFEST} says nothing of {name}"));
    }
    let mut anchors = Vec::with_capacity(manifest.anchors.len());
    for entry in &manifest.anchors {
        let index = headers
            .iter()
            .position(|header: &Header| header.file == entry.header);
        let index = index.ok_or_else(|| format!("{MANIFEST}: a sealed block has no header"))?;
        let anchor = Anchor::count(&headers, index, &messages, &entry.seals)
            .map_err(|why| format!("{MANIFEST}: {why}"))?;
        if anchor.entry(&headers).as_ref() != Some(entry) {
            return Err(format!("{MANIFEST} says of a sealed block what its seals do not"));
        }
        anchors.push(anchor);
    }
    Ok(Material {
        claim: manifest.claim.clone(),
        messages,
        headers,
        anchors,
    })
}

fn read(source: &mut dyn Source, name: &str, limit: u64) -> Result<Vec<u8>, String> {
    source.read(name, limit).map_err(|error| told(name, error))
}

/// What would move or hide text on a terminal is escaped.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().take(MAX_PROBLEM) {
        if is_harmless(c) {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out
}

fn told(name: &str, why: impl std::fmt::Display) -> String {
    format!("{name}: {why}")
}

/// Files of a bundle: thousands of seals at most.
const MAX_FILES: usize = 4096;
const MAX_NAME: usize = 100;
/// Characters of a problem.
const MAX_PROBLEM: usize = 1000;
/// Bytes of all files.
const MAX_TOTAL: u64 = 512 << 20;
const MAX_MANIFEST: u64 = 64 << 20;
const MAX_SMALL: u64 = 4096;
/// Sealed blocks: the parent alone counts.
const MAX_ANCHORS: usize = 4;
/// Headers: of the blocks voted for, and of sealed ones. Each may hold many seals, and a seal takes time.
const MAX_HEADERS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        for name in [
            "README.md",
            "packets.pcapng",
            "messages/001-commit-00ff.bin",
            "headers/00ff.rlp",
        ] {
            assert!(is_plain(name), "{name}");
        }
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "messages/",
            "messages/..",
            "messages/.hidden",
            "messages/../../x",
            "messages/a/b",
            "headers/\0",
            "headers/a\\b",
            "messages/C:x",
            "other/a",
            "x",
            "manifest.json",
            &format!("messages/{}", "a".repeat(101)),
        ] {
            assert!(!is_plain(name), "{name:?}");
        }
    }
}
