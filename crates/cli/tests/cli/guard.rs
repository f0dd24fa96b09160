//! `bftap guard` on a switch of the test's own, and what it refuses.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use bftap_testkit::ovs::Switch;
use serde_json::{Value, json};

use crate::common::{Ran, bftap, run};

fn nodes(switch: &Switch) -> String {
    let list: Vec<Value> = (1..=4)
        .flat_map(|node| {
            [
                json!({ "name": format!("cn{node}"), "ip": switch.ip(node) }),
                json!({ "name": format!("cn{node}"), "ip": switch.ip6(node) }),
            ]
        })
        .collect();
    Value::from(list).to_string()
}

#[test]
fn nodes_are_blocked_by_name_listed_and_unblocked() {
    let Some(switch) = Switch::start(4) else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("nodes.json"), nodes(&switch)).unwrap();
    let guard = |line: &str| -> Ran {
        run(
            folder.path(),
            &format!("guard {line} --db {} --nodes nodes.json", switch.db()),
        )
    };
    assert!(guard("list").ok().contains("nothing"));
    let dry = guard("block cn1 --ttl 10min --dry-run");
    assert!(dry.stderr.contains("not authenticated"), "{}", dry.stderr);
    let dry = dry.ok();
    assert!(
        dry.contains("--bundle add-flows unix:")
            && dry.contains("hard_timeout=600,ip,nw_src=10.99.0.1,actions=drop"),
        "{dry}"
    );
    assert!(dry.contains("ipv6,ipv6_dst=fd99::1,actions=drop"), "{dry}");
    assert!(
        guard("list").ok().contains("nothing"),
        "a dry run changes nothing"
    );

    assert!(guard("block cn1").ok().contains("cn1: blocked for 300 s"));
    assert!(!switch.reaches(1, &switch.ip(2)) && !switch.reaches(1, &switch.ip6(2)));
    let list = guard("list --json").json();
    assert_eq!(list[0]["nodes"], json!(["cn1"]), "{list}");
    assert!(list[0]["dropped"].as_u64().unwrap() > 0, "{list}");
    // By another address of it, and by a name that is silent.
    let refused = guard("block 10.99.0.2");
    assert!(
        refused.code == 1 && refused.stderr.contains("cn1 is blocked already"),
        "{}",
        refused.stderr
    );
    let refused = guard("block cn2 cn3 --silent cn4");
    assert!(
        refused.code == 1 && refused.stderr.contains("cn4 is silent"),
        "{}",
        refused.stderr
    );
    let unknown = guard("block cn9");
    assert!(
        unknown.code == 2 && unknown.stderr.contains("no node cn9"),
        "{}",
        unknown.stderr
    );
    let for_ever = guard("block cn2 --ttl 0");
    assert!(
        for_ever.code == 1 && for_ever.stderr.contains("--ttl 0"),
        "{}",
        for_ever.stderr
    );
    assert!(guard("unblock cn1").ok().contains("cn1: unblocked"));
    assert!(guard("list").ok().contains("nothing"));
    // Nobody knows who the validators are.
    let alone = run(
        folder.path(),
        &format!("guard block 10.99.0.1 --db {}", switch.db()),
    );
    assert!(
        alone.code == 1 && alone.stderr.contains("--nodes"),
        "{}",
        alone.stderr
    );
    let gone = run(
        folder.path(),
        &format!("guard list --bridge br7 --db {}", switch.db()),
    );
    assert!(
        gone.code == 1 && gone.stderr.contains("there is no bridge br7"),
        "{}",
        gone.stderr
    );
}

/// What a store says of who is silent, on the way to a dry run.
#[test]
fn validators_that_a_store_did_not_hear_are_silent() {
    let Some(switch) = Switch::start(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // cn4 is killed half a minute in, and stays so.
    run(
        folder,
        "simulate -o net.pcapng --nodes 4 --duration 5min --fault 4:killed@30s..300s --no-background",
    )
    .ok();
    run(
        folder,
        "analyze net.pcapng --keylog net.keylog --nodes net.nodes.json --store sqlite://s.db --json out.json",
    )
    .ok();
    let line = |who: &str| {
        format!(
            "guard block {who} --dry-run --nodes net.nodes.json --db {} --silent-from-store --store sqlite://s.db",
            switch.db()
        )
    };
    // Of another time: nobody is known to be reached.
    for who in ["cn1", "cn4"] {
        let old = run(folder, &line(who));
        assert!(
            old.code == 1
                && old.stderr.contains("who is silent is not known")
                && old.stderr.contains("--store-age"),
            "{}",
            old.stderr
        );
    }
    let forced = run(folder, &format!("{} --force", line("cn1")));
    assert!(
        forced.code == 0 && forced.stderr.contains("who is silent is not known"),
        "{}",
        forced.stderr
    );

    let line = |who: &str| format!("{} --store-age 100000d", line(who));
    let refused = run(folder, &line("cn1"));
    assert!(refused.stderr.contains("silent by run "), "{}", refused.stderr);
    assert!(
        refused.code == 1
            && refused.stderr.contains("cn4 is silent")
            && !refused.stderr.contains("cn2 is silent"),
        "{}",
        refused.stderr
    );
    run(folder, &line("cn4")).ok();
}

#[test]
fn a_running_monitor_takes_orders_from_its_own_user_only() {
    let Some(switch) = Switch::start(4) else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("nodes.json"), nodes(&switch)).unwrap();
    let path = folder.path().join("admin.sock");
    let mut live = bftap(folder.path())
        .args([
            "live",
            "-i",
            "lo",
            "--store",
            "none",
            "--nodes",
            "nodes.json",
            "--admin-socket",
        ])
        .arg(&path)
        .args(["--guard-db", &switch.db()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..600 {
        if path.exists() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let connection = UnixStream::connect(&path).unwrap();
    connection
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut ask = |order: &str| -> Value {
        (&connection).write_all(format!("{order}\n").as_bytes()).unwrap();
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    };
    assert_eq!(ask(r#"{"guard":"list"}"#), json!({ "ok": true, "blocked": [] }));
    let done = ask(r#"{"guard":"block","nodes":["cn1"],"ttl":60}"#);
    assert!(done["ok"] == true && done["done"] == true, "{done}");
    assert!(!switch.reaches(1, &switch.ip(2)));
    let refused = ask(r#"{"guard":"block","nodes":["cn2"]}"#);
    assert!(
        refused["ok"] == false && refused["error"].as_str().unwrap().contains("3 are needed"),
        "{refused}"
    );
    for nonsense in [
        "",
        "{}",
        "[]",
        r#"{"guard":"block","nodes":["cn2"],"for":"ever"}"#,
        r#"{"guard":"unblock"}"#,
    ] {
        assert_eq!(ask(nonsense)["ok"], false, "{nonsense}");
    }
    assert_eq!(ask(r#"{"guard":"unblock","all":true}"#)["done"], true);
    assert!(switch.reaches(1, &switch.ip(2)));
    let pid = live.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .arg(pid)
            .status()
            .unwrap()
            .success()
    );
    live.wait().unwrap();
    assert!(!path.exists(), "it is removed at the end");
}
