//! The variables of a request's body.

use crate::body::json;
use crate::request::{arguments, combined_size};
use crate::rule::Rules;
use crate::seclang::variable::Variable as V;
use crate::state::State;

/// Reads a request's body with the processor that `REQBODY_PROCESSOR` names.
pub fn request(rules: &Rules, state: &mut State, body: &[u8]) {
    state.set_number(V::RequestBodyLength, body.len() as i64);
    let whole = match state.single(V::ReqbodyProcessor) {
        b"URLENCODED" => {
            arguments(rules, state, V::ArgsPost, body);
            true
        }
        b"JSON" => {
            json(rules, state, body);
            false
        }
        b"" => state.force_request_body,
        _ => false,
    };
    if whole || state.force_request_body {
        state.set(V::RequestBody, body);
    }
    combined_size(state);
}

fn json(rules: &Rules, state: &mut State, body: &[u8]) {
    let settings = &rules.settings;
    let naming = json::Naming::Indexed;
    let options = json::Options { max_depth: settings.json_depth, max_arguments: settings.arguments_limit, naming };
    let found = json::parse(body, &options);
    for argument in &found.arguments {
        state.push(V::ArgsPost, &argument.name, &argument.value);
    }
    if let Some(message) = found.error {
        failed(state, &message);
    }
}

/// A body that its processor cannot read.
pub fn failed(state: &mut State, message: &str) {
    for variable in [V::ReqbodyError, V::ReqbodyProcessorError] {
        state.set_number(variable, 1);
    }
    for variable in [V::ReqbodyErrorMsg, V::ReqbodyProcessorErrorMsg] {
        state.set(variable, message.as_bytes());
    }
}
