//! Runs the regression tests of the OWASP Core Rule Set on the engine, without a server.
//!
//! `ftw DIRECTORY [--level N] [--only RULE[-TEST]] [--show N] [--measure]`: the directory (or `BUCHNER_CRS`) has `crs-setup.conf.example`,
//! `rules/`, `regression/` and, for the comparison, `triggered.json.gz`: the ids that a reference triggered, by test and stage.

mod request;
mod suite;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use buchner_waf::{Transaction, Waf};

use suite::{Stage, Test};

/// ModSecurity's recommended configuration, and the limits that the tests expect.
const BEFORE: &str = r#"
SecRuleEngine MODE
SecRequestBodyAccess On
SecRequestBodyLimit 13107200
SecRequestBodyNoFilesLimit 131072
SecArgumentsLimit 1000
SecRequestBodyJsonDepthLimit 512
SecResponseBodyAccess On
SecResponseBodyMimeTypesClear
SecResponseBodyMimeType text/plain text/html text/xml application/json
SecRule REQUEST_HEADERS:Content-Type "^(?:application(?:/soap\+|/)|text/)xml" \
    "id:200000,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "^application/json" \
    "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQBODY_ERROR "!@eq 0" \
    "id:200002,phase:2,t:none,log,deny,status:400,msg:'Failed to parse request body.',logdata:'%{reqbody_error_msg}'"
SecRule MULTIPART_STRICT_ERROR "!@eq 0" \
    "id:200003,phase:2,t:none,log,deny,status:400,msg:'Multipart request body failed strict validation.'"
Include crs-setup.conf.example
SecAction "id:900000,phase:1,pass,nolog,setvar:tx.blocking_paranoia_level=LEVEL"
SecAction "id:900300,phase:1,pass,nolog,setvar:tx.max_num_args=255,setvar:tx.arg_name_length=100,\
    setvar:tx.arg_length=400,setvar:tx.total_arg_length=64000,setvar:tx.max_file_size=64100,\
    setvar:tx.combined_file_sizes=65535"
Include rules/*.conf
"#;

/// What the command line asks for.
struct Options {
    root: PathBuf,
    level: u8,
    only: Option<String>,
    show: usize,
    measure: bool,
}

fn options() -> Result<Options, String> {
    let mut found = Options { root: PathBuf::new(), level: 4, only: None, show: 40, measure: false };
    if let Some(root) = std::env::var_os("BUCHNER_CRS") {
        found.root = root.into();
    }
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--level" => found.level = value()?.parse().map_err(|_| "a level is 1 to 4")?,
            "--only" => found.only = Some(value()?),
            "--measure" => found.measure = true,
            "--show" => found.show = value()?.parse().map_err(|_| "a number is needed")?,
            _ => found.root = word.into(),
        }
    }
    if found.root.as_os_str().is_empty() { Err("give the directory of the rules".into()) } else { Ok(found) }
}

fn load(root: &Path, level: u8, mode: &str) -> Result<Arc<Waf>, String> {
    let text = BEFORE.replace("LEVEL", &level.to_string()).replace("MODE", mode);
    Waf::from_str("ftw.conf", &text, root, None).map_err(|error| error.to_string())
}

fn main() -> Result<(), String> {
    let options = options()?;
    if options.measure {
        return measure(&options);
    }
    let begin = Instant::now();
    let waf = load(&options.root, options.level, "DetectionOnly")?;
    println!("{} rules in {} ms, {} KiB resident", waf.rule_count(), begin.elapsed().as_millis(), resident());
    let tests = suite::read(&options.root.join("regression"))?;
    let reference = suite::reference(&options.root.join("triggered.json.gz"))?;
    let mut tally = Tally::default();
    let begin = Instant::now();
    for test in &tests {
        if options.only.as_ref().is_none_or(|only| test.name.starts_with(only)) {
            tally.test(&waf, test, reference.get(&test.name), &options);
        }
    }
    println!("{} tests in {} ms", tally.tests, begin.elapsed().as_millis());
    println!("expectations: {} of {} tests ({:.2} %)", tally.passed, tally.tests, share(tally.passed, tally.tests));
    println!("id sets: {} of {} stages ({:.2} %)", tally.equal, tally.stages, share(tally.equal, tally.stages));
    let but = share(tally.but_scores, tally.stages);
    println!("id sets without 980170: {} of {} stages ({but:.2} %)", tally.but_scores, tally.stages);
    Ok(())
}

fn share(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// Memory in KiB that the process has.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4
}

#[derive(Default)]
struct Tally {
    tests: usize,
    passed: usize,
    stages: usize,
    equal: usize,
    but_scores: usize,
    shown: usize,
}

impl Tally {
    fn test(&mut self, waf: &Arc<Waf>, test: &Test, reference: Option<&Vec<BTreeSet<u64>>>, options: &Options) {
        let mut passed = true;
        for (index, stage) in test.stages.iter().enumerate() {
            let mut transaction = waf.transaction();
            request::run(&mut transaction, stage);
            let ids = ids(&transaction);
            passed &= stage.holds(&ids);
            if let Some(wanted) = reference.and_then(|stages| stages.get(index)) {
                self.stages += 1;
                self.but_scores += usize::from(without_scores(wanted) == without_scores(&ids));
                if *wanted == ids {
                    self.equal += 1;
                } else if self.shown < options.show {
                    self.shown += 1;
                    let missing: Vec<_> = wanted.difference(&ids).collect();
                    let more: Vec<_> = ids.difference(wanted).collect();
                    println!("{}: missing {missing:?}, too many {more:?}", test.name);
                }
            }
            if options.only.is_some() {
                explain(&transaction);
            }
        }
        if !passed && self.shown < options.show {
            println!("{}: expectation failed", test.name);
        }
        self.tests += 1;
        self.passed += usize::from(passed);
    }
}

/// Without the rule that reports scores in phase 5: a server writes that after its response, so that a reference may have
/// missed it.
fn without_scores(ids: &BTreeSet<u64>) -> BTreeSet<u64> {
    ids.iter().copied().filter(|id| *id != 980_170).collect()
}

/// The ids of rules with `log`.
fn ids(transaction: &Transaction) -> BTreeSet<u64> {
    transaction.matches().iter().filter(|one| one.log).map(|one| one.rule.id).collect()
}

fn explain(transaction: &Transaction) {
    for one in transaction.matches() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        println!("  {} {} {:?} {:?}", one.rule.id, text(&one.variable), text(&one.value), text(&one.data));
    }
}

/// Times whole transactions at level 1, blocking.
fn measure(options: &Options) -> Result<(), String> {
    let waf = load(&options.root, 1, "On")?;
    let wanted = |name: &str| options.only.as_ref().is_none_or(|only| name == only);
    for (name, stage) in Stage::samples().into_iter().filter(|(name, _)| wanted(name)) {
        let mut times = Vec::new();
        let prepared = request::Prepared::new(&stage);
        for _ in 0..5000 {
            let begin = Instant::now();
            let mut transaction = waf.transaction();
            prepared.run(&mut transaction);
            drop(transaction);
            times.push(begin.elapsed().as_nanos());
        }
        times.sort_unstable();
        let mut transaction = waf.transaction();
        prepared.run(&mut transaction);
        let ids: Vec<_> = ids(&transaction).into_iter().collect();
        let (least, median) = (times[0] as f64 / 1000.0, times[times.len() / 2] as f64 / 1000.0);
        println!("{name}: least {least:.1} µs, median {median:.1} µs, ids {ids:?}");
    }
    Ok(())
}
