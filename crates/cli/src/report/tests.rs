//! The report on facts made by hand, against golden files.

use bftap_analysis::facts::{Coverage, EventFact, HeightFacts, RunFacts, SessionState, WhatIfFact};
use bftap_model::CaptureTime;

use super::{Asked, Report, Summary, sample};
use crate::golden;
use crate::term::Style;

const PLAIN: Style = Style {
    width: 100,
    colour: false,
};

fn summary(heights: &[HeightFacts]) -> Summary {
    let mut summary = Summary::default();
    heights.iter().for_each(|height| summary.add(height));
    summary
}

fn render(heights: &[HeightFacts], facts: &RunFacts, style: Style) -> String {
    let asked = Asked {
        secrets: 26,
        ..Asked::default()
    };
    Report {
        facts,
        summary: &summary(heights),
        asked: &asked,
    }
    .render(style)
}

#[test]
fn a_usual_run() {
    golden::check(
        "report/usual.txt",
        &render(&sample::heights(), &sample::run(), PLAIN),
    );
}

#[test]
fn many_networks_stay_readable() {
    let (heights, facts) = sample::many();
    let text = render(&heights, &facts, PLAIN);
    assert!(text.lines().count() < 280, "{} lines", text.lines().count());
    golden::check("report/many.txt", &text);
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for width in [100, 120, 160] {
        for line in render(&sample::heights(), &sample::run(), Style { width, ..PLAIN }).lines() {
            assert!(crate::term::width_of(line) <= width, "{width}: {line}");
        }
    }
}

/// What stands at the top can be read on a small terminal, too.
#[test]
fn the_story_fits_eighty_columns() {
    for facts in [sample::run(), sample::hostile_run()] {
        let text = render(&sample::heights(), &facts, Style { width: 80, ..PLAIN });
        let (story, _) = text.split_once("\nCAPTURE\n").unwrap();
        assert!(story.contains("WHO STANDS OUT"));
        for line in story.lines() {
            assert!(crate::term::width_of(line) <= 80, "{line}");
        }
    }
}

#[test]
fn a_healthy_run_says_so_in_one_line() {
    let mut facts = sample::run();
    facts.sessions.truncate(6);
    for validator in &mut facts.participation {
        (validator.missing, validator.late, validator.proposals) = (0, 3, 2);
        validator.commits = validator.rounds;
    }
    facts.scores.iter_mut().for_each(|score| score.score_milli = 10);
    facts.links.iter_mut().for_each(|link| link.retransmissions = 1);
    facts
        .nodes
        .iter_mut()
        .for_each(|node| node.coverage = Coverage::Full);
    let text = render(&sample::heights()[1..], &facts, PLAIN);
    let (story, _) = text.split_once("\nCAPTURE\n").unwrap();
    assert!(!story.contains("WHO STANDS OUT"), "{story}");
    let short: Vec<_> = story.lines().take(4).collect();
    assert_eq!(
        short,
        [
            "IN SHORT",
            "  ✓ healthy: 9 rounds were decided, none was left for a higher one, and nobody stands out as",
            "    suspicious",
            "  ✓ how sure: everything that passed was read; 7 of 7 nodes were seen in full"
        ]
    );
    // Loss takes the certainty away, not the health.
    facts.sessions[0].lost_bytes = 1 << 20;
    facts.participation[0].unknown = 3;
    let text = render(&sample::heights()[1..], &facts, PLAIN);
    assert!(
        text.contains("  ✓ healthy") && text.contains("  ? how sure: "),
        "{text}"
    );
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains(
            "3 commits were not seen, and loss, missing coverage or the end of the capture may be why"
        ),
        "{text}"
    );
}

#[test]
fn hostile_strings_come_out_harmless() {
    let text = render(&sample::heights(), &sample::hostile_run(), PLAIN);
    assert!(
        text.chars().all(|c| c == '\n' || bftap_model::is_harmless(c)),
        "{text}"
    );
    assert!(text.contains("tap\\u{1b}]0;owned\\u{7}.pcap"));
    golden::check("report/hostile.txt", &text);
}

#[test]
fn colour_is_the_only_escape_there_is() {
    let style = Style {
        colour: true,
        ..PLAIN
    };
    let text = render(&sample::heights(), &sample::hostile_run(), style);
    let mut rest = text.as_str();
    while let Some(at) = rest.find('\x1b') {
        let sequence = rest[at + 1..].strip_prefix('[').expect("only SGR sequences");
        let end = sequence.find(|c: char| !c.is_ascii_digit()).unwrap();
        assert_eq!(&sequence[end..=end], "m");
        rest = &sequence[end..];
    }
    assert!(text.contains("\x1b[1mCAPTURE\x1b[0m"));
}

#[test]
fn a_capture_without_secrets_says_how_to_get_them() {
    let mut facts = sample::run();
    facts
        .sessions
        .iter_mut()
        .for_each(|session| session.state = SessionState::NoSecret);
    let text = Report {
        facts: &facts,
        summary: &Summary::default(),
        asked: &Asked::default(),
    }
    .render(PLAIN);
    assert!(
        text.contains("No session could be decrypted: no secrets were given."),
        "{text}"
    );
    assert!(text.contains("docs/exporting-secrets.md"), "{text}");
}

#[test]
fn nothing_at_all_is_a_report_too() {
    let text = Report {
        facts: &RunFacts::default(),
        summary: &Summary::default(),
        asked: &Asked::default(),
    }
    .render(PLAIN);
    golden::check("report/empty.txt", &text);
}

/// A capture that began late and lost packets: all of it in one report.
#[test]
fn losses_and_sessions_without_handshake_are_told_by_session() {
    let mut facts = sample::run();
    for (number, session) in facts.sessions.iter_mut().take(3).enumerate() {
        session.attached = Some("midstream");
        session.mac = Some(bftap_model::MacState::Unverifiable);
        session.capabilities = vec!["istanbul/?".to_owned()];
        session.inferred = Some(format!(
            "klaytn, inferred: {} of 1900 consensus messages decode",
            1900 - number
        ));
        session.gaps = 4 + number as u64;
        session.lost_bytes = 5000 + number as u64;
        session.frames_lost = [3, number as u64];
    }
    facts.sessions[1].stream_bytes[0] = 0;
    facts.sessions[2].state = SessionState::Lost;
    facts.sessions[2].detail =
        Some("the place is lost for good from byte 77 of the initiator's stream on".to_owned());
    facts.sessions[3].state = SessionState::NoSecret;
    facts.sessions[3].detail = Some("does not begin with an RLPx handshake".to_owned());
    facts.sessions[4].state = SessionState::NoHandshake;
    facts.sessions[4].gaps = 1;
    facts.sessions[4].lost_bytes = 300;
    facts.sessions[4].detail = Some("the capture lacks a part of the handshake".to_owned());
    for node in facts.nodes.iter_mut().skip(1) {
        (node.node_id, node.address) = (None, None);
    }
    facts.nodes[0].coverage = Coverage::Lossy;
    facts.totals.gaps = 16;
    facts.totals.lost_bytes = 15_303;
    facts.totals.frames_lost = 12;
    facts.totals.searched_bytes = 1200 << 30;
    facts.totals.limits_reached = [("attach_budget".to_owned(), 1)].into();
    let mut heights = sample::heights();
    for round in heights.iter_mut().flat_map(|height| &mut height.rounds) {
        (round.prepared_ns, round.committed_ns) = (None, None);
    }
    let asked = Asked {
        secrets: 5,
        attach: (64, 600),
        ..Asked::default()
    };
    let text = Report {
        facts: &facts,
        summary: &summary(&heights),
        asked: &asked,
    }
    .render(PLAIN);
    golden::check("report/lossy.txt", &text);
}

#[test]
fn a_late_capture_without_secrets_does_not_ask_for_another_capture_first() {
    let mut facts = RunFacts::default();
    facts.totals.tcp_packets = 9;
    let text = Report {
        facts: &facts,
        summary: &Summary::default(),
        asked: &Asked::default(),
    }
    .render(PLAIN);
    assert!(
        text.contains("no connection begins with a handshake, and no secrets were given."),
        "{text}"
    );
    assert!(!text.contains("before the nodes"), "{text}");
}

#[test]
fn everything_that_is_missing_is_said() {
    let mut facts = sample::run();
    facts.captures[0].problem = Some("the file ends inside a packet".to_owned());
    facts.sessions[0].state = SessionState::Lost;
    facts.sessions[0].detail = Some("4,096 bytes missing from the initiator".to_owned());
    facts.sessions[0].gaps = 1;
    facts.sessions[1].mac = Some(bftap_model::MacState::Failed);
    facts.sessions[2].state = SessionState::NoSecret;
    facts.nodes[3].client = Some("Nethermind/v1".to_owned());
    facts.totals.gaps = 1;
    facts.totals.lost_bytes = 4096;
    facts.totals.undecodable = 3;
    facts.totals.undecodable_reasons = [("no view".to_owned(), 3)].into();
    facts.totals.limits_reached = [("reorder_bytes".to_owned(), 2)].into();
    facts.totals.bad_checksums = 12;
    let mut heights = sample::heights();
    heights[0].counts[0].invalid = 2;
    heights[1].rounds[0].quorum = None;
    let asked = Asked {
        secrets: 5,
        selection: Some("heights 1..10".to_owned()),
        stored: Some("run night in sqlite://bftap.db".to_owned()),
        no_mac: true,
        ..Asked::default()
    };
    let text = Report {
        facts: &facts,
        summary: &summary(&heights),
        asked: &asked,
    }
    .render(PLAIN);
    golden::check("report/troubled.txt", &text);
}

/// Report pages as one line of words, so that it does not matter where lines break.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_part_in_which_nothing_lies_says_what_there_is() {
    let mut facts = sample::run();
    facts.totals.consensus_messages = 0;
    let asked = Asked {
        secrets: 26,
        selection: Some("heights 900 to 950".to_owned()),
        beside: Some("heights 1 to 10".to_owned()),
        cuts_heights: true,
        ..Asked::default()
    };
    let summary = Summary::default();
    let report = Report {
        facts: &facts,
        summary: &summary,
        asked: &asked,
    };
    let text = words(&report.render(PLAIN));
    let told = "Nothing lies in the part asked for (heights 900 to 950). There are consensus messages of heights 1 to 10.";
    assert!(text.contains(told), "{text}");
    assert!(!text.contains("there is no consensus message in them"), "{text}");
    assert!(
        super::unread_sessions(&report)
            .iter()
            .any(|problem| problem == told)
    );
}

#[test]
fn a_part_does_not_know_what_came_before() {
    let render = |cuts_heights| {
        let asked = Asked {
            secrets: 26,
            selection: Some("heights 1 to 10".to_owned()),
            cuts_heights,
            ..Asked::default()
        };
        let report = Report {
            facts: &sample::run(),
            summary: &summary(&sample::heights()),
            asked: &asked,
        };
        words(&report.render(PLAIN))
    };
    assert!(render(true).contains("it is not known whose turn it was to propose"));
    assert!(!render(false).contains("whose turn it was"));
}

#[test]
fn tapped_addresses_that_no_session_has_are_told() {
    let asked = Asked {
        secrets: 26,
        tapped: vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into(), [10, 0, 0, 99].into()],
        ..Asked::default()
    };
    let report = Report {
        facts: &sample::run(),
        summary: &summary(&sample::heights()),
        asked: &asked,
    };
    let text = words(&report.render(PLAIN));
    assert!(
        text.contains("--tapped 10.0.0.99: no session has such an end"),
        "{text}"
    );
    // Nor is one believed without a word that is only seen from one other end.
    assert!(
        text.contains("--tapped 10.0.0.2: it has sessions with 1 address only, and 10.0.0.1 with 6."),
        "{text}"
    );
    assert!(!text.contains("--tapped 10.0.0.1:"), "{text}");
}

#[test]
fn lossy_nodes_are_told_alike_everywhere() {
    let mut facts = sample::run();
    facts
        .nodes
        .iter_mut()
        .for_each(|node| node.coverage = Coverage::Lossy);
    let text = words(&render(&sample::heights(), &facts, PLAIN));
    assert!(text.contains("0 with full coverage"), "{text}");
    assert!(text.contains("0 of 7 nodes were seen in full"), "{text}");
    assert!(
        text.contains("7 nodes would have been seen in full but for losses"),
        "{text}"
    );
    assert!(!text.contains("nodes with full coverage have"), "{text}");
}

/// What rules found that is no misbehaviour is told with its node, too, and who only was impersonated is not.
#[test]
fn who_stands_out_names_trouble_and_no_victims() {
    let mut facts = sample::run();
    let mut silent = EventFact::new("silent_validator", CaptureTime::from_nanos(7), "why".to_owned());
    silent.signer = Some("cn4".into());
    facts.events.push(silent);
    for validator in &mut facts.participation {
        (validator.missing, validator.partial, validator.late) = (0, 0, 3);
        validator.proposals = validator.proposals_due;
        validator.commits = validator.rounds;
    }
    facts.participation[1].invalid = 12;
    let text = render(&sample::heights(), &facts, PLAIN);
    let (story, _) = text.split_once("\nCAPTURE\n").unwrap();
    let (_, who) = story.split_once("\nWHO STANDS OUT\n").unwrap();
    let line = who
        .lines()
        .find(|line| line.contains("silent_validator"))
        .unwrap();
    assert!(line.contains("cn4") && line.contains("warning"), "{who}");
    assert!(who.contains("trouble"), "{who}");
    assert!(!who.contains("\n  validator "), "nobody else: {who}");
    // Who never commits is decided without, as a slow node may be now and then.
    facts.participation[2].commits = 4;
    let name = facts.participation[2].validator.clone();
    let text = render(&sample::heights(), &facts, PLAIN);
    let (story, _) = text.split_once("\nCAPTURE\n").unwrap();
    let (_, who) = story.split_once("\n  validator ").unwrap();
    let line = who.lines().nth(1).unwrap();
    assert!(line.contains(&*name) && line.contains("4 of 10"), "{who}");
}

#[test]
fn chains_and_policies_are_told_apart() {
    let mut facts = sample::run();
    let other = "2000/0xaa";
    let again: Vec<_> = facts
        .phases
        .iter()
        .cloned()
        .map(|mut phase| {
            phase.chain = other.into();
            phase
        })
        .collect();
    facts.phases.extend(again);
    let seen = facts.what_if[0].clone();
    let policy = |name: &str, messages| WhatIfFact {
        policy: name.into(),
        messages,
        ..seen.clone()
    };
    facts.what_if = vec![
        policy("as_seen", 10_000),
        policy("degree_4", 9_990),
        policy("none", 2_000),
        policy("not_to_signer_and_source", 9_990),
    ];
    for width in [80, 100] {
        let text = render(&sample::heights(), &facts, Style { width, ..PLAIN });
        assert!(text.contains("preprepare to prepared"), "whole names: {text}");
        assert!(text.contains("chain 2000/0xaa:"), "{text}");
        assert!(!text.contains("-0 %") && !text.contains("+0 %"), "{text}");
        assert!(text.contains("-80 %"), "{text}");
        let same = "degree 4: no other than \"not to signer and source\"";
        assert!(words(&text).contains(same), "{text}");
        assert!(words(&text).contains("as if the same votes were signed, all nodes were connected"));
    }
}
