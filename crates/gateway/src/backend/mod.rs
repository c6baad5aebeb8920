//! What answers a request. A new backend is one file and one line in each list here.
pub mod app;
pub mod empty_gif;
pub mod files;
pub mod fixed;
pub mod outcome;
pub mod proxy;
pub mod stub_status;

use crate::backend::outcome::Outcome;
use crate::config::{Config, Content};
use crate::error::{Error, Kind, Result};
use crate::exchange::Exchange;
use crate::upstream::Group;
use crate::vars::Names;
use std::collections::HashMap;
use std::sync::Arc;

/// What a backend is told of the route it answers.
pub struct Place<'p> {
    /// What the route matches literally; empty for a regular expression or a name.
    pub path: &'p str,
    /// Media types there.
    pub types: &'p Arc<files::mime::Types>,
}

/// The backends.
pub enum Backend {
    /// Files of a directory.
    Files(Box<files::Files>),
    /// App workers.
    App(app::App),
    /// Another HTTP server.
    Proxy(Box<proxy::Proxy>),
    /// A redirect or a fixed answer.
    Fixed(fixed::Fixed),
    /// Numbers of connections and requests.
    StubStatus,
    /// One transparent pixel.
    EmptyGif,
    /// Nothing: whoever gets here gets 404.
    None,
}

impl Backend {
    /// Compiles the content of a route.
    pub fn compile(
        content: &Content,
        place: &Place<'_>,
        config: &Config,
        upstreams: &HashMap<String, Arc<Group>>,
        names: &Names,
    ) -> std::result::Result<Self, String> {
        Ok(match content {
            Content::Files(files) => {
                Self::Files(Box::new(files::Files::compile(files, place.path, place.types, names)?))
            }
            Content::Proxy(proxy) => Self::Proxy(Box::new(proxy::Proxy::compile(proxy, place.path, upstreams, names)?)),
            Content::Redirect(redirect) => Self::Fixed(fixed::Fixed::redirect(redirect, names)?),
            Content::Respond(respond) => Self::Fixed(fixed::Fixed::respond(respond, names)?),
            Content::StubStatus(_) => Self::StubStatus,
            Content::EmptyGif(_) => Self::EmptyGif,
            Content::App(app) => Self::App(app::App::compile(app, config)?),
        })
    }

    /// The Content-Type of its responses is its own word, not a guess by the path or a default.
    pub fn names_type(&self) -> bool {
        !matches!(self, Self::Files(_) | Self::Fixed(_) | Self::None)
    }

    /// Answers a request.
    pub async fn handle(&self, ex: &mut Exchange) -> Result<Outcome> {
        match self {
            Self::Files(files) => files.handle(ex),
            Self::App(app) => app.handle(ex).await,
            Self::Proxy(proxy) => proxy.handle(ex).await,
            Self::Fixed(fixed) => fixed.handle(ex),
            Self::StubStatus => stub_status::handle(ex),
            Self::EmptyGif => Ok(Outcome::Respond(empty_gif::handle(ex))),
            Self::None => Err(Error::new(Kind::NotFound, "nothing answers this route")),
        }
    }
}
