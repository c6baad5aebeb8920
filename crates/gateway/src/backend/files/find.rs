//! From a path below the root to an open file with its siblings.
use crate::backend::files::cache::{Cache, Entry, FRESH_MS};
use crate::backend::files::representation::{Representation, Traits};
use crate::backend::files::resolve::{Found, Stamp};
use crate::backend::files::{Files, resolve};
use crate::error::{Error, Kind};
use crate::exchange::Exchange;
use crate::exchange::conditions::Dialect;
use rustix::io::Errno;
use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsFd;
use std::rc::Rc;

impl Files {
    /// The root for this request. `None`: its variables make none.
    pub(super) fn place<'p>(&self, ex: &Exchange, relative: &'p [u8]) -> Option<Place<'p>> {
        let named = match ex.scope.gateway.conditions {
            _ if !relative.is_empty() => relative,
            // The root is the file itself. To nginx, its media type is that of the request's path.
            Dialect::Nginx => &ex.request.path[..],
            Dialect::Rfc9110 => self.root.as_bytes(),
        };
        let Some(template) = &self.varying else { return Some(Place::fixed(relative, named)) };
        let value = template.value(ex);
        // What a client sends can be in there.
        if !value.starts_with(b"/") || !resolve::is_plain(&value) {
            return None;
        }
        let end = value.iter().rposition(|byte| *byte != b'/').map_or(1, |last| last + 1);
        let root = value[..end].to_vec();
        let key = [&root, &b"\0"[..], named].concat().into();
        Some(Place { key, root: Some(root), relative, named: named.to_vec().into() })
    }

    /// The path in the file system of one below the root; a directory's has a slash at its end.
    pub(super) fn full(&self, ex: &Exchange, relative: &[u8]) -> Option<Vec<u8>> {
        let place = self.place(ex, relative)?;
        let root = place.root.as_deref().unwrap_or(self.root.as_bytes());
        Some([root, if root == b"/" { b"" } else { b"/" }, relative].concat())
    }

    /// The file of a path below the root, from the cache while it is fresh.
    pub fn find(&self, ex: &Exchange, relative: &[u8]) -> std::result::Result<Rc<Entry>, Miss> {
        let thread = &ex.thread;
        let fresh_ms = if ex.scope.gateway.development { 0 } else { FRESH_MS };
        let Some(place) = self.place(ex, relative) else { return Err(Miss::Absent) };
        let files = thread.rooms.get::<RefCell<Cache>>();
        let mut cache = files.borrow_mut();
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
    pub(super) fn find_in(
        &self,
        cache: &mut Cache,
        relative: &[u8],
        now: u64,
        fresh_ms: u64,
    ) -> std::result::Result<Rc<Entry>, Miss> {
        self.find_at(cache, &Place::fixed(relative, self.root.as_bytes()), now, fresh_ms)
    }

    pub(super) fn find_at(
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
    pub(super) fn load(
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
        let plain = match open(relative) {
            Ok(Found::File(file, stamp)) => Some((file, stamp)),
            Ok(Found::Directory) => return Err(Refusal::Directory),
            Ok(Found::Special) => return Err(Refusal::Special),
            // Some sites keep compressed files only.
            Err(Errno::NOENT) if !self.codings.is_empty() => None,
            Err(errno) => return Err(errno.into()),
        };
        let mut siblings = Vec::new();
        let mut name = relative.to_vec();
        for coding in &self.codings {
            name.truncate(relative.len());
            name.push(b'.');
            name.extend_from_slice(coding.extension().as_bytes());
            if let Ok(Found::File(file, sibling)) = open(&name) {
                // One that the last build did not make again has the contents of the build before.
                if self.stale || !plain.as_ref().is_some_and(|(_, stamp)| sibling.is_older(stamp)) {
                    siblings.push((file, sibling, *coding));
                }
            }
        }
        if plain.is_none() && siblings.is_empty() {
            return Err(Refusal::Errno(Errno::NOENT));
        }
        let traits = Traits {
            content_type: self.types.of(&place.named),
            coding: None,
            varies: self.vary && !siblings.is_empty(),
            etag: self.etag,
            cache_control: self.cache_control.as_deref(),
        };
        let known_plain = known.and_then(|known| known.plain.as_ref());
        let plain = plain.map(|(file, stamp)| renew(known_plain, file, stamp, traits));
        let variants = siblings.into_iter().map(|(file, stamp, coding)| {
            let known = known.and_then(|known| known.variants.iter().find(|variant| variant.coding() == Some(coding)));
            renew(known, file, stamp, Traits { coding: Some(coding), ..traits })
        });
        Ok(Entry::new(plain, variants.collect(), now))
    }

    /// What a refusal means to the client, and in words to whoever runs the gateway.
    pub(super) fn miss(&self, refusal: &Refusal, place: &Place<'_>) -> Miss {
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

/// Where a file is looked for.
pub(super) struct Place<'p> {
    /// A root made of variables.
    root: Option<Vec<u8>>,
    relative: &'p [u8],
    /// What its media type is made of.
    named: Cow<'p, [u8]>,
    /// In the cache.
    key: Cow<'p, [u8]>,
}

impl<'p> Place<'p> {
    fn fixed(relative: &'p [u8], named: &[u8]) -> Self {
        if relative.is_empty() {
            let named: Cow<'p, [u8]> = named.to_vec().into();
            return Self { root: None, relative, key: named.clone(), named };
        }
        Self { root: None, relative, named: Cow::Borrowed(relative), key: Cow::Borrowed(relative) }
    }
}

/// Why a file was not opened.
pub(super) enum Refusal {
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
