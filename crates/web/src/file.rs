//! The page in a file, with its answers: it asks nobody.

use std::fmt::Write as _;

use bftap_store::Store;
use serde_json::{Map, Value};

use crate::assets::{INDEX, SCRIPT, STYLE};
use crate::{Ask, Problem, answer};

/// Heights that are in a file in full: those that an event is about, those that took more than one round, and the newest; of rounds that
/// count, and if there is room those of which an event only speaks.
const HEIGHTS: usize = 60;

/// Most bytes of answers in a file: beyond it heights are left out.
const BYTES: usize = 24 << 20;

/// Numbers of validators whose votes are in a file, those that tell most first.
const COUNTED: [&str; 6] = [
    "missing",
    "partial",
    "late",
    "unknown",
    "proposals",
    "roundchanges",
];

/// Most bytes of lists of votes in a file.
const VOTE_BYTES: usize = 4 << 20;

/// Most lists of votes in a file.
const VOTE_LISTS: usize = 400;

/// Votes of a list: as many as the page shows at first.
const VOTES: usize = 100;

/// Most answers that one list is put together from: each goes down a part of the run, and what is rare may be far down.
const VOTE_PIECES: usize = 20;

/// Most answers for all lists: in a large run each takes some time.
const VOTE_ANSWERS: usize = 2000;

/// A page of one run.
#[derive(Clone, Debug)]
pub struct PageFile {
    /// The file.
    pub html: String,
    /// Heights that are in it in full.
    pub heights: usize,
}

/// Makes the page of a stored run, with everything in it that it shows at first, and the heights that tell most.
///
/// # Errors
/// There is no such run, or the store cannot be read.
pub async fn page_file(store: &mut dyn Store, run: i64) -> Result<PageFile, Problem> {
    let mut answers = Map::new();
    let mut size = 0;
    let mut runs = answer(store, &Ask::Runs).await?;
    // Only the run that the page is about: others are nobody's business who gets the file.
    if let Some(listed) = runs["runs"].as_array_mut() {
        listed.retain(|listed| listed["run_id"] == run);
    }
    put(&mut answers, &mut size, "/api/v1/runs", runs);
    let of_run = format!("runs/{run}");
    for view in VIEWS {
        let path = format!("{of_run}{view}");
        let (address, query) = match path.split_once('?') {
            Some((address, query)) => (address, Some(query)),
            None => (path.as_str(), None),
        };
        let value = answer(store, &Ask::parse(address, query)?).await?;
        put(&mut answers, &mut size, &format!("/api/v1/{path}"), value);
    }
    put_events(&mut answers, &mut size, store, &of_run).await?;
    put_votes(&mut answers, &mut size, store, &of_run).await?;
    let heights = heights(store, &of_run).await?;
    let mut shown = 0;
    for (sequence, chain) in heights {
        if size > BYTES {
            break;
        }
        let path = format!("{of_run}/sequences/{sequence}");
        let query = format!("chain={chain}");
        let value = answer(store, &Ask::parse(&path, Some(&query))?).await?;
        put(&mut answers, &mut size, &format!("/api/v1/{path}?{query}"), value);
        shown += 1;
    }
    Ok(PageFile {
        html: html(&Value::Object(answers).to_string()),
        heights: shown,
    })
}

/// What each view asks for at first.
const VIEWS: [&str; 13] = [
    "",
    "/summary",
    "/nodes",
    "/traffic",
    "/matrix",
    "/copies",
    "/redundancy",
    "/rounds",
    "/rounds?claimed=1",
    "/events",
    "/links",
    "/peers",
    "/health",
];

fn put(answers: &mut Map<String, Value>, size: &mut usize, path: &str, value: Value) {
    *size += value.to_string().len();
    answers.insert(path.to_owned(), value);
}

/// Each of the listed events by itself: with how a bundle of evidence of it is made.
async fn put_events(
    answers: &mut Map<String, Value>,
    size: &mut usize,
    store: &mut dyn Store,
    of_run: &str,
) -> Result<(), Problem> {
    let listed = &answers[&format!("/api/v1/{of_run}/events")]["events"];
    let numbers: Vec<Value> = listed
        .as_array()
        .into_iter()
        .flatten()
        .map(|event| event["event_number"].clone())
        .collect();
    for number in numbers {
        let path = format!("{of_run}/events/{number}");
        let value = answer(store, &Ask::parse(&path, None)?).await?;
        put(answers, size, &format!("/api/v1/{path}"), value);
    }
    Ok(())
}

/// The votes behind the numbers of each validator: first what is amiss.
async fn put_votes(
    answers: &mut Map<String, Value>,
    size: &mut usize,
    store: &mut dyn Store,
    of_run: &str,
) -> Result<(), Problem> {
    let mut wanted = Vec::new();
    for counted in COUNTED {
        for node in answers[&format!("/api/v1/{of_run}/nodes")]["nodes"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let rows = node["participation"].as_array();
            let counts = rows.into_iter().flatten().filter_map(|row| row[counted].as_i64());
            if let Some(label) = node["label"].as_str()
                && counts.sum::<i64>() > 0
            {
                let query = form_urlencoded::Serializer::new(String::new())
                    .append_pair("signer", label)
                    .append_pair("counted", counted)
                    .finish();
                wanted.push(query);
            }
        }
    }
    let most = *size + VOTE_BYTES;
    let mut left = VOTE_ANSWERS;
    for query in wanted.into_iter().take(VOTE_LISTS) {
        if *size > most || left == 0 {
            break;
        }
        let path = format!("{of_run}/votes");
        // A list without a vote would say no more than that somebody must look further: then the number leads nowhere.
        if let Some(list) = vote_list(store, &path, &query, &mut left).await? {
            put(answers, size, &format!("/api/v1/{path}?{query}"), list);
        }
    }
    Ok(())
}

/// A list of votes, put together from as many answers as it takes, as if one had gone down so far. `None`: none was found in the part of
/// the run that was looked through. `left`: answers that may still be asked for.
async fn vote_list(
    store: &mut dyn Store,
    path: &str,
    query: &str,
    left: &mut usize,
) -> Result<Option<Value>, Problem> {
    let mut votes: Vec<Value> = Vec::new();
    let mut place = String::new();
    for piece in 1.. {
        *left = left.saturating_sub(1);
        let asked = format!("{query}&limit={}{place}", VOTES - votes.len());
        let mut answer = answer(store, &Ask::parse(path, Some(&asked))?).await?;
        if let Value::Array(found) = answer["votes"].take() {
            votes.extend(found);
        }
        if let Some(next) = answer["next"].as_str()
            && votes.len() < VOTES
            && piece < VOTE_PIECES
            && *left > 0
        {
            place = format!("&before={next}");
            continue;
        }
        if votes.is_empty() && answer["more"] == true {
            return Ok(None);
        }
        answer["votes"] = Value::Array(votes);
        return Ok(Some(answer));
    }
    Ok(None)
}

/// The heights that tell most, each with its chain.
async fn heights(store: &mut dyn Store, of_run: &str) -> Result<Vec<(i64, i64)>, Problem> {
    let mut found: Vec<(i64, i64)> = Vec::new();
    for (list, query, rows, claimed) in [
        ("events", "limit=200", "events", false),
        ("rounds", "above_zero=1&limit=50", "rounds", false),
        ("rounds", "limit=50", "rounds", false),
        // What is only spoken of takes the place of nothing that was.
        ("events", "limit=200", "events", true),
    ] {
        let asked = answer(store, &Ask::parse(&format!("{of_run}/{list}"), Some(query))?).await?;
        for row in asked[rows].as_array().into_iter().flatten() {
            let height = row["sequence"].as_i64().zip(row["chain_id"].as_i64());
            if let Some(height) = height.filter(|(sequence, _)| *sequence >= 0)
                && !found.contains(&height)
                && found.len() < HEIGHTS
                && has_rows(store, of_run, height, claimed).await
            {
                found.push(height);
            }
        }
    }
    Ok(found)
}

/// Whether a round of a height is stored that counts, or one that is only `claimed`: events may speak of heights that nobody went to.
async fn has_rows(store: &mut dyn Store, of_run: &str, (sequence, chain): (i64, i64), claimed: bool) -> bool {
    let claimed = u8::from(claimed);
    let query = format!("from={sequence}&to={sequence}&chain={chain}&limit=1&claimed={claimed}");
    let Ok(ask) = Ask::parse(&format!("{of_run}/rounds"), Some(&query)) else {
        return false;
    };
    answer(store, &ask)
        .await
        .is_ok_and(|rounds| rounds["rounds"].as_array().is_some_and(|rows| !rows.is_empty()))
}

/// The page with its parts in it, and a policy that lets it ask nobody.
fn html(answers: &str) -> String {
    let policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline'; \
                  style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">";
    let mut page = INDEX.replacen("<head>", &format!("<head>{policy}"), 1);
    let mut data = String::new();
    let _ = write!(
        data,
        "<script type=\"application/json\" id=\"bftap-data\">{}</script>\n<script>{}</script>",
        within_script(answers),
        SCRIPT.replace("</script", "<\\/script")
    );
    page = replace_tag(
        &page,
        "<link rel=\"stylesheet\"",
        ">",
        &format!("<style>{STYLE}</style>"),
    );
    // The data must stand before the program that reads it, at the end of the body.
    let script = replace_tag(&page, "<script", "</script>", "");
    match script.rfind("</body>") {
        Some(place) => format!("{}{data}{}", &script[..place], &script[place..]),
        None => script + &data,
    }
}

/// JSON that no text in it can end early: `<` does not stand in it.
fn within_script(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// Puts something in the place of the first tag that begins like this.
fn replace_tag(page: &str, begins: &str, ends: &str, with: &str) -> String {
    let Some(start) = page.find(begins) else {
        return page.to_owned();
    };
    let Some(end) = page[start..].find(ends) else {
        return page.to_owned();
    };
    format!("{}{with}{}", &page[..start], &page[start + end + ends.len()..])
}

#[cfg(test)]
mod tests {
    use bftap_analysis::facts::{Coverage, NodeFact, Outcome, ParticipationFact, RunFacts, VoteState};
    use bftap_ibft_decode::Kind;
    use bftap_store::{Batch, HeightVotes, RunId};

    use super::*;
    use crate::sample::{CHAIN, begin, round, vote};

    /// More than one list goes down: of votes of all kinds an answer looks at 500 rounds.
    const LONG: u64 = 500 * VOTE_PIECES as u64 + 600;

    /// Of `cn1` what is missing is far down, of `cn2` much is partial, of `cn3` nothing is stored, of `cn4` one vote is at the very bottom.
    async fn long_run() -> (Box<dyn Store>, RunId) {
        let (mut store, id) = begin().await;
        let mut batch = Batch::default();
        for sequence in 1..=LONG {
            batch.rounds.push(round(sequence, Outcome::Decided));
            let mut votes = Vec::new();
            if sequence <= 30 {
                votes.push(vote(sequence, Kind::Commit, "cn1", VoteState::Missing));
            }
            if sequence % 22 == 0 {
                votes.push(vote(sequence, Kind::Prepare, "cn2", VoteState::Partial));
            }
            if sequence == 1 {
                votes.push(vote(sequence, Kind::Prepare, "cn4", VoteState::Partial));
            }
            if !votes.is_empty() {
                batch.votes.push(HeightVotes {
                    chain: CHAIN.into(),
                    sequence,
                    votes,
                });
            }
        }
        store.write(id, 1, &batch).await.unwrap();
        let mut facts = RunFacts::default();
        for (number, missing, partial, late) in
            [(1, 30, 0, 0), (2, 0, LONG / 22, 0), (3, 0, 0, 5), (4, 0, 1, 0)]
        {
            let label = format!("cn{number}");
            facts.participation.push(ParticipationFact {
                chain: CHAIN.into(),
                validator: label.as_str().into(),
                rounds: LONG,
                missing,
                partial,
                late,
                ..ParticipationFact::default()
            });
            facts.nodes.push(NodeFact {
                name: None,
                label: label.as_str().into(),
                node_id: None,
                address: None,
                ips: Vec::new(),
                client: None,
                role: None,
                coverage: Coverage::Full,
                validator: true,
            });
        }
        store.finish_run(id, 2, &facts, 2).await.unwrap();
        (store, id)
    }

    #[tokio::test]
    async fn numbers_of_a_long_run_lead_to_their_votes_or_nowhere() {
        let (mut store, id) = long_run().await;
        let page = page_file(store.as_mut(), id.0).await.unwrap().html;
        let start = page.find("id=\"bftap-data\">").unwrap() + "id=\"bftap-data\">".len();
        let end = start + page[start..].find("</script>").unwrap();
        let answers: Value = serde_json::from_str(&page[start..end]).unwrap();
        let list = |rest: &str| &answers[&format!("/api/v1/runs/{}/votes?signer={rest}", id.0)];
        let heights = |list: &Value| -> Vec<u64> {
            let votes = list["votes"].as_array().unwrap().iter();
            votes.map(|vote| vote["sequence"].as_u64().unwrap()).collect()
        };
        let missing = list("cn1&counted=missing");
        assert_eq!(heights(missing), (1..=30).rev().collect::<Vec<_>>());
        assert_eq!(
            (&missing["more"], &missing["next"]),
            (&false.into(), &Value::Null)
        );
        let partial = list("cn2&counted=partial");
        let expected: Vec<u64> = (1..=LONG / 22).rev().map(|n| n * 22).take(VOTES).collect();
        assert_eq!(heights(partial), expected);
        assert_eq!(partial["more"], true);
        assert_eq!(partial["scanned_to"], expected[VOTES - 1]);
        // What is nowhere is said to be so; what may be further down has no list that says nothing.
        let late = list("cn3&counted=late");
        assert_eq!((heights(late), &late["more"]), (Vec::new(), &false.into()));
        assert!(list("cn4&counted=partial").is_null());
    }

    #[test]
    fn what_peers_say_cannot_end_the_data_or_begin_a_script() {
        let hostile =
            serde_json::json!({ "client": "</script><script>alert(1)</script><!--\u{2028}" }).to_string();
        let page = html(&hostile);
        let start = page.find("id=\"bftap-data\">").unwrap() + "id=\"bftap-data\">".len();
        let end = start + page[start..].find("</script>").unwrap();
        let read: Value = serde_json::from_str(&page[start..end]).unwrap();
        assert_eq!(read["client"], "</script><script>alert(1)</script><!--\u{2028}");
        assert!(!page.contains("<script>alert"));
    }

    #[test]
    fn a_file_asks_for_nothing_else() {
        let page = html("{}");
        assert!(
            !page.contains("src=\"") && !page.contains("href=\"app"),
            "{}",
            &page[..page.len().min(600)]
        );
        assert!(page.contains("Content-Security-Policy"));
    }
}
