//! Small stored runs for tests.

use bftap_analysis::facts::{Outcome, RoundFact, RoundStanding, VoteFact, VoteState};
use bftap_ibft_decode::Kind;
use bftap_model::CaptureTime;
use bftap_store::{Access, NewRun, RunId, RunSource, Store, StoreUrl, open};

/// The one chain.
pub(crate) const CHAIN: &str = "1/0x00";

/// A store in memory with a run that begins.
pub(crate) async fn begin() -> (Box<dyn Store>, RunId) {
    let run = NewRun {
        name: "sample".into(),
        source: RunSource::Analyze,
        program_version: String::new(),
        selection: None,
        live: false,
        pace_milli: None,
    };
    let mut store = open(&StoreUrl::SqliteMemory, Access::Write).await.unwrap();
    let id = store.begin_run(&run, 1).await.unwrap();
    (store, id)
}

/// Round 0 of a height, in which somebody was; without times.
pub(crate) fn round(sequence: u64, outcome: Outcome) -> RoundFact {
    RoundFact {
        chain: CHAIN.into(),
        sequence,
        round: 0,
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

/// A vote in round 0; one that is partial was seen.
pub(crate) fn vote(sequence: u64, kind: Kind, signer: &str, state: VoteState) -> VoteFact {
    VoteFact {
        chain: CHAIN.into(),
        sequence,
        round: 0,
        kind,
        signer: signer.into(),
        digest: None,
        first_ns: (state == VoteState::Partial).then(|| CaptureTime::from_nanos(7)),
        first_sender: None,
        reached: 0,
        of: 3,
        not_reached: Vec::new(),
        state,
        received: Vec::new(),
    }
}
