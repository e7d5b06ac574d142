//! TLS to an upstream, in builds with the feature `https`: who is trusted, and the handshake.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::UpstreamError;

#[cfg(feature = "https")]
pub(super) use with::Trust;
#[cfg(not(feature = "https"))]
pub(super) use without::Trust;

#[cfg(feature = "https")]
mod with {
    use std::sync::Arc;

    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::{AsyncRead, AsyncWrite, TcpStream, UpstreamError};

    /// Whose certificates are taken.
    #[derive(Debug, Clone)]
    pub(in crate::upstream) struct Trust(Arc<ClientConfig>);

    impl Trust {
        pub(in crate::upstream) const IS_THERE: bool = true;

        /// The roots of Mozilla.
        pub(in crate::upstream) fn usual() -> Self {
            Self::of(mozilla())
        }

        /// These and the certificates of a PEM file; the problem with it where there is one.
        pub(in crate::upstream) fn and(pem: &[u8]) -> Result<Self, String> {
            let mut roots = mozilla();
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| format!("is no PEM: {error}"))?;
                roots
                    .add(certificate)
                    .map_err(|error| format!("holds a certificate that cannot be a root: {error}"))?;
            }
            if roots.len() == before { Err("holds no certificate".into()) } else { Ok(Self::of(roots)) }
        }

        fn of(roots: RootCertStore) -> Self {
            Self(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
        }

        pub(in crate::upstream) async fn connect(
            &self,
            host: &str,
            stream: TcpStream,
        ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static, UpstreamError> {
            let unreachable = |error: String| UpstreamError::Unreachable(error);
            let name = ServerName::try_from(host.to_owned()).map_err(|error| unreachable(error.to_string()))?;
            let connected = TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await;
            connected.map_err(|error| unreachable(error.to_string()))
        }
    }

    fn mozilla() -> RootCertStore {
        webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
    }
}

/// Without TLS there is no such endpoint: [`Upstream::new`](super::Upstream::new) refuses it.
#[cfg(not(feature = "https"))]
mod without {
    use super::{AsyncRead, AsyncWrite, TcpStream, UpstreamError};

    const NOT_BUILT: &str = "needs TLS, which is in builds with the feature https";

    #[derive(Debug, Clone)]
    pub(in crate::upstream) struct Trust;

    impl Trust {
        pub(in crate::upstream) const IS_THERE: bool = false;

        pub(in crate::upstream) const fn usual() -> Self {
            Self
        }

        pub(in crate::upstream) fn and(_pem: &[u8]) -> Result<Self, String> {
            Err(NOT_BUILT.into())
        }

        pub(in crate::upstream) async fn connect(
            &self,
            _host: &str,
            _stream: TcpStream,
        ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static + use<>, UpstreamError> {
            Err::<TcpStream, _>(UpstreamError::Unreachable(NOT_BUILT.into()))
        }
    }
}
