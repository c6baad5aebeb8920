//! Request headers by which a proxy says who its client is and what that client asked for. Anybody can write them, so they
//! count only if a trusted proxy did.
use super::{Header, HeaderId};

/// Names beside `Forwarded` and all that begin with `X-Forwarded`.
pub const CLIENT_NAMES: [&str; 12] = [
    "X-Real-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Original-Forwarded-For",
    "X-Original-Host",
    "X-Scheme",
    "X-Script-Name",
    "X-Url-Scheme",
    "True-Client-IP",
    "CF-Connecting-IP",
    "Fastly-Client-IP",
    "Front-End-Https",
];

/// The header speaks for the client: `Forwarded`, `X-Forwarded-*` or one of [`CLIENT_NAMES`]. An underscore counts as a
/// dash, as it does for whoever reads headers from CGI variables.
pub fn speaks_for_client(header: &Header<'_>) -> bool {
    match header.id {
        HeaderId::Other => named(header.name),
        HeaderId::Forwarded
        | HeaderId::XForwardedFor
        | HeaderId::XForwardedProto
        | HeaderId::XForwardedHost
        | HeaderId::XForwardedPort
        | HeaderId::XForwardedPrefix
        | HeaderId::XForwardedServer
        | HeaderId::XRealIp => true,
        _ => false,
    }
}

fn named(name: &[u8]) -> bool {
    let first = name.first().map_or(0, u8::to_ascii_lowercase);
    matches!(first, b'x' | b't' | b'c' | b'f')
        && (begins(name, b"X-Forwarded")
            || CLIENT_NAMES.iter().any(|known| known.len() == name.len() && begins(name, known.as_bytes())))
}

fn begins(name: &[u8], with: &[u8]) -> bool {
    let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-');
    name.len() >= with.len() && name.iter().zip(with).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_speak_for_the_client() {
        let speaks = |name: &str| {
            let name = name.as_bytes();
            speaks_for_client(&Header { id: HeaderId::of(name), name, value: b"" })
        };
        for name in ["Forwarded", "x-forwarded-for", "X-Forwarded-Ssl", "X_Forwarded_Prefix", "X-FORWARDED-PROTOCOL"] {
            assert!(speaks(name), "{name}");
        }
        assert!(CLIENT_NAMES.iter().all(|name| speaks(name) && speaks(&name.replace('-', "_").to_lowercase())));
        for name in ["X-Forward", "X-Request-ID", "X-Real-IPs", "Cookie", "X", "Front-End", "Host"] {
            assert!(!speaks(name), "{name}");
        }
    }
}
