//! Macros replaced by values.

use crate::memory::{NONE, read_number, write_number};
use crate::resolve;
use crate::rule::{Operand, Rules};
use crate::seclang::variable::Variable;
use crate::state::State;
use crate::text::{Part, Text};
use crate::tx::Tx;

/// Appends the text; a variable without a value is empty.
pub fn expand(rules: &Rules, state: &mut State, text: &Text, out: &mut Vec<u8>) {
    for part in &text.0 {
        match part {
            Part::Literal(literal) => out.extend_from_slice(literal),
            Part::Tx(slot) => match state.tx[usize::from(*slot)] {
                Tx::Absent => {}
                Tx::Number(number) => write_number(out, number),
                Tx::Value(id) => out.extend_from_slice(state.memory.get(id)),
            },
            Part::Macro(Variable::MatchedVarName, _) => {
                if let Some(item) = state.last_match {
                    resolve::write_item_name(state, item, out);
                }
            }
            Part::Macro(variable, name) => {
                let id = resolve::first(rules, state, *variable, name.as_deref());
                if id != NONE {
                    out.extend_from_slice(state.memory.get(id));
                }
            }
        }
    }
}

/// The number of an operand.
pub fn number(rules: &Rules, state: &mut State, operand: &Operand) -> i64 {
    match operand {
        Operand::Number(number) => *number,
        Operand::Tx(slot) => state.tx[usize::from(*slot)].number(&state.memory),
        Operand::Text(text) => {
            let mut out = Vec::new();
            expand(rules, state, text, &mut out);
            read_number(&out)
        }
    }
}

/// The value of an operand.
pub fn value(rules: &Rules, state: &mut State, operand: &Operand) -> Tx {
    match operand {
        Operand::Number(number) => Tx::Number(*number),
        Operand::Tx(slot) => match state.tx[usize::from(*slot)] {
            Tx::Absent => Tx::Value(crate::memory::EMPTY),
            tx => tx,
        },
        Operand::Text(text) => {
            let mut out = Vec::new();
            expand(rules, state, text, &mut out);
            Tx::Value(state.memory.add(&out))
        }
    }
}
