//! An engine against rustls' own client, in memory.
use crate::io::tls::engine::{Engine, Phase, RECORD, Side};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::BytesMut;
use rustls::client::UnbufferedClientConnection;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ConnectionTrafficSecrets, DigitallySignedStruct, Error, SignatureScheme};
use std::sync::Arc;

/// Believes every certificate: what is tested is not that.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Two ends, and what is on its way to each.
struct Pair {
    ends: [Engine; 2],
    wires: [BytesMut; 2],
    plain: [BytesMut; 2],
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

impl Pair {
    fn new(policy: &serde_json::Value) -> Self {
        let policy = serde_json::from_value(policy.clone()).unwrap();
        let bound = crate::tls::policy::Policy::compile(&policy).unwrap().bind("here", &[b"http/1.1"]).unwrap();
        let server = UnbufferedServerConnection::new(bound).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anyone)).with_no_client_auth();
        config.enable_secret_extraction = true;
        let name = ServerName::try_from("example.com").unwrap();
        let client = UnbufferedClientConnection::new(Arc::new(config), name).unwrap();
        let ends = [Engine::new(Side::Client(Box::new(client))), Engine::new(Side::Server(Box::new(server)))];
        Self { ends, wires: Default::default(), plain: Default::default() }
    }

    /// Lets one end look at what has come, `most` bytes at a time.
    fn turn(&mut self, end: usize, most: usize) -> Result<Phase, Error> {
        let mut arrived = std::mem::take(&mut self.wires[end]);
        let mut seen = BytesMut::new();
        let mut out = Vec::new();
        let mut phase = self.ends[end].advance(&mut seen, &mut self.plain[end], &mut out);
        while !arrived.is_empty() && phase.is_ok() {
            seen.extend_from_slice(&arrived.split_to(most.min(arrived.len())));
            phase = self.ends[end].advance(&mut seen, &mut self.plain[end], &mut out);
        }
        self.wires[1 - end].extend_from_slice(&out);
        seen.extend_from_slice(&arrived);
        self.wires[end] = seen;
        phase
    }

    fn shake(&mut self, most: usize) {
        for _ in 0..10 {
            let phases = [self.turn(CLIENT, most).unwrap(), self.turn(SERVER, most).unwrap()];
            if phases == [Phase::Open; 2] {
                return;
            }
        }
        panic!("no handshake");
    }

    fn send(&mut self, end: usize, data: &[u8]) {
        let mut out = Vec::new();
        let length = self.ends[end].encrypt(&mut self.wires[end], data, &mut out).unwrap();
        self.wires[1 - end].extend_from_slice(&out[..length]);
    }
}

fn policy(more: &str) -> serde_json::Value {
    let pem = include_str!("testing.pem");
    let mut policy = serde_json::json!({"certificate": [{"name": "testing.pem", "chain": pem, "key": pem}]});
    policy.as_object_mut().unwrap().extend(serde_json::from_str::<serde_json::Map<_, _>>(more).unwrap());
    policy
}

#[test]
fn what_one_end_sends_the_other_reads_however_it_is_cut() {
    for protocols in ["{}", r#"{"protocols": ["TLSv1.2"]}"#] {
        for most in [1, 7, 1000, 1 << 20] {
            let mut pair = Pair::new(&policy(protocols));
            pair.shake(most);
            let data: Vec<u8> = (0..3 * RECORD + 5).map(|i| i as u8).collect();
            for end in [CLIENT, SERVER] {
                pair.send(end, &data);
                pair.turn(1 - end, most).unwrap();
                assert!(pair.plain[1 - end][..] == data[..], "{protocols} {most}");
            }
        }
    }
}

#[test]
fn the_end_is_told_once_and_each_way_alone() {
    let mut pair = Pair::new(&policy("{}"));
    pair.shake(1 << 20);
    let mut out = Vec::new();
    let length = pair.ends[CLIENT].close(&mut BytesMut::new(), &mut out);
    assert!(length > 0 && pair.ends[CLIENT].close(&mut BytesMut::new(), &mut Vec::new()) == 0);
    pair.wires[SERVER].extend_from_slice(&out[..length]);
    assert!(!pair.ends[SERVER].has_ended());
    pair.turn(SERVER, 1 << 20).unwrap();
    assert!(pair.ends[SERVER].has_ended());
    pair.send(SERVER, b"still");
    pair.turn(CLIENT, 1 << 20).unwrap();
    assert_eq!(&pair.plain[CLIENT][..], b"still");
}

#[test]
fn a_record_that_was_tampered_with_is_told_so() {
    let mut pair = Pair::new(&policy("{}"));
    pair.shake(1 << 20);
    pair.send(CLIENT, b"secret");
    let last = pair.wires[SERVER].len() - 1;
    pair.wires[SERVER][last] ^= 1;
    assert_eq!(pair.turn(SERVER, 1 << 20), Err(Error::DecryptError));
    assert!(!pair.wires[CLIENT].is_empty(), "the alert");
    assert!(matches!(pair.turn(CLIENT, 1 << 20), Err(Error::AlertReceived(_))));
}

#[test]
fn ends_that_have_nothing_in_common_tell_one_another() {
    let mut pair = Pair::new(&policy(
        r#"{"curves": ["secp384r1"], "protocols": ["TLSv1.2"], "ciphers": ["ECDHE-RSA-AES128-GCM-SHA256"]}"#,
    ));
    pair.turn(CLIENT, 1 << 20).unwrap();
    assert!(pair.turn(SERVER, 1 << 20).is_err(), "the key is no RSA key");
    assert!(matches!(pair.turn(CLIENT, 1 << 20), Err(Error::AlertReceived(_))));
}

/// Records of TLS 1.3 as a client sends them that does not keep to rustls' ways: each of these in the clear, kind and padding with it.
fn crafted(client: UnbufferedClientConnection, records: &[Vec<u8>]) -> BytesMut {
    let (secrets, _) = client.dangerous_into_kernel_connection().unwrap();
    let (seq, ConnectionTrafficSecrets::Aes256Gcm { key, iv }) = secrets.tx else { panic!("another suite") };
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
    let mut out = BytesMut::new();
    for (seq, inner) in (seq..).zip(records) {
        let mut nonce = [0; 12];
        nonce.copy_from_slice(iv.as_ref());
        for (byte, part) in nonce[4..].iter_mut().zip(seq.to_be_bytes()) {
            *byte ^= part;
        }
        let length = ((inner.len() + 16) as u16).to_be_bytes();
        let head = [23, 3, 3, length[0], length[1]];
        let mut sealed = inner.clone();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(head), &mut sealed).unwrap();
        out.extend_from_slice(&head);
        out.extend_from_slice(&sealed);
    }
    out
}

/// A server after a handshake, and what a client sends it then.
fn server_and_records(records: &[Vec<u8>]) -> (Engine, BytesMut) {
    let mut pair = Pair::new(&policy("{}"));
    pair.shake(1 << 20);
    // What the server said after the handshake (session tickets) is read first.
    pair.turn(CLIENT, 1 << 20).unwrap();
    let [client, server] = pair.ends;
    let Side::Client(client) = client.into_side() else { panic!("the other end") };
    (server, crafted(*client, records))
}

#[test]
fn a_message_without_an_end_is_given_up() {
    // It says that it has 64 KiB, and brings a byte of them a record, behind which there is nothing but padding.
    let mut records = vec![vec![24, 0, 255, 255, 22]];
    records.resize_with(40, || [vec![0, 22], vec![0; 16_000]].concat());
    let (mut server, mut arrived) = server_and_records(&records);
    let (mut incoming, mut plain, mut out, mut most) = (BytesMut::new(), BytesMut::new(), Vec::new(), 0);
    let failed = loop {
        assert!(!arrived.is_empty(), "all of it was taken");
        incoming.extend_from_slice(&arrived.split_to(8_000.min(arrived.len())));
        match server.advance(&mut incoming, &mut plain, &mut out) {
            Ok(_) => most = most.max(incoming.len()),
            Err(error) => break error,
        }
    };
    assert!(failed.to_string().contains("has no end"), "{failed}");
    assert!(most <= 128 << 10, "{most}");
    assert!(server.encrypt(&mut incoming, b"more", &mut out).is_err());
}

#[test]
fn a_message_that_has_come_in_part_stops_no_writing() {
    // The first byte of a KeyUpdate; the rest never comes.
    let (mut server, mut incoming) = server_and_records(&[vec![24, 22]]);
    let (mut plain, mut out) = (BytesMut::new(), Vec::new());
    assert_eq!(server.advance(&mut incoming, &mut plain, &mut out).unwrap(), Phase::Open);
    assert!(!incoming.is_empty() && plain.is_empty());
    assert!(server.encrypt(&mut incoming, b"response", &mut out).unwrap() > 0);
    assert!(server.close(&mut incoming, &mut out) > 0);
}
