use std::path::Path;

use super::compile;
use crate::seclang::source::Source;

fn load(text: &str) -> Result<crate::rule::Rules, String> {
    let mut source = Source::default();
    source.text("x.conf", text, Path::new("/nowhere")).map_err(|error| error.to_string())?;
    compile(source).map_err(|error| error.to_string())
}

#[test]
fn faults_are_refused_with_their_line() {
    for (text, what) in [
        ("SecRule ARGS a \"phase:1\"", "x.conf:1: the rule has no id"),
        ("SecAction id:1\nSecAction id:1", "x.conf:2: rule id 1 is already used at x.conf:1"),
        ("SecRule ARGS a \"id:1,chain\"", "x.conf:1: the chain has no end"),
        ("SecRule ARGS a \"id:1,chain\"\nSecMarker x", "x.conf:2: the chain before this has no end"),
        ("SecRule ARGS a \"id:1,chain\"\nSecRule ARGS a id:2", "x.conf:2: only a chain's first rule can have an id"),
        ("SecRule ARGS a \"id:1,t:nothing\"", "x.conf:1: unknown transformation t:nothing"),
        ("SecRule ARGS \"@nothing a\" id:1", "x.conf:1: @nothing"),
        ("SecRule ARGS \"@pmFromFile no.data\" id:1", "/nowhere/no.data"),
        ("SecRule ARGS \"@rx (\" id:1", "x.conf:1: @rx"),
        ("SecMarker a\nSecAction id:1,skipAfter:a", "x.conf:2: no SecMarker or rule id a comes after"),
        ("SecRuleUpdateActionById 1 pass", "x.conf:1: no rule 1"),
        ("SecDefaultAction phase:1,log", "x.conf:1: SecDefaultAction needs a disruptive action"),
    ] {
        let error = load(text).unwrap_err();
        assert!(error.contains(what), "{text}: {error}");
    }
}

#[test]
fn removals_keep_markers_in_place() {
    let rules = load(
        "SecAction id:1,phase:1,skipAfter:end\nSecAction id:2,phase:1\nSecAction id:3,phase:1\nSecMarker end\n\
         SecAction id:4,phase:1\nSecRuleRemoveById 2",
    )
    .unwrap();
    let ids: Vec<_> = rules.phases[0].iter().map(|chain| chain.info.id).collect();
    assert_eq!((ids, rules.phases[0][0].skip_to), (vec![1, 3, 4], Some(2)));
}
