//! Splits text into directives and their words, as Apache's configuration parser does.

use std::sync::Arc;

use super::error::{LoadError, Location};

/// A directive: its words without quotes, the name first.
#[derive(Debug)]
pub struct Line {
    pub at: Location,
    /// The lines joined, as written.
    pub text: String,
    pub words: Vec<String>,
}

/// The directives of a text. A backslash at the end of a line joins the next one, in comments too.
pub fn lines(file: &Arc<str>, text: &str) -> Result<Vec<Line>, LoadError> {
    let mut found = Vec::new();
    let mut joined = String::new();
    let mut first = 0;
    let mut numbered = text.lines().enumerate().peekable();
    while let Some((index, line)) = numbered.next() {
        if joined.is_empty() {
            first = index + 1;
        }
        match line.strip_suffix('\\') {
            Some(begin) if numbered.peek().is_some() => {
                joined.push_str(begin);
                continue;
            }
            _ => joined.push_str(line),
        }
        let whole = std::mem::take(&mut joined);
        let trimmed = whole.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let at = Location { file: file.clone(), line: first };
        let words = words(trimmed).map_err(|what| LoadError::new(&at, what, trimmed))?;
        found.push(Line { at, text: trimmed.to_owned(), words });
    }
    Ok(found)
}

/// The words of a directive. A backslash escapes a backslash and the quote that is open.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let quote = matches!(first, '"' | '\'').then_some(first);
        let mut word = String::new();
        let mut chars = rest.char_indices().skip(usize::from(quote.is_some())).peekable();
        let mut end = None;
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => match chars.peek() {
                    Some((_, next)) if *next == '\\' || Some(*next) == quote => {
                        word.push(*next);
                        chars.next();
                    }
                    _ => word.push(c),
                },
                _ if Some(c) == quote => {
                    end = Some(at + 1);
                    break;
                }
                _ if quote.is_none() && c.is_whitespace() => {
                    end = Some(at);
                    break;
                }
                _ => word.push(c),
            }
        }
        if quote.is_some() && end.is_none() {
            return Err("the quote is not closed");
        }
        found.push(word);
        rest = rest[end.unwrap_or(rest.len())..].trim_start();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(usize, Vec<String>)> {
        lines(&"x.conf".into(), text).unwrap().into_iter().map(|line| (line.at.line, line.words)).collect()
    }

    #[test]
    fn lines_are_joined_and_numbered_by_their_first() {
        let found = read("\n# comment \\\n  joined to it\nSecRule A \\\n   \"b c\"\nSecMarker x\n");
        assert_eq!(found[0], (4, vec!["SecRule".into(), "A".into(), "b c".into()]));
        assert_eq!(found[1], (6, vec!["SecMarker".into(), "x".into()]));
    }

    #[test]
    fn a_backslash_escapes_the_open_quote_and_itself_only() {
        let found = read(r#"SecRule A "@rx [\"'`]\s\\ \'" 'it\'s'"#);
        assert_eq!(found[0].1[2], r#"@rx ["'`]\s\ \'"#);
        assert_eq!(found[0].1[3], "it's");
    }

    #[test]
    fn an_open_quote_is_refused_with_its_line() {
        let error = lines(&"x.conf".into(), "\nSecRule A \"b").unwrap_err();
        assert_eq!(error.to_string(), "x.conf:2: the quote is not closed\n    SecRule A \"b");
    }
}
