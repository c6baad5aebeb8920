//! Variables (`$host`, `$remote_addr`, …) under nginx's names, and templates that use them. Names are resolved
//! when the configuration is compiled; a request only ever sees numbers and enum values.
//!
//! Built-in variables are written ([`write`]) from what the exchange holds, each time. Those that the configuration
//! defines ([`crate::variables`]) have a number, and their values are kept in the exchange ([`values`]).
pub mod core;
pub mod template;
pub mod values;
pub mod write;

pub use template::Template;
pub use values::Values;
pub(crate) use write::write_var;
pub use write::{protocol, write_forwarded_for};

use crate::backend::proxy::variables as proxy;
use crate::backend::stub_status;
use crate::config;
use crate::exchange::Exchange;
use crate::filter::userid;
use crate::listen::proxy_protocol::{self, Tlv};
use crate::variables::{browser, referer, secure_link};
use buchner_wire::headers::HeaderId;
use std::cell::Cell;
use std::collections::HashMap;

/// A variable, resolved from its name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the documentation: docs/variables.md lists them
pub enum Var {
    Args,
    Arg(String),
    BodyBytesSent,
    BytesSent,
    ConnectionRequests,
    ContentLength,
    ContentType,
    /// A group of the last regular expression that matched.
    Capture(u8),
    Cookie(String),
    Host,
    Http(String),
    /// `Http` of a name that has an id.
    HttpId(HeaderId),
    HttpHost,
    IsArgs,
    Msec,
    Pid,
    ProxyAddXForwardedFor,
    ProxyHost,
    /// A value of the PROXY protocol's header.
    ProxyProtocolTlv(Tlv),
    RealipRemoteAddr,
    RemoteAddr,
    RemotePort,
    RemoteUser,
    Request,
    RequestBodyLength,
    RequestId,
    RequestLength,
    RequestMethod,
    RequestTime,
    RequestUri,
    Scheme,
    SentHttp(String),
    /// `SentHttp` of a name that has an id.
    SentHttpId(HeaderId),
    SentTrailer(String),
    ServerAddr,
    ServerName,
    ServerPort,
    ServerProtocol,
    Status,
    TimeIso8601,
    TimeLocal,
    Traceparent,
    UpstreamAddr,
    UpstreamCookie(String),
    UpstreamHttp(String),
    UpstreamResponseTime,
    UpstreamStatus,
    UpstreamTrailer(String),
    Uri,
    Https,
    /// One of a module, by its place in [`MODULE_VARIABLES`].
    Module(u16),
    /// One that the configuration defines, by its number.
    User(u32),
}

/// Every fixed name, for messages and documentation.
pub const NAMES: &[(&str, Var)] = &[
    ("args", Var::Args),
    ("body_bytes_sent", Var::BodyBytesSent),
    ("bytes_sent", Var::BytesSent),
    ("connection_requests", Var::ConnectionRequests),
    ("content_length", Var::ContentLength),
    ("content_type", Var::ContentType),
    ("document_uri", Var::Uri),
    ("host", Var::Host),
    ("http_host", Var::HttpHost),
    ("https", Var::Https),
    ("is_args", Var::IsArgs),
    ("msec", Var::Msec),
    ("pid", Var::Pid),
    ("proxy_add_x_forwarded_for", Var::ProxyAddXForwardedFor),
    ("proxy_host", Var::ProxyHost),
    ("query_string", Var::Args),
    ("realip_remote_addr", Var::RealipRemoteAddr),
    ("remote_addr", Var::RemoteAddr),
    ("remote_port", Var::RemotePort),
    ("remote_user", Var::RemoteUser),
    ("request", Var::Request),
    ("request_id", Var::RequestId),
    ("request_length", Var::RequestLength),
    ("request_method", Var::RequestMethod),
    ("request_time", Var::RequestTime),
    ("request_uri", Var::RequestUri),
    ("scheme", Var::Scheme),
    ("server_addr", Var::ServerAddr),
    ("server_name", Var::ServerName),
    ("server_port", Var::ServerPort),
    ("server_protocol", Var::ServerProtocol),
    ("status", Var::Status),
    ("time_iso8601", Var::TimeIso8601),
    ("time_local", Var::TimeLocal),
    ("traceparent", Var::Traceparent),
    ("upstream_addr", Var::UpstreamAddr),
    ("upstream_response_time", Var::UpstreamResponseTime),
    ("upstream_status", Var::UpstreamStatus),
    ("uri", Var::Uri),
];

/// Writes the value of a module's variable.
pub type Write = fn(&Exchange, Sent<'_>, &mut Vec<u8>);

/// Variables of single modules, which are written where the module's code is.
pub const MODULE_VARIABLES: &[(&str, Write)] = &[
    ("ancient_browser", browser::write_ancient),
    ("binary_remote_addr", core::binary_remote_addr),
    ("connection", core::connection),
    ("connection_time", core::connection_time),
    ("connections_active", stub_status::write_active),
    ("connections_reading", stub_status::write_reading),
    ("connections_waiting", stub_status::write_waiting),
    ("connections_writing", stub_status::write_writing),
    ("document_root", core::document_root),
    ("hostname", core::hostname),
    ("invalid_referer", referer::write),
    ("limit_rate", core::limit_rate),
    ("modern_browser", browser::write_modern),
    ("msie", browser::write_msie),
    ("nginx_version", core::version),
    ("pipe", core::pipe),
    ("proxy_port", proxy::port),
    ("proxy_protocol_addr", proxy_protocol::write_source),
    ("proxy_protocol_port", proxy_protocol::write_source_port),
    ("proxy_protocol_server_addr", proxy_protocol::write_destination),
    ("proxy_protocol_server_port", proxy_protocol::write_destination_port),
    ("realip_remote_port", core::realip_remote_port),
    ("realpath_root", core::realpath_root),
    ("request_body", core::request_body),
    ("request_body_file", core::request_body_file),
    ("request_completion", core::request_completion),
    ("request_filename", core::request_filename),
    ("secure_link", secure_link::write),
    ("secure_link_expires", secure_link::write_expires),
    ("ssl_alpn_protocol", core::nothing),
    ("ssl_cipher", core::nothing),
    ("ssl_ciphers", core::nothing),
    ("ssl_client_cert", core::nothing),
    ("ssl_client_escaped_cert", core::nothing),
    ("ssl_client_fingerprint", core::nothing),
    ("ssl_client_i_dn", core::nothing),
    ("ssl_client_i_dn_legacy", core::nothing),
    ("ssl_client_raw_cert", core::nothing),
    ("ssl_client_s_dn", core::nothing),
    ("ssl_client_s_dn_legacy", core::nothing),
    ("ssl_client_serial", core::nothing),
    ("ssl_client_v_end", core::nothing),
    ("ssl_client_v_remain", core::nothing),
    ("ssl_client_v_start", core::nothing),
    ("ssl_client_verify", core::nothing),
    ("ssl_curve", core::nothing),
    ("ssl_curves", core::nothing),
    ("ssl_early_data", core::nothing),
    ("ssl_protocol", core::nothing),
    ("ssl_server_name", core::nothing),
    ("ssl_session_id", core::nothing),
    ("ssl_session_reused", core::nothing),
    ("upstream_bytes_received", proxy::received),
    ("upstream_bytes_sent", proxy::sent),
    ("upstream_cache_status", proxy::cache_status),
    ("upstream_connect_time", proxy::connect_time),
    ("upstream_header_time", proxy::header_time),
    ("upstream_response_length", proxy::length),
    ("uid_got", userid::write_got),
    ("uid_set", userid::write_set),
    ("tcpinfo_rcv_space", core::tcp_rcv_space),
    ("tcpinfo_rtt", core::tcp_rtt),
    ("tcpinfo_rttvar", core::tcp_rttvar),
    ("tcpinfo_snd_cwnd", core::tcp_snd_cwnd),
];

/// What templates want to know that is not kept otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wants {
    /// The fields of upstreams' answers as they came.
    pub fields: bool,
    /// The end of upstreams' bodies.
    pub body: bool,
    /// The client's socket.
    pub socket: bool,
}

/// The variables there are while a configuration is compiled: the built-in ones and those it defines.
#[derive(Debug, Default)]
pub struct Names {
    defined: HashMap<Box<str>, u32>,
    wants: Cell<Wants>,
}

impl Names {
    /// Takes the variables a configuration defines. The error names one that cannot be.
    pub fn new(variables: &[config::Variable]) -> Result<Self, String> {
        let mut defined = HashMap::with_capacity(variables.len());
        for (i, variable) in variables.iter().enumerate() {
            let name = variable.name.as_str();
            let fixed = NAMES.iter().any(|(known, _)| *known == name);
            if fixed || MODULE_VARIABLES.iter().any(|(known, _)| *known == name) {
                return Err(format!("variable[{i}].name: ${name} is built in"));
            }
            if defined.insert(name.into(), i as u32).is_some() {
                return Err(format!("variable[{i}].name: ${name} is defined twice"));
            }
        }
        Ok(Self { defined, wants: Cell::default() })
    }

    /// What the templates compiled so far want to know.
    pub fn wants(&self) -> Wants {
        self.wants.get()
    }

    /// The variable of a name without `$`.
    pub fn find(&self, name: &str) -> Option<Var> {
        if let Some(index) = self.defined.get(name) {
            return Some(Var::User(*index));
        }
        let mut wants = self.wants.get();
        wants.fields |= name.starts_with("upstream_http_") || name.starts_with("upstream_cookie_");
        wants.body |= proxy::AT_THE_END.contains(&name) || name.starts_with("upstream_trailer_");
        wants.socket |= name.starts_with("tcpinfo_");
        self.wants.set(wants);
        match name.as_bytes() {
            [digit @ b'1'..=b'9'] => Some(Var::Capture(digit - b'0')),
            _ => Var::parse(name),
        }
    }
}

impl Var {
    /// The built-in variable of a name without `$`.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(at) = MODULE_VARIABLES.iter().position(|(known, _)| *known == name) {
            return Some(Self::Module(at as u16));
        }
        if let Some((_, var)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Some(var.clone());
        }
        let header = |rest: &str| rest.replace('_', "-");
        let prefixed = |prefix: &str| name.strip_prefix(prefix).filter(|rest| !rest.is_empty());
        if let Some(rest) = prefixed("http_") {
            let name = header(rest);
            return Some(match HeaderId::of(name.as_bytes()) {
                HeaderId::Other => Self::Http(name),
                id => Self::HttpId(id),
            });
        }
        if let Some(rest) = prefixed("upstream_http_") {
            return Some(Self::UpstreamHttp(header(rest)));
        }
        if let Some(rest) = prefixed("upstream_cookie_") {
            return Some(Self::UpstreamCookie(rest.into()));
        }
        if let Some(rest) = prefixed("sent_http_") {
            let name = header(rest);
            return Some(match HeaderId::of(name.as_bytes()) {
                HeaderId::Other => Self::SentHttp(name),
                id => Self::SentHttpId(id),
            });
        }
        if let Some(rest) = prefixed("sent_trailer_") {
            return Some(Self::SentTrailer(header(rest)));
        }
        if let Some(rest) = prefixed("upstream_trailer_") {
            return Some(Self::UpstreamTrailer(header(rest)));
        }
        if let Some(rest) = prefixed("proxy_protocol_tlv_") {
            return Tlv::named(rest).map(Self::ProxyProtocolTlv);
        }
        if let Some(rest) = prefixed("cookie_") {
            return Some(Self::Cookie(rest.into()));
        }
        prefixed("arg_").map(|rest| Self::Arg(rest.into()))
    }
}

impl Var {
    /// Its values never need escaping.
    fn is_plain(&self) -> bool {
        matches!(
            self,
            Self::RemoteAddr
                | Self::Status
                | Self::BodyBytesSent
                | Self::BytesSent
                | Self::TimeLocal
                | Self::TimeIso8601
                | Self::RequestTime
                | Self::RequestMethod
                | Self::Msec
                | Self::Pid
                | Self::Scheme
                | Self::ServerProtocol
        )
    }

    /// Its value is there although it is empty; only asked for an empty value.
    fn is_found(&self, ex: &Exchange) -> bool {
        let request = &ex.request;
        match self {
            Self::User(index) => ex.values.is_found(*index, ex),
            Self::Arg(name) => write::find_arg(request.query.as_deref().unwrap_or_default(), name).is_some(),
            Self::Cookie(name) => write::find_cookie(ex, name).is_some(),
            Self::Http(name) => request.headers.get_name(name.as_bytes()).is_some(),
            Self::HttpId(id) => request.headers.contains(*id),
            Self::HttpHost => request.headers.contains(HeaderId::Host),
            Self::ContentType => request.headers.contains(HeaderId::ContentType),
            Self::Capture(n) => ex.captures.borrow().has(*n),
            Self::Module(at) => matches!(
                MODULE_VARIABLES[usize::from(*at)].0,
                "invalid_referer" | "request_completion" | "ancient_browser" | "modern_browser" | "msie"
            ),
            Self::Host | Self::Https | Self::IsArgs | Self::ServerName | Self::Uri => true,
            _ => false,
        }
    }
}

/// What is known about the answer when a log line or a response header is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent<'a> {
    /// Status sent.
    pub status: u16,
    /// Bytes of the body sent.
    pub body_bytes: u64,
    /// Bytes sent in all.
    pub bytes: u64,
    /// All of the answer was sent.
    pub complete: bool,
    /// Fields of the response.
    pub headers: Option<&'a buchner_wire::headers::Headers>,
    /// Fields behind its body.
    pub trailers: Option<&'a buchner_wire::headers::Headers>,
}
