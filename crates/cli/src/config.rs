//! The configuration file: what may be written ([`ConfigFile`]), and what it means ([`Config`]).
//!
//! `docs/config.md` and `docs/bftap.example.toml` explain every key; tests compare the sample with the built-in values.

mod rules;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bftap_analysis::ProposerPolicy;
use bftap_analysis::quorum::{QuorumRule, Threshold};
use bftap_decrypt::secret_store::SecretLimits;
use bftap_decrypt::{SecretStore, WaitingPool};
use bftap_ibft_decode::{Dialect, dialect_named, dialects};
use bftap_model::{Address, Nanos};
use bftap_pipeline::PipelineOptions;
use bftap_store::WriterOptions;
use serde::Deserialize;

use self::rules::{RulesTable, ScoreTable};
use crate::term::safe_display;

/// A configuration as it is written; every key may be left out.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct ConfigFile {
    dialect: Option<String>,
    consensus: ConsensusTable,
    store: StoreTable,
    limits: LimitsTable,
    rules: RulesTable,
    score: ScoreTable,
}

/// `[consensus]`: what the wire does not tell, or tells too late.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
struct ConsensusTable {
    validators: Option<Vec<String>>,
    committee: Option<u32>,
    quorum: Option<Threshold>,
    commits_prepare: Option<bool>,
    proposer_policy: Option<ProposerPolicy>,
}

/// `[store]`: what is stored, and what happens while the database is away.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
struct StoreTable {
    deliveries: Option<bool>,
    votes: Option<bool>,
    spool_mib: Option<u32>,
    spool_folder: Option<PathBuf>,
    patience_seconds: Option<u32>,
    answer_seconds: Option<u32>,
}

/// `[limits]`: how much may be held. Sizes are bytes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    reorder_bytes: Option<usize>,
    reorder_total_bytes: Option<usize>,
    flows: Option<usize>,
    remembered_flows: Option<usize>,
    idle_seconds: Option<u32>,
    acked_wait_ms: Option<u32>,
    unacked_wait_ms: Option<u32>,
    remember_seconds: Option<u32>,
    waiting_ciphertext_bytes: Option<usize>,
    seeking_ciphertext_bytes: Option<usize>,
    waiting_total_bytes: Option<usize>,
    frame_total_bytes: Option<usize>,
    payload_cache_bytes: Option<usize>,
    secrets: Option<usize>,
    secrets_per_session: Option<usize>,
    open_deliveries: Option<usize>,
    open_links: Option<usize>,
    listed_sessions: Option<usize>,
    listed_events: Option<usize>,
}

/// What a configuration means. The default is what holds without one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    dialect: Option<&'static dyn Dialect>,
    validators: Option<Vec<Address>>,
    quorum: Option<QuorumRule>,
    committee: Option<u32>,
    policy: Option<ProposerPolicy>,
    store: StoreTable,
    limits: LimitsTable,
    rules: RulesTable,
    score: ScoreTable,
}

/// Why a configuration file is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read { path: String, source: std::io::Error },
    /// It is not TOML, or has a key or a value that is not known.
    #[error("the configuration {path} is wrong (docs/config.md has every key):\n{source}")]
    Toml {
        path: String,
        source: Box<toml::de::Error>,
    },
    /// A value makes no sense.
    #[error("the configuration {path} is wrong: {key}: {why}")]
    Value {
        path: String,
        key: &'static str,
        why: String,
    },
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// It cannot be read, or does not mean anything; the message says where.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let shown = || safe_display(path.display());
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: shown(),
            source,
        })?;
        let file: ConfigFile = toml::from_str(&text).map_err(|source| ConfigError::Toml {
            path: shown(),
            source: Box::new(source),
        })?;
        file.resolve().map_err(|(key, why)| ConfigError::Value {
            path: shown(),
            key,
            why,
        })
    }

    /// Bounds of the store of secrets.
    pub(crate) fn secret_limits(&self) -> SecretLimits {
        let default = SecretLimits::default();
        SecretLimits {
            per_session: self.limits.secrets_per_session.unwrap_or(default.per_session),
            total: self.limits.secrets.unwrap_or(default.total),
        }
    }

    /// What the writer of the store does while the database is away.
    pub(crate) fn writer(&self) -> WriterOptions {
        let default = WriterOptions::default();
        let seconds = |seconds: Option<u32>| seconds.map(|seconds| Duration::from_secs(seconds.into()));
        WriterOptions {
            spool_bytes: self
                .store
                .spool_mib
                .map_or(default.spool_bytes, |mib| u64::from(mib) << 20),
            spool_folder: self.store.spool_folder.clone().unwrap_or(default.spool_folder),
            patience: seconds(self.store.patience_seconds).unwrap_or(default.patience),
            answer: seconds(self.store.answer_seconds).unwrap_or(default.answer),
            votes: self.store.votes.unwrap_or(default.votes),
        }
    }

    /// The pipeline's settings, as far as they are configured.
    pub(crate) fn pipeline(&self, secrets: SecretStore) -> PipelineOptions {
        let mut options = PipelineOptions {
            dialect: self.dialect,
            secrets: Arc::new(secrets),
            ..PipelineOptions::default()
        };
        let analysis = &mut options.analysis;
        analysis.validators.clone_from(&self.validators);
        analysis.quorum = self.quorum;
        analysis.policy = self.policy;
        analysis.deliveries = self.store.deliveries.unwrap_or(analysis.deliveries);
        let set = |value: &mut usize, configured: Option<usize>| *value = configured.unwrap_or(*value);
        analysis.committee = self.committee.unwrap_or(analysis.committee);
        set(&mut analysis.open_deliveries, self.limits.open_deliveries);
        set(&mut analysis.open_links, self.limits.open_links);
        set(&mut analysis.listed_sessions, self.limits.listed_sessions);
        set(&mut analysis.listed_events, self.limits.listed_events);
        analysis.rules = self.rules.options();
        analysis.score = self.score.options();
        let flows = &mut options.flows;
        set(&mut flows.direction_bytes, self.limits.reorder_bytes);
        set(&mut flows.total_bytes, self.limits.reorder_total_bytes);
        set(&mut flows.flows, self.limits.flows);
        set(&mut flows.remembered, self.limits.remembered_flows);
        let wait = |span: &mut Nanos, configured: Option<Nanos>| *span = configured.unwrap_or(*span);
        let seconds = |seconds: Option<u32>| seconds.map(|seconds| Nanos::from_secs(seconds.into()));
        let millis = |millis: Option<u32>| millis.map(|millis| Nanos::from_millis(millis.into()));
        wait(&mut flows.idle, seconds(self.limits.idle_seconds));
        wait(&mut flows.acked_wait, millis(self.limits.acked_wait_ms));
        wait(&mut flows.unacked_wait, millis(self.limits.unacked_wait_ms));
        wait(&mut flows.remember, seconds(self.limits.remember_seconds));
        set(
            &mut options.sessions.waiting_limit,
            self.limits.waiting_ciphertext_bytes,
        );
        set(
            &mut options.sessions.seeking_limit,
            self.limits.seeking_ciphertext_bytes,
        );
        if let Some(limit) = self.limits.waiting_total_bytes {
            options.sessions.waiting = WaitingPool::new(limit);
        }
        if let Some(limit) = self.limits.frame_total_bytes {
            options.sessions.frames = WaitingPool::new(limit);
        }
        set(&mut options.payload_cache, self.limits.payload_cache_bytes);
        options
    }
}

impl ConfigFile {
    fn resolve(self) -> Result<Config, (&'static str, String)> {
        let dialect = match self.dialect {
            None => None,
            Some(name) => Some(dialect_named(&name).ok_or_else(|| {
                let names: Vec<_> = dialects().iter().map(|dialect| dialect.name()).collect();
                (
                    "dialect",
                    format!("there is no such dialect; there are {}", names.join(", ")),
                )
            })?),
        };
        let consensus = self.consensus;
        let validators = consensus.validators.map(|texts| addresses(&texts)).transpose()?;
        if consensus.committee == Some(0) {
            return Err(("consensus.committee", "nobody could vote; 1 or more".to_owned()));
        }
        let quorum = match (consensus.quorum, consensus.commits_prepare) {
            (Some(threshold), commits_prepare) => {
                let commits_prepare = commits_prepare.unwrap_or(QuorumRule::ISTANBUL.commits_prepare);
                Some(QuorumRule {
                    threshold,
                    commits_prepare,
                })
            }
            (None, None) => None,
            (None, Some(_)) => {
                return Err((
                    "consensus.commits_prepare",
                    "it belongs to consensus.quorum, which is not set".to_owned(),
                ));
            }
        };
        self.limits.check()?;
        self.rules.check()?;
        self.score.check()?;
        if self.store.answer_seconds == Some(0) {
            return Err(("store.answer_seconds", "1 or more".to_owned()));
        }
        if self.store.spool_mib == Some(0) {
            return Err(("store.spool_mib", "1 or more".to_owned()));
        }
        Ok(Config {
            dialect,
            validators,
            quorum,
            committee: consensus.committee,
            policy: consensus.proposer_policy,
            store: self.store,
            limits: self.limits,
            rules: self.rules,
            score: self.score,
        })
    }
}

impl LimitsTable {
    /// A limit of nothing would lose everything in silence.
    fn check(&self) -> Result<(), (&'static str, String)> {
        for (key, value) in [
            ("limits.flows", self.flows),
            (
                "limits.idle_seconds",
                self.idle_seconds.map(|seconds| seconds as usize),
            ),
            ("limits.secrets", self.secrets),
            ("limits.secrets_per_session", self.secrets_per_session),
            ("limits.listed_sessions", self.listed_sessions),
            ("limits.listed_events", self.listed_events),
        ] {
            if value == Some(0) {
                return Err((key, "1 or more".to_owned()));
            }
        }
        Ok(())
    }
}

fn addresses(texts: &[String]) -> Result<Vec<Address>, (&'static str, String)> {
    const KEY: &str = "consensus.validators";
    if texts.is_empty() {
        return Err((
            KEY,
            "the list is empty; leave it out to learn validators from proposals".to_owned(),
        ));
    }
    let mut addresses = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let address: Address = text
            .parse()
            .map_err(|error| (KEY, format!("entry {}: {error}", index + 1)))?;
        if addresses.contains(&address) {
            return Err((KEY, format!("entry {}: {address} is there twice", index + 1)));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/bftap.example.toml"
    ));
    const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/config.md"));

    /// The sample with every `#key = ...` switched on.
    fn sample_with_everything() -> String {
        let mut text = String::new();
        for line in SAMPLE.lines() {
            text.push_str(
                line.strip_prefix('#')
                    .filter(|rest| !rest.starts_with(' '))
                    .unwrap_or(line),
            );
            text.push('\n');
        }
        text
    }

    fn parse(text: &str) -> Result<Config, String> {
        let file: ConfigFile = toml::from_str(text).map_err(|error| error.to_string())?;
        file.resolve().map_err(|(key, why)| format!("{key}: {why}"))
    }

    /// What the pipeline is told, in comparable form.
    fn meaning(config: &Config) -> String {
        let options = config.pipeline(SecretStore::with_limits(config.secret_limits()));
        format!("{options:#?} {:?}", config.writer())
    }

    #[test]
    fn the_sample_says_what_holds_without_a_file() {
        assert_eq!(meaning(&parse(SAMPLE).unwrap()), meaning(&Config::default()));
        let limits: ConfigFile = toml::from_str(SAMPLE).unwrap();
        let all_limits = format!("{:?}", limits.limits);
        assert!(
            !all_limits.contains("None"),
            "a limit is missing in the sample: {all_limits}"
        );
    }

    #[test]
    fn the_sample_has_every_key_and_each_is_documented() {
        let text = sample_with_everything();
        let config: ConfigFile = toml::from_str(&text).unwrap();
        assert!(
            !format!("{config:?}").contains("None"),
            "a key is missing in the sample: {config:?}"
        );
        parse(&text).unwrap();
        let keys = text
            .lines()
            .filter_map(|line| line.split_once(" = "))
            .map(|(key, _)| key);
        for key in keys.filter(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_')) {
            assert!(
                PAGE.contains(&format!("`{key}`")),
                "docs/config.md does not explain {key}"
            );
        }
    }

    #[test]
    fn values_reach_the_pipeline() {
        let config = parse(
            "dialect = \"quorum-ibft\"\n[consensus]\ncommittee = 4\nquorum = \"ceil-2n/3\"\nproposer_policy = \"sticky\"\n\
             validators = [\"0x7e3d7640ffc956d8f7024664c4506049ebd5954b\"]\n[store]\ndeliveries = false\n[limits]\nwaiting_ciphertext_bytes = 77\n\
             seeking_ciphertext_bytes = 78\nwaiting_total_bytes = 79\nframe_total_bytes = 80\n\
             secrets = 5\nopen_deliveries = 9\nreorder_bytes = 3\nacked_wait_ms = 2500\n\
             [rules]\noff = [\"volume\"]\nsilent_seconds = 9\nslow_ms = 7\nstale_heights = 3\nlisted = 2\n\
             [score]\nhalf_life_seconds = 60\ninvalid_weight = -3\n",
        )
        .unwrap();
        let options = config.pipeline(SecretStore::new());
        assert_eq!(options.dialect.unwrap().name(), "quorum-ibft");
        assert_eq!(options.analysis.committee, 4);
        assert_eq!(
            options.analysis.quorum.unwrap().threshold,
            Threshold::CeilTwoThirds
        );
        assert_eq!(options.analysis.policy, Some(ProposerPolicy::Sticky));
        assert_eq!(options.analysis.validators.unwrap().len(), 1);
        assert!(!options.analysis.deliveries);
        assert_eq!(options.analysis.open_deliveries, 9);
        let rules = &options.analysis.rules;
        assert_eq!(
            (rules.silent, rules.slow),
            (Nanos::from_secs(9), Nanos::from_millis(7))
        );
        assert_eq!((rules.stale_heights, rules.listed), (3, 2));
        assert!(rules.off.contains("volume") && rules.off.len() == 1);
        let score = &options.analysis.score;
        assert_eq!(
            (score.half_life, score.invalid_weight),
            (Nanos::from_secs(60), -3.0)
        );
        assert_eq!(options.sessions.waiting_limit, 77);
        assert_eq!(options.sessions.seeking_limit, 78);
        assert!(format!("{:?}", options.sessions.waiting).contains("limit: 79"));
        assert!(format!("{:?}", options.sessions.frames).contains("limit: 80"));
        assert_eq!(options.flows.direction_bytes, 3);
        assert_eq!(options.flows.acked_wait, Nanos::from_millis(2500));
        assert_eq!(config.secret_limits().total, 5);
        let config = parse(
            "[store]\nvotes = false\nspool_mib = 3\nspool_folder = \"here\"\npatience_seconds = 9\nanswer_seconds = 10\n",
        )
        .unwrap();
        let expected = WriterOptions {
            spool_bytes: 3 << 20,
            spool_folder: "here".into(),
            patience: Duration::from_secs(9),
            answer: Duration::from_secs(10),
            votes: false,
        };
        assert_eq!(config.writer(), expected);
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, part) in [
            ("[limits]\nreorder = 1\n", "unknown field `reorder`"),
            (
                "dialect = \"raft\"\n",
                "dialect: there is no such dialect; there are klaytn, quorum-ibft",
            ),
            ("[consensus]\nquorum = \"half\"\n", "unknown variant `half`"),
            (
                "[consensus]\nvalidators = []\n",
                "consensus.validators: the list is empty",
            ),
            (
                "[consensus]\nvalidators = [\"0x12\"]\n",
                "entry 1: 2 characters where 40 hex digits belong",
            ),
            (
                "[consensus]\ncommits_prepare = true\n",
                "consensus.commits_prepare: it belongs to consensus.quorum",
            ),
            (
                "[consensus]\ncommittee = 0\n",
                "consensus.committee: nobody could vote",
            ),
            ("[limits]\nsecrets = 0\n", "limits.secrets: 1 or more"),
            ("[store]\nspool_mib = 0\n", "store.spool_mib: 1 or more"),
            ("[limits]\nsecrets = -1\n", "line 2"),
            ("[rules]\nsilent = 1\n", "unknown field `silent`"),
            (
                "[rules]\noff = [\"silent\"]\n",
                "rules.off: there is no rule \"silent\"; there are bad_signature,",
            ),
            ("[rules]\nlisted = 0\n", "rules.listed: 1 or more"),
            (
                "[rules]\nfuture_heights = 65\n",
                "rules.future_heights: at most 64",
            ),
            (
                "[score]\nhalf_life_seconds = 0\n",
                "score.half_life_seconds: 1 or more",
            ),
            ("[score]\ninvalid_weight = 1\n", "score.invalid_weight: 0 or less"),
            (
                "[score]\ntime_in_mesh_cap = nan\n",
                "score.time_in_mesh_cap: 0 or more",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
        let twice = format!(
            "[consensus]\nvalidators = [\"0x{0}\", \"{0}\"]\n",
            "11".repeat(20)
        );
        assert!(parse(&twice).unwrap_err().contains("is there twice"));
    }
}
