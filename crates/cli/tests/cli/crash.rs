//! Programs that are killed while a capture streams into a store: what is there afterwards is exact.
//!
//! `bftap` is killed and run again under the same name; the database servers are killed and started again while bftap goes on. Moments
//! are spread evenly over the whole time; every fifth kill is in the middle of a commit, which a proxy sees pass.

#![allow(
    clippy::disallowed_methods,
    reason = "moments of kills are the machine's time"
)]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bftap_store::rows::{Cell, CountRow, RunRow, TABLES};
use bftap_store::{Access, RunId, StoreUrl, open};
use bftap_testkit::proxy::{CommitProxy, Fate};
use bftap_testkit::servers::{Database, DatabaseServer, Durability};
use tempfile::TempDir;

use crate::common::{bftap, run, scratch};

/// Kills of each program.
const KILLS: u32 = 50;
/// One in so many is inside a commit.
const INSIDE: u32 = 5;
/// Seconds that the capture of [`network`] covers.
const SECONDS: f64 = 12.0;

/// A network of four nodes with a block every quarter of a second.
struct Network {
    folder: TempDir,
    /// What a run that nobody disturbs stores.
    truth: Stored,
}

fn network() -> &'static Network {
    static NETWORK: OnceLock<Network> = OnceLock::new();
    NETWORK.get_or_init(|| {
        let folder = scratch();
        run(
            folder.path(),
            "simulate -o net.pcapng --nodes 4 --duration 12s --block-period 250ms --seed 9",
        )
        .ok();
        let line = "analyze net.pcapng --keylog net.keylog --nodes net.nodes.json --run truth --store sqlite://truth.db";
        run(folder.path(), line).ok();
        let url = format!("sqlite://{}", folder.path().join("truth.db").display());
        let truth = stored(&url, "truth");
        assert!(truth.counts.len() > 100, "{}", truth.counts.len());
        Network { folder, truth }
    })
}

/// What is said of a run whose place another took, and whose rows were not all removed before the kill.
const LEFT: &str = "was removed, and its rows are still to be";

/// What is in a store of one run, but for what tells when and how it was written.
#[derive(Debug, PartialEq)]
struct Stored {
    counts: Vec<CountRow>,
    /// Rows of each table with facts.
    rows: Vec<(&'static str, i64)>,
    totals: [i64; 6],
    copies: Vec<(String, i64, i64)>,
    /// Rows of tables whose rows may change their keys, or are written as a whole.
    story: Vec<(&'static str, Vec<Vec<Cell>>)>,
}

fn stored(url: &str, name: &str) -> Stored {
    let url: StoreUrl = url.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut store = open(&url, Access::Read).await.unwrap();
        let row = store.find_run(Some(name)).await.unwrap();
        let run = RunId(row.run_id);
        let mut counts = store
            .counts(run, 0..=i64::MAX, None, u32::MAX >> 1)
            .await
            .unwrap();
        for count in &mut counts {
            count.run_id = 0;
        }
        let details = store.details(run).await.unwrap();
        let check = store.check().await.unwrap();
        let problems: Vec<_> = check
            .problems
            .iter()
            .filter(|problem| !problem.contains(LEFT))
            .collect();
        assert_eq!(problems, [""; 0]);
        let complete = |run: &RunRow| run.name == name && run.state == "complete";
        let mut named = check.runs.iter().filter(|checked| complete(&checked.run));
        let mut rows = named.next().unwrap().rows.clone();
        assert!(named.next().is_none(), "one complete run of the name");
        // One row for every batch of a run that is written as it is seen.
        rows.retain(|(table, _)| *table != "progress");
        rows.sort_unstable();
        let mut story = Vec::new();
        for table in TABLES.iter().filter(|table| STORY.contains(&table.name)) {
            let mut rows = store.page(table, run, None, u32::MAX >> 1).await.unwrap();
            rows.iter_mut().for_each(|row| row[0] = Cell::Int(None));
            story.push((table.name, rows));
        }
        assert_eq!(story.len(), STORY.len());
        store.close().await.unwrap();
        Stored {
            story,
            counts,
            rows,
            totals: [
                row.packets,
                row.frames,
                row.consensus_messages,
                row.sessions,
                row.gaps,
                row.lost_bytes,
            ],
            copies: details
                .copies
                .into_iter()
                .map(|row| (row.receiver_ip, row.copies, row.payloads))
                .collect(),
        }
    })
}

const STORY: [&str; 13] = [
    "round",
    "node_round",
    "vote",
    "waste",
    "what_if",
    "phase",
    "participation",
    "delivery_delay",
    "peer",
    "peer_disconnect",
    "dial",
    "census",
    "event",
];

/// Whether a run of this name is being written.
fn is_running(url: &str, name: &str) -> bool {
    let url: StoreUrl = url.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let Ok(mut store) = open(&url, Access::Read).await else {
            return false;
        };
        let runs = store.runs().await.unwrap_or_default();
        store.close().await.unwrap();
        runs.iter().any(|run| run.name == name && run.state == "running")
    })
}

/// What every run says of the network.
fn analyze(url: &str, name: &str, pace: Option<f64>) -> Command {
    let folder = network().folder.path();
    let mut command = bftap(folder);
    command
        .args([
            "analyze",
            "net.pcapng",
            "--keylog",
            "net.keylog",
            "--nodes",
            "net.nodes.json",
        ])
        .args(["--run", name])
        // Not on the command line: it has a password.
        .env("BFTAP_STORE", url)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if let Some(pace) = pace {
        command.args(["--pace", &pace.to_string()]);
    }
    command
}

fn finish(child: Child, what: &str) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {text}");
}

/// The URL of a server through a proxy's address, and the server's port.
type Through<'a> = (&'a dyn Fn(&str) -> String, u16);

/// bftap is killed at [`KILLS`] moments, and run again each time.
fn bftap_is_killed(url: &str, proxied: Option<Through<'_>>) {
    const PACE: f64 = 6.0;
    let whole = Duration::from_secs_f64(SECONDS / PACE);
    // Each name has a complete run at any moment: the one before, or the new one.
    for name in 0..3 {
        finish(
            analyze(url, &format!("killed {name}"), None).spawn().unwrap(),
            "first",
        );
    }
    // As fast as possible it is the same number of commits each time.
    let commits = proxied.as_ref().map(|(through, port)| {
        let proxy = CommitProxy::start(([127, 0, 0, 1], *port).into(), |_| Fate::Pass, |_| {}).unwrap();
        let through = through(&proxy.address().to_string());
        finish(analyze(&through, "killed 0", None).spawn().unwrap(), "counted");
        proxy.commits()
    });
    for kill in 0..KILLS {
        let name = format!("killed {}", kill % 3);
        let victim: Arc<Mutex<Option<Child>>> = Arc::default();
        // Of ten kills inside a commit six come while it plays, and the others hit the last commits: the end of the run is one of them, which
        // takes the place of the run before.
        let inside = commits
            .filter(|_| kill % INSIDE == 0)
            .map(|commits| match kill / INSIDE {
                // A busy machine makes fewer updates of it; as many commits there are in any case.
                nth @ 0..6 => (2 + u64::from(nth) % 4, Some(PACE)),
                nth => ((commits + 6 - u64::from(nth)).max(1), None),
            });
        let killed_inside = Arc::new(AtomicU64::new(0));
        let proxy = proxied.as_ref().filter(|_| kill % INSIDE == 0).map(|(_, port)| {
            let which = match inside {
                Some((number, _)) => number,
                None => 0,
            };
            let (victim, killed) = (Arc::clone(&victim), Arc::clone(&killed_inside));
            let behind = move |number| {
                if number == which
                    && let Some(child) = victim.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
                {
                    child.kill().unwrap();
                    killed.store(number, Ordering::Relaxed);
                }
            };
            CommitProxy::start(([127, 0, 0, 1], *port).into(), |_| Fate::Pass, behind).unwrap()
        });
        let used = match (&proxied, &proxy) {
            (Some((through, _)), Some(proxy)) => through(&proxy.address().to_string()),
            _ => url.to_owned(),
        };
        {
            let mut victim = victim.lock().unwrap();
            *victim = Some(
                analyze(&used, &name, inside.map_or(Some(PACE), |(_, pace)| pace))
                    .spawn()
                    .unwrap(),
            );
        }
        if proxy.is_some() {
            let patience = Instant::now() + 4 * whole + Duration::from_secs(20);
            while killed_inside.load(Ordering::Relaxed) == 0 && Instant::now() < patience {
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!(
                killed_inside.load(Ordering::Relaxed) > 0,
                "kill {kill}: the commit was not seen"
            );
        } else {
            // The last moments are those of the end of the run.
            std::thread::sleep(whole.mul_f64((f64::from(kill) + 0.5) / f64::from(KILLS) * 1.1));
            let _ = victim.lock().unwrap().as_mut().unwrap().kill();
        }
        let child = victim.lock().unwrap().take().unwrap();
        child.wait_with_output().unwrap();

        // What was committed is consistent, whatever it is.
        let checked = bftap(network().folder.path())
            .args(["store", "check"])
            .env("BFTAP_STORE", url)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&checked.stderr);
        let fine = checked.status.success() || text.lines().all(|line| line.contains(LEFT));
        assert!(fine, "kill {kill}: {text}");
        assert_eq!(stored(url, &name), network().truth, "kill {kill}");
        finish(
            analyze(url, &name, None).spawn().unwrap(),
            &format!("kill {kill}"),
        );
        if kill % 5 == 4 {
            assert_eq!(stored(url, &name), network().truth, "kill {kill}");
        }
    }
    for name in 0..3 {
        assert_eq!(stored(url, &format!("killed {name}")), network().truth);
    }
}

/// The server is killed at [`KILLS`] moments, and started again each time, while bftap writes.
fn server_is_killed(database: Database) {
    const RUNS: u32 = 5;
    let Some(server) = DatabaseServer::start(database, Durability::Process) else {
        return;
    };
    let name_of_database = server.fresh_database();
    let url = server.user_url(&name_of_database);
    let port = server.port();
    let server = Arc::new(Mutex::new(server));
    let kills = Arc::new(AtomicU64::new(0));
    for number in 0..RUNS {
        let asked = Arc::new(AtomicU64::new(0));
        let behind = {
            let (server, asked, kills) = (Arc::clone(&server), Arc::clone(&asked), Arc::clone(&kills));
            move |_| {
                // Armed by the loop below: the next commit is the one.
                if asked.swap(0, Ordering::Relaxed) == 1 {
                    let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
                    server.kill9();
                    server.restart_same_port();
                    kills.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let proxy = CommitProxy::start(([127, 0, 0, 1], port).into(), |_| Fate::Pass, behind).unwrap();
        let through = url.replace(&format!(":{port}/"), &format!(":{}/", proxy.address().port()));
        assert_ne!(through, url);
        let child = analyze(&through, "storm", Some(1.0)).spawn().unwrap();
        // A server that is not there to begin with is an error that bftap tells, and no storm.
        let begun = (0..3000).any(|_| {
            let begun = is_running(&url, "storm");
            if !begun {
                std::thread::sleep(Duration::from_millis(20));
            }
            begun
        });
        assert!(begun, "run {number} never began");
        let start = Instant::now();
        let each = KILLS / RUNS;
        for kill in 0..each {
            let at = Duration::from_secs_f64(
                SECONDS * (f64::from(kill) + 0.1 + f64::from(number) / f64::from(RUNS)) / f64::from(each),
            );
            std::thread::sleep(at.saturating_sub(start.elapsed()));
            // Early in the run, so that a commit still follows on a machine where every restart takes its time.
            if kill == 1 || kill == 3 {
                asked.store(1, Ordering::Relaxed);
            } else {
                let mut server = server.lock().unwrap();
                server.kill9();
                server.restart_same_port();
                kills.fetch_add(1, Ordering::Relaxed);
            }
        }
        finish(child, &format!("run {number}"));
        assert_eq!(stored(&url, "storm"), network().truth, "run {number}");
    }
    assert_eq!(kills.load(Ordering::Relaxed), u64::from(KILLS));
}

#[test]
fn bftap_is_killed_while_it_writes_sqlite() {
    let folder = scratch();
    let path: PathBuf = folder.path().join("killed.db");
    bftap_is_killed(&format!("sqlite://{}", path.display()), None);
}

fn bftap_is_killed_on(database: Database) {
    let Some(server) = DatabaseServer::shared(database) else {
        return;
    };
    let url = server.user_url(&server.fresh_database());
    let port = server.port();
    let through = |address: &str| url.replace(&format!("127.0.0.1:{port}/"), &format!("{address}/"));
    assert_ne!(through("x"), url, "the port stands in the URL");
    bftap_is_killed(&url, Some((&through, port)));
}

#[test]
fn bftap_is_killed_while_it_writes_mariadb() {
    bftap_is_killed_on(Database::MariaDb);
}

#[test]
fn bftap_is_killed_while_it_writes_postgresql() {
    bftap_is_killed_on(Database::PostgreSql);
}

#[test]
fn mariadb_is_killed_while_bftap_writes() {
    server_is_killed(Database::MariaDb);
}

#[test]
fn postgresql_is_killed_while_bftap_writes() {
    server_is_killed(Database::PostgreSql);
}
