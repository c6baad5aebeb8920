//! Response filters: each looks at the finished head and may change it. One that isn't configured costs a comparison.
pub mod add_headers;
pub mod sendfile;

use crate::exchange::{Exchange, Response};

/// Every filter, in the order they run.
const FILTERS: &[fn(&Exchange, &mut Response)] = &[sendfile::restore, add_headers::apply];

/// Runs the filters of the route over a response.
pub fn apply(ex: &Exchange, response: &mut Response) {
    for filter in FILTERS {
        filter(ex, response);
    }
}
