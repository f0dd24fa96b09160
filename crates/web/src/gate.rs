//! Who may come in: names of this machine only, and a token for those who come from elsewhere.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::{HeaderMap, Uri};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// What a request must show.
#[derive(Debug)]
pub enum Access {
    /// Nothing but a Host that names this machine: the address listened at is loopback.
    Loopback,
    /// The token; connections are encrypted.
    Token(Token),
}

/// A token, of which only the hash is kept.
#[derive(Debug)]
pub struct Token([u8; 32]);

/// Shortest token that is taken.
pub(crate) const SHORTEST: usize = 20;

impl Token {
    /// Takes a token; `None` if it is too short to keep anybody out.
    pub fn new(token: &Zeroizing<String>) -> Option<Self> {
        let token = token.trim();
        (token.len() >= SHORTEST).then(|| Self(hash(token.as_bytes())))
    }

    fn is(&self, given: &str) -> bool {
        same(&hash(given.trim().as_bytes()), &self.0)
    }

    /// What a browser shows instead once it has logged in: says nothing about the token, and ends with it.
    pub(crate) fn cookie(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(b"bftap page cookie");
        hasher.update(self.0);
        hex::encode(hasher.finalize())
    }
}

/// Name of the cookie; a browser takes one of this prefix only over TLS, for this host alone.
pub(crate) const COOKIE_NAME: &str = "__Host-bftap";

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// In a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

/// Looks at each request before anything else does.
#[derive(Debug)]
pub(crate) struct Gate {
    address: SocketAddr,
    /// Names besides those of this machine, in lower case.
    hosts: Vec<String>,
    access: Access,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is meant for another host: somebody else's page makes this browser ask (DNS rebinding).
    Host,
    /// No token, or a wrong one.
    Token,
}

impl Gate {
    pub(crate) fn new(address: SocketAddr, hosts: &[String], access: Access) -> Self {
        Self {
            address,
            hosts: hosts.iter().map(|host| host.to_lowercase()).collect(),
            access,
        }
    }

    /// Whether the Host, and the token if there is one, are right.
    pub(crate) fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Refused> {
        self.check_host(headers, uri)?;
        let Access::Token(token) = &self.access else {
            return Ok(());
        };
        let bearer = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        if bearer.is_some_and(|given| token.is(given)) || self.has_cookie(headers, token) {
            Ok(())
        } else {
            Err(Refused::Token)
        }
    }

    /// Whether the Host alone is right: all that logging in can show.
    pub(crate) fn check_host(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Refused> {
        let mut hosts = headers.get_all("host").iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().ok(),
            _ => None,
        };
        let right = host.is_some_and(|host| self.is_ours(host));
        // A proxy's request names its host in the address, too.
        let named = uri
            .authority()
            .is_none_or(|authority| self.is_ours(authority.as_str()));
        if right && named {
            Ok(())
        } else {
            Err(Refused::Host)
        }
    }

    /// The cookie to give for this token, or that it is wrong.
    pub(crate) fn log_in(&self, given: &str) -> Result<Option<String>, Refused> {
        match &self.access {
            Access::Loopback => Ok(None),
            Access::Token(token) if token.is(given) => Ok(Some(token.cookie())),
            Access::Token(_) => Err(Refused::Token),
        }
    }

    fn has_cookie(&self, headers: &HeaderMap, token: &Token) -> bool {
        let wanted = token.cookie();
        let cookies = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        cookies
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .any(|(name, value)| name == COOKIE_NAME && same(value.as_bytes(), wanted.as_bytes()))
    }

    fn is_ours(&self, host: &str) -> bool {
        let (name, port) = split(host);
        let usual = if matches!(self.access, Access::Token(_)) {
            443
        } else {
            80
        };
        let Some(port) = port.map_or(Some(usual), |port| port.parse().ok()) else {
            return false;
        };
        if port != self.address.port() && !self.hosts.contains(&host.to_lowercase()) {
            return false;
        }
        let name = name.to_lowercase();
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse::<IpAddr>() {
            // An address cannot be rebound: whoever asks for it means it.
            return ip == self.address.ip()
                || (ip.is_loopback() && self.listens_on_loopback())
                || self.address.ip().is_unspecified();
        }
        (name == "localhost" && self.listens_on_loopback())
            || self.hosts.contains(&name)
            || self.hosts.contains(&host.to_lowercase())
    }

    fn listens_on_loopback(&self) -> bool {
        self.address.ip().is_loopback() || self.address.ip().is_unspecified()
    }
}

/// Name and port of a Host: `a:1`, `[::1]:1`, `a`.
fn split(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn host(gate: &Gate, host: &str) -> bool {
        gate.check(&headers(&[("host", host)]), &Uri::from_static("/"))
            .is_ok()
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let gate = Gate::new(
            "127.0.0.1:8787".parse().unwrap(),
            &["Lab.example".to_owned()],
            Access::Loopback,
        );
        for right in [
            "127.0.0.1:8787",
            "localhost:8787",
            "LOCALHOST:8787",
            "[::1]:8787",
            "lab.EXAMPLE:8787",
        ] {
            assert!(host(&gate, right), "{right}");
        }
        for wrong in [
            "evil.example:8787",
            "localhost",
            "localhost:80",
            "localhost:8787:8787",
            "localhost.evil.example:8787",
            "127.0.0.1.evil.example:8787",
            "10.0.0.1:8787",
            "lab.example:1",
            "",
            ":8787",
            "[::1",
            "localhost:x",
        ] {
            assert!(!host(&gate, wrong), "{wrong}");
        }
        let two = headers(&[("host", "localhost:8787"), ("host", "localhost:8787")]);
        assert_eq!(gate.check(&two, &Uri::from_static("/")), Err(Refused::Host));
        assert_eq!(
            gate.check(&HeaderMap::new(), &Uri::from_static("/")),
            Err(Refused::Host)
        );
        let proxied = Uri::from_static("http://evil.example:8787/");
        assert_eq!(
            gate.check(&headers(&[("host", "localhost:8787")]), &proxied),
            Err(Refused::Host)
        );
    }

    #[test]
    fn a_token_is_asked_for_and_a_cookie_stands_for_it() {
        let secret = Zeroizing::new("correct horse battery staple".to_owned());
        assert!(Token::new(&Zeroizing::new("short".to_owned())).is_none());
        let token = Token::new(&secret).unwrap();
        let gate = Gate::new(
            "10.0.0.1:443".parse().unwrap(),
            &["lab.example".to_owned()],
            Access::Token(token),
        );
        let uri = Uri::from_static("/api/v1/runs");
        let with = |name: &'static str, value: &str| {
            gate.check(&headers(&[("host", "lab.example"), (name, value)]), &uri)
        };
        assert_eq!(with("accept", "*/*"), Err(Refused::Token));
        assert_eq!(
            with("authorization", "Bearer correct horse battery staple"),
            Ok(())
        );
        assert_eq!(
            with("authorization", "Bearer correct horse battery stapl"),
            Err(Refused::Token)
        );
        assert_eq!(
            with("authorization", "correct horse battery staple"),
            Err(Refused::Token)
        );
        let cookie = gate.log_in("correct horse battery staple").unwrap().unwrap();
        assert!(!cookie.contains("horse"));
        assert_eq!(with("cookie", &format!("a=b; {COOKIE_NAME}={cookie}")), Ok(()));
        assert_eq!(with("cookie", &format!("{COOKIE_NAME}=")), Err(Refused::Token));
        assert_eq!(gate.log_in("wrong"), Err(Refused::Token));
        // The wrong host is refused before anything is said about tokens.
        let evil = headers(&[
            ("host", "evil.example"),
            ("authorization", "Bearer correct horse battery staple"),
        ]);
        assert_eq!(gate.check(&evil, &uri), Err(Refused::Host));
    }
}
