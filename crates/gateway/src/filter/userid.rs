//! A cookie that tells clients apart (nginx: the userid module). Its value is 16 bytes in base64: service, time, process, count.
use crate::clock::utc;
use crate::exchange::{Exchange, Response};
use crate::kept;
use crate::observe::level::Level;
use crate::scope::{self, Compiling, Filter, Filtered, Room};
use crate::vars::{Names, Sent, Template, Var, Variable};
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use base64::{Engine as _, alphabet};
use buchner_wire::headers::{HeaderId, is_valid_value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// User ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A cookie that tells clients apart: `off`, `log`, `v1`, `on` (nginx: `userid`). Default: off.
    pub userid: Enable,
    /// Its name (nginx: `userid_name`). Default: uid.
    pub userid_name: String,
    /// Its domain (nginx: `userid_domain`). Default: none.
    pub userid_domain: Option<String>,
    /// Its path (nginx: `userid_path`). Default: /.
    pub userid_path: String,
    /// How long it keeps: `off` for the session, `max`, or a time (nginx: `userid_expires`). Default: off.
    pub userid_expires: Option<String>,
    /// Value of a `P3P` header beside it (nginx: `userid_p3p`). Default: none.
    pub userid_p3p: Option<String>,
    /// A letter or digit that marks it; one without is set again (nginx: `userid_mark`). Default: off.
    pub userid_mark: Option<String>,
    /// Number of the service in it (nginx: `userid_service`). Default: the server's address.
    pub userid_service: Option<u32>,
    /// Its flags: `secure`, `httponly`, `samesite=lax`, … (nginx: `userid_flags`). Default: none.
    pub userid_flags: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            userid: Enable::Off,
            userid_name: "uid".into(),
            userid_domain: None,
            userid_path: "/".into(),
            userid_expires: None,
            userid_p3p: None,
            userid_mark: None,
            userid_service: None,
            userid_flags: Vec::new(),
        }
    }
}

kept!(Settings);
kept!(Option<Arc<UserId>>);

impl Room for Settings {
    const TITLE: &'static str = "User ids";
    const VARIABLES: &'static [Variable] = VARIABLES;

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        if let Some(userid) = UserId::compile(self, cx.names)? {
            let userid = Arc::new(userid);
            out.filters.push(Box::new(userid.clone()));
            out.put(Some(userid));
        }
        Ok(())
    }
}

/// The variables.
const VARIABLES: &[Variable] = &[
    Variable::new("uid_got", write_got, "Name and value of the userid cookie that the client sent."),
    Variable::new(
        "uid_reset",
        |_, _, _| {},
        "Defined by the configuration: not empty and not 0, the client gets a new cookie.",
    )
    .definable(),
    Variable::new("uid_set", write_set, "Name and value of the userid cookie issued for this request."),
];

const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, NO_PAD.with_decode_allow_trailing_bits(true));
/// Flags of a cookie, in the order they are sent in.
const FLAGS: [&str; 5] = ["secure", "httponly", "samesite=strict", "samesite=lax", "samesite=none"];
/// Letters of a value without the padding.
const LETTERS: usize = 22;
/// The lowest byte of a count says which version of the format it is.
const VERSION_1: u32 = 1;
const VERSION_2: u32 = 2;

/// Whether clients get a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Enable {
    /// Neither set nor read.
    #[default]
    Off,
    /// Read, for `$uid_got`.
    Log,
    /// Set in the older format.
    V1,
    /// Set.
    On,
}

/// The compiled settings.
pub struct UserId {
    enable: Enable,
    name: Box<str>,
    expires: Expires,
    /// `; domain=…; path=…` and flags.
    tail: Box<str>,
    p3p: Option<Box<str>>,
    mark: Option<u8>,
    service: Option<u32>,
    /// `$uid_reset`, where the configuration defines it.
    reset: Option<Template>,
}

enum Expires {
    Session,
    Max,
    After(u64),
}

impl UserId {
    /// Compiles the settings; none if the module is off.
    pub fn compile(settings: &Settings, names: &Names) -> Result<Option<Self>, String> {
        if settings.userid == Enable::Off {
            return Ok(None);
        }
        let expires = match settings.userid_expires.as_deref() {
            None | Some("off") => Expires::Session,
            Some("max") => Expires::Max,
            Some(text) => Expires::After(
                super::headers::seconds(text)
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .ok_or_else(|| format!("userid_expires: {text:?} is none of off, max and a time"))?,
            ),
        };
        let mark = match settings.userid_mark.as_deref().unwrap_or("off").as_bytes() {
            b"off" => None,
            [mark @ (b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'=')] => Some(*mark),
            _ => return Err("userid_mark: a letter, a digit or = is a mark".into()),
        };
        let mut tail = String::new();
        if let Some(domain) = settings.userid_domain.as_deref().filter(|domain| *domain != "none") {
            tail.push_str("; domain=");
            tail.push_str(domain);
        }
        tail.push_str("; path=");
        tail.push_str(&settings.userid_path);
        let known = |flag: &&String| *flag == "off" || FLAGS.contains(&flag.as_str());
        if let Some(flag) = settings.userid_flags.iter().find(|flag| !known(flag)) {
            return Err(format!("userid_flags: {flag:?} is no flag of a cookie"));
        }
        for flag in FLAGS.iter().filter(|flag| settings.userid_flags.iter().any(|set| set == *flag)) {
            tail.push_str("; ");
            tail.push_str(flag);
        }
        let name = settings.userid_name.as_str();
        if !is_valid_value(tail.as_bytes()) || !buchner_wire::headers::is_valid_name(name.as_bytes()) {
            return Err("userid: a cookie cannot have this name, domain or path".into());
        }
        let p3p = settings.userid_p3p.as_deref().filter(|p3p| *p3p != "none").map(Into::into);
        let service = settings.userid_service;
        let reset = names.find("uid_reset").filter(|var| matches!(var, Var::User(_))).map(Template::of);
        let (enable, name, tail) = (settings.userid, name.into(), tail.into());
        Ok(Some(Self { enable, name, expires, tail, p3p, mark, service, reset }))
    }

    /// Whether `$uid_reset` says that the client gets a new cookie in place of the one it has, and that this is logged.
    fn resets(&self, ex: &Exchange) -> Option<bool> {
        let value = self.reset.as_ref()?.value(ex, Sent::default());
        (!matches!(value.as_slice(), b"" | b"0")).then_some(value == b"log")
    }

    /// The client's cookie.
    fn cookie<'e>(&self, ex: &'e Exchange) -> Option<&'e [u8]> {
        ex.request
            .headers
            .get_all(HeaderId::Cookie)
            .flat_map(|field| field.split(|byte| *byte == b';'))
            .find_map(|pair| pair.trim_ascii().strip_prefix(self.name.as_bytes())?.strip_prefix(b"="))
    }

    fn got(&self, ex: &Exchange) -> Option<[u8; 16]> {
        decode(self.cookie(ex)?.get(..LETTERS)?)
    }

    /// What the client is given, if anything; the same however often it is asked.
    fn given(&self, ex: &Exchange) -> Option<[u8; 16]> {
        if matches!(self.enable, Enable::Off | Enable::Log) {
            return None;
        }
        let Some(got) = self.got(ex) else { return Some(*ex.uid.get_or_init(|| self.make(ex))) };
        if let Some(logged) = self.resets(ex) {
            return Some(*ex.uid.get_or_init(|| {
                if logged {
                    let mut cookie = Vec::new();
                    write(&self.name, Some(got), &mut cookie);
                    ex.log(Level::Notice, &format!("userid cookie \"{}\" was reset", String::from_utf8_lossy(&cookie)));
                }
                self.make(ex)
            }));
        }
        // A cookie without the mark is given again, with it.
        let mark = self.mark?;
        let marked = self.cookie(ex).and_then(|cookie| cookie.get(LETTERS..LETTERS + 2)) == Some(&[mark, b'=']);
        (!marked).then_some(got)
    }

    fn make(&self, ex: &Exchange) -> [u8; 16] {
        static COUNT: AtomicU32 = AtomicU32::new(0x03_0303);
        let count = COUNT.fetch_add(1, Ordering::Relaxed) << 8;
        let unix_ms = ex.thread.clock.unix_ms();
        let process = ((unix_ms as u32) << 16) | (std::process::id() & 0xffff);
        let local = match ex.client.local.ip() {
            Some(std::net::IpAddr::V4(ip)) => u32::from(ip),
            Some(std::net::IpAddr::V6(ip)) => ip
                .octets()
                .chunks(4)
                .fold(0, |sum, part| sum ^ part.iter().fold(0, |word, byte| (word << 8) | u32::from(*byte))),
            None => 0,
        };
        let old = self.enable == Enable::V1;
        let service = self.service.unwrap_or(if old { 0 } else { local });
        let version = if old { VERSION_1 } else { VERSION_2 };
        let mut bytes = [0; 16];
        for (at, word) in [service, (unix_ms / 1000) as u32, process, count | version].into_iter().enumerate() {
            let word = if old { word.to_ne_bytes() } else { word.to_be_bytes() };
            bytes[at * 4..at * 4 + 4].copy_from_slice(&word);
        }
        bytes
    }
}

impl Filter for Arc<UserId> {
    fn apply<'f>(&'f self, ex: &'f Exchange, response: &'f mut Response) -> Filtered<'f> {
        set_cookie(self, ex, response);
        Filtered::Done
    }
}

fn set_cookie(userid: &UserId, ex: &Exchange, response: &mut Response) {
    if !ex.is_main() {
        return;
    }
    let Some(given) = userid.given(ex) else { return };
    let mut value = format!("{}=", userid.name).into_bytes();
    value.extend_from_slice(encode(given).as_bytes());
    value.extend_from_slice(&[userid.mark.unwrap_or(b'='), b'=']);
    match userid.expires {
        Expires::Session => {}
        Expires::Max => value.extend_from_slice(b"; expires=Thu, 31-Dec-37 23:55:55 GMT"),
        Expires::After(seconds) => {
            value.extend_from_slice(b"; expires=");
            cookie_date(ex.thread.clock.unix_ms() / 1000 + seconds, &mut value);
        }
    }
    value.extend_from_slice(userid.tail.as_bytes());
    response.headers.push(HeaderId::SetCookie, &value);
    if let Some(p3p) = &userid.p3p {
        response.headers.push_name(b"P3P", p3p.as_bytes());
    }
}

/// `$uid_got`: the name and the client's cookie in hexadecimal.
fn write_got(ex: &Exchange, _sent: Sent<'_>, out: &mut Vec<u8>) {
    if let Some(userid) = ex.settings().get::<Option<Arc<UserId>>>() {
        write(&userid.name, userid.got(ex), out);
    }
}

/// `$uid_set`: the name and the cookie the client is given.
fn write_set(ex: &Exchange, _sent: Sent<'_>, out: &mut Vec<u8>) {
    if let Some(userid) = ex.settings().get::<Option<Arc<UserId>>>() {
        write(&userid.name, userid.given(ex), out);
    }
}

fn write(name: &str, uid: Option<[u8; 16]>, out: &mut Vec<u8>) {
    let Some(uid) = uid else { return };
    let _ = write!(out, "{name}=");
    for word in uid.chunks(4) {
        let word = word.iter().rev().fold(0u32, |word, byte| (word << 8) | u32::from(*byte));
        let _ = write!(out, "{word:08X}");
    }
}

/// `Wdy, DD-Mon-YY HH:MM:SS GMT`; a year that two digits cannot tell has four.
fn cookie_date(unix: u64, out: &mut Vec<u8>) {
    let time = utc(unix);
    let year = if time.year() > 2037 { "%Y" } else { "%y" };
    let _ = write!(out, "{}", time.strftime(&format!("%a, %d-%b-{year} %H:%M:%S GMT")));
}

fn encode(bytes: [u8; 16]) -> String {
    BASE64.encode(bytes)
}

fn decode(letters: &[u8]) -> Option<[u8; 16]> {
    BASE64.decode(letters).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Site, response};
    use serde_json::{Value, json};

    #[test]
    fn base64_there_and_back() {
        let bytes = [127, 0, 0, 1, 0x51, 0x2c, 0xb0, 0x66, 0xfb, 0xff, 0, 1, 2, 3, 3, 3];
        assert_eq!(encode(bytes), "fwAAAVEssGb7/wABAgMDAw");
        assert_eq!(decode(encode(bytes).as_bytes()), Some(bytes));
        assert_eq!(decode(b"fwAAAVEssGb7/wABAgMDA!"), None);
        let mut out = Vec::new();
        write("uid", Some(bytes), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "uid=0100007F66B02C510100FFFB03030302");
    }

    #[test]
    fn dates_of_cookies() {
        let mut out = Vec::new();
        cookie_date(784_111_777, &mut out);
        assert_eq!(out, b"Sun, 06-Nov-94 08:49:37 GMT");
        out.clear();
        cookie_date(4_102_444_800, &mut out);
        assert_eq!(out, b"Fri, 01-Jan-2100 00:00:00 GMT");
    }

    fn site(settings: &Value) -> Site {
        Site::new(json!({"settings": settings, "route": [{"path": "/"}]}))
    }

    /// The value that the client is given, and the rest of the cookie.
    fn given(settings: &Value, request: &str) -> (String, String) {
        let site = site(settings);
        let cookie = site.filter(&site.exchange(request), response(200, "text/plain", "x")).header("Set-Cookie");
        let (value, rest) = cookie.split_once(';').map_or((cookie.as_str(), ""), |(value, rest)| (value, rest));
        (value.to_owned(), rest.to_owned())
    }

    const SENT: &str = "GET /\nCookie: a=b; uid=fwAAAVEssGb7/wABAgMDAw==";

    #[test]
    fn a_client_without_the_cookie_gets_one() {
        let settings =
            json!({"userid": "on", "userid_domain": "a.org", "userid_path": "/p", "userid_flags": ["httponly"]});
        let (value, rest) = given(&settings, "GET /");
        assert_eq!((value.len(), &value[..4], &value[26..]), (28, "uid=", "=="));
        assert_eq!(rest, " domain=a.org; path=/p; httponly");
    }

    #[test]
    fn a_client_with_the_cookie_keeps_it() {
        assert_eq!(given(&json!({"userid": "on"}), SENT).0, "");
        assert_ne!(given(&json!({"userid": "on", "userid_name": "other"}), SENT).0, "");
        assert_ne!(given(&json!({"userid": "on"}), "GET /\nCookie: uid=short").0, "");
    }

    #[test]
    fn a_cookie_without_the_mark_is_given_again_with_it() {
        let settings = json!({"userid": "on", "userid_mark": "A"});
        assert_eq!(given(&settings, SENT).0, "uid=fwAAAVEssGb7/wABAgMDAwA=");
        assert_eq!(given(&settings, &SENT.replace("==", "A=")).0, "");
    }

    #[test]
    fn off_and_log_set_nothing_and_log_reads() {
        for (mode, got) in [("off", ""), ("log", "uid=0100007F66B02C510100FFFB03030302")] {
            let site = site(&json!({"userid": mode}));
            let mut ex = site.exchange(SENT);
            site.run(&mut ex);
            assert_eq!(site.value(&ex, "$uid_got$uid_set"), got, "{mode}");
            assert_eq!(given(&json!({"userid": mode}), "GET /").0, "");
        }
    }

    #[test]
    fn the_variable_is_what_the_header_says() {
        let site = site(&json!({"userid": "v1", "userid_service": 7, "userid_expires": "max", "userid_p3p": "x"}));
        let ex = site.exchange("GET /");
        let answer = site.filter(&ex, response(200, "text/plain", "x"));
        let cookie = answer.header("Set-Cookie");
        let mut told = Vec::new();
        write("uid", decode(&cookie.as_bytes()[4..26]), &mut told);
        assert_eq!(site.value(&ex, "$uid_set").as_bytes(), told);
        assert!(cookie.ends_with("; expires=Thu, 31-Dec-37 23:55:55 GMT; path=/"), "{cookie}");
        assert_eq!(answer.header("P3P"), "x");
    }

    #[test]
    fn uid_reset_gives_another_cookie() {
        let site = Site::new(json!({
            "settings": {"userid": "on"},
            "variable": [{"name": "uid_reset", "value": {"map": {"source": "$arg_reset", "default": "$arg_reset"}}}],
            "route": [{"path": "/"}],
        }));
        for (query, resets) in [("", false), ("?reset=0", false), ("?reset=1", true), ("?reset=log", true)] {
            let ex = site.exchange(&SENT.replace("GET /", &format!("GET /{query}")));
            let answer = site.filter(&ex, response(200, "text/plain", "x"));
            assert_eq!(!answer.header("Set-Cookie").is_empty(), resets, "{query}");
            assert_eq!(!site.log.errors().is_empty(), query == "?reset=log", "{query}");
        }
    }
}
