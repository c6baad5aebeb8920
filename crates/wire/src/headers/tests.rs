use super::*;

fn of(fields: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in fields {
        assert!(headers.push_name(name.as_bytes(), value.as_bytes()), "{name}: {value}");
    }
    headers
}

fn names(headers: &Headers) -> Vec<&str> {
    headers.iter().map(|header| std::str::from_utf8(header.name).unwrap()).collect()
}

#[test]
fn a_field_is_sixteen_bytes() {
    assert_eq!(size_of::<Field>(), 16);
}

#[test]
fn values_are_found_by_id_and_by_name_in_any_case() {
    let headers = of(&[("Accept", "a"), ("X-Foo", "1"), ("accept", "b"), ("x-foo", "2")]);
    assert_eq!(headers.get(HeaderId::Accept), Some(&b"a"[..]));
    assert_eq!(headers.get_all(HeaderId::Accept).collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!(headers.get_name(b"ACCEPT"), Some(&b"a"[..]));
    assert_eq!(headers.get_name(b"x-FOO"), Some(&b"1"[..]));
    assert_eq!(headers.get(HeaderId::Host), None);
    assert_eq!(headers.get_all(HeaderId::Host).count(), 0);
    assert_eq!(headers.get_name(b"X-Bar"), None);
}

#[test]
fn lines_are_copied_as_they_were_received_or_written_anew() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nAccept: b\r\nX-No: 1\r\nCookie:c\r\nX-Two:  d \r\nX-Last: e\r\n\r\n";
    let (mut buf, limits) = (bytes::BytesMut::from(&head[..]), crate::h1::Limits::default());
    let read = crate::h1::parse_request(&mut buf, &limits, &mut 0).unwrap().unwrap();
    let mut headers = read.headers;
    headers.push(HeaderId::Via, b"v");
    let mut out = Vec::new();
    headers.write_kept(&mut out, |header| header.name != b"X-No");
    let expected = "Host: a\r\nAccept: b\r\nCookie: c\r\nX-Two: d\r\nX-Last: e\r\nVia: v\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn set_replaces_all_and_remove_forgets() {
    let mut headers = of(&[("Accept", "a"), ("X-Foo", "1"), ("accept", "b")]);
    headers.set(HeaderId::Accept, b"c");
    assert_eq!(headers.get_all(HeaderId::Accept).collect::<Vec<_>>(), [b"c"]);
    assert_eq!(names(&headers), ["X-Foo", "Accept"]);
    headers.set_name(b"x-foo", b"2");
    assert_eq!(headers.get_name(b"X-Foo"), Some(&b"2"[..]));
    headers.remove(HeaderId::Accept);
    assert!(!headers.contains(HeaderId::Accept));
    headers.remove_name(b"X-FOO");
    assert!(headers.is_empty());
}

#[test]
fn retain_keeps_the_set_of_ids_right() {
    let mut headers = of(&[("Accept", "a"), ("Host", "h"), ("X-Foo", "1")]);
    headers.retain(|header| header.value != b"a");
    assert!(!headers.contains(HeaderId::Accept));
    assert!(headers.contains(HeaderId::Host));
    assert_eq!(names(&headers), ["Host", "X-Foo"]);
}

#[test]
fn what_could_split_a_message_is_not_taken() {
    let mut headers = Headers::default();
    for bad in ["a\r\nSet-Cookie: x", "a\nb", "a\rb", "\0", "\u{1}", "a\u{7f}"] {
        assert!(!headers.push(HeaderId::Location, bad.as_bytes()), "{bad:?}");
        assert!(!headers.push_name(b"X-Foo", bad.as_bytes()), "{bad:?}");
        assert!(!headers.set(HeaderId::Location, bad.as_bytes()), "{bad:?}");
        assert!(!write_header(&mut Vec::new(), b"X-Foo", bad.as_bytes()), "{bad:?}");
    }
    for bad in ["", "X Foo", "X-Foo:", "X-Foo\r", "X-F\u{f6}\u{f6}", "\t"] {
        assert!(!headers.push_name(bad.as_bytes(), b"v"), "{bad:?}");
        assert!(!write_header(&mut Vec::new(), bad.as_bytes(), b"v"), "{bad:?}");
    }
    assert!(!headers.push(HeaderId::Other, b"v"));
    assert!(headers.is_empty());
    assert!(headers.push(HeaderId::Location, "/caf\u{e9}\t x".as_bytes()));
}

#[test]
fn a_refused_set_leaves_the_old_value() {
    let mut headers = of(&[("Location", "/a")]);
    assert!(!headers.set(HeaderId::Location, b"/\r\n"));
    assert!(!headers.set_name(b"location", b"/\r\n"));
    assert_eq!(headers.get(HeaderId::Location), Some(&b"/a"[..]));
}

#[test]
fn hop_by_hop_fields_and_those_connection_names_go() {
    let mut headers = of(&[
        ("Host", "h"),
        ("Connection", "close, X-Private ,, x-other"),
        ("x-private", "1"),
        ("X-OTHER", "2"),
        ("X-Stays", "3"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers"),
        ("Trailer", "X"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "websocket"),
        ("HTTP2-Settings", "AAMAAABk"),
        ("connection", "X-Third"),
        ("X-Third", "4"),
    ]);
    headers.strip_hop_by_hop();
    assert_eq!(names(&headers), ["Host", "X-Stays"]);
    assert!(!headers.contains(HeaderId::Connection));
    assert!(headers.contains(HeaderId::Host));
}

#[test]
fn connection_cannot_remove_what_the_next_hop_relies_on() {
    let kept = [
        ("Host", "h"),
        ("Content-Length", "5"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("X-Forwarded-Whatever", "1"),
        ("X-Real-IP", "1.2.3.4"),
        ("Authorization", "Basic eA=="),
        ("Cookie", "a=b"),
        ("Cache-Control", "no-store"),
    ];
    let mut headers = of(&kept);
    let names_of = kept.map(|(name, _)| name);
    headers.push(HeaderId::Connection, names_of.join(", ").as_bytes());
    headers.strip_hop_by_hop();
    assert_eq!(names(&headers), names_of);
}

#[test]
fn a_head_without_hop_by_hop_fields_is_left_alone() {
    let mut headers = of(&[("Host", "h"), ("X-Foo", "1")]);
    let before = headers.clone();
    headers.strip_hop_by_hop();
    assert_eq!(headers, before);
}

#[test]
fn writing_gives_one_line_per_field_in_order() {
    let mut headers = of(&[("host", "h"), ("X-Foo", "")]);
    headers.push(HeaderId::XRealIp, b"1.2.3.4");
    let mut out = Vec::new();
    headers.write_to(&mut out);
    assert_eq!(out, b"host: h\r\nX-Foo: \r\nX-Real-IP: 1.2.3.4\r\n");
}

#[test]
fn lists_lose_their_empty_members() {
    assert_eq!(list_members(b" a ,, b\t,").collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!(list_members(b"").count(), 0);
}

#[test]
fn names_in_messages_are_short_and_printable() {
    assert_eq!(printable_name(b"X-\x1b[31m\r\n"), "X-??31m??");
    assert_eq!(printable_name(&[b'a'; 100]).len(), 67);
}
