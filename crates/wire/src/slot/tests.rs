use super::*;

fn request() -> Vec<u8> {
    let mut out = b"before".to_vec();
    let mut writer = RequestWriter::new(&mut out, 5);
    writer.known(0, b"POST");
    writer.pair(b"wsgi.url_scheme", b"https");
    writer.pair(b"my.own", b"\xff");
    writer.header(HeaderId::Host, b"hOsT", b"example.com");
    writer.header(HeaderId::Other, b"X-Odd-One", b"");
    writer.finish(INLINE, b"hello");
    out.drain(..6);
    out
}

type Pairs = Vec<(String, Vec<u8>)>;

fn pairs(request: &Request<'_>) -> (Pairs, Vec<u8>) {
    let mut pairs = Vec::new();
    let body = request
        .for_each::<Error>(|key, value| {
            pairs.push((String::from_utf8_lossy(key.name()).into_owned(), value.to_vec()));
            Ok(())
        })
        .unwrap();
    (pairs, body.to_vec())
}

#[test]
fn a_request_comes_back_as_it_was_written() {
    let mut frame = request();
    set_claim(&mut frame, 7, 99);
    let header = Header::parse(&frame).unwrap().unwrap();
    assert_eq!(header, Header { length: frame.len() - HEADER, kind: Kind::Request, flags: INLINE });
    let request = Request::parse(&frame[HEADER..]).unwrap();
    assert_eq!((request.claim, request.ticket, request.body_length), (7, 99, 5));
    let (pairs, body) = pairs(&request);
    let expected: Pairs = [
        ("REQUEST_METHOD", &b"POST"[..]),
        ("wsgi.url_scheme", b"https"),
        ("my.own", b"\xff"),
        ("HTTP_HOST", b"example.com"),
        ("HTTP_X_ODD_ONE", b""),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_vec()))
    .to_vec();
    assert_eq!(pairs, expected);
    assert_eq!(body, b"hello");
}

#[test]
fn a_request_is_laid_out_as_documented() {
    let mut out = Vec::new();
    let mut writer = RequestWriter::new(&mut out, 0);
    writer.known(2, b"/");
    writer.pair(b"a", b"b");
    writer.finish(0, b"");
    let expected = [
        &[30, 0, 0, 0, 1, 1, 0, 0][..],
        &[255, 255, 255, 255, 0, 0, 0, 0],
        &[0; 8],
        &[2, 0],
        &[3, 1, 0, 0, 0, b'/'],
        &[0, 1, b'a', 1, 0, 0, 0, b'b'],
    ]
    .concat();
    let mut expected = expected;
    expected[0] = (expected.len() - HEADER) as u8;
    assert_eq!(out, expected);
}

#[test]
fn a_request_cut_anywhere_is_not_taken_for_a_whole_one() {
    let frame = request();
    for cut in 0..HEADER {
        assert_eq!(Header::parse(&frame[..cut]).unwrap(), None);
    }
    for cut in HEADER..frame.len() - b"hello".len() {
        let whole = Request::parse(&frame[HEADER..cut])
            .and_then(|request| request.for_each(|_, _| Ok::<_, Error>(())).map(<[u8]>::len));
        assert_eq!(whole, Err(Error::Truncated), "cut at {cut}");
    }
}

#[test]
fn a_response_comes_back_as_it_was_written() {
    let mut out = Vec::new();
    let mut writer = ResponseWriter::new(&mut out, 404, b"Not Found");
    assert!(writer.header(b"Content-Type", b"text/plain"));
    assert!(writer.header(b"Set-Cookie", b"a=1"));
    writer.end();
    finish_response(&mut out, COMPLETE, 4);
    let header = Header::parse(&out).unwrap().unwrap();
    assert_eq!((header.kind, header.flags, header.length), (Kind::Response, COMPLETE, out.len() - HEADER + 4));
    out.extend_from_slice(b"gone");
    let response = Response::parse(&out[HEADER..]).unwrap();
    let mut headers = Vec::new();
    let body = response.for_each(|name, value| headers.push((name.to_vec(), value.to_vec()))).unwrap();
    assert_eq!((response.status, response.reason, body), (404, &b"Not Found"[..], &b"gone"[..]));
    assert_eq!(headers[1], (b"Set-Cookie".to_vec(), b"a=1".to_vec()));
    let payload = Bytes::copy_from_slice(&out[HEADER..]);
    let (fields, body_at) = response.headers(payload.clone()).unwrap();
    assert_eq!(fields.get(HeaderId::ContentType), Some(&b"text/plain"[..]));
    assert_eq!(fields.iter().map(|field| (field.name.to_vec(), field.value.to_vec())).collect::<Vec<_>>(), headers);
    assert_eq!(&payload[body_at..], b"gone");
    for cut in HEADER..out.len() - 4 {
        let whole =
            Response::parse(&out[HEADER..cut]).and_then(|response| response.for_each(|_, _| ()).map(<[u8]>::len));
        assert_eq!(whole, Err(Error::Truncated), "cut at {cut}");
        let payload = Bytes::copy_from_slice(&out[HEADER..cut]);
        let kept = Response::parse(&payload).and_then(|response| response.headers(payload.clone()).map(|_| ()));
        assert_eq!(kept, Err(Error::Truncated), "cut at {cut}");
    }
}

#[test]
fn a_response_with_what_is_no_header_field_loses_only_that() {
    let mut out = Vec::new();
    let mut writer = ResponseWriter::new(&mut out, 200, b"");
    for (name, value) in [(&b"a"[..], &b"1"[..]), (b"b c", b"2"), (b"d", b"3\r\ne: 4"), (b"f", b"5")] {
        writer.header(name, value);
    }
    writer.end();
    let payload = Bytes::copy_from_slice(&out[HEADER..]);
    let (fields, _) = Response::parse(&payload).unwrap().headers(payload.clone()).unwrap();
    assert_eq!(fields.iter().map(|field| field.value).collect::<Vec<_>>(), [b"1", b"5"]);
}

#[test]
fn keys_of_headers_agree_whichever_way_they_are_found() {
    for &id in HeaderId::ALL {
        assert_eq!(key_of_id(id), key_of_header(id.name().as_bytes()), "{id:?}");
    }
    assert_eq!(key_of_id(HeaderId::Other), None);
    for (index, name) in KEYS.iter().enumerate() {
        assert_eq!((key(name), key_of_name(name.as_bytes())), (index as u8, Some(index as u8)));
    }
}

#[test]
fn headers_that_break_the_grammar_are_refused() {
    let cases: [(&[u8], Error); 3] = [
        (&[0, 0, 0, 0, 1, 2, 0, 0], Error::Version(2)),
        (&[0, 0, 0, 0, 9, 1, 0, 0], Error::Kind(9)),
        (&[1, 0, 16, 0, 1, 1, 0, 0], Error::TooLong(0x10_0001)),
    ];
    for (bytes, error) in cases {
        assert_eq!(Header::parse(bytes), Err(error));
    }
    let mut frame = request();
    frame[HEADER + 18] = 200;
    let request = Request::parse(&frame[HEADER..]).unwrap();
    assert_eq!(request.for_each(|_, _| Ok::<_, Error>(())), Err(Error::Key(200)));
}

#[test]
fn every_key_is_found_by_its_name_and_by_its_header() {
    assert!(KEYS.len() < 255);
    for (index, key) in KEYS.iter().enumerate() {
        assert_eq!(key_of_name(key.as_bytes()), Some(index as u8), "{key}");
        if let Some(header) = key.strip_prefix("HTTP_") {
            let header = header.replace('_', "-").to_lowercase();
            assert_eq!(key_of_header(header.as_bytes()), Some(index as u8), "{key}");
        }
    }
    assert_eq!(key_of_header(b"remote-addr"), None);
    assert_eq!(key_of_name(b"request_method"), None);
    assert_eq!(key_of_header(b"x-unknown"), None);
}

#[test]
fn oversized_names_are_left_out() {
    let mut out = Vec::new();
    let mut writer = RequestWriter::new(&mut out, 0);
    writer.pair(&[b'a'; 256], b"x");
    writer.header(HeaderId::Other, &[b'a'; 251], b"x");
    writer.pair(&[b'a'; 255], b"x");
    writer.finish(0, b"");
    let (pairs, _) = pairs(&Request::parse(&out[HEADER..]).unwrap());
    assert_eq!(pairs.len(), 1);
}
