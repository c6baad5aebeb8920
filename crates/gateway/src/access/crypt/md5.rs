//! The MD5 form of crypt (`$1$`), and Apache's, which differs in its prefix (`$apr1$`).
use md5::{Digest, Md5};

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Bytes of the salt that count.
const SALT: usize = 8;

/// Makes the hash of a password. `rest` is a hash behind its `prefix`: the salt up to `$` counts.
pub fn crypt(password: &[u8], prefix: &[u8], rest: &[u8]) -> Vec<u8> {
    let salt = &rest[..rest.iter().position(|b| *b == b'$').unwrap_or(rest.len()).min(SALT)];
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut md5 = Md5::new().chain_update(password).chain_update(prefix).chain_update(salt);
    for piece in password.chunks(inner.len()) {
        md5.update(&inner[..piece.len()]);
    }
    let mut bits = password.len();
    while bits > 0 {
        md5.update(if bits & 1 == 1 { b"\0" } else { &password[..1] });
        bits >>= 1;
    }
    let mut sum = md5.finalize();
    for round in 0..1000 {
        let mut md5 = Md5::new();
        let (first, last) = if round % 2 == 1 { (password, &sum[..]) } else { (&sum[..], password) };
        md5.update(first);
        if round % 3 != 0 {
            md5.update(salt);
        }
        if round % 7 != 0 {
            md5.update(password);
        }
        md5.update(last);
        sum = md5.finalize();
    }
    let mut out = [prefix, salt, b"$"].concat();
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        digits(u32::from(sum[a]) << 16 | u32::from(sum[b]) << 8 | u32::from(sum[c]), 4, &mut out);
    }
    digits(u32::from(sum[11]), 2, &mut out);
    out
}

fn digits(mut value: u32, count: usize, out: &mut Vec<u8>) {
    for _ in 0..count {
        out.push(ALPHABET[(value & 63) as usize]);
        value >>= 6;
    }
}
