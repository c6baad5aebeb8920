use super::*;

const TYPE: &[u8] = b"multipart/form-data; boundary=b";

fn read<'a>(content_type: &[u8], body: &'a [u8]) -> Multipart<'a> {
    parse(content_type, body, &Options::default())
}

/// A part with this `Content-Disposition` (after `form-data`) between boundaries.
fn disposed(parameters: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data{parameters}\r\n\r\nv\r\n--b--\r\n")
}

fn parts(found: &Multipart<'_>) -> String {
    let text = |part: &Part<'_>| {
        let file =
            part.filename.as_ref().map(|name| format!("[{}]", String::from_utf8_lossy(name))).unwrap_or_default();
        format!("{}{file}={}", String::from_utf8_lossy(&part.name), String::from_utf8_lossy(part.data))
    };
    found.parts.iter().map(text).collect::<Vec<_>>().join("|")
}

/// Names of the flags that are set.
fn flags(found: &Multipart<'_>) -> String {
    let names = "BOUNDARY_QUOTED BOUNDARY_WHITESPACE DATA_BEFORE DATA_AFTER HEADER_FOLDING INVALID_HEADER_FOLDING LF_LINE \
                 CRLF_LF_LINES MISSING_SEMICOLON INVALID_QUOTING INVALID_PART FILE_LIMIT_EXCEEDED UNMATCHED_BOUNDARY";
    let set = |name: &&str| found.flags.get(name).unwrap();
    names.split_whitespace().filter(set).collect::<Vec<_>>().join(" ")
}

fn check(content_type: &[u8], body: &str, expected: (&str, &str, Option<&str>)) {
    let found = read(content_type, body.as_bytes());
    let error = found.error.as_deref();
    assert_eq!((parts(&found).as_str(), flags(&found).as_str()), (expected.0, expected.1), "{body:?} {error:?}");
    match expected.2 {
        None => assert_eq!(error, None, "{body:?}"),
        Some(text) => assert!(error.is_some_and(|error| error.contains(text)), "{body:?}: {error:?}"),
    }
    let judged_alone = ["UNMATCHED_BOUNDARY", ""].contains(&expected.1);
    assert_eq!(found.strict_error(), expected.2.is_some() || !judged_alone, "{body:?}");
}

#[test]
fn a_form_with_a_file() {
    let body = b"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n2\r\n--b\r\n\
        content-disposition:form-data; name=f; filename=\"x.txt\"\r\nContent-Type: text/plain\r\n\r\n\r\n\0\n\r\n--b\r\n\
        Content-Disposition: form-data; name=\"g\"; filename=\"\"\r\n\r\n\r\n--b--\r\n";
    let found = read(TYPE, body);
    assert_eq!(parts(&found), "a=1\r\n2|f[x.txt]=\r\n\0\n|g[]=");
    assert_eq!((flags(&found).as_str(), found.strict_error()), ("", false), "{:?}", found.error);
    assert_eq!(found.arguments().count(), 1);
    assert_eq!(
        found.files().map(|(part, name)| (&part.name[..], name)).collect::<Vec<_>>(),
        [(&b"f"[..], &b"x.txt"[..]), (b"g", b"")]
    );
    assert_eq!(found.files_combined_size(), 4);
    let headers: Vec<&[u8]> = found.parts[1].headers.iter().map(|header| &**header).collect();
    assert_eq!(
        headers,
        [&b"content-disposition:form-data; name=f; filename=\"x.txt\""[..], b"Content-Type: text/plain"]
    );
    assert_eq!(found.flags.get("SEMICOLON_MISSING"), Some(false));
    assert_eq!(found.flags.get("FOO"), None);
}

/// RFC 2046, section 5.1.1.
#[test]
fn content_types() {
    let body = disposed("; name=\"a\"");
    let good: &[(&[u8], &str)] = &[
        (b"multipart/form-data;boundary=b", ""),
        (b"Multipart/Form-Data; boundary=b", ""),
        (b"multipart/form-data; boundary=\"b\"", "BOUNDARY_QUOTED"),
        (b"multipart/form-data; boundary =b", "BOUNDARY_WHITESPACE"),
        (b"multipart/form-data; boundary= b", "BOUNDARY_WHITESPACE"),
        (b"multipart/form-data; boundary=b ", "BOUNDARY_WHITESPACE"),
        (b"multipart/form-data boundary=b", "MISSING_SEMICOLON"),
    ];
    for (content_type, flags) in good {
        check(content_type, &body, ("a=v", flags, None));
    }
    let bad: &[(&[u8], &str)] = &[
        (b"", "not multipart/form-data"),
        (b"multipart/mixed; boundary=b", "not multipart/form-data"),
        (b"multipart/form-data", "no boundary"),
        (b"multipart/form-data; boundary", "malformed"),
        (b"multipart/form-data; boundary=", "empty"),
        (b"multipart/form-data; charset=x; boundary=b", "malformed"),
        (b"multipart/form-data; Boundary=b", "case"),
        (b"multipart/form-data; boundaryx=b", "parameter name"),
        (b"multipart/form-data; boundary=b; charset=x", "characters"),
        (b"multipart/form-data; boundary=\"b", "characters"),
        (b"multipart/form-data; boundary=a b", "characters"),
        (b"multipart/form-data; boundary=b; boundary=c", "several"),
        (b"multipart/form-data; boundary=b,boundary = c", "several"),
    ];
    for (content_type, error) in bad {
        let found = read(content_type, body.as_bytes());
        assert!(found.error.as_deref().is_some_and(|text| text.contains(error)), "{error}: {:?}", found.error);
        assert!(found.parts.is_empty() && found.strict_error());
    }
    let long = [b"multipart/form-data; boundary=", &[b'b'; 1024][..]].concat();
    assert!(read(&long, b"").error.unwrap().contains("length"));
    let named = b"multipart/form-data; boundary=boundary";
    assert_eq!(read(named, b"--boundary--").error, None);
}

#[test]
fn boundaries() {
    let part = "Content-Disposition: form-data; name=\"a\"\r\n\r\n";
    let whole = |before: &str, data: &str, after: &str| format!("{before}--b\r\n{part}{data}\r\n--b--{after}");
    check(TYPE, &whole("", "v", ""), ("a=v", "", None));
    check(TYPE, &whole("", "v", "\r\n"), ("a=v", "", None));
    check(TYPE, &whole("x\r\n", "v", "\r\n"), ("a=v", "DATA_BEFORE", None));
    check(TYPE, &whole("\r\n", "v", "\r\n"), ("a=v", "DATA_BEFORE", None));
    check(TYPE, &whole("", "v", "\r\nx"), ("a=v", "DATA_AFTER", None));
    check(TYPE, &whole("", "v", "\r\n\r\n"), ("a=v", "", None));
    check(TYPE, &whole("", "v", "x\r\n"), ("a=v\r\n", "", Some("text after a boundary")));
    check(TYPE, &whole("", "v\r\n--c", ""), ("a=v\r\n--c", "UNMATCHED_BOUNDARY", None));
    check(TYPE, &whole("", "v\r\n--", ""), ("a=v\r\n--", "", None));
    check(TYPE, &whole("", "v--b", ""), ("a=v--b", "", None));
    check(TYPE, &whole("", "v\r\n-- b", ""), ("a=v\r\n", "", Some("whitespace before")));
    check(TYPE, &whole("", "v\r\n--bx", ""), ("a=v\r\n", "", Some("text after a boundary")));
    check(TYPE, &whole("", "v", "\r\n--b--\r\n"), ("a=v", "", Some("a boundary after the final one")));
    check(TYPE, &whole("", "v", "\r\n--b\r\n"), ("a=v", "", Some("a part after the final one")));
    check(TYPE, &format!("--b\r\n{part}v\r\n"), ("a=v\r\n", "", Some("final boundary is missing")));
    check(TYPE, &format!("--b\r\n{part}v\r\n--b\r\n"), ("a=v", "INVALID_PART", Some("final boundary is missing")));
    check(TYPE, "x", ("", "DATA_BEFORE", Some("no boundary in the body")));
    check(TYPE, "", ("", "", Some("no boundary in the body")));
    check(TYPE, "--b--", ("", "", None));
    let quoted = b"multipart/form-data; boundary=\"b\"";
    check(quoted, "--\"b\"\r\n", ("", "BOUNDARY_QUOTED", Some("in quotes")));
}

#[test]
fn line_endings() {
    let lf = "--b\nContent-Disposition: form-data; name=\"a\"\n\nv\n--b--\n";
    check(TYPE, lf, ("a=v", "LF_LINE", None));
    check(TYPE, &lf.replace('\n', "\r\n"), ("a=v", "", None));
    let mixed = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nv\n--b--\r\n";
    check(TYPE, mixed, ("a=v", "LF_LINE CRLF_LF_LINES", None));
    // Within data any line ending is fine.
    check(TYPE, &mixed.replace("v\n", "v\nw\r\n"), ("a=v\nw", "", None));
}

#[test]
fn headers_of_parts() {
    let good = "Content-Disposition: form-data; name=\"a\"\r\n";
    let with = |headers: &str| format!("--b\r\n{headers}\r\nv\r\n--b--\r\n");
    check(TYPE, &with(&format!("{good}X: y\r\n")), ("a=v", "", None));
    check(TYPE, &with(&format!("X\x0e : y\r\n{good}")), ("a=v", "", None));
    check(
        TYPE,
        &with("Content-Disposition : form-data; name=\"a\"\r\n"),
        ("", "INVALID_PART", Some("no Content-Disp")),
    );
    check(TYPE, &with("Content-Disposition: form-data;\r\n name=\"a\"\r\n"), ("a=v", "HEADER_FOLDING", None));
    let odd = "Content-Disposition: form-data;\r\n\x0bname=\"a\"\r\n";
    let found = read(TYPE, &[b"--b\r\n", odd.as_bytes(), b"\r\nv\r\n--b--\r\n"].concat()).flags;
    assert!(found.header_folding && found.invalid_header_folding);
    check(TYPE, &with(&format!("{good} \r\n")), ("a=v", "HEADER_FOLDING INVALID_HEADER_FOLDING", None));
    let cases = [
        (" x: y\r\n", "folded line before", "HEADER_FOLDING INVALID_PART"),
        ("X: y\r\n", "no Content-Disposition", "INVALID_PART"),
        ("", "no Content-Disposition", "INVALID_PART"),
        ("foo\r\n", "no colon", "INVALID_PART"),
        (": foo\r\n", "no name", "INVALID_PART"),
        ("X: \0\r\n", "NUL", "INVALID_PART"),
        ("X: y\r\nx: z\r\n", "twice", "INVALID_PART"),
        ("Content-Disposition: attachment; name=\"a\"\r\n", "not form-data", "INVALID_PART"),
    ];
    for (headers, error, flags) in cases {
        check(TYPE, &with(headers), ("", flags, Some(error)));
    }
    check(TYPE, &with(&format!("X: {}\r\n", "y".repeat(4096))), ("", "INVALID_PART", Some("longer than 4096")));
    check(
        TYPE,
        &with(&format!("X: y\r\n{}", " z\r\n".repeat(4000))),
        ("", "HEADER_FOLDING INVALID_PART", Some("longer")),
    );
    let many = (0..33).map(|number| format!("X{number}: y\r\n")).collect::<Vec<_>>().concat();
    check(TYPE, &with(&many), ("", "INVALID_PART", Some("more than 32")));
}

/// RFC 7578, section 4.2, and RFC 2183.
#[test]
fn dispositions() {
    let good = [
        ("; name=\"a\"", "a=v", ""),
        (";name=a", "a=v", ""),
        ("; NAME = \"a\" ;", "a=v", ""),
        ("; filename=\"x\"; name=\"a\"", "a[x]=v", ""),
        ("; name=\"\"", "=v", ""),
        (r#"; name="a\"b\\c\d""#, r#"a"b\c\d=v"#, ""),
        (r#"; name="a"; filename="C:\dir\x""#, r"a[C:\dir\x]=v", ""),
        ("; name=\"it's; a=b\"", "it's; a=b=v", ""),
        ("; name='a'", "a=v", "INVALID_QUOTING"),
        ("; name=a'b", "a'b=v", "INVALID_QUOTING"),
        ("; name=a\"b", "a\"b=v", "INVALID_QUOTING"),
    ];
    for (parameters, parts, flags) in good {
        check(TYPE, &disposed(parameters), (parts, flags, None));
    }
    let bad = [
        ("", "no name", "INVALID_PART"),
        ("; filename=\"x\"", "no name", "INVALID_PART"),
        (" name=\"a\"", "semicolon", "MISSING_SEMICOLON INVALID_PART"),
        ("; name=\"a\" filename=\"x\"", "semicolon", "MISSING_SEMICOLON INVALID_PART"),
        ("; name=\"a\"x", "semicolon", "MISSING_SEMICOLON INVALID_PART"),
        ("; name", "without a value", "INVALID_PART"),
        ("; name=", "empty parameter", "INVALID_PART"),
        ("; name=\"a", "not closed", "INVALID_QUOTING INVALID_PART"),
        ("; name=\"a\\", "not closed", "INVALID_QUOTING INVALID_PART"),
        ("; name=\"a\"; name=\"b\"", "twice", "INVALID_PART"),
        ("; name=\"a\"; filename=\"x\"; filename=\"y\"", "twice", "INVALID_PART"),
        ("; name=\"a\"; filename*=UTF-8''x", "unknown", "INVALID_QUOTING INVALID_PART"),
    ];
    for (parameters, error, flags) in bad {
        check(TYPE, &disposed(parameters), ("", flags, Some(error)));
    }
}

#[test]
fn limits() {
    let file =
        |name: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"x\"\r\n\r\nv\r\n");
    let body = format!("{}{}--b--\r\n", file("f"), file("g"));
    let found = parse(TYPE, body.as_bytes(), &Options { max_files: 1, ..Options::default() });
    assert_eq!((parts(&found).as_str(), flags(&found).as_str()), ("f[x]=v", "FILE_LIMIT_EXCEEDED"));
    assert!(found.strict_error() && found.error.is_none());
    let found = parse(TYPE, body.as_bytes(), &Options { max_parts: 1, ..Options::default() });
    assert_eq!(parts(&found), "f[x]=v");
    assert!(found.error.unwrap().contains("more than 1 parts"));
}
