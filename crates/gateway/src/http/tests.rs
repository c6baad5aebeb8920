//! A version in memory shows that serving needs nothing of HTTP/1: heads are built, responses are lists of what was sent.
use crate::body::RequestBody;
use crate::error::{Error, Result};
use crate::exchange::{Exchange, Interim};
use crate::http::connection::Connection;
use crate::http::head::Head;
use crate::http::send::{ResponseHead, Sink, Size, Written};
use crate::http::serve::serve_request;
use crate::http::transaction::Transaction;
use crate::http::tunnel::Duplex;
use crate::io::sock::Sock;
use crate::testing::Site;
use buchner_wire::Version;
use buchner_wire::headers::{HeaderId, Headers};
use buchner_wire::method::Method;
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

/// A stream of the version in memory.
struct Stream {
    connection: Connection,
    /// The client leaves while it waits.
    leaves: bool,
    sent: Vec<String>,
    bytes: u64,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Ended,
    Reset,
    Refused,
    Unsent,
}

impl Stream {
    fn new(site: &Site) -> Self {
        Self { connection: site.connection(), leaves: false, sent: Vec::new(), bytes: 0 }
    }

    /// Serves a request; `:authority` is example.com.
    fn serve(&mut self, site: &Site, version: Version, method: Method, path: &'static str) -> Next {
        self.request(site, head(version, method, path))
    }

    fn request(&mut self, site: &Site, head: Head) -> Next {
        site.wait(serve_request(self, head))
    }

    /// The first thing sent that begins so.
    fn find(&self, start: &str) -> &str {
        self.sent.iter().find(|sent| sent.starts_with(start)).map_or("", String::as_str)
    }
}

fn head(version: Version, method: Method, path: &'static str) -> Head {
    let authority = Some(Bytes::from_static(b"example.com"));
    let target = Bytes::from_static(path.as_bytes());
    let headers = Headers::default();
    Head { method, target, authority, version, headers, upgrade: None, expect_continue: false, bytes: 17 }
}

/// Nothing.
struct Silent(RefCell<Vec<u8>>);

impl Duplex for Silent {
    fn poll_read(&self, _: &mut Context<'_>, _: &mut BytesMut) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(0))
    }

    fn poll_send(&self, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn end(&self) {}

    fn allow(&self, _: u64) {}
}

impl Sink for Stream {
    type Duplex = Silent;

    fn head(&mut self, ex: &Exchange, head: &ResponseHead<'_>) {
        self.sent.push(format!(":status {}", head.status));
        head.each(ex, |name, value| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            self.sent.push(format!("{}: {}", text(name).to_lowercase(), text(value)));
        });
        if let Some(length) = head.content_length() {
            self.sent.push(format!("content-length: {length}"));
        }
        if let Size::None(_) = head.size {
            self.sent.push("bodiless".to_owned());
        }
    }

    async fn data(&mut self, bytes: &Bytes, _: bool) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.sent.push(format!("DATA {}", String::from_utf8_lossy(bytes)));
        Ok(())
    }

    async fn file(&mut self, file: &File, offset: u64, length: u64) -> Result<()> {
        let mut piece = vec![0; length as usize];
        file.read_exact_at(&mut piece, offset).map_err(|_| Error::client_gone())?;
        self.data(&piece.into(), false).await
    }

    fn takes_trailers(&self) -> bool {
        true
    }

    async fn end(&mut self, trailers: &Headers) -> Result<()> {
        let names = trailers.iter().map(|header| String::from_utf8_lossy(header.name).into_owned());
        self.sent.push(format!("END {}", names.collect::<Vec<_>>().join(" ")).trim_end().to_owned());
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn pause(&self) {}

    async fn left_midway(&self) {
        std::future::pending::<()>().await;
    }

    fn duplex(&self) -> (&Silent, BytesMut) {
        unreachable!("no response of these tests leaves HTTP")
    }

    fn sent(&self) -> (u64, u64) {
        (self.bytes + 9, self.bytes)
    }
}

impl Transaction for Stream {
    type Next = Next;

    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn body(&self, _: u64) -> RequestBody {
        RequestBody::Empty
    }

    fn begun(&self) {}

    fn sock(&self) -> Weak<Sock> {
        Weak::new()
    }

    fn interim(&self) -> Option<Rc<dyn Interim>> {
        None
    }

    async fn left(&self, _: Version) {
        if !self.leaves {
            std::future::pending::<()>().await;
        }
    }

    fn expired(&self) -> bool {
        false
    }

    fn drop_unsent(&self, _: bool) -> Next {
        Next::Unsent
    }

    fn refused(&self) -> Next {
        Next::Refused
    }

    async fn done(&mut self, _: &Exchange, _: &Written, sent: Result<()>) -> Next {
        if sent.is_ok() { Next::Ended } else { Next::Reset }
    }
}

fn responding(text: &str) -> Value {
    json!({"route": [{"path": "/", "content": {"respond": {"status": 200, "body": text}}}]})
}

#[test]
fn a_request_of_another_version_is_served_from_head_to_log_without_http_1() {
    let mut config = responding("$server_protocol $host $uri");
    config["access_log"] =
        json!([{"path": "-", "format": "$status $body_bytes_sent $bytes_sent $request_length $server_protocol"}]);
    config["settings"] = json!({"access_log": [0]});
    let site = Site::new(config);
    for (version, name) in [(Version::H2, "HTTP/2.0"), (Version::H3, "HTTP/3.0")] {
        let mut stream = Stream::new(&site);
        assert_eq!(stream.serve(&site, version, Method::Get, "/a?b"), Next::Ended);
        let body = format!("{name} example.com /a");
        assert_eq!(stream.sent[0], ":status 200");
        assert_eq!(stream.find("server: "), "server: Buchner");
        assert!(stream.find("date: ").ends_with(" GMT"));
        assert_eq!(stream.find("content-length: "), format!("content-length: {}", body.len()));
        assert_eq!((stream.find("connection"), stream.find("transfer-encoding")), ("", ""));
        assert_eq!(stream.sent[stream.sent.len() - 2..], [format!("DATA {body}"), "END".to_owned()]);
        let (body, all) = (body.len(), body.len() + 9);
        assert_eq!(site.logged(), [format!("200 {body} {all} 17 {name}")]);
    }
}

#[test]
fn a_response_to_head_has_a_length_and_no_body_in_any_version() {
    let site = Site::new(responding("four"));
    let mut stream = Stream::new(&site);
    assert_eq!(stream.serve(&site, Version::H2, Method::Head, "/"), Next::Ended);
    assert_eq!((stream.find("content-length"), stream.find("bodiless")), ("content-length: 4", "bodiless"));
    assert_eq!((stream.find("DATA"), stream.find("END")), ("", "END"));
}

#[test]
fn a_head_that_asks_for_what_is_not_done_is_refused_in_its_own_version() {
    let site = Site::new(responding("four"));
    for (method, target) in [(Method::Trace, "/"), (Method::Connect, "example.com:443")] {
        let mut stream = Stream::new(&site);
        assert_eq!(stream.serve(&site, Version::H2, method, target), Next::Refused);
        assert_eq!(stream.sent[0], ":status 405");
        assert!(stream.find("DATA").contains("405") && stream.find("END") == "END");
    }
    let logged = site.log.errors();
    assert!(logged.len() == 2 && logged.iter().all(|line| line.starts_with("[notice] 405: ")), "{logged:?}");
}

#[test]
fn headers_after_a_body_come_at_its_end_and_it_has_no_length() {
    let mut config = responding("four");
    config["settings"] = json!({"add_trailers": [{"name": "X-After", "value": "$status"}]});
    let site = Site::new(config);
    let mut stream = Stream::new(&site);
    assert_eq!(stream.serve(&site, Version::H2, Method::Get, "/"), Next::Ended);
    assert_eq!(
        (stream.find("content-length"), stream.find("DATA"), stream.find("END")),
        ("", "DATA four", "END X-After")
    );
}

#[test]
fn connect_with_a_protocol_asks_for_what_get_and_upgrade_ask_for() {
    let site = Site::new(responding("$request_method $host $uri"));
    let mut stream = Stream::new(&site);
    let mut asks = head(Version::H2, Method::Connect, "/chat");
    asks.upgrade = Some(Bytes::from_static(b"websocket"));
    assert_eq!(stream.request(&site, asks), Next::Ended);
    assert_eq!(stream.find("DATA"), "DATA GET example.com /chat");
}

#[test]
fn the_authority_replaces_host_and_a_head_without_one_keeps_it() {
    let site = Site::new(responding("$http_host"));
    let mut one = head(Version::H2, Method::Get, "/");
    one.headers.set(HeaderId::Host, b"other.example");
    let mut stream = Stream::new(&site);
    stream.request(&site, one);
    assert_eq!(stream.find("DATA"), "DATA example.com");
    let mut one = head(Version::H2, Method::Get, "/");
    one.authority = None;
    one.headers.set(HeaderId::Host, b"other.example");
    let mut stream = Stream::new(&site);
    stream.request(&site, one);
    assert_eq!(stream.find("DATA"), "DATA other.example");
}

#[test]
fn a_response_that_is_not_sent_and_one_whose_client_has_left_are_logged() {
    let mut config = json!({"route": [{"path": "/", "content": {"respond": {"status": 444}}}]});
    config["access_log"] = json!([{"path": "-", "format": "$status $bytes_sent"}]);
    config["settings"] = json!({"access_log": [0]});
    let site = Site::new(config.clone());
    let mut stream = Stream::new(&site);
    assert_eq!(stream.serve(&site, Version::H2, Method::Get, "/"), Next::Unsent);
    assert_eq!((stream.sent.len(), site.logged()), (0, vec!["444 0".to_owned()]));
    // A refusal that is delayed for longer than the client waits.
    config["settings"] =
        json!({"access_log": [0], "auth_basic": "staff", "auth_basic_user_file": "/none", "auth_delay": 60_000});
    let site = Site::new(config);
    let mut stream = Stream::new(&site);
    stream.leaves = true;
    assert_eq!(stream.serve(&site, Version::H2, Method::Get, "/"), Next::Unsent);
    assert_eq!((stream.sent.len(), site.logged()), (0, vec!["499 0".to_owned()]));
}
