//! Static files (nginx: `root`, `alias`, `index`, `try_files` with one fallback, `gzip_static`).
//!
//! A path below the route becomes a path below `root` ([`resolve`]), an open file with its siblings ([`cache`]), one of them
//! ([`precompressed`]), and an answer, which filters look at conditions and ranges of. The file system is asked on the I/O thread, as nginx does.
pub mod autoindex;
pub mod cache;
pub mod config;
mod directory;
mod find;
pub mod mime;
pub mod precompressed;
pub mod representation;
pub mod resolve;
#[cfg(test)]
pub(crate) mod testing;
pub mod variables;

use crate::backend::files::variables::request_filename;
use crate::backend::outcome::Outcome;
use crate::backend::{Handler, Place};
use crate::body::Body;
use crate::error::{Error, Kind, Result};
use crate::exchange::conditions::{Dialect, IfModifiedSince};
use crate::exchange::{Exchange, Response};
use crate::page;
use crate::vars::{Names, PathTemplate, Sent, Template, Variable};
use buchner_wire::headers::{HeaderId, is_valid_value};
use buchner_wire::method::Method;
use cache::Entry;
pub use find::Miss;
use mime::Types;
use precompressed::Coding;
use representation::{EtagPrecision, Representation};
use resolve::{LinkCheck, Links};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The files of a directory.
pub struct Files {
    /// Key in the caches; every compiled route has its own.
    id: u64,
    root: Box<str>,
    /// `root` with variables, where it has some.
    varying: Option<PathTemplate>,
    /// `root` is the file.
    whole: bool,
    /// What `root` replaces of a path; empty: nothing, the path is appended.
    prefix: Box<[u8]>,
    index: Vec<Template>,
    autoindex: Option<autoindex::Format>,
    exact_size: bool,
    local_time: bool,
    random_index: bool,
    codings: Vec<Coding>,
    always_coded: bool,
    vary: bool,
    links: Links,
    owner: Option<LinkCheck>,
    since: IfModifiedSince,
    types: Arc<Types>,
    etag: Option<EtagPrecision>,
    max_ranges: u32,
    cache_control: Option<Box<str>>,
    fallback: Option<Box<str>>,
    /// Precompressed siblings may be older than the file.
    stale: bool,
    /// Ends of names that are left to `fallback`.
    leave: Box<[Box<[u8]>]>,
}

impl Handler for Arc<Files> {
    type Config = config::Files;

    const VARIABLES: &'static [Variable] = variables::VARIABLES;

    const NAMES_TYPE: bool = false;

    fn compile(config: &config::Files, place: &Place<'_>) -> std::result::Result<Self, String> {
        Files::compile(config, place.path, place.settings.get::<Arc<Types>>(), place.cx.names).map(Arc::new)
    }

    fn shared(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self.clone())
    }

    async fn handle(&self, ex: &mut Exchange) -> Result<Outcome> {
        self.respond(ex)
    }
}

impl Files {
    /// Compiles a route's files.
    pub fn compile(
        files: &config::Files,
        route_path: &str,
        types: &Arc<Types>,
        names: &Names,
    ) -> std::result::Result<Self, String> {
        let root = PathTemplate::compile(&files.root, &names.bases.prefix, names);
        let root = root.map_err(|e| format!("files.root: {e}"))?;
        let varying = Some(root).filter(PathTemplate::varies);
        if varying.is_none() && !files.root.starts_with('/') {
            return Err(format!("files.root: {:?} must be an absolute path", files.root));
        }
        let coding = |name: &String| {
            Coding::parse(name)
                .ok_or_else(|| format!("files.precompressed: unknown coding {name:?} (known: br, zstd, gzip)"))
        };
        if let Some(value) = files.cache_control.as_ref().filter(|value| !is_valid_value(value.as_bytes())) {
            return Err(format!("files: {value:?} has characters no header may have"));
        }
        if files.index.iter().any(String::is_empty) {
            return Err("files.index: a name cannot be empty".into());
        }
        let index =
            files.index.iter().map(|name| Template::compile(name, names).map_err(|e| format!("files.index: {e}")));
        let owner = LinkCheck::new(files.disable_symlinks, files.disable_symlinks_from.as_deref());
        if files.fallback.as_ref().is_some_and(|to| !to.starts_with(['/', '@'])) {
            return Err(format!("files.fallback: {:?} must start with / (or @ for a named route)", files.fallback));
        }
        let replaced = files.alias_of.as_deref().unwrap_or(route_path);
        Ok(Self {
            id: next_id(),
            root: root_of(&files.root).into(),
            prefix: if files.alias { replaced.as_bytes().into() } else { Box::default() },
            varying,
            whole: files.whole,
            index: index.collect::<std::result::Result<_, _>>()?,
            autoindex: files.autoindex,
            exact_size: files.autoindex_exact_size,
            local_time: files.autoindex_localtime,
            random_index: files.random_index,
            always_coded: files.precompressed_always,
            vary: files.vary,
            owner,
            since: files.if_modified_since,
            codings: files.precompressed.iter().map(coding).collect::<std::result::Result<_, _>>()?,
            links: if files.follow_symlinks { Links::Anywhere } else { Links::Beneath },
            types: types.clone(),
            etag: files.etag.then_some(files.etag_precision),
            max_ranges: files.max_ranges,
            cache_control: files.cache_control.as_deref().map(Into::into),
            fallback: files.fallback.as_deref().map(Into::into),
            stale: files.precompressed_stale,
            leave: files.leave.iter().map(|end| end.as_bytes().into()).collect(),
        })
    }

    /// Files that responses name by path (X-Sendfile), below an absolute `root`.
    pub fn named_by_path(root: &str) -> std::result::Result<Self, String> {
        let files = config::Files { root: root.into(), precompressed: Vec::new(), ..config::Files::default() };
        Self::compile(&files, "", &Arc::default(), &Names::default())
    }

    /// The directory.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Writes the name of the file that a path stands for.
    pub fn write_name(&self, path: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.root.as_bytes());
        let rest = path.strip_prefix(&*self.prefix).unwrap_or(path);
        if !rest.starts_with(b"/") {
            out.push(b'/');
        }
        out.extend_from_slice(rest);
    }

    /// Ranges of one request.
    pub fn max_ranges(&self) -> u32 {
        self.max_ranges
    }

    /// Responds to a request.
    fn respond(&self, ex: &mut Exchange) -> Result<Outcome> {
        let path = ex.request.path.clone();
        let Some(relative) = self.relative(&path, ex.path_after_alias) else { return self.absent(ex) };
        if !self.leave.is_empty() && (!readable(ex) || self.leaves(relative)) {
            return self.absent(ex);
        }
        if path.ends_with(b"/") {
            return self.directory(ex, &path, relative);
        }
        match self.find(ex, relative) {
            Ok(entry) if readable(ex) => match self.representation(ex, &entry) {
                Some(file) => Ok(Outcome::Respond(self.send(ex, file))),
                None => match self.absent(ex) {
                    // Another client may get one.
                    Err(error) if self.vary => {
                        let mut response = page::of_error(ex, &error);
                        response.headers.push(HeaderId::Vary, b"Accept-Encoding");
                        Ok(Outcome::Respond(response))
                    }
                    outcome => outcome,
                },
            },
            Ok(entry) if entry.plain.is_some() => Ok(Outcome::Respond(not_allowed(ex))),
            Ok(_) | Err(Miss::Absent) => self.absent(ex),
            Err(Miss::Directory) => self.without_slash(ex, relative),
            Err(Miss::Failed(error)) => Err(error),
        }
    }

    /// The path below the root that a request's path stands for.
    fn relative<'p>(&self, path: &'p [u8], after_alias: bool) -> Option<&'p [u8]> {
        if self.whole && !after_alias {
            return Some(b"");
        }
        let rest = if self.whole { path } else { path.strip_prefix(&*self.prefix)? };
        // `/static` with the route `/static` is a path of its own; `/staticfoo` is not below it.
        let below = rest.is_empty()
            || rest.starts_with(b"/")
            || self.whole
            || self.prefix.ends_with(b"/")
            || self.prefix.is_empty();
        let start = rest.iter().position(|byte| *byte != b'/').unwrap_or(rest.len());
        below.then(|| &rest[start..])
    }

    fn leaves(&self, relative: &[u8]) -> bool {
        self.leave.iter().any(|end| {
            let at = relative.len().checked_sub(end.len());
            at.is_some_and(|at| relative[at..].eq_ignore_ascii_case(end))
        })
    }

    /// A fallback has the query of the request, unless it has one of its own.
    fn with_query(ex: &Exchange, to: &str) -> Vec<u8> {
        match &ex.request.query {
            Some(query) if to.starts_with('/') && !to.contains('?') => [to.as_bytes(), b"?", query].concat(),
            _ => to.as_bytes().to_vec(),
        }
    }

    fn absent(&self, ex: &Exchange) -> Result<Outcome> {
        match &self.fallback {
            // A fallback that is missing itself is no reason to go round in circles.
            Some(to) if *to.as_bytes() != *ex.request.path => Ok(Outcome::Redirect(Self::with_query(ex, to))),
            // What a form is sent to may well be missing; other methods there are none of at all.
            _ if readable(ex) || ex.request.method == Method::Post => {
                if ex.settings().get::<crate::observe::error_log::Settings>().log_not_found {
                    let mut name = Vec::new();
                    request_filename(ex, Sent::default(), &mut name);
                    let name = String::from_utf8_lossy(&name).into_owned();
                    ex.log_error(&format!("open() {name:?} failed (2: No such file or directory)"));
                }
                Err(Error::new(Kind::NotFound, "there is no such file"))
            }
            _ => Ok(Outcome::Respond(not_allowed(ex))),
        }
    }

    /// The representation that suits the client best; `None`: it takes none of those there are.
    fn representation<'e>(&self, ex: &Exchange, entry: &'e Entry) -> Option<&'e Representation> {
        match entry.variants.first() {
            Some(variant) if self.always_coded => Some(variant),
            _ => choose(entry, &ex.request.headers),
        }
    }

    /// The response with a file.
    fn send(&self, ex: &Exchange, file: &Representation) -> Response {
        let now = ex.thread.clock.unix_ms() / 1000;
        let mut response = Response::new(200, file.body());
        response.headers = file.headers(now);
        response.conditions = Some(self.since);
        // What was compressed beforehand has no ranges in nginx.
        let ranges = file.coding().is_none() || ex.scope.gateway.conditions == Dialect::Rfc9110;
        response.max_ranges = if ranges { self.max_ranges } else { 0 };
        response
    }
}

/// The representation for a client's Accept-Encoding.
fn choose<'e>(entry: &'e Entry, request: &buchner_wire::headers::Headers) -> Option<&'e Representation> {
    let plain = entry.plain.as_deref();
    if entry.variants.is_empty() || !request.contains(HeaderId::AcceptEncoding) {
        return plain;
    }
    let available = entry.variants.iter().filter_map(|variant| variant.coding());
    let chosen = precompressed::choose(request.get_all(HeaderId::AcceptEncoding), available);
    let variant = entry.variants.iter().find(|variant| chosen.is_some() && variant.coding() == chosen);
    variant.map(|variant| &**variant).or(plain)
}

fn readable(ex: &Exchange) -> bool {
    matches!(ex.request.method, Method::Get | Method::Head)
}

fn not_allowed(ex: &Exchange) -> Response {
    let mut response = page::of_status(ex, 405);
    response.headers.push(HeaderId::Allow, b"GET, HEAD");
    if ex.request.method == Method::Options {
        response.body = Body::EMPTY;
    }
    response
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A directory's path without slashes at its end; the root directory stays empty, so that a slash and a name follow.
fn root_of(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    }
}

#[cfg(test)]
mod tests;
