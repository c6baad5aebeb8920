//! Statements to rules: defaults, updates, removals, chains and phases.

mod actions;
mod draft;
mod link;
mod list;

use std::collections::HashMap;

use crate::bits::Bits;
use crate::pipeline::{Node, Pipelines};
use crate::prefilter;
use crate::rule::{Chain, Removal, Rules};
use crate::seclang::LoadError;
use crate::seclang::ctl;
use crate::seclang::source::Source;
use crate::transform::UnicodeMap;
use crate::tx::Names;

use draft::{Draft, Drafts, Marker};

/// What is shared by all rules while they are compiled.
#[derive(Default)]
pub(crate) struct Shop {
    pub names: Names,
    pub pipelines: Pipelines,
    pub prefilter: prefilter::Builder,
    pub lists: list::Lists,
    pub removals: Vec<Removal>,
    pub unions: HashMap<(u32, Node), u32>,
}

/// Compiles what was read.
pub fn compile(source: Source) -> Result<Rules, LoadError> {
    let settings = source.settings;
    let drafts = Drafts::new(source.statements)?;
    let mut shop = Shop::default();
    if let Some((file, page)) = &settings.unicode_map {
        shop.pipelines.unicode = Some(unicode_map(file, *page).map_err(|what| unplaced(what, file))?);
    }
    let mut phases: [Vec<Chain>; 5] = Default::default();
    let mut begins: [Vec<usize>; 5] = Default::default();
    for (number, draft) in drafts.drafts.iter().enumerate() {
        let phase = usize::from(draft.phase) - 1;
        phases[phase].push(actions::chain(draft, number as u32, &drafts, &mut shop)?);
        begins[phase].push(number);
    }
    for (phase, chains) in phases.iter_mut().enumerate() {
        for (index, chain) in chains.iter_mut().enumerate() {
            let number = begins[phase][index];
            chain.skip_to = skip_to(&drafts.drafts[number], number, &drafts.markers, &begins[phase])?;
        }
    }
    let prefilter = shop.prefilter.build().map_err(|what| unplaced(what, std::path::Path::new("")))?;
    Ok(Rules {
        settings,
        phases: phases.map(Vec::into_boxed_slice),
        lists: shop.lists.finish(),
        removals: shop.removals.into(),
        pipelines: shop.pipelines,
        prefilter: Some(prefilter),
        names: shop.names,
        store: None,
    })
}

fn unicode_map(file: &std::path::Path, page: u32) -> Result<UnicodeMap, String> {
    let text = std::fs::read(file).map_err(|error| error.to_string())?;
    UnicodeMap::parse(&String::from_utf8_lossy(&text), page)
}

fn unplaced(what: String, file: &std::path::Path) -> LoadError {
    let at = crate::seclang::Location { file: file.to_string_lossy().into(), line: 0 };
    LoadError::new(&at, what, "")
}

/// The index in the phase of the first rule after the marker or the rule that `skipAfter` names.
fn skip_to(draft: &Draft, number: usize, markers: &[Marker], phase: &[usize]) -> Result<Option<u32>, LoadError> {
    let Some(name) = &draft.skip_after else { return Ok(None) };
    let found = markers.iter().find(|marker| marker.before > number && marker.name == *name);
    let Some(marker) = found else {
        return Err(draft.error(format!("no SecMarker or rule id {name} comes after this rule")));
    };
    Ok(Some(phase.partition_point(|begin| *begin < marker.before) as u32))
}

/// The numbers of the rules that are meant.
pub(crate) fn numbers(which: &ctl::Rules, drafts: &[Draft]) -> Bits {
    let mut found = Bits::default();
    for (number, draft) in drafts.iter().enumerate() {
        if draft.is_meant(which) {
            found.set(number as u32);
        }
    }
    found
}

/// Refuses a rule id that is used twice.
fn unique(drafts: &[Draft]) -> Result<(), LoadError> {
    let mut seen = HashMap::new();
    for draft in drafts {
        if let Some(first) = seen.insert(draft.id, draft) {
            let place = &first.links[0].at;
            return Err(draft.error(format!("rule id {} is already used at {place}", draft.id)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
