//! `bftap decode`, `keys check`, `simulate` and the help, as users run them.

use std::fs;
use std::path::Path;

use crate::common::{network, network_capture, run, run_with_input, scratch};

/// A commit of a real node, with the answers in its golden file.
fn real_commit() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ibft-decode/tests/data/klaytn/real-commit.hex");
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_message_is_taken_apart() {
    let folder = scratch();
    let hex = real_commit();
    let from_stdin = run_with_input(folder.path(), "decode -", hex.as_bytes()).ok();
    assert!(from_stdin.starts_with("klaytn message"), "{from_stdin}");
    for part in [
        "commit",
        "Sequence",
        "Round",
        "Digest",
        "CommittedSeal",
        "signer",
        "valid",
    ] {
        assert!(from_stdin.contains(part), "no {part} in {from_stdin}");
    }
    let joined: String = hex.split_whitespace().collect();
    let as_argument = run(folder.path(), &format!("decode 0x{joined}")).ok();
    assert_eq!(as_argument, from_stdin);
}

#[test]
fn a_damaged_message_is_shown_as_far_as_it_goes() {
    let folder = scratch();
    let hex: String = real_commit().split_whitespace().collect();
    let ran = run(folder.path(), &format!("decode {}", &hex[..200]));
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    assert!(ran.stdout.contains("does not decode"), "{}", ran.stdout);
    let ran = run(folder.path(), "decode 0102");
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("no consensus message"), "{}", ran.stdout);
    let ran = run(folder.path(), "decode 0xnothex");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("not a hexadecimal digit"), "{}", ran.stderr);
}

#[test]
fn key_sources_are_explained_without_showing_keys() {
    let folder = scratch();
    let keylog = fs::read_to_string(network().join("net.keylog")).unwrap();
    let secret = keylog
        .lines()
        .find(|line| line.starts_with("RLPX "))
        .unwrap()
        .split_whitespace()
        .nth(2)
        .unwrap()
        .to_owned();
    fs::write(
        folder.path().join("a.keylog"),
        format!("{keylog}{keylog}RLPX broken\n"),
    )
    .unwrap();
    let ran = run(
        folder.path(),
        &format!("keys check a.keylog --capture {}", network_capture()),
    );
    assert_eq!(ran.code, 1, "a line could not be read");
    assert!(ran.stdout.contains("known already"), "{}", ran.stdout);
    assert!(ran.stdout.contains("1 damaged line"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("sessions opened, 0 without a secret"),
        "{}",
        ran.stdout
    );
    let line = keylog.lines().count() * 2 + 1;
    assert!(
        ran.stderr.contains(&format!("a.keylog: line {line}: ")),
        "{}",
        ran.stderr
    );
    assert!(!ran.stdout.contains(&secret) && !ran.stderr.contains(&secret));
}

#[test]
fn sessions_that_lack_a_key_are_listed() {
    let folder = scratch();
    let keylog = fs::read_to_string(network().join("net.keylog")).unwrap();
    let session = keylog
        .lines()
        .find(|line| line.starts_with("RLPX "))
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .to_owned();
    let others: String = keylog
        .lines()
        .filter(|line| !line.contains(&session))
        .map(|line| format!("{line}\n"))
        .collect();
    let path = folder.path().join("a.keylog");
    fs::write(&path, others).unwrap();
    let ran = run(
        folder.path(),
        &format!("keys check a.keylog --capture {}", network_capture()),
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("1 without a secret"), "{}", ran.stdout);
    assert!(ran.stdout.contains("no_secret"), "{}", ran.stdout);
}

#[test]
fn the_original_layout_opens_sessions_and_shows_no_key() {
    let Some(captures) = crate::common::shared("klaytn-7cn") else {
        return;
    };
    let folder = scratch();
    let captures = captures.display();
    let ran = run(
        folder.path(),
        &format!("keys check {captures}/legacy-secrets --capture {captures}/tap1.pcap"),
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("26 to be found by trial"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("8 sessions opened, 1 without a secret"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("no_secret    10.0.0.7:58664"),
        "{}",
        ran.stdout
    );
    let longest = ran
        .stdout
        .split(|c: char| !c.is_ascii_hexdigit())
        .map(str::len)
        .max();
    assert!(
        longest < Some(32),
        "something like a key is shown: {}",
        ran.stdout
    );
}

#[test]
fn a_simulation_is_reproducible_and_private() {
    let folder = scratch();
    let line = "--nodes 4 --sequences 2 --seed 3 --format pcap";
    run(folder.path(), &format!("simulate -o a.pcap {line}")).ok();
    run(folder.path(), &format!("simulate -o b.pcap {line}")).ok();
    for extension in ["pcap", "keylog", "nodes.json", "truth.json"] {
        let read = |name: &str| fs::read(folder.path().join(format!("{name}.{extension}"))).unwrap();
        assert!(read("a") == read("b"), "{extension} differs");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(folder.path().join("a.keylog"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0);
    }
    let ran = run(folder.path(), "simulate -o c.pcap --nodes 3");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("between 4 and 100"), "{}", ran.stderr);
    assert!(!folder.path().join("c.pcap").exists());
}

#[test]
fn help_lists_what_works() {
    let folder = scratch();
    let help = run(folder.path(), "--help").ok();
    for command in [
        "analyze", "messages", "decode", "keys", "live", "lab", "guard", "simulate", "store", "export",
        "diff", "report", "web",
    ] {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(command)),
            "{command}: {help}"
        );
    }
    assert!(run(folder.path(), "--version").ok().starts_with("bftap "));
    assert!(
        run(folder.path(), "simulate --help")
            .ok()
            .contains("Times are written with a unit")
    );
    assert_eq!(run(folder.path(), "").code, 2);
}
