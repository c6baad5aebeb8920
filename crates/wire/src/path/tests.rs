use super::*;
use proptest::prelude::*;

fn target(method: &Method, text: &str) -> Result<Target, H1Error> {
    parse_target(method, &Bytes::copy_from_slice(text.as_bytes()), true)
}

fn path(text: &str, merge_slashes: bool) -> Option<String> {
    let target = parse_target(&Method::Get, &Bytes::copy_from_slice(text.as_bytes()), merge_slashes).ok()?;
    Some(target.path.escape_ascii().to_string())
}

#[test]
fn paths_have_one_normal_form() {
    for (raw, normal) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("//", "/"),
        ("///a//b///", "/a/b/"),
        ("/.", "/"),
        ("/./", "/"),
        ("/a/.", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/a/../b", "/b"),
        ("/a/b/../../c", "/c"),
        ("/a//../b", "/b"),
        ("/a/.../b", "/a/.../b"),
        ("/a/..b", "/a/..b"),
        ("/a/.b", "/a/.b"),
        ("/a/b.", "/a/b."),
        ("/a/b..", "/a/b.."),
        ("/%61", "/a"),
        ("/%2e/a", "/a"),
        ("/a/%2E%2e/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/a%2fb", "/a/b"),
        ("/a/%2f%2F/b", "/a/b"),
        ("/a%2f..%2fb", "/b"),
        ("/%252e%252e/", "/%2e%2e/"),
        ("/%25", "/%"),
        ("/a%20b%3Fc%23", "/a b?c#"),
        ("/%0a", "/\\n"),
        ("/%c3%a9", "/\\xc3\\xa9"),
        ("/\u{e9}", "/\\xc3\\xa9"),
        ("/%ff", "/\\xff"),
        ("/a\\..\\b", "/a\\\\..\\\\b"),
        ("/a;b=c", "/a;b=c"),
        ("/a+b", "/a+b"),
    ] {
        assert_eq!(path(raw, true).as_deref(), Some(normal), "{raw}");
    }
}

#[test]
fn slashes_can_be_kept_apart() {
    for (raw, normal) in [
        ("//a///b/", "//a///b/"),
        ("/a//../b", "/a/b"),
        ("/a/..//b", "//b"),
        ("/a%2f%2fb", "/a//b"),
        ("/a/.//b", "/a//b"),
    ] {
        assert_eq!(path(raw, false).as_deref(), Some(normal), "{raw}");
    }
}

#[test]
fn ambiguous_paths_are_refused() {
    for raw in [
        "/..",
        "/../",
        "/../a",
        "/a/../..",
        "/a/../../b",
        "/%2e%2e",
        "/.%2e/a",
        "/..%2f",
        "/%2f..",
        "/./..",
        "//..",
        "/%",
        "/%1",
        "/%zz",
        "/%%31",
        "/%u0041",
        "/a%00b",
        "/%00",
        "/a#b",
        "/a?b#c",
        "/#",
        "/%+1",
        "/% 1",
    ] {
        assert_eq!(path(raw, true), None, "{raw}");
    }
    // Not merged, the empty segment is what `..` removes.
    assert_eq!(path("//..", false).as_deref(), Some("/"));
    assert_eq!(path("//../..", false), None);
}

#[test]
fn a_path_without_need_shares_the_memory_of_the_target() {
    let raw = Bytes::from_static(b"/a/b.c?d=%20/../e");
    let target = parse_target(&Method::Get, &raw, true).unwrap();
    assert_eq!(target.path.as_ptr(), raw.as_ptr());
    assert_eq!(target.path, "/a/b.c");
    assert_eq!(&raw[target.query.unwrap()], b"d=%20/../e");
    assert_eq!(&raw[target.raw_path], b"/a/b.c");
    assert_eq!(target.authority, None);
}

#[test]
fn queries_are_left_alone() {
    for (text, query) in [("/a", None), ("/a?", Some("")), ("/a?b?c", Some("b?c")), ("/%61?%zz%00", Some("%zz%00"))] {
        let target = target(&Method::Get, text).unwrap();
        assert_eq!(target.query.map(|range| &text[range]), query, "{text}");
    }
}

#[test]
fn the_forms_of_rfc_9112() {
    for (method, text, form, path, authority) in [
        (Method::Get, "/a", Form::Origin, "/a", None),
        (Method::Get, "http://b/a", Form::Absolute, "/a", Some("b")),
        (Method::Get, "HTTPS://b:80/a/../c?d", Form::Absolute, "/c", Some("b:80")),
        (Method::Get, "http://[::1]:80", Form::Absolute, "/", Some("[::1]:80")),
        (Method::Get, "http://b?c", Form::Absolute, "/", Some("b")),
        (Method::Options, "*", Form::Asterisk, "*", None),
        (Method::Options, "/a", Form::Origin, "/a", None),
        (Method::Connect, "b:443", Form::Authority, "", Some("b:443")),
        (Method::Connect, "[::1]:443", Form::Authority, "", Some("[::1]:443")),
    ] {
        let target = target(&method, text).unwrap();
        assert_eq!((target.form, &target.path[..]), (form, path.as_bytes()), "{text}");
        assert_eq!(target.authority.as_deref(), authority.map(str::as_bytes), "{text}");
    }
}

#[test]
fn other_forms_are_refused() {
    for (method, text) in [
        (Method::Get, ""),
        (Method::Get, "*"),
        (Method::Get, "a"),
        (Method::Get, "a:80"),
        (Method::Get, "?a"),
        (Method::Get, "http:/a"),
        (Method::Get, "http:///a"),
        (Method::Get, "http://"),
        (Method::Get, "http://u@b/"),
        (Method::Get, "http://b:x/"),
        (Method::Get, "http://b\\c/"),
        (Method::Get, "http://b#c"),
        (Method::Get, "ftp://b/"),
        (Method::Get, "http://b/../a"),
        (Method::Options, "**"),
        (Method::Connect, "/"),
        (Method::Connect, "b"),
        (Method::Connect, "b:"),
        (Method::Connect, "http://b:80/"),
        (Method::Connect, "u@b:80"),
    ] {
        let error = target(&method, text).unwrap_err();
        assert_eq!((error.status, error.kind), (400, H1ErrorKind::Target), "{method} {text}");
    }
}

#[test]
fn paths_are_encoded_for_a_request_line() {
    let mut out = Vec::new();
    encode_path(b"/a b?c#d%e\r\n\xff/~;=@:", &mut out);
    assert_eq!(out, b"/a%20b%3Fc%23d%25e%0D%0A%FF/~;=@:");
}

#[test]
fn ports_are_split_off() {
    for (value, expected) in [
        ("a", Some(("a", None))),
        ("a:", Some(("a", Some("")))),
        ("a:80", Some(("a", Some("80")))),
        ("[::1]", Some(("[::1]", None))),
        ("[::1]:80", Some(("[::1]", Some("80")))),
        ("[::1]80", None),
        ("[::1", None),
    ] {
        let expected = expected.map(|(host, port): (&str, Option<&str>)| (host.as_bytes(), port.map(str::as_bytes)));
        assert_eq!(split_port(value.as_bytes()), expected, "{value}");
    }
}

/// What [`normalise`] promises of a path.
fn assert_normal(path: &[u8], merge_slashes: bool) {
    assert!(path.starts_with(b"/") && !path.contains(&0), "{}", path.escape_ascii());
    assert!(
        path.split(|&byte| byte == b'/').all(|segment| segment != b"." && segment != b".."),
        "{}",
        path.escape_ascii()
    );
    assert!(!merge_slashes || !path.windows(2).any(|pair| pair == b"//"), "{}", path.escape_ascii());
}

proptest! {
    #[test]
    fn normalising_twice_changes_nothing_and_never_leaves_the_root(
        pieces in prop::collection::vec(prop::sample::select(vec!["/", ".", "..", "%2e", "%2F", "a", "%61", "%25", "%ff", "%", "\\", "%0d", ";"]), 0..12),
        merge in any::<bool>(),
    ) {
        let raw = Bytes::from(format!("/{}", pieces.concat()));
        if let Ok(target) = parse_target(&Method::Get, &raw, merge) {
            assert_normal(&target.path, merge);
            let mut encoded = Vec::new();
            encode_path(&target.path, &mut encoded);
            let again = parse_target(&Method::Get, &Bytes::from(encoded), merge).unwrap();
            prop_assert_eq!(again.path, target.path);
        }
    }

    #[test]
    fn any_decoded_path_survives_encoding(bytes in prop::collection::vec(1u8.., 0..30)) {
        let path = [b"/x/", &bytes[..]].concat();
        let mut encoded = Vec::new();
        encode_path(&path, &mut encoded);
        prop_assert!(encoded.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'?' && *byte != b'#'));
        if let Ok(target) = parse_target(&Method::Get, &Bytes::from(encoded), false) {
            assert_normal(&target.path, false);
            let dots = path.split(|&byte| byte == b'/').any(|segment| segment == b"." || segment == b"..");
            prop_assert!(dots || target.path == path);
        }
    }
}
