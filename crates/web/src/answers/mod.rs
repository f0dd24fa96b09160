//! What a store says to a question: one file a topic, each a few queries that cost no more with a longer run, or read sums.

mod events;
mod lists;
mod matrix;
mod nodes;
mod reader;
mod rounds;
mod runs;
mod sequence;
#[cfg(test)]
mod tests;
mod traffic;
mod votes;

use bftap_store::{RunId, Store};
use serde_json::Value;

use crate::{Ask, Asked, Problem};
use reader::Reader;
pub(crate) use runs::{RunState, latest, states};

/// The answer to a question, as JSON.
///
/// # Errors
/// There is no such run or row, or the store cannot be read.
pub async fn answer(store: &mut dyn Store, ask: &Ask) -> Result<Value, Problem> {
    match ask {
        Ask::Runs => runs::runs(store).await,
        // Comparing is done by whoever serves the page ([`crate::Compare`]).
        Ask::Compare { .. } => Err(Problem::Missing("runs are not compared here".to_owned())),
        Ask::OfRun { run, what } => {
            let run = match run {
                Some(run) => *run,
                None => latest(store).await?,
            };
            of_run(&mut Reader::new(store, RunId(run)), what).await
        }
    }
}

async fn of_run(reader: &mut Reader<'_>, what: &Asked) -> Result<Value, Problem> {
    let run = reader.run().await?;
    match what {
        Asked::Run => runs::run(reader, run).await,
        Asked::Summary => nodes::summary(reader).await,
        Asked::Nodes => nodes::nodes(reader).await,
        Asked::Traffic {
            from,
            to,
            chain,
            node,
        } => {
            reader.check_label(node.as_deref()).await?;
            traffic::traffic(reader, (*from, *to), *chain, node.as_deref()).await
        }
        Asked::Matrix { kind } => matrix::matrix(reader, kind.as_deref()).await,
        Asked::Copies => matrix::copies(reader).await,
        Asked::Redundancy => matrix::redundancy(reader).await,
        Asked::Rounds {
            from,
            to,
            chain,
            before,
            limit,
            above_zero,
            claimed,
        } => {
            let wanted = rounds::Wanted {
                from: *from,
                to: *to,
                chain: *chain,
                before: *before,
                above_zero: *above_zero,
                claimed: *claimed,
            };
            rounds::rounds(reader, &wanted, *limit).await
        }
        Asked::Events {
            before,
            limit,
            severity,
            suspicious,
            rule,
            node,
            blamed,
        } => {
            let wanted = events::Wanted {
                before: *before,
                severity: severity.as_deref(),
                suspicious: *suspicious,
                rule: rule.as_deref(),
                node: node.as_deref(),
                blamed: blamed.as_deref(),
            };
            reader.check_label(wanted.node).await?;
            reader.check_label(wanted.blamed).await?;
            events::events(reader, &wanted, *limit).await
        }
        Asked::Event(number) => events::event(reader, *number).await,
        Asked::Links => lists::links(reader).await,
        Asked::Peers => lists::peers(reader).await,
        Asked::Health => lists::health(reader, run).await,
        Asked::Sessions { before, limit } => lists::sessions(reader, *before, *limit).await,
        Asked::Sequence { sequence, chain } => sequence::sequence(reader, *sequence, *chain).await,
        Asked::Messages {
            sequence,
            chain,
            round,
            kind,
            receiver,
            signer,
            limit,
        } => {
            let wanted = sequence::Wanted {
                sequence: *sequence,
                chain: *chain,
                round: *round,
                kind: kind.as_deref(),
                receiver: receiver.as_deref(),
                signer: signer.as_deref(),
            };
            reader.check_label(wanted.signer).await?;
            sequence::messages(reader, &wanted, *limit).await
        }
        Asked::Votes {
            signer,
            chain,
            kind,
            state,
            counted,
            before,
            limit,
        } => {
            let wanted = votes::Wanted {
                signer,
                chain: *chain,
                kind: kind.as_deref(),
                state: state.as_deref(),
                counted: counted.as_deref(),
                before: before.as_ref(),
            };
            reader.check_label(Some(signer)).await?;
            votes::votes(reader, &wanted, *limit).await
        }
    }
}
