use crate::testing::{Answer, Site, TempDir};
use serde_json::{Value, json};

/// A site whose checks have these settings. `/auth` responds with the status that a request asks for.
fn site(settings: &Value) -> Site {
    let asked = |status: u16| {
        let when = json!({"equal": ["$http_x_auth", status.to_string()]});
        json!({"if": {"when": when, "then": [{"return": {"status": status}}]}})
    };
    Site::new(json!({
        "settings": [settings, {}],
        "variable": [{"name": "told", "value": {"slot": true}}],
        "route": [
            {"path": "/", "content": {"respond": {"status": 200, "body": "in $remote_user$told"}}},
            {"path": "/auth", "settings": 1, "rewrite": [asked(204), asked(401), asked(403), asked(500)]},
        ],
    }))
}

/// A request with the name and password `ann:secret`.
const ANN: &str = "GET /\nAuthorization: Basic YW5uOnNlY3JldA==";

fn users(temp: &TempDir) -> Value {
    temp.write("users", b"# nobody\nann:{PLAIN}secret\nbob:{PLAIN}other\n");
    json!({"auth_basic": "staff", "auth_basic_user_file": temp.path().join("users")})
}

fn refused(answer: &Answer) -> (u16, String) {
    (answer.status, answer.header("WWW-Authenticate"))
}

#[test]
fn the_first_rule_that_fits_the_address_decides() {
    for (rules, status) in [
        (json!(["allow 192.0.2.0/24", "deny all"]), 200),
        (json!(["deny 192.0.2.1", "allow all"]), 403),
        (json!(["allow 198.51.100.0/24", "deny all"]), 403),
        (json!(["deny 198.51.100.0/24"]), 200),
        (json!(["allow unix:", "deny all"]), 403),
    ] {
        let site = site(&json!({"access": rules}));
        let mut ex = site.exchange("GET /");
        assert_eq!(site.run(&mut ex).status, status, "{rules}");
        assert_eq!(ex.failure.is_some(), status == 403, "{rules}");
    }
}

#[test]
fn a_right_password_lets_the_client_in_and_names_it() {
    let temp = TempDir::new();
    assert_eq!(site(&users(&temp)).send(ANN).text(), "in ann");
}

#[test]
fn a_user_file_that_is_not_there_refuses_everyone() {
    let site = site(&json!({"auth_basic": "staff", "auth_basic_user_file": "/none"}));
    assert_eq!(refused(&site.send(ANN)), (403, String::new()));
    assert!(site.log.errors().concat().contains("cannot read the user file /none"));
}

#[test]
fn a_wrong_password_an_unknown_user_and_none_at_all_are_challenged() {
    let temp = TempDir::new();
    let site = site(&users(&temp));
    for request in [
        "GET /",
        "GET /\nAuthorization: Basic YW5uOndyb25n",
        "GET /\nAuthorization: Basic eDp4",
        "GET /\nAuthorization: Bearer x",
    ] {
        assert_eq!(refused(&site.send(request)), (401, "Basic realm=\"staff\"".into()), "{request}");
    }
}

#[test]
fn a_realm_of_variables_may_turn_out_to_be_off() {
    let temp = TempDir::new();
    let mut settings = users(&temp);
    settings["auth_basic"] = json!("$arg_realm");
    let site = site(&settings);
    assert_eq!(site.send("GET /?realm=off").status, 200);
    assert_eq!(refused(&site.send("GET /?realm=a")), (401, "Basic realm=\"a\"".into()));
}

#[test]
fn a_slow_hash_is_verified_too() {
    let temp = TempDir::new();
    temp.write("users", format!("ann:{}\n", bcrypt::hash("secret", 4).unwrap()).as_bytes());
    let site = site(&json!({"auth_basic": "staff", "auth_basic_user_file": temp.path().join("users")}));
    // The second one is remembered.
    assert_eq!((site.send(ANN).status, site.send(ANN).status, site.send("GET /").status), (200, 200, 401));
}

#[test]
fn the_response_to_a_subrequest_decides() {
    let site = site(&json!({"auth_request": "/auth", "auth_request_set": {"told": "$status"}}));
    for (asked, status) in [(204, 200), (401, 401), (403, 403), (500, 500)] {
        let mut ex = site.exchange(&format!("GET /\nX-Auth: {asked}"));
        let answer = site.run(&mut ex);
        assert_eq!(answer.status, status, "{asked}");
        assert_eq!(site.value(&ex, "$told"), asked.to_string());
    }
    let mut ex = site.exchange("GET /");
    assert_eq!(site.run(&mut ex).status, 500);
    assert!(ex.failure.unwrap().starts_with("auth request unexpected status: 404"));
}

#[test]
fn subrequests_are_not_checked_themselves() {
    let site = Site::new(json!({
        "settings": [{"auth_request": "/auth"}, {"access": ["deny all"]}],
        "route": [
            {"path": "/", "content": {"respond": {"status": 200}}},
            {"path": "/auth", "settings": 1, "content": {"respond": {"status": 200}}},
        ],
    }));
    assert_eq!((site.send("GET /").status, site.send("GET /auth").status), (200, 403));
}

#[test]
fn all_checks_have_to_agree_or_one() {
    let temp = TempDir::new();
    let with = |satisfy: &str, rule: &str| {
        let mut settings = users(&temp);
        settings["satisfy"] = json!(satisfy);
        settings["access"] = json!([rule]);
        site(&settings)
    };
    for (satisfy, rule, request, status) in [
        ("all", "allow all", ANN, 200),
        ("all", "allow all", "GET /", 401),
        ("all", "deny all", ANN, 403),
        ("any", "deny all", ANN, 200),
        ("any", "allow all", "GET /", 200),
        // A client that could log in is asked to.
        ("any", "deny all", "GET /", 401),
    ] {
        assert_eq!(with(satisfy, rule).send(request).status, status, "{satisfy} {rule} {request}");
    }
}

#[test]
fn a_check_that_fails_itself_refuses_even_if_any_would_do() {
    let settings = json!({"satisfy": "any", "auth_request": "/auth", "access": ["deny all"]});
    assert_eq!(site(&settings).send("GET /\nX-Auth: 500").status, 500);
}

#[test]
fn checks_of_the_route_that_a_redirect_leads_to_count() {
    let site = Site::new(json!({
        "settings": [{}, {"access": ["deny all"]}],
        "route": [
            {"path": "/", "content": {"respond": {"status": 200}}},
            {"path": "/inner", "settings": 1, "content": {"respond": {"status": 200}}},
            {"path": "/to", "rewrite": [{"rewrite": {"regex": "^", "to": "/inner", "flag": "last"}}]},
        ],
    }));
    assert_eq!((site.send("GET /").status, site.send("GET /to").status), (200, 403));
}

#[test]
fn a_trusted_proxy_says_who_the_client_is() {
    let from = json!(["192.0.2.0/24", "10.0.0.1"]);
    let rules = json!(["allow 203.0.113.7", "deny all"]);
    let with = |header: &str, recursive: bool| {
        let real_ip = json!({"from": from, "header": header, "recursive": recursive});
        site(&json!({"real_ip": real_ip, "access": rules}))
    };
    for (header, recursive, sent, status) in [
        ("X-Real-IP", false, "X-Real-IP: 203.0.113.7", 200),
        ("X-Real-IP", false, "X-Real-IP: 203.0.113.8", 403),
        ("X-Real-IP", false, "X-Forwarded-For: 203.0.113.7", 403),
        ("X-Forwarded-For", false, "X-Forwarded-For: 203.0.113.7, 10.0.0.1", 403),
        ("X-Forwarded-For", true, "X-Forwarded-For: 203.0.113.7, 10.0.0.1", 200),
    ] {
        assert_eq!(
            with(header, recursive).send(&format!("GET /\n{sent}")).status,
            status,
            "{header} {recursive} {sent}"
        );
    }
}
