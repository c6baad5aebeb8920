//! Who the client is when trusted proxies are in front (nginx: realip; RFC 7239 in its X-Forwarded-* form).
use crate::exchange::{Client, Exchange};
use crate::kept;
use crate::net::networks::{Networks, parse_address};
use crate::net::peer::Peer;
use crate::scope::{self, Compiling, Room};
use buchner_wire::headers::{HeaderId, Headers};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Clients behind proxies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Proxies in front that say who the client is (nginx: the realip module). Default: `gateway.trusted_proxies`.
    pub real_ip: Option<Config>,
}

kept!(Settings);
kept!(Option<RealIp>);

impl Room for Settings {
    const TITLE: &'static str = "Clients behind proxies";

    fn compile(&self, _: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        let compiled = self.real_ip.as_ref().map(RealIp::compile).transpose();
        out.put_some(compiled.map_err(|e| format!("real_ip.{e}"))?);
        Ok(())
    }
}

/// Which proxies say who the client is, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "RealIp")]
pub struct Config {
    /// Networks of the proxies that are believed: addresses, CIDR, `unix`, or `*` (nginx: `set_real_ip_from`).
    pub from: Vec<String>,
    /// The header with the address; the last one in it counts. `proxy_protocol`: what the proxy said ahead of the connection (`listen … proxy_protocol`). Default: X-Real-IP (nginx: `real_ip_header`).
    pub header: String,
    /// Of several addresses in the header the last that is no trusted proxy's counts. Default: false (nginx: `real_ip_recursive`).
    pub recursive: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { from: Vec::new(), header: "X-Real-IP".into(), recursive: false }
    }
}

/// Preaccess phase: a route may believe other proxies than its server, unless that has found the client already.
pub fn apply(ex: &mut Exchange) {
    if ex.settings().get::<Option<RealIp>>().is_none() {
        return;
    }
    let scope = ex.scope.clone();
    let settings = &scope.settings[ex.settings_index() as usize];
    if let Some(real_ip) = settings.get::<Option<RealIp>>().as_ref().filter(|_| !ex.client.found) {
        real_ip.apply(&mut ex.client, &ex.request.headers);
    }
}

/// Where proxies put the client's address.
#[derive(Debug)]
enum Source {
    Header(HeaderId, Box<[u8]>),
    ProxyProtocol,
}

/// How the client's address is found.
#[derive(Debug)]
pub struct RealIp {
    from: Networks,
    source: Source,
    recursive: bool,
    /// X-Forwarded-Proto, X-Forwarded-Host and X-Request-ID of these proxies are believed, too.
    believed: bool,
}

impl RealIp {
    /// Compiles settings.
    pub fn compile(config: &Config) -> Result<Self, String> {
        let from = Networks::parse(&config.from).map_err(|e| format!("from: {e}"))?;
        if config.header == "proxy_protocol" {
            return Ok(Self { from, source: Source::ProxyProtocol, recursive: config.recursive, believed: false });
        }
        let header = config.header.as_bytes();
        if !buchner_wire::headers::is_valid_name(header) {
            return Err(format!("header: {:?} is not a header name", config.header));
        }
        let source = Source::Header(HeaderId::of(header), header.into());
        Ok(Self { from, source, recursive: config.recursive, believed: false })
    }

    /// The addresses in X-Forwarded-For, as far as these proxies wrote them.
    pub fn forwarded_for(from: Networks, recursive: bool) -> Self {
        let source = Source::Header(HeaderId::XForwardedFor, b"X-Forwarded-For".as_slice().into());
        Self { from, source, recursive, believed: false }
    }

    /// The same proxies also say which scheme and host the client used (`trusted_proxies`).
    pub fn trusted(items: &[String]) -> Result<Option<Self>, String> {
        let from = Networks::parse(items)?;
        Ok((!from.is_empty()).then(|| Self { believed: true, ..Self::forwarded_for(from, true) }))
    }

    /// Puts the address that the peer's header gives in place of the peer's own, if the peer is believed.
    pub fn apply(&self, client: &mut Client, headers: &Headers) {
        if !self.from.contains(&client.peer) {
            return;
        }
        let said = client.proxied.as_ref().and_then(|header| header.addresses).map(|(source, _)| Peer::Ip(source));
        if let (Some(said), true) = (said, self.believed || matches!(self.source, Source::ProxyProtocol)) {
            client.addr = said;
            client.found = true;
            // Header fields were written by whom it speaks for.
            if !self.from.contains(&said) {
                return;
            }
        }
        if self.believed {
            client.trusted = true;
            // Of several, the one that this proxy wrote.
            let proto = headers.get_all(HeaderId::XForwardedProto).last();
            if let Some(proto) = proto.and_then(|value| value.rsplit(|&byte| byte == b',').next()) {
                client.secure = proto.trim_ascii().eq_ignore_ascii_case(b"https");
            }
        }
        if let Some(addr) = self.find(client.addr, headers) {
            client.addr = addr;
            client.found = true;
        }
    }

    /// The peer is one of these proxies.
    pub fn believes(&self, peer: &Peer) -> bool {
        self.from.contains(peer)
    }

    /// The address behind `peer`: from right to left, as long as who wrote it is believed. `None` if there is none.
    pub fn find(&self, peer: Peer, headers: &Headers) -> Option<Peer> {
        let mut found = None;
        let mut writer = peer;
        let mut fields: Vec<&[u8]> = match &self.source {
            Source::ProxyProtocol => return None,
            Source::Header(HeaderId::Other, name) => {
                let named = |h: &buchner_wire::headers::Header<'_>| h.name.eq_ignore_ascii_case(name);
                headers.iter().filter(named).map(|h| h.value).collect()
            }
            Source::Header(id, _) => headers.get_all(*id).collect(),
        };
        if !matches!(self.source, Source::Header(HeaderId::XForwardedFor, _)) {
            fields.truncate(1);
        }
        let separator = |byte: &u8| matches!(byte, b',' | b' ');
        for text in fields.iter().rev().flat_map(|field| field.rsplit(separator)).filter(|text| !text.is_empty()) {
            if !self.from.contains(&writer) {
                break;
            }
            let Some(addr) = parse_address(text) else { break };
            found = Some(addr);
            writer = addr;
            if !self.recursive {
                break;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str) -> Client {
        let peer = Peer::Ip(peer.parse().unwrap());
        Client {
            peer,
            addr: peer,
            local: peer,
            proxied: None,
            secure: false,
            tls: None,
            trusted: false,
            found: false,
            requests: 1,
            connection: 1,
            since: 0,
            pipelined: false,
        }
    }

    fn headers(name: &[u8], values: &[&str]) -> Headers {
        let mut headers = Headers::default();
        for value in values {
            headers.push_name(name, value.as_bytes());
        }
        headers.push(HeaderId::XForwardedProto, b"https");
        headers
    }

    fn trusted(items: &[&str]) -> RealIp {
        RealIp::trusted(&items.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()).unwrap().unwrap()
    }

    #[test]
    fn the_rightmost_untrusted_address_is_the_client() {
        let trusted = trusted(&["10.0.0.0/8", "::1"]);
        for (forwarded, expected) in [
            (&["1.1.1.1, 2.2.2.2"][..], "2.2.2.2:0"),
            (&["1.1.1.1, 2.2.2.2, 10.9.9.9"][..], "2.2.2.2:0"),
            (&["1.1.1.1", "10.1.1.1"][..], "1.1.1.1:0"),
            (&["10.3.3.3, 10.1.1.1"][..], "10.3.3.3:0"),
            (&["1.1.1.1, garbage, 10.1.1.1"][..], "10.1.1.1:0"),
            (&["1.1.1.1,  10.1.1.1 ,"][..], "1.1.1.1:0"),
            (&["[2001:db8::7]:443"][..], "[2001:db8::7]:443"),
        ] {
            let mut c = client("10.0.0.1:99");
            trusted.apply(&mut c, &headers(b"X-Forwarded-For", forwarded));
            assert_eq!(c.addr, Peer::Ip(expected.parse().unwrap()), "{forwarded:?}");
            assert!(c.secure && c.trusted);
        }
    }

    #[test]
    fn without_recursion_the_last_address_is_the_client() {
        let config = Config { from: vec!["10.0.0.0/8".into()], header: "X-Client".into(), recursive: false };
        let real_ip = RealIp::compile(&config).unwrap();
        for (values, expected) in [
            (&["1.1.1.1, 10.2.2.2"][..], "10.2.2.2:0"),
            (&["1.1.1.1:77"][..], "1.1.1.1:77"),
            (&["1.1.1.1", "2.2.2.2"][..], "1.1.1.1:0"),
            (&["garbage"][..], "10.0.0.1:99"),
            (&[][..], "10.0.0.1:99"),
        ] {
            let mut c = client("10.0.0.1:99");
            real_ip.apply(&mut c, &headers(b"x-client", values));
            assert_eq!(c.addr, Peer::Ip(expected.parse().unwrap()), "{values:?}");
            assert!(!c.secure && !c.trusted);
        }
    }

    fn spoken_for(peer: &str, source: &str) -> Client {
        let line = format!("PROXY TCP4 {source} 192.0.2.9 77 80\r\n");
        let (header, _) = buchner_wire::proxy_protocol::parse(line.as_bytes()).unwrap().unwrap();
        Client { proxied: Some(std::rc::Rc::new(header)), ..client(peer) }
    }

    #[test]
    fn a_believed_proxy_says_ahead_of_the_connection_who_the_client_is() {
        let config = Config { from: vec!["10.0.0.0/8".into()], header: "proxy_protocol".into(), recursive: true };
        let real_ip = RealIp::compile(&config).unwrap();
        for (peer, expected) in [("10.0.0.1:9", "1.1.1.1:77"), ("9.9.9.9:9", "9.9.9.9:9")] {
            let mut c = spoken_for(peer, "1.1.1.1");
            real_ip.apply(&mut c, &headers(b"X-Forwarded-For", &["2.2.2.2"]));
            assert_eq!((c.addr, c.found), (Peer::Ip(expected.parse().unwrap()), peer != expected));
            assert!(!c.secure && !c.trusted);
        }
        let mut plain = client("10.0.0.1:9");
        real_ip.apply(&mut plain, &headers(b"proxy_protocol", &["2.2.2.2"]));
        assert!(plain.addr == plain.peer && !plain.found);
    }

    #[test]
    fn fields_are_believed_when_whom_a_trusted_proxy_speaks_for_is_trusted() {
        let trusted = trusted(&["10.0.0.0/8"]);
        for (peer, source, expected, fields) in [
            ("10.0.0.1:9", "1.1.1.1", "1.1.1.1:77", false),
            ("10.0.0.1:9", "10.1.1.1", "2.2.2.2:0", true),
            ("9.9.9.9:9", "10.1.1.1", "9.9.9.9:9", false),
        ] {
            let mut c = spoken_for(peer, source);
            trusted.apply(&mut c, &headers(b"X-Forwarded-For", &["2.2.2.2"]));
            assert_eq!(
                (c.addr, c.secure, c.trusted),
                (Peer::Ip(expected.parse().unwrap()), fields, fields),
                "{peer} {source}"
            );
        }
    }

    #[test]
    fn an_untrusted_peer_is_not_believed() {
        let mut c = client("9.9.9.9:1");
        trusted(&["10.0.0.0/8"]).apply(&mut c, &headers(b"X-Forwarded-For", &["1.1.1.1"]));
        assert!(c.addr == c.peer && !c.secure && !c.trusted);
        assert!(RealIp::trusted(&[]).unwrap().is_none());
    }
}
