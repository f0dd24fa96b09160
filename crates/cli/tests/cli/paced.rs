//! `--pace` and `--metrics` of the binary.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use bftap_store::{Access, StoreUrl, open};

use crate::common::{bftap, network, network_capture, run, run_with_input, scratch};

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

/// A run that nobody writes any more must not look as if it went on, least of all to alert rules.
#[cfg(unix)]
#[test]
fn an_interrupted_run_is_marked_so() {
    let folder = scratch();
    let url = format!("sqlite://{}", folder.path().join("x.db").display());
    let mut child = bftap(folder.path())
        .args([
            "analyze",
            &network_capture(),
            "--pace",
            "0.1",
            "--run",
            "r",
            "--store",
            &url,
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let url: StoreUrl = url.parse().unwrap();
    // As soon as it has written something; the capture takes long enough at that pace.
    let rows = || {
        runtime.block_on(async {
            let Ok(mut store) = open(&url, Access::Read).await else {
                return Vec::new();
            };
            store.runs().await.unwrap_or_default()
        })
    };
    while rows().first().is_none_or(|run| run.batches < 2) {
        assert_eq!(child.try_wait().unwrap(), None, "it plays");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let status = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(!told.contains("error"), "{told}");
    let run = rows().swap_remove(0);
    assert_eq!(
        (run.state.as_str(), run.problem.as_deref()),
        ("failed", Some("interrupted"))
    );
}
