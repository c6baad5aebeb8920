//! Directories: their index, their list, and the slash that is missing.
use crate::backend::files::find::Miss;
use crate::backend::files::resolve::Found;
use crate::backend::files::{Files, autoindex, not_allowed, readable, resolve};
use crate::backend::outcome::Outcome;
use crate::clock::zone;
use crate::error::{Error, Kind, Result};
use crate::exchange::Exchange;
use crate::page;
use crate::random::random;
use crate::vars::{Sent, Var, write_var};
use buchner_wire::path::encode_path;
use bytes::Bytes;
use jiff::tz::Offset;

impl Files {
    /// A path with a slash at its end: a file of it at random, its index, or its list.
    pub(super) fn directory(&self, ex: &mut Exchange, path: &[u8], relative: &[u8]) -> Result<Outcome> {
        if self.random_index && readable(ex) {
            let full = self.full(ex, relative).unwrap_or_default();
            if let Ok(Some(name)) = autoindex::random(&full, random()) {
                ex.request.path = Bytes::from([path, &name].concat());
                return Ok(Outcome::Locate);
            }
        }
        if let Some(name) = self.find_index(ex, relative)? {
            // The path may hold a question mark of its own, so it is set as it is rather than taken apart as a URI. The
            // query stays.
            ex.request.path = Bytes::from(if name.starts_with(b"/") { name } else { [path, &name].concat() });
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

    pub(super) fn list(
        &self,
        ex: &Exchange,
        path: &[u8],
        relative: &[u8],
        format: autoindex::Format,
    ) -> Result<Outcome> {
        let full = self.full(ex, relative).unwrap_or_default();
        let mut callback = Vec::new();
        write_var(&Var::Arg("callback".into()), ex, Sent::default(), &mut callback);
        let utf8 = ex
            .settings()
            .get::<crate::filter::charset::Settings>()
            .charset
            .as_deref()
            .is_some_and(|charset| charset.eq_ignore_ascii_case("utf-8"));
        let now = ex.thread.clock.unix_ms() / 1000;
        let offset = if self.local_time { zone::local(now).offset() } else { Offset::UTC };
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

    pub(super) fn find_index(&self, ex: &Exchange, relative: &[u8]) -> Result<Option<Vec<u8>>> {
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
                Ok(entry) if entry.plain.is_some() => return Ok(Some(index)),
                Ok(_) | Err(Miss::Absent | Miss::Directory) => {}
                Err(Miss::Failed(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    /// A directory by its name without the slash: there, so that relative links in its index work.
    pub(super) fn without_slash(&self, ex: &mut Exchange, relative: &[u8]) -> Result<Outcome> {
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
}
