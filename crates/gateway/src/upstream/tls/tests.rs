use super::config::UpstreamTls;
use super::terms::AllTerms;
use crate::vars::Names;
use std::sync::Arc;

fn names() -> Names {
    Names::new(&crate::modules::VARIABLES, std::iter::empty()).unwrap()
}

fn open() -> UpstreamTls {
    UpstreamTls { verify: false, ..UpstreamTls::default() }
}

fn compile(all: &[UpstreamTls], previous: Option<&AllTerms>) -> Result<AllTerms, String> {
    AllTerms::compile(all, "", &names(), previous)
}

#[test]
fn what_is_the_same_outlives_a_reload() {
    let first = compile(&[open()], None).unwrap();
    let other = UpstreamTls { session_reuse: false, ..open() };
    let second = compile(&[other, open()], Some(&first)).unwrap();
    assert!(Arc::ptr_eq(&first.listed[0].policy, &second.listed[1].policy));
    assert_ne!(second.listed[0].policy.id, second.listed[1].policy.id);
}

#[test]
fn names_of_another_plan_are_compiled_anew() {
    let named = UpstreamTls { name: Some("$host".into()), ..open() };
    let first = compile(std::slice::from_ref(&named), None).unwrap();
    let second = compile(&[named, open()], Some(&first)).unwrap();
    assert!(Arc::ptr_eq(&second.listed[0].policy, &second.listed[1].policy), "but for the name they are the same");
    assert!(second.listed[0].name.is_some() && second.listed[1].name.is_none());
}

#[test]
fn faults_are_told_by_setting() {
    for (raw, words) in [
        (UpstreamTls::default(), "the system's CAs: there is no certificate"),
        (UpstreamTls { ca: "nonsense".into(), ..UpstreamTls::default() }, "ca: there is no certificate"),
        (UpstreamTls { protocols: Vec::new(), ..open() }, "protocols"),
        (UpstreamTls { ciphers: vec!["RC4".into()], ..open() }, "ciphers: \"RC4\""),
        (UpstreamTls { name: Some("$nobody".into()), ..open() }, "unknown variable \"$nobody\""),
    ] {
        let error = compile(&[open(), raw], None).err().unwrap();
        assert!(error.starts_with("upstream_tls[1]") && error.contains(words), "{error}");
    }
    assert!(compile(&[], None).unwrap().default().is_err());
}
