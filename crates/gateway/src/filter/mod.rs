//! Response filters: each looks at the finished head, may change it, and may put itself between the body and the writer
//! ([`body::wrap`]). One that isn't configured costs a comparison.
//!
//! A new filter is one file, with its settings, and one line in [`FILTERS`]. The order is nginx's, for heads and bodies alike:
//! not_modified, headers (expires, add_header), userid, gunzip, addition, sub, charset, gzip, range.
//! A filter that is the main request's alone (headers, gzip, range) asks [`Exchange::is_main`].
pub mod add_headers;
pub mod body;
pub mod sendfile;

use crate::exchange::{Exchange, Response};

/// A filter.
type Filter = fn(&Exchange, &mut Response);

/// Every filter, in the order they run.
const FILTERS: &[Filter] = &[sendfile::restore, add_headers::apply];

/// Runs the filters of the route over a response.
pub fn apply(ex: &Exchange, response: &mut Response) {
    for filter in FILTERS {
        filter(ex, response);
    }
}
