//! What answers a request. A new backend is one file and one line in each list here.
pub mod app;
pub mod files;
pub mod fixed;
pub mod proxy;

use crate::config::{Config, Content, Route};
use crate::error::Result;
use crate::exchange::{Exchange, Response};
use crate::upstream::Group;
use std::collections::HashMap;
use std::sync::Arc;

/// What a backend made of a request.
pub enum Outcome {
    /// An answer.
    Respond(Response),
    /// An internal redirect to this URI or named route (fallback, X-Accel-Redirect).
    Redirect(Vec<u8>),
    /// The location phase again, for the path that the backend gave the request (index, X-Accel-Redirect).
    Locate,
}

/// The backends.
pub enum Backend {
    /// Files of a directory.
    Files(files::Files),
    /// App workers.
    App(app::App),
    /// Another HTTP server.
    Proxy(proxy::Proxy),
    /// A redirect or a fixed answer.
    Fixed(fixed::Fixed),
}

impl Backend {
    /// Compiles the content of a route.
    pub fn compile(
        route: &Route,
        config: &Config,
        upstreams: &HashMap<String, Arc<Group>>,
    ) -> std::result::Result<Self, String> {
        Ok(match &route.content {
            Content::Files(files) => Self::Files(files::Files::compile(files, &route.path)?),
            Content::Proxy(proxy) => Self::Proxy(proxy::Proxy::compile(proxy, route, upstreams)?),
            Content::Redirect(redirect) => Self::Fixed(fixed::Fixed::redirect(redirect)?),
            Content::Respond(respond) => Self::Fixed(fixed::Fixed::respond(respond)?),
            Content::App(app) => Self::App(app::App::compile(app, config)?),
        })
    }

    /// Answers a request.
    pub async fn handle(&self, ex: &mut Exchange) -> Result<Outcome> {
        match self {
            Self::Files(files) => files.handle(ex),
            Self::App(app) => app.handle(ex).await,
            Self::Proxy(proxy) => proxy.handle(ex).await,
            Self::Fixed(fixed) => fixed.handle(ex),
        }
    }
}
