//! Lists of media types that a filter works on (nginx: `gzip_types`, `sub_filter_types`, …).
use buchner_wire::headers::{HeaderId, Headers};
use std::collections::HashSet;

/// A compiled list.
#[derive(Debug, Default)]
pub struct Types {
    any: bool,
    names: HashSet<Box<[u8]>>,
}

impl Types {
    /// Compiles a list; `*` stands for every type.
    pub fn compile(names: &[String]) -> Self {
        Self {
            any: names.iter().any(|name| name == "*"),
            names: names.iter().map(|name| name.to_ascii_lowercase().into_bytes().into()).collect(),
        }
    }

    /// Whether a response's type is in the list, parameters aside. One without a type is not, unless every type is.
    pub fn has(&self, headers: &Headers) -> bool {
        if self.any {
            return true;
        }
        let Some(value) = headers.get(HeaderId::ContentType) else { return false };
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let name = value[..end].trim_ascii_end();
        if name.iter().any(u8::is_ascii_uppercase) {
            return self.names.contains(&*name.to_ascii_lowercase());
        }
        self.names.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(list: &[&str], kind: &str) -> bool {
        let mut headers = Headers::default();
        headers.push(HeaderId::ContentType, kind.as_bytes());
        Types::compile(&list.iter().map(ToString::to_string).collect::<Vec<_>>()).has(&headers)
    }

    #[test]
    fn parameters_and_case_do_not_count() {
        assert!(has(&["text/html", "text/css"], "text/css"));
        assert!(has(&["text/html"], "Text/HTML ; charset=utf-8"));
        assert!(has(&["*"], "image/png"));
        assert!(!has(&["text/html"], "text/htm"));
        assert!(!Types::compile(&["text/html".into()]).has(&Headers::default()));
    }
}
