//! TLS 1.3 with both ends known by their certificates, and nothing else.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::certs::{CA_CERT, CERT, KEY};
use crate::ledger::is_safe_name;
use crate::wire::ALPN;
use crate::{Tell, Weight};

/// Files by which an end shows who it is, and knows the other.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its certificate, and those between it and the authority, as PEM.
    pub cert: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
    /// Authorities whose certificates are believed, as PEM.
    pub ca: PathBuf,
}

impl Identity {
    /// The files of a folder as `bftap keys init` makes it.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            cert: folder.join(CERT),
            key: folder.join(KEY),
            ca: folder.join(CA_CERT),
        }
    }
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("cannot read the {what} in {path}: {why}")]
    File {
        /// What should stand there.
        what: &'static str,
        /// Where.
        path: String,
        /// Why not.
        why: String,
    },
    /// The files do not go together.
    #[error("certificate {path} and its key cannot be used: {why}")]
    Use {
        /// The certificate.
        path: String,
        /// Why not.
        why: String,
    },
}

/// For a receiver.
///
/// # Errors
/// Files cannot be read, or do not go together.
pub fn server(identity: &Identity, tell: &Tell) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key, roots) = read(identity, tell)?;
    let using = |why: String| TlsError::Use {
        path: identity.cert.display().to_string(),
        why,
    };
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| using(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| using(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| using(error.to_string()))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Each connection shows its certificate anew.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// For a shipper.
///
/// # Errors
/// Files cannot be read, or do not go together.
pub fn client(identity: &Identity, tell: &Tell) -> Result<Arc<ClientConfig>, TlsError> {
    let (chain, key, roots) = read(identity, tell)?;
    let using = |why: rustls::Error| TlsError::Use {
        path: identity.cert.display().to_string(),
        why: why.to_string(),
    };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(using)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(using)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// The name of a shipper: the first host name of its certificate that can be the name of a file.
pub fn shipper_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    certificate
        .valid_dns_names()
        .map(str::to_ascii_lowercase)
        .find(|name| is_safe_name(name))
}

/// Sixteen random bytes.
pub(crate) fn random_id() -> io::Result<[u8; 16]> {
    let mut id = [0; 16];
    provider()
        .secure_random
        .fill(&mut id)
        .map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(id)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

type Read = (
    Vec<CertificateDer<'static>>,
    PrivateKeyDer<'static>,
    RootCertStore,
);

fn read(identity: &Identity, tell: &Tell) -> Result<Read, TlsError> {
    let chain = certificates(&identity.cert, "certificate")?;
    let key_file = |why: String| TlsError::File {
        what: "private key",
        path: identity.key.display().to_string(),
        why,
    };
    let mode = fs::metadata(&identity.key)
        .map_err(|error| key_file(error.to_string()))?
        .mode();
    if mode & 0o077 != 0 {
        tell(
            Weight::Warning,
            &format!(
                "{} can be used by other users of this machine (mode {:04o}): chmod 600 keeps the private key private",
                identity.key.display(),
                mode & 0o7777
            ),
        );
    }
    let key = PrivateKeyDer::from_pem_file(&identity.key).map_err(|error| key_file(words(&error)))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&identity.ca, "authority's certificate")? {
        roots.add(certificate).map_err(|error| TlsError::File {
            what: "authority's certificate",
            path: identity.ca.display().to_string(),
            why: error.to_string(),
        })?;
    }
    Ok((chain, key, roots))
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |why| TlsError::File {
        what,
        path: path.display().to_string(),
        why,
    };
    let list: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| failed(words(&error)))?;
    if list.is_empty() {
        return Err(failed("there is none in it (PEM is expected)".to_owned()));
    }
    Ok(list)
}

/// Errors of the PEM reader, without what stands in the file.
fn words(error: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "there is none in it (PEM is expected)".to_owned(),
        _ => "it is no whole PEM file".to_owned(),
    }
}
