//! The variables of a request's and a response's header section.

use std::net::SocketAddr;

use crate::body::{cookies, urlencoded};
use crate::memory::{EMPTY, ValueId};
use crate::payload::MULTIPART_FLAGS;
use crate::rule::Rules;
use crate::seclang::variable::Variable as V;
use crate::state::State;

/// A request without its body, as it came.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The client's address.
    pub client: SocketAddr,
    /// The address that the request came to.
    pub server: SocketAddr,
    /// The name of the server that is responsible, without port.
    pub server_name: &'a [u8],
    /// The method.
    pub method: &'a [u8],
    /// The request target, undecoded.
    pub target: &'a [u8],
    /// The protocol, such as `HTTP/1.1`.
    pub protocol: &'a [u8],
    /// All headers in order.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// A name for the transaction in logs.
    pub unique_id: &'a [u8],
    /// The authenticated user; empty if there is none.
    pub user: &'a [u8],
}

/// Variables that are 0 as long as nothing sets them, beside the flags of multipart bodies.
const ZERO: &[V] = &[
    V::FilesCombinedSize,
    V::InboundDataError,
    V::MscPcreLimitsExceeded,
    V::MultipartStrictError,
    V::OutboundDataError,
    V::ReqbodyError,
    V::ReqbodyProcessorError,
    V::RequestBodyLength,
    V::UrlencodedError,
];

/// Sets the variables of a request's header section.
pub fn head(rules: &Rules, state: &mut State, head: &RequestHead<'_>) {
    let zero = state.memory.number(0);
    for variable in ZERO.iter().chain(MULTIPART_FLAGS) {
        state.singles[*variable as usize] = zero;
    }
    for variable in [V::ReqbodyErrorMsg, V::ReqbodyProcessor, V::ReqbodyProcessorErrorMsg] {
        state.singles[variable as usize] = EMPTY;
    }
    let client = state.memory.add(head.client.ip().to_canonical().to_string().as_bytes());
    for variable in [V::RemoteAddr, V::RemoteHost, V::UserAgentIp] {
        state.singles[variable as usize] = client;
    }
    state.set_number(V::RemotePort, i64::from(head.client.port()));
    state.set(V::ServerAddr, head.server.ip().to_canonical().to_string().as_bytes());
    state.set_number(V::ServerPort, i64::from(head.server.port()));
    state.set(V::ServerName, head.server_name);
    state.set(V::UniqueId, head.unique_id);
    state.set(V::ModsecBuild, b"020907000");
    if !head.user.is_empty() {
        state.set(V::RemoteUser, head.user);
    }
    line(state, head);
    target(rules, state, head.target);
    for (name, value) in head.headers {
        state.push(V::RequestHeaders, name, value);
    }
    fields(rules, state, head.headers);
    combined_size(state);
}

fn line(state: &mut State, head: &RequestHead<'_>) {
    state.set(V::RequestMethod, head.method);
    state.set(V::RequestProtocol, head.protocol);
    let mut line = std::mem::take(&mut state.text);
    line.clear();
    line.extend_from_slice(head.method);
    line.push(b' ');
    line.extend_from_slice(head.target);
    if !head.protocol.is_empty() {
        line.push(b' ');
        line.extend_from_slice(head.protocol);
    }
    state.set(V::RequestLine, &line);
    state.text = line;
}

fn target(rules: &Rules, state: &mut State, raw: &[u8]) {
    let whole = state.memory.add(raw);
    state.singles[V::RequestUriRaw as usize] = whole;
    let start = path_start(raw);
    let uri = &raw[start..];
    let before_fragment = memchr::memchr(b'#', uri).unwrap_or(uri.len());
    let path_end = memchr::memchr(b'?', &uri[..before_fragment]);
    let path = &uri[..path_end.unwrap_or(before_fragment)];
    state.singles[V::RequestUri as usize] = state.memory.part(whole, start, uri.len());
    filename(state, path, whole, start);
    if let Some(mark) = path_end {
        let query = &uri[mark + 1..before_fragment];
        state.singles[V::QueryString as usize] = state.memory.part(whole, start + mark + 1, query.len());
        arguments(rules, state, V::ArgsGet, query);
    }
}

/// Sets `REQUEST_FILENAME`, the path with `%XX` decoded, and `REQUEST_BASENAME`, which is not decoded: as Apache hands
/// them to ModSecurity.
fn filename(state: &mut State, path: &[u8], whole: ValueId, start: usize) {
    let raw = state.memory.part(whole, start, path.len());
    state.singles[V::RequestFilename as usize] =
        if memchr::memchr(b'%', path).is_some() { state.memory.add(&percent_decoded(path)) } else { raw };
    let basename = path.iter().rposition(|byte| matches!(byte, b'/' | b'\\')).map_or(0, |at| at + 1);
    state.singles[V::RequestBasename as usize] = state.memory.part(raw, basename, path.len() - basename);
}

fn percent_decoded(path: &[u8]) -> Vec<u8> {
    let digit = |at: usize| path.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(path.len());
    let mut at = 0;
    while at < path.len() {
        match (path[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// Where the path of a target begins: after the authority, if it is a URL.
fn path_start(target: &[u8]) -> usize {
    let scheme = target.iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"+-.".contains(byte));
    match scheme {
        Some(at) if at > 0 && target[at..].starts_with(b"://") => {
            let authority = &target[at + 3..];
            at + 3 + authority.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(authority.len())
        }
        _ => 0,
    }
}

/// Adds the arguments of a query string or a form.
pub fn arguments(rules: &Rules, state: &mut State, variable: V, text: &[u8]) {
    let settings = &rules.settings;
    for (index, pair) in urlencoded::pairs(text, settings.separator).enumerate() {
        if index >= settings.arguments_limit {
            state.set_number(V::ReqbodyError, 1);
            state.set(V::ReqbodyErrorMsg, b"SecArgumentsLimit exceeded");
            break;
        }
        if pair.invalid {
            state.set_number(V::UrlencodedError, 1);
        }
        state.push(variable, &pair.name, &pair.value);
    }
}

/// Cookies, authentication and the processor that the media type asks for.
fn fields(rules: &Rules, state: &mut State, headers: &[(&[u8], &[u8])]) {
    for (name, value) in headers {
        if name.eq_ignore_ascii_case(b"cookie") {
            for (name, value) in cookies::pairs(value, rules.settings.cookie_separator) {
                state.push(V::RequestCookies, name, value);
            }
        } else if name.eq_ignore_ascii_case(b"authorization") {
            let scheme = value.split(|byte| *byte == b' ').next().unwrap_or_default();
            state.set(V::AuthType, scheme);
        } else if name.eq_ignore_ascii_case(b"content-type") {
            let lower = value.to_ascii_lowercase();
            if lower.starts_with(b"application/x-www-form-urlencoded") {
                state.set(V::ReqbodyProcessor, b"URLENCODED");
            } else if lower.starts_with(b"multipart/form-data") {
                state.set(V::ReqbodyProcessor, b"MULTIPART");
            }
        }
    }
}

/// Sets `ARGS_COMBINED_SIZE`.
pub fn combined_size(state: &mut State) {
    let pairs = state.many[V::ArgsGet as usize].iter().chain(&state.many[V::ArgsPost as usize]);
    let size: usize = pairs.map(|pair| state.memory.get(pair.name).len() + state.memory.get(pair.value).len()).sum();
    state.set_number(V::ArgsCombinedSize, size as i64);
}

/// A response without its body.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status.
    pub status: u16,
    /// The protocol, such as `HTTP/1.1`.
    pub protocol: &'a [u8],
    /// The status line without protocol, such as `404 Not Found`.
    pub reason: &'a [u8],
    /// All headers in order.
    pub headers: &'a [(&'a [u8], &'a [u8])],
}

/// Sets the variables of a response's header section.
pub fn response(state: &mut State, head: &ResponseHead<'_>) {
    state.set_number(V::ResponseStatus, i64::from(head.status));
    state.set(V::ResponseProtocol, head.protocol);
    let line = [head.protocol, b" ", head.status.to_string().as_bytes(), b" ", head.reason].concat();
    state.set(V::StatusLine, line.trim_ascii_end());
    for (name, value) in head.headers {
        state.push(V::ResponseHeaders, name, value);
        if name.eq_ignore_ascii_case(b"content-type") {
            let media = value.split(|byte| *byte == b';').next().unwrap_or_default();
            state.set(V::ResponseContentType, media.trim_ascii());
        }
    }
}
