//! Certificates of servers, and what they are worth.
use crate::upstream::tls::config::UpstreamTls;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Takes certificates that lead to a CA, or are trusted themselves, and are for the name that was asked for.
#[derive(Debug)]
pub struct Judge {
    /// Who is trusted by name: a server's own certificate among the CAs' is one that webpki has no use for.
    listed: Vec<CertificateDer<'static>>,
    webpki: Arc<WebPkiServerVerifier>,
}

impl Judge {
    /// A judge who trusts the CAs of some terms, or else those of the system, `roots`.
    ///
    /// # Errors
    /// There is no CA, or what is there is none.
    pub fn compile(raw: &UpstreamTls, roots: &str, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let own = !raw.ca.is_empty();
        let (pem, what) = if own { (raw.ca.as_str(), "ca") } else { (roots, "the system's CAs") };
        let listed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let listed = listed.map_err(|error| format!("{what}: not PEM: {error}"))?;
        let mut store = RootCertStore::empty();
        if own {
            for certificate in &listed {
                store.add(certificate.clone()).map_err(|error| format!("ca: {error}"))?;
            }
        } else {
            // Systems have odd ones among a hundred good ones.
            store.add_parsable_certificates(listed.iter().cloned());
        }
        if store.is_empty() {
            return Err(format!("{what}: there is no certificate"));
        }
        let crls: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(raw.crl.as_bytes()).collect();
        let crls = crls.map_err(|error| format!("crl: not PEM: {error}"))?;
        if !raw.crl.is_empty() && crls.is_empty() {
            return Err("crl: there is no list in it".to_owned());
        }
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone()).with_crls(crls);
        let webpki = builder.build().map_err(|error| format!("ca, crl: {error}"))?;
        Ok(Self { listed: if own { listed } else { Vec::new() }, webpki })
    }

    /// Judges a certificate that is trusted itself.
    fn own(certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
        let seconds = |timestamp: i64| UnixTime::since_unix_epoch(Duration::from_secs(timestamp.max(0).unsigned_abs()));
        let (not_before, not_after) = (parsed.validity().not_before, parsed.validity().not_after);
        let (not_before, not_after) = (seconds(not_before.timestamp()), seconds(not_after.timestamp()));
        if now < not_before {
            return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
        }
        if now > not_after {
            return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.listed.iter().any(|one| one == certificate) {
            return Self::own(certificate, name, now).map(|()| ServerCertVerified::assertion());
        }
        self.webpki.verify_server_cert(certificate, between, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Takes any certificate whose key the server has.
#[derive(Debug)]
pub struct Anybody(WebPkiSupportedAlgorithms);

impl Anybody {
    /// One who knows the signatures of a provider.
    pub fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
