//! `bftap report`: a stored run as a page, and as figures.

use std::fs;
use std::io::{self, Write as _};

use anyhow::Context as _;
use bftap_store::StoreUrl;

use crate::args::ReportArgs;
use crate::exit::{Status, Usage};
use crate::page;
use crate::store_url;
use crate::term::{Level, safe_display, tell};
use crate::whole_file::WholeFile;

/// Runs the command.
pub(crate) fn run(args: &ReportArgs) -> anyhow::Result<Status> {
    let url = store_url::resolve(args.which.store.as_deref(), args.which.store_file.as_deref())?;
    if url == StoreUrl::None {
        return Err(Usage("there is no store: name one with --store".to_owned()).into());
    }
    let mut text = String::new();
    if let Some(path) = &args.html {
        let shown = safe_display(path.display());
        let file = WholeFile::begin(path).with_context(|| format!("cannot write the page {shown}"))?;
        let html = page::of_run(&url, args.run.as_deref())?;
        file.write(html.as_bytes())
            .with_context(|| format!("cannot write the page {shown}"))?;
        text.push_str(&format!("{shown}\n"));
    }
    if let Some(folder) = &args.svg {
        let shown = safe_display(folder.display());
        let figures = page::figures_of_run(&url, args.run.as_deref())?;
        if figures.is_empty() {
            // An empty folder would look like a success.
            tell(
                Level::Warning,
                "the run has nothing that a figure could show: no consensus message was read (bftap analyze says why)",
            );
            return finish(&text, Status::Incomplete);
        }
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {shown}"))?;
        for figure in figures {
            let path = folder.join(format!("{}.svg", figure.name));
            let shown = safe_display(path.display());
            let written = WholeFile::begin(&path).and_then(|file| file.write(figure.svg.as_bytes()));
            written.with_context(|| format!("cannot write the figure {shown}"))?;
            text.push_str(&format!("{shown}\n"));
        }
    }
    finish(&text, Status::Complete)
}

fn finish(text: &str, status: Status) -> anyhow::Result<Status> {
    io::stdout().write_all(text.as_bytes()).context("cannot write")?;
    Ok(status)
}
