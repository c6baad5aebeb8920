//! Session tickets (RFC 8446 section 4.6.1, RFC 5077). A ticket holds for the listener and the policy it was made under and for
//! no other, so that none gets round what the other asks of its clients; all threads share the keys.
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{digest, hkdf, rand};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::server::ProducesTickets;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A key of this process makes tickets for so long, and is known for twice as long.
const FRESH: Duration = Duration::from_secs(12 * 3600);
/// What it is and when it was made stand in front of what is encrypted.
const NAME: usize = 16;
const TIME: usize = 8;
const NONCE: usize = 12;
const HEAD: usize = NAME + TIME + NONCE;

/// The keys that this process makes by itself.
static OWN: LazyLock<Keys> = LazyLock::new(|| Keys::Own(RwLock::default()));

/// What tickets are encrypted with: the first key makes them, any takes them.
enum Keys {
    Own(RwLock<Vec<(Instant, Secret)>>),
    Given(Vec<Secret>),
}

/// A secret, from which the key for each listener and policy is derived.
#[derive(Clone)]
struct Secret {
    name: [u8; NAME],
    bytes: Vec<u8>,
}

impl Secret {
    fn new(bytes: Vec<u8>) -> Self {
        let mut name = [0; NAME];
        name.copy_from_slice(&digest::digest(&digest::SHA256, &[b"ticket key", &bytes[..]].concat()).as_ref()[..NAME]);
        Self { name, bytes }
    }

    /// The key of those that are bound so.
    fn key(&self, binding: &[u8]) -> Option<LessSafeKey> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"buchner session ticket");
        let mut key = [0; 32];
        salt.extract(&self.bytes).expand(&[binding], &AES_256_GCM).ok()?.fill(&mut key).ok()?;
        UnboundKey::new(&AES_256_GCM, &key).ok().map(LessSafeKey::new)
    }
}

impl Keys {
    /// The one that makes tickets now.
    fn first(&self) -> Option<Secret> {
        let own = match self {
            Self::Given(secrets) => return secrets.first().cloned(),
            Self::Own(own) => own,
        };
        let fresh = |own: &[(Instant, Secret)]| {
            own.first().filter(|(since, _)| since.elapsed() < FRESH).map(|(_, secret)| secret.clone())
        };
        if let Some(secret) = fresh(&own.read().unwrap_or_else(PoisonError::into_inner)) {
            return Some(secret);
        }
        let mut own = own.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(secret) = fresh(&own) {
            return Some(secret);
        }
        let mut bytes = vec![0; 32];
        rand::fill(&mut bytes).ok()?;
        own.insert(0, (Instant::now(), Secret::new(bytes)));
        own.retain(|(since, _)| since.elapsed() < 2 * FRESH);
        own.first().map(|(_, secret)| secret.clone())
    }

    fn named(&self, name: &[u8]) -> Option<Secret> {
        match self {
            Self::Given(secrets) => secrets.iter().find(|secret| secret.name == name).cloned(),
            Self::Own(own) => {
                let own = own.read().unwrap_or_else(PoisonError::into_inner);
                own.iter().find(|(_, secret)| secret.name == name).map(|(_, secret)| secret.clone())
            }
        }
    }
}

/// Makes and takes the tickets of one listener and policy.
pub struct Tickets {
    keys: Option<Arc<Keys>>,
    binding: Box<[u8]>,
    lifetime: Duration,
}

impl Tickets {
    /// Tickets that hold where `binding` is the same. Without `keys` (base64) they are made with keys of this process.
    ///
    /// # Errors
    /// A key that is none.
    pub fn new(keys: &[String], binding: &[u8], lifetime: Duration) -> Result<Self, String> {
        let secret = |(i, text): (usize, &String)| match BASE64_STANDARD.decode(text) {
            Ok(bytes) if matches!(bytes.len(), 48 | 80) => Ok(Secret::new(bytes)),
            Ok(bytes) => Err(format!("ticket_keys[{i}]: {} bytes are neither 48 nor 80", bytes.len())),
            Err(error) => Err(format!("ticket_keys[{i}] is not base64: {error}")),
        };
        let keys = match keys {
            [] => None,
            keys => Some(Arc::new(Keys::Given(keys.iter().enumerate().map(secret).collect::<Result<_, _>>()?))),
        };
        Ok(Self { keys, binding: binding.into(), lifetime })
    }

    fn keys(&self) -> &Keys {
        self.keys.as_deref().unwrap_or(&OWN)
    }

    fn seal(&self, plain: &[u8], now: u64) -> Option<Vec<u8>> {
        let secret = self.keys().first()?;
        let mut ticket = Vec::with_capacity(HEAD + plain.len() + AES_256_GCM.tag_len());
        let mut nonce = [0; NONCE];
        rand::fill(&mut nonce).ok()?;
        ticket.extend_from_slice(&secret.name);
        ticket.extend_from_slice(&now.to_be_bytes());
        ticket.extend_from_slice(&nonce);
        let mut sealed = plain.to_vec();
        let aad = Aad::from(&ticket[..]);
        secret
            .key(&self.binding)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .ok()?;
        ticket.extend_from_slice(&sealed);
        Some(ticket)
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (head, sealed) = ticket.split_at_checked(HEAD)?;
        let (name, rest) = head.split_at(NAME);
        let (time, nonce) = rest.split_at(TIME);
        let key = self.keys().named(name)?.key(&self.binding)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = key.open_in_place(nonce, Aad::from(head), &mut sealed).ok()?.len();
        sealed.truncate(length);
        let age = now.checked_sub(u64::from_be_bytes(time.try_into().ok()?))?;
        (age <= self.lifetime.as_secs()).then_some(sealed)
    }
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.lifetime.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn tickets(keys: &[&str], binding: &[u8]) -> Tickets {
        let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
        Tickets::new(&keys, binding, DAY).unwrap()
    }

    fn key(byte: u8) -> String {
        BASE64_STANDARD.encode([byte; 80])
    }

    #[test]
    fn a_ticket_holds_for_its_listener_and_policy_and_its_time() {
        let (mine, other) = (tickets(&[], b"a:443 policy"), tickets(&[], b"b:443 policy"));
        let ticket = mine.seal(b"session", 1000).unwrap();
        assert_eq!(mine.open(&ticket, 1000).as_deref(), Some(&b"session"[..]));
        assert_eq!(tickets(&[], b"a:443 policy").open(&ticket, 1000 + 86_400).as_deref(), Some(&b"session"[..]));
        assert_eq!(mine.open(&ticket, 1001 + 86_400), None, "too old");
        assert_eq!(mine.open(&ticket, 999), None, "from the future");
        assert_eq!(other.open(&ticket, 1000), None, "another listener's");
        for at in [0, NAME, NAME + TIME, HEAD, ticket.len() - 1] {
            let mut bad = ticket.clone();
            bad[at] ^= 1;
            assert_eq!(mine.open(&bad, 1000), None, "byte {at}");
        }
        assert_eq!(mine.open(&ticket[..HEAD - 1], 1000), None);
    }

    #[test]
    fn given_keys_are_shared_by_whoever_has_them() {
        let old = tickets(&[&key(1)], b"x").seal(b"session", 5).unwrap();
        let rolled = tickets(&[&key(2), &key(1)], b"x");
        assert_eq!(rolled.open(&old, 6).as_deref(), Some(&b"session"[..]));
        let new = rolled.seal(b"session", 7).unwrap();
        assert_eq!(tickets(&[&key(1)], b"x").open(&new, 8), None);
        assert_eq!(tickets(&[&key(2)], b"x").open(&new, 8).as_deref(), Some(&b"session"[..]));
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        let error = Tickets::new(&[BASE64_STANDARD.encode([1; 32])], b"", DAY).unwrap_err();
        assert_eq!(error, "ticket_keys[0]: 32 bytes are neither 48 nor 80");
        assert!(Tickets::new(&["?".to_owned()], b"", DAY).unwrap_err().starts_with("ticket_keys[0] is not base64"));
    }
}
