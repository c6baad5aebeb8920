//! Cipher suites and key-exchange groups by the names that configurations have for them.
use crate::tls::config::Protocol;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, DEFAULT_KX_GROUPS, kx_group};
use rustls::{CipherSuite, NamedGroup, SupportedCipherSuite};

/// OpenSSL's name of a suite; those of TLS 1.3 have IANA's.
pub fn name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => "",
    }
}

/// The suites of these names, in their order, and all of a version of which none is named.
///
/// # Errors
/// The name that is none.
pub fn suites(names: &[String]) -> Result<Vec<SupportedCipherSuite>, String> {
    let mut suites = Vec::new();
    for one in names {
        let found = ALL_CIPHER_SUITES.iter().find(|suite| name(suite.suite()) == one);
        suites.push(*found.ok_or_else(|| format!("ciphers: {one:?} is none of {}", known()))?);
    }
    for protocol in [Protocol::Tls13, Protocol::Tls12] {
        if !suites.iter().any(|suite| is_of(suite, protocol)) {
            suites.extend(ALL_CIPHER_SUITES.iter().filter(|suite| is_of(suite, protocol)));
        }
    }
    Ok(suites)
}

fn is_of(suite: &SupportedCipherSuite, protocol: Protocol) -> bool {
    suite.tls13().is_some() == (protocol == Protocol::Tls13)
}

fn known() -> String {
    let names: Vec<_> = ALL_CIPHER_SUITES.iter().map(|suite| name(suite.suite())).collect();
    names.join(", ")
}

/// OpenSSL's name of a group.
pub fn group_name(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::X25519 => "X25519",
        NamedGroup::secp256r1 => "prime256v1",
        NamedGroup::secp384r1 => "secp384r1",
        NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        NamedGroup::secp256r1MLKEM768 => "SecP256r1MLKEM768",
        _ => "",
    }
}

/// The groups of these names (OpenSSL's or NIST's), in their order; without any, the usual ones.
///
/// # Errors
/// The name that is none.
pub fn groups(names: &[String]) -> Result<Vec<&'static dyn SupportedKxGroup>, String> {
    if names.is_empty() {
        return Ok(DEFAULT_KX_GROUPS.to_vec());
    }
    let group = |name: &String| -> Result<&'static dyn SupportedKxGroup, String> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "x25519" => kx_group::X25519,
            "prime256v1" | "secp256r1" | "p-256" => kx_group::SECP256R1,
            "secp384r1" | "p-384" => kx_group::SECP384R1,
            "x25519mlkem768" => kx_group::X25519MLKEM768,
            "secp256r1mlkem768" => kx_group::SECP256R1MLKEM768,
            _ => {
                let known = "X25519MLKEM768, SecP256r1MLKEM768, X25519, prime256v1, secp384r1";
                return Err(format!("curves: {name:?} is none of {known}"));
            }
        })
    };
    names.iter().map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn every_suite_and_group_has_a_name() {
        assert!(ALL_CIPHER_SUITES.iter().all(|suite| !name(suite.suite()).is_empty()));
        assert!(DEFAULT_KX_GROUPS.iter().all(|group| !group_name(group.name()).is_empty()));
    }

    #[test]
    fn suites_of_a_version_that_is_not_named_are_all_taken() {
        let suites = suites(&named(&["ECDHE-RSA-AES128-GCM-SHA256"])).unwrap();
        let names: Vec<_> = suites.iter().map(|suite| name(suite.suite())).collect();
        assert_eq!(names[0], "ECDHE-RSA-AES128-GCM-SHA256");
        assert!(names.len() == 4 && names[1..].iter().all(|name| name.starts_with("TLS_")));
    }

    #[test]
    fn what_is_unknown_is_named() {
        assert!(suites(&named(&["RC4-MD5"])).unwrap_err().starts_with("ciphers: \"RC4-MD5\" is none of TLS_AES_256"));
        assert!(groups(&named(&["sect571r1"])).unwrap_err().contains("curves: \"sect571r1\""));
    }
}
