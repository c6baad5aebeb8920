//! Operators that compare texts byte by byte, with regard to case.
use super::Captures;
use memchr::memmem;

#[derive(Debug, Clone, Copy)]
pub(super) enum Text {
    Equal,
    Contains,
    ContainsWord,
    Within,
    Begins,
    Ends,
}

impl Text {
    pub(super) fn matches<'a>(self, input: &'a [u8], argument: &'a [u8], captures: Option<&mut Captures<'a>>) -> bool {
        let matched = match self {
            Self::Equal => input == argument,
            Self::Contains => memmem::find(input, argument).is_some(),
            Self::ContainsWord => contains_word(input, argument),
            Self::Within => memmem::find(argument, input).is_some(),
            Self::Begins => input.starts_with(argument),
            Self::Ends => input.ends_with(argument),
        };
        if let Some(captures) = captures.filter(|_| matched) {
            captures.clear();
            captures.set(0, if matches!(self, Self::Within) { input } else { argument });
        }
        matched
    }
}

/// Whether `word` occurs with no letter, digit or underscore on either side.
fn contains_word(input: &[u8], word: &[u8]) -> bool {
    let part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let finder = memmem::Finder::new(word);
    let mut from = 0;
    while let Some(found) = input.get(from..).and_then(|rest| finder.find(rest)) {
        let at = from + found;
        let before = at.checked_sub(1).and_then(|before| input.get(before));
        if word.is_empty() || !(part(before) || part(input.get(at + word.len()))) {
            return true;
        }
        // Two occurrences may overlap.
        from = at + 1;
    }
    false
}
