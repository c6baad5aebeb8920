//! What the languages of applications have in common (CGI 1.1, RFC 3875): the variables of a request, and the head of a response.
use super::{Frame, Outbound, Pairs, Protocol};
use crate::backend::proxy::config;
use crate::backend::proxy::options::IdSet;
use crate::backend::proxy::proxying::Proxying;
use crate::error::{Error, Kind, Result};
use crate::exchange::Exchange;
use crate::kept;
use crate::kinds::Text;
use crate::regex::Regex;
use crate::scope::{self, Compiling, Room};
use crate::vars::{Names, Sent, Template, Variable};
use buchner_wire::cgi as wire;
use buchner_wire::chunked::{BodyDecoder, Decoded};
use buchner_wire::h1::{Framing, Limits, ResponseHead};
use buchner_wire::headers::{Header, HeaderId, speaks_for_client};
use buchner_wire::malformed::Malformed;
use buchner_wire::method::Method;
use bytes::BytesMut;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

/// Limits of a response's head.
pub(super) const LIMITS: Limits =
    Limits { max_head: 256 << 10, max_target: 0, max_field: 64 << 10, max_fields: 256, bare_lf: true };

/// Upstreams that speak uwsgi, FastCGI or SCGI.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Variables for the application, name to value with variables, or `{ value = …, if_not_empty = true }` (nginx: `uwsgi_param`, `fastcgi_param`, `scgi_param`). Default: none beside the usual ones.
    pub cgi_params: BTreeMap<String, CgiParam>,
    /// The application gets the usual variables (`REQUEST_METHOD`, `PATH_INFO`, `QUERY_STRING`, `REMOTE_ADDR`, …), unless `cgi_params` has them. Default: true (nginx: those that are written).
    pub cgi_default_params: bool,
    /// First modifier of a uwsgi request, 0 to 255. Default: 0, which is WSGI (nginx: `uwsgi_modifier1`).
    pub uwsgi_modifier1: u8,
    /// Second modifier of a uwsgi request, 0 to 255. Default: 0 (nginx: `uwsgi_modifier2`).
    pub uwsgi_modifier2: u8,
    /// A FastCGI application is asked to keep its connection open; it serves nobody else meanwhile. Default: false.
    pub fastcgi_keep_conn: bool,
    /// What follows in `$fastcgi_script_name` where the path ends with a slash. Default: nothing.
    pub fastcgi_index: Option<String>,
    /// Regular expression with two groups that splits the path into `$fastcgi_script_name` and `$fastcgi_path_info`. Default: the whole path is the script's name.
    pub fastcgi_split_path_info: Option<String>,
    /// Texts in what a FastCGI application writes as errors that make its response count as invalid. Default: none.
    pub fastcgi_catch_stderr: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cgi_params: BTreeMap::new(),
            cgi_default_params: true,
            uwsgi_modifier1: 0,
            uwsgi_modifier2: 0,
            fastcgi_keep_conn: false,
            fastcgi_index: None,
            fastcgi_split_path_info: None,
            fastcgi_catch_stderr: Vec::new(),
        }
    }
}

kept!(Settings);

/// A variable for the application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CgiParam {
    /// With this value.
    Value(Text),
    /// With conditions.
    Detailed(CgiParamTable),
}

/// A variable for the application, with conditions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CgiParamTable {
    /// Its value, with variables.
    pub value: Text,
    /// It is left out where its value is empty. Default: false.
    #[serde(default)]
    pub if_not_empty: bool,
}

/// How `$uri` is split.
#[derive(Default)]
struct Split(Option<Regex>);

kept!(Split);

impl Room for Settings {
    const TITLE: &'static str = "uwsgi, FastCGI and SCGI";
    const VARIABLES: &'static [Variable] = &[
        Variable::new(
            "fastcgi_script_name",
            script_name,
            "Name of the script: the path, or the first group of `fastcgi_split_path_info`.",
        ),
        Variable::new("fastcgi_path_info", path_info, "The second group of `fastcgi_split_path_info`."),
    ];

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        if let Some(text) = &self.fastcgi_split_path_info {
            let regex = Regex::compile(text, false, cx.names).map_err(|e| format!("fastcgi_split_path_info: {e}"))?;
            if regex.groups_count() < 2 {
                return Err(format!("fastcgi_split_path_info: {text:?} has fewer than two groups"));
            }
            out.put(Split(Some(regex)));
        }
        Ok(())
    }
}

/// The two parts of the path.
fn parts(ex: &Exchange) -> (&[u8], &[u8]) {
    let path = &ex.request.path;
    let split = ex.settings().get::<Split>().0.as_ref();
    split.and_then(|regex| regex.first_two(path)).map_or((path, b""), |(script, info)| (&path[script], &path[info]))
}

/// `$fastcgi_script_name`.
fn script_name(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    let (script, _) = parts(ex);
    out.extend_from_slice(script);
    if script.ends_with(b"/") {
        out.extend_from_slice(ex.settings().get::<Settings>().fastcgi_index.as_deref().unwrap_or_default().as_bytes());
    }
}

/// `$fastcgi_path_info`.
fn path_info(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(parts(ex).1);
}

/// A variable for the application, compiled.
pub struct Param {
    name: Box<[u8]>,
    value: Template,
    if_not_empty: bool,
}

/// What every application wants to know; an empty value is left out where nothing is said by it.
const USUAL: &[(&str, &str, bool)] = &[
    ("QUERY_STRING", "$query_string", false),
    ("REQUEST_METHOD", "$request_method", false),
    ("CONTENT_TYPE", "$content_type", false),
    ("CONTENT_LENGTH", "$content_length", false),
    ("REQUEST_URI", "$request_uri", false),
    ("DOCUMENT_URI", "$document_uri", false),
    ("DOCUMENT_ROOT", "$document_root", false),
    ("SERVER_PROTOCOL", "$server_protocol", false),
    ("REQUEST_SCHEME", "$scheme", false),
    ("HTTPS", "$https", true),
    ("REMOTE_ADDR", "$remote_addr", false),
    ("REMOTE_PORT", "$remote_port", false),
    ("SERVER_ADDR", "$server_addr", false),
    ("SERVER_PORT", "$server_port", false),
    ("SERVER_NAME", "$server_name", false),
];

/// The variables of a language whose paths are the application's own.
pub(super) const OF_APPS: Pairs = &[("PATH_INFO", "$document_uri"), ("SCRIPT_NAME", "")];

/// The variables of a language whose paths are those of scripts.
pub(super) const OF_SCRIPTS: Pairs = &[
    ("GATEWAY_INTERFACE", "CGI/1.1"),
    ("SERVER_SOFTWARE", "buchner"),
    ("REDIRECT_STATUS", "200"),
    ("SCRIPT_NAME", "$fastcgi_script_name"),
    ("SCRIPT_FILENAME", "$document_root$fastcgi_script_name"),
    ("PATH_INFO", "$fastcgi_path_info"),
];

/// Compiles the variables of a route: the usual ones, those of its language (`own`), and what the settings say of them.
pub fn compile(settings: &Settings, own: Pairs, names: &Names) -> std::result::Result<Arc<[Param]>, String> {
    let usual = USUAL.iter().copied().chain(own.iter().map(|(name, value)| (*name, *value, false)));
    let usual = usual.filter(|(name, ..)| settings.cgi_default_params && !settings.cgi_params.contains_key(*name));
    let set = settings.cgi_params.iter().map(|(name, param)| match param {
        CgiParam::Value(value) => (&**name, &**value, false),
        CgiParam::Detailed(param) => (&**name, &*param.value, param.if_not_empty),
    });
    let compile = |(name, value, if_not_empty): (&str, &str, bool)| {
        if name.is_empty() || name.contains('\0') {
            return Err(format!("cgi_params: {name:?} is no name of a variable"));
        }
        let value = Template::compile(value, names).map_err(|e| format!("cgi_params: {name}: {e}"))?;
        Ok(Param { name: name.as_bytes().into(), value, if_not_empty })
    };
    usual.chain(set).map(compile).collect()
}

/// Hands the variables of a request to `pair`: those of the route, then the client's fields as `HTTP_…` (RFC 3875 section 4.1.18).
pub(super) fn write(request: &Outbound<'_>, pair: &mut dyn FnMut(&[u8], &[u8])) {
    let ex = request.ex;
    let params = request.target.params.as_deref().unwrap_or_default();
    let mut value = Vec::with_capacity(64);
    for param in params {
        value.clear();
        param.value.write(ex, Sent::default(), &mut value);
        if !(param.if_not_empty && value.is_empty()) {
            pair(&param.name, &value);
        }
    }
    let proxying = ex.settings().get::<Proxying>();
    if proxying.options.as_deref().is_none_or(|options| options.pass_headers) {
        write_fields(ex, params, pair);
    }
    if ex.settings().get::<config::Settings>().forwarded_headers {
        value.clear();
        ex.id.write(&mut value);
        pair(b"HTTP_X_REQUEST_ID", &value);
        if !ex.request.headers.contains(HeaderId::Traceparent) {
            value.clear();
            ex.id.write_traceparent(&mut value);
            pair(b"HTTP_TRACEPARENT", &value);
        }
    }
}

/// The client's fields, several of one name as one; those that a parameter names are not the client's to say.
fn write_fields(ex: &Exchange, params: &[Param], pair: &mut dyn FnMut(&[u8], &[u8])) {
    let forwarded = ex.settings().get::<config::Settings>().forwarded_headers;
    let headers = &ex.request.headers;
    let (mut name, mut joined, mut seen) = (Vec::with_capacity(32), Vec::new(), IdSet::default());
    for (index, header) in headers.iter().enumerate() {
        let skip = match header.id {
            // Hop by hop, the gateway's to answer, or dangerous to scripts (`HTTP_PROXY`).
            HeaderId::Connection
            | HeaderId::TransferEncoding
            | HeaderId::Upgrade
            | HeaderId::Expect
            | HeaderId::Proxy => true,
            HeaderId::XRequestId => forwarded,
            _ => forwarded && !ex.client.trusted && speaks_for_client(&header),
        };
        if skip || seen.contains(header.id) {
            continue;
        }
        let same = |other: &Header<'_>| other.id == header.id && other.name.eq_ignore_ascii_case(header.name);
        if header.id == HeaderId::Other && headers.iter().take(index).any(|other| same(&other)) {
            continue;
        }
        seen.insert(header.id);
        name.clear();
        name.extend_from_slice(b"HTTP_");
        name.extend(header.name.iter().map(|byte| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }));
        // With underscores in names another field may become what the gateway says itself.
        let gateways = forwarded && matches!(&name[..], b"HTTP_X_REQUEST_ID" | b"HTTP_PROXY");
        if gateways || params.iter().any(|param| *param.name == *name) {
            continue;
        }
        joined.clear();
        joined.extend_from_slice(header.value);
        for other in headers.iter().skip(index + 1).filter(same) {
            joined.extend_from_slice(if header.id == HeaderId::Cookie { b"; " } else { b", " });
            joined.extend_from_slice(other.value);
        }
        pair(&name, &joined);
    }
    if let Some(protocols) = ex.upgrade() {
        pair(b"HTTP_CONNECTION", b"Upgrade");
        pair(b"HTTP_UPGRADE", &protocols);
    }
}

/// What a language cannot say of a request.
pub(super) fn unsayable(cause: &'static str) -> Error {
    Error::new(Kind::BadRequest(431), cause)
}

/// How a request is written in a language whose bodies stand on the connection as they are.
pub trait Writing {
    /// See [`Protocol::SCHEME`].
    const SCHEME: &'static str;

    /// See [`Protocol::SECURE_SCHEME`].
    const SECURE_SCHEME: &'static str;

    /// See [`Protocol::write_request`].
    fn write(request: &Outbound<'_>, out: &mut Vec<u8>) -> Result<()>;
}

/// A request in such a language, and its response.
pub struct Cgi<W> {
    method: Method,
    /// Bytes of the head that were looked at.
    scanned: usize,
    body: Option<BodyDecoder>,
    writing: PhantomData<W>,
}

impl<W: Writing> Protocol for Cgi<W> {
    const SCHEME: &'static str = W::SCHEME;
    const SECURE_SCHEME: &'static str = W::SECURE_SCHEME;
    const ALPN: &'static [&'static [u8]] = &[];
    const PORTS: (u16, u16) = (80, 80);
    const PARAMS: Option<Pairs> = Some(OF_APPS);

    fn new(request: &Outbound<'_>) -> Self {
        Self { method: request.method.clone(), scanned: 0, body: None, writing: PhantomData }
    }

    fn write_request(&self, request: &Outbound<'_>, out: &mut Vec<u8>) -> Result<()> {
        W::write(request, out)
    }

    fn frame(&self, _: Option<u64>) -> Frame {
        Frame::Plain
    }

    fn read_head(&mut self, buf: &mut BytesMut) -> std::result::Result<Option<ResponseHead>, Malformed> {
        wire::parse_response(buf, &LIMITS, &mut self.scanned, &self.method)
    }

    fn begin_body(&mut self, framing: Framing) {
        self.body = Some(BodyDecoder::new(framing, &LIMITS));
    }

    fn read_body(&mut self, buf: &mut BytesMut, eof: bool) -> std::result::Result<Decoded, Malformed> {
        Ok(self.body.as_mut().map_or(Ok(Decoded::End), |body| body.decode(buf, eof))?)
    }

    fn remaining(&self) -> Option<u64> {
        self.body.as_ref().and_then(BodyDecoder::remaining)
    }
}
