//! The variables of a request's body.

use crate::body::{json, multipart, xml};
use crate::request::{arguments, combined_size};
use crate::rule::Rules;
use crate::seclang::variable::Variable as V;
use crate::state::State;

/// Reads a request's body with the processor that `REQBODY_PROCESSOR` names.
pub fn request(rules: &Rules, state: &mut State, body: &[u8]) {
    state.set_number(V::RequestBodyLength, body.len() as i64);
    if body.is_empty() {
        return;
    }
    let whole = match state.single(V::ReqbodyProcessor) {
        b"URLENCODED" => {
            arguments(rules, state, V::ArgsPost, body);
            true
        }
        b"JSON" => {
            json(rules, state, body);
            false
        }
        b"MULTIPART" => {
            multipart(rules, state, body);
            false
        }
        b"XML" => {
            xml(state, body);
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

fn xml(state: &mut State, body: &[u8]) {
    let found = xml::parse(body);
    state.push(V::Xml, b"/*", &found.text);
    for value in &found.attributes {
        state.push(V::Xml, b"//@*", value);
    }
    if let Some(message) = found.error {
        failed(state, &message);
    }
}

fn multipart(rules: &Rules, state: &mut State, body: &[u8]) {
    let kind = state.many[V::RequestHeaders as usize]
        .iter()
        .find(|pair| state.memory.get(pair.name).eq_ignore_ascii_case(b"content-type"))
        .map(|pair| state.memory.get(pair.value).to_vec());
    let options =
        multipart::Options { max_files: rules.settings.file_limit, max_parts: rules.settings.arguments_limit };
    let found = multipart::parse(&kind.unwrap_or_default(), body, &options);
    for part in &found.parts {
        state.push(V::MultipartName, b"", &part.name);
        for header in &part.headers {
            state.push(V::MultipartPartHeaders, &part.name, header);
        }
        match &part.filename {
            None => state.push(V::ArgsPost, &part.name, part.data),
            Some(filename) => file(state, &part.name, filename, part.data),
        }
    }
    state.set_number(V::FilesCombinedSize, found.files_combined_size() as i64);
    flags(state, &found);
    if let Some(message) = found.error {
        failed(state, &message);
    }
}

fn file(state: &mut State, name: &[u8], filename: &[u8], data: &[u8]) {
    state.push(V::Files, name, filename);
    state.push(V::MultipartFilename, b"", filename);
    state.push(V::FilesNames, name, name);
    state.push(V::FilesSizes, name, data.len().to_string().as_bytes());
    state.push(V::FilesTmpContent, name, data);
}

fn flags(state: &mut State, found: &multipart::Multipart<'_>) {
    for variable in MULTIPART_FLAGS {
        let name = variable.name().trim_start_matches("MULTIPART_");
        if found.flags.get(name).unwrap_or(false) {
            state.set_number(*variable, 1);
        }
    }
    if found.strict_error() {
        state.set_number(V::MultipartStrictError, 1);
    }
}

/// What is wrong with a multipart body, or odd; 0 as long as nothing sets it.
pub const MULTIPART_FLAGS: &[V] = &[
    V::MultipartBoundaryQuoted,
    V::MultipartBoundaryWhitespace,
    V::MultipartCrlfLfLines,
    V::MultipartDataAfter,
    V::MultipartDataBefore,
    V::MultipartFileLimitExceeded,
    V::MultipartHeaderFolding,
    V::MultipartInvalidHeaderFolding,
    V::MultipartInvalidPart,
    V::MultipartInvalidQuoting,
    V::MultipartLfLine,
    V::MultipartMissingSemicolon,
    V::MultipartUnmatchedBoundary,
];

/// A body that its processor cannot read.
pub fn failed(state: &mut State, message: &str) {
    for variable in [V::ReqbodyError, V::ReqbodyProcessorError] {
        state.set_number(variable, 1);
    }
    for variable in [V::ReqbodyErrorMsg, V::ReqbodyProcessorErrorMsg] {
        state.set(variable, message.as_bytes());
    }
}
