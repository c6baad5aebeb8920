use super::*;

/// RFC 4648, section 10, and what ModSecurity makes of other characters.
#[test]
fn base64() {
    let vectors: &[(&[u8], &[u8])] = &[
        (b"", b""),
        (b"f", b"Zg=="),
        (b"fo", b"Zm8="),
        (b"foo", b"Zm9v"),
        (b"foob", b"Zm9vYg=="),
        (b"fooba", b"Zm9vYmE="),
        (b"foobar", b"Zm9vYmFy"),
        (b"\x00\xff\xfe", b"AP/+"),
    ];
    check(Transform::Base64Encode, vectors);
    let reversed: Vec<(&[u8], &[u8])> = vectors.iter().map(|(plain, coded)| (*coded, *plain)).collect();
    check(Transform::Base64Decode, &reversed);
    check(Transform::Base64DecodeExt, &reversed);
    check(
        Transform::Base64Decode,
        &[
            (b"Zm9vYg", b"foob"),
            (b"Z", b""),
            (b"Zm9vY", b"foo"),
            (b"Zm9v!Zm9v", b"foo"),
            (b"Zm9v Zm9v", b"foo"),
            (b"!Zm9v", b""),
            (b"Zg==Zm9v", b"f"),
            (b"Zm9v\0Zm9v", b"foo"),
        ],
    );
    check(
        Transform::Base64DecodeExt,
        &[
            (b"Zm9v!Zm9v", b"foofoo"),
            (b" Z m\r\n9\tv", b"foo"),
            (b"P.HNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==", b"<script>alert(1)</script>"),
        ],
    );
}

#[test]
fn hexadecimal() {
    check(Transform::HexEncode, &[(b"", b""), (b"\x00\x0a\xff", b"000aff"), (b"Test", b"54657374")]);
    check(
        Transform::HexDecode,
        &[
            (b"", b""),
            (b"54657374", b"Test"),
            (b"4a4A", b"JJ"),
            (b"414", b"A"),
            (b"4", b""),
            (b"00", b"\0"),
            (b"01234567890a0z01", b"\x01\x23\x45\x67\x89\x0a\x23\x01"),
        ],
    );
    check(
        Transform::SqlHexDecode,
        &[
            (b"", b""),
            (b"0x414243", b"ABC"),
            (b"SELECT 0X414243, 0x61", b"SELECT ABC, a"),
            (b"0x", b"0x"),
            (b"0x4", b"0x4"),
            (b"0x414", b"A4"),
            (b"0xgg", b"0xgg"),
            (b"100x41", b"10A"),
        ],
    );
}

/// CSS 2.1, section 4.1.3; full-width forms as the reference manual has them.
#[test]
fn css() {
    check(
        Transform::CssDecode,
        &[
            (b"", b""),
            (b"ja\\vascript", b"javascript"),
            (b"\\6aavascript", b"\xaavascript"),
            (b"\\6a avascript", b"javascript"),
            (b"\\6a  a", b"j a"),
            (b"\\00006aavascript", b"javascript"),
            (b"\\00006a avascript", b"javascript"),
            (b"\\6", b"\x06"),
            (b"\\41", b"A"),
            (b"\\041", b"A"),
            (b"\\0041", b"A"),
            (b"\\00041", b"A"),
            (b"\\000041", b"A"),
            (b"\\0000410", b"A0"),
            (b"\\ff1c", b"<"),
            (b"\\0ff1c", b"<"),
            (b"\\00FF1C", b"<"),
            (b"\\10ff1c", b"\x1c"),
            (b"\\fe41", b"A"),
            (b"a\\", b"a"),
            (b"a\\\nb", b"ab"),
            (b"\\\\", b"\\"),
            (b"\\\"\\'\\;", b"\"';"),
            (b"\\41\tb", b"Ab"),
            (b"\\\0", b"\0"),
        ],
    );
}

#[test]
fn javascript() {
    check(
        Transform::JsDecode,
        &[
            (b"", b""),
            (b"\\a\\b\\f\\n\\r\\t\\v", b"\x07\x08\x0c\n\r\t\x0b"),
            (b"\\?\\'\\\"\\\\\\/\\z", b"?'\"\\/z"),
            (b"\\u0061\\u0000", b"a\0"),
            (b"\\uff01\\uFF5e", b"!~"),
            (b"\\uff5f", b"\x5f"),
            (b"\\uff00", b"\0"),
            (b"\\u1234", b"\x34"),
            (b"\\u00g1\\u12", b"u00g1u12"),
            (b"\\u006", b"u006"),
            (b"\\x61\\xff\\x00", b"a\xff\0"),
            (b"\\xg1\\x6", b"xg1x6"),
            (b"\\0\\00\\000", b"\0\0\0"),
            (b"\\101\\1012\\18", b"AA2\x018"),
            (b"\\377\\400\\777", b"\xff 0?7"),
            (b"\\8\\9", b"89"),
            (b"a\\", b"a\\"),
            (b"\\\\x61", b"\\x61"),
            (b"\\\0", b"\0"),
        ],
    );
}

/// ISO C, section 6.4.4.4.
#[test]
fn escape_sequences() {
    check(
        Transform::EscapeSeqDecode,
        &[
            (b"", b""),
            (b"\\a\\b\\f\\n\\r\\t\\v", b"\x07\x08\x0c\n\r\t\x0b"),
            (b"\\?\\'\\\"\\\\", b"?'\"\\"),
            (b"\\x61\\X41\\x00", b"aA\0"),
            (b"\\xag\\xga\\x6", b"\\xag\\xga\\x6"),
            (b"\\0\\12\\012\\0123", b"\0\n\n\n3"),
            (b"\\101\\400", b"A\0"),
            (b"\\8\\z\\u0061", b"\\8\\z\\u0061"),
            (b"c\\a\\t", b"c\x07\t"),
            (b"a\\", b"a\\"),
            (b"\\\\\\x61", b"\\a"),
        ],
    );
}

/// HTML 4.01, section 24, as far as the reference manual goes.
#[test]
fn html_references() {
    check(
        Transform::HtmlEntityDecode,
        &[
            (b"", b""),
            (b"&lt;&gt;&amp;&quot;&nbsp;", b"<>&\"\xa0"),
            (b"&lt&gt&amp&quot", b"<>&\""),
            (b"&LT;&Gt;", b"<>"),
            (b"&ltx;&ltscript", b"&ltx;&ltscript"),
            (b"&lt=", b"<="),
            (b"&copy;&apos;", b"&copy;&apos;"),
            (b"&#x41;&#X41;&#x41", b"AAA"),
            (b"&#65;&#65", b"AA"),
            (b"&#0000000000000065;", b"A"),
            (b"&#x000000000000000000041;", b"A"),
            (b"&#x141;", b"A"),
            (b"&#99999999999999999999;", b"\xff"),
            (b"&#x;&#;&#xg;&#g;", b"&#x;&#;&#xg;&#g;"),
            (b"&#0;", b"\0"),
            (b"&&lt;", b"&<"),
            (b"&", b"&"),
            (b"&;", b"&;"),
            (b"a&#", b"a&#"),
            (b"&amp;lt;", b"&lt;"),
            (b"&lt\0", b"<\0"),
        ],
    );
}

/// RFC 3986, section 2.1; `%u` as the reference manual has it.
#[test]
fn url_decoding() {
    let both: &[(&[u8], &[u8])] = &[
        (b"", b""),
        (b"Test+Case", b"Test Case"),
        (b"%41%4a%4A%00", b"AJJ\0"),
        (b"%", b"%"),
        (b"%4", b"%4"),
        (b"%%", b"%%"),
        (b"%0%30", b"%00"),
        (b"%g1%1g", b"%g1%1g"),
        (b"%%41", b"%A"),
        (b"%2541", b"%41"),
        (b"a%", b"a%"),
        (b"\0%20\xff", b"\0 \xff"),
    ];
    check(Transform::UrlDecode, both);
    check(Transform::UrlDecodeUni, both);
    check(Transform::UrlDecode, &[(b"%u0041", b"%u0041")]);
    check(
        Transform::UrlDecodeUni,
        &[
            (b"%u0041%U0041", b"AA"),
            (b"%u0000", b"\0"),
            (b"%u1234", b"\x34"),
            (b"%uff1c%uFF1C", b"<<"),
            (b"%u00g1", b"%u00g1"),
            (b"%u004", b"%u004"),
            (b"%u%41", b"%uA"),
            (b"%u", b"%u"),
            (b"%u2039%u00ab%u2032", b"<<'"),
            (b"%u00c4+%u0131", b"A i"),
        ],
    );
    assert_eq!(*Transform::UrlDecodeUni.apply_with(b"%uff1c%u2039", None), *b"<9");
    check(
        Transform::UrlEncode,
        &[(b"", b""), (b"Az09*", b"Az09*"), (b"a b", b"a+b"), (b"\0-_.~/\xff", b"%00%2d%5f%2e%7e%2f%ff")],
    );
}

#[test]
fn a_file_of_maps_is_read_by_code_page() {
    let file = "# comment\n\n1252 (Latin)\n00a1:21 0100:41\n\n20127 (US-ASCII)\n\n00a0:20 ff1c:3c\n";
    let map = UnicodeMap::parse(file, 20127).unwrap();
    assert_eq!((map.get(0xff1c), map.get(0xa0), map.get(0x100)), (Some(b'<'), Some(b' '), Option::None));
    assert_eq!(UnicodeMap::parse(file, 1252).unwrap().get(0x100), Some(b'A'));
    assert!(UnicodeMap::parse(file, 1250).unwrap_err().contains("no code page 1250"));
    assert!(UnicodeMap::parse("1250\n00a0:zz", 1250).unwrap_err().contains("XXXX:XX"));
    assert!(UnicodeMap::parse("1250", 1250).is_err());
    // Windows maps 370 characters; the full-width forms of ASCII are among them.
    let built_in = UnicodeMap::us_ascii();
    assert_eq!((0..=u16::MAX).filter(|code| built_in.get(*code).is_some()).count(), 370);
    let other: Vec<u16> = (0xff01..=0xff5e).filter(|code| built_in.get(*code) != Some(full_width(*code))).collect();
    // A question mark is what Windows has for all that it can't map.
    assert_eq!(other, [0xff1f]);
}

/// RFC 3629, section 4.
#[test]
fn utf8_as_code_points() {
    check(
        Transform::Utf8ToUnicode,
        &[
            (b"", b""),
            (b"abc\0", b"abc\0"),
            ("é".as_bytes(), b"%u00e9"),
            ("<ａ>".as_bytes(), b"<%uff41>"),
            ("€a".as_bytes(), b"%u20aca"),
            ("😀".as_bytes(), b"%u1f600"),
            (b"\xc0\xaf", b"%u002f"),
            (b"\xe0\x80\xaf", b"%u002f"),
            (b"\xed\xa0\x80", b"%ud800"),
            (b"\x80", b"\x80"),
            (b"\xc3", b"\xc3"),
            (b"\xc3a", b"\xc3a"),
            (b"\xe2\x82", b"\xe2\x82"),
            (b"\xf5\x80\x80\x80", b"\xf5\x80\x80\x80"),
            (b"\xff\xfe", b"\xff\xfe"),
        ],
    );
}
