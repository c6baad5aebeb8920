//! The header of the PROXY protocol as variables (nginx: `$proxy_protocol_*`).
use crate::exchange::Exchange;
use crate::net::peer::Peer;
use crate::text::{write_addr, write_port};
use crate::vars::{Sent, Variable};
use std::net::SocketAddr;

/// The variables.
pub const VARIABLES: &[Variable] = &[
    Variable::new("proxy_protocol_addr", write_source, "Client address of the PROXY protocol's header."),
    Variable::new("proxy_protocol_port", write_source_port, "Client port of the PROXY protocol's header."),
    Variable::new("proxy_protocol_server_addr", write_destination, "Server address of the PROXY protocol's header."),
    Variable::new("proxy_protocol_server_port", write_destination_port, "Server port of the PROXY protocol's header."),
    Variable::family_of(
        "proxy_protocol_tlv_",
        |end| Tlv::named(end).is_some(),
        |end, ex, _, out| Tlv::named(end).into_iter().for_each(|tlv| tlv.write(ex, out)),
        "A value (TLV) of version 2 of the PROXY protocol's header.",
    ),
];

/// A value of version 2 of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tlv {
    /// Of the connection.
    Connection(u8),
    /// Of its TLS.
    Ssl(u8),
    /// The outcome of verifying the client's certificate.
    SslVerify,
}

impl Tlv {
    /// A value by the end of its variable's name (nginx: `$proxy_protocol_tlv_name`): a name, or its type as `0x05`.
    pub fn named(name: &str) -> Option<Self> {
        let number = |text: &str| u8::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        Some(match name {
            "alpn" => Self::Connection(0x01),
            "authority" => Self::Connection(0x02),
            "unique_id" => Self::Connection(0x05),
            "ssl" => Self::Connection(0x20),
            "netns" => Self::Connection(0x30),
            "ssl_version" => Self::Ssl(0x21),
            "ssl_cn" => Self::Ssl(0x22),
            "ssl_cipher" => Self::Ssl(0x23),
            "ssl_sig_alg" => Self::Ssl(0x24),
            "ssl_key_alg" => Self::Ssl(0x25),
            "ssl_verify" => Self::SslVerify,
            name => match name.strip_prefix("ssl_") {
                Some(kind) => Self::Ssl(number(kind)?),
                None => Self::Connection(number(name)?),
            },
        })
    }

    /// Writes its value, where the header has it.
    fn write(self, ex: &Exchange, out: &mut Vec<u8>) {
        let Some(header) = &ex.client.proxied else { return };
        match self {
            Self::Connection(kind) => out.extend_from_slice(header.tlv(kind).unwrap_or_default()),
            Self::Ssl(kind) => out.extend_from_slice(header.ssl_tlv(kind).unwrap_or_default()),
            Self::SslVerify => {
                if let Some(verify) = header.ssl_verify() {
                    out.extend_from_slice(verify.to_string().as_bytes());
                }
            }
        }
    }
}

fn addresses(ex: &Exchange) -> Option<(SocketAddr, SocketAddr)> {
    ex.client.proxied.as_ref()?.addresses
}

/// The client's address, as the header has it.
fn write_source(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    if let Some((source, _)) = addresses(ex) {
        write_addr(&Peer::Ip(source), out);
    }
}

/// The client's port, as the header has it.
fn write_source_port(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    if let Some((source, _)) = addresses(ex) {
        write_port(Peer::Ip(source), out);
    }
}

/// The address the client connected to, as the header has it.
fn write_destination(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    if let Some((_, destination)) = addresses(ex) {
        write_addr(&Peer::Ip(destination), out);
    }
}

/// Its port, as the header has it.
fn write_destination_port(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    if let Some((_, destination)) = addresses(ex) {
        write_port(Peer::Ip(destination), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_names_and_numbers() {
        assert_eq!(Tlv::named("authority"), Some(Tlv::Connection(2)));
        assert_eq!(Tlv::named("0x02"), Some(Tlv::Connection(2)));
        assert_eq!(Tlv::named("0xEE"), Some(Tlv::Connection(0xee)));
        assert_eq!(Tlv::named("ssl"), Some(Tlv::Connection(0x20)));
        assert_eq!(Tlv::named("ssl_cn"), Some(Tlv::Ssl(0x22)));
        assert_eq!(Tlv::named("ssl_0x22"), Some(Tlv::Ssl(0x22)));
        assert_eq!(Tlv::named("ssl_verify"), Some(Tlv::SslVerify));
        for unknown in ["", "shop", "0x", "0x100", "02", "ssl_", "ssl_verified"] {
            assert_eq!(Tlv::named(unknown), None, "{unknown}");
        }
    }
}
