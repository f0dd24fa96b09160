//! Votes of one validator, the latest first: the rows that the numbers of its participation count.

use std::cmp::Reverse;

use bftap_store::rows::{Cell, Table};
use serde_json::{Value, json};

use super::reader::{INT, Reader, TEXT, cut, int, json, object, text};
use crate::Problem;
use crate::ask::VotePlace;

/// Which votes.
pub(super) struct Wanted<'a> {
    pub(super) signer: &'a str,
    pub(super) chain: Option<i64>,
    pub(super) kind: Option<&'a str>,
    pub(super) state: Option<&'a str>,
    /// Those that this column of `participation` counts.
    pub(super) counted: Option<&'a str>,
    /// Those behind this place in the list.
    pub(super) before: Option<&'a VotePlace>,
}

/// Kinds of messages in the order in which the votes of one round are listed: the latest first.
const ORDER: [&str; 4] = ["commit", "prepare", "preprepare", "roundchange"];

/// Keys that one answer looks up at most, one for each round and kind. No index leads from a signer to its votes, but the table's key leads
/// from a round, a kind and a signer to the vote; so an answer goes down so many rounds and says how far, and whoever asks goes on from there.
/// In a large store each key is on a page of its own, which may have to come from the disk.
const KEYS: usize = 2000;

/// What a column of `participation` counts, as `analysis/src/participation.rs` adds it up.
struct Counted {
    kinds: &'static [&'static str],
    state: Option<&'static str>,
    /// Only in rounds that were decided.
    decided: bool,
    /// Whether something of it was seen; `None` if that does not matter.
    seen: Option<bool>,
    /// Several messages of one signer, kind and round count once.
    once: bool,
}

impl Counted {
    fn named(name: &str) -> Option<Self> {
        let all = Self {
            kinds: &ORDER,
            state: None,
            decided: false,
            seen: None,
            once: false,
        };
        let seen = |kinds, decided| Self {
            kinds,
            decided,
            seen: Some(true),
            once: true,
            ..all
        };
        let unseen = |state| Self {
            kinds: &["commit"],
            state: Some(state),
            decided: true,
            seen: Some(false),
            ..all
        };
        Some(match name {
            "proposals" => seen(&["preprepare"], false),
            "prepares" => seen(&["prepare"], true),
            "commits" => seen(&["commit"], true),
            "roundchanges" => seen(&["roundchange"], false),
            "late" => Self {
                kinds: &["commit", "prepare"],
                state: Some("late"),
                ..all
            },
            "partial" => Self {
                state: Some("partial"),
                ..all
            },
            "missing" => unseen("missing"),
            "unknown" => unseen("unknown"),
            _ => return None,
        })
    }
}

/// Conditions with their values.
#[derive(Clone, Default)]
struct Conditions {
    sql: String,
    values: Vec<Cell>,
}

impl Conditions {
    fn add(&mut self, condition: &str, values: impl IntoIterator<Item = Cell>) {
        self.sql.push_str(condition);
        self.values.extend(values);
    }

    /// Rounds behind this one in the list; with `itself`, this one too.
    ///
    /// It speaks of rounds only, so that it serves where no votes are joined; see [`Conditions::votes_up_to`].
    fn behind(&mut self, (sequence, round, chain): (i64, i64, i64), itself: bool) {
        let last = if itself { "<=" } else { "<" };
        // The first condition is what databases find in their index.
        self.add(
            &format!(
                " AND r.sequence <= ? AND (r.sequence < ? OR (r.sequence = ? AND (r.round < ? OR (r.round = ? AND r.chain_id {last} ?))))"
            ),
            [sequence, sequence, sequence, round, round, chain].map(int),
        );
    }

    /// Votes of no higher sequence. Their rounds say so already, but PostgreSQL does not carry a range over from one side of an equality to the
    /// other, and is free to begin with the votes: without a bound of their own it may then read all of the signer.
    fn votes_up_to(&mut self, sequence: i64) {
        self.add(" AND v.sequence <= ?", [int(sequence)]);
    }

    /// Rounds down to this one, and their votes, for the same reason.
    fn down_to(&mut self, (sequence, round, chain): (i64, i64, i64)) {
        self.add(" AND v.sequence >= ?", [int(sequence)]);
        self.add(
            " AND r.sequence >= ? AND (r.sequence > ? OR (r.sequence = ? AND (r.round > ? OR (r.round = ? AND r.chain_id >= ?))))",
            [sequence, sequence, sequence, round, round, chain].map(int),
        );
    }
}

pub(super) async fn votes(
    reader: &mut Reader<'_>,
    wanted: &Wanted<'_>,
    limit: u32,
) -> Result<Value, Problem> {
    let counted = wanted.counted.and_then(Counted::named);
    let kinds: Vec<&str> = ORDER
        .into_iter()
        .filter(|kind| wanted.kind.is_none_or(|wanted| wanted == *kind))
        .filter(|kind| {
            counted
                .as_ref()
                .is_none_or(|counted| counted.kinds.contains(kind))
        })
        .collect();
    let floor = match kinds.len() {
        // Nothing is of all that is asked for at once.
        0 => None,
        kinds => floor(reader, wanted.before, KEYS / kinds).await?,
    };
    let mut conditions = Conditions::default();
    if let Some(floor) = floor {
        conditions.down_to(floor);
    }
    if let Some(chain) = wanted.chain {
        conditions.add(" AND r.chain_id = ?", [int(chain)]);
    }
    if let Some(state) = wanted.state {
        conditions.add(" AND v.state = ?", [text(state)]);
    }
    if let Some(counted) = &counted {
        if let Some(state) = counted.state {
            conditions.add(" AND v.state = ?", [text(state)]);
        }
        if counted.decided {
            conditions.add(" AND r.outcome = 'decided'", []);
        }
        match counted.seen {
            Some(true) => conditions.add(" AND v.first_ns IS NOT NULL", []),
            Some(false) => conditions.add(" AND v.first_ns IS NULL", []),
            None => {}
        }
        if counted.once {
            conditions.add(" AND v.position = 0", []);
        }
    }
    let mut votes = Vec::new();
    for kind in kinds {
        votes.extend(of_kind(reader, wanted, kind, conditions.clone(), limit).await?);
    }
    votes.sort_by_cached_key(place);
    let more = cut(&mut votes, limit);
    let key = |vote: &Value| format!("{},{},{}", vote["sequence"], vote["round"], vote["chain_id"]);
    let (next, scanned_to) = match (votes.last(), floor) {
        (Some(last), _) if more => {
            let kind = last["kind"].as_str().unwrap_or_default();
            let next = format!("{},{kind},{}", key(last), last["position"]);
            (Some(next), last["sequence"].as_i64())
        }
        (_, Some((sequence, round, chain))) => (Some(format!("{sequence},{round},{chain}")), Some(sequence)),
        (_, None) => (None, None),
    };
    Ok(json!({
        "signer": wanted.signer,
        "votes": votes,
        "more": next.is_some(),
        "next": next,
        "scanned_to": scanned_to,
    }))
}

/// The last of so many rounds behind a place, if there are more.
async fn floor(
    reader: &mut Reader<'_>,
    before: Option<&VotePlace>,
    rounds: usize,
) -> Result<Option<(i64, i64, i64)>, Problem> {
    let mut conditions = Conditions::default();
    if let Some(before) = before {
        conditions.behind(before.round, before.vote.is_some());
    }
    let sql = format!(
        "SELECT r.sequence, r.round, r.chain_id FROM round r WHERE r.run_id = ?{} \
         ORDER BY r.sequence DESC, r.round DESC, r.chain_id DESC LIMIT 2 OFFSET {}",
        conditions.sql,
        rounds.saturating_sub(1)
    );
    let mut values = vec![reader.id()];
    values.extend(conditions.values);
    let rows = reader
        .query("looking how far down to go", &sql, &values, &[INT, INT, INT])
        .await?;
    let key = |row: &Vec<Cell>| Some((row.first()?.int()?, row.get(1)?.int()?, row.get(2)?.int()?));
    // The second row says that the first one is not the end of the list.
    Ok(rows.first().filter(|_| rows.len() > 1).and_then(key))
}

/// Votes of one kind: the database goes down the rounds, and finds the vote of each by its key.
async fn of_kind(
    reader: &mut Reader<'_>,
    wanted: &Wanted<'_>,
    kind: &str,
    mut conditions: Conditions,
    limit: u32,
) -> Result<Vec<Value>, Problem> {
    let table =
        Table::named("vote").ok_or_else(|| Problem::Missing("there is no table of votes".to_owned()))?;
    if let Some(before) = wanted.before {
        conditions.votes_up_to(before.round.0);
        let rank = |kind: &str| ORDER.iter().position(|known| *known == kind);
        match &before.vote {
            None => conditions.behind(before.round, false),
            Some((last, position)) => {
                conditions.behind(before.round, rank(kind) >= rank(last));
                if kind == last {
                    let (sequence, round, chain) = before.round;
                    conditions.add(
                        " AND NOT (r.sequence = ? AND r.round = ? AND r.chain_id = ? AND v.position >= ?)",
                        [sequence, round, chain, *position].map(int),
                    );
                }
            }
        }
    }
    let columns: Vec<_> = table
        .columns()
        .map(|column| format!("v.{}", column.name))
        .collect();
    // CROSS JOIN keeps SQLite to this order; for the others it is a join like any.
    let sql = format!(
        "SELECT {}, r.outcome FROM round r CROSS JOIN vote v WHERE r.run_id = ?{} AND v.run_id = r.run_id AND v.sequence = r.sequence \
         AND v.round = r.round AND v.chain_id = r.chain_id AND v.kind = ? AND v.signer = ? \
         ORDER BY r.sequence DESC, r.round DESC, r.chain_id DESC, v.position DESC LIMIT {}",
        columns.join(", "),
        conditions.sql,
        limit + 1
    );
    let mut values = vec![reader.id()];
    values.extend(conditions.values);
    values.extend([text(kind), text(wanted.signer)]);
    let mut holds = table.types().to_vec();
    holds.push(TEXT);
    let rows = reader.query("reading votes", &sql, &values, &holds).await?;
    let vote = |mut row: Vec<Cell>| {
        let outcome = row.pop().map_or(Value::Null, json);
        let mut vote = object(table, row);
        vote["outcome"] = outcome;
        vote
    };
    Ok(rows.into_iter().map(vote).collect())
}

/// What votes are listed by, from the latest on.
fn place(vote: &Value) -> impl Ord + std::fmt::Debug + use<> {
    let number = |column: &str| vote[column].as_i64();
    (
        Reverse(["sequence", "round", "chain_id"].map(number)),
        ORDER.iter().position(|kind| vote["kind"] == *kind),
        Reverse(number("position")),
    )
}

#[cfg(test)]
mod tests {
    use bftap_analysis::facts::{Outcome, RunFacts, VoteFact, VoteState};
    use bftap_ibft_decode::Kind;
    use bftap_store::{Batch, HeightVotes, Store};

    use super::*;
    use crate::sample::{CHAIN, begin, round, vote};

    const HEIGHTS: u64 = 2 * KEYS as u64 + 7;

    /// Heights of which a few have a vote of `cn1`, and two of it where it speaks twice; of those that are 1 modulo 3 no round was decided.
    async fn store() -> (Box<dyn Store>, bftap_store::RunId, Vec<VoteFact>) {
        let (mut store, id) = begin().await;
        let mut batch = Batch::default();
        let mut all = Vec::new();
        for sequence in 1..=HEIGHTS {
            batch.rounds.push(round(
                sequence,
                if sequence % 3 == 1 {
                    Outcome::Open
                } else {
                    Outcome::Decided
                },
            ));
            let mut votes = Vec::new();
            if sequence == 3 || sequence % 1500 == 0 || sequence % 1500 == 1 {
                votes.push(vote(sequence, Kind::Prepare, "cn1", VoteState::Partial));
                votes.push(vote(sequence, Kind::Prepare, "cn1", VoteState::Partial));
                votes.push(vote(sequence, Kind::Commit, "cn1", VoteState::Missing));
                all.extend(votes.clone());
                votes.push(vote(sequence, Kind::Commit, "cn2", VoteState::Missing));
                batch.votes.push(HeightVotes {
                    chain: CHAIN.into(),
                    sequence,
                    votes,
                });
            }
        }
        store.write(id, 1, &batch).await.unwrap();
        store.finish_run(id, 2, &RunFacts::default(), 2).await.unwrap();
        (store, id, all)
    }

    /// All pieces of a list, and how many there were.
    async fn pieces(
        reader: &mut Reader<'_>,
        kind: Option<&str>,
        counted: Option<&str>,
        limit: u32,
    ) -> (Vec<Value>, usize) {
        let mut all = Vec::new();
        let mut before: Option<VotePlace> = None;
        for number in 1.. {
            let wanted = Wanted {
                signer: "cn1",
                chain: None,
                kind,
                state: None,
                counted,
                before: before.as_ref(),
            };
            let piece = votes(reader, &wanted, limit).await.unwrap();
            let found = piece["votes"].as_array().unwrap();
            assert!(found.len() <= limit as usize);
            assert_eq!(piece["more"], !piece["next"].is_null());
            all.extend(found.iter().cloned());
            let Some(next) = piece["next"].as_str() else {
                assert!(piece["scanned_to"].is_null());
                return (all, number);
            };
            let parts: Vec<&str> = next.split(',').collect();
            assert_eq!(piece["scanned_to"].to_string(), parts[0]);
            before = Some(VotePlace {
                round: (
                    parts[0].parse().unwrap(),
                    parts[1].parse().unwrap(),
                    parts[2].parse().unwrap(),
                ),
                vote: parts
                    .get(3)
                    .map(|kind| ((*kind).to_owned(), parts[4].parse().unwrap())),
            });
        }
        unreachable!()
    }

    #[tokio::test]
    async fn a_long_run_is_gone_down_piece_by_piece_and_nothing_is_lost_or_told_twice() {
        let (mut store, id, all) = store().await;
        let mut reader = Reader::new(store.as_mut(), id);
        let mut expected: Vec<(i64, String)> = all
            .iter()
            .map(|vote| (vote.sequence as i64, vote.kind.to_string()))
            .collect();
        expected.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        for limit in [1, 2, 7, 500] {
            let (found, asked) = pieces(&mut reader, None, None, limit).await;
            let told: Vec<_> = found
                .iter()
                .map(|vote| {
                    (
                        vote["sequence"].as_i64().unwrap(),
                        vote["kind"].as_str().unwrap().to_owned(),
                    )
                })
                .collect();
            assert_eq!(told, expected, "{limit}");
            let mut keys: Vec<_> = found.iter().map(|vote| format!("{:?}", place(vote))).collect();
            keys.dedup();
            assert_eq!(keys.len(), all.len(), "{limit}");
            // However few there are, no answer looks up more than it may.
            assert!(
                asked > HEIGHTS as usize / (KEYS / ORDER.len()),
                "{limit}: {asked}"
            );
        }
        let (missing, asked) = pieces(&mut reader, None, Some("missing"), 500).await;
        let decided = |vote: &&VoteFact| vote.sequence % 3 != 1 && vote.kind == Kind::Commit;
        assert_eq!(missing.len(), all.iter().filter(decided).count());
        assert!(
            missing.len() < all.len() / 3,
            "rounds that were not decided are left out"
        );
        assert!(
            missing
                .iter()
                .all(|vote| vote["outcome"] == "decided" && vote["state"] == "missing")
        );
        assert_eq!(asked, 3, "of one kind it goes down further at once");
        let (partial, _) = pieces(&mut reader, None, Some("partial"), 2).await;
        assert_eq!(
            partial.len(),
            all.len() / 3 * 2,
            "each of several messages counts"
        );
        let (prepares, _) = pieces(&mut reader, None, Some("prepares"), 2).await;
        assert_eq!(
            prepares.len(),
            missing.len(),
            "a validator prepared once, whatever it said"
        );
        let (none, asked) = pieces(&mut reader, Some("commit"), Some("proposals"), 2).await;
        assert_eq!((none.len(), asked), (0, 1), "no commit is a proposal");
    }
}
