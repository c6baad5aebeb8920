use super::*;

fn pair(source: &str, destination: &str) -> (SocketAddr, SocketAddr) {
    (source.parse().unwrap(), destination.parse().unwrap())
}

fn binary(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [V2, &[command, family], &length, payload].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
}

const ADDRESSES_4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0x1f, 0x90, 0, 80];

/// Parses a header byte by byte: the outcome is that of all at once, comes with the last byte and leaves what follows.
fn read(header: &[u8]) -> ProxyHeader {
    for cut in 0..header.len() {
        assert_eq!(parse(&header[..cut]), Ok(None), "after {cut} of {} bytes", header.len());
    }
    for trailing in [&b""[..], b"G", b"GET / HTTP/1.1\r\n\r\n", b"\r\n", V2, b"PROXY TCP4"] {
        let (found, length) = parse(&[header, trailing].concat()).unwrap().unwrap();
        assert_eq!((length, parse(header)), (header.len(), Ok(Some((found, length)))));
    }
    parse(header).unwrap().unwrap().0
}

/// Parses a wrong header byte by byte: the error is the same once it is there. Returns it and the bytes it took.
fn refused(header: &[u8]) -> (ProxyError, usize) {
    let first = (0..=header.len()).find(|cut| parse(&header[..*cut]).is_err()).expect("it is taken");
    assert!((0..first).all(|cut| parse(&header[..cut]) == Ok(None)));
    let error = parse(&header[..first]).unwrap_err();
    assert!(error.to_string().chars().all(|c| !c.is_control()), "{error}");
    (error, first)
}

#[test]
fn lines_of_version_1() {
    for (line, addresses) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 8080 80\r\n", Some(pair("192.0.2.1:8080", "198.51.100.2:80"))),
        ("PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n", Some(pair("255.255.255.255:65535", "0.0.0.0:0"))),
        ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", Some(pair("[2001:db8::1]:1", "[::1]:2"))),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", Some(pair("[::ffff:192.0.2.1]:1", "[::1]:2"))),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff::1 anything at all\r\n", None),
    ] {
        assert_eq!(read(line.as_bytes()).addresses, addresses, "{line}");
    }
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_MAX - 16));
    assert_eq!(read(longest.as_bytes()), ProxyHeader::default());
}

#[test]
fn wrong_lines_of_version_1() {
    let protocol = "the protocol is none of TCP4, TCP6 and UNKNOWN";
    let address = "an address is not one of its protocol";
    let port = "a port is not a number up to 65535";
    let end = "the line does not end with CR LF";
    for (line, what) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 8080 80\n", end),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 8080 80\rX", end),
        ("PROXY UNKNOWN\nPROXY", end),
        ("PROXY UDP4 192.0.2.1 198.51.100.2 8080 80\r\n", protocol),
        ("PROXY tcp4 192.0.2.1 198.51.100.2 8080 80\r\n", protocol),
        ("PROXY \r\n", protocol),
        ("PROXY  TCP4 192.0.2.1 198.51.100.2 8080 80\r\n", protocol),
        ("PROXY TCP4\r\n", address),
        ("PROXY TCP4 192.0.2.1\r\n", address),
        ("PROXY TCP4 192.0.2.256 198.51.100.2 8080 80\r\n", address),
        ("PROXY TCP4 192.0.2.01 198.51.100.2 8080 80\r\n", address),
        ("PROXY TCP4  192.0.2.1 198.51.100.2 8080 80\r\n", address),
        ("PROXY TCP4 ::1 ::1 8080 80\r\n", address),
        ("PROXY TCP6 192.0.2.1 198.51.100.2 8080 80\r\n", address),
        ("PROXY TCP6 [::1] ::1 8080 80\r\n", address),
        ("PROXY TCP6 ::1%lo ::1 8080 80\r\n", address),
        ("PROXY TCP4 192.0.2.1 198.51.100.2\r\n", port),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 80\r\n", port),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 65536 80\r\n", port),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 +80 80\r\n", port),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 080 80\r\n", port),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 -1 80\r\n", port),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 80 80 \r\n", "there is more behind the ports"),
    ] {
        let known = V1.len() + line[V1.len()..].find(['\n', 'X']).unwrap() + 1;
        assert_eq!(refused(line.as_bytes()), (ProxyError::Line(what), known), "{line}");
    }
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(2 * V1_MAX));
    assert_eq!(refused(endless.as_bytes()), (ProxyError::Line("no line end within 107 bytes"), V1_MAX));
    let late = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_MAX - 15));
    assert_eq!(refused(late.as_bytes()), (ProxyError::Line(end), V1_MAX));
}

#[test]
fn headers_of_version_2() {
    let v4 = read(&binary(0x21, 0x11, ADDRESSES_4));
    assert_eq!(v4.addresses, Some(pair("192.0.2.1:8080", "198.51.100.2:80")));
    let octets = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    let v6 = [&octets("2001:db8::1")[..], &octets("::1"), &[0x1f, 0x90, 0, 80]].concat();
    assert_eq!(read(&binary(0x21, 0x21, &v6)).addresses, Some(pair("[2001:db8::1]:8080", "[::1]:80")));
    for (command, family, payload) in [
        (0x20, 0x00, &b""[..]),
        (0x20, 0x11, ADDRESSES_4),
        (0x20, 0x00, b"\xff\xff whatever"),
        (0x21, 0x00, b""),
        (0x21, 0x31, &[0; V2_UNIX]),
    ] {
        assert_eq!(read(&binary(command, family, payload)), ProxyHeader::default());
    }
    let most = tlv(0xea, &vec![7; MAX_HEADER - V2_FIXED - 3]);
    assert_eq!(read(&binary(0x21, 0, &most)).tlv(0xea).map(<[u8]>::len), Some(MAX_HEADER - V2_FIXED - 3));
}

#[test]
fn values_of_version_2() {
    let ssl = [&[7, 0, 0, 0, 9][..], &tlv(0x21, b"TLSv1.3"), &tlv(0x22, b"client.example")].concat();
    let tlvs = [tlv(0x02, b"shop.example"), tlv(0x02, b"second"), tlv(0x20, &ssl), tlv(0x04, b"")].concat();
    let header = read(&binary(0x21, 0x11, &[ADDRESSES_4, &tlvs].concat()));
    assert_eq!(header.tlv(0x02), Some(&b"shop.example"[..]));
    assert_eq!((header.tlv(0x04), header.tlv(0x01), header.tlv(0x21)), (Some(&b""[..]), None, None));
    assert_eq!(header.ssl_tlv(0x22), Some(&b"client.example"[..]));
    assert_eq!((header.ssl_tlv(0x23), header.ssl_verify()), (None, Some(9)));
    let short = read(&binary(0x21, 0x11, &[ADDRESSES_4, &tlv(0x20, &[7, 0])].concat()));
    assert_eq!((short.ssl_verify(), short.ssl_tlv(0x21)), (None, None));
    assert_eq!(read(&binary(0x21, 0x11, ADDRESSES_4)).ssl_verify(), None);
}

#[test]
fn a_checksum_is_that_of_the_header() {
    // RFC 3720, appendix B.4: the CRC of 32 zeros, and of 32 bytes that count up.
    assert_eq!(crc32c(&[0; 32], 0..0), 0x8a91_36aa);
    assert_eq!(crc32c(&(0..32).collect::<Vec<_>>(), 0..0), 0x46dd_794e);
    let mut header =
        binary(0x21, 0x11, &[ADDRESSES_4, &tlv(0x02, b"a"), &tlv(0x03, &[0; 4]), &tlv(0x04, b"")].concat());
    let at = V2_FIXED + 12 + 4 + 3;
    let crc = crc32c(&header, at..at + 4).to_be_bytes();
    header[at..at + 4].copy_from_slice(&crc);
    assert_eq!(read(&header).tlv(0x02), Some(&b"a"[..]));
    header[V2_FIXED] ^= 1;
    assert_eq!(refused(&header).0, ProxyError::Binary("the checksum is wrong"));
    let short = binary(0x21, 0x11, &[ADDRESSES_4, &tlv(0x03, &[0; 3])].concat());
    assert_eq!(refused(&short).0, ProxyError::Binary("the checksum is wrong"));
}

#[test]
fn wrong_headers_of_version_2() {
    let cut = "a value is longer than the header";
    let there_is_not = "the family or transport is one that there is not";
    for (header, what, taken) in [
        (binary(0x11, 0x11, ADDRESSES_4), "the version is not 2", 13),
        (binary(0x31, 0x11, ADDRESSES_4), "the version is not 2", 13),
        (binary(0x22, 0x11, ADDRESSES_4), "the command is neither LOCAL nor PROXY", 13),
        (binary(0x21, 0x41, ADDRESSES_4), there_is_not, 14),
        (binary(0x21, 0x13, ADDRESSES_4), there_is_not, 14),
        (binary(0x21, 0x11, &ADDRESSES_4[..11]), "it is too short for its addresses", 27),
        (binary(0x21, 0x21, ADDRESSES_4), "it is too short for its addresses", 28),
        (binary(0x21, 0x11, &[ADDRESSES_4, &[1]].concat()), cut, 29),
        (binary(0x21, 0x11, &[ADDRESSES_4, &[1, 0, 2, 9]].concat()), cut, 32),
    ] {
        assert_eq!(refused(&[&header[..], b"GET / HTTP/1.1\r\n\r\n"].concat()), (ProxyError::Binary(what), taken));
    }
    let long = [V2, &[0x21, 0x11, 0x10, 0]].concat();
    assert_eq!(refused(&long), (ProxyError::TooLong(4112), V2_FIXED));
}

#[test]
fn what_is_no_header_is_known_at_its_first_byte() {
    for (sent, taken, shown) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1, "G"),
        ("POST / HTTP/1.1\r\n", 2, "PO"),
        ("PROXYTCP4 1.1.1.1", 6, "PROXYT"),
        ("\r\nGET /", 3, ""),
        ("\x16\x03\x01\x02", 1, "\\x16"),
    ] {
        assert_eq!(refused(sent.as_bytes()), (ProxyError::Missing(shown.into()), taken), "{sent}");
    }
    let whole = parse(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n").unwrap_err().to_string();
    assert_eq!(whole, "there is no PROXY protocol header: the connection begins with \"GET /\\xff HTTP/1.1\"");
}
