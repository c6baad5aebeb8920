use super::{Except, as_target, below, follow, is_unsafe, merge, restore};
use crate::backend::outcome::Outcome;
use crate::error::{Error, Kind};
use crate::exchange::Exchange;
use crate::testing::{Answer, Site, TempDir, response};
use buchner_wire::headers::{HeaderId, Headers};
use bytes::Bytes;
use serde_json::{Value, json};

/// Follows a response of an app with these headers.
fn followed(ex: &mut Exchange, headers: &[(&str, &str)]) -> Result<Outcome, Error> {
    let mut own = response(200, "text/html", "own");
    for (name, value) in headers {
        own.headers.push_name(name.as_bytes(), value.as_bytes());
    }
    follow(ex, true, own)
}

/// The file that a response with X-Sendfile becomes, filters and all.
fn sent(site: &Site, request: &str, path: &str) -> Result<Answer, Kind> {
    let mut ex = site.exchange(request);
    match followed(&mut ex, &[("X-Sendfile", path), ("X-App", "yes"), ("Set-Cookie", "a=1")]) {
        Ok(Outcome::Respond(mut response)) => {
            restore(&ex, &mut response);
            Ok(site.filter(&ex, response))
        }
        Ok(_) => panic!("no response"),
        Err(error) => Err(error.kind),
    }
}

fn roots(temp: &TempDir) -> Value {
    json!({"sendfile_roots": [temp.path()], "sendfile_except": ["*.py"]})
}

#[test]
fn a_redirect_goes_back_to_the_location_phase_with_get_and_without_a_body() {
    let site = Site::with(json!({}));
    let mut ex = site.exchange("POST /app?a\n\nbody");
    let outcome = followed(&mut ex, &[("X-Accel-Redirect", "/files//b%20c?d=e"), ("Cache-Control", "no-store")]);
    assert!(matches!(outcome, Ok(Outcome::Locate)));
    assert_eq!((&ex.request.path[..], ex.request.query.as_deref()), (&b"/files/b c"[..], Some(&b"d=e"[..])));
    assert_eq!((ex.request.method.as_str(), ex.request.body.is_empty()), ("GET", true));
}

#[test]
fn a_redirect_to_a_named_route_keeps_the_request() {
    let site = Site::with(json!({}));
    let mut ex = site.exchange("POST /app\n\nbody");
    let outcome = followed(&mut ex, &[("X-Accel-Redirect", "@named")]);
    assert!(matches!(outcome, Ok(Outcome::Redirect(uri)) if uri == b"@named"));
    assert_eq!((ex.request.method.as_str(), &ex.request.path[..]), ("POST", &b"/app"[..]));
}

#[test]
fn headers_that_are_kept_go_over_those_of_the_final_response() {
    let site = Site::with(json!({}));
    let mut ex = site.exchange("GET /app");
    let headers = [("X-Accel-Redirect", "/b"), ("Set-Cookie", "a=1"), ("Cache-Control", "no-store"), ("X-Other", "x")];
    followed(&mut ex, &headers).ok().unwrap();
    for (status, control) in [(200, "no-store"), (304, "no-store"), (404, "max-age=1")] {
        let mut last = response(status, "text/plain", "file");
        last.headers.push_name(b"Cache-Control", b"max-age=1");
        restore(&ex, &mut last);
        let answer = site.filter(&ex, last);
        assert_eq!(answer.header("Cache-Control"), control, "{status}");
        assert_eq!((answer.header("Set-Cookie"), answer.header("X-Other")), ("a=1".into(), String::new()), "{status}");
    }
}

#[test]
fn redirects_that_lead_elsewhere_than_meant_are_refused() {
    let site = Site::with(json!({}));
    for (uri, kind) in [("/a/../b", Kind::NotFound), ("/a%00", Kind::NotFound), ("http://b/", Kind::UpstreamInvalid)] {
        let error = followed(&mut site.exchange("GET /"), &[("X-Accel-Redirect", uri)]).err().unwrap();
        assert_eq!(error.kind, kind, "{uri}");
    }
}

#[test]
fn the_headers_are_like_any_other_where_they_are_not_obeyed() {
    let temp = TempDir::new();
    let mut off = roots(&temp);
    off["sendfile_headers"] = json!(false);
    for (settings, header) in [(off.clone(), "X-Accel-Redirect"), (off, "X-Sendfile"), (json!({}), "X-Sendfile")] {
        let site = Site::with(settings);
        let Ok(Outcome::Respond(response)) = followed(&mut site.exchange("GET /"), &[(header, "/a")]) else { panic!() };
        assert_eq!(response.headers.get_name(header.as_bytes()), Some(&b"/a"[..]));
    }
}

#[test]
fn sendfile_sends_a_file_below_a_root_with_the_apps_own_headers() {
    let temp = TempDir::new();
    temp.write("a.txt", b"0123456789");
    let site = Site::with(roots(&temp));
    let path = temp.path().join("a.txt");
    let answer = sent(&site, "GET /\nRange: bytes=2-3", path.to_str().unwrap()).unwrap();
    assert_eq!((answer.status, answer.text()), (206, "23"));
    assert_eq!((answer.header("X-App"), answer.header("Set-Cookie")), ("yes".into(), "a=1".into()));
    assert_eq!((answer.header("Content-Type"), answer.header("X-Sendfile")), ("text/html".into(), String::new()));
    assert_ne!(answer.header("Last-Modified"), "");
}

#[test]
fn sendfile_names_only_what_it_may() {
    let temp = TempDir::new();
    temp.write("a.py", b"code");
    temp.write("dir/a.txt", b"");
    let site = Site::with(roots(&temp));
    let below = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
    for (path, kind) in [
        (below("none"), Kind::NotFound),
        (below("dir"), Kind::Internal),
        (below("a.py"), Kind::Internal),
        ("/etc/passwd".to_owned(), Kind::Internal),
        (below("../../etc/passwd"), Kind::NotFound),
    ] {
        assert_eq!(sent(&site, "GET /", &path).err(), Some(kind), "{path}");
    }
}

#[test]
fn a_path_is_below_a_root_by_whole_names() {
    let cases: [(&str, &str, Option<&str>); 7] = [
        ("/srv/app", "/srv/app/a/b", Some("a/b")),
        ("/srv/app", "/srv/apple/a", None),
        ("/srv/app", "/srv/app", None),
        ("/srv/app", "/srv/app/", None),
        ("/srv/app", "srv/app/a", None),
        ("/", "/etc/passwd", Some("etc/passwd")),
        ("/srv/app", "/srv/app/../x", Some("../x")),
    ];
    for (root, path, expected) in cases {
        assert_eq!(below(root.as_bytes(), path.as_bytes()), expected.map(str::as_bytes), "{root} {path}");
    }
}

#[test]
fn exceptions_are_paths_and_names() {
    let covers = |text: &str, path: &str| Except::parse(text).covers(path.as_bytes());
    for (text, path) in [
        ("/srv/instance", "/srv/instance/app.db"),
        ("/srv/instance/", "/srv/instance"),
        (".*", "/srv/app/.git/config"),
        (".*", "/srv/app/.env"),
        ("*.py", "/srv/app/wsgi.py"),
        ("*.py", "/srv/app/odd.py/x"),
        ("__pycache__", "/srv/app/__pycache__/a.pyc"),
    ] {
        assert!(covers(text, path), "{text} {path}");
    }
    for (text, path) in [
        ("/srv/instance", "/srv/instances/a"),
        (".*", "/srv/app/a.txt"),
        ("*.py", "/srv/app/a.pyx"),
        ("a", "/srv/app/ab"),
    ] {
        assert!(!covers(text, path), "{text} {path}");
    }
}

#[test]
fn a_uri_that_leads_upwards_is_unsafe() {
    for uri in
        ["", "?x", "/..", "/a/..", "/a/../b", "/a/..?x", "/a/%2e%2E/b", "/a/.%2e", "/a%2f..%2fb", "../a", "/a%00"]
    {
        assert!(is_unsafe(uri.as_bytes()), "{uri}");
    }
    for uri in ["/", "/a/...", "/a/..b", "/a..", "/a/%252e%252e/b", "/a?/../b", "/a/./b", "/a/%2", "/a/%zz"] {
        assert!(!is_unsafe(uri.as_bytes()), "{uri}");
    }
}

#[test]
fn what_is_not_encoded_in_a_uri_stands_for_itself() {
    for (uri, target) in [
        ("/a/Song #1.mp3", "/a/Song %231.mp3"),
        ("/a/100%.pdf?x=100%#y", "/a/100%25.pdf?x=100%%23y"),
        ("/a/%", "/a/%25"),
        ("/a/%4", "/a/%254"),
        ("/a/%41%zz%%20", "/a/%41%25zz%25%20"),
    ] {
        assert_eq!(as_target(&Bytes::from_static(uri.as_bytes())), target);
    }
}

#[test]
fn the_apps_fields_go_first_and_those_of_its_body_go() {
    let fields = |list: &[(HeaderId, &str)]| {
        let mut headers = Headers::default();
        for (id, value) in list {
            headers.push(*id, value.as_bytes());
        }
        headers
    };
    let app = fields(&[
        (HeaderId::ContentType, "application/pdf"),
        (HeaderId::ContentLength, "7"),
        (HeaderId::ContentRange, "bytes 0-1/7"),
        (HeaderId::XSendfile, "/x"),
        (HeaderId::SetCookie, "a=1"),
    ]);
    let file = fields(&[(HeaderId::ContentType, "text/plain"), (HeaderId::Etag, "\"1\"")]);
    let expected =
        fields(&[(HeaderId::ContentType, "application/pdf"), (HeaderId::SetCookie, "a=1"), (HeaderId::Etag, "\"1\"")]);
    assert_eq!(merge(app, &file), expected);
}
