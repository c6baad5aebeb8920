//! The list of content handlers: what a route's content compiles to, and who responds.
use crate::backend::outcome::Outcome;
use crate::backend::{app, empty_gif, files, fixed, proxy, stub_status};
use crate::config::{Config, Content};
use crate::error::{Error, Kind, Result};
use crate::exchange::Exchange;
use crate::upstream::Groups;
use crate::vars::Names;
use std::any::Any;
use std::sync::Arc;

/// The route that a handler is compiled for.
pub struct Place<'p> {
    /// What the route matches literally; empty for a regular expression or a name.
    pub path: &'p str,
    /// Media types there.
    pub types: &'p Arc<files::mime::Types>,
}

/// A content handler of a route.
pub enum Backend {
    /// Files of a directory.
    Files(Arc<files::Files>),
    /// App workers.
    App(app::App),
    /// Another HTTP server.
    Proxy(Arc<proxy::Proxy>),
    /// A redirect or a fixed answer.
    Fixed(fixed::Fixed),
    /// Numbers of connections and requests.
    StubStatus,
    /// One transparent pixel.
    EmptyGif,
    /// No content handler: responds 404.
    None,
}

impl Backend {
    /// Compiles the content of a route.
    pub fn compile(
        content: &Content,
        place: &Place<'_>,
        config: &Config,
        upstreams: &Groups,
        names: &Names,
    ) -> std::result::Result<Self, String> {
        Ok(match content {
            Content::Files(files) => {
                Self::Files(Arc::new(files::Files::compile(files, place.path, place.types, names)?))
            }
            Content::Proxy(proxy) => Self::Proxy(Arc::new(proxy::Proxy::compile(proxy, place.path, upstreams, names)?)),
            Content::Redirect(redirect) => Self::Fixed(fixed::Fixed::redirect(redirect, names)?),
            Content::Respond(respond) => Self::Fixed(fixed::Fixed::respond(respond, names)?),
            Content::StubStatus(_) => Self::StubStatus,
            Content::EmptyGif(_) => Self::EmptyGif,
            Content::App(app) => Self::App(app::App::compile(app, &config.app)?),
        })
    }

    /// The handler itself, for what looks for one by type (`$proxy_host`, `$document_root`).
    pub fn shared(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        match self {
            Self::Files(files) => Some(files.clone()),
            Self::Proxy(proxy) => Some(proxy.clone()),
            _ => None,
        }
    }

    /// The Content-Type of its responses is its own word, not a guess by the path or a default.
    pub fn names_type(&self) -> bool {
        !matches!(self, Self::Files(_) | Self::Fixed(_) | Self::None)
    }

    /// Responds to a request.
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
