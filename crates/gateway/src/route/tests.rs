use crate::testing::Site;
use serde_json::{Value, json};

/// A route whose content is its own name.
fn route(path: &str, matches: &str, within: &Value) -> Value {
    let name = if matches == "prefix" { path.to_owned() } else { format!("{matches} {path}") };
    let content = json!({"respond": {"status": 200, "body": name.replace('$', "\\")}});
    json!({"path": path, "match": matches, "content": content, "route": within})
}

fn found(routes: &Value, cases: &[(&str, &str)]) {
    let site = Site::new(json!({"route": routes}));
    for (path, expected) in cases {
        assert_eq!(site.send(&format!("GET {path}")).text(), *expected, "{path}");
    }
}

fn prefix(path: &str) -> Value {
    route(path, "prefix", &json!([]))
}

#[test]
fn the_longest_prefix_wins_whatever_the_order() {
    let routes = json!([prefix("/a"), prefix("/"), prefix("/a/b/"), prefix("/ab")]);
    found(
        &routes,
        &[("/", "/"), ("/b", "/"), ("/a", "/a"), ("/ac", "/a"), ("/a/b", "/a"), ("/a/b/c", "/a/b/"), ("/abc", "/ab")],
    );
}

#[test]
fn an_exact_path_wins_over_all_else() {
    let routes = json!([prefix("/a"), route("^/a", "regex", &json!([])), route("/a", "exact", &json!([]))]);
    found(&routes, &[("/a", "exact /a"), ("/a/", "regex ^/a"), ("/ab", "regex ^/a")]);
}

#[test]
fn the_first_regular_expression_wins_over_prefixes() {
    let routes = json!([
        prefix("/a"),
        route("\\.PNG", "regex_nocase", &json!([])),
        route("^/a/.*", "regex", &json!([])),
        route("\\.gif", "regex", &json!([])),
    ]);
    let png = "regex_nocase \\.PNG";
    found(&routes, &[("/a/b.png", png), ("/a/b.gif", "regex ^/a/.*"), ("/a.gif", "regex \\.gif"), ("/a.GIF", "/a")]);
}

#[test]
fn a_no_regex_prefix_that_is_the_longest_keeps_expressions_out() {
    let routes = json!([route("/a", "no_regex", &json!([])), prefix("/a/b"), route("x", "regex", &json!([]))]);
    found(&routes, &[("/ax", "no_regex /a"), ("/a/bx", "regex x"), ("/x", "regex x")]);
}

#[test]
fn what_lies_within_a_route_is_found_before_the_expressions_around_it() {
    let within = json!([prefix("/a/b"), route("\\.x$", "regex", &json!([])), route("/a/=", "exact", &json!([]))]);
    let routes = json!([route("/a", "prefix", &within), route("^/a/b", "regex", &json!([]))]);
    found(
        &routes,
        &[
            ("/a/c", "/a"),
            ("/a/c.x", "regex \\.x\\"),
            ("/a/=", "exact /a/="),
            // A prefix within does not settle it: the expression outside is asked.
            ("/a/b", "regex ^/a/b"),
        ],
    );
}

#[test]
fn routes_within_an_expression_are_looked_for_too() {
    let routes = json!([route("^/a", "regex", &json!([prefix("/a/b"), route("c$", "regex", &json!([]))]))]);
    found(&routes, &[("/a", "regex ^/a"), ("/a/b", "/a/b"), ("/a/bc", "regex c\\")]);
}

#[test]
fn routes_are_found_by_the_decoded_normalised_path() {
    let routes = json!([prefix("/"), route("/a b", "exact", &json!([])), prefix("/c/")]);
    found(&routes, &[("/a%20b", "exact /a b"), ("/x/../c//d", "/c/"), ("/%63/", "/c/")]);
}

#[test]
fn groups_of_the_expression_are_variables() {
    let content = json!({"respond": {"status": 200, "body": "$1 $name"}});
    let site = Site::new(json!({
        "variable": [{"name": "name", "value": {"slot": true}}],
        "route": [{"path": "^/(.)/(?<name>.*)", "match": "regex", "content": content}],
    }));
    assert_eq!(site.send("GET /a/b").text(), "a b");
}

#[test]
fn of_two_equal_routes_the_first_stays() {
    let same = |text: &str| json!({"path": "/a", "content": {"respond": {"status": 200, "body": text}}});
    found(&json!([same("first"), same("second")]), &[("/a", "first")]);
}

#[test]
fn a_named_route_is_not_found_by_its_path() {
    let site = Site::new(json!({"route": [prefix("@named")]}));
    assert_eq!(site.send("GET /@named").status, 404);
}
