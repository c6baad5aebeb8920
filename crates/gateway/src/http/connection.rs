//! A client connection as far as every version of HTTP is alike: who is at its end, and by which plan it is served.
use crate::error::{Error, Kind};
use crate::exchange::{Client, Secure};
use crate::http::port::{Arrival, Port, Security};
use crate::http::service::Service;
use crate::io::local::Local;
use crate::plan::{Listener, Plan, PlanRef};
use crate::settings::http2;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Connections accepted so far.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// A client connection.
pub struct Connection {
    service: Rc<Service>,
    port: Rc<Port>,
    arrival: Arrival,
    number: u64,
    since: u64,
    requests: Cell<u32>,
    /// The next request was there before the last response.
    pub pipelined: Cell<bool>,
}

impl Connection {
    /// One that was just accepted.
    pub fn new(service: Rc<Service>, port: Rc<Port>, arrival: Arrival) -> Self {
        Self {
            number: CONNECTIONS.fetch_add(1, Ordering::Relaxed) + 1,
            since: service.clock.now(),
            service,
            port,
            arrival,
            requests: Cell::new(0),
            pipelined: Cell::new(false),
        }
    }

    /// The thread it is served on.
    pub fn thread(&self) -> &Rc<Local> {
        &self.service.local
    }

    /// The plan its requests are served by: the one in force, unless its address is not listened on any more.
    pub fn plan(&self) -> PlanRef {
        self.port.plan(|| self.service.plan())
    }

    /// What listens where its client connected to.
    pub fn listener<'p>(&self, plan: &'p Plan) -> &'p Listener {
        self.port.listener(plan, self.arrival.local)
    }

    /// Asks what listens there now.
    pub fn with_listener<T>(&self, f: impl FnOnce(&Listener) -> T) -> T {
        let plan = self.plan();
        f(self.listener(&plan))
    }

    /// The server of its address for names that nobody has.
    pub fn default_server(&self) -> u32 {
        self.with_listener(|listener| listener.default_server)
    }

    /// The settings of what has no route: those of its address's default server.
    pub fn default_settings(&self, plan: &Plan) -> u32 {
        plan.scope.servers[self.listener(plan).default_server as usize].settings
    }

    /// The listener, or its default server, takes HTTP/2.
    pub fn takes_http2(&self) -> bool {
        let plan = self.plan();
        self.listener(&plan).http2
            || plan.scope.settings[self.default_settings(&plan) as usize].get::<http2::Settings>().http2
    }

    /// Resolves once its address is not listened on any more.
    pub async fn until_closed(&self) {
        self.port.until_closed().await;
    }

    /// Who is connected to what, for the log.
    pub fn ends(&self) -> String {
        format!("client: {}, server: {}", self.arrival.peer, self.port.address)
    }

    /// What it says about its client.
    pub fn client(&self) -> Client {
        Client {
            peer: self.arrival.peer,
            addr: self.arrival.peer,
            local: self.arrival.local,
            proxied: self.arrival.proxied.clone(),
            secure: matches!(self.arrival.security, Security::Tls(_)),
            tls: self.tls().cloned(),
            trusted: false,
            found: false,
            requests: self.requests.get(),
            connection: self.number,
            since: self.since,
            pipelined: self.pipelined.get(),
        }
    }

    /// What its handshake agreed on.
    pub fn tls(&self) -> Option<&Rc<Secure>> {
        if let Security::Tls(secure) = &self.arrival.security { Some(secure) } else { None }
    }

    /// Why no server may answer a request that came in this way: its bytes should be encrypted, or were on other terms than the
    /// server has.
    pub fn refuses(&self, listener: &Listener, server: u32) -> Option<Error> {
        match &self.arrival.security {
            Security::None => None,
            Security::Missing => {
                let cause = "a plain HTTP request was sent to an HTTPS port";
                Some(Error::new(Kind::BadRequest(497), cause).closing())
            }
            Security::Tls(secure) => {
                if let Some(status) = secure.refused {
                    let cause = format!("the client's certificate is refused: {}", secure.verify);
                    return Some(Error::new(Kind::BadRequest(status), cause));
                }
                let (policy, _) = listener.tls.as_ref()?.find(server)?;
                let cause = "the host is that of a server with other terms of TLS than the one that was connected to";
                (policy.terms != secure.terms).then(|| Error::new(Kind::BadRequest(421), cause))
            }
        }
    }

    /// One more request has begun.
    pub fn count(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    /// Requests so far.
    pub fn requests(&self) -> u32 {
        self.requests.get()
    }

    /// It may be kept for another request: it has not had `most` of them, is not older than `longest` milliseconds (0: any
    /// number, any age), and neither the gateway nor its address closes.
    pub fn may_stay(&self, most: u32, longest: u64) -> bool {
        (most == 0 || self.requests.get() < most)
            && (longest == 0 || self.service.clock.now().saturating_sub(self.since) <= longest)
            && !self.service.draining.get()
            && self.port.open()
    }
}
