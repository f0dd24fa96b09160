//! A small HTTP server: GET /metrics, and nothing else.
//!
//! What it says is the same for everybody, so nothing in a request but method and path is looked at.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

/// The text to serve, made anew for each request.
pub(super) type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// Listens on a thread of its own until it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
}

/// Connections at a time; more wait for their turn.
const CONNECTIONS: usize = 16;

/// How long a request may take, its answer included: nobody holds a connection for nothing.
const PATIENCE: Duration = Duration::from_secs(10);

impl Server {
    /// Binds the address, and begins to serve.
    pub(super) fn start(address: SocketAddr, render: Render) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let Ok(listener) = TcpListener::from_std(listener) else {
                        return;
                    };
                    tokio::select! {
                        () = serve(listener, render) => {}
                        // Also when the sender is gone.
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            address,
            stop: Some(stop),
        })
    }

    /// Where it listens.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests let the system choose a port"))]
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // If it ended before, there is nothing to stop.
            let _ = stop.send(());
        }
    }
}

async fn serve(listener: TcpListener, render: Render) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or the peer has left: others may come.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let render = Arc::clone(&render);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &*render);
                async { Ok::<_, Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), service);
            // Whatever goes wrong with a connection is its peer's affair.
            let _ = tokio::time::timeout(PATIENCE, connection).await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, render: &(dyn Fn() -> String + Send + Sync)) -> Response<Full<Bytes>> {
    let (status, kind, text) = if request.method() != Method::GET {
        (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET\n".to_owned())
    } else if request.uri().path() == "/metrics" {
        (StatusCode::OK, METRICS, render())
    } else {
        (
            StatusCode::NOT_FOUND,
            PLAIN,
            "metrics are at /metrics\n".to_owned(),
        )
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn only_metrics_are_served_and_only_to_get() {
        let server = Server::start("127.0.0.1:0".parse().unwrap(), Arc::new(|| "up 1\n".to_owned())).unwrap();
        let address = server.address();
        let answer = ask(address, "GET /metrics?x=1 HTTP/1.1\r\nHost: evil.example\r\n\r\n");
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nup 1\n"),
            "{answer}"
        );
        assert!(
            answer.contains("content-type: application/openmetrics-text") && !answer.contains("evil"),
            "{answer}"
        );
        assert!(!answer.to_lowercase().contains("access-control"), "{answer}");
        for (request, status) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
            ("GET /metrics/.. HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
            (
                "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
                "405",
            ),
            ("DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "405"),
            ("nonsense\r\n\r\n", "400"),
        ] {
            let answer = ask(address, request);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{request}: {answer}"
            );
        }
        let used = Server::start(address, Arc::new(String::new)).unwrap_err();
        assert_eq!(used.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn one_who_says_nothing_does_not_keep_others_out() {
        let server = Server::start("127.0.0.1:0".parse().unwrap(), Arc::new(|| "up 1\n".to_owned())).unwrap();
        let silent: Vec<_> = (0..CONNECTIONS / 2)
            .map(|_| TcpStream::connect(server.address()).unwrap())
            .collect();
        assert!(ask(server.address(), "GET /metrics HTTP/1.0\r\n\r\n").contains("up 1"));
        drop(silent);
    }
}
