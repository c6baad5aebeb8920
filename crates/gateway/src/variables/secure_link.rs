//! `$secure_link`: whether a link was made by whoever knows the secret (nginx: the secure_link module).
use crate::access::crypt;
use crate::exchange::Exchange;
use crate::kept;
use crate::kinds::Text;
use crate::scope::{self, Compiling, Room};
use crate::vars::template::Part;
use crate::vars::{Names, Sent, Template, Var, Variable};
use md5::{Digest, Md5};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::Write;

/// Secure links.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The sum that a link carries, and behind a comma the time it ends in seconds since 1970, with variables; `$secure_link` is the verdict (nginx: `secure_link`). Default: none.
    pub secure_link: Option<Text>,
    /// The text whose MD5 that sum must be, with variables (nginx: `secure_link_md5`). Default: none.
    pub secure_link_md5: Option<Text>,
    /// The secret of links of the form `/prefix/sum/link`; `$secure_link` is the link (nginx: `secure_link_secret`). Default: none.
    pub secure_link_secret: Option<String>,
}

kept!(Settings);
kept!(Option<SecureLink>);

impl Room for Settings {
    const TITLE: &'static str = "Secure links";
    const VARIABLES: &'static [Variable] = VARIABLES;

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        out.put_some(SecureLink::compile(self, cx.names)?);
        Ok(())
    }
}

/// The variables.
const VARIABLES: &[Variable] = &[
    Variable::new("secure_link", write, "`1` or the link if a link is valid, `0` if it has expired, else empty."),
    Variable::new("secure_link_expires", write_expires, "Time at which the link expires, in seconds since 1970."),
];

/// Bytes of an MD5 in hexadecimal digits.
const HEX: usize = 32;
/// … and the most there are in base64.
const BASE64: usize = 24;

/// What makes a link valid.
pub enum SecureLink {
    /// The sum in the path is that of the rest and a secret.
    Secret(Box<[u8]>),
    /// The sum in a text is that of another.
    Sum {
        /// The sum, and the time it ends.
        link: Template,
        /// What it is the sum of.
        of: Template,
    },
}

impl SecureLink {
    /// Compiles what the settings say of links.
    pub fn compile(settings: &Settings, names: &Names) -> Result<Option<Self>, String> {
        if let Some(secret) = &settings.secure_link_secret {
            if settings.secure_link.is_some() || settings.secure_link_md5.is_some() {
                return Err("secure_link_secret: it cannot be with secure_link or secure_link_md5".into());
            }
            return Ok(Some(Self::Secret(secret.as_bytes().into())));
        }
        let (Some(link), Some(of)) = (&settings.secure_link, &settings.secure_link_md5) else { return Ok(None) };
        let compile = |name: &str, text: &str| {
            let template = Template::compile(text, names).map_err(|e| format!("{name}: {e}"))?;
            let own = |part: &Part| match part {
                Part::Var(Var::Room(variable)) => variable.name == "secure_link",
                _ => false,
            };
            if template.parts().iter().any(own) {
                return Err(format!("{name}: $secure_link cannot be made of itself"));
            }
            Ok(template)
        };
        Ok(Some(Self::Sum { link: compile("secure_link", link)?, of: compile("secure_link_md5", of)? }))
    }
}

/// Writes `$secure_link`: the link itself or `1`, `0` where its time is over, nothing where it is not valid.
fn write(ex: &Exchange, sent: Sent<'_>, out: &mut Vec<u8>) {
    match ex.settings().get::<Option<SecureLink>>() {
        None => {}
        Some(SecureLink::Secret(secret)) => {
            if let Some(link) = link(&ex.request.target, secret) {
                out.extend_from_slice(link);
            }
        }
        Some(SecureLink::Sum { link, of }) => {
            let value = link.value(ex, sent);
            let Some((sum, ends)) = split(&value) else { return };
            let given = if sum.len() <= BASE64 { crypt::base64url(sum) } else { None };
            let made = Md5::digest(of.value(ex, sent));
            if given.is_some_and(|given| crypt::equal(&given, &made)) {
                let over = ends.is_some_and(|(ends, _)| ends < ex.thread.clock.unix_ms() / 1000);
                out.push(if over { b'0' } else { b'1' });
            }
        }
    }
}

/// Writes `$secure_link_expires`: the time in a link.
fn write_expires(ex: &Exchange, sent: Sent<'_>, out: &mut Vec<u8>) {
    if let Some(SecureLink::Sum { link, .. }) = ex.settings().get::<Option<SecureLink>>() {
        let value = link.value(ex, sent);
        if let Some((_, Some((_, text)))) = split(&value) {
            out.extend_from_slice(text);
        }
    }
}

/// The sum of a link and its time; `None` where the time is none.
#[allow(clippy::type_complexity)] // a number and the text it was read from
fn split(value: &[u8]) -> Option<(&[u8], Option<(u64, &[u8])>)> {
    let Some(at) = memchr::memchr(b',', value) else { return Some((value, None)) };
    let text = &value[at + 1..];
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let time = std::str::from_utf8(text).ok().filter(|_| digits).and_then(|text| text.parse().ok());
    time.filter(|time| *time > 0).map(|time| (&value[..at], Some((time, text))))
}

/// The link in a target of the form `/prefix/sum/link`, if the sum is right.
fn link<'t>(target: &'t [u8], secret: &[u8]) -> Option<&'t [u8]> {
    let rest = target.get(1..)?;
    let rest = &rest[memchr::memchr(b'/', rest)? + 1..];
    let at = memchr::memchr(b'/', rest).filter(|at| *at == HEX)?;
    let (sum, link) = (&rest[..at], &rest[at + 1..]);
    let mut made = Vec::with_capacity(HEX);
    for byte in Md5::new().chain_update(link).chain_update(secret).finalize() {
        let _ = write!(made, "{byte:02x}");
    }
    crypt::equal(&sum.to_ascii_lowercase(), &made).then_some(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_its_sum_in_its_path() {
        // printf file.txt?x=1key | md5sum
        let (made, sum) = ("2525b4c881ed0cda024cb98009ea3bd9", "a2ae9b8b2eb1b8d0c6e5e0d1b1d6f4aa");
        assert_eq!(link(format!("/p/{made}/file.txt?x=1").as_bytes(), b"key"), Some(&b"file.txt?x=1"[..]));
        assert_eq!(link(format!("/p/{made}/file.txt").as_bytes(), b"key"), None);
        assert_eq!(link(format!("/p/{sum}/file.txt?x=1").as_bytes(), b"key"), None);
        for target in ["", "/", "/p", "/p/", "/p/x/file", "*"] {
            assert_eq!(link(target.as_bytes(), b"key"), None, "{target}");
        }
    }

    #[test]
    fn times_are_numbers_above_zero() {
        assert_eq!(split(b"abc"), Some((&b"abc"[..], None)));
        assert_eq!(split(b"abc,12"), Some((&b"abc"[..], Some((12, &b"12"[..])))));
        for value in ["abc,", "abc,0", "abc,x", "abc,1,2", "abc,-1"] {
            assert_eq!(split(value.as_bytes()), None, "{value}");
        }
    }
}
