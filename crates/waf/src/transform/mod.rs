//! Transformations: what a rule does to a value before its operator sees it.
//!
//! They behave as ModSecurity 2.9.7 does (its reference manual, "Transformation functions"). Each runs in time linear in
//! its input and borrows the input if it would not change it.
mod bytes;
mod command;
mod comment;
mod digest;
mod encode;
mod escape;
mod html;
mod path;
mod sql;
mod unicode;
mod url;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use unicode::UnicodeMap;

/// Declares the transformations: variant, name as ModSecurity writes it, function.
macro_rules! transforms {
    ($($(#[$doc:meta])* $variant:ident $name:literal $function:path;)*) => {
        /// A transformation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Transform { $($(#[$doc])* $variant,)* }

        impl Transform {
            /// All of them, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name as ModSecurity's reference manual writes it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The transformed value; borrowed if the transformation changes nothing. `urlDecodeUni` uses the map of code
            /// page 20127 ([`UnicodeMap::us_ascii`]).
            pub fn apply(self, input: &[u8]) -> Cow<'_, [u8]> {
                borrow_same(input, match self { $(Self::$variant => $function(input),)* })
            }
        }
    };
}

transforms! {
    /// Decodes Base64 (RFC 4648) up to the first character that is none.
    Base64Decode "base64Decode" encode::base64_decode;
    /// Decodes Base64 and passes over characters that are none.
    Base64DecodeExt "base64DecodeExt" encode::base64_decode_ext;
    /// Encodes as Base64 (RFC 4648, section 4).
    Base64Encode "base64Encode" encode::base64_encode;
    /// Undoes the tricks that hide a command from its shell.
    CmdLine "cmdLine" command::cmd_line;
    /// Turns each run of whitespace into one space.
    CompressWhitespace "compressWhitespace" bytes::compress_whitespace;
    /// Decodes escapes of CSS 2.
    CssDecode "cssDecode" escape::css;
    /// Decodes escape sequences of ANSI C.
    EscapeSeqDecode "escapeSeqDecode" escape::ansi_c;
    /// Decodes pairs of hexadecimal digits.
    HexDecode "hexDecode" encode::hex_decode;
    /// Encodes each byte as two lowercase hexadecimal digits.
    HexEncode "hexEncode" encode::hex_encode;
    /// Decodes character references of HTML.
    HtmlEntityDecode "htmlEntityDecode" html::decode;
    /// Decodes escapes of JavaScript.
    JsDecode "jsDecode" escape::javascript;
    /// The length in bytes, as a decimal number.
    Length "length" bytes::length;
    /// ASCII letters become lowercase.
    Lowercase "lowercase" bytes::lowercase;
    /// MD5 in raw bytes (RFC 1321).
    Md5 "md5" digest::md5;
    /// Changes nothing; within a rule it drops the transformations before it.
    None "none" bytes::none;
    /// Removes empty segments, `.` and `..` from a path.
    NormalizePath "normalizePath" path::normalize;
    /// The same, after turning backslashes into slashes.
    NormalizePathWin "normalizePathWin" path::normalize_windows;
    /// Sets the top bit of each byte so that the number of ones is even.
    ParityEven7bit "parityEven7bit" bytes::parity_even;
    /// Sets the top bit of each byte so that the number of ones is odd.
    ParityOdd7bit "parityOdd7bit" bytes::parity_odd;
    /// Clears the top bit of each byte.
    ParityZero7bit "parityZero7bit" bytes::parity_zero;
    /// Removes NUL bytes.
    RemoveNulls "removeNulls" bytes::remove_nulls;
    /// Removes whitespace.
    RemoveWhitespace "removeWhitespace" bytes::remove_whitespace;
    /// Turns each comment of C into one space.
    ReplaceComments "replaceComments" comment::replace;
    /// Removes the characters that open and close comments.
    RemoveCommentsChar "removeCommentsChar" comment::remove_characters;
    /// Removes comments.
    RemoveComments "removeComments" comment::remove;
    /// NUL bytes become spaces.
    ReplaceNulls "replaceNulls" bytes::replace_nulls;
    /// Decodes `%XX` and `+`.
    UrlDecode "urlDecode" url::decode;
    /// Decodes `%XX`, `%uXXXX` and `+`.
    UrlDecodeUni "urlDecodeUni" url::decode_unicode;
    /// ASCII letters become uppercase.
    Uppercase "uppercase" bytes::uppercase;
    /// Encodes all but letters, digits and `*` as `%xx`, a space as `+`.
    UrlEncode "urlEncode" url::encode;
    /// Turns each character of UTF-8 beyond ASCII into `%uXXXX`.
    Utf8ToUnicode "utf8toUnicode" unicode::from_utf8;
    /// SHA-1 in raw bytes (RFC 3174).
    Sha1 "sha1" digest::sha1;
    /// Decodes hexadecimal literals of SQL (`0x414243`).
    SqlHexDecode "sqlHexDecode" sql::hex_decode;
    /// Removes whitespace at both ends.
    Trim "trim" bytes::trim;
    /// Removes whitespace at the start.
    TrimLeft "trimLeft" bytes::trim_left;
    /// Removes whitespace at the end.
    TrimRight "trimRight" bytes::trim_right;
}

impl Transform {
    /// The transformation with this name, in any case; `None` if there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        let british = [("normalisePath", Self::NormalizePath), ("normalisePathWin", Self::NormalizePathWin)];
        Self::ALL
            .iter()
            .map(|transform| (transform.name(), *transform))
            .chain(british)
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, transform)| transform)
    }

    /// As [`apply`](Self::apply), with the map of `SecUnicodeMapFile`; without one, `%uXXXX` is its low byte.
    pub fn apply_with<'a>(self, input: &'a [u8], map: Option<&UnicodeMap>) -> Cow<'a, [u8]> {
        if self == Self::UrlDecodeUni {
            borrow_same(input, url::decode_unicode_with(input, map))
        } else {
            self.apply(input)
        }
    }
}

/// What is the same as the input is borrowed, so that equal values are told by their address.
fn borrow_same<'a>(input: &'a [u8], out: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
    if *out == *input { Cow::Borrowed(input) } else { out }
}

/// The value of a hexadecimal digit.
pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The byte that two hexadecimal digits at `at` stand for.
fn hex_pair(input: &[u8], at: usize) -> Option<u8> {
    Some(hex_digit(*input.get(at)?)? << 4 | hex_digit(*input.get(at + 1)?)?)
}

/// `isspace` of C in its own locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// The byte that a code unit stands for without a map: its low one; a full-width form (U+FF01 to U+FF5E) is its ASCII
/// character.
fn full_width(code: u16) -> u8 {
    let low = code as u8;
    if code >> 8 == 0xff && (0x01..0x5f).contains(&low) { low + 0x20 } else { low }
}

/// Decodes `%XX` and `+`; says also whether there was a `%` without two digits, which stays.
pub(crate) fn decode_url(input: &[u8]) -> (Cow<'_, [u8]>, bool) {
    url::decode_counting(input)
}
