use super::*;

const LIMITS: Limits = Limits { max_head: 1 << 10, max_target: 0, max_field: 256, max_fields: 8, bare_lf: true };

fn parse(text: &str) -> Result<Option<(u16, String, Framing)>, String> {
    let mut scanned = 0;
    let mut buf = BytesMut::from(text);
    let head = parse_response(&mut buf, &LIMITS, &mut scanned, &Method::Get).map_err(|e| e.to_string())?;
    Ok(head.map(|head| {
        assert!(!head.headers.iter().any(|header| header.name.eq_ignore_ascii_case(b"status")), "it stays here");
        (head.status, String::from_utf8_lossy(&buf).into_owned(), head.framing)
    }))
}

#[test]
fn heads_that_say_a_status_and_heads_that_do_not() {
    for (text, status, rest, framing) in [
        ("Content-Type: text/html\r\n\r\nbody", 200, "body", Framing::UntilClose),
        ("Content-Type: text/html\n\nbody", 200, "body", Framing::UntilClose),
        ("Status: 404 Not Found\r\nContent-Length: 3\r\n\r\nabc", 404, "abc", Framing::Length(3)),
        ("status: 201\r\n\r\n", 201, "", Framing::UntilClose),
        ("Location: /there\r\n\r\n", 302, "", Framing::UntilClose),
        ("Location: /there\r\nStatus: 301\r\n\r\n", 301, "", Framing::UntilClose),
        ("Status: 304 Not Modified\r\n\r\n", 304, "", Framing::None),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", 403, "", Framing::Length(0)),
        ("HTTP/1.0 200 OK\r\n\r\nbody", 200, "body", Framing::UntilClose),
        ("\r\nbody", 200, "body", Framing::UntilClose),
    ] {
        assert_eq!(parse(text), Ok(Some((status, rest.to_owned(), framing))), "{text}");
    }
}

#[test]
fn what_is_no_head_is_refused() {
    for (text, part) in [
        ("Traceback (most recent call last):\r\n\r\n", "field name"),
        ("Status: ok\r\n\r\n", "Status is"),
        ("Status: 99 x\r\n\r\n", "Status is"),
        ("Status: 2000\r\n\r\n", "Status is"),
        ("Status:\r\n\r\n", "Status is"),
        ("Content-Length: 3\r\nContent-Length: 3\r\n\r\n", "more than once"),
        ("Content-Length: -1\r\n\r\n", "decimal"),
        ("Transfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding"),
        ("A: 1\r\nB: 2\n\r\n", "LF"),
        (&"A: b\r\n".repeat(9), ""),
        ("HTTP/2 200\r\n\r\n", ""),
        (&format!("A: {}", "b".repeat(300)), "longer"),
    ] {
        match parse(text) {
            Err(message) => assert!(message.contains(part), "{text:?}: {message}"),
            Ok(None) if text.matches("A: b\r\n").count() == 9 => {
                assert!(parse(&format!("{text}\r\n")).is_err_and(|message| message.contains("limit of 8")));
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }
}

#[test]
fn where_the_pieces_end_makes_no_difference() {
    let text = "Status: 404 Not Found\r\nX-A: b\r\n\r\nrest";
    let end = text.len() - "rest".len();
    for cut in 0..end {
        let (mut buf, mut scanned) = (BytesMut::from(&text[..cut]), 0);
        assert!(parse_response(&mut buf, &LIMITS, &mut scanned, &Method::Get).unwrap().is_none(), "{cut}");
        buf.extend_from_slice(&text.as_bytes()[cut..]);
        let head = parse_response(&mut buf, &LIMITS, &mut scanned, &Method::Get).unwrap().unwrap();
        assert_eq!((head.status, &head.reason[..], &buf[..]), (404, &b"Not Found"[..], &b"rest"[..]), "{cut}");
    }
}
