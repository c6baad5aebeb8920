//! Lists of variables: equal ones are kept once.

use std::collections::HashMap;

use crate::rule::{List, Source};
use crate::seclang::variable::{Selector, Target, Variable};
use crate::tx::Names;

/// The lists so far.
#[derive(Default)]
pub struct Lists {
    known: HashMap<String, u32>,
    lists: Vec<List>,
}

impl Lists {
    /// The number of a list.
    pub fn add(&mut self, targets: &[Target], names: &mut Names) -> u32 {
        let key = targets.iter().map(|target| format!("{target:?}")).collect::<Vec<_>>().join("|");
        if let Some(number) = self.known.get(&key) {
            return *number;
        }
        let sources: Box<[Source]> = targets.iter().filter_map(|target| source(target, targets, names)).collect();
        let stable = sources.iter().all(|source| !source.count && stable(source.variable));
        let number = self.lists.len() as u32;
        self.lists.push(List { sources, stable });
        self.known.insert(key, number);
        number
    }

    /// The list of a number.
    pub fn get(&self, number: u32) -> &List {
        &self.lists[number as usize]
    }

    /// All lists.
    pub fn finish(self) -> Box<[List]> {
        self.lists.into()
    }
}

/// The values of a target without those that the list excludes; `None` if it excludes all.
fn source(target: &Target, all: &[Target], names: &mut Names) -> Option<Source> {
    let mut excludes = Vec::new();
    for other in all.iter().filter(|other| other.exclude && other.variable == target.variable) {
        match (&other.selector, &target.selector) {
            (Selector::All, _) => return None,
            (Selector::Name(a), Selector::Name(b)) if a == b => return None,
            (selector, _) => excludes.push(selector.clone()),
        }
    }
    let slot = match (&target.selector, target.variable) {
        (Selector::Name(name), Variable::Tx) => Some(names.slot(name)),
        _ => None,
    };
    let (variable, selector, count) = (target.variable, target.selector.clone(), target.count);
    (!target.exclude).then(|| Source { variable, selector, count, slot, excludes: excludes.into() })
}

/// Whether the variable keeps its values throughout a phase.
fn stable(variable: Variable) -> bool {
    use Variable as V;
    !variable.persistent()
        && !matches!(
            variable,
            V::Tx
                | V::Rule
                | V::Env
                | V::MatchedVar
                | V::MatchedVarName
                | V::MatchedVars
                | V::MatchedVarsNames
                | V::HighestSeverity
                | V::Duration
                | V::ReqbodyProcessor
                | V::SessionId
                | V::UserId
        )
}
