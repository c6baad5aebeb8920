use super::*;

/// Asserts cases: input, output.
fn check(transform: Transform, cases: &[(&[u8], &[u8])]) {
    for (input, expected) in cases {
        let out = transform.apply(input);
        let shown = (String::from_utf8_lossy(input), String::from_utf8_lossy(&out));
        assert_eq!(&*out, *expected, "{} of {:?} is {:?}", transform.name(), shown.0, shown.1);
        if out.len() == input.len() && *out == **input && !ALWAYS_OWNED.contains(&transform) {
            assert!(matches!(out, Cow::Borrowed(_)), "{} of {:?} should borrow", transform.name(), shown.0);
        }
    }
}

/// Whose output is as good as never the input.
const ALWAYS_OWNED: &[Transform] =
    &[Transform::Base64Decode, Transform::Base64DecodeExt, Transform::HexDecode, Transform::Length];

#[test]
fn names_are_found_in_any_case() {
    for transform in Transform::ALL {
        assert_eq!(Transform::from_name(transform.name()), Some(*transform));
        assert_eq!(Transform::from_name(&transform.name().to_uppercase()), Some(*transform));
    }
    assert_eq!(Transform::from_name("normalisePath"), Some(Transform::NormalizePath));
    assert_eq!(Transform::from_name("normalisePathWin"), Some(Transform::NormalizePathWin));
    assert_eq!(Transform::from_name("rot13"), None);
}

#[test]
fn nothing_and_plain_words_are_borrowed_by_all_that_decode() {
    use Transform::*;
    let decoding = [
        CmdLine,
        CompressWhitespace,
        CssDecode,
        EscapeSeqDecode,
        HtmlEntityDecode,
        JsDecode,
        Lowercase,
        NormalizePath,
        NormalizePathWin,
        RemoveNulls,
        RemoveWhitespace,
        ReplaceComments,
        RemoveComments,
        RemoveCommentsChar,
        ReplaceNulls,
        UrlDecode,
        UrlDecodeUni,
        UrlEncode,
        Utf8ToUnicode,
        SqlHexDecode,
        Trim,
        TrimLeft,
        TrimRight,
        None,
        ParityZero7bit,
    ];
    for transform in decoding {
        check(transform, &[(b"", b""), (b"word", b"word"), (b"0123", b"0123")]);
    }
}
