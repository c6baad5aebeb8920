//! The actions of a chain.

use std::sync::Arc;

use crate::rule::{Act, Chain, Change, Effect, Link, Removal, RuleInfo, Setting};
use crate::seclang::LoadError;
use crate::seclang::action::{self, Action, Disruption, SetVar};
use crate::seclang::ctl::Ctl;
use crate::seclang::template::Template;
use crate::seclang::variable::Variable;
use crate::text::Text;

use super::draft::{Draft, Drafts};
use super::link::{link, operand};
use super::{Shop, numbers};

/// Compiles a chain.
pub fn chain(draft: &Draft, number: u32, drafts: &Drafts, shop: &mut Shop) -> Result<Chain, LoadError> {
    let inherited = drafts.inherited.get(number as usize).map_or(&[][..], Vec::as_slice);
    let mut links = Vec::new();
    for written in &draft.links {
        let mut made = link(written, inherited, shop)?;
        made.acts = written.actions.iter().filter_map(|action| act(action, &drafts.drafts, shop)).collect();
        links.push(made);
    }
    Ok(assemble(draft, number, inherited, links, shop))
}

fn assemble(draft: &Draft, number: u32, inherited: &[Action], links: Vec<Link>, shop: &mut Shop) -> Chain {
    let first = &draft.links[0].actions;
    let info = RuleInfo {
        id: draft.id,
        at: draft.links[0].at.clone(),
        phase: draft.phase,
        severity: last(first, |action| if let Action::Severity(severity) = action { Some(*severity) } else { None }),
        rev: last(first, |action| if let Action::Rev(text) = action { Some(text.clone()) } else { None }),
        ver: last(first, |action| if let Action::Ver(text) = action { Some(text.clone()) } else { None }),
        maturity: last(first, |action| if let Action::Maturity(level) = action { Some(*level) } else { None }),
        accuracy: last(first, |action| if let Action::Accuracy(level) = action { Some(*level) } else { None }),
    };
    let own = [inherited, first].concat();
    let log = last(&own, |action| if let Action::Log(log) = action { Some(*log) } else { None }).unwrap_or(true);
    // `nolog` implies `noauditlog`, and `log` implies `auditlog`; what comes later holds.
    let audit = last(&own, |action| match action {
        Action::Log(value) | Action::AuditLog(value) => Some(*value),
        _ => None,
    });
    let mut text = |pick: fn(&Action) -> Option<&Template>| {
        let template = draft.links.iter().find_map(|link| link.actions.iter().rev().find_map(pick));
        template.map(|template| Text::new(template, &mut shop.names))
    };
    let msg = text(|action| if let Action::Msg(text) = action { Some(text) } else { None });
    let data = text(|action| if let Action::LogData(text) = action { Some(text) } else { None });
    let tags = first.iter().filter_map(|action| match action {
        Action::Tag(tag) => Some(Text::new(tag, &mut shop.names)),
        _ => None,
    });
    Chain {
        info: Arc::new(info),
        number,
        links: links.into(),
        tags: tags.collect(),
        effect: effect(first, inherited, shop),
        status: last(&own, |action| if let Action::Status(code) = action { Some(*code) } else { None }).unwrap_or(403),
        log,
        audit: audit.unwrap_or(true),
        msg,
        data,
        skip_to: None,
        skip: last(first, |action| if let Action::Skip(count) = action { Some(*count) } else { None }).unwrap_or(0),
    }
}

fn last<T>(actions: &[Action], pick: impl Fn(&Action) -> Option<T>) -> Option<T> {
    actions.iter().rev().find_map(pick)
}

/// The disruptive action: `block` and none at all mean that of `SecDefaultAction`; without one that is `pass`.
fn effect(own: &[Action], inherited: &[Action], shop: &mut Shop) -> Effect {
    let pick = |action: &Action| if let Action::Disrupt(disruption) = action { Some(disruption.clone()) } else { None };
    let chosen = match last(own, pick) {
        None | Some(Disruption::Block) => last(inherited, pick).unwrap_or(Disruption::Pass),
        Some(disruption) => disruption,
    };
    match chosen {
        Disruption::Block | Disruption::Pass => Effect::Pass,
        Disruption::Deny => Effect::Deny,
        Disruption::Drop => Effect::Drop,
        Disruption::Allow(allow) => Effect::Allow(allow),
        Disruption::Redirect(template) => Effect::Redirect(Text::new(&template, &mut shop.names)),
    }
}

fn act(action: &Action, drafts: &[Draft], shop: &mut Shop) -> Option<Act> {
    let names = &mut shop.names;
    Some(match action {
        Action::SetVar(set) => setvar(set, shop),
        Action::Expire { collection, name, seconds } => Act::Expire {
            collection: *collection,
            name: Text::new(name, names),
            seconds: operand(Text::new(seconds, names)),
        },
        Action::SetEnv { name, value } => {
            Act::SetEnv(name.clone(), value.as_ref().map(|value| Text::new(value, names)))
        }
        Action::InitCol { collection, key } => Act::InitCol(*collection, Text::new(key, names)),
        Action::Ctl(ctl) => Act::Ctl(setting(ctl, drafts, &mut shop.removals)),
        _ => return None,
    })
}

fn setvar(set: &SetVar, shop: &mut Shop) -> Act {
    let names = &mut shop.names;
    let change = match &set.change {
        action::Change::Set(text) => Change::Set(operand(Text::new(text, names))),
        action::Change::Add(text) => Change::Add(operand(Text::new(text, names))),
        action::Change::Subtract(text) => Change::Subtract(operand(Text::new(text, names))),
        action::Change::Remove => Change::Remove,
    };
    match set.name.constant() {
        Some(name) if set.collection == Variable::Tx => Act::SetTx(names.slot(name), change),
        _ => Act::Set { collection: set.collection, name: Text::new(&set.name, names), change },
    }
}

fn setting(ctl: &Ctl, drafts: &[Draft], removals: &mut Vec<Removal>) -> Setting {
    match ctl {
        Ctl::AuditEngine(mode) => Setting::AuditEngine(*mode),
        Ctl::AuditLogParts(parts) => Setting::AuditLogParts(parts.clone()),
        Ctl::ForceRequestBodyVariable(on) => Setting::ForceRequestBody(*on),
        Ctl::RequestBodyAccess(on) => Setting::RequestBody(*on),
        Ctl::RequestBodyLimit(bytes) => Setting::RequestLimit(*bytes),
        Ctl::RequestBodyProcessor(name) => Setting::Processor(name.clone()),
        Ctl::ResponseBodyAccess(on) => Setting::ResponseBody(*on),
        Ctl::ResponseBodyLimit(bytes) => Setting::ResponseLimit(*bytes),
        Ctl::RuleEngine(mode) => Setting::Engine(*mode),
        Ctl::Remove(rules) => Setting::Remove(numbers(rules, drafts)),
        Ctl::RemoveTargets(rules, targets) => {
            removals.push(Removal { rules: numbers(rules, drafts), targets: targets.clone().into() });
            Setting::RemoveTargets(removals.len() as u32 - 1)
        }
    }
}
