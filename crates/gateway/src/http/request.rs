//! A head that was read becomes an exchange: its host finds the server, its target the path, its fields the client.
use crate::access::realip::RealIp;
use crate::body::RequestBody;
use crate::config::HeadLimits;
use crate::error::{Error, Kind};
use crate::exchange::id::RequestId;
use crate::exchange::{Client, Exchange, Request};
use crate::http::connection::Connection;
use crate::http::head::Head;
use crate::http::refuse::Refusal;
use crate::settings::limits;
use buchner_wire::headers::{HeaderId, Headers};
use buchner_wire::method::Method;
use buchner_wire::path::{Target, parse_target, split_port};
use bytes::Bytes;

/// What a head asks for that is not done here.
fn undone(head: &Head) -> Option<Error> {
    if head.method == Method::Connect {
        let cause = "CONNECT asks for a forward proxy, which this is not";
        return Some(Error::new(Kind::MethodNotAllowed, cause).closing());
    }
    if head.method == Method::Trace {
        let cause = "TRACE shows what must stay between client and server (RFC 9110 section 9.3.8)";
        return Some(Error::new(Kind::MethodNotAllowed, cause).closing());
    }
    // HTTP/1.0 has no expectations: there it means nothing (RFC 9110 section 10.1.1).
    if head.version.has_interim() && head.headers.contains(HeaderId::Expect) && !head.expect_continue {
        return Some(Error::new(Kind::ExpectationFailed, "an Expect other than 100-continue cannot be met").closing());
    }
    None
}

/// The head becomes an exchange: host, server, path, client. `body` makes its body, given the time between two reads.
pub fn exchange(
    connection: &Connection,
    mut head: Head,
    body: impl FnOnce(u64) -> RequestBody,
) -> std::result::Result<Exchange, Refusal> {
    let plan = connection.plan();
    let listener = connection.listener(&plan);
    if head.method == Method::Connect && head.upgrade.is_some() {
        // RFC 8441: what GET and Upgrade ask for in HTTP/1.
        head.method = Method::Get;
    }
    let target = match parse_target(&head.method, &head.target, listener.head.merge_slashes) {
        Ok(target) => target,
        Err(error) => return Err(Refusal::read(error.into(), &head.method, &head.target, head.version)),
    };
    if let Some(error) = undone(&head) {
        return Err(Refusal::read(error, &head.method, &head.target, head.version));
    }
    let mut headers = head.headers;
    if let Some(authority) = target.authority.as_ref().or(head.authority.as_ref()) {
        // RFC 9112 section 3.2.2 and RFC 9113 section 8.3.1: it replaces Host.
        headers.set(HeaderId::Host, authority);
    }
    let host = normal_host(&headers.get_bytes(HeaderId::Host).unwrap_or_default());
    let (server, named_by) = listener.names.find(&host).unwrap_or((listener.default_server, None));
    let scope = &plan.scope;
    let settings = &scope.settings[scope.servers[server as usize].settings as usize];
    let body_timeout = settings.get::<limits::Settings>().body_timeout.0;
    headers.strip_hop_by_hop();
    drop_unwanted(&mut headers, &listener.head);
    let mut client = connection.client();
    if let Some(real_ip) = settings.get::<Option<RealIp>>().as_ref().or(plan.trusted.as_ref()) {
        real_ip.apply(&mut client, &headers);
    }
    let id = given_id(&client, &headers);
    let request = Request {
        method: head.method,
        target: origin_form(&head.target, &target),
        query: target.query.map(|range| head.target.slice(range)),
        path: target.path,
        version: head.version,
        headers,
        host,
        body: body(body_timeout),
        upgrade: head.upgrade.is_some(),
        upgrade_to: head.upgrade.unwrap_or_default(),
        head_bytes: head.bytes,
    };
    let mut ex = Exchange::new(connection.thread().clone(), scope.clone(), client, request, server, id);
    ex.refusal = connection.refuses(listener, server).map(Box::new);
    if let Some(regex) = named_by {
        let Request { method, target, version, host, .. } = &ex.request;
        regex.exec(&ex, host).map_err(|error| Refusal::read(error.into(), method, target, *version))?;
    }
    Ok(ex)
}

/// Drops fields whose names might be mistaken for others behind the gateway.
fn drop_unwanted(headers: &mut Headers, limits: &HeadLimits) {
    match (limits.underscores_in_headers, limits.ignore_invalid_headers) {
        (true, false) => {}
        // No name that has an id has an underscore in it.
        _ if !headers.contains(HeaderId::Other) => {}
        (false, false) => headers.retain(|header| header.id != HeaderId::Other || !header.name.contains(&b'_')),
        (underscores, true) => {
            let valid = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-' || (underscores && *byte == b'_');
            headers.retain(|header| header.id != HeaderId::Other || header.name.iter().all(valid));
        }
    }
}

/// The target without scheme and authority, as it is passed on.
fn origin_form(raw: &Bytes, target: &Target) -> Bytes {
    match (target.raw_path.is_empty(), &target.query) {
        (false, _) => raw.slice(target.raw_path.start..),
        (true, None) => Bytes::from_static(b"/"),
        (true, Some(query)) => [b"/?", &raw[query.clone()]].concat().into(),
    }
}

fn given_id(client: &Client, headers: &Headers) -> RequestId {
    let given = headers.get(HeaderId::XRequestId).filter(|_| client.trusted);
    given.and_then(RequestId::given).unwrap_or_default()
}

/// A host in lower case without port and trailing dot (RFC 9110 section 4.2.3).
fn normal_host(host: &Bytes) -> Bytes {
    let name = split_port(host).map_or(&host[..], |(name, _)| name);
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.iter().any(u8::is_ascii_uppercase) {
        return Bytes::from(name.to_ascii_lowercase());
    }
    host.slice_ref(name)
}
