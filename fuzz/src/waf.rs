//! Targets of the web application firewall: transformations, operators, body processors.
use buchner_waf::body::{cookies, json, multipart, urlencoded, xml};
use buchner_waf::operator::{Captures, Operator};
use buchner_waf::transform::Transform;
use std::borrow::Cow;
use std::path::Path;

/// Transformations, the first byte chooses which.
///
/// Laws: what is borrowed is a part of the input; the output is at most three times as long; what encodes is undone by
/// what decodes; what only removes or folds does nothing the second time.
pub fn transform(data: &[u8]) {
    use Transform as T;
    let [choice, input @ ..] = data else { return };
    let transform = T::ALL[usize::from(*choice) % T::ALL.len()];
    let out = transform.apply(input);
    assert!(out.len() <= 3 * input.len() + 40, "{} makes {} of {}", transform.name(), out.len(), input.len());
    if let Cow::Borrowed(part) = &out {
        assert!(input.windows(part.len().max(1)).any(|piece| piece == *part) || part.is_empty());
    }
    let undone = match transform {
        T::Base64Encode => Some(T::Base64Decode),
        T::HexEncode => Some(T::HexDecode),
        T::UrlEncode => Some(T::UrlDecode),
        _ => None,
    };
    if let Some(decode) = undone {
        assert_eq!(decode.apply(&out), input);
        assert_eq!(T::from_name(decode.name()), Some(decode));
    }
    let stable = matches!(
        transform,
        T::Lowercase
            | T::Uppercase
            | T::CompressWhitespace
            | T::RemoveWhitespace
            | T::RemoveNulls
            | T::ReplaceNulls
            | T::NormalizePath
            | T::NormalizePathWin
            | T::Trim
            | T::TrimLeft
            | T::TrimRight
            | T::None
            | T::ParityZero7bit
            | T::ReplaceComments
    );
    if stable {
        assert_eq!(transform.apply(&out), out, "{}", transform.name());
    }
    let _ = transform.apply_with(input, None);
}

/// Operators: an argument and values, separated by NUL; the first byte chooses the operator.
///
/// Laws: captures change no verdict; a value that matches has one of the literals that the operator requires; capture 0 of
/// a regular expression is a part of the value.
pub fn operator(data: &[u8]) {
    const NAMES: &[&str] = &[
        "rx",
        "rx",
        "rx",
        "rxGlobal",
        "pm",
        "streq",
        "contains",
        "containsWord",
        "within",
        "beginsWith",
        "endsWith",
        "eq",
        "lt",
        "ipMatch",
        "validateByteRange",
        "validateUtf8Encoding",
        "validateUrlEncoding",
        "detectSQLi",
        "detectXSS",
        "verifyCC",
        "verifySSN",
        "verifyCPF",
    ];
    let [choice, rest @ ..] = data else { return };
    let mut pieces = rest.split(|byte| *byte == 0);
    let Some(argument) = pieces.next().and_then(|piece| std::str::from_utf8(piece).ok()) else { return };
    let name = NAMES[usize::from(*choice) % NAMES.len()];
    let operator = match Operator::compile(name, argument, Path::new(".")) {
        Ok(operator) => operator,
        Err(error) => return assert!(error.starts_with(&format!("@{name}: "))),
    };
    for value in pieces {
        let mut captures = Captures::default();
        let matched = operator.matches(value, b"1", Some(&mut captures));
        assert_eq!(matched, operator.matches(value, b"1", None));
        if !matched {
            continue;
        }
        if let Some(literals) = operator.required_literals() {
            let lower = value.to_ascii_lowercase();
            let has = |text: &[u8]| lower.windows(text.len()).any(|piece| piece == text);
            assert!(literals.shortest() > 0 && literals.texts.iter().any(|text| has(text)), "{argument}: {literals:?}");
        }
        if let ("rx", Some(text)) = (name, captures.get(0)) {
            assert!(text.is_empty() || value.windows(text.len()).any(|piece| piece == text));
        }
    }
}

/// Body processors, the first byte chooses which; of multipart, the first line is the header `Content-Type`.
///
/// Laws: what is read is no longer than what was sent, but for entities of XML and the paths of JSON; JSON is what
/// another parser takes for it.
pub fn body(data: &[u8]) {
    let [choice, input @ ..] = data else { return };
    match choice % 5 {
        0 => query(input),
        1 => {
            let pairs: Vec<_> = cookies::pairs(input, b';').collect();
            assert!(pairs.iter().map(|(name, value)| name.len() + value.len() + 1).sum::<usize>() <= input.len() + 1);
        }
        2 => json_body(input),
        3 => form(input),
        _ => {
            let read = xml::parse(input);
            let size: usize = read.attributes.iter().map(Vec::len).sum();
            assert!(read.text.len() + size <= 3 * input.len() + (64 << 10));
            assert!(read.error.is_none_or(|error| error.starts_with("XML parsing error: ")));
        }
    }
}

fn query(input: &[u8]) {
    let pairs: Vec<_> = urlencoded::pairs(input, b'&').collect();
    let separators = input.iter().filter(|byte| **byte == b'&').count();
    assert!(pairs.len() <= separators + 1);
    assert!(pairs.iter().map(|pair| pair.name.len() + pair.value.len()).sum::<usize>() <= input.len());
}

fn json_body(input: &[u8]) {
    let options = json::Options { max_depth: 100, ..json::Options::default() };
    let read = json::parse(input, &options);
    let repeated = json::parse(input, &json::Options { naming: json::Naming::Repeated, ..options });
    assert!(read.arguments.len() <= options.max_arguments);
    if read.error.is_none() && repeated.error.is_none() {
        let values =
            |read: &json::Json| read.arguments.iter().map(|argument| argument.value.clone()).collect::<Vec<_>>();
        assert_eq!(values(&read), values(&repeated));
    }
    match (serde_json::from_slice::<serde_json::Value>(input), &read.error) {
        (Err(other), None) => {
            let other = other.to_string();
            let known = ["surrogate", "hex escape", "number out of range"];
            assert!(known.iter().any(|text| other.contains(text)), "read, but: {other}");
        }
        (Ok(_), Some(error)) => {
            let limits = ["deeper", "arguments", "a path of"];
            assert!(limits.iter().any(|text| error.contains(text)), "valid, but: {error}");
        }
        _ => {}
    }
}

fn form(input: &[u8]) {
    let (content_type, body) = match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &input[input.len()..]),
    };
    let read = multipart::parse(content_type, body, &multipart::Options::default());
    let size =
        |part: &multipart::Part<'_>| part.data.len() + part.headers.iter().map(|header| header.len()).sum::<usize>();
    assert!(read.parts.iter().map(size).sum::<usize>() <= body.len());
    assert_eq!(read.arguments().count() + read.files().count(), read.parts.len());
    assert!(read.files_combined_size() <= body.len());
    assert!(read.error.is_none() || read.strict_error());
}
