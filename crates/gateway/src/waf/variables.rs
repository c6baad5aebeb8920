//! `$waf_action`, `$waf_score`, `$waf_rules`, `$waf_matches`, and what an app is told.
use crate::exchange::Exchange;
use crate::text::write_number;
use crate::vars::{Sent, Var, Variable, write_var};
use crate::waf::inspection::{Inspection, RESPONSE_SCORE, SCORE, action};
use serde_json::json;

/// The variables.
pub const VARIABLES: &[Variable] = &[
    Variable::new(
        "waf_action",
        write_action,
        "What the firewall did: `passed`, `detected` or `blocked`; empty where it did not look.",
    ),
    Variable::new(
        "waf_audit",
        audit,
        "What the firewall found, as a line of its audit log (JSON); empty where that is nothing.",
    ),
    Variable::new("waf_rules", rules, "Numbers of the firewall's rules that found something, separated by commas."),
    Variable::new("waf_score", score, "Sum of what the Core Rule Set found."),
];

fn write_action(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    if let Some(inspection) = Inspection::of(ex) {
        out.extend_from_slice(action(&inspection).as_bytes());
    }
}

fn score(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    if let Some(inspection) = Inspection::of(ex) {
        write_number(inspection.score().max(0) as u64, out);
    }
}

fn rules(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    let Some(inspection) = Inspection::of(ex) else { return };
    let mut last = 0;
    for found in inspection.transaction.borrow().matches().iter().filter(|found| found.log) {
        // A rule that found several things stands there once.
        if found.rule.id != last {
            if last != 0 {
                out.push(b',');
            }
            write_number(found.rule.id, out);
            last = found.rule.id;
        }
    }
}

/// A line of an audit log, as `buchner waf explain` and its like read it.
fn audit(ex: &Exchange, sent: Sent<'_>, out: &mut Vec<u8>) {
    let Some(inspection) = Inspection::of(ex) else { return };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let value = |var| {
        let mut value = Vec::new();
        write_var(&var, ex, sent, &mut value);
        text(&value)
    };
    let transaction = inspection.transaction.borrow();
    let found = transaction.matches().iter().filter(|found| found.audit || found.log).map(|found| {
        json!({
            "rule": found.rule.id,
            "message": text(&found.message),
            "variable": text(&found.variable),
            "value": text(&found.value),
            "part": found.part.as_deref().map(text),
            "data": text(&found.data),
            "severity": found.rule.severity,
            "phase": found.rule.phase,
            "tags": found.tags.iter().map(|tag| text(tag)).collect::<Vec<_>>(),
            "file": &*found.rule.at.file,
            "line": found.rule.at.line,
        })
    });
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        return;
    }
    let number = |name| transaction.tx_number(name).unwrap_or(0);
    let record = json!({
        "id": value(Var::RequestId),
        "time": value(Var::TimeIso8601),
        "client": value(Var::RemoteAddr),
        "host": value(Var::Host),
        "method": value(Var::RequestMethod),
        "path": value(Var::Uri),
        "status": sent.status,
        "mode": if inspection.may_block() { "block" } else { "detect" },
        "blocked": transaction.intervention().is_some(),
        "score": number(SCORE),
        "threshold": number("inbound_anomaly_score_threshold"),
        "outbound_score": number(RESPONSE_SCORE),
        "outbound_threshold": number("outbound_anomaly_score_threshold"),
        "matches": found,
    });
    out.extend_from_slice(record.to_string().as_bytes());
}

/// Hands what an app is told to `pair`: nothing where the firewall did not look.
pub fn environ(ex: &Exchange, mut pair: impl FnMut(&str, &[u8])) {
    if ex.inspection.get().is_none() {
        return;
    }
    let mut value = Vec::new();
    for (name, write) in [
        ("buchner.waf.action", write_action as fn(&Exchange, Sent<'_>, &mut Vec<u8>)),
        ("buchner.waf.score", score),
        ("buchner.waf.rules", rules),
    ] {
        value.clear();
        write(ex, Sent::default(), &mut value);
        pair(name, &value);
    }
}
