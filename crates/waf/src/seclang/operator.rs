//! The operator of a rule as it was written.

/// `!@rx ^a`: the name without `@`, the argument and whether the result is negated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorText {
    pub negated: bool,
    pub name: String,
    pub argument: String,
}

/// Reads an operator; without `@` it is `rx`.
pub fn parse(text: &str) -> Result<OperatorText, String> {
    let trimmed = text.trim_start();
    let (negated, rest) = match trimmed.strip_prefix('!') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, trimmed),
    };
    let Some(named) = rest.strip_prefix('@') else {
        let argument = if negated { rest } else { text };
        return Ok(OperatorText { negated, name: "rx".into(), argument: argument.into() });
    };
    let end = named.find(char::is_whitespace).unwrap_or(named.len());
    if end == 0 {
        return Err("the operator has no name after @".into());
    }
    let argument = named[end..].trim_start().to_owned();
    Ok(OperatorText { negated, name: named[..end].into(), argument })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_have_a_name_an_argument_and_a_negation() {
        let found = |negated, name: &str, argument: &str| {
            Ok(OperatorText { negated, name: name.into(), argument: argument.into() })
        };
        assert_eq!(parse("@eq 0"), found(false, "eq", "0"));
        assert_eq!(parse("!@within a b"), found(true, "within", "a b"));
        assert_eq!(parse("! ^a"), found(true, "rx", "^a"));
        assert_eq!(parse("^a b"), found(false, "rx", "^a b"));
        assert_eq!(parse("@unconditionalMatch"), found(false, "unconditionalMatch", ""));
        assert!(parse("!@ x").is_err());
    }
}
