use crate::testing::{Site, TempDir};
use serde_json::{Value, json};

/// The lines of a request to a site with this access log.
fn lines(log: Value, request: &str) -> Vec<String> {
    let mut log = log;
    if log["path"].is_null() {
        log["path"] = json!("-");
    }
    let site = Site::new(json!({
        "settings": {"access_log": [0]},
        "access_log": [log],
        "route": [{"path": "/", "content": {"respond": {"status": 200, "body": "body"}}}],
    }));
    site.send(request);
    site.logged()
}

#[test]
fn the_combined_format_is_nginxs() {
    let found = lines(json!({}), "GET /a?b HTTP/1.0\nReferer: r\nUser-Agent: u \"q\"").concat();
    let (client, rest) = found.split_once(" [").unwrap();
    let (_, rest) = rest.split_once("] ").unwrap();
    assert_eq!(client, "192.0.2.1 - -");
    assert_eq!(rest, "\"GET /a?b HTTP/1.0\" 200 4 \"r\" \"u \\x22q\\x22\"");
}

#[test]
fn a_format_of_json_is_one_object_a_line() {
    let found = lines(json!({"format": "json"}), "GET /a\nUser-Agent: \"q\"").concat();
    let line: Value = serde_json::from_str(&found).unwrap();
    assert_eq!((&line["status"], &line["bytes"], &line["uri"]), (&json!(200), &json!(4), &json!("/a")));
    assert_eq!((&line["user_agent"], &line["upstream_time"]), (&json!("\"q\""), &Value::Null));
}

#[test]
fn values_are_escaped_as_the_log_says() {
    let request = "GET /%22%0a";
    for (escape, expected) in [("default", "\\x22\\x0A"), ("json", "\\\"\\n")] {
        assert_eq!(lines(json!({"format": "$uri", "escape": escape}), request), [format!("/{expected}")], "{escape}");
    }
    assert_eq!(lines(json!({"format": "$arg_none|$request_completion", "escape": "default"}), "GET /"), ["-|OK"]);
}

#[test]
fn a_condition_leaves_requests_out() {
    let log = json!({"format": "$uri", "if": "$arg_log"});
    for (query, logged) in [("", false), ("?log=0", false), ("?log=1", true)] {
        assert_eq!(!lines(log.clone(), &format!("GET /{query}")).is_empty(), logged, "{query}");
    }
}

#[test]
fn a_name_of_variables_does_not_lead_out_of_its_directory() {
    let log = json!({"path": "/logs/$arg_name/log", "format": "$uri"});
    assert_eq!(lines(log.clone(), "GET /a?name=x"), ["/logs/x/log: /a"]);
    assert!(lines(log, "GET /a?name=..").is_empty());
}

#[test]
fn what_a_log_cannot_be_is_refused() {
    let temp = TempDir::new();
    let path = temp.path().join("log");
    for (log, error) in [
        (json!({"path": path, "gzip": 10}), "access_log[0]: gzip: 10 is no level"),
        (json!({"path": "syslog:server=a", "gzip": 1}), "access_log[0]: path: lines for syslog"),
        (json!({"path": "/a/$uri", "buffer": 1}), "access_log[0]: path: lines for files"),
        (json!({"path": path, "format": "$none"}), "access_log[0]: format"),
        (json!({"path": path, "if": "$none"}), "access_log[0]: if"),
    ] {
        let found = Site::check(json!({"access_log": [log]})).err().unwrap();
        assert!(found.starts_with(error), "{found}");
    }
    let missing = Site::check(json!({"settings": {"access_log": [0]}})).err().unwrap();
    assert_eq!(missing, "settings[0]: access_log: no access_log[0]");
}
