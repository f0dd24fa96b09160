//! `bftap web`: the page over what is stored, until it is told to stop.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use bftap_store::{Access, open};

use crate::args::WebArgs;
use crate::exit::Status;
use crate::page;
use crate::store_url;
use crate::until_told;

/// How often it is looked whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// Runs the command.
pub(crate) fn run(args: &WebArgs) -> anyhow::Result<Status> {
    let url = store_url::resolve(args.which.store.as_deref(), args.which.store_file.as_deref())?;
    let told = until_told::flag().context("cannot watch for Ctrl-C")?;
    if url != bftap_store::StoreUrl::None {
        // A store that is not there, or of another version, is told here and not by an empty page.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start")?;
        runtime.block_on(async { open(&url, Access::Read).await?.close().await })?;
    }
    let server = page::serve(args.listen, &url, &args.access)?;
    while !told.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK);
    }
    drop(server);
    Ok(Status::Complete)
}
