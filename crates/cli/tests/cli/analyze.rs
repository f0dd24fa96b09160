//! `bftap analyze` as users run it.

use std::fs;
use std::io::Write as _;

use crate::common::{network, network_capture, network_options, rows, run, run_with_input, scratch, shared};
use serde_json::Value;

fn truth() -> Value {
    serde_json::from_slice(&fs::read(network().join("net.truth.json")).unwrap()).unwrap()
}

#[test]
fn counts_are_those_of_the_simulated_nodes() {
    let folder = scratch();
    let report = run(
        folder.path(),
        &format!("analyze {} {} --json -", network_capture(), network_options()),
    )
    .json();
    let keys = [
        "sequence", "round", "kind", "messages", "useful", "repeats", "echoes", "invalid", "bytes",
    ];
    let with_receiver = |key| [&["chain", key][..], &keys].concat();
    assert_eq!(
        rows(&report, "counts", &with_receiver("receiver_ip")),
        rows(&truth(), "counts", &with_receiver("receiver"))
    );
    for key in ["frames", "consensus_messages", "refused", "other_flows"] {
        assert_eq!(report["totals"][key], truth()["totals"][key], "{key}");
    }
    assert!(
        report["rounds"]
            .as_array()
            .unwrap()
            .iter()
            .all(|round| round["outcome"] == "decided")
    );
}

/// DESIGN: the answer does not depend on the number of workers nor on the order of files.
#[test]
fn the_answer_does_not_depend_on_how_it_is_read() {
    let folder = scratch();
    let options = network_options();
    let taps: Vec<_> = (1..=4)
        .map(|tap| {
            network()
                .join(format!("taps.cn{tap}.pcapng"))
                .display()
                .to_string()
        })
        .collect();
    let reversed: Vec<_> = taps.iter().rev().cloned().collect();
    let one = run(
        folder.path(),
        &format!("analyze {} {options} --json - --jobs 1", taps.join(" ")),
    )
    .ok();
    let many = run(
        folder.path(),
        &format!("analyze {} {options} --json - --jobs 5", reversed.join(" ")),
    )
    .ok();
    assert!(one == many, "the reports differ");
}

#[test]
fn packed_files_and_standard_input_are_read_like_plain_files() {
    let folder = scratch();
    let plain = fs::read(network_capture()).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&plain).unwrap();
    fs::write(folder.path().join("net.pcapng.gz"), packed.finish().unwrap()).unwrap();
    let options = network_options();
    let counts = |value: &Value| {
        rows(
            value,
            "counts",
            &["receiver_ip", "sequence", "round", "kind", "messages"],
        )
    };
    let expected = counts(
        &run(
            folder.path(),
            &format!("analyze {} {options} --json -", network_capture()),
        )
        .json(),
    );
    let gz = run(
        folder.path(),
        &format!("analyze net.pcapng.gz {options} --json -"),
    )
    .json();
    assert_eq!(counts(&gz), expected);
    let stdin = run_with_input(folder.path(), &format!("analyze - {options} --json -"), &plain).json();
    assert_eq!(counts(&stdin), expected);
    assert_eq!(stdin["captures"][0]["path"], "-");
    assert_eq!(stdin["captures"][0]["sha256"].as_str().unwrap().len(), 64);
}

#[test]
fn the_report_goes_to_standard_output_and_nothing_else_does() {
    let folder = scratch();
    let ran = run(
        folder.path(),
        &format!("analyze {} {}", network_capture(), network_options()),
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(
        ran.stderr, "",
        "the simulator's key log is private, so there is nothing to say"
    );
    assert!(
        !ran.stdout.contains('\x1b'),
        "no colour where there is no terminal"
    );
    for section in [
        "CAPTURE",
        "NODES",
        "SESSIONS",
        "CONSENSUS MESSAGES",
        "MESSAGES PER ROUND",
        "COPIES",
        "ROUNDS",
        "WARNINGS",
    ] {
        assert!(ran.stdout.contains(section), "no {section} in {}", ran.stdout);
    }
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing is left in the folder with --store none"
    );
}

/// The founding result: 7 Klaytn nodes, ideal 6 Prepare a round, and up to 39 arrive here.
#[test]
fn the_founding_figures_are_in_the_report() {
    let Some(captures) = shared("klaytn-7cn") else {
        return;
    };
    let folder = scratch();
    let captures = captures.display();
    let report = run(
        folder.path(),
        &format!(
            "analyze {captures}/tap1.pcap --keylog {captures}/sessions.keylog --nodes {captures}/nodes.json --store none"
        ),
    )
    .ok();
    let words = |part: &str| -> Vec<String> {
        let line = report
            .lines()
            .find(|line| line.contains(part))
            .unwrap_or_else(|| panic!("no `{part}` in {report}"));
        line.split_whitespace()
            .filter(|word| !word.contains(['█', '░', '│']))
            .map(str::to_owned)
            .collect()
    };
    // Receiver, kind, rounds, mean, median, most, ideal, bound, factor, echoes.
    assert_eq!(
        words("10.0.0.1       prepare"),
        [
            "10.0.0.1", "prepare", "87", "26.3", "30", "39", "6", "42", "4.42×", "124"
        ]
    );
    assert!(report.contains("full coverage  commit"), "{report}");
    for (copies, payloads) in [
        ("1", "140"),
        ("2", "197"),
        ("3", "220"),
        ("4", "180"),
        ("5", "249"),
        ("6", "267"),
    ] {
        let line = format!("{copies:>8}  {payloads:>8}");
        assert!(report.contains(&line), "no `{line}` in {report}");
    }
    for node in 2..=7 {
        assert!(
            report.contains(&format!("cn{node} 10.0.0.{node}  partial")),
            "{report}"
        );
    }
    assert_eq!(words("  all  ")[..2], ["all", "9,471"]);
}

#[test]
fn selections_reach_the_counts() {
    let folder = scratch();
    let line = format!(
        "analyze {} {} --json - --sequence 2..3",
        network_capture(),
        network_options()
    );
    let report = run(folder.path(), &line).json();
    let mut sequences = rows(&report, "counts", &["sequence"]);
    sequences.dedup();
    assert_eq!(sequences, ["2", "3"]);
    let early = format!(
        "analyze {} {} --json - --to 2000-01-01",
        network_capture(),
        network_options()
    );
    assert_eq!(
        run(folder.path(), &early).json()["counts"],
        Value::Array(Vec::new())
    );
    let ports = format!(
        "analyze {} {} --json - --port 1",
        network_capture(),
        network_options()
    );
    assert_eq!(
        run(folder.path(), &ports).json()["sessions"],
        Value::Array(Vec::new())
    );
}

#[test]
fn a_part_without_a_message_says_what_there_is() {
    let folder = scratch();
    let analyze = |options: &str| {
        let line = format!("analyze {} {} {options}", network_capture(), network_options());
        run(folder.path(), &line)
    };
    for (options, part) in [
        ("--sequence 70..80", "heights 70..80"),
        ("--from 2030-01-01", "from 2030-01-01"),
    ] {
        let ran = analyze(options);
        assert_eq!(ran.code, 0);
        let report = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        let told = format!("Nothing lies in the part asked for ({part}");
        assert!(report.contains(&told) && ran.stderr.contains(&told), "{report}");
        assert!(
            report.contains("There are consensus messages of heights 1 to "),
            "{report}"
        );
        assert!(!report.contains("Are the nodes validators"), "{report}");
    }
    let some = analyze("--sequence 2..2 --tapped 10.0.0.1 --tapped 10.9.9.9");
    assert!(!some.stdout.contains("Nothing lies"), "{}", some.stdout);
    let told = "--tapped 10.9.9.9: no session has such an end";
    assert!(some.stderr.contains(told), "{}", some.stderr);
    assert!(!analyze("").stdout.contains("whose turn"));
}

/// The JSON report has the whole truth table when it is asked for, and says of each node how long payloads took to it.
#[test]
fn deliveries_are_told_by_payload_and_by_node() {
    let folder = scratch();
    let line = format!(
        "analyze {} {} --json - --all-votes",
        network_capture(),
        network_options()
    );
    let report = run(folder.path(), &line).json();
    let votes = report["votes"].as_array().unwrap();
    let delays = report["delays"].as_array().unwrap();
    assert_eq!(delays.len(), 4);
    for row in delays {
        let received = || {
            let all = votes.iter().flat_map(|vote| vote["received"].as_array().unwrap());
            all.filter(|received| received["node"] == row["node"])
        };
        assert_eq!(row["payloads"].as_u64().unwrap(), received().count() as u64);
        let exact = received().filter(|received| received["bound"] == "exact");
        let longest = exact
            .clone()
            .map(|received| received["delay_ns"].as_i64().unwrap())
            .max();
        assert_eq!(row["exact"].as_u64().unwrap(), exact.count() as u64);
        assert_eq!(row["max_ns"].as_i64(), longest);
        assert!(
            row["exact"].as_u64() > Some(20) && row["p50_ns"].as_i64() > Some(100_000),
            "{row}"
        );
    }
    for vote in votes {
        for received in vote["received"].as_array().unwrap() {
            assert_ne!(received["node"], vote["signer"]);
        }
    }
}

#[test]
fn checks_can_be_left_out() {
    let folder = scratch();
    let line = format!(
        "analyze {} {} --json - --no-mac --no-signatures",
        network_capture(),
        network_options()
    );
    let report = run(folder.path(), &line).json();
    assert_eq!(
        report["totals"]["consensus_messages"],
        truth()["totals"]["consensus_messages"]
    );
    let macs = rows(&report, "sessions", &["mac"]);
    assert!(macs.iter().all(|mac| mac == "\"skipped\""), "{macs:?}");
}

#[test]
fn a_missing_file_does_not_hide_the_others() {
    let folder = scratch();
    let ran = run(
        folder.path(),
        &format!(
            "analyze nowhere.pcap {} {} --json run.json",
            network_capture(),
            network_options()
        ),
    );
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("cannot open nowhere.pcap: No such file"),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.contains("MESSAGES PER ROUND"), "{}", ran.stdout);
    let report: Value = serde_json::from_slice(&fs::read(folder.path().join("run.json")).unwrap()).unwrap();
    assert_eq!(
        report["totals"]["consensus_messages"],
        truth()["totals"]["consensus_messages"]
    );
    assert!(
        rows(&report, "captures", &["path", "problem"])
            .iter()
            .any(|row| row.contains("nowhere.pcap"))
    );
    let alone = run(folder.path(), "analyze nowhere.pcap --store none");
    assert_eq!((alone.code, alone.stdout.as_str()), (1, ""));
}

#[test]
fn what_is_no_capture_is_named() {
    let folder = scratch();
    fs::write(folder.path().join("notes.pcap"), "just some text\n").unwrap();
    let ran = run(folder.path(), "analyze notes.pcap --store none");
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("notes.pcap: not a capture file"),
        "{}",
        ran.stderr
    );
    fs::write(folder.path().join("empty.pcap"), "").unwrap();
    let ran = run(folder.path(), "analyze empty.pcap --store none");
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("empty"), "{}", ran.stderr);
    fs::create_dir(folder.path().join("folder")).unwrap();
    let ran = run(folder.path(), "analyze folder --store none");
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("directory"), "{}", ran.stderr);
}

#[test]
fn a_file_cut_in_the_middle_is_reported_as_far_as_it_goes() {
    let folder = scratch();
    let whole = fs::read(network_capture()).unwrap();
    fs::write(
        folder.path().join("cut.pcapng"),
        &whole[..whole.len() * 2 / 3 + 1],
    )
    .unwrap();
    let ran = run(
        folder.path(),
        &format!("analyze cut.pcapng {} --json run.json", network_options()),
    );
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("cut.pcapng: the file is cut off"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stdout.contains("✗ cut.pcapng was not read to its end"),
        "{}",
        ran.stdout
    );
    let report: Value = serde_json::from_slice(&fs::read(folder.path().join("run.json")).unwrap()).unwrap();
    let messages = report["totals"]["consensus_messages"].as_u64().unwrap();
    assert!(messages > 0 && messages < truth()["totals"]["consensus_messages"].as_u64().unwrap());
}

#[test]
fn without_secrets_the_report_says_how_to_get_them() {
    let folder = scratch();
    let ran = run(
        folder.path(),
        &format!("analyze {} --store none", network_capture()),
    );
    assert_eq!(ran.code, 0, "the capture was read to its end");
    assert!(
        ran.stdout
            .contains("No session could be decrypted: no secrets were given."),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("docs/exporting-secrets.md"));
}

/// A tap that starts late sees sessions without their handshakes: what is whole in the capture counts all the same.
#[test]
fn sessions_older_than_the_capture_are_read_from_where_it_begins() {
    let folder = scratch();
    run(
        folder.path(),
        "simulate -o late.pcapng --nodes 4 --sequences 4 --capture-from 4s",
    )
    .ok();
    let truth: Value =
        serde_json::from_slice(&fs::read(folder.path().join("late.truth.json")).unwrap()).unwrap();
    let report = run(
        folder.path(),
        "analyze late.pcapng --keylog late.keylog --store none --json -",
    )
    .json();
    assert!(truth["totals"]["consensus_messages"].as_u64().unwrap() > 0);
    let keys = ["sequence", "round", "kind", "messages"];
    assert_eq!(
        rows(&report, "counts", &[&["receiver_ip"][..], &keys].concat()),
        rows(&truth, "counts", &[&["receiver"][..], &keys].concat())
    );
    assert_eq!(report["totals"]["frames"], truth["totals"]["frames"]);
    for session in report["sessions"].as_array().unwrap() {
        assert_eq!(
            (&session["state"], &session["attached"], &session["mac"]),
            (
                &Value::from("decrypted"),
                &Value::from("midstream"),
                &Value::from("unverifiable")
            )
        );
    }
}

/// What is missing is said by session, with what the counts rest on; and that a search had to end.
#[test]
fn a_late_capture_says_how_it_was_read() {
    let folder = scratch();
    run(
        folder.path(),
        "simulate -o late.pcapng --nodes 4 --sequences 4 --capture-from 4s",
    )
    .ok();
    let names = "--nodes late.nodes.json --store none";
    let text = run(
        folder.path(),
        &format!("analyze late.pcapng --keylog late.keylog {names}"),
    )
    .ok();
    for part in [
        "6 sessions were joined in the middle, seen since",
        "klaytn, inferred: ",
        "The counts rest on 100.0 % of the traffic",
        "of key stream were searched",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    assert!(!text.contains("used up"), "{text}");

    // With another network's secrets: the sessions are there all the same, and that the search had to end is told.
    run(
        folder.path(),
        "simulate -o other.pcapng --nodes 4 --sequences 1 --seed 9",
    )
    .ok();
    let blind = run(
        folder.path(),
        &format!("analyze late.pcapng --keylog other.keylog {names} --port 32323 --attach-budget 0"),
    )
    .ok();
    for part in [
        "no_secret         6",
        "The counts rest on 0.0 % of the traffic",
        "--attach-budget (now 0 s)",
    ] {
        assert!(blind.contains(part), "no `{part}` in {blind}");
    }
    let ran = run(
        folder.path(),
        "messages late.pcapng --keylog other.keylog --attach-budget 0",
    );
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    assert!(
        ran.stderr.contains("--attach-budget allows more (now 0 s)"),
        "{}",
        ran.stderr
    );
    let near = run(
        folder.path(),
        "messages late.pcapng --keylog late.keylog --attach-search 0",
    );
    assert_eq!((near.code, near.stdout.as_str()), (0, ""));
    assert!(!near.stderr.contains("used up"), "{}", near.stderr);
    let all = run(folder.path(), "messages late.pcapng --keylog late.keylog").ok();
    assert!(all.lines().count() > 100, "{all}");
}

#[test]
fn keys_check_opens_sessions_in_their_middle() {
    let folder = scratch();
    run(
        folder.path(),
        "simulate -o late.pcapng --nodes 4 --sequences 4 --capture-from 4s",
    )
    .ok();
    let text = run(folder.path(), "keys check late.keylog --capture late.pcapng").ok();
    assert!(text.contains("6 sessions opened"), "{text}");
    assert!(text.contains("opened by late.keylog"), "{text}");
}

#[test]
fn a_store_that_cannot_be_written_is_found_before_reading() {
    let folder = scratch();
    for store in [
        "sqlite://no/such/folder/x.db",
        "sqlite:///proc/x.db",
        "postgres://u:hunter2@h/d",
    ] {
        let ran = run(
            folder.path(),
            &format!("analyze {} --store {store}", network_capture()),
        );
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{store}");
        assert!(ran.stderr.contains("cannot store into"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
    let ran = run(
        folder.path(),
        &format!(
            "analyze {} --store none --json no/such/run.json",
            network_capture()
        ),
    );
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(
        ran.stderr
            .contains("cannot write the JSON report no/such/run.json"),
        "{}",
        ran.stderr
    );
}

#[test]
fn analysing_again_replaces_the_run() {
    use bftap_store::{Access, RunState, StoreUrl, open};
    let folder = scratch();
    let options = network_options().replace("--store none", "--store sqlite://x.db");
    let line = format!("analyze {} {options}", network_capture());
    let first = run(folder.path(), &line).ok();
    assert!(first.contains("in sqlite://x.db"), "{first}");
    run(folder.path(), &line).ok();
    run(folder.path(), &format!("{line} --run other")).ok();
    let url = StoreUrl::Sqlite(folder.path().join("x.db"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let runs = runtime.block_on(async { open(&url, Access::Read).await.unwrap().runs().await.unwrap() });
    let mut names: Vec<_> = runs
        .iter()
        .filter(|run| run.state == RunState::Complete.as_str())
        .map(|run| run.name.clone())
        .collect();
    names.sort();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.contains(&"other".to_owned()));
}

#[test]
fn the_store_may_come_from_the_environment() {
    let folder = scratch();
    let mut command = crate::common::bftap(folder.path());
    command
        .env("BFTAP_STORE", "sqlite://env.db")
        .args(["analyze", &network_capture()]);
    assert!(command.output().unwrap().status.success());
    assert!(folder.path().join("env.db").exists());
    // Without anything it is a file in the current folder.
    assert!(
        crate::common::bftap(folder.path())
            .args(["analyze", &network_capture()])
            .output()
            .unwrap()
            .status
            .success()
    );
    assert!(folder.path().join("bftap.db").exists());
}

#[test]
fn wrong_usage_ends_with_2() {
    let folder = scratch();
    fs::write(folder.path().join("bad.toml"), "[limits]\nreorder = 1\n").unwrap();
    fs::write(folder.path().join("bad.json"), "{}").unwrap();
    fs::write(folder.path().join("notes.txt"), "no secrets\n").unwrap();
    for (options, part) in [
        ("--config bad.toml", "unknown field `reorder`"),
        (
            "--config missing.toml",
            "cannot read the configuration missing.toml",
        ),
        ("--nodes bad.json", "is not a list of nodes"),
        (
            "--keylog missing.keylog",
            "cannot read the session secrets in missing.keylog",
        ),
        ("--keylog notes.txt", "holds no session secrets"),
        ("--store oracle://x", "unknown kind of store"),
        ("--from 2026-01-02 --to 2026-01-01", "--from is later than --to"),
        ("--frobnicate", "unexpected argument"),
    ] {
        let ran = run(folder.path(), &format!("analyze {} {options}", network_capture()));
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (2, ""),
            "{options}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains(part), "{options}: {}", ran.stderr);
    }
}

#[test]
fn hostile_names_come_out_harmless() {
    let folder = scratch();
    let nodes = r#"[{"name": "cn1\u001b[2J\u202e<script>", "ip": "10.0.0.1"}]"#;
    fs::write(folder.path().join("nodes.json"), nodes).unwrap();
    let keylog = network().join("net.keylog").display().to_string();
    let line = format!(
        "analyze {} --keylog {keylog} --nodes nodes.json --store none",
        network_capture()
    );
    let ran = run(folder.path(), &line);
    for text in [&ran.stdout, &ran.stderr] {
        assert!(
            text.chars().all(|c| c == '\n' || bftap_model::is_harmless(c)),
            "{text}"
        );
    }
    assert!(
        ran.stdout.contains("cn1\\u{1b}[2J\\u{202e}<script>"),
        "{}",
        ran.stdout
    );
    let report = run(folder.path(), &format!("{line} --json -")).ok();
    assert!(report.bytes().all(|byte| byte == b'\n' || byte >= 0x20));
}

#[test]
fn a_configured_limit_that_is_reached_is_told() {
    let folder = scratch();
    fs::write(folder.path().join("c.toml"), "[limits]\nlisted_sessions = 2\n").unwrap();
    let ran = run(
        folder.path(),
        &format!(
            "analyze {} {} --config c.toml",
            network_capture(),
            network_options()
        ),
    );
    assert_eq!(ran.code, 0);
    assert!(
        ran.stdout.contains("The limit listed_sessions was reached"),
        "{}",
        ran.stdout
    );
}
