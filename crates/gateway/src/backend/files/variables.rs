//! Where a request's path leads in the file system, as variables.
use crate::backend::files::Files;
use crate::exchange::Exchange;
use crate::route::root::Root;
use crate::vars::{Sent, Variable};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The variables of files.
pub const VARIABLES: &[Variable] = &[
    Variable::new("document_root", document_root, "Directory that the path leads into (`root`, `alias`)."),
    Variable::new("realpath_root", realpath_root, "The same with symbolic links resolved."),
    Variable::new("request_filename", request_filename, "File that the path stands for."),
];

/// The directory that the request's path leads into.
fn document_root(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    match (ex.settings().get::<Option<Root>>(), ex.backend::<Files>()) {
        (Some(root), _) => root.write(ex, out),
        (None, Some(files)) => out.extend_from_slice(files.root().as_bytes()),
        _ => {}
    }
}

/// The same with symbolic links resolved.
fn realpath_root(ex: &Exchange, sent: Sent<'_>, out: &mut Vec<u8>) {
    let mut root = Vec::new();
    document_root(ex, sent, &mut root);
    if let Ok(real) = std::fs::canonicalize(Path::new(OsStr::from_bytes(&root))) {
        out.extend_from_slice(real.as_os_str().as_bytes());
    }
}

/// The file that the path stands for.
pub fn request_filename(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    match (ex.settings().get::<Option<Root>>(), ex.backend::<Files>()) {
        (Some(root), _) => root.write_path(ex, &ex.request.path, out),
        (None, Some(files)) => files.write_name(&ex.request.path, out),
        _ => {}
    }
}
