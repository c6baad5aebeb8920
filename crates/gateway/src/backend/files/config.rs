//! Files as the content of a route.
use crate::backend::files::autoindex::Format as Autoindex;
use crate::backend::files::representation::EtagPrecision;
use crate::backend::files::resolve::DisableSymlinks;
use crate::exchange::conditions::IfModifiedSince;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Static files.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Files {
    /// Directory (absolute in the resolved document), with variables.
    pub root: String,
    /// The route's path is replaced by `root` rather than appended to it (nginx: alias). Default: true.
    pub alias: bool,
    /// What of the path it replaces, where that is not the route's path (nginx: a location within one with an alias). Default: the route's path.
    pub alias_of: Option<String>,
    /// `root` is the file itself, made of variables (nginx: `alias` in a location by regular expression). Default: false.
    pub whole: bool,
    /// Names tried for a path ending in `/`, with variables; one that begins with `/` is a URI to go to. Default: index.html.
    pub index: Vec<String>,
    /// How the list of a directory without index looks: `html`, `xml`, `json` or `jsonp` (nginx: `autoindex`). Default: none, 403.
    pub autoindex: Option<Autoindex>,
    /// Lists of the kind `html` have sizes in bytes rather than rounded. Default: true (nginx: `autoindex_exact_size`).
    pub autoindex_exact_size: bool,
    /// They have local times rather than those of UTC. Default: false (nginx: `autoindex_localtime`).
    pub autoindex_localtime: bool,
    /// A path ending in `/` is answered with a file of the directory chosen at random (nginx: `random_index`). Default: false.
    pub random_index: bool,
    /// Precompressed siblings used when the client accepts them: of `br`, `zstd`, `gzip`, in order of preference. Default: br, zstd, gzip.
    pub precompressed: Vec<String>,
    /// They are sent whether or not the client accepts them (nginx: `gzip_static always`). Default: false.
    pub precompressed_always: bool,
    /// They are used even if the file was modified after them, in whole seconds. Default: false (nginx: `gzip_static`, true).
    pub precompressed_stale: bool,
    /// Ends of names that `fallback` answers although there is such a file; with any, it answers other methods than GET and HEAD, too. Default: none.
    pub leave: Vec<String>,
    /// Answers that have such siblings say `Vary: Accept-Encoding`. Default: true (nginx: `gzip_vary`).
    pub vary: bool,
    /// `Cache-Control` of answers. Default: none.
    pub cache_control: Option<String>,
    /// Symbolic links may lead out of `root`. Default: false.
    pub follow_symlinks: bool,
    /// Whose symbolic links are refused: `on`, all, or `if_not_owner`, those that belong to another user than what they lead to (nginx: `disable_symlinks`). Default: off.
    pub disable_symlinks: DisableSymlinks,
    /// Part of a path up to which links are not looked at, with variables (nginx: `disable_symlinks … from=`). Default: none.
    pub disable_symlinks_from: Option<String>,
    /// How `If-Modified-Since` is compared: `before`, also later dates mean unchanged, `exact`, or `off` (nginx: `if_modified_since`). Default: before.
    pub if_modified_since: IfModifiedSince,
    /// Send an `ETag`. Default: true.
    pub etag: bool,
    /// What of the time of a file's last change is in its `ETag`: `nanoseconds`, so that every change is seen, or `seconds`, as nginx has it, so that both give a file the same one. Default: nanoseconds.
    pub etag_precision: EtagPrecision,
    /// Ranges per request; 0 turns ranges off, more are answered whole. Default: 32.
    pub max_ranges: u32,
    /// When the file does not exist, go to this route or URI instead of 404 (`@app`, `/index.html`). Default: none.
    pub fallback: Option<String>,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            root: String::new(),
            alias: true,
            alias_of: None,
            whole: false,
            index: vec!["index.html".into()],
            autoindex: None,
            autoindex_exact_size: true,
            autoindex_localtime: false,
            random_index: false,
            precompressed: vec!["br".into(), "zstd".into(), "gzip".into()],
            precompressed_always: false,
            precompressed_stale: false,
            leave: Vec::new(),
            vary: true,
            cache_control: None,
            follow_symlinks: false,
            disable_symlinks: DisableSymlinks::Off,
            disable_symlinks_from: None,
            if_modified_since: IfModifiedSince::Before,
            etag: true,
            etag_precision: EtagPrecision::Nanoseconds,
            max_ranges: 32,
            fallback: None,
        }
    }
}
