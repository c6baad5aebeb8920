//! Files that may stand for a request's path (nginx: try_files).
use crate::backend::files::Files;
use crate::backend::outcome::Outcome;
use crate::error::Result;
use crate::exchange::Exchange;
use crate::page;
use crate::route::root::{Replaced, Root};
use crate::vars::{Names, Sent, Template};
use bytes::Bytes;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Paths to try, and where to go without one.
pub struct TryFiles {
    paths: Vec<Tried>,
    last: Last,
}

struct Tried {
    path: Template,
    directory: bool,
}

enum Last {
    Status(u16),
    Uri(Template),
}

impl TryFiles {
    /// Compiles the list; `None` if it is empty.
    pub fn compile(list: &[String], names: &Names) -> std::result::Result<Option<Box<Self>>, String> {
        let Some((last, paths)) = list.split_last() else { return Ok(None) };
        if paths.is_empty() {
            return Err("a path to try comes before the last element".into());
        }
        let compile = |path: &String| {
            let (path, directory) = path.strip_suffix('/').map_or((path.as_str(), false), |path| (path, true));
            Ok(Tried { path: Template::compile(path, names)?, directory })
        };
        let last = match last.strip_prefix('=') {
            Some(status) => Last::Status(status.parse().map_err(|_| format!("{last:?} is not a status"))?),
            None => Last::Uri(Template::compile(last, names)?),
        };
        let paths = paths.iter().map(compile).collect::<std::result::Result<_, String>>()?;
        Ok(Some(Box::new(Self { paths, last })))
    }

    /// Makes the first path that is there the exchange's; an outcome if there is none.
    pub fn run(&self, ex: &mut Exchange) -> Result<Option<Outcome>> {
        let scope = ex.scope.clone();
        let root = scope.settings[ex.settings_index() as usize].get::<Option<Root>>().as_ref();
        let replaced = root.map_or(Replaced::Nothing, Root::replaced);
        let mut file = Vec::with_capacity(128);
        for tried in &self.paths {
            let mut path = tried.path.value(ex, Sent::default());
            file.clear();
            match (root, ex.backend::<Files>()) {
                (Some(root), _) => {
                    root.write(ex, &mut file);
                    if let Replaced::Front(bytes) = replaced {
                        if path.get(..bytes).is_some_and(|front| ex.request.path.starts_with(front)) {
                            path.drain(..bytes);
                        }
                    }
                    file.extend_from_slice(&path);
                }
                // Without a root, paths lead where the route's files are.
                (None, Some(files)) => files.write_name(&path, &mut file),
                (None, _) => file.extend_from_slice(&path),
            }
            if !is_there(&file, tried.directory) {
                continue;
            }
            match replaced {
                Replaced::Nothing => ex.request.path = path.into(),
                Replaced::Front(bytes) => {
                    let front = ex.request.path.get(..bytes).unwrap_or_default();
                    ex.request.path = Bytes::from([front, &path].concat());
                }
                Replaced::Whole if tried.directory => {}
                Replaced::Whole => {
                    ex.request.path = path.into();
                    ex.path_after_alias = true;
                }
            }
            return Ok(None);
        }
        self.last(ex).map(Some)
    }

    fn last(&self, ex: &mut Exchange) -> Result<Outcome> {
        let uri = match &self.last {
            Last::Status(status) => return Ok(Outcome::Respond(page::of_return(ex, *status)?)),
            Last::Uri(uri) => uri.value(ex, Sent::default()),
        };
        if uri.starts_with(b"@") {
            return Ok(Outcome::Redirect(uri));
        }
        ex.set_uri(&uri);
        Ok(Outcome::Locate)
    }
}

/// Whether there is a directory, or something else, under a name. The file system is asked on the I/O thread, as nginx does.
fn is_there(path: &[u8], directory: bool) -> bool {
    std::fs::metadata(OsStr::from_bytes(path)).is_ok_and(|meta| meta.is_dir() == directory)
}
