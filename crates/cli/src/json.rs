//! The JSON report (docs/json-report.md), written while heights stream in.
//!
//! `counts` are written at once; `rounds`, `node_rounds` and `votes` come with the same heights but stand behind them in the file, so they
//! wait in anonymous temporary files. Nothing but the facts goes in: the same facts give the same bytes.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write};

use bftap_analysis::facts::{HeightFacts, RunFacts, VoteState};
use serde::Serialize;

use crate::selection::Part;

/// A JSON report that grows.
pub(crate) struct JsonReport<W: Write> {
    out: W,
    all_votes: bool,
    counts_written: u64,
    rounds: Waiting,
    node_rounds: Waiting,
    votes: Waiting,
    votes_left_out: u64,
}

impl<W: Write> JsonReport<W> {
    /// Begins a report of this part of the captures; `None` for all of it. `all_votes`: also those that there is nothing to say of, which
    /// are most.
    ///
    /// # Errors
    /// When it, or a temporary file, cannot be written.
    pub(crate) fn begin(mut out: W, part: Option<&Part>, all_votes: bool) -> io::Result<Self> {
        write!(
            out,
            "{{\n\"version\": {},\n\"selection\": {},\n\"counts\": [",
            serde_json::to_string(env!("CARGO_PKG_VERSION"))?,
            serde_json::to_string(&part)?
        )?;
        Ok(Self {
            out,
            all_votes,
            counts_written: 0,
            rounds: Waiting::new()?,
            node_rounds: Waiting::new()?,
            votes: Waiting::new()?,
            votes_left_out: 0,
        })
    }

    /// Takes one height.
    pub(crate) fn height(&mut self, height: &HeightFacts) -> io::Result<()> {
        for count in &height.counts {
            item(&mut self.out, &mut self.counts_written, count)?;
        }
        for round in &height.rounds {
            self.rounds.push(round)?;
        }
        for lived in &height.node_rounds {
            self.node_rounds.push(lived)?;
        }
        for vote in &height.votes {
            if self.all_votes || !matches!(vote.state, VoteState::Complete | VoteState::Unknown) {
                self.votes.push(vote)?;
            } else {
                self.votes_left_out += 1;
            }
        }
        Ok(())
    }

    /// Writes the rest, and gives back the writer, flushed.
    pub(crate) fn finish(mut self, facts: &RunFacts) -> io::Result<W> {
        self.out.write_all(b"\n],\n")?;
        self.rounds.write_as("rounds", &mut self.out)?;
        self.node_rounds.write_as("node_rounds", &mut self.out)?;
        self.votes.write_as("votes", &mut self.out)?;
        writeln!(self.out, "\"votes_left_out\": {},", self.votes_left_out)?;
        list(&mut self.out, "captures", &facts.captures)?;
        list(&mut self.out, "nodes", &facts.nodes)?;
        list(&mut self.out, "sessions", &facts.sessions)?;
        list(&mut self.out, "codes", &facts.codes)?;
        list(&mut self.out, "copies", &facts.copies)?;
        list(&mut self.out, "waste", &facts.waste)?;
        list(&mut self.out, "what_if", &facts.what_if)?;
        list(&mut self.out, "phases", &facts.phases)?;
        list(&mut self.out, "delays", &facts.delays)?;
        list(&mut self.out, "participation", &facts.participation)?;
        list(&mut self.out, "links", &facts.links)?;
        list(&mut self.out, "peers", &facts.peers)?;
        list(&mut self.out, "dials", &facts.dials)?;
        list(&mut self.out, "census", &facts.census)?;
        list(&mut self.out, "scores", &facts.scores)?;
        list(&mut self.out, "events", &facts.events)?;
        self.out.write_all(b"\"totals\": ")?;
        serde_json::to_writer(&mut self.out, &facts.totals)?;
        self.out.write_all(b"\n}\n")?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// A list that grows in a temporary file.
struct Waiting {
    file: BufWriter<File>,
    written: u64,
}

impl Waiting {
    fn new() -> io::Result<Self> {
        Ok(Self {
            file: BufWriter::new(tempfile::tempfile()?),
            written: 0,
        })
    }

    fn push(&mut self, value: &impl Serialize) -> io::Result<()> {
        item(&mut self.file, &mut self.written, value)
    }

    fn write_as(self, name: &str, out: &mut impl Write) -> io::Result<()> {
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        write!(out, "\"{name}\": [")?;
        io::copy(&mut file, out)?;
        out.write_all(b"\n],\n")
    }
}

/// One row a line, so that the file can be read and compared by eye.
fn item(out: &mut impl Write, written: &mut u64, value: &impl Serialize) -> io::Result<()> {
    out.write_all(if *written == 0 { b"\n" } else { b",\n" })?;
    *written += 1;
    Ok(serde_json::to_writer(out, value)?)
}

fn list(out: &mut impl Write, name: &str, values: &[impl Serialize]) -> io::Result<()> {
    write!(out, "\"{name}\": [")?;
    let mut written = 0;
    for value in values {
        item(out, &mut written, value)?;
    }
    out.write_all(b"\n],\n")
}

#[cfg(test)]
mod tests {
    use bftap_analysis::facts::HeightFacts;
    use serde_json::Value;

    use super::*;
    use crate::golden;
    use crate::report::sample;

    fn report(heights: &[HeightFacts], facts: &RunFacts) -> String {
        report_with(heights, facts, false)
    }

    fn report_with(heights: &[HeightFacts], facts: &RunFacts, all_votes: bool) -> String {
        let mut report = JsonReport::begin(Vec::new(), None, all_votes).unwrap();
        heights.iter().for_each(|height| report.height(height).unwrap());
        String::from_utf8(report.finish(facts).unwrap()).unwrap()
    }

    /// CONTRACT, "JSON report": lists and their keys.
    #[test]
    fn lists_have_the_keys_of_the_contract() {
        let mut facts = sample::hostile_run();
        facts.sessions.truncate(1);
        let value: Value = serde_json::from_str(&report(&sample::heights(), &facts)).unwrap();
        assert!(value["version"].is_string());
        for (list, keys) in [
            ("captures", "path sha256 packets bytes"),
            ("nodes", "name node_id address ips client role coverage"),
            (
                "sessions",
                "initiator recipient state attached mac frames_from_initiator frames_from_recipient gaps lost_bytes \
                 incomplete_bytes capabilities chain frames_lost inferred",
            ),
            ("codes", "capability name wire_code frames bytes"),
            (
                "counts",
                "chain receiver_ip receiver sequence round kind messages useful repeats echoes invalid bytes lower_bound",
            ),
            ("copies", "receiver_ip copies payloads"),
            (
                "rounds",
                "chain sequence round proposer validators quorum preprepare_ns prepared_ns committed_ns messages outcome",
            ),
            (
                "node_rounds",
                "chain sequence round node_ip node preprepare_ns prepared_ns committed_ns roundchange_ns lower_bound",
            ),
            (
                "votes",
                "chain sequence round kind signer digest first_ns first_sender reached of not_reached state received",
            ),
            (
                "waste",
                "chain receiver_ip receiver sender kind cause copies bytes",
            ),
            (
                "what_if",
                "chain policy payloads messages bytes not_delivered delay_p50_ns delay_p95_ns",
            ),
            (
                "delays",
                "chain node_ip node payloads exact p50_ns p95_ns p99_ns max_ns",
            ),
            ("phases", "chain phase rounds p50_ns p95_ns p99_ns max_ns"),
            (
                "participation",
                "chain validator address rounds commits late partial missing unknown invalid",
            ),
            (
                "links",
                "sender_ip receiver_ip segments retransmissions rtt_samples rtt_mean_ns skew_ns",
            ),
            (
                "peers",
                "node node_id ips client software version offers disconnects_sent",
            ),
            (
                "dials",
                "initiator_ip recipient_ip dials refused useless first_seen_ns last_seen_ns",
            ),
            ("census", "list value count"),
            ("scores", "node address ip score_milli behaviour_milli"),
            (
                "events",
                "time_ns rule severity signer sender chain sequence round detail suspicious",
            ),
        ] {
            let row = value[list][0]
                .as_object()
                .unwrap_or_else(|| panic!("{list} has no rows"));
            for key in keys.split_whitespace() {
                assert!(row.contains_key(key), "{list}: no {key}");
            }
        }
        let totals = value["totals"].as_object().unwrap();
        for key in "packets bytes tcp_packets sessions refused other_flows frames consensus_messages undecodable gaps \
                    lost_bytes incomplete_bytes frames_lost searched_bytes"
            .split_whitespace()
        {
            assert!(totals[key].is_u64(), "totals: {key}");
        }
        let session = &value["sessions"][0];
        assert_eq!(session["initiator"], "10.0.0.1:40002");
        assert_eq!(session["state"], "decrypted");
        assert_eq!(session["mac"], "verified");
        assert_eq!(value["counts"][0]["kind"], "preprepare");
        assert_eq!(value["rounds"][0]["outcome"], "changed");
        assert!(value["rounds"][0]["prepared_ns"].is_null());
        assert_eq!(value["rounds"][1]["preprepare_ns"], 1_795_251_601_000_000_000u64);
        assert_eq!(value["nodes"][0]["coverage"], "full");
    }

    /// Whatever is written is explained.
    #[test]
    fn every_key_is_documented() {
        const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json-report.md"));
        let value: Value = serde_json::from_str(&report(&sample::heights(), &sample::hostile_run())).unwrap();
        let mut keys: Vec<&String> = Vec::new();
        for (name, list) in value.as_object().unwrap() {
            keys.push(name);
            let row = list.as_array().map_or(list, |rows| &rows[0]);
            keys.extend(row.as_object().into_iter().flat_map(serde_json::Map::keys));
        }
        assert!(keys.len() > 80, "{keys:?}");
        for key in keys {
            assert!(
                PAGE.contains(&format!("`{key}`")),
                "docs/json-report.md does not explain {key}"
            );
        }
    }

    #[test]
    fn a_usual_report() {
        golden::check(
            "json/usual.json",
            &report(&sample::heights()[..2], &sample::run()),
        );
    }

    /// Votes are the longest list: those that there is nothing to say of are counted, and come when they are asked for.
    #[test]
    fn votes_that_reached_everybody_come_when_asked_for() {
        let parsed = |all| -> Value {
            serde_json::from_str(&report_with(&sample::heights(), &sample::run(), all)).unwrap()
        };
        let (few, all) = (parsed(false), parsed(true));
        let rows = |value: &Value| value["votes"].as_array().unwrap().len() as u64;
        assert!(
            few["votes"]
                .as_array()
                .unwrap()
                .iter()
                .all(|vote| vote["state"] != "complete" && vote["state"] != "unknown")
        );
        assert_eq!(all["votes_left_out"], 0);
        assert_eq!(rows(&few) + few["votes_left_out"].as_u64().unwrap(), rows(&all));
        assert!(rows(&few) > 0 && rows(&few) < rows(&all));
    }

    #[test]
    fn hostile_strings_are_quoted() {
        let text = report(&sample::heights(), &sample::hostile_run());
        assert!(
            text.bytes().all(|byte| byte == b'\n' || byte >= 0x20),
            "raw control characters in JSON"
        );
        serde_json::from_str::<Value>(&text).unwrap();
    }

    #[test]
    fn an_empty_run_is_valid_json() {
        let value: Value = serde_json::from_str(&report(&[], &RunFacts::default())).unwrap();
        assert_eq!(value["counts"], Value::Array(Vec::new()));
        assert_eq!(value["rounds"], Value::Array(Vec::new()));
    }

    #[test]
    fn a_full_disk_is_an_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(
            JsonReport::begin(Full, None, false)
                .is_err_and(|error| error.kind() == io::ErrorKind::StorageFull)
        );
    }
}
