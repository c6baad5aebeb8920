//! App workers as the backend: a request becomes a frame, waits for a slot, and comes back as a response.
//!
//! | module | |
//! |---|---|
//! | [`environ`] | what the app is told |
//! | [`told`] | what a trusted proxy says of the client's URL |
//! | [`pool`] | which slots are free, who waits: shared by all threads |
//! | [`link`] | one thread's socket to one slot |
//! | [`outbox`] | what waits to be sent over it |
//! | [`call`] | one request at a slot |
//! | [`culprits`] | requests that kill workers |
//! | [`uplink`] | a request body that the client still sends |
//! | [`large`] | request bodies that are not read ahead |
//! | [`body`] | answers that come over time |
//! | [`control`] | what the supervisor says of workers |
mod body;
mod call;
pub mod config;
mod control;
mod culprits;
mod environ;
mod large;
mod link;
mod outbox;
mod pool;
mod threads;
mod told;
mod upgrade;
mod uplink;

use crate::accel::Sendfile;
use crate::exchange::whole;
use crate::kept;
use crate::scope::Room;
use crate::settings::buffering;
use crate::settings::limits;
use crate::units::Millis;
pub use control::{control, pools};
pub(crate) use control::{lost, retired};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use threads::ThreadPools;

use crate::backend::outcome::Outcome;
use crate::backend::{Handler, Place};
use crate::body::rest;
use crate::body::spool::Buffered;
use crate::body::{Body, Part, RequestBody};
use crate::error::{Error, Kind, Result};
use crate::exchange::{Exchange, Response};
use crate::page::{self, Exception};
use crate::settings::buffering::BodyFile;
use body::{DetachedBody, SlotBody};
use buchner_wire::headers::{HeaderId, Headers};
use buchner_wire::method::Method;
use buchner_wire::slot;
use call::{Call, Event, Head, Waiter};
use culprits::Case;
use large::Large;
use pool::{Asked, Grant, Pool};
use std::fs::File;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use uplink::Uplink;

/// Apps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Time an app has for the head of its answer, from the moment a slot takes the request; then 504 and the stack in the log. Default: 60 s; 0: none.
    pub app_timeout: Millis,
}

impl Default for Settings {
    fn default() -> Self {
        Self { app_timeout: Millis(60_000) }
    }
}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "Apps";
}

/// How long a request whose worker died waits for the supervisor to say why.
const CAUSE_WAIT: Duration = Duration::from_millis(500);

/// The pools of a configuration by name.
pub type Pools = BTreeMap<String, config::AppPool>;

/// A route that an app answers.
pub struct App {
    name: String,
    /// `SCRIPT_NAME`: a path without a slash at its end, or nothing.
    mount: Vec<u8>,
    pool: OnceLock<Arc<Pool>>,
    logged_sendfile: AtomicBool,
    logged_spool: AtomicBool,
}

impl Handler for App {
    type Config = config::App;

    const PASSES_ON: bool = true;

    const KEEPS_FORMS: bool = true;

    fn compile(app: &config::App, place: &Place<'_>) -> std::result::Result<Self, String> {
        if !place.cx.table::<Pools>().is_some_and(|pools| pools.contains_key(&app.pool)) {
            return Err(format!("app: unknown pool {:?}", app.pool));
        }
        if !app.mount.is_empty() && (!app.mount.starts_with('/') || app.mount.ends_with('/')) {
            return Err(format!("app.mount: {:?} must start with / and not end with it", app.mount));
        }
        Ok(Self {
            name: app.pool.clone(),
            mount: app.mount.clone().into_bytes(),
            pool: OnceLock::new(),
            logged_sendfile: AtomicBool::new(false),
            logged_spool: AtomicBool::new(false),
        })
    }

    /// Responds to a request, on another slot if the first did not run it.
    async fn handle(&self, ex: &mut Exchange) -> Result<Outcome> {
        let pool = self.pool.get_or_init(|| control::pools(&ex.thread.shared).pool(&self.name)).clone();
        let upgrades = ex.upgrade().is_some();
        if ex.settings().get::<buffering::Settings>().request_buffering && !upgrades {
            self.read_body(ex, &pool).await?;
        }
        let began = ex.thread.clock.now();
        let (mut frame, file) = self.frame(ex)?;
        let streamed = matches!(ex.request.body, RequestBody::Stream(_));
        let (mut bound, mut front) = (streamed || upgrades, false);
        let mut case = Case::open(&pool, ex).await?;
        loop {
            let grant = self.place(ex, &mut case, &pool, (bound, front)).await?;
            front = true;
            let Some(waiter) = start(ex, grant, &mut frame, file.clone()) else {
                bound = true;
                continue;
            };
            ex.upstream.tries += 1;
            ex.upstream.address = Some(waiter.link.described.clone());
            let mut uplink = uplink(ex, &waiter);
            let event = std::future::poll_fn(|cx| {
                if let Poll::Ready(event) = waiter.poll(cx) {
                    return Poll::Ready(Ok(event));
                }
                uplink.as_mut().map_or(Poll::Pending, |uplink| uplink.poll_failed(cx).map(Err))
            });
            let event = case.run(&waiter, event).await?;
            ex.upstream.header_ms = ex.thread.clock.now().saturating_sub(began);
            match event {
                Event::Head(head) => {
                    if head.flags & slot::COMPLETE != 0 {
                        case.survived(ex, &waiter);
                    }
                    return self.respond(ex, waiter, uplink, head).map(Outcome::Respond);
                }
                Event::Upgraded(None) => return Err(no_descriptor()),
                Event::Upgraded(Some(socket)) => {
                    return upgrade::respond(ex, waiter, socket).await.map(Outcome::Respond);
                }
                Event::Revoked => bound |= front && ex.upstream.tries > 3,
                Event::Died => {
                    let again = !streamed && ex.request.method.is_idempotent();
                    if !case.died(ex, &waiter, again).await? {
                        return Err(self.died(&pool, waiter.link.place.worker).await);
                    }
                }
                Event::TimedOut => return Err(late(ex)),
                Event::Chunk(_) | Event::Spilled { .. } | Event::End | Event::Abort(_) => {
                    return Err(Error::new(Kind::WorkerInvalid, "the worker sent a body before its head"));
                }
            }
        }
    }
}

impl App {
    /// Reads the body ahead, if it may be kept.
    async fn read_body(&self, ex: &mut Exchange, pool: &Arc<Pool>) -> Result<()> {
        let memory = ex.settings().get::<buffering::Settings>().buffer_memory.0.min(slot::MAX_PAYLOAD as u64 / 2);
        if ex.settings().get::<buffering::Settings>().request_body_file != BodyFile::Off {
            return whole::read(ex, memory).await;
        }
        let (most, spool) =
            (ex.settings().get::<buffering::Settings>().request_buffering_max.0, ex.scope.spool.clone());
        match rest::buffer_or_stream(&mut ex.request.body, memory, most, &spool).await? {
            Some(why) => self.stream(ex, pool, &why),
            None => Ok(()),
        }
    }

    /// The body stays a stream, which the app reads while the client sends.
    fn stream(&self, ex: &mut Exchange, pool: &Arc<Pool>, why: &Error) -> Result<()> {
        let RequestBody::Stream(source) = std::mem::replace(&mut ex.request.body, RequestBody::Empty) else {
            return Ok(());
        };
        let Some(permit) = pool.large_permit() else {
            let cause = format!(
                "app {}: {}; half of the slots take such bodies from their clients already",
                self.name, why.cause
            );
            return Err(Error::new(Kind::QueueFull, cause).closing());
        };
        let full = why.kind == Kind::SpoolFull;
        if full && !self.logged_spool.swap(true, Ordering::Relaxed) {
            ex.thread.log.warn(&format!(
                "app {}: {}; such bodies are streamed to the app, which keeps a slot busy as long as the client sends \
                 (said once)",
                self.name, why.cause
            ));
        }
        let large = Large::new(source, permit, ex.settings().get::<buffering::Settings>().body_min_rate.0, !full);
        ex.request.body = RequestBody::Stream(Box::new(large));
        Ok(())
    }

    /// The request as a frame, and the file its body is in.
    fn frame(&self, ex: &Exchange) -> Result<(Vec<u8>, Option<Arc<File>>)> {
        let upgrade = if ex.upgrade().is_some() { slot::UPGRADE } else { 0 };
        let development = if ex.scope.gateway.development { slot::DEVELOPMENT } else { 0 };
        let (flags, inline, file) = match &ex.request.body {
            RequestBody::Buffered(Buffered::Memory(bytes)) => (slot::INLINE, &bytes[..], None),
            RequestBody::Buffered(Buffered::File(file)) => (slot::SPOOLED, &[][..], Some(file.file().clone())),
            RequestBody::Stream(_) => (slot::STREAMED, &[][..], None),
            RequestBody::Empty => (0, &[][..], None),
        };
        let mut frame = Vec::with_capacity(1024 + inline.len());
        environ::write(ex, &self.mount, flags | upgrade | development, inline, &mut frame)?;
        if frame.len() > slot::HEADER + slot::MAX_PAYLOAD {
            return Err(too_large(ex));
        }
        Ok((frame, file))
    }

    /// A place on a slot. What others did while this request waited for one counts.
    async fn place(
        &self,
        ex: &Exchange,
        case: &mut Case,
        pool: &Arc<Pool>,
        (bound, front): (bool, bool),
    ) -> Result<Grant> {
        loop {
            if let Some(grant) = case.grant().await {
                return Ok(grant);
            }
            let grant = self.acquire(pool, bound, front).await?;
            if !case.is_suspect(ex)? {
                return Ok(grant);
            }
            drop(grant);
            case.stand_trial(ex).await?;
        }
    }

    async fn acquire(&self, pool: &Arc<Pool>, bound: bool, front: bool) -> Result<Grant> {
        match pool.ask(bound, front) {
            Asked::Granted(grant) => Ok(grant),
            Asked::Full(limit) => Err(Error::new(
                Kind::QueueFull,
                format!(
                    "app {}: {limit} requests wait for a slot already (queue); more workers or threads would help",
                    self.name
                ),
            )),
            Asked::Queued(receiver, limit) => match tokio::time::timeout(limit, receiver).await {
                Ok(Ok(grant)) => Ok(grant),
                _ if pool.is_empty() => Err(Error::new(
                    Kind::NoWorker,
                    format!("app {}: no worker is running; see the log for why they do not start", self.name),
                )),
                _ => Err(Error::new(
                    Kind::QueueTimeout,
                    format!("app {}: no slot became free within {} ms (queue_timeout)", self.name, limit.as_millis()),
                )),
            },
        }
    }

    fn respond(&self, ex: &mut Exchange, waiter: Waiter, uplink: Option<Uplink>, head: Head) -> Result<Response> {
        let Head { flags, status, reason, mut headers, body: first, descriptor } = head;
        ex.upstream.status = status;
        if flags & slot::FAILED != 0 {
            return self.failed(ex, status, &first);
        }
        let length =
            headers.get(HeaderId::ContentLength).and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        let unbuffered = !ex.settings().get::<buffering::Settings>().buffering || is_unbuffered(&headers);
        headers.strip_hop_by_hop_of_response(status);
        let development = ex.scope.gateway.development;
        headers.retain(|h| match h.id {
            HeaderId::ContentLength | HeaderId::Date | HeaderId::Server => false,
            HeaderId::XBuchnerDropped => development,
            _ => true,
        });
        self.drop_sendfile(ex, &mut headers);
        let body = if ex.request.method == Method::Head || matches!(status, 204 | 304) {
            Body::None { length }
        } else if flags & slot::FILE != 0 {
            file_part(&first, descriptor)?
        } else if flags & slot::COMPLETE != 0 {
            Body::Full(first)
        } else if flags & slot::DETACHED != 0 {
            let socket = descriptor.map(std::os::unix::net::UnixStream::from).ok_or_else(no_descriptor)?;
            Body::Stream(Box::new(DetachedBody::new(stream(socket)?, first)))
        } else {
            Body::Stream(Box::new(SlotBody {
                waiter: Some(waiter),
                uplink,
                first,
                left: length,
                flush: unbuffered,
                reading: None,
            }))
        };
        let mut response = Response::new(status, body);
        response.headers = headers;
        response.set_reason(&reason);
        Ok(response)
    }

    /// X-Sendfile is obeyed only if the app or the configuration asks for it: an app that relays headers must not let
    /// others read its files.
    fn drop_sendfile(&self, ex: &Exchange, headers: &mut Headers) {
        if !headers.contains(HeaderId::XSendfile) || ex.settings().get::<Option<Sendfile>>().is_some() {
            return;
        }
        headers.remove(HeaderId::XSendfile);
        if ex.scope.gateway.development {
            headers.push(HeaderId::XBuchnerDropped, HeaderId::XSendfile.name().as_bytes());
        }
        if !self.logged_sendfile.swap(true, Ordering::Relaxed) {
            ex.thread.log.warn(&format!(
                "app {}: a response has X-Sendfile, which is dropped here and from further responses: to have the \
                 gateway send the file, set USE_X_SENDFILE in the app's config (Flask), or sendfile_roots",
                self.name
            ));
        }
    }

    /// The app raised: the log has a line of it here and all of it from the worker, in development the page shows it.
    fn failed(&self, ex: &mut Exchange, status: u16, told: &[u8]) -> Result<Response> {
        let told = String::from_utf8_lossy(told);
        let (traceback, page) = told.split_once('\0').unwrap_or((&told, ""));
        if status == 503 {
            return Err(Error::new(Kind::Exhausted, format!("app {}: {traceback}", self.name)));
        }
        let cause = format!("app {}: {}", self.name, raised(traceback));
        Ok(page::of_exception(ex, cause, &Exception { traceback, page }))
    }

    async fn died(&self, pool: &Arc<Pool>, worker: u64) -> Error {
        let until = Instant::now() + CAUSE_WAIT;
        loop {
            if let Some(cause) = pool.cause(worker) {
                return Error::new(Kind::WorkerDied, format!("app {}: worker {worker} {cause}", self.name));
            }
            if Instant::now() > until {
                return Error::new(
                    Kind::WorkerDied,
                    format!("app {}: worker {worker} died while it ran the request", self.name),
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The line of a traceback with the exception's type and the first line of its text. The text can have further lines, and
/// notes can follow it.
fn raised(traceback: &str) -> &str {
    let lines =
        traceback.trim_end().rsplit_once("Traceback (most recent call last):\n").map_or(traceback, |(_, last)| last);
    let told = lines.lines().find(|line| !line.starts_with(' ') && !line.is_empty());
    told.or_else(|| traceback.lines().last()).unwrap_or_default()
}

/// A streamed body's way to the slot that has the request.
fn uplink(ex: &mut Exchange, waiter: &Waiter) -> Option<Uplink> {
    if !waiter.call.streamed {
        return None;
    }
    match std::mem::replace(&mut ex.request.body, RequestBody::Empty) {
        RequestBody::Stream(source) => {
            Some(Uplink::start(source, waiter, ex.settings().get::<limits::Settings>().body_timeout.0))
        }
        _ => None,
    }
}

/// Hands the request to the slot. `None` when it can't have it after all.
fn start(ex: &Exchange, grant: Grant, frame: &mut [u8], file: Option<Arc<File>>) -> Option<Waiter> {
    let link = ex.thread.rooms.get::<ThreadPools>().link(grant.slot)?;
    let call = Call::new(ex);
    if link.dead.get() || !link.start(&call, frame, file, grant.ahead) {
        return None;
    }
    ex.thread.rooms.get::<ThreadPools>().watch(grant.ahead);
    grant.used();
    Some(Waiter { call, link })
}

fn late(ex: &Exchange) -> Error {
    let limit = ex.settings().get::<crate::backend::app::Settings>().app_timeout.0;
    Error::new(
        Kind::AppTimeout,
        format!("the app did not answer within {limit} ms (app_timeout); the log has the thread's stack"),
    )
}

fn no_descriptor() -> Error {
    Error::new(
        Kind::Exhausted,
        "the descriptor of the app's response got lost: this process has none left, or the worker's user has too many in \
         flight (open_files)",
    )
}

/// The environ has the target three times; if that is what does not fit, the client is told so.
fn too_large(ex: &Exchange) -> Error {
    let status = if 3 * ex.request.target.len() > slot::MAX_PAYLOAD / 2 { 414 } else { 431 };
    Error::new(Kind::BadRequest(status), "the request does not fit into the 1 MiB that an app can be sent at once")
}

fn stream(socket: std::os::unix::net::UnixStream) -> Result<UnixStream> {
    let made = socket.set_nonblocking(true).and_then(|()| UnixStream::from_std(socket));
    made.map_err(|e| Error::new(Kind::Internal, format!("cannot take over the socket of an answer: {e}")))
}

/// The app or its answer asks that nothing be held back.
fn is_unbuffered(headers: &Headers) -> bool {
    headers.get(HeaderId::XAccelBuffering).is_some_and(|value| value.eq_ignore_ascii_case(b"no"))
        || headers.get(HeaderId::ContentType).is_some_and(|value| value.starts_with(b"text/event-stream"))
}

fn file_part(place: &[u8], descriptor: Option<std::os::fd::OwnedFd>) -> Result<Body> {
    let (Some((offset, rest)), Some(descriptor)) = (place.split_first_chunk::<8>(), descriptor) else {
        return Err(no_descriptor());
    };
    let Some((length, _)) = rest.split_first_chunk::<8>() else { return Err(no_descriptor()) };
    let (offset, length) = (u64::from_le_bytes(*offset), u64::from_le_bytes(*length));
    let file = Rc::new(File::from(descriptor));
    Ok(if length == 0 { Body::EMPTY } else { Body::Parts(vec![Part::File { file, offset, length }]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_raised_is_type_and_first_line() {
        let frames = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    raise\n    ^^^^^\n";
        for (end, told) in [
            ("ValueError: one\n", "ValueError: one"),
            ("RuntimeError: outside\n\nThis typically means\n  a\ncontext.\n", "RuntimeError: outside"),
            ("KeyError: 'a'\nan added note\n", "KeyError: 'a'"),
        ] {
            assert_eq!(raised(&format!("{frames}{end}")), told);
            let chained = format!("{frames}OSError: x\n\nDuring handling of it:\n\n{frames}{end}");
            assert_eq!(raised(&chained), told);
        }
        assert_eq!(raised("OSError: alone"), "OSError: alone");
        assert_eq!(raised(""), "");
    }
}
