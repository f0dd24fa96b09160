//! `bftap keys receive`: takes session secrets from shippers, into one key log each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bftap_keyship::Weight;
use bftap_keyship::receiver::{Patience, Receiver, ReceiverOptions};

use crate::args::KeysReceiveArgs;
use crate::exit::Status;
use crate::live_keys::{identity, teller};
use crate::report::counted;
use crate::until_told;

/// Runs the command until a signal.
pub(crate) fn run(args: &KeysReceiveArgs) -> anyhow::Result<Status> {
    let tell = teller();
    let stored = Arc::new(AtomicU64::new(0));
    let on_secret = {
        let stored = Arc::clone(&stored);
        Arc::new(move |_: &str, _| {
            stored.fetch_add(1, Ordering::Relaxed);
        })
    };
    let options = ReceiverOptions {
        listen: args.listen,
        identity: identity(&args.identity)?,
        folder: Some(args.out.clone()),
        patience: Patience::default(),
    };
    let told = until_told::flag().context("cannot watch for signals")?;
    let receiver = Receiver::start(options, on_secret, tell.clone())?;
    let there = stored.load(Ordering::Relaxed);
    tell(
        Weight::Note,
        &format!(
            "listening on {}; {} in {} already",
            receiver.address(),
            counted(there, "line is", "lines are"),
            args.out.display()
        ),
    );
    while !told.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(receiver);
    let stored = stored.load(Ordering::Relaxed) - there;
    tell(
        Weight::Note,
        &format!(
            "{} stored since the start",
            counted(stored, "line was", "lines were")
        ),
    );
    Ok(Status::Complete)
}
