//! Set-Cookie of an upstream as its client gets it (nginx: proxy_cookie_domain, proxy_cookie_path, proxy_cookie_flags).
use super::config::Settings;
use super::replace::{Pattern, Replace};
use crate::error::Result;
use crate::exchange::Exchange;
use crate::vars::{Names, Sent, Template};

/// What is done to cookies.
#[derive(Debug)]
pub struct Cookies {
    domains: Vec<Replace>,
    paths: Vec<Replace>,
    flags: Vec<CookieFlags>,
}

#[derive(Debug)]
struct CookieFlags {
    cookie: Pattern,
    flags: Vec<Template>,
}

/// An attribute; the first is the cookie itself.
#[derive(Debug, PartialEq)]
struct Attribute {
    name: Vec<u8>,
    value: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Wanted {
    secure: Option<bool>,
    http_only: Option<bool>,
    same_site: Option<SameSite>,
}

#[derive(Clone, Copy, Debug)]
enum SameSite {
    Absent,
    Is(&'static str),
}

impl Cookies {
    /// Compiles the settings; `None` where cookies stay as they are.
    pub fn compile(raw: &Settings, names: &Names) -> std::result::Result<Option<Self>, String> {
        let domains = raw.proxy_cookie_domain.iter().map(|replace| Replace::domain(replace, names));
        let paths = raw.proxy_cookie_path.iter().map(|replace| Replace::compile(replace, names));
        let flags = raw.proxy_cookie_flags.iter().map(|flags| {
            let known = flags.flags.iter().all(|flag| flag.contains('$') || Wanted::default().add(flag.as_bytes()));
            if !known {
                return Err(format!("{:?}: an unknown flag", flags.flags));
            }
            let texts = flags.flags.iter().map(|flag| Template::compile(flag, names));
            let cookie = Pattern::compile(&flags.cookie, true, names)?;
            Ok(CookieFlags { cookie, flags: texts.collect::<std::result::Result<_, _>>()? })
        });
        let domains: Vec<_> = domains.collect::<std::result::Result<_, _>>().map_err(of("proxy_cookie_domain"))?;
        let paths: Vec<_> = paths.collect::<std::result::Result<_, _>>().map_err(of("proxy_cookie_path"))?;
        let flags: Vec<_> = flags.collect::<std::result::Result<_, _>>().map_err(of("proxy_cookie_flags"))?;
        let idle = domains.is_empty() && paths.is_empty() && flags.is_empty();
        Ok((!idle).then_some(Self { domains, paths, flags }))
    }

    /// The cookie with its attributes replaced; `None` if it stays as it is.
    pub fn rewrite(&self, ex: &Exchange, cookie: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut attributes: Vec<Attribute> = cookie.split(|byte| *byte == b';').map(parse).collect();
        if attributes.first().is_none_or(|first| first.value.is_none()) {
            // No cookie; nginx leaves it alone, too.
            return Ok(None);
        }
        let mut changed = false;
        for attribute in attributes.iter_mut().skip(1) {
            let Some(value) = &mut attribute.value else { continue };
            let domain = attribute.name.eq_ignore_ascii_case(b"domain");
            let rules = match () {
                () if domain => &self.domains,
                () if attribute.name.eq_ignore_ascii_case(b"path") => &self.paths,
                () => continue,
            };
            let mut out = Vec::new();
            for rule in rules {
                let found =
                    if domain { rule.apply_domain(ex, value, &mut out)? } else { rule.apply(ex, value, &mut out)? };
                if found {
                    *value = out;
                    changed = true;
                    break;
                }
            }
        }
        changed |= self.apply_flags(ex, &mut attributes)?;
        Ok(changed.then(|| join(&attributes)))
    }

    fn apply_flags(&self, ex: &Exchange, attributes: &mut Vec<Attribute>) -> Result<bool> {
        let Some(name) = attributes.first().map(|first| first.name.clone()) else { return Ok(false) };
        for rule in &self.flags {
            if !rule.cookie.is(ex, &name)? {
                continue;
            }
            let mut wanted = Wanted::default();
            for flag in &rule.flags {
                let flag = flag.value(ex, Sent::default());
                if !flag.is_empty() && !wanted.add(&flag) {
                    let flag = String::from_utf8_lossy(&flag).into_owned();
                    ex.log_error(&format!("proxy_cookie_flags: {flag:?} is an unknown flag"));
                }
            }
            wanted.apply(attributes);
            return Ok(true);
        }
        Ok(false)
    }
}

impl Wanted {
    /// Adds a flag by its name; false if there is none of this name.
    fn add(&mut self, flag: &[u8]) -> bool {
        match flag.to_ascii_lowercase().as_slice() {
            b"secure" => self.secure = Some(true),
            b"nosecure" => self.secure = Some(false),
            b"httponly" => self.http_only = Some(true),
            b"nohttponly" => self.http_only = Some(false),
            b"samesite=strict" => self.same_site = Some(SameSite::Is("Strict")),
            b"samesite=lax" => self.same_site = Some(SameSite::Is("Lax")),
            b"samesite=none" => self.same_site = Some(SameSite::Is("None")),
            b"nosamesite" => self.same_site = Some(SameSite::Absent),
            _ => return false,
        }
        true
    }

    fn apply(self, attributes: &mut Vec<Attribute>) {
        flag(attributes, "Secure", self.secure);
        flag(attributes, "HttpOnly", self.http_only);
        let Some(same_site) = self.same_site else { return };
        let at = find(attributes, "SameSite");
        match (at, same_site) {
            (Some(at), SameSite::Is(value)) => attributes[at].value = Some(value.into()),
            (None, SameSite::Is(value)) => {
                attributes.push(Attribute { name: b"SameSite".into(), value: Some(value.into()) });
            }
            (Some(at), SameSite::Absent) => {
                attributes.remove(at);
            }
            (None, SameSite::Absent) => {}
        }
    }
}

fn find(attributes: &[Attribute], name: &str) -> Option<usize> {
    let same = |attribute: &Attribute| attribute.name.eq_ignore_ascii_case(name.as_bytes());
    attributes.iter().skip(1).position(same).map(|at| at + 1)
}

fn flag(attributes: &mut Vec<Attribute>, name: &str, wanted: Option<bool>) {
    match (wanted, find(attributes, name)) {
        (Some(true), None) => attributes.push(Attribute { name: name.into(), value: None }),
        (Some(false), Some(at)) => {
            attributes.remove(at);
        }
        _ => {}
    }
}

fn parse(part: &[u8]) -> Attribute {
    let spaceless = |mut text: &[u8]| {
        while let Some(rest) = text.strip_prefix(b" ") {
            text = rest;
        }
        while let Some(rest) = text.strip_suffix(b" ") {
            text = rest;
        }
        text.to_vec()
    };
    match memchr::memchr(b'=', part) {
        Some(at) => Attribute { name: spaceless(&part[..at]), value: Some(spaceless(&part[at + 1..])) },
        None => Attribute { name: spaceless(part), value: None },
    }
}

fn join(attributes: &[Attribute]) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, attribute) in attributes.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b"; ");
        }
        out.extend_from_slice(&attribute.name);
        if let Some(value) = &attribute.value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    out
}

fn of(setting: &'static str) -> impl Fn(String) -> String {
    move |error| format!("{setting}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(cookie: &str, flags: &[&str]) -> String {
        let mut attributes: Vec<_> = cookie.as_bytes().split(|byte| *byte == b';').map(parse).collect();
        let mut wanted = Wanted::default();
        assert!(flags.iter().all(|flag| wanted.add(flag.as_bytes())));
        wanted.apply(&mut attributes);
        String::from_utf8(join(&attributes)).unwrap()
    }

    #[test]
    fn flags_are_added_replaced_and_taken_away() {
        assert_eq!(with("a=1;Path=/", &["secure", "httponly"]), "a=1; Path=/; Secure; HttpOnly");
        assert_eq!(with("a=1; secure; HTTPONLY", &["nosecure", "httponly"]), "a=1; HTTPONLY");
        assert_eq!(with("a=1; SameSite = Lax ; x", &["samesite=strict"]), "a=1; SameSite=Strict; x");
        assert_eq!(with("secure=1; samesite=none", &["nosecure", "nosamesite"]), "secure=1");
    }
}
