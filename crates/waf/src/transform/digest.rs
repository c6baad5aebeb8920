//! Digests, in raw bytes as ModSecurity gives them; `hexEncode` makes them readable.
use sha1::Digest;
use std::borrow::Cow;

pub(super) fn md5(input: &[u8]) -> Cow<'_, [u8]> {
    Cow::Owned(md5::Md5::digest(input).to_vec())
}

pub(super) fn sha1(input: &[u8]) -> Cow<'_, [u8]> {
    Cow::Owned(sha1::Sha1::digest(input).to_vec())
}
