use super::measured::{Delays, Height, Sum, Time};
use super::*;
use crate::term::Style;

/// A run of heights with numbers around `prepares` messages and `millis` of block time, and noise that hangs on `seed`.
fn run(name: &str, seed: u64, heights: i64, prepares: i64, millis: i64) -> Measured {
    let mut random = seed;
    let mut noise = |most: i64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as i64 % most
    };
    let height = |sequence: i64| {
        let mut height = Height::default();
        height.add(Sum::Heights, 1);
        let messages = prepares + noise(9);
        height.add(Sum::Prepares, messages);
        height.add(Sum::PrepareRounds, 1);
        height.add(Sum::Messages, messages);
        height.add(Sum::Useful, 6);
        height.add(Sum::Repeats, messages - 6);
        height.times[Time::Block as usize].push(millis * 1_000_000 + noise(100_000_000));
        ((0, sequence), height)
    };
    let heights: BTreeMap<_, _> = (1..=heights).map(height).collect();
    Measured {
        about: About {
            run: name.to_owned(),
            store: "sqlite://a.db".to_owned(),
            heights: heights.len(),
            validators: Some(7),
            receivers: vec!["cn1".to_owned()],
            full_coverage: 1,
            unread_sessions: 0,
            lost_bytes: 0,
            suspicious_events: BTreeMap::new(),
        },
        heights,
        delays: [("cn1", 1), ("cn2", 3)]
            .map(|(node, factor)| {
                let delays = Delays {
                    payloads: 900,
                    quantiles: [400_000, 900_000, 5_000_000].map(|time| time * factor * millis / 1000),
                };
                (node.to_owned(), delays)
            })
            .into(),
        selection: false,
        thinned: false,
        cut: false,
    }
}

fn row<'c>(comparison: &'c Comparison, measure: &str) -> &'c Compared {
    comparison
        .measures
        .iter()
        .find(|row| row.measure == measure)
        .unwrap()
}

#[test]
fn a_change_is_found_and_the_rest_is_not() {
    let comparison = compare(&run("before", 1, 300, 30, 1000), &run("after", 2, 200, 24, 1000));
    assert!(comparison.comparable, "{:?}", comparison.reasons);
    let prepares = row(&comparison, "prepares a round");
    assert_eq!(prepares.beyond_chance, Some(true));
    assert!(
        prepares.low.unwrap() < -6.0 && -6.0 < prepares.high.unwrap(),
        "{prepares:?}"
    );
    assert_eq!(row(&comparison, "redundancy factor").beyond_chance, Some(true));
    assert_eq!(row(&comparison, "block time, median").beyond_chance, Some(false));
    // What was not measured is not shown.
    assert!(
        comparison
            .measures
            .iter()
            .all(|row| row.measure != "commits a round")
    );
    crate::golden::check(
        "diff/changed.txt",
        &text(
            &comparison,
            Style {
                width: 100,
                colour: false,
            },
        ),
    );
    let again = compare(&run("before", 1, 300, 30, 1000), &run("after", 2, 200, 24, 1000));
    assert_eq!(
        serde_json::to_string(&again).unwrap(),
        serde_json::to_string(&comparison).unwrap()
    );
}

#[test]
fn delays_are_those_of_nodes_that_both_runs_know() {
    let (a, mut b) = (run("a", 1, 50, 30, 1000), run("b", 2, 50, 30, 2000));
    let renamed = b.delays.remove("cn2").unwrap();
    b.delays.insert("0x02".to_owned(), renamed);
    let delays = compare(&a, &b).delays;
    assert_eq!(delays.len(), 1);
    assert_eq!((&*delays[0].node, delays[0].p50_ns), ("cn1", [400_000, 800_000]));
}

/// The same thing twice, many times over: differences come out of it at most as often as is promised.
#[test]
fn two_runs_of_the_same_thing_do_not_differ() {
    let mut differing = 0;
    for seed in 0..20 {
        let comparison = compare(
            &run("a", seed, 100, 30, 1000),
            &run("b", seed + 77, 150, 30, 1000),
        );
        differing += usize::from(
            comparison
                .measures
                .iter()
                .any(|row| row.beyond_chance == Some(true)),
        );
    }
    assert!(differing <= 3, "{differing}");
}

#[test]
fn runs_that_cannot_be_compared_say_why_and_judge_nothing() {
    let mut other = run("after", 2, 300, 10, 2000);
    other.about.validators = Some(21);
    other.about.receivers.push("cn2".to_owned());
    other.about.full_coverage = 2;
    other.about.lost_bytes = 77;
    other.about.unread_sessions = 1;
    other.about.suspicious_events = [("equivocation".to_owned(), 3), ("volume".to_owned(), 1)].into();
    other.selection = true;
    other.thinned = true;
    let comparison = compare(&run("before\x1b[2J", 1, 300, 30, 1000), &other);
    assert!(!comparison.comparable);
    assert_eq!(comparison.reasons.len(), 6, "{:?}", comparison.reasons);
    assert!(comparison.measures.iter().all(|row| row.beyond_chance.is_none()));
    assert!(row(&comparison, "prepares a round").low.is_some());
    let text = text(
        &comparison,
        Style {
            width: 100,
            colour: false,
        },
    );
    crate::golden::check("diff/not_comparable.txt", &text);
}

#[test]
fn few_heights_say_nothing() {
    let comparison = compare(&run("a", 1, 39, 30, 1000), &run("b", 2, 300, 3, 1000));
    assert!(comparison.comparable);
    assert!(
        comparison
            .measures
            .iter()
            .all(|row| row.beyond_chance.is_none() && row.low.is_none() && row.difference.is_some())
    );
    let nothing = compare(&run("a", 1, 0, 30, 1000), &run("b", 2, 0, 3, 1000));
    assert!(nothing.measures.is_empty());
    text(
        &nothing,
        Style {
            width: 80,
            colour: false,
        },
    );
}
