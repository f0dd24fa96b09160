//! `--pace` and `--metrics` of the binary.

use std::fs;
use std::net::TcpListener;

use crate::common::{network, network_capture, run, run_with_input, scratch};

#[test]
fn a_capture_that_is_played_ends_as_one_that_is_read() {
    let folder = scratch();
    let line = format!(
        "analyze {} --keylog {} --store",
        network_capture(),
        network().join("net.keylog").display()
    );
    let plain = run(
        folder.path(),
        &format!("{line} sqlite://a.db --run r --json a.json"),
    )
    .ok();
    let played = run(
        folder.path(),
        &format!("{line} sqlite://b.db --run r --json b.json --pace 50 --metrics 127.0.0.1:0"),
    )
    .ok();
    assert_eq!(played, plain.replace("a.db", "b.db"));
    let json = |name: &str| fs::read(folder.path().join(name)).unwrap();
    assert!(json("a.json") == json("b.json"));
}

#[test]
fn standard_input_is_played_too() {
    let folder = scratch();
    let keylog = network().join("net.keylog").display().to_string();
    let capture = fs::read(network_capture()).unwrap();
    let line = format!("analyze - --keylog {keylog} --store none --json - --no-mac");
    let plain = run_with_input(folder.path(), &line, &capture).json();
    let played = run_with_input(folder.path(), &format!("{line} --pace 100"), &capture).json();
    assert_eq!(plain, played);
}

#[test]
fn an_address_in_use_is_told_before_anything_is_read() {
    let folder = scratch();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let ran = run(
        folder.path(),
        &format!("analyze {} --metrics {address}", network_capture()),
    );
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains(&format!("cannot serve metrics at {address}")),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.is_empty() && !folder.path().join("bftap.db").exists());
}

#[test]
fn a_spool_that_cannot_be_is_told_before_anything_is_read() {
    let folder = scratch();
    fs::write(
        folder.path().join("c.toml"),
        "[store]\nspool_folder = \"missing\"\n",
    )
    .unwrap();
    let ran = run(
        folder.path(),
        &format!("analyze {} --config c.toml", network_capture()),
    );
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("the spool in missing"), "{}", ran.stderr);
    assert!(ran.stdout.is_empty());
}
