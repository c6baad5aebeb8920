//! What a proxied route does differently than by default, compiled. Where nothing is configured there is none of it.
use super::config::{HttpVersion, Settings};
use super::cookie::Cookies;
use super::replace::Replace;
use crate::error::Result;
use crate::exchange::Exchange;
use crate::kinds::Text;
use crate::page;
use crate::settings::redirects;
use crate::vars::{Names, Sent, Template};
use buchner_wire::headers::{Header, HeaderId, Headers, is_valid_name};
use buchner_wire::target;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Fields of an answer whose meaning for the gateway can be ignored, as `proxy_ignore_headers` names them.
pub const IGNORABLE: [&str; 9] = [
    "X-Accel-Redirect",
    "X-Accel-Expires",
    "X-Accel-Limit-Rate",
    "X-Accel-Buffering",
    "X-Accel-Charset",
    "Expires",
    "Cache-Control",
    "Set-Cookie",
    "Vary",
];

/// A set of header ids.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdSet(u128);

impl IdSet {
    /// Adds one.
    pub fn insert(&mut self, id: HeaderId) {
        self.0 |= 1 << (id as u8);
    }

    /// It is one of them; names that are not known never are.
    pub fn contains(self, id: HeaderId) -> bool {
        id != HeaderId::Other && self.0 & (1 << (id as u8)) != 0
    }

    /// Adds the header of a response. True if it was there and may be there once.
    fn repeats(&mut self, id: HeaderId) -> bool {
        let there = self.contains(id);
        self.insert(id);
        there && SINGLE.contains(id)
    }

    /// A set that is known beforehand.
    const fn of(ids: &[HeaderId]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < ids.len() {
            set |= 1 << (ids[at] as u8);
            at += 1;
        }
        Self(set)
    }
}

/// Response headers that have one value: the first of several counts and goes on, as in nginx since 1.23.
const SINGLE: IdSet = IdSet::of(&[
    HeaderId::ContentType,
    HeaderId::Date,
    HeaderId::Server,
    HeaderId::LastModified,
    HeaderId::Etag,
    HeaderId::Location,
    HeaderId::Refresh,
    HeaderId::Expires,
    HeaderId::XAccelRedirect,
    HeaderId::XAccelExpires,
    HeaderId::XAccelLimitRate,
]);

/// The headers of a response without those that are ignored because there is one already.
pub fn without_repeated(headers: &Headers) -> Headers {
    let (mut headers, mut seen) = (headers.clone(), IdSet::default());
    headers.retain(|header| !seen.repeats(header.id));
    headers
}

/// Takes out the headers of a response that stay here: what the gateway hides or the options do, and repeated ones.
pub fn strip(options: Option<&Options>, status: u16, headers: &mut Headers) {
    headers.strip_hop_by_hop_of_response(status);
    let mut seen = IdSet::default();
    headers.retain(|header| {
        let hidden = match options {
            None => {
                header.id == HeaderId::ContentLength || (header.id != HeaderId::XAccelRedirect && is_hidden(header))
            }
            Some(options) => options.hides(header),
        };
        !hidden && !seen.repeats(header.id)
    });
    for id in [HeaderId::Server, HeaderId::Date] {
        // The upstream's word is passed on even if it says nothing: the writer leaves an empty one out.
        if options.is_some_and(|options| options.shown.ids.contains(id)) && !headers.contains(id) {
            headers.push(id, b"");
        }
    }
}

/// A set of header names.
#[derive(Debug, Default)]
struct NameSet {
    ids: IdSet,
    others: Vec<Box<[u8]>>,
}

impl NameSet {
    fn compile(names: &[String]) -> std::result::Result<Self, String> {
        let mut set = Self::default();
        for name in names {
            if !is_valid_name(name.as_bytes()) {
                return Err(format!("{name:?} is not the name of a header"));
            }
            match HeaderId::of(name.as_bytes()) {
                HeaderId::Other => set.others.push(name.as_bytes().into()),
                id => set.ids.insert(id),
            }
        }
        Ok(set)
    }

    fn contains(&self, header: &Header<'_>) -> bool {
        match header.id {
            HeaderId::Other => self.others.iter().any(|name| name.eq_ignore_ascii_case(header.name)),
            id => self.ids.contains(id),
        }
    }
}

/// What is done to `Location` and `Refresh`.
#[derive(Debug)]
pub enum Redirect {
    /// The URL of the upstream becomes the path of the route.
    Default,
    /// A text or an expression.
    Replace(Replace),
}

/// What is not as by default.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a directive of its own
pub struct Options {
    /// The method sent.
    pub method: Option<Template>,
    /// HTTP/1.0 is spoken.
    pub http10: bool,
    /// The body sent instead of the client's.
    pub body: Option<Template>,
    /// The client's body goes up.
    pub pass_body: bool,
    /// The client's fields go up.
    pub pass_headers: bool,
    /// The address connections come from.
    pub bind: Option<Template>,
    /// Bytes a second read of an answer.
    pub limit_rate: Option<Template>,
    /// Ranges are cut out of answers whether or not the upstream can.
    pub force_ranges: bool,
    /// The upstream's work goes on when the client leaves.
    pub ignore_client_abort: bool,
    /// TCP keep-alive probes.
    pub socket_keepalive: bool,
    /// Trailers go on to the client.
    pub trailers: bool,
    /// Early hints go on to the client where one of these says so.
    early_hints: Vec<Template>,
    hidden: NameSet,
    shown: NameSet,
    ignored: NameSet,
    redirects: Vec<Redirect>,
    cookies: Option<Cookies>,
}

impl Options {
    /// Compiles the settings; `None` where all is as by default.
    pub fn compile(raw: &Settings, names: &Names) -> std::result::Result<Option<Box<Self>>, String> {
        let template = |text: &Option<Text>, name: &str| match text {
            Some(text) => Template::compile(text, names).map(Some).map_err(|e| format!("{name}: {e}")),
            None => Ok(None),
        };
        let set = |list: &[String], name: &str| NameSet::compile(list).map_err(|e| format!("{name}: {e}"));
        let strange = |name: &&String| !IGNORABLE.iter().any(|known| known.eq_ignore_ascii_case(name));
        if let Some(name) = raw.proxy_ignore_headers.iter().find(strange) {
            return Err(format!("proxy_ignore_headers: {name:?} is none of {}", IGNORABLE.join(", ")));
        }
        let redirect = |replace: &super::config::Replace| {
            if &*replace.from == "default" && replace.to.is_empty() {
                return Ok(Redirect::Default);
            }
            Replace::compile(replace, names).map(Redirect::Replace).map_err(|e| format!("proxy_redirect: {e}"))
        };
        let options = Self {
            method: template(&raw.proxy_method, "proxy_method")?,
            http10: raw.proxy_http_version == HttpVersion::Http10,
            body: template(&raw.proxy_set_body, "proxy_set_body")?,
            pass_body: raw.proxy_pass_request_body,
            pass_headers: raw.proxy_pass_request_headers,
            bind: template(&raw.proxy_bind, "proxy_bind")?,
            limit_rate: template(&raw.proxy_limit_rate, "proxy_limit_rate")?,
            force_ranges: raw.proxy_force_ranges,
            ignore_client_abort: raw.proxy_ignore_client_abort,
            socket_keepalive: raw.proxy_socket_keepalive,
            trailers: raw.proxy_pass_trailers,
            early_hints: raw
                .early_hints
                .iter()
                .map(|text| Template::compile(text, names).map_err(|e| format!("early_hints: {e}")))
                .collect::<std::result::Result<_, _>>()?,
            hidden: set(&raw.proxy_hide_headers, "proxy_hide_headers")?,
            shown: set(&raw.proxy_pass_headers, "proxy_pass_headers")?,
            ignored: set(&raw.proxy_ignore_headers, "proxy_ignore_headers")?,
            redirects: raw.proxy_redirect.iter().map(redirect).collect::<std::result::Result<_, _>>()?,
            cookies: Cookies::compile(raw, names)?,
        };
        Ok((!Self::is_default(raw)).then(|| Box::new(options)))
    }

    /// Nothing but times, headers and the choice of servers is configured.
    fn is_default(raw: &Settings) -> bool {
        let default = Settings::default();
        let rest = Settings {
            connect_timeout: default.connect_timeout,
            upstream_send_timeout: default.upstream_send_timeout,
            read_timeout: default.read_timeout,
            set_headers: BTreeMap::new(),
            forwarded_headers: default.forwarded_headers,
            proxy_next_upstream: None,
            proxy_next_upstream_timeout: default.proxy_next_upstream_timeout,
            proxy_next_upstream_tries: default.proxy_next_upstream_tries,
            ..raw.clone()
        };
        rest == default
    }

    /// Passes early hints on, less what stays here.
    pub fn hint(&self, ex: &Exchange, headers: &Headers) {
        let wanted = |text: &Template| !matches!(&*text.value(ex, Sent::default()), b"" | b"0");
        let Some(interim) = ex.interim.as_ref().filter(|_| self.early_hints.iter().any(wanted)) else { return };
        let mut headers = headers.clone();
        headers.strip_hop_by_hop();
        headers.retain(|header| !self.hides(header));
        interim.send(103, &headers);
    }

    /// A field of an answer says nothing to the gateway.
    pub fn ignores(&self, id: HeaderId) -> bool {
        self.ignored.ids.contains(id)
    }

    /// A field of an answer stays here.
    pub fn hides(&self, header: &Header<'_>) -> bool {
        if header.id == HeaderId::XAccelRedirect && !self.ignores(header.id) {
            // Whoever follows it takes it out.
            return false;
        }
        match header.id {
            HeaderId::ContentLength => true,
            _ if is_hidden(header) => !self.shown.contains(header),
            _ => self.hidden.contains(header) && !self.shown.contains(header),
        }
    }

    /// Puts other values into the fields that lead to the upstream. `default` is its URL and the path that stands for it.
    pub fn rewrite(&self, ex: &Exchange, default: Option<(&[u8], &[u8])>, headers: &mut Headers) -> Result<()> {
        if !self.redirects.is_empty() {
            if let Some(location) = headers.get(HeaderId::Location) {
                if let Some(mut value) = self.redirect(ex, default, location)? {
                    if value.starts_with(b"/") && ex.settings().get::<redirects::Settings>().absolute_redirect {
                        let mut url = Vec::with_capacity(value.len() + 64);
                        page::write_origin(ex, &mut url);
                        url.append(&mut value);
                        value = url;
                    }
                    headers.set(HeaderId::Location, &target::encode(&value));
                }
            }
            if let Some(refresh) = headers.get(HeaderId::Refresh) {
                let at = refresh.windows(4).position(|part| part.eq_ignore_ascii_case(b"url=")).map(|at| at + 4);
                if let Some((start, url)) = at.map(|at| refresh.split_at(at)) {
                    if let Some(value) = self.redirect(ex, default, url)? {
                        let value = [start, &target::encode(&value)].concat();
                        headers.set(HeaderId::Refresh, &value);
                    }
                }
            }
        }
        match &self.cookies {
            Some(cookies) if headers.contains(HeaderId::SetCookie) => rewrite_cookies(cookies, ex, headers),
            _ => Ok(()),
        }
    }

    fn redirect(&self, ex: &Exchange, default: Option<(&[u8], &[u8])>, url: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut out = Vec::new();
        for redirect in &self.redirects {
            match redirect {
                Redirect::Default => {
                    let rest = default.and_then(|(from, to)| url.strip_prefix(from).map(|rest| [to, rest].concat()));
                    if rest.is_some() {
                        return Ok(rest);
                    }
                }
                Redirect::Replace(replace) if replace.apply(ex, url, &mut out)? => return Ok(Some(out)),
                Redirect::Replace(_) => {}
            }
        }
        Ok(None)
    }
}

fn rewrite_cookies(cookies: &Cookies, ex: &Exchange, headers: &mut Headers) -> Result<()> {
    let mut all = Vec::new();
    let mut changed = false;
    for cookie in headers.get_all(HeaderId::SetCookie) {
        let new = cookies.rewrite(ex, cookie)?;
        changed |= new.is_some();
        all.push(new.map_or_else(|| Bytes::copy_from_slice(cookie), Bytes::from));
    }
    if changed {
        headers.remove(HeaderId::SetCookie);
        for cookie in &all {
            headers.push(HeaderId::SetCookie, cookie);
        }
    }
    Ok(())
}

/// Fields of an answer that stay here unless they are asked for.
pub fn is_hidden(header: &Header<'_>) -> bool {
    match header.id {
        HeaderId::Date
        | HeaderId::Server
        | HeaderId::XAccelExpires
        | HeaderId::XAccelRedirect
        | HeaderId::XAccelLimitRate
        | HeaderId::XAccelBuffering
        | HeaderId::XAccelCharset => true,
        HeaderId::Other => header.name.len() == 5 && header.name.eq_ignore_ascii_case(b"x-pad"),
        _ => false,
    }
}
