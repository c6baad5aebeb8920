//! FastCGI (nginx: fastcgi_pass).
use super::cgi::{self, LIMITS};
use super::{Frame, Outbound, Pairs, Protocol};
use crate::error::Result;
use buchner_wire::cgi as wire;
use buchner_wire::chunked::{BodyDecoder, Decoded};
use buchner_wire::fastcgi::{self, Event};
use buchner_wire::h1::{Framing, ResponseHead};
use buchner_wire::malformed::Malformed;
use buchner_wire::method::Method;
use bytes::BytesMut;

/// A request and its response.
pub struct FastCgi {
    method: Method,
    keep: bool,
    records: fastcgi::Reader,
    /// What came as output and was not taken yet.
    output: BytesMut,
    /// Bytes of the head that were looked at.
    scanned: usize,
    body: Option<BodyDecoder>,
}

impl FastCgi {
    /// Takes output out of the records; the event says why there is no more of it.
    fn fill(&mut self, buf: &mut BytesMut) -> std::result::Result<Event, Malformed> {
        loop {
            match self.records.read(buf)? {
                Event::Stdout(bytes) if self.output.is_empty() => self.output = bytes.into(),
                Event::Stdout(bytes) => self.output.extend_from_slice(&bytes),
                other => return Ok(other),
            }
        }
    }
}

impl Protocol for FastCgi {
    const SCHEME: &'static str = "fastcgi";
    const SECURE_SCHEME: &'static str = "fastcgis";
    const ALPN: &'static [&'static [u8]] = &[];
    const PORTS: (u16, u16) = (80, 80);
    const PARAMS: Option<Pairs> = Some(cgi::OF_SCRIPTS);
    const IN_RECORDS: bool = true;

    fn new(request: &Outbound<'_>) -> Self {
        let settings = request.ex.settings().get::<cgi::Settings>();
        Self {
            method: request.method.clone(),
            keep: settings.fastcgi_keep_conn,
            records: fastcgi::Reader::default(),
            output: BytesMut::new(),
            scanned: 0,
            body: None,
        }
    }

    fn write_request(&self, request: &Outbound<'_>, out: &mut Vec<u8>) -> Result<()> {
        let mut writer = fastcgi::Writer::new(self.keep, out);
        cgi::write(request, &mut |name, value| writer.pair(name, value));
        writer.finish();
        Ok(())
    }

    fn frame(&self, _: Option<u64>) -> Frame {
        Frame::Records
    }

    fn read_head(&mut self, buf: &mut BytesMut) -> std::result::Result<Option<ResponseHead>, Malformed> {
        let event = self.fill(buf)?;
        let head = wire::parse_response(&mut self.output, &LIMITS, &mut self.scanned, &self.method)?;
        if head.is_none() && event == Event::End {
            return Err(Malformed::new("the FastCGI application ended without a response"));
        }
        Ok(head.map(|head| ResponseHead { keep_alive: self.keep, ..head }))
    }

    fn begin_body(&mut self, framing: Framing) {
        self.body = Some(BodyDecoder::new(framing, &LIMITS));
    }

    fn read_body(&mut self, buf: &mut BytesMut, eof: bool) -> std::result::Result<Decoded, Malformed> {
        let over = self.fill(buf)? == Event::End;
        if eof && !over {
            return Err(Malformed::truncated("the connection closed before FastCGI's END_REQUEST"));
        }
        Ok(self.body.as_mut().map_or(Ok(Decoded::End), |body| body.decode(&mut self.output, over))?)
    }

    fn remaining(&self) -> Option<u64> {
        self.body.as_ref().and_then(BodyDecoder::remaining)
    }

    fn is_complete(&self) -> bool {
        self.records.is_done() && self.output.is_empty()
    }

    fn take_stderr(&mut self) -> Vec<u8> {
        self.records.take_stderr()
    }
}
