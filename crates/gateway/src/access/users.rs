//! Files of users and the hashes of their passwords (nginx: auth_basic_user_file): `name:hash[:comment]` a line, `#` before what
//! is none. Each thread keeps them as it read them, and reads one anew when it has changed.
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Files a thread keeps; beyond that (names made of variables) it starts anew.
const KEPT: usize = 256;

type Users = HashMap<Box<[u8]>, Box<[u8]>>;

/// The users of a file, and what it was when they were read.
type Read = (Stamp, Users);

/// What tells that a file is the one that was read: device, inode, size, time of change in nanoseconds.
type Stamp = (u64, u64, u64, i128);

thread_local! {
    static FILES: RefCell<HashMap<Box<[u8]>, Read>> = RefCell::default();
}

/// The hash of a user's password in the file at `path`; `None`: there is no such user.
pub fn find(path: &[u8], user: &[u8]) -> io::Result<Option<Box<[u8]>>> {
    let file = Path::new(OsStr::from_bytes(path));
    let meta = std::fs::metadata(file)?;
    let changed = i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
    let stamp = (meta.dev(), meta.ino(), meta.len(), changed);
    FILES.with_borrow_mut(|files| {
        if let Some((_, users)) = files.get(path).filter(|(known, _)| *known == stamp) {
            return Ok(users.get(user).cloned());
        }
        let users = parse(&std::fs::read(file)?);
        let found = users.get(user).cloned();
        if files.len() >= KEPT {
            files.clear();
        }
        files.insert(path.into(), (stamp, users));
        Ok(found)
    })
}

/// The first line of a user counts.
fn parse(text: &[u8]) -> Users {
    let mut users = Users::new();
    for line in text.split(|b| *b == b'\n').filter(|line| !line.starts_with(b"#")) {
        let Some(at) = memchr::memchr(b':', line) else { continue };
        let rest = &line[at + 1..];
        let end = memchr::memchr2(b':', b'\r', rest).unwrap_or(rest.len());
        users.entry(line[..at].into()).or_insert_with(|| rest[..end].into());
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_nginx_reads_them() {
        let users = parse(b"# a:b\nann:x:comment\nann:y\r\n\nbob:z\r\nnobody\n:empty\nlast:w");
        let hash = |user: &[u8]| users.get(user).map(|hash| &hash[..]);
        assert_eq!(hash(b"ann"), Some(&b"x"[..]));
        assert_eq!(hash(b"bob"), Some(&b"z"[..]));
        assert_eq!(hash(b"last"), Some(&b"w"[..]));
        assert_eq!(hash(b"# a"), None);
        assert_eq!(hash(b"nobody"), None);
    }

    #[test]
    fn a_file_that_changed_is_read_anew() {
        let path = std::env::temp_dir().join(format!("buchner-users-{}", std::process::id()));
        let name = path.as_os_str().as_bytes();
        std::fs::write(&path, "ann:x\n").unwrap();
        assert_eq!(find(name, b"ann").unwrap().as_deref(), Some(&b"x"[..]));
        std::fs::write(&path, "ann:yy\n").unwrap();
        assert_eq!(find(name, b"ann").unwrap().as_deref(), Some(&b"yy"[..]));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(find(name, b"ann").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
