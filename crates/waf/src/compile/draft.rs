//! Chains before they are compiled: what updates and removals work on.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::seclang::action::{Action, Disruption};
use crate::seclang::ctl::Rules;
use crate::seclang::directive::{Directive, Statement};
use crate::seclang::operator::OperatorText;
use crate::seclang::variable::Target;
use crate::seclang::{LoadError, Location};

use super::unique;

/// A place to skip to.
pub struct Marker {
    pub name: Arc<str>,
    /// The number of the first rule after it.
    pub before: usize,
}

/// One rule of a chain as written.
pub struct DraftLink {
    pub at: Location,
    pub text: String,
    pub base: Arc<Path>,
    pub targets: Vec<Target>,
    pub operator: Option<OperatorText>,
    pub actions: Vec<Action>,
}

/// A rule with those chained to it.
pub struct Draft {
    pub id: u64,
    pub phase: u8,
    pub skip_after: Option<Arc<str>>,
    pub links: Vec<DraftLink>,
}

impl Draft {
    /// An error of the chain's first rule.
    pub fn error(&self, what: impl Into<String>) -> LoadError {
        LoadError::new(&self.links[0].at, what, &*self.links[0].text)
    }

    /// Whether the rule is one of those.
    pub fn is_meant(&self, which: &Rules) -> bool {
        let mut actions = self.links[0].actions.iter();
        let text = |template: &crate::seclang::template::Template| template.to_string();
        match which {
            Rules::Ids(ranges) => ranges.iter().any(|(low, high)| (*low..=*high).contains(&self.id)),
            Rules::Tag(regex) => {
                actions.any(|action| matches!(action, Action::Tag(tag) if regex.is_match(text(tag).as_bytes())))
            }
            Rules::Msg(regex) => {
                actions.any(|action| matches!(action, Action::Msg(msg) if regex.is_match(text(msg).as_bytes())))
            }
        }
    }

    /// Adds, excludes or replaces variables of all links that have them.
    fn update_targets(&mut self, targets: &[Target], replaced: Option<&[Target]>) {
        let links = if self.links.len() > 1 { &mut self.links[..1] } else { &mut self.links[..] };
        for link in links {
            if let Some(replaced) = replaced {
                link.targets.retain(|target| !replaced.iter().any(|old| old.same(target)));
            }
            link.targets.extend(
                targets
                    .iter()
                    .filter(|new| !link.targets.iter().any(|old| old.same(new) && old.exclude == new.exclude))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
        }
    }
}

/// All chains in order.
#[derive(Default)]
pub struct Drafts {
    pub drafts: Vec<Draft>,
    pub markers: Vec<Marker>,
    defaults: HashMap<u8, Vec<Action>>,
    /// The actions of `SecDefaultAction` for each rule.
    pub inherited: Vec<Vec<Action>>,
    open: bool,
}

impl Drafts {
    /// Puts chains together and obeys updates and removals, which concern the rules before them.
    pub fn new(statements: Vec<Statement>) -> Result<Self, LoadError> {
        let mut all = Self::default();
        for statement in statements {
            if all.open && !matches!(statement.directive, Directive::Rule { .. } | Directive::Action(_)) {
                return Err(statement.error("the chain before this has no end"));
            }
            all.add(statement)?;
        }
        if let Some(last) = all.drafts.last().filter(|_| all.open) {
            return Err(last.error("the chain has no end: its last rule has the action chain"));
        }
        unique(&all.drafts)?;
        Ok(all)
    }

    fn add(&mut self, statement: Statement) -> Result<(), LoadError> {
        let error = |what: String| LoadError::new(&statement.at, what, &*statement.text);
        match &statement.directive {
            Directive::Rule { .. } | Directive::Action(_) => return self.rule(statement),
            Directive::Marker(name) => {
                self.markers.push(Marker { name: name.clone(), before: self.drafts.len() });
            }
            Directive::DefaultAction(actions) => {
                let phase = phase(actions).unwrap_or(2);
                if !actions.iter().any(|action| matches!(action, Action::Disrupt(_))) {
                    return Err(error("SecDefaultAction needs a disruptive action, such as pass".into()));
                }
                self.defaults.insert(phase, actions.clone());
            }
            Directive::UpdateTarget { rules, targets, replaced } => {
                for draft in self.drafts.iter_mut().filter(|draft| draft.is_meant(rules)) {
                    draft.update_targets(targets, replaced.as_deref());
                }
            }
            Directive::UpdateAction { id, link, actions } => self.update_actions(*id, *link, actions).map_err(error)?,
            Directive::Remove(rules) => self.remove(rules),
        }
        Ok(())
    }

    fn rule(&mut self, statement: Statement) -> Result<(), LoadError> {
        let (targets, operator, actions) = match statement.directive {
            Directive::Rule { targets, operator, actions } => (targets, Some(operator), actions),
            Directive::Action(actions) => (Vec::new(), None, actions),
            _ => return Ok(()),
        };
        let (at, text, base) = (statement.at, statement.text, statement.base);
        let chained = actions.iter().any(|action| matches!(action, Action::Chain));
        let link = DraftLink { at, text, base, targets, operator, actions };
        match self.drafts.last_mut().filter(|_| self.open) {
            Some(draft) => {
                check_link(&link)?;
                draft.links.push(link);
            }
            None => self.start(link)?,
        }
        self.open = chained;
        Ok(())
    }

    fn start(&mut self, link: DraftLink) -> Result<(), LoadError> {
        let error = |what: &str| LoadError::new(&link.at, what, &*link.text);
        let id = link.actions.iter().find_map(|action| if let Action::Id(id) = action { Some(*id) } else { None });
        let id = id.ok_or_else(|| error("the rule has no id"))?;
        let phase = phase(&link.actions).unwrap_or(2);
        let skip_after = link.actions.iter().rev().find_map(|action| match action {
            Action::SkipAfter(name) => Some(name.clone()),
            _ => None,
        });
        self.markers.push(Marker { name: id.to_string().into(), before: self.drafts.len() + 1 });
        self.inherited.push(self.defaults.get(&phase).cloned().unwrap_or_default());
        self.drafts.push(Draft { id, phase, skip_after, links: vec![link] });
        Ok(())
    }

    fn update_actions(&mut self, id: u64, link: usize, actions: &[Action]) -> Result<(), String> {
        let found = self.drafts.iter_mut().find(|draft| draft.id == id).and_then(|draft| draft.links.get_mut(link));
        let Some(found) = found else { return Err(format!("no rule {id} with a link {link} comes before this")) };
        if actions.iter().any(|action| matches!(action, Action::Id(_) | Action::Phase(_) | Action::Chain)) {
            return Err("id, phase and chain cannot be changed".into());
        }
        if actions.iter().any(|action| matches!(action, Action::Transform(_))) {
            found.actions.retain(|action| !matches!(action, Action::Transform(_)));
        }
        found.actions.extend(actions.iter().cloned());
        Ok(())
    }

    fn remove(&mut self, rules: &Rules) {
        let kept: Vec<bool> = self.drafts.iter().map(|draft| !draft.is_meant(rules)).collect();
        let left: Vec<usize> = kept
            .iter()
            .scan(0, |count, keep| {
                let before = *count;
                *count += usize::from(*keep);
                Some(before)
            })
            .collect();
        for marker in &mut self.markers {
            marker.before = left.get(marker.before).copied().unwrap_or(kept.iter().filter(|keep| **keep).count());
        }
        let mut keep = kept.iter();
        self.drafts.retain(|_| *keep.next().unwrap_or(&true));
        let mut keep = kept.iter();
        self.inherited.retain(|_| *keep.next().unwrap_or(&true));
    }
}

fn phase(actions: &[Action]) -> Option<u8> {
    actions.iter().rev().find_map(|action| if let Action::Phase(phase) = action { Some(*phase) } else { None })
}

/// What belongs to a chain's first rule is refused in the others.
fn check_link(link: &DraftLink) -> Result<(), LoadError> {
    let wrong = link.actions.iter().find_map(|action| match action {
        Action::Id(_) => Some("an id"),
        Action::Phase(_) => Some("a phase"),
        Action::Disrupt(disruption) if !matches!(disruption, Disruption::Pass | Disruption::Block) => {
            Some("a disruptive action")
        }
        Action::SkipAfter(_) | Action::Skip(_) => Some("skip or skipAfter"),
        _ => None,
    });
    match wrong {
        Some(what) => Err(LoadError::new(&link.at, format!("only a chain's first rule can have {what}"), &*link.text)),
        None => Ok(()),
    }
}
