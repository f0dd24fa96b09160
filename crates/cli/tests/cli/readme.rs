//! What README.md shows is what users get.

use std::path::Path;

use crate::common::{run, scratch};

#[test]
fn the_printed_report_is_that_of_the_sample() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(top.join("README.md")).unwrap();
    let (_, shown) = readme
        .split_once("```text\nCAPTURE\n")
        .expect("README.md shows a report");
    let (shown, _) = shown.split_once("```").unwrap();
    // Captures are named by their content only where something is kept.
    let folder = scratch();
    let sample = "samples/klaytn-7";
    let report = run(
        &top,
        &format!(
            "analyze {sample}/capture.pcapng --keylog {sample}/sessions.keylog --nodes {sample}/nodes.json --store none \
             --json {}/run.json",
            folder.path().display()
        ),
    )
    .ok();
    for line in shown
        .lines()
        .filter(|line| !line.is_empty() && line.trim() != "…")
    {
        assert!(
            report.lines().any(|printed| printed == line),
            "README.md shows what is not printed: {line}"
        );
    }
}
