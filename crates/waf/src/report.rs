//! A chain has matched: the record and the disruptive action.

use crate::expand::expand;
use crate::record::{Intervention, Match, Verdict};
use crate::resolve;
use crate::rule::{Chain, Effect, Rules};
use crate::seclang::ctl::EngineMode;
use crate::state::{Item, State};
use crate::text::Text;
use crate::tx::Tx;

/// So much of a value is recorded, in bytes.
const RECORDED: usize = 1024;

/// Records the match and obeys the disruptive action.
pub fn report(rules: &Rules, state: &mut State, chain: &Chain, item: Option<Item>) {
    if let Some(severity) = chain.info.severity {
        state.severity = state.severity.min(severity);
    }
    if chain.log || chain.audit {
        record(rules, state, chain, item);
    }
    if state.mode == EngineMode::On && chain.info.phase < 5 {
        disrupt(rules, state, chain);
    }
}

fn record(rules: &Rules, state: &mut State, chain: &Chain, item: Option<Item>) {
    let mut text = |text: &Text| {
        let mut out = Vec::new();
        expand(rules, state, text, &mut out);
        out
    };
    let message = chain.msg.as_ref().map(&mut text).unwrap_or_default();
    let data = chain.data.as_ref().map(&mut text).unwrap_or_default();
    let tags = chain.tags.iter().map(&mut text).collect();
    let mut variable = Vec::new();
    let mut value = Vec::new();
    if let Some(item) = item {
        resolve::write_item_name(state, item, &mut variable);
        value.extend_from_slice(cut(state.memory.get(item.value)));
    }
    let captured = chain.links.last().is_some_and(|link| link.capture);
    let part = match state.tx[0] {
        Tx::Value(id) if captured => Some(cut(state.memory.get(id)).to_vec()),
        _ => None,
    };
    state.relevant |= chain.audit;
    let (log, audit) = (chain.log, chain.audit);
    state.matches.push(Match { rule: chain.info.clone(), message, data, tags, variable, value, part, log, audit });
}

fn cut(value: &[u8]) -> &[u8] {
    &value[..value.len().min(RECORDED)]
}

fn disrupt(rules: &Rules, state: &mut State, chain: &Chain) {
    let (verdict, status) = match &chain.effect {
        Effect::Pass => return,
        Effect::Allow(allow) => {
            state.allow = Some(*allow);
            return;
        }
        Effect::Deny => (Verdict::Deny, chain.status),
        Effect::Drop => (Verdict::Drop, chain.status),
        Effect::Redirect(text) => {
            let mut url = Vec::new();
            expand(rules, state, text, &mut url);
            let status = if matches!(chain.status, 301 | 302 | 303 | 307 | 308) { chain.status } else { 302 };
            (Verdict::Redirect(url), status)
        }
    };
    state.intervention = Some(Intervention { verdict, status, rule: chain.info.id, phase: chain.info.phase });
}
