//! `bftap export`: the tables of a stored run as files.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bftap_store::rows::{Cell, RunRow, TABLES, Table};
use bftap_store::{Access, RunId, Store, StoreUrl, open};
use tempfile::NamedTempFile;

use crate::args::ExportArgs;
use crate::exit::{Status, Usage};
use crate::export::{self, Format};
use crate::interrupt::Unfinished;
use crate::report::{bytes, counted};
use crate::store_url;
use crate::term::{safe, safe_display};

/// Rows that are asked for at a time.
const PAGE: u32 = 4096;

/// Runs the command.
pub(crate) fn run(args: &ExportArgs) -> anyhow::Result<Status> {
    let url = store_url::resolve(args.which.store.as_deref(), args.which.store_file.as_deref())?;
    if url == StoreUrl::None {
        return Err(Usage("there is no store: name one with --store".to_owned()).into());
    }
    let tables = tables(&args.table)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(export_run(args, &url, &tables))
}

/// The tables that were asked for, in their usual order; all of them by default.
fn tables(names: &[String]) -> anyhow::Result<Vec<&'static Table>> {
    for name in names {
        if Table::named(name).is_none() {
            let known: Vec<_> = TABLES.iter().map(|table| table.name).collect();
            return Err(Usage(format!(
                "there is no table {}; there are {}",
                safe(name),
                known.join(", ")
            ))
            .into());
        }
    }
    let wanted = |table: &&'static Table| names.is_empty() || names.iter().any(|name| name == table.name);
    Ok(TABLES.iter().filter(wanted).collect())
}

async fn export_run(args: &ExportArgs, url: &StoreUrl, tables: &[&'static Table]) -> anyhow::Result<Status> {
    let mut store = open(url, Access::Read).await?;
    let run = store.find_run(args.run.as_deref()).await?;
    let folder = &args.output;
    let shown = safe_display(folder.display()).to_string();
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {shown}"))?;
    let about = [
        ("bftap.run", run.name.clone()),
        ("bftap.schema", bftap_store::SCHEMA.to_string()),
        ("bftap.written_by", run.program_version.clone()),
    ];
    let mut whole = Vec::new();
    for table in tables {
        let written = one_table(store.as_mut(), &run, table, args.format, &about, folder).await;
        whole.push(written.with_context(|| format!("cannot export {} to {shown}", table.name))?);
    }
    // Nothing was held while pages were read: what was replaced or thinned out meanwhile must not be taken for a whole run.
    let now = store.find_run(Some(&run.name)).await?;
    store.close().await?;
    // A run that is written while it is seen moves on all the time; its rows are then those of the moments at which each page was read.
    if (now.run_id, &now.state, now.thinned_before_ns) != (run.run_id, &run.state, run.thinned_before_ns) {
        return Err(anyhow::anyhow!(
            "the run {} was replaced or thinned out while it was read; nothing is exported, try again",
            safe(&run.name)
        ));
    }
    let mut text = format!("run {} of {}\n", safe(&run.name), safe(&url.to_string()));
    for file in whole {
        text.push_str(&format!(
            "  {}  {}, {}\n",
            safe_display(file.path.display()),
            counted(file.rows, "row", "rows"),
            bytes(file.bytes)
        ));
        file.put_in_place()
            .with_context(|| format!("cannot write into {shown}"))?;
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write")?;
    Ok(Status::Complete)
}

/// A file that is whole, under a temporary name.
struct Whole {
    file: NamedTempFile,
    unfinished: Unfinished,
    path: PathBuf,
    rows: u64,
    bytes: u64,
}

impl Whole {
    fn put_in_place(self) -> io::Result<()> {
        self.file.persist(&self.path).map_err(|error| error.error)?;
        drop(self.unfinished);
        Ok(())
    }
}

async fn one_table(
    store: &mut dyn Store,
    run: &RunRow,
    table: &'static Table,
    format: Format,
    about: &[(&str, String)],
    folder: &Path,
) -> anyhow::Result<Whole> {
    let path = folder.join(format!("{}.{}", table.name, format.suffix()));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bftap-").suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As for any new file, less what the user's mask takes away.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let (file, unfinished) = Unfinished::make(|| builder.tempfile_in(folder))?;
    let mut writer = export::begin(format, table, about, file.as_file())?;
    let mut rows = 0;
    let mut last: Option<Vec<Cell>> = None;
    loop {
        let page = store
            .page(table, RunId(run.run_id), last.as_deref(), PAGE)
            .await?;
        writer.rows(&page)?;
        rows += page.len() as u64;
        match page.into_iter().next_back() {
            Some(row) => last = Some(row),
            None => break,
        }
    }
    writer.finish()?;
    let bytes = file.as_file().metadata()?.len();
    Ok(Whole {
        file,
        unfinished,
        path,
        rows,
        bytes,
    })
}
