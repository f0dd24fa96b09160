//! What may be asked, and reading it from an address.

use crate::Problem;

/// A question to the API: an address below `/api/v1`, understood.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// All runs.
    Runs,
    /// Something of one run.
    OfRun {
        /// The run; `None` is the latest.
        run: Option<i64>,
        /// What.
        what: Asked,
    },
    /// Two runs side by side.
    Compare {
        /// The first run.
        a: i64,
        /// The second run.
        b: i64,
    },
}

/// What may be asked of a run; `docs/web-api.md` says what each answer holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "parameters are documented in docs/web-api.md")]
pub enum Asked {
    /// Its row, and its chains.
    Run,
    /// What all of it comes to.
    Summary,
    /// Its nodes.
    Nodes,
    /// Messages by height or minute.
    Traffic {
        from: Option<i64>,
        to: Option<i64>,
        chain: Option<i64>,
        node: Option<String>,
    },
    /// Who sends to whom.
    Matrix { kind: Option<String> },
    /// Histogram of copies.
    Copies,
    /// What copies cost.
    Redundancy,
    /// Rounds, the latest first.
    Rounds {
        from: Option<i64>,
        to: Option<i64>,
        chain: Option<i64>,
        before: Option<(i64, i64, i64)>,
        limit: u32,
        above_zero: bool,
        claimed: bool,
    },
    /// Events, the latest first.
    Events {
        before: Option<i64>,
        limit: u32,
        severity: Option<String>,
        suspicious: bool,
        rule: Option<String>,
        node: Option<String>,
        blamed: Option<String>,
    },
    /// One event.
    Event(i64),
    /// TCP links.
    Links,
    /// Peers, dials, census.
    Peers,
    /// What the counts rest on.
    Health,
    /// Sessions.
    Sessions { before: Option<i64>, limit: u32 },
    /// One height.
    Sequence { sequence: i64, chain: i64 },
    /// Deliveries of one height.
    Messages {
        sequence: i64,
        chain: i64,
        round: Option<i64>,
        kind: Option<String>,
        receiver: Option<String>,
        signer: Option<String>,
        limit: u32,
    },
    /// Votes of one validator, the latest first.
    Votes {
        signer: String,
        chain: Option<i64>,
        kind: Option<String>,
        state: Option<String>,
        counted: Option<String>,
        before: Option<VotePlace>,
        limit: u32,
    },
}

/// A place in a list of votes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VotePlace {
    /// Sequence, round and chain_id.
    pub round: (i64, i64, i64),
    /// Kind and position of the vote in this round that was the last; `None`: all of the round were.
    pub vote: Option<(String, i64)>,
}

impl Ask {
    /// Reads the part of an address behind `/api/v1/`, and its query.
    ///
    /// # Errors
    /// There is no such address, or a parameter is not what it must be: also one that nobody knows, or that stands twice.
    pub fn parse(path: &str, query: Option<&str>) -> Result<Self, Problem> {
        let mut given = Parameters::read(query.unwrap_or(""))?;
        let parts: Vec<&str> = path.split('/').collect();
        let ask = match parts[..] {
            ["runs"] => Self::Runs,
            ["compare"] => Self::Compare {
                a: given.needed("a")?,
                b: given.needed("b")?,
            },
            ["runs", run, ref rest @ ..] => Self::OfRun {
                run: match run {
                    "latest" => None,
                    id => Some(run_id(id)?),
                },
                what: of_run(rest, &mut given)?,
            },
            _ => return Err(no_address()),
        };
        given.nothing_left()?;
        Ok(ask)
    }

    /// The run that somebody wants to watch: `run=ID`, or `run=latest`, or nothing, which is the same.
    pub(crate) fn parse_run(query: Option<&str>) -> Result<Option<i64>, Problem> {
        let mut given = Parameters::read(query.unwrap_or(""))?;
        let run = match given.take("run").as_deref() {
            None | Some("latest") => None,
            Some(id) => Some(run_id(id)?),
        };
        given.nothing_left()?;
        Ok(run)
    }
}

fn of_run(rest: &[&str], given: &mut Parameters) -> Result<Asked, Problem> {
    Ok(match *rest {
        [] => Asked::Run,
        ["summary"] => Asked::Summary,
        ["nodes"] => Asked::Nodes,
        ["traffic"] => {
            let (from, to) = given.range()?;
            Asked::Traffic {
                from,
                to,
                chain: given.number("chain")?,
                node: given.text("node")?,
            }
        }
        ["matrix"] => Asked::Matrix {
            kind: given.one_of("kind", &KINDS)?,
        },
        ["copies"] => Asked::Copies,
        ["redundancy"] => Asked::Redundancy,
        ["rounds"] => {
            let (from, to) = given.range()?;
            Asked::Rounds {
                from,
                to,
                chain: given.number("chain")?,
                before: given.place("before")?,
                limit: given.limit(100, 500)?,
                above_zero: given.flag("above_zero")?,
                claimed: given.flag("claimed")?,
            }
        }
        ["events"] => Asked::Events {
            before: given.number("before")?,
            limit: given.limit(100, 500)?,
            severity: given.one_of("severity", &["info", "warning", "critical"])?,
            suspicious: given.flag("suspicious")?,
            rule: given.text("rule")?,
            node: given.text("node")?,
            blamed: given.text("blamed")?,
        },
        ["events", event] => Asked::Event(number("event", event)?),
        ["links"] => Asked::Links,
        ["peers"] => Asked::Peers,
        ["health"] => Asked::Health,
        ["sessions"] => Asked::Sessions {
            before: given.number("before")?,
            limit: given.limit(100, 500)?,
        },
        ["sequences", sequence] => Asked::Sequence {
            sequence: number("sequence", sequence)?,
            chain: given.number("chain")?.unwrap_or(0),
        },
        ["sequences", sequence, "messages"] => Asked::Messages {
            sequence: number("sequence", sequence)?,
            chain: given.number("chain")?.unwrap_or(0),
            round: given.number("round")?,
            kind: given.one_of("kind", &KINDS)?,
            receiver: given.text("receiver")?,
            signer: given.text("signer")?,
            limit: given.limit(1000, 5000)?,
        },
        ["votes"] => Asked::Votes {
            signer: given.text("signer")?.ok_or_else(|| {
                Problem::Parameter("signer is missing: the name of a validator, as in `nodes`".to_owned())
            })?,
            chain: given.number("chain")?,
            kind: given.one_of("kind", &KINDS)?,
            state: given.one_of("state", &STATES)?,
            counted: given.one_of("counted", &COUNTED)?,
            before: given.vote_place("before")?,
            limit: given.limit(100, 500)?,
        },
        _ => return Err(no_address()),
    })
}

fn no_address() -> Problem {
    Problem::Missing("there is nothing at this address; docs/web-api.md lists what there is".to_owned())
}

fn run_id(text: &str) -> Result<i64, Problem> {
    number("run", text).map_err(|_| {
        Problem::Parameter("run must be a run_id, as `runs` lists them, or the word `latest`".to_owned())
    })
}

fn number(name: &str, text: &str) -> Result<i64, Problem> {
    // Digits only: what `parse` allows besides would give one thing two addresses.
    let digits = !text.is_empty() && text.len() <= 19 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| Problem::Parameter(format!("{name} must be a whole number from 0 to {}", i64::MAX)))
}

/// The parameters that have not been taken yet.
struct Parameters(Vec<(String, String)>);

/// Most parameters that any address has.
const PARAMETERS: usize = 16;

/// Longest text that is looked for: what the store's columns hold.
const TEXT: usize = 300;

const KINDS: [&str; 4] = ["preprepare", "prepare", "commit", "roundchange"];

/// States of votes.
const STATES: [&str; 6] = ["complete", "late", "partial", "missing", "not_needed", "unknown"];

/// Columns of `participation` that count votes.
const COUNTED: [&str; 8] = [
    "proposals",
    "prepares",
    "commits",
    "roundchanges",
    "late",
    "partial",
    "missing",
    "unknown",
];

impl Parameters {
    fn read(query: &str) -> Result<Self, Problem> {
        let mut given: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if given.len() == PARAMETERS {
                return Err(Problem::Parameter("too many parameters".to_owned()));
            }
            if given.iter().any(|(known, _)| *known == name) {
                return Err(Problem::Parameter("a parameter stands twice".to_owned()));
            }
            given.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(given))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(place).1)
    }

    fn number(&mut self, name: &str) -> Result<Option<i64>, Problem> {
        self.take(name).map(|text| number(name, &text)).transpose()
    }

    fn needed(&mut self, name: &str) -> Result<i64, Problem> {
        self.number(name)?
            .ok_or_else(|| Problem::Parameter(format!("{name} is missing: a run_id")))
    }

    fn limit(&mut self, usual: u32, most: u32) -> Result<u32, Problem> {
        match self.number("limit")? {
            None => Ok(usual),
            Some(limit) => match u32::try_from(limit) {
                Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
                _ => Err(Problem::Parameter(format!("limit must be from 1 to {most}"))),
            },
        }
    }

    /// Sequences from `from` to `to`.
    fn range(&mut self) -> Result<(Option<i64>, Option<i64>), Problem> {
        let (from, to) = (self.number("from")?, self.number("to")?);
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            return Err(Problem::Parameter("from must not be higher than to".to_owned()));
        }
        Ok((from, to))
    }

    fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.take(name).as_deref() {
            None | Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(_) => Err(Problem::Parameter(format!("{name} must be 0 or 1"))),
        }
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        match self.take(name) {
            Some(text) if text.len() > TEXT || text.contains('\0') => Err(Problem::Parameter(format!(
                "{name} is too long, or holds a NUL character"
            ))),
            text => Ok(text),
        }
    }

    fn one_of(&mut self, name: &str, known: &[&str]) -> Result<Option<String>, Problem> {
        match self.take(name) {
            Some(text) if !known.contains(&text.as_str()) => Err(Problem::Parameter(format!(
                "{name} must be one of {}",
                known.join(", ")
            ))),
            text => Ok(text),
        }
    }

    /// Three numbers with commas between.
    fn place(&mut self, name: &str) -> Result<Option<(i64, i64, i64)>, Problem> {
        let Some(text) = self.take(name) else {
            return Ok(None);
        };
        match text.split(',').collect::<Vec<_>>()[..] {
            [a, b, c] => Ok(Some((number(name, a)?, number(name, b)?, number(name, c)?))),
            _ => Err(Problem::Parameter(format!(
                "{name} must be a sequence, a round and a chain_id with commas between"
            ))),
        }
    }

    /// A round, or a vote in it.
    fn vote_place(&mut self, name: &str) -> Result<Option<VotePlace>, Problem> {
        let Some(text) = self.take(name) else {
            return Ok(None);
        };
        let round = |sequence: &str, round: &str, chain: &str| {
            Ok::<_, Problem>((
                number(name, sequence)?,
                number(name, round)?,
                number(name, chain)?,
            ))
        };
        match text.split(',').collect::<Vec<_>>()[..] {
            [a, b, c] => Ok(Some(VotePlace {
                round: round(a, b, c)?,
                vote: None,
            })),
            [a, b, c, kind, position] if KINDS.contains(&kind) => Ok(Some(VotePlace {
                round: round(a, b, c)?,
                vote: Some((kind.to_owned(), number(name, position)?)),
            })),
            _ => Err(Problem::Parameter(format!(
                "{name} must be a sequence, a round and a chain_id with commas between, or these with a kind and a position behind"
            ))),
        }
    }

    fn nothing_left(&self) -> Result<(), Problem> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Problem::Parameter(
                "there is a parameter that this address does not know; docs/web-api.md lists them".to_owned(),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(path: &str, query: Option<&str>) -> u16 {
        Ask::parse(path, query).map_or_else(|problem| problem.status(), |_| 200)
    }

    #[test]
    fn addresses_are_understood_once_and_hostile_ones_refused() {
        let rounds = Ask::parse(
            "runs/latest/rounds",
            Some("before=7,1,0&limit=5&above_zero=1&claimed=1"),
        )
        .unwrap();
        let Ask::OfRun {
            run: None,
            what:
                Asked::Rounds {
                    before: Some((7, 1, 0)),
                    limit: 5,
                    above_zero: true,
                    claimed: true,
                    from: None,
                    ..
                },
        } = rounds
        else {
            panic!("{rounds:?}");
        };
        let node = Ask::parse("runs/3/traffic", Some("node=a%26b+c%22")).unwrap();
        assert!(
            matches!(&node, Ask::OfRun { run: Some(3), what: Asked::Traffic { node: Some(name), .. } } if name == "a&b c\""),
            "{node:?}"
        );
        for (path, query, want) in [
            ("runs", None, 200),
            ("runs/1", Some(""), 200),
            ("runs/", None, 400),
            ("runs/-1", None, 400),
            ("runs/+1", None, 400),
            ("runs/1e3", None, 400),
            ("runs/99999999999999999999", None, 400),
            ("runs/1/", None, 404),
            ("runs/1/../2", None, 404),
            ("runs/1/nodes/x", None, 404),
            ("runs/1/nodes", Some("x=1"), 400),
            ("runs/1/rounds", Some("limit=0"), 400),
            ("runs/1/rounds", Some("limit=501"), 400),
            ("runs/1/rounds", Some("limit=1&limit=2"), 400),
            ("runs/1/rounds", Some("before=1,2"), 400),
            ("runs/1/rounds", Some("above_zero=yes"), 400),
            ("runs/1/rounds", Some("claimed=yes"), 400),
            ("runs/1/events", Some("severity=critical'--"), 400),
            ("runs/1/matrix", Some("kind=commit"), 200),
            ("runs/1/matrix", Some("kind=%00"), 400),
            ("runs/1/traffic", Some("node=%00"), 400),
            ("runs/1/traffic", Some("from=3&to=2"), 400),
            ("runs/1/rounds", Some("from=3&to=2"), 400),
            ("runs/1/rounds", Some("from=3&to=3"), 200),
            ("runs/1/votes", None, 400),
            ("runs/1/votes", Some("signer=cn1"), 200),
            ("runs/1/votes", Some("signer=cn1&state=lost"), 400),
            ("runs/1/votes", Some("signer=cn1&state=not_needed"), 200),
            ("runs/1/votes", Some("signer=cn1&counted=invalid"), 400),
            ("runs/1/votes", Some("signer=cn1&before=1,2,0"), 200),
            ("runs/1/votes", Some("signer=cn1&before=1,2,0,commit,0"), 200),
            ("runs/1/votes", Some("signer=cn1&before=1,2,0,commit"), 400),
            ("runs/1/votes", Some("signer=cn1&before=1,2,0,vote,0"), 400),
            ("runs/1/votes", Some("signer=cn1&before=1,2,0,commit,-1"), 400),
            ("runs/1/votes", Some("signer=cn1&limit=501"), 400),
            ("runs/nosuch", None, 400),
            ("compare", Some("a=1"), 400),
            ("compare", Some("a=1&b=2"), 200),
            ("", None, 404),
        ] {
            assert_eq!(status(path, query), want, "{path} {query:?}");
        }
        let said = Ask::parse("runs/nosuch", None).unwrap_err().to_string();
        assert!(said.contains("latest"), "{said}");
        let long = format!("node={}", "x".repeat(TEXT + 1));
        assert_eq!(status("runs/1/traffic", Some(&long)), 400);
        let many: String = (0..99).map(|n| format!("p{n}=1&")).collect();
        assert_eq!(status("runs/1/traffic", Some(&many)), 400);
    }
}
