//! Transport security as responses ask for it: HSTS (RFC 6797), and cookies that stay in TLS.
use crate::exchange::{Exchange, Response};
use crate::kept;
use crate::scope::{self, Compiling, Filter, Filtered, Room};
use buchner_wire::headers::HeaderId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Transport security of responses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Browsers that have been here over https use nothing else for this time (HSTS): `365d`, with `includeSubDomains` and `preload` behind it where they are wanted; `off`. It is sent over https only, and not as long as a self-signed certificate is served. Default: off.
    pub hsts: Option<String>,
    /// Cookies that are set over https are marked `Secure`, so that browsers never send them in clear text. Default: false.
    pub secure_cookies: bool,
}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "Transport security";

    fn compile(&self, _: &Compiling<'_>, out: &mut scope::Settings) -> Result<(), String> {
        let hsts = self.hsts.as_deref().filter(|text| *text != "off").map(policy).transpose();
        let hsts = hsts.map_err(|e| format!("hsts: {e}"))?;
        if hsts.is_some() || self.secure_cookies {
            out.filters.push(Box::new(Transport { hsts, secure_cookies: self.secure_cookies }));
        }
        Ok(())
    }
}

/// The value of Strict-Transport-Security for a setting.
fn policy(text: &str) -> Result<Box<[u8]>, String> {
    let mut words = text.split_whitespace();
    let time = words.next().unwrap_or_default();
    let (number, unit) = time.split_at(time.find(|c: char| !c.is_ascii_digit()).unwrap_or(time.len()));
    let scale = match unit {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        "d" => Some(86_400),
        "w" => Some(7 * 86_400),
        "y" => Some(365 * 86_400),
        _ => None,
    };
    let seconds = number.parse::<u64>().ok().zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
    let seconds = seconds.ok_or_else(|| format!("{time:?} is not a time: \"365d\" is"))?;
    let mut value = format!("max-age={seconds}");
    let (mut subdomains, mut preload) = (false, false);
    for word in words {
        match word {
            "includeSubDomains" if !subdomains => subdomains = true,
            "preload" if !preload => preload = true,
            _ => return Err(format!("{word:?}: only includeSubDomains and preload stand after the time, once each")),
        }
        value.push_str("; ");
        value.push_str(word);
    }
    if preload && (!subdomains || seconds < 365 * 86_400) {
        return Err("preload is for a year at least, with includeSubDomains (https://hstspreload.org)".to_owned());
    }
    Ok(value.into_bytes().into())
}

/// Adds the header, and marks cookies.
struct Transport {
    hsts: Option<Box<[u8]>>,
    secure_cookies: bool,
}

impl Filter for Transport {
    fn apply<'f>(&'f self, ex: &'f Exchange, response: &'f mut Response) -> Filtered<'f> {
        if !ex.client.secure {
            return Filtered::Done;
        }
        let trusted = ex.client.tls.as_ref().is_none_or(|tls| !tls.self_signed);
        if let Some(value) = self.hsts.as_deref().filter(|_| trusted) {
            // What the app says of itself holds.
            if !response.headers.contains(HeaderId::StrictTransportSecurity) {
                response.headers.push(HeaderId::StrictTransportSecurity, value);
            }
        }
        if self.secure_cookies && response.headers.get_all(HeaderId::SetCookie).any(|cookie| !is_secure(cookie)) {
            let cookies: Vec<Vec<u8>> = response.headers.get_all(HeaderId::SetCookie).map(marked).collect();
            response.headers.remove(HeaderId::SetCookie);
            for cookie in &cookies {
                response.headers.push(HeaderId::SetCookie, cookie);
            }
        }
        Filtered::Done
    }
}

/// A cookie is for TLS alone already (RFC 6265 section 4.1.2.5).
fn is_secure(cookie: &[u8]) -> bool {
    cookie.split(|byte| *byte == b';').skip(1).any(|part| part.trim_ascii().eq_ignore_ascii_case(b"secure"))
}

fn marked(cookie: &[u8]) -> Vec<u8> {
    if is_secure(cookie) { cookie.to_vec() } else { [cookie, b"; Secure"].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_says_no_more_than_is_written() {
        for (text, value) in [
            ("365d", "max-age=31536000"),
            ("2y includeSubDomains preload", "max-age=63072000; includeSubDomains; preload"),
            ("0", "max-age=0"),
        ] {
            assert_eq!(policy(text).unwrap(), value.as_bytes().into());
        }
        for (text, words) in [
            ("", "not a time"),
            ("1 d", "\"d\": only includeSubDomains"),
            ("1d preload", "preload is for a year"),
            ("1d includeSubDomains includeSubDomains", "once each"),
            ("99999999999999999999d", "not a time"),
        ] {
            assert!(policy(text).unwrap_err().contains(words), "{text}");
        }
    }

    #[test]
    fn a_cookie_is_marked_once() {
        assert_eq!(marked(b"a=b; Path=/"), b"a=b; Path=/; Secure");
        assert_eq!(marked(b"a=secure"), b"a=secure; Secure");
        assert_eq!(marked(b"a=b;secure ; Path=/"), b"a=b;secure ; Path=/");
    }
}
