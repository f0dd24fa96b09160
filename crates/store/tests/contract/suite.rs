//! The contract: the same facts in, the same queries out, whatever the database.
//!
//! A new database implements [`Backend`] and runs [`contract_tests!`](crate::suite::contract_tests).

use bftap_analysis::facts::{RunFacts, Totals, VoteState};
use bftap_ibft_decode::Kind;
use bftap_store::rows::{Cell, Holds, VoteRow};
use bftap_store::{Access, Batch, HeightVotes, RunId, Store, StoreError, StoreUrl, each_row, open};

use crate::facts::{
    CHAIN, SELECTION, at, batch, count, delivery, height, ip, link, new_run, node_round, round, run_facts,
    vote,
};

/// An empty place for a store.
pub(crate) trait Backend {
    /// Where the store is.
    fn url(&self) -> StoreUrl;

    /// Rows of a query in SQL that all databases understand; every value as text, null as `-`.
    async fn sql(&self, query: &str) -> Vec<Vec<String>>;

    /// Executes a statement that gives no rows.
    async fn execute(&self, statement: &str) {
        self.sql(statement).await;
    }
}

/// One test for every function of the suite; the place is an `Option`.
macro_rules! contract_tests {
    ($backend:expr) => {
        $crate::suite::contract_tests! { $backend; suite:
            every_fact_comes_back, the_view_is_that_of_the_original, analysing_again_changes_nothing,
            a_run_replaces_its_namesake_whole, a_crash_leaves_the_old_run, a_failed_run_has_a_reason_and_no_rows,
            runs_stand_side_by_side, hostile_texts_are_data, huge_values_fit, empty_facts_make_a_complete_run,
            a_row_that_comes_again_replaces_itself, a_run_can_be_taken_over, counts_come_in_pages,
            tables_come_in_pages, details_read_what_was_written, unknown_runs_are_named, long_batches_are_stored_whole
        }
        $crate::suite::contract_tests! { $backend; suite_live:
            a_live_run_is_gone_on_with,
            any_verb_may_be_repeated, live_batches_show_how_things_stand, minutes_are_sums_of_their_rows,
            times_are_whole_seconds_too, readers_and_writers_do_not_disturb_each_other,
            a_check_finds_what_does_not_agree, old_runs_are_pruned, old_detail_is_thinned_to_sums,
            the_originals_views_answer_its_queries, lists_are_written_when_they_changed,
            what_a_full_spool_gave_up_is_told
        }
    };
    ($backend:expr; $suite:ident: $($test:ident),*) => {$(
        #[tokio::test]
        async fn $test() {
            // `None`: said loudly, and a failure where it must not be.
            if let Some(backend) = $backend {
                $crate::$suite::$test(&backend).await;
            }
        }
    )*};
}
pub(crate) use contract_tests;

/// Tables with a `run_id` but `run` itself.
pub(crate) const TABLES: [&str; 30] = [
    "counter",
    "capture",
    "chain",
    "label",
    "node",
    "node_ip",
    "session",
    "code",
    "message_count",
    "delivery_row",
    "link_count",
    "copies",
    "round",
    "event",
    "minute_count",
    "minute_round",
    "progress",
    "node_round",
    "vote",
    "waste",
    "what_if",
    "phase",
    "participation",
    "delivery_delay",
    "tcp_link",
    "peer",
    "peer_disconnect",
    "dial",
    "census",
    "score",
];

pub(crate) async fn store(backend: &impl Backend) -> Box<dyn Store> {
    open(&backend.url(), Access::Write).await.unwrap()
}

/// Writes a whole run.
pub(crate) async fn write_run(
    backend: &impl Backend,
    name: &str,
    batches: &[Batch],
    facts: &RunFacts,
) -> RunId {
    let mut store = store(backend).await;
    let run = store.begin_run(&new_run(name), 1).await.unwrap();
    let mut number = 0;
    for batch in batches {
        number += 1;
        store.write(run, number, batch).await.unwrap();
    }
    store.finish_run(run, number + 1, facts, 2).await.unwrap();
    store.close().await.unwrap();
    run
}

/// The only value of a query.
pub(crate) async fn value(backend: &impl Backend, query: &str) -> String {
    let mut rows = backend.sql(query).await;
    assert_eq!((rows.len(), rows[0].len()), (1, 1), "{query}");
    rows.swap_remove(0).swap_remove(0)
}

/// Everything in the store but ids and times of runs, in a fixed order.
pub(crate) async fn dump(backend: &impl Backend) -> Vec<(String, Vec<Vec<String>>)> {
    let mut dump = Vec::new();
    for table in TABLES {
        let query = format!("SELECT t.*, run.name FROM {table} t JOIN run ON run.run_id = t.run_id");
        let mut rows = backend.sql(&query).await;
        rows.iter_mut().for_each(|row| drop(row.remove(0)));
        rows.sort();
        dump.push((table.to_owned(), rows));
    }
    let runs = "SELECT name, state, source, batches, packets, bad_checksums FROM run ORDER BY name";
    dump.push(("run".to_owned(), backend.sql(runs).await));
    dump
}

pub(crate) fn rows(expected: &[&[&str]]) -> Vec<Vec<String>> {
    expected
        .iter()
        .map(|row| row.iter().map(|value| (*value).to_owned()).collect())
        .collect()
}

pub(crate) async fn every_fact_comes_back(backend: &impl Backend) {
    let run = write_run(backend, "first", &[batch(5)], &run_facts())
        .await
        .0
        .to_string();
    let id = format!("0x{}", "11".repeat(64));
    let address = bftap_model::NodeId([0x11; 64]).address().to_string();
    let digest = format!("0x{}", "22".repeat(32));
    let (three, four) = ("33".repeat(32), "44".repeat(32));
    let payloads = format!("[\"0x{three}\",\"0x{four}\"]");
    let expect: [(&str, &[&[&str]]); 30] = [
        (
            "SELECT name, state, problem, source, program_version, started_ns, finished_ns, batches, first_seen_ns, \
             last_seen_ns, packets, bytes, tcp_packets, sessions, refused, other_flows, frames, consensus_messages, \
             undecodable, gaps, lost_bytes, incomplete_bytes, bad_checksums, selection, frames_lost, searched_bytes \
             FROM run",
            &[&[
                "first", "complete", "-", "analyze", "0.1.0", "1", "2", "2", "18", "19", "51", "52", "53",
                "54", "55", "56", "57", "58", "59", "60", "61", "62", "63", SELECTION, "67", "68",
            ]],
        ),
        (
            "SELECT list, name, value FROM counter ORDER BY list",
            &[
                &["limits_reached", "reorder buffer", "66"],
                &["skipped_packets", "not IP", "64"],
                &["undecodable_reasons", "bad RLP", "65"],
            ],
        ),
        (
            "SELECT capture_number, path, packets, bytes, problem, kernel_drops, interface_drops, times_down FROM capture",
            &[&[
                "0",
                "tap1.pcap",
                "1001",
                "1002",
                "cut in the middle",
                "1003",
                "-",
                "1005",
            ]],
        ),
        (
            "SELECT chain_id, chain FROM chain ORDER BY chain_id",
            &[&["0", CHAIN], &["1", "1001/0xbb"], &["2", "1002/0xcc"]],
        ),
        (
            "SELECT node_number, label, name, node_id, address, client, role, coverage, validator FROM node \
             ORDER BY node_number",
            &[
                &[
                    "0",
                    "cn1",
                    "cn1",
                    &id,
                    &address,
                    "Klaytn/v1.4.2",
                    "cn",
                    "full",
                    "1",
                ],
                &["1", "10.0.0.2", "-", "-", "-", "-", "-", "partial", "0"],
            ],
        ),
        (
            "SELECT ip, node_number FROM node_ip ORDER BY ip",
            &[&["10.0.0.1", "0"], &["10.0.0.101", "0"], &["10.0.0.2", "1"]],
        ),
        (
            "SELECT session_number, chain_id, initiator, recipient, initiator_ip, recipient_ip, state, attached, mac, \
             frames_from_initiator, frames_from_recipient, gaps, lost_bytes, incomplete_bytes, capabilities, \
             bytes_from_initiator, bytes_from_recipient, initiator_client, recipient_client, initiator_node_id, \
             recipient_node_id, detail, first_seen_ns, last_seen_ns, frames_lost_from_initiator, \
             frames_lost_from_recipient, inferred FROM session",
            &[&[
                "0",
                "1",
                "10.0.0.1:40000",
                "10.0.0.2:32323",
                "10.0.0.1",
                "10.0.0.2",
                "lost",
                "handshake",
                "unverifiable",
                "11",
                "12",
                "13",
                "14",
                "15",
                "istanbul/64 klay/65",
                "16",
                "17",
                "one",
                "-",
                "-",
                &id,
                "a gap",
                "18",
                "19",
                "71",
                "72",
                "klaytn, inferred",
            ]],
        ),
        (
            "SELECT capability, wire_code, name, frames, bytes FROM code",
            &[&["istanbul/64", "33", "consensus", "21", "22"]],
        ),
        (
            "SELECT chain_id, receiver_ip, receiver, sequence, round, kind, messages, useful, repeats, echoes, invalid, \
             bytes, lower_bound, first_seen_ns, last_seen_ns FROM message_count WHERE receiver = 'cn2'",
            &[&[
                "0", "10.0.0.2", "cn2", "5", "0", "prepare", "6", "3", "2", "1", "0", "1824", "1", "5000",
                "5007",
            ]],
        ),
        (
            "SELECT chain_id, chain, receiver_ip, sender, signer, sequence, round, kind, copies, first_seen_ns, \
             last_seen_ns FROM delivery ORDER BY sender, signer",
            &[
                &[
                    "0", CHAIN, "10.0.0.1", "cn2", "cn2", "5", "0", "commit", "1", "5001", "5006",
                ],
                &[
                    "0", CHAIN, "10.0.0.1", "cn2", "cn3", "5", "0", "prepare", "3", "5001", "5006",
                ],
                &[
                    "0",
                    CHAIN,
                    "10.0.0.1",
                    "cn3",
                    "cn1",
                    "5",
                    "0",
                    "roundchange",
                    "2",
                    "5001",
                    "5006",
                ],
            ],
        ),
        (
            "SELECT chain_id, minute_ns, receiver_ip, receiver, sender, kind, messages, bytes FROM link_count",
            &[&[
                "0",
                "300000000000",
                "10.0.0.1",
                "cn1",
                "cn2",
                "prepare",
                "360",
                "109440",
            ]],
        ),
        (
            "SELECT receiver_ip, copies, payloads FROM copies ORDER BY copies",
            &[&["10.0.0.1", "1", "30"], &["10.0.0.1", "6", "31"]],
        ),
        (
            "SELECT chain_id, sequence, round, proposer, validators, quorum, preprepare_ns, prepared_ns, committed_ns, \
             messages, outcome, cause, block_time_ns, standing FROM round",
            &[&[
                "0",
                "5",
                "0",
                "cn2",
                "7",
                "5",
                "5000",
                "5003",
                "-",
                "52",
                "decided",
                "late_preprepare",
                "1000000005",
                "entered",
            ]],
        ),
        (
            "SELECT kind, resent, echo_source, crossing, regossip FROM message_count WHERE receiver = 'cn1' AND round = 0 \
             ORDER BY kind",
            &[
                &["commit", "1", "0", "0", "3"],
                &["prepare", "1", "2", "3", "11"],
                &["preprepare", "0", "0", "0", "2"],
            ],
        ),
        (
            "SELECT chain_id, sequence, round, node_ip, node, preprepare_ns, prepared_ns, committed_ns, roundchange_ns, \
             lower_bound FROM node_round ORDER BY node_ip",
            &[
                &[
                    "0", "5", "0", "10.0.0.1", "cn1", "5001", "5002", "5003", "5004", "0",
                ],
                &["0", "5", "0", "10.0.0.2", "cn2", "5001", "-", "-", "-", "1"],
            ],
        ),
        (
            "SELECT chain_id, sequence, round, kind, signer, position, digest, first_ns, first_sender, reached, of_nodes, \
             not_reached, state FROM vote ORDER BY signer, position",
            &[
                &[
                    "0", "5", "0", "prepare", "cn2", "0", &digest, "5002", "cn2", "2", "4", "-", "complete",
                ],
                &[
                    "0",
                    "5",
                    "0",
                    "prepare",
                    "cn3",
                    "0",
                    &digest,
                    "5002",
                    "cn2",
                    "2",
                    "4",
                    r#"["cn 4","cn\"5"]"#,
                    "partial",
                ],
                &[
                    "0", "5", "0", "prepare", "cn3", "1", &digest, "5002", "cn2", "2", "4", "-", "late",
                ],
                &[
                    "0", "5", "0", "prepare", "cn4", "0", "-", "-", "-", "2", "4", "-", "missing",
                ],
            ],
        ),
        (
            "SELECT chain_id, receiver_ip, receiver, sender, kind, cause, copies, bytes FROM waste",
            &[&["0", "10.0.0.1", "cn1", "cn2", "commit", "echo_source", "81", "82"]],
        ),
        (
            "SELECT chain_id, policy, payloads, messages, bytes, not_delivered, delay_p50_ns, delay_p95_ns FROM what_if",
            &[&["0", "degree_4", "83", "84", "85", "86", "87", "-"]],
        ),
        (
            "SELECT chain_id, phase, rounds, p50_ns, p95_ns, p99_ns, max_ns FROM phase",
            &[&["2", "block_time", "88", "89", "90", "91", "92"]],
        ),
        (
            "SELECT chain_id, node_ip, node, payloads, exact, p50_ns, p95_ns, p99_ns, max_ns FROM delivery_delay",
            &[&["0", "10.0.0.2", "cn2", "201", "202", "203", "204", "-", "205"]],
        ),
        (
            "SELECT chain_id, validator, address, rounds, proposals_due, proposals, prepares, commits, roundchanges, late, \
             partial, missing, unknown, invalid, commit_delay_p50_ns, commit_delay_p95_ns FROM participation",
            &[&[
                "0", "cn3", &address, "93", "94", "95", "96", "97", "98", "99", "100", "101", "102", "103",
                "104", "105",
            ]],
        ),
        (
            "SELECT sender_ip, sender, receiver_ip, receiver, segments, bytes, retransmissions, rtt_samples, rtt_min_ns, \
             rtt_mean_ns, rtt_max_ns, rtt_smoothed_ns, one_way_samples, one_way_min_ns, one_way_mean_ns, skew_ns \
             FROM tcp_link",
            &[&[
                "10.0.0.2", "cn2", "10.0.0.1", "cn1", "106", "107", "108", "109", "110", "111", "112", "113",
                "114", "115", "116", "-117",
            ]],
        ),
        (
            "SELECT peer_number, node, node_id, ips, client, software, version, offers, network_id, genesis, head, \
             total_difficulty, behind, role, dials_out, dials_in, refused_out, refused_in, useless, sessions, \
             session_p50_ns, reconnects, reconnect_p50_ns FROM peer",
            &[&[
                "0",
                "cn2",
                &id,
                r#"["10.0.0.2","10.0.0.102"]"#,
                "Klaytn/v1.4.2/linux",
                "Klaytn",
                "v1.4.2",
                "istanbul/64 klay/65",
                "118",
                "0xaa",
                "0xbb",
                "119",
                "120",
                "cn",
                "121",
                "122",
                "123",
                "124",
                "125",
                "126",
                "127",
                "128",
                "129",
            ]],
        ),
        (
            "SELECT peer_number, node, direction, reason, disconnects FROM peer_disconnect ORDER BY direction",
            &[
                &["0", "cn2", "received", "quitting", "131"],
                &["0", "cn2", "sent", "too many peers", "130"],
            ],
        ),
        (
            "SELECT initiator_ip, initiator, recipient_ip, recipient, dials, refused, useless, first_seen_ns, last_seen_ns \
             FROM dial",
            &[&[
                "10.0.0.1", "cn1", "10.0.0.2", "cn2", "132", "133", "134", "135", "136",
            ]],
        ),
        (
            "SELECT list, value, total FROM census",
            &[&["version", "v1.4.2", "137"]],
        ),
        (
            "SELECT score_number, node, address, ip, score_milli, time_in_mesh_milli, first_deliveries_milli, \
             delivery_deficit_milli, invalid_milli, colocation_milli, behaviour_milli FROM score",
            &[&[
                "0", "cn2", &address, "10.0.0.2", "-138", "139", "140", "-141", "-142", "-143", "-144",
            ]],
        ),
        (
            "SELECT kind, node_id, address, ip, numbers, payloads FROM event",
            &[&[
                "commit",
                &id,
                &address,
                "10.0.0.3",
                r#"{"digests":2,"second_ns":-44}"#,
                &payloads,
            ]],
        ),
        (
            "SELECT event_number, time_ns, rule, severity, signer, sender, chain_id, sequence, round, detail, suspicious \
             FROM event",
            &[&[
                "0",
                "41",
                "equivocation",
                "critical",
                "cn3",
                "-",
                "0",
                "42",
                "43",
                "two digests",
                "1",
            ]],
        ),
        ("SELECT DISTINCT run_id FROM message_count", &[&[&run]]),
    ];
    for (query, expected) in expect {
        assert_eq!(backend.sql(query).await, rows(expected), "{query}");
    }
}

pub(crate) async fn the_view_is_that_of_the_original(backend: &impl Backend) {
    let mut other_chain = batch(5);
    other_chain.counts = vec![count(1, 5, 0, Kind::Prepare, 100)];
    other_chain.counts[0].chain = "unknown".into();
    other_chain.counts[0].receiver_ip = ip(101);
    other_chain.deliveries.clear();
    other_chain.rounds.clear();
    other_chain.links.clear();
    let run = write_run(
        backend,
        "first",
        &[batch(5), other_chain, batch(6)],
        &RunFacts::default(),
    )
    .await;

    // As one types it into a database's command line.
    let short = backend
        .sql("SELECT round_number, prepare FROM consensus_round_counts WHERE node='cn1'")
        .await;
    let mut short_sorted = short;
    short_sorted.sort();
    assert_eq!(short_sorted, rows(&[&["5", "140"], &["6", "40"]]));

    let full = "SELECT node, round_number, preprepare, prepare, \"commit\", roundchange FROM consensus_round_counts \
                WHERE run_id = {run} ORDER BY node, round_number";
    assert_eq!(
        backend.sql(&full.replace("{run}", &run.to_string())).await,
        rows(&[
            &["cn1", "5", "6", "140", "10", "3"],
            &["cn1", "6", "6", "40", "10", "3"],
            &["cn2", "5", "0", "6", "0", "0"],
            &["cn2", "6", "0", "6", "0", "0"],
        ])
    );
}

pub(crate) async fn analysing_again_changes_nothing(backend: &impl Backend) {
    let batches = [batch(5), batch(6)];
    write_run(backend, "first", &batches, &run_facts()).await;
    let once = dump(backend).await;
    write_run(backend, "first", &batches, &run_facts()).await;
    assert_eq!(dump(backend).await, once);
    // How the rows were cut into batches leaves no trace but their number.
    let mut whole = batch(5);
    let second = batch(6);
    whole.push_height(height(6));
    whole.links.extend(second.links);
    write_run(backend, "first", &[whole], &run_facts()).await;
    let cut_differently = dump(backend).await;
    assert_eq!(cut_differently[..TABLES.len()], once[..TABLES.len()]);
}

pub(crate) async fn a_run_replaces_its_namesake_whole(backend: &impl Backend) {
    let old = write_run(backend, "first", &[batch(5), batch(6)], &run_facts()).await;
    let new = write_run(backend, "first", &[batch(7)], &RunFacts::default()).await;
    assert!(new > old, "ids are not used again");
    for table in TABLES {
        let left = format!("SELECT COUNT(*) FROM {table} WHERE run_id <> {new}");
        assert_eq!(value(backend, &left).await, "0", "{table}");
    }
    assert_eq!(
        backend.sql("SELECT name, state FROM run").await,
        rows(&[&["first", "complete"]])
    );
    assert_eq!(
        backend.sql("SELECT DISTINCT sequence FROM delivery").await,
        rows(&[&["7"]])
    );
    let third = write_run(backend, "first", &[], &RunFacts::default()).await;
    assert!(third > new, "ids are not used again");
}

pub(crate) async fn a_crash_leaves_the_old_run(backend: &impl Backend) {
    let old = write_run(backend, "first", &[batch(5)], &run_facts()).await;
    let mut crashed = store(backend).await;
    let half = crashed.begin_run(&new_run("first"), 3).await.unwrap();
    crashed.write(half, 1, &batch(5)).await.unwrap();
    crashed.write(half, 2, &batch(6)).await.unwrap();
    drop(crashed);

    let mut reader = open(&backend.url(), Access::Read).await.unwrap();
    assert_eq!(reader.find_run(Some("first")).await.unwrap().run_id, old.0);
    let states: Vec<_> = reader
        .runs()
        .await
        .unwrap()
        .into_iter()
        .map(|run| (run.run_id, run.state))
        .collect();
    assert_eq!(
        states,
        [(half.0, "running".to_owned()), (old.0, "complete".to_owned())]
    );
    let seen = "SELECT round_number, prepare FROM consensus_round_counts WHERE node='cn1'";
    assert_eq!(backend.sql(seen).await, rows(&[&["5", "40"]]));

    write_run(backend, "first", &[batch(5)], &run_facts()).await;
    for table in TABLES {
        let left = format!("SELECT COUNT(*) FROM {table} WHERE run_id IN ({half}, {old})");
        assert_eq!(value(backend, &left).await, "0", "{table}");
    }
    assert_eq!(value(backend, "SELECT COUNT(*) FROM run").await, "1");
}

pub(crate) async fn a_failed_run_has_a_reason_and_no_rows(backend: &impl Backend) {
    let old = write_run(backend, "first", &[batch(5)], &run_facts()).await;
    let mut store = store(backend).await;
    let failed = store.begin_run(&new_run("first"), 3).await.unwrap();
    store.write(failed, 1, &batch(6)).await.unwrap();
    store.fail_run(failed, "no more", 4).await.unwrap();
    for table in TABLES {
        let left = format!("SELECT COUNT(*) FROM {table} WHERE run_id = {failed}");
        assert_eq!(value(backend, &left).await, "0", "{table}");
    }
    let row = format!("SELECT state, problem, finished_ns FROM run WHERE run_id = {failed}");
    assert_eq!(backend.sql(&row).await, rows(&[&["failed", "no more", "4"]]));
    assert_eq!(store.find_run(None).await.unwrap().run_id, old.0);
    let error = store.write(failed, 2, &batch(7)).await.unwrap_err();
    assert!(matches!(error, StoreError::TakenOver { .. }), "{error}");
}

pub(crate) async fn runs_stand_side_by_side(backend: &impl Backend) {
    let one = write_run(backend, "one", &[batch(5)], &run_facts()).await;
    let two = write_run(backend, "two", &[batch(5)], &run_facts()).await;
    let mut store = store(backend).await;
    let names: Vec<_> = store
        .runs()
        .await
        .unwrap()
        .into_iter()
        .map(|run| run.name)
        .collect();
    assert_eq!(names, ["two", "one"]);
    assert_eq!(store.find_run(None).await.unwrap().run_id, two.0);
    assert_eq!(store.find_run(Some("one")).await.unwrap().run_id, one.0);
    for run in [one, two] {
        let counts = store.counts(run, 0..=i64::MAX, None, 100).await.unwrap();
        assert_eq!(counts.len(), 6);
        assert!(counts.iter().all(|count| count.run_id == run.0));
    }
    // Interleaved writing keeps each run's ids its own.
    let mut other = open(&backend.url(), Access::Write).await.unwrap();
    let three = store.begin_run(&new_run("three"), 1).await.unwrap();
    let four = other.begin_run(&new_run("four"), 1).await.unwrap();
    for sequence in 1..4 {
        let number = sequence as i64;
        store.write(three, number, &batch(sequence)).await.unwrap();
        other.write(four, number, &batch(sequence)).await.unwrap();
    }
    store.finish_run(three, 4, &run_facts(), 2).await.unwrap();
    other.finish_run(four, 4, &run_facts(), 2).await.unwrap();
    let per_run = "SELECT name, COUNT(*) FROM delivery JOIN run ON run.run_id = delivery.run_id \
                   WHERE sender = 'cn2' GROUP BY name ORDER BY name";
    assert_eq!(
        backend.sql(per_run).await,
        rows(&[&["four", "6"], &["one", "2"], &["three", "6"], &["two", "2"]])
    );
}

pub(crate) async fn hostile_texts_are_data(backend: &impl Backend) {
    let texts = [
        "'; DROP TABLE run; --",
        "\"quoted\" `back` \\ %s ?1 $1 :a",
        "two\nlines\r\n\ttab",
        "<script>alert(1)</script>",
        "\u{1b}[31mred\u{202e}desrever",
        "케이노드 🦀 e\u{301}",
        " leading and trailing ",
        "",
        "NULL",
        "Cn1",
        "cN1",
    ];
    let mut batch = Batch::default();
    for (number, text) in (0..).zip(texts) {
        batch
            .deliveries
            .push(delivery(text, text, number, Kind::Prepare, 1));
        let mut fact = count(1, number, 0, Kind::Prepare, 2);
        fact.receiver = text.into();
        fact.chain = text.into();
        batch.counts.push(fact);
    }
    let mut facts = run_facts();
    facts.nodes[0].client = Some(texts[0].into());
    facts.events[0].detail = texts[2].into();
    facts.peers[0].client = Some(texts[4].into());
    facts.peers[0].disconnects_sent = texts.iter().map(|text| ((*text).to_owned(), 1)).collect();
    facts.census[0].value = texts[0].into();
    facts.totals = Totals {
        limits_reached: [(texts[1].to_owned(), 1)].into(),
        ..Totals::default()
    };
    let run = write_run(backend, texts[0], &[batch], &facts).await;

    let stored = backend
        .sql("SELECT sender, signer FROM delivery ORDER BY sequence")
        .await;
    assert_eq!(stored, texts.map(|text| vec![text.to_owned(); 2]));
    let stored = backend
        .sql("SELECT receiver FROM message_count ORDER BY sequence")
        .await;
    assert_eq!(stored, texts.map(|text| vec![text.to_owned()]));
    let mut store = store(backend).await;
    assert_eq!(store.find_run(Some(texts[0])).await.unwrap().run_id, run.0);
    let details = store.details(run).await.unwrap();
    assert_eq!(details.nodes[0].client.as_deref(), Some(texts[0]));
    assert_eq!(details.events[0].detail, texts[2]);
    assert_eq!(details.peers[0].client.as_deref(), Some(texts[4]));
    assert_eq!(details.peer_disconnects.len(), texts.len() + 1);
    assert_eq!(details.census[0].value, texts[0]);
    assert_eq!(details.counters[0].name, texts[1]);
    assert_eq!(
        details
            .chains
            .iter()
            .filter(|row| texts.contains(&&*row.chain))
            .count(),
        texts.len()
    );

    // What a column cannot hold as it is stays told apart.
    let long = "x".repeat(10_000);
    let odd = [
        "a\0b".to_owned(),
        "a\u{2400}b".to_owned(),
        format!("{long}1"),
        format!("{long}2"),
    ];
    let mut batch = Batch::default();
    batch
        .deliveries
        .extend(odd.iter().map(|text| delivery(text, text, 1, Kind::Prepare, 1)));
    let run = write_run(backend, "odd", &[batch], &RunFacts::default()).await;
    let senders = format!("SELECT COUNT(DISTINCT sender) FROM delivery WHERE run_id = {run}");
    assert_eq!(value(backend, &senders).await, "4");
}

pub(crate) async fn huge_values_fit(backend: &impl Backend) {
    const MAX: u64 = i64::MAX as u64;
    let mut huge = Batch::default();
    let mut fact = count(1, 1, 0, Kind::Prepare, 2);
    (fact.sequence, fact.round, fact.messages, fact.bytes) = (MAX, MAX, MAX, u64::MAX);
    (fact.first_seen, fact.last_seen) = (at(i64::MIN), at(i64::MAX));
    huge.counts.push(fact);
    let mut fact = delivery("cn2", "cn3", 1, Kind::Commit, 1);
    (fact.sequence, fact.round, fact.copies) = (MAX, MAX, u64::MAX);
    huge.deliveries.push(fact);
    let mut fact = round(1);
    (fact.sequence, fact.round, fact.validators) = (MAX, MAX, Some(u32::MAX));
    huge.rounds.push(fact);
    let mut fact = link(1);
    fact.minute = at(i64::MAX);
    huge.links.push(fact);
    let mut facts = run_facts();
    facts.codes[0].wire_code = u64::MAX;
    facts.totals.bytes = u64::MAX;
    let run = write_run(backend, "huge", &[huge], &facts).await;

    let max = i64::MAX.to_string();
    let min = i64::MIN.to_string();
    let query = "SELECT sequence, round, messages, bytes, first_seen_ns, last_seen_ns FROM message_count";
    assert_eq!(
        backend.sql(query).await,
        rows(&[&[&max, &max, &max, &max, &min, &max]])
    );
    let query = "SELECT sequence, round, copies, kind FROM delivery";
    assert_eq!(backend.sql(query).await, rows(&[&[&max, &max, &max, "commit"]]));
    let query = "SELECT round_number, prepare FROM consensus_round_counts";
    assert_eq!(backend.sql(query).await, rows(&[&[&max, &max]]));
    let mut store = store(backend).await;
    assert_eq!(
        store
            .counts(run, i64::MAX..=i64::MAX, None, 10)
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(store.details(run).await.unwrap().run.bytes, i64::MAX);
}

pub(crate) async fn empty_facts_make_a_complete_run(backend: &impl Backend) {
    let run = write_run(backend, "empty", &[Batch::default()], &RunFacts::default()).await;
    let mut store = store(backend).await;
    let found = store.find_run(None).await.unwrap();
    assert_eq!(
        (found.run_id, &*found.state, found.first_seen_ns),
        (run.0, "complete", None)
    );
    assert_eq!(store.counts(run, 0..=i64::MAX, None, 10).await.unwrap(), []);
    let details = store.details(run).await.unwrap();
    assert!(details.sessions.is_empty() && details.nodes.is_empty() && details.chains.is_empty());
}

pub(crate) async fn a_row_that_comes_again_replaces_itself(backend: &impl Backend) {
    let mut store = store(backend).await;
    let run = store.begin_run(&new_run("first"), 1).await.unwrap();
    store.write(run, 1, &batch(5)).await.unwrap();
    let mut again = batch(6);
    again.deliveries.push(delivery("cn2", "cn3", 5, Kind::Prepare, 8));
    // Twice in one batch: the last one counts.
    again.counts.push(count(1, 5, 0, Kind::Prepare, 37));
    again.counts.push(count(1, 5, 0, Kind::Prepare, 38));
    let mut decided = round(5);
    decided.committed_ns = Some(at(5009));
    again.rounds.push(decided);
    let mut more = link(5);
    more.messages = 361;
    again.links.push(more);
    let mut lived = node_round(2, 5);
    lived.committed_ns = Some(at(5011));
    again.node_rounds.push(lived);
    // Judged again, a height has other votes, and fewer of one signer; twice in one batch, the last one counts.
    for state in [VoteState::Unknown, VoteState::Late] {
        again.votes.push(HeightVotes {
            chain: CHAIN.into(),
            sequence: 5,
            votes: vec![vote("cn3", 5, state), vote("cn4", 5, VoteState::Complete)],
        });
    }
    store.write(run, 2, &again).await.unwrap();
    store.finish_run(run, 3, &run_facts(), 2).await.unwrap();
    let of_kind = "WHERE sequence = 5 AND round = 0 AND kind = 'prepare'";
    for (query, expected) in [
        (
            format!("SELECT messages FROM message_count {of_kind} AND receiver = 'cn1'"),
            "38",
        ),
        (format!("SELECT copies FROM delivery {of_kind}"), "8"),
        ("SELECT committed_ns FROM round WHERE sequence = 5".into(), "5009"),
        (
            "SELECT messages FROM link_count WHERE minute_ns = 300000000000".into(),
            "361",
        ),
        (
            "SELECT committed_ns FROM node_round WHERE sequence = 5 AND node = 'cn2'".into(),
            "5011",
        ),
        ("SELECT COUNT(*) FROM node_round".into(), "4"),
        ("SELECT COUNT(*) FROM vote WHERE sequence = 5".into(), "2"),
        (
            "SELECT state FROM vote WHERE sequence = 5 AND signer = 'cn3'".into(),
            "late",
        ),
        ("SELECT COUNT(*) FROM vote WHERE sequence = 6".into(), "4"),
        ("SELECT COUNT(*) FROM message_count".into(), "12"),
        ("SELECT COUNT(*) FROM delivery_row".into(), "6"),
        ("SELECT COUNT(*) FROM round".into(), "2"),
        ("SELECT COUNT(*) FROM link_count".into(), "2"),
    ] {
        assert_eq!(value(backend, &query).await, expected, "{query}");
    }
    let links = store.latest_links(run).await.unwrap();
    let minutes: Vec<_> = links.iter().map(|link| (link.minute_ns, link.messages)).collect();
    assert_eq!(
        minutes,
        [(300_000_000_000, 361), (360_000_000_000, links[1].messages)]
    );
    assert!(store.latest_links(RunId(run.0 + 1)).await.unwrap().is_empty());
}

pub(crate) async fn a_run_can_be_taken_over(backend: &impl Backend) {
    let mut slow = store(backend).await;
    let overtaken = slow.begin_run(&new_run("first"), 1).await.unwrap();
    slow.write(overtaken, 1, &batch(5)).await.unwrap();
    write_run(backend, "first", &[batch(5)], &run_facts()).await;
    let error = slow.write(overtaken, 2, &batch(6)).await.unwrap_err();
    assert!(
        matches!(error, StoreError::TakenOver { run, .. } if run == overtaken),
        "{error}"
    );
    let error = slow.finish_run(overtaken, 2, &run_facts(), 2).await.unwrap_err();
    assert!(matches!(error, StoreError::TakenOver { .. }), "{error}");
    let counted = "SELECT round_number, prepare FROM consensus_round_counts WHERE node = 'cn1'";
    assert_eq!(backend.sql(counted).await, rows(&[&["5", "40"]]));
    assert_eq!(value(backend, "SELECT COUNT(*) FROM delivery").await, "3");
}

pub(crate) async fn counts_come_in_pages(backend: &impl Backend) {
    let run = write_run(backend, "first", &[batch(5), batch(4), batch(6)], &run_facts()).await;
    let mut store = store(backend).await;
    let all = store.counts(run, 0..=i64::MAX, None, 1000).await.unwrap();
    assert_eq!(all.len(), 18);
    let key = |row: &bftap_store::rows::CountRow| {
        (
            row.sequence,
            row.round,
            row.chain_id,
            row.receiver_ip.clone(),
            row.kind.clone(),
        )
    };
    assert!(all.is_sorted_by_key(key));
    for limit in [1, 4, 17, 18] {
        let mut paged = Vec::new();
        loop {
            let page = store
                .counts(run, 0..=i64::MAX, paged.last(), limit)
                .await
                .unwrap();
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        assert_eq!(paged, all, "{limit}");
    }
    let middle = store.counts(run, 5..=5, None, 1000).await.unwrap();
    assert_eq!(
        middle,
        all.iter()
            .filter(|row| row.sequence == 5)
            .cloned()
            .collect::<Vec<_>>()
    );
    assert_eq!(store.counts(run, 7..=9, None, 1000).await.unwrap(), []);
}

/// All tables, in pages of any size, without a row twice or missing.
pub(crate) async fn tables_come_in_pages(backend: &impl Backend) {
    let run = write_run(backend, "first", &[batch(5), batch(4), batch(6)], &run_facts()).await;
    write_run(backend, "second", &[batch(5)], &run_facts()).await;
    let mut store = store(backend).await;
    for table in bftap_store::rows::TABLES {
        let query = format!("SELECT COUNT(*) FROM {} WHERE run_id = {run}", table.name);
        let all = store.page(table, run, None, 1000).await.unwrap();
        assert_eq!(
            value(backend, &query).await,
            all.len().to_string(),
            "{}",
            table.name
        );
        assert!(
            !all.is_empty() || table.name == "progress",
            "{} is not tested",
            table.name
        );
        for row in &all {
            assert_eq!(row.len(), table.columns().len());
            for (cell, column) in row.iter().zip(table.columns()) {
                let null = matches!(cell, Cell::Int(None) | Cell::Text(None));
                assert!(!null || column.holds.null, "{}.{}", table.name, column.name);
                let text = matches!(cell, Cell::Text(_));
                assert_eq!(
                    text,
                    column.holds.holds == Holds::Text,
                    "{}.{}",
                    table.name,
                    column.name
                );
            }
        }
        for limit in [1, 2, 5] {
            let mut paged: Vec<Vec<Cell>> = Vec::new();
            loop {
                let after = paged.last().map(Vec::as_slice);
                let page = store.page(table, run, after, limit).await.unwrap();
                if page.is_empty() {
                    break;
                }
                paged.extend(page);
            }
            assert_eq!(paged, all, "{} by {limit}", table.name);
        }
    }
    let mut votes = Vec::new();
    let read = each_row(store.as_mut(), run, |vote: VoteRow| {
        votes.push((vote.sequence, vote.signer, vote.position));
        Ok::<_, StoreError>(())
    });
    read.await.unwrap();
    assert_eq!((votes.len(), votes.is_sorted()), (12, true));
}

pub(crate) async fn details_read_what_was_written(backend: &impl Backend) {
    let run = write_run(backend, "first", &[batch(5)], &run_facts()).await;
    let mut reader = open(&backend.url(), Access::Read).await.unwrap();
    let details = reader.details(run).await.unwrap();
    assert_eq!(
        (details.run.name.as_str(), details.run.consensus_messages),
        ("first", 58)
    );
    assert_eq!(details.counters.len(), 3);
    assert_eq!(details.captures[0].problem.as_deref(), Some("cut in the middle"));
    assert_eq!(
        details.chains.iter().map(|row| &*row.chain).collect::<Vec<_>>(),
        [CHAIN, "1001/0xbb", "1002/0xcc"]
    );
    assert_eq!(
        (
            details.waste[0].copies,
            details.what_if[0].messages,
            details.phases[0].p99_ns,
            details.participation[0].late,
            details.tcp_links[0].skew_ns,
            details.peers[0].sessions,
            details.peer_disconnects.len(),
            details.dials[0].dials,
            details.census[0].total,
            details.scores[0].invalid_milli,
        ),
        (81, 84, 91, 99, Some(-117), 126, 2, 132, 137, -142)
    );
    assert_eq!(
        (details.nodes[0].validator, details.nodes[1].validator),
        (true, false)
    );
    assert_eq!(details.node_ips.len(), 3);
    assert_eq!(details.sessions[0].state, "lost");
    assert_eq!(
        (
            details.sessions[0].frames_lost_from_initiator,
            details.sessions[0].frames_lost_from_recipient
        ),
        (Some(71), Some(72))
    );
    assert_eq!(details.sessions[0].inferred.as_deref(), Some("klaytn, inferred"));
    assert_eq!(details.run.selection.as_deref(), Some(SELECTION));
    assert_eq!(details.codes[0].wire_code, 33);
    assert_eq!(
        details
            .copies
            .iter()
            .map(|row| (row.copies, row.payloads))
            .collect::<Vec<_>>(),
        [(1, 30), (6, 31)]
    );
    assert_eq!(
        (details.events[0].sequence, details.events[0].suspicious),
        (Some(42), true)
    );
}

pub(crate) async fn unknown_runs_are_named(backend: &impl Backend) {
    let mut store = store(backend).await;
    let error = store.find_run(None).await.unwrap_err();
    assert!(matches!(error, StoreError::NoRuns { .. }), "{error}");
    write_run(backend, "there", &[], &RunFacts::default()).await;
    let error = store.find_run(Some("not there")).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("named \"not there\"; there are: \"there\""),
        "{error}"
    );
    let error = store.details(RunId(4711)).await.unwrap_err();
    assert!(
        matches!(error, StoreError::RunGone { run: RunId(4711), .. }),
        "{error}"
    );
    // The store is still good after an error in the middle of a snapshot.
    assert_eq!(store.runs().await.unwrap().len(), 1);
    let error = store.begin_run(&new_run("a\nb"), 1).await.unwrap_err();
    assert!(matches!(error, StoreError::RunName { found: 3, .. }), "{error}");
}

/// Batches of every size around those that INSERT statements take.
pub(crate) async fn long_batches_are_stored_whole(backend: &impl Backend) {
    let mut store = store(backend).await;
    let run = store.begin_run(&new_run("long"), 1).await.unwrap();
    let mut expected = 0_u64;
    for (batch_number, len) in (1_u64..).zip([1, 15, 16, 17, 127, 129, 1023, 1024, 1025, 2200]) {
        let mut batch = Batch::default();
        for number in 0..len {
            let mut fact = delivery("cn2", "cn3", batch_number, Kind::Prepare, 1);
            fact.round = number;
            batch.deliveries.push(fact);
        }
        store.write(run, batch_number as i64, &batch).await.unwrap();
        expected += len;
        let query = format!("SELECT COUNT(*), MAX(round) FROM delivery WHERE sequence = {batch_number}");
        assert_eq!(
            backend.sql(&query).await,
            rows(&[&[&len.to_string(), &(len - 1).to_string()]])
        );
    }
    assert_eq!(
        value(backend, "SELECT COUNT(*) FROM delivery").await,
        expected.to_string()
    );
}
