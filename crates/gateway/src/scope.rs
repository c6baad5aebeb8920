//! What a request may ask of the configuration it began with, and what a room may bring to it.
//!
//! A room's settings are a struct beside its code ([`Room`]); the list of rooms (`modules.rs`) puts them together. What a room
//! compiles its settings to is found again by type ([`Settings::get`]), is a check or a filter in the order of the list, or
//! both. Nothing here knows the rooms.
use crate::body::spool::Spool;
use crate::error::Result;
use crate::exchange::{Exchange, Response};
use crate::gateway::Gateway;
use crate::vars::{Names, Sent, Template, Variable, Wants};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::borrow::Cow;
use std::fmt::Debug;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A future on this thread, boxed: what runs seldom, or within itself.
pub type Boxed<'f, T> = Pin<Box<dyn Future<Output = T> + 'f>>;

/// The number of a type among those that [`Settings`] hold.
#[derive(Default)]
pub struct Slot(AtomicUsize);

impl Slot {
    /// A number that is given when it is first asked for.
    pub const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// The number, from 0.
    #[inline]
    pub fn index(&self) -> usize {
        match self.0.load(Ordering::Relaxed) {
            0 => self.give(),
            given => given - 1,
        }
    }

    #[cold]
    fn give(&self) -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let new = NEXT.fetch_add(1, Ordering::Relaxed);
        // Another thread may have been faster; its number holds.
        self.0.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed).map_or_else(|old| old, |_| new) - 1
    }
}

/// What can be found in [`Settings`] by its type; `kept!` implements it.
pub trait Kept: Any + Send + Sync {
    /// The type's number.
    fn slot() -> usize;
    /// The value where the settings have none: the default.
    fn absent() -> &'static Self;
}

/// Lets [`Settings`] keep values of a type, which has a default.
#[macro_export]
macro_rules! kept {
    ($type:ty) => {
        impl $crate::scope::Kept for $type {
            fn slot() -> usize {
                static SLOT: $crate::scope::Slot = $crate::scope::Slot::new();
                SLOT.index()
            }

            fn absent() -> &'static Self {
                static ABSENT: std::sync::LazyLock<$type> = std::sync::LazyLock::new(<$type>::default);
                &ABSENT
            }
        }
    };
}

/// The settings of a room, as the configuration has them.
pub trait Room: Kept + Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + JsonSchema {
    /// What they are about: a heading of docs/configuration.md.
    const TITLE: &'static str;
    /// Its variables.
    const VARIABLES: &'static [Variable] = &[];

    /// Puts what they ask for into `out`; they themselves are there. The error names the setting and what is wrong with it.
    fn compile(&self, _: &Compiling<'_>, _: &mut Settings) -> std::result::Result<(), String> {
        Ok(())
    }
}

/// What rooms may use while a group of settings is compiled.
pub struct Compiling<'c> {
    /// The variables there are.
    pub names: &'c Names,
    /// Settings of the process.
    pub gateway: &'c Gateway,
    /// Tables of the configuration, by type.
    pub tables: &'c [&'c (dyn Any + Send + Sync)],
}

impl Compiling<'_> {
    /// The table of a type.
    pub fn table<T: Any>(&self) -> Option<&T> {
        self.tables.iter().find_map(|table| table.downcast_ref())
    }
}

/// What a check says of a request.
pub enum Verdict {
    /// It may come in.
    Granted,
    /// It may not.
    Refused(Refusal),
    /// It may not, whatever other checks say.
    Final(Refusal),
    /// The check has nothing to say.
    Silent,
}

/// How a request is refused.
pub struct Refusal {
    /// 401 or 403; any other ends the checks.
    pub status: u16,
    /// The `WWW-Authenticate` headers, for 401.
    pub challenges: Vec<Vec<u8>>,
    /// Why, in words for the log.
    pub cause: Cow<'static, str>,
}

/// Decides whether a request may come in (nginx: the access phase).
pub trait Check: Send + Sync {
    /// Decides about a request.
    fn verdict<'c>(&'c self, ex: &'c mut Exchange) -> Boxed<'c, Result<Verdict>>;
}

/// What a filter made of a response.
pub enum Filtered<'f> {
    /// It is done.
    Done,
    /// It refuses it; this one goes instead, through all filters.
    Refused(Box<Response>),
    /// It has to wait for something.
    Wait(Boxed<'f, ()>),
}

/// Looks at a finished header section, may change it, and may put itself between the body and the client.
pub trait Filter: Send + Sync {
    /// Changes a response.
    fn apply<'f>(&'f self, ex: &'f Exchange, response: &'f mut Response) -> Filtered<'f>;
}

/// What a definition says the value of its variable is.
pub enum Found {
    /// The result of this number ([`Definition::result`]); a text among them is never copied.
    Result(u32),
    /// Bytes made for this request.
    Bytes(Bytes),
    /// There is none.
    Absent,
}

/// A variable that the configuration defines.
pub trait Definition: Send + Sync {
    /// Looks for the value.
    fn find(&self, ex: &Exchange, sent: Sent<'_>) -> Found;
    /// A result by its number.
    fn result(&self, number: u32) -> Option<&Template>;
    /// Its value is looked for anew each time (nginx: volatile).
    fn volatile(&self) -> bool {
        false
    }
}

/// Settings of a server or route, compiled.
#[derive(Default)]
pub struct Settings {
    kept: Vec<Option<Box<dyn Any + Send + Sync>>>,
    /// Checks, in the order they are asked.
    pub checks: Vec<Box<dyn Check>>,
    /// Filters, in the order they are applied; what is not configured is not there.
    pub filters: Vec<Box<dyn Filter>>,
}

impl Settings {
    /// The value of a type; its default where nothing was put.
    #[inline]
    pub fn get<T: Kept>(&self) -> &T {
        let kept = self.kept.get(T::slot()).and_then(Option::as_ref);
        kept.and_then(|value| value.downcast_ref()).unwrap_or_else(|| T::absent())
    }

    /// Keeps a value, if there is one: where nothing is kept the default is found, and ten thousand servers stay small.
    pub fn put_some<T>(&mut self, value: Option<T>)
    where
        Option<T>: Kept,
    {
        if value.is_some() {
            self.put(value);
        }
    }

    /// Keeps a value.
    pub fn put<T: Kept>(&mut self, value: T) {
        let slot = T::slot();
        if self.kept.len() <= slot {
            self.kept.resize_with(slot + 1, || None);
        }
        self.kept[slot] = Some(Box::new(value));
    }
}

/// What a request may know of a route.
pub struct Route {
    /// The prefix or path it stands for, or its regular expression.
    pub path: String,
    /// Index of its settings.
    pub settings: u32,
    /// Its backend, for what asks for one by type.
    pub backend: Option<Arc<dyn Any + Send + Sync>>,
}

/// What a request may know of its server.
pub struct Server {
    /// First name, for `$server_name`.
    pub name: String,
    /// Index of its settings.
    pub settings: u32,
    /// Routes of all levels, and the blocks of conditions.
    pub routes: Vec<Route>,
}

/// How a request walks the phases.
pub type Walk = for<'e> fn(&'e mut Exchange) -> Boxed<'e, Response>;

/// The configuration as requests see it.
pub struct Scope {
    /// Settings of the process.
    pub gateway: Gateway,
    /// Virtual servers.
    pub servers: Vec<Server>,
    /// Settings that servers and routes refer to.
    pub settings: Vec<Settings>,
    /// Variables that the configuration defines.
    pub definitions: Vec<Box<dyn Definition>>,
    /// Where bodies spill to.
    pub spool: Arc<Spool>,
    /// What has to be recorded because some template or room wants it.
    pub wants: Wants,
    /// The phases.
    pub walk: Walk,
    /// What rooms keep of the whole configuration, by type.
    pub kept: Vec<Box<dyn Any + Send + Sync>>,
}

impl Scope {
    /// What a room keeps of the whole configuration.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.kept.iter().find_map(|value| value.downcast_ref())
    }
}

/// A scope as one I/O thread holds it: counting references stays within the thread.
#[derive(Clone)]
#[allow(clippy::redundant_allocation)] // the outer count is this thread's own
pub struct ScopeRef(Rc<Arc<Scope>>);

impl ScopeRef {
    /// Takes a share of the scope for this thread.
    pub fn new(scope: Arc<Scope>) -> Self {
        Self(Rc::new(scope))
    }
}

impl Deref for ScopeRef {
    type Target = Scope;

    fn deref(&self) -> &Scope {
        &self.0
    }
}
