//! `--write`: the packets as they came, in the order in which they are analysed, kept in pcapng files.
//!
//! A thread of its own writes. Reading never waits for it: what does not fit into its queue is analysed, not written, and counted.

mod files;

use std::collections::HashSet;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use bftap_capture::packet::Batch;
use bftap_capture::source::{InputStats, PacketSource};
use bftap_decrypt::secrets::SecretId;
use bftap_decrypt::{SecretStore, secret_store::Candidate};
use bftap_model::Hash256;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use zeroize::Zeroizing;

use crate::report::count;
use crate::term::{Level, safe_display, tell};
use files::Files;

pub(crate) use files::Rotation;

/// How writing goes.
#[derive(Debug, Default)]
pub(crate) struct WriteStatus {
    /// Packets written.
    pub(crate) packets: AtomicU64,
    /// Bytes in the files.
    pub(crate) bytes: AtomicU64,
    /// Packets that were analysed and are not in the files.
    pub(crate) left_out: AtomicU64,
    problem: Mutex<Option<String>>,
}

impl WriteStatus {
    /// Why the files are not whole.
    pub(crate) fn problem(&self) -> Option<String> {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = self.left_out.load(Ordering::Relaxed);
        problem.clone().or_else(|| {
            (left_out > 0).then(|| {
                format!(
                    "{} packets are analysed but not written: the disk is too slow",
                    count(left_out)
                )
            })
        })
    }
}

/// Passes packets on, and has them written.
pub(crate) struct Written {
    inner: Box<dyn PacketSource>,
    queue: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    status: Arc<WriteStatus>,
}

/// Packets, and what is known of the interfaces they came from.
struct Order {
    batch: Batch,
    inputs: Vec<InputStats>,
}

/// Batches that may wait; each is about a block of 1 MiB.
const QUEUED: usize = 64;

/// How long what was written may stay in memory.
const FLUSH: Duration = Duration::from_secs(1);

impl Written {
    /// Begins to write; with `secrets`, they go into the files.
    pub(crate) fn begin(
        inner: Box<dyn PacketSource>,
        path: &Path,
        rotation: Rotation,
        snap_length: u32,
        secrets: Option<Arc<SecretStore>>,
    ) -> anyhow::Result<(Self, Arc<WriteStatus>)> {
        let shown = safe_display(path.display());
        let inputs = inner.inputs();
        let names = inputs.iter().map(|input| input.name.clone()).collect();
        let files = Files::begin(path, rotation, names, snap_length, &inputs).with_context(|| {
            format!("cannot write packets to {shown} (a file that is there is not written over; files that rotate get new names)")
        })?;
        let (queue, orders) = bounded(QUEUED);
        let status = Arc::new(WriteStatus::default());
        let keeper = Keeper {
            files,
            secrets,
            generation: None,
            in_file: HashSet::new(),
            status: Arc::clone(&status),
            inputs,
        };
        let thread = std::thread::Builder::new()
            .name("raw packets".to_owned())
            .spawn(move || keeper.run(&orders, &shown))
            .context("cannot start a thread")?;
        let written = Self {
            inner,
            queue: Some(queue),
            thread: Some(thread),
            status: Arc::clone(&status),
        };
        Ok((written, status))
    }

    fn end(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was printed, and the files are not whole.
            if thread.join().is_err() {
                let mut problem = self.status.problem.lock().unwrap_or_else(PoisonError::into_inner);
                problem.get_or_insert_with(|| "the thread that writes packets ended".to_owned());
            }
        }
    }
}

impl PacketSource for Written {
    fn next_batch(&mut self) -> Option<Batch> {
        let batch = self.inner.next_batch()?;
        if let Some(queue) = &self.queue
            && !batch.is_empty()
        {
            let order = Order {
                batch: batch.clone(),
                inputs: self.inner.inputs(),
            };
            if let Err(TrySendError::Full(order) | TrySendError::Disconnected(order)) = queue.try_send(order)
            {
                self.status
                    .left_out
                    .fetch_add(order.batch.records.len() as u64, Ordering::Relaxed);
            }
        }
        Some(batch)
    }

    fn inputs_of_taps(&self) -> Vec<usize> {
        self.inner.inputs_of_taps()
    }

    fn inputs(&self) -> Vec<InputStats> {
        self.inner.inputs()
    }

    fn finish(mut self: Box<Self>) -> Vec<InputStats> {
        self.end();
        self.inner.inputs()
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread that writes.
struct Keeper {
    files: Files,
    secrets: Option<Arc<SecretStore>>,
    /// Of the secrets that are in the file.
    generation: Option<u64>,
    /// Public names of secrets that the file has, and of their sessions.
    in_file: HashSet<(SecretId, Option<Hash256>)>,
    status: Arc<WriteStatus>,
    inputs: Vec<InputStats>,
}

impl Keeper {
    fn run(mut self, orders: &Receiver<Order>, shown: &str) {
        if let Err(error) = self.keep(orders) {
            let text = format!("packets are no longer written to {shown}: {error}");
            tell(Level::Error, &text);
            *self.status.problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
            // What comes from now on is left out and counted where it is sent.
        }
    }

    fn keep(&mut self, orders: &Receiver<Order>) -> io::Result<()> {
        loop {
            match orders.recv_timeout(FLUSH) {
                Ok(order) => self.write(order)?,
                Err(RecvTimeoutError::Timeout) => self.files.flush()?,
                Err(RecvTimeoutError::Disconnected) => {
                    self.write_secrets()?;
                    self.files.finish(&self.inputs)?;
                    self.show();
                    return Ok(());
                }
            }
            self.show();
        }
    }

    fn write(&mut self, order: Order) -> io::Result<()> {
        self.inputs = order.inputs;
        self.write_secrets()?;
        for packet in order.batch.packets() {
            if self.files.is_due(&packet) {
                self.files.next(&self.inputs)?;
                self.generation = None;
                self.in_file.clear();
                self.write_secrets()?;
            }
            self.files.packet(&packet)?;
        }
        self.status
            .packets
            .fetch_add(order.batch.records.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// All secrets into a new file, and later those that came since.
    fn write_secrets(&mut self) -> io::Result<()> {
        let Some(secrets) = &self.secrets else {
            return Ok(());
        };
        let generation = secrets.generation();
        if self.generation == Some(generation) {
            return Ok(());
        }
        self.generation = Some(generation);
        let mut lines = Zeroizing::new(Vec::new());
        for candidate in secrets.all() {
            if !self.in_file.insert((candidate.id(), candidate.session)) {
                continue;
            }
            write_line(&mut lines, &candidate)?;
            if lines.len() >= SECRETS_BLOCK {
                self.files.secrets(&lines)?;
                lines.clear();
            }
        }
        if lines.is_empty() {
            Ok(())
        } else {
            self.files.secrets(&lines)
        }
    }

    fn show(&self) {
        self.status.bytes.store(self.files.bytes(), Ordering::Relaxed);
    }
}

/// Bytes of key log lines in one block.
const SECRETS_BLOCK: usize = 1 << 20;

/// A secret as a line of a key log.
fn write_line(out: &mut Vec<u8>, candidate: &Candidate) -> io::Result<()> {
    let hex = |bytes: &[u8; 32]| Zeroizing::new(hex::encode(bytes));
    let aes = hex(candidate.secrets.aes.expose());
    let session = candidate.session.map(|session| hex::encode(session.0));
    // Grown at once, so that no copy of a secret stays behind where it was.
    out.reserve(512);
    match (&candidate.secrets.mac, session) {
        (Some(mac), Some(session)) => writeln!(
            out,
            "RLPX {session} {} {} {} {}",
            *aes,
            *hex(mac.secret.expose()),
            *hex(&mac.initiator_nonce),
            *hex(&mac.recipient_nonce)
        ),
        (_, Some(session)) => writeln!(out, "RLPX-AES {} session={session}", *aes),
        (_, None) => writeln!(out, "RLPX-AES {}", *aes),
    }
}
