//! `bftap web`, `--web`, `--html` and `bftap report`: what the page says, to whom, and that nobody disturbs anybody.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bftap_testkit::servers::{Database, DatabaseServer};
use serde_json::Value;

use crate::common::{bftap, network, network_capture, run, scratch};

/// Something that is over long before, if it works.
const LONG: Duration = Duration::from_secs(60);

/// A program that serves the page.
pub(crate) struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    /// Starts it and waits until it says where the page is.
    fn start(folder: &Path, line: &str) -> Self {
        let mut child = bftap(folder)
            .args(line.split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut all = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "it ended: {all}");
            all.push_str(&line);
            if let Some((_, rest)) = line.split_once("the page is at ") {
                let (_, rest) = rest.split_once("://").unwrap();
                break rest.trim().trim_end_matches('/').parse().unwrap();
            }
        };
        // Whatever it says further must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { child, address }
    }

    pub(crate) fn web(folder: &Path, store: &str) -> Self {
        Self::start(folder, &format!("web --listen 127.0.0.1:0 --store {store}"))
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        // A server that has refused already may not read the rest.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        ));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        // Long bodies come in chunks if their length is not known before; ours is.
        assert!(head.to_lowercase().contains("content-length"), "{head}");
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, value) = self.get(path);
        assert_eq!(status, 200, "{path}: {value}");
        value
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn analyze(folder: &Path, more: &str) {
    let network = network().display();
    let line = format!(
        "analyze {} --keylog {network}/net.keylog --nodes {network}/net.nodes.json {more}",
        network_capture()
    );
    run(folder, &line).ok();
}

fn sum(rows: &Value, key: &str) -> i64 {
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| row[key].as_i64().unwrap())
        .sum()
}

#[test]
fn what_the_page_says_is_what_the_report_says() {
    let folder = scratch();
    analyze(folder.path(), "--store sqlite://x.db --run night --json run.json");
    let report: Value = serde_json::from_slice(&fs::read(folder.path().join("run.json")).unwrap()).unwrap();
    let page = Served::web(folder.path(), "sqlite://x.db");

    let runs = page.json("/api/v1/runs");
    assert_eq!(runs["runs"][0]["name"], "night");
    let id = runs["runs"][0]["run_id"].as_i64().unwrap();
    let of = |view: &str| page.json(&format!("/api/v1/runs/{id}/{view}"));

    let totals = &of("summary")["totals"];
    for key in ["messages", "useful", "repeats", "echoes", "invalid", "bytes"] {
        assert_eq!(totals[key], sum(&report["counts"], key), "{key}");
        assert_eq!(sum(&totals["by_kind"], key), sum(&report["counts"], key), "{key}");
    }
    assert!(totals["messages"].as_i64().unwrap() > 0);
    let nodes = of("nodes");
    let mut by_receiver: BTreeMap<&str, i64> = BTreeMap::new();
    for count in report["counts"].as_array().unwrap() {
        *by_receiver
            .entry(count["receiver"].as_str().unwrap())
            .or_default() += count["messages"].as_i64().unwrap();
    }
    assert_eq!(
        nodes["nodes"].as_array().unwrap().len(),
        report["nodes"].as_array().unwrap().len()
    );
    for node in nodes["nodes"].as_array().unwrap() {
        let label = node["label"].as_str().unwrap();
        assert_eq!(
            node["messages"],
            by_receiver.get(label).copied().unwrap_or(0),
            "{label}"
        );
    }
    let traffic = of("traffic");
    assert_eq!(traffic["by"], "sequence");
    assert_eq!(
        sum(&traffic["points"], "messages"),
        sum(&report["counts"], "messages")
    );
    let matrix = of("matrix");
    assert_eq!(
        sum(&matrix["links"], "messages"),
        sum(&report["counts"], "messages")
    );
    assert_eq!(sum(&matrix["links"], "useful"), sum(&report["counts"], "useful"));
    let copies: i64 = of("copies")["receivers"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|receiver| receiver["histogram"].as_array().unwrap())
        .map(|pair| pair[1].as_i64().unwrap())
        .sum();
    assert_eq!(copies, sum(&report["copies"], "payloads"));
    let wasted = sum(&report["counts"], "repeats") + sum(&report["counts"], "echoes");
    assert_eq!(sum(&of("redundancy")["waste"], "copies"), wasted);

    let rounds = of("rounds");
    let key = |row: &Value| {
        (
            row["sequence"].as_i64(),
            row["round"].as_i64(),
            row["outcome"].to_string(),
        )
    };
    let mut shown: Vec<_> = rounds["rounds"].as_array().unwrap().iter().map(key).collect();
    shown.reverse();
    let reported: Vec<_> = report["rounds"].as_array().unwrap().iter().map(key).collect();
    assert_eq!(shown, reported);
    // In pieces it is the same list.
    let mut pieces = Vec::new();
    let mut before = String::new();
    loop {
        let piece = of(&format!("rounds?limit=2{before}"));
        pieces.extend(piece["rounds"].as_array().unwrap().iter().map(key));
        match piece["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    pieces.reverse();
    assert_eq!(pieces, reported);

    let events = of("events");
    assert_eq!(
        events["events"].as_array().unwrap().len(),
        report["events"].as_array().unwrap().len()
    );
    let height = of("sequences/2");
    let of_height: i64 = report["counts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|count| count["sequence"] == 2)
        .map(|count| count["messages"].as_i64().unwrap())
        .sum();
    assert_eq!(sum(&height["counts"], "messages"), of_height);
    assert_eq!((&height["previous"], &height["next"]), (&1.into(), &3.into()));
    let messages = of("sequences/2/messages");
    assert_eq!(sum(&messages["messages"], "copies"), of_height);
    let first = &messages["messages"][0];
    let only = of(&format!(
        "sequences/2/messages?kind={}&receiver={}",
        first["kind"].as_str().unwrap(),
        first["receiver_ip"].as_str().unwrap()
    ));
    assert!(
        only["messages"]
            .as_array()
            .unwrap()
            .iter()
            .all(|row| row["kind"] == first["kind"])
    );
    assert!(only["messages"].as_array().unwrap().contains(first));
    let health = of("health");
    assert_eq!(
        sum(&health["sessions"], "sessions"),
        report["totals"]["sessions"].as_i64().unwrap()
    );
    assert_eq!(
        of("sessions")["sessions"].as_array().unwrap().len() as i64,
        report["totals"]["sessions"].as_i64().unwrap()
    );
    for view in ["links", "peers"] {
        of(view);
    }
    let compared = page.json(&format!("/api/v1/compare?a={id}&b={id}"));
    let told = run(folder.path(), "diff night night --store sqlite://x.db --json").json();
    assert_eq!(compared, told);
    for (path, status) in [
        (format!("/api/v1/compare?a={id}&b={}", id + 1), 404),
        (format!("/api/v1/runs/{}", id + 1), 404),
        (format!("/api/v1/runs/{id}/sequences/999"), 404),
        (format!("/api/v1/runs/{id}/events/99999"), 404),
        (format!("/api/v1/runs/{id}/rounds?limit=x"), 400),
        (format!("/api/v1/runs/{id}/rounds?from=3&to=2"), 400),
        (format!("/api/v1/runs/{id}/votes"), 400),
        (format!("/api/v1/runs/{id}/votes?signer=nobody"), 404),
        ("/api/v1/runs/nosuch".to_owned(), 400),
    ] {
        let (given, body) = page.get(&path);
        assert_eq!(given, status, "{path}");
        assert!(body["error"].is_string(), "{path}: {body}");
    }
}

/// All pieces of a list of votes.
pub(crate) fn all_votes(page: &Served, run: i64, asked: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut before = String::new();
    loop {
        let piece = page.json(&format!("/api/v1/runs/{run}/votes?{asked}{before}"));
        all.extend(piece["votes"].as_array().unwrap().iter().cloned());
        match piece["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => break all,
        }
    }
}

#[test]
fn from_every_number_of_a_validator_one_comes_to_as_many_votes_as_it_says() {
    let folder = scratch();
    // One that is silent, one that reaches some only, one that is slow, one that contradicts itself.
    let faults = "--fault 3:silent@4s..9s --fault 6:partial=2@12s..16s --fault 2:slow=1ms@17s..20s --fault 4:equivocation@20s..24s";
    let network = "--nodes 7 --sequences 25 --seed 5 --round-timeout 3s --gossip direct";
    let line = format!("simulate -o faults.pcapng {network} {faults}");
    run(folder.path(), &line).ok();
    // Of this one too little is seen to say that anything is missing.
    let line =
        "simulate -o hidden.pcapng --nodes 5 --tap 1 --tap 2 --sequences 10 --seed 7 --fault 3:silent@3s..7s";
    run(folder.path(), line).ok();
    let mut most: BTreeMap<&str, i64> = BTreeMap::new();
    for name in ["faults", "hidden"] {
        let files = format!(
            "{name}.pcapng --keylog {name}.keylog --nodes {name}.nodes.json --json {name}.json --all-votes"
        );
        run(
            folder.path(),
            &format!("analyze {files} --store sqlite://x.db --run {name}"),
        )
        .ok();
        let json = fs::read(folder.path().join(format!("{name}.json"))).unwrap();
        let report: Value = serde_json::from_slice(&json).unwrap();
        let page = Served::web(folder.path(), "sqlite://x.db");
        let run = page.json("/api/v1/runs/latest")["run"]["run_id"]
            .as_i64()
            .unwrap();
        let nodes = page.json(&format!("/api/v1/runs/{run}/nodes"));
        for node in nodes["nodes"].as_array().unwrap() {
            let label = node["label"].as_str().unwrap();
            for (row, counted) in node["participation"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|row| COUNTED.map(|counted| (row, counted)))
            {
                let says = row[counted].as_i64().unwrap();
                let asked = format!("signer={label}&counted={counted}&chain={}", row["chain_id"]);
                let votes = all_votes(&page, run, &format!("{asked}&limit=500"));
                assert_eq!(votes.len() as i64, says, "{name}: {counted} of {label}");
                let pieces = all_votes(&page, run, &format!("{asked}&limit=3"));
                assert_eq!(votes, pieces, "{name}: {counted} of {label}");
                assert!(votes.iter().all(|vote| vote["signer"] == label));
                let most = most.entry(counted).or_default();
                *most = says.max(*most);
            }
            // All that is stored of it is listed, each once, the latest first.
            let votes = all_votes(&page, run, &format!("signer={label}&limit=7"));
            let place = |vote: &Value| {
                let kinds = ["roundchange", "preprepare", "prepare", "commit"];
                let kind = kinds.iter().position(|kind| vote["kind"] == *kind);
                let number = |column: &str| vote[column].as_i64();
                let round = ["sequence", "round", "chain_id"].map(number);
                (round, kind, number("position"))
            };
            assert!(votes.windows(2).all(|pair| place(&pair[0]) > place(&pair[1])));
            let reported = report["votes"].as_array().unwrap().iter();
            let reported: Vec<_> = reported.filter(|vote| vote["signer"] == label).collect();
            assert_eq!(votes.len(), reported.len(), "{name}: {label}");
            for (key, value) in [("kind", "commit"), ("state", "missing"), ("state", "complete")] {
                let listed = all_votes(&page, run, &format!("signer={label}&{key}={value}"));
                let there = reported.iter().filter(|vote| vote[key] == value).count();
                assert_eq!(listed.len(), there, "{name}: {key} {value} of {label}");
            }
            // So it is with the events that make it stand out.
            for severity in ["critical", "warning", "info"] {
                let asked = format!("blamed={label}&suspicious=1&severity={severity}&limit=500");
                let events = page.json(&format!("/api/v1/runs/{run}/events?{asked}"));
                let says = node["suspicious"][severity].as_i64().unwrap();
                let found = events["events"].as_array().unwrap().len();
                assert_eq!(found as i64, says, "{name}: {severity} of {label}");
                let most = most.entry(severity).or_default();
                *most = says.max(*most);
            }
        }
    }
    // In a file each event is there, with the command for its evidence, and what each validator missed.
    run(
        folder.path(),
        "report --store sqlite://x.db --run faults --html page.html",
    )
    .ok();
    let page = data(&fs::read_to_string(folder.path().join("page.html")).unwrap());
    let events = page["/api/v1/runs/1/events"]["events"].as_array().unwrap();
    let mut commands = 0;
    for event in events {
        let one = &page[&format!("/api/v1/runs/1/events/{}", event["event_number"])];
        assert_eq!(one["event"], *event);
        commands += usize::from(one["evidence"].is_string());
    }
    assert!(commands > 0);
    for node in page["/api/v1/runs/1/nodes"]["nodes"].as_array().unwrap() {
        let votes = format!(
            "/api/v1/runs/1/votes?signer={}&counted=missing",
            node["label"].as_str().unwrap()
        );
        let listed = page[&votes]["votes"].as_array().map_or(0, Vec::len);
        assert_eq!(listed as i64, sum(&node["participation"], "missing"), "{votes}");
    }
    for counted in COUNTED.into_iter().chain(["critical"]) {
        assert!(
            most[counted] > 0,
            "{counted} leads nowhere in either run: {most:?}"
        );
    }
}

/// Numbers of a validator that count votes.
const COUNTED: [&str; 8] = [
    "missing",
    "partial",
    "late",
    "unknown",
    "proposals",
    "prepares",
    "commits",
    "roundchanges",
];

/// Every address, with parameters that lead to each of its queries.
const ADDRESSES: [&str; 36] = [
    "summary",
    "nodes",
    "traffic",
    "traffic?from=1&to=3&chain=0&node=cn1",
    "matrix",
    "matrix?kind=commit",
    "copies",
    "redundancy",
    "rounds",
    "rounds?from=1&to=3&chain=0&before=3,0,0&limit=2",
    "rounds?above_zero=1",
    "rounds?claimed=1",
    "events",
    "events?severity=info&suspicious=1&rule=x&before=5&node=cn1&blamed=cn2",
    "events?node=nobody",
    "links",
    "peers",
    "sessions",
    "sessions?before=2",
    "sequences/1",
    "sequences/2?chain=0",
    "sequences/2/messages",
    "sequences/2/messages?round=0&kind=commit&signer=cn1",
    "sequences/2/messages?receiver=10.0.0.1&limit=3",
    "sequences/2/messages?signer=nobody",
    "traffic?node=nobody",
    "votes?signer=CN1",
    "votes?signer=cn1",
    "votes?signer=cn2&limit=3",
    "votes?signer=cn2&limit=3&before=3,0,0",
    "votes?signer=cn2&limit=3&before=3,0,0,prepare,0",
    "votes?signer=cn3&state=complete&kind=commit&chain=0",
    "votes?signer=cn3&counted=commits&chain=0&before=3,0,0,commit,0",
    "votes?signer=cn4&counted=missing",
    "events/0",
    "events/1",
];

#[test]
fn every_database_gives_the_same_answers() {
    let answers = |folder: &Path, store: &str| -> Vec<(u16, Value)> {
        analyze(folder, &format!("--store {store} --run night"));
        let page = Served::web(folder, store);
        let latest = page.json("/api/v1/runs/latest");
        assert_eq!(latest["run"]["name"], "night");
        ADDRESSES
            .iter()
            .map(|address| page.get(&format!("/api/v1/runs/latest/{address}")))
            .collect()
    };
    let folder = scratch();
    let sqlite = answers(folder.path(), "sqlite://x.db");
    // Two events that there may be none of, and four names that nobody has.
    let found = sqlite.iter().filter(|(status, _)| *status == 200).count();
    assert!(found >= ADDRESSES.len() - 6, "{found}");
    for database in [Database::MariaDb, Database::PostgreSql] {
        let Some(server) = DatabaseServer::shared(database) else {
            continue;
        };
        let url = server.user_url(&server.fresh_database());
        let others = answers(folder.path(), &url);
        for (address, (one, other)) in ADDRESSES.iter().zip(sqlite.iter().zip(&others)) {
            assert_eq!(one, other, "{database:?}: {address}");
        }
    }
}

#[test]
fn strangers_and_nonsense_are_refused_and_nothing_else_happens() {
    let folder = scratch();
    analyze(folder.path(), "--store sqlite://x.db");
    let page = Served::web(folder.path(), "sqlite://x.db");
    let host = page.address.to_string();
    let port = page.address.port();
    let request = |method: &str, path: &str, host: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    };
    for (sent, status) in [
        (request("GET", "/", &host), "200"),
        (request("HEAD", "/app.js", &host), "200"),
        (request("GET", "/", &format!("localhost:{port}")), "200"),
        (request("GET", "/", "evil.example"), "421"),
        (
            request("GET", "/api/v1/runs", &format!("evil.example:{port}")),
            "421",
        ),
        (request("GET", "/api/v1/updates", "evil.example"), "421"),
        (
            format!("GET http://evil.example/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
            "421",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
            "421",
        ),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), "421"),
        (request("POST", "/api/v1/runs", &host), "405"),
        (request("DELETE", "/api/v1/runs/1", &host), "405"),
        (request("PUT", "/", &host), "405"),
        (request("OPTIONS", "/api/v1/runs", &host), "405"),
        (request("GET", "/../../etc/passwd", &host), "404"),
        (request("GET", "/..%2f..%2fetc%2fpasswd", &host), "404"),
        (request("GET", "/api/v1/runs/1/../../..", &host), "404"),
        (request("GET", "/api/v1/runs/%00", &host), "400"),
        (request("GET", "/api/v1/runs/1/traffic?node=%ff%fe", &host), "404"),
        (
            request("GET", "/api/v1/runs/1/traffic?node='%20OR%201=1--", &host),
            "404",
        ),
        (
            request("GET", "/api/v1/runs/1/votes?signer='%20OR%201=1--", &host),
            "404",
        ),
        (request("GET", "/index.html", &host), "404"),
        (
            format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "x".repeat(30_000)),
            "4",
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: {host}\r\nX: {}\r\n\r\n",
                "x".repeat(30_000)
            ),
            "431",
        ),
        ("\x16\x03\x01nonsense\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = page.ask(&sent);
        let shown = &sent[..sent.len().min(90)];
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}"))
                || answer.starts_with(&format!("HTTP/1.0 {status}")),
            "{shown:?}: {}",
            &answer[..answer.len().min(300)]
        );
        if status == "200" || status == "404" {
            let head = answer.to_lowercase();
            assert!(
                head.contains("content-security-policy: default-src 'none'"),
                "{shown}"
            );
            assert!(head.contains("x-content-type-options: nosniff"), "{shown}");
            assert!(!head.contains("access-control-allow"), "{shown}");
        }
    }
    let ran = run(folder.path(), "web --store sqlite://x.db --listen 0.0.0.0:0");
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("--token-file"), "{}", ran.stderr);
    let ran = run(
        folder.path(),
        "web --store sqlite://missing.db --listen 127.0.0.1:0",
    );
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("there is no such file"), "{}", ran.stderr);
    let ran = run(folder.path(), "web --store none --listen 127.0.0.1:0");
    assert_eq!(ran.code, 2, "{}", ran.stderr);
}

/// Takes whatever certificate there is: the test made it.
#[derive(Debug)]
struct Trusting(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[test]
fn others_come_in_with_a_token_over_tls_only() {
    let folder = scratch();
    analyze(folder.path(), "--store sqlite://x.db");
    let made = rcgen::generate_simple_self_signed(["lab.example".to_owned()]).unwrap();
    fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let token = "0123456789abcdef0123456789abcdef";
    fs::write(folder.path().join("token"), format!("{token}\n")).unwrap();
    fs::write(folder.path().join("short"), "0123456789\n").unwrap();
    let tls = "--tls-cert cert.pem --tls-key key.pem --allow-host lab.example";
    let ran = run(
        folder.path(),
        &format!("web --store sqlite://x.db --listen 127.0.0.1:0 {tls} --token-file short"),
    );
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("20 characters"), "{}", ran.stderr);
    let page = Served::start(
        folder.path(),
        &format!("web --store sqlite://x.db --listen 127.0.0.1:0 {tls} --token-file token"),
    );
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
        .with_no_client_auth();
    let config = Arc::new(config);
    let host = format!("lab.example:{}", page.address.port());
    let ask = |request: String| {
        let name = "lab.example".try_into().unwrap();
        let session = rustls::ClientConnection::new(Arc::clone(&config), name).unwrap();
        let mut stream = rustls::StreamOwned::new(session, page.connect());
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // The server closes without saying so first, as HTTP servers do.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let get = |path: &str, more: &str| {
        ask(format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"
        ))
    };
    assert!(get("/api/v1/runs", "").starts_with("HTTP/1.1 401"));
    assert!(get("/api/v1/updates", "").starts_with("HTTP/1.1 401"));
    assert!(
        get("/", "").starts_with("HTTP/1.1 200"),
        "the page asks for the token"
    );
    let bearer = format!("Authorization: Bearer {token}\r\n");
    assert!(get("/api/v1/runs", &bearer).contains("\"runs\""));
    let post = |body: &str, more: &str| {
        ask(format!(
            "POST /login HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    assert!(post("token=wrong", "").starts_with("HTTP/1.1 401"));
    let elsewhere = "Origin: https://evil.example\r\n";
    assert!(post(&format!("token={token}"), elsewhere).starts_with("HTTP/1.1 403"));
    let logged_in = post(&format!("token={token}"), &format!("Origin: https://{host}\r\n"));
    assert!(logged_in.starts_with("HTTP/1.1 303"), "{logged_in}");
    let cookie = logged_in
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("Secure") && cookie.contains("SameSite=Strict"));
    assert!(!logged_in.contains(token));
    let cookie = cookie.split(';').next().unwrap();
    assert!(get("/api/v1/runs", &format!("Cookie: {cookie}\r\n")).contains("\"runs\""));
    // Without encryption nothing is said at all.
    let plain = page.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n{bearer}\r\n"));
    assert!(!plain.starts_with("HTTP/1.1 200"), "{plain}");
}

/// One event of a stream.
fn next_event(stream: &mut impl std::io::BufRead) -> Option<Value> {
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(data) = line.strip_prefix("data: ") {
            return serde_json::from_str(data.trim()).ok();
        }
    }
}

#[test]
fn a_run_that_grows_is_told_of_and_its_page_goes_with_it() {
    let folder = scratch();
    let network = network().display();
    let line = format!(
        "analyze {} --keylog {network}/net.keylog --store sqlite://x.db --run night --pace 0.2 --web 127.0.0.1:0",
        network_capture()
    );
    let page = Served::start(folder.path(), &line);
    let watch = || {
        let mut stream = page.connect();
        let request = format!(
            "GET /api/v1/updates?run=latest HTTP/1.1\r\nHost: {}\r\n\r\n",
            page.address
        );
        stream.write_all(request.as_bytes()).unwrap();
        BufReader::new(stream)
    };
    let mut stream = watch();
    let mut batches = Vec::new();
    while batches.len() < 3 {
        let event = next_event(&mut stream).expect("it is told of");
        if let Some(number) = event["batches"].as_i64() {
            assert_eq!(event["live"], true, "{event}");
            batches.push(number);
        }
    }
    assert!(batches.windows(2).all(|pair| pair[0] < pair[1]), "{batches:?}");
    // Whoever goes in the middle is nobody's trouble, and what is asked meanwhile is of a run that is written.
    drop(stream);
    for _ in 0..20 {
        drop(watch());
    }
    let run = page.json("/api/v1/runs/latest");
    assert_eq!(run["run"]["state"], "running");
    assert!(next_event(&mut watch()).is_some());
}

/// Asks twenty times, one behind the other on one connection, without waiting for answers.
fn ask_twenty(page: &Served, address: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(page.address)?;
    stream.set_read_timeout(Some(LONG))?;
    let one = format!(
        "GET /api/v1/runs/latest/{address} HTTP/1.1\r\nHost: {}\r\n\r\n",
        page.address
    );
    stream.write_all(one.repeat(20).as_bytes())?;
    let mut reader = BufReader::new(stream);
    for _ in 0..20 {
        let mut length = 0;
        let mut status = String::new();
        if reader.read_line(&mut status)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length])?;
        // A run that has only begun may have nothing to show yet; nothing else is an answer here.
        assert!(
            [" 200 ", " 404 ", " 503 "]
                .iter()
                .any(|known| status.contains(known)),
            "{status}"
        );
    }
    Ok(())
}

#[test]
fn many_who_ask_slow_readers_and_cut_connections_change_nothing() {
    let folder = scratch();
    let network = network().display();
    let options = format!("--keylog {network}/net.keylog --nodes {network}/net.nodes.json --run night");
    run(
        folder.path(),
        &format!(
            "analyze {} {options} --store sqlite://alone.db --json alone.json",
            network_capture()
        ),
    )
    .ok();
    // The page of the stored run takes the load; the one of a run that is played beside takes it, too.
    let mut played = Served::start(
        folder.path(),
        &format!(
            "analyze {} {options} --store sqlite://x.db --json x.json --pace 0.2 --web 127.0.0.1:0",
            network_capture()
        ),
    );
    let stored = Served::web(folder.path(), "sqlite://alone.db");
    let mut held = Vec::new();
    for page in [&played, &stored] {
        for place in 0..60 {
            let mut stream = page.connect();
            let request = match place % 3 {
                // Never reads its answer.
                0 => format!("GET /app.js HTTP/1.1\r\nHost: {}\r\n\r\n", page.address),
                // Never ends its request.
                1 => "GET / HTT".to_owned(),
                // Watches, and never reads.
                _ => format!("GET /api/v1/updates HTTP/1.1\r\nHost: {}\r\n\r\n", page.address),
            };
            stream.write_all(request.as_bytes()).unwrap();
            held.push(stream);
        }
    }
    let answered: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20)
            .map(|thread| {
                let page = if thread % 4 == 0 { &played } else { &stored };
                let address = ["summary", "nodes", "rounds", "matrix", "events"][thread % 5];
                scope.spawn(move || {
                    let mut answered = 0;
                    for _ in 0..25 {
                        match ask_twenty(page, address) {
                            Ok(()) => answered += 20,
                            // On a slow machine what is played may end before everybody has asked: then nobody is there any more.
                            Err(error) => {
                                assert!(TcpStream::connect(page.address).is_err(), "{error}");
                                break;
                            }
                        }
                    }
                    answered
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let over = played.child.try_wait().unwrap().is_some();
    for (thread, answered) in answered.into_iter().enumerate() {
        let enough = thread % 4 == 0 && over && answered > 0;
        assert!(answered == 500 || enough, "thread {thread}: {answered}");
    }
    let summary = stored.json("/api/v1/runs/latest/summary");
    assert!(summary["totals"]["messages"].as_i64().unwrap() > 0);
    assert!(played.child.wait().unwrap().success());
    drop(held);
    let json = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(
        json("x.json"),
        json("alone.json"),
        "the analysis beside is what it is alone"
    );
}

/// What stands in a page file for its program.
fn data(html: &str) -> Value {
    let start = html.find("id=\"bftap-data\">").unwrap() + "id=\"bftap-data\">".len();
    let end = start + html[start..].find("</script>").unwrap();
    serde_json::from_str(&html[start..end]).unwrap()
}

#[test]
fn a_page_in_a_file_has_the_same_answers_and_asks_nobody() {
    let folder = scratch();
    analyze(folder.path(), "--store none --html none.html");
    analyze(folder.path(), "--store sqlite://x.db --html stored.html");
    run(
        folder.path(),
        "report --store sqlite://x.db --html report.html --svg figures",
    )
    .ok();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let (none, stored, report) = (read("none.html"), read("stored.html"), read("report.html"));
    assert_eq!(stored, report);
    let (one, other) = (data(&none), data(&stored));
    assert_eq!(one["/api/v1/runs/1/summary"], other["/api/v1/runs/1/summary"]);
    assert!(
        one["/api/v1/runs/1/summary"]["totals"]["messages"]
            .as_i64()
            .unwrap()
            > 0
    );
    // Of a run in which nothing was read there are no figures, and no folder that looks like some.
    let capture = network_capture();
    run(
        folder.path(),
        &format!("analyze {capture} --store sqlite://unread.db --run unread"),
    );
    let none = run(folder.path(), "report --store sqlite://unread.db --svg nothing");
    assert_eq!(none.code, 1, "{}", none.stderr);
    assert!(
        none.stderr.contains("no consensus message was read"),
        "{}",
        none.stderr
    );
    assert!(!folder.path().join("nothing").exists());
    let page = Served::web(folder.path(), "sqlite://x.db");
    for (path, value) in other.as_object().unwrap() {
        assert_eq!(*value, page.json(path), "{path}");
    }
    assert!(
        other
            .as_object()
            .unwrap()
            .keys()
            .any(|path| path.contains("/sequences/"))
    );
    let votes = &other["/api/v1/runs/1/votes?signer=cn1&counted=proposals"];
    assert!(!votes["votes"].as_array().unwrap().is_empty());
    assert!(!stored.contains("src=\"app") && !stored.contains("href=\"app"));
    for secret in read_secrets() {
        assert!(!stored.contains(&secret));
    }
    assert!(!folder.path().join("bftap.db").exists());
    let mut figures: Vec<_> = fs::read_dir(folder.path().join("figures"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    figures.sort();
    assert_eq!(
        figures,
        [
            "copies.svg",
            "matrix.svg",
            "messages-by-sequence.svg",
            "messages-over-time.svg",
            "participation.svg",
            "phases.svg",
            "redundancy.svg",
            "rounds.svg"
        ]
    );
    for figure in figures {
        let svg = read(&format!("figures/{figure}"));
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{figure}");
        assert_eq!(
            svg.matches("<text").count(),
            svg.matches("</text>").count(),
            "{figure}"
        );
    }
    let ran = run(folder.path(), "analyze x.pcap --html no/where.html");
    assert_eq!(ran.code, 1);
    let ran = run(folder.path(), "report --store sqlite://x.db");
    assert_eq!(ran.code, 2);
}

/// The secrets of the network's sessions, as they stand in its key log.
fn read_secrets() -> Vec<String> {
    let text = fs::read_to_string(network().join("net.keylog")).unwrap();
    let secrets: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.split_whitespace().filter(|word| word.len() == 64))
        .map(str::to_owned)
        .collect();
    assert!(!secrets.is_empty());
    secrets
}
