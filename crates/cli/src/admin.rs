//! A Unix socket on which a running monitor takes orders for the switch: one JSON object a line, one answer a line.
//!
//! Only the user of the monitor can use it (mode 0600). What can be ordered, and what is refused, is as with `bftap guard`.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use bftap_guard::{Measure, Order};
use bftap_model::Nanos;
use bftap_store::StoreUrl;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::guarding::Guarding;

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    path: PathBuf,
}

/// Connections at a time.
const CONNECTIONS: usize = 8;

/// Longest order.
const MAX_LINE: u64 = 64 << 10;

/// How long a connection may say nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// An order, as it is written.
#[derive(Debug, Deserialize)]
#[serde(tag = "guard", rename_all = "lowercase", deny_unknown_fields)]
enum Request {
    List,
    Block {
        nodes: Vec<String>,
        #[serde(default = "usual_ttl")]
        ttl: u32,
        #[serde(default)]
        packets_per_second: Option<u32>,
        #[serde(default)]
        kilobits_per_second: Option<u32>,
        #[serde(default)]
        silent: Vec<String>,
        #[serde(default)]
        force: bool,
        #[serde(default)]
        dry_run: bool,
    },
    Unblock {
        #[serde(default)]
        nodes: Vec<String>,
        #[serde(default)]
        all: bool,
        #[serde(default)]
        dry_run: bool,
    },
}

fn usual_ttl() -> u32 {
    300
}

impl AdminSocket {
    /// Makes the socket, and answers on threads of its own. With a store, validators that it heard nothing of lately count as
    /// silent, and all of them if its newest packet is older than `store_age`.
    ///
    /// # Errors
    /// It cannot be made, or another program answers there.
    pub(crate) fn start(
        path: &Path,
        guarding: Guarding,
        store: StoreUrl,
        store_age: Nanos,
    ) -> anyhow::Result<Self> {
        let shown = crate::term::safe_display(path.display());
        let listener = bind(path).with_context(|| format!("cannot make the socket {shown}"))?;
        let places = Arc::new(AtomicUsize::new(0));
        let work = Arc::new((guarding, store, store_age));
        thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                for connection in listener.incoming() {
                    let Ok(connection) = connection else {
                        // Out of descriptors: others may come.
                        thread::sleep(Duration::from_millis(50));
                        continue;
                    };
                    if places.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS {
                        places.fetch_sub(1, Ordering::AcqRel);
                        continue;
                    }
                    let (places, work) = (Arc::clone(&places), Arc::clone(&work));
                    let leaving = Arc::clone(&places);
                    let spawned = thread::Builder::new()
                        .name("admin-order".to_owned())
                        .spawn(move || {
                            // Whatever goes wrong with a connection is its peer's affair.
                            let _ = serve(&connection, &work.0, &work.1, work.2);
                            places.fetch_sub(1, Ordering::AcqRel);
                        });
                    if spawned.is_err() {
                        leaving.fetch_sub(1, Ordering::AcqRel);
                    }
                }
            })
            .context("cannot start a thread")?;
        Ok(Self {
            path: path.to_owned(),
        })
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // The program ends; the thread ends with it.
        let _ = fs::remove_file(&self.path);
    }
}

/// A socket that nobody else could have used even for a moment: it gets its name when it has its mode.
fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => match UnixStream::connect(path) {
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another program answers there",
                ));
            }
            // Left behind by one that was killed.
            Err(_) => fs::remove_file(path)?,
        },
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file of this name",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let private = tempfile::Builder::new().prefix(".bftap-").tempdir_in(folder)?;
    fs::set_permissions(private.path(), fs::Permissions::from_mode(0o700))?;
    let made = private.path().join("s");
    let listener = UnixListener::bind(&made)?;
    fs::set_permissions(&made, fs::Permissions::from_mode(0o600))?;
    fs::rename(&made, path)?;
    Ok(listener)
}

fn serve(connection: &UnixStream, guarding: &Guarding, store: &StoreUrl, store_age: Nanos) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(connection);
    let mut writer = connection;
    loop {
        let mut line = Vec::new();
        if io::Read::take(&mut reader, MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let too_long = line.len() as u64 >= MAX_LINE && !line.ends_with(b"\n");
        let answer = if too_long {
            failure("the order is longer than 64 KiB")
        } else {
            answer(&line, guarding, store, store_age)
        };
        let mut text = answer.to_string();
        text.push('\n');
        writer.write_all(text.as_bytes())?;
        if too_long {
            return Ok(());
        }
    }
}

fn answer(line: &[u8], guarding: &Guarding, store: &StoreUrl, store_age: Nanos) -> Value {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => {
            return failure(&format!(
                "not an order: {error}; for example {{\"guard\":\"list\"}}, or {{\"guard\":\"block\",\"nodes\":[\"cn7\"],\"ttl\":300}}"
            ));
        }
    };
    obey(request, guarding, store, store_age).unwrap_or_else(|error| failure(&format!("{error:#}")))
}

fn obey(request: Request, guarding: &Guarding, store: &StoreUrl, store_age: Nanos) -> anyhow::Result<Value> {
    match request {
        Request::List => Ok(json!({ "ok": true, "blocked": guarding.guard().list()? })),
        Request::Block {
            nodes,
            ttl,
            packets_per_second,
            kilobits_per_second,
            silent,
            force,
            dry_run,
        } => {
            let measure = match (packets_per_second, kilobits_per_second) {
                (None, None) => Measure::Drop,
                (Some(rate), None) => Measure::PacketsPerSecond(rate),
                (None, Some(rate)) => Measure::KilobitsPerSecond(rate),
                (Some(_), Some(_)) => anyhow::bail!("a limit is in packets or in kilobits, not both"),
            };
            let mut guarding = guarding.clone();
            guarding.also_silent(&silent)?;
            let mut remarks = Vec::new();
            if *store != StoreUrl::None && measure.starves() {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                match runtime.block_on(guarding.silent_from(store, store_age)) {
                    Ok(remark) => remarks.push(remark),
                    Err(error) if force => remarks.push(format!("who is silent is not known: {error:#}")),
                    Err(error) => {
                        return Err(error.context("who is silent is not known; `force` does it all the same"));
                    }
                }
            }
            let order = Order {
                target: guarding.target(&nodes)?,
                measure,
                ttl,
                force,
                dry_run,
            };
            let outcome = guarding.guard().block(&order)?;
            remarks.extend(outcome.remarks);
            Ok(json!({ "ok": true, "done": outcome.done, "commands": outcome.commands, "remarks": remarks }))
        }
        Request::Unblock { nodes, all, dry_run } => {
            anyhow::ensure!(
                all == nodes.is_empty(),
                "either `nodes` or `\"all\": true` belongs here"
            );
            let target = if all { None } else { Some(guarding.target(&nodes)?) };
            let outcome = guarding.guard().unblock(target.as_ref(), dry_run)?;
            Ok(json!({
                "ok": true, "done": outcome.done, "commands": outcome.commands, "remarks": outcome.remarks
            }))
        }
    }
}

fn failure(text: &str) -> Value {
    json!({ "ok": false, "error": text })
}
