//! One table of heads per direction; each case is read whole, byte by byte, and with bytes behind it.
use super::*;
use crate::headers::HeaderId;
use H1ErrorKind as K;
use bytes::BytesMut;
use std::fmt::Write;

mod limits;
mod split;

/// What a case comes to: the error, or what was read in a form that can be compared.
type Outcome = Result<Option<String>, (u16, K)>;

fn small() -> Limits {
    Limits { max_head: 512, max_target: 64, max_field: 128, max_fields: 8, bare_lf: false }
}

fn describe_request(head: &RequestHead) -> String {
    let mut text = format!("{} {} {:?} {:?}", head.method, head.target.escape_ascii(), head.version, head.framing);
    for (set, word) in [(!head.keep_alive, " close"), (head.expect_continue, " continue"), (head.upgrade, " upgrade")] {
        text.push_str(if set { word } else { "" });
    }
    describe_fields(text, &head.headers)
}

fn describe_response(head: &ResponseHead) -> String {
    let reason = head.reason.escape_ascii();
    let close = if head.keep_alive { "" } else { " close" };
    describe_fields(format!("{} \"{reason}\" {:?} {:?}{close}", head.status, head.version, head.framing), &head.headers)
}

fn describe_fields(mut text: String, headers: &Headers) -> String {
    for header in headers.iter() {
        assert_eq!(header.id, HeaderId::of(header.name));
        write!(text, " | {}: {}", header.name.escape_ascii(), header.value.escape_ascii()).unwrap();
    }
    text
}

/// Feeds `input` in pieces of `step` bytes and returns the outcome and what is left behind the head.
fn feed(
    input: &[u8],
    step: usize,
    mut parse: impl FnMut(&mut BytesMut, &mut usize) -> Result<Option<String>, H1Error>,
) -> (Outcome, Vec<u8>) {
    let (mut buf, mut scanned) = (BytesMut::new(), 0);
    let mut pieces = input.chunks(step);
    while let Some(piece) = pieces.next() {
        buf.extend_from_slice(piece);
        match parse(&mut buf, &mut scanned) {
            Ok(None) => assert!(scanned <= buf.len()),
            Ok(Some(text)) => {
                assert_eq!(scanned, 0);
                pieces.for_each(|piece| buf.extend_from_slice(piece));
                return (Ok(Some(text)), buf.to_vec());
            }
            Err(error) => {
                assert!(error.message.chars().all(|c| !c.is_control()), "{}", error.message);
                return (Err((error.status, error.kind)), Vec::new());
            }
        }
    }
    (Ok(None), buf.to_vec())
}

fn request(input: &[u8], step: usize, limits: &Limits) -> (Outcome, Vec<u8>) {
    feed(input, step, |buf, scanned| Ok(parse_request(buf, limits, scanned)?.as_ref().map(describe_request)))
}

fn response(input: &[u8], step: usize, method: &Method) -> (Outcome, Vec<u8>) {
    let limits = Limits::default();
    feed(input, step, |buf, scanned| Ok(parse_response(buf, &limits, scanned, method)?.as_ref().map(describe_response)))
}

/// Runs one case the three ways.
fn three_ways(input: &[u8], expected: &Outcome, run: impl Fn(&[u8], usize) -> (Outcome, Vec<u8>)) {
    let shown = input.escape_ascii();
    assert_eq!(run(input, input.len()).0, *expected, "whole: {shown}");
    assert_eq!(run(input, 1).0, *expected, "byte by byte: {shown}");
    if matches!(expected, Ok(None)) {
        return;
    }
    let trailing = b"\r\nG\x00T / trailing";
    let (outcome, rest) = run(&[input, trailing].concat(), usize::MAX);
    assert_eq!(outcome, *expected, "with trailing data: {shown}");
    if outcome.is_ok() {
        assert_eq!(rest, trailing, "{shown}");
    }
}

const HOST: &str = "Host: a\r\n";

#[test]
fn good_requests() {
    for (input, expected) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / H11 None | Host: a"),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / H11 None | Host: a"),
        ("GET / HTTP/1.0\r\n\r\n", "GET / H10 None close"),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET / H10 None | Connection: Keep-Alive"),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
            "GET / H10 None close | Connection: keep-alive, close",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: foo ,Close\r\n\r\n",
            "GET / H11 None close | Host: a | Connection: foo ,Close",
        ),
        ("GET / HTTP/1.7\r\nHost: a\r\n\r\n", "GET / H11 None | Host: a"),
        ("PROPFIND /x?y HTTP/1.1\r\nhOsT:a:80\r\n\r\n", "PROPFIND /x?y H11 None | hOsT: a:80"),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://b/ H11 None | Host: a"),
        ("OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "OPTIONS * H11 None | Host: [::1]:8080"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
            "POST / H11 Length(5) | Host: a | Content-Length: 5",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "POST / H11 Length(0) | Host: a | Content-Length: 0",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n",
            "POST / H11 Length(18446744073709551615) | Host: a | Content-Length: 18446744073709551615",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\t ChunkeD \t\r\n\r\n",
            "POST / H11 Chunked | Host: a | Transfer-Encoding: ChunkeD",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n",
            "POST / H11 Length(1) continue | Host: a | Content-Length: 1 | Expect: 100-Continue",
        ),
        (
            "POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
            "POST / H10 Length(1) close | Content-Length: 1 | Expect: 100-continue",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "GET / H11 None upgrade | Host: a | Connection: keep-alive, Upgrade | Upgrade: websocket",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\n",
            "GET / H11 Length(1) | Host: a | Connection: upgrade | Upgrade: x | Content-Length: 1",
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", "GET / H11 None | Host: a | Upgrade: websocket"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX: \t\r\n\r\n", "GET / H11 None | Host: a | X-Empty:  | X: "),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\tb  c \r\n\r\n", "GET / H11 None | Host: a | X: a\\tb  c"),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n\r\n", "GET /\\xc3\\xa9 H11 None | Host: a | X: \\xc3\\xa9"),
    ] {
        three_ways(input.as_bytes(), &Ok(Some(expected.to_owned())), |input, step| {
            request(input, step.min(input.len()), &Limits::default())
        });
    }
}

#[test]
fn bad_first_lines() {
    for (line, status, kind) in [
        ("G\u{0}T / HTTP/1.1", 400, K::Method),
        ("GET/ HTTP/1.1", 400, K::Method),
        ("GET", 400, K::RequestLine),
        ("GET /", 400, K::RequestLine),
        ("GET  / HTTP/1.1", 400, K::RequestLine),
        ("GET / HTTP/1.1 ", 400, K::RequestLine),
        ("GET /  HTTP/1.1", 400, K::RequestLine),
        ("GET /a b HTTP/1.1", 400, K::RequestLine),
        ("GET /\tHTTP/1.1", 400, K::RequestLine),
        ("GET /a\tb HTTP/1.1", 400, K::Target),
        ("GET /\u{0} HTTP/1.1", 400, K::Target),
        ("GET /\u{7f} HTTP/1.1", 400, K::Target),
        ("GET /\rx HTTP/1.1", 400, K::BareCr),
        ("GET / HTTP/1.1\r", 400, K::BareCr),
        ("GET / http/1.1", 400, K::RequestLine),
        ("GET / HTTP/1.", 400, K::RequestLine),
        ("GET / HTTP/1.10", 400, K::RequestLine),
        ("GET / HTTP/01.1", 400, K::RequestLine),
        ("GET / HTTP/1,1", 400, K::RequestLine),
        ("GET / HTP/1.1", 400, K::RequestLine),
        ("GET / HTTP/0.9", 505, K::Version),
        ("GET / HTTP/2.0", 505, K::Version),
        ("PRI * HTTP/2.0", 505, K::Version),
        ("GET / HTTP/9.1", 505, K::Version),
        ("\r\nGET / HTTP/1.1", 400, K::RequestLine),
        (" GET / HTTP/1.1", 400, K::NotHttp),
        ("\u{16}\u{3}\u{1}", 400, K::NotHttp),
        ("\u{0}", 400, K::NotHttp),
        ("\rGET / HTTP/1.1", 400, K::BareCr),
        ("AVERYVERYLONGMETHODTHATNOBODYKNOWS / HTTP/1.1", 501, K::Method),
    ] {
        // The second case of an empty line: one is skipped, two aren't.
        let start = if line.starts_with("\r\n") { "\r\n" } else { "" };
        let input = format!("{start}{line}\r\n{HOST}\r\n");
        three_ways(input.as_bytes(), &Err((status, kind)), |input, step| {
            request(input, step.min(input.len()), &Limits::default())
        });
    }
    let input = b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n";
    three_ways(input, &Err((400, K::Target)), |input, step| request(input, step.min(input.len()), &Limits::default()));
}

#[test]
fn bad_fields_in_requests() {
    for (fields, status, kind) in [
        ("X: a\nY: b\r\n", 400, K::BareLf),
        ("X: a\n\n", 400, K::BareLf),
        ("X: a\rY: b\r\n", 400, K::BareCr),
        ("X: a\r\r\n", 400, K::BareCr),
        ("X: a\r\n folded\r\n", 400, K::ObsFold),
        ("X: a\r\n\tfolded\r\n", 400, K::ObsFold),
        ("X : a\r\n", 400, K::SpaceBeforeColon),
        ("X\t: a\r\n", 400, K::SpaceBeforeColon),
        ("Content-Length : 5\r\n", 400, K::SpaceBeforeColon),
        (": a\r\n", 400, K::FieldName),
        (" : a\r\n", 400, K::ObsFold),
        ("X\r\n", 400, K::FieldName),
        ("X Y: a\r\n", 400, K::FieldName),
        ("X(: a\r\n", 400, K::FieldName),
        ("X\u{e9}: a\r\n", 400, K::FieldName),
        ("X\u{0}: a\r\n", 400, K::FieldName),
        ("X: a\u{0}b\r\n", 400, K::FieldValue),
        ("X: a\u{b}b\r\n", 400, K::FieldValue),
        ("X: \u{1b}[31m\r\n", 400, K::FieldValue),
        ("X: a\u{7f}\r\n", 400, K::FieldValue),
        ("Host: a\r\n", 400, K::HostRepeated),
        ("host: b\r\n", 400, K::HostRepeated),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400, K::ContentLengthRepeated),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400, K::ContentLengthRepeated),
        ("Content-Length: 5, 5\r\n", 400, K::ContentLength),
        ("Content-Length: 5 5\r\n", 400, K::ContentLength),
        ("Content-Length: +5\r\n", 400, K::ContentLength),
        ("Content-Length: -5\r\n", 400, K::ContentLength),
        ("Content-Length: 0x5\r\n", 400, K::ContentLength),
        ("Content-Length: 5.0\r\n", 400, K::ContentLength),
        ("Content-Length:\r\n", 400, K::ContentLength),
        ("Content-Length: a\r\n", 400, K::ContentLength),
        ("Content-Length: 18446744073709551616\r\n", 400, K::ContentLength),
        ("Content-Length: 000000000000000000005\r\n", 400, K::ContentLength),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400, K::LengthAndEncoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400, K::LengthAndEncoding),
        ("Transfer-Encoding: x\r\nContent-Length: 5\r\n", 400, K::LengthAndEncoding),
        ("Transfer-Encoding: gzip\r\n", 501, K::TransferCoding),
        ("Transfer-Encoding: identity\r\n", 501, K::TransferCoding),
        ("Transfer-Encoding: gzip, chunked\r\n", 501, K::TransferCoding),
        ("Transfer-Encoding: xchunked\r\n", 501, K::TransferCoding),
        ("Transfer-Encoding: \"chunked\"\r\n", 501, K::TransferCoding),
        ("Transfer-Encoding: chunked, gzip\r\n", 400, K::TransferEncoding),
        ("Transfer-Encoding: chunked, chunked\r\n", 400, K::TransferEncoding),
        ("Transfer-Encoding: chunked,\r\n", 400, K::TransferEncoding),
        ("Transfer-Encoding: chunked;a=b\r\n", 400, K::TransferEncoding),
        ("Transfer-Encoding:\r\n", 400, K::TransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400, K::TransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", 400, K::TransferEncoding),
    ] {
        let input = format!("POST / HTTP/1.1\r\n{HOST}{fields}\r\n");
        three_ways(input.as_bytes(), &Err((status, kind)), |input, step| {
            request(input, step.min(input.len()), &Limits::default())
        });
    }
}

#[test]
fn host_is_one_valid_name_or_address() {
    let too_late = "GET / HTTP/1.1\r\n\r\n";
    assert_eq!(request(too_late.as_bytes(), 99, &Limits::default()).0, Err((400, K::HostMissing)));
    for host in [
        "",
        "a b",
        "a/b",
        "a@b",
        "a:b",
        "a:99999",
        "a:80:80",
        "[::1",
        "[::1]x",
        "[zz]",
        "::1",
        "a\\b",
        "a?b",
        "a#b",
        "<a>",
        "%zz",
        ":80",
        "a%20b",
        "intern%61l.test",
        ".",
        "a..b",
        "a..",
        "[v.a]",
        "[v1.]",
        "[v1]",
        "[vg.a]",
        "[v1.a",
    ] {
        for version in ["1.0", "1.1"] {
            let input = format!("GET / HTTP/{version}\r\nHost: {host}\r\n\r\n");
            let outcome = request(input.as_bytes(), 999, &Limits::default()).0;
            assert_eq!(outcome, Err((400, K::HostInvalid)), "{host:?}");
        }
    }
    for host in [
        "a",
        "a.b",
        "a.b.",
        "1.2.3.4:80",
        "[::1]",
        "[::ffff:1.2.3.4]:443",
        "a_b",
        "xn--a",
        "a:",
        ".a",
        "[v1.a:b]:80",
        "[vF.x]",
    ] {
        let input = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert!(request(input.as_bytes(), 999, &Limits::default()).0.is_ok(), "{host:?}");
    }
}

#[test]
fn chunked_in_http_1_0_is_refused_from_clients_and_the_last_word_from_upstreams() {
    let input = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(request(input, 99, &Limits::default()).0, Err((400, K::TransferEncodingInHttp10)));
    let input = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n";
    let expected = "200 \"OK\" H10 Chunked close | Transfer-Encoding: chunked | Connection: keep-alive";
    assert_eq!(response(input, 99, &Method::Get).0, Ok(Some(expected.to_owned())));
}

#[test]
fn unfinished_heads_wait() {
    let whole = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for end in 0..whole.len() {
        assert_eq!(request(&whole[..end], end.max(1), &Limits::default()).0, Ok(None), "{end}");
    }
}

const GOOD_RESPONSES: &[(Method, &str, &str)] = &[
    (Method::Get, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "200 \"OK\" H11 Length(3) | Content-Length: 3"),
    (Method::Get, "HTTP/1.1 200 OK\r\n\r\n", "200 \"OK\" H11 UntilClose close"),
    (Method::Get, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 \"\" H11 Length(0) | Content-Length: 0"),
    (Method::Get, "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "200 \"\" H11 Length(0) | Content-Length: 0"),
    (
        Method::Get,
        "HTTP/1.1 404 Pas trouv\u{e9}\r\nContent-Length: 0\r\n\r\n",
        "404 \"Pas trouv\\xc3\\xa9\" H11 Length(0) | Content-Length: 0",
    ),
    (Method::Get, "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "200 \"OK\" H10 Length(0) close | Content-Length: 0"),
    (
        Method::Get,
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        "200 \"OK\" H10 Length(0) | Connection: keep-alive | Content-Length: 0",
    ),
    (
        Method::Get,
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "200 \"OK\" H11 Length(0) close | Content-Length: 0 | Connection: close",
    ),
    (
        Method::Get,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "200 \"OK\" H11 Chunked | Transfer-Encoding: chunked",
    ),
    (
        Method::Get,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n",
        "200 \"OK\" H11 Chunked | Transfer-Encoding: chunked",
    ),
    (Method::Head, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "200 \"OK\" H11 None | Content-Length: 3"),
    (Method::Head, "HTTP/1.1 200 OK\r\n\r\n", "200 \"OK\" H11 None"),
    (
        Method::Get,
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
        "304 \"Not Modified\" H11 None | Content-Length: 3",
    ),
    (Method::Get, "HTTP/1.1 204 No Content\r\n\r\n", "204 \"No Content\" H11 None"),
    (
        Method::Get,
        "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
        "204 \"No Content\" H11 None close | Content-Length: 3",
    ),
    (Method::Get, "HTTP/1.1 100 Continue\r\n\r\n", "100 \"Continue\" H11 None"),
    (Method::Get, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "103 \"Early Hints\" H11 None | Link: </a>"),
    (
        Method::Get,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "101 \"Switching Protocols\" H11 None close | Upgrade: x",
    ),
    (Method::Connect, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "200 \"OK\" H11 None close | Content-Length: 3"),
    (Method::Connect, "HTTP/1.1 407 No\r\nContent-Length: 3\r\n\r\n", "407 \"No\" H11 Length(3) | Content-Length: 3"),
    (Method::Get, "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", "999 \"Odd\" H11 Length(0) | Content-Length: 0"),
    (Method::Get, "HTTP/1.5 200 OK\r\nContent-Length: 0\r\n\r\n", "200 \"OK\" H11 Length(0) | Content-Length: 0"),
];

#[test]
fn good_responses() {
    for (method, input, expected) in GOOD_RESPONSES {
        three_ways(input.as_bytes(), &Ok(Some((*expected).to_owned())), |input, step| {
            response(input, step.min(input.len()), method)
        });
    }
}

#[test]
fn bad_responses() {
    for (input, kind) in [
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", K::NotHttp),
        ("<html>\r\n\r\n", K::NotHttp),
        ("SSH-2.0-x\r\n\r\n", K::NotHttp),
        ("HTTP/2.0 200 OK\r\n\r\n", K::Version),
        ("HTTP/1.1\r\n\r\n", K::StatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n", K::StatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", K::StatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n", K::StatusLine),
        ("HTTP/1.1 2x0 OK\r\n\r\n", K::StatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n", K::StatusLine),
        ("HTTP/1.1 200 O\u{0}K\r\n\r\n", K::StatusLine),
        ("HTTP/1.1 200 O\rK\r\n\r\n", K::BareCr),
        ("HTTP/1.1 200 OK\nContent-Length: 0\n\n", K::BareLf),
        ("HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n", K::ObsFold),
        ("HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\n\r\n", K::BareCr),
        ("HTTP/1.1 200 OK\r\nX: a\u{0}\r\n\r\n", K::FieldValue),
        ("HTTP/1.1 200 OK\r\nX Y: a\r\n\r\n", K::FieldName),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", K::FieldName),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", K::ContentLengthRepeated),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", K::LengthAndEncoding),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", K::ContentLength),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", K::TransferCoding),
    ] {
        three_ways(input.as_bytes(), &Err((502, kind)), |input, step| {
            response(input, step.min(input.len()), &Method::Get)
        });
    }
}

/// Limits under which heads may end their lines with LF.
fn lenient() -> Limits {
    Limits { bare_lf: true, ..Limits::default() }
}

#[test]
fn requests_with_lf_alone() {
    for (input, expected) in [
        ("GET / HTTP/1.0\nHost: a\n\n", Ok("GET / H10 None close | Host: a")),
        ("GET / HTTP/1.0\n\n", Ok("GET / H10 None close")),
        ("GET / HTTP/1.7\nHost: a\n\n", Ok("GET / H11 None | Host: a")),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok("GET / H11 None | Host: a")),
        ("\nGET / HTTP/1.1\nHost: a\n\n", Ok("GET / H11 None | Host: a")),
        ("\r\n\n\r\nGET / HTTP/1.1\nHost: a\n\n", Ok("GET / H11 None | Host: a")),
        ("\n\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok("GET / H11 None | Host: a")),
        ("GET / HTTP/1.1\nHost: a\r\n\n", Err((400, K::BareLf))),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", Err((400, K::BareLf))),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", Err((400, K::BareLf))),
        ("GET / HTTP/1.1\nHost: a\n\r\n", Err((400, K::BareLf))),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\nTransfer-Encoding: chunked\r\n\r\n", Err((400, K::BareLf))),
        ("GET / HTTP/1.1\nHost: a\n folded\n\n", Err((400, K::ObsFold))),
        ("GET / HTTP/1.1\nHost: a\nX: b\rc\n\n", Err((400, K::BareCr))),
        ("\rGET / HTTP/1.1\nHost: a\n\n", Err((400, K::BareCr))),
    ] {
        let expected = expected.map(|text| Some(text.to_owned()));
        three_ways(input.as_bytes(), &expected, |input, step| request(input, step.min(input.len()), &lenient()));
    }
}

#[test]
fn responses_with_lf_alone() {
    let run = |input: &[u8], step: usize| {
        feed(input, step.min(input.len()), |buf, scanned| {
            Ok(parse_response(buf, &lenient(), scanned, &Method::Get)?.as_ref().map(describe_response))
        })
    };
    for (input, expected) in [
        ("HTTP/1.1 200 Fine\nA: b\nContent-Length: 0\n\n", Ok("200 \"Fine\" H11 Length(0) | A: b | Content-Length: 0")),
        ("HTTP/1.2 200\nContent-Length: 3\n\n", Ok("200 \"\" H11 Length(3) | Content-Length: 3")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\n\n", Err((502, K::BareLf))),
        ("HTTP/1.1 200 OK\nContent-Length: 3\r\n\r\n", Err((502, K::BareLf))),
    ] {
        three_ways(input.as_bytes(), &expected.map(|text| Some(text.to_owned())), run);
    }
}

#[test]
fn lines_with_lf_alone_have_the_same_limits() {
    let limits = Limits { bare_lf: true, ..small() };
    for (length, ends) in [(128 - 3, true), (129 - 3, false), (130 - 3, false), (200, false)] {
        for end in ["\n", "\r\n"] {
            let input = format!("GET / HTTP/1.1{end}Host: a{end}X: {}{end}{end}", "x".repeat(length));
            for step in [1, 7, input.len()] {
                let (outcome, _) = request(input.as_bytes(), step, &limits);
                assert_eq!(outcome.is_ok(), ends, "{length} {end:?} {step}: {outcome:?}");
            }
        }
    }
}

#[test]
fn fields_that_may_be_there_once() {
    for name in ["Authorization", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Expect", "Content-Range"] {
        let input = format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: b\r\nX: y\r\n{name}: b\r\n\r\n");
        three_ways(input.as_bytes(), &Err((400, K::FieldRepeated)), |input, step| {
            request(input, step.min(input.len()), &Limits::default())
        });
    }
}

#[test]
fn pipelined_requests_come_one_by_one() {
    let mut buf = BytesMut::from("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3");
    let mut scanned = 0;
    for target in ["/1", "/2"] {
        let head = parse_request(&mut buf, &Limits::default(), &mut scanned).unwrap().unwrap();
        assert_eq!(head.target, target);
    }
    assert!(parse_request(&mut buf, &Limits::default(), &mut scanned).unwrap().is_none());
    assert_eq!(&buf[..], b"GET /3");
}
