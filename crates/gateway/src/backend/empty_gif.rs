//! One transparent pixel (nginx: `empty_gif`).
use crate::backend::outcome::Outcome;
use crate::backend::{Handler, Place};
use crate::body::Body;
use crate::clock::http_date;
use crate::error::Result;
use crate::exchange::conditions::IfModifiedSince;
use crate::exchange::{Exchange, Response};
use crate::page;
use buchner_wire::headers::HeaderId;
use buchner_wire::method::Method;
use bytes::Bytes;

/// GIF89a of one pixel whose only colour is transparent.
const PIXEL: &[u8] =
    b"GIF89a\x01\0\x01\0\x80\x01\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\x01\0,\0\0\0\0\x01\0\x01\0\0\x02\x02L\x01\0;";
/// When it was last modified, as nginx has it: 28 September 1970.
const MODIFIED: u64 = 23_349_600;

/// The pixel.
pub struct EmptyGif;

impl Handler for EmptyGif {
    type Config = bool;

    fn compile(_: &bool, _: &Place<'_>) -> std::result::Result<Self, String> {
        Ok(Self)
    }

    async fn handle(&self, ex: &mut Exchange) -> Result<Outcome> {
        if !matches!(ex.request.method, Method::Get | Method::Head) {
            return Ok(Outcome::Respond(page::of_status(ex, 405)));
        }
        let mut response = Response::new(200, Body::Full(Bytes::from_static(PIXEL)));
        response.headers.push(HeaderId::ContentType, b"image/gif");
        response.conditions = Some(IfModifiedSince::Exact);
        response.headers.push(HeaderId::LastModified, &http_date(MODIFIED));
        Ok(Outcome::Respond(response))
    }
}
