//! `bftap diff`: two stored runs side by side.

use std::io::{self, Write as _};

use anyhow::Context as _;
use bftap_store::{Access, StoreUrl, open};

use crate::args::DiffArgs;
use crate::diff::{self, Measured};
use crate::exit::{Status, Usage};
use crate::store_url;
use crate::term::Style;

/// Runs the command.
pub(crate) fn run(args: &DiffArgs) -> anyhow::Result<Status> {
    let url = store_url::resolve(args.which.store.as_deref(), args.which.store_file.as_deref())?;
    let url_b = match &args.store_b {
        Some(store_b) => store_url::resolve(Some(store_b), None)?,
        None => url.clone(),
    };
    if url == StoreUrl::None || url_b == StoreUrl::None {
        return Err(Usage("there is no store: name one with --store".to_owned()).into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let a = runtime.block_on(measured(&url, &args.run_a))?;
    let b = runtime.block_on(measured(&url_b, &args.run_b))?;
    let comparison = diff::compare(&a, &b);
    let text = if args.json {
        let mut text = serde_json::to_string_pretty(&comparison)?;
        text.push('\n');
        text
    } else {
        diff::text(&comparison, Style::of_stdout())
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write")?;
    Ok(Status::Complete)
}

async fn measured(url: &StoreUrl, name: &str) -> anyhow::Result<Measured> {
    let mut store = open(url, Access::Read).await?;
    let run = store.find_run(Some(name)).await?;
    let measured = diff::measure(store.as_mut(), url.to_string(), &run).await?;
    let now = store.find_run(Some(name)).await?;
    store.close().await?;
    if now != run {
        return Err(anyhow::anyhow!(
            "the run {} was replaced or thinned out while it was read; try again",
            crate::term::safe(name)
        ));
    }
    Ok(measured)
}
