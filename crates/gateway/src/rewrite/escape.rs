//! Percent-encoding as nginx does it where a path or a group of a match goes into a URI.

/// What is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// A path.
    Uri,
    /// A part of a query.
    Args,
}

/// Appends `text` with what a URI cannot hold as `%XX`; UTF-8 and other bytes from 0x7f on too.
pub fn escape(text: &[u8], kind: Escape, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.reserve(text.len());
    for &byte in text {
        let special = matches!(
            byte,
            0..=b' '
                | b'"'
                | b'#'
                | b'%'
                | b'<'
                | b'>'
                | b'?'
                | b'\\'
                | b'^'
                | b'`'
                | b'{'
                | b'|'
                | b'}'
                | 0x7f..
        ) || (kind == Escape::Args && matches!(byte, b'&' | b'+' | b';'));
        if special {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        } else {
            out.push(byte);
        }
    }
}

/// The target of a redirect made by `rewrite`: up to the `?`, `%XX` of visible characters beyond `%` are decoded.
pub fn unescape_redirect(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        if byte == b'?' {
            out.push(byte);
            out.extend_from_slice(&text[at..]);
            return out;
        }
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
        match (digit(text.get(at)), digit(text.get(at + 1))) {
            (Some(high), Some(low)) => {
                let decoded = (high * 16 + low) as u8;
                at += 2;
                match decoded {
                    b'?' => {
                        out.push(decoded);
                        out.extend_from_slice(&text[at..]);
                        return out;
                    }
                    b'&'..=b'~' => out.push(decoded),
                    _ => out.extend_from_slice(&text[at - 3..at]),
                }
            }
            // What isn't an encoded byte loses its percent sign, and a lone digit goes with it.
            (None, _) => {
                out.extend(text.get(at));
                at += 1;
            }
            (Some(_), None) => at += 2,
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_escaped_further_than_paths() {
        let mut out = Vec::new();
        escape(b"/a b+c&d;?\xc3", Escape::Uri, &mut out);
        assert_eq!(out, b"/a%20b+c&d;%3F%C3");
        out.clear();
        escape(b"/a b+c&d;?", Escape::Args, &mut out);
        assert_eq!(out, b"/a%20b%2Bc%26d%3B%3F");
    }

    #[test]
    fn redirects_keep_what_must_stay_encoded() {
        assert_eq!(unescape_redirect(b"/a%41%20%25%2f?x=%41"), b"/aA%20%25/?x=%41");
        assert_eq!(unescape_redirect(b"/%zz%4"), b"/zz");
        assert_eq!(unescape_redirect(b"/a%3Fb%41"), b"/a?b%41");
    }
}
