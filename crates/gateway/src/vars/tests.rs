use crate::testing::Site;
use serde_json::{Value, json};

/// The values of texts in a request.
fn values(request: &str, cases: &[(&str, &str)]) {
    let site = Site::with(json!({}));
    let ex = site.exchange(request);
    for (text, expected) in cases {
        assert_eq!(site.value(&ex, text), *expected, "{text}");
    }
}

/// The value of a variable of this kind.
fn defined(value: &Value, request: &str) -> String {
    let site = Site::new(json!({"variable": [{"name": "v", "value": value}], "route": [{"path": "/"}]}));
    site.value(&site.exchange(request), "$v")
}

#[test]
fn variables_of_the_request_line_and_its_headers() {
    values(
        "GET /a%20b?x=1&Y=2&x=3 HTTP/1.0\nHost: Example.COM:81\nCookie: c=1; d=2\nX-A-B: v\nContent-Type: t",
        &[
            ("$request", "GET /a%20b?x=1&Y=2&x=3 HTTP/1.0"),
            ("$request_method $request_uri $server_protocol", "GET /a%20b?x=1&Y=2&x=3 HTTP/1.0"),
            ("$uri|$document_uri", "/a b|/a b"),
            ("$args|$query_string|$is_args", "x=1&Y=2&x=3|x=1&Y=2&x=3|?"),
            ("$arg_x|$arg_y|$arg_z", "1|2|"),
            ("$host|$http_host|$request_port", "example.com|Example.COM:81|81"),
            ("$cookie_c|$cookie_d|$cookie_e", "1|2|"),
            ("$http_x_a_b|$http_none", "v|"),
            ("$content_type|$content_length", "t|"),
        ],
    );
}

#[test]
fn variables_of_the_connection() {
    values(
        "POST /\n\nbody",
        &[
            ("$remote_addr:$remote_port", "192.0.2.1:50000"),
            ("$server_addr:$server_port", "127.0.0.1:8000"),
            ("$realip_remote_addr:$realip_remote_port", "192.0.2.1:50000"),
            ("$scheme|$https", "http|"),
            ("$connection|$connection_requests|$pipe", "1|1|."),
            ("$server_name|$content_length", "example.com|4"),
        ],
    );
}

#[test]
fn texts_have_braces_around_names_that_go_on() {
    values("GET /p", &[("${uri}x", "/px"), ("a$uri-b", "a/p-b"), ("100%", "100%")]);
}

#[test]
fn a_map_takes_texts_first_then_expressions_in_their_order() {
    let map = json!({"map": {
        "source": "$arg_x",
        "values": [["~^a", "begins"], ["ABC", "text"], ["~*B$", "ends"], ["~(?<rest>c.*)", "$rest"]],
        "default": "none $arg_x",
    }});
    let site = Site::new(json!({
        "variable": [{"name": "v", "value": map}, {"name": "rest", "value": {"slot": true}}],
    }));
    for (x, expected) in [("abc", "text"), ("aB", "begins"), ("xb", "ends"), ("xcd", "cd"), ("z", "none z")] {
        assert_eq!(site.value(&site.exchange(&format!("GET /?x={x}")), "$v"), expected, "{x}");
    }
}

#[test]
fn a_value_is_kept_for_the_request_unless_it_is_volatile() {
    for (volatile, expected) in [(false, "/a /a"), (true, "/a /b")] {
        let map = json!({"map": {"source": "$uri", "default": "$uri", "volatile": volatile}});
        let site = Site::new(json!({"variable": [{"name": "v", "value": map}]}));
        let mut ex = site.exchange("GET /a");
        let before = site.value(&ex, "$v");
        ex.set_uri(b"/b");
        assert_eq!(format!("{before} {}", site.value(&ex, "$v")), expected);
    }
}

#[test]
fn geo_has_the_value_of_the_longest_network() {
    let networks = json!([["192.0.0.0/8", "far"], ["192.0.2.0/24", "near"], ["192.0.2.9-192.0.2.12", "range"]]);
    let geo = json!({"geo": {"networks": networks, "default": "none", "source": "$arg_ip"}});
    for (ip, expected) in [("192.0.2.1", "near"), ("192.1.1.1", "far"), ("192.0.2.10", "range"), ("10.0.0.1", "none")] {
        assert_eq!(defined(&geo, &format!("GET /?ip={ip}")), expected, "{ip}");
    }
    assert_eq!(defined(&json!({"geo": {"networks": networks}}), "GET /"), "near");
}

#[test]
fn split_clients_has_the_same_part_for_the_same_text() {
    let split = json!({"split_clients": {"source": "$arg_x", "parts": [[5000, "one"], [0, "two"]]}});
    let site = Site::new(json!({"variable": [{"name": "v", "value": split}]}));
    let part = |x: u32| site.value(&site.exchange(&format!("GET /?x={x}")), "$v");
    let ones = (0..200).filter(|x| part(*x) == "one").count();
    assert!((60..140).contains(&ones) && part(7) == part(7), "{ones}");
}

#[test]
fn a_configuration_may_not_define_what_is_there() {
    for (names, error) in [
        (json!(["uri"]), "variable[0].name: $uri is built in"),
        (json!(["gzip_ratio"]), "variable[0].name: $gzip_ratio is built in"),
        (json!(["a", "a"]), "variable[1].name: $a is defined twice"),
    ] {
        let variables: Vec<_> =
            names.as_array().unwrap().iter().map(|name| json!({"name": name, "value": {"slot": true}})).collect();
        assert_eq!(Site::check(json!({"variable": variables})).err().as_deref(), Some(error));
    }
}
