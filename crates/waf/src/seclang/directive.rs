//! Statements: directives with their meaning.

use std::path::Path;
use std::sync::Arc;

use super::action::{Action, actions};
use super::ctl::Rules;
use super::error::{LoadError, Location};
use super::lexer::Line;
use super::operator::{self, OperatorText};
use super::setting::{Applied, Settings};
use super::variable::{Target, targets};

/// A directive about rules.
#[derive(Debug)]
pub enum Directive {
    Rule {
        targets: Vec<Target>,
        operator: OperatorText,
        actions: Vec<Action>,
    },
    Action(Vec<Action>),
    Marker(Arc<str>),
    DefaultAction(Vec<Action>),
    UpdateTarget {
        rules: Rules,
        targets: Vec<Target>,
        replaced: Option<Vec<Target>>,
    },
    /// The action list replaces those of the rule; `link` counts from the first rule of a chain.
    UpdateAction {
        id: u64,
        link: usize,
        actions: Vec<Action>,
    },
    Remove(Rules),
}

/// A directive and its position.
#[derive(Debug)]
pub struct Statement {
    pub at: Location,
    pub text: String,
    /// The directory that files are relative to.
    pub base: Arc<Path>,
    pub directive: Directive,
}

impl Statement {
    /// An error of this directive.
    pub fn error(&self, what: impl Into<String>) -> LoadError {
        LoadError::new(&self.at, what, &*self.text)
    }
}

/// What a line means to the reader of files.
pub enum Meaning {
    Directive(Directive),
    Include(String),
    Setting,
    WithoutEffect,
}

/// Gives a line its meaning; settings are obeyed at once.
pub fn meaning(line: &Line, settings: &mut Settings, base: &Path) -> Result<Meaning, String> {
    let (name, words) = line.words.split_first().ok_or("the line is empty")?;
    let name = name.to_ascii_lowercase();
    let directive = match (name.as_str(), words) {
        ("include" | "includeoptional", [pattern]) => return Ok(Meaning::Include(pattern.clone())),
        ("secrule", [variables, operator]) => rule(variables, operator, "")?,
        ("secrule", [variables, operator, list]) => rule(variables, operator, list)?,
        ("secaction", [list]) => Directive::Action(actions(list)?),
        ("secmarker", [name]) => Directive::Marker(name.trim_start_matches("id:").into()),
        ("secdefaultaction", [list]) => Directive::DefaultAction(actions(list)?),
        ("secruleremovebyid", [_, ..]) => Directive::Remove(Rules::ids(&words.join(","))?),
        ("secruleremovebytag", [text]) => Directive::Remove(Rules::tag(text)?),
        ("secruleremovebymsg", [text]) => Directive::Remove(Rules::msg(text)?),
        ("secruleupdatetargetbyid", [which, rest @ ..]) => update_target(Rules::ids(which)?, rest)?,
        ("secruleupdatetargetbytag", [which, rest @ ..]) => update_target(Rules::tag(which)?, rest)?,
        ("secruleupdatetargetbymsg", [which, rest @ ..]) => update_target(Rules::msg(which)?, rest)?,
        ("secruleupdateactionbyid", [which, list]) => update_action(which, list)?,
        (known, _) if ARGUMENTS.iter().any(|(name, _)| *name == known) => return Err(arguments(known, words.len())),
        (other, _) => {
            return match settings.apply(other, words, base)? {
                Applied::Set => Ok(Meaning::Setting),
                Applied::WithoutEffect => Ok(Meaning::WithoutEffect),
                Applied::Unknown => Err(format!("unknown directive {:?}", line.words[0])),
            };
        }
    };
    Ok(Meaning::Directive(directive))
}

const ARGUMENTS: &[(&str, &str)] = &[
    ("include", "a file or a pattern"),
    ("includeoptional", "a file or a pattern"),
    ("secaction", "actions"),
    ("secdefaultaction", "actions"),
    ("secmarker", "a name"),
    ("secrule", "variables, an operator and actions"),
    ("secruleremovebyid", "ids"),
    ("secruleremovebymsg", "an expression"),
    ("secruleremovebytag", "an expression"),
    ("secruleupdateactionbyid", "an id and actions"),
    ("secruleupdatetargetbyid", "ids and variables"),
    ("secruleupdatetargetbymsg", "an expression and variables"),
    ("secruleupdatetargetbytag", "an expression and variables"),
];

fn arguments(name: &str, given: usize) -> String {
    let wanted = ARGUMENTS.iter().find(|(known, _)| *known == name).map_or("", |(_, wanted)| wanted);
    format!("expected {wanted}; {given} arguments are given")
}

fn rule(variables: &str, operator: &str, list: &str) -> Result<Directive, String> {
    Ok(Directive::Rule { targets: targets(variables)?, operator: operator::parse(operator)?, actions: actions(list)? })
}

fn update_target(rules: Rules, rest: &[String]) -> Result<Directive, String> {
    match rest {
        [list] => Ok(Directive::UpdateTarget { rules, targets: update_list(list)?, replaced: None }),
        [list, replaced] => {
            Ok(Directive::UpdateTarget { rules, targets: update_list(list)?, replaced: Some(update_list(replaced)?) })
        }
        _ => Err(format!("expected rules and variables; {} arguments are given", rest.len() + 1)),
    }
}

/// An exclusion of a whole collection, such as `!XML`, is allowed here.
fn update_list(text: &str) -> Result<Vec<Target>, String> {
    targets(text.trim_end_matches(','))
}

fn update_action(which: &str, list: &str) -> Result<Directive, String> {
    let (id, link) = which.split_once(':').unwrap_or((which, "0"));
    match (id.parse(), link.parse()) {
        (Ok(id), Ok(link)) => Ok(Directive::UpdateAction { id, link, actions: actions(list)? }),
        _ => Err(format!("{which:?} is not a rule id or id:link")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::lexer;
    use super::*;

    fn read(text: &str) -> Result<Meaning, String> {
        let lines = lexer::lines(&"x".into(), text).unwrap();
        meaning(&lines[0], &mut Settings::default(), Path::new(""))
    }

    #[test]
    fn faults_are_named() {
        for (text, what) in [
            ("SecRule ARGS", "expected variables, an operator and actions; 1 arguments"),
            ("SecThing x", "unknown directive \"SecThing\""),
            ("SecMarker", "expected a name"),
            ("SecRuleUpdateTargetById 1", "expected rules and variables"),
            ("SecRuleUpdateTargetById x ARGS", "is not a rule id"),
            ("SecRuleUpdateActionById 1:x pass", "id:link"),
            ("SecRuleRemoveByTag (", "regex parse error"),
            ("SecRule ARGS \"@rx a\" \"id:1,colour:red\"", "action colour: is unknown"),
        ] {
            let Err(error) = read(text) else { panic!("{text}") };
            assert!(error.contains(what), "{text}: {error}");
        }
    }

    #[test]
    fn rules_have_variables_an_operator_and_actions() {
        let Ok(Meaning::Directive(Directive::Rule { targets, operator, actions })) =
            read("SecRule ARGS|XML:/* \"!@eq 1\" \"id:1,pass\"")
        else {
            panic!()
        };
        assert_eq!((targets.len(), operator.negated, actions.len()), (2, true, 2));
    }
}
