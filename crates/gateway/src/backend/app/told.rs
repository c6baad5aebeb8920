//! What a trusted proxy says of the URL that the client used: X-Forwarded-Host, -Port and -Prefix.
use crate::exchange::Exchange;
use crate::net::peer::Peer;
use buchner_wire::headers::HeaderId;
use buchner_wire::path::{is_valid_host, split_port};
use std::sync::atomic::{AtomicBool, Ordering};

/// The client's URL, as far as a trusted proxy told it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The value for Host: name, and port if it is not the scheme's own.
    pub host: Option<Vec<u8>>,
    /// The port.
    pub port: Option<Vec<u8>>,
    /// What the proxy took off the path; empty, or with a slash at its start and none at its end.
    pub prefix: Vec<u8>,
}

/// What the proxy told; `None` of a proxy that is not trusted, or that told nothing.
pub fn of(ex: &Exchange) -> Option<Told> {
    let headers = &ex.request.headers;
    let names = [HeaderId::XForwardedHost, HeaderId::XForwardedPort, HeaderId::XForwardedPrefix];
    if !ex.client.trusted || !names.iter().any(|name| headers.contains(*name)) {
        return None;
    }
    let last = |id| headers.get_all(id).last().map(last_of);
    let default: &[u8] = if ex.client.secure { b"443" } else { b"80" };
    let told = tell(
        [last(HeaderId::XForwardedHost), last(HeaderId::XForwardedPort), last(HeaderId::XForwardedPrefix)],
        headers.get(HeaderId::Host).unwrap_or_default(),
        default,
    );
    Some(told)
}

/// The last value of a list: the one that the proxy next to us wrote.
fn last_of(value: &[u8]) -> &[u8] {
    value.rsplit(|&byte| byte == b',').next().unwrap_or_default().trim_ascii()
}

fn tell([host, port, prefix]: [Option<&[u8]>; 3], own: &[u8], default: &[u8]) -> Told {
    let host = host.filter(|host| is_valid_host(host));
    let port = port.filter(|port| is_port(port));
    let prefix = prefix.map(|prefix| prefix.strip_suffix(b"/").unwrap_or(prefix)).filter(|prefix| is_prefix(prefix));
    let whole = match (host, port) {
        (None, None) => None,
        (host, None) => host.map(<[u8]>::to_vec),
        (host, Some(port)) => {
            let mut whole = host.unwrap_or(own);
            whole = split_port(whole).map_or(whole, |(name, _)| name);
            let tail: &[u8] = if port == default { b"" } else { port };
            let colon: &[u8] = if tail.is_empty() { b"" } else { b":" };
            (!whole.is_empty()).then(|| [whole, colon, tail].concat())
        }
    };
    Told { host: whole, port: port.map(<[u8]>::to_vec), prefix: prefix.unwrap_or_default().to_vec() }
}

fn is_port(text: &[u8]) -> bool {
    let number = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|text| text.parse::<u16>().ok()).is_some_and(|port| port > 0)
}

/// A path without anything in it that an app might take for more.
fn is_prefix(text: &[u8]) -> bool {
    let fine = |byte: &u8| byte.is_ascii_graphic() && !b"?#%\\\"<>".contains(byte);
    text.starts_with(b"/")
        && text.iter().all(fine)
        && !text[1..].split(|&byte| byte == b'/').any(|name| matches!(name, b"" | b"." | b".."))
}

/// The name in a value of Host.
pub fn name_of(host: &[u8]) -> &[u8] {
    split_port(host).map_or(host, |(name, _)| name)
}

/// Says once that a peer sends such headers and is not believed: with a proxy in front, the app's URLs are wrong.
pub fn notice(ex: &Exchange, name: &[u8]) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if SAID.load(Ordering::Relaxed) || SAID.swap(true, Ordering::Relaxed) {
        return;
    }
    let peer = match ex.client.peer.ip() {
        _ if ex.client.peer == Peer::Unix => "unix".to_owned(),
        Some(ip) => ip.to_string(),
        None => ex.client.peer.to_string(),
    };
    let name = String::from_utf8_lossy(name);
    ex.thread.log.notice(&format!(
        "{peer} sends {name}, which does not reach the app: such headers are believed from trusted_proxies only. If \
         that is your own proxy, add it there (--trusted-proxies {peer}); said once"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(host: Option<&str>, port: Option<&str>, prefix: Option<&str>) -> (Option<String>, Option<String>, String) {
        let told = tell([host, port, prefix].map(|text| text.map(str::as_bytes)), b"own.example:8000", b"443");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (told.host.map(text), told.port.map(text), text(told.prefix))
    }

    #[test]
    fn host_port_and_prefix_are_put_together() {
        for (given, host, port, prefix) in [
            ((Some("shop.example"), None, None), Some("shop.example"), None, ""),
            ((Some("shop.example:81"), None, None), Some("shop.example:81"), None, ""),
            ((Some("shop.example:81"), Some("443"), None), Some("shop.example"), Some("443"), ""),
            ((Some("[::1]:81"), Some("82"), None), Some("[::1]:82"), Some("82"), ""),
            ((None, Some("444"), None), Some("own.example:444"), Some("444"), ""),
            ((None, None, Some("/a/b/")), None, None, "/a/b"),
            ((None, None, Some("/")), None, None, ""),
        ] {
            let expected = (host.map(str::to_owned), port.map(str::to_owned), prefix.to_owned());
            assert_eq!(told(given.0, given.1, given.2), expected, "{given:?}");
        }
    }

    #[test]
    fn what_is_none_of_these_is_not_taken() {
        for host in ["", "a b", "a/b", "user@host", "a:99999"] {
            assert_eq!(told(Some(host), None, None).0, None, "{host}");
        }
        for port in ["", "0", "65536", "+1", "x"] {
            assert_eq!(told(None, Some(port), None).1, None, "{port}");
        }
        for prefix in ["a", "//evil.example", "/a/../b", "/a//b", "/a?b", "/a b", "/%2e"] {
            assert_eq!(told(None, None, Some(prefix)).2, "", "{prefix}");
        }
    }

    #[test]
    fn the_last_of_a_list_counts() {
        assert_eq!(last_of(b"evil.example, shop.example"), b"shop.example");
    }
}
