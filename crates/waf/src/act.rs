//! Actions that change the transaction.

use crate::expand::{expand, number, value};
use crate::memory::{EMPTY, write_number};
use crate::rule::{Act, Change, Operand, Rules, Setting};
use crate::seclang::variable::Variable;
use crate::state::State;
use crate::store::{self, Opened, Update};
use crate::text::Text;
use crate::tx::Tx;

/// Obeys an action.
pub fn act(rules: &Rules, state: &mut State, act: &Act) {
    match act {
        Act::SetTx(slot, change) => {
            let old = state.tx[usize::from(*slot)];
            state.tx[usize::from(*slot)] = changed(rules, state, old, change);
        }
        Act::Set { collection: Variable::Tx, name, change } => {
            let name = name_of(rules, state, name);
            let old = state.tx_named(rules, &name);
            let new = changed(rules, state, old, change);
            state.set_tx_named(rules, &name, new);
        }
        Act::Set { collection, name, change } => {
            let name = name_of(rules, state, name);
            let update = update(rules, state, change);
            persist(state, *collection, name, update);
        }
        Act::Expire { collection, name, seconds } => expire(rules, state, *collection, name, seconds),
        Act::SetEnv(name, value) => set_env(rules, state, name, value.as_ref()),
        Act::InitCol(collection, key) => open(rules, state, *collection, key),
        Act::Ctl(setting) => ctl(state, setting),
    }
}

fn name_of(rules: &Rules, state: &mut State, name: &Text) -> Vec<u8> {
    let mut out = Vec::new();
    expand(rules, state, name, &mut out);
    out.make_ascii_lowercase();
    out
}

/// A variable of TX after the change. Counters never fall below zero.
fn changed(rules: &Rules, state: &mut State, old: Tx, change: &Change) -> Tx {
    match change {
        Change::Set(operand) => value(rules, state, operand),
        Change::Add(operand) => sum(old.number(&state.memory), number(rules, state, operand)),
        Change::Subtract(operand) => sum(old.number(&state.memory), number(rules, state, operand).saturating_neg()),
        Change::Remove => Tx::Absent,
    }
}

fn sum(old: i64, number: i64) -> Tx {
    Tx::Number(old.saturating_add(number).max(0))
}

fn update(rules: &Rules, state: &mut State, change: &Change) -> Update {
    match change {
        Change::Set(operand) => {
            let text = match value(rules, state, operand) {
                Tx::Number(number) => {
                    let mut digits = Vec::new();
                    write_number(&mut digits, number);
                    digits
                }
                Tx::Value(id) => state.memory.get(id).to_vec(),
                Tx::Absent => Vec::new(),
            };
            Update::Set(text)
        }
        Change::Add(operand) => Update::Add(number(rules, state, operand)),
        Change::Subtract(operand) => Update::Add(number(rules, state, operand).saturating_neg()),
        Change::Remove => Update::Remove,
    }
}

/// Changes a variable of a collection that is open; others are left alone.
fn persist(state: &mut State, collection: Variable, name: Vec<u8>, update: Update) {
    if let Some(opened) = state.opened.iter_mut().find(|opened| opened.variable == collection) {
        store::apply(&mut opened.variables, &name, &update);
        opened.updates.push((name, update));
    }
}

fn expire(rules: &Rules, state: &mut State, collection: Variable, name: &Text, seconds: &Operand) {
    let name = name_of(rules, state, name);
    let at = state.now.saturating_add_signed(number(rules, state, seconds));
    persist(state, collection, name, Update::Expire(at));
}

fn set_env(rules: &Rules, state: &mut State, name: &str, value: Option<&Text>) {
    let env = Variable::Env as usize;
    let State { many, memory, .. } = state;
    many[env].retain(|pair| memory.get(pair.name) != name.as_bytes());
    if let Some(value) = value {
        let mut out = Vec::new();
        expand(rules, state, value, &mut out);
        state.push(Variable::Env, name.as_bytes(), &out);
    }
}

/// Opens a collection; the first `initcol` of a collection holds.
fn open(rules: &Rules, state: &mut State, variable: Variable, key: &Text) {
    if state.opened.iter().any(|opened| opened.variable == variable) {
        return;
    }
    let mut out = Vec::new();
    expand(rules, state, key, &mut out);
    let id = match variable {
        Variable::Session => Some(Variable::SessionId),
        Variable::User => Some(Variable::UserId),
        _ => None,
    };
    if let Some(id) = id {
        state.set(id, &out);
    }
    let variables = match &rules.store {
        Some(store) => store.load(variable.name(), &out, state.now),
        None => Vec::new(),
    };
    state.opened.push(Opened { variable, key: out, variables, updates: Vec::new() });
}

/// Hands the changes of collections to the store.
pub fn save(rules: &Rules, state: &mut State) {
    let Some(store) = &rules.store else { return };
    for opened in state.opened.drain(..).filter(|opened| !opened.updates.is_empty()) {
        let timeout = rules.settings.collection_timeout;
        store.save(opened.variable.name(), &opened.key, &opened.updates, state.now, timeout);
    }
}

fn ctl(state: &mut State, setting: &Setting) {
    match setting {
        Setting::AuditEngine(mode) => state.audit_mode = *mode,
        Setting::AuditLogParts(parts) => state.audit_parts = Some(parts.clone()),
        Setting::ForceRequestBody(on) => state.force_request_body = *on,
        Setting::RequestBody(on) => state.request_body = *on,
        Setting::RequestLimit(bytes) => state.request_limit = *bytes,
        Setting::Processor(name) => {
            let id = if name.is_empty() { EMPTY } else { state.memory.add(name.as_bytes()) };
            state.singles[Variable::ReqbodyProcessor as usize] = id;
        }
        Setting::ResponseBody(on) => state.response_body = *on,
        Setting::ResponseLimit(bytes) => state.response_limit = *bytes,
        Setting::Engine(mode) => state.mode = *mode,
        Setting::Remove(rules) => state.removed.join(rules),
        Setting::RemoveTargets(number) => {
            if !state.removals.contains(number) {
                state.removals.push(*number);
            }
        }
    }
}
