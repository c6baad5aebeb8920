//! Certificates of clients. The handshake takes any, so that who is refused gets a response that says so (nginx's 495 and 496);
//! what a certificate is worth is judged behind it, and again when a session is resumed.
use crate::tls::config::{Tls, VerifyClient};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// What is wrong with a certificate of somebody unknown, in OpenSSL's words.
const UNKNOWN_ISSUER: &str = "unable to get local issuer certificate";

/// What a certificate of a client is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is none.
    None,
    /// It is one of the CA's.
    Success,
    /// It is not, and why.
    Failed(String),
}

/// Asks clients for their certificates, and judges them.
#[derive(Clone, Debug)]
pub struct Verification {
    /// Whether one is wanted, and what becomes of a client without a good one.
    pub wanted: VerifyClient,
    /// Judges; none where any certificate will do.
    judge: Option<Arc<dyn ClientCertVerifier>>,
    hints: Arc<[DistinguishedName]>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verification {
    /// What a policy asks of clients; `None` if it asks for no certificate.
    ///
    /// # Errors
    /// The CA or the list of what it has revoked cannot be used, or there is no CA.
    pub fn compile(tls: &Tls, provider: &Arc<CryptoProvider>) -> Result<Option<Self>, String> {
        if tls.verify_client == VerifyClient::Off {
            return Ok(None);
        }
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(tls.client_ca.as_bytes()) {
            let certificate = certificate.map_err(|error| format!("client_ca is not PEM: {error}"))?;
            roots.add(certificate).map_err(|error| format!("client_ca: {error}"))?;
        }
        let crls: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(tls.client_crl.as_bytes()).collect();
        let crls = crls.map_err(|error| format!("client_crl is not PEM: {error}"))?;
        let judge = match (roots.is_empty(), tls.verify_client) {
            (true, VerifyClient::OptionalNoCa) => None,
            (true, _) => return Err("verify_client needs the certificates of a CA (client_ca)".to_owned()),
            (false, _) => {
                let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
                let judge = builder.with_crls(crls).build();
                Some(judge.map_err(|error| format!("client_ca, client_crl: {error}"))?)
            }
        };
        let hints = judge.as_ref().map_or_else(Default::default, |judge| judge.root_hint_subjects().into());
        let algorithms = provider.signature_verification_algorithms;
        Ok(Some(Self { wanted: tls.verify_client, judge, hints, algorithms }))
    }

    /// Judges what a client sent: its certificate, and those that lead to its CA.
    pub fn verdict(&self, chain: &[CertificateDer<'_>]) -> Verdict {
        let Some((own, between)) = chain.split_first() else { return Verdict::None };
        let Some(judge) = &self.judge else {
            return Verdict::Failed(UNKNOWN_ISSUER.to_owned());
        };
        match judge.verify_client_cert(own, between, UnixTime::now()) {
            Ok(_) => Verdict::Success,
            Err(error) => Verdict::Failed(words(&error)),
        }
    }

    /// The status for a client with such a certificate, if it is refused (nginx: 495, 496).
    pub fn refusal(&self, verdict: &Verdict) -> Option<u16> {
        match (verdict, self.wanted) {
            (Verdict::None, VerifyClient::On) => Some(496),
            (Verdict::Failed(_), VerifyClient::On | VerifyClient::Optional) => Some(495),
            // Only whose it is may be open, not whether it is a good one.
            (Verdict::Failed(why), VerifyClient::OptionalNoCa) if why != UNKNOWN_ISSUER => Some(495),
            _ => None,
        }
    }
}

/// Why a certificate is refused, in OpenSSL's words where it has some, since configurations compare them.
fn words(error: &Error) -> String {
    let Error::InvalidCertificate(error) = error else { return error.to_string() };
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate is not yet valid".to_owned()
        }
        CertificateError::Revoked => "certificate revoked".to_owned(),
        CertificateError::UnknownIssuer => UNKNOWN_ISSUER.to_owned(),
        CertificateError::BadSignature => "certificate signature failure".to_owned(),
        CertificateError::UnknownRevocationStatus => "unable to get certificate CRL".to_owned(),
        other => other.to_string(),
    }
}

impl ClientCertVerifier for Verification {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
