//! `--metrics`: how the program does, and how consensus does, for Prometheus. Names are documented in `docs/metrics.md`.
//!
//! Labels are bounded, whatever peers say: beyond a number of receivers, chains and limits the rest is one label, `other`.

mod server;
mod sheet;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bftap_analysis::Update;
#[cfg(target_os = "linux")]
use bftap_capture::source::live::LiveWatch;
use bftap_pipeline::Progress;
use bftap_store::WriterStatus;

use sheet::Sheet;
pub(crate) use sheet::resident_bytes;

/// Metrics that are served until this is dropped.
#[derive(Debug)]
pub(crate) struct Metrics {
    sheet: Arc<Mutex<Sheet>>,
    _server: server::Server,
}

impl Metrics {
    /// Begins to serve.
    ///
    /// # Errors
    /// The address is in use, or not one of this machine.
    pub(crate) fn serve(address: SocketAddr, progress: Arc<Progress>) -> anyhow::Result<Self> {
        let sheet = Arc::new(Mutex::new(Sheet::new(progress)));
        let shown = Arc::clone(&sheet);
        let render = move || shown.lock().unwrap_or_else(PoisonError::into_inner).render();
        let server = server::Server::start(address, Arc::new(render))
            .with_context(|| format!("cannot serve metrics at {address}; choose another --metrics ADDR"))?;
        Ok(Self {
            sheet,
            _server: server,
        })
    }

    /// Shows how writing goes, too.
    pub(crate) fn watch_store(&self, status: Arc<WriterStatus>) {
        self.sheet().watch_store(status);
    }

    /// Shows what is known of interfaces, too.
    #[cfg(target_os = "linux")]
    pub(crate) fn watch_interfaces(&self, interfaces: LiveWatch) {
        self.sheet()
            .watch_interfaces(Box::new(move || (interfaces.inputs(), interfaces.late())));
    }

    /// Takes what changed. `lag`: age of the newest packet in it.
    pub(crate) fn update(&self, update: &Update, lag: Duration) {
        self.sheet().update(update, lag);
    }

    fn sheet(&self) -> std::sync::MutexGuard<'_, Sheet> {
        self.sheet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
