//! The action `ctl`: settings for one transaction.

use regex::bytes::Regex;

use super::variable::{self, Target};

/// On, off, or on without blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EngineMode {
    /// Rules match and block.
    On,
    /// Rules match and never block.
    DetectionOnly,
    /// No rule runs.
    #[default]
    Off,
}

/// When a transaction is worth an audit entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AuditMode {
    /// Always.
    On,
    /// With a matched rule that has `auditlog`, or a relevant status.
    RelevantOnly,
    /// Never.
    #[default]
    Off,
}

/// Some of the rules.
#[derive(Clone, Debug)]
pub enum Rules {
    /// Ranges of ids, both ends included.
    Ids(Vec<(u64, u64)>),
    /// A tag that the expression matches.
    Tag(Regex),
    /// A message that the expression matches, macros as written.
    Msg(Regex),
}

impl Rules {
    /// Reads `1,2-5`, also with spaces in place of commas.
    pub fn ids(text: &str) -> Result<Self, String> {
        let mut found = Vec::new();
        for word in text.split([',', ' ']).map(str::trim).filter(|word| !word.is_empty()) {
            let (low, high) = word.split_once('-').unwrap_or((word, word));
            match (low.trim().parse(), high.trim().parse()) {
                (Ok(low), Ok(high)) if low <= high => found.push((low, high)),
                _ => return Err(format!("{word:?} is not a rule id or a range of them")),
            }
        }
        if found.is_empty() { Err("expected a rule id".into()) } else { Ok(Self::Ids(found)) }
    }

    /// Those with a tag that matches.
    pub fn tag(text: &str) -> Result<Self, String> {
        Regex::new(text).map(Self::Tag).map_err(|error| error.to_string())
    }

    /// Those with a message that matches.
    pub fn msg(text: &str) -> Result<Self, String> {
        Regex::new(text).map(Self::Msg).map_err(|error| error.to_string())
    }
}

/// A setting changed for the rest of the transaction.
#[derive(Clone, Debug)]
pub enum Ctl {
    AuditEngine(AuditMode),
    AuditLogParts(String),
    ForceRequestBodyVariable(bool),
    RequestBodyAccess(bool),
    RequestBodyLimit(u64),
    RequestBodyProcessor(String),
    ResponseBodyAccess(bool),
    ResponseBodyLimit(u64),
    RuleEngine(EngineMode),
    Remove(Rules),
    RemoveTargets(Rules, Vec<Target>),
}

/// Reads `name=value`.
pub fn parse(text: &str) -> Result<Ctl, String> {
    let (name, value) = text.split_once('=').ok_or("expected name=value")?;
    Ok(match name.trim().to_ascii_lowercase().as_str() {
        "auditengine" => Ctl::AuditEngine(audit_mode(value)?),
        "auditlogparts" => Ctl::AuditLogParts(value.into()),
        "forcerequestbodyvariable" => Ctl::ForceRequestBodyVariable(on_off(value)?),
        "requestbodyaccess" => Ctl::RequestBodyAccess(on_off(value)?),
        "requestbodylimit" => Ctl::RequestBodyLimit(bytes(value)?),
        "requestbodyprocessor" => Ctl::RequestBodyProcessor(processor(value)?),
        "responsebodyaccess" => Ctl::ResponseBodyAccess(on_off(value)?),
        "responsebodylimit" => Ctl::ResponseBodyLimit(bytes(value)?),
        "ruleengine" => Ctl::RuleEngine(engine_mode(value)?),
        "ruleremovebyid" => Ctl::Remove(Rules::ids(value)?),
        "ruleremovebytag" => Ctl::Remove(Rules::tag(value)?),
        "ruleremovebymsg" => Ctl::Remove(Rules::msg(value)?),
        "ruleremovetargetbyid" => targets(value, Rules::ids)?,
        "ruleremovetargetbytag" => targets(value, Rules::tag)?,
        "ruleremovetargetbymsg" => targets(value, Rules::msg)?,
        "debugloglevel" | "hashengine" | "hashenforcement" => return Err(format!("{name} is not supported")),
        _ => return Err(format!("{name} is unknown")),
    })
}

fn targets(text: &str, rules: fn(&str) -> Result<Rules, String>) -> Result<Ctl, String> {
    let (which, targets) = text.split_once(';').ok_or("expected rules;variables")?;
    Ok(Ctl::RemoveTargets(rules(which)?, variable::exclusions(targets)?))
}

fn processor(text: &str) -> Result<String, String> {
    match text.to_ascii_uppercase() {
        known if matches!(known.as_str(), "URLENCODED" | "MULTIPART" | "XML" | "JSON") => Ok(known),
        _ => Err(format!("{text:?} is not URLENCODED, MULTIPART, XML or JSON")),
    }
}

/// `On` or `Off`.
pub fn on_off(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{text:?} is not On or Off")),
    }
}

/// `On`, `Off` or `DetectionOnly`.
pub fn engine_mode(text: &str) -> Result<EngineMode, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" => Ok(EngineMode::On),
        "off" => Ok(EngineMode::Off),
        "detectiononly" => Ok(EngineMode::DetectionOnly),
        _ => Err(format!("{text:?} is not On, Off or DetectionOnly")),
    }
}

/// `On`, `Off` or `RelevantOnly`.
pub fn audit_mode(text: &str) -> Result<AuditMode, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" => Ok(AuditMode::On),
        "off" => Ok(AuditMode::Off),
        "relevantonly" => Ok(AuditMode::RelevantOnly),
        _ => Err(format!("{text:?} is not On, Off or RelevantOnly")),
    }
}

/// A number of bytes.
pub fn bytes(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number of bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_named_by_ids_and_ranges() {
        let Rules::Ids(found) = Rules::ids("1, 3-5 9").unwrap() else { panic!() };
        assert_eq!(found, [(1, 1), (3, 5), (9, 9)]);
        assert!(Rules::ids("5-3").is_err() && Rules::ids("").is_err());
    }

    #[test]
    fn faults_are_named() {
        for (text, what) in [
            ("ruleEngine", "expected name=value"),
            ("ruleEngine=maybe", "is not On, Off or DetectionOnly"),
            ("colour=red", "is unknown"),
            ("ruleRemoveTargetById=1", "expected rules;variables"),
            ("requestBodyProcessor=CSV", "is not URLENCODED"),
        ] {
            assert!(parse(text).unwrap_err().contains(what), "{text}");
        }
        assert!(matches!(parse("ruleRemoveTargetByTag=x;ARGS:a").unwrap(), Ctl::RemoveTargets(..)));
    }
}
