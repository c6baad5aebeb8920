//! The values of variables.

use crate::memory::{NONE, ValueId};
use crate::rule::{Rules, Source};
use crate::seclang::variable::{Kind, Selector, Variable};
use crate::state::{Item, Pair, State};
use crate::tx::Tx;

/// Appends the values of a source.
pub fn source(rules: &Rules, state: &mut State, source: &Source, out: &mut Vec<Item>) {
    let begin = out.len();
    match source.slot {
        Some(slot) => tx_slot(rules, state, slot, out),
        None => values(rules, state, source.variable, &source.selector, out),
    }
    if !source.excludes.is_empty() {
        let memory = &state.memory;
        let mut at = begin;
        while at < out.len() {
            let name = if out[at].name == NONE { &b""[..] } else { memory.get(out[at].name) };
            if source.excludes.iter().any(|selector| selector.picks(name)) {
                out.remove(at);
            } else {
                at += 1;
            }
        }
    }
    if source.count {
        let number = (out.len() - begin) as i64;
        out.truncate(begin);
        let value = state.memory.number(number);
        let name = match &source.selector {
            Selector::Name(name) => state.memory.add(name.as_bytes()),
            _ => NONE,
        };
        out.push(Item { variable: source.variable, name, value, count: true });
    }
}

fn tx_slot(rules: &Rules, state: &mut State, slot: u16, out: &mut Vec<Item>) {
    let tx = state.tx[usize::from(slot)];
    if tx != Tx::Absent {
        let name = state.memory.add(rules.names.name(slot).as_bytes());
        out.push(Item { variable: Variable::Tx, name, value: tx.value(&mut state.memory), count: false });
    }
}

/// Appends the values of a variable.
fn values(rules: &Rules, state: &mut State, variable: Variable, selector: &Selector, out: &mut Vec<Item>) {
    use Variable as V;
    match variable {
        V::Args => {
            pairs(state, V::ArgsGet, variable, selector, out);
            pairs(state, V::ArgsPost, variable, selector, out);
        }
        V::ArgsNames => {
            names(state, V::ArgsGet, variable, selector, out);
            names(state, V::ArgsPost, variable, selector, out);
        }
        V::ArgsGetNames => names(state, V::ArgsGet, variable, selector, out),
        V::ArgsPostNames => names(state, V::ArgsPost, variable, selector, out),
        V::RequestCookiesNames => names(state, V::RequestCookies, variable, selector, out),
        V::RequestHeadersNames => names(state, V::RequestHeaders, variable, selector, out),
        V::ResponseHeadersNames => names(state, V::ResponseHeaders, variable, selector, out),
        V::Tx => tx(rules, state, selector, out),
        V::MatchedVars => matched(state, selector, out),
        V::MatchedVarsNames => {
            let begin = out.len();
            matched(state, selector, out);
            for item in &mut out[begin..] {
                item.value = item_name(state, *item);
            }
        }
        V::Rule => rule(rules, state, selector, out),
        _ if variable.persistent() => persistent(state, variable, selector, out),
        _ if variable.kind() == Kind::Single => {
            let value = single(rules, state, variable);
            if value != NONE {
                out.push(Item { variable, name: NONE, value, count: false });
            }
        }
        _ => pairs(state, variable, variable, selector, out),
    }
}

fn pairs(state: &State, from: Variable, variable: Variable, selector: &Selector, out: &mut Vec<Item>) {
    let picked = state.many[from as usize].iter().filter(|pair| picks(state, selector, **pair));
    out.extend(picked.map(|pair| Item { variable, name: pair.name, value: pair.value, count: false }));
}

fn names(state: &State, from: Variable, variable: Variable, selector: &Selector, out: &mut Vec<Item>) {
    let picked = state.many[from as usize].iter().filter(|pair| picks(state, selector, **pair));
    out.extend(picked.map(|pair| Item { variable, name: pair.name, value: pair.name, count: false }));
}

fn picks(state: &State, selector: &Selector, pair: Pair) -> bool {
    matches!(selector, Selector::All) || selector.picks(state.memory.get(pair.name))
}

fn tx(rules: &Rules, state: &mut State, selector: &Selector, out: &mut Vec<Item>) {
    for slot in 0..rules.names.len() as u16 {
        if state.tx[usize::from(slot)] != Tx::Absent && selector.picks(rules.names.name(slot).as_bytes()) {
            tx_slot(rules, state, slot, out);
        }
    }
    for at in 0..state.tx_more.len() {
        let (name, tx) = state.tx_more[at];
        if tx != Tx::Absent && selector.picks(state.memory.get(name)) {
            out.push(Item { variable: Variable::Tx, name, value: tx.value(&mut state.memory), count: false });
        }
    }
}

/// The names of matched variables are their own, such as `ARGS:id`.
fn matched(state: &mut State, selector: &Selector, out: &mut Vec<Item>) {
    for at in 0..state.matched.len() {
        let item = state.matched[at];
        let picked = matches!(selector, Selector::All) || {
            let name = item_name(state, item);
            selector.picks(state.memory.get(name))
        };
        if picked {
            out.push(item);
        }
    }
}

fn persistent(state: &mut State, variable: Variable, selector: &Selector, out: &mut Vec<Item>) {
    let State { opened, memory, .. } = state;
    for one in opened.iter().filter(|one| one.variable == variable).flat_map(|one| &one.variables) {
        if selector.picks(&one.name) {
            let (name, value) = (memory.add(&one.name), memory.add(&one.value));
            out.push(Item { variable, name, value, count: false });
        }
    }
}

fn rule(rules: &Rules, state: &mut State, selector: &Selector, out: &mut Vec<Item>) {
    let (phase, index) = state.current;
    let chain = usize::from(phase).checked_sub(1).and_then(|phase| rules.phases[phase].get(index as usize));
    let Some(chain) = chain else { return };
    let mut texts = vec![("id", chain.info.id.to_string().into_bytes())];
    for (name, text) in [("msg", &chain.msg), ("logdata", &chain.data)] {
        if let Some(text) = text {
            let mut value = Vec::new();
            crate::expand::expand(rules, state, text, &mut value);
            texts.push((name, value));
        }
    }
    texts.extend(chain.info.severity.map(|level| ("severity", level.to_string().into_bytes())));
    texts.extend(chain.info.rev.as_ref().map(|text| ("rev", text.as_bytes().to_vec())));
    for (name, value) in texts {
        if selector.picks(name.as_bytes()) {
            let (name, value) = (state.memory.add(name.as_bytes()), state.memory.add(&value));
            out.push(Item { variable: Variable::Rule, name, value, count: false });
        }
    }
}

/// The value of a variable that is no collection; `NONE` if it has none.
fn single(rules: &Rules, state: &mut State, variable: Variable) -> ValueId {
    match variable {
        Variable::MatchedVar => state.last_match.map_or(NONE, |item| item.value),
        Variable::MatchedVarName => match state.last_match {
            Some(item) => item_name(state, item),
            None => NONE,
        },
        Variable::HighestSeverity => state.memory.number(i64::from(state.severity)),
        Variable::WebappId => state.memory.add(rules.settings.web_app.as_bytes()),
        _ => crate::clock::value(state, variable).unwrap_or(state.singles[variable as usize]),
    }
}

/// The first value of a variable; `NONE` if it has none.
pub fn first(rules: &Rules, state: &mut State, variable: Variable, name: Option<&str>) -> ValueId {
    if variable.kind() == Kind::Single {
        return single(rules, state, variable);
    }
    let selector = name.map_or(Selector::All, |name| Selector::Name(name.into()));
    let mut items = Vec::new();
    values(rules, state, variable, &selector, &mut items);
    items.first().map_or(NONE, |item| item.value)
}

/// The name of an item, such as `ARGS:id`.
pub fn item_name(state: &mut State, item: Item) -> ValueId {
    let mut name = std::mem::take(&mut state.text);
    name.clear();
    write_item_name(state, item, &mut name);
    let id = state.memory.add(&name);
    state.text = name;
    id
}

/// Appends the name of an item.
pub fn write_item_name(state: &State, item: Item, out: &mut Vec<u8>) {
    if item.count {
        out.push(b'&');
    }
    out.extend_from_slice(item.variable.name().as_bytes());
    if item.name != NONE && item.variable != Variable::Xml {
        out.push(b':');
        out.extend_from_slice(state.memory.get(item.name));
    }
}
