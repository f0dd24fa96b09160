//! The page beside a command: served while it runs, or written as a file at its end.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bftap_store::{Access, Store, StoreUrl, open};
use bftap_web::{Compare, Figure, Options, Problem, Server, Token, figures, page_file};
use zeroize::Zeroizing;

use crate::args::{PageAccessArgs, PageArgs};
use crate::diff;
use crate::exit::Usage;
use crate::term::{Level, safe_display, tell};
use crate::whole_file::WholeFile;

/// Begins to serve the page, and says where.
///
/// # Errors
/// The address is in use, or others could see the page without a token over TLS.
pub(crate) fn serve(
    address: SocketAddr,
    store: &StoreUrl,
    access: &PageAccessArgs,
) -> anyhow::Result<Server> {
    if *store == StoreUrl::None {
        let text = "the page shows what is stored: name a store with --store, for example sqlite://bftap.db";
        return Err(Usage(text.to_owned()).into());
    }
    let token = access.token_file.as_deref().map(token).transpose()?;
    if !address.ip().is_loopback() && token.is_none() {
        return Err(Usage(format!(
            "others could see the page at {address}: that takes --tls-cert, --tls-key and --token-file (docs/page.md)"
        ))
        .into());
    }
    let tls = access.tls_cert.clone().zip(access.tls_key.clone());
    let scheme = if tls.is_some() { "https" } else { "http" };
    let options = Options {
        address,
        store: store.clone(),
        hosts: access.allow_host.clone(),
        access: token.map_or(bftap_web::Access::Loopback, bftap_web::Access::Token),
        tls,
        compare: compare(store),
    };
    let server = Server::start(options).with_context(|| format!("cannot serve the page at {address}"))?;
    let text = format!("the page is at {scheme}://{}/", server.address());
    tell(Level::Note, &text);
    Ok(server)
}

/// Sets two runs of the store side by side, as `bftap diff` does.
fn compare(url: &StoreUrl) -> Compare {
    let shown = url.to_string();
    Arc::new(move |store, a, b| {
        let shown = shown.clone();
        Box::pin(async move {
            let runs = store.runs().await?;
            let mut measured = Vec::new();
            for id in [a, b] {
                let run = runs.iter().find(|run| run.run_id == id);
                let run = run.ok_or_else(|| Problem::Missing(format!("there is no run {id}")))?;
                measured.push(diff::measure(store, shown.clone(), run).await?);
            }
            let compared = diff::compare(&measured[0], &measured[1]);
            serde_json::to_value(&compared).map_err(|error| Problem::Missing(error.to_string()))
        })
    })
}

fn token(path: &Path) -> anyhow::Result<Token> {
    let shown = safe_display(path.display());
    let text = fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| Usage(format!("cannot read --token-file {shown}: {error}")))?;
    let line = Zeroizing::new(text.lines().next().unwrap_or_default().to_owned());
    Token::new(&line).ok_or_else(|| {
        Usage(format!(
            "--token-file {shown}: the token must have 20 characters at least; `openssl rand -hex 32` makes one"
        ))
        .into()
    })
}

/// Where rows go that are only for a page: they are removed with this.
#[derive(Debug)]
pub(crate) struct PageStore {
    /// The store, given or made for this.
    pub(crate) url: StoreUrl,
    folder: Option<tempfile::TempDir>,
    html: Option<WholeFile>,
}

impl PageStore {
    /// Finds whatever cannot be written, and makes a store of its own for a page where none is wanted.
    ///
    /// # Errors
    /// The file cannot be written, or there is no room for the store.
    pub(crate) fn begin(args: &PageArgs, url: &StoreUrl) -> anyhow::Result<Self> {
        let begin = |path: &Path| {
            WholeFile::begin(path)
                .with_context(|| format!("cannot write the page {}", safe_display(path.display())))
        };
        let html = args.html.as_deref().map(begin).transpose()?;
        let (url, folder) = if html.is_some() && *url == StoreUrl::None {
            let folder = tempfile::Builder::new()
                .prefix("bftap-page-")
                .tempdir()
                .context("cannot make a temporary store for the page")?;
            (StoreUrl::Sqlite(folder.path().join("page.db")), Some(folder))
        } else {
            (url.clone(), None)
        };
        Ok(Self { url, folder, html })
    }

    /// Whether the store is the user's, and so to be told of.
    pub(crate) fn is_wanted(&self) -> bool {
        self.folder.is_none()
    }

    /// Writes the page of a run that is stored, if one was asked for.
    ///
    /// # Errors
    /// The run cannot be read, or the page not be written.
    pub(crate) fn finish(&mut self, run: &str) -> anyhow::Result<()> {
        let Some(file) = self.html.take() else {
            return Ok(());
        };
        let page = of_run(&self.url, Some(run))?;
        file.write(page.as_bytes()).context("cannot write the page")
    }

    /// Whether a page was asked for that is not written.
    pub(crate) fn is_open(&self) -> bool {
        self.html.is_some()
    }
}

/// Figures of a stored run.
///
/// # Errors
/// There is no such run, or it cannot be read.
pub(crate) fn figures_of_run(url: &StoreUrl, run: Option<&str>) -> anyhow::Result<Vec<Figure>> {
    read(url, run, async |store, run| figures(store, run).await)
}

/// The page of a stored run.
///
/// # Errors
/// There is no such run, or it cannot be read.
pub(crate) fn of_run(url: &StoreUrl, run: Option<&str>) -> anyhow::Result<String> {
    let page = read(url, run, async |store, run| page_file(store, run).await)?;
    Ok(page.html)
}

/// Reads something of a run, over a connection of its own.
fn read<T>(
    url: &StoreUrl,
    run: Option<&str>,
    what: impl AsyncFnOnce(&mut dyn Store, i64) -> Result<T, Problem>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(async {
        let mut store = open(url, Access::Read).await?;
        let run = store.find_run(run).await?;
        let found = what(store.as_mut(), run.run_id).await?;
        store.close().await?;
        Ok(found)
    })
}
