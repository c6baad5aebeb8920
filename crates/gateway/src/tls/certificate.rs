//! Certificates with their keys, and the choice between several.
use crate::tls::config;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The certificates of some servers: one for each kind of key.
#[derive(Debug)]
pub struct Certificates(Vec<Arc<CertifiedKey>>);

impl Certificates {
    /// Reads them from their PEM.
    ///
    /// # Errors
    /// The file, and what is wrong with what was in it.
    pub fn read(all: &[config::Certificate]) -> Result<Self, String> {
        let read =
            |one: &config::Certificate| read(one).map(Arc::new).map_err(|error| format!("{}: {error}", one.name));
        Ok(Self(all.iter().map(read).collect::<Result<_, _>>()?))
    }

    /// All of them are by no authority: issued by themselves.
    pub fn are_self_signed(&self) -> bool {
        let own = |one: &Arc<CertifiedKey>| {
            let parsed = one.cert.first().and_then(|own| X509Certificate::from_der(own).ok());
            parsed.is_some_and(|(_, own)| own.issuer() == own.subject())
        };
        !self.0.is_empty() && self.0.iter().all(own)
    }
}

/// Reads one with its key.
///
/// # Errors
/// What is wrong with it.
pub fn read(from: &config::Certificate) -> Result<CertifiedKey, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(from.chain.as_bytes()).collect();
    let chain = chain.map_err(|error| format!("the certificate is not PEM: {error}"))?;
    if chain.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    let key =
        PrivateKeyDer::from_pem_slice(from.key.as_bytes()).map_err(|error| format!("the key is not PEM: {error}"))?;
    let key = any_supported_type(&key).map_err(|error| format!("the key cannot be used: {error}"))?;
    let mut certified = CertifiedKey::new(chain, key);
    if let Err(error) = certified.keys_match() {
        return Err(format!("the key is not that of the certificate ({error})"));
    }
    if let Some(ocsp) = &from.ocsp {
        certified.ocsp = Some(BASE64_STANDARD.decode(ocsp).map_err(|error| format!("ocsp is not base64: {error}"))?);
    }
    Ok(certified)
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = |one: &&Arc<CertifiedKey>| one.key.choose_scheme(hello.signature_schemes()).is_some();
        self.0.iter().find(usable).cloned()
    }
}
