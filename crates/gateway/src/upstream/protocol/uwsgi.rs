//! uwsgi, the protocol of uWSGI (nginx: uwsgi_pass).
use super::Outbound;
use super::cgi::{self, Writing};
use crate::error::Result;
use buchner_wire::uwsgi::Writer;

/// Writes requests.
pub struct Uwsgi;

impl Writing for Uwsgi {
    const SCHEME: &'static str = "uwsgi";
    const SECURE_SCHEME: &'static str = "suwsgi";

    fn write(request: &Outbound<'_>, out: &mut Vec<u8>) -> Result<()> {
        let settings = request.ex.settings().get::<cgi::Settings>();
        let mut writer = Writer::new((settings.uwsgi_modifier1, settings.uwsgi_modifier2), out);
        cgi::write(request, &mut |name, value| writer.pair(name, value));
        let cause = "the request has more variables than the 64 KiB that uwsgi can carry";
        writer.finish().map_err(|_| cgi::unsayable(cause))
    }
}
