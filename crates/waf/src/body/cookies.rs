//! Cookies of a request, in the format of Netscape (`SecCookieFormat 0`; RFC 6265, section 5.4).

/// Names and values of a `Cookie` header, in their order; nothing is decoded. `separator` is `;`, or that of
/// `SecCookieV0Separator`. What is empty between
/// separators is passed over; without `=` the whole is the name.
pub fn pairs(header: &[u8], separator: u8) -> impl Iterator<Item = (&[u8], &[u8])> {
    header.split(move |byte| *byte == separator).filter_map(|piece| {
        let piece = piece.trim_ascii_start();
        let (name, value) = match memchr::memchr(b'=', piece) {
            Some(at) => (&piece[..at], &piece[at + 1..]),
            None => (piece, &piece[piece.len()..]),
        };
        (!piece.is_empty()).then_some((name, value))
    })
}
