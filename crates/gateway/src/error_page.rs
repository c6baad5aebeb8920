//! Pages for statuses (nginx: `error_page`).
use crate::kept;
use crate::kinds::Text;
use crate::scope::{self, Compiling, Room};
use crate::vars::Template;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The page of a status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorPage {
    /// A URI, `@route`, or the URL of a redirect; with variables.
    pub to: Text,
    /// Status of the answer; 0: whatever the page answers. Default: the status it is the page of; 302 for a redirect.
    #[serde(default)]
    pub status: Option<u16>,
}

/// Error pages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Pages for statuses: a URI for an internal redirect, `@route`, the URL of a redirect, or a table. Default: the built-in pages.
    pub error_page: BTreeMap<u16, ErrorPage>,
    /// An error on the way to an error page has its page too. Default: false (nginx: `recursive_error_pages`).
    pub recursive_error_pages: bool,
    /// Errors of an upstream or app are replaced by `error_page` too. Default: false (nginx: `proxy_intercept_errors`).
    pub intercept_errors: bool,
}

kept!(Settings);

kept!(Pages);

impl Room for Settings {
    const TITLE: &'static str = "Error pages";

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> Result<(), String> {
        let compile = |(code, page): (&u16, &ErrorPage)| {
            let to = Template::compile(&page.to, cx.names).map_err(|e| format!("error_page.{code}: {e}"))?;
            Ok((*code, Page { to, status: page.status }))
        };
        if !self.error_page.is_empty() {
            out.put(Pages(self.error_page.iter().map(compile).collect::<Result<_, String>>()?));
        }
        Ok(())
    }
}

/// The compiled pages of a route, by status.
#[derive(Default)]
pub struct Pages(pub BTreeMap<u16, Page>);

/// The page of a status.
pub struct Page {
    /// A URI, `@route`, or the URL of a redirect.
    pub to: Template,
    /// Status of the response; 0: the page's own, `None`: the one that led to it.
    pub status: Option<u16>,
}
