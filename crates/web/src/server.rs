//! HTTP on a thread of its own, so that nothing that happens here holds up anything else.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use bftap_store::StoreUrl;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

use crate::gate::{Access, Gate};
use crate::pool::{Compare, Pool};
use crate::service::{Page, WATCHERS, router};
use crate::tls;

/// How the page is served.
pub struct Options {
    /// Where it listens.
    pub address: SocketAddr,
    /// The store that it shows.
    pub store: StoreUrl,
    /// How two runs are compared.
    pub compare: Compare,
    /// Names besides those of this machine under which it is reached.
    pub hosts: Vec<String>,
    /// What a request must show. Anything but loopback needs a token.
    pub access: Access,
    /// Certificate and key, PEM: whoever shows a token must do so over TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// A page that is served until this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Connections at a time: those who watch, and room for others. More wait for their turn.
const CONNECTIONS: usize = WATCHERS + 192;

/// Connections that wait for their turn in the kernel.
const BACKLOG: u32 = 4096;

/// How long a head may take, a connection may be idle, and a reader may take nothing.
const PATIENCE: Duration = Duration::from_secs(20);

impl Server {
    /// Binds the address, and begins to serve.
    ///
    /// # Errors
    /// The address is in use or not one of this machine, or the certificate cannot be used, or it would be open to others without a token
    /// over TLS.
    pub fn start(options: Options) -> io::Result<Self> {
        let with_token = matches!(options.access, Access::Token(_));
        let guarded = with_token && options.tls.is_some();
        if !options.address.ip().is_loopback() && !guarded {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "others could read this: an address that is not loopback needs a token and a certificate",
            ));
        }
        let acceptor = options
            .tls
            .as_ref()
            .map(|(certificate, key)| tls::acceptor(certificate, key))
            .transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _entered = runtime.enter();
            let socket = if options.address.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            // A page that is started again finds connections of the one before: they are not in the way.
            socket.set_reuseaddr(true)?;
            socket.bind(options.address)?;
            socket.listen(BACKLOG)?
        };
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let gate = Gate::new(address, &options.hosts, options.access);
        let page = Page::new(
            gate,
            Arc::new(Pool::start(&options.store, &options.compare)?),
            stopped.clone(),
        );
        let router = router(Arc::new(page));
        let thread = std::thread::Builder::new()
            .name("page".to_owned())
            .spawn(move || {
                runtime.block_on(serve(listener, acceptor, router, stopped));
                // Connections end with the runtime, whatever they were doing.
                runtime.shutdown_timeout(Duration::from_secs(1));
            })?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If it ended before, there is nothing to stop.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, or the peer has left: others may come.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let router = router.clone();
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            one(stream, acceptor, router).await;
            drop(place);
        });
    }
}

/// Serves one connection. Whatever goes wrong with it is its peer's affair.
async fn one(stream: TcpStream, acceptor: Option<TlsAcceptor>, router: Router) {
    // Small answers at once: a browser waits for each.
    let _ = stream.set_nodelay(true);
    match acceptor {
        None => http(stream, router).await,
        Some(acceptor) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
                http(stream, router).await;
            }
        }
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Send + 'static, router: Router) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(PATIENCE));
    let service = TowerToHyperService::new(router);
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(Box::pin(stream)), service)
        .await;
}
