//! One table of bodies, each read whole, byte by byte, and with bytes behind it; then what is written is read.
use super::*;
use H1ErrorKind as K;
use proptest::prelude::*;

/// The data, the trailers and what is left in the buffer; or the error's kind; or `None` while more is needed.
type Outcome = Result<Option<(Vec<u8>, Vec<String>, Vec<u8>)>, K>;

fn trailer_limits() -> Limits {
    Limits { max_head: 200, max_target: 0, max_field: 100, max_fields: 4, bare_lf: false }
}

fn run(input: &[u8], step: usize) -> Outcome {
    let mut decoder = ChunkedDecoder::new(&trailer_limits());
    let (mut buf, mut data) = (BytesMut::new(), Vec::new());
    let mut pieces = input.chunks(step);
    while let Some(piece) = pieces.next() {
        buf.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buf) {
                Ok(Decoded::Data(bytes)) => {
                    assert!(!bytes.is_empty());
                    data.extend_from_slice(&bytes);
                }
                Ok(Decoded::NeedMore) => break,
                Ok(Decoded::End) => {
                    assert!(decoder.is_done());
                    assert_eq!(decoder.decode(&mut buf).unwrap(), Decoded::End);
                    pieces.for_each(|piece| buf.extend_from_slice(piece));
                    let trailers = decoder
                        .trailers()
                        .iter()
                        .map(|field| format!("{}: {}", field.name.escape_ascii(), field.value.escape_ascii()));
                    return Ok(Some((data, trailers.collect(), buf.to_vec())));
                }
                Err(error) => {
                    let left = buf.len();
                    decoder.decode(&mut buf).unwrap_err();
                    assert_eq!(buf.len(), left, "nothing is consumed after an error");
                    return Err(error.kind);
                }
            }
        }
    }
    Ok(None)
}

fn three_ways(input: &[u8]) -> Outcome {
    let shown = input.escape_ascii();
    let whole = run(input, input.len().max(1));
    assert_eq!(run(input, 1), whole, "byte by byte: {shown}");
    let behind = b"GET / HTTP/1.1\r\n";
    let mut expected = whole.clone();
    match &mut expected {
        Ok(None) => return whole,
        Ok(Some((_, _, rest))) => rest.extend_from_slice(behind),
        Err(_) => {}
    }
    assert_eq!(run(&[input, behind].concat(), usize::MAX), expected, "with trailing data: {shown}");
    whole
}

#[test]
fn good_bodies() {
    for (input, data, trailers) in [
        ("0\r\n\r\n", "", &[][..]),
        ("3\r\nabc\r\n0\r\n\r\n", "abc", &[]),
        ("3\r\nabc\r\n00a\r\n0123456789\r\n000\r\n\r\n", "abc0123456789", &[]),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789", &[]),
        ("0000000000000001\r\na\r\n0\r\n\r\n", "a", &[]),
        ("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n", &[]),
        ("1;a\r\na\r\n0;b=\"c;d\"\r\n\r\n", "a", &[]),
        ("1 ;a=b;c\r\na\r\n0\r\n\r\n", "a", &[]),
        ("1;\u{e9}\t\r\na\r\n0\r\n\r\n", "a", &[]),
        ("0\r\nX-Sum: 1\r\nY:\r\n\r\n", "", &["X-Sum: 1", "Y: "]),
        ("0\r\nETag: a\r\n\r\n", "", &["ETag: a"]),
        ("0\r\nContent-Length: 5\r\nHost: b\r\nX-Forwarded-For: 1\r\nX: y\r\n\r\n", "", &["X: y"]),
    ] {
        let trailers = trailers.iter().map(ToString::to_string).collect();
        assert_eq!(three_ways(input.as_bytes()), Ok(Some((data.into(), trailers, Vec::new()))), "{input:?}");
    }
}

#[test]
fn bad_bodies() {
    for (input, kind) in [
        ("\r\n", K::ChunkSize),
        ("\n", K::ChunkSize),
        ("g\r\n", K::ChunkSize),
        ("-1\r\n", K::ChunkSize),
        ("+1\r\n", K::ChunkSize),
        ("0x1\r\n", K::ChunkSize),
        (" 1\r\n", K::ChunkSize),
        (";a\r\n", K::ChunkSize),
        ("1 \r\na\r\n", K::ChunkSize),
        ("1 2\r\n", K::ChunkSize),
        ("1\na\r\n", K::ChunkSize),
        ("1\ra\r\n", K::ChunkSize),
        ("1\r\ra", K::ChunkSize),
        ("00000000000000001\r\n", K::ChunkSize),
        ("10000000000000000\r\n", K::ChunkSize),
        ("1;a\nb\r\n", K::ChunkExtension),
        ("1;a\u{0}\r\n", K::ChunkExtension),
        ("1;a\rb\r\n", K::ChunkSize),
        ("1\r\nab\r\n", K::ChunkEnd),
        ("1\r\na\n", K::ChunkEnd),
        ("1\r\na\rb", K::ChunkEnd),
        ("1\r\na0\r\n\r\n", K::ChunkEnd),
        ("0\r\n\n", K::BareLf),
        ("0\r\nX: a\n\r\n", K::BareLf),
        ("0\r\nX : a\r\n\r\n", K::SpaceBeforeColon),
        ("0\r\nX: a\r\n b\r\n\r\n", K::ObsFold),
        ("0\r\nX: \u{0}\r\n\r\n", K::FieldValue),
        ("0\r\nX\r\n\r\n", K::FieldName),
        ("0\r\nA:\r\nB:\r\nC:\r\nD:\r\nE:\r\n\r\n", K::TooManyFields),
    ] {
        assert_eq!(three_ways(input.as_bytes()), Err(kind), "{input:?}");
    }
}

#[test]
fn trailers_have_limits_before_they_end() {
    assert_eq!(three_ways(format!("0\r\nX: {}", "a".repeat(100)).as_bytes()), Err(K::FieldTooLarge));
    assert_eq!(three_ways(format!("0\r\n{}", "X: a\r\n".repeat(40)).as_bytes()), Err(K::HeadTooLarge));
}

#[test]
fn no_trailers_are_within_any_limit() {
    let none = Limits { max_head: 0, max_target: 0, max_field: 0, max_fields: 0, bare_lf: false };
    let mut decoder = ChunkedDecoder::new(&none);
    let mut buf = BytesMut::from("0\r\n\r");
    assert_eq!(decoder.decode(&mut buf).unwrap(), Decoded::NeedMore);
    buf.extend_from_slice(b"\n");
    assert_eq!(decoder.decode(&mut buf).unwrap(), Decoded::End);
}

#[test]
fn extensions_cannot_outweigh_the_data() {
    let long = |len: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(len));
    assert!(three_ways(long(4096).as_bytes()).is_ok());
    assert_eq!(three_ways(long(4097).as_bytes()), Err(K::ChunkExtension));
    let many = format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", "x".repeat(100)).repeat(50));
    assert_eq!(three_ways(many.as_bytes()), Err(K::ChunkExtension));
    // A signature per chunk is what some upload protocols send.
    let signed = format!("{}0\r\n\r\n", format!("400;sig={}\r\n{}\r\n", "x".repeat(64), "a".repeat(1024)).repeat(100));
    assert!(matches!(three_ways(signed.as_bytes()), Ok(Some(_))));
}

#[test]
fn unfinished_bodies_wait() {
    let whole = b"3;x\r\nabc\r\n0\r\nX: y\r\n\r\n";
    for end in 0..whole.len() {
        assert_eq!(three_ways(&whole[..end]), Ok(None), "{end}");
    }
}

#[test]
fn a_body_by_length_leaves_what_follows() {
    let mut decoder = BodyDecoder::new(Framing::Length(5), &Limits::default());
    let mut buf = BytesMut::from("abc");
    assert_eq!(decoder.decode(&mut buf, false).unwrap(), Decoded::Data(Bytes::from("abc")));
    assert_eq!(decoder.decode(&mut buf, false).unwrap(), Decoded::NeedMore);
    assert_eq!(decoder.remaining(), Some(2));
    buf.extend_from_slice(b"deGET");
    assert_eq!(decoder.decode(&mut buf, true).unwrap(), Decoded::Data(Bytes::from("de")));
    assert!(decoder.is_done());
    assert_eq!(decoder.decode(&mut buf, true).unwrap(), Decoded::End);
    assert_eq!(&buf[..], b"GET");
}

#[test]
fn the_end_of_the_connection_ends_only_what_has_no_other_end() {
    for (framing, input, complete) in [
        (Framing::UntilClose, "abc", true),
        (Framing::UntilClose, "", true),
        (Framing::Length(4), "abc", false),
        (Framing::Length(4), "", false),
        (Framing::Chunked, "3\r\nabc\r\n", false),
        (Framing::Chunked, "3\r\nabc\r\n0\r\n", false),
        (Framing::Chunked, "3\r\nabc\r\n0\r\n\r\n", true),
        (Framing::None, "", true),
        (Framing::Length(0), "", true),
    ] {
        let mut decoder = BodyDecoder::new(framing, &Limits::default());
        let mut buf = BytesMut::from(input);
        let end = loop {
            match decoder.decode(&mut buf, true) {
                Ok(Decoded::Data(_)) => {}
                end => break end.map_err(|error| error.kind),
            }
        };
        let expected = if complete { Ok(Decoded::End) } else { Err(K::Truncated) };
        assert_eq!(end, expected, "{framing:?} {input:?}");
        assert_eq!(decoder.is_done(), complete, "{framing:?} {input:?}");
    }
}

#[test]
fn size_lines_are_written_in_hex() {
    for (len, line) in
        [(0, ""), (1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (65536, "10000\r\n"), (0x00ab_cdef, "abcdef\r\n")]
    {
        let mut out = Vec::new();
        encode_chunk_header(len, &mut out);
        assert_eq!(out, line.as_bytes());
    }
}

#[test]
fn trailers_survive_the_round_trip() {
    let mut trailers = Headers::default();
    trailers.push_name(b"X-Sum", b"1");
    let mut out = Vec::new();
    encode_trailers(&trailers, &mut out);
    assert_eq!(three_ways(&out), Ok(Some((Vec::new(), vec!["X-Sum: 1".to_owned()], Vec::new()))));
    assert_eq!(three_ways(LAST_CHUNK), Ok(Some((Vec::new(), Vec::new(), Vec::new()))));
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6), step in 1usize..50) {
        let mut input = Vec::new();
        for chunk in &chunks {
            encode_chunk_header(chunk.len(), &mut input);
            input.extend_from_slice(chunk);
            input.extend_from_slice(CHUNK_END);
        }
        input.extend_from_slice(LAST_CHUNK);
        prop_assert_eq!(run(&input, step), Ok(Some((chunks.concat(), Vec::new(), Vec::new()))));
    }

    #[test]
    fn pieces_never_change_the_outcome(input in "[0-3a;\r\n\t x:]{0,40}", step in 1usize..10) {
        prop_assert_eq!(run(input.as_bytes(), step), run(input.as_bytes(), usize::MAX));
    }
}
