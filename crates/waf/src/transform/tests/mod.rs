mod codings;

use super::*;

/// Asserts cases: input, output.
fn check(transform: Transform, cases: &[(&[u8], &[u8])]) {
    for (input, expected) in cases {
        let out = transform.apply(input);
        let shown = (String::from_utf8_lossy(input), String::from_utf8_lossy(&out));
        assert_eq!(&*out, *expected, "{} of {:?} is {:?}", transform.name(), shown.0, shown.1);
        if *out == **input {
            assert!(matches!(out, Cow::Borrowed(_)), "{} of {:?} should borrow", transform.name(), shown.0);
        }
    }
}

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

/// The commands of the reference manual under `cmdLine`.
#[test]
fn command_line() {
    check(
        Transform::CmdLine,
        &[
            (b"", b""),
            (b"c^o^m^mand /c", b"command/c"),
            (b"command /c", b"command/c"),
            (b"\"command\" /c", b"command/c"),
            (b"\\command\\", b"command"),
            (b"c'o'm\"m\"and", b"command"),
            (b"CoMmAnD", b"command"),
            (b"a , ; \t\r\n b", b"a b"),
            (b"cmd (x)", b"cmd(x)"),
            (b"a  /b", b"a/b"),
            (b"a,/b", b"a/b"),
            (b" /a", b"/a"),
            (b"a ^/b", b"a/b"),
            (b"a b ", b"a b "),
            (b"\x0b", b"\x0b"),
        ],
    );
}

#[test]
fn whitespace() {
    check(
        Transform::CompressWhitespace,
        &[
            (b"", b""),
            (b"a b c", b"a b c"),
            (b"a  b", b"a b"),
            (b" \t\r\n\x0b\x0ca ", b" a "),
            (b"a\tb", b"a b"),
            (b"a\xa0b", b"a b"),
            (b"a \xa0 b", b"a b"),
            (b"a\0b", b"a\0b"),
            (b"a ", b"a "),
            (b"a  ", b"a "),
        ],
    );
    check(
        Transform::RemoveWhitespace,
        &[(b"", b""), (b"abc", b"abc"), (b" a\tb\r\nc\x0b\x0c\xa0", b"abc"), (b"a\0b", b"a\0b")],
    );
    check(
        Transform::Trim,
        &[(b"", b""), (b" \t ", b""), (b" a b\n", b"a b"), (b"\0 a", b"\0 a"), (b"a\xa0", b"a\xa0")],
    );
    check(Transform::TrimLeft, &[(b" \r\na ", b"a "), (b"  ", b"")]);
    check(Transform::TrimRight, &[(b" a \x0b\x0c", b" a"), (b"  ", b"")]);
}

#[test]
fn single_bytes() {
    check(Transform::Lowercase, &[(b"AbC1", b"abc1"), (b"\xc4\xd6", b"\xc4\xd6"), (b"A\0Z[", b"a\0z[")]);
    check(Transform::Uppercase, &[(b"AbC1", b"ABC1"), (b"\xe4{", b"\xe4{")]);
    check(Transform::Length, &[(b"", b"0"), (b"1", b"1"), (b"a\0b", b"3"), (&[b'x'; 1000], b"1000")]);
    check(Transform::None, &[(b"a\0B", b"a\0B")]);
    check(Transform::RemoveNulls, &[(b"\0a\0\0b\0", b"ab"), (b"\0", b""), (b"ab", b"ab")]);
    check(Transform::ReplaceNulls, &[(b"\0a\0\0b\0", b" a  b "), (b"ab", b"ab")]);
    check(Transform::ParityEven7bit, &[(b"abc\0", b"\xe1\xe2c\0"), (b"\x81", b"\x81"), (b"\xff", b"\xff")]);
    check(Transform::ParityOdd7bit, &[(b"abc\0", b"ab\xe3\x80"), (b"\xff", b"\x7f")]);
    check(Transform::ParityZero7bit, &[(b"\xe1\xe2c\x80", b"abc\0"), (b"abc", b"abc")]);
}

/// RFC 1321, appendix A.5, and RFC 3174, section 7.3.
#[test]
fn digests() {
    let hex = |transform: Transform, input: &[u8]| Transform::HexEncode.apply(&transform.apply(input)).into_owned();
    assert_eq!(hex(Transform::Md5, b""), b"d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(hex(Transform::Md5, b"abc"), b"900150983cd24fb0d6963f7d28e17f72");
    assert_eq!(hex(Transform::Sha1, b""), b"da39a3ee5e6b4b0d3255bfef95601890afd80709");
    assert_eq!(hex(Transform::Sha1, b"abc"), b"a9993e364706816aba3e25717850c26c9cd0d89d");
}

/// RFC 3986, section 5.2.4; relative paths as the reference manual has them.
#[test]
fn paths() {
    let cases: &[(&[u8], &[u8])] = &[
        (b"", b""),
        (b"x", b"x"),
        (b".", b""),
        (b"./", b""),
        (b"./..", b".."),
        (b"./../", b"../"),
        (b"..", b".."),
        (b"../", b"../"),
        (b"../.", b".."),
        (b"../..", b"../.."),
        (b"../../", b"../../"),
        (b"/", b"/"),
        (b"//", b"/"),
        (b"/.", b"/"),
        (b"/..", b"/"),
        (b"/../", b"/"),
        (b"/../../etc/passwd", b"/etc/passwd"),
        (b"/dir/foo//bar", b"/dir/foo/bar"),
        (b"dir/foo//bar/", b"dir/foo/bar/"),
        (b"dir/../foo", b"foo"),
        (b"dir/../../foo", b"../foo"),
        (b"dir/./.././../../foo/bar", b"../../foo/bar"),
        (b"dir/./.././../../foo/bar/.", b"../../foo/bar"),
        (b"dir/./.././../../foo/bar/./", b"../../foo/bar/"),
        (b"dir/./.././../../foo/bar/..", b"../../foo"),
        (b"dir/./.././../../foo/bar/../", b"../../foo/"),
        (b"dir/./.././../../foo/bar/", b"../../foo/bar/"),
        (b"dir//.//..//.//..//..//foo//bar", b"../../foo/bar"),
        (b"/dir//.//..//.//..//..//foo//bar//", b"/foo/bar/"),
        (b"/a/...", b"/a/..."),
        (b"/a/.b/..c/d.", b"/a/.b/..c/d."),
        (b"/a\0/../b", b"/b"),
        (b"/a\\..\\b", b"/a\\..\\b"),
    ];
    check(Transform::NormalizePath, cases);
    let without_backslash: Vec<_> = cases.iter().copied().filter(|(input, _)| !input.contains(&b'\\')).collect();
    check(Transform::NormalizePathWin, &without_backslash);
    check(
        Transform::NormalizePathWin,
        &[
            (b"\\", b"/"),
            (b"dir\\foo\\\\bar", b"dir/foo/bar"),
            (b"dir\\.\\..\\.\\..\\..\\foo\\bar\\.\\", b"../../foo/bar/"),
            (b"/a\\..\\b", b"/b"),
            (b"c:\\windows\\..\\boot.ini", b"c:/boot.ini"),
            (b"a\\b", b"a/b"),
        ],
    );
}

#[test]
fn comments() {
    check(
        Transform::ReplaceComments,
        &[
            (b"", b""),
            (b"/* */", b" "),
            (b"UNION/**/SELECT", b"UNION SELECT"),
            (b"a/*b*/c/*d*/e", b"a c e"),
            (b"a/*b", b"a "),
            (b"a/*", b"a "),
            (b"a*/b", b"a*/b"),
            (b"/*/b*/c", b" c"),
            (b"/* /* */ */", b"  */"),
            (b"a/b*c", b"a/b*c"),
        ],
    );
    check(
        Transform::RemoveCommentsChar,
        &[
            (b"", b""),
            (b"/*a*/", b"a"),
            (b"<!--a-->", b"a"),
            (b"a--b#c", b"abc"),
            (b"a-b-c", b"a-b-c"),
            (b"/*/", b"/"),
            (b"---", b"-"),
            (b"a/b*c<d", b"a/b*c<d"),
        ],
    );
    check(
        Transform::RemoveComments,
        &[
            (b"", b""),
            (b"a/*b*/c", b"ac"),
            (b"a<!--b-->c", b"ac"),
            (b"a--b", b"a"),
            (b"a#b", b"a"),
            (b"a/*b", b"a "),
            (b"a*/b", b"a*/b"),
            (b"a-b", b"a-b"),
            (b"/*a*//*b*/c", b"c"),
        ],
    );
}
