use super::*;
use proptest::prelude::*;

fn vector(width: usize, bytes: &[u8]) -> Vec<u8> {
    [&bytes.len().to_be_bytes()[8 - width..], bytes].concat()
}

fn numbers(all: &[u16]) -> Vec<u8> {
    all.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(2, value)].concat()
}

fn server_name(host: &[u8]) -> Vec<u8> {
    extension(SERVER_NAME, &vector(2, &[&[0][..], &vector(2, host)].concat()))
}

/// A message in one record.
fn record(body: &[u8]) -> Vec<u8> {
    let message = [&[CLIENT_HELLO][..], &vector(3, body)].concat();
    [&[HANDSHAKE, 3, 1][..], &vector(2, &message)].concat()
}

fn body(ciphers: &[u16], extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend(vector(1, &[9; 32]));
    body.extend(vector(2, &numbers(ciphers)));
    body.extend(vector(1, &[0]));
    body.extend(vector(2, &extensions.concat()));
    body
}

/// The example that JA4's own description goes through.
fn example() -> Vec<u8> {
    let ciphers = [
        0x5a5a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d,
        0x002f, 0x0035,
    ];
    let signatures = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601];
    let extensions = [
        extension(0x0a0a, b""),
        extension(0x001b, b""),
        server_name(b"Example.COM."),
        extension(0x0033, b""),
        extension(ALPN, &vector(2, &[vector(1, b"h2"), vector(1, b"http/1.1")].concat())),
        extension(0x4469, b""),
        extension(0x0017, b""),
        extension(0x002d, b""),
        extension(SIGNATURE_ALGORITHMS, &vector(2, &numbers(&signatures))),
        extension(0x0005, b""),
        extension(0x0023, b""),
        extension(0x0012, b""),
        extension(SUPPORTED_VERSIONS, &vector(1, &numbers(&[0x1a1a, 0x0304, 0x0303]))),
        extension(0xff01, b""),
        extension(0x000b, b""),
        extension(SUPPORTED_GROUPS, &vector(2, &numbers(&[0x2a2a, 0x11ec, 0x001d]))),
        extension(0x0015, b""),
    ];
    record(&body(&ciphers, &extensions))
}

#[test]
fn what_a_browser_offers() {
    let hello = parse(&example()).unwrap().unwrap();
    assert_eq!(hello.server_name.as_deref(), Some("example.com"));
    assert_eq!(hello.alpn, [Box::from(&b"h2"[..]), Box::from(&b"http/1.1"[..])]);
    assert_eq!((hello.newest(), hello.ciphers.len(), hello.extensions.len()), (0x0304, 16, 17));
    assert_eq!((hello.groups, hello.signatures.len()), (vec![0x2a2a, 0x11ec, 0x001d], 8));
}

#[test]
fn its_fingerprint_hashes_sorted_lists_without_grease() {
    let hello = parse(&example()).unwrap().unwrap();
    let asked = std::cell::RefCell::new(Vec::new());
    let print = hello.ja4(|text| {
        asked.borrow_mut().push(String::from_utf8(text.to_vec()).unwrap());
        [0xab; 32]
    });
    assert_eq!(print, "t13d1516h2_abababababab_abababababab");
    let ciphers = "002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9";
    let extensions = "0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01";
    let signatures = "0403,0804,0401,0503,0805,0501,0806,0601";
    assert_eq!(*asked.borrow(), [ciphers.to_owned(), format!("{extensions}_{signatures}")]);
    let plain = ClientHello { legacy_version: 0x0303, ..ClientHello::default() };
    assert_eq!(plain.ja4(|_| unreachable!()), "t12i000000_000000000000_000000000000");
    let odd = ClientHello { alpn: vec![Box::from(&b"\xab\xcd"[..])], ..plain.clone() };
    assert!(odd.ja4(|_| [0; 32]).starts_with("t12i0000ad_"));
    let one = ClientHello { alpn: vec![Box::from(&b"q"[..])], ..plain };
    assert!(one.ja4(|_| [0; 32]).starts_with("t12i0000qq_"));
}

#[test]
fn clear_text_is_told_from_a_broken_message() {
    for text in [&b"GET / HTTP/1.1\r\n"[..], b"PRI * HTTP/2.0", b"\x80\x2e\x01\x03\x01", b"\x16\x02\x00"] {
        assert_eq!(parse(text), Err(HelloError::NotTls));
    }
    let good = example();
    for (at, byte) in [(3, 0xff), (5, 2), (6, 0x7f), (9 + 2 + 32, 0xff)] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert_eq!(parse(&bad), Err(HelloError::Broken), "byte {at}");
    }
    assert_eq!(parse(&[]), Ok(None));
    assert_eq!(parse(&[HANDSHAKE, 3, 1, 0, 0]), Err(HelloError::Broken), "an empty record");
    let endless: Vec<u8> = std::iter::repeat_n([HANDSHAKE, 3, 1, 0, 1, 1], 9_000).flatten().collect();
    assert_eq!(parse(&endless), Err(HelloError::Broken), "more than is read");
}

#[test]
fn what_is_no_host_name_names_none() {
    for host in [&b""[..], b"a b", b"a\nb", "b\u{fc}cher".as_bytes(), &[b'a'; 256]] {
        let hello = parse(&record(&body(&[1], &[server_name(host)]))).unwrap().unwrap();
        assert_eq!((hello.server_name, hello.extensions), (None, vec![0]));
    }
}

#[test]
fn records_may_end_anywhere() {
    let (whole, message) = (example(), example()[RECORD_HEADER..].to_vec());
    for size in [1, 2, 3, 100, message.len() - 1] {
        let split: Vec<u8> =
            message.chunks(size).flat_map(|piece| [&[HANDSHAKE, 3, 1][..], &vector(2, piece)].concat()).collect();
        assert_eq!(parse(&split), parse(&whole), "{size}");
    }
}

proptest! {
    #[test]
    fn pieces_and_garbage(cut in 0usize..600, at in 0usize..600, byte: u8, garbage in proptest::collection::vec(any::<u8>(), 0..600)) {
        let good = example();
        prop_assert_eq!(parse(&good[..cut.min(good.len() - 1)]), Ok(None));
        let mut bad = good.clone();
        bad[at % good.len()] = byte;
        let _ = parse(&bad);
        let _ = parse(&garbage);
        let _ = parse(&record(&garbage));
    }
}
