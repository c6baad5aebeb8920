//! The actions of rules.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use super::ctl::{self, Ctl};
use super::template::Template;
use super::variable::Variable;

/// Where `allow` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allow {
    /// All phases but logging.
    Transaction,
    /// The phase that runs.
    Phase,
    /// The phases of the request.
    Request,
}

/// What a rule does to a transaction; the last one given holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Disruption {
    /// What `SecDefaultAction` says for the phase.
    Block,
    Deny,
    Drop,
    Pass,
    Allow(Allow),
    Redirect(Template),
}

/// How `setvar` changes a variable.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Set(Template),
    Add(Template),
    Subtract(Template),
    Remove,
}

/// `setvar`.
#[derive(Clone, Debug, PartialEq)]
pub struct SetVar {
    pub collection: Variable,
    /// In lower case, but for the macros' values.
    pub name: Template,
    pub change: Change,
}

/// An action as it was written.
#[derive(Clone, Debug)]
pub enum Action {
    Accuracy(u8),
    AuditLog(bool),
    Capture,
    Chain,
    Ctl(Ctl),
    Disrupt(Disruption),
    /// `expirevar`: seconds until the variable is removed.
    Expire {
        collection: Variable,
        name: Template,
        seconds: Template,
    },
    Id(u64),
    InitCol {
        collection: Variable,
        key: Template,
    },
    Log(bool),
    LogData(Template),
    Maturity(u8),
    Msg(Template),
    MultiMatch,
    Phase(u8),
    Rev(Arc<str>),
    SetEnv {
        name: Arc<str>,
        value: Option<Template>,
    },
    SetVar(SetVar),
    /// 0 (emergency) to 7 (debug).
    Severity(u8),
    Skip(u32),
    SkipAfter(Arc<str>),
    Status(u16),
    Tag(Template),
    /// A transformation by name; `none` empties the list.
    Transform(Arc<str>),
    Ver(Arc<str>),
}

/// Reads a list such as `id:1,phase:2,t:none,msg:'it\'s'`.
pub fn actions(text: &str) -> Result<Vec<Action>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(',') {
            rest = after.trim_start();
            continue;
        }
        let end = rest.find([':', ',']).unwrap_or(rest.len());
        let name = rest[..end].trim();
        let (value, after) = match rest[end..].strip_prefix(':') {
            Some(after) => value(after).map_err(|what| format!("action {name}: {what}"))?,
            None => (None, &rest[end..]),
        };
        found.push(action(name, value.as_deref())?);
        rest = after.trim_start();
        if !rest.is_empty() && !rest.starts_with(',') {
            return Err(format!("expected a comma after action {name} at {rest:?}"));
        }
    }
    Ok(found)
}

/// A value up to the next comma. In single quotes, a backslash escapes itself and the quote.
fn value(text: &str) -> Result<(Option<String>, &str), &'static str> {
    let (mut word, mut quoted) = (String::new(), false);
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' if quoted => return Ok((Some(word), &text[at + 1..])),
            // The quote may open inside the value: setvar:'tx.a=b', but also setvar:tx.a='b'.
            '\'' if word.is_empty() || word.ends_with('=') => quoted = true,
            '\\' if quoted => match chars.next_if(|(_, next)| matches!(next, '\'' | '\\')) {
                Some((_, next)) => word.push(next),
                None => word.push('\\'),
            },
            ',' if !quoted => return Ok((Some(word.trim_end().to_owned()), &text[at..])),
            _ => word.push(c),
        }
    }
    if quoted { Err("the quote is not closed") } else { Ok((Some(word.trim_end().to_owned()), "")) }
}

fn action(name: &str, value: Option<&str>) -> Result<Action, String> {
    let lower = name.to_ascii_lowercase();
    if let Some(found) = flag(&lower) {
        return match value {
            None => Ok(found),
            Some(value) => Err(format!("action {name} takes no value, not {value:?}")),
        };
    }
    if lower == "allow" {
        return Ok(Action::Disrupt(Disruption::Allow(match value {
            None | Some("") => Allow::Transaction,
            Some("phase") => Allow::Phase,
            Some("request") => Allow::Request,
            Some(other) => return Err(format!("allow takes phase or request, not {other:?}")),
        })));
    }
    let value = value.unwrap_or_default();
    valued(&lower, value).map_err(|what| format!("action {name}: {what}"))
}

fn flag(name: &str) -> Option<Action> {
    Some(match name {
        "auditlog" => Action::AuditLog(true),
        "noauditlog" => Action::AuditLog(false),
        "log" => Action::Log(true),
        "nolog" => Action::Log(false),
        "block" => Action::Disrupt(Disruption::Block),
        "deny" => Action::Disrupt(Disruption::Deny),
        "drop" => Action::Disrupt(Disruption::Drop),
        "pass" => Action::Disrupt(Disruption::Pass),
        "capture" => Action::Capture,
        "chain" => Action::Chain,
        "multimatch" => Action::MultiMatch,
        _ => return None,
    })
}

fn valued(name: &str, value: &str) -> Result<Action, String> {
    if value.is_empty() && NEED_VALUE.contains(&name) {
        return Err("the value is missing".into());
    }
    Ok(match name {
        "accuracy" => Action::Accuracy(number(value, 1, 9)?),
        "maturity" => Action::Maturity(number(value, 1, 9)?),
        "ctl" => Action::Ctl(ctl::parse(value)?),
        "expirevar" => {
            let (name, seconds) = value.split_once('=').unwrap_or((value, "0"));
            let (collection, name) = variable(name)?;
            Action::Expire { collection, name, seconds: Template::parse(seconds)? }
        }
        "id" => Action::Id(value.parse().map_err(|_| format!("{value:?} is not a number"))?),
        "initcol" => {
            let (name, key) = value.split_once('=').ok_or("expected collection=key")?;
            let collection = persistent(name)?;
            Action::InitCol { collection, key: Template::parse(key)? }
        }
        "setsid" => Action::InitCol { collection: Variable::Session, key: Template::parse(value)? },
        "setuid" => Action::InitCol { collection: Variable::User, key: Template::parse(value)? },
        "setrsc" => Action::InitCol { collection: Variable::Resource, key: Template::parse(value)? },
        "logdata" => Action::LogData(Template::parse(value)?),
        "msg" => Action::Msg(Template::parse(value)?),
        "phase" => Action::Phase(phase(value)?),
        "redirect" => Action::Disrupt(Disruption::Redirect(Template::parse(value)?)),
        "rev" => Action::Rev(value.into()),
        "setenv" => setenv(value)?,
        "setvar" => Action::SetVar(setvar(value)?),
        "severity" => Action::Severity(severity(value)?),
        "skip" => Action::Skip(value.parse().map_err(|_| format!("{value:?} is not a number"))?),
        "skipafter" => Action::SkipAfter(value.into()),
        "status" => Action::Status(number(value, 100, 599)?),
        "t" => Action::Transform(value.into()),
        "tag" => Action::Tag(Template::parse(value)?),
        "ver" => Action::Ver(value.into()),
        "append"
        | "deprecatevar"
        | "exec"
        | "pause"
        | "prepend"
        | "proxy"
        | "sanitisearg"
        | "sanitisematched"
        | "sanitisematchedbytes"
        | "sanitiserequestheader"
        | "sanitiseresponseheader"
        | "xmlns" => {
            return Err("is not supported".into());
        }
        _ => return Err("is unknown".into()),
    })
}

const NEED_VALUE: &[&str] =
    &["id", "phase", "t", "tag", "status", "severity", "skip", "skipafter", "redirect", "expirevar"];

fn number<N: FromStr + PartialOrd + Display + Copy>(text: &str, low: N, high: N) -> Result<N, String> {
    match text.parse::<N>() {
        Ok(value) if value >= low && value <= high => Ok(value),
        _ => Err(format!("{text:?} is not a number from {low} to {high}")),
    }
}

fn phase(text: &str) -> Result<u8, String> {
    match text.to_ascii_lowercase().as_str() {
        "request" => Ok(2),
        "response" => Ok(4),
        "logging" => Ok(5),
        other => number(other, 1, 5),
    }
}

fn severity(text: &str) -> Result<u8, String> {
    const NAMES: [&str; 8] = ["EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"];
    match NAMES.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        Some(at) => Ok(at as u8),
        None => number(text, 0, 7),
    }
}

fn persistent(name: &str) -> Result<Variable, String> {
    match Variable::from_name(name.trim()) {
        Some(variable) if variable.persistent() => Ok(variable),
        _ => Err(format!("{name:?} is not global, ip, resource, session or user")),
    }
}

fn variable(text: &str) -> Result<(Variable, Template), String> {
    let (collection, name) = text.split_once(['.', ':']).ok_or_else(|| format!("expected tx.name, not {text:?}"))?;
    let collection = match Variable::from_name(collection.trim()) {
        Some(Variable::Tx) => Variable::Tx,
        _ => persistent(collection)?,
    };
    if name.is_empty() {
        return Err(format!("the name in {text:?} is empty"));
    }
    Ok((collection, Template::parse(&name.to_ascii_lowercase())?))
}

fn setvar(text: &str) -> Result<SetVar, String> {
    let text = text.trim();
    if let Some(name) = text.strip_prefix('!') {
        let (collection, name) = variable(name)?;
        return Ok(SetVar { collection, name, change: Change::Remove });
    }
    let (name, value) = text.split_once('=').unwrap_or((text, "1"));
    let (collection, name) = variable(name)?;
    let change = match value.as_bytes().first() {
        Some(b'+') => Change::Add(Template::parse(&value[1..])?),
        Some(b'-') => Change::Subtract(Template::parse(&value[1..])?),
        _ => Change::Set(Template::parse(value)?),
    };
    Ok(SetVar { collection, name, change })
}

fn setenv(text: &str) -> Result<Action, String> {
    if let Some(name) = text.strip_prefix('!') {
        return Ok(Action::SetEnv { name: name.into(), value: None });
    }
    let (name, value) = text.split_once('=').unwrap_or((text, "1"));
    if name.is_empty() {
        return Err("the name is empty".into());
    }
    Ok(Action::SetEnv { name: name.into(), value: Some(Template::parse(value)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_be_quoted_and_hold_commas() {
        let found = actions(r"id:12,phase:request, msg:'it\'s a, b', t:none,t:lowercase,chain").unwrap();
        assert_eq!(found.len(), 6);
        assert!(matches!(&found[2], Action::Msg(text) if text.constant() == Some("it's a, b")));
        assert!(matches!(found[1], Action::Phase(2)));
        assert!(matches!(found[5], Action::Chain));
    }

    #[test]
    fn setvar_sets_adds_subtracts_and_removes() {
        for (text, change) in [
            ("setvar:tx.A=1", Change::Set(Template::parse("1").unwrap())),
            ("setvar:'tx.a=+%{tx.b}'", Change::Add(Template::parse("%{tx.b}").unwrap())),
            ("setvar:tx.a=-2", Change::Subtract(Template::parse("2").unwrap())),
            ("setvar:!tx.a", Change::Remove),
            ("setvar:tx.a", Change::Set(Template::parse("1").unwrap())),
        ] {
            let [Action::SetVar(found)] = &actions(text).unwrap()[..] else { panic!("{text}") };
            assert_eq!((found.name.constant(), &found.change), (Some("a"), &change), "{text}");
        }
    }

    #[test]
    fn faults_are_named() {
        for (text, what) in [
            ("nothing", "action nothing: is unknown"),
            ("exec:/bin/x", "is not supported"),
            ("deny:1", "takes no value"),
            ("msg:'open", "not closed"),
            ("phase:6", "from 1 to 5"),
            ("severity:LOUD", "from 0 to 7"),
            ("setvar:args.a=1", "is not global"),
            ("setvar:a", "expected tx.name"),
            ("msg:'a'b", "expected a comma"),
            ("id:x", "is not a number"),
            ("id", "is missing"),
            ("allow:all", "phase or request"),
            ("status:20", "from 100"),
            ("initcol:ip", "collection=key"),
        ] {
            let error = actions(text).unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
    }
}
