//! The traditional form of crypt: DES, 25 times over a block of zeros, its expansion table disturbed by the salt. Tables and
//! their names are those of FIPS 46-3; bits are counted from 1 there and here.

/// Initial permutation.
#[rustfmt::skip]
const IP: [u8; 64] = [
    58, 50, 42, 34, 26, 18, 10, 2, 60, 52, 44, 36, 28, 20, 12, 4,
    62, 54, 46, 38, 30, 22, 14, 6, 64, 56, 48, 40, 32, 24, 16, 8,
    57, 49, 41, 33, 25, 17, 9, 1, 59, 51, 43, 35, 27, 19, 11, 3,
    61, 53, 45, 37, 29, 21, 13, 5, 63, 55, 47, 39, 31, 23, 15, 7,
];
/// Its inverse.
#[rustfmt::skip]
const FP: [u8; 64] = [
    40, 8, 48, 16, 56, 24, 64, 32, 39, 7, 47, 15, 55, 23, 63, 31,
    38, 6, 46, 14, 54, 22, 62, 30, 37, 5, 45, 13, 53, 21, 61, 29,
    36, 4, 44, 12, 52, 20, 60, 28, 35, 3, 43, 11, 51, 19, 59, 27,
    34, 2, 42, 10, 50, 18, 58, 26, 33, 1, 41, 9, 49, 17, 57, 25,
];
/// Permuted choice 1: bits of the key.
#[rustfmt::skip]
const PC1: [u8; 56] = [
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2,
    59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36, 63, 55, 47, 39,
    31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37,
    29, 21, 13, 5, 28, 20, 12, 4,
];
/// Permuted choice 2: bits of a round's key.
#[rustfmt::skip]
const PC2: [u8; 48] = [
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4,
    26, 8, 16, 7, 27, 20, 13, 2, 41, 52, 31, 37, 47, 55, 30, 40,
    51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
];
/// Permutation behind the S-boxes.
#[rustfmt::skip]
const P: [u8; 32] = [
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10,
    2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25,
];
/// Bits the key's halves are turned by, round by round.
const SHIFTS: [usize; 16] = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1];
/// S-boxes.
#[rustfmt::skip]
const S: [[u8; 64]; 8] = [
    [
        14, 4, 13, 1, 2, 15, 11, 8, 3, 10, 6, 12, 5, 9, 0, 7,
        0, 15, 7, 4, 14, 2, 13, 1, 10, 6, 12, 11, 9, 5, 3, 8,
        4, 1, 14, 8, 13, 6, 2, 11, 15, 12, 9, 7, 3, 10, 5, 0,
        15, 12, 8, 2, 4, 9, 1, 7, 5, 11, 3, 14, 10, 0, 6, 13,
    ],
    [
        15, 1, 8, 14, 6, 11, 3, 4, 9, 7, 2, 13, 12, 0, 5, 10,
        3, 13, 4, 7, 15, 2, 8, 14, 12, 0, 1, 10, 6, 9, 11, 5,
        0, 14, 7, 11, 10, 4, 13, 1, 5, 8, 12, 6, 9, 3, 2, 15,
        13, 8, 10, 1, 3, 15, 4, 2, 11, 6, 7, 12, 0, 5, 14, 9,
    ],
    [
        10, 0, 9, 14, 6, 3, 15, 5, 1, 13, 12, 7, 11, 4, 2, 8,
        13, 7, 0, 9, 3, 4, 6, 10, 2, 8, 5, 14, 12, 11, 15, 1,
        13, 6, 4, 9, 8, 15, 3, 0, 11, 1, 2, 12, 5, 10, 14, 7,
        1, 10, 13, 0, 6, 9, 8, 7, 4, 15, 14, 3, 11, 5, 2, 12,
    ],
    [
        7, 13, 14, 3, 0, 6, 9, 10, 1, 2, 8, 5, 11, 12, 4, 15,
        13, 8, 11, 5, 6, 15, 0, 3, 4, 7, 2, 12, 1, 10, 14, 9,
        10, 6, 9, 0, 12, 11, 7, 13, 15, 1, 3, 14, 5, 2, 8, 4,
        3, 15, 0, 6, 10, 1, 13, 8, 9, 4, 5, 11, 12, 7, 2, 14,
    ],
    [
        2, 12, 4, 1, 7, 10, 11, 6, 8, 5, 3, 15, 13, 0, 14, 9,
        14, 11, 2, 12, 4, 7, 13, 1, 5, 0, 15, 10, 3, 9, 8, 6,
        4, 2, 1, 11, 10, 13, 7, 8, 15, 9, 12, 5, 6, 3, 0, 14,
        11, 8, 12, 7, 1, 14, 2, 13, 6, 15, 0, 9, 10, 4, 5, 3,
    ],
    [
        12, 1, 10, 15, 9, 2, 6, 8, 0, 13, 3, 4, 14, 7, 5, 11,
        10, 15, 4, 2, 7, 12, 9, 5, 6, 1, 13, 14, 0, 11, 3, 8,
        9, 14, 15, 5, 2, 8, 12, 3, 7, 0, 4, 10, 1, 13, 11, 6,
        4, 3, 2, 12, 9, 5, 15, 10, 11, 14, 1, 7, 6, 0, 8, 13,
    ],
    [
        4, 11, 2, 14, 15, 0, 8, 13, 3, 12, 9, 7, 5, 10, 6, 1,
        13, 0, 11, 7, 4, 9, 1, 10, 14, 3, 5, 12, 2, 15, 8, 6,
        1, 4, 11, 13, 12, 3, 7, 14, 10, 15, 6, 8, 0, 5, 9, 2,
        6, 11, 13, 8, 1, 4, 10, 7, 9, 5, 0, 15, 14, 2, 3, 12,
    ],
    [
        13, 2, 8, 4, 6, 15, 11, 1, 10, 9, 3, 14, 5, 0, 12, 7,
        1, 15, 13, 8, 10, 3, 7, 4, 12, 5, 6, 11, 0, 14, 9, 2,
        7, 11, 4, 1, 9, 12, 14, 2, 0, 6, 10, 13, 15, 3, 5, 8,
        2, 1, 14, 7, 4, 10, 8, 13, 15, 12, 9, 0, 3, 5, 6, 11,
    ],
];
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of a hash: two of salt and eleven of sum.
const LENGTH: usize = 13;

/// Makes the hash of a password with the salt of `hash`; nothing if that is none of this form.
pub fn crypt(password: &[u8], hash: &[u8]) -> Option<Vec<u8>> {
    if hash.len() != LENGTH {
        return None;
    }
    let digit = |at: usize| ALPHABET.iter().position(|c| *c == hash[at]);
    let salt = digit(0)? | digit(1)? << 6;
    let keys = keys(password);
    let mut block = [0u8; 64];
    for _ in 0..25 {
        block = encrypt(&block, &keys, salt);
    }
    let mut out = hash[..2].to_vec();
    for six in block.chunks(6) {
        let value = six.iter().chain(&[0; 5]).take(6).fold(0, |value, bit| value << 1 | usize::from(*bit));
        out.push(ALPHABET[value]);
    }
    Some(out)
}

fn pick<const N: usize>(from: &[u8], places: &[u8; N]) -> [u8; N] {
    places.map(|place| from[usize::from(place) - 1])
}

/// The keys of the 16 rounds, from seven bits of each of a password's first eight bytes.
fn keys(password: &[u8]) -> [[u8; 48]; 16] {
    let mut bits = [0u8; 64];
    for (eight, byte) in bits.chunks_mut(8).zip(password) {
        for (at, bit) in eight.iter_mut().take(7).enumerate() {
            *bit = byte >> (6 - at) & 1;
        }
    }
    let mut halves = pick(&bits, &PC1);
    SHIFTS.map(|shift| {
        let (c, d) = halves.split_at_mut(28);
        c.rotate_left(shift);
        d.rotate_left(shift);
        pick(&halves, &PC2)
    })
}

fn encrypt(block: &[u8; 64], keys: &[[u8; 48]; 16], salt: usize) -> [u8; 64] {
    let start = pick(block, &IP);
    let (mut left, mut right) = ([0u8; 32], [0u8; 32]);
    left.copy_from_slice(&start[..32]);
    right.copy_from_slice(&start[32..]);
    for key in keys {
        let mixed = round(&right, key, salt);
        let next = std::array::from_fn(|at| left[at] ^ mixed[at]);
        left = right;
        right = next;
    }
    let mut end = [0u8; 64];
    end[..32].copy_from_slice(&right);
    end[32..].copy_from_slice(&left);
    pick(&end, &FP)
}

/// The cipher function: expansion, key, S-boxes, permutation.
fn round(right: &[u8; 32], key: &[u8; 48], salt: usize) -> [u8; 32] {
    // Six bits for each group of four: the group and a neighbour on each side.
    let mut expanded: [u8; 48] = std::array::from_fn(|at| right[(at / 6 * 4 + at % 6 + 31) % 32]);
    for bit in (0..12).filter(|bit| salt >> bit & 1 == 1) {
        expanded.swap(bit, bit + 24);
    }
    let mut out = [0u8; 32];
    for (group, six) in expanded.chunks(6).enumerate() {
        let bit = |at: usize| usize::from(six[at] ^ key[group * 6 + at]);
        let row = bit(0) << 1 | bit(5);
        let column = bit(1) << 3 | bit(2) << 2 | bit(3) << 1 | bit(4);
        let value = S[group][row * 16 + column];
        for at in 0..4 {
            out[group * 4 + at] = value >> (3 - at) & 1;
        }
    }
    pick(&out, &P)
}
