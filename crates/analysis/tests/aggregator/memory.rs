//! A hundred validators, one tapped receiver, many heights: what has a bound stays below it. `cargo bench -p bftap-analysis --bench memory`
//! does the same for a hundred thousand heights, and looks at the memory of the process.

use bftap_analysis::facts::Outcome;
use bftap_analysis::{
    Aggregator, AnalysisOptions, Bounds, KnownPayloads, Now, Observation, Residents, WorkerTotals,
};

use crate::network::Collect;
use crate::network::hundred::Hundred;

const HEIGHTS: u64 = 400;

#[test]
fn memory_is_bounded_with_a_hundred_validators() {
    let options = AnalysisOptions {
        open_deliveries: 20_000,
        open_links: 2_000,
        ..AnalysisOptions::default()
    };
    let bounds = Bounds::of(&options);
    let world = Hundred::new(100);
    let mut aggregator = Aggregator::new(options);
    aggregator.track_changes();
    let push = |aggregator: &mut Aggregator, observation: Observation| aggregator.push(observation).unwrap();
    for session in world.sessions() {
        push(&mut aggregator, session);
    }
    let mut most = Residents::default();
    for sequence in 1..=HEIGHTS {
        world.height(sequence, &mut |message| {
            push(&mut aggregator, message);
            assert_eq!(bounds.broken(&aggregator.residents()), None, "height {sequence}");
        });
        if sequence % 20 == 0 {
            let now = Now {
                read: world.read(),
                open: world.ends(sequence),
                ..Now::default()
            };
            aggregator.update(now).unwrap();
            let residents = aggregator.residents();
            assert_eq!(bounds.broken(&residents), None, "height {sequence}");
            most.raise(&residents);
        }
    }
    // All of them had reason to let something go.
    assert!(most.closed_heights as u64 > HEIGHTS * 9 / 10, "{most:?}");
    assert!(most.closed_minutes > 0, "{most:?}");
    assert!(
        (10..HEIGHTS as usize / 2).contains(&most.judged_heights),
        "{most:?}"
    );
    assert!(
        (1..=200 * (HEIGHTS as usize / 600 + 2)).contains(&most.score_sums),
        "{most:?}"
    );
    for end in world.over(HEIGHTS) {
        push(&mut aggregator, end);
    }
    let mut sink = Collect::default();
    let (_, known) = aggregator
        .finish_and_keep(world.read(), WorkerTotals::default(), &mut sink)
        .unwrap();
    assert!(known.len() <= KnownPayloads::ENTRIES && known.heights().count() <= KnownPayloads::HEIGHTS);
    let decided = sink.heights.iter().filter(|height| {
        height
            .rounds
            .iter()
            .any(|round| round.outcome == Outcome::Decided)
    });
    assert_eq!(decided.count() as u64, HEIGHTS, "nothing was lost for it");
}
