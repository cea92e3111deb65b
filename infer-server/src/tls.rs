//! TLS of the server itself: a certificate and its key, read again when they are renewed.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Files in PEM that say who the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate and those that vouch for it, its own first.
    pub certificate: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}. {cure}", .file.display())]
pub struct TlsError {
    file: PathBuf,
    problem: String,
    cure: &'static str,
}

/// The server's side of TLS; clones share it.
#[derive(Clone)]
pub struct Tls {
    files: Files,
    config: Arc<watch::Sender<Arc<ServerConfig>>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.files).finish()
    }
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    ///
    /// Where one cannot be read or holds something else, or the two do not belong together.
    pub fn open(files: Files) -> Result<Self, TlsError> {
        let config = Arc::new(watch::Sender::new(read(&files)?));
        Ok(Self { files, config })
    }

    /// Reads both files again, for connections from now on.
    ///
    /// # Errors
    ///
    /// As [`Tls::open`]; what was read before stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.config.send_replace(read(&self.files)?);
        Ok(())
    }

    /// The connection, once both sides have agreed on its keys.
    pub(crate) async fn accept<I: AsyncRead + AsyncWrite + Unpin>(self, io: I) -> std::io::Result<TlsStream<I>> {
        let config = Arc::clone(&self.config.borrow());
        TlsAcceptor::from(config).accept(io).await
    }
}

fn read(Files { certificate, key }: &Files) -> Result<Arc<ServerConfig>, TlsError> {
    let fault = |file: &PathBuf, problem: String, cure| TlsError { file: file.clone(), problem, cure };
    let no_certificate = |problem| fault(certificate, problem, "Name a file with certificates in PEM");
    let chain = CertificateDer::pem_file_iter(certificate).map_err(|e| no_certificate(e.to_string()))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|e| no_certificate(e.to_string()))?;
    if chain.is_empty() {
        return Err(no_certificate("no certificate is in it".into()));
    }
    let secret = PrivateKeyDer::from_pem_file(key);
    let secret = secret.map_err(|e| fault(key, e.to_string(), "Name a file with the private key in PEM"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map(|config| config.with_no_client_auth());
    let config = config.and_then(|config| config.with_single_cert(chain, secret));
    let mut config = config.map_err(|e| fault(key, e.to_string(), "Name the key that belongs to the certificate"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
