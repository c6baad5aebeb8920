use super::*;

fn record(kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
    let length = (content.len() as u16).to_be_bytes();
    let mut record = vec![1, kind, 0, 1, length[0], length[1], padding as u8, 0];
    record.extend_from_slice(content);
    record.extend(std::iter::repeat_n(0xee, padding));
    record
}

fn end(status: u8) -> Vec<u8> {
    record(3, &[0, 0, 0, 0, status, 0, 0, 0], 0)
}

/// What a reader hands out of bytes that come in pieces of a size, and what is left over.
fn read(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<u8>, bool, usize), String> {
    let (mut reader, mut buf, mut out) = (Reader::default(), BytesMut::new(), Vec::new());
    for part in bytes.chunks(piece) {
        buf.extend_from_slice(part);
        while let Event::Stdout(bytes) = reader.read(&mut buf).map_err(|e| e.to_string())? {
            assert!(!bytes.is_empty());
            out.extend_from_slice(&bytes);
        }
    }
    Ok((out, reader.take_stderr(), reader.is_done(), buf.len()))
}

#[test]
fn a_request_byte_by_byte() {
    let mut out = b"before".to_vec();
    let mut writer = Writer::new(true, &mut out);
    writer.pair(b"AB", b"c");
    writer.pair(b"D", &[b'v'; 200]);
    writer.finish();
    let mut wanted = b"before\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x01\0\0\0\0\0".to_vec();
    wanted.extend_from_slice(b"\x01\x04\x00\x01\x00\xd3\x00\x00\x02\x01ABc\x01\x80\x00\x00\xc8D");
    wanted.extend_from_slice(&[b'v'; 200]);
    wanted.extend_from_slice(b"\x01\x04\x00\x01\x00\x00\x00\x00");
    assert_eq!(out, wanted);
}

#[test]
fn no_pairs_and_pairs_over_several_records() {
    let mut out = Vec::new();
    Writer::new(false, &mut out).finish();
    assert_eq!(out, b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x00\0\0\0\0\0\x01\x04\x00\x01\x00\x00\x00\x00");
    out.clear();
    let value = vec![b'v'; 200_000];
    let mut writer = Writer::new(false, &mut out);
    writer.pair(b"A", &value);
    writer.pair(b"B", b"b");
    writer.finish();
    let (mut pairs, mut rest) = (Vec::new(), &out[16..]);
    loop {
        let length = usize::from(u16::from_be_bytes([rest[4], rest[5]]));
        assert_eq!(rest[..4], [1, 4, 0, 1]);
        pairs.extend_from_slice(&rest[8..8 + length]);
        rest = &rest[8 + length..];
        if length == 0 {
            break;
        }
    }
    assert!(rest.is_empty());
    let wanted = [b"\x01\x80\x03\x0d\x40A".as_slice(), &value, b"\x01\x01Bb"].concat();
    assert!(pairs == wanted, "{} {}", pairs.len(), wanted.len());
}

#[test]
fn bodies_become_records() {
    let mut out = Vec::new();
    encode_stdin(b"abc", &mut out);
    assert_eq!(out, b"\x01\x05\x00\x01\x00\x03\x00\x00abc");
    out.clear();
    encode_stdin(&vec![b'x'; MAX_CONTENT + 1], &mut out);
    assert_eq!(out.len(), MAX_CONTENT + 1 + 2 * HEADER);
    assert_eq!(out[HEADER + MAX_CONTENT..], *b"\x01\x05\x00\x01\x00\x01\x00\x00x");
    assert_eq!(STDIN_END, *b"\x01\x05\x00\x01\x00\x00\x00\x00");
}

#[test]
fn output_and_errors_are_told_apart_wherever_pieces_end() {
    let bytes = [
        record(7, b"warning", 1),
        record(6, b"Status: 200\r\n", 3),
        record(6, b"", 0),
        record(6, b"\r\nbody", 255),
        record(7, b"!", 0),
        record(6, b"", 5),
        end(0),
        b"next".to_vec(),
    ]
    .concat();
    for piece in 1..=bytes.len() {
        let (out, errors, done, left) = read(&bytes, piece).unwrap();
        assert_eq!(
            (&out[..], &errors[..], done, left),
            (&b"Status: 200\r\n\r\nbody"[..], &b"warning!"[..], true, 4),
            "{piece}"
        );
    }
}

#[test]
fn errors_of_an_application_that_writes_too_much_are_cut() {
    let bytes = record(7, &vec![b'e'; 60_000], 0);
    let (_, errors, done, _) = read(&bytes, 1000).unwrap();
    assert_eq!((errors.len(), done), (MAX_STDERR, false));
}

#[test]
fn wrong_records_are_refused() {
    for (bytes, part) in [
        (b"HTTP/1.1 200 OK".to_vec(), "version 72"),
        (record(11, b"", 0), "kind 11"),
        (record(1, b"", 0), "kind 1"),
        (vec![1, 6, 0, 2, 0, 0, 0, 0], "request 2"),
        (record(3, b"1234", 0), "END_REQUEST of 4"),
        (end(1), "CANT_MPX"),
        (end(2), "OVERLOADED"),
        (end(3), "UNKNOWN_ROLE"),
        (end(9), "unknown"),
    ] {
        for piece in [1, bytes.len()] {
            assert!(read(&bytes, piece).is_err_and(|message| message.contains(part)), "{part}");
        }
    }
}
