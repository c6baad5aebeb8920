//! `add_headers` (nginx: add_header): fields added to answers with the statuses nginx names.
use crate::exchange::{Exchange, Response};
use crate::vars::Sent;
use buchner_wire::headers::is_valid_value;

/// Adds the configured fields.
pub fn apply(ex: &Exchange, response: &mut Response) {
    let settings = ex.settings();
    if settings.add_headers.is_empty() || !ex.is_main() || !applies(response.status) {
        return;
    }
    let mut added = Vec::with_capacity(settings.add_headers.len());
    for header in &settings.add_headers {
        let sent = Sent { status: response.status, headers: Some(&response.headers), ..Sent::default() };
        let mut value = Vec::new();
        header.value.write(ex, sent, &mut value);
        // A variable may carry what the client sent; a value that could split the response is dropped.
        if !value.is_empty() && is_valid_value(&value) {
            added.push((&header.name, value));
        }
    }
    for (name, value) in added {
        response.headers.push_name(name, &value);
    }
}

fn applies(status: u16) -> bool {
    matches!(status, 200 | 201 | 204 | 206 | 301 | 302 | 303 | 304 | 307 | 308)
}
