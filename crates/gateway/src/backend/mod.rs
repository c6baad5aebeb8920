//! Content handlers: each turns a request into a response. A new one is a file here and a row of `contents!` below.
pub mod app;
mod empty_gif;
pub mod files;
pub mod outcome;
pub mod proxy;
mod redirect;
mod respond;
mod stub_status;

use crate::error::{Error, Kind, Result};
use crate::exchange::Exchange;
use crate::scope::{Compiling, Settings};
use crate::vars::Variable;
use outcome::Outcome;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::future::Future;
use std::sync::Arc;

/// The route that a handler is compiled for.
pub struct Place<'p> {
    /// What the route matches literally; empty for a regular expression or a name.
    pub path: &'p str,
    /// The route's settings.
    pub settings: &'p Settings,
    /// Variables and tables of the configuration.
    pub cx: &'p Compiling<'p>,
}

/// A content handler of a route, compiled.
pub trait Handler: Sized {
    /// What a route says about it: a table, or a flag that is always true.
    type Config;

    /// Its variables.
    const VARIABLES: &'static [Variable] = &[];

    /// The Content-Type of its responses is its own word, not a guess by the path or a default.
    const NAMES_TYPE: bool = true;

    /// Others respond: it serves no error pages of requests that cannot be read, and a path that lacks only the slash at the end of
    /// its route's is redirected (nginx: `auto_redirect`).
    const PASSES_ON: bool = false;

    /// That redirect leaves the method and body of a form as they are (308).
    const KEEPS_FORMS: bool = false;

    /// Compiles it. The error names the setting and what is wrong with it.
    fn compile(config: &Self::Config, place: &Place<'_>) -> std::result::Result<Self, String>;

    /// The handler itself, if something looks for it by type (`$proxy_host`, `$document_root`).
    fn shared(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }

    /// Responds to a request.
    fn handle(&self, ex: &mut Exchange) -> impl Future<Output = Result<Outcome>>;
}

/// Makes of the list of content handlers what a route's `content` is in the document, and the handler it compiles to. A request
/// finds its handler by a match, without a virtual call.
macro_rules! contents {
    ($($(#[$doc:meta])* $name:ident = $handler:ty,)*) => {
        /// What answers a route: one content handler.
        #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case", deny_unknown_fields)]
        pub enum Content {
            $($(#[$doc])* $name(<$handler as Handler>::Config),)*
        }

        /// The content handler of a route.
        pub enum Backend {
            $($(#[$doc])* $name($handler),)*
            /// No content handler: responds 404.
            None,
        }

        /// The variables of content handlers.
        pub const VARIABLES: &[&[Variable]] = &[$(<$handler as Handler>::VARIABLES,)*];

        impl Backend {
            /// Compiles the content of a route.
            pub fn compile(content: &Content, place: &Place<'_>) -> std::result::Result<Self, String> {
                match content {
                    $(Content::$name(config) => <$handler as Handler>::compile(config, place).map(Self::$name),)*
                }
            }

            /// See [`Handler::shared`].
            pub fn shared(&self) -> Option<Arc<dyn Any + Send + Sync>> {
                match self {
                    $(Self::$name(handler) => Handler::shared(handler),)*
                    Self::None => None,
                }
            }

            /// See [`Handler::NAMES_TYPE`].
            pub fn names_type(&self) -> bool {
                match self {
                    $(Self::$name(_) => <$handler as Handler>::NAMES_TYPE,)*
                    Self::None => false,
                }
            }

            /// See [`Handler::PASSES_ON`].
            pub fn passes_on(&self) -> bool {
                match self {
                    $(Self::$name(_) => <$handler as Handler>::PASSES_ON,)*
                    Self::None => false,
                }
            }

            /// See [`Handler::KEEPS_FORMS`].
            pub fn keeps_forms(&self) -> bool {
                match self {
                    $(Self::$name(_) => <$handler as Handler>::KEEPS_FORMS,)*
                    Self::None => false,
                }
            }

            /// Responds to a request.
            pub async fn handle(&self, ex: &mut Exchange) -> Result<Outcome> {
                match self {
                    $(Self::$name(handler) => Handler::handle(handler, ex).await,)*
                    Self::None => Err(Error::new(Kind::NotFound, "nothing answers this route")),
                }
            }
        }
    };
}

contents! {
    /// Files of a directory.
    Files = Arc<files::Files>,
    /// Another HTTP server.
    Proxy = Arc<proxy::Proxy>,
    /// App workers.
    App = app::App,
    /// A redirect.
    Redirect = redirect::Redirect,
    /// A fixed answer.
    Respond = respond::Respond,
    /// Numbers of connections and requests (nginx: `stub_status`). Always true.
    StubStatus = stub_status::StubStatus,
    /// One transparent pixel (nginx: `empty_gif`). Always true.
    EmptyGif = empty_gif::EmptyGif,
}
