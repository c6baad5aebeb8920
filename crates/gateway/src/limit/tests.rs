use crate::testing::{Answer, Site};
use serde_json::{Value, json};
use std::time::Instant;

/// A site with zones by `?k=` and these settings; `/in` is served.
fn site(settings: &Value) -> Site {
    let zone = |rate: u64| json!({"key": "$arg_k", "rate": rate, "size": 1 << 20});
    Site::new(json!({
        "settings": [settings, {}],
        "limit_req_zone": {"slow": zone(16), "fast": zone(20_000), "login": {"key": "$arg_k", "rate": 5000, "period": 60, "burst": 4}},
        "limit_conn_zone": {"conn": {"key": "$arg_k"}},
        "route": [
            {"path": "/", "content": {"respond": {"status": 200, "body": "$limit_req_status,$limit_conn_status"}}},
            {"path": "/free", "settings": 1, "content": {"respond": {"status": 200, "body": "$limit_req_status."}}},
        ],
    }))
}

fn told(answer: &Answer) -> (u16, String) {
    (answer.status, answer.text().to_owned())
}

#[test]
fn a_rate_is_counted_by_key_and_an_empty_key_is_not() {
    let site = site(&json!({"limit_req": [{"zone": "slow", "burst": 1, "nodelay": true}], "limit_req_status": 503}));
    let statuses: Vec<_> = (0..3).map(|_| site.send("GET /?k=a").status).collect();
    assert_eq!(statuses, [200, 200, 503]);
    assert_eq!(told(&site.send("GET /?k=b")), (200, "PASSED,".into()));
    for _ in 0..5 {
        assert_eq!(told(&site.send("GET /")), (200, ",".into()));
    }
    assert_eq!(told(&site.send("GET /free?k=a")), (200, ".".into()));
    let errors = site.log.errors().concat();
    assert!(errors.contains("limiting requests, excess: 2.000 by zone \"slow\", client: 192.0.2.1"), "{errors}");
}

#[test]
fn a_request_above_the_rate_waits() {
    let site = site(&json!({"limit_req": [{"zone": "fast", "burst": 2, "delay": 1}]}));
    let start = Instant::now();
    let texts: Vec<_> = (0..3).map(|_| site.send("GET /?k=a").text().to_owned()).collect();
    assert_eq!(texts[..2], ["PASSED,", "PASSED,"]);
    // Time went by between them, so that the third may not have had to wait.
    if texts[2] == "DELAYED," {
        assert!(start.elapsed().as_millis() >= 1);
    }
    assert_eq!(site.send("GET /?k=b").text(), "PASSED,");
}

#[test]
fn a_dry_run_refuses_nothing() {
    let settings = json!({
        "limit_req": [{"zone": "slow"}], "limit_req_dry_run": true,
        "limit_conn": [{"zone": "conn", "connections": 1}], "limit_conn_dry_run": true,
    });
    let site = site(&settings);
    assert_eq!(site.send("GET /?k=a").text(), "PASSED,PASSED");
    let held = site.exchange("GET /?k=a");
    let mut held = held;
    assert_eq!(site.run(&mut held).text(), "REJECTED_DRY_RUN,PASSED");
    assert_eq!(site.send("GET /?k=a").text(), "REJECTED_DRY_RUN,REJECTED_DRY_RUN");
}

#[test]
fn connections_are_counted_until_their_request_is_over() {
    let site = site(&json!({"limit_conn": [{"zone": "conn", "connections": 2}]}));
    let mut held: Vec<_> = (0..3).map(|_| site.exchange("GET /?k=a")).collect();
    let statuses: Vec<_> = held.iter_mut().map(|ex| site.run(ex).status).collect();
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!((site.send("GET /?k=b").status, site.send("GET /").status), (200, 200));
    held.truncate(1);
    assert_eq!(told(&site.send("GET /?k=a")), (200, ",PASSED".into()));
}

#[test]
fn responses_tell_what_is_left() {
    let site = site(&json!({"limit": ["login"], "limit_req_headers": true}));
    let answer = site.send("GET /?k=a");
    assert_eq!(answer.header("RateLimit-Policy"), "\"login\";q=5;w=60");
    assert_eq!(answer.header("RateLimit"), "\"login\";r=4;t=12");
    let last: Vec<_> = (0..5).map(|_| site.send("GET /?k=a")).collect();
    assert_eq!((last[3].status, last[3].header("RateLimit")), (200, "\"login\";r=0;t=60".into()));
    assert_eq!(
        (last[4].status, last[4].header("RateLimit"), last[4].header("Retry-After")),
        (429, "\"login\";r=0;t=60".into(), "12".into())
    );
    assert_eq!(site.send("GET /").header("RateLimit"), "");
}

#[test]
fn a_request_is_counted_once_whatever_becomes_of_it() {
    let site = Site::new(json!({
        "settings": {"limit_req": [{"zone": "z", "burst": 1, "nodelay": true}], "auth_request": "/auth"},
        "limit_req_zone": {"z": {"key": "x", "rate": 16}},
        "route": [
            {"path": "/", "rewrite": [{"rewrite": {"regex": "^", "to": "/inner", "flag": "last"}}]},
            {"path": "/inner", "content": {"respond": {"status": 200}}},
            {"path": "/auth", "content": {"respond": {"status": 200}}},
        ],
    }));
    let statuses: Vec<_> = (0..3).map(|_| site.send("GET /").status).collect();
    assert_eq!(statuses, [200, 200, 429]);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let zone = json!({"key": "$arg_k", "rate": 1000});
    for (config, said) in [
        (json!({"settings": {"limit_req": [{"zone": "none"}]}}), "there is no limit_req_zone \"none\""),
        (json!({"settings": {"limit_conn": [{"zone": "none", "connections": 1}]}}), "there is no limit_conn_zone"),
        (json!({"limit_req_zone": {"z": {"key": "", "rate": 1}}}), "limit_req_zone.z.key: it is empty"),
        (json!({"limit_req_zone": {"z": {"key": "$none", "rate": 1}}}), "limit_req_zone.z.key"),
        (json!({"limit_req_zone": {"z": {"key": "x", "size": 100}}}), "too few"),
        (json!({"limit_req_zone": {"z": {"key": "x", "rate": 0}}}), "rate"),
        (json!({"limit_req_zone": {"z": {"key": "x", "ipv6_prefix": 64}}}), "ipv6_prefix"),
        (json!({"limit_req_zone": {"z": zone}, "settings": {"limit_req": [{"zone": "z"}, {"zone": "z"}]}}), "twice"),
        (json!({"settings": {"limit_req_status": 200}}), "limit_req_status"),
        (json!({"settings": {"limit_conn_log_level": "crit"}}), "limit_conn_log_level"),
    ] {
        let error = Site::check(config.clone()).err().unwrap_or_default();
        assert!(error.contains(said), "{config}: {error}");
    }
}
