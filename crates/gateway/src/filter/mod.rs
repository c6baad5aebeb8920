//! Response filters: each looks at the finished head, may change it, and may put itself between the body and the writer
//! ([`body::wrap`]). One that isn't configured is not there.
//!
//! A new filter is one file, with its settings, and one line in the list of rooms (`modules.rs`). Its order is nginx's, for
//! header sections and bodies alike: not_modified, headers (expires, add_header), userid, gunzip, addition, sub, charset, gzip, range.
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
pub mod trailers;
pub mod transport;
pub mod types;
pub mod userid;

use crate::exchange::{Exchange, Response};
use crate::scope::Filtered;
use buchner_wire::headers::HeaderId;

/// Runs the filters of the route over a response. Returns the response to send instead, if one of them refuses it.
pub async fn apply(ex: &Exchange, response: &mut Response) -> Option<Response> {
    if response.status == 101 {
        return None;
    }
    for filter in &ex.settings().filters {
        match filter.apply(ex, response) {
            Filtered::Done => {}
            Filtered::Refused(instead) => return Some(*instead),
            Filtered::Wait(work) => work.await,
        }
    }
    None
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
