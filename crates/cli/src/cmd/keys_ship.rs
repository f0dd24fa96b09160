//! `bftap keys ship`: sends a node's session secrets to the analyzer's host while they are written.

use anyhow::Context as _;
use bftap_keyship::line::Extent;
use bftap_keyship::receiver::Patience;
use bftap_keyship::shipper::{Shipper, ShipperError, ShipperOptions};

use crate::args::KeysShipArgs;
use crate::exit::{Status, Usage};
use crate::live_keys::{identity, teller};
use crate::report::counted;
use crate::until_told;

/// Runs the command until a signal. [`Status::Incomplete`] when lines are left that were read and not acknowledged.
pub(crate) fn run(args: &KeysShipArgs) -> anyhow::Result<Status> {
    let options = ShipperOptions {
        to: args.to.clone(),
        server_name: args.server_name.clone(),
        identity: identity(&args.identity)?,
        paths: args.paths.clone(),
        state: args.state.clone(),
        extent: if args.with_mac {
            Extent::WithMac
        } else {
            Extent::ReadOnly
        },
        patience: Patience::default(),
    };
    let tell = teller();
    let mut shipper = Shipper::new(options, tell.clone()).map_err(|error| match error {
        ShipperError::Address(_) => anyhow::Error::new(Usage(format!("--to: {error}"))),
        error => error.into(),
    })?;
    let told = until_told::flag().context("cannot watch for signals")?;
    shipper.run(&told);
    let left = shipper.waiting();
    tell(
        bftap_keyship::Weight::Note,
        &format!(
            "{} acknowledged since the start; {} left for the next one",
            counted(shipper.acknowledged(), "line was", "lines were"),
            counted(left as u64, "line is", "lines are"),
        ),
    );
    Ok(if left == 0 {
        Status::Complete
    } else {
        Status::Incomplete
    })
}
