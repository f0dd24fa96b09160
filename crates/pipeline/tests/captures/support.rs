//! Runs the pipeline over shared captures and collects everything it says.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{self, File};
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;

use bftap_analysis::facts::{FactSink, HeightFacts, LinkCountFact, RunFacts, SessionFact};
use bftap_analysis::{AnalysisOptions, KnownNode};
use bftap_decrypt::keylog::LastLine;
use bftap_decrypt::{SecretStore, SessionOptions};
use bftap_model::MacState;
use bftap_pipeline::{Input, PipelineOptions, Progress, analyze};

/// One analysis of shared captures.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) files: Vec<&'static str>,
    expected: &'static str,
    pub(crate) legacy: bool,
    pub(crate) verify_mac: bool,
    pub(crate) mac: MacState,
    /// Endpoints of sessions that have no secret here.
    pub(crate) without_secret: Vec<&'static str>,
}

/// What came out.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) heights: Vec<HeightFacts>,
    pub(crate) links: Vec<LinkCountFact>,
    pub(crate) facts: RunFacts,
}

impl Case {
    pub(crate) fn new(name: &str, files: &[&'static str], expected: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            files: files.to_vec(),
            expected,
            legacy: false,
            verify_mac: true,
            mac: MacState::Verified,
            without_secret: Vec::new(),
        }
    }

    fn folder(&self) -> Option<PathBuf> {
        Some(bftap_testkit::shared_captures()?.join(&self.name))
    }

    pub(crate) fn expected(&self) -> serde_json::Value {
        let text = fs::read(self.folder().unwrap().join(self.expected)).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// `None` where the captures are absent.
    pub(crate) fn analyze(&self, jobs: usize) -> Option<Found> {
        let folder = self.folder()?;
        let secrets = SecretStore::new();
        if self.legacy {
            for file in fs::read_dir(folder.join("legacy-secrets")).unwrap() {
                let content = fs::read(file.unwrap().path()).unwrap();
                secrets.add_legacy(&content, &"legacy".into()).unwrap();
            }
        } else {
            let text = fs::read(folder.join("sessions.keylog")).unwrap();
            secrets.add_key_log(&text, 1, LastLine::Whole, &"sessions.keylog".into());
        }
        let options = PipelineOptions {
            jobs,
            secrets: Arc::new(secrets),
            sessions: SessionOptions {
                verify_mac: self.verify_mac,
                ..SessionOptions::default()
            },
            analysis: AnalysisOptions {
                nodes: self.nodes(),
                ..AnalysisOptions::default()
            },
            ..PipelineOptions::default()
        };
        let input = |file: &&str| Input {
            path: (*file).to_owned(),
            read: Box::new(File::open(folder.join(file)).unwrap()),
        };
        let inputs = self.files.iter().map(input).collect();
        let mut found = Found::default();
        let analysis = analyze(inputs, Arc::new(options), &Progress::default(), &mut found).unwrap();
        assert_eq!(analysis.problems, Vec::<String>::new());
        found.facts = analysis.facts;
        assert!(
            found
                .facts
                .captures
                .iter()
                .all(|capture| capture.problem.is_none())
        );
        Some(found)
    }

    fn nodes(&self) -> Vec<KnownNode> {
        let text = fs::read(self.folder().unwrap().join("nodes.json")).unwrap();
        let nodes: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let node = |node: &serde_json::Value| KnownNode {
            name: node["name"].as_str().unwrap().to_owned(),
            ip: Some(node["ip"].as_str().unwrap().parse().unwrap()),
            port: None,
            node_id: Some(node["node_id"].as_str().unwrap().parse().unwrap()),
            address: None,
        };
        nodes.as_array().unwrap().iter().map(node).collect()
    }
}

/// Messages by receiver's IP address, sequence, round and kind.
pub(crate) type Counts = BTreeMap<(String, u64, u64, String), u64>;

/// Analyses captures in memory, as one.
pub(crate) fn analyze_bytes(files: Vec<Vec<u8>>, options: PipelineOptions) -> Found {
    let inputs = files
        .into_iter()
        .enumerate()
        .map(|(index, file)| Input {
            path: index.to_string(),
            read: Box::new(Cursor::new(file)),
        })
        .collect();
    let mut found = Found::default();
    let analysis = analyze(inputs, Arc::new(options), &Progress::default(), &mut found).unwrap();
    found.facts = analysis.facts;
    found
}

impl Found {
    /// Messages by receiver's IP address, sequence, round and kind.
    pub(crate) fn counts(&self) -> Counts {
        let mut sums = BTreeMap::new();
        for count in self.heights.iter().flat_map(|height| &height.counts) {
            let key = (
                count.receiver_ip.to_string(),
                count.sequence,
                count.round,
                count.kind.to_string(),
            );
            *sums.entry(key).or_default() += count.messages;
        }
        sums
    }

    /// Payloads by receiver's IP address and number of copies.
    pub(crate) fn copies(&self) -> BTreeMap<(String, u64), u64> {
        self.facts
            .copies
            .iter()
            .map(|row| ((row.receiver_ip.to_string(), row.copies), row.payloads))
            .collect()
    }

    pub(crate) fn session(&self, ends: (&str, &str)) -> Option<&SessionFact> {
        let is = |session: &&SessionFact| {
            session.initiator.to_string() == ends.0 && session.recipient.to_string() == ends.1
        };
        self.facts.sessions.iter().find(is)
    }

    /// Everything, to compare.
    pub(crate) fn text(&self) -> String {
        format!("{:#?}\n{:#?}\n{:#?}", self.heights, self.links, self.facts)
    }
}

impl FactSink for Found {
    type Error = Infallible;

    fn height(&mut self, height: &HeightFacts) -> Result<(), Infallible> {
        self.heights.push(height.clone());
        Ok(())
    }

    fn minute(&mut self, links: &[LinkCountFact]) -> Result<(), Infallible> {
        self.links.extend_from_slice(links);
        Ok(())
    }
}
