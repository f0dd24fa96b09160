//! Secrets that are missing, wrong or misspelt: users must learn of it from every command.

use std::fs;
use std::path::Path;

use crate::common::{network, network_capture, run, scratch};

/// Lines of the network's key log that hold a session.
fn sessions() -> Vec<String> {
    let keylog = fs::read_to_string(network().join("net.keylog")).unwrap();
    keylog
        .lines()
        .filter(|line| line.starts_with("RLPX "))
        .map(str::to_owned)
        .collect()
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// Where only JSON is printed, or the report goes to a file, standard error is all a user sees.
#[test]
fn what_was_not_opened_is_told_on_standard_error_too() {
    let folder = scratch();
    let capture = network_capture();
    for output in ["--json -", ""] {
        let ran = run(folder.path(), &format!("analyze {capture} --store none {output}"));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        for part in [
            "bftap: warning: No session could be decrypted: no secrets were given.",
            "docs/exporting-secrets.md",
            "--keylog",
        ] {
            assert!(
                ran.stderr.contains(part),
                "{output}: no `{part}` in {}",
                ran.stderr
            );
        }
    }
    let stranger = sessions()[0].replace(char::is_numeric, "a");
    write_private(&folder.path().join("wrong.keylog"), &format!("{stranger}\n"));
    let ran = run(
        folder.path(),
        &format!("analyze {capture} --store none --json - --keylog wrong.keylog"),
    );
    assert!(
        ran.stderr.contains("the only secret that is known opens none"),
        "{}",
        ran.stderr
    );
    write_private(&folder.path().join("one.keylog"), &format!("{}\n", sessions()[0]));
    let ran = run(
        folder.path(),
        &format!("analyze {capture} --store none --json - --keylog one.keylog"),
    );
    assert!(
        ran.stderr
            .contains("sessions have no secret; their messages are missing from all counts"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_folder_without_secrets_is_named_by_every_command() {
    let folder = scratch();
    fs::create_dir(folder.path().join("keys")).unwrap();
    let capture = network_capture();
    for line in [
        format!("analyze {capture} --store none --keylog keys"),
        format!("messages {capture} --keylog keys"),
        "keys check keys".to_owned(),
    ] {
        let ran = run(folder.path(), &line);
        assert_eq!(ran.code, 0, "{line}: {}", ran.stderr);
        assert!(
            ran.stderr
                .contains("no session secret in keys: the folder is empty. Looked for"),
            "{line}: {}",
            ran.stderr
        );
        assert!(
            !ran.stdout.contains("no secrets were given"),
            "{line}: {}",
            ran.stdout
        );
        if line.starts_with("analyze") {
            assert!(
                ran.stdout
                    .contains("there is no secret in the key sources that were"),
                "{}",
                ran.stdout
            );
        }
    }
}

#[test]
fn misspelt_labels_are_named_by_every_command() {
    let folder = scratch();
    let lines = sessions();
    let text = format!("{}\nCLIENT_RANDOM aa bb\nRLXP{}\n", lines[0], &lines[1][4..]);
    write_private(&folder.path().join("a.keylog"), &text);
    write_private(
        &folder.path().join("all.keylog"),
        &format!("rlpx{}\n", &lines[0][4..]),
    );
    let capture = network_capture();
    for line in [
        format!("analyze {capture} --store none --json - --keylog"),
        format!("messages {capture} --json --kind roundchange --keylog"),
        "keys check".to_owned(),
    ] {
        let ran = run(folder.path(), &format!("{line} a.keylog"));
        assert_eq!(ran.code, 0, "{line}: {}", ran.stderr);
        assert!(
            ran.stderr
                .contains("warning: a.keylog: line 3: unknown label RLXP: is RLPX meant?"),
            "{line}: {}",
            ran.stderr
        );
        assert!(
            ran.stderr
                .contains("note: a.keylog: 1 line is for TLS (CLIENT_RANDOM)"),
            "{line}: {}",
            ran.stderr
        );
        let ran = run(folder.path(), &format!("{line} all.keylog"));
        assert_eq!(ran.code, 0, "{line}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("no session secret in all.keylog")
                && ran
                    .stderr
                    .contains("all.keylog: line 1: unknown label rlpx: is RLPX meant?"),
            "{line}: {}",
            ran.stderr
        );
    }
}

/// Opened, without a secret, and with a wrong one are different things to do something about.
#[test]
fn findings_of_keys_check_are_kept_apart_and_say_what_opened_a_session() {
    let folder = scratch();
    let lines = sessions();
    // The session's own line, but with another AES secret.
    let mut fields: Vec<_> = lines[0].split(' ').map(str::to_owned).collect();
    fields[2] = "a5".repeat(32);
    write_private(
        &folder.path().join("wrong.keylog"),
        &format!("{}\n", fields.join(" ")),
    );
    write_private(&folder.path().join("right.keylog"), &format!("{}\n", lines[1]));
    // Of a session that both ends logged, the other line must be gone too.
    let distinct: std::collections::BTreeSet<_> =
        lines.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    let without = distinct.len() - 2;
    let ran = run(
        folder.path(),
        &format!(
            "keys check wrong.keylog right.keylog --capture {}",
            network_capture()
        ),
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout.contains(&format!(
            "1 session opened, {without} without a secret, 1 with a secret that does not open it"
        )),
        "{}",
        ran.stdout
    );
    let of = |state: &str| {
        ran.stdout
            .lines()
            .find(|line| line.trim_start().starts_with(state))
            .unwrap_or_else(|| panic!("no {state} in {}", ran.stdout))
    };
    assert!(
        of("decrypted").contains(", opened by right.keylog"),
        "{}",
        ran.stdout
    );
    assert!(!of("failed").contains("opened by"), "{}", ran.stdout);
}

/// A connection that never agreed on keys was not read: the report must not say that everything was.
#[test]
fn connections_without_a_handshake_are_not_called_read() {
    let Some(captures) = crate::common::shared("klaytn-7cn") else {
        return;
    };
    let folder = scratch();
    let captures = captures.display();
    let report = run(
        folder.path(),
        &format!("analyze {captures}/tap1.pcap --keylog {captures}/sessions.keylog --store none"),
    )
    .ok();
    assert!(report.contains("no_handshake"), "{report}");
    assert!(!report.contains("everything in the capture was read"), "{report}");
    assert!(report.contains("ended before keys were agreed"), "{report}");
}
