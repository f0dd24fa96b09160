//! What README.md and docs/lossy-captures.md show is what users get.

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
    assert_printed(shown, &report, "README.md");
    let (_, first) = readme
        .split_once("```text\nIN SHORT\n")
        .expect("README.md shows how the report begins");
    let (first, _) = first.split_once("```").unwrap();
    assert_printed(first, &report, "README.md");
}

#[test]
fn the_example_of_lossy_captures_is_what_comes_out() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(top.join("docs/lossy-captures.md")).unwrap();
    let sample = std::fs::read(top.join("samples/klaytn-7/capture.pcapng")).unwrap();
    let shown: Vec<&str> = page
        .split("```text\n")
        .skip(1)
        .map(|rest| rest.split_once("```").unwrap().0)
        .collect();
    assert_eq!(shown.len(), 2);
    for (shown, (name, skip, every)) in shown.into_iter().zip([("late", 900, 0), ("thin", 0, 40)]) {
        let command =
            format!("python3 thin.py samples/klaytn-7/capture.pcapng {name}.pcapng {skip} {every}\n");
        assert!(page.contains(&command), "{command}");
        let folder = scratch();
        let file = folder.path().join(format!("{name}.pcapng"));
        std::fs::write(&file, thinned(&sample, skip, every)).unwrap();
        let sample = "samples/klaytn-7";
        let report = run(
            &top,
            &format!(
                "analyze {} --keylog {sample}/sessions.keylog --nodes {sample}/nodes.json --store none",
                file.display()
            ),
        )
        .ok();
        assert_printed(shown, &report, "docs/lossy-captures.md");
    }
}

fn assert_printed(shown: &str, report: &str, page: &str) {
    for line in shown
        .lines()
        .filter(|line| !line.is_empty() && line.trim() != "…")
    {
        assert!(
            report.lines().any(|printed| printed == line),
            "{page} shows what is not printed: {line}"
        );
    }
}

/// What the page's `thin.py` does: without the first `skip` packets, and without every `every`th of the others.
fn thinned(pcapng: &[u8], skip: usize, every: usize) -> Vec<u8> {
    const ENHANCED_PACKET: u32 = 6;
    let (mut kept, mut rest, mut number) = (Vec::new(), pcapng, 0);
    while !rest.is_empty() {
        let field = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let (block, behind) = rest.split_at(field(4) as usize);
        let packet = field(0) == ENHANCED_PACKET;
        number += usize::from(packet);
        if !packet || number > skip && (every == 0 || number % every != 0) {
            kept.extend_from_slice(block);
        }
        rest = behind;
    }
    kept
}
