//! SecLang, the language of ModSecurity's rules: text to statements.
//!
//! `lexer` finds directives and their words, `directive` gives each its meaning with the help of `variable`, `operator`,
//! `action` and `template`, and `source` reads files and follows `Include`.

pub mod action;
pub mod ctl;
pub mod directive;
mod error;
mod lexer;
pub mod operator;
pub mod setting;
pub mod source;
pub mod template;
pub mod variable;

pub use error::{LoadError, Location};
