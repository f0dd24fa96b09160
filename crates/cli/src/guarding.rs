//! Who the nodes of an order are, and who is silent: what `bftap guard` and the admin socket have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::Context as _;
use bftap_analysis::KnownNode;
use bftap_analysis::quorum::Threshold;
use bftap_guard::{Bridge, Guard, Party, Target};
use bftap_model::{CaptureTime, Nanos};
use bftap_store::{Access, RunId, StoreUrl};

use crate::args::{GuardQuorumArgs, GuardSwitchArgs};
use crate::clock::time_of_day;
use crate::exit::Usage;
use crate::nearest::nearest;
use crate::nodes;
use crate::term::{Level, tell};

/// A switch, and everybody who is known behind it.
#[derive(Clone, Debug)]
pub(crate) struct Guarding {
    guard: Guard,
    /// All nodes of the nodes file, validators or not.
    parties: Vec<Party>,
    known: Vec<KnownNode>,
}

impl Guarding {
    /// What was typed.
    ///
    /// # Errors
    /// The nodes file is of no use, or a name is not in it.
    pub(crate) fn new(switch: &GuardSwitchArgs, quorum: Option<&GuardQuorumArgs>) -> anyhow::Result<Self> {
        let known = match &switch.nodes {
            Some(path) => {
                let nodes = nodes::read(path).map_err(|error| Usage(error.to_string()))?;
                for problem in &nodes.problems {
                    tell(Level::Warning, &format!("nodes file: {problem}"));
                }
                nodes.known
            }
            None => Vec::new(),
        };
        let mut by_name: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
        let mut order = Vec::new();
        for node in &known {
            let Some(ip) = node.ip.map(|ip| ip.to_canonical()) else {
                continue;
            };
            let ips = by_name.entry(&node.name).or_insert_with(|| {
                order.push(node.name.as_str());
                Vec::new()
            });
            if !ips.contains(&ip) {
                ips.push(ip);
            }
        }
        let parties: Vec<Party> = order
            .into_iter()
            .map(|name| Party {
                name: name.to_owned(),
                ips: by_name.remove(name).unwrap_or_default(),
            })
            .collect();
        let mut guarding = Self {
            guard: Guard {
                bridge: Bridge {
                    name: switch.bridge.clone(),
                    db: switch.db.clone(),
                    openflow: switch.ofp.clone(),
                },
                validators: parties.clone(),
                silent: BTreeSet::new(),
                threshold: Threshold::CeilTwoThirdsAllBelowFour,
            },
            parties,
            known,
        };
        if let Some(quorum) = quorum {
            for name in quorum.validators.iter().chain(&quorum.silent) {
                guarding.named(name)?;
            }
            if !quorum.validators.is_empty() {
                guarding
                    .guard
                    .validators
                    .retain(|party| quorum.validators.contains(&party.name));
            }
            guarding.guard.silent.extend(quorum.silent.iter().cloned());
            guarding.guard.threshold = quorum.quorum_rule;
        }
        Ok(guarding)
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// One node, or two that are kept apart.
    ///
    /// # Errors
    /// A name that is not known.
    pub(crate) fn target(&self, names: &[String]) -> Result<Target, Usage> {
        match names {
            [node] => Ok(Target::Node(self.party(node)?)),
            [a, b] => Ok(Target::Pair(self.party(a)?, self.party(b)?)),
            _ => Err(Usage(
                "one node belongs here, or two that are kept apart".to_owned(),
            )),
        }
    }

    fn party(&self, text: &str) -> Result<Party, Usage> {
        let Ok(ip) = text.parse::<IpAddr>() else {
            return self.named(text).cloned();
        };
        // A switch knows no IPv4 address in IPv6's clothes.
        let ip = ip.to_canonical();
        // Whoever has this address is meant with all addresses.
        let known = self.parties.iter().find(|party| party.ips.contains(&ip));
        Ok(known.cloned().unwrap_or_else(|| Party {
            name: ip.to_string(),
            ips: vec![ip],
        }))
    }

    fn named(&self, name: &str) -> Result<&Party, Usage> {
        if let Some(party) = self.parties.iter().find(|party| party.name == name) {
            return Ok(party);
        }
        let names: Vec<&str> = self.parties.iter().map(|party| &*party.name).collect();
        Err(Usage(if names.is_empty() {
            format!("who is {name}? Give --nodes FILE with names and IP addresses, or an IP address")
        } else {
            let meant = nearest(name, &names).map_or_else(String::new, |near| format!("; is {near} meant?"));
            format!("there is no node {name} with an IP address in the nodes file{meant}")
        }))
    }

    /// Adds validators that say nothing.
    ///
    /// # Errors
    /// A name that is not known.
    pub(crate) fn also_silent(&mut self, names: &[String]) -> Result<(), Usage> {
        for name in names {
            let name = self.named(name)?.name.clone();
            self.guard.silent.insert(name);
        }
        Ok(())
    }

    /// Adds validators that sent nothing in the last minute, or two, of the latest run of a store. Says of which run, and until when.
    ///
    /// # Errors
    /// The store cannot be read, has no run, or its newest packet is older than `within`, or as far ahead of this machine's clock:
    /// what it says is about another time, and nobody is known to be reached.
    pub(crate) async fn silent_from(&mut self, url: &StoreUrl, within: Nanos) -> anyhow::Result<String> {
        if *url == StoreUrl::None {
            return Err(
                Usage("there is no store to tell who is silent: name one with --store".to_owned()).into(),
            );
        }
        let mut store = bftap_store::open(url, Access::Read).await?;
        let run = store
            .runs()
            .await?
            .into_iter()
            .find(|run| run.state != "failed")
            .context("the store has no run: nobody can say who is silent")?;
        let links = store.latest_links(RunId(run.run_id)).await?;
        store.close().await?;
        let until = links.iter().map(|link| link.minute_ns).max();
        // A run that was not written as it was seen says only in which minute its last messages came; it began no later.
        check_age(run.seen_ns.or(until), time_of_day(), within)
            .with_context(|| format!("run {} does not say who is reached now", run.name))?;
        let heard: BTreeSet<&str> = links.iter().map(|link| &*link.sender).collect();
        let mut silent = Vec::new();
        for party in &self.guard.validators {
            let mut words: Vec<String> = vec![party.name.clone()];
            words.extend(party.ips.iter().map(ToString::to_string));
            for node in self.known.iter().filter(|node| node.name == party.name) {
                let address = node.address.or_else(|| node.node_id.map(|id| id.address()));
                words.extend(address.map(|address| address.to_string()));
            }
            if !words.iter().any(|word| heard.contains(&**word)) {
                silent.push(party.name.clone());
            }
        }
        let when = until.map_or_else(
            || "no message at all".to_owned(),
            |minute| format!("the minute of {}", CaptureTime::from_nanos(minute)),
        );
        let who = if silent.is_empty() {
            "nobody".to_owned()
        } else {
            silent.join(", ")
        };
        self.guard.silent.extend(silent);
        Ok(format!("silent by run {} ({when}): {who}", run.name))
    }
}

/// Whether what a store last saw is of now.
fn check_age(seen_ns: Option<i64>, now: CaptureTime, within: Nanos) -> anyhow::Result<()> {
    let seen = CaptureTime::from_nanos(seen_ns.context("nothing of it is stored yet")?);
    let age = now.since(seen);
    let seconds = |span: Nanos| span.0 as f64 / 1e9;
    anyhow::ensure!(
        age <= within,
        "its newest packet is {:.0} s old, and after {:.0} s it is not believed (--store-age)",
        seconds(age),
        seconds(within)
    );
    anyhow::ensure!(
        age.0 >= within.0.saturating_neg(),
        "its newest packet is {:.0} s ahead of the clock of this machine",
        -seconds(age)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_says_of_another_time_is_not_believed() {
        let now = CaptureTime::from_nanos(1_000_000_000_000);
        let check = |seconds: i64| {
            let seen = now.nanos().saturating_add(seconds.saturating_mul(1_000_000_000));
            check_age(Some(seen), now, Nanos::from_secs(30))
        };
        for believed in [0, -30, 30, -1] {
            assert!(check(believed).is_ok(), "{believed}");
        }
        let old = check(-31).unwrap_err().to_string();
        assert!(old.contains("31 s old") && old.contains("30 s"), "{old}");
        let ahead = check(31).unwrap_err().to_string();
        assert!(ahead.contains("31 s ahead"), "{ahead}");
        assert!(check(i64::MIN).is_err() && check(i64::MAX).is_err());
        assert!(check_age(None, now, Nanos::from_secs(30)).is_err());
    }
}
