//! How the requests of a route are proxied, compiled from its settings.
use super::config::Settings;
use super::head::{self, SetHeader};
use super::next::Next;
use super::options::Options;
use crate::kept;
use crate::scope::{self, Compiling, Room};
use crate::vars::Wants;

impl Room for Settings {
    const TITLE: &'static str = "Proxying";

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> Result<(), String> {
        cx.names.want(Wants {
            early_hints: !self.early_hints.is_empty(),
            keep_running: self.proxy_ignore_client_abort,
            ..Wants::NOTHING
        });
        if *self == Self::default() {
            return Ok(());
        }
        out.put(Proxying {
            headers: head::compile(&self.set_headers, cx.names).map_err(|e| format!("set_headers: {e}"))?,
            options: Options::compile(self, cx.names)?,
            next: Next::compile(self),
        });
        Ok(())
    }
}

/// How requests of a route are proxied, compiled.
#[derive(Default)]
pub struct Proxying {
    /// Request headers for upstreams.
    pub headers: Vec<SetHeader>,
    /// What is done differently than by default.
    pub options: Option<Box<Options>>,
    /// When another server is asked.
    pub next: Next,
}

kept!(Proxying);
