//! What may stand in a request line, or in a field that holds a URI.
//!
//! Everything that writes a request-target (to any kind of server), `Location` or `Refresh` passes here: a space or a control
//! character in it would end the target, or the line, and what follows would be read as something else.
use std::borrow::Cow;

/// Whether `target` can be written as it is.
pub fn is_clean(target: &[u8]) -> bool {
    // Without a branch for each byte, so that it becomes vector instructions.
    !target.iter().fold(false, |found, &byte| found | is_unfit(byte))
}

/// Encodes what cannot be written: `out` from `start` on is a target afterwards.
pub fn seal(out: &mut Vec<u8>, start: usize) {
    let Some(written) = out.get(start..) else { return };
    if !is_clean(written) {
        let sealed = encode(written).into_owned();
        out.truncate(start);
        out.extend_from_slice(&sealed);
    }
}

/// The target with what cannot be written as `%XX`.
pub fn encode(target: &[u8]) -> Cow<'_, [u8]> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if is_clean(target) {
        return Cow::Borrowed(target);
    }
    let mut out = Vec::with_capacity(target.len() + 16);
    for &byte in target {
        if is_unfit(byte) {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        } else {
            out.push(byte);
        }
    }
    Cow::Owned(out)
}

/// Space, controls, DEL.
const fn is_unfit(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_target_or_a_line_is_encoded() {
        for byte in 0..=255u8 {
            let text = [b'/', byte, b'x'];
            let encoded = encode(&text);
            assert!(is_clean(&encoded), "{byte:#x}");
            assert_eq!(encoded.len(), if byte <= b' ' || byte == 0x7f { 5 } else { 3 }, "{byte:#x}");
        }
        assert_eq!(&*encode(b"/x HTTP/1.1\r\nHost: a"), b"/x%20HTTP/1.1%0D%0AHost:%20a");
    }

    #[test]
    fn what_was_written_before_stays() {
        let mut out = b"GET /a b\n".to_vec();
        seal(&mut out, 4);
        assert_eq!(out, b"GET /a%20b%0A");
        seal(&mut out, 4);
        assert_eq!(out, b"GET /a%20b%0A");
        seal(&mut out, 99);
        assert_eq!(out, b"GET /a%20b%0A");
    }
}
