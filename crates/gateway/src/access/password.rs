//! By name and password (nginx: auth_basic; RFC 7617).
//!
//! Hashes are made to be slow, so they are verified on a thread that may block, few at a time, and pairs that were right are
//! remembered, as a sum that says nothing of them.
use crate::access::{crypt, users};
use crate::error::Result;
use crate::exchange::Exchange;
use crate::kept;
use crate::kinds::{PathText, Text};
use crate::scope::{self, Boxed, Check, Compiling, Refusal, Room, Verdict};
use crate::vars::{Names, PathTemplate, Sent, Template, Variable};
use buchner_wire::headers::{HeaderId, Headers};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::OnceLock;
use tokio::sync::Semaphore;

/// Access by password.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The client has to give a name and a password: the name of the realm it is told, with variables; `off`: it need not (nginx: `auth_basic`). Default: off.
    pub auth_basic: Option<Text>,
    /// The file with the users and the hashes of their passwords, with variables: `name:hash` a line, as htpasswd writes them (nginx: `auth_basic_user_file`). Default: none, and no check without it.
    pub auth_basic_user_file: Option<PathText>,
}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "Access by password";
    const VARIABLES: &'static [Variable] = VARIABLES;

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        if let Some(check) = Password::compile(self, cx.names)? {
            out.checks.push(Box::new(check));
        }
        Ok(())
    }
}

/// The variable.
const VARIABLES: &[Variable] = &[Variable::new(
    "remote_user",
    |ex, _, out| remote_user(&ex.request.headers, out),
    "Name that the client gave for HTTP Basic authentication.",
)];

/// Passwords verified at a time, so that guessing ones takes no more than this of the machine.
static VERIFYING: Semaphore = Semaphore::const_new(4);
/// Right pairs a thread remembers.
const REMEMBERED: usize = 4096;

type Sum = [u8; 32];

thread_local! {
    static RIGHT: RefCell<HashSet<Sum>> = RefCell::default();
}

/// A compiled check.
pub struct Password {
    realm: Template,
    file: PathTemplate,
}

impl Password {
    /// Compiles the check, if the settings have one.
    pub fn compile(settings: &Settings, names: &Names) -> std::result::Result<Option<Self>, String> {
        let (Some(realm), Some(file)) = (&settings.auth_basic, &settings.auth_basic_user_file) else {
            return Ok(None);
        };
        if &**realm == "off" {
            return Ok(None);
        }
        Ok(Some(Self {
            realm: Template::compile(realm, names).map_err(|e| format!("auth_basic: {e}"))?,
            file: PathTemplate::compile(file, &names.bases.users, names)
                .map_err(|e| format!("auth_basic_user_file: {e}"))?,
        }))
    }

    /// Whether the client may come in.
    async fn decide(&self, ex: &Exchange) -> Result<Verdict> {
        let realm = self.realm.value(ex, Sent::default());
        if realm == b"off" {
            return Ok(Verdict::Silent);
        }
        let Some((user, password)) = credentials(&ex.request.headers) else {
            return Ok(challenge(&realm, "no user and password were given".into()));
        };
        let file = self.file.value(ex);
        let shown = String::from_utf8_lossy(&user);
        match users::find(&file, &user) {
            Ok(Some(hash)) => Ok(if right(password, hash).await {
                Verdict::Granted
            } else {
                challenge(&realm, format!("user {shown:?}: the password is wrong"))
            }),
            Ok(None) => {
                let cause = format!("user {shown:?} is not in {}", String::from_utf8_lossy(&file));
                Ok(challenge(&realm, cause))
            }
            Err(error) => {
                let status = if error.kind() == io::ErrorKind::NotFound { 403 } else { 500 };
                let cause = format!("cannot read the user file {}: {error}", String::from_utf8_lossy(&file));
                ex.log_error(&cause);
                Ok(Verdict::Refused(Refusal { status, challenges: Vec::new(), cause: cause.into() }))
            }
        }
    }
}

impl Check for Password {
    fn verdict<'c>(&'c self, ex: &'c mut Exchange) -> Boxed<'c, crate::error::Result<Verdict>> {
        Box::pin(async move { self.decide(ex).await })
    }
}

fn challenge(realm: &[u8], cause: String) -> Verdict {
    let challenge = [b"Basic realm=\"", realm, b"\""].concat();
    Verdict::Refused(Refusal { status: 401, challenges: vec![challenge], cause: cause.into() })
}

/// Name and password of a request's `Authorization`.
pub fn credentials(headers: &Headers) -> Option<(Vec<u8>, Vec<u8>)> {
    let value = headers.get(HeaderId::Authorization)?;
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let mut user = crypt::base64(encoded.trim_ascii_start())?;
    let at = memchr::memchr(b':', &user).filter(|at| *at > 0)?;
    let password = user.split_off(at + 1);
    user.pop();
    Some((user, password))
}

/// Writes `$remote_user`.
pub fn remote_user(headers: &Headers, out: &mut Vec<u8>) {
    if let Some((user, _)) = credentials(headers) {
        out.extend_from_slice(&user);
    }
}

async fn right(password: Vec<u8>, hash: Box<[u8]>) -> bool {
    if !crypt::is_slow(&hash) {
        return crypt::verify(&password, &hash);
    }
    let sum = sum(&password, &hash);
    if RIGHT.with_borrow(|right| right.contains(&sum)) {
        return true;
    }
    let Ok(_turn) = VERIFYING.acquire().await else { return false };
    let verified = tokio::task::spawn_blocking(move || crypt::verify(&password, &hash)).await;
    let right = verified.unwrap_or(false);
    if right {
        RIGHT.with_borrow_mut(|known| {
            if known.len() >= REMEMBERED {
                known.clear();
            }
            known.insert(sum);
        });
    }
    right
}

/// A sum of a pair under a key that only this process has.
fn sum(password: &[u8], hash: &[u8]) -> Sum {
    static KEY: OnceLock<[u64; 4]> = OnceLock::new();
    let key = KEY.get_or_init(|| std::array::from_fn(|n| RandomState::new().hash_one(n)));
    let mut sha = Sha256::new();
    for word in key {
        sha.update(word.to_le_bytes());
    }
    sha.chain_update((hash.len() as u64).to_le_bytes()).chain_update(hash).chain_update(password).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_nginx_reads_them() {
        let cases: &[(&str, Option<(&str, &str)>)] = &[
            ("Basic YW5uOnNlY3JldA==", Some(("ann", "secret"))),
            ("basic   YW5uOnNlY3JldA", Some(("ann", "secret"))),
            ("BASIC YW5uOg==", Some(("ann", ""))),
            ("Basic YW5uOmE6Yg==", Some(("ann", "a:b"))),
            ("Basic OnNlY3JldA==", None),
            ("Basic YW5u", None),
            ("Basic ", None),
            ("Basic", None),
            ("Basic !!!", None),
            ("Bearer YW5uOnNlY3JldA==", None),
        ];
        for (value, expected) in cases {
            let mut headers = Headers::default();
            headers.push(HeaderId::Authorization, value.as_bytes());
            let expected = expected.map(|(user, password)| (user.as_bytes().to_vec(), password.as_bytes().to_vec()));
            assert_eq!(credentials(&headers), expected, "{value}");
        }
    }
}
