//! The first message of a TLS client (RFC 8446 section 4.1.2): read ahead of the handshake, since the name in it decides which
//! certificate and which policy serve the connection; and its fingerprint, JA4.
//!
//! Laws:
//! - The outcome depends on the bytes, never on where the pieces end in which they arrived.
//! - Nothing is believed of it: the handshake reads the same bytes again and is the judge.

/// Bytes of records that are read for one message; browsers send less than 3,000.
pub const MAX_HELLO: usize = 32 << 10;

const RECORD_HEADER: usize = 5;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// RFC 8446 section 5.1: a record of plain text has so many bytes at most.
const MAX_RECORD: usize = 1 << 14;

const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// What a client offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The version of the message itself; newer clients give their versions in [`Self::versions`].
    pub legacy_version: u16,
    /// Cipher suites, in its order.
    pub ciphers: Vec<u16>,
    /// Types of its extensions, in its order.
    pub extensions: Vec<u16>,
    /// The host it asks for (RFC 6066 section 3), in lower case, without a dot at its end; `None` if it names none.
    pub server_name: Option<Box<str>>,
    /// Protocols it speaks inside (RFC 7301), in its order.
    pub alpn: Vec<Box<[u8]>>,
    /// `supported_versions`, in its order.
    pub versions: Vec<u16>,
    /// Key-exchange groups, in its order.
    pub groups: Vec<u16>,
    /// Signature algorithms, in its order.
    pub signatures: Vec<u16>,
}

/// Why bytes are no such message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloError {
    /// The first byte is none of a TLS handshake: clear text, or another protocol.
    NotTls,
    /// It begins as one and breaks its own lengths, or is longer than [`MAX_HELLO`].
    Broken,
}

/// Reads the message at the beginning of what a connection has sent so far.
///
/// # Returns
/// The message; `None` if it isn't complete.
///
/// # Errors
/// [`HelloError`]: there is none, and more bytes change nothing.
pub fn parse(data: &[u8]) -> Result<Option<ClientHello>, HelloError> {
    let (mut message, mut rest) = (Vec::new(), data);
    loop {
        let Some(first) = rest.first() else { return more(data) };
        if *first != HANDSHAKE {
            return Err(if rest.len() == data.len() { HelloError::NotTls } else { HelloError::Broken });
        }
        if rest.get(1).is_some_and(|major| *major != 3) {
            return Err(if rest.len() == data.len() { HelloError::NotTls } else { HelloError::Broken });
        }
        let Some(header) = rest.get(..RECORD_HEADER) else { return more(data) };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length == 0 || length > MAX_RECORD {
            return Err(HelloError::Broken);
        }
        let piece = &rest[RECORD_HEADER..];
        message.extend_from_slice(&piece[..length.min(piece.len())]);
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(HelloError::Broken);
        }
        if let Some([_, a, b, c]) = message.first_chunk() {
            let wanted = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if wanted > MAX_HELLO {
                return Err(HelloError::Broken);
            }
            if let Some(body) = message.get(4..4 + wanted) {
                return body_of(body).map(Some).ok_or(HelloError::Broken);
            }
        }
        if piece.len() < length {
            return more(data);
        }
        rest = &piece[length..];
    }
}

fn more(data: &[u8]) -> Result<Option<ClientHello>, HelloError> {
    if data.len() > MAX_HELLO { Err(HelloError::Broken) } else { Ok(None) }
}

/// Bytes that are taken from the front; every length is checked against what there is.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// A vector whose length stands before it, in one byte or in two.
    fn short(&mut self) -> Option<Self> {
        let length = self.u8()?;
        self.take(length.into()).map(Self)
    }

    fn long(&mut self) -> Option<Self> {
        let length = self.u16()?;
        self.take(length.into()).map(Self)
    }

    /// All that is left, as numbers of two bytes.
    fn numbers(self) -> Option<Vec<u16>> {
        let pairs = self.0.chunks_exact(2);
        pairs.remainder().is_empty().then(|| pairs.map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect())
    }
}

fn body_of(body: &[u8]) -> Option<ClientHello> {
    let mut body = Fields(body);
    let mut hello = ClientHello { legacy_version: body.u16()?, ..ClientHello::default() };
    body.take(32)?; // random
    body.short()?; // session id
    hello.ciphers = body.long()?.numbers()?;
    body.short()?; // compression methods
    if body.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = body.long()?;
    while !extensions.0.is_empty() {
        let (kind, mut value) = (extensions.u16()?, extensions.long()?);
        hello.extensions.push(kind);
        match kind {
            SERVER_NAME => hello.server_name = Some(name(value)?).filter(|name| !name.is_empty()),
            SUPPORTED_GROUPS => hello.groups = value.long()?.numbers()?,
            SIGNATURE_ALGORITHMS => hello.signatures = value.long()?.numbers()?,
            SUPPORTED_VERSIONS => hello.versions = value.short()?.numbers()?,
            ALPN => {
                let mut names = value.long()?;
                while !names.0.is_empty() {
                    hello.alpn.push(names.short()?.0.into());
                }
            }
            _ => {}
        }
    }
    body.0.is_empty().then_some(hello)
}

/// The host of a `server_name` extension; empty where it is no host name.
fn name(mut value: Fields<'_>) -> Option<Box<str>> {
    let mut names = value.long()?;
    let kind = names.u8()?;
    let host = names.long()?.0;
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if kind != 0 || host.is_empty() || host.len() > 255 || !host.iter().all(valid) {
        return Some(Box::default());
    }
    let host = host.strip_suffix(b".").unwrap_or(host);
    Some(host.iter().map(|byte| byte.to_ascii_lowercase() as char).collect::<String>().into())
}

impl ClientHello {
    /// The newest version it offers, as a number of the protocol (0x0304 is TLS 1.3).
    pub fn newest(&self) -> u16 {
        self.versions.iter().copied().filter(|version| !is_grease(*version)).max().unwrap_or(self.legacy_version)
    }

    /// Its fingerprint by FoxIO's JA4 for TLS over TCP, such as `t13d1516h2_8daaf6152771_b186095e22b6`.
    ///
    /// # Arguments
    /// `sha256` gives the sum of some bytes.
    pub fn ja4(&self, sha256: impl Fn(&[u8]) -> [u8; 32]) -> String {
        let known = |numbers: &[u16]| numbers.iter().copied().filter(|n| !is_grease(*n)).collect::<Vec<_>>();
        let (ciphers, extensions) = (known(&self.ciphers), known(&self.extensions));
        let version = match self.newest() {
            0x0304 => "13",
            0x0303 => "12",
            0x0302 => "11",
            0x0301 => "10",
            0x0300 => "s3",
            _ => "00",
        };
        let named = if extensions.contains(&SERVER_NAME) { 'd' } else { 'i' };
        let counts = (ciphers.len().min(99), extensions.len().min(99));
        let alpn = self.alpn_ends();
        let cut = |text: &str| match text {
            "" => "000000000000".to_owned(),
            text => sha256(text.as_bytes())[..6].iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")),
        };
        let mut rest: Vec<u16> = extensions.into_iter().filter(|kind| !matches!(*kind, SERVER_NAME | ALPN)).collect();
        rest.sort_unstable();
        let mut sorted = ciphers;
        sorted.sort_unstable();
        let signatures = listed(&known(&self.signatures));
        let mut extended = listed(&rest);
        if !signatures.is_empty() && !extended.is_empty() {
            extended = format!("{extended}_{signatures}");
        }
        let first = format!("t{version}{named}{:02}{:02}{alpn}", counts.0, counts.1);
        format!("{first}_{}_{}", cut(&listed(&sorted)), cut(&extended))
    }

    /// The first and the last character of the first protocol: hexadecimal digits where one is no letter or digit.
    fn alpn_ends(&self) -> String {
        let Some([first, .., last] | [first @ last]) = self.alpn.first().map(|name| &**name) else {
            return "00".to_owned();
        };
        if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
            return [char::from(*first), char::from(*last)].iter().collect();
        }
        format!("{:x}{:x}", first >> 4, last & 15)
    }
}

fn listed(numbers: &[u16]) -> String {
    numbers.iter().map(|number| format!("{number:04x}")).collect::<Vec<_>>().join(",")
}

/// Values that clients mix in so that servers learn to ignore what they do not know (RFC 8701).
fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 15 == 10
}

#[cfg(test)]
mod tests;
