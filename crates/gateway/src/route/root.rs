//! Where the path of a request leads in the file system (nginx: root, alias).
use crate::exchange::Exchange;
use crate::kept;
use crate::scope::{self, Compiling, Room};
use crate::vars::{Names, PathTemplate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Directory of the paths that `$document_root`, `$request_filename` and `try_files` are about.
    pub root: Option<Config>,
}

kept!(Settings);
kept!(Option<Root>);

impl Room for Settings {
    const TITLE: &'static str = "Directory";

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        let root = self.root.as_ref().map(|root| Root::compile(root, cx.names)).transpose();
        out.put_some(root.map_err(|e| format!("root: {e}"))?);
        Ok(())
    }
}

/// Where the path of a request leads in the file system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Root")]
pub struct Config {
    /// A directory, with variables.
    pub path: String,
    /// What of the path it replaces (nginx: alias): that many bytes in front. Default: nothing (nginx: root).
    #[serde(default)]
    pub alias: Option<u32>,
    /// It replaces the whole path (nginx: alias in a location by regular expression). Default: false.
    #[serde(default)]
    pub whole: bool,
}

/// A compiled directory.
#[derive(Debug)]
pub struct Root {
    path: PathTemplate,
    alias: Option<usize>,
    whole: bool,
}

impl Root {
    /// Compiles a directory.
    pub fn compile(root: &Config, names: &Names) -> Result<Self, String> {
        let plain = root.alias.is_none() && !root.whole && !root.path.contains('$');
        let path = if plain { root.path.trim_end_matches('/') } else { root.path.as_str() };
        let path = PathTemplate::compile(path, &names.bases.prefix, names)?;
        Ok(Self { path, alias: root.alias.map(|alias| alias as usize), whole: root.whole })
    }

    /// Appends the directory itself.
    pub fn write(&self, ex: &Exchange, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.path.value(ex));
    }

    /// Appends where `path` leads.
    pub fn write_path(&self, ex: &Exchange, path: &[u8], out: &mut Vec<u8>) {
        self.write(ex, out);
        if self.whole && ex.path_after_alias {
            out.extend_from_slice(path);
        } else if !self.whole {
            out.extend_from_slice(path.get(self.alias.unwrap_or(0)..).unwrap_or_default());
        }
    }

    /// Bytes in front of a path that the directory replaces; all of them in place of a regular expression's path.
    pub fn replaced(&self) -> Replaced {
        match (self.whole, self.alias) {
            (true, _) => Replaced::Whole,
            (false, Some(bytes)) => Replaced::Front(bytes),
            (false, None) => Replaced::Nothing,
        }
    }
}

/// What of a path a directory replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// Nothing (nginx: root).
    Nothing,
    /// Bytes in front (nginx: alias).
    Front(usize),
    /// Everything (nginx: alias in a location by regular expression).
    Whole,
}
