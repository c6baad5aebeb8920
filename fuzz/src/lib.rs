//! Fuzz targets: one function per codec, which panics when a law of the codec is broken.
//!
//! They are plain functions, so a seed or a crash can be replayed without a fuzzer (`tests/seeds.rs`). The first byte of
//! the input chooses what isn't input: the size of the pieces, the method, the limits.
pub mod waf;

use buchner_wire::cgi;
use buchner_wire::chunked::{BodyDecoder, Decoded, encode_chunk_header};
use buchner_wire::fastcgi;
use buchner_wire::h1::{self, Framing, H1Error, H1ErrorKind, Limits, RequestHead, ResponseHead};
use buchner_wire::headers::Headers;
use buchner_wire::malformed::Malformed;
use buchner_wire::method::Method;
use buchner_wire::path::{encode_path, parse_target};
use buchner_wire::proxy_protocol;
use buchner_wire::slot;
use bytes::{Bytes, BytesMut};

/// A target: its name, which is also its corpus's, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("request", request),
    ("response", response),
    ("chunked", chunked),
    ("path", path),
    ("proxy_protocol", proxy_protocol),
    ("cgi", cgi),
    ("slot", slot),
    ("waf_transform", waf::transform),
    ("waf_operator", waf::operator),
    ("waf_body", waf::body),
];

/// What reading a head came to: the error, or the head and the bytes behind it; `None` if it isn't complete.
type Outcome<T> = Result<Option<(T, Vec<u8>)>, (u16, H1ErrorKind)>;

fn limits(choice: u8) -> Limits {
    let bare_lf = choice & 32 != 0;
    match choice % 4 {
        0 => Limits { max_head: 256, max_target: 32, max_field: 64, max_fields: 4, bare_lf },
        1 => Limits { max_head: 0, max_target: 0, max_field: 0, max_fields: 0, bare_lf },
        _ => Limits { bare_lf, ..Limits::default() },
    }
}

/// Feeds `input` in pieces of `step` bytes until there is an outcome.
fn feed<T>(
    input: &[u8],
    step: usize,
    mut parse: impl FnMut(&mut BytesMut, &mut usize) -> Result<Option<T>, H1Error>,
) -> Outcome<T> {
    let (mut buf, mut scanned) = (BytesMut::new(), 0);
    let mut pieces = input.chunks(step);
    while let Some(piece) = pieces.next() {
        buf.extend_from_slice(piece);
        let before = buf.clone();
        match parse(&mut buf, &mut scanned) {
            Ok(None) => {
                assert!(before.ends_with(&buf), "an incomplete head must stay in the buffer");
                let gone = &before[..before.len() - buf.len()];
                assert!(gone.iter().all(|byte| matches!(byte, b'\r' | b'\n')), "only empty lines before it may go");
            }
            Ok(Some(head)) => {
                pieces.for_each(|piece| buf.extend_from_slice(piece));
                return Ok(Some((head, buf.to_vec())));
            }
            Err(error) => {
                assert!(!error.message.is_empty() && error.message.chars().all(|c| !c.is_control()), "{error:?}");
                return Err((error.status, error.kind));
            }
        }
    }
    Ok(None)
}

/// No byte of a field can end a line.
fn assert_safe(headers: &Headers) {
    for header in headers.iter() {
        assert!(!header.name.is_empty() && header.name.iter().all(u8::is_ascii_graphic));
        assert!(header.value.iter().all(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
    }
}

fn same_request(a: &RequestHead, b: &RequestHead) {
    assert_eq!((&a.method, &a.target, a.version, a.framing), (&b.method, &b.target, b.version, b.framing));
    assert_eq!((a.keep_alive, a.expect_continue, a.upgrade), (b.keep_alive, b.expect_continue, b.upgrade));
    assert_eq!(a.headers, b.headers);
}

/// Request heads: pieces don't matter, and a head that is written reads the same.
pub fn request(data: &[u8]) {
    let [choice, input @ ..] = data else { return };
    let limits = limits(*choice);
    let read = |input: &[u8], step| feed(input, step, |buf, scanned| h1::parse_request(buf, &limits, scanned));
    let whole = read(input, input.len().max(1));
    for step in [1, usize::from(choice >> 2) + 2] {
        match (&whole, &read(input, step)) {
            (Ok(Some((a, rest_a))), Ok(Some((b, rest_b)))) => {
                same_request(a, b);
                assert_eq!(rest_a, rest_b);
            }
            (Ok(None), Ok(None)) => {}
            (Err(a), Err(b)) => assert_eq!(a, b),
            (whole, pieces) => panic!("whole {whole:?}, in pieces of {step} {pieces:?}"),
        }
    }
    let Ok(Some((head, rest))) = whole else { return };
    assert!(input.ends_with(&rest));
    assert_ne!(head.framing, Framing::UntilClose);
    assert_safe(&head.headers);
    let _ = parse_target(&head.method, &head.target, true);
    if head.version == buchner_wire::Version::H11 {
        let mut out = Vec::new();
        assert!(h1::write_request_line(&mut out, &head.method, &head.target));
        head.headers.write_to(&mut out);
        out.extend_from_slice(b"\r\n");
        let again = h1::parse_request(
            &mut BytesMut::from(&out[..]),
            &Limits { max_head: 1 << 20, max_field: 1 << 20, ..Limits::default() },
            &mut 0,
        );
        same_request(&head, &again.expect("a written head is valid").expect("a written head is complete"));
    }
    let mut headers = head.headers;
    headers.strip_hop_by_hop();
    assert!(headers.iter().all(|header| !header.id.is_hop_by_hop()));
}

/// Response heads: the same.
pub fn response(data: &[u8]) {
    let [choice, input @ ..] = data else { return };
    let method = [Method::Get, Method::Head, Method::Connect, Method::Post][usize::from(choice >> 6)].clone();
    let limits = limits(*choice);
    let read =
        |input: &[u8], step| feed(input, step, |buf, scanned| h1::parse_response(buf, &limits, scanned, &method));
    let whole = read(input, input.len().max(1));
    match (&whole, &read(input, 1)) {
        (Ok(Some((a, rest_a))), Ok(Some((b, rest_b)))) => {
            same_response(a, b);
            assert_eq!(rest_a, rest_b);
        }
        (Ok(None), Ok(None)) => {}
        (Err(a), Err(b)) => assert_eq!(a, b),
        (whole, pieces) => panic!("whole {whole:?}, byte by byte {pieces:?}"),
    }
    let Ok(Some((head, rest))) = whole else { return };
    assert!(input.ends_with(&rest));
    assert!((100..1000).contains(&head.status));
    assert_safe(&head.headers);
    if head.framing == Framing::UntilClose {
        assert!(!head.keep_alive);
    }
    let mut out = Vec::new();
    h1::write_status_line(&mut out, head.status, &head.reason);
    head.headers.write_to(&mut out);
    out.extend_from_slice(b"\r\n");
    let roomy = Limits { max_head: 1 << 20, max_field: 1 << 20, ..Limits::default() };
    let again = h1::parse_response(&mut BytesMut::from(&out[..]), &roomy, &mut 0, &method);
    let again = again.expect("a written head is valid").expect("a written head is complete");
    assert_eq!((again.status, again.framing), (head.status, head.framing));
    assert_eq!(again.headers, head.headers);
}

fn same_response(a: &ResponseHead, b: &ResponseHead) {
    assert_eq!((a.status, &a.reason, a.version, a.framing), (b.status, &b.reason, b.version, b.framing));
    assert_eq!(a.keep_alive, b.keep_alive);
    assert_eq!(a.headers, b.headers);
}

/// Data, bytes left, and how it ended.
type Body = (Vec<u8>, usize, Result<bool, H1ErrorKind>);

fn read_body(framing: Framing, input: &[u8], step: usize, trailer_limits: &Limits) -> Body {
    let mut decoder = BodyDecoder::new(framing, trailer_limits);
    let (mut buf, mut data, mut fed) = (BytesMut::new(), Vec::new(), 0);
    loop {
        let end = input.len().min(fed + step);
        buf.extend_from_slice(&input[fed..end]);
        fed = end;
        // Each round consumes a byte at least, so there are few of them.
        for round in 0.. {
            assert!(round <= 2 * input.len() + 2, "the decoder turns in circles");
            match decoder.decode(&mut buf, fed == input.len()) {
                Ok(Decoded::Data(bytes)) => {
                    assert!(!bytes.is_empty());
                    data.extend_from_slice(&bytes);
                }
                Ok(Decoded::NeedMore) if fed < input.len() => break,
                Ok(Decoded::NeedMore) => panic!("more is wanted behind the end"),
                Ok(Decoded::End) => {
                    assert!(decoder.is_done());
                    if let Some(trailers) = decoder.trailers() {
                        assert_safe(trailers);
                    }
                    return (data, buf.len() + input.len() - fed, Ok(true));
                }
                Err(error) => return (data, 0, Err(error.kind)),
            }
        }
    }
}

/// Bodies of every framing: pieces don't matter, what is encoded is decoded.
pub fn chunked(data: &[u8]) {
    let [choice, input @ ..] = data else { return };
    let trailer_limits = limits(choice >> 2);
    let framing = match choice % 4 {
        0 => Framing::Length(u64::from(*choice)),
        1 => Framing::UntilClose,
        _ => Framing::Chunked,
    };
    let whole = read_body(framing, input, input.len().max(1), &trailer_limits);
    assert_eq!(whole, read_body(framing, input, 1, &trailer_limits));
    assert_eq!(whole, read_body(framing, input, usize::from(choice >> 4) + 2, &trailer_limits));
    assert!(whole.0.len() + whole.1 <= input.len());

    let mut encoded = Vec::new();
    for chunk in input.chunks(usize::from(*choice) + 1) {
        encode_chunk_header(chunk.len(), &mut encoded);
        encoded.extend_from_slice(chunk);
        encoded.extend_from_slice(buchner_wire::chunked::CHUNK_END);
    }
    encoded.extend_from_slice(buchner_wire::chunked::LAST_CHUNK);
    let decoded = read_body(Framing::Chunked, &encoded, encoded.len(), &trailer_limits);
    assert_eq!(decoded, (input.to_vec(), 0, Ok(true)));
}

/// Targets: what comes out is normal, and stays so.
pub fn path(data: &[u8]) {
    let [choice, input @ ..] = data else { return };
    let merge = choice % 2 == 0;
    let method = [Method::Get, Method::Options, Method::Connect, Method::Post][usize::from(choice >> 6)].clone();
    let raw = Bytes::copy_from_slice(input);
    let Ok(target) = parse_target(&method, &raw, merge) else { return };
    let path = &target.path;
    let _ = &raw[target.raw_path.clone()];
    if let Some(query) = &target.query {
        assert_eq!(raw[query.start - 1], b'?');
        assert_eq!(query.end, raw.len());
    }
    if path.is_empty() || &path[..] == b"*" {
        return;
    }
    assert!(path.starts_with(b"/") && !path.contains(&0));
    assert!(path.split(|&byte| byte == b'/').all(|segment| segment != b"." && segment != b".."));
    assert!(!merge || !path.windows(2).any(|pair| pair == b"//"));
    let mut encoded = Vec::new();
    encode_path(path, &mut encoded);
    assert!(encoded.iter().all(u8::is_ascii_graphic));
    let again = parse_target(&Method::Get, &Bytes::from(encoded), merge).expect("an encoded path is valid");
    assert_eq!(again.path, *path);
    assert_eq!(again.query, None);
}

/// The header of the PROXY protocol.
///
/// Laws: the outcome comes with the same byte whatever the pieces and stays whatever follows; what is taken of the
/// connection is the header alone; it fits the longest that is read; its values lie within it.
pub fn proxy_protocol(data: &[u8]) {
    let outcome = proxy_protocol::parse(data);
    let first = (0..=data.len()).find(|cut| proxy_protocol::parse(&data[..*cut]) != Ok(None));
    match (&outcome, first) {
        (Ok(None), None) => {}
        (Ok(Some((header, length))), Some(first)) => {
            assert_eq!(*length, first);
            assert!(first <= proxy_protocol::MAX_HEADER);
            assert_eq!(proxy_protocol::parse(&data[..first]), outcome);
            for kind in 0..=u8::MAX {
                assert!(header.tlv(kind).is_none_or(|value| value.len() < first));
                assert!(header.ssl_tlv(kind).is_none_or(|value| value.len() < first));
            }
            let _ = header.ssl_verify();
        }
        (Err(error), Some(first)) => {
            assert!(error.to_string().chars().all(|c| !c.is_control()));
            // What came instead of a header is shown as far as it came; the rest of the outcome stays.
            let before = proxy_protocol::parse(&data[..first]).expect_err("the error is there with its byte");
            assert_eq!(std::mem::discriminant(&before), std::mem::discriminant(error));
        }
        outcome => panic!("{outcome:?}"),
    }
}

/// What CGI applications send: a head, or records of FastCGI with one in them.
///
/// Laws: the outcome does not depend on where the pieces end; what is handed out is not more than what came.
pub fn cgi(data: &[u8]) {
    let [choice, input @ ..] = data else { return };
    if choice & 1 == 0 {
        let limits = limits(*choice);
        match (&read_cgi(input, input.len().max(1), &limits), &read_cgi(input, 1, &limits)) {
            (Ok(Some((a, rest_a))), Ok(Some((b, rest_b)))) => {
                same_response(a, b);
                assert_eq!(rest_a, rest_b);
                assert!(!a.keep_alive && (100..1000).contains(&a.status));
                assert_safe(&a.headers);
            }
            (Ok(None), Ok(None)) | (Err(()), Err(())) => {}
            (whole, pieces) => panic!("whole {whole:?}, byte by byte {pieces:?}"),
        }
        return;
    }
    let whole = read_records(input, input.len().max(1));
    assert_eq!(whole, read_records(input, 1));
    assert_eq!(whole, read_records(input, usize::from(choice >> 1) + 2));
    assert!(whole.0.len() + whole.1.len() <= input.len());
}

/// The head and what is behind it; `None` if it isn't complete.
fn read_cgi(input: &[u8], step: usize, limits: &Limits) -> Result<Option<(ResponseHead, Vec<u8>)>, ()> {
    let (mut buf, mut scanned) = (BytesMut::new(), 0);
    let mut pieces = input.chunks(step);
    while let Some(piece) = pieces.next() {
        buf.extend_from_slice(piece);
        match cgi::parse_response(&mut buf, limits, &mut scanned, &Method::Get) {
            Ok(None) => {}
            Ok(Some(head)) => {
                pieces.for_each(|piece| buf.extend_from_slice(piece));
                return Ok(Some((head, buf.to_vec())));
            }
            Err(error) => {
                assert!(!error.message.is_empty() && error.message.chars().all(|c| !c.is_control()), "{error:?}");
                return Err(());
            }
        }
    }
    Ok(None)
}

/// Output, errors, and how it ended: all of it, too early, or with a complaint.
fn read_records(input: &[u8], step: usize) -> (Vec<u8>, Vec<u8>, Result<bool, Malformed>) {
    let (mut reader, mut buf, mut out) = (fastcgi::Reader::default(), BytesMut::new(), Vec::new());
    for piece in input.chunks(step) {
        buf.extend_from_slice(piece);
        loop {
            match reader.read(&mut buf) {
                Ok(fastcgi::Event::Stdout(bytes)) => out.extend_from_slice(&bytes),
                Ok(fastcgi::Event::NeedMore | fastcgi::Event::End) => break,
                Err(error) => return (out, reader.take_stderr(), Err(error)),
            }
        }
    }
    (out, reader.take_stderr(), Ok(reader.is_done()))
}

/// Slot frames: nothing a peer sends panics, and what was read is written the same.
pub fn slot(data: &[u8]) {
    let [choice, input @ ..] = data else { return };
    if let Ok(Some(header)) = slot::Header::parse(input) {
        assert!(header.length <= slot::MAX_PAYLOAD);
        assert_eq!(header.to_bytes(), input[..slot::HEADER]);
    }
    // The payload of a whole frame, or the input itself.
    let payload = if choice & 1 == 0 { input } else { input.get(slot::HEADER..).unwrap_or_default() };
    slot_request(payload);
    slot_response(payload);
}

fn slot_request(payload: &[u8]) {
    let Ok(request) = slot::Request::parse(payload) else { return };
    let mut pairs = Vec::new();
    let read = request.for_each::<slot::Error>(|key, value| {
        pairs.push((key.name(), value));
        Ok(())
    });
    let Ok(body) = read else { return };
    assert!(payload.ends_with(body));
    let mut frame = Vec::new();
    let mut writer = slot::RequestWriter::new(&mut frame, request.body_length);
    for (name, value) in &pairs {
        writer.pair(name, value);
    }
    writer.finish(slot::INLINE, body);
    slot::set_claim(&mut frame, request.claim, request.ticket);
    let header = slot::Header::parse(&frame).expect("a written frame is valid").expect("and whole");
    assert_eq!((header.kind, header.flags), (slot::Kind::Request, slot::INLINE));
    assert_eq!(header.length, frame.len() - slot::HEADER);
    let again = slot::Request::parse(&frame[slot::HEADER..]).expect("a written request is valid");
    assert_eq!((again.claim, again.ticket, again.body_length), (request.claim, request.ticket, request.body_length));
    let mut seen = Vec::new();
    let rest = again.for_each::<slot::Error>(|key, value| {
        seen.push((key.name(), value));
        Ok(())
    });
    assert_eq!(rest, Ok(body));
    assert_eq!(seen, pairs);
}

fn slot_response(payload: &[u8]) {
    let Ok(response) = slot::Response::parse(payload) else { return };
    let mut fields = Vec::new();
    let Ok(body) = response.for_each(|name, value| fields.push((name, value))) else { return };
    let payload = Bytes::copy_from_slice(payload);
    let (headers, body_at) = response.headers(payload.clone()).expect("it was read before");
    assert_eq!(&payload[body_at..], body);
    assert!(headers.iter().all(|field| fields.contains(&(field.name, field.value))));
    let mut frame = Vec::new();
    let mut writer = slot::ResponseWriter::new(&mut frame, response.status, response.reason);
    assert!(fields.iter().all(|(name, value)| writer.header(name, value)));
    writer.end();
    frame.extend_from_slice(body);
    slot::finish_response(&mut frame, slot::COMPLETE, 0);
    assert_eq!(frame[slot::HEADER..], payload);
}
