//! Properties over generated heads.
use super::*;
use proptest::prelude::*;

/// Text close to HTTP: the pieces heads are made of, right and wrong ones, in any order.
fn near_http() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "GET ",
        "POST ",
        "/",
        "/a?b ",
        "HTTP/1.1\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 204 No\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "\r\n\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        ":",
        "\t",
        "\u{0}",
        "Host: a\r\n",
        "X: y\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "long-long-long-long-long-long-long-long-long",
    ]);
    prop::collection::vec(pieces, 0..14).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn pieces_never_change_the_outcome(input in near_http(), step in 1usize..40) {
        let whole = input.len().max(1);
        prop_assert_eq!(request(&input, step, &small()), request(&input, whole, &small()));
        prop_assert_eq!(response(&input, step, &Method::Get), response(&input, whole, &Method::Get));
        let lenient = Limits { bare_lf: true, ..small() };
        prop_assert_eq!(request(&input, step, &lenient), request(&input, whole, &lenient));
    }

    #[test]
    fn a_head_that_is_written_reads_the_same(
        target in "/[!-~]{0,40}",
        fields in prop::collection::vec(("[A-Za-z!#$%&'*+.^_`|~-]{1,20}", "([!-~]([ -~\t]{0,30}[!-~])?)?"), 0..5),
    ) {
        let mut input = Vec::new();
        prop_assert!(write_request_line(&mut input, &Method::Get, target.as_bytes()));
        let mut headers = Headers::default();
        headers.push(HeaderId::Host, b"a");
        for (name, value) in fields.iter().filter(|(name, _)| HeaderId::of(name.as_bytes()) == HeaderId::Other) {
            prop_assert!(headers.push_name(name.as_bytes(), value.as_bytes()));
        }
        headers.write_to(&mut input);
        input.extend_from_slice(b"\r\n");
        let mut buf = BytesMut::from(&input[..]);
        let head = parse_request(&mut buf, &Limits::default(), &mut 0).unwrap().unwrap();
        prop_assert_eq!(&head.target[..], target.as_bytes());
        prop_assert_eq!(head.headers, headers);
        prop_assert!(buf.is_empty());
    }

    #[test]
    fn whatever_is_pushed_never_splits_a_head(name in any::<Vec<u8>>(), value in any::<Vec<u8>>()) {
        let mut headers = Headers::default();
        let pushed = headers.push_name(&name, &value);
        let mut out = Vec::new();
        headers.write_to(&mut out);
        prop_assert_eq!(out.split(|&byte| byte == b'\n').count(), 1 + usize::from(pushed));
    }
}
