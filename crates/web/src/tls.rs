//! TLS 1.3 for those who come from elsewhere.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Reads a certificate with its chain, and its key, both PEM.
///
/// # Errors
/// A file cannot be read, holds no such thing, or the two do not belong together.
pub(crate) fn acceptor(certificate: &Path, key: &Path) -> io::Result<TlsAcceptor> {
    let other = |path: &Path, problem: &dyn std::fmt::Display| {
        io::Error::other(format!("{}: {problem}", path.display()))
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| other(certificate, &error))?;
    if chain.is_empty() {
        return Err(other(certificate, &"there is no certificate in it (PEM)"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| other(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| other(certificate, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| other(certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
