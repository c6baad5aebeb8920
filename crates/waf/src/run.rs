//! Runs the rules of a phase.

use std::mem;

use crate::act;
use crate::expand;
use crate::memory::{EMPTY, NONE, ValueId};
use crate::operator::{Captures, Operator};
use crate::pipeline::Node;
use crate::prefilter::Prefilter;
use crate::report;
use crate::resolve;
use crate::rule::{Chain, Link, Quick, Rules, Subject};
use crate::seclang::ctl::EngineMode;
use crate::seclang::variable::Selector;
use crate::state::{Item, Resolved, State};
use crate::tx::Tx;

/// Runs the rules of a phase, 1 to 5.
pub fn phase(rules: &Rules, state: &mut State, phase: u8) {
    state.changed();
    let chains = &rules.phases[usize::from(phase) - 1];
    let mut at = 0;
    while let Some(chain) = chains.get(at) {
        if state.mode == EngineMode::Off {
            return;
        }
        state.current = (phase, at as u32);
        at += 1;
        if state.removed.has(chain.number) || !run(rules, state, chain) {
            continue;
        }
        if state.stopped() {
            return;
        }
        at = chain.skip_to.map_or(at + chain.skip as usize, |to| to as usize);
    }
}

/// Whether all rules of the chain match.
fn run(rules: &Rules, state: &mut State, chain: &Chain) -> bool {
    if !state.matched.is_empty() {
        state.matched.clear();
    }
    for (index, link) in chain.links.iter().enumerate() {
        let last = index + 1 == chain.links.len();
        if !matches(rules, state, chain, link, last) {
            return false;
        }
        if state.stopped() {
            return true;
        }
    }
    true
}

fn matches(rules: &Rules, state: &mut State, chain: &Chain, link: &Link, last: bool) -> bool {
    let Some(list) = link.list else {
        hit(rules, state, chain, link, None, last);
        return true;
    };
    if let Some(quick) = &link.quick
        && !is_quick(rules, state, list, quick, link.negated)
    {
        return false;
    }
    if let (Some(filter), Some(owner), Some(union)) = (&rules.prefilter, link.filter, link.union)
        && !in_union(rules, state, filter, (list, link.node), (union, owner))
    {
        return false;
    }
    let Some(operator) = &link.operator else { return false };
    let mut argument = Vec::new();
    if let Some(text) = &link.argument {
        expand::expand(rules, state, text, &mut argument);
    }
    let asked = Asked { rules, chain, link, operator, argument: &argument, last };
    let list = &rules.lists[list as usize];
    if list.stable {
        let Resolved { start, end, .. } = stable(rules, state, link.list.unwrap_or_default());
        let mut any = false;
        for at in start..end {
            let item = state.items[at as usize];
            any |= asked.item(state, item);
            if state.stopped() {
                break;
            }
        }
        return any;
    }
    let mut items = mem::take(&mut state.scratch);
    items.clear();
    list.sources.iter().for_each(|source| resolve::source(rules, state, source, &mut items));
    let mut any = false;
    for item in &items {
        any |= asked.item(state, *item);
        if state.stopped() {
            break;
        }
    }
    state.scratch = items;
    any
}

/// The values of a list, resolved once a phase.
fn stable(rules: &Rules, state: &mut State, number: u32) -> Resolved {
    let known = state.resolved[number as usize];
    if known.generation == state.generation {
        return known;
    }
    let mut items = mem::take(&mut state.items);
    let start = items.len() as u32;
    for source in &rules.lists[number as usize].sources {
        resolve::source(rules, state, source, &mut items);
    }
    let found = Resolved { generation: state.generation, start, end: items.len() as u32 };
    state.items = items;
    state.resolved[number as usize] = found;
    found
}

/// Whether the operator can match one of the list's values.
fn in_union(
    rules: &Rules,
    state: &mut State,
    filter: &Prefilter,
    (list, node): (u32, Node),
    (union, owner): (u32, u16),
) -> bool {
    if let Some(possible) = state.found.possible_in(union, state.generation, owner) {
        return possible;
    }
    let Resolved { start, end, .. } = stable(rules, state, list);
    state.found.begin(filter, union, state.generation);
    for at in start..end {
        let value = state.items[at as usize].value;
        let value = state.outcomes.of(&rules.pipelines, &mut state.memory, value, node);
        state.found.join(filter, &state.memory, union, value);
    }
    state.found.possible_in(union, state.generation, owner).unwrap_or(true)
}

/// The comparison of numbers, before any text is made.
fn is_quick(rules: &Rules, state: &mut State, list: u32, quick: &Quick, negated: bool) -> bool {
    let left = match quick.subject {
        Subject::Tx(slot) => match state.tx[usize::from(slot)] {
            Tx::Absent => return false,
            tx => tx.number(&state.memory),
        },
        Subject::CountTx(slot) => i64::from(state.tx[usize::from(slot)] != Tx::Absent),
        Subject::Count => {
            let mut items = mem::take(&mut state.scratch);
            items.clear();
            rules.lists[list as usize].sources.iter().for_each(|one| resolve::source(rules, state, one, &mut items));
            let value = items.first().map_or(EMPTY, |item| item.value);
            state.scratch = items;
            crate::memory::read_number(state.memory.get(value))
        }
    };
    let right = expand::number(rules, state, &quick.right);
    quick.comparison.holds(left, right) != negated
}

/// A rule with what it asks of each value.
struct Asked<'a> {
    rules: &'a Rules,
    chain: &'a Chain,
    link: &'a Link,
    operator: &'a Operator,
    argument: &'a [u8],
    last: bool,
}

impl Asked<'_> {
    /// Whether the value matches; acts on a match.
    fn item(&self, state: &mut State, item: Item) -> bool {
        if !state.removals.is_empty() && self.is_hidden(state, item) {
            return false;
        }
        let lines = &self.rules.pipelines;
        if self.link.stages.is_empty() {
            let value = state.outcomes.of(lines, &mut state.memory, item.value, self.link.node);
            return self.value(state, item, value);
        }
        let (mut any, mut before) = (false, NONE);
        for stage in &self.link.stages {
            let value = state.outcomes.of(lines, &mut state.memory, item.value, *stage);
            if value != before {
                any |= self.value(state, item, value);
                before = value;
            }
            if state.stopped() {
                break;
            }
        }
        any
    }

    fn value(&self, state: &mut State, item: Item, value: ValueId) -> bool {
        if let (Some(owner), Some(filter)) = (self.link.filter, &self.rules.prefilter)
            && !state.found.possible(filter, &state.memory, value, owner)
        {
            return false;
        }
        let captured = self.link.capture && !self.link.negated;
        let matched = if captured {
            self.captured(state, value)
        } else {
            self.operator.matches(state.memory.get(value), self.argument, None)
        };
        if matched == self.link.negated {
            return false;
        }
        hit(self.rules, state, self.chain, self.link, Some(Item { value, ..item }), self.last);
        true
    }

    /// Whether it matches; captures become `TX.0` to `TX.9`.
    fn captured(&self, state: &mut State, value: ValueId) -> bool {
        let mut found: [Option<Captured>; 10] = Default::default();
        {
            let input = state.memory.get(value);
            let mut captures = Captures::default();
            if !self.operator.matches(input, self.argument, Some(&mut captures)) {
                return false;
            }
            for (index, slot) in found.iter_mut().enumerate() {
                *slot = captures.get(index).map(|text| Captured::new(input, text));
            }
        }
        for (slot, text) in found.into_iter().enumerate() {
            state.tx[slot] = match text {
                None => Tx::Absent,
                Some(Captured::Part(start, length)) => Tx::Value(state.memory.part(value, start, length)),
                Some(Captured::Own(text)) => Tx::Value(state.memory.add(&text)),
            };
        }
        true
    }

    /// Whether `ctl:ruleRemoveTarget…` took the value away from the rule.
    fn is_hidden(&self, state: &State, item: Item) -> bool {
        state.removals.iter().map(|number| &self.rules.removals[*number as usize]).any(|removal| {
            let name = if item.name == NONE { &b""[..] } else { state.memory.get(item.name) };
            let meant =
                |selector: &Selector| item.name == NONE && matches!(selector, Selector::All) || selector.picks(name);
            removal.targets.iter().any(|target| target.variable == item.variable && meant(&target.selector))
                && removal.rules.has(self.chain.number)
        })
    }
}

/// The text of a capture.
enum Captured {
    /// Where it begins in the value, and its length.
    Part(usize, usize),
    Own(Vec<u8>),
}

impl Captured {
    fn new(whole: &[u8], part: &[u8]) -> Self {
        match (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize) {
            Some(start) if start + part.len() <= whole.len() => Self::Part(start, part.len()),
            _ => Self::Own(part.to_vec()),
        }
    }
}

/// A value matched: remembers it and acts.
fn hit(rules: &Rules, state: &mut State, chain: &Chain, link: &Link, item: Option<Item>, last: bool) {
    if let Some(item) = item {
        state.last_match = Some(item);
        state.matched.push(item);
    }
    for one in &link.acts {
        act::act(rules, state, one);
    }
    if last {
        report::report(rules, state, chain, item);
    }
}
