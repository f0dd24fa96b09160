//! What a node did: a JSON object a line, each with its time and a word for what happened (docs/lab-record.md).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bftap_ibft_decode::{Kind, View};
use bftap_model::{Address, Hash256};
use serde::Serialize;

use crate::clock;

/// The record of a node; without a file it keeps nothing.
#[derive(Debug)]
pub struct Record {
    out: Option<Mutex<BufWriter<File>>>,
}

/// What happened.
#[derive(Debug, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields are described in docs/lab-record.md")]
pub enum Entry<'a> {
    /// The node starts.
    Start {
        node: &'a str,
        address: String,
        client: &'a str,
        chain: String,
        faults: Vec<String>,
    },
    /// A connection is ready.
    Up {
        peer: &'a str,
        channel: u8,
        initiator: bool,
    },
    /// A connection that was ready is no more.
    Down { peer: &'a str, channel: u8, why: String },
    /// A connection came to nothing.
    Failed { peer: &'a str, why: String },
    /// A consensus message was written to the socket.
    Sent {
        peer: &'a str,
        #[serde(flatten)]
        message: MessageEntry,
        /// It signed it itself, or claims to be who signed.
        own: bool,
    },
    /// A consensus message came whole.
    Received {
        peer: &'a str,
        #[serde(flatten)]
        message: MessageEntry,
        copy: Copy,
        valid: bool,
    },
    /// A message of the consensus code that is none.
    Undecodable {
        peer: &'a str,
        bytes: usize,
        why: String,
    },
    /// A block is on the chain.
    Decided {
        sequence: u64,
        round: u64,
        hash: String,
        proposer: String,
        transactions: usize,
        /// From whom: its own consensus, or a peer.
        by: &'static str,
    },
    /// It asks for another round.
    RoundChange { sequence: u64, round: u64 },
    /// A fault begins or ends.
    Fault { fault: String, on: bool },
    /// A fault makes it do something, or leave something undone.
    Deed {
        fault: String,
        #[serde(flatten)]
        view: Option<ViewEntry>,
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        signer: Option<String>,
        peers: Vec<&'a str>,
    },
    /// The node stops.
    Stop { height: u64 },
}

/// What both ends tell of a message.
#[derive(Debug, Serialize)]
pub struct MessageEntry {
    kind: &'static str,
    sequence: u64,
    round: u64,
    payload: String,
    bytes: usize,
}

/// What a deed is about.
#[derive(Debug, Serialize)]
pub struct ViewEntry {
    kind: &'static str,
    sequence: u64,
    round: u64,
}

/// Whether a message was the first copy of its payload at this node.
#[derive(Clone, std::marker::Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Copy {
    /// The first of a payload that others signed.
    First,
    /// A later one of such a payload.
    Repeat,
    /// A payload that the node signed itself.
    Echo,
}

impl ViewEntry {
    pub(crate) const fn new(kind: Kind, view: View) -> Self {
        Self {
            kind: kind.as_str(),
            sequence: view.sequence,
            round: view.round,
        }
    }
}

impl MessageEntry {
    pub(crate) fn new(kind: Kind, view: View, payload: &Hash256, bytes: usize) -> Self {
        Self {
            kind: kind.as_str(),
            sequence: view.sequence,
            round: view.round,
            payload: payload.to_hex(),
            bytes,
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time_ns: u64,
    #[serde(flatten)]
    entry: Entry<'a>,
}

impl Record {
    /// Writes to this file from now on, behind what is there: a node that starts again goes on with its record.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(|path| File::options().create(true).append(true).open(path));
        let out = file
            .transpose()?
            .map(|file| Mutex::new(BufWriter::with_capacity(BUFFER, file)));
        Ok(Self { out })
    }

    /// Adds a line.
    pub(crate) fn tell(&self, entry: Entry<'_>) {
        let Some(out) = &self.out else { return };
        let line = Line {
            time_ns: clock::now_nanos(),
            entry,
        };
        let Ok(mut text) = serde_json::to_vec(&line) else {
            return;
        };
        text.push(b'\n');
        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = out.write_all(&text) {
            complain(&error);
        }
    }

    /// Whether anything is kept.
    pub(crate) const fn is_kept(&self) -> bool {
        self.out.is_some()
    }

    /// Hands what was told to the system.
    pub(crate) fn flush(&self) {
        if let Some(out) = &self.out
            && let Err(error) = out.lock().unwrap_or_else(PoisonError::into_inner).flush()
        {
            complain(&error);
        }
    }
}

/// An incomplete record is worse than none: whoever compares it must know.
fn complain(error: &io::Error) {
    eprintln!("lab node: the record cannot be written, it is not complete: {error}");
}

pub(crate) fn address(address: Address) -> String {
    address.to_string()
}

const BUFFER: usize = 1 << 16;
