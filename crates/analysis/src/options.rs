//! What the user may say about the network, and how much memory the analysis may take.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use bftap_model::Address;

use crate::known::KnownPayloads;
use crate::proposer::ProposerPolicy;
use crate::quorum::QuorumRule;
use crate::rules::RuleOptions;
use crate::score::ScoreOptions;
use crate::who::KnownNode;

/// Settings of one analysis.
#[derive(Clone, Debug)]
pub struct AnalysisOptions {
    /// Names of nodes.
    pub nodes: Vec<KnownNode>,
    /// IP addresses whose own ports are captured.
    pub tapped: BTreeSet<IpAddr>,
    /// Ports on which every flow is a session.
    pub ports: BTreeSet<u16>,
    /// Validators, where headers shall not tell; any order.
    pub validators: Option<Vec<Address>>,
    /// Quorum rule, where client versions shall not tell.
    pub quorum: Option<QuorumRule>,
    /// Proposer policy, where proposals shall not tell.
    pub policy: Option<ProposerPolicy>,
    /// Votes are counted among at most so many validators (Klaytn's committee size, 21 unless governance says otherwise).
    pub committee: u32,
    /// Rows per sender and signer are made.
    pub deliveries: bool,
    /// Payloads and deliveries of open heights kept in memory (about 100 bytes each); more go to a temporary file.
    pub open_deliveries: usize,
    /// Links of open minutes kept in memory (about 50 bytes each); more go to a temporary file.
    pub open_links: usize,
    /// Sessions listed one by one; more are only counted, as a limit reached.
    pub listed_sessions: usize,
    /// Events kept; more are only counted, as a limit reached.
    pub listed_events: usize,
    /// No message is left out by its time or height: what does not come did not happen.
    pub whole: bool,
    /// When rules speak.
    pub rules: RuleOptions,
    /// What scores are made of.
    pub score: ScoreOptions,
    /// Peers to which nodes hand a payload on in the what-if of a fixed degree.
    pub what_if_degree: u32,
    /// Payloads that came before this run: their copies are no first ones.
    pub known_payloads: Arc<KnownPayloads>,
}

impl Default for AnalysisOptions {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            tapped: BTreeSet::new(),
            ports: BTreeSet::new(),
            validators: None,
            quorum: None,
            policy: None,
            committee: 21,
            deliveries: true,
            open_deliveries: 400_000,
            open_links: 400_000,
            listed_sessions: 200_000,
            listed_events: 10_000,
            whole: true,
            rules: RuleOptions::default(),
            score: ScoreOptions::default(),
            what_if_degree: 4,
            known_payloads: Arc::default(),
        }
    }
}
