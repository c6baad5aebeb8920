//! Browsers that went wrong with connections kept open.
use buchner_wire::headers::{HeaderId, Headers};
use buchner_wire::method::Method;
use memchr::memmem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A browser (nginx: `keepalive_disable`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OldBrowser {
    /// Internet Explorer up to 6, without the service pack that mended it.
    Msie6,
    /// Safari on macOS.
    Safari,
}

impl OldBrowser {
    /// The request is one of its, and of those that went wrong.
    pub fn sent(self, method: &Method, headers: &Headers) -> bool {
        let agent = headers.get(HeaderId::UserAgent).unwrap_or_default();
        let has = |text: &str| memmem::find(agent, text.as_bytes()).is_some();
        match self {
            Self::Msie6 => *method == Method::Post && !has("Opera") && is_old_explorer(agent),
            Self::Safari => {
                has("Safari/") && has("Mac OS X") && !["MSIE ", "Opera", "Gecko/", "Chrome/"].into_iter().any(has)
            }
        }
    }
}

fn is_old_explorer(agent: &[u8]) -> bool {
    let Some(at) = memmem::find(agent, b"MSIE ") else { return false };
    match agent[at + 5..] {
        [b'4' | b'5', b'.', ..] => true,
        [b'6', b'.', ref rest @ ..] => memmem::find(rest, b"SV1").is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_browsers_are_known_by_their_names() {
        let safari = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_6) AppleWebKit/533 (KHTML, like Gecko) Safari/533";
        let chrome =
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) AppleWebKit/537 (KHTML, like Gecko) Chrome/120 Safari/537";
        for (agent, method, msie6, is_safari) in [
            ("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)", Method::Post, true, false),
            ("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)", Method::Get, false, false),
            ("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)", Method::Post, false, false),
            ("Mozilla/4.0 (compatible; MSIE 5.5)", Method::Post, true, false),
            ("Mozilla/4.0 (compatible; MSIE 7.0)", Method::Post, false, false),
            ("Mozilla/4.0 (compatible; MSIE 6.0; X11) Opera 9", Method::Post, false, false),
            ("MSIE ", Method::Post, false, false),
            (safari, Method::Get, false, true),
            (chrome, Method::Get, false, false),
            ("", Method::Post, false, false),
        ] {
            let mut headers = Headers::default();
            headers.push(HeaderId::UserAgent, agent.as_bytes());
            assert_eq!(OldBrowser::Msie6.sent(&method, &headers), msie6, "{agent}");
            assert_eq!(OldBrowser::Safari.sent(&method, &headers), is_safari, "{agent}");
        }
    }
}
