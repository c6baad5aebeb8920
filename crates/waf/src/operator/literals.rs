//! Texts that a match of a regular expression can't do without.
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Repetition};
use std::collections::BTreeSet;

/// Texts of which a matching value contains at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Literals {
    /// Never empty, and none of them is. ASCII letters are lowercase: a prefilter compares without regard to ASCII case.
    pub texts: Vec<Box<[u8]>>,
}

impl Literals {
    /// `None` if there is none, or if one of them is empty and therefore in every value.
    pub(super) fn new(texts: BTreeSet<Vec<u8>>) -> Option<Self> {
        let useful = !texts.is_empty() && texts.iter().all(|text| !text.is_empty());
        useful.then(|| Self { texts: texts.into_iter().map(Vec::into_boxed_slice).collect() })
    }

    /// The length of the shortest one in bytes: how well the prefilter filters.
    pub fn shortest(&self) -> usize {
        self.texts.iter().map(|text| text.len()).min().unwrap_or_default()
    }
}

type Set = BTreeSet<Vec<u8>>;

/// So many texts at most for one expression.
const MOST: usize = 1024;
/// A class of more bytes than this (after folding case) says too little.
const CLASS: usize = 8;
/// So many texts at most where two sets of several are joined.
const PRODUCT: usize = 64;

/// What is known of a part of an expression.
struct Known {
    /// All texts that it matches, if they are few.
    exact: Option<Set>,
    /// Texts of which each match contains one.
    required: Option<Set>,
}

/// The texts required by an expression that [`super::pattern::regex`] compiled.
pub(super) fn required(pattern: &str) -> Option<Literals> {
    let mut parser = ParserBuilder::new().unicode(false).utf8(false).dot_matches_new_line(true).build();
    let hir = parser.parse(pattern).ok()?;
    Literals::new(best_of(know(&hir))?)
}

fn best_of(known: Known) -> Option<Set> {
    better(known.exact.filter(is_useful), known.required)
}

fn is_useful(set: &Set) -> bool {
    !set.is_empty() && set.iter().all(|text| !text.is_empty())
}

/// The set that filters better: its shortest text is longer (up to 6 bytes), or it is smaller.
fn better(a: Option<Set>, b: Option<Set>) -> Option<Set> {
    let rank = |set: &Set| {
        let shortest = set.iter().map(Vec::len).min().unwrap_or_default();
        (shortest.min(6), std::cmp::Reverse(set.len()))
    };
    match (a, b) {
        (Some(a), Some(b)) => Some(if rank(&a) >= rank(&b) { a } else { b }),
        (a, b) => a.or(b),
    }
}

fn know(hir: &Hir) -> Known {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => exactly([Vec::new()]),
        HirKind::Literal(literal) => exactly([literal.0.to_ascii_lowercase()]),
        HirKind::Class(class) => Known { exact: class_texts(class), required: None },
        HirKind::Capture(capture) => know(&capture.sub),
        HirKind::Repetition(repetition) => repeated(repetition),
        HirKind::Alternation(parts) => alternated(parts),
        HirKind::Concat(parts) => joined(parts.iter().map(know)),
    }
}

fn exactly(texts: impl IntoIterator<Item = Vec<u8>>) -> Known {
    Known { exact: Some(texts.into_iter().collect()), required: None }
}

fn class_texts(class: &Class) -> Option<Set> {
    let Class::Bytes(class) = class else { return None };
    let mut texts = Set::new();
    for range in class.iter() {
        for byte in range.start()..=range.end() {
            texts.insert(vec![byte.to_ascii_lowercase()]);
            if texts.len() > CLASS {
                return None;
            }
        }
    }
    (!texts.is_empty()).then_some(texts)
}

fn repeated(repetition: &Repetition) -> Known {
    let known = know(&repetition.sub);
    match (repetition.min, repetition.max) {
        (0, Some(1)) => {
            let exact = known.exact.filter(|texts| texts.len() < MOST).map(|mut texts| {
                texts.insert(Vec::new());
                texts
            });
            Known { exact, required: None }
        }
        (0, _) => Known { exact: None, required: None },
        (min, max) => {
            let once = |known: &Known| Known { exact: known.exact.clone(), required: known.required.clone() };
            let mut parts: Vec<Known> = (0..min.min(4)).map(|_| once(&known)).collect();
            if max != Some(min) || min > 4 {
                parts.push(Known { exact: None, required: None });
            }
            joined(parts.into_iter())
        }
    }
}

fn alternated(parts: &[Hir]) -> Known {
    let (mut exact, mut required) = (Some(Set::new()), Some(Set::new()));
    for part in parts {
        let known = know(part);
        exact = exact.zip(known.exact.clone()).map(|(all, texts)| union(all, texts)).filter(|all| all.len() <= MOST);
        required = required.zip(best_of(known)).map(|(all, texts)| union(all, texts)).filter(|all| all.len() <= MOST);
    }
    Known { exact, required }
}

fn union(mut all: Set, more: Set) -> Set {
    all.extend(more);
    all
}

/// Parts one after the other: neighbours whose texts are known make longer texts.
fn joined(parts: impl Iterator<Item = Known>) -> Known {
    let (mut run, mut best) = (Set::from([Vec::new()]), None);
    let mut whole = true;
    for part in parts {
        best = better(best, part.required);
        match part.exact {
            Some(texts) if fits(&run, &texts) => run = product(&run, &texts),
            Some(texts) => {
                whole = false;
                best = better(best, Some(std::mem::replace(&mut run, texts)).filter(is_useful));
            }
            None => {
                whole = false;
                best = better(best, Some(std::mem::replace(&mut run, Set::from([Vec::new()]))).filter(is_useful));
            }
        }
    }
    if whole {
        return Known { exact: Some(run), required: best };
    }
    Known { exact: None, required: better(best, Some(run).filter(is_useful)) }
}

fn fits(a: &Set, b: &Set) -> bool {
    let size = a.len() * b.len();
    size <= MOST && (a.len() == 1 || b.len() == 1 || size <= PRODUCT)
}

fn product(a: &Set, b: &Set) -> Set {
    a.iter().flat_map(|first| b.iter().map(move |second| [&first[..], second].concat())).collect()
}
