//! The variables of rules and how a rule selects from them.

use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

/// What a variable holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One value.
    Single,
    /// Named values; a selector picks some of them.
    Many,
    /// A document; the selector is a path into it.
    Document,
}

macro_rules! variables {
    ($($variant:ident $name:literal $kind:ident),* $(,)?) => {
        /// A variable of ModSecurity's reference manual.
        #[allow(missing_docs)] // their names are those of the manual
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Variable { $($variant),* }

        const TABLE: &[(&str, Variable, Kind)] = &[$(($name, Variable::$variant, Kind::$kind)),*];
    };
}

variables! {
    Args "ARGS" Many, ArgsCombinedSize "ARGS_COMBINED_SIZE" Single, ArgsGet "ARGS_GET" Many,
    ArgsGetNames "ARGS_GET_NAMES" Many, ArgsNames "ARGS_NAMES" Many, ArgsPost "ARGS_POST" Many,
    ArgsPostNames "ARGS_POST_NAMES" Many, AuthType "AUTH_TYPE" Single, Duration "DURATION" Single, Env "ENV" Many,
    Files "FILES" Many, FilesCombinedSize "FILES_COMBINED_SIZE" Single, FilesNames "FILES_NAMES" Many,
    FilesSizes "FILES_SIZES" Many, FilesTmpContent "FILES_TMP_CONTENT" Many, FilesTmpNames "FILES_TMPNAMES" Many,
    FullRequest "FULL_REQUEST" Single, FullRequestLength "FULL_REQUEST_LENGTH" Single, Global "GLOBAL" Many,
    HighestSeverity "HIGHEST_SEVERITY" Single, InboundDataError "INBOUND_DATA_ERROR" Single, Ip "IP" Many, MatchedVar "MATCHED_VAR" Single, MatchedVarName "MATCHED_VAR_NAME" Single,
    MatchedVars "MATCHED_VARS" Many, MatchedVarsNames "MATCHED_VARS_NAMES" Many, ModsecBuild "MODSEC_BUILD" Single,
    MscPcreLimitsExceeded "MSC_PCRE_LIMITS_EXCEEDED" Single,
    MultipartBoundaryQuoted "MULTIPART_BOUNDARY_QUOTED" Single,
    MultipartBoundaryWhitespace "MULTIPART_BOUNDARY_WHITESPACE" Single,
    MultipartCrlfLfLines "MULTIPART_CRLF_LF_LINES" Single, MultipartDataAfter "MULTIPART_DATA_AFTER" Single,
    MultipartDataBefore "MULTIPART_DATA_BEFORE" Single,
    MultipartFileLimitExceeded "MULTIPART_FILE_LIMIT_EXCEEDED" Single, MultipartFilename "MULTIPART_FILENAME" Many,
    MultipartHeaderFolding "MULTIPART_HEADER_FOLDING" Single,
    MultipartInvalidHeaderFolding "MULTIPART_INVALID_HEADER_FOLDING" Single,
    MultipartInvalidPart "MULTIPART_INVALID_PART" Single, MultipartInvalidQuoting "MULTIPART_INVALID_QUOTING" Single,
    MultipartLfLine "MULTIPART_LF_LINE" Single, MultipartMissingSemicolon "MULTIPART_MISSING_SEMICOLON" Single,
    MultipartName "MULTIPART_NAME" Many, MultipartPartHeaders "MULTIPART_PART_HEADERS" Many,
    MultipartStrictError "MULTIPART_STRICT_ERROR" Single,
    MultipartUnmatchedBoundary "MULTIPART_UNMATCHED_BOUNDARY" Single,
    OutboundDataError "OUTBOUND_DATA_ERROR" Single, PathInfo "PATH_INFO" Single, QueryString "QUERY_STRING" Single,
    RemoteAddr "REMOTE_ADDR" Single, RemoteHost "REMOTE_HOST" Single, RemotePort "REMOTE_PORT" Single,
    RemoteUser "REMOTE_USER" Single, ReqbodyError "REQBODY_ERROR" Single, ReqbodyErrorMsg "REQBODY_ERROR_MSG" Single,
    ReqbodyProcessor "REQBODY_PROCESSOR" Single, ReqbodyProcessorError "REQBODY_PROCESSOR_ERROR" Single,
    ReqbodyProcessorErrorMsg "REQBODY_PROCESSOR_ERROR_MSG" Single, RequestBasename "REQUEST_BASENAME" Single,
    RequestBody "REQUEST_BODY" Single, RequestBodyLength "REQUEST_BODY_LENGTH" Single,
    RequestCookies "REQUEST_COOKIES" Many, RequestCookiesNames "REQUEST_COOKIES_NAMES" Many,
    RequestFilename "REQUEST_FILENAME" Single, RequestHeaders "REQUEST_HEADERS" Many,
    RequestHeadersNames "REQUEST_HEADERS_NAMES" Many, RequestLine "REQUEST_LINE" Single,
    RequestMethod "REQUEST_METHOD" Single, RequestProtocol "REQUEST_PROTOCOL" Single,
    RequestUri "REQUEST_URI" Single, RequestUriRaw "REQUEST_URI_RAW" Single, Resource "RESOURCE" Many,
    ResponseBody "RESPONSE_BODY" Single, ResponseContentLength "RESPONSE_CONTENT_LENGTH" Single,
    ResponseContentType "RESPONSE_CONTENT_TYPE" Single, ResponseHeaders "RESPONSE_HEADERS" Many,
    ResponseHeadersNames "RESPONSE_HEADERS_NAMES" Many, ResponseProtocol "RESPONSE_PROTOCOL" Single,
    ResponseStatus "RESPONSE_STATUS" Single, Rule "RULE" Many, ServerAddr "SERVER_ADDR" Single,
    ServerName "SERVER_NAME" Single, ServerPort "SERVER_PORT" Single, Session "SESSION" Many,
    SessionId "SESSIONID" Single, StatusLine "STATUS_LINE" Single, StreamInputBody "STREAM_INPUT_BODY" Single,
    StreamOutputBody "STREAM_OUTPUT_BODY" Single, Time "TIME" Single, TimeDay "TIME_DAY" Single,
    TimeEpoch "TIME_EPOCH" Single, TimeHour "TIME_HOUR" Single, TimeMin "TIME_MIN" Single, TimeMon "TIME_MON" Single,
    TimeSec "TIME_SEC" Single, TimeWday "TIME_WDAY" Single, TimeYear "TIME_YEAR" Single, Tx "TX" Many,
    UniqueId "UNIQUE_ID" Single, UrlencodedError "URLENCODED_ERROR" Single, User "USER" Many,
    UserId "USERID" Single, UserAgentIp "USERAGENT_IP" Single, WebappId "WEBAPPID" Single, Xml "XML" Document,
}

/// How many variables there are.
pub const VARIABLES: usize = TABLE.len();

impl Variable {
    /// The variable of that name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name)).map(|(_, variable, _)| *variable)
    }

    /// Its name in upper case.
    pub fn name(self) -> &'static str {
        TABLE[self as usize].0
    }

    /// What it holds.
    pub fn kind(self) -> Kind {
        TABLE[self as usize].2
    }

    /// Collections that outlive a transaction, once `initcol` has opened them.
    pub fn persistent(self) -> bool {
        matches!(self, Self::Global | Self::Ip | Self::Resource | Self::Session | Self::User)
    }
}

/// Which values of a collection are meant.
#[derive(Clone, Debug)]
pub enum Selector {
    /// All of them.
    All,
    /// Those of that name, in any case; kept in lower case. Of a document, the path as written.
    Name(Arc<str>),
    /// Those whose name the expression matches.
    Regex(Regex),
}

impl Selector {
    /// Whether a value of that name is meant.
    pub fn picks(&self, name: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Name(wanted) => wanted.as_bytes().eq_ignore_ascii_case(name),
            Self::Regex(regex) => regex.is_match(name),
        }
    }

    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, Self::All) => true,
            (Self::Name(a), Self::Name(b)) => a.eq_ignore_ascii_case(b),
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

/// One entry of a rule's list of variables.
#[derive(Clone, Debug)]
pub struct Target {
    pub variable: Variable,
    pub selector: Selector,
    /// `&`: the number of values in place of the values.
    pub count: bool,
    /// `!`: not those.
    pub exclude: bool,
}

impl Target {
    /// Whether both stand for the same values.
    pub fn same(&self, other: &Self) -> bool {
        self.variable == other.variable && self.count == other.count && self.selector.same(&other.selector)
    }
}

/// Reads a list such as `ARGS|!ARGS:/^id$/|&REQUEST_HEADERS:Host|XML:/*`.
pub fn targets(text: &str) -> Result<Vec<Target>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (target, after) = target(rest)?;
        found.push(target);
        let after = after.trim_start();
        rest = match after.chars().next() {
            None => "",
            Some('|' | ',') => after[1..].trim_start(),
            Some(_) => return Err(format!("expected | between variables at {after:?}")),
        };
    }
    if found.is_empty() {
        return Err("the list of variables is empty".into());
    }
    Ok(found)
}

/// Reads the variables of an exclusion, where `!` may be left out and XML needs no path.
pub fn exclusions(text: &str) -> Result<Vec<Target>, String> {
    let marked: Vec<String> = text.split(',').map(|part| format!("!{}", part.trim().trim_start_matches('!'))).collect();
    targets(&marked.join(","))
}

fn target(text: &str) -> Result<(Target, &str), String> {
    let mut rest = text;
    let (mut count, mut exclude) = (false, false);
    loop {
        rest = match rest.chars().next() {
            Some('&') if !count => {
                count = true;
                &rest[1..]
            }
            Some('!') if !exclude => {
                exclude = true;
                &rest[1..]
            }
            _ => break,
        };
    }
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    let Some(variable) = Variable::from_name(name) else {
        return Err(format!("unknown variable {name:?}"));
    };
    let (selector, after) = match after.strip_prefix([':', '.']) {
        Some(after) => selector(variable, after)?,
        None => (Selector::All, after),
    };
    if variable.kind() == Kind::Single && !matches!(selector, Selector::All) {
        return Err(format!("{name} has one value and takes no selector"));
    }
    if variable == Variable::Xml && matches!(selector, Selector::All) && !exclude && !count {
        return Err(format!("{name} needs a path, such as {name}:/*"));
    }
    if let (Variable::Xml, Selector::Name(path)) = (variable, &selector)
        && !matches!(&**path, "/*" | "//@*")
    {
        return Err(format!("{name}:{path}: only /* and //@* are supported"));
    }
    Ok((Target { variable, selector, count, exclude }, after))
}

fn selector(variable: Variable, text: &str) -> Result<(Selector, &str), String> {
    let (word, regex, after) = if let Some(quoted) = text.strip_prefix('\'') {
        let end = unescaped(quoted, '\'').ok_or("the quote of a selector is not closed")?;
        let word = quoted[..end].replace("\\'", "'");
        let regex = word.len() > 1 && word.starts_with('/') && word.ends_with('/');
        let word = if regex { word[1..word.len() - 1].to_owned() } else { word };
        (word, regex, &quoted[end + 1..])
    } else if text.starts_with('/') && variable.kind() != Kind::Document {
        let end = regex_end(&text[1..]).ok_or_else(|| format!("the expression {text:?} is not closed by /"))?;
        (text[1..=end].to_owned(), true, &text[end + 2..])
    } else {
        let end = text.find(|c: char| matches!(c, '|' | ',') || c.is_whitespace()).unwrap_or(text.len());
        (text[..end].to_owned(), false, &text[end..])
    };
    if word.is_empty() {
        return Err(format!("{} has an empty selector", variable.name()));
    }
    if regex && variable.kind() != Kind::Document {
        return Ok((Selector::Regex(expression(&word.replace("\\/", "/"))?), after));
    }
    let word = if variable.kind() == Kind::Document { word } else { word.to_ascii_lowercase() };
    Ok((Selector::Name(word.into()), after))
}

fn unescaped(text: &str, end: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let found = c == end && !escaped;
        escaped = c == '\\' && !escaped;
        found.then_some(at)
    })
}

/// The slash that ends a selector: the one before a separator, or the last.
fn regex_end(text: &str) -> Option<usize> {
    let ends = |at: usize| text[at + 1..].chars().next().is_none_or(|c| matches!(c, '|' | ',') || c.is_whitespace());
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let found = c == '/' && !escaped && ends(at);
        escaped = c == '\\' && !escaped;
        found.then_some(at)
    })
}

fn expression(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text)
        .unicode(false)
        .case_insensitive(true)
        .dot_matches_new_line(true)
        .build()
        .map_err(|error| format!("selector /{text}/: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_exclusions_counts_and_selectors() {
        let found = targets("REQUEST_COOKIES|!REQUEST_COOKIES:/__utm/|&ARGS:Id|XML:/*|XML://@*|TX:'/a|b/'").unwrap();
        assert_eq!(found.len(), 6);
        assert!(found[1].exclude && found[1].selector.picks(b"X__UTMa"));
        assert!(found[2].count && found[2].selector.picks(b"ID") && !found[2].selector.picks(b"idx"));
        assert!(matches!(&found[3].selector, Selector::Name(path) if &**path == "/*"));
        assert!(matches!(&found[4].selector, Selector::Name(path) if &**path == "//@*"));
        assert!(found[5].selector.picks(b"b") && !found[5].selector.picks(b"|c"));
    }

    #[test]
    fn slashes_and_bars_may_stand_inside_an_expression() {
        let found = targets("ARGS:/^(?:a|b)\\/c$/|ARGS_NAMES").unwrap();
        assert_eq!(found.len(), 2);
        assert!(found[0].selector.picks(b"B/c"));
    }

    #[test]
    fn faults_are_named() {
        for (text, what) in [
            ("ARGUMENTS", "unknown variable \"ARGUMENTS\""),
            ("ARGS|", ""),
            ("ARGS:/a", "not closed"),
            ("ARGS:/(/", "selector /(/"),
            ("ARGS:", "empty selector"),
            ("REQUEST_METHOD:x", "takes no selector"),
            ("XML", "needs a path"),
            ("XML://a", "only /* and //@*"),
            ("ARGS;x", "expected |"),
            ("", "is empty"),
        ] {
            match targets(text) {
                Ok(_) => assert_eq!(what, "", "{text}"),
                Err(error) => assert!(error.contains(what) && !what.is_empty(), "{text}: {error}"),
            }
        }
    }

    #[test]
    fn the_table_stands_in_the_order_of_the_variables() {
        for (at, (name, variable, _)) in TABLE.iter().enumerate() {
            assert_eq!((at, *name), (*variable as usize, variable.name()));
        }
    }
}
