//! List, block, unblock: what a person orders, checked against what the switch says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bftap_analysis::quorum::Threshold;
use serde::Serialize;

use crate::quorum::{Left, Network};
use crate::rules::{
    ALL_OURS, Flow, LONGEST_TTL, METERS, Measure, Meter, Party, Target, parse_flows, parse_meters,
};
use crate::switch::{Bridge, SwitchError};

/// A bridge, and what is known of the validators behind it.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Where rules stand.
    pub bridge: Bridge,
    /// The validators with all their addresses. Empty: not known, and then nothing is blocked without force.
    pub validators: Vec<Party>,
    /// Names of validators that say nothing.
    pub silent: BTreeSet<String>,
    /// How many it takes.
    pub threshold: Threshold,
}

/// What is to be blocked.
#[derive(Clone, Debug)]
pub struct Order {
    /// Whose packets.
    pub target: Target,
    /// What becomes of them.
    pub measure: Measure,
    /// Seconds until they pass again; 0: never by themselves.
    pub ttl: u32,
    /// Do it though fewer validators are left than it takes, or for ever.
    pub force: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// One block, as the switch has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Blocked {
    /// Holds its rules together.
    pub cookie: String,
    /// Names of the node, or of the two nodes; an address where no name is known.
    pub nodes: Vec<String>,
    /// Their addresses, in the same order.
    pub ips: Vec<Vec<IpAddr>>,
    /// `drop`, or what gets through: `500 packets/s`.
    pub measure: String,
    /// Packets that met the rules.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that were dropped.
    pub dropped: u64,
    /// Seconds until it ends; none: it does not end by itself.
    pub seconds_left: Option<u32>,
    /// Rules on the switch.
    pub rules: usize,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What was run, or would be, as a shell takes it.
    pub commands: Vec<String>,
    /// What a person should know.
    pub remarks: Vec<String>,
    /// Whether the switch was changed.
    pub done: bool,
}

/// Why an order is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The switch.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// The switch has rules under our cookie that are not understood.
    #[error("the switch has a rule under bftap's cookie that bftap did not make; remove it first: {0}")]
    Strange(String),
    /// Too few would be left.
    #[error("refused: {0}; --force does it all the same")]
    Quorum(String),
    /// It is not known who the validators are.
    #[error(
        "refused: who the validators are is not known, so nobody can say whether enough are left: name them with --nodes; --force \
         does it all the same"
    )]
    Unknown,
    /// For ever.
    #[error(
        "refused: without a TTL (--ttl 0) it stays until somebody unblocks it; --force does it all the same"
    )]
    ForEver,
    /// Longer than a rule can say.
    #[error("a rule stays at most {LONGEST_TTL} seconds by itself (18 hours), not {0}")]
    Ttl(u32),
    /// A rate of nothing.
    #[error("a rate of 0 lets nothing through: leave --rate away to block")]
    Rate,
    /// A pair without a common family of addresses, or with itself.
    #[error("{0}")]
    Pair(String),
    /// All our meters are taken.
    #[error("all {} meters that bftap uses are taken: unblock something", METERS.len())]
    Meters,
    /// Nothing to unblock.
    #[error("{0} is not blocked")]
    NotBlocked(String),
}

/// What everybody who blocks an address should know.
pub const SPOOFING: &str = "IP addresses are not authenticated: a node that sends under another address is not held, and one whose address another \
     one uses is blamed for it";

pub(crate) struct State {
    pub(crate) flows: BTreeMap<u64, Vec<Flow>>,
    pub(crate) meters: BTreeMap<u32, Meter>,
}

impl State {
    /// From what `ovs-ofctl` tells.
    pub(crate) fn read(flows: &str, config: &str, stats: &str) -> Result<Self, GuardError> {
        let (flows, strange) = parse_flows(flows);
        if let Some(strange) = strange.into_iter().next() {
            return Err(GuardError::Strange(strange));
        }
        let mut state = Self {
            flows: BTreeMap::new(),
            meters: parse_meters(config, stats),
        };
        for flow in flows {
            state.flows.entry(flow.cookie).or_default().push(flow);
        }
        Ok(state)
    }
}

impl Guard {
    /// What is blocked, by cookie.
    ///
    /// # Errors
    /// The switch does not say.
    pub fn list(&self) -> Result<Vec<Blocked>, GuardError> {
        let state = self.state()?;
        Ok(state
            .flows
            .iter()
            .map(|(cookie, flows)| self.blocked(*cookie, flows, &state.meters))
            .collect())
    }

    /// Blocks or limits; what was ordered of the same target before is replaced.
    ///
    /// # Errors
    /// It is refused, or the switch does not do it. Then it is as it was.
    pub fn block(&self, order: &Order) -> Result<Outcome, GuardError> {
        let Order {
            target,
            measure,
            ttl,
            force,
            dry_run,
        } = order;
        if *ttl == 0 && !force {
            return Err(GuardError::ForEver);
        }
        if *ttl > LONGEST_TTL {
            return Err(GuardError::Ttl(*ttl));
        }
        if matches!(
            measure,
            Measure::PacketsPerSecond(0) | Measure::KilobitsPerSecond(0)
        ) {
            return Err(GuardError::Rate);
        }
        let _held = self.bridge.hold()?;
        let state = self.state()?;
        let mut remarks = vec![SPOOFING.to_owned()];
        let meter = match measure {
            Measure::Drop => None,
            _ => Some(
                METERS
                    .clone()
                    .find(|number| !state.meters.contains_key(number))
                    .ok_or(GuardError::Meters)?,
            ),
        };
        let flows = target.flows(*measure, meter, *ttl);
        if flows.is_empty() {
            return Err(GuardError::Pair(format!(
                "{} have no address of the same kind (IPv4 or IPv6)",
                target.words()
            )));
        }
        if let Target::Pair(a, b) = target
            && a.ips.iter().any(|ip| b.ips.contains(ip))
        {
            return Err(GuardError::Pair(format!("{} are the same", target.words())));
        }
        match self.check(&state, order) {
            Ok(remark) => remarks.extend(remark),
            Err(error) if *force => remarks.push(format!("forced: {error}")),
            Err(error) => return Err(error),
        }
        if meter.is_some() {
            remarks.push(
                "what gets through is forwarded as a plain switch does (NORMAL), past the rules of a controller".to_owned(),
            );
        }
        let cookie = target.cookie();
        let bundle: String = std::iter::once(format!("delete cookie={cookie:#018x}/-1\n"))
            .chain(flows.iter().map(|flow| format!("add {flow}\n")))
            .collect();
        let add_meter = meter.and_then(|number| measure.meter(number));
        let mut commands: Vec<String> = add_meter
            .iter()
            .map(|meter| self.command(&["add-meter"], &[meter]))
            .collect();
        commands.push(format!(
            "{} <<'EOF'\n{bundle}EOF",
            self.command(&["--bundle", "add-flows"], &["-"])
        ));
        let sweep = state.unused_meters(cookie);
        commands.extend(
            sweep
                .iter()
                .map(|number| self.command(&["del-meter"], &[&format!("meter={number}")])),
        );
        if *dry_run {
            return Ok(Outcome {
                commands,
                remarks,
                done: false,
            });
        }
        if let Some(meter) = &add_meter {
            self.bridge.openflow(&["add-meter"], &[meter], "")?;
        }
        // A bundle: all of them at once, or none.
        let added = self.bridge.openflow(&["--bundle", "add-flows"], &["-"], &bundle);
        if let Err(error) = added {
            if let Some(number) = meter {
                // It is of no use to anybody.
                let _ = self
                    .bridge
                    .openflow(&["del-meter"], &[&format!("meter={number}")], "");
            }
            return Err(error.into());
        }
        self.sweep(&sweep, &mut remarks);
        Ok(Outcome {
            commands,
            remarks,
            done: true,
        })
    }

    /// Takes away what was ordered of a target; `None`: everything.
    ///
    /// # Errors
    /// It is not blocked, or the switch does not do it.
    pub fn unblock(&self, target: Option<&Target>, dry_run: bool) -> Result<Outcome, GuardError> {
        let _held = self.bridge.hold()?;
        let state = self.state()?;
        let cookies: Vec<u64> = match target {
            None => state.flows.keys().copied().collect(),
            Some(target) => {
                let found: Vec<u64> = state
                    .flows
                    .iter()
                    .filter(|(cookie, flows)| **cookie == target.cookie() || is_of(flows, target))
                    .map(|(cookie, _)| *cookie)
                    .collect();
                if found.is_empty() {
                    return Err(GuardError::NotBlocked(target.words()));
                }
                found
            }
        };
        let mut commands = Vec::new();
        let mut remarks = Vec::new();
        for cookie in &cookies {
            let which = format!("cookie={cookie:#018x}/-1");
            commands.push(self.command(&["del-flows"], &[&which]));
            if !dry_run {
                self.bridge.openflow(&["del-flows"], &[&which], "")?;
            }
        }
        let mut left = state;
        left.flows.retain(|cookie, _| !cookies.contains(cookie));
        let sweep = left.unused_meters(0);
        commands.extend(
            sweep
                .iter()
                .map(|number| self.command(&["del-meter"], &[&format!("meter={number}")])),
        );
        if !dry_run {
            self.sweep(&sweep, &mut remarks);
        }
        if cookies.is_empty() {
            remarks.push("nothing is blocked".to_owned());
        }
        Ok(Outcome {
            commands,
            remarks,
            done: !dry_run && !cookies.is_empty(),
        })
    }

    /// Removes meters that no rule uses any more: their rules' time was over.
    fn sweep(&self, meters: &[u32], remarks: &mut Vec<String>) {
        for number in meters {
            if let Err(error) = self
                .bridge
                .openflow(&["del-meter"], &[&format!("meter={number}")], "")
            {
                remarks.push(format!("meter {number} is of no use any more and stays: {error}"));
            }
        }
    }

    fn state(&self) -> Result<State, GuardError> {
        let flows = self.bridge.openflow(&["dump-flows"], &[ALL_OURS], "")?;
        let config = self.bridge.openflow(&["dump-meters"], &[], "")?;
        let stats = self.bridge.openflow(&["meter-stats"], &[], "")?;
        State::read(&flows, &config, &stats)
    }

    /// As a shell takes it.
    fn command(&self, what: &[&str], arguments: &[&str]) -> String {
        let mut words = vec!["ovs-ofctl".to_owned(), "-O".to_owned(), "OpenFlow13".to_owned()];
        words.extend(what.iter().map(|word| (*word).to_owned()));
        words.push(quoted(&self.bridge.target()));
        words.extend(arguments.iter().map(|word| quoted(word)));
        words.join(" ")
    }

    pub(crate) fn blocked(&self, cookie: u64, flows: &[Flow], meters: &BTreeMap<u32, Meter>) -> Blocked {
        let parties = parties_of(flows);
        let meter = flows.iter().find_map(|flow| flow.meter);
        let sum = |of: fn(&Flow) -> u64| flows.iter().map(of).fold(0, u64::saturating_add);
        let packets = sum(|flow| flow.packets);
        let found = meter.and_then(|number| meters.get(&number));
        Blocked {
            cookie: format!("{cookie:#018x}"),
            nodes: parties.iter().map(|ips| self.name_of(ips)).collect(),
            ips: parties.iter().map(|ips| ips.iter().copied().collect()).collect(),
            measure: match (meter, found.and_then(|meter| meter.measure)) {
                (None, _) => "drop".to_owned(),
                (_, Some(Measure::PacketsPerSecond(rate))) => format!("{rate} packets/s"),
                (_, Some(Measure::KilobitsPerSecond(rate))) => format!("{rate} kbit/s"),
                (Some(number), _) => format!("meter {number}"),
            },
            packets,
            bytes: sum(|flow| flow.bytes),
            dropped: match meter {
                None => packets,
                Some(_) => found.map_or(0, |meter| meter.dropped),
            },
            seconds_left: flows
                .iter()
                .map(|flow| Some((f64::from(flow.ttl?) - flow.age).max(0.0).ceil() as u32))
                .max()
                .flatten(),
            rules: flows.len(),
        }
    }

    fn name_of(&self, ips: &BTreeSet<IpAddr>) -> String {
        let known = self
            .validators
            .iter()
            .find(|party| party.ips.iter().any(|ip| ips.contains(ip)));
        match known {
            Some(party) => party.name.clone(),
            None => ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        }
    }

    /// Whether enough validators are left; if so, what is to be said about it.
    pub(crate) fn check(&self, state: &State, order: &Order) -> Result<Option<String>, GuardError> {
        if !order.measure.starves() {
            return Ok(None);
        }
        if self.validators.is_empty() {
            return Err(GuardError::Unknown);
        }
        let mut network = Network {
            validators: self.validators.len(),
            ..Network::default()
        };
        let mut why = Vec::new();
        let number_of = |ip: &IpAddr| self.validators.iter().position(|party| party.ips.contains(ip));
        for (number, validator) in self.validators.iter().enumerate() {
            if self.silent.contains(&validator.name) {
                network.unreachable.insert(number);
                why.push(format!("{} is silent", validator.name));
            }
        }
        let ordered = order.target.cookie();
        for (cookie, flows) in &state.flows {
            // What is ordered takes its place.
            if *cookie == ordered {
                continue;
            }
            let starves = |flow: &&Flow| {
                let Some(number) = flow.meter else { return true };
                let measure = state.meters.get(&number).and_then(|meter| meter.measure);
                measure.is_some_and(Measure::starves)
            };
            for flow in flows.iter().filter(starves) {
                match (flow.from, flow.to) {
                    (Some(ip), None) | (None, Some(ip)) => {
                        if let Some(number) = number_of(&ip)
                            && network.unreachable.insert(number)
                        {
                            why.push(format!("{} is blocked already", self.validators[number].name));
                        }
                    }
                    (Some(from), Some(to)) => {
                        if let (Some(a), Some(b)) = (number_of(&from), number_of(&to))
                            && a != b
                            && network.apart.insert((a.min(b), a.max(b)))
                        {
                            why.push(format!(
                                "{} and {} are kept apart already",
                                self.validators[a].name, self.validators[b].name
                            ));
                        }
                    }
                    (None, None) => {}
                }
            }
        }
        let concerns_validator = match &order.target {
            Target::Node(node) => node.ips.iter().any(|ip| number_of(ip).is_some()),
            Target::Pair(a, b) => [a, b]
                .iter()
                .all(|party| party.ips.iter().any(|ip| number_of(ip).is_some())),
        };
        match &order.target {
            Target::Node(node) => network.unreachable.extend(node.ips.iter().filter_map(number_of)),
            Target::Pair(a, b) => {
                for a in a.ips.iter().filter_map(number_of) {
                    for b in b.ips.iter().filter_map(number_of).filter(|b| *b != a) {
                        network.apart.insert((a.min(b), a.max(b)));
                    }
                }
            }
        }
        let Left { together, exact } = network.left();
        let needed = self.threshold.votes(network.validators as u32) as usize;
        let counted = if exact { "" } else { "at least " };
        // Who is no validator can be blocked at any time.
        if together >= needed || !concerns_validator {
            let short = if together < needed {
                " (fewer than that were left before)"
            } else {
                ""
            };
            return Ok(Some(format!(
                "{counted}{together} of {} validators still reach each other; {needed} are needed{short}",
                network.validators
            )));
        }
        let because = if why.is_empty() {
            String::new()
        } else {
            format!(" ({})", why.join(", "))
        };
        Err(GuardError::Quorum(format!(
            "of {} validators {counted}{together} would be left that all reach each other, and {needed} are needed{because}",
            network.validators
        )))
    }
}

impl State {
    /// Our meters that no rule uses, but those of a cookie that is about to go.
    fn unused_meters(&self, going: u64) -> Vec<u32> {
        let used: BTreeSet<u32> = self
            .flows
            .iter()
            .filter(|(cookie, _)| **cookie != going)
            .flat_map(|(_, flows)| flows.iter().filter_map(|flow| flow.meter))
            .collect();
        self.meters
            .keys()
            .copied()
            .filter(|number| METERS.contains(number) && !used.contains(number))
            .collect()
    }
}

/// The addresses that rules are about: of one node, or of two.
fn parties_of(flows: &[Flow]) -> Vec<BTreeSet<IpAddr>> {
    let mut parties: Vec<BTreeSet<IpAddr>> = Vec::new();
    if flows.iter().any(|flow| flow.from.is_some() && flow.to.is_some()) {
        // Each address talks to those of the other side only: two sets.
        let mut sides: (BTreeSet<IpAddr>, BTreeSet<IpAddr>) = Default::default();
        for flow in flows {
            let (Some(from), Some(to)) = (flow.from, flow.to) else {
                continue;
            };
            let turned = sides.1.contains(&from) || sides.0.contains(&to) || {
                // The first of another family: the smaller address is on the side where the smaller one was.
                !sides.0.contains(&from) && !sides.1.contains(&to) && from > to
            };
            let (a, b) = if turned { (to, from) } else { (from, to) };
            sides.0.insert(a);
            sides.1.insert(b);
        }
        parties.extend([sides.0, sides.1]);
    } else {
        parties.push(flows.iter().filter_map(|flow| flow.from.or(flow.to)).collect());
    }
    parties
}

/// Whether rules are about a target that may have had other addresses when they were made.
fn is_of(flows: &[Flow], target: &Target) -> bool {
    let parties = parties_of(flows);
    let meets = |ips: &BTreeSet<IpAddr>, party: &Party| party.ips.iter().any(|ip| ips.contains(ip));
    match (target, &parties[..]) {
        (Target::Node(node), [ips]) => meets(ips, node),
        (Target::Pair(a, b), [first, second]) => {
            (meets(first, a) && meets(second, b)) || (meets(first, b) && meets(second, a))
        }
        _ => false,
    }
}

fn quoted(word: &str) -> String {
    let plain = word
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_./:=,".contains(&byte));
    if plain && !word.is_empty() {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
