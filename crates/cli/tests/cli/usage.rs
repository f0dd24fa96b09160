//! What users give that makes no sense, or less than they think; and what is said of it.

use std::fs;
use std::path::Path;

use crate::common::{bftap, network, network_capture, network_options, run, run_with_input, scratch};
use serde_json::Value;

#[test]
fn all_problems_begin_alike() {
    let folder = scratch();
    for (line, part) in [
        ("analyze a.pcap --jobs 0", "at least one worker is needed"),
        (
            "analyze a.pcap --jobs x",
            "a whole number of workers belongs here",
        ),
        (
            "analyze a.pcap --store none --store-file f",
            "cannot be used with",
        ),
        ("analyze a.pcap --frobnicate", "unexpected argument"),
        ("analyze", "required arguments were not provided"),
        (
            "analyze a.pcap --keylog missing",
            "cannot read the session secrets",
        ),
    ] {
        let ran = run(folder.path(), line);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{line}");
        assert!(ran.stderr.starts_with("bftap: error: "), "{line}: {}", ran.stderr);
        assert!(ran.stderr.contains(part), "{line}: no `{part}` in {}", ran.stderr);
        assert!(
            !ran.stderr.contains("--store <URL> <CAPTURE>"),
            "{line}: {}",
            ran.stderr
        );
    }
    assert!(run(folder.path(), "--help").ok().starts_with("Watches"));
}

#[test]
fn standard_input_can_be_named_once() {
    let folder = scratch();
    for line in [
        "analyze - - --store none",
        "messages - -",
        "keys check k --capture - -",
    ] {
        fs::write(folder.path().join("k"), "").unwrap();
        let ran = run_with_input(folder.path(), line, b"");
        assert_eq!(
            (ran.code, ran.stderr.contains("more than once")),
            (2, true),
            "{line}: {}",
            ran.stderr
        );
    }
}

#[test]
fn errors_name_the_report_and_not_its_temporary_file() {
    let folder = scratch();
    let ran = run(
        folder.path(),
        &format!("analyze {} --store none --json /proc/x.json", network_capture()),
    );
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("cannot write the JSON report /proc/x.json: ") && !ran.stderr.contains(".part"),
        "{}",
        ran.stderr
    );
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_no_half_report_behind() {
    use std::process::{Command, Stdio};
    use std::time::Duration;

    let folder = scratch();
    let mut child = bftap(folder.path())
        .args(["analyze", "-", "--store", "none", "--json", "run.json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It waits for standard input, with its report begun; waiting for its end would close that.
    let _stdin = child.stdin.take();
    let parts = || fs::read_dir(folder.path()).unwrap().count();
    while parts() == 0 {
        assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
    let interrupt = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupt.success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(parts(), 0);
}

/// Names of the complete runs of a store.
fn runs(folder: &Path) -> Vec<String> {
    stored_runs(folder).into_iter().map(|run| run.name).collect()
}

fn stored_runs(folder: &Path) -> Vec<bftap_store::rows::RunRow> {
    use bftap_store::{Access, RunState, StoreUrl, open};
    let url = StoreUrl::Sqlite(folder.join("x.db"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let runs = runtime.block_on(async { open(&url, Access::Read).await.unwrap().runs().await.unwrap() });
    runs.iter()
        .filter(|run| run.state == RunState::Complete.as_str())
        .cloned()
        .collect()
}

/// A part, or a run with a file missing, must not take the place of the whole run.
#[test]
fn what_is_read_in_part_does_not_replace_the_whole_run() {
    let folder = scratch();
    let options = network_options().replace("--store none", "--store sqlite://x.db");
    let line = format!("analyze {} {options}", network_capture());
    run(folder.path(), &line).ok();
    let whole = runs(folder.path());
    let [name] = &whole[..] else { panic!("{whole:?}") };
    let part = run(folder.path(), &format!("{line} --sequence 2..3 --json part.json"));
    assert_eq!((part.code, part.stderr.as_str()), (0, ""));
    assert!(
        part.stdout.contains("counted is only a part: heights 2..3"),
        "{}",
        part.stdout
    );
    run(folder.path(), &format!("{line} --sequence 2..3")).ok();
    run(folder.path(), &format!("{line} --port 32323")).ok();
    let missing = run(folder.path(), &format!("{line} gone.pcap"));
    assert_eq!(missing.code, 1);
    let names = runs(folder.path());
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.contains(name));
    assert_eq!(
        names
            .iter()
            .filter(|other| other.starts_with(&format!("{name}-part-")))
            .count(),
        2,
        "{names:?}"
    );

    let named = run(folder.path(), &format!("{line} --run night --sequence 2..3"));
    assert!(
        named
            .stderr
            .contains("the run night will hold a part only (heights 2..3)"),
        "{}",
        named.stderr
    );
    let json: Value = serde_json::from_slice(&fs::read(folder.path().join("part.json")).unwrap()).unwrap();
    assert_eq!(
        json["selection"],
        serde_json::json!({"from_ns": null, "to_ns": null, "first_sequence": 2, "last_sequence": 3, "ports": []})
    );
    let stored = stored_runs(folder.path());
    let selection = |name: &str| {
        let run = stored.iter().find(|run| run.name == name).unwrap();
        run.selection
            .as_deref()
            .map(|text| serde_json::from_str::<Value>(text).unwrap())
    };
    assert_eq!(selection("night"), Some(json["selection"].clone()));
    assert_eq!(selection(name), None);
}

#[test]
fn a_selection_without_an_end_says_so() {
    let folder = scratch();
    let report = run(
        folder.path(),
        &format!(
            "analyze {} {} --json - --sequence ..3 --port 32324 --port 32323",
            network_capture(),
            network_options()
        ),
    )
    .json();
    assert_eq!(
        report["selection"],
        serde_json::json!({
            "from_ns": null, "to_ns": null, "first_sequence": null, "last_sequence": 3, "ports": [32323, 32324]
        })
    );
}

/// Of a height that a span of time cuts, less is counted than was seen.
#[test]
fn heights_that_a_span_of_time_cuts_are_lower_bounds() {
    let folder = scratch();
    let options = network_options();
    let analyze = |part: &str| {
        run(
            folder.path(),
            &format!("analyze {} {options} --json - {part}", network_capture()),
        )
        .json()
    };
    let whole = analyze("");
    assert_eq!(whole["selection"], Value::Null);
    let counts = |report: &Value, sequence: u64| -> Vec<Value> {
        let rows = report["counts"].as_array().unwrap().iter();
        rows.filter(|row| row["sequence"] == sequence).cloned().collect()
    };
    let text = run(
        folder.path(),
        &format!(
            "messages {} {} --json --sequence 2",
            network_capture(),
            options.replace(" --store none", "")
        ),
    )
    .ok();
    let times: Vec<u64> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["time_ns"]
                .as_u64()
                .unwrap()
        })
        .collect();
    let middle = times[times.len() / 2];
    let seconds = |nanos: u64| format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    for part in [
        format!("--from {}", seconds(middle)),
        format!("--to {}", seconds(middle)),
    ] {
        let report = analyze(&part);
        let cut = counts(&report, 2);
        assert!(!cut.is_empty(), "{part}");
        assert!(
            cut.iter().all(|row| row["lower_bound"] == true),
            "{part}: {cut:?}"
        );
        let untouched = if part.starts_with("--from") { 4 } else { 1 };
        assert_eq!(counts(&report, untouched), counts(&whole, untouched), "{part}");
        assert!(
            counts(&whole, untouched)
                .iter()
                .all(|row| row["lower_bound"] == false),
            "{whole}"
        );
    }
}

#[test]
fn a_file_that_could_not_be_opened_is_called_that() {
    let folder = scratch();
    let ran = run(
        folder.path(),
        &format!(
            "analyze gone.pcap {} {} --json run.json",
            network_capture(),
            network_options()
        ),
    );
    assert_eq!(ran.code, 1);
    assert!(
        ran.stdout
            .contains("✗ gone.pcap could not be opened: No such file"),
        "{}",
        ran.stdout
    );
    let json: Value = serde_json::from_slice(&fs::read(folder.path().join("run.json")).unwrap()).unwrap();
    let row = json["captures"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["path"] == "gone.pcap")
        .unwrap();
    let problem = row["problem"].as_str().unwrap();
    assert!(
        problem.starts_with("could not be opened: No such file"),
        "{problem}"
    );
}

#[test]
fn misspelt_keys_of_the_nodes_file_are_told() {
    let folder = scratch();
    let text = fs::read_to_string(network().join("net.nodes.json")).unwrap();
    fs::write(folder.path().join("n.json"), text.replacen("\"ip\"", "\"Ip\"", 1)).unwrap();
    let ran = run(
        folder.path(),
        &format!("analyze {} --nodes n.json --store none", network_capture()),
    );
    assert!(
        ran.stderr
            .contains("nodes file: entry 1 (cn1): there is no key Ip: is ip meant?"),
        "{}",
        ran.stderr
    );
}
