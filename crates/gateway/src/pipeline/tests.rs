use crate::exchange::Unsent;
use crate::testing::{Answer, Site, TempDir};
use serde_json::{Value, json};

fn respond(text: &str) -> Value {
    json!({"respond": {"status": 200, "body": text}})
}

fn fails(status: u16) -> Value {
    json!({"respond": {"status": status}})
}

/// A site whose error pages are these, with a route that fails with each status under its number and pages at `/page`.
fn paged(pages: &Value) -> Site {
    let mut route = vec![
        json!({"path": "/page", "content": respond("page of $uri $args $request_method")}),
        json!({"path": "@named", "content": respond("named $uri $request_method")}),
        json!({"path": "/inner", "internal": true, "content": respond("inner")}),
    ];
    for status in [400, 401, 403, 404, 405, 494, 500, 503] {
        route.push(json!({"path": format!("/{status}"), "content": fails(status)}));
    }
    Site::new(json!({"settings": {"error_page": pages}, "route": route}))
}

fn brief(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.text())
}

#[test]
fn a_request_walks_rewrite_location_rewrite_and_content_in_this_order() {
    let site = Site::new(json!({
        "variable": [{"name": "way", "value": {"slot": true}}],
        "rewrite": [
            {"set": {"name": "way", "value": "server"}},
            {"rewrite": {"regex": "^/old(.*)", "to": "/new$1", "flag": null}},
        ],
        "route": [
            {"path": "/old", "content": respond("never")},
            {"path": "/new", "rewrite": [{"set": {"name": "way", "value": "$way route"}}], "content": respond("$way $uri")},
        ],
    }));
    assert_eq!(brief(&site.send("GET /old/a")), (200, "server route /new/a"));
}

#[test]
fn a_path_without_a_route_is_404_and_says_why_in_the_exchange() {
    let site = Site::new(json!({"route": [{"path": "/a", "content": respond("a")}]}));
    let mut ex = site.exchange("GET /b");
    let answer = site.run(&mut ex);
    assert_eq!((answer.status, answer.header("X-Buchner-Error")), (404, "not-found".into()));
    assert_eq!(ex.failure.as_deref(), Some("no route matches this path"));
}

#[test]
fn a_route_without_content_is_404() {
    let site = Site::new(json!({"route": [{"path": "/"}]}));
    assert_eq!(site.send("GET /").status, 404);
}

#[test]
fn an_error_page_keeps_the_status_that_led_to_it() {
    let site = paged(&json!({"404": {"to": "/page?of=$status"}}));
    assert_eq!(brief(&site.send("GET /404")), (404, "page of /page of=404 GET"));
    assert_eq!(site.send("GET /403").status, 403);
}

#[test]
fn the_query_of_the_request_does_not_go_to_its_error_page() {
    let site = paged(&json!({"404": {"to": "/page"}}));
    assert_eq!(brief(&site.send("GET /404?a=b")), (404, "page of /page  GET"));
}

#[test]
fn the_status_of_an_error_page_can_be_chosen_or_left_to_the_page() {
    let site = paged(&json!({"404": {"to": "/page", "status": 410}, "403": {"to": "/page", "status": 0}}));
    assert_eq!(site.send("GET /404").status, 410);
    assert_eq!(site.send("GET /403").status, 200);
}

#[test]
fn an_error_page_is_got_with_get_unless_the_client_asks_for_the_head() {
    let site = paged(&json!({"405": {"to": "/page"}}));
    assert_eq!(brief(&site.send("POST /405\n\nbody")), (405, "page of /page  GET"));
    let mut ex = site.exchange("HEAD /405");
    site.run(&mut ex);
    assert_eq!(ex.request.method.as_str(), "HEAD");
}

#[test]
fn a_named_route_gets_the_request_as_it_was() {
    let site = paged(&json!({"503": {"to": "@named"}}));
    assert_eq!(brief(&site.send("POST /503\n\nbody")), (503, "named /503 POST"));
}

#[test]
fn an_error_page_with_a_url_is_a_redirect() {
    let site = paged(&json!({"404": {"to": "http://b/$uri"}, "403": {"to": "http://b/", "status": 301}}));
    let answer = site.send("GET /404");
    assert_eq!((answer.status, answer.header("Location")), (302, "http://b//404".into()));
    assert_eq!(site.send("GET /403").status, 301);
}

#[test]
fn a_status_that_is_no_redirect_is_not_that_of_a_url() {
    let site = paged(&json!({"404": {"to": "http://b/", "status": 200}}));
    assert_eq!(site.send("GET /404").status, 302);
}

#[test]
fn errors_of_error_pages_have_no_pages_unless_they_are_recursive() {
    let pages = json!({"404": {"to": "/403"}, "403": {"to": "/page"}});
    let answer = paged(&pages).send("GET /404");
    assert_eq!((answer.status, answer.text().contains("403")), (403, true));
    let settings = json!({"error_page": pages, "recursive_error_pages": true});
    let route = json!([
        {"path": "/403", "content": fails(403)},
        {"path": "/page", "content": respond("page")},
    ]);
    let answer = Site::new(json!({"settings": settings, "route": route})).send("GET /404");
    assert_eq!(brief(&answer), (403, "page"));
}

#[test]
fn recursive_error_pages_that_lead_to_one_another_end_as_500() {
    let settings = json!({"error_page": {"404": {"to": "/none"}}, "recursive_error_pages": true});
    let site = Site::new(json!({"settings": settings, "route": []}));
    let mut ex = site.exchange("GET /");
    // The page that cannot be reached leaves the built-in one.
    assert_eq!(site.run(&mut ex).status, 404);
    assert_eq!(ex.redirects, 11);
}

#[test]
fn the_response_of_a_backend_has_an_error_page_only_if_errors_are_intercepted() {
    let own = json!({"respond": {"status": 404, "body": "own"}});
    let route = json!([{"path": "/a", "content": own}, {"path": "/page", "content": respond("page")}]);
    for (intercepts, text) in [(false, "own"), (true, "page")] {
        let settings = json!({"error_page": {"404": {"to": "/page"}}, "intercept_errors": intercepts});
        let site = Site::new(json!({"settings": settings, "route": route}));
        assert_eq!(brief(&site.send("GET /a")), (404, text));
    }
}

#[test]
fn statuses_of_bad_heads_are_sent_as_400() {
    let site = paged(&json!({"494": {"to": "/page"}}));
    assert_eq!(brief(&site.send("GET /494")), (494, "page of /page  GET"));
    assert_eq!(paged(&json!({})).send("GET /494").status, 400);
}

#[test]
fn the_challenge_of_a_check_is_on_its_error_page_too() {
    let settings =
        json!({"auth_basic": "realm", "auth_basic_user_file": "/none", "error_page": {"401": {"to": "/page"}}});
    let site = Site::new(json!({
        "settings": [settings, {}],
        "route": [
            {"path": "/", "content": respond("secret")},
            {"path": "/page", "content": respond("page"), "settings": 1},
        ],
    }));
    let answer = site.send("GET /");
    assert_eq!(brief(&answer), (401, "page"));
    assert_eq!(answer.header("WWW-Authenticate"), "Basic realm=\"realm\"");
}

#[test]
fn the_location_of_a_redirect_is_on_its_error_page_too() {
    let settings = json!({"error_page": {"302": {"to": "/page"}}});
    let route = json!([
        {"path": "/a", "content": {"redirect": {"status": 302, "to": "/b"}}},
        {"path": "/page", "content": respond("moved")},
    ]);
    let answer = Site::new(json!({"settings": settings, "route": route})).send("GET /a");
    assert_eq!((answer.status, answer.text(), answer.header("Location")), (302, "moved", "/b".into()));
}

#[test]
fn only_internal_redirects_reach_internal_routes() {
    let site = paged(&json!({"404": {"to": "/inner"}}));
    assert_eq!(site.send("GET /inner").status, 404);
    assert_eq!(brief(&site.send("GET /404")), (404, "inner"));
}

#[test]
fn a_rewrite_makes_a_request_internal() {
    let site = Site::new(json!({
        "rewrite": [{"rewrite": {"regex": "^/a$", "to": "/inner"}}],
        "route": [{"path": "/inner", "internal": true, "content": respond("inner")}],
    }));
    assert_eq!(site.send("GET /inner").status, 404);
    assert_eq!(brief(&site.send("GET /a")), (200, "inner"));
}

#[test]
fn the_eleventh_rewrite_of_a_path_is_500() {
    let again = |regex: &str, to: &str| json!([{"rewrite": {"regex": regex, "to": to, "flag": "last"}}]);
    let site = Site::new(json!({"route": [
        {"path": "/loop", "rewrite": again("^", "/loop")},
        {"path": "/", "rewrite": again("^/(x*)xy$", "/$1y"), "content": respond("$uri")},
    ]}));
    let mut ex = site.exchange("GET /loop");
    assert_eq!(site.run(&mut ex).status, 500);
    assert!(ex.failure.unwrap().starts_with("more than 10 rewrites or internal redirects"));
    assert_eq!(brief(&site.send(&format!("GET /{}y", "x".repeat(10)))), (200, "/y"));
    assert_eq!(site.send(&format!("GET /{}y", "x".repeat(11))).status, 500);
}

#[test]
fn try_files_goes_to_the_first_path_that_is_there() {
    let temp = TempDir::new();
    temp.write("there.txt", b"there");
    temp.write("dir/index.html", b"index");
    let files = json!({"files": {"root": temp.path(), "alias": false}});
    let settings = json!({"root": {"path": temp.path()}});
    let site = |list: Value| {
        Site::new(json!({"settings": settings, "route": [
            {"path": "/", "try_files": list, "content": files},
            {"path": "@app", "content": respond("app $uri")},
            {"path": "/other", "content": respond("other $args")},
        ]}))
    };
    let named = site(json!(["$uri", "$uri/", "@app"]));
    assert_eq!(brief(&named.send("GET /there.txt")), (200, "there"));
    assert_eq!(brief(&named.send("GET /dir/")), (200, "index"));
    assert_eq!(brief(&named.send("GET /none")), (200, "app /none"));
    assert_eq!(brief(&site(json!(["$uri", "/other?from=$uri"])).send("GET /none")), (200, "other from=/none"));
    assert_eq!(site(json!(["$uri", "=410"])).send("GET /none").status, 410);
    // A slash at the end asks for a directory, and only for one.
    assert_eq!(site(json!(["$uri/", "=410"])).send("GET /there.txt").status, 410);
    assert_eq!(site(json!(["$uri", "=410"])).send("GET /dir").status, 410);
}

#[test]
fn a_named_route_that_is_not_there_is_500() {
    let site = paged(&json!({"404": {"to": "@none"}}));
    let mut ex = site.exchange("GET /404");
    assert_eq!(site.run(&mut ex).status, 500);
    assert_eq!(ex.failure.as_deref(), Some("could not find named location \"@none\""));
}

#[test]
fn limit_except_is_the_route_of_all_other_methods() {
    let except = json!({"methods": ["GET", "POST"], "location": {"settings": 0, "content": fails(403)}});
    let site = Site::new(json!({"route": [{"path": "/", "limit_except": except, "content": respond("ok")}]}));
    for (method, status) in [("GET", 200), ("HEAD", 200), ("POST", 200), ("PUT", 403), ("DELETE", 403)] {
        assert_eq!(site.send(&format!("{method} /")).status, status, "{method}");
    }
}

#[test]
fn a_path_that_lacks_the_slash_of_a_proxys_route_is_redirected_there() {
    let proxy = json!({"proxy": {"upstream": "up"}});
    let site = Site::new(json!({
        "upstream": {"up": {"server": [{"address": "127.0.0.1:1"}]}},
        "route": [{"path": "/a b/", "content": proxy}, {"path": "/files/", "content": respond("files")}],
    }));
    let answer = site.send("POST /a%20b?c=d");
    assert_eq!((answer.status, answer.header("Location")), (301, "/a%20b/?c=d".into()));
    assert_eq!(site.send("GET /files").status, 404);
}

#[test]
fn a_declared_length_over_the_limit_of_its_route_is_413_and_its_error_page_is_sent() {
    let site = Site::new(json!({
        "settings": [{"max_body": 4, "error_page": {"413": {"to": "/page"}}}, {"max_body": 5}],
        "route": [
            {"path": "/", "content": respond("taken")},
            {"path": "/page", "content": respond("too large")},
            {"path": "/more", "settings": 1, "content": respond("taken")},
        ],
    }));
    assert_eq!(brief(&site.send("POST /\n\n1234")), (200, "taken"));
    assert_eq!(brief(&site.send("POST /\n\n12345")), (413, "too large"));
    assert_eq!(brief(&site.send("POST /more\n\n12345")), (200, "taken"));
}

#[test]
fn return_444_sends_nothing() {
    let site = Site::new(json!({"route": [{"path": "/", "rewrite": [{"return": {"status": 444}}]}]}));
    let answer = site.send("GET /");
    assert_eq!((answer.status, answer.unsent, answer.close), (444, Some(Unsent::Closed), true));
}

#[test]
fn a_response_that_a_filter_refuses_is_replaced_and_filtered_again() {
    let temp = TempDir::new();
    temp.write("a.txt", b"0123456789");
    let site = Site::new(json!({
        "settings": {"add_headers": [{"name": "X-A", "value": "$status", "always": true}]},
        "route": [{"path": "/", "content": {"files": {"root": temp.path()}}}],
    }));
    let answer = site.send("GET /a.txt\nRange: bytes=20-");
    assert_eq!((answer.status, answer.header("Content-Range")), (416, "bytes */10".into()));
    assert_eq!(answer.header("X-A"), "416");
}

#[test]
fn the_host_finds_the_server_and_the_default_server_has_the_rest() {
    let server = |names: &[&str], text: &str| {
        let route = json!([{"path": "/", "settings": 0, "content": respond(text)}]);
        json!({"listen": [0], "names": names, "settings": 0, "route": route})
    };
    let site = Site::new(json!({"server": [
        server(&["a.org", "*.a.org"], "a $server_name"),
        server(&["~^(?<name>.)\\.re$"], "re $name"),
    ], "variable": [{"name": "name", "value": {"slot": true}}]}));
    for (host, text) in
        [("a.org", "a a.org"), ("A.ORG:81", "a a.org"), ("b.a.org.", "a a.org"), ("x.re", "re x"), ("none", "a a.org")]
    {
        assert_eq!(site.send(&format!("GET /\nHost: {host}")).text(), text, "{host}");
    }
}

#[test]
fn a_challenge_of_an_authority_is_met_before_redirects_and_access_rules() {
    let site = Site::new(json!({
        "settings": {"access": ["deny all"]},
        "rewrite": [{"return": {"status": 301, "text": "https://$host$request_uri"}}],
        "route": [{"path": "/", "content": respond("content")}],
    }));
    let ask = |request: &str| site.send(request).status;
    assert_eq!(ask("GET /.well-known/acme-challenge/token"), 301);
    site.exchange("GET /").thread.shared.challenges.replace([("token".to_owned(), "token.thumbprint".into())].into());
    let answer = site.send("GET /.well-known/acme-challenge/token");
    assert_eq!(brief(&answer), (200, "token.thumbprint"));
    assert_eq!(answer.header("Content-Type"), "application/octet-stream");
    assert_eq!(ask("HEAD /.well-known/acme-challenge/token"), 200);
    for other in ["GET /.well-known/acme-challenge/other", "GET /.well-known/acme-challenge/", "GET /token"] {
        assert_eq!(ask(other), 301, "{other}");
    }
    assert_eq!(ask("POST /.well-known/acme-challenge/token"), 301);
    site.exchange("GET /").thread.shared.challenges.replace([].into());
    assert_eq!(ask("GET /.well-known/acme-challenge/token"), 301);
}
