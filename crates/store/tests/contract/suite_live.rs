//! The contract, second half: numbers, live runs, sums per minute, and looking after a store.

use bftap_analysis::facts::{RunFacts, VoteState};
use bftap_ibft_decode::Kind;
use bftap_store::{Access, Batch, HeightVotes, LiveState, NewRun, Prune, RunId, RunSource, StoreError, open};

use crate::facts::{
    CHAIN, at, batch, count, delivery, height, link, new_run, node_round, round, run_facts, vote,
};
use crate::suite::{Backend, TABLES, dump, rows, store, value, write_run};

const MINUTE: i64 = 60_000_000_000;

/// A run that is written as it is seen.
fn live_run(name: &str) -> NewRun {
    NewRun {
        live: true,
        pace_milli: Some(2500),
        ..new_run(name)
    }
}

fn live_state(facts: RunFacts, now: i64) -> Option<Box<LiveState>> {
    Some(Box::new(LiveState {
        facts,
        seen_ns: Some(now - 7),
        written_ns: now,
        lag_ns: 7,
        spooled_batches: 3,
        spooled_bytes: 4,
        ..LiveState::default()
    }))
}

/// Counts of the height `sequence` that were first seen at `first_seen`, for a minute or two.
fn counted(sequence: u64, first_seen: i64) -> Batch {
    let mut batch = Batch::default();
    for kind in [Kind::Prepare, Kind::Commit] {
        let mut fact = count(1, sequence, 0, kind, 4);
        fact.first_seen = at(first_seen);
        fact.last_seen = at(first_seen + 5_000_000_000);
        batch.counts.push(fact);
    }
    let mut fact = delivery("cn2", "cn3", sequence, Kind::Prepare, 3);
    fact.first_seen = at(first_seen);
    batch.deliveries.push(fact);
    let mut fact = round(sequence);
    fact.round = sequence % 3 / 2;
    // No whole microseconds: what is left of them is not summed.
    let proposed = first_seen + sequence as i64 * 77;
    fact.preprepare_ns = Some(at(proposed));
    fact.committed_ns =
        (!sequence.is_multiple_of(4)).then(|| at(proposed + 40_000_000 + sequence as i64 * 1389));
    batch.rounds.push(fact);
    batch
}

const MINUTES: &str = "SELECT minute_ns, receiver_ip, kind, receiver, messages, useful, repeats, echoes, invalid, bytes, \
     rows_lower_bound, heights FROM minute_count ORDER BY minute_ns, receiver_ip, kind";

/// What the sums must be, made of `message_count` here.
async fn summed(backend: &impl Backend) -> Vec<Vec<String>> {
    let query = "SELECT first_seen_ns, receiver_ip, kind, receiver, messages, useful, repeats, echoes, invalid, bytes, \
                 lower_bound FROM message_count";
    let mut sums = std::collections::BTreeMap::new();
    for row in backend.sql(query).await {
        let number = |column: usize| row[column].parse::<i64>().unwrap();
        let minute = number(0) / MINUTE * MINUTE;
        let key = (minute, row[1].clone(), row[2].clone(), row[3].clone());
        let sum: &mut [i64; 8] = sums.entry(key).or_default();
        for (place, column) in (4..11).enumerate() {
            sum[place] += number(column);
        }
        sum[7] += 1;
    }
    sums.into_iter()
        .map(|((minute, ip, kind, receiver), sum)| {
            let mut row = vec![minute.to_string(), ip, kind, receiver];
            row.extend(sum.map(|number| number.to_string()));
            row
        })
        .collect()
}

pub(crate) async fn a_live_run_is_gone_on_with(backend: &impl Backend) {
    let run = NewRun {
        source: RunSource::Live,
        ..live_run("monitor")
    };
    let mut first = store(backend).await;
    assert_eq!(first.resume_run(&run).await.unwrap(), None, "there is none yet");
    let id = first.begin_run(&run, 1).await.unwrap();
    first.write(id, 1, &counted(1, MINUTE)).await.unwrap();
    first.write(id, 2, &counted(2, MINUTE)).await.unwrap();
    drop(first);

    // Killed, and started again: no row is gone, and the numbers go on.
    let mut second = store(backend).await;
    assert_eq!(second.resume_run(&run).await.unwrap(), Some((id, 2)));
    second.write(id, 3, &counted(3, 2 * MINUTE)).await.unwrap();
    let facts = run_facts();
    second.finish_run(id, 4, &facts, 5).await.unwrap();
    let counted_rows = "SELECT COUNT(*) FROM message_count";
    assert_eq!(value(backend, counted_rows).await, "6");

    // Completed, and started again: it is running, with all it had.
    let mut third = store(backend).await;
    assert_eq!(third.resume_run(&run).await.unwrap(), Some((id, 4)));
    assert_eq!(value(backend, "SELECT state FROM run").await, "running");
    third.write(id, 5, &counted(4, 2 * MINUTE)).await.unwrap();
    third.finish_run(id, 6, &facts, 6).await.unwrap();
    assert_eq!(value(backend, counted_rows).await, "8");
    assert_eq!(value(backend, "SELECT COUNT(*) FROM run").await, "1");

    // Another name, or another source, is another run; one that was given up has nothing to go on with.
    let named = |name: &str, source| NewRun {
        source,
        ..live_run(name)
    };
    let mut other = store(backend).await;
    assert_eq!(
        other.resume_run(&named("other", RunSource::Live)).await.unwrap(),
        None
    );
    assert_eq!(
        other
            .resume_run(&named("monitor", RunSource::Analyze))
            .await
            .unwrap(),
        None
    );
    let failed = named("failed", RunSource::Live);
    let id = other.begin_run(&failed, 1).await.unwrap();
    other.fail_run(id, "why", 2).await.unwrap();
    assert_eq!(other.resume_run(&failed).await.unwrap(), None);
}

pub(crate) async fn any_verb_may_be_repeated(backend: &impl Backend) {
    // Once, undisturbed.
    write_run(backend, "first", &[batch(5), batch(6)], &run_facts()).await;
    let undisturbed = dump(backend).await;

    // Now every answer is lost once: each verb is repeated over a new connection.
    let mut first = store(backend).await;
    let lost = first.begin_run(&new_run("first"), 1).await.unwrap();
    let run = store(backend)
        .await
        .begin_run(&new_run("first"), 1)
        .await
        .unwrap();
    assert_ne!(lost, run, "a run that began without an answer is begun anew");
    let mut other = batch(5);
    other.counts[0].messages += 1;
    for number in [1, 2] {
        let rows = batch(4 + number as u64);
        store(backend).await.write(run, number, &rows).await.unwrap();
        // What is committed is not written again, whatever comes with its number now.
        store(backend).await.write(run, number, &other).await.unwrap();
        store(backend).await.write(run, 1, &other).await.unwrap();
    }
    let error = store(backend).await.write(run, 4, &other).await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::BatchMissing {
                committed: 2,
                number: 4,
                ..
            }
        ),
        "{error}"
    );
    // The number of rows that are there is not that of the end.
    let error = store(backend)
        .await
        .finish_run(run, 2, &run_facts(), 2)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::TakenOver { .. }), "{error}");
    for _ in 0..3 {
        store(backend)
            .await
            .finish_run(run, 3, &run_facts(), 2)
            .await
            .unwrap();
        store(backend).await.write(run, 2, &other).await.unwrap();
    }
    assert_eq!(dump(backend).await, undisturbed);
    // Nothing goes behind the end.
    for error in [
        store(backend).await.write(run, 4, &other).await.unwrap_err(),
        store(backend)
            .await
            .finish_run(run, 4, &run_facts(), 2)
            .await
            .unwrap_err(),
        store(backend).await.fail_run(run, "late", 2).await.unwrap_err(),
        store(backend).await.write(lost, 1, &other).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::TakenOver { .. }), "{error}");
        assert!(!error.is_transient());
    }
    let failed = first.begin_run(&new_run("second"), 3).await.unwrap();
    for _ in 0..2 {
        first.fail_run(failed, "no more", 4).await.unwrap();
    }
    assert_eq!(
        backend
            .sql("SELECT state, problem FROM run WHERE name = 'second'")
            .await,
        rows(&[&["failed", "no more"]])
    );
}

const ROUNDS: &str = "SELECT minute_ns, chain_id, rounds, higher_rounds, highest_sequence, committed, commit_ns_sum, \
     commit_ns_max FROM minute_round ORDER BY minute_ns, chain_id";

/// What the sums of rounds must be, made of `round` here.
async fn summed_rounds(backend: &impl Backend) -> Vec<Vec<String>> {
    let query = "SELECT preprepare_ns, chain_id, sequence, round, committed_ns FROM round WHERE preprepare_ns IS NOT NULL";
    let mut sums = std::collections::BTreeMap::new();
    for row in backend.sql(query).await {
        let number = |column: usize| row[column].parse::<i64>().unwrap();
        let proposed = number(0);
        let sum: &mut [i64; 6] = sums.entry((proposed / MINUTE * MINUTE, number(1))).or_default();
        sum[0] += 1;
        sum[1] += i64::from(number(3) > 0);
        sum[2] = sum[2].max(number(2));
        if row[4] != "-" {
            sum[3] += 1;
            let took = (number(4) / 1000 - proposed / 1000) * 1000;
            sum[4] += took;
            sum[5] = sum[5].max(took);
        }
    }
    sums.into_iter()
        .map(|((minute, chain), sum)| [&[minute, chain][..], &sum].concat())
        .map(|row| row.iter().map(i64::to_string).collect())
        .collect()
}

pub(crate) async fn live_batches_show_how_things_stand(backend: &impl Backend) {
    let mut store = store(backend).await;
    let run = store.begin_run(&live_run("live"), 1).await.unwrap();
    let counts = "SELECT round_number, prepare FROM consensus_round_counts WHERE node = 'cn1'";
    let mut first = batch(5);
    first.live = live_state(run_facts(), 1000);
    store.write(run, 1, &first).await.unwrap();
    // While it is running, its rows count.
    assert_eq!(backend.sql(counts).await, rows(&[&["5", "40"]]));
    let standing = "SELECT state, live, pace_milli, written_ns, seen_ns, lag_ns, packets FROM run";
    assert_eq!(
        backend.sql(standing).await,
        rows(&[&["running", "1", "2500", "1000", "993", "7", "51"]])
    );

    // The small lists take the place of those before, and may be shorter.
    let mut facts = run_facts();
    facts.copies.truncate(1);
    facts.copies[0].payloads = 99;
    facts.events.clear();
    facts.scores.clear();
    facts.totals.packets = 5151;
    facts.totals.limits_reached.clear();
    let mut second = Batch::default();
    second.counts.push(count(1, 5, 0, Kind::Prepare, 38));
    second.live = live_state(facts.clone(), 2000);
    store.write(run, 2, &second).await.unwrap();
    assert_eq!(backend.sql(counts).await, rows(&[&["5", "42"]]));
    assert_eq!(
        backend.sql("SELECT copies, payloads FROM copies").await,
        rows(&[&["1", "99"]])
    );
    for (table, count) in [
        ("event", "0"),
        ("counter", "2"),
        ("session", "1"),
        ("node", "2"),
        ("chain", "3"),
        ("peer_disconnect", "2"),
        ("waste", "1"),
        ("score", "0"),
    ] {
        let query = format!("SELECT COUNT(*) FROM {table}");
        assert_eq!(value(backend, &query).await, count, "{table}");
    }
    assert_eq!(
        backend
            .sql(
                "SELECT batch, written_ns, seen_ns, lag_ns, rows_written, spooled_batches, spooled_bytes, gaps, lost_bytes, \
                 undecodable, unread_sessions FROM progress ORDER BY batch"
            )
            .await,
        rows(&[
            &["1", "1000", "993", "7", "17", "3", "4", "60", "61", "59", "1"],
            &["2", "2000", "1993", "7", "1", "3", "4", "60", "61", "59", "1"]
        ])
    );
    // Nothing is complete yet.
    let error = store.find_run(Some("live")).await.unwrap_err();
    assert!(matches!(error, StoreError::NoRuns { .. }), "{error}");

    // At the end all rows come once more.
    let mut last = batch(5);
    last.counts[1].messages = 50;
    store.write(run, 3, &last).await.unwrap();
    store.finish_run(run, 4, &facts, 3000).await.unwrap();
    assert_eq!(backend.sql(counts).await, rows(&[&["5", "54"]]));
    assert_eq!(
        value(backend, "SELECT packets FROM run WHERE state = 'complete'").await,
        "5151"
    );
    assert_eq!(backend.sql(MINUTES).await, summed(backend).await);
    // A run that is not live does not count while it is running.
    let hidden = store.begin_run(&new_run("hidden"), 1).await.unwrap();
    store.write(hidden, 1, &batch(9)).await.unwrap();
    assert_eq!(backend.sql(counts).await, rows(&[&["5", "54"]]));
}

pub(crate) async fn minutes_are_sums_of_their_rows(backend: &impl Backend) {
    let mut store = store(backend).await;
    let run = store.begin_run(&live_run("live"), 1).await.unwrap();
    let mut number = 0;
    // Heights over five minutes; each batch brings the height before it once more, changed.
    for sequence in 0..10_u64 {
        let mut batch = counted(sequence, sequence as i64 * MINUTE / 2 + 10 * MINUTE);
        if let Some(before) = sequence.checked_sub(1) {
            let mut again = counted(before, before as i64 * MINUTE / 2 + 10 * MINUTE - 1_000_000_000);
            again.counts[0].messages += before;
            again.counts[0].useful += before;
            batch.counts.append(&mut again.counts);
            batch.rounds.append(&mut again.rounds);
        }
        batch.live = live_state(RunFacts::default(), 1000);
        number += 1;
        store.write(run, number, &batch).await.unwrap();
        assert_eq!(
            backend.sql(MINUTES).await,
            summed(backend).await,
            "after {sequence}"
        );
        assert_eq!(
            backend.sql(ROUNDS).await,
            summed_rounds(backend).await,
            "after {sequence}"
        );
    }
    // Height 2 was first seen in minute 11; one look earlier moves it to minute 10, and nothing of it stays behind.
    store
        .finish_run(run, number + 1, &RunFacts::default(), 2)
        .await
        .unwrap();
    let minutes = backend.sql(MINUTES).await;
    assert_eq!(minutes, summed(backend).await);
    assert!(minutes.len() > 8, "{minutes:?}");
    let rounds = backend.sql(ROUNDS).await;
    assert_eq!(rounds, summed_rounds(backend).await);
    assert!(
        rounds.iter().any(|minute| minute[3] != "0" && minute[6] != "0"),
        "{rounds:?}"
    );
    assert_eq!(store.check().await.unwrap().problems, [""; 0]);

    // Without live batches they are made at the end.
    let other = write_run(backend, "first", &[batch(5), batch(6)], &run_facts()).await;
    let query = format!(
        "SELECT receiver, kind, messages, heights FROM minute_count WHERE run_id = {other} ORDER BY receiver, kind"
    );
    assert_eq!(
        backend.sql(&query).await,
        rows(&[
            &["cn1", "commit", "20", "2"],
            &["cn1", "prepare", "80", "4"],
            &["cn1", "preprepare", "12", "2"],
            &["cn1", "roundchange", "6", "2"],
            &["cn2", "prepare", "12", "2"],
        ])
    );
}

/// Seconds are made of nanoseconds by the database, and no time zone of a session has a part in that.
pub(crate) async fn times_are_whole_seconds_too(backend: &impl Backend) {
    const TIME: i64 = 1_795_251_683_887_116_812;
    let mut batch = counted(5, TIME);
    let mut fact = link(5);
    fact.minute = at(TIME / MINUTE * MINUTE);
    batch.links.push(fact);
    let mut early = round(6);
    early.preprepare_ns = None;
    batch.rounds.push(early);
    let mut facts = run_facts();
    facts.sessions[0].first_seen_ns = at(TIME);
    facts.events[0].time_ns = at(TIME);
    batch.live = live_state(facts.clone(), TIME);
    let mut store = store(backend).await;
    let run = store.begin_run(&live_run("live"), 1).await.unwrap();
    store.write(run, 1, &batch).await.unwrap();
    store.finish_run(run, 2, &facts, 3).await.unwrap();
    for (query, expected) in [
        ("SELECT DISTINCT first_seen_s FROM message_count", "1795251683"),
        ("SELECT preprepare_s FROM round WHERE sequence = 5", "1795251683"),
        ("SELECT preprepare_s FROM round WHERE sequence = 6", "-"),
        ("SELECT minute_s FROM link_count", "1795251660"),
        ("SELECT DISTINCT minute_s FROM minute_count", "1795251660"),
        ("SELECT minute_s FROM minute_round", "1795251660"),
        ("SELECT time_s FROM event", "1795251683"),
        ("SELECT first_seen_s FROM session", "1795251683"),
        ("SELECT written_s FROM progress", "1795251683"),
        ("SELECT first_seen_s FROM run", "1795251683"),
    ] {
        assert_eq!(value(backend, query).await, expected, "{query}");
    }
}

pub(crate) async fn readers_and_writers_do_not_disturb_each_other(backend: &impl Backend) {
    let old = write_run(backend, "first", &[batch(5), batch(6)], &run_facts()).await;
    let mut reader = open(&backend.url(), Access::Read).await.unwrap();
    let mut one = store(backend).await;
    let mut two = store(backend).await;
    let mut three = store(backend).await;
    let again = one.begin_run(&new_run("first"), 1).await.unwrap();
    let other = two.begin_run(&new_run("second"), 1).await.unwrap();
    let live = three.begin_run(&live_run("third"), 1).await.unwrap();
    let before = reader.counts(old, 0..=i64::MAX, None, 100).await.unwrap();
    for number in 1..30_i64 {
        let mut provisional = batch(number as u64);
        provisional.live = live_state(run_facts(), 1000);
        let rows = batch(number as u64);
        let (a, b, c, counts, found) = tokio::join!(
            async { one.write(again, number, &rows).await },
            async { two.write(other, number, &rows).await },
            async { three.write(live, number, &provisional).await },
            async {
                let mut reader = open(&backend.url(), Access::Read).await.unwrap();
                reader.counts(old, 0..=i64::MAX, None, 100).await
            },
            async { reader.find_run(Some("first")).await },
        );
        a.unwrap();
        b.unwrap();
        c.unwrap();
        assert_eq!(counts.unwrap(), before);
        assert_eq!(found.unwrap().run_id, old.0);
    }
    let facts = run_facts();
    let (a, b, c) = tokio::join!(
        async { one.finish_run(again, 30, &facts, 2).await },
        async { two.finish_run(other, 30, &facts, 2).await },
        async { three.finish_run(live, 30, &facts, 2).await },
    );
    a.unwrap();
    b.unwrap();
    c.unwrap();
    assert_eq!(
        backend
            .sql(
                "SELECT name, COUNT(*) FROM run JOIN message_count ON message_count.run_id = run.run_id \
                     WHERE state = 'complete' GROUP BY name ORDER BY name"
            )
            .await,
        rows(&[&["first", "174"], &["second", "174"], &["third", "174"]])
    );
    assert_eq!(store(backend).await.check().await.unwrap().problems, [""; 0]);
}

pub(crate) async fn a_check_finds_what_does_not_agree(backend: &impl Backend) {
    let run = write_run(backend, "first", &[batch(5)], &run_facts()).await;
    let mut store = store(backend).await;
    let check = store.check().await.unwrap();
    assert_eq!((check.schema, &check.problems[..]), (5, &[][..]));
    assert!(check.bytes > 0);
    assert_eq!(check.runs.len(), 1);
    assert_eq!(check.runs[0].run.name, "first");
    let count = |table: &str| {
        let rows = check.runs[0].rows.iter();
        rows.filter(|(name, _)| *name == table)
            .map(|(_, count)| *count)
            .sum::<i64>()
    };
    assert_eq!(
        (
            count("message_count"),
            count("delivery_row"),
            count("minute_count")
        ),
        (6, 3, 5)
    );

    backend
        .execute("UPDATE minute_count SET messages = messages + 1 WHERE kind = 'commit'")
        .await;
    backend.execute("UPDATE minute_round SET higher_rounds = 1").await;
    backend
        .execute("INSERT INTO copies (run_id, receiver_ip, copies, payloads) VALUES (77, '10.0.0.1', 1, 1)")
        .await;
    backend
        .execute("UPDATE message_count SET resent = resent + 1 WHERE kind = 'preprepare'")
        .await;
    let mut problems = store.check().await.unwrap().problems;
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert_eq!(
        problems.remove(2),
        format!(
            "run {run} (\"first\"): the causes of repeats do not add up to them in 1 rows of message_count"
        )
    );
    assert_eq!(
        problems[0],
        format!("run {run} (\"first\"): 1 sums in minute_count are not those of message_count")
    );
    assert_eq!(
        problems[1],
        format!("run {run} (\"first\"): 1 sums in minute_round are not those of round")
    );
    assert_eq!(
        problems[2],
        "run 77 is unknown, and has rows that no run owns: copies 1"
    );

    // Rows that a crash left are removed by the next run, and are not hidden until then.
    backend.execute("INSERT INTO leftover (run_id) VALUES (77)").await;
    let problems = store.check().await.unwrap().problems;
    assert!(
        problems[3].contains("was removed, and its rows are still to be"),
        "{problems:?}"
    );
    write_run(backend, "first", &[batch(5)], &run_facts()).await;
    assert_eq!(store.check().await.unwrap().problems, [""; 0]);
    for table in TABLES {
        let left = format!("SELECT COUNT(*) FROM {table} WHERE run_id IN (77, {run})");
        assert_eq!(value(backend, &left).await, "0", "{table}");
    }
}

pub(crate) async fn old_runs_are_pruned(backend: &impl Backend) {
    write_run(backend, "old", &[batch(5)], &run_facts()).await;
    let mut store = store(backend).await;
    let failed = store.begin_run(&new_run("failed"), 3).await.unwrap();
    store.fail_run(failed, "no more", 2).await.unwrap();
    let new = store.begin_run(&new_run("new"), 3).await.unwrap();
    store.write(new, 1, &batch(6)).await.unwrap();
    store.finish_run(new, 2, &run_facts(), 1000).await.unwrap();
    // Killed long ago; and one that goes on.
    let killed = store.begin_run(&new_run("killed"), 1).await.unwrap();
    store.write(killed, 1, &batch(7)).await.unwrap();
    let running = store.begin_run(&new_run("running"), 5000).await.unwrap();
    store.write(running, 1, &batch(7)).await.unwrap();
    let nothing = store.prune(&Prune::default()).await.unwrap();
    assert_eq!(nothing, bftap_store::Pruned::default());
    let what = Prune {
        runs_before_ns: Some(1000),
        ..Prune::default()
    };
    assert_eq!(
        store.prune(&what).await.unwrap().runs,
        ["old", "failed", "killed"]
    );
    assert_eq!(
        backend.sql("SELECT name FROM run ORDER BY run_id").await,
        rows(&[&["new"], &["running"]])
    );
    for table in TABLES {
        let left = format!("SELECT COUNT(*) FROM {table} WHERE run_id NOT IN ({new}, {running})");
        assert_eq!(value(backend, &left).await, "0", "{table}");
    }
    assert_eq!(store.prune(&what).await.unwrap().runs, [""; 0]);
    store.finish_run(running, 2, &run_facts(), 2).await.unwrap();
    let error = store.write(killed, 2, &batch(8)).await.unwrap_err();
    assert!(matches!(error, StoreError::TakenOver { .. }), "{error}");
}

pub(crate) async fn old_detail_is_thinned_to_sums(backend: &impl Backend) {
    let mut store = store(backend).await;
    let monitor = NewRun {
        source: RunSource::Live,
        ..live_run("live")
    };
    let run = store.begin_run(&monitor, 1).await.unwrap();
    let write = |sequence: u64| {
        let mut batch = counted(sequence, sequence as i64 * MINUTE);
        batch.links.push(link(sequence));
        batch.live = live_state(RunFacts::default(), 1000);
        batch.node_rounds.push(node_round(1, sequence));
        batch.node_rounds[0].round = sequence % 3 / 2;
        let mut cast = vec![
            vote("cn2", sequence, VoteState::Complete),
            vote("cn3", sequence, VoteState::Missing),
        ];
        cast.iter_mut().for_each(|vote| vote.round = sequence % 3 / 2);
        batch.votes.push(HeightVotes {
            chain: CHAIN.into(),
            sequence,
            votes: cast,
        });
        if sequence == 3 {
            let mut unseen = round(3);
            (unseen.round, unseen.preprepare_ns) = (1, None);
            batch.rounds.push(unseen);
        }
        batch
    };
    for sequence in 1..=500 {
        store.write(run, sequence as i64, &write(sequence)).await.unwrap();
    }
    let minutes = backend.sql(MINUTES).await;
    assert_eq!(minutes.len(), 1000);
    let what = Prune {
        // In the middle of minute 400: that minute stays.
        detail_before_ns: Some(400 * MINUTE + 5),
        ..Prune::default()
    };
    // An analysis that is played writes all rows once more at its end, and is left alone until then.
    let played = store.begin_run(&live_run("played"), 1).await.unwrap();
    store.write(played, 1, &batch(5)).await.unwrap();
    let pruned = store.prune(&what).await.unwrap();
    store.fail_run(played, "enough", 2).await.unwrap();
    assert_eq!(
        pruned.rows,
        [
            ("delivery_row", 399),
            ("message_count", 798),
            ("node_round", 399),
            ("progress", 500),
            ("round", 400),
            ("vote", 798)
        ]
    );
    for (query, expected) in [
        ("SELECT MIN(sequence) FROM message_count", "400"),
        ("SELECT MIN(sequence) FROM delivery_row", "400"),
        ("SELECT MIN(sequence) FROM round", "400"),
        ("SELECT MIN(sequence) FROM node_round", "400"),
        ("SELECT MIN(sequence) FROM vote", "400"),
        ("SELECT COUNT(*) FROM vote", "202"),
        ("SELECT COUNT(*) FROM link_count", "500"),
        (
            "SELECT thinned_before_ns FROM run WHERE name = 'live'",
            "24000000000000",
        ),
    ] {
        assert_eq!(value(backend, query).await, expected, "{query}");
    }
    // The sums stay, and writing goes on; so they do when the run is finished.
    assert_eq!(backend.sql(MINUTES).await, minutes);
    store.write(run, 501, &write(501)).await.unwrap();
    let again = store.prune(&what).await.unwrap();
    assert_eq!(again.rows, [("progress", 1)]);
    store.finish_run(run, 502, &run_facts(), 2).await.unwrap();
    assert_eq!(backend.sql(MINUTES).await[..1000], minutes);
    let thinned = "SELECT name, value FROM counter WHERE list = 'thinned' ORDER BY name";
    assert_eq!(
        backend.sql(thinned).await,
        rows(&[
            &["delivery_copies", "1197"],
            &["delivery_rows", "399"],
            &["message_count_rows", "798"],
            &["node_round_rows", "399"],
            &["round_rows", "400"],
            &["vote_rows", "798"]
        ])
    );
    let what = Prune {
        detail_before_ns: Some(450 * MINUTE),
        ..what
    };
    store.prune(&what).await.unwrap();
    assert_eq!(backend.sql(thinned).await[1], ["delivery_rows", "449"]);
    assert_eq!(store.check().await.unwrap().problems, [""; 0]);
}

pub(crate) async fn the_originals_views_answer_its_queries(backend: &impl Backend) {
    let mut facts = run_facts();
    facts.nodes[1].label = "10.0.0.2".into();
    let mut more = facts.nodes[1].clone();
    more.label = "x'; DROP TABLE run; --".into();
    facts.nodes.push(more);
    let run = write_run(backend, "first", &[batch(5), batch(6)], &facts).await;
    let mut store = store(backend).await;
    for _ in 0..2 {
        let views = store.original_views(run).await.unwrap();
        assert_eq!(views, ["cn1", "n_10_0_0_2", "x___drop_table_run____"]);
    }
    assert_eq!(
        backend.sql("SELECT round_number, prepare FROM cn1").await,
        rows(&[&["5", "40"], &["6", "40"]])
    );
    assert_eq!(
        backend
            .sql("SELECT round_number, preprepare, prepare, \"commit\", roundchange FROM cn1 WHERE round_number = 6")
            .await,
        rows(&[&["6", "6", "40", "10", "3"]])
    );
    assert_eq!(backend.sql("SELECT * FROM n_10_0_0_2").await, rows(&[]));
    // Another run takes their place.
    let other = write_run(backend, "second", &[batch(7)], &run_facts()).await;
    store.original_views(other).await.unwrap();
    assert_eq!(
        backend.sql("SELECT round_number, prepare FROM cn1").await,
        rows(&[&["7", "40"]])
    );
    // What is not a view of ours stays.
    for (make, kind, remove) in [
        ("CREATE TABLE cn9 (a INTEGER)", "table", "DROP TABLE cn9"),
        ("CREATE VIEW cn9 AS SELECT 1 AS one", "view", "DROP VIEW cn9"),
    ] {
        backend.execute(make).await;
        let mut facts = run_facts();
        facts.nodes[0].label = "cn9".into();
        let third = write_run(backend, "third", &[height_of(8)], &facts).await;
        let error = store.original_views(third).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("there is a {kind} `cn9` that bftap has not made")),
            "{error}"
        );
        backend.execute(remove).await;
    }
    // Names of our own tables, and words that SQL needs itself.
    for (label, view) in [
        ("delivery", "delivery_"),
        ("user", "user_"),
        ("Group", "group_"),
        ("primary", "primary_"),
    ] {
        let mut facts = run_facts();
        facts.nodes[0].label = label.into();
        let third = write_run(backend, "third", &[height_of(8)], &facts).await;
        assert_eq!(store.original_views(third).await.unwrap()[0], view);
    }
    let error = store.original_views(RunId(4711)).await.unwrap_err();
    assert!(matches!(error, StoreError::RunGone { .. }), "{error}");
}

fn height_of(sequence: u64) -> Batch {
    let mut batch = Batch::default();
    batch.push_height(height(sequence));
    batch
}

/// A list that did not change is not written again; after a new connection, when nobody knows, it is.
pub(crate) async fn lists_are_written_when_they_changed(backend: &impl Backend) {
    let mut writer = store(backend).await;
    let run = writer.begin_run(&live_run("live"), 1).await.unwrap();
    let mut batch = counted(1, MINUTE);
    batch.live = live_state(run_facts(), 10);
    writer.write(run, 1, &batch).await.unwrap();
    // A mark that stays as long as nobody writes the list.
    let mark = "UPDATE session SET state = 'mark'";
    let marked = "SELECT COUNT(*) FROM session WHERE state = 'mark'";
    let sessions = run_facts().sessions.len().to_string();
    backend.execute(mark).await;
    writer.write(run, 2, &batch).await.unwrap();
    assert_eq!(value(backend, marked).await, sessions);
    let mut facts = run_facts();
    facts.sessions[0].gaps += 1;
    batch.live = live_state(facts, 11);
    writer.write(run, 3, &batch).await.unwrap();
    assert_eq!(value(backend, marked).await, "0");
    backend.execute(mark).await;
    writer.close().await.unwrap();
    let mut writer = store(backend).await;
    writer.write(run, 4, &batch).await.unwrap();
    assert_eq!(value(backend, marked).await, "0");
    writer.close().await.unwrap();
}

/// What a full spool gave up is added up while the run goes on, and gone when the end has written all once more.
pub(crate) async fn what_a_full_spool_gave_up_is_told(backend: &impl Backend) {
    let mut writer = store(backend).await;
    let run = writer.begin_run(&live_run("live"), 1).await.unwrap();
    let thinned = "SELECT name, value FROM counter WHERE list = 'thinned' ORDER BY name";
    for number in 1..=3 {
        let mut batch = counted(number, MINUTE);
        batch.live = live_state(run_facts(), 10);
        if let Some(live) = &mut batch.live {
            (live.thinned_rows, live.thinned_copies) = [(0, 0), (5, 9), (2, 3)][number as usize - 1];
        }
        writer.write(run, number as i64, &batch).await.unwrap();
        // Repeated, as after an answer that was lost: counted once.
        writer.write(run, number as i64, &batch).await.unwrap();
        let expected: [Vec<[&str; 2]>; 3] = [
            vec![],
            vec![["spooled_delivery_copies", "9"], ["spooled_delivery_rows", "5"]],
            vec![["spooled_delivery_copies", "12"], ["spooled_delivery_rows", "7"]],
        ];
        assert_eq!(backend.sql(thinned).await, expected[number as usize - 1]);
    }
    writer.finish_run(run, 4, &run_facts(), 2).await.unwrap();
    assert!(backend.sql(thinned).await.is_empty());
    writer.close().await.unwrap();
}
