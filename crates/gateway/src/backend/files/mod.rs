//! Static files (nginx: `root`, `alias`, `index`, `try_files` with one fallback, `gzip_static`).
//!
//! A path below the route becomes a path below `root` ([`resolve`]), an open file with its siblings ([`cache`]), one of them
//! ([`precompressed`]), and an answer, which filters look at conditions and ranges of. The file system is asked on the I/O thread, as nginx does.
pub mod autoindex;
pub mod cache;
pub mod mime;
pub mod precompressed;
pub mod representation;
pub mod resolve;
#[cfg(test)]
pub(crate) mod testing;

use crate::backend::Outcome;
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::exchange::{Exchange, Response};
use crate::filter::conditional::{Dialect, IfModifiedSince};
use crate::http::body::Body;
use crate::http::page;
use crate::vars::core::request_filename;
use crate::vars::{Names, Sent, Template, Var, write_var};
use crate::zone;
use buchner_wire::headers::{HeaderId, is_valid_value};
use buchner_wire::method::Method;
use buchner_wire::path::encode_path;
use bytes::Bytes;
use cache::{Cache, Entry, FRESH_MS};
use mime::Types;
use precompressed::Coding;
use representation::{EtagPrecision, Representation, Traits};
use resolve::{Found, LinkCheck, Links, Stamp};
use rustix::io::Errno;
use std::borrow::Cow;
use std::fs::File;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The files of a directory.
pub struct Files {
    /// Key in the caches; every compiled route has its own.
    id: u64,
    root: Box<str>,
    /// `root` with variables, where it has some.
    varying: Option<Template>,
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
}

/// Why there is no file to send.
#[derive(Debug)]
pub enum Miss {
    /// There is nothing of this name.
    Absent,
    /// It is a directory.
    Directory,
    /// It cannot be sent.
    Failed(Error),
}

impl Files {
    /// Compiles a route's files.
    pub fn compile(
        files: &config::Files,
        route_path: &str,
        types: &Arc<Types>,
        names: &Names,
    ) -> std::result::Result<Self, String> {
        let root = Template::compile(&files.root, names).map_err(|e| format!("files.root: {e}"))?;
        let varying = Some(root).filter(|root| root.as_text().is_none());
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

    /// Answers a request.
    pub fn handle(&self, ex: &mut Exchange) -> Result<Outcome> {
        let path = ex.request.path.clone();
        let Some(relative) = self.relative(&path) else { return self.absent(ex) };
        if path.ends_with(b"/") {
            return self.directory(ex, &path, relative);
        }
        match self.find(ex, relative) {
            Ok(entry) if readable(ex) => Ok(Outcome::Respond(self.send(ex, &entry))),
            Ok(_) => Ok(Outcome::Respond(not_allowed(ex))),
            Err(Miss::Absent) => self.absent(ex),
            Err(Miss::Directory) => self.without_slash(ex, relative),
            Err(Miss::Failed(error)) => Err(error),
        }
    }

    /// The path below the root that a request's path stands for.
    fn relative<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        if self.whole {
            return Some(b"");
        }
        let rest = path.strip_prefix(&*self.prefix)?;
        // `/static` with the route `/static` is a path of its own; `/staticfoo` is not below it.
        let below = rest.is_empty() || rest.starts_with(b"/") || self.prefix.ends_with(b"/") || self.prefix.is_empty();
        let start = rest.iter().position(|byte| *byte != b'/').unwrap_or(rest.len());
        below.then(|| &rest[start..])
    }

    /// The root for this request. `None`: its variables make none.
    fn place<'p>(&self, ex: &Exchange, relative: &'p [u8]) -> Option<Place<'p>> {
        let Some(template) = &self.varying else { return Some(Place::fixed(relative)) };
        let value = template.value(ex, Sent::default());
        // What a client sends can be in there.
        if !value.starts_with(b"/") || !resolve::is_plain(&value) {
            return None;
        }
        let end = value.iter().rposition(|byte| *byte != b'/').map_or(1, |last| last + 1);
        let root = value[..end].to_vec();
        Some(Place { key: [&root, &b"\0"[..], relative].concat().into(), root: Some(root), relative })
    }

    /// The path in the file system of one below the root; a directory's has a slash at its end.
    fn full(&self, ex: &Exchange, relative: &[u8]) -> Option<Vec<u8>> {
        let place = self.place(ex, relative)?;
        let root = place.root.as_deref().unwrap_or(self.root.as_bytes());
        Some([root, if root == b"/" { b"" } else { b"/" }, relative].concat())
    }

    /// The file of a path below the root, from the cache while it is fresh.
    pub fn find(&self, ex: &Exchange, relative: &[u8]) -> std::result::Result<Rc<Entry>, Miss> {
        let thread = &ex.thread;
        let fresh_ms = if ex.plan.gateway.development { 0 } else { FRESH_MS };
        let Some(place) = self.place(ex, relative) else { return Err(Miss::Absent) };
        let mut cache = thread.files.borrow_mut();
        let found = self.find_at(&mut cache, &place, thread.clock.now(), fresh_ms);
        let warning = match &found {
            Err(Miss::Failed(error)) => Some(error.cause.clone()),
            // Nothing is found below a root that isn't there; a configuration with a mistake in it looks just like that.
            Err(Miss::Absent) if !relative.is_empty() && place.root.is_none() => {
                let root = cache.root(self.id, self.root.as_bytes(), thread.clock.now(), fresh_ms);
                root.err()
                    .map(|errno| format!("cannot open the directory {:?} (files.root): {errno}", self.root).into())
            }
            _ => None,
        };
        if let Some(warning) = warning.filter(|_| cache.may_warn(thread.clock.now())) {
            thread.log.warn(&warning);
        }
        found
    }

    #[cfg(test)]
    fn find_in(
        &self,
        cache: &mut Cache,
        relative: &[u8],
        now: u64,
        fresh_ms: u64,
    ) -> std::result::Result<Rc<Entry>, Miss> {
        self.find_at(cache, &Place::fixed(relative), now, fresh_ms)
    }

    fn find_at(
        &self,
        cache: &mut Cache,
        place: &Place<'_>,
        now: u64,
        fresh_ms: u64,
    ) -> std::result::Result<Rc<Entry>, Miss> {
        let known = cache.get(self.id, &place.key, now);
        if let Some(entry) = known.as_ref().filter(|entry| entry.is_fresh(now, fresh_ms)) {
            return Ok(entry.clone());
        }
        let mut loaded = self.load(cache, place, known.as_deref(), now, fresh_ms);
        if matches!(loaded, Err(Refusal::Errno(Errno::MFILE | Errno::NFILE))) {
            // The cache's own descriptors are the ones that can be spared.
            cache.clear();
            loaded = self.load(cache, place, None, now, fresh_ms);
        }
        match loaded {
            Ok(entry) => {
                let entry = Rc::new(entry);
                cache.put(self.id, &place.key, entry.clone(), now);
                Ok(entry)
            }
            Err(refusal) => {
                if known.is_some() {
                    cache.remove(self.id, &place.key);
                }
                Err(self.miss(&refusal, place))
            }
        }
    }

    /// Opens a file and its siblings; what `known` has in the same state is kept.
    fn load(
        &self,
        cache: &mut Cache,
        place: &Place<'_>,
        known: Option<&Entry>,
        now: u64,
        fresh_ms: u64,
    ) -> std::result::Result<Entry, Refusal> {
        let relative = place.relative;
        if !resolve::is_plain(relative) {
            return Err(Refusal::Errno(Errno::NOENT));
        }
        let path = place.root.as_deref().unwrap_or(self.root.as_bytes());
        let mut open = |name: &[u8]| {
            if let Some(check) = &self.owner {
                let slash: &[u8] = if relative.is_empty() { b"" } else { b"/" };
                return check.open(&[path, slash, name].concat());
            }
            if relative.is_empty() {
                return resolve::open_itself(&[path, name].concat());
            }
            if place.root.is_some() {
                return resolve::open(resolve::open_root(path)?.as_fd(), name, self.links);
            }
            let root = cache.root(self.id, path, now, fresh_ms)?;
            resolve::open(root.as_fd(), name, self.links)
        };
        let (file, stamp) = match open(relative)? {
            Found::File(file, stamp) => (file, stamp),
            Found::Directory => return Err(Refusal::Directory),
            Found::Special => return Err(Refusal::Special),
        };
        let mut siblings = Vec::new();
        let mut name = relative.to_vec();
        for coding in &self.codings {
            name.truncate(relative.len());
            name.push(b'.');
            name.extend_from_slice(coding.extension().as_bytes());
            if let Ok(Found::File(file, stamp)) = open(&name) {
                siblings.push((file, stamp, *coding));
            }
        }
        let named = if relative.is_empty() { path } else { relative };
        let traits = Traits {
            content_type: self.types.of(named),
            coding: None,
            varies: self.vary && !siblings.is_empty(),
            etag: self.etag,
            cache_control: self.cache_control.as_deref(),
        };
        let plain = renew(known.map(|known| &known.plain), file, stamp, traits);
        let variants = siblings.into_iter().map(|(file, stamp, coding)| {
            let known = known.and_then(|known| known.variants.iter().find(|variant| variant.coding() == Some(coding)));
            renew(known, file, stamp, Traits { coding: Some(coding), ..traits })
        });
        Ok(Entry::new(plain, variants.collect(), now))
    }

    /// What a refusal means to the client, and in words to whoever runs the gateway.
    fn miss(&self, refusal: &Refusal, place: &Place<'_>) -> Miss {
        let root = String::from_utf8_lossy(place.root.as_deref().unwrap_or(self.root.as_bytes()));
        let path = format!("{root}/{}", String::from_utf8_lossy(place.relative));
        let (kind, cause) = match refusal {
            Refusal::Directory => return Miss::Directory,
            Refusal::Special => (Kind::Forbidden, format!("{path:?} is not a regular file")),
            Refusal::Errno(errno) => match *errno {
                Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL => return Miss::Absent,
                Errno::ACCESS | Errno::PERM => (
                    Kind::Forbidden,
                    format!(
                        "{path:?}: permission denied; the gateway's user must be able to read it and enter its directories"
                    ),
                ),
                Errno::XDEV | Errno::LOOP => (
                    Kind::Forbidden,
                    format!(
                        "{path:?}: a symbolic link is absolute or leads out of {:?} (follow_symlinks = true allows it)",
                        self.root
                    ),
                ),
                Errno::NXIO | Errno::NODEV => (Kind::Forbidden, format!("{path:?} is not a regular file")),
                Errno::MFILE | Errno::NFILE => (
                    Kind::Internal,
                    format!(
                        "{path:?}: out of file descriptors; raise the limit of open files (LimitNOFILE=, ulimit -n)"
                    ),
                ),
                errno => (Kind::Internal, format!("cannot open {path:?}: {errno}")),
            },
        };
        Miss::Failed(Error::new(kind, cause))
    }

    /// A path with a slash at its end: a file of it at random, its index, or its list.
    fn directory(&self, ex: &mut Exchange, path: &[u8], relative: &[u8]) -> Result<Outcome> {
        if self.random_index && readable(ex) {
            let full = self.full(ex, relative).unwrap_or_default();
            let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), ());
            if let Ok(Some(name)) = autoindex::random(&full, random) {
                ex.request.path = Bytes::from([path, &name].concat());
                return Ok(Outcome::Locate);
            }
        }
        if let Some(name) = self.find_index(ex, relative)? {
            if name.starts_with(b"/") {
                return Ok(Outcome::Redirect(name));
            }
            // The path may hold a question mark of its own, so it is set as it is rather than taken apart as a URI.
            ex.request.path = Bytes::from([path, &name].concat());
            return Ok(Outcome::Locate);
        }
        if self.fallback.is_some() {
            return self.absent(ex);
        }
        if !readable(ex) {
            return Ok(Outcome::Respond(not_allowed(ex)));
        }
        match self.find(ex, relative.strip_suffix(b"/").unwrap_or(relative)) {
            Err(Miss::Directory) => match self.autoindex {
                Some(format) => self.list(ex, path, relative, format),
                None => Err(Error::new(Kind::Forbidden, "the directory has no index file")),
            },
            Err(Miss::Failed(error)) => Err(error),
            Ok(_) | Err(Miss::Absent) => self.absent(ex),
        }
    }

    fn list(&self, ex: &Exchange, path: &[u8], relative: &[u8], format: autoindex::Format) -> Result<Outcome> {
        let full = self.full(ex, relative).unwrap_or_default();
        let mut callback = Vec::new();
        write_var(&Var::Arg("callback".into()), ex, Sent::default(), &mut callback);
        let utf8 = ex.settings().charset.as_deref().is_some_and(|charset| charset.eq_ignore_ascii_case("utf-8"));
        let now = ex.thread.clock.unix_ms() / 1000;
        let offset = if self.local_time { zone::offset(now) } else { zone::Offset::default() };
        let look = autoindex::Look { format, exact_size: self.exact_size, offset, utf8, callback: &callback };
        match autoindex::list(&full, path, look) {
            Ok(response) => Ok(Outcome::Respond(response)),
            Err(None) => Err(Error::new(Kind::BadRequest(400), "the argument callback is not the name of a function")),
            Err(Some(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Err(Error::new(Kind::Forbidden, format!("listing a directory: {error}")))
            }
            Err(Some(error)) => Err(Error::new(Kind::Internal, format!("listing a directory: {error}"))),
        }
    }

    fn find_index(&self, ex: &Exchange, relative: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut name = relative.to_vec();
        if !name.is_empty() && !name.ends_with(b"/") {
            name.push(b'/');
        }
        let directory = name.len();
        for index in &self.index {
            let index = index.value(ex, Sent::default());
            if index.starts_with(b"/") {
                return Ok(Some(index));
            }
            if self.whole {
                // The root is a directory then, and the name stands behind it.
                let full = self.full(ex, &index);
                if full.is_some_and(|full| matches!(resolve::open_itself(&full), Ok(Found::File(..)))) {
                    return Ok(Some(index));
                }
                continue;
            }
            name.truncate(directory);
            name.extend_from_slice(&index);
            match self.find(ex, &name) {
                Ok(_) => return Ok(Some(index)),
                Err(Miss::Absent | Miss::Directory) => {}
                Err(Miss::Failed(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    /// A directory by its name without the slash: there, so that relative links in its index work.
    fn without_slash(&self, ex: &mut Exchange, relative: &[u8]) -> Result<Outcome> {
        if self.fallback.is_some() && self.find_index(ex, relative)?.is_none() {
            return self.absent(ex);
        }
        if !readable(ex) {
            return Ok(Outcome::Respond(not_allowed(ex)));
        }
        // Two slashes in front would name another host.
        let path = &ex.request.path;
        let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
        let mut location = b"/".to_vec();
        encode_path(&path[start..], &mut location);
        location.push(b'/');
        if let Some(query) = &ex.request.query {
            location.push(b'?');
            location.extend_from_slice(query);
        }
        Ok(Outcome::Respond(page::redirect(ex, 301, &location)))
    }

    fn absent(&self, ex: &Exchange) -> Result<Outcome> {
        match &self.fallback {
            // A fallback that is missing itself is no reason to go round in circles.
            Some(to) if *to.as_bytes() != *ex.request.path => Ok(Outcome::Redirect(to.as_bytes().to_vec())),
            // What a form is sent to may well be missing; other methods there are none of at all.
            _ if readable(ex) || ex.request.method == Method::Post => {
                if ex.settings().log_not_found {
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

    /// The response with the representation that suits the client best.
    fn send(&self, ex: &Exchange, entry: &Entry) -> Response {
        let request = &ex.request.headers;
        let now = ex.thread.clock.unix_ms() / 1000;
        let file = match entry.variants.first() {
            Some(variant) if self.always_coded => variant,
            _ => choose(entry, request),
        };
        let mut response = Response::new(200, file.body());
        response.headers = file.headers(now);
        response.conditions = Some(self.since);
        // What was compressed beforehand has no ranges in nginx.
        let ranges = file.coding().is_none() || ex.plan.gateway.conditions == Dialect::Rfc9110;
        response.max_ranges = if ranges { self.max_ranges } else { 0 };
        response
    }
}

/// Where a file is looked for.
struct Place<'p> {
    /// A root made of variables.
    root: Option<Vec<u8>>,
    relative: &'p [u8],
    /// In the cache.
    key: Cow<'p, [u8]>,
}

impl<'p> Place<'p> {
    fn fixed(relative: &'p [u8]) -> Self {
        Self { root: None, relative, key: Cow::Borrowed(relative) }
    }
}

/// Why a file was not opened.
enum Refusal {
    Directory,
    Special,
    Errno(Errno),
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// The known representation if the file is still the same, else a new one.
fn renew(known: Option<&Rc<Representation>>, file: File, stamp: Stamp, traits: Traits<'_>) -> Rc<Representation> {
    match known.filter(|known| known.is_still(stamp, traits.coding, traits.varies)) {
        Some(known) => known.clone(),
        None => Rc::new(Representation::new(file, stamp, traits)),
    }
}

/// The representation for a client's Accept-Encoding.
fn choose<'e>(entry: &'e Entry, request: &buchner_wire::headers::Headers) -> &'e Representation {
    if entry.variants.is_empty() || !request.contains(HeaderId::AcceptEncoding) {
        return &entry.plain;
    }
    let available = entry.variants.iter().filter_map(|variant| variant.coding());
    let chosen = precompressed::choose(request.get_all(HeaderId::AcceptEncoding), available);
    let variant = entry.variants.iter().find(|variant| chosen.is_some() && variant.coding() == chosen);
    variant.unwrap_or(&entry.plain)
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
