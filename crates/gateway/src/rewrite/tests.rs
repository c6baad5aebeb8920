use crate::testing::{Answer, Site, TempDir};
use serde_json::{Value, json};

/// A site with these operations on `/`, whose content tells the path, the query and `$a`.
fn site(ops: &Value) -> Site {
    let content = json!({"respond": {"status": 200, "body": "$uri|$args|$a"}});
    Site::new(json!({
        "variable": [{"name": "a", "value": {"slot": true}}, {"name": "name", "value": {"slot": true}}],
        "route": [
            {"path": "/", "rewrite": ops, "content": content},
            {"path": "/other", "content": {"respond": {"status": 200, "body": "other $uri|$args"}}},
        ],
    }))
}

fn text(ops: &Value, request: &str) -> String {
    site(ops).send(request).text().to_owned()
}

fn rewrite(regex: &str, to: &str, flag: &str) -> Value {
    let flag = if flag.is_empty() { Value::Null } else { flag.into() };
    json!({"rewrite": {"regex": regex, "to": to, "flag": flag}})
}

fn set(value: &str) -> Value {
    json!({"set": {"name": "a", "value": value}})
}

fn redirect(answer: &Answer) -> (u16, String) {
    (answer.status, answer.header("Location"))
}

#[test]
fn set_gives_a_variable_the_value_of_its_moment() {
    assert_eq!(text(&json!([set("1"), set("$a$a"), set("${a}x")]), "GET /p"), "/p||11x");
}

#[test]
fn set_of_args_replaces_the_query() {
    let ops = json!([{"set": {"name": "args", "value": "b=$arg_a"}}]);
    assert_eq!(text(&ops, "GET /?a=1&c=2"), "/|b=1|");
}

#[test]
fn a_rewrite_with_last_looks_for_another_route_and_break_stays() {
    assert_eq!(text(&json!([rewrite("^/p", "/other", "last")]), "GET /p"), "other /other|");
    assert_eq!(text(&json!([rewrite("^/p", "/other", "break")]), "GET /p"), "/other||");
}

#[test]
fn a_rewrite_without_a_flag_goes_on_and_then_looks_for_another_route() {
    let ops = json!([rewrite("^/p(.*)", "/q$1", ""), rewrite("^/q(.*)", "/other$1", "")]);
    assert_eq!(text(&ops, "GET /p1"), "other /other1|");
}

#[test]
fn the_query_of_a_rewrite_goes_before_that_of_the_request() {
    for (to, args) in [("/other", "a=1"), ("/other?b=2", "b=2&a=1"), ("/other?b=2?", "b=2"), ("/other?", "")] {
        let ops = json!([rewrite("^/p", to, "last")]);
        assert_eq!(text(&ops, "GET /p?a=1"), format!("other /other|{args}"), "{to}");
    }
}

#[test]
fn groups_are_encoded_in_queries_if_the_client_encoded_its_path() {
    let ops = json!([rewrite("^/p/(.*)", "/other/$1?g=$1", "last")]);
    assert_eq!(text(&ops, "GET /p/a%20b"), "other /other/a b|g=a%20b");
}

#[test]
fn a_rewrite_that_does_not_match_changes_nothing() {
    assert_eq!(text(&json!([rewrite("^/q", "/other", "last"), set("on")]), "GET /p?x"), "/p|x|on");
}

#[test]
fn redirects_of_a_rewrite_have_their_status_and_the_query() {
    for (to, flag, expected) in [
        ("/b", "redirect", (302, "/b?x")),
        ("/b?c", "permanent", (301, "/b?c&x")),
        ("/b?", "permanent", (301, "/b")),
        ("http://b/$1", "", (302, "http://b/p?x")),
        ("$scheme://b/", "last", (302, "http://b/?x")),
    ] {
        let answer = site(&json!([rewrite("^/(.*)", to, flag)])).send("GET /p?x");
        assert_eq!(redirect(&answer), (expected.0, expected.1.to_owned()), "{to}");
    }
}

#[test]
fn a_rewrite_to_nothing_is_500() {
    assert_eq!(site(&json!([rewrite("^/p(.*)", "$1", "")])).send("GET /p").status, 500);
}

#[test]
fn return_responds_at_once() {
    let respond = |status: u16, text: Value| json!([{"return": {"status": status, "text": text}}, set("never")]);
    let answer = site(&respond(200, json!("$uri!"))).send("GET /p.html");
    assert_eq!(
        (answer.status, answer.text(), answer.header("Content-Type")),
        (200, "/p.html!", "text/html; charset=utf-8".into())
    );
    assert_eq!(redirect(&site(&respond(301, json!("/b"))).send("GET /")), (301, "/b".into()));
    assert_eq!(redirect(&site(&respond(302, Value::Null)).send("GET /")), (302, String::new()));
    let answer = site(&respond(410, Value::Null)).send("GET /");
    assert_eq!((answer.status, answer.text().contains("410")), (410, true));
    assert_eq!(site(&respond(204, Value::Null)).send("GET /").body, b"");
}

#[test]
fn a_redirect_that_would_split_the_response_is_400() {
    let ops = json!([{"return": {"status": 302, "text": "$uri"}}]);
    assert_eq!(site(&ops).send("GET /ab").status, 302);
    assert_eq!(site(&ops).send("GET /a%0ab").status, 400);
    let encoded = json!([rewrite("(?s)^/(.*)", "/$1", "redirect")]);
    assert_eq!(site(&encoded).send("GET /a%0d%0ab").header("Location"), "/a%0D%0Ab");
}

#[test]
fn break_ends_the_operations_of_all_levels() {
    let inner = json!({"if": {"when": {"true": "1"}, "then": [{"break": true}, set("never")]}});
    assert_eq!(text(&json!([set("before"), inner, set("after")]), "GET /p"), "/p||before");
}

#[test]
fn conditions_hold_as_they_say() {
    let temp = TempDir::new();
    temp.write("file", b"");
    let file = |path: &str, is: &str| json!({"file": {"path": temp.path().join(path), "is": is}});
    let matches = |regex: &str, case: bool| json!({"match": {"value": "$arg_x", "regex": regex, "ignore_case": case}});
    for (when, holds) in [
        (json!({"true": "$arg_x"}), true),
        (json!({"true": "$arg_none"}), false),
        (json!({"true": "0"}), false),
        (json!({"equal": ["$arg_x", "Value"]}), true),
        (json!({"equal": ["$arg_x", "$uri"]}), false),
        (matches("^V", false), true),
        (matches("^v", false), false),
        (matches("^v", true), true),
        (file("file", "file"), true),
        (file("file", "directory"), false),
        (file("file", "executable"), false),
        (file("", "directory"), true),
        (file("none", "exists"), false),
        (json!({"client": ["192.0.2.0/24"]}), true),
        (json!({"client": ["198.51.100.0/24"]}), false),
        (json!({"not": {"true": "0"}}), true),
        (json!({"all": [{"true": "1"}, {"true": "0"}]}), false),
        (json!({"any": [{"true": "0"}, {"true": "1"}]}), true),
    ] {
        let ops = json!([set("no"), {"if": {"when": when, "then": [set("yes")]}}]);
        let expected = if holds { "/||yes" } else { "/||no" };
        assert_eq!(text(&ops, "GET /?x=Value").replace("x=Value", ""), expected, "{when}");
    }
}

#[test]
fn groups_of_a_condition_are_variables_by_number_and_by_name() {
    let when = json!({"match": {"value": "$uri", "regex": "^/(.)(?<name>.)"}});
    assert_eq!(text(&json!([{"if": {"when": when, "then": [set("$1-$name")]}}]), "GET /xyz"), "/xyz||x-y");
}

#[test]
fn the_block_of_the_last_condition_that_held_is_the_route() {
    let block = |text: &str| json!({"settings": 1, "content": {"respond": {"status": 200, "body": text}}});
    let when = |name: &str, text: &str| json!({"if": {"when": {"true": name}, "location": block(text)}});
    let ops = json!([when("$arg_a", "first"), when("$arg_b", "second"), when("$arg_c", "third")]);
    let site = Site::new(json!({
        "settings": [{}, {"add_headers": [{"name": "X-Block", "value": "yes"}]}],
        "route": [{"path": "/", "rewrite": ops, "content": {"respond": {"status": 200, "body": "route"}}}],
    }));
    for (request, text, header) in [
        ("GET /", "route", ""),
        ("GET /?a=1", "first", "yes"),
        ("GET /?a=1&b=1", "second", "yes"),
        ("GET /?b=1&c=1&a=1", "third", "yes"),
    ] {
        let answer = site.send(request);
        assert_eq!((answer.text(), answer.header("X-Block")), (text, header.into()), "{request}");
    }
}

#[test]
fn set_of_limit_rate_is_the_requests_own() {
    let site = site(&json!([{"set": {"name": "limit_rate", "value": "$arg_rate"}}]));
    let mut ex = site.exchange("GET /?rate=4k");
    site.run(&mut ex);
    assert_eq!(ex.limit_rate.get(), Some(4096));
    site.send("GET /?rate=soon");
    let errors = site.log.errors().concat();
    assert!(errors.starts_with("[error] invalid $limit_rate \"soon\", client: 192.0.2.1"), "{errors}");
}

#[test]
fn what_cannot_be_compiled_says_where() {
    for (ops, place) in [
        (json!([{"set": {"name": "host", "value": ""}}]), "rewrite[0].set.name: the variable $host cannot be set"),
        (json!([{"break": true}, {"return": {"status": 1000}}]), "rewrite[1].return.status: 1000 is not a status"),
        (json!([{"set": {"name": "a", "value": "$none"}}]), "rewrite[0].set.value"),
        (json!([rewrite("(", "/", "")]), "rewrite[0].rewrite.regex"),
        (json!([{"if": {"when": {"true": "$none"}}}]), "rewrite[0].if.when"),
        (
            json!([{"if": {"when": {"true": "1"}, "then": [{"return": {"status": 1000}}]}}]),
            "rewrite[0].if.then.rewrite[0]",
        ),
    ] {
        let variable = json!([{"name": "a", "value": {"slot": true}}]);
        let error = Site::check(json!({"variable": variable, "route": [{"path": "/", "rewrite": ops}]})).err().unwrap();
        assert!(error.starts_with("server[0].route[0].") && error.contains(place), "{error}");
    }
}
