//! Votes of a run that is longer than one answer goes down: the same rows from every database, wherever one begins.

use bftap_analysis::facts::{
    Coverage, NodeFact, Outcome, RoundFact, RoundStanding, RunFacts, VoteFact, VoteState,
};
use bftap_ibft_decode::Kind;
use bftap_model::CaptureTime;
use bftap_store::{Access, Batch, HeightVotes, NewRun, RunSource, StoreUrl, open};
use bftap_testkit::servers::{Database, DatabaseServer};
use serde_json::Value;

use crate::common::scratch;
use crate::web::{Served, all_votes};

const CHAIN: &str = "1/0x00";

/// Eight times as many as one answer goes down for votes of all kinds.
const HEIGHTS: u64 = 4000;

fn vote(sequence: u64, round: u64, kind: Kind, signer: &str, state: VoteState) -> VoteFact {
    VoteFact {
        chain: CHAIN.into(),
        sequence,
        round,
        kind,
        signer: signer.into(),
        digest: None,
        first_ns: (state != VoteState::Missing).then(|| CaptureTime::from_nanos(sequence as i64)),
        first_sender: None,
        reached: 2,
        of: 3,
        not_reached: Vec::new(),
        state,
        received: Vec::new(),
    }
}

fn round(sequence: u64, round: u64, outcome: Outcome) -> RoundFact {
    RoundFact {
        chain: CHAIN.into(),
        sequence,
        round,
        proposer: None,
        validators: Some(4),
        quorum: Some(3),
        preprepare_ns: None,
        prepared_ns: None,
        committed_ns: None,
        messages: 1,
        outcome,
        standing: RoundStanding::Entered,
        cause: None,
        block_time_ns: None,
    }
}

/// One height. `busy` votes everywhere, `rare` at every 1,300th height only; every 500th takes a second round.
fn height(sequence: u64, batch: &mut Batch) {
    let mut votes = Vec::new();
    let last = u64::from(sequence.is_multiple_of(500));
    for number in 0..=last {
        let outcome = if number == last {
            Outcome::Decided
        } else {
            Outcome::Changed
        };
        batch.rounds.push(round(sequence, number, outcome));
        votes.push(vote(sequence, number, Kind::Prepare, "busy", VoteState::Complete));
        votes.push(vote(sequence, number, Kind::Commit, "busy", VoteState::Late));
        if sequence.is_multiple_of(1300) {
            votes.push(vote(sequence, number, Kind::Prepare, "rare", VoteState::Partial));
            // It says two things.
            votes.push(vote(sequence, number, Kind::Prepare, "rare", VoteState::Partial));
            votes.push(vote(sequence, number, Kind::Commit, "rare", VoteState::Missing));
        }
    }
    batch.votes.push(HeightVotes {
        chain: CHAIN.into(),
        sequence,
        votes,
    });
}

/// Writes the run.
fn fill(url: &StoreUrl) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let run = NewRun {
            name: "long".into(),
            source: RunSource::Analyze,
            program_version: String::new(),
            selection: None,
            live: false,
            pace_milli: None,
        };
        let mut store = open(url, Access::Write).await.unwrap();
        let id = store.begin_run(&run, 1).await.unwrap();
        let sequences: Vec<u64> = (1..=HEIGHTS).collect();
        let mut written = 0;
        for part in sequences.chunks(1000) {
            let mut batch = Batch::default();
            for sequence in part {
                height(*sequence, &mut batch);
            }
            written += 1;
            store.write(id, written, &batch).await.unwrap();
        }
        let mut facts = RunFacts::default();
        for label in ["busy", "rare"] {
            facts.nodes.push(NodeFact {
                name: None,
                label: label.into(),
                node_id: None,
                address: None,
                ips: Vec::new(),
                client: None,
                role: None,
                coverage: Coverage::Full,
                validator: true,
            });
        }
        store.finish_run(id, written + 1, &facts, 2).await.unwrap();
        store.close().await.unwrap();
    });
}

/// Lists that are gone down to their end.
const LISTS: [&str; 6] = [
    "signer=busy&limit=500",
    "signer=busy&kind=commit&limit=500",
    "signer=busy&counted=commits&limit=499",
    "signer=rare&limit=2",
    "signer=rare&counted=missing",
    "signer=rare&counted=prepares",
];

/// Places far down, also in the middle of a round and at both ends.
const PLACES: [&str; 7] = [
    "before=1000,0,0",
    "before=1000,1,0,prepare,0",
    "before=1300,0,0,prepare,1",
    "before=37,0,0,commit,0",
    "before=37,0,0,preprepare,0",
    "before=1,0,0",
    "before=9999999,0,0",
];

fn places() -> impl Iterator<Item = String> {
    ["busy", "rare"].into_iter().flat_map(|signer| {
        PLACES
            .into_iter()
            .map(move |place| format!("signer={signer}&limit=9&{place}"))
    })
}

/// The answers to all of it, with what each was asked.
fn answers(url: &str) -> Vec<(String, Value)> {
    fill(&url.parse().unwrap());
    let folder = scratch();
    let page = Served::web(folder.path(), url);
    let run = page.json("/api/v1/runs/latest")["run"]["run_id"]
        .as_i64()
        .unwrap();
    let lists = LISTS
        .iter()
        .map(|asked| ((*asked).to_owned(), all_votes(&page, run, asked).into()));
    let pieces = places().map(|asked| {
        let piece = page.json(&format!("/api/v1/runs/{run}/votes?{asked}"));
        (asked, piece)
    });
    lists.chain(pieces).collect()
}

#[test]
fn a_long_run_has_the_same_votes_in_every_database() {
    let folder = scratch();
    let sqlite = answers(&format!("sqlite://{}", folder.path().join("x.db").display()));
    let (rounds, rare) = (HEIGHTS + HEIGHTS / 500, HEIGHTS / 1300);
    let list = |asked: &str| {
        let found = sqlite.iter().find(|(known, _)| known == asked).unwrap();
        found.1.as_array().unwrap()
    };
    for (asked, votes) in LISTS
        .into_iter()
        .zip([2 * rounds, rounds, HEIGHTS, 3 * rare, rare, rare])
    {
        assert_eq!(list(asked).len() as u64, votes, "{asked}");
    }
    // A place in the middle is one in the whole list.
    let whole = list("signer=busy&limit=500");
    let place = |vote: &Value| ["sequence", "round"].map(|column| vote[column].as_u64().unwrap());
    let at = |asked: &str| &sqlite.iter().find(|(known, _)| known.ends_with(asked)).unwrap().1["votes"];
    for (asked, from) in [
        (
            "signer=busy&limit=9&before=1000,0,0",
            whole.iter().position(|vote| place(vote) < [1000, 0]),
        ),
        (
            "signer=busy&limit=9&before=1000,1,0,prepare,0",
            whole.iter().position(|vote| place(vote) < [1000, 1]),
        ),
        ("signer=busy&limit=9&before=9999999,0,0", Some(0)),
    ] {
        let from = from.unwrap();
        assert_eq!(*at(asked).as_array().unwrap(), whole[from..from + 9], "{asked}");
    }
    assert!(
        at("signer=busy&limit=9&before=1,0,0")
            .as_array()
            .unwrap()
            .is_empty()
    );
    for database in [Database::MariaDb, Database::PostgreSql] {
        let Some(server) = DatabaseServer::shared(database) else {
            continue;
        };
        let others = answers(&server.user_url(&server.fresh_database()));
        for ((asked, one), (_, other)) in sqlite.iter().zip(&others) {
            assert_eq!(one, other, "{database:?}: {asked}");
        }
    }
}
