//! What one transaction knows.

use std::time::Instant;

use crate::bits::Bits;
use crate::memory::{EMPTY, Memory, NONE, ValueId};
use crate::pipeline::Outcomes;
use crate::prefilter::Found;
use crate::record::{Intervention, Match};
use crate::rule::Rules;
use crate::seclang::action::Allow;
use crate::seclang::ctl::{AuditMode, EngineMode};
use crate::seclang::variable::{VARIABLES, Variable};
use crate::store::Opened;
use crate::tx::Tx;

/// A named value of a collection.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub name: ValueId,
    pub value: ValueId,
}

/// A value that a rule looks at.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    pub variable: Variable,
    /// `NONE`, if the variable is no collection.
    pub name: ValueId,
    pub value: ValueId,
    pub count: bool,
}

/// The values of a list that stay the same for a phase.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resolved {
    pub generation: u32,
    pub start: u32,
    pub end: u32,
}

/// The variables of a transaction and how far it has come.
#[derive(Debug)]
pub struct State {
    pub memory: Memory,
    pub outcomes: Outcomes,
    pub found: Found,
    /// The variables with one value.
    pub singles: [ValueId; VARIABLES],
    /// The collections; those that are views of others stay empty.
    pub many: Vec<Vec<Pair>>,
    pub tx: Vec<Tx>,
    /// Variables of TX without a slot.
    pub tx_more: Vec<(ValueId, Tx)>,
    /// Values matched by the chain that runs.
    pub matched: Vec<Item>,
    pub last_match: Option<Item>,
    pub opened: Vec<Opened>,
    pub removed: Bits,
    pub removals: Vec<u32>,
    pub resolved: Vec<Resolved>,
    pub generation: u32,
    pub items: Vec<Item>,
    pub scratch: Vec<Item>,
    pub text: Vec<u8>,
    /// The phase, and the index of the rule that runs.
    pub current: (u8, u32),
    pub mode: EngineMode,
    pub audit_mode: AuditMode,
    pub audit_parts: Option<String>,
    pub request_body: bool,
    pub request_limit: u64,
    pub response_body: bool,
    pub response_limit: u64,
    pub force_request_body: bool,
    pub severity: u8,
    pub allow: Option<Allow>,
    pub relevant: bool,
    pub matches: Vec<Match>,
    pub intervention: Option<Intervention>,
    pub begun: Option<Instant>,
    /// Seconds since 1970 at the beginning.
    pub now: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            memory: Memory::default(),
            outcomes: Outcomes::default(),
            found: Found::default(),
            singles: [NONE; VARIABLES],
            many: vec![Vec::new(); VARIABLES],
            tx: Vec::new(),
            tx_more: Vec::new(),
            matched: Vec::new(),
            last_match: None,
            opened: Vec::new(),
            removed: Bits::default(),
            removals: Vec::new(),
            resolved: Vec::new(),
            generation: 1,
            items: Vec::new(),
            scratch: Vec::new(),
            text: Vec::new(),
            current: (0, 0),
            mode: EngineMode::Off,
            audit_mode: AuditMode::Off,
            audit_parts: None,
            request_body: false,
            request_limit: 0,
            response_body: false,
            response_limit: 0,
            force_request_body: false,
            severity: NO_SEVERITY,
            allow: None,
            relevant: false,
            matches: Vec::new(),
            intervention: None,
            begun: None,
            now: 0,
        }
    }
}

/// No rule with a severity has matched.
pub const NO_SEVERITY: u8 = 255;

/// Bytes that a state keeps for the next transaction.
const KEPT: usize = 262_144;

impl State {
    /// Makes it ready for a transaction.
    pub fn begin(&mut self, rules: &Rules) {
        self.memory.clear(KEPT);
        self.outcomes.clear();
        self.found.clear();
        self.singles = [NONE; VARIABLES];
        self.many.iter_mut().for_each(Vec::clear);
        self.tx.clear();
        self.tx.resize(rules.names.len(), Tx::Absent);
        self.tx_more.clear();
        self.matched.clear();
        self.last_match = None;
        self.opened.clear();
        self.removed.clear();
        self.removals.clear();
        self.resolved.resize(rules.lists.len(), Resolved::default());
        self.generation = self.generation.wrapping_add(1);
        self.items.clear();
        self.current = (0, 0);
        let settings = &rules.settings;
        self.mode = settings.engine;
        self.audit_mode = settings.audit.mode;
        self.audit_parts = None;
        (self.request_body, self.request_limit) = (settings.request_body, settings.request_limit);
        (self.response_body, self.response_limit) = (settings.response_body, settings.response_limit);
        self.force_request_body = false;
        self.severity = NO_SEVERITY;
        self.allow = None;
        self.relevant = false;
        self.matches.clear();
        self.intervention = None;
    }

    /// Sets a variable with one value.
    pub fn set(&mut self, variable: Variable, value: &[u8]) {
        self.singles[variable as usize] = self.memory.add(value);
    }

    /// Sets a variable to a number.
    pub fn set_number(&mut self, variable: Variable, number: i64) {
        self.singles[variable as usize] = self.memory.number(number);
    }

    /// Adds a named value to a collection.
    pub fn push(&mut self, variable: Variable, name: &[u8], value: &[u8]) {
        let pair = Pair { name: self.memory.add(name), value: self.memory.add(value) };
        self.many[variable as usize].push(pair);
    }

    /// The text of a variable with one value; empty if it has none.
    pub fn single(&self, variable: Variable) -> &[u8] {
        let id = self.singles[variable as usize];
        self.memory.get(if id == NONE { EMPTY } else { id })
    }

    /// Values of variables have changed: lists are resolved anew.
    pub fn changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.items.clear();
    }

    /// A variable of TX by name; the name is in lower case.
    pub fn tx_named(&self, rules: &Rules, name: &[u8]) -> Tx {
        match rules.names.find(name) {
            Some(slot) => self.tx[usize::from(slot)],
            None => self.tx_more.iter().find(|(id, _)| self.memory.get(*id) == name).map_or(Tx::Absent, |(_, tx)| *tx),
        }
    }

    /// Sets a variable of TX by name; the name is in lower case.
    pub fn set_tx_named(&mut self, rules: &Rules, name: &[u8], value: Tx) {
        if let Some(slot) = rules.names.find(name) {
            self.tx[usize::from(slot)] = value;
        } else if let Some(at) = self.tx_more.iter().position(|(id, _)| self.memory.get(*id) == name) {
            self.tx_more[at].1 = value;
        } else {
            let name = self.memory.add(name);
            self.tx_more.push((name, value));
        }
    }

    /// Whether the transaction is decided.
    pub fn stopped(&self) -> bool {
        self.intervention.is_some() || self.allow.is_some()
    }
}
