//! The sets of rules of a configuration. Each is read once, when a server or route first needs it, and shared by all threads.
use crate::kinds::FilePath;
use crate::waf::config::Rules;
use buchner_waf::{MemoryStore, Store, Waf};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Collections that rules may keep at a time; what was used longest ago goes first.
const COLLECTIONS: usize = 100_000;

/// The sets of rules.
pub struct Rulesets {
    rules: Rules,
    /// By the files that the rules come from; without any: those of `[crs]`.
    read: Mutex<HashMap<Vec<PathBuf>, Arc<Waf>>>,
    /// Collections that outlive a request (`initcol`), and a reload.
    store: Arc<dyn Store>,
}

impl Rulesets {
    /// Those of a configuration; what rules remember is taken over from the one before.
    pub fn new(rules: &Rules, previous: Option<&Self>) -> Self {
        let store =
            previous.map_or_else(|| Arc::new(MemoryStore::new(COLLECTIONS)) as Arc<dyn Store>, |all| all.store.clone());
        Self { rules: rules.clone(), read: Mutex::default(), store }
    }

    /// The rules of some files, or of `[crs]`.
    ///
    /// # Errors
    /// A rule cannot be read: its file, line and text, and what is wrong.
    pub fn of(&self, files: &[FilePath]) -> Result<Arc<Waf>, String> {
        let files: Vec<PathBuf> = files.iter().map(|file| PathBuf::from(&**file)).collect();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.get(&files) {
            return Ok(known.clone());
        }
        let store = Some(self.store.clone());
        let waf = if files.is_empty() {
            if self.rules.text.is_empty() {
                return Err("waf: there are no rules: name the Core Rule Set in [crs], or as waf_rules".to_owned());
            }
            Waf::from_str("[crs]", &self.rules.text, Path::new(&self.rules.base), store)
        } else {
            Waf::from_files(&files, store)
        };
        let waf = waf.map_err(|error| format!("waf: {error}"))?;
        read.insert(files, waf.clone());
        Ok(waf)
    }
}
