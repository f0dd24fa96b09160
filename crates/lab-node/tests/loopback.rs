//! Networks of lab nodes in one process, on the loopback interface.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bftap_lab_node::{LabNode, Network, NodeOptions, Validator, start};
use bftap_simnet::Gossip;
use bftap_simnet::client::Client;
use bftap_simnet::key::NodeKey;
use bftap_simnet::prng::Prng;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

/// Nodes of a network, with their records in a folder.
struct Net {
    options: Vec<NodeOptions>,
    nodes: Vec<Option<LabNode>>,
    folder: TempDir,
}

impl Net {
    /// Options for `count` nodes, ascending by address; none runs yet.
    fn new(count: usize, change: impl Fn(usize, &mut NodeOptions)) -> Self {
        let mut prng = Prng::new(11);
        let mut keys: Vec<_> = (0..count).map(|_| NodeKey::draw(&mut prng)).collect();
        keys.sort_by_key(NodeKey::address);
        let mut ports = free_ports(count);
        let validators = keys
            .iter()
            .enumerate()
            .map(|(index, key)| Validator {
                name: format!("cn{}", index + 1),
                id: *key.id(),
                address: key.address(),
                endpoint: SocketAddr::from((Ipv4Addr::LOCALHOST, ports.remove(0))),
            })
            .collect();
        let network = Network::new(validators, 1000, None).unwrap();
        let folder = TempDir::new().unwrap();
        let options = keys
            .into_iter()
            .enumerate()
            .map(|(index, key)| {
                let mut options = NodeOptions::new(key, network.clone());
                options.block_period = Duration::from_millis(200);
                options.round_timeout = Duration::from_secs(2);
                options.record = Some(folder.path().join(format!("{index}.jsonl")));
                options.key_log = Some(folder.path().join(format!("{index}.keylog")));
                change(index, &mut options);
                options
            })
            .collect();
        Self {
            options,
            nodes: (0..count).map(|_| None).collect(),
            folder,
        }
    }

    async fn start(&mut self, index: usize) {
        self.nodes[index] = Some(start(self.options[index].clone()).await.unwrap());
    }

    async fn start_all(&mut self) {
        for index in 0..self.nodes.len() {
            self.start(index).await;
        }
    }

    /// Waits until all nodes that run have this height.
    async fn all_reach(&mut self, height: u64) {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let Some(node) = node else { continue };
            let reached = timeout(LONG, node.reaches(|status| status.height >= height)).await;
            assert!(
                reached.is_ok(),
                "node {index} is at {:?}, not at {height}",
                node.status()
            );
        }
    }

    fn heights(&self) -> Vec<u64> {
        self.nodes
            .iter()
            .flatten()
            .map(|node| node.status().height)
            .collect()
    }

    async fn stop(&mut self) {
        let stopping: Vec<_> = self
            .nodes
            .iter_mut()
            .filter_map(Option::take)
            .map(LabNode::stop)
            .collect();
        let stopping: Vec<_> = stopping.into_iter().map(tokio::spawn).collect();
        for task in stopping {
            task.await.unwrap();
        }
    }

    fn record(&self, index: usize) -> Vec<Value> {
        lines(&self.folder.path().join(format!("{index}.jsonl")))
    }

    fn records(&self) -> Vec<Vec<Value>> {
        (0..self.nodes.len()).map(|index| self.record(index)).collect()
    }

    fn key_log(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("{index}.keylog"))
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Pairs of ports behind each other that nobody listens on; they are free a moment later, too, as far as one can know.
fn free_ports(count: usize) -> Vec<u16> {
    let mut held = Vec::new();
    let mut ports = Vec::new();
    while ports.len() < count {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if let Some(next) = port.checked_add(1)
            && let Ok(second) = TcpListener::bind((Ipv4Addr::LOCALHOST, next))
        {
            ports.push(port);
            held.push(second);
        }
        held.push(first);
    }
    ports
}

fn of<'a>(record: &'a [Value], what: &str) -> impl Iterator<Item = &'a Value> {
    record.iter().filter(move |entry| entry["what"] == what)
}

/// Height to hash, of what a node decided or imported.
fn decided(record: &[Value]) -> BTreeMap<u64, String> {
    of(record, "decided")
        .map(|entry| {
            let hash = entry["hash"].as_str().unwrap().to_owned();
            (entry["sequence"].as_u64().unwrap(), hash)
        })
        .collect()
}

fn assert_same_chain(records: &[Vec<Value>], height: u64) {
    let chains: Vec<_> = records.iter().map(|record| decided(record)).collect();
    for number in 1..=height {
        let hashes: BTreeSet<_> = chains.iter().filter_map(|chain| chain.get(&number)).collect();
        assert_eq!(hashes.len(), 1, "height {number}: {hashes:?}");
    }
}

/// (sender, receiver, kind, sequence, round, payload) of messages, and how often.
type Messages = BTreeMap<(String, String, String, u64, u64, String), usize>;

/// What all nodes say they sent, and what all say they received.
fn traffic(net: &Net) -> (Messages, Messages) {
    let (mut sent, mut received) = (Messages::new(), Messages::new());
    for (index, record) in net.records().iter().enumerate() {
        let own = format!("cn{}", index + 1);
        for entry in record {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            let number = |key: &str| entry[key].as_u64().unwrap_or_default();
            let (from, to, messages) = match entry["what"].as_str() {
                Some("sent") => (own.clone(), text("peer"), &mut sent),
                Some("received") => (text("peer"), own.clone(), &mut received),
                _ => continue,
            };
            let key = (
                from,
                to,
                text("kind"),
                number("sequence"),
                number("round"),
                text("payload"),
            );
            *messages.entry(key).or_default() += 1;
        }
    }
    (sent, received)
}

const LONG: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seven_nodes_gossip_and_agree() {
    let mut net = Net::new(7, |_, _| {});
    net.start_all().await;
    net.all_reach(8).await;
    net.stop().await;
    assert_same_chain(&net.records(), 8);
    let (sent, received) = traffic(&net);
    assert!(
        sent == received,
        "what one end wrote the other end read, to the last message"
    );
    // Gossip brings payloads several times, and own ones back.
    let copies = |copy: &str| {
        let records = net.records();
        let entries = records.iter().flat_map(|record| of(record, "received"));
        entries.filter(|entry| entry["copy"] == copy).count()
    };
    let (first, repeat, echo) = (copies("first"), copies("repeat"), copies("echo"));
    assert!(repeat > first / 2, "{first} first copies, {repeat} repeats");
    assert!(echo > 0);
    // Both ends of each session wrote its secrets, for the owner only.
    let log = |index| std::fs::read_to_string(net.key_log(index)).unwrap();
    let sessions = |index| -> BTreeSet<String> {
        let log = log(index);
        let fields = log.lines().map(|line| line.split(' ').nth(1).unwrap().to_owned());
        fields.collect()
    };
    for index in 0..7 {
        assert!(sessions(index).len() >= 6);
        let others: BTreeSet<_> = (0..7)
            .filter(|&other| other != index)
            .flat_map(sessions)
            .collect();
        assert!(sessions(index).is_subset(&others));
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(net.key_log(index))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn direct_sending_brings_each_payload_once() {
    let mut net = Net::new(4, |_, options| options.gossip = Gossip::Direct);
    net.start_all().await;
    net.all_reach(5).await;
    net.stop().await;
    for record in net.records() {
        assert!(of(&record, "received").count() > 20);
        assert!(of(&record, "received").all(|entry| entry["copy"] == "first"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_agrees_with_its_like() {
    for client in Client::ALL {
        let mut net = Net::new(4, |_, options| options.client = client);
        net.start_all().await;
        net.all_reach(3).await;
        net.stop().await;
        assert_same_chain(&net.records(), 3);
        let (sent, received) = traffic(&net);
        assert!(sent == received, "{client:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn multichannel_and_simultaneous_dials() {
    let mut net = Net::new(4, |_, options| {
        options.multichannel = true;
        options.simultaneous_dials = true;
    });
    net.start_all().await;
    net.all_reach(4).await;
    net.stop().await;
    for record in net.records() {
        for peer in 1..=4 {
            for channel in [0, 1] {
                let name = format!("cn{peer}");
                let ups =
                    of(&record, "up").filter(|entry| entry["peer"] == *name && entry["channel"] == channel);
                let own = of(&record, "start").all(|entry| entry["node"] == *name);
                assert!(own || ups.count() >= 1, "{name} channel {channel}");
            }
        }
        assert!(of(&record, "failed").all(|entry| {
            let why = entry["why"].as_str().unwrap();
            why.contains("already") || why.contains("closed") || why.contains("stops")
        }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_catches_up_and_votes() {
    let mut net = Net::new(4, |_, _| {});
    net.start_all().await;
    net.all_reach(3).await;
    net.nodes[2].take().unwrap().kill();
    let before = net.heights()[0];
    // Three of four are a quorum.
    net.all_reach(before + 4).await;
    net.start(2).await;
    let target = net.heights()[0] + 6;
    net.all_reach(target).await;
    net.stop().await;
    assert_same_chain(&net.records(), target);
    let record = net.record(2);
    let again = record.iter().rposition(|entry| entry["what"] == "start").unwrap();
    let after = &record[again..];
    assert_eq!(
        decided(after).keys().next(),
        Some(&1),
        "it fetched the chain from its beginning"
    );
    assert!(
        of(after, "decided").any(|entry| entry["by"] == "consensus"),
        "and takes part again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_nothing_is_decided_and_with_one_it_goes_on() {
    let mut net = Net::new(4, |_, options| options.round_timeout = Duration::from_secs(1));
    net.start_all().await;
    net.all_reach(2).await;
    for index in [1, 3] {
        net.nodes[index].take().unwrap().kill();
    }
    // The others ask for another round, and get none.
    let node = net.nodes[0].as_mut().unwrap();
    timeout(LONG, node.reaches(|status| status.round >= 1))
        .await
        .unwrap();
    let stalled = net.heights();
    assert!(stalled[0].abs_diff(stalled[1]) <= 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(
        net.heights()
            .iter()
            .all(|&height| height <= stalled[0].max(stalled[1]))
    );
    for index in [1, 3] {
        net.start(index).await;
    }
    net.all_reach(stalled[0] + 3).await;
    net.stop().await;
    assert_same_chain(&net.records(), stalled[0] + 3);
    assert!(of(&net.record(0), "round_change").count() > 0);
}

/// Four nodes, of which the first misbehaves; the records when the others have come some blocks far.
async fn with_fault(fault: &str, gossip: Gossip) -> (Net, Vec<Vec<Value>>) {
    let mut net = Net::new(4, |index, options| {
        options.gossip = gossip;
        options.round_timeout = Duration::from_secs(1);
        if index == 0 {
            options.faults = vec![fault.parse().unwrap()];
        }
    });
    net.start_all().await;
    for node in net.nodes[1..].iter_mut().flatten() {
        let reached = timeout(LONG, node.reaches(|status| status.height >= 6)).await;
        assert!(reached.is_ok(), "{fault}: at {:?}", node.status());
    }
    net.stop().await;
    let records = net.records();
    assert_same_chain(&records[1..], 6);
    (net, records)
}

fn received_from<'a>(records: &'a [Vec<Value>], peer: &'a str) -> impl Iterator<Item = &'a Value> {
    records
        .iter()
        .flat_map(|record| of(record, "received"))
        .filter(move |entry| entry["peer"] == peer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_sends_nothing() {
    let (_net, records) = with_fault("silent", Gossip::Flood).await;
    assert_eq!(of(&records[0], "sent").count(), 0);
    assert_eq!(received_from(&records, "cn1").count(), 0);
    assert_eq!(of(&records[0], "fault").next().unwrap()["on"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_proposals_costs_a_round() {
    let (_net, records) = with_fault("no-proposals", Gossip::Direct).await;
    let kinds: BTreeSet<_> = received_from(&records, "cn1")
        .map(|entry| entry["kind"].as_str())
        .collect();
    assert!(!kinds.contains(&Some("preprepare")) && kinds.contains(&Some("commit")));
    let rounds = of(&records[1], "decided").map(|entry| entry["round"].as_u64().unwrap());
    assert!(rounds.max().unwrap() >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_signatures_and_addresses_are_seen_as_such() {
    for fault in ["wrong-signatures", "wrong-addresses"] {
        let (_net, records) = with_fault(fault, Gossip::Direct).await;
        let votes = || received_from(&records, "cn1").filter(|entry| entry["kind"] != "preprepare");
        assert!(votes().count() > 0);
        assert!(votes().all(|entry| entry["valid"] == false), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_equivocating_node_shows_two_faces() {
    let (_net, records) = with_fault("equivocation", Gossip::Flood).await;
    let mut payloads: BTreeMap<(u64, u64, String), BTreeSet<String>> = BTreeMap::new();
    for entry in of(&records[0], "sent").filter(|entry| entry["kind"] != "roundchange") {
        let key = (
            entry["sequence"].as_u64().unwrap(),
            entry["round"].as_u64().unwrap(),
            entry["kind"].as_str().unwrap().to_owned(),
        );
        // Its own ones: those that no other node sent before it received them.
        payloads
            .entry(key)
            .or_default()
            .insert(entry["payload"].as_str().unwrap().to_owned());
    }
    let proposals = payloads
        .iter()
        .filter(|((_, _, kind), payloads)| kind == "preprepare" && payloads.len() == 2);
    assert!(proposals.count() > 0, "two proposals in a round");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_arrive_and_the_chain_goes_on() {
    for (fault, distinct) in [
        ("flood=400", false),
        ("flood=400:future", true),
        ("flood=400:stale", true),
    ] {
        let (_net, records) = with_fault(fault, Gossip::Direct).await;
        let from = |peer: &str| -> (usize, usize) {
            let payloads: Vec<_> = received_from(&records[1..2], peer)
                .map(|entry| &entry["payload"])
                .collect();
            let kinds: BTreeSet<_> = payloads.iter().map(ToString::to_string).collect();
            (payloads.len(), kinds.len())
        };
        let ((flooder, payloads), (other, _)) = (from("cn1"), from("cn3"));
        assert!(flooder > 5 * other, "{fault}: {flooder} against {other}");
        assert_eq!(payloads > 3 * other, distinct, "{fault}: {payloads} payloads");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partial_sending_leaves_nodes_out() {
    let (_net, records) = with_fault("partial=1", Gossip::Direct).await;
    let peers: BTreeSet<_> = of(&records[0], "sent")
        .map(|entry| entry["peer"].as_str().unwrap())
        .collect();
    assert_eq!(peers, BTreeSet::from(["cn2"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_rounds_come_for_heights_that_are_over() {
    let (_net, records) = with_fault("stale-rounds", Gossip::Direct).await;
    let (mut height, mut stale) = (0, 0);
    for entry in &records[1] {
        match entry["what"].as_str() {
            Some("decided") => height = entry["sequence"].as_u64().unwrap(),
            Some("received") if entry["peer"] == "cn1" && entry["kind"] == "prepare" => {
                stale += usize::from(entry["sequence"].as_u64().unwrap() <= height);
            }
            _ => {}
        }
    }
    // An honest prepare may be late, too, but then it is the height's only one.
    let all = received_from(&records[1..2], "cn1").filter(|entry| entry["kind"] == "prepare");
    let mut payloads: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for entry in all {
        let payload = entry["payload"].to_string();
        payloads
            .entry(entry["sequence"].as_u64().unwrap())
            .or_default()
            .insert(payload);
    }
    let twice = payloads.values().filter(|payloads| payloads.len() >= 2).count();
    assert!(twice >= 3, "{twice} heights with two prepares of one node");
    assert!(stale >= 3, "{stale}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_node_takes_its_time() {
    let (_net, records) = with_fault("slow=40ms", Gossip::Direct).await;
    // Its commits come after those of the others, or not at all.
    let last = |record: &[Value]| of(record, "decided").count();
    assert!(last(&records[0]) <= last(&records[1]));
    assert_eq!(of(&records[0], "fault").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strange_votes_and_padded_ones_arrive_and_go_no_further() {
    let (_net, records) = with_fault("strange-votes", Gossip::Flood).await;
    let deeds: BTreeSet<_> = of(&records[0], "deed")
        .map(|deed| deed["payload"].to_string())
        .collect();
    assert!(deeds.len() > 5);
    let strange = |entry: &&Value| deeds.contains(&entry["payload"].to_string());
    let received = |peer: &str| received_from(&records, peer).filter(strange).count();
    assert!(received("cn1") > 5);
    assert_eq!(
        received("cn2") + received("cn3") + received("cn4"),
        0,
        "nobody passes them on"
    );

    let (_net, records) = with_fault("oversized=5000", Gossip::Flood).await;
    let large = |peer: &str| {
        let large = received_from(&records, peer).filter(|entry| entry["bytes"].as_u64().unwrap() > 5000);
        large.count()
    };
    assert!(large("cn1") > 5);
    // The vote is good, and is passed on, but not what stood behind it.
    assert_eq!(large("cn2") + large("cn3") + large("cn4"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_fault_holds_back_is_recorded_as_a_deed() {
    let (_net, records) = with_fault("silent", Gossip::Flood).await;
    assert!(of(&records[0], "deed").count() > 5);
    assert!(of(&records[0], "deed").all(|deed| deed["fault"] == "silent" && deed["kind"].is_string()));
    for record in &records[1..] {
        assert_eq!(of(record, "deed").count(), 0, "the others are honest");
    }
    let (_net, records) = with_fault("slow-proposals=400ms", Gossip::Direct).await;
    for deed in of(&records[0], "deed") {
        assert_eq!(
            (&deed["kind"], &deed["fault"]),
            (&"preprepare".into(), &"slow-proposals=400ms".into())
        );
    }
    assert!(of(&records[0], "deed").count() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visits_end_behind_the_handshake_and_harm_no_session() {
    let (_net, records) = with_fault("churn=20ms", Gossip::Direct).await;
    let visits: BTreeSet<_> = of(&records[0], "deed")
        .map(|deed| deed["peers"][0].to_string())
        .collect();
    assert_eq!(visits.len(), 3, "each peer in turn: {visits:?}");
    for record in &records[1..] {
        let failed = of(record, "failed").filter(|entry| entry["peer"] == "127.0.0.1");
        assert!(failed.count() > 2);
        assert!(of(record, "up").any(|entry| entry["peer"] == "cn1"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_connection_with_a_false_role_is_recorded() {
    let (_net, records) = with_fault("role=en", Gossip::Direct).await;
    assert!(of(&records[0], "deed").count() >= of(&records[0], "up").count());
    assert!(of(&records[0], "sent").count() > 0, "it takes part all the same");
}
