//! `X-Accel-Redirect` and `X-Sendfile`: an upstream or app decides, the gateway sends the file.
//!
//! X-Accel-Redirect names a URI: the request goes back to the location phase with it, and the headers that nginx keeps are put
//! over the response it finds there; only an upstream or app there has a Content-Type of its own. X-Sendfile names a path below
//! one of `sendfile_roots`: that file becomes the body of the app's own response. In both the app's body is dropped, and
//! conditions and ranges of the client apply to the file.
//! Without `sendfile_roots` X-Sendfile is a header like any other; of an app it is dropped ([`crate::backend::app`]).
use crate::backend::files::cache::Entry;
use crate::backend::files::{Files, Miss};
use crate::backend::outcome::Outcome;
use crate::backend::proxy::proxying::Proxying;
use crate::body::RequestBody;
use crate::error::{Error, Kind, Result};
use crate::exchange::conditions::IfModifiedSince;
use crate::exchange::{Exchange, Response};
use crate::kept;
use crate::kinds::FilePath;
use crate::scope::{self, Compiling, Room};
use buchner_wire::headers::{HeaderId, Headers};
use buchner_wire::method::Method;
use buchner_wire::path::parse_target;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::rc::Rc;

/// X-Accel-Redirect and X-Sendfile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Answer `X-Accel-Redirect` of the backend, and `X-Sendfile` if there are `sendfile_roots`, by sending the file they name. Written as true, it gives apps their default roots. Default: true.
    pub sendfile_headers: bool,
    /// Directories `X-Sendfile` may name files in; without them, the header is not obeyed. Default: none, and for a Flask app with `USE_X_SENDFILE` its own folder, less its code, its templates and its instance folder.
    pub sendfile_roots: Option<Vec<FilePath>>,
    /// What `X-Sendfile` may not name below `sendfile_roots`: absolute paths, and names of files or directories with `*` at the start or end. Default: none.
    pub sendfile_except: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { sendfile_headers: true, sendfile_roots: None, sendfile_except: Vec::new() }
    }
}

kept!(Settings);
kept!(Option<Sendfile>);

impl Room for Settings {
    const TITLE: &'static str = "X-Accel-Redirect and X-Sendfile";

    fn compile(&self, _: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        let roots = self.sendfile_roots.as_ref().filter(|_| self.sendfile_headers);
        let sendfile = roots.map(|roots| Sendfile::compile(roots, &self.sendfile_except));
        out.put_some(sendfile.transpose()?);
        Ok(())
    }
}

/// Fields of an app's response that stay with the file it redirects to (nginx: `X-Accel-Redirect`).
const KEPT: [HeaderId; 6] = [
    HeaderId::ContentType,
    HeaderId::ContentDisposition,
    HeaderId::AcceptRanges,
    HeaderId::SetCookie,
    HeaderId::CacheControl,
    HeaderId::Expires,
];

/// Follows the response's X-Accel-Redirect or X-Sendfile, if it has one and the route lets it. `names_type`: the
/// Content-Type is the backend's own word.
#[inline]
pub fn follow(ex: &mut Exchange, names_type: bool, response: Response) -> Result<Outcome> {
    let headers = &response.headers;
    if ex.kept.is_none() && !headers.contains(HeaderId::XAccelRedirect) && !headers.contains(HeaderId::XSendfile) {
        return Ok(Outcome::Respond(response));
    }
    leads(ex, names_type, response)
}

fn leads(ex: &mut Exchange, names_type: bool, response: Response) -> Result<Outcome> {
    let headers = &response.headers;
    if let Some(kept) = ex.kept.as_mut().filter(|_| names_type && headers.contains(HeaderId::ContentType)) {
        kept.remove(HeaderId::ContentType);
    }
    let redirected = {
        let options = ex.settings().get::<Proxying>().options.as_deref();
        headers.contains(HeaderId::XAccelRedirect)
            && options.is_none_or(|options| !options.ignores(HeaderId::XAccelRedirect))
    };
    let named =
        redirected || (ex.settings().get::<Option<Sendfile>>().is_some() && headers.contains(HeaderId::XSendfile));
    if !named || response.own_error || response.status == 101 || !ex.settings().get::<Settings>().sendfile_headers {
        return Ok(Outcome::Respond(response));
    }
    if let Some(uri) = headers.get(HeaderId::XAccelRedirect).filter(|_| redirected) {
        let uri = Bytes::copy_from_slice(uri);
        return redirect(ex, response, &uri);
    }
    let path = headers.get(HeaderId::XSendfile).unwrap_or_default().to_vec();
    send(ex, response, &path).map(Outcome::Respond)
}

/// Puts what was kept of a redirecting response over the final one.
pub fn restore(ex: &Exchange, response: &mut Response) {
    let Some(kept) = &ex.kept else { return };
    for id in KEPT {
        let applies = match id {
            HeaderId::SetCookie => true,
            // A built-in page has a type of its own; a 304 has none.
            HeaderId::ContentType => !response.own_error && !matches!(response.status, 204 | 300..400),
            _ => response.status < 300 || (response.status == 304 && id != HeaderId::ContentDisposition),
        };
        if !applies || !kept.contains(id) {
            continue;
        }
        if id != HeaderId::SetCookie {
            response.headers.remove(id);
        }
        for value in kept.get_all(id) {
            response.headers.push(id, value);
        }
    }
}

/// Keeps headers for the final response. Those of one redirect replace those of the redirect before it; cookies of both stay.
fn keep(ex: &mut Exchange, headers: Headers) {
    let Some(before) = ex.kept.as_mut() else {
        ex.kept = Some(headers);
        return;
    };
    before.retain(|old| old.id == HeaderId::SetCookie || !headers.contains(old.id));
    for new in headers.iter() {
        before.push(new.id, new.value);
    }
}

fn redirect(ex: &mut Exchange, response: Response, uri: &Bytes) -> Result<Outcome> {
    let mut kept = response.headers;
    kept.retain(|field| KEPT.contains(&field.id) && (field.id != HeaderId::ContentType || !field.value.is_empty()));
    keep(ex, kept);
    ex.request.upgrade = false;
    if uri.starts_with(b"@") {
        return Ok(Outcome::Redirect(uri.to_vec()));
    }
    if is_unsafe(uri) {
        let cause = format!("X-Accel-Redirect: unsafe URI {:?}", String::from_utf8_lossy(uri));
        ex.log_error(&cause);
        return Err(Error::new(Kind::NotFound, cause));
    }
    let request = &mut ex.request;
    if request.method != Method::Head {
        request.method = Method::Get;
    }
    request.body = RequestBody::Empty;
    let uri = &as_target(uri);
    let target = parse_target(&Method::Get, uri, true).ok().filter(|_| uri.starts_with(b"/"));
    let Some(target) = target else {
        let cause = format!(
            "X-Accel-Redirect names {:?}, which is neither a path nor a named route",
            String::from_utf8_lossy(uri)
        );
        return Err(Error::new(Kind::UpstreamInvalid, cause));
    };
    request.query = target.query.map(|range| uri.slice(range));
    request.path = target.path;
    Ok(Outcome::Locate)
}

/// Whether a URI may lead elsewhere than its author meant, as part of it may come from a client: its path is empty, or has a
/// NUL or a `..` segment, as sent or decoded (nginx: `ngx_http_parse_unsafe_uri`).
fn is_unsafe(uri: &[u8]) -> bool {
    let path = uri.split(|byte| *byte == b'?').next().unwrap_or_default();
    let decoded = percent_decoded(path);
    path.is_empty() || decoded.contains(&0) || decoded.split(|byte| *byte == b'/').any(|segment| segment == b"..")
}

/// A URI of X-Accel-Redirect as a request-target. Apps write names of files into it, often unencoded: a `#`, and a `%` of the
/// path without two hex digits, stand for themselves.
fn as_target(uri: &Bytes) -> Bytes {
    if memchr::memchr2(b'#', b'%', uri).is_none() {
        return uri.clone();
    }
    let mut target = Vec::with_capacity(uri.len() + 8);
    let mut in_path = true;
    for (at, &byte) in uri.iter().enumerate() {
        in_path &= byte != b'?';
        let encoded = || uri.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        match byte {
            b'#' => target.extend_from_slice(b"%23"),
            b'%' if in_path && !encoded() => target.extend_from_slice(b"%25"),
            _ => target.push(byte),
        }
    }
    Bytes::from(target)
}

fn percent_decoded(path: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', path).is_none() {
        return Cow::Borrowed(path);
    }
    let digit = |at: usize| path.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(path.len());
    let mut at = 0;
    while at < path.len() {
        match (path[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(decoded)
}

fn send(ex: &mut Exchange, response: Response, path: &[u8]) -> Result<Response> {
    let (files, entry) = find(ex, path)?;
    let max_ranges = files.max_ranges();
    let Some(file) = &entry.plain else {
        return Err(Error::new(Kind::NotFound, "X-Sendfile names a file that does not exist"));
    };
    let now = ex.thread.clock.unix_ms() / 1000;
    let partial = response.status == 206;
    let mut whole = Response::new(if partial { 200 } else { response.status }, file.body());
    whole.headers = merge(response.headers, &file.headers(now));
    if whole.status != 200 || !matches!(ex.request.method, Method::Get | Method::Head) {
        // Conditions and ranges of other methods are the app's business.
        return Ok(whole);
    }
    // The app's own validators are the ones the client has.
    whole.conditions = Some(IfModifiedSince::Before);
    whole.max_ranges = max_ranges;
    // A session cookie set by the app survives a 412 or 416.
    if whole.headers.contains(HeaderId::SetCookie) {
        let mut cookies = whole.headers.clone();
        cookies.retain(|field| field.id == HeaderId::SetCookie);
        whole.headers.remove(HeaderId::SetCookie);
        keep(ex, cookies);
    }
    Ok(whole)
}

/// The app's fields, less those about a body that isn't sent, and the file's where the app has none.
fn merge(mut app: Headers, file: &Headers) -> Headers {
    app.retain(|field| !matches!(field.id, HeaderId::XSendfile | HeaderId::ContentLength | HeaderId::ContentRange));
    let missing: Vec<_> =
        file.iter().filter(|field| !app.contains(field.id)).map(|field| (field.id, field.value.to_vec())).collect();
    for (id, value) in missing {
        app.push(id, &value);
    }
    app
}

/// The file that X-Sendfile names.
fn find<'e>(ex: &'e Exchange, path: &[u8]) -> Result<(&'e Files, Rc<Entry>)> {
    let settings = ex.settings().get::<Option<Sendfile>>().as_ref();
    let (roots, except) = settings.map_or((&[][..], &[][..]), |settings| (&settings.roots, &settings.except));
    let found = roots.iter().find_map(|files| Some((files, below(files.root().as_bytes(), path)?)));
    let name = String::from_utf8_lossy(path);
    if except.iter().any(|except| except.covers(path)) {
        let cause = format!(
            "X-Sendfile names {name:?}, which sendfile_except leaves out; of an app's own folder that is its code, its \
             templates, its instance folder and names that begin with a dot. Name the directory in sendfile_roots to \
             allow it"
        );
        return Err(Error::new(Kind::Internal, cause));
    }
    let Some((files, relative)) = found else {
        let known: Vec<_> = roots.iter().map(Files::root).collect();
        let cause = format!(
            "X-Sendfile names {name:?}, which is below none of sendfile_roots {known:?}: add its directory there"
        );
        return Err(Error::new(Kind::Internal, cause));
    };
    let mut entry = files.find(ex, relative);
    if matches!(entry, Err(Miss::Absent)) && std::str::from_utf8(relative).is_err() {
        // A WSGI server sends text as latin-1 (PEP 3333); the file's name is most likely UTF-8.
        let text: String = relative.iter().copied().map(char::from).collect();
        entry = files.find(ex, text.as_bytes());
    }
    match entry {
        Ok(entry) => Ok((files, entry)),
        Err(Miss::Absent) => {
            Err(Error::new(Kind::NotFound, format!("X-Sendfile names {name:?}, which does not exist")))
        }
        Err(Miss::Directory) => {
            Err(Error::new(Kind::Internal, format!("X-Sendfile names {name:?}, which is a directory")))
        }
        Err(Miss::Failed(error)) => Err(error),
    }
}

/// What X-Sendfile may name.
pub struct Sendfile {
    roots: Vec<Files>,
    except: Vec<Except>,
}

impl Sendfile {
    /// Compiles `sendfile_roots` and `sendfile_except`.
    pub fn compile(roots: &[FilePath], except: &[String]) -> std::result::Result<Self, String> {
        let root = |root: &FilePath| {
            Files::named_by_path(root).map_err(|_| format!("sendfile_roots: {root:?} must be an absolute path"))
        };
        let roots = roots.iter().map(root).collect::<std::result::Result<_, _>>()?;
        Ok(Self { roots, except: except.iter().map(|text| Except::parse(text)).collect() })
    }
}

/// Files that X-Sendfile may not name.
#[derive(Debug)]
enum Except {
    /// A path and all below it.
    Path(Box<[u8]>),
    /// A name with this start (`.*`).
    Starts(Box<[u8]>),
    /// A name with this end (`*.py`).
    Ends(Box<[u8]>),
    /// This name.
    Name(Box<[u8]>),
}

impl Except {
    fn parse(text: &str) -> Self {
        let bytes = |text: &str| text.as_bytes().into();
        match (text.starts_with('/'), text.strip_prefix('*'), text.strip_suffix('*')) {
            (true, _, _) => Self::Path(bytes(text.trim_end_matches('/'))),
            (_, Some(end), _) => Self::Ends(bytes(end)),
            (_, _, Some(start)) => Self::Starts(bytes(start)),
            _ => Self::Name(bytes(text)),
        }
    }

    /// Whether an absolute path is left out.
    fn covers(&self, path: &[u8]) -> bool {
        let mut names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
        match self {
            Self::Path(top) => {
                let mut above = top.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
                above.all(|name| names.next() == Some(name))
            }
            Self::Starts(start) => names.any(|name| name.starts_with(start)),
            Self::Ends(end) => names.any(|name| name.ends_with(end)),
            Self::Name(whole) => names.any(|name| name == &**whole),
        }
    }
}

/// The part of an absolute path below a root.
fn below<'p>(root: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    let root = root.strip_suffix(b"/").unwrap_or(root);
    let rest = path.strip_prefix(root)?.strip_prefix(b"/")?;
    (!rest.is_empty()).then_some(rest)
}

#[cfg(test)]
mod tests;
