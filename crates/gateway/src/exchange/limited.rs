//! What limits said of a request. A subrequest shares it with the request it is made for, as in nginx: each is limited once.
use std::any::Any;
use std::cell::{Cell, RefCell};

/// What limits said of one request.
#[derive(Default)]
pub struct Limited {
    /// `$limit_req_status`, once a rate was looked at.
    pub rate: Cell<Option<&'static str>>,
    /// `$limit_conn_status`, once a number of connections was looked at.
    pub connections: Cell<Option<&'static str>>,
    /// Permits that are held until the request has been logged.
    pub permits: RefCell<Vec<Box<dyn Any>>>,
    /// What is left of the rates, where the response tells it.
    pub quotas: RefCell<Vec<Quota>>,
}

/// What a client has left of a rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Name of the zone.
    pub policy: Box<str>,
    /// Requests at once.
    pub quota: u64,
    /// Seconds in which that many become available again.
    pub window: u64,
    /// Requests left.
    pub remaining: u64,
    /// Seconds until all are available again.
    pub reset: u64,
    /// Milliseconds until the next request is granted; 0: at once.
    pub wait: u64,
}
