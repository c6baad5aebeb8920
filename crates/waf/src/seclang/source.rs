//! Reads files of rules and follows `Include`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directive::{Meaning, Statement, meaning};
use super::error::{LoadError, Location};
use super::lexer::{self, Line};
use super::setting::Settings;

/// Files may include files; deeper than this, one includes itself.
const DEPTH: usize = 32;

/// Everything that was read, in order.
#[derive(Debug, Default)]
pub struct Source {
    pub settings: Settings,
    pub statements: Vec<Statement>,
    /// Directives that were accepted and have no effect, with their position.
    pub without_effect: Vec<(Location, String)>,
}

impl Source {
    /// Reads a file.
    pub fn file(&mut self, path: &Path) -> Result<(), LoadError> {
        let at = Location { file: path.to_string_lossy().into(), line: 0 };
        self.nested(path, &at, "", 0)
    }

    /// Reads a text; `name` stands in errors, and files are relative to `base`.
    pub fn text(&mut self, name: &str, text: &str, base: &Path) -> Result<(), LoadError> {
        self.lines(&name.into(), text, base, 0)
    }

    fn nested(&mut self, path: &Path, from: &Location, line: &str, depth: usize) -> Result<(), LoadError> {
        let bytes = fs::read(path)
            .map_err(|error| LoadError::new(from, format!("cannot read {}: {error}", path.display()), line))?;
        let text = String::from_utf8_lossy(&bytes);
        let base = path.parent().unwrap_or(Path::new("")).to_path_buf();
        self.lines(&path.to_string_lossy().into(), &text, &base, depth)
    }

    fn lines(&mut self, file: &Arc<str>, text: &str, base: &Path, depth: usize) -> Result<(), LoadError> {
        let base: Arc<Path> = base.into();
        let mut sections = Sections::default();
        for line in lexer::lines(file, text)? {
            if sections.skips(&line)? {
                continue;
            }
            let found = meaning(&line, &mut self.settings, &base)
                .map_err(|what| LoadError::new(&line.at, what, &*line.text))?;
            match found {
                Meaning::Setting => {}
                Meaning::WithoutEffect => self.without_effect.push((line.at, line.words[0].clone())),
                Meaning::Include(pattern) => self.include(&line, &pattern, &base, depth)?,
                Meaning::Directive(directive) => {
                    let base = base.clone();
                    self.statements.push(Statement { at: line.at, text: line.text, base, directive });
                }
            }
        }
        sections.end()
    }

    fn include(&mut self, line: &Line, pattern: &str, base: &Path, depth: usize) -> Result<(), LoadError> {
        let error = |what: String| LoadError::new(&line.at, what, &*line.text);
        if depth == DEPTH {
            return Err(error(format!("files include files more than {DEPTH} deep")));
        }
        let files = glob(&base.join(pattern));
        if files.is_empty() && line.words[0].eq_ignore_ascii_case("include") {
            return Err(error(format!("no file matches {pattern}")));
        }
        files.iter().try_for_each(|file| self.nested(file, &line.at, &line.text, depth + 1))
    }
}

/// `<IfModule>` around directives: those of ModSecurity are read, those for its absence skipped.
#[derive(Default)]
struct Sections {
    open: Vec<(Line, bool)>,
}

impl Sections {
    fn skips(&mut self, line: &Line) -> Result<bool, LoadError> {
        let error = |what: &str| LoadError::new(&line.at, what, &*line.text);
        let Some(tag) = line.words[0].strip_prefix('<') else {
            return Ok(self.open.iter().any(|(_, skipped)| *skipped));
        };
        let tag = tag.trim_end_matches('>');
        if tag.eq_ignore_ascii_case("/ifmodule") {
            self.open.pop().ok_or_else(|| error("no <IfModule> is open"))?;
        } else if tag.eq_ignore_ascii_case("ifmodule") {
            let module = line.words.get(1).map_or("", |word| word.trim_end_matches('>'));
            let (absent, module) = module.strip_prefix('!').map_or((false, module), |module| (true, module));
            let known =
                matches!(module, "security2_module" | "mod_security2.c" | "unique_id_module" | "mod_unique_id.c");
            let open = Line { at: line.at.clone(), text: line.text.clone(), words: Vec::new() };
            self.open.push((open, known == absent));
        } else {
            return Err(error("sections other than <IfModule> are not supported"));
        }
        Ok(true)
    }

    fn end(self) -> Result<(), LoadError> {
        match self.open.last() {
            Some((line, _)) => Err(LoadError::new(&line.at, "the section is not closed", &*line.text)),
            None => Ok(()),
        }
    }
}

/// The files of a pattern with `*` and `?`, sorted; a directory stands for its files.
fn glob(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let part = part.as_os_str().to_string_lossy();
        let wild = part.contains(['*', '?']);
        found = found.iter().flat_map(|dir| if wild { matching(dir, &part) } else { vec![dir.join(&*part)] }).collect();
    }
    let mut files: Vec<_> = found
        .into_iter()
        .flat_map(|path| if path.is_dir() { matching(&path, "*") } else { vec![path] })
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

fn matching(dir: &Path, pattern: &str) -> Vec<PathBuf> {
    let listed = fs::read_dir(if dir.as_os_str().is_empty() { Path::new(".") } else { dir });
    let names = listed.into_iter().flatten().flatten().map(|entry| entry.file_name());
    names
        .filter(|name| {
            let name = name.to_string_lossy();
            (!name.starts_with('.') || pattern.starts_with('.')) && fits(pattern.as_bytes(), name.as_bytes())
        })
        .map(|name| dir.join(name))
        .collect()
}

fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=name.len()).any(|skipped| fits(rest, &name[skipped..])),
        (Some((b'?', rest)), Some((_, after))) => fits(rest, after),
        (Some((a, rest)), Some((b, after))) => a == b && fits(rest, after),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Source, LoadError> {
        let mut source = Source::default();
        source.text("x.conf", text, Path::new("/nowhere")).map(|()| source)
    }

    #[test]
    fn names_fit_patterns() {
        assert!(fits(b"*.conf", b"a.conf") && fits(b"a?c*", b"abc") && fits(b"*", b""));
        assert!(!fits(b"*.conf", b"a.conf.example") && !fits(b"a?", b"a"));
    }

    #[test]
    fn includes_are_sorted_and_relative_to_their_file() {
        let dir = std::env::temp_dir().join(format!("waf-source-{}", std::process::id()));
        fs::create_dir_all(dir.join("rules")).unwrap();
        fs::write(dir.join("main.conf"), "Include rules/*.conf\nSecMarker last").unwrap();
        fs::write(dir.join("rules/b.conf"), "SecMarker b").unwrap();
        fs::write(dir.join("rules/a.conf"), "SecMarker a").unwrap();
        let mut source = Source::default();
        source.file(&dir.join("main.conf")).unwrap();
        let names: Vec<_> = source.statements.iter().map(|one| one.text.as_str()).collect();
        assert_eq!(names, ["SecMarker a", "SecMarker b", "SecMarker last"]);
        fs::write(dir.join("rules/c.conf"), "Include ../main.conf").unwrap();
        let error = Source::default().file(&dir.join("main.conf")).unwrap_err();
        assert!(error.what.contains("more than 32 deep"), "{error}");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn faults_are_named_with_their_line() {
        for (text, shown) in [
            ("\nInclude no/*.conf", "x.conf:2: no file matches no/*.conf\n    Include no/*.conf"),
            ("SecNothing", "x.conf:1: unknown directive \"SecNothing\"\n    SecNothing"),
            ("<IfModule security2_module>", "x.conf:1: the section is not closed\n    <IfModule security2_module>"),
            ("</IfModule>", "x.conf:1: no <IfModule> is open\n    </IfModule>"),
            ("<Location />", "x.conf:1: sections other than <IfModule> are not supported\n    <Location />"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), shown);
        }
    }

    #[test]
    fn sections_for_the_absence_of_modsecurity_are_skipped() {
        let source = read(
            "<IfModule security2_module>\nSecMarker a\n</IfModule>\n<IfModule !security2_module>\nSecMarker b\n</IfModule>",
        )
        .unwrap();
        assert_eq!(source.statements.len(), 1);
    }

    /// With `BUCHNER_CRS`, the directory of the OWASP Core Rule Set.
    #[test]
    fn the_core_rule_set_is_read() {
        let Some(root) = std::env::var_os("BUCHNER_CRS") else { return };
        let mut source = Source::default();
        source.file(&Path::new(&root).join("crs-setup.conf.example")).unwrap();
        let include = format!("Include {}/rules/*.conf", Path::new(&root).display());
        source.text("main.conf", &include, Path::new("/")).unwrap();
        assert!(source.statements.len() > 780, "{}", source.statements.len());
    }
}
