//! All metrics, and where their values come from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bftap_analysis::Update;
use bftap_analysis::facts::SessionState;
use bftap_capture::source::InputStats;
use bftap_pipeline::Progress;
use bftap_store::WriterStatus;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge>;
type Seconds = Gauge<f64, AtomicU64>;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Sheet {
    registry: Registry,
    progress: Arc<Progress>,
    store: Option<Arc<WriterStatus>>,
    interfaces: Option<Interfaces>,
    started: Instant,
    receivers: Bounded,
    chains: Bounded,
    limits: Bounded,
    /// Highest height and its highest round, by chain label.
    heights: BTreeMap<String, (u64, u64)>,
    uptime: Seconds,
    memory: Gauge,
    packets: Counter,
    bytes: Counter,
    queued: Gauges,
    spooled_batches: Gauge,
    spooled_bytes: Gauge,
    thinned_rows: Gauge,
    commits: Counter,
    errors: Counter,
    commit_age: Family<Labels, Seconds>,
    lag: Seconds,
    updates: Counter,
    chain_height: Gauges,
    chain_round: Gauges,
    messages: [Counters; 4],
    sessions: Gauges,
    consensus_messages: Counter,
    gaps: Counter,
    lost: Counter,
    undecodable: Counter,
    limits_reached: Counters,
}

/// Texts that get a label of their own; the first ones do.
#[derive(Debug)]
struct Bounded {
    known: BTreeSet<String>,
    most: usize,
}

impl Bounded {
    fn new(most: usize) -> Self {
        Self {
            known: BTreeSet::new(),
            most,
        }
    }

    fn label(&mut self, text: &str) -> String {
        if self.known.contains(text) {
            return text.to_owned();
        }
        // Names come from files and peers.
        if self.known.len() < self.most && text.chars().count() <= 100 {
            self.known.insert(text.to_owned());
            return text.to_owned();
        }
        OTHER.to_owned()
    }
}

/// Label of all that have none of their own.
const OTHER: &str = "other";

/// Receivers, chains and limits with a label of their own.
const RECEIVERS: usize = 200;
const CHAINS: usize = 16;
const LIMITS: usize = 64;

impl Sheet {
    #[allow(
        clippy::disallowed_methods,
        reason = "for how long the program runs is about this machine"
    )]
    pub(super) fn new(progress: Arc<Progress>) -> Self {
        let mut sheet = Self {
            registry: Registry::with_prefix("bftap"),
            progress,
            store: None,
            interfaces: None,
            started: Instant::now(),
            receivers: Bounded::new(RECEIVERS),
            chains: Bounded::new(CHAINS),
            limits: Bounded::new(LIMITS),
            heights: BTreeMap::new(),
            uptime: Seconds::default(),
            memory: Gauge::default(),
            packets: Counter::default(),
            bytes: Counter::default(),
            queued: Gauges::default(),
            spooled_batches: Gauge::default(),
            spooled_bytes: Gauge::default(),
            thinned_rows: Gauge::default(),
            commits: Counter::default(),
            errors: Counter::default(),
            commit_age: Family::default(),
            lag: Seconds::default(),
            updates: Counter::default(),
            chain_height: Gauges::default(),
            chain_round: Gauges::default(),
            messages: Default::default(),
            sessions: Gauges::default(),
            consensus_messages: Counter::default(),
            gaps: Counter::default(),
            lost: Counter::default(),
            undecodable: Counter::default(),
            limits_reached: Counters::default(),
        };
        sheet.register();
        sheet
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of the program", build);
        let seconds = || Unit::Seconds;
        registry.register_with_unit(
            "uptime",
            "Time since the program began",
            seconds(),
            self.uptime.clone(),
        );
        registry.register_with_unit(
            "resident_memory",
            "Memory of the process, 0 where the system does not tell",
            Unit::Bytes,
            self.memory.clone(),
        );
        registry.register("read_packets", "Packets read", self.packets.clone());
        registry.register_with_unit("read", "Captured bytes read", Unit::Bytes, self.bytes.clone());
        registry.register(
            "queued_batches",
            "Batches that wait, by queue",
            self.queued.clone(),
        );
        registry.register(
            "store_spooled_batches",
            "Batches that wait in the spool for the database",
            self.spooled_batches.clone(),
        );
        registry.register_with_unit(
            "store_spooled",
            "Bytes in the spool",
            Unit::Bytes,
            self.spooled_bytes.clone(),
        );
        registry.register(
            "store_thinned_rows",
            "Rows of deliveries whose detail was given up because the spool was full, until the end writes them once more",
            self.thinned_rows.clone(),
        );
        registry.register("store_commits", "Transactions committed", self.commits.clone());
        registry.register(
            "store_errors",
            "Times the database did not answer, or could not at that moment",
            self.errors.clone(),
        );
        registry.register_with_unit(
            "store_commit_age",
            "Time since the last commit; absent before the first",
            seconds(),
            self.commit_age.clone(),
        );
        registry.register_with_unit(
            "lag",
            "Age of the newest packet when it was judged",
            seconds(),
            self.lag.clone(),
        );
        registry.register(
            "updates",
            "Times that what changed was judged",
            self.updates.clone(),
        );
        registry.register("chain_height", "Highest sequence seen", self.chain_height.clone());
        registry.register(
            "chain_round",
            "Highest round seen of that sequence",
            self.chain_round.clone(),
        );
        let helps = [
            ("messages", "Consensus messages to a receiver"),
            (
                "useful_messages",
                "First copies of payloads that the receiver did not sign",
            ),
            ("repeated_messages", "Later copies of such payloads"),
            ("echoed_messages", "Copies of payloads that the receiver signed"),
        ];
        for ((name, help), family) in helps.into_iter().zip(&self.messages) {
            registry.register(name, help, family.clone());
        }
        registry.register(
            "sessions",
            "Sessions, open and ended, by state",
            self.sessions.clone(),
        );
        registry.register(
            "consensus_messages",
            "Consensus messages read",
            self.consensus_messages.clone(),
        );
        registry.register("gaps", "Holes in streams", self.gaps.clone());
        registry.register_with_unit(
            "lost",
            "Stream bytes that were lost",
            Unit::Bytes,
            self.lost.clone(),
        );
        registry.register(
            "undecodable",
            "Messages that do not decode",
            self.undecodable.clone(),
        );
        registry.register(
            "limits_reached",
            "Times a limit was reached, by limit",
            self.limits_reached.clone(),
        );
    }

    pub(super) fn watch_store(&mut self, status: Arc<WriterStatus>) {
        self.store = Some(status);
    }

    /// Interfaces are the user's own choice, so each has a label.
    pub(super) fn watch_interfaces(&mut self, watch: Watch) {
        let interfaces = Interfaces {
            watch,
            packets: Counters::default(),
            bytes: Counters::default(),
            lost: Counters::default(),
            up: Gauges::default(),
            late: Counter::default(),
        };
        let registry = &mut self.registry;
        registry.register(
            "interface_packets",
            "Packets of an interface that were read",
            interfaces.packets.clone(),
        );
        registry.register_with_unit(
            "interface",
            "Captured bytes of an interface that were read",
            Unit::Bytes,
            interfaces.bytes.clone(),
        );
        registry.register(
            "interface_lost_packets",
            "Packets lost before they could be read, by who lost them",
            interfaces.lost.clone(),
        );
        registry.register(
            "interface_up",
            "1 while the interface is read, 0 while it is waited for",
            interfaces.up.clone(),
        );
        registry.register(
            "out_of_order_packets",
            "Packets that came too late to be put in order with those of other interfaces",
            interfaces.late.clone(),
        );
        self.interfaces = Some(interfaces);
    }

    pub(super) fn update(&mut self, update: &Update, lag: Duration) {
        self.updates.inc();
        self.lag.set(lag.as_secs_f64());
        for height in &update.heights {
            // One liar can name any height and round.
            for round in height.rounds.iter().filter(|round| round.standing.is_there()) {
                let chain = self.chains.label(&round.chain);
                let known = self.heights.entry(chain).or_default();
                *known = (*known).max((round.sequence, round.round));
            }
        }
        for (chain, &(sequence, round)) in &self.heights {
            let labels = vec![("chain", chain.clone())];
            self.chain_height.get_or_create(&labels).set(gauge(sequence));
            self.chain_round.get_or_create(&labels).set(gauge(round));
        }
        // Several receivers may share a label.
        let mut sums: BTreeMap<(String, &str), [u64; 4]> = BTreeMap::new();
        for sum in &update.sums {
            let receiver = self.receivers.label(&sum.receiver);
            let all = sums.entry((receiver, sum.kind.as_str())).or_default();
            let own = &sum.sums;
            for (all, own) in all
                .iter_mut()
                .zip([own.messages, own.useful, own.repeats, own.echoes])
            {
                *all += own;
            }
        }
        for ((receiver, kind), sums) in sums {
            let labels = vec![("receiver", receiver), ("kind", kind.to_owned())];
            for (family, sum) in self.messages.iter().zip(sums) {
                raise(&family.get_or_create(&labels), sum);
            }
        }
        let totals = &update.facts.totals;
        for state in [
            SessionState::NoHandshake,
            SessionState::NoSecret,
            SessionState::Decrypted,
            SessionState::Lost,
            SessionState::Failed,
        ] {
            let number = update
                .facts
                .sessions
                .iter()
                .filter(|session| session.state == state)
                .count();
            let labels = vec![("state", state.as_str().to_owned())];
            self.sessions.get_or_create(&labels).set(gauge(number as u64));
        }
        raise(&self.consensus_messages, totals.consensus_messages);
        raise(&self.gaps, totals.gaps);
        raise(&self.lost, totals.lost_bytes);
        raise(&self.undecodable, totals.undecodable);
        for (limit, &count) in &totals.limits_reached {
            let labels = vec![("limit", self.limits.label(limit))];
            raise(&self.limits_reached.get_or_create(&labels), count);
        }
    }

    /// The text to serve, as things are now.
    pub(super) fn render(&mut self) -> String {
        self.uptime.set(self.started.elapsed().as_secs_f64());
        self.memory.set(gauge(resident_bytes()));
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        raise(&self.packets, load(&self.progress.packets));
        raise(&self.bytes, load(&self.progress.bytes));
        let queued = |queue: &str, number: u64| {
            let labels = vec![("queue", queue.to_owned())];
            self.queued.get_or_create(&labels).set(gauge(number));
        };
        queued("workers", load(&self.progress.queued_batches));
        queued("aggregation", load(&self.progress.queued_observations));
        if let Some(store) = &self.store {
            queued("store", load(&store.waiting_batches));
            self.spooled_batches.set(gauge(load(&store.spooled_batches)));
            self.spooled_bytes.set(gauge(load(&store.spooled_bytes)));
            self.thinned_rows.set(gauge(load(&store.thinned_rows)));
            raise(&self.commits, load(&store.commits));
            raise(&self.errors, load(&store.errors));
            let committed = store.committed_ns.load(Ordering::Relaxed);
            if committed > 0 {
                let age = (now_ns() - committed).max(0) as f64 / 1e9;
                self.commit_age.get_or_create(&Vec::new()).set(age);
            }
        }
        if let Some(interfaces) = &self.interfaces {
            interfaces.refresh();
        }
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Gives what is known of each interface now, and how many packets were out of order.
pub(super) type Watch = Box<dyn Fn() -> (Vec<InputStats>, u64) + Send>;

/// What is counted of interfaces.
struct Interfaces {
    watch: Watch,
    packets: Counters,
    bytes: Counters,
    lost: Counters,
    up: Gauges,
    late: Counter,
}

impl fmt::Debug for Interfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interfaces").finish_non_exhaustive()
    }
}

impl Interfaces {
    fn refresh(&self) {
        let (interfaces, late) = (self.watch)();
        for stats in interfaces {
            let name = ("interface", stats.name.clone());
            let labels = vec![name.clone()];
            raise(&self.packets.get_or_create(&labels), stats.packets);
            raise(&self.bytes.get_or_create(&labels), stats.bytes);
            self.up
                .get_or_create(&labels)
                .set(i64::from(stats.problem.is_none()));
            for (by, lost) in [
                ("kernel", stats.kernel_drops),
                ("interface", stats.interface_drops),
            ] {
                let labels = vec![name.clone(), ("by", by.to_owned())];
                raise(&self.lost.get_or_create(&labels), lost.unwrap_or(0));
            }
        }
        raise(&self.late, late);
    }
}

/// A counter never falls, whatever a later judgement says of an earlier message: Prometheus would take that for a restart.
fn raise(counter: &Counter, value: u64) {
    counter.inner().fetch_max(value, Ordering::Relaxed);
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Resident memory, as Linux tells it.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|line| line.trim().strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[allow(
    clippy::disallowed_methods,
    reason = "the age of a commit is about this machine"
)]
fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
