//! `bftap keys init`: certificates for shippers and receivers.

use std::io::{self, Write as _};

use anyhow::Context as _;
use bftap_keyship::certs::{Authority, CA_CERT, CA_KEY, CERT, Holder, KEY, Validity};

use crate::args::KeysInitArgs;
use crate::clock;
use crate::exit::{Status, Usage};
use crate::term::{safe, safe_display};

/// Runs the command.
pub(crate) fn run(args: &KeysInitArgs) -> anyhow::Result<Status> {
    let mut holders = Vec::new();
    if !args.receiver.is_empty() {
        holders.push(Holder::Receiver(args.receiver.clone()));
    }
    for name in &args.shipper {
        if !bftap_keyship::certs::is_shipper_name(name) {
            // Before anything is made.
            return Err(Usage(bftap_keyship::certs::CertError::ShipperName(name.clone()).to_string()).into());
        }
        holders.push(Holder::Shipper(name.to_ascii_lowercase()));
    }
    let now = u64::try_from(clock::time_of_day().nanos()).unwrap_or(0) / 1_000_000_000;
    let (authority, made) = Authority::open(&args.dir, now)?;
    let mut out = io::stdout().lock();
    let dir = safe_display(args.dir.display());
    if made {
        writeln!(
            out,
            "{dir}/{CA_CERT}, {CA_KEY}: a new authority. The key stays here: whoever has it can make certificates."
        )
        .context("cannot write")?;
    } else {
        writeln!(out, "{dir}/{CA_CERT}: the authority that was there").context("cannot write")?;
    }
    let validity = Validity::days(now, args.days);
    for holder in &holders {
        let folder = authority.issue(holder, validity, args.force)?;
        let folder = safe_display(folder.display());
        let text = match holder {
            Holder::Receiver(names) => format!(
                "{folder}/{CERT}, {KEY}, {CA_CERT}: for the analyzer's host, known as {}\n  \
                 bftap keys receive --listen 0.0.0.0:9465 --dir {folder} --out keylogs",
                safe(&names.join(", "))
            ),
            Holder::Shipper(name) => format!(
                "{folder}/{CERT}, {KEY}, {CA_CERT}: for the node whose lines are kept as {name}\n  \
                 bftap keys ship --to HOST:9465 --dir {folder} KEYLOG"
            ),
        };
        writeln!(out, "{text}").context("cannot write")?;
    }
    writeln!(
        out,
        "Copy each folder to its machine by a way that nobody listens to, and delete it here. They hold for {} days.",
        args.days
    )
    .context("cannot write")?;
    Ok(Status::Complete)
}
