//! Builds the request of a stage as go-ftw does, reads it as a server does, and shows it to the engine.

use std::net::SocketAddr;

use buchner_waf::transform::Transform;
use buchner_waf::{RequestHead, ResponseHead, Transaction};
use serde_json::Value;

use super::suite::{Input, Stage};

/// Runs all phases.
pub fn run(transaction: &mut Transaction, stage: &Stage) {
    Prepared::new(stage).run(transaction);
}

/// A request that was read.
#[derive(Default)]
pub struct Prepared {
    method: Vec<u8>,
    target: Vec<u8>,
    protocol: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
    refused: bool,
}

impl Prepared {
    /// Reads the request of a stage.
    pub fn new(stage: &Stage) -> Self {
        parse(&raw(&stage.input))
    }

    /// Runs all phases; a request that a server refuses never reaches the engine.
    pub fn run(&self, transaction: &mut Transaction) {
        if self.refused {
            return;
        }
        let headers: Vec<(&[u8], &[u8])> = self.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let address = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let head = RequestHead {
            client: address,
            server: SocketAddr::from(([127, 0, 0, 1], 80)),
            server_name: b"localhost",
            method: &self.method,
            target: &self.target,
            protocol: &self.protocol,
            headers: &headers,
            unique_id: b"ftw",
            user: b"",
        };
        let stopped =
            transaction.process_request_head(&head).or_else(|| transaction.process_request_body(&self.body)).is_some();
        if !stopped {
            self.respond(transaction);
        }
        transaction.process_logging();
    }

    /// The response of Albedo, the tests' server: empty, or what the body of `/reflect` asks for.
    fn respond(&self, transaction: &mut Transaction) {
        let reflected = if self.target.starts_with(b"/reflect") {
            serde_json::from_slice(&self.body).unwrap_or(Value::Null)
        } else {
            Value::Null
        };
        let mut headers: Vec<(Vec<u8>, Vec<u8>)> = vec![(b"Date".into(), b"Mon, 01 Jan 2024 00:00:00 GMT".into())];
        for (name, value) in reflected["headers"].as_object().into_iter().flatten() {
            headers.push((name.as_bytes().into(), value.as_str().unwrap_or_default().into()));
        }
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"content-type")) {
            headers.push((b"Content-Type".into(), b"text/plain; charset=utf-8".into()));
        }
        let body = match (reflected["body"].as_str(), reflected["encodedBody"].as_str()) {
            (Some(body), _) => body.as_bytes().to_vec(),
            (_, Some(coded)) => Transform::Base64Decode.apply(coded.as_bytes()).into_owned(),
            _ => Vec::new(),
        };
        let headers: Vec<(&[u8], &[u8])> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let status = reflected["status"].as_u64().unwrap_or(200) as u16;
        let head = ResponseHead { status, protocol: b"HTTP/1.1", reason: b"OK", headers: &headers };
        if transaction.process_response_head(&head).is_none() {
            transaction.process_response_body(&body);
        }
    }
}

/// The request's bytes.
fn raw(input: &Input) -> Vec<u8> {
    if let Some(encoded) = &input.encoded_request {
        return Transform::Base64DecodeExt.apply(encoded.as_bytes()).into_owned();
    }
    let mut headers: Vec<(String, String)> =
        input.headers.iter().map(|(name, value)| (name.clone(), scalar(value))).collect();
    let mut data = input.data.clone().unwrap_or_default();
    let multipart = |(name, value): &(String, String)| {
        name.eq_ignore_ascii_case("content-type") && value.starts_with("multipart/form-data")
    };
    if headers.iter().any(multipart) {
        data = data.replace("\r\n", "\n").replace('\n', "\r\n");
    }
    if input.autocomplete_headers.unwrap_or(true) {
        let mut complete = |name: &str, value: String| {
            if !headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                headers.push((name.into(), value));
            }
        };
        complete("Connection", "close".into());
        if !data.is_empty() {
            complete("Content-Type", "application/x-www-form-urlencoded".into());
        }
        if !data.is_empty() || input.method.as_deref() == Some("POST") {
            complete("Content-Length", data.len().to_string());
        }
    }
    let method = input.method.as_deref().unwrap_or("GET");
    let (uri, version) = (input.uri.as_deref().unwrap_or("/"), input.version.as_deref().unwrap_or("HTTP/1.1"));
    let mut out = format!("{method} {uri} {version}\r\n").into_bytes();
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data.as_bytes());
    out
}

fn scalar(value: &serde_yaml_ng::Value) -> String {
    match value {
        serde_yaml_ng::Value::String(text) => text.clone(),
        serde_yaml_ng::Value::Number(number) => number.to_string(),
        serde_yaml_ng::Value::Bool(flag) => flag.to_string(),
        _ => String::new(),
    }
}

/// Reads a request, about as Apache does.
fn parse(raw: &[u8]) -> Prepared {
    let end = find(raw, b"\r\n\r\n").unwrap_or(raw.len());
    let mut lines = raw[..end].split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = lines.next().unwrap_or_default();
    let mut request = Prepared::default();
    let mut words = line.splitn(2, |byte| *byte == b' ');
    request.method = words.next().unwrap_or_default().to_vec();
    let rest = words.next().unwrap_or_default();
    let (target, protocol) = match rest.iter().rposition(|byte| *byte == b' ') {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &b""[..]),
    };
    (request.target, request.protocol) = (target.to_vec(), protocol.to_vec());
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            request.refused = true;
            continue;
        };
        request.headers.push((line[..colon].to_vec(), line[colon + 1..].trim_ascii().to_vec()));
    }
    request.body = raw.get(end + 4..).unwrap_or_default().to_vec();
    measure(&mut request);
    dechunk(&mut request);
    request.refused |= refuses(&request);
    request
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// Cuts the body by `Content-Length`, which does not count beside `Transfer-Encoding`.
fn measure(request: &mut Prepared) {
    let named = |wanted: &'static [u8]| move |(name, _): &(Vec<u8>, Vec<u8>)| name.eq_ignore_ascii_case(wanted);
    if request.headers.iter().any(named(b"transfer-encoding")) {
        request.headers.retain(|pair| !named(b"content-length")(pair));
        return;
    }
    let length = request.headers.iter().find(|pair| named(b"content-length")(pair)).map(|(_, value)| value);
    match length.map(|value| std::str::from_utf8(value).ok().and_then(|text| text.parse::<usize>().ok())) {
        Some(Some(length)) => request.body.truncate(length),
        Some(None) => request.refused = true,
        None => request.body.clear(),
    }
}

fn dechunk(request: &mut Prepared) {
    let chunked = |(name, value): &(Vec<u8>, Vec<u8>)| {
        name.eq_ignore_ascii_case(b"transfer-encoding") && value.eq_ignore_ascii_case(b"chunked")
    };
    if !request.headers.iter().any(chunked) {
        return;
    }
    let mut rest = &request.body[..];
    let mut whole = Vec::new();
    while let Some(end) = find(rest, b"\r\n") {
        let digits = rest[..end].split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let size = std::str::from_utf8(digits).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        match size {
            Some(size) if size > 0 && rest.len() >= end + 2 + size => {
                whole.extend_from_slice(&rest[end + 2..end + 2 + size]);
                rest = rest.get(end + 4 + size..).unwrap_or_default();
            }
            _ => break,
        }
    }
    request.body = whole;
}

/// Whether Apache responds 400 by itself.
fn refuses(request: &Prepared) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let version = request
        .protocol
        .strip_prefix(b"HTTP/")
        .is_some_and(|version| matches!(version, [b'1'..=b'9', b'.', b'0'..=b'9']));
    let host = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"host"));
    let bad_host = host.is_some_and(|(_, value)| value.is_empty() || value.contains(&b'%'));
    let control = |byte: &u8| *byte < b' ' && *byte != b'\t' || *byte == 127;
    let target = request.target.starts_with(b"/")
        || request.target == b"*"
        || find(&request.target, b"://").is_some()
        || request.method == b"CONNECT";
    request.method.is_empty()
        || !request.method.iter().all(token)
        || !version
        || !target
        || request.target.iter().any(|byte| *byte <= b' ' || *byte == 127)
        || (bad_host && request.protocol != b"HTTP/1.0")
        || request.target.contains(&b'#')
        || request.headers.iter().any(|(_, value)| value.iter().any(control))
        || (host.is_none() && request.protocol != b"HTTP/1.0")
        || request.headers.iter().any(|(name, _)| name.is_empty() || !name.iter().all(token))
}
