//! Server names (nginx: server_name): exact, then the longest leading wildcard, then the longest trailing one, then the
//! first regular expression that matches.
use crate::regex::Regex;
use crate::tables::Table;
use crate::vars::Names;
use std::sync::Arc;

/// The names of one listening address.
#[derive(Debug, Default)]
pub struct NameTable {
    exact: Table<u32>,
    // `*.example.com` and `.example.com` under `.example.com`.
    leading: Table<u32>,
    // `www.example.*` under `www.example.`.
    trailing: Table<u32>,
    regexes: Vec<(Regex, u32)>,
}

/// The name tables of all listeners.
pub struct NameTables(pub Vec<Arc<NameTable>>);

impl NameTable {
    /// Adds a server's name; the first of two equal ones stays, as in nginx.
    pub fn insert(&mut self, name: &str, server: u32, names: &Names) -> Result<(), String> {
        if let Some(text) = name.strip_prefix('~') {
            self.regexes.push((Regex::compile(text, true, names)?, server));
            return Ok(());
        }
        let name = name.to_ascii_lowercase();
        let bytes = name.as_bytes();
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

    /// The server of a host in lower case, without port; and the regular expression that found it, for its groups.
    pub fn find(&self, host: &[u8]) -> Option<(u32, Option<&Regex>)> {
        if let Some(server) = self.exact.get(host) {
            return Some((*server, None));
        }
        if let Some(server) = self.wildcard(host) {
            return Some((server, None));
        }
        // One that gives up does not match; nginx refuses the request, but then any host could stop a server's others.
        let found = self.regexes.iter().find(|(regex, _)| regex.is_match(host).unwrap_or(false));
        found.filter(|_| !host.is_empty()).map(|(regex, server)| (*server, Some(regex)))
    }

    fn wildcard(&self, host: &[u8]) -> Option<u32> {
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
        for (i, name) in
            ["example.com", "*.example.com", "*.b.example.com", "www.example.*", ".dotted.org", "_", "", r"~^(.)\.re$"]
                .iter()
                .enumerate()
        {
            table.insert(name, i as u32, &Names::default()).unwrap();
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
            ("", Some(6)),
            ("_", Some(5)),
            ("x.re", Some(7)),
            ("xx.re", None),
            (".example.com", None),
        ];
        for (host, server) in cases {
            assert_eq!(table.find(host.as_bytes()).map(|found| found.0), server, "{host}");
        }
    }

    #[test]
    fn misplaced_wildcards_are_refused() {
        for name in ["a*.example.com", "*", "*.", "a.*.b", "*.a.*", "~("] {
            assert!(NameTable::default().insert(name, 0, &Names::default()).is_err(), "{name}");
        }
    }
}
