//! Where servers are.
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and port.
    Ip(SocketAddr),
    /// A name to resolve, and a port.
    Name(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Parses `host:port`, `[v6]:port`, `host`, `unix:/path`.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_suffix(':').unwrap_or(path);
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(format!("{text:?}: a Unix socket needs an absolute path, like unix:/run/app.sock"))
            };
        }
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return Ok(Self::Ip(addr));
        }
        if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(Self::Ip(SocketAddr::new(ip, default_port)));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => {
                (host, port.parse().map_err(|_| format!("{text:?}: {port:?} is not a port (1 to 65535)"))?)
            }
            None => (text, default_port),
        };
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if host.is_empty() || !host.chars().all(fine) {
            return Err(format!("{text:?} is not an address (host:port, [v6]:port or unix:/path)"));
        }
        Ok(Self::Name(host.to_ascii_lowercase(), port))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Name(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_and_bad_ones_say_why() {
        let fine = ["127.0.0.1:5000", "[::1]:5000", "localhost:5000", "unix:/run/a.sock"];
        for text in fine {
            assert_eq!(Address::parse(text, 80).unwrap().to_string(), text);
        }
        assert_eq!(Address::parse("localhost", 80).unwrap().to_string(), "localhost:80");
        assert_eq!(Address::parse("[::1]", 443).unwrap().to_string(), "[::1]:443");
        for text in ["", ":80", "a b:80", "host:99999", "unix:relative"] {
            assert!(Address::parse(text, 80).is_err(), "{text}");
        }
    }
}
