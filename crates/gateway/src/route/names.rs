//! Server names (nginx: server_name): exact, then the longest leading wildcard, then the longest trailing one.
use std::collections::HashMap;

/// The names of one listening address.
#[derive(Debug, Default)]
pub struct NameTable {
    exact: HashMap<Box<[u8]>, u32>,
    // `*.example.com` and `.example.com` under `.example.com`.
    leading: HashMap<Box<[u8]>, u32>,
    // `www.example.*` under `www.example.`.
    trailing: HashMap<Box<[u8]>, u32>,
}

impl NameTable {
    /// Adds a server's name; the first of two equal ones stays, as in nginx.
    pub fn insert(&mut self, name: &str, server: u32) -> Result<(), String> {
        let name = name.to_ascii_lowercase();
        let bytes = name.as_bytes();
        if name == "_" || name.is_empty() {
            return Ok(());
        }
        if let Some(rest) = name.strip_prefix("*.").or_else(|| name.strip_prefix('.')) {
            if rest.is_empty() || rest.contains('*') {
                return Err(format!(
                    "server name {name:?}: a wildcard is a whole first or last label, like *.example.com"
                ));
            }
            self.leading.entry(format!(".{rest}").into_bytes().into()).or_insert(server);
            if bytes[0] == b'.' {
                self.exact.entry(rest.as_bytes().into()).or_insert(server);
            }
        } else if let Some(rest) = name.strip_suffix(".*") {
            if rest.is_empty() || rest.contains('*') {
                return Err(format!(
                    "server name {name:?}: a wildcard is a whole first or last label, like www.example.*"
                ));
            }
            self.trailing.entry(format!("{rest}.").into_bytes().into()).or_insert(server);
        } else if name.contains('*') {
            return Err(format!("server name {name:?}: a wildcard is a whole first or last label, like *.example.com"));
        } else {
            self.exact.entry(bytes.into()).or_insert(server);
        }
        Ok(())
    }

    /// The server of a host in lower case, without port.
    pub fn find(&self, host: &[u8]) -> Option<u32> {
        if let Some(server) = self.exact.get(host) {
            return Some(*server);
        }
        if !self.leading.is_empty() {
            let longest =
                memchr::memchr_iter(b'.', host).filter(|at| *at > 0).find_map(|at| self.leading.get(&host[at..]));
            if longest.is_some() {
                return longest.copied();
            }
        }
        if self.trailing.is_empty() {
            return None;
        }
        memchr::memrchr_iter(b'.', host).find_map(|at| self.trailing.get(&host[..=at])).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_order_of_precedence() {
        let mut table = NameTable::default();
        for (i, name) in ["example.com", "*.example.com", "*.b.example.com", "www.example.*", ".dotted.org", "_", ""]
            .iter()
            .enumerate()
        {
            table.insert(name, i as u32).unwrap();
        }
        let cases = [
            ("example.com", Some(0)),
            ("a.example.com", Some(1)),
            ("a.b.example.com", Some(2)),
            ("b.example.com", Some(1)),
            ("www.example.com", Some(1)),
            ("www.example.org", Some(3)),
            ("www.example.co.uk", Some(3)),
            ("dotted.org", Some(4)),
            ("x.y.dotted.org", Some(4)),
            ("other", None),
            ("", None),
            (".example.com", None),
        ];
        for (host, server) in cases {
            assert_eq!(table.find(host.as_bytes()), server, "{host}");
        }
    }

    #[test]
    fn misplaced_wildcards_are_refused() {
        for name in ["a*.example.com", "*", "*.", "a.*.b", "*.a.*"] {
            assert!(NameTable::default().insert(name, 0).is_err(), "{name}");
        }
    }
}
