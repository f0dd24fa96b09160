//! A liar's rounds: what is only spoken of is counted nowhere, and shown to who asks for it.

use bftap_analysis::facts::{
    CountFact, EventFact, Outcome, PhaseFact, RoundCause, RoundFact, RoundStanding, RunFacts,
};
use bftap_ibft_decode::Kind;
use bftap_model::CaptureTime;
use bftap_store::{Batch, RunId, Store};
use serde_json::Value;

use super::answer;
use crate::sample::{self, CHAIN, begin};
use crate::{Ask, page_file};

fn round(sequence: u64, round: u64, standing: RoundStanding) -> RoundFact {
    let time = |after: i64| {
        let at = 1_000_000_000 * i64::try_from(sequence).unwrap() + after;
        (standing == RoundStanding::Entered).then(|| CaptureTime::from_nanos(at))
    };
    let outcome = match standing {
        RoundStanding::Entered => Outcome::Decided,
        _ => Outcome::Changed,
    };
    RoundFact {
        round,
        preprepare_ns: time(0),
        prepared_ns: time(1000),
        committed_ns: time(3000 + i64::try_from(sequence).unwrap()),
        messages: 3,
        standing,
        cause: (standing != RoundStanding::Entered).then_some(RoundCause::VotesMissing),
        ..sample::round(sequence, outcome)
    }
}

fn count(of: &RoundFact) -> CountFact {
    let seen = CaptureTime::from_nanos(1_000_000_000 * i64::try_from(of.sequence).unwrap());
    CountFact {
        chain: of.chain.clone(),
        receiver_ip: "10.0.0.1".parse().unwrap(),
        receiver: "cn6".into(),
        sequence: of.sequence,
        round: of.round,
        kind: Kind::Commit,
        messages: 3,
        useful: 1,
        repeats: 2,
        echoes: 0,
        resent: 2,
        echo_source: 0,
        crossing: 0,
        regossip: 0,
        invalid: 0,
        bytes: 300,
        lower_bound: false,
        first_seen: seen,
        last_seen: seen,
    }
}

fn event(rule: &'static str, severity: &'static str, signer: Option<&str>, sequence: u64) -> EventFact {
    EventFact {
        time_ns: CaptureTime::from_nanos(1),
        rule,
        severity,
        signer: signer.map(Into::into),
        sender: None,
        chain: CHAIN.into(),
        sequence: Some(sequence),
        round: None,
        kind: None,
        node_id: None,
        address: None,
        ip: None,
        numbers: std::collections::BTreeMap::new(),
        payloads: Vec::new(),
        detail: String::new(),
        suspicious: true,
    }
}

/// Heights 3 to 20 that were decided, the fifth in round 1; a liar names two higher rounds of each, and 200 heights above and two below them.
async fn store() -> (Box<dyn Store>, RunId) {
    let (mut store, id) = begin().await;
    let mut batch = Batch::default();
    for sequence in 1..=220 {
        if (3..=20).contains(&sequence) {
            let first = if sequence == 5 {
                batch.rounds.push(round(sequence, 0, RoundStanding::Left));
                1
            } else {
                0
            };
            batch.rounds.push(round(sequence, first, RoundStanding::Entered));
            batch.rounds.push(round(sequence, 2, RoundStanding::Claimed));
            batch.rounds.push(round(sequence, 3, RoundStanding::Claimed));
        } else {
            batch.rounds.push(round(sequence, 0, RoundStanding::Claimed));
        }
    }
    batch.counts = batch.rounds.iter().map(count).collect();
    store.write(id, 1, &batch).await.unwrap();
    let facts = RunFacts {
        events: vec![
            event("future_flood", "warning", Some("cn6"), 220),
            event("equivocation", "critical", Some("cn5"), 7),
            event("equivocation", "critical", Some("cn5"), 8),
            event("volume", "warning", None, 9),
        ],
        phases: vec![PhaseFact {
            chain: CHAIN.into(),
            phase: "preprepare_to_committed".into(),
            rounds: 18,
            p50_ns: 3010,
            p95_ns: 3019,
            p99_ns: 3020,
            max_ns: 3020,
        }],
        ..RunFacts::default()
    };
    store.finish_run(id, 2, &facts, 2).await.unwrap();
    (store, id)
}

async fn ask(store: &mut dyn Store, id: RunId, address: &str) -> Value {
    let (path, query) = match address.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (address, None),
    };
    let ask = Ask::parse(&format!("runs/{}/{path}", id.0), query).unwrap();
    answer(store, &ask).await.unwrap()
}

fn heights(answer: &Value, list: &str) -> Vec<i64> {
    let rows = answer[list].as_array().unwrap();
    rows.iter().map(|row| row["sequence"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn rounds_that_only_a_liar_names_are_in_no_list_chart_or_sum_unless_asked_for() {
    let (mut store, id) = store().await;
    let store = &mut *store;
    let rounds = ask(store, id, "rounds").await;
    assert_eq!(rounds["rounds"].as_array().unwrap().len(), 19);
    assert_eq!(heights(&rounds, "rounds")[0], 20);
    assert!(
        rounds["rounds"]
            .as_array()
            .unwrap()
            .iter()
            .all(|row| row["standing"] != "claimed")
    );
    let above = ask(store, id, "rounds?above_zero=1").await;
    assert_eq!(heights(&above, "rounds"), [5]);
    let all = ask(store, id, "rounds?claimed=1&limit=500").await;
    assert_eq!(all["rounds"].as_array().unwrap().len(), 19 + 36 + 202);
    assert_eq!(heights(&all, "rounds")[0], 220);
    let summary = ask(store, id, "summary").await;
    assert_eq!(summary["rounds"]["rounds"], 19);
    assert_eq!(summary["rounds"]["claimed"], 36 + 202);
    assert_eq!(
        summary["rounds"]["causes"],
        serde_json::json!([{ "cause": "votes_missing", "rounds": 1 }])
    );
    // Its messages stand in the sums of the run, and in no point of a chart of heights.
    let traffic = ask(store, id, "traffic").await;
    assert_eq!(
        (&traffic["by"], &traffic["first"], &traffic["last"]),
        (&"sequence".into(), &3.into(), &20.into())
    );
    assert_eq!(heights(&traffic, "points"), (3..=20).collect::<Vec<_>>());
    let commits: Vec<_> = traffic["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point["commit"].as_i64().unwrap())
        .collect();
    assert_eq!(commits[0..4], [3, 3, 6, 3]);
    assert_eq!(traffic["claimed"], 3 * 36);
    let one = ask(store, id, "traffic?node=cn6&chain=0&from=4&to=5").await;
    assert_eq!(heights(&one, "points"), [4, 5]);
    assert_eq!(one["claimed"], 3 * 4);
    assert_eq!(
        ask(store, id, "traffic?from=100&to=120").await["points"],
        serde_json::json!([])
    );
    let last = ask(store, id, "sequences/20").await;
    assert_eq!((&last["previous"], &last["next"]), (&19.into(), &Value::Null));
    assert_eq!(ask(store, id, "sequences/100").await["previous"], 20);
}

#[tokio::test]
async fn who_is_behind_events_is_named_the_worst_first_and_where_a_phase_was_longest() {
    let (mut store, id) = store().await;
    let summary = ask(&mut *store, id, "summary").await;
    let behind = &summary["events"]["behind"];
    assert_eq!(behind["more"], 0);
    assert_eq!(
        behind["nodes"],
        serde_json::json!([
            { "name": "cn5", "node": true, "severity": "critical", "rules": [{ "rule": "equivocation", "events": 2 }] },
            { "name": null, "node": false, "severity": "warning", "rules": [{ "rule": "volume", "events": 1 }] },
            { "name": "cn6", "node": true, "severity": "warning", "rules": [{ "rule": "future_flood", "events": 1 }] },
        ])
    );
    assert_eq!(
        summary["phases"][0]["longest"],
        serde_json::json!({ "sequence": 20, "round": 0 })
    );
}

#[tokio::test]
async fn a_file_has_the_heights_that_were_and_what_is_only_spoken_of_behind_them() {
    let (mut store, id) = store().await;
    let file = page_file(&mut *store, id.0).await.unwrap();
    // All that were, and the one of the flood's event.
    assert_eq!(file.heights, 19);
    let there = |sequence: i64| file.html.contains(&format!("/sequences/{sequence}?chain=0\""));
    assert!((3..=20).all(there) && there(220));
    assert!(!there(219) && !there(2) && !there(21));
}
