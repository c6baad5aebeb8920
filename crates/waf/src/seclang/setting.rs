//! Settings of the engine: the directives that are no rules.

use std::path::{Path, PathBuf};

use regex::bytes::Regex;

use super::ctl::{AuditMode, EngineMode, audit_mode, bytes, engine_mode, on_off};

/// What happens to a body above its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LimitAction {
    /// The transaction is refused, with 413 for a request's body and 500 for a response's.
    #[default]
    Reject,
    /// The first bytes are inspected.
    ProcessPartial,
}

/// The audit log's settings. The crate writes no log: who embeds it does, with these.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// `SecAuditEngine`.
    pub mode: AuditMode,
    /// `SecAuditLogParts`, such as `ABIJDEFHZ`.
    pub parts: String,
    /// `SecAuditLogRelevantStatus`.
    pub relevant_status: Option<Regex>,
    /// `SecAuditLog`.
    pub file: Option<PathBuf>,
    /// `SecAuditLogStorageDir`.
    pub directory: Option<PathBuf>,
    /// `SecAuditLogType Concurrent`.
    pub concurrent: bool,
    /// `SecAuditLogFormat JSON`.
    pub json: bool,
}

/// The settings of the engine; the defaults are ModSecurity's.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `SecRuleEngine`.
    pub engine: EngineMode,
    /// `SecRequestBodyAccess`.
    pub request_body: bool,
    /// `SecRequestBodyLimit`, bytes.
    pub request_limit: u64,
    /// `SecRequestBodyNoFilesLimit`, bytes without files.
    pub request_no_files_limit: u64,
    /// `SecRequestBodyLimitAction`.
    pub request_limit_action: LimitAction,
    /// `SecRequestBodyJsonDepthLimit`.
    pub json_depth: usize,
    /// `SecArgumentsLimit`.
    pub arguments_limit: usize,
    /// `SecArgumentSeparator`.
    pub separator: u8,
    /// `SecCookieFormat 1`.
    pub cookies_v1: bool,
    /// `SecCookieV0Separator`.
    pub cookie_separator: u8,
    /// `SecResponseBodyAccess`.
    pub response_body: bool,
    /// `SecResponseBodyLimit`, bytes.
    pub response_limit: u64,
    /// `SecResponseBodyLimitAction`.
    pub response_limit_action: LimitAction,
    /// `SecResponseBodyMimeType`; media types in lower case.
    pub response_types: Vec<String>,
    /// `SecCollectionTimeout`, seconds.
    pub collection_timeout: u64,
    /// `SecUploadFileLimit`.
    pub file_limit: usize,
    /// `SecWebAppId`.
    pub web_app: String,
    /// `SecUnicodeMapFile`: the file and the code page.
    pub unicode_map: Option<(PathBuf, u32)>,
    /// `SecComponentSignature`, in order.
    pub signatures: Vec<String>,
    /// The audit log.
    pub audit: Audit,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            engine: EngineMode::Off,
            request_body: false,
            request_limit: 134_217_728,
            request_no_files_limit: 1_048_576,
            request_limit_action: LimitAction::Reject,
            json_depth: 10_000,
            arguments_limit: 1_000,
            separator: b'&',
            cookies_v1: false,
            cookie_separator: b';',
            response_body: false,
            response_limit: 524_288,
            response_limit_action: LimitAction::Reject,
            response_types: vec!["text/plain".into(), "text/html".into()],
            collection_timeout: 3_600,
            file_limit: 100,
            web_app: "default".into(),
            unicode_map: None,
            signatures: Vec::new(),
            audit: Audit { parts: "ABCFHZ".into(), ..Audit::default() },
        }
    }
}

/// Directives that set something of the web server or of files this crate does not write; accepted without effect.
const WITHOUT_EFFECT: &[&str] = &[
    "secauditlog2",
    "secauditlogdirmode",
    "secauditlogfilemode",
    "secauditlogprefix",
    "seccachetransformations",
    "secconnengine",
    "secconnreadstatelimit",
    "secconnwritestatelimit",
    "secdatadir",
    "secdebuglog",
    "secdebugloglevel",
    "secdisablebackendcompression",
    "secgeolookupdb",
    "sechashengine",
    "sechttpblkey",
    "secinterceptonerror",
    "secparsexmlintoargs",
    "secpcrematchlimit",
    "secpcrematchlimitrecursion",
    "secreadstatelimit",
    "secrequestbodyinmemorylimit",
    "secruleinheritance",
    "secruleperftime",
    "secsensorid",
    "secserversignature",
    "secstatusengine",
    "secstreaminbodyinspection",
    "secstreamoutbodyinspection",
    "sectmpdir",
    "sectmpsaveuploadedfiles",
    "secuploaddir",
    "secuploadfilemode",
    "secuploadkeepfiles",
    "secwritestatelimit",
    "secxmlexternalentity",
];

const UNSUPPORTED: &[&str] = &[
    "secchrootdir",
    "seccontentinjection",
    "secgsblookupdb",
    "secguardianlog",
    "sechashkey",
    "sechashmethodpm",
    "sechashmethodrx",
    "sechashparam",
    "secpdfprotect",
    "secremoterules",
    "secremoterulesfailaction",
    "secrulescript",
];

/// What a directive did.
#[derive(Debug, PartialEq, Eq)]
pub enum Applied {
    Set,
    WithoutEffect,
    Unknown,
}

impl Settings {
    /// Obeys a directive, named in lower case; `base` is the directory of its file.
    pub fn apply(&mut self, name: &str, words: &[String], base: &Path) -> Result<Applied, String> {
        if UNSUPPORTED.contains(&name) {
            return Err("the directive is not supported".into());
        }
        if WITHOUT_EFFECT.contains(&name) {
            return Ok(Applied::WithoutEffect);
        }
        if let Some(audit) = name.strip_prefix("secaudit") {
            return self.audit(audit, one(words)?, base);
        }
        match name {
            "secresponsebodymimetypesclear" => self.response_types.clear(),
            "secresponsebodymimetype" => {
                self.response_types.extend(words.iter().map(|word| word.to_ascii_lowercase()));
            }
            "secunicodemapfile" => {
                let [file, page] = words else { return Err("expected a file and a code page".into()) };
                let page = page.parse().map_err(|_| format!("{page:?} is not a code page"))?;
                self.unicode_map = Some((base.join(file), page));
            }
            _ if KNOWN.contains(&name) => self.single(name, one(words)?)?,
            _ => return Ok(Applied::Unknown),
        }
        Ok(Applied::Set)
    }

    fn single(&mut self, name: &str, word: &str) -> Result<(), String> {
        match name {
            "secruleengine" => self.engine = engine_mode(word)?,
            "secrequestbodyaccess" => self.request_body = on_off(word)?,
            "secrequestbodylimit" => self.request_limit = bytes(word)?,
            "secrequestbodynofileslimit" => self.request_no_files_limit = bytes(word)?,
            "secrequestbodylimitaction" => self.request_limit_action = limit_action(word)?,
            "secrequestbodyjsondepthlimit" => self.json_depth = number(word)?,
            "secargumentslimit" => self.arguments_limit = number(word)?,
            "secargumentseparator" => self.separator = byte(word)?,
            "seccookieformat" => self.cookies_v1 = choice(word, ["0", "1"])? == 1,
            "seccookiev0separator" => self.cookie_separator = byte(word)?,
            "secresponsebodyaccess" => self.response_body = on_off(word)?,
            "secresponsebodylimit" => self.response_limit = bytes(word)?,
            "secresponsebodylimitaction" => self.response_limit_action = limit_action(word)?,
            "seccollectiontimeout" => self.collection_timeout = bytes(word)?,
            "secuploadfilelimit" => self.file_limit = number(word)?,
            "secwebappid" => word.clone_into(&mut self.web_app),
            _ => self.signatures.push(word.to_owned()),
        }
        Ok(())
    }

    fn audit(&mut self, name: &str, word: &str, base: &Path) -> Result<Applied, String> {
        let audit = &mut self.audit;
        match name {
            "engine" => audit.mode = audit_mode(word)?,
            "log" => audit.file = Some(base.join(word)),
            "logparts" => audit.parts = parts(word)?,
            "logrelevantstatus" => audit.relevant_status = Some(Regex::new(word).map_err(|error| error.to_string())?),
            "logstoragedir" => audit.directory = Some(base.join(word)),
            "logtype" => audit.concurrent = choice(word, ["serial", "concurrent"])? == 1,
            "logformat" => audit.json = choice(word, ["native", "json"])? == 1,
            _ => return Ok(Applied::Unknown),
        }
        Ok(Applied::Set)
    }
}

const KNOWN: &[&str] = &[
    "secargumentseparator",
    "secargumentslimit",
    "seccollectiontimeout",
    "seccomponentsignature",
    "seccookieformat",
    "seccookiev0separator",
    "secrequestbodyaccess",
    "secrequestbodyjsondepthlimit",
    "secrequestbodylimit",
    "secrequestbodylimitaction",
    "secrequestbodynofileslimit",
    "secresponsebodyaccess",
    "secresponsebodylimit",
    "secresponsebodylimitaction",
    "secruleengine",
    "secuploadfilelimit",
    "secwebappid",
];

fn one(words: &[String]) -> Result<&str, String> {
    match words {
        [word] => Ok(word),
        _ => Err(format!("expected one argument, not {}", words.len())),
    }
}

fn number(word: &str) -> Result<usize, String> {
    word.parse().map_err(|_| format!("{word:?} is not a number"))
}

fn byte(word: &str) -> Result<u8, String> {
    match word.as_bytes() {
        [byte] => Ok(*byte),
        _ => Err(format!("{word:?} is not one character")),
    }
}

fn choice(word: &str, known: [&str; 2]) -> Result<usize, String> {
    let found = known.iter().position(|name| name.eq_ignore_ascii_case(word));
    found.ok_or_else(|| format!("{word:?} is not {} or {}", known[0], known[1]))
}

fn limit_action(word: &str) -> Result<LimitAction, String> {
    Ok(match choice(word, ["Reject", "ProcessPartial"])? {
        0 => LimitAction::Reject,
        _ => LimitAction::ProcessPartial,
    })
}

fn parts(word: &str) -> Result<String, String> {
    match word.chars().find(|part| !('A'..='K').contains(part) && *part != 'Z') {
        Some(part) => Err(format!("{part:?} is not a part of the audit log")),
        None => Ok(word.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(line: &str) -> Result<(Applied, Settings), String> {
        let mut settings = Settings::default();
        let mut words = line.split(' ').map(str::to_owned);
        let name = words.next().unwrap().to_ascii_lowercase();
        let words: Vec<_> = words.collect();
        Ok((settings.apply(&name, &words, Path::new("/base"))?, settings))
    }

    #[test]
    fn directives_set_the_engine() {
        assert_eq!(apply("SecRuleEngine DetectionOnly").unwrap().1.engine, EngineMode::DetectionOnly);
        assert_eq!(apply("SecRequestBodyLimit 12").unwrap().1.request_limit, 12);
        assert_eq!(apply("SecResponseBodyMimeType text/xml").unwrap().1.response_types.len(), 3);
        assert_eq!(apply("SecAuditLog a.log").unwrap().1.audit.file, Some("/base/a.log".into()));
        assert!(apply("SecCookieFormat 1").unwrap().1.cookies_v1);
        assert_eq!(apply("SecTmpDir /tmp").unwrap().0, Applied::WithoutEffect);
        assert_eq!(apply("SecNothing 1").unwrap().0, Applied::Unknown);
    }

    #[test]
    fn faults_are_named() {
        for (line, what) in [
            ("SecRuleEngine maybe", "is not On, Off or DetectionOnly"),
            ("SecRuleEngine", "expected one argument, not 0"),
            ("SecRequestBodyLimit x", "is not a number of bytes"),
            ("SecCookieFormat 2", "is not 0 or 1"),
            ("SecArgumentSeparator ;;", "is not one character"),
            ("SecAuditLogParts AQ", "is not a part"),
            ("SecRuleScript x.lua", "is not supported"),
        ] {
            assert!(apply(line).unwrap_err().contains(what), "{line}");
        }
    }

    #[test]
    fn every_known_name_is_obeyed() {
        for name in KNOWN {
            let word = ["1", "On", "Reject"].map(String::from);
            let mut settings = Settings::default();
            let obeyed = word.iter().any(|word| settings.single(name, word).is_ok());
            assert!(obeyed, "{name}");
            assert_eq!(settings.signatures.is_empty(), *name != "seccomponentsignature", "{name}");
        }
    }
}
