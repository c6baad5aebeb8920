//! The files of go-ftw.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde_yaml_ng::Value;

#[derive(Deserialize)]
struct File {
    rule_id: Option<u64>,
    #[serde(default)]
    tests: Vec<FileTest>,
}

#[derive(Deserialize)]
struct FileTest {
    test_id: u64,
    stages: Vec<Stage>,
}

/// A request and what is expected of it.
#[derive(Deserialize, Default)]
pub struct Stage {
    pub input: Input,
    #[serde(default)]
    output: Output,
}

/// The request.
#[derive(Deserialize, Default)]
pub struct Input {
    pub method: Option<String>,
    pub uri: Option<String>,
    pub version: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, Value>,
    pub data: Option<String>,
    pub encoded_request: Option<String>,
    pub autocomplete_headers: Option<bool>,
}

#[derive(Deserialize, Default)]
struct Output {
    #[serde(default)]
    log: Log,
}

#[derive(Deserialize, Default)]
struct Log {
    #[serde(default)]
    expect_ids: Vec<u64>,
    #[serde(default)]
    no_expect_ids: Vec<u64>,
}

/// A test: `920100-3` and its stages.
pub struct Test {
    pub name: String,
    pub stages: Vec<Stage>,
}

impl Stage {
    /// Whether the ids are as expected.
    pub fn holds(&self, ids: &BTreeSet<u64>) -> bool {
        let log = &self.output.log;
        log.expect_ids.iter().all(|id| ids.contains(id)) && !log.no_expect_ids.iter().any(|id| ids.contains(id))
    }

    /// Requests to time.
    pub fn samples() -> Vec<(&'static str, Self)> {
        let leaves: Vec<String> = (0..170).map(|n| format!("\"field{n}\":\"some value {n}\"")).collect();
        vec![
            ("GET", sample("GET", "/shop/items/42", None, None)),
            ("GET, 5 arguments", sample("GET", "/search?q=red+shoes&page=2&sort=price&lang=en&size=42", None, None)),
            ("SQLi", sample("GET", "/?id=1%27%20or%201=1--", None, None)),
            (
                "JSON, 170 leaves",
                sample("POST", "/api", Some("application/json"), Some(format!("{{{}}}", leaves.join(",")))),
            ),
        ]
    }
}

fn sample(method: &str, uri: &str, kind: Option<&str>, data: Option<String>) -> Stage {
    let headers = [
        ("Host", "www.example.com"),
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
        ("Accept-Language", "en-US,en;q=0.5"),
        ("Accept-Encoding", "gzip, deflate, br"),
        ("Connection", "keep-alive"),
        ("Cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"),
        ("Referer", "https://www.example.com/shop"),
        ("Upgrade-Insecure-Requests", "1"),
        ("Sec-Fetch-Dest", "document"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Site", "same-origin"),
    ];
    let mut headers: BTreeMap<String, Value> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
    if let Some(kind) = kind {
        headers.insert("Content-Type".into(), kind.into());
    }
    let (method, uri) = (Some(method.to_owned()), Some(uri.to_owned()));
    let input = Input { method, uri, headers, data, ..Input::default() };
    Stage { input, output: Output::default() }
}

/// Reads all tests below a directory.
pub fn read(directory: &Path) -> Result<Vec<Test>, String> {
    let mut found = Vec::new();
    let mut listed: Vec<_> = fs::read_dir(directory)
        .map_err(|error| format!("{}: {error}", directory.display()))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    listed.sort();
    for path in listed {
        if path.is_dir() {
            found.extend(read(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
            let file: File = serde_yaml_ng::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let rule = file.rule_id.map_or(stem, |id| id.to_string());
            let tests = file.tests.into_iter();
            found.extend(tests.map(|test| Test { name: format!("{rule}-{}", test.test_id), stages: test.stages }));
        }
    }
    Ok(found)
}

#[derive(Deserialize)]
struct Triggered {
    rules: Vec<BTreeSet<u64>>,
}

/// The ids of the reference, by test and stage; none without the file.
pub fn reference(path: &Path) -> Result<HashMap<String, Vec<BTreeSet<u64>>>, String> {
    let Ok(file) = fs::File::open(path) else { return Ok(HashMap::new()) };
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let found: HashMap<String, Triggered> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    Ok(found.into_iter().map(|(name, one)| (name, one.rules)).collect())
}
