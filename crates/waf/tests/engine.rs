//! What rules do to transactions.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use buchner_waf::{Intervention, MemoryStore, RequestHead, ResponseHead, RuleSource, Transaction, Verdict, Waf};

fn load(rules: &str) -> Arc<Waf> {
    let text = format!("SecRuleEngine On\nSecRequestBodyAccess On\nSecResponseBodyAccess On\n{rules}");
    Waf::from_str("test.conf", &text, Path::new(""), Some(Arc::new(MemoryStore::new(8)))).unwrap()
}

fn head<'a>(target: &'a str, headers: &'a [(&'a [u8], &'a [u8])]) -> RequestHead<'a> {
    RequestHead {
        client: SocketAddr::from(([192, 0, 2, 1], 1234)),
        server: SocketAddr::from(([192, 0, 2, 2], 80)),
        server_name: b"example.com",
        method: b"GET",
        target: target.as_bytes(),
        protocol: b"HTTP/1.1",
        headers,
        unique_id: b"id-1",
        user: b"",
    }
}

/// Runs the request phases and the logging phase.
fn request(waf: &Arc<Waf>, target: &str, headers: &[(&str, &str)], body: &str) -> (Option<Intervention>, Transaction) {
    let headers: Vec<(&[u8], &[u8])> =
        headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let mut transaction = waf.transaction();
    let found = transaction.process_request_head(&head(target, &headers));
    let found = found.or_else(|| transaction.process_request_body(body.as_bytes()));
    transaction.process_logging();
    (found, transaction)
}

fn ids(transaction: &Transaction) -> Vec<u64> {
    transaction.matches().iter().map(|one| one.rule.id).collect()
}

fn matched(rules: &str, target: &str) -> Vec<u64> {
    ids(&request(&load(rules), target, &[("Host", "example.com"), ("Cookie", "a=1; b=2")], "").1)
}

#[test]
fn a_match_is_blocked_with_its_status_and_recorded() {
    let waf = load(
        "SecRule ARGS:q \"@rx (ev)(il)\" \"id:7,phase:1,deny,status:406,capture,log,severity:CRITICAL,\\\n\
         tag:'a/b',msg:'found %{TX.2}',logdata:'%{MATCHED_VAR} in %{MATCHED_VAR_NAME}'\"",
    );
    let (found, transaction) = request(&waf, "/?q=an+evil+one", &[], "");
    assert_eq!(found, Some(Intervention { verdict: Verdict::Deny, status: 406, rule: 7, phase: 1 }));
    let one = &transaction.matches()[0];
    assert_eq!((&*one.message, &*one.data), (&b"found il"[..], &b"an evil one in ARGS:q"[..]));
    assert_eq!(
        (&*one.variable, &*one.value, one.part.as_deref()),
        (&b"ARGS:q"[..], &b"an evil one"[..], Some(&b"evil"[..]))
    );
    assert_eq!((one.rule.severity, one.rule.at.line, &one.tags[..]), (Some(2), 4, &[b"a/b".to_vec()][..]));
    assert_eq!(request(&waf, "/?q=good", &[], "").0, None);
}

#[test]
fn detection_only_records_and_never_blocks() {
    let waf = load("SecRuleEngine DetectionOnly\nSecAction \"id:1,phase:1,deny\"\nSecAction \"id:2,phase:1,deny\"");
    let (found, transaction) = request(&waf, "/", &[], "");
    assert_eq!((found, ids(&transaction)), (None, vec![1, 2]));
}

#[test]
fn chains_need_all_their_rules_and_remember_what_matched() {
    let rules = "SecRule ARGS \"@contains x\" \"id:1,phase:2,pass,chain\"\n\
         SecRule MATCHED_VARS \"@contains y\" \"chain\"\nSecRule MATCHED_VARS_NAMES \"@streq ARGS:b\" \"t:none\"\n";
    // ARGS:b is there twice: each of the first two rules matched it.
    assert_eq!(matched(rules, "/?a=x&b=xy"), [1, 1]);
    assert_eq!(matched(rules, "/?a=xy&b=y"), [] as [u64; 0]);
}

#[test]
fn rules_are_skipped_to_markers_and_by_number() {
    let rules = "SecAction \"id:1,phase:1,pass,skipAfter:END\"\nSecAction \"id:2,phase:1,pass\"\nSecMarker END\n\
         SecAction \"id:3,phase:1,pass,skip:1\"\nSecAction \"id:4,phase:1,pass\"\nSecAction \"id:5,phase:1,pass\"";
    assert_eq!(matched(rules, "/"), [1, 3, 5]);
}

#[test]
fn variables_are_set_added_to_and_removed() {
    let rules = "SecAction \"id:1,phase:1,pass,nolog,setvar:tx.a=5,setvar:tx.b=+%{tx.a},setvar:tx.b=+2,setvar:tx.c=-3\"\n\
         SecRule TX:b \"@eq 7\" \"id:2,phase:1,pass\"\nSecRule TX:c \"@eq 0\" \"id:3,phase:1,pass,setvar:!tx.a\"\n\
         SecRule &TX:a \"@eq 0\" \"id:4,phase:1,pass,setvar:tx.k_%{tx.b}=v\"\nSecRule TX:/^k_/ \"@streq v\" \"id:5,phase:1,pass\"\n\
         SecRule TX:b \"@ge %{tx.none}\" \"id:6,phase:1,pass\"\nSecRule TX:none \"@lt 1\" \"id:7,phase:1,pass\"";
    assert_eq!(matched(rules, "/"), [2, 3, 4, 5, 6]);
}

#[test]
fn variables_are_selected_excluded_and_counted() {
    let rules = "SecRule REQUEST_COOKIES|!REQUEST_COOKIES:a \"@eq 1\" \"id:1,phase:1,pass\"\n\
         SecRule &REQUEST_COOKIES \"@eq 2\" \"id:2,phase:1,pass\"\nSecRule ARGS_NAMES \"@streq q\" \"id:3,phase:1,pass\"\n\
         SecRule ARGS:/^Q$/ \"@streq 1\" \"id:4,phase:1,pass\"\nSecRule REQUEST_HEADERS:hOST \"@streq example.com\" \"id:5,phase:1,pass\"\n\
         SecRule REQUEST_BASENAME \"@streq %61.php\" \"id:6,phase:1,pass\"\n\
         SecRule REQUEST_FILENAME \"@streq /d/a.php\" \"id:7,phase:1,pass\"\nSecRule QUERY_STRING \"@streq q=1\" \"id:8,phase:1,pass\"\n\
         SecRule REQUEST_COOKIES|!REQUEST_COOKIES \"@rx .\" \"id:9,phase:1,pass\"";
    assert_eq!(matched(rules, "/d/%61.php?q=1"), [2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn rules_and_their_variables_are_removed_for_a_transaction() {
    let rules = "SecAction \"id:1,phase:1,pass,nolog,ctl:ruleRemoveById=10-19,ctl:ruleRemoveTargetByTag=x;ARGS:q\"\n\
         SecAction \"id:12,phase:1,pass\"\nSecRule ARGS \"@rx .\" \"id:20,phase:1,pass,tag:x\"\n\
         SecRule ARGS \"@rx .\" \"id:21,phase:1,pass\"";
    assert_eq!(matched(rules, "/?q=1"), [21]);
    assert_eq!(matched(rules, "/?r=1"), [20, 21]);
}

#[test]
fn updates_and_removals_change_the_rules_before_them() {
    let rules = "SecRule ARGS \"@rx .\" \"id:1,phase:1,pass\"\nSecAction \"id:2,phase:1,pass,tag:'a'\"\n\
         SecRuleUpdateTargetById 1 \"!ARGS:q\"\nSecRuleRemoveByTag a\nSecRuleUpdateActionById 1 nolog,noauditlog";
    assert_eq!(matched(rules, "/?q=1&r=2"), [] as [u64; 0]);
    let rules = rules.replace("\nSecRuleUpdateActionById 1 nolog,noauditlog", "");
    assert_eq!(matched(&rules, "/?q=1&r=2"), [1]);
    assert_eq!(matched(&rules, "/?q=1"), [] as [u64; 0]);
}

#[test]
fn allow_ends_phases() {
    let rules = |allow: &str| {
        format!(
            "SecAction \"id:1,phase:1,{allow}\"\nSecAction \"id:2,phase:1,pass\"\nSecAction \"id:3,phase:2,pass\"\n\
                 SecAction \"id:4,phase:5,pass\""
        )
    };
    assert_eq!(matched(&rules("allow"), "/"), [1, 4]);
    assert_eq!(matched(&rules("allow:phase"), "/"), [1, 3, 4]);
    assert_eq!(matched(&rules("allow:request"), "/"), [1, 4]);
}

#[test]
fn defaults_give_block_its_meaning() {
    let waf = load("SecDefaultAction \"phase:1,log,auditlog,deny,status:410\"\nSecAction \"id:1,phase:1,block\"");
    assert_eq!(request(&waf, "/", &[], "").0.map(|found| found.status), Some(410));
    let waf = load("SecAction \"id:1,phase:1,block\"");
    assert_eq!(request(&waf, "/", &[], "").0, None);
}

#[test]
fn every_outcome_of_a_pipeline_is_tried_with_multimatch() {
    let rules = "SecRule ARGS \"@streq ABC\" \"id:1,phase:1,pass,t:none,t:lowercase,multiMatch\"\n\
         SecRule ARGS \"@streq ABC\" \"id:2,phase:1,pass,t:none,t:lowercase\"";
    assert_eq!(matched(rules, "/?q=ABC"), [1]);
}

#[test]
fn collections_outlive_transactions() {
    let waf = load(
        "SecAction \"id:1,phase:1,pass,nolog,initcol:ip=%{REMOTE_ADDR},setvar:ip.count=+1\"\n\
         SecRule IP:count \"@ge 3\" \"id:2,phase:1,deny\"",
    );
    let blocked: Vec<bool> = (0..4).map(|_| request(&waf, "/", &[], "").0.is_some()).collect();
    assert_eq!(blocked, [false, false, true, true]);
}

#[test]
fn bodies_are_read_by_their_media_type() {
    let waf = load(
        "SecRule REQUEST_HEADERS:Content-Type \"@beginsWith application/json\" \"id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON\"\n\
         SecRule ARGS_POST:json.a|ARGS_POST:a|XML:/* \"@streq evil\" \"id:2,phase:2,deny\"\n\
         SecRule REQBODY_ERROR \"@eq 1\" \"id:3,phase:2,deny,status:400\"",
    );
    let blocked =
        |kind: &str, body: &str| request(&waf, "/", &[("Content-Type", kind)], body).0.map(|found| found.rule);
    assert_eq!(blocked("application/x-www-form-urlencoded", "a=evil"), Some(2));
    assert_eq!(blocked("application/json", "{\"a\":\"evil\"}"), Some(2));
    assert_eq!(blocked("application/json", "{\"a\":"), Some(3));
    assert_eq!(blocked("text/plain", "a=evil"), None);
    let part = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nevil\r\n--b--\r\n";
    assert_eq!(blocked("multipart/form-data; boundary=b", part), Some(2));
}

#[test]
fn responses_are_inspected() {
    let waf = load(
        "SecRule RESPONSE_STATUS \"@eq 500\" \"id:1,phase:3,pass\"\nSecRule RESPONSE_BODY \"@contains secret\" \"id:2,phase:4,deny\"",
    );
    let run = |kind: &[u8]| {
        let (_, mut transaction) = request(&waf, "/", &[], "");
        let headers = [(&b"Content-Type"[..], kind)];
        let head = ResponseHead { status: 500, protocol: b"HTTP/1.1", reason: b"Oops", headers: &headers };
        assert_eq!(transaction.process_response_head(&head), None);
        let found = transaction.process_response_body(b"a secret");
        (found.is_some(), ids(&transaction))
    };
    assert_eq!(run(b"text/html; charset=utf-8"), (true, vec![1, 2]));
    assert_eq!(run(b"image/png"), (false, vec![1]));
}

#[test]
fn a_state_is_clean_for_the_next_transaction() {
    let waf = load(
        "SecRule ARGS \"@streq x\" \"id:1,phase:1,pass,setvar:tx.a=1\"\nSecRule &TX:a \"@eq 1\" \"id:2,phase:1,pass\"",
    );
    assert_eq!(ids(&request(&waf, "/?q=x", &[], "").1), [1, 2]);
    assert_eq!(ids(&request(&waf, "/?q=y", &[], "").1), [] as [u64; 0]);
}

#[test]
fn files_and_texts_are_read_in_order_and_scores_are_told() {
    let text = |text| RuleSource::Text { name: "a text", text, base: Path::new("") };
    let first = text("SecAction \"id:1,phase:1,pass,setvar:tx.score=4\"");
    let waf =
        Waf::from_sources(&[first, text("SecRuleEngine On\nSecAction \"id:2,phase:1,pass,setvar:tx.score=+3\"")], None);
    let (_, transaction) = request(&waf.unwrap(), "/", &[], "");
    assert_eq!((transaction.tx_number("score"), transaction.tx_number("other")), (Some(7), None));
    let missing = Path::new("/nowhere/a.conf");
    let error = Waf::from_sources(&[first, RuleSource::File(missing)], None).unwrap_err();
    assert!(error.to_string().contains("cannot read /nowhere/a.conf"), "{error}");
}
