//! What the fields say about the connection and the body (RFC 9112 section 6).
use super::{Framing, H1Error, H1ErrorKind};
use crate::Version;
use crate::headers::{HeaderId, list_members};

/// What is noted about the fields while they are read, so that they are walked once.
#[derive(Default)]
pub(crate) struct Notes<'a> {
    pub(crate) host: Option<&'a [u8]>,
    pub(crate) hosts: u32,
    pub(crate) content_length: Option<&'a [u8]>,
    pub(crate) content_lengths: u32,
    pub(crate) transfer_encoding: Option<&'a [u8]>,
    pub(crate) transfer_encodings: u32,
    pub(crate) upgrade: bool,
    pub(crate) expect_continue: bool,
    /// The first of the fields that may be there once and is there again.
    pub(crate) repeated: Option<HeaderId>,
    singles: u8,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
}

impl<'a> Notes<'a> {
    #[inline]
    pub(crate) fn note(&mut self, id: HeaderId, value: &'a [u8]) {
        match id {
            HeaderId::Host => {
                self.host.get_or_insert(value);
                self.hosts += 1;
            }
            HeaderId::ContentLength => {
                self.content_length.get_or_insert(value);
                self.content_lengths += 1;
            }
            HeaderId::TransferEncoding => {
                self.transfer_encoding.get_or_insert(value);
                self.transfer_encodings += 1;
            }
            HeaderId::Connection => self.note_connection(value),
            HeaderId::Upgrade => self.upgrade |= !value.is_empty(),
            HeaderId::Expect => {
                self.expect_continue |= value.eq_ignore_ascii_case(b"100-continue");
                self.note_single(id, 1);
            }
            HeaderId::Authorization => self.note_single(id, 2),
            HeaderId::IfModifiedSince => self.note_single(id, 4),
            HeaderId::IfUnmodifiedSince => self.note_single(id, 8),
            HeaderId::IfRange => self.note_single(id, 16),
            HeaderId::ContentRange => self.note_single(id, 32),
            _ => {}
        }
    }

    fn note_single(&mut self, id: HeaderId, bit: u8) {
        if self.singles & bit != 0 {
            self.repeated.get_or_insert(id);
        }
        self.singles |= bit;
    }

    fn note_connection(&mut self, value: &[u8]) {
        if value == b"keep-alive" {
            self.keep_alive = true;
            return;
        }
        for option in list_members(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.connection_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
    }

    /// Whether the connection may carry another message (RFC 9112 section 9.3).
    pub(crate) fn keeps_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::H11 || self.keep_alive)
    }

    /// Whether the sender asks for another protocol (RFC 9110 section 7.8).
    pub(crate) fn asks_upgrade(&self, version: Version) -> bool {
        self.upgrade && self.connection_upgrade && version == Version::H11
    }

    /// The framing that Content-Length and Transfer-Encoding give, or `None` if neither is there.
    pub(crate) fn body(&self) -> Result<Option<Framing>, H1Error> {
        match (self.content_length, self.transfer_encoding) {
            (None, None) => Ok(None),
            (Some(length), None) if self.content_lengths == 1 => {
                content_length(length).map(|length| Some(Framing::Length(length)))
            }
            (Some(_), None) => {
                Err(H1Error::bad(H1ErrorKind::ContentLengthRepeated, "Content-Length is there more than once"))
            }
            (Some(_), Some(_)) => Err(H1Error::bad(
                H1ErrorKind::LengthAndEncoding,
                "both Content-Length and Transfer-Encoding are there, so the end of the body is ambiguous",
            )),
            (None, Some(coding)) if self.transfer_encodings == 1 && coding.eq_ignore_ascii_case(b"chunked") => {
                Ok(Some(Framing::Chunked))
            }
            (None, Some(first)) => Err(self.bad_encoding(first)),
        }
    }

    /// Anything but one `chunked`: says what is wrong with it.
    fn bad_encoding(&self, first: &[u8]) -> H1Error {
        if self.transfer_encodings > 1 {
            return H1Error::bad(H1ErrorKind::TransferEncoding, "Transfer-Encoding is there more than once");
        }
        let codings: Vec<&[u8]> = list_members(first).collect();
        let chunked = |coding: &&[u8]| {
            let name = coding.split(|&byte| byte == b';').next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(b"chunked")
        };
        if codings.iter().all(chunked) {
            return H1Error::bad(
                H1ErrorKind::TransferEncoding,
                "Transfer-Encoding must be \"chunked\", once, without parameters",
            );
        }
        if codings.iter().rev().skip(1).any(chunked) {
            return H1Error::bad(H1ErrorKind::TransferEncoding, "\"chunked\" isn't the last transfer coding");
        }
        H1Error::with_status(
            501,
            H1ErrorKind::TransferCoding,
            "a transfer coding other than \"chunked\" isn't supported",
        )
    }
}

/// The value of Content-Length: digits, at most 64 bits (RFC 9110 section 8.6).
fn content_length(value: &[u8]) -> Result<u64, H1Error> {
    let digits = !value.is_empty() && value.len() <= 20 && value.iter().all(u8::is_ascii_digit);
    let number = value
        .iter()
        .try_fold(0u64, |sum, &digit| sum.checked_mul(10)?.checked_add(u64::from(digit.wrapping_sub(b'0'))));
    number.filter(|_| digits).ok_or_else(|| {
        H1Error::bad(H1ErrorKind::ContentLength, "Content-Length isn't a decimal number of at most 64 bits")
    })
}
