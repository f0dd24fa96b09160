//! `bftap evidence`, from a simulated network with a proposer that proposes two blocks at once to the verdict on another machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::common::{Ran, run, scratch, shared};
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

/// Runs statements on the store, and gives the numbers that the last one selects.
fn query(folder: &Path, sql: &str) -> Vec<i64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(folder.join("x.db"));
        let mut connection = options.connect().await.unwrap();
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    })
}

/// The first view with two proposals of one signer, by what stands on the wire: sequence, round, signer, digests.
fn two_proposals(folder: &Path, capture: &str) -> (u64, u64, String, BTreeSet<String>) {
    let lines = run(
        folder,
        &format!("messages {capture} --keylog net.keylog --nodes net.nodes.json --json --kind preprepare"),
    )
    .ok();
    let mut views: BTreeMap<(u64, u64, String), BTreeSet<String>> = BTreeMap::new();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let key = (
            line["sequence"].as_u64().unwrap(),
            line["round"].as_u64().unwrap(),
            line["signer"].as_str().unwrap().to_owned(),
        );
        views
            .entry(key)
            .or_default()
            .insert(line["digest"].as_str().unwrap().to_owned());
    }
    let ((sequence, round, signer), digests) = views
        .into_iter()
        .find(|((sequence, ..), digests)| *sequence > 1 && digests.len() > 1)
        .expect("the fault shows");
    (sequence, round, signer, digests)
}

/// The number of the event of this rule and view, put there by hand where the analysis raises none.
fn event(folder: &Path, rule: &str, (sequence, round, signer): (u64, u64, &str)) -> i64 {
    let select = format!(
        "SELECT event_number FROM event WHERE rule = '{rule}' AND sequence = {sequence} AND round = {round} \
         AND signer = '{signer}'"
    );
    if let Some(number) = query(folder, &select).first() {
        return *number;
    }
    let insert = format!(
        "INSERT INTO event (run_id, event_number, time_ns, rule, severity, signer, sender, chain_id, sequence, round, detail, suspicious) \
         SELECT run_id, (SELECT count(*) FROM event), 1795000005000000000, '{rule}', 'critical', '{signer}', NULL, 0, {sequence}, {round}, \
         'as the test says', 1 FROM run"
    );
    query(folder, &insert);
    query(folder, &select)[0]
}

fn simulate_and_analyze(folder: &Path, client: &str, more: &str) -> &'static str {
    run(
        folder,
        &format!(
            "simulate -o net.pcapng --nodes 4 --client {client} --sequences 8 --seed 3 --fault 2:equivocation@0s {more}"
        ),
    )
    .ok();
    let capture = if more.contains("per-tap") {
        "net.cn1.pcapng net.cn2.pcapng net.cn3.pcapng net.cn4.pcapng"
    } else {
        "net.pcapng"
    };
    run(
        folder,
        &format!(
            "analyze {capture} --keylog net.keylog --nodes net.nodes.json --store sqlite://x.db --run night"
        ),
    )
    .ok();
    capture
}

fn make(folder: &Path, number: i64, output: &str, more: &str) -> Ran {
    run(
        folder,
        &format!("evidence {number} -o {output} --store sqlite://x.db --keylog net.keylog {more}"),
    )
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for part in ["", "messages", "headers"] {
        for entry in fs::read_dir(folder.join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(path).unwrap());
            }
        }
    }
    files
}

#[test]
fn an_equivocating_proposer_is_proven_to_others() {
    for client in ["klaytn-1.4", "quorum-20.10"] {
        let scratch_folder = scratch();
        let folder = scratch_folder.path();
        let capture = simulate_and_analyze(folder, client, "");
        let (sequence, round, signer, digests) = two_proposals(folder, capture);
        let number = event(folder, "equivocation", (sequence, round, &signer));

        let listed = run(folder, "evidence --store sqlite://x.db").ok();
        let line = listed.lines().find(|line| line.contains("equivocation")).unwrap();
        assert!(
            line.contains(&signer) && line.split_whitespace().rev().take(2).eq(["yes", "yes"]),
            "{listed}"
        );

        let told = make(folder, number, "ev", "").ok();
        assert!(told.contains("The claim is proven"), "{told}");
        let made = files(&folder.join("ev"));
        let manifest: Value = serde_json::from_slice(&made["manifest.json"]).unwrap();
        let accused: Vec<_> = manifest["messages"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|message| message["accused"] == true)
            .collect();
        let shown: BTreeSet<_> = accused
            .iter()
            .map(|message| message["digest"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(shown, digests, "what is on the wire is what is in the bundle");
        assert_eq!(manifest["captures"][0]["of_the_run"], true);
        for message in &accused {
            let places = message["places"].as_array().unwrap();
            assert!(!places.is_empty());
            for place in places {
                let packets = place["packets"].as_array().unwrap();
                assert!(!packets.is_empty(), "{place}");
                assert!(
                    place["from"]["name"].as_str().unwrap().starts_with("cn"),
                    "{place}"
                );
            }
        }

        // Whoever has the secrets finds the messages in the packets.
        let read = run(
            folder,
            "messages ev/packets.pcapng --keylog net.keylog --nodes net.nodes.json --json --kind preprepare",
        )
        .ok();
        for digest in &digests {
            assert!(read.contains(digest.as_str()), "{digest} in {read}");
        }

        // Elsewhere, with nothing but the folder.
        let elsewhere = scratch();
        fs::rename(folder.join("ev"), elsewhere.path().join("ev")).unwrap();
        let told = run(elsewhere.path(), "evidence verify ev").ok();
        assert!(
            told.contains("The claim is proven") && !told.contains("NOT PROVEN"),
            "{told}"
        );
        assert_eq!(told.matches("  proven").count(), 6, "{told}");

        // No secret of any session is in it, in whatever form.
        let keylog = fs::read_to_string(folder.join("net.keylog")).unwrap();
        let secrets: Vec<&str> = keylog
            .lines()
            .filter(|line| line.starts_with("RLPX "))
            .flat_map(|line| line.split(' ').skip(2).take(2))
            .filter(|word| word.len() == 64)
            .collect();
        assert!(secrets.len() >= 6, "{keylog}");
        for (name, bytes) in &made {
            for secret in &secrets {
                let raw = hex::decode(secret).unwrap();
                assert!(!bytes.windows(32).any(|window| window == raw), "{name}");
                assert!(
                    !bytes.windows(64).any(|window| window == secret.as_bytes()),
                    "{name}"
                );
            }
        }

        // The same again, from the same captures somewhere else.
        fs::create_dir(folder.join("moved")).unwrap();
        fs::rename(folder.join("net.pcapng"), folder.join("moved/net.pcapng")).unwrap();
        let ran = make(folder, number, "again", "");
        assert_eq!(ran.code, 1);
        assert!(ran.stderr.contains("--capture"), "{}", ran.stderr);
        make(folder, number, "again", "--capture moved/net.pcapng").ok();
        assert!(
            files(&folder.join("again")) == made,
            "the same input gives the same bytes"
        );
    }
}

/// The packets in a bundle are those of the messages: whoever has the secrets finds them there.
#[test]
fn the_packets_are_numbered_as_in_their_files() {
    let scratch_folder = scratch();
    let folder = scratch_folder.path();
    let capture = simulate_and_analyze(folder, "klaytn-1.4", "--per-tap");
    let (sequence, round, signer, _) = two_proposals(folder, capture);
    let number = event(folder, "equivocation", (sequence, round, &signer));
    make(folder, number, "ev", "").ok();
    let manifest: Value =
        serde_json::from_slice(&fs::read(folder.join("ev/manifest.json")).unwrap()).unwrap();
    let captures: Vec<Vec<Vec<u8>>> = manifest["captures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|capture| packets(&fs::read(folder.join(capture["name"].as_str().unwrap())).unwrap()))
        .collect();
    assert_eq!(captures.len(), 4);
    let bundled: BTreeSet<Vec<u8>> = packets(&fs::read(folder.join("ev/packets.pcapng")).unwrap())
        .into_iter()
        .collect();
    let mut named = BTreeSet::new();
    for message in manifest["messages"].as_array().unwrap() {
        for place in message["places"].as_array().unwrap() {
            let port = |party: &str| {
                let end = place[party]["end"].as_str().unwrap();
                end.rsplit(':').next().unwrap().parse::<u16>().unwrap()
            };
            let of_place = place["packets"].as_array().unwrap();
            // Both ends are tapped.
            assert!(of_place.len() >= 2, "{place}");
            for packet in of_place {
                let index = packet["capture"].as_u64().unwrap() as usize;
                let number = packet["number"].as_u64().unwrap() as usize;
                let bytes = &captures[index][number - 1];
                // Ethernet, IPv4 without options: the ports are behind 34 bytes.
                let ports = [
                    u16::from_be_bytes([bytes[34], bytes[35]]),
                    u16::from_be_bytes([bytes[36], bytes[37]]),
                ];
                assert_eq!(ports, [port("from"), port("to")], "{place}");
                named.insert(bytes.clone());
            }
        }
    }
    assert_eq!(named, bundled);
}

/// The packets of a little-endian pcapng file, in order.
fn packets(file: &[u8]) -> Vec<Vec<u8>> {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let mut packets = Vec::new();
    let mut at = 0;
    while at < file.len() {
        if word(at) == 6 {
            let len = word(at + 20);
            packets.push(file[at + 28..at + 28 + len].to_vec());
        }
        at += word(at + 4);
    }
    packets
}

/// Where the event says which payloads it is about, these are taken, whatever else there is.
#[test]
fn an_event_that_names_its_payloads_gets_them() {
    let scratch_folder = scratch();
    let folder = scratch_folder.path();
    let capture = simulate_and_analyze(folder, "klaytn-1.4", "");
    let lines = run(
        folder,
        &format!("messages {capture} --keylog net.keylog --nodes net.nodes.json --json --kind commit --sequence 2 --signer cn3"),
    )
    .ok();
    let line: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let payload = line["payload"].as_str().unwrap();
    let number = event(folder, "late_commit", (2, 0, "cn3"));
    let missing = format!("0x{}", "ab".repeat(32));
    query(
        folder,
        &format!(
            "UPDATE event SET kind = 'commit', payloads = '[\"{payload}\",\"{missing}\"]' WHERE event_number = {number}"
        ),
    );
    let ran = make(folder, number, "ev", "");
    assert!(ran.stderr.contains(&missing), "{}", ran.stderr);
    ran.ok();
    let manifest: Value =
        serde_json::from_slice(&fs::read(folder.join("ev/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["claim"]["what"], "signed");
    assert_eq!(manifest["missing_payloads"][0], missing);
    let accused: Vec<_> = manifest["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message["accused"] == true)
        .map(|message| message["payload"].as_str().unwrap())
        .collect();
    assert_eq!(accused, [payload]);
    let told = run(folder, "evidence verify ev").ok();
    assert!(
        told.contains("1 message: every signature is of the key of"),
        "{told}"
    );
    let readme = fs::read_to_string(folder.join("ev/README.md")).unwrap();
    assert!(readme.contains("no signature shows"), "{readme}");
}

/// Headers and seals of real nodes bind a signer to their chain by the same rules.
#[test]
fn real_nodes_seal_their_blocks() {
    for (set, height) in [("klaytn-7cn", 20), ("quorum-4", 20)] {
        let Some(captures) = shared(set) else { return };
        let captures = captures.display();
        let scratch_folder = scratch();
        let folder = scratch_folder.path();
        let options = format!("--keylog {captures}/sessions.keylog --nodes {captures}/nodes.json");
        run(
            folder,
            &format!("analyze {captures}/tap1.pcap {options} --store sqlite://x.db --sequence {height}"),
        )
        .ok();
        for kind in ["preprepare", "prepare", "commit"] {
            let lines = run(
                folder,
                &format!("messages {captures}/tap1.pcap {options} --json --kind {kind} --sequence {height} --round 0"),
            )
            .ok();
            let line: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
            let (payload, signer) = (
                line["payload"].as_str().unwrap(),
                line["signer"].as_str().unwrap(),
            );
            let number = event(folder, kind, (height, 0, signer));
            query(
                folder,
                &format!("UPDATE event SET payloads = '[\"{payload}\"]' WHERE event_number = {number}"),
            );
            run(
                folder,
                &format!("evidence {number} -o {kind} --store sqlite://x.db {options}"),
            )
            .ok();
            let told = run(folder, &format!("evidence verify {kind}")).ok();
            assert_eq!(told.matches("  proven").count(), 4, "{set} {kind}: {told}");
        }
    }
}

#[test]
fn a_bundle_that_was_touched_is_refused_and_a_signed_one_says_by_whom() {
    let scratch_folder = scratch();
    let folder = scratch_folder.path();
    let capture = simulate_and_analyze(folder, "klaytn-1.4", "");
    let (sequence, round, signer, _) = two_proposals(folder, capture);
    let number = event(folder, "equivocation", (sequence, round, &signer));
    let told = run(folder, "evidence keygen my.key").ok();
    let public = told.lines().last().unwrap().to_owned();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(folder.join("my.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(
        run(folder, "evidence keygen my.key").code,
        1,
        "a key is not overwritten"
    );
    make(folder, number, "ev", "--sign-key my.key").ok();
    let told = run(folder, &format!("evidence verify ev --public-key {public}")).ok();
    assert!(
        told.contains(&format!("signed by the key that was asked for, {public}")),
        "{told}"
    );
    let told = run(folder, "evidence verify ev").ok();
    assert!(told.contains("must be known from elsewhere"), "{told}");
    run(folder, "evidence keygen other.key").ok();
    let other = run(folder, "evidence keygen third.key").ok();
    let other = other.lines().last().unwrap();
    let ran = run(folder, &format!("evidence verify ev --public-key {other}"));
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("of another key"), "{}", ran.stderr);

    let whole = files(&folder.join("ev"));
    for (name, bytes) in &whole {
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(folder.join("ev").join(name), &flipped).unwrap();
            let ran = run(folder, "evidence verify ev");
            assert_eq!(ran.code, 1, "{name} byte {at}");
            assert!(ran.stdout.contains("nothing in it counts"), "{}", ran.stdout);
            assert!(!ran.stderr.is_empty());
        }
        fs::write(folder.join("ev").join(name), bytes).unwrap();
    }
    run(folder, "evidence verify ev").ok();
    fs::write(folder.join("ev/more"), b"").unwrap();
    let ran = run(folder, "evidence verify ev");
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("more does not belong to the bundle"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_cannot_be_made_is_told() {
    let scratch_folder = scratch();
    let folder = scratch_folder.path();
    let capture = simulate_and_analyze(folder, "klaytn-1.4", "");
    let (sequence, round, signer, _) = two_proposals(folder, capture);
    let number = event(folder, "equivocation", (sequence, round, &signer));
    // An honest node's view.
    let other = if signer == "cn1" { "cn2" } else { "cn1" };
    let honest = event(folder, "equivocation", (1, 0, other));
    let volume = event(folder, "volume", (sequence, round, &signer));
    let listed = run(folder, "evidence --store sqlite://x.db").ok();
    let line = listed.lines().find(|line| line.contains("volume")).unwrap();
    assert!(line.trim_end().ends_with("no"), "{listed}");
    let columns = listed.lines().find(|line| line.contains("blamed")).unwrap();
    assert!(columns.contains("suspicious"), "{listed}");
    // Volume is its sender's, who stands there then.
    query(
        folder,
        "UPDATE event SET signer = NULL, sender = 'cn 4', suspicious = 0 WHERE rule = 'volume'",
    );
    let listed = run(folder, "evidence --store sqlite://x.db").ok();
    let line = listed.lines().find(|line| line.contains("volume")).unwrap();
    assert!(
        line.contains("cn 4") && line.split_whitespace().rev().take(2).eq(["no", "no"]),
        "{listed}"
    );

    let failed = |ran: Ran, code: i32, text: &str| {
        assert_eq!(ran.code, code, "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(text), "no `{text}` in {}", ran.stderr);
        assert!(!folder.join("ev").exists(), "nothing is left");
    };
    failed(make(folder, volume, "ev", ""), 2, "not about signed messages");
    failed(make(folder, 999_999, "ev", ""), 2, "has no event 999999");
    failed(
        make(folder, honest, "ev", ""),
        1,
        "the other one that the event is about is missing",
    );
    failed(
        run(folder, &format!("evidence {number} -o ev --store sqlite://x.db")),
        1,
        "are the secrets of its sessions there?",
    );
    failed(
        make(folder, number, "ev", "--sign-key net.nodes.json"),
        2,
        "not a key",
    );
    failed(run(folder, "evidence verify ev"), 2, "is no folder");
    fs::create_dir(folder.join("full")).unwrap();
    fs::write(folder.join("full/x"), b"").unwrap();
    failed(make(folder, number, "full", ""), 2, "not empty");

    // Another capture than that of the run is read if it is wanted, and the bundle says so.
    let mut changed = fs::read(folder.join("net.pcapng")).unwrap();
    changed.truncate(changed.len() - 16);
    fs::write(folder.join("net.pcapng"), &changed).unwrap();
    failed(make(folder, number, "ev", ""), 1, "has changed since");
    let ran = make(folder, number, "ev", "--capture net.pcapng");
    assert!(
        ran.stderr
            .contains("none of the captures that the run was made from"),
        "{}",
        ran.stderr
    );
    ran.ok();
    let manifest: Value =
        serde_json::from_slice(&fs::read(folder.join("ev/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["captures"][0]["of_the_run"], false);
    run(folder, "evidence verify ev").ok();
}
