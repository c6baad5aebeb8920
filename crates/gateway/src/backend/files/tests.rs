use super::cache::{Cache, FRESH_MS};
use super::testing::TempDir;
use super::*;
use std::os::unix::fs::symlink;
use std::rc::Rc;

const FRESH: u64 = FRESH_MS;

fn files(temp: &TempDir, change: impl FnOnce(&mut config::Files)) -> Files {
    let root = temp.path().join("root");
    std::fs::create_dir_all(&root).unwrap();
    let mut config = config::Files { root: root.to_str().unwrap().into(), ..config::Files::default() };
    change(&mut config);
    Files::compile(&config, "/static/", &Arc::default(), &Names::default()).unwrap()
}

fn bytes(representation: &Representation) -> Vec<u8> {
    match representation.body() {
        Body::Full(bytes) => bytes.to_vec(),
        _ => b"large".to_vec(),
    }
}

fn plain(files: &Files, cache: &mut Cache, path: &str, now: u64) -> String {
    match files.find_in(cache, path.as_bytes(), now, FRESH) {
        Ok(entry) => String::from_utf8(bytes(entry.plain.as_ref().unwrap())).unwrap(),
        Err(Miss::Absent) => "absent".into(),
        Err(Miss::Directory) => "directory".into(),
        Err(Miss::Failed(error)) => format!("{:?}", error.kind),
    }
}

#[test]
fn alias_replaces_the_prefix_and_root_does_not() {
    let temp = TempDir::new();
    let compile = |alias: bool, route: &str| {
        let config = config::Files { root: temp.path().to_str().unwrap().into(), alias, ..config::Files::default() };
        Files::compile(&config, route, &Arc::default(), &Names::default()).unwrap()
    };
    let cases = [
        (true, "/static/", "/static/a/b", Some("a/b")),
        (true, "/static/", "/static/", Some("")),
        (true, "/static", "/static/a", Some("a")),
        (true, "/static", "/static", Some("")),
        (true, "/static", "/staticfoo", None),
        (true, "/static", "/static../x", None),
        (true, "/static/", "/static//etc/passwd", Some("etc/passwd")),
        (true, "/", "/a", Some("a")),
        (true, "", "/a/b", Some("a/b")),
        (false, "/static/", "/static/a", Some("static/a")),
        (false, "/", "/", Some("")),
    ];
    for (alias, route, path, expected) in cases {
        let files = compile(alias, route);
        assert_eq!(files.relative(path.as_bytes(), false), expected.map(str::as_bytes), "{alias} {route} {path}");
    }
}

#[test]
fn nothing_outside_the_root_is_found() {
    let temp = TempDir::new();
    let files = files(&temp, |_| {});
    temp.write("secret", b"secret");
    temp.write("root/a\\b", b"backslash");
    temp.write("root/ok", b"ok");
    symlink("../secret", temp.path().join("root/link")).unwrap();
    symlink("..", temp.path().join("root/up")).unwrap();
    symlink("ok", temp.path().join("root/near")).unwrap();
    let mut cache = Cache::default();
    let cases = [
        ("ok", "ok"),
        ("near", "ok"),
        ("../secret", "absent"),
        ("a/../../secret", "absent"),
        ("./ok", "absent"),
        ("..\\secret", "absent"),
        ("a\\b", "absent"),
        ("ok\0", "absent"),
        ("link", "Forbidden"),
        ("up/secret", "Forbidden"),
        ("ok/", "absent"),
        ("ok/more", "absent"),
        ("", "directory"),
    ];
    for (path, expected) in cases {
        assert_eq!(plain(&files, &mut cache, path, 1), expected, "{path:?}");
    }
    let long = "x".repeat(5000);
    assert_eq!(plain(&files, &mut cache, &long, 1), "absent");
    assert_eq!(plain(&files, &mut cache, &"x".repeat(300), 1), "absent");
}

#[test]
fn links_may_lead_out_when_configured() {
    let temp = TempDir::new();
    temp.write("secret", b"shared");
    let files = files(&temp, |config| config.follow_symlinks = true);
    symlink("../secret", temp.path().join("root/link")).unwrap();
    let mut cache = Cache::default();
    assert_eq!(plain(&files, &mut cache, "link", 1), "shared");
    assert_eq!(plain(&files, &mut cache, "../secret", 1), "absent");
}

#[test]
fn a_fifo_is_refused_at_once() {
    let temp = TempDir::new();
    let files = files(&temp, |_| {});
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let fifo = temp.path().join("root/fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(temp.path().join("root/socket")).unwrap();
    let mut cache = Cache::default();
    assert_eq!(plain(&files, &mut cache, "fifo", 1), "Forbidden");
    assert_eq!(plain(&files, &mut cache, "socket", 1), "Forbidden");
}

#[test]
fn a_change_shows_within_a_second_and_an_unchanged_file_is_kept() {
    let temp = TempDir::new();
    let files = files(&temp, |_| {});
    let mut cache = Cache::default();
    assert_eq!(plain(&files, &mut cache, "a", 1), "absent");
    temp.write("root/a", b"one");
    assert_eq!(plain(&files, &mut cache, "a", 1), "one");
    let first = files.find_in(&mut cache, b"a", 1, FRESH).unwrap();
    temp.write("root/a", b"other");
    assert_eq!(plain(&files, &mut cache, "a", FRESH), "one");
    assert_eq!(plain(&files, &mut cache, "a", FRESH + 1), "other");
    let second = files.find_in(&mut cache, b"a", FRESH + 1, FRESH).unwrap();
    let third = files.find_in(&mut cache, b"a", 3 * FRESH, FRESH).unwrap();
    let plains = [&first, &second, &third].map(|entry| entry.plain.as_ref().unwrap());
    assert!(!Rc::ptr_eq(plains[0], plains[1]) && Rc::ptr_eq(plains[1], plains[2]));
    assert!(!Rc::ptr_eq(&second, &third));
    std::fs::remove_file(temp.path().join("root/a")).unwrap();
    assert_eq!(plain(&files, &mut cache, "a", 5 * FRESH), "absent");
    assert_eq!(plain(&files, &mut cache, "a", 5 * FRESH), "absent");
}

#[test]
fn a_replaced_root_is_seen() {
    let temp = TempDir::new();
    temp.write("v1/a", b"1");
    temp.write("v2/a", b"2");
    symlink("v1", temp.path().join("current")).unwrap();
    let root = temp.path().join("current").to_str().unwrap().to_owned();
    let files = files(&temp, |config| config.root = root);
    let mut cache = Cache::default();
    assert_eq!(plain(&files, &mut cache, "a", 1), "1");
    std::fs::remove_file(temp.path().join("current")).unwrap();
    symlink("v2", temp.path().join("current")).unwrap();
    assert_eq!(plain(&files, &mut cache, "a", FRESH + 1), "2");
}

#[test]
fn siblings_are_chosen_by_accept_encoding() {
    let temp = TempDir::new();
    let files = files(&temp, |_| {});
    temp.write("root/a.js", b"plain");
    temp.write("root/a.js.br", b"brotli");
    temp.write("root/a.js.gz", b"gzip");
    temp.write("root/b.js", b"alone");
    let mut cache = Cache::default();
    let mut ask = |path: &str, accept: Option<&str>| {
        let entry = files.find_in(&mut cache, path.as_bytes(), 1, FRESH).unwrap();
        let mut request = buchner_wire::headers::Headers::default();
        if let Some(accept) = accept {
            request.push(HeaderId::AcceptEncoding, accept.as_bytes());
        }
        let chosen = choose(&entry, &request).unwrap();
        let headers = chosen.headers(u64::MAX);
        let get = |id| String::from_utf8_lossy(headers.get(id).unwrap_or(b"-")).into_owned();
        let etag = get(HeaderId::Etag);
        (bytes(chosen), get(HeaderId::ContentEncoding), get(HeaderId::Vary), get(HeaderId::ContentType), etag)
    };
    let js = "text/javascript; charset=utf-8";
    let (content, coding, vary, kind, plain_tag) = ask("a.js", None);
    assert_eq!((&content[..], &*coding, &*vary, &*kind), (&b"plain"[..], "-", "Accept-Encoding", js));
    let (content, coding, vary, kind, br_tag) = ask("a.js", Some("gzip, br"));
    assert_eq!((&content[..], &*coding, &*vary, &*kind), (&b"brotli"[..], "br", "Accept-Encoding", js));
    let (content, coding, _, _, gz_tag) = ask("a.js", Some("gzip"));
    assert_eq!((&content[..], &*coding), (&b"gzip"[..], "gzip"));
    assert!(br_tag.ends_with("-br\"") && gz_tag.ends_with("-gz\"") && plain_tag != br_tag && br_tag != gz_tag);
    assert_eq!(ask("a.js", Some("zstd")).1, "-");
    assert_eq!(ask("b.js", Some("gzip, br")).2, "-");
}

#[test]
fn siblings_alone_are_found() {
    let temp = TempDir::new();
    let files = files(&temp, |_| {});
    temp.write("root/a.js.gz", b"gzip");
    let mut cache = Cache::default();
    let entry = files.find_in(&mut cache, b"a.js", 1, FRESH).unwrap();
    assert!(entry.plain.is_none() && entry.variants.len() == 1);
    assert!(choose(&entry, &buchner_wire::headers::Headers::default()).is_none());
    assert!(matches!(files.find_in(&mut cache, b"b.js", 1, FRESH), Err(Miss::Absent)));
}

#[test]
fn a_route_may_stand_for_one_file() {
    let temp = TempDir::new();
    temp.write("icon.ico", b"icon");
    temp.write("icon.ico.gz", b"zipped");
    let root = temp.path().join("icon.ico").to_str().unwrap().to_owned();
    let config = config::Files { root, ..config::Files::default() };
    let files = Files::compile(&config, "/favicon.ico", &Arc::default(), &Names::default()).unwrap();
    let entry =
        files.find_in(&mut Cache::default(), files.relative(b"/favicon.ico", false).unwrap(), 1, FRESH).unwrap();
    let plain = entry.plain.as_ref().unwrap();
    assert_eq!(bytes(plain), b"icon");
    assert_eq!(plain.headers(u64::MAX).get(HeaderId::ContentType), Some(&b"image/vnd.microsoft.icon"[..]));
    assert_eq!(entry.variants.len(), 1);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    type Change = fn(&mut config::Files);
    let cases: [(Change, &str); 6] = [
        (|files| files.root = "static".into(), "absolute"),
        (|files| files.precompressed = vec!["deflate".into()], "unknown coding"),
        (|files| files.cache_control = Some("a\r\nb".into()), "characters"),
        (|files| files.cache_control = Some("a\nb".into()), "characters"),
        (|files| files.index = vec![String::new()], "empty"),
        (|files| files.fallback = Some("app".into()), "must start with"),
    ];
    for (change, expected) in cases {
        let mut config = config::Files { root: "/".into(), ..config::Files::default() };
        change(&mut config);
        let error = Files::compile(&config, "/", &Arc::default(), &Names::default()).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
}
