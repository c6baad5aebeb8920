//! What a handshake agreed on, and the client's certificate, as variables (nginx: the ssl module).
use crate::exchange::{Exchange, Secure};
use crate::tls::suites;
use crate::vars::{Sent, Variable, Wants};
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::{CipherSuite, NamedGroup};
use std::fmt::Write as _;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

macro_rules! variables {
    ($($name:literal, $about:literal, $write:expr;)*) => {
        /// The variables.
        pub const VARIABLES: &[Variable] = &[$(
            Variable::new($name, |ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>| {
                if let Some(tls) = &ex.client.tls {
                    let write: fn(&Secure, &mut Vec<u8>) = $write;
                    write(tls, out);
                }
            }, $about).wants(if matches!($name.as_bytes(), b"ssl_ciphers" | b"ssl_curves" | b"ja4") {
                Wants { hello: true, ..Wants::NOTHING }
            } else {
                Wants::NOTHING
            }),
        )*];
    };
}

variables! {
    "ssl_protocol", "The version of TLS, such as TLSv1.3; empty without TLS.", |tls, out| put(out, tls.protocol);
    "ssl_cipher", "The cipher suite, by OpenSSL's name.", |tls, out| put(out, tls.cipher);
    "ssl_ciphers", "The cipher suites that the client offered, by their names or numbers.", ciphers;
    "ssl_curve", "The key-exchange group, by OpenSSL's name.", |tls, out| put(out, tls.group);
    "ssl_curves", "The key-exchange groups that the client offered, by their names or numbers.", curves;
    "ssl_server_name", "The host that the client asked for in the handshake.", |tls, out| {
        put(out, tls.server_name.as_deref().unwrap_or_default());
    };
    "ssl_alpn_protocol", "The protocol inside TLS that was agreed on, such as h2.", |tls, out| {
        out.extend_from_slice(&tls.alpn);
    };
    "ssl_session_reused", "`r` if the session was resumed, otherwise `.`.", |tls, out| {
        put(out, if tls.reused { "r" } else { "." });
    };
    "ssl_early_data", "`1` while the handshake of a request that came with it is not over; empty otherwise.", |_, _| {};
    "ssl_session_id", "Always empty: sessions are kept by their clients and have no id here.", |_, _| {};
    "ja4", "The fingerprint JA4 of the client's first message.", |tls, out| {
        let sum = |text: &[u8]| digest::digest(&digest::SHA256, text).as_ref().try_into().unwrap_or([0; 32]);
        put(out, &tls.hello.as_ref().map(|hello| hello.ja4(sum)).unwrap_or_default());
    };
    "ssl_client_verify", "What the client's certificate is worth: SUCCESS, FAILED:reason, NONE.", |tls, out| {
        put(out, &tls.verify);
    };
    "ssl_client_s_dn", "The subject of the client's certificate (RFC 2253).", |tls, out| {
        with(tls, |own| put(out, &distinguished(own.subject())));
    };
    "ssl_client_i_dn", "The issuer of the client's certificate (RFC 2253).", |tls, out| {
        with(tls, |own| put(out, &distinguished(own.issuer())));
    };
    "ssl_client_s_dn_legacy", "The subject of the client's certificate, in OpenSSL's old form.", |tls, out| {
        with(tls, |own| put(out, &legacy(own.subject())));
    };
    "ssl_client_i_dn_legacy", "The issuer of the client's certificate, in OpenSSL's old form.", |tls, out| {
        with(tls, |own| put(out, &legacy(own.issuer())));
    };
    "ssl_client_serial", "The serial number of the client's certificate, hexadecimal.", |tls, out| {
        with(tls, |own| hex(out, own.raw_serial(), true));
    };
    "ssl_client_fingerprint", "The SHA-1 sum of the client's certificate, hexadecimal.", |tls, out| {
        if let Some(own) = &tls.certificate {
            hex(out, digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, own).as_ref(), false);
        }
    };
    "ssl_client_v_start", "When the client's certificate begins to be valid.", |tls, out| {
        with(tls, |own| put(out, &moment(own.validity().not_before.timestamp())));
    };
    "ssl_client_v_end", "When the client's certificate ends to be valid.", |tls, out| {
        with(tls, |own| put(out, &moment(own.validity().not_after.timestamp())));
    };
    "ssl_client_v_remain", "Days until the client's certificate ends to be valid.", |tls, out| {
        with(tls, |own| {
            let left = own.validity().time_to_expiration().map_or(0, |left| left.whole_seconds() / 86_400);
            put(out, &left.to_string());
        });
    };
    "ssl_client_raw_cert", "The client's certificate as PEM.", |tls, out| put(out, &pem(tls));
    "ssl_client_cert", "The client's certificate as PEM, its lines but the first begun by a tab.", |tls, out| {
        put(out, pem(tls).trim_end().replace('\n', "\n\t").as_str());
    };
    "ssl_client_escaped_cert", "The client's certificate as PEM, percent-encoded.", |tls, out| {
        for byte in pem(tls).bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                out.push(byte);
            } else {
                put(out, &format!("%{byte:02X}"));
            }
        }
    };
}

/// Gives what the app is told of it, by the names of Apache's mod_ssl.
pub fn environ(tls: &Secure, mut pair: impl FnMut(&str, &[u8])) {
    pair("SSL_PROTOCOL", tls.protocol.as_bytes());
    pair("SSL_CIPHER", tls.cipher.as_bytes());
    pair("SSL_SESSION_RESUMED", if tls.reused { b"Resumed" } else { b"Initial" });
    if let Some(name) = &tls.server_name {
        pair("SSL_TLS_SNI", name.as_bytes());
    }
    if !tls.verify.is_empty() {
        pair("SSL_CLIENT_VERIFY", tls.verify.as_bytes());
    }
    with(tls, |own| {
        let mut serial = Vec::new();
        hex(&mut serial, own.raw_serial(), true);
        pair("SSL_CLIENT_M_SERIAL", &serial);
        pair("SSL_CLIENT_S_DN", distinguished(own.subject()).as_bytes());
        pair("SSL_CLIENT_I_DN", distinguished(own.issuer()).as_bytes());
        pair("SSL_CLIENT_V_START", moment(own.validity().not_before.timestamp()).as_bytes());
        pair("SSL_CLIENT_V_END", moment(own.validity().not_after.timestamp()).as_bytes());
        pair("SSL_CLIENT_CERT", pem(tls).as_bytes());
    });
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn hex(out: &mut Vec<u8>, bytes: &[u8], upper: bool) {
    for byte in bytes {
        put(out, &if upper { format!("{byte:02X}") } else { format!("{byte:02x}") });
    }
}

fn ciphers(tls: &Secure, out: &mut Vec<u8>) {
    let name = |number: &u16| match suites::name(CipherSuite::from(*number)) {
        "" => format!("0x{number:04x}"),
        name => name.to_owned(),
    };
    let offered = tls.hello.iter().flat_map(|hello| &hello.ciphers);
    put(out, &offered.map(name).collect::<Vec<_>>().join(":"));
}

fn curves(tls: &Secure, out: &mut Vec<u8>) {
    let name = |number: &u16| match suites::group_name(NamedGroup::from(*number)) {
        "" => format!("0x{number:04x}"),
        name => name.to_owned(),
    };
    let offered = tls.hello.iter().flat_map(|hello| &hello.groups);
    put(out, &offered.map(name).collect::<Vec<_>>().join(":"));
}

/// Looks into the client's certificate, if there is one and it can be read.
fn with(tls: &Secure, f: impl FnOnce(&X509Certificate<'_>)) {
    if let Some(Ok((_, own))) = tls.certificate.as_deref().map(X509Certificate::from_der) {
        f(&own);
    }
}

/// The client's certificate as PEM (RFC 7468).
fn pem(tls: &Secure) -> String {
    let Some(own) = &tls.certificate else { return String::new() };
    let text = BASE64_STANDARD.encode(own);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = &text[..];
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem + "-----END CERTIFICATE-----\n"
}

/// The attributes of a name with their short names, in its order.
fn attributes(name: &X509Name<'_>) -> Vec<(String, String)> {
    let registry = x509_parser::objects::oid_registry();
    let short = |oid: &x509_parser::der_parser::Oid<'_>| {
        registry.get(oid).map_or_else(|| oid.to_id_string(), |entry| short_name(entry.sn()).to_owned())
    };
    let text = |one: &x509_parser::x509::AttributeTypeAndValue<'_>| one.as_str().unwrap_or_default().to_owned();
    name.iter_attributes().map(|one| (short(one.attr_type()), text(one))).collect()
}

/// OpenSSL's short name of an attribute.
fn short_name(name: &str) -> &str {
    match name {
        "commonName" => "CN",
        "countryName" => "C",
        "localityName" => "L",
        "stateOrProvinceName" => "ST",
        "organizationName" => "O",
        "organizationalUnitName" => "OU",
        "domainComponent" => "DC",
        other => other,
    }
}

/// A name as RFC 2253 has it: the last attribute first, and what has a meaning there escaped.
fn distinguished(name: &X509Name<'_>) -> String {
    let one = |(kind, value): (String, String)| {
        let mut text = format!("{kind}=");
        let last = value.chars().count().saturating_sub(1);
        for (i, c) in value.chars().enumerate() {
            let special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
                || (i == 0 && matches!(c, ' ' | '#'))
                || (i == last && c == ' ');
            if special {
                text.push('\\');
            }
            text.push(c);
        }
        text
    };
    attributes(name).into_iter().rev().map(one).collect::<Vec<_>>().join(",")
}

fn legacy(name: &X509Name<'_>) -> String {
    attributes(name).into_iter().fold(String::new(), |mut text, (kind, value)| {
        let _ = write!(text, "/{kind}={value}");
        text
    })
}

/// A moment as OpenSSL prints it: `Nov 30 12:00:00 2026 GMT`.
fn moment(unix: i64) -> String {
    let time = crate::clock::utc(u64::try_from(unix).unwrap_or_default());
    time.strftime("%b %e %H:%M:%S %Y GMT").to_string()
}
