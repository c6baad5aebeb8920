use crate::testing::Site;
use serde_json::{Value, json};

/// A site that mirrors requests for `/` to `/copy`, which logs what it gets.
fn site(settings: Value) -> Site {
    let mut settings = settings;
    settings["mirror"] = json!(["/copy"]);
    Site::new(json!({
        "settings": [settings, {"access_log": [0], "log_subrequest": true}],
        "access_log": [{"path": "-", "format": "$request_method $uri?$args $request_body"}],
        "route": [
            {"path": "/", "content": {"respond": {"status": 200, "body": "response"}}},
            {"path": "/copy", "settings": 1, "content": {"respond": {"status": 500, "body": "ignored"}}},
        ],
    }))
}

#[test]
fn a_copy_has_the_method_the_query_and_the_body() {
    let site = site(json!({}));
    assert_eq!(site.send("POST /a?b=c\n\nbody").text(), "response");
    assert_eq!(site.logged(), ["POST /copy?b=c body"]);
}

#[test]
fn a_copy_leaves_the_body_where_it_is_if_told_so() {
    let site = site(json!({"mirror_request_body": false}));
    site.send("POST /a\n\nbody");
    assert_eq!(site.logged(), ["POST /copy?- -"]);
}

#[test]
fn subrequests_of_a_mirror_are_not_mirrored_again() {
    let mirror = json!({"mirror": ["/copy"], "access_log": [0], "log_subrequest": true});
    let site = Site::new(json!({
        "settings": mirror,
        "access_log": [{"path": "-", "format": "$uri"}],
        "route": [{"path": "/", "content": {"respond": {"status": 200}}}],
    }));
    site.send("GET /a");
    let mut lines = site.logged();
    lines.truncate(2);
    assert_eq!(lines, ["/a", "/copy"]);
}
