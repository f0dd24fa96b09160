//! `bftap simulate`, as users run it: what it refuses, and what it says.

use std::fs;

use crate::common::{run, scratch};

const SMALL: &str = "--nodes 4 --sequences 1 --no-background";
const FILES: [&str; 4] = ["net.pcapng", "net.keylog", "net.nodes.json", "net.truth.json"];

#[test]
fn nothing_is_written_over_unless_asked() {
    for there in FILES {
        let folder = scratch();
        let path = folder.path().join(there);
        fs::write(&path, "of another capture").unwrap();
        let ran = run(folder.path(), &format!("simulate -o net.pcapng {SMALL}"));
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(
            ran.stderr.contains(there) && ran.stderr.contains("--force"),
            "{}",
            ran.stderr
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "of another capture");
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is begun"
        );

        run(folder.path(), &format!("simulate -o net.pcapng {SMALL} --force")).ok();
        for name in FILES {
            let content = fs::read(folder.path().join(name)).unwrap();
            assert!(content.len() > 100, "{name} is new");
        }
        // A second run meets its own files.
        let ran = run(folder.path(), &format!("simulate -o net.pcapng {SMALL}"));
        assert!(
            FILES.iter().all(|name| ran.stderr.contains(name)),
            "{}",
            ran.stderr
        );
    }
}

#[cfg(unix)]
#[test]
fn a_key_log_that_is_written_over_becomes_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = scratch();
    let path = folder.path().join("net.keylog");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    run(folder.path(), &format!("simulate -o net.pcapng {SMALL} --force")).ok();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn files_of_each_tap_are_guarded_too() {
    let folder = scratch();
    fs::write(folder.path().join("net.cn3.pcapng"), "").unwrap();
    let ran = run(
        folder.path(),
        &format!("simulate -o net.pcapng --per-tap {SMALL}"),
    );
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("net.cn3.pcapng"), "{}", ran.stderr);
}

#[test]
fn two_files_of_one_name_are_refused() {
    let folder = scratch();
    let ran = run(
        folder.path(),
        &format!("simulate -o net.keylog --format pcap --force {SMALL}"),
    );
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("two of the files"), "{}", ran.stderr);
}

#[test]
fn the_ending_decides_on_the_format() {
    let folder = scratch();
    let begin = |name: &str| fs::read(folder.path().join(name)).unwrap()[..4].to_vec();
    let told = run(folder.path(), &format!("simulate -o a.pcap {SMALL}"));
    assert_eq!(begin("a.pcap"), 0xa1b2_c3d4_u32.to_le_bytes());
    assert!(
        told.stderr.contains("note: a pcap file does not say"),
        "{}",
        told.stderr
    );
    told.ok();
    // One tap, one file each: nothing is lost in a pcap.
    for (name, line) in [("b", "--tap 2"), ("c", "--per-tap")] {
        let told = run(folder.path(), &format!("simulate -o {name}.pcap {SMALL} {line}"));
        assert_eq!(told.stderr, "");
        told.ok();
    }
    assert_eq!(begin("c.cn4.pcap"), 0xa1b2_c3d4_u32.to_le_bytes());
    run(folder.path(), &format!("simulate -o d.pcapng {SMALL}")).ok();
    assert_eq!(begin("d.pcapng"), [0x0a, 0x0d, 0x0d, 0x0a]);
    for (line, says) in [
        ("-o e.pcap.gz", "does not compress"),
        ("-o e.cap", "--format"),
        ("-o e.pcap --secrets-in-capture", "cannot hold secrets"),
        ("-o e.pcapng --tap 5", "no node 5: nodes are numbered from 1 to 4"),
        ("-o e.pcapng --tap 0", "no node 0: nodes are numbered from 1 to 4"),
        (
            "-o e.pcapng --fault 9:paused@1s",
            "no node 9: nodes are numbered from 1 to 4",
        ),
    ] {
        let ran = run(folder.path(), &format!("simulate {SMALL} {line}"));
        assert_eq!(ran.code, 2, "{line}");
        assert!(ran.stderr.contains(says), "{line}: {}", ran.stderr);
    }
}

#[test]
fn a_network_that_stands_still_is_told() {
    let folder = scratch();
    let faults = "--fault 2:killed@3500ms --fault 3:killed@3500ms";
    let ran = run(
        folder.path(),
        &format!("simulate -o net.pcapng --nodes 4 --sequences 9 --no-background {faults}"),
    );
    assert!(
        ran.stderr.contains("warning: the network stood still"),
        "{}",
        ran.stderr
    );
    ran.ok();
    let ran = run(folder.path(), &format!("simulate -o well.pcapng {SMALL}"));
    assert_eq!(ran.stderr, "");
}
