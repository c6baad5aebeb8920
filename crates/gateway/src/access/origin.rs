//! By where a browser says the request comes from, against forgery across sites: `Sec-Fetch-Site` (Fetch Metadata), else `Origin`
//! (RFC 6454 section 7) and the host the request is for.
//!
//! Programs that are no browsers send neither, and cannot be made to act for a user: they pass.
use crate::exchange::{Exchange, Request};
use crate::kept;
use crate::scope::{self, Boxed, Check, Compiling, Refusal, Room, Verdict};
use buchner_wire::method::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Access by origin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Requests that change something (all but GET, HEAD and OPTIONS) are refused with 403 if a browser says that another site made them. Default: false.
    pub check_origin: bool,
    /// Origins of other sites that may make such requests: `https://shop.example`, with a port if it has one. Default: none.
    pub trusted_origins: Vec<String>,
}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "Access by origin";

    fn compile(&self, _: &Compiling<'_>, out: &mut scope::Settings) -> Result<(), String> {
        let mut trusted = Vec::with_capacity(self.trusted_origins.len());
        for (i, origin) in self.trusted_origins.iter().enumerate() {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            if host.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#', '@', ' '])) {
                return Err(format!("trusted_origins[{i}]: {origin:?} is no origin: \"https://shop.example\" is"));
            }
            trusted.push(origin.to_ascii_lowercase().into_bytes().into());
        }
        if self.check_origin {
            out.checks.push(Box::new(Origins { trusted }));
        }
        Ok(())
    }
}

/// The compiled check.
struct Origins {
    trusted: Vec<Box<[u8]>>,
}

impl Origins {
    fn allows(&self, request: &Request) -> bool {
        if matches!(request.method, Method::Get | Method::Head | Method::Options) {
            return true;
        }
        let origin = request.headers.get_name(b"origin");
        if origin.is_some_and(|origin| self.trusted.iter().any(|one| one.eq_ignore_ascii_case(origin))) {
            return true;
        }
        match (request.headers.get_name(b"sec-fetch-site"), origin) {
            (Some(site), _) => matches!(site, b"same-origin" | b"none"),
            (None, Some(origin)) => host_of(origin).is_some_and(|host| is_host(request, host)),
            (None, None) => true,
        }
    }
}

/// The host of an origin, with its port; none of `null`.
fn host_of(origin: &[u8]) -> Option<&[u8]> {
    origin.strip_prefix(b"https://").or_else(|| origin.strip_prefix(b"http://"))
}

/// Whether that is the host the request is for. Its port is looked at as well, as far as the client has sent one.
fn is_host(request: &Request, host: &[u8]) -> bool {
    let sent = request.headers.get_name(b"host").unwrap_or(&request.host);
    host.eq_ignore_ascii_case(sent)
}

impl Check for Origins {
    fn verdict<'c>(&'c self, ex: &'c mut Exchange) -> Boxed<'c, crate::error::Result<Verdict>> {
        let allowed = self.allows(&ex.request);
        let refusal = || Refusal { status: 403, challenges: vec![], cause: "another site made the request".into() };
        // A password that the browser sends by itself is what a forged request relies on: no other check makes up for it.
        Box::pin(async move { Ok(if allowed { Verdict::Silent } else { Verdict::Final(refusal()) }) })
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Site;
    use serde_json::json;

    fn site() -> Site {
        Site::new(json!({
            "settings": {"check_origin": true, "trusted_origins": ["https://Shop.example:8443"]},
            "route": [{"path": "/", "content": {"respond": {"status": 200}}}],
        }))
    }

    #[test]
    fn another_site_changes_nothing() {
        let site = site();
        for (headers, status) in [
            ("", 200),
            ("Sec-Fetch-Site: same-origin", 200),
            ("Sec-Fetch-Site: none", 200),
            ("Sec-Fetch-Site: same-site", 403),
            ("Sec-Fetch-Site: cross-site", 403),
            ("Sec-Fetch-Site: cross-site\nOrigin: https://shop.example:8443", 200),
            ("Sec-Fetch-Site: cross-site\nOrigin: https://shop.example", 403),
            ("Sec-Fetch-Site: cross-site\nOrigin: https://example.com", 403),
            ("Origin: https://example.com", 200),
            ("Origin: http://EXAMPLE.com", 200),
            ("Origin: https://example.com:444", 403),
            ("Origin: https://example.com.evil.test", 403),
            ("Origin: null", 403),
            ("Origin: https://example.com:444\nHost: example.com:444", 200),
        ] {
            for method in ["POST", "PUT", "DELETE", "PATCH"] {
                assert_eq!(site.send(&format!("{method} /\n{headers}")).status, status, "{method} {headers}");
            }
            assert_eq!(site.send(&format!("GET /\n{headers}")).status, 200, "{headers}");
        }
    }

    #[test]
    fn it_neither_lets_in_nor_is_made_up_for_by_another_check() {
        let with = |rule: &str| {
            Site::new(json!({
                "settings": {"check_origin": true, "satisfy": "any", "access": [rule]},
                "route": [{"path": "/", "content": {"respond": {"status": 200}}}],
            }))
        };
        for (rule, site, status) in
            [("deny all", "same-origin", 403), ("allow all", "same-origin", 200), ("allow all", "cross-site", 403)]
        {
            let request = format!("POST /\nSec-Fetch-Site: {site}");
            assert_eq!(with(rule).send(&request).status, status, "{rule} {site}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for origin in ["shop.example", "https://", "https://a/b", "ftp://a", "*"] {
            let config = json!({"settings": {"check_origin": true, "trusted_origins": [origin]}});
            assert!(Site::check(config).err().unwrap_or_default().contains("is no origin"), "{origin}");
        }
    }
}
