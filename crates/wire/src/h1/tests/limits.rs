//! Heads at and beyond their limits.
use super::*;

fn outcome(input: &str) -> Outcome {
    let whole = request(input.as_bytes(), input.len(), &small()).0;
    assert_eq!(request(input.as_bytes(), 1, &small()).0, whole, "byte by byte: {input}");
    whole
}

fn message(input: &str) -> String {
    parse_request(&mut BytesMut::from(input), &small(), &mut 0).unwrap_err().message.into_owned()
}

#[test]
fn a_target_may_have_its_limit_and_no_byte_more() {
    let with = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(len - 1));
    assert!(outcome(&with(64)).is_ok());
    for len in [65, 80, 200, 600] {
        assert_eq!(outcome(&with(len)), Err((414, K::TargetTooLong)), "{len}");
    }
    assert_eq!(message(&with(65)), "the request-target is longer than the limit of 64 bytes");
}

#[test]
fn an_endless_target_is_refused_before_it_ends() {
    assert_eq!(outcome(&format!("GET /{}", "a".repeat(200))), Err((414, K::TargetTooLong)));
    assert_eq!(outcome(&"A".repeat(200)), Err((501, K::Method)));
}

#[test]
fn a_field_may_have_its_limit_and_no_byte_more() {
    let with = |len: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX-Big: {}\r\n\r\n", "a".repeat(len - 7));
    assert!(outcome(&with(128)).is_ok());
    for len in [129, 130, 400] {
        assert_eq!(outcome(&with(len)), Err((431, K::FieldTooLarge)), "{len}");
    }
    assert_eq!(message(&with(129)), "the field X-Big is longer than the limit of 128 bytes");
    assert_eq!(outcome(with(400).strip_suffix("\r\n\r\n").unwrap()), Err((431, K::FieldTooLarge)));
}

#[test]
fn a_head_may_have_its_limit_and_no_byte_more() {
    let with = |len: usize| {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}", format!("X: {}\r\n", "a".repeat(95)).repeat(4));
        let rest = len - head.len() - "X: \r\n\r\n".len();
        format!("{head}X: {}\r\n\r\n", "a".repeat(rest))
    };
    assert_eq!(with(512).len(), 512);
    assert!(outcome(&with(512)).is_ok());
    for len in [513, 514] {
        assert_eq!(outcome(&with(len)), Err((431, K::HeadTooLarge)), "{len}");
    }
    assert_eq!(message(&with(513)), "the head is longer than the limit of 512 bytes");
}

#[test]
fn so_many_fields_and_not_one_more() {
    let with = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(count - 1));
    assert!(outcome(&with(8)).is_ok());
    assert_eq!(outcome(&with(9)), Err((431, K::TooManyFields)));
    assert_eq!(message(&with(9)), "more fields than the limit of 8");
}

#[test]
fn messages_never_hold_what_a_terminal_would_obey() {
    let text = message("GET / HTTP/1.1\r\nHost: a\r\nX-\u{1b}[31m\u{7}: a\r\n\r\n");
    assert_eq!(text, "the field name X-??31m? holds the byte 0x1b");
    let text = message("GET / HTTP/1.1\r\nHost: a\r\nX-A: \u{1b}[31m\r\n\r\n");
    assert_eq!(text, "the control character 0x1b in the value of X-A");
}

#[test]
fn limits_that_are_out_of_range_are_brought_back() {
    let huge = Limits {
        max_head: usize::MAX,
        max_target: usize::MAX,
        max_field: usize::MAX,
        max_fields: usize::MAX,
        bare_lf: false,
    };
    let with = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(count - 1));
    assert!(request(with(MAX_FIELDS).as_bytes(), usize::MAX, &huge).0.is_ok());
    assert_eq!(request(with(MAX_FIELDS + 1).as_bytes(), usize::MAX, &huge).0, Err((431, K::TooManyFields)));
    let long_name = format!("GET / HTTP/1.1\r\nHost: a\r\n{}: a\r\n\r\n", "x".repeat(70_000));
    assert_eq!(request(long_name.as_bytes(), usize::MAX, &huge).0, Err((431, K::FieldTooLarge)));
}

#[test]
fn an_answer_that_is_not_http_is_named_so_under_any_limit() {
    let none = Limits { max_head: 0, max_target: 0, max_field: 0, max_fields: 0, bare_lf: false };
    for step in [1, 9] {
        let parse = |buf: &mut BytesMut, scanned: &mut usize| {
            Ok(parse_response(buf, &none, scanned, &Method::Get)?.as_ref().map(describe_response))
        };
        assert_eq!(feed(b"HTTX/1.1 ", step, parse).0, Err((502, K::NotHttp)));
    }
}
