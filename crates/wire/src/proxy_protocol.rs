//! The header a proxy of connections sends ahead of them: whom it speaks for (HAProxy's PROXY protocol, versions 1 and 2).
//!
//! Laws:
//! - The outcome depends on the bytes, never on where the pieces end in which they arrived.
//! - An outcome needs no more bytes than the header has, and a wrong one is known at its first wrong byte where that can be.
//! - What the specification calls invalid is refused: there is no reading on behind a header of which the end is guessed.
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of the longest header that is read, of both versions.
pub const MAX_HEADER: usize = 4096;

const V1: &[u8] = b"PROXY ";
/// Bytes of the longest line of version 1, its line end included.
const V1_MAX: usize = 107;
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const V2_FIXED: usize = 16;
/// Bytes of the addresses of two Unix sockets.
const V2_UNIX: usize = 216;

const TLV_CRC32C: u8 = 0x03;
const TLV_SSL: u8 = 0x20;
/// Bytes of an SSL value before its own values: which of its facts hold, and the outcome of the verification.
const SSL_FIXED: usize = 5;

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The client, and the address it connected to. `None` where the proxy speaks for itself, or of no IP connection.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    tlvs: Box<[u8]>,
}

impl ProxyHeader {
    /// The value of this type, the first if there are several.
    pub fn tlv(&self, kind: u8) -> Option<&[u8]> {
        find(&self.tlvs, kind)
    }

    /// The value of this type inside the one about the client's TLS.
    pub fn ssl_tlv(&self, kind: u8) -> Option<&[u8]> {
        find(self.tlv(TLV_SSL)?.get(SSL_FIXED..)?, kind)
    }

    /// The outcome of verifying the client's certificate, 0 for success.
    pub fn ssl_verify(&self) -> Option<u32> {
        let verify = self.tlv(TLV_SSL)?.get(1..SSL_FIXED)?;
        Some(u32::from_be_bytes(verify.try_into().ok()?))
    }
}

/// Bytes that are no such header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// The connection begins with something else: its first bytes, printable.
    Missing(String),
    /// The line of version 1 is wrong: what of it is.
    Line(&'static str),
    /// The header of version 2 is wrong: what of it is.
    Binary(&'static str),
    /// The header is longer than [`MAX_HEADER`]: its length.
    TooLong(usize),
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(found) => {
                write!(f, "there is no PROXY protocol header: the connection begins with \"{found}\"")
            }
            Self::Line(what) => write!(f, "broken PROXY protocol header (version 1): {what}"),
            Self::Binary(what) => write!(f, "broken PROXY protocol header (version 2): {what}"),
            Self::TooLong(length) => {
                write!(f, "the PROXY protocol header has {length} bytes, more than the {MAX_HEADER} that are read")
            }
        }
    }
}

/// Reads the header at the beginning of what a connection has sent so far.
///
/// # Returns
/// The header and its length in bytes; `None` if it isn't complete.
///
/// # Errors
/// [`ProxyError`]: it is none, or not a valid one; the connection can't be read further.
pub fn parse(data: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyError> {
    if data.starts_with(V1) {
        return parse_line(data);
    }
    if data.starts_with(V2) {
        return parse_binary(data);
    }
    if V1.starts_with(data) || V2.starts_with(data) {
        return Ok(None);
    }
    let line = data.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    Err(ProxyError::Missing(line[..line.len().min(60)].escape_ascii().to_string()))
}

fn parse_line(data: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyError> {
    let seen = &data[..data.len().min(V1_MAX)];
    let Some(end) = seen.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if seen.len() < V1_MAX { Ok(None) } else { Err(ProxyError::Line("no line end within 107 bytes")) };
    };
    match (seen[end], seen.get(end + 1)) {
        (b'\r', Some(b'\n')) => {}
        (b'\r', None) if seen.len() < V1_MAX => return Ok(None),
        _ => return Err(ProxyError::Line("the line does not end with CR LF")),
    }
    let mut parts = seen[V1.len()..end].split(|byte| *byte == b' ');
    let protocol = parts.next().unwrap_or_default();
    let addresses = match protocol {
        b"UNKNOWN" => None,
        b"TCP4" | b"TCP6" => Some(line_addresses(parts, protocol == b"TCP4")?),
        _ => return Err(ProxyError::Line("the protocol is none of TCP4, TCP6 and UNKNOWN")),
    };
    Ok(Some((ProxyHeader { addresses, tlvs: Box::default() }, end + 2)))
}

fn line_addresses<'a>(
    mut parts: impl Iterator<Item = &'a [u8]>,
    v4: bool,
) -> Result<(SocketAddr, SocketAddr), ProxyError> {
    let mut part = || parts.next().and_then(|part| std::str::from_utf8(part).ok()).unwrap_or_default();
    let mut address = || {
        let text = part();
        let found = if v4 { text.parse().map(IpAddr::V4).ok() } else { text.parse().map(IpAddr::V6).ok() };
        found.ok_or(ProxyError::Line("an address is not one of its protocol"))
    };
    let (source, destination) = (address()?, address()?);
    let mut port = || {
        let text = part();
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        text.parse().ok().filter(|_| plain).ok_or(ProxyError::Line("a port is not a number up to 65535"))
    };
    let (source, destination) = (SocketAddr::new(source, port()?), SocketAddr::new(destination, port()?));
    match parts.next() {
        None => Ok((source, destination)),
        Some(_) => Err(ProxyError::Line("there is more behind the ports")),
    }
}

fn parse_binary(data: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyError> {
    let local = match data.get(V2.len()) {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(byte) if byte >> 4 == 2 => return Err(ProxyError::Binary("the command is neither LOCAL nor PROXY")),
        Some(_) => return Err(ProxyError::Binary("the version is not 2")),
    };
    let family = match data.get(V2.len() + 1) {
        None => return Ok(None),
        Some(byte) if byte >> 4 > 3 || byte & 15 > 2 => {
            return Err(ProxyError::Binary("the family or transport is one that there is not"));
        }
        Some(byte) => byte >> 4,
    };
    let Some(length) = data.get(V2_FIXED - 2..V2_FIXED) else { return Ok(None) };
    let length = V2_FIXED + usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length > MAX_HEADER {
        return Err(ProxyError::TooLong(length));
    }
    let Some(header) = data.get(..length) else { return Ok(None) };
    if local {
        return Ok(Some((ProxyHeader::default(), length)));
    }
    let (addresses, tlvs) = binary_addresses(family, &header[V2_FIXED..])?;
    check_tlvs(header, tlvs)?;
    Ok(Some((ProxyHeader { addresses, tlvs: tlvs.into() }, length)))
}

type Addresses = Option<(SocketAddr, SocketAddr)>;

fn binary_addresses(family: u8, payload: &[u8]) -> Result<(Addresses, &[u8]), ProxyError> {
    let size = [0, 12, 36, V2_UNIX][usize::from(family)];
    let Some((block, tlvs)) = payload.split_at_checked(size) else {
        return Err(ProxyError::Binary("it is too short for its addresses"));
    };
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    let v4 = |at: usize| {
        let mut octets = [0; 4];
        octets.copy_from_slice(&block[at..at + 4]);
        IpAddr::V4(Ipv4Addr::from(octets))
    };
    let v6 = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&block[at..at + 16]);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let addresses = match family {
        1 => Some((SocketAddr::new(v4(0), port(8)), SocketAddr::new(v4(4), port(10)))),
        2 => Some((SocketAddr::new(v6(0), port(32)), SocketAddr::new(v6(16), port(34)))),
        _ => None,
    };
    Ok((addresses, tlvs))
}

/// The values in `tlvs`, each with its type; ends with an error where one is longer than what is left.
fn each(mut tlvs: &[u8]) -> impl Iterator<Item = Result<(u8, &[u8]), ProxyError>> {
    std::iter::from_fn(move || {
        if tlvs.is_empty() {
            return None;
        }
        let Some((head, rest)) = tlvs.split_at_checked(3) else { return Some(Err(cut(&mut tlvs))) };
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        let Some((value, rest)) = rest.split_at_checked(length) else { return Some(Err(cut(&mut tlvs))) };
        tlvs = rest;
        Some(Ok((head[0], value)))
    })
}

fn cut(tlvs: &mut &[u8]) -> ProxyError {
    *tlvs = &[];
    ProxyError::Binary("a value is longer than the header")
}

fn find(tlvs: &[u8], kind: u8) -> Option<&[u8]> {
    each(tlvs).map_while(Result::ok).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// Every value fits, and the checksum, where there is one, is that of the header.
fn check_tlvs(header: &[u8], tlvs: &[u8]) -> Result<(), ProxyError> {
    let mut at = header.len() - tlvs.len();
    for tlv in each(tlvs) {
        let (kind, value) = tlv?;
        at += 3;
        let place = at..at + value.len();
        at = place.end;
        if kind == TLV_CRC32C && value.try_into().ok().map(u32::from_be_bytes) != Some(crc32c(header, place)) {
            return Err(ProxyError::Binary("the checksum is wrong"));
        }
    }
    Ok(())
}

/// The CRC-32C of a header, whose own checksum counts as zeros.
fn crc32c(data: &[u8], zeros: std::ops::Range<usize>) -> u32 {
    let mut crc = u32::MAX;
    for (at, byte) in data.iter().enumerate() {
        crc ^= u32::from(if zeros.contains(&at) { 0 } else { *byte });
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests;
