//! Addresses and what they answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
    RETRY_AFTER, SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use crate::answers::RunState;
use crate::assets::ASSETS;
use crate::cache::Cache;
use crate::gate::{COOKIE_NAME, Gate, Refused};
use crate::pool::Pool;
use crate::runs::{Runs, find};
use crate::{Ask, Problem};

/// Everything that answers need.
#[derive(Debug)]
pub(crate) struct Page {
    gate: Gate,
    pool: Arc<Pool>,
    runs: Runs,
    cache: Cache,
    /// Places for those who watch: each holds a connection.
    watchers: Arc<Semaphore>,
    /// True once the server stops: streams end then, they would not by themselves.
    stopped: watch::Receiver<bool>,
}

/// Most who watch at a time.
pub(crate) const WATCHERS: usize = 64;

/// How often a watched run is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Longest body of a login.
const LOGIN: usize = 1024;

impl Page {
    pub(crate) fn new(gate: Gate, pool: Arc<Pool>, stopped: watch::Receiver<bool>) -> Self {
        Self {
            gate,
            runs: Runs::new(Arc::clone(&pool)),
            pool,
            cache: Cache::default(),
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            stopped,
        }
    }

    async fn body(&self, ask: Ask) -> Result<Bytes, Problem> {
        let runs = self.runs.now().await?;
        let missing = |run: i64| Problem::Missing(format!("there is no run {run} with rows to show"));
        let (ask, concerned) = match ask {
            Ask::Runs => (Ask::Runs, runs.to_vec()),
            Ask::OfRun { run, what } => {
                let state = find(&runs, run).ok_or_else(|| match run {
                    Some(run) => missing(run),
                    None => Problem::Missing("there is no run in the store yet".to_owned()),
                })?;
                let ask = Ask::OfRun {
                    run: Some(state.run_id),
                    what,
                };
                (ask, vec![state.clone()])
            }
            Ask::Compare { a, b } => {
                let of = |run| find(&runs, Some(run)).cloned().ok_or_else(|| missing(run));
                let states = vec![of(a)?, of(b)?];
                (Ask::Compare { a, b }, states)
            }
        };
        let make = || async {
            let value = self.pool.answer(ask.clone()).await?;
            Ok(Bytes::from(value.to_string()))
        };
        self.cache.get((ask.clone(), concerned), make).await
    }
}

/// All addresses.
pub(crate) fn router(page: Arc<Page>) -> Router {
    let mut router = Router::new();
    for asset in ASSETS {
        router = router.route(
            asset.path,
            get(move || async { text(StatusCode::OK, asset.kind, asset.bytes) }),
        );
    }
    router
        .route("/login", post(log_in))
        .route("/api/v1/updates", get(updates))
        .route("/api/v1/{*rest}", get(api))
        .fallback(|| async { error(StatusCode::NOT_FOUND, "there is nothing at this address") })
        .method_not_allowed_fallback(|| async {
            let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&page), guarded))
        .with_state(page)
}

/// Before everything: who asks. Behind everything: what a browser may do with the answer.
async fn guarded(State(page): State<Arc<Page>>, request: Request, next: Next) -> Response {
    let is_asset = ASSETS.iter().any(|asset| asset.path == request.uri().path());
    let open = request.uri().path() == "/login" || is_asset;
    // The page itself says nothing about anybody; without a token it shows where to give one.
    let checked = if open {
        page.gate.check_host(request.headers(), request.uri())
    } else {
        page.gate.check(request.headers(), request.uri())
    };
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(Refused::Host) => error(
            StatusCode::MISDIRECTED_REQUEST,
            "this host name is not served here; start bftap with --allow-host for it",
        ),
        Err(Refused::Token) => error(StatusCode::UNAUTHORIZED, "a token is needed"),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("referrer-policy"), "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Nothing but what this server gives.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

async fn api(State(page): State<Arc<Page>>, request: Request) -> Response {
    let path = request.uri().path().strip_prefix("/api/v1/").unwrap_or_default();
    let asked = match Ask::parse(path, request.uri().query()) {
        Ok(ask) => page.body(ask).await,
        Err(problem) => Err(problem),
    };
    match asked {
        Ok(body) => {
            let mut response = Response::new(Body::from(body));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
            response
        }
        Err(problem) => refused(&problem),
    }
}

fn refused(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = error(status, &problem.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Tells how a run stands, at once and whenever that changes.
async fn updates(State(page): State<Arc<Page>>, request: Request) -> Response {
    let Ok(place) = Arc::clone(&page.watchers).try_acquire_owned() else {
        return refused(&Problem::Busy("too many watch already".to_owned()));
    };
    let run = match Ask::parse_run(request.uri().query()) {
        Ok(run) => run,
        Err(problem) => return refused(&problem),
    };
    // Two: whoever reads slowly misses states in between, and costs nothing.
    let (news, stream) = mpsc::channel(2);
    tokio::spawn(watch_run(page, run, news, place));
    Sse::new(ReceiverStream::new(stream))
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
        .into_response()
}

async fn watch_run(
    page: Arc<Page>,
    run: Option<i64>,
    news: mpsc::Sender<Result<Event, Infallible>>,
    _place: OwnedSemaphorePermit,
) {
    let mut told = None;
    let mut stopped = page.stopped.clone();
    loop {
        // An error of the store is no end of the stream: it may come back.
        if let Ok(runs) = page.runs.now().await {
            let state = find(&runs, run).cloned();
            if state != told {
                let data = state.as_ref().map_or_else(|| json!(null), RunState::json);
                let event = Event::default().event("run").data(data.to_string());
                let sent = tokio::select! {
                    sent = news.send(Ok(event)) => sent.is_ok(),
                    _ = stopped.changed() => false,
                };
                if !sent {
                    return;
                }
                told = state;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = news.closed() => return,
            _ = stopped.changed() => return,
        }
    }
}

async fn log_in(State(page): State<Arc<Page>>, request: Request) -> Response {
    // A form of another site may be sent here, too: it gets nothing that it could read, and no login.
    let origin = request
        .headers()
        .get("origin")
        .and_then(|origin| origin.to_str().ok());
    let host = request.headers().get("host").and_then(|host| host.to_str().ok());
    let from_here = origin.is_none_or(|origin| {
        origin
            .split_once("://")
            .is_some_and(|(_, named)| Some(named) == host)
    });
    if !from_here {
        return error(StatusCode::FORBIDDEN, "this form is another site's");
    }
    let Ok(body) = axum::body::to_bytes(request.into_body(), LOGIN).await else {
        return error(StatusCode::PAYLOAD_TOO_LARGE, "this is no token");
    };
    let token = form_urlencoded::parse(&body)
        .find(|(name, _)| name == "token")
        .map(|(_, value)| zeroize::Zeroizing::new(value.into_owned()))
        .unwrap_or_default();
    match page.gate.log_in(&token) {
        Ok(cookie) => {
            let mut response = StatusCode::SEE_OTHER.into_response();
            let headers = response.headers_mut();
            headers.insert(LOCATION, HeaderValue::from_static("/"));
            let cookie = cookie.and_then(|value| {
                let attributes = "Path=/; Secure; HttpOnly; SameSite=Strict";
                HeaderValue::from_str(&format!("{COOKIE_NAME}={value}; {attributes}")).ok()
            });
            if let Some(cookie) = cookie {
                headers.insert(SET_COOKIE, cookie);
            }
            response
        }
        Err(_) => {
            // Guessing takes its time; nobody else waits for it.
            tokio::time::sleep(Duration::from_secs(1)).await;
            error(StatusCode::UNAUTHORIZED, "this is not the token")
        }
    }
}

const JSON: &str = "application/json";

fn error(status: StatusCode, what: &str) -> Response {
    let mut response = Response::new(Body::from(json!({ "error": what }).to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

fn text(status: StatusCode, kind: &'static str, bytes: &'static [u8]) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
