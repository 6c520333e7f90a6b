//! Whose word on certificates is taken.
//!
//! The system's authorities, or those of a file in their place; a provider may add its own. What a client needs of
//! them is made once and kept, because it also keeps the sessions that TLS resumes.

use moka::sync::Cache;
use shared::rules::upstream::Authorities;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// Why certificates of authorities cannot be used.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("cannot be read")]
    Unreadable(#[source] io::Error),
    /// The text is no PEM.
    #[error("is not PEM")]
    NotPem(#[source] pem::Error),
    /// There is no certificate in it.
    #[error("has no certificate (-----BEGIN CERTIFICATE-----)")]
    Empty,
    /// A certificate that is none.
    #[error("has a certificate that cannot be read (number {number})")]
    BadCertificate {
        /// Which, from 1.
        number: usize,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The parts of TLS do not fit each other. Never happens with the parts that are here.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

impl From<TrustError> for io::Error {
    fn from(error: TrustError) -> Self {
        Self::other(error)
    }
}

/// Checks the certificates of authorities, as PEM, and counts them.
pub fn check_authorities(pem: &str) -> Result<usize, TrustError> {
    let mut roots = RootCertStore::empty();
    add(&mut roots, pem.as_bytes())?;
    Ok(roots.len())
}

/// The same of a file, where text beside the certificates may be in any encoding.
fn check_authorities_file(path: &Path) -> Result<usize, TrustError> {
    read(path).map(|roots| roots.len())
}

/// Reads a variable that names a file of authorities.
#[must_use]
pub fn parse_ca_file(text: &str) -> Option<PathBuf> {
    check_authorities_file(Path::new(text)).is_ok().then(|| PathBuf::from(text))
}

/// What such a variable may be.
pub const CA_FILE_ALLOWED: &str = "a readable PEM file with at least one certificate";

/// What clients believe.
pub(crate) struct Trust {
    usual: RootCertStore,
    usual_client: Arc<ClientConfig>,
    with_own: Cache<[u8; 32], Arc<ClientConfig>>,
}

impl Trust {
    /// The system's authorities, or those in the file.
    pub(crate) fn new(ca_file: Option<&Path>) -> Result<Self, TrustError> {
        let usual = match ca_file {
            Some(path) => read(path)?,
            // A system without any: then only providers with authorities of their own can be believed.
            None => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                roots
            }
        };
        let usual_client = client(usual.clone())?;
        let with_own = Cache::builder().max_capacity(KEPT).build();
        Ok(Self { usual, usual_client, with_own })
    }

    /// A client that believes the usual authorities, and these.
    pub(crate) fn client(&self, own: Option<&Authorities>) -> Result<Arc<ClientConfig>, TrustError> {
        let Some(own) = own else { return Ok(Arc::clone(&self.usual_client)) };
        if let Some(client) = self.with_own.get(&own.digest) {
            return Ok(client);
        }
        let mut roots = self.usual.clone();
        add(&mut roots, own.pem.as_bytes())?;
        let client = client(roots)?;
        self.with_own.insert(own.digest, Arc::clone(&client));
        Ok(client)
    }
}

fn read(path: &Path) -> Result<RootCertStore, TrustError> {
    let text = fs::read(path).map_err(TrustError::Unreadable)?;
    let mut roots = RootCertStore::empty();
    add(&mut roots, &text)?;
    Ok(roots)
}

fn add(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), TrustError> {
    let mut number = 0;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        number += 1;
        let certificate = certificate.map_err(TrustError::NotPem)?;
        roots.add(certificate).map_err(|source| TrustError::BadCertificate { number, source })?;
    }
    if number == 0 { Err(TrustError::Empty) } else { Ok(()) }
}

fn client(roots: RootCertStore) -> Result<Arc<ClientConfig>, TrustError> {
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Setup)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(client))
}

/// Clients with authorities of their own that are kept ready.
const KEPT: u64 = 256;
