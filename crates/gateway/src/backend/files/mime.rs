//! Media types by file extension. Text that is UTF-8 nowadays says so; JSON has no charset parameter (RFC 8259 section 11).
use crate::kept;
use crate::scope::{self, Compiling, Room};
use crate::tables;
use buchner_wire::headers::is_valid_value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Media types.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Index into [`Config::types`]. Default: none.
    pub types: Option<u32>,
    /// Extensions that `types` does not have are looked for in the built-in table. Default: true.
    pub built_in_types: bool,
    /// Media type of other extensions; empty: none is sent. Default: application/octet-stream.
    pub default_type: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { types: None, built_in_types: true, default_type: "application/octet-stream".into() }
    }
}

kept!(Settings);

kept!(Arc<Types>);

/// The tables of the configuration.
pub struct Tables(pub Vec<Table>);

impl Room for Settings {
    const TITLE: &'static str = "Media types";

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> Result<(), String> {
        let tables = cx.table::<Tables>().map_or(&[][..], |tables| &tables.0);
        let table = match self.types.map(|index| tables.get(index as usize)) {
            Some(None) => return Err(format!("types: no types[{}]", self.types.unwrap_or_default())),
            table => table.flatten(),
        };
        let own = table.iter().flat_map(|table| table.values()).map(|value| &**value);
        let mut values = own.chain([&*self.default_type]);
        if let Some(value) = values.find(|value| !is_valid_value(value.as_bytes())) {
            return Err(format!("types: {value:?} has characters no header may have"));
        }
        if *self == Self::default() {
            return Ok(());
        }
        out.put(Arc::new(Types::new(table.cloned(), self.built_in_types, &self.default_type)));
        Ok(())
    }
}

/// Extensions longer than this are in no table.
const LONGEST: usize = 32;

/// Extension without the dot, in lower case, to media type. Sorted.
const BUILT_IN: &[(&str, &str)] = &[
    ("3gp", "video/3gpp"),
    ("7z", "application/x-7z-compressed"),
    ("aac", "audio/aac"),
    ("ai", "application/postscript"),
    ("apk", "application/vnd.android.package-archive"),
    ("apng", "image/apng"),
    ("asc", "application/pgp-signature"),
    ("atom", "application/atom+xml"),
    ("avi", "video/x-msvideo"),
    ("avif", "image/avif"),
    ("bin", "application/octet-stream"),
    ("bmp", "image/bmp"),
    ("bz2", "application/x-bzip2"),
    ("cjs", "text/javascript; charset=utf-8"),
    ("conf", "text/plain; charset=utf-8"),
    ("crt", "application/x-pem-file"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("cur", "image/vnd.microsoft.icon"),
    ("deb", "application/vnd.debian.binary-package"),
    ("der", "application/x-x509-ca-cert"),
    ("dll", "application/octet-stream"),
    ("dmg", "application/x-apple-diskimage"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("eot", "application/vnd.ms-fontobject"),
    ("eps", "application/postscript"),
    ("epub", "application/epub+zip"),
    ("exe", "application/octet-stream"),
    ("flac", "audio/flac"),
    ("flv", "video/x-flv"),
    ("geojson", "application/geo+json"),
    ("gif", "image/gif"),
    ("glb", "model/gltf-binary"),
    ("gltf", "model/gltf+json"),
    ("gpx", "application/gpx+xml"),
    ("gz", "application/gzip"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/vnd.microsoft.icon"),
    ("ics", "text/calendar; charset=utf-8"),
    ("img", "application/octet-stream"),
    ("ini", "text/plain; charset=utf-8"),
    ("iso", "application/x-iso9660-image"),
    ("jar", "application/java-archive"),
    ("jfif", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("jsonld", "application/ld+json"),
    ("jxl", "image/jxl"),
    ("kml", "application/vnd.google-earth.kml+xml"),
    ("kmz", "application/vnd.google-earth.kmz"),
    ("log", "text/plain; charset=utf-8"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/mp4"),
    ("m4v", "video/mp4"),
    ("map", "application/json"),
    ("markdown", "text/markdown; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"),
    ("mid", "audio/midi"),
    ("midi", "audio/midi"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mkv", "video/matroska"),
    ("mobi", "application/x-mobipocket-ebook"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("mpd", "application/dash+xml"),
    ("mpeg", "video/mpeg"),
    ("mpg", "video/mpeg"),
    ("msi", "application/octet-stream"),
    ("obj", "model/obj"),
    ("odp", "application/vnd.oasis.opendocument.presentation"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogv", "video/ogg"),
    ("opus", "audio/ogg"),
    ("otf", "font/otf"),
    ("parquet", "application/vnd.apache.parquet"),
    ("pdf", "application/pdf"),
    ("pem", "application/x-pem-file"),
    ("png", "image/png"),
    ("ppt", "application/vnd.ms-powerpoint"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("ps", "application/postscript"),
    ("rar", "application/vnd.rar"),
    ("rpm", "application/x-rpm"),
    ("rss", "application/rss+xml"),
    ("rtf", "application/rtf"),
    ("shtml", "text/html; charset=utf-8"),
    ("sig", "application/pgp-signature"),
    ("so", "application/octet-stream"),
    ("sqlite", "application/vnd.sqlite3"),
    ("srt", "application/x-subrip"),
    ("stl", "model/stl"),
    ("svg", "image/svg+xml"),
    ("svgz", "image/svg+xml"),
    ("swf", "application/x-shockwave-flash"),
    ("tar", "application/x-tar"),
    ("text", "text/plain; charset=utf-8"),
    ("tgz", "application/gzip"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("toml", "application/toml"),
    ("topojson", "application/json"),
    ("torrent", "application/x-bittorrent"),
    ("ts", "video/mp2t"),
    ("tsv", "text/tab-separated-values; charset=utf-8"),
    ("ttc", "font/collection"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain; charset=utf-8"),
    ("vcf", "text/vcard; charset=utf-8"),
    ("vtt", "text/vtt; charset=utf-8"),
    ("war", "application/java-archive"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("weba", "audio/webm"),
    ("webm", "video/webm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("whl", "application/zip"),
    ("wmv", "video/x-ms-wmv"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xhtml", "application/xhtml+xml"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("xml", "application/xml"),
    ("xpi", "application/x-xpinstall"),
    ("xsd", "application/xml"),
    ("xsl", "application/xml"),
    ("xz", "application/x-xz"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zip", "application/zip"),
    ("zst", "application/zstd"),
];

/// A table of the configuration, shared by all settings that refer to it.
pub type Table = Arc<tables::Table<Box<str>>>;

/// Compiles a table: extensions with or without a dot, in any case.
pub fn table(own: &BTreeMap<String, String>) -> Table {
    let key = |name: &str| name.trim_start_matches('.').to_ascii_lowercase().into_bytes().into_boxed_slice();
    Arc::new(own.iter().map(|(name, value)| (key(name), value.as_str().into())).collect())
}

/// The media types of one route.
#[derive(Debug)]
pub struct Types {
    own: Option<Table>,
    built_in: bool,
    default: Box<str>,
}

impl Default for Types {
    fn default() -> Self {
        Self::new(None, true, "application/octet-stream")
    }
}

impl Types {
    /// The table of the configuration goes before the built-in one, if that counts; `default` is for what neither knows.
    pub fn new(own: Option<Table>, built_in: bool, default: &str) -> Self {
        Self { own, built_in, default: default.into() }
    }

    /// The media type of a file by its name.
    pub fn of(&self, path: &[u8]) -> &str {
        let known = extension(path, |extension| match self.own.as_ref().and_then(|own| own.get(extension)) {
            Some(own) => Some(&**own),
            None if self.built_in => built_in(extension),
            None => None,
        });
        known.flatten().unwrap_or(&self.default)
    }
}

fn built_in(extension: &[u8]) -> Option<&'static str> {
    let at = BUILT_IN.binary_search_by(|(known, _)| known.as_bytes().cmp(extension)).ok()?;
    Some(BUILT_IN[at].1)
}

/// Calls `f` with the extension of the last segment in lower case, if it has one. A leading dot makes a hidden file, no extension.
fn extension<T>(path: &[u8], f: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let name = memchr::memrchr(b'/', path).map_or(path, |at| &path[at + 1..]);
    let dot = memchr::memrchr(b'.', name).filter(|at| *at > 0)?;
    let given = &name[dot + 1..];
    let mut lower = [0; LONGEST];
    let lower = lower.get_mut(..given.len())?;
    lower.copy_from_slice(given);
    lower.make_ascii_lowercase();
    Some(f(lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_in_lower_case_and_without_repeats() {
        assert!(BUILT_IN.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (extension, value) in BUILT_IN {
            assert_eq!(*extension, extension.to_ascii_lowercase());
            assert!(value.split_once('/').is_some_and(|(kind, sub)| !kind.is_empty() && !sub.is_empty()), "{value}");
            assert_eq!(built_in(extension.as_bytes()), Some(*value));
        }
    }

    #[test]
    fn names_to_types() {
        let own = BTreeMap::from([
            ("html".into(), "text/x-own".into()),
            (".Foo".into(), "x/foo".into()),
            ("gone".into(), String::new()),
        ]);
        let types = Types::new(Some(table(&own)), true, "application/octet-stream");
        let cases = [
            ("a/index.html", "text/x-own"),
            ("a.foo", "x/foo"),
            ("a.FOO", "x/foo"),
            ("x.gone", ""),
            ("style.CSS", "text/css; charset=utf-8"),
            ("app.min.js", "text/javascript; charset=utf-8"),
            ("d.json", "application/json"),
            ("x.tar.gz", "application/gzip"),
            ("a.png", "image/png"),
            ("README", "application/octet-stream"),
            (".html", "application/octet-stream"),
            ("dir.css/file", "application/octet-stream"),
            ("a.", "application/octet-stream"),
            ("a.unknown", "application/octet-stream"),
            ("", "application/octet-stream"),
        ];
        for (path, expected) in cases {
            assert_eq!(types.of(path.as_bytes()), expected, "{path}");
        }
        let only = Types::new(Some(table(&own)), false, "");
        assert_eq!((only.of(b"a.html"), only.of(b"a.png")), ("text/x-own", ""));
        let long = format!("a.{}", "x".repeat(4000));
        assert_eq!(types.of(long.as_bytes()), "application/octet-stream");
    }
}
