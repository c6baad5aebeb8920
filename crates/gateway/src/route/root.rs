//! Where the path of a request leads in the file system (nginx: root, alias).
use crate::config;
use crate::exchange::Exchange;
use crate::vars::{Names, PathTemplate};

/// A compiled directory.
#[derive(Debug)]
pub struct Root {
    path: PathTemplate,
    alias: Option<usize>,
    whole: bool,
}

impl Root {
    /// Compiles a directory.
    pub fn compile(root: &config::Root, names: &Names) -> Result<Self, String> {
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
