//! Response filters: each looks at the finished head, may change it, and may put itself between the body and the writer
//! ([`body::wrap`]). One that isn't configured costs a comparison.
//!
//! A new filter is one file, with its settings, and one line in [`BEFORE`] or [`AFTER`]. The order is nginx's, for heads and
//! bodies alike: not_modified, headers (expires, add_header), userid, gunzip, addition, sub, charset, gzip, range.
//! not_modified ([`conditional`]) comes before error pages are looked for, so the pipeline calls it.
//! A filter that is the main request's alone (headers, gzip, range) asks [`Exchange::is_main`].
pub mod addition;
pub mod body;
pub mod charset;
pub mod conditional;
pub mod gunzip;
pub mod gzip;
pub mod headers;
pub mod limit_rate;
pub mod range;
pub mod sub_filter;
pub mod types;
pub mod userid;

use crate::accel;
use crate::config::Settings;
use crate::exchange::{Exchange, Response};
use crate::vars::Names;
use buchner_wire::headers::HeaderId;

/// A filter.
type Filter = fn(&Exchange, &mut Response);

/// Filters in front of the one that makes subrequests.
const BEFORE: &[Filter] = &[headers::apply, userid::apply, gunzip::apply];
/// Those behind it.
const AFTER: &[Filter] = &[sub_filter::apply, charset::apply, gzip::apply];
/// Those behind ranges.
const LAST: &[Filter] = &[headers::announce_trailers, limit_rate::apply];

/// The compiled settings of the filters; what is not configured is not there.
#[derive(Default)]
pub struct Filters {
    /// There is one at all.
    some: bool,
    /// Compression.
    pub gzip: Option<Box<gzip::Gzip>>,
    /// Who takes compressed answers.
    pub accepting: Option<Box<gzip::Accepting>>,
    /// Replacements.
    pub sub: Option<Box<sub_filter::SubFilter>>,
    /// Answers around the body.
    pub addition: Option<Box<addition::Addition>>,
    /// Charsets.
    pub charset: Option<Box<charset::Charset>>,
    /// How long answers keep.
    pub expires: Option<Box<headers::Expires>>,
    /// Fields of answers.
    pub headers: Vec<headers::Added>,
    /// Fields behind bodies.
    pub trailers: Vec<headers::Added>,
    /// Cookies that tell clients apart.
    pub userid: Option<Box<userid::UserId>>,
    /// Speed.
    pub limit_rate: Option<Box<limit_rate::LimitRate>>,
}

impl Filters {
    /// Compiles the filters of a group of settings.
    pub fn compile(settings: &Settings, names: &Names) -> Result<Self, String> {
        let boxed = |wanted: bool| wanted.then_some(());
        let mut filters = Self {
            gzip: boxed(settings.gzip).map(|()| gzip::Gzip::compile(settings)).transpose()?.map(Box::new),
            accepting: boxed(settings.gzip || settings.gunzip || settings.gzip_vary)
                .map(|()| gzip::Accepting::compile(settings, names))
                .transpose()?
                .map(Box::new),
            sub: boxed(!settings.sub_filter.is_empty())
                .map(|()| sub_filter::SubFilter::compile(settings, names))
                .transpose()?
                .map(Box::new),
            addition: boxed(settings.add_before_body.is_some() || settings.add_after_body.is_some())
                .map(|()| addition::Addition::compile(settings))
                .transpose()?
                .map(Box::new),
            charset: boxed(
                settings.charset.as_deref().is_some_and(|charset| charset != "off") || !settings.charset_map.is_empty(),
            )
            .map(|()| charset::Charset::compile(settings, names))
            .transpose()?
            .map(Box::new),
            expires: settings
                .expires
                .as_deref()
                .filter(|expires| *expires != "off")
                .map(|expires| headers::Expires::compile(expires, names).map_err(|e| format!("expires: {e}")))
                .transpose()?
                .map(Box::new),
            headers: headers::compile(&settings.add_headers, names).map_err(|e| format!("add_headers: {e}"))?,
            trailers: headers::compile(&settings.add_trailers, names).map_err(|e| format!("add_trailers: {e}"))?,
            userid: userid::UserId::compile(settings, names)?.map(Box::new),
            limit_rate: boxed(settings.limit_rate.is_some() || settings.limit_rate_after.is_some())
                .map(|()| {
                    let rate = settings.limit_rate.as_deref().unwrap_or("0");
                    limit_rate::LimitRate::compile(rate, settings.limit_rate_after.as_deref(), names)
                })
                .transpose()?
                .map(Box::new),
            ..Self::default()
        };
        filters.some = filters.gzip.is_some()
            || settings.gunzip
            || filters.sub.is_some()
            || filters.addition.is_some()
            || filters.charset.is_some()
            || filters.expires.is_some()
            || !filters.headers.is_empty()
            || !filters.trailers.is_empty()
            || filters.userid.is_some()
            || filters.limit_rate.is_some();
        Ok(filters)
    }
}

/// Runs the filters of the route over a response. Returns the answer in its place, if one of them refuses it.
pub async fn apply(ex: &Exchange, response: &mut Response) -> Option<Response> {
    accel::restore(ex, response);
    let filters = &ex.settings().filters;
    if response.status == 101 {
        return None;
    }
    if !filters.some {
        let refusal = range::apply(ex, response);
        // The request itself may have said so, or the upstream.
        limit_rate::apply(ex, response);
        return refusal;
    }
    for filter in BEFORE {
        filter(ex, response);
    }
    if filters.addition.is_some() {
        // Boxed: other routes don't pay for the size of this.
        Box::pin(addition::apply(ex, response)).await;
    }
    for filter in AFTER {
        filter(ex, response);
    }
    if let Some(refusal) = range::apply(ex, response) {
        return Some(refusal);
    }
    for filter in LAST {
        filter(ex, response);
    }
    None
}

/// Says that the answer depends on whether the client takes compressed ones, where `gzip_vary` wants that.
fn vary(ex: &Exchange, response: &mut Response) {
    let known = |value: &[u8]| memchr::memmem::find(&value.to_ascii_lowercase(), b"accept-encoding").is_some();
    if ex.settings().gzip_vary && !response.headers.get_all(HeaderId::Vary).any(known) {
        response.headers.push(HeaderId::Vary, b"Accept-Encoding");
    }
}

/// The entity tag of an answer whose bytes change is a weak one (RFC 9110 section 8.8.1).
fn weaken(response: &mut Response) {
    let Some(tag) = response.headers.get(HeaderId::Etag) else { return };
    if tag.starts_with(b"W/") {
        return;
    }
    if tag.starts_with(b"\"") {
        let weak = [b"W/", tag].concat();
        response.headers.set(HeaderId::Etag, &weak);
    } else {
        response.headers.remove(HeaderId::Etag);
    }
}
