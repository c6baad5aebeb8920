//! Passwords of a user file: the forms nginx takes, which are those of the system's crypt and some of LDAP's.
//!
//! `{PLAIN}`, `{SHA}`, `{SSHA}`, `$apr1$` and `$1$` (MD5), `$2a$` to `$2y$` (bcrypt), `$5$` and `$6$` (SHA-2), and the
//! traditional form of 13 characters (DES). Anything else fits no password.
mod des;
mod md5;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha_crypt::{PasswordVerifier, ShaCrypt};
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_encode_padding(false)
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::RequireNone);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
/// Bytes of a SHA-1.
const SHA1: usize = 20;
/// Rounds of a SHA-2 hash that names none.
const ROUNDS: u64 = 5000;
/// Bytes of such a hash's salt that count.
const SALT: usize = 16;

/// Decodes base64 as nginx does: what follows the first `=` is not looked at.
pub fn base64(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(before_padding(text)).ok()
}

/// Decodes base64url as nginx does.
pub fn base64url(text: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE.decode(before_padding(text)).ok()
}

fn before_padding(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr(b'=', text).unwrap_or(text.len())]
}

/// Whether two texts are equal, in a time that does not tell where they differ.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Whether verifying takes so long that an I/O thread must not do it.
pub fn is_slow(hash: &[u8]) -> bool {
    !hash.starts_with(b"{")
}

/// Whether `password` is the one that `hash` was made of.
pub fn verify(password: &[u8], hash: &[u8]) -> bool {
    // Passwords are C strings where the system's crypt verifies them.
    let password = &password[..memchr::memchr(0, password).unwrap_or(password.len())];
    if let Some(plain) = hash.strip_prefix(b"{PLAIN}") {
        return equal(password, plain);
    }
    if let Some(encoded) = hash.strip_prefix(b"{SHA}") {
        return base64(encoded).is_some_and(|sum| equal(&Sha1::digest(password), &sum));
    }
    if let Some(encoded) = hash.strip_prefix(b"{SSHA}") {
        return base64(encoded).is_some_and(|sum| salted(password, &sum));
    }
    match hash {
        [b'$', b'a', b'p', b'r', b'1', b'$', ..] => equal(&md5::crypt(password, b"$apr1$", &hash[6..]), hash),
        [b'$', b'1', b'$', ..] => equal(&md5::crypt(password, b"$1$", &hash[3..]), hash),
        [b'$', b'2', ..] => std::str::from_utf8(hash).is_ok_and(|hash| bcrypt::verify(password, hash).unwrap_or(false)),
        [b'$', kind @ (b'5' | b'6'), b'$', rest @ ..] => sha2(password, *kind, rest),
        _ => des::crypt(password, hash).is_some_and(|made| equal(&made, hash)),
    }
}

fn salted(password: &[u8], sum: &[u8]) -> bool {
    let Some((sum, salt)) = sum.split_at_checked(SHA1) else { return false };
    equal(&Sha1::new().chain_update(password).chain_update(salt).finalize(), sum)
}

/// `[rounds=N$]salt$sum` of SHA-256 or SHA-512.
fn sha2(password: &[u8], kind: u8, rest: &[u8]) -> bool {
    let (rounds, rest) = match rest.strip_prefix(b"rounds=") {
        None => (ROUNDS, rest),
        Some(rest) => {
            let Some(end) = memchr::memchr(b'$', rest) else { return false };
            let number = std::str::from_utf8(&rest[..end]).ok().and_then(|digits| digits.parse().ok());
            let Some(rounds) = number else { return false };
            (rounds, &rest[end + 1..])
        }
    };
    let Some((salt, sum)) = std::str::from_utf8(rest).ok().and_then(|rest| rest.split_once('$')) else { return false };
    let (kind, rounds) = (char::from(kind), rounds.clamp(1000, 999_999_999));
    let Some(salt) = salt.get(..salt.len().min(SALT)) else { return false };
    ShaCrypt::default().verify_password(password, &*format!("${kind}$rounds={rounds}${salt}${sum}")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by openssl passwd, htpasswd and the system's crypt.
    const HASHES: &[&str] = &[
        "$1$YyhSLpyI$jp26L4wmFtTH.cfyBy43k1",
        "$apr1$la91LtpV$1BIVkmLDdMkrjCg8Leq6i/",
        "$5$euRB4pTTlBjznluM$Lt0aGENc5ShF6xpjyMuYjLhAERzKnym2EmVWsarMWt9",
        "$6$Mpz7v.ckUrPiZAXh$cvaAPHQ/M7ktGemN44Yqp5Xd0IvWShoMV9q50B1zC7RN.zDzpRXWgo5UB/5elVQXcvw5/bv5BMHXY02eeBCDv.",
        "abNANd1rDfiNc",
        "./17m29LFAflg",
        "zZ5x4y8hS4SZE",
        "$6$rounds=1500$saltsaltsaltsalt$/bLK13RMbB3vYsSVWZZYNDGszbUzwdGNBVc.BRcbtYXccbTCfjSTF9FJX76ZuNsf5oGjaue9LrqckcEFKqM1Q1",
        "$5$rounds=1000$x$MwH1x3tv6pfJx.FrwforYF3VY24cFP1kjo6fe/LdghD",
        "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
        "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
        "$1$x$0AXOYAuOs.uNCmG2qRI8W.",
        "{PLAIN}secret",
        "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0",
    ];

    #[test]
    fn every_form_fits_its_password_and_no_other() {
        for hash in HASHES {
            assert!(verify(b"secret", hash.as_bytes()), "{hash}");
            assert!(verify(b"secret\0more", hash.as_bytes()), "{hash}");
            assert!(!verify(b"Secret", hash.as_bytes()), "{hash}");
            assert!(!verify(b"", hash.as_bytes()), "{hash}");
        }
    }

    #[test]
    fn what_is_no_hash_fits_nothing() {
        for hash in [
            "",
            "x",
            "secret",
            "*0",
            "*",
            "!",
            "{SHA}",
            "{SSHA}abc",
            "{MD5}x",
            "$",
            "$1",
            "$2y$",
            "$5$",
            "$6$x",
            "$6$rounds=x$a$b",
            "é1",
        ] {
            for password in ["", "secret", hash] {
                assert!(!verify(password.as_bytes(), hash.as_bytes()), "{hash}");
            }
        }
    }

    #[test]
    fn base64_is_lenient_as_nginx() {
        assert_eq!(base64(b"YTpi").as_deref(), Some(&b"a:b"[..]));
        assert_eq!(base64(b"YTo=").as_deref(), Some(&b"a:"[..]));
        assert_eq!(base64(b"YTo").as_deref(), Some(&b"a:"[..]));
        assert_eq!(base64(b"YTp").as_deref(), Some(&b"a:"[..]));
        assert!(base64(b"Y").is_none() && base64(b"Y?==").is_none());
    }
}
