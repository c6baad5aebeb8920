//! What the configuration says about rewriting: one operation after the other, as in nginx's rewrite module.
use crate::backend::Content;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One operation on a request.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RewriteOp {
    /// Gives a variable a value.
    Set(Set),
    /// Replaces the path where a regular expression matches.
    Rewrite(Rewrite),
    /// Answers at once.
    Return(Return),
    /// Ends the operations of this level, those around it too (nginx: break).
    Break(bool),
    /// Does more where a condition holds.
    If(Box<If>),
}

/// Gives a variable a value (nginx: set).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// The variable's name, without `$`: one of your own, or `args`.
    pub name: String,
    /// Its value, with variables.
    pub value: String,
}

/// Replaces the path where a regular expression matches (nginx: rewrite).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// The regular expression (PCRE), compared with the decoded path.
    pub regex: String,
    /// The new path, with variables and `$1` to `$9`; a query behind `?` goes before the request's own, and a `?` at the end drops that. A URL that begins with `http://`, `https://` or `$scheme` is a redirect.
    pub to: String,
    /// What comes next: `last` looks for a route anew, `break` stays, `redirect` answers 302, `permanent` 301. Default: the operation after it.
    #[serde(default)]
    pub flag: Option<RewriteFlag>,
}

/// What happens after a rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RewriteFlag {
    /// A route is looked for anew.
    Last,
    /// The route stays.
    Break,
    /// 302 to the client.
    Redirect,
    /// 301 to the client.
    Permanent,
}

/// Answers at once (nginx: return).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Return {
    /// Status, 0 to 999; 444 closes the connection without an answer.
    pub status: u16,
    /// Body with variables, or the URL of a redirect (301, 302, 303, 307, 308). Default: none; errors get their page.
    #[serde(default)]
    pub text: Option<String>,
}

/// Does more where a condition holds (nginx: if).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct If {
    /// The condition.
    pub when: Condition,
    /// What is done where it holds.
    #[serde(default)]
    pub then: Vec<RewriteOp>,
    /// What answers, and with which settings, where it held last; only within a route.
    #[serde(default)]
    pub location: Option<Branch>,
}

/// Settings and content of a condition's block.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// What answers. Default: what answers the route around it.
    #[serde(default)]
    pub content: Option<Content>,
    /// Index into [`crate::config::Config::settings`].
    pub settings: u32,
}

/// Something that holds for a request or not.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Condition {
    /// This text with variables is neither empty nor `0`.
    True(String),
    /// Two texts with variables are the same.
    Equal(String, String),
    /// A text with variables matches a regular expression.
    Match {
        /// The text.
        value: String,
        /// The regular expression (PCRE).
        regex: String,
        /// Without regard to case. Default: false.
        #[serde(default)]
        ignore_case: bool,
    },
    /// There is a file of a kind.
    File {
        /// Its path, with variables.
        path: String,
        /// Its kind.
        is: FileTest,
    },
    /// The client's address is in one of these networks: addresses, CIDR, `unix`, or `*`.
    Client(Vec<String>),
    /// The condition does not hold.
    Not(Box<Condition>),
    /// All of them hold.
    All(Vec<Condition>),
    /// One of them holds.
    Any(Vec<Condition>),
}

/// Kinds of files (nginx: -f -d -e -x).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileTest {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything.
    Exists,
    /// Something with a permission to execute.
    Executable,
}
