//! The figures that are shown, gathered from where they are counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bftap_analysis::facts::SessionState;
use bftap_analysis::{MessageSums, Update};
use bftap_capture::source::InputStats;
use bftap_capture::source::live::LiveWatch;
use bftap_decrypt::SecretStore;
use bftap_ibft_decode::Kind;
use bftap_model::CaptureTime;
use bftap_pipeline::{Moment, Progress};
use bftap_store::WriterStatus;

use crate::metrics::resident_bytes;
use crate::raw_out::WriteStatus;

/// Where figures come from.
pub(crate) struct Sources {
    /// The run's name.
    pub(crate) run: String,
    /// Where rows go, without a password.
    pub(crate) store_url: String,
    pub(crate) interfaces: LiveWatch,
    pub(crate) progress: Arc<Progress>,
    pub(crate) secrets: Arc<SecretStore>,
    pub(crate) store: Option<Arc<WriterStatus>>,
    pub(crate) written: Option<Arc<WriteStatus>>,
}

/// What the latest update said.
#[derive(Clone, Debug, Default)]
pub(super) struct Judged {
    /// Highest height of each chain, and its highest round.
    pub(super) chains: BTreeMap<String, (u64, u64)>,
    /// Messages by kind.
    pub(super) kinds: BTreeMap<Kind, MessageSums>,
    /// Sessions by state.
    pub(super) sessions: [u64; 5],
    pub(super) gaps: u64,
    pub(super) lost_bytes: u64,
    pub(super) undecodable: u64,
    pub(super) consensus_messages: u64,
    /// Limits reached, all together.
    pub(super) limits: u64,
    /// Its newest packet.
    pub(super) seen: Option<CaptureTime>,
    /// How long that packet took to be judged.
    pub(super) age: Duration,
}

/// States of sessions, in the order they are shown.
pub(super) const STATES: [(SessionState, &str); 5] = [
    (SessionState::Decrypted, "decrypted"),
    (SessionState::NoSecret, "without secret"),
    (SessionState::NoHandshake, "without handshake"),
    (SessionState::Lost, "lost"),
    (SessionState::Failed, "failed"),
];

/// Chains that are shown; peers could make up more.
const MOST_CHAINS: usize = 16;

impl Judged {
    pub(super) fn take(&mut self, update: &Update, at: Moment, age: Duration) {
        for height in &update.heights {
            // One liar can name any height and round.
            for round in height.rounds.iter().filter(|round| round.standing.is_there()) {
                if let Some(highest) = self.chains.get_mut(&*round.chain) {
                    *highest = (*highest).max((round.sequence, round.round));
                } else if self.chains.len() < MOST_CHAINS {
                    self.chains
                        .insert(round.chain.to_string(), (round.sequence, round.round));
                }
            }
        }
        self.kinds.clear();
        for sum in &update.sums {
            let kind = self.kinds.entry(sum.kind).or_default();
            kind.messages += sum.sums.messages;
            kind.useful += sum.sums.useful;
            kind.repeats += sum.sums.repeats;
            kind.echoes += sum.sums.echoes;
        }
        let sessions = &update.facts.sessions;
        self.sessions =
            STATES.map(|(state, _)| sessions.iter().filter(|session| session.state == state).count() as u64);
        let totals = &update.facts.totals;
        self.gaps = totals.gaps;
        self.lost_bytes = totals.lost_bytes;
        self.undecodable = totals.undecodable;
        self.consensus_messages = totals.consensus_messages;
        self.limits = totals.limits_reached.values().sum();
        // Where nothing came since, only time has passed: nothing lags behind.
        if at.seen != self.seen {
            self.seen = at.seen;
            self.age = age;
        }
    }
}

/// Everything that is shown at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct LiveFacts {
    pub(super) run: String,
    pub(super) running: Duration,
    pub(super) interfaces: Vec<InterfaceFacts>,
    /// Packets that came too late to be put in order.
    pub(super) late: u64,
    pub(super) lag: Duration,
    /// Batches that wait for the workers, for the merging of what they found, and for the store.
    pub(super) queues: [u64; 3],
    pub(super) memory: u64,
    /// Sessions joined in their middle are being looked for.
    pub(super) searching: bool,
    pub(super) secrets: usize,
    pub(super) judged: Judged,
    pub(super) store: Option<StoreFacts>,
    pub(super) written: Option<WrittenFacts>,
}

/// One interface.
#[derive(Clone, Debug, Default)]
pub(super) struct InterfaceFacts {
    pub(super) stats: InputStats,
    pub(super) packets_a_second: f64,
    pub(super) bits_a_second: f64,
}

/// How storing goes.
#[derive(Clone, Debug, Default)]
pub(super) struct StoreFacts {
    pub(super) url: String,
    pub(super) commits: u64,
    pub(super) committed_ago: Option<Duration>,
    pub(super) away: bool,
    pub(super) spooled_batches: u64,
    pub(super) spooled_bytes: u64,
}

/// How keeping raw packets goes.
#[derive(Clone, Debug, Default)]
pub(super) struct WrittenFacts {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) left_out: u64,
}

/// Gathers, and makes rates of two moments.
pub(super) struct Gatherer {
    sources: Sources,
    judged: Arc<Mutex<Judged>>,
    started: Instant,
    before: Instant,
    inputs: Vec<InputStats>,
    rates: Vec<(f64, f64)>,
}

/// Rates are of at least so long.
const RATE_SPAN: Duration = Duration::from_millis(900);

impl Gatherer {
    pub(super) fn new(sources: Sources, judged: Arc<Mutex<Judged>>) -> Self {
        let started = now();
        Self {
            inputs: sources.interfaces.inputs(),
            sources,
            judged,
            started,
            before: started,
            rates: Vec::new(),
        }
    }

    pub(super) fn gather(&mut self) -> LiveFacts {
        let at = now();
        let inputs = self.sources.interfaces.inputs();
        let span = at.duration_since(self.before);
        if span >= RATE_SPAN || self.rates.is_empty() {
            let seconds = span.as_secs_f64().max(0.001);
            self.rates = inputs
                .iter()
                .zip(&self.inputs)
                .map(|(now, before)| {
                    let packets = now.packets.saturating_sub(before.packets) as f64;
                    let bytes = now.bytes.saturating_sub(before.bytes) as f64;
                    (packets / seconds, bytes * 8.0 / seconds)
                })
                .collect();
            self.inputs.clone_from(&inputs);
            self.before = at;
        }
        let interfaces = inputs
            .into_iter()
            .zip(&self.rates)
            .map(|(stats, &(packets_a_second, bits_a_second))| InterfaceFacts {
                stats,
                packets_a_second,
                bits_a_second,
            })
            .collect();
        let sources = &self.sources;
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let counts = sources.secrets.counts();
        let progress = &sources.progress;
        LiveFacts {
            run: sources.run.clone(),
            running: at.duration_since(self.started),
            interfaces,
            late: sources.interfaces.late(),
            lag: sources.interfaces.delay() + judged.age,
            queues: [
                load(&progress.queued_batches),
                load(&progress.queued_observations),
                sources
                    .store
                    .as_ref()
                    .map_or(0, |store| load(&store.waiting_batches)),
            ],
            memory: resident_bytes(),
            searching: progress.searching.load(Ordering::Relaxed),
            secrets: counts.whole + counts.aes_named + counts.aes_only,
            judged,
            store: sources.store.as_ref().map(|store| {
                let committed = store.committed_ns.load(Ordering::Relaxed);
                StoreFacts {
                    url: sources.store_url.clone(),
                    commits: load(&store.commits),
                    committed_ago: (committed > 0).then(|| {
                        Duration::from_nanos(wall_ns().saturating_sub(committed).max(0).unsigned_abs())
                    }),
                    away: store.away.load(Ordering::Relaxed),
                    spooled_batches: load(&store.spooled_batches),
                    spooled_bytes: load(&store.spooled_bytes),
                }
            }),
            written: sources.written.as_ref().map(|written| WrittenFacts {
                packets: load(&written.packets),
                bytes: load(&written.bytes),
                left_out: load(&written.left_out),
            }),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "rates are by this machine's clock")]
fn now() -> Instant {
    Instant::now()
}

#[allow(
    clippy::disallowed_methods,
    reason = "the age of a commit is by this machine's clock"
)]
fn wall_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn an_idle_interface_does_not_lag() {
        let mut judged = Judged::default();
        let at = |nanos| Moment {
            seen: Some(CaptureTime::from_nanos(nanos)),
            dealt: bftap_model::Nanos(0),
        };
        let update = Update::default();
        judged.take(&update, at(7), Duration::from_millis(80));
        judged.take(&update, at(7), Duration::from_secs(2));
        assert_eq!(judged.age, Duration::from_millis(80));
        judged.take(&update, at(8), Duration::from_secs(3));
        assert_eq!(judged.age, Duration::from_secs(3));
    }

    /// A moment of a network of seven, with one interface away.
    pub(in super::super) fn sample() -> LiveFacts {
        let interface = |name: &str, packets, problem: Option<&str>| InterfaceFacts {
            stats: InputStats {
                name: name.to_owned(),
                packets,
                bytes: packets * 120,
                kernel_drops: Some(packets / 1000),
                interface_drops: Some(0),
                times_down: Some(u64::from(problem.is_some())),
                problem: problem.map(str::to_owned),
                ..InputStats::default()
            },
            packets_a_second: packets as f64 / 60.0,
            bits_a_second: packets as f64 * 16.0,
        };
        let sums = |messages, useful, echoes| MessageSums {
            messages,
            useful,
            repeats: messages - useful - echoes,
            echoes,
        };
        LiveFacts {
            run: "night".to_owned(),
            running: Duration::from_secs(3725),
            interfaces: vec![
                interface("mon0", 1_234_567, None),
                interface("tap\u{1b}[31m3", 4200, Some("it is not there")),
            ],
            late: 3,
            lag: Duration::from_millis(130),
            queues: [1, 0, 2],
            memory: 81 << 20,
            searching: false,
            secrets: 21,
            judged: Judged {
                chains: [
                    (format!("1000/0x{}", "4a".repeat(32)), (123_456, 1)),
                    ("unknown".to_owned(), (7, 0)),
                ]
                .into(),
                kinds: [
                    (Kind::Preprepare, sums(700, 300, 100)),
                    (Kind::Prepare, sums(36_000, 6000, 1000)),
                    (Kind::Commit, sums(35_000, 6000, 900)),
                    (Kind::RoundChange, sums(0, 0, 0)),
                ]
                .into(),
                sessions: [20, 1, 0, 0, 0],
                gaps: 2,
                lost_bytes: 2920,
                undecodable: 0,
                consensus_messages: 71_700,
                limits: 0,
                seen: None,
                age: Duration::from_millis(100),
            },
            store: Some(StoreFacts {
                url: "postgres://bftap@db/bftap".to_owned(),
                commits: 14_900,
                committed_ago: Some(Duration::from_millis(210)),
                away: false,
                spooled_batches: 0,
                spooled_bytes: 0,
            }),
            written: Some(WrittenFacts {
                packets: 1_238_700,
                bytes: 190_000_000,
                left_out: 67,
            }),
        }
    }
}
