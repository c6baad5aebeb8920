//! SCGI (nginx: scgi_pass).
use super::Outbound;
use super::cgi::{self, Writing};
use crate::error::Result;
use buchner_wire::scgi::Writer;

/// Writes requests.
pub struct Scgi;

impl Writing for Scgi {
    const SCHEME: &'static str = "scgi";
    const SECURE_SCHEME: &'static str = "scgis";

    fn write(request: &Outbound<'_>, out: &mut Vec<u8>) -> Result<()> {
        let mut writer = Writer::new(request.body_length(), out);
        cgi::write(request, &mut |name, value| {
            // What has to be first is there.
            if name != b"CONTENT_LENGTH" && name != b"SCGI" {
                writer.pair(name, value);
            }
        });
        let cause = "a variable of the request has a NUL in it, which SCGI cannot carry";
        writer.finish().map_err(|_| cgi::unsayable(cause))
    }
}
