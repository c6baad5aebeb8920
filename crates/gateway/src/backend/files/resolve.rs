//! From a path below a directory to an open file that lies below that directory.
//!
//! The kernel resolves the path in one call (openat2(2) with `RESOLVE_BENEATH`, Linux 5.6), so there is no moment between
//! a check and an open in which a link could be swapped. Where that call is missing, the path is walked one name at a time and
//! no symbolic link is followed at all.
//!
//! Laws: nothing outside the root is opened unless its links may lead out; only regular files are handed out; opening never
//! waits (a FIFO has no writer to wait for, `O_NONBLOCK`).
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, fstat, openat, openat2, statat};
use rustix::io::Errno;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

/// Where symbolic links may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// To places below the root. An absolute link counts as leading out, as the kernel has it.
    Beneath,
    /// Anywhere.
    Anywhere,
}

/// Whose symbolic links are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisableSymlinks {
    /// Nobody's.
    #[default]
    Off,
    /// Everybody's.
    On,
    /// Those that belong to another user than what they lead to.
    IfNotOwner,
}

/// Opens files while it looks at every symbolic link of their paths (nginx: `disable_symlinks`).
#[derive(Debug)]
pub struct LinkCheck {
    if_not_owner: bool,
    /// Links in this part of the path are not looked at.
    from: Vec<u8>,
}

impl LinkCheck {
    /// A check, if there is something to check.
    pub fn new(disable: DisableSymlinks, from: Option<&str>) -> Option<Self> {
        let from = from.unwrap_or_default().trim_end_matches('/').as_bytes().to_vec();
        (disable != DisableSymlinks::Off).then(|| Self { if_not_owner: disable == DisableSymlinks::IfNotOwner, from })
    }

    /// Opens an absolute path. A link that is refused is `LOOP`, or `NOTDIR` within the path: 403 and 404, as in nginx.
    pub fn open(&self, path: &[u8]) -> Result<Found, Errno> {
        let trusted = path.strip_prefix(&*self.from).filter(|rest| rest.starts_with(b"/"));
        let (start, rest) = match trusted {
            Some(rest) if !self.from.is_empty() => (&self.from[..], rest),
            _ => (&b"/"[..], path),
        };
        let mut directory = open_root(start)?;
        let mut names = rest.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            let last = names.peek().is_none();
            let flags = if last { OPEN } else { OPEN_DIRECTORY };
            match openat(&directory, name, flags | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(fd) if last => return classify(fd),
                Ok(fd) => directory = fd,
                Err(Errno::LOOP | Errno::NOTDIR) if self.if_not_owner => {
                    let link = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    let fd = openat(&directory, name, flags, Mode::empty())?;
                    if link.st_uid != fstat(&fd)?.st_uid {
                        return Err(Errno::LOOP);
                    }
                    if last {
                        return classify(fd);
                    }
                    directory = fd;
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(Found::Directory)
    }
}

/// What a path turned out to be.
#[derive(Debug)]
pub enum Found {
    /// A regular file, open for reading.
    File(File, Stamp),
    /// A directory.
    Directory,
    /// A FIFO, a socket or a device.
    Special,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    mtime: i64,
    mtime_nanos: i64,
    /// Bytes.
    pub size: u64,
}

impl Stamp {
    /// Modified in an earlier second. Within one, copying decides which comes first.
    pub fn is_older(&self, other: &Self) -> bool {
        self.mtime < other.mtime
    }

    /// One with this time (Unix seconds and nanoseconds) and size.
    #[cfg(test)]
    pub fn of_time(mtime: i64, mtime_nanos: i64, size: u64) -> Self {
        Self { device: 0, inode: 0, mtime, mtime_nanos, size }
    }

    /// Last modification as Unix time in seconds; 0 for one before 1970.
    pub fn modified(&self) -> u64 {
        u64::try_from(self.mtime).unwrap_or(0)
    }

    /// Last modification as Unix time in seconds, as the file system has it.
    pub fn mtime(&self) -> i64 {
        self.mtime
    }

    /// Last modification in nanoseconds, for an entity tag.
    pub fn nanos(&self) -> u64 {
        self.modified().wrapping_mul(1_000_000_000).wrapping_add(self.mtime_nanos as u64)
    }
}

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);
const OPEN_DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// openat2 gives up with EAGAIN when a directory is renamed under it; this often it is asked again.
const ATTEMPTS: usize = 8;

/// Whether every segment is a plain name. `.` and `..` can't be left in a normalised path, but a prefix that was cut off can
/// expose one (`/static../x` behind the route `/static`). A backslash is a separator elsewhere and never part of an honest name.
pub fn is_plain(relative: &[u8]) -> bool {
    !relative.iter().any(|byte| matches!(byte, 0 | b'\\'))
        && !relative.split(|byte| *byte == b'/').any(|name| name == b"." || name == b"..")
}

/// Opens a root to resolve paths in.
pub fn open_root(path: &[u8]) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OPEN_DIRECTORY, Mode::empty())
}

/// Opens a root that is itself the file, or says what it is.
pub fn open_itself(path: &[u8]) -> Result<Found, Errno> {
    classify(openat(CWD, path, OPEN, Mode::empty())?)
}

/// Opens `relative`, a plain path without a slash in front, below `root`.
pub fn open(root: BorrowedFd<'_>, relative: &[u8], links: Links) -> Result<Found, Errno> {
    if relative.is_empty() {
        return Ok(Found::Directory);
    }
    let fd = match links {
        Links::Anywhere => openat(root, relative, OPEN, Mode::empty())?,
        Links::Beneath if has_openat2() => beneath(root, relative)?,
        Links::Beneath => walk(root, relative)?,
    };
    classify(fd)
}

/// The kernel has openat2 and a sandbox lets us call it (older ones answer EPERM to calls they don't know).
fn has_openat2() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| openat2(CWD, "/", OPEN_DIRECTORY, Mode::empty(), ResolveFlags::empty()).is_ok())
}

fn beneath(root: BorrowedFd<'_>, relative: &[u8]) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut attempts = 1;
    loop {
        match openat2(root, relative, OPEN, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if attempts < ATTEMPTS => attempts += 1,
            other => return other,
        }
    }
}

/// One name at a time, following no link.
fn walk(root: BorrowedFd<'_>, relative: &[u8]) -> Result<OwnedFd, Errno> {
    let mut names = relative.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).peekable();
    let mut directory: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        let at = directory.as_ref().map_or(root, AsFd::as_fd);
        if names.peek().is_none() {
            return openat(at, name, OPEN | OFlags::NOFOLLOW, Mode::empty());
        }
        directory = Some(openat(at, name, OPEN_DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?);
    }
    Err(Errno::NOENT)
}

fn classify(fd: OwnedFd) -> Result<Found, Errno> {
    let file = File::from(fd);
    let meta = file.metadata().map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    if meta.is_dir() {
        return Ok(Found::Directory);
    }
    if !meta.is_file() {
        return Ok(Found::Special);
    }
    let stamp = Stamp {
        device: meta.dev(),
        inode: meta.ino(),
        mtime: meta.mtime(),
        mtime_nanos: meta.mtime_nsec(),
        size: meta.size(),
    };
    Ok(Found::File(file, stamp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::files::testing::TempDir;
    use std::os::unix::fs::symlink;

    type Open = fn(BorrowedFd<'_>, &[u8]) -> Result<OwnedFd, Errno>;

    fn kind(open: Open, root: &OwnedFd, path: &str) -> String {
        match open(root.as_fd(), path.as_bytes()).and_then(classify) {
            Ok(Found::File(_, stamp)) => format!("file {}", stamp.size),
            Ok(Found::Directory) => "directory".into(),
            Ok(Found::Special) => "special".into(),
            Err(e) => format!("{e:?}"),
        }
    }

    /// A root `pub` with files and links in every direction, and a secret beside it.
    fn tree() -> (TempDir, OwnedFd) {
        let temp = TempDir::new();
        temp.write("secret", b"12345");
        temp.write("pub/a.txt", b"abc");
        temp.write("pub/d/b.txt", b"bb");
        let to = |name: &str| temp.path().join("pub").join(name);
        symlink("a.txt", to("near")).unwrap();
        symlink("../a.txt", to("d/up")).unwrap();
        symlink("../secret", to("out")).unwrap();
        symlink(temp.path().join("secret"), to("absolute")).unwrap();
        symlink("..", to("parent")).unwrap();
        symlink("loop", to("loop")).unwrap();
        symlink("/proc/self/cwd", to("magic")).unwrap();
        rustix::fs::mknodat(CWD, to("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let root = open_root(temp.path().join("pub").as_os_str().as_encoded_bytes()).unwrap();
        (temp, root)
    }

    #[test]
    fn links_inside_are_followed_and_links_out_are_not() {
        let (_temp, root) = tree();
        let cases = [
            ("a.txt", "file 3"),
            ("d", "directory"),
            ("d/", "directory"),
            ("d/b.txt", "file 2"),
            ("near", "file 3"),
            ("d/up", "file 3"),
            ("out", "Os"),
            ("absolute", "Os"),
            ("parent/secret", "Os"),
            ("parent", "Os"),
            ("loop", "Os"),
            ("magic/secret", "Os"),
            ("fifo", "special"),
            ("none", "Os"),
            ("a.txt/x", "Os"),
        ];
        for (path, expected) in cases {
            let found = kind(beneath, &root, path);
            assert!(found.starts_with(expected), "{path}: {found}");
        }
        assert_eq!(beneath(root.as_fd(), b"out").unwrap_err(), Errno::XDEV);
        assert_eq!(beneath(root.as_fd(), b"absolute").unwrap_err(), Errno::XDEV);
        assert_eq!(beneath(root.as_fd(), b"../secret").unwrap_err(), Errno::XDEV);
        assert_eq!(beneath(root.as_fd(), b"a.txt/x").unwrap_err(), Errno::NOTDIR);
    }

    #[test]
    fn without_openat2_no_link_is_followed() {
        let (_temp, root) = tree();
        assert_eq!(kind(walk, &root, "d/b.txt"), "file 2");
        assert_eq!(kind(walk, &root, "d"), "directory");
        assert_eq!(kind(walk, &root, "fifo"), "special");
        for path in ["near", "out", "absolute", "loop", "parent/secret", "d/up", "magic/secret", "none"] {
            assert!(walk(root.as_fd(), path.as_bytes()).is_err(), "{path}");
        }
    }

    #[test]
    fn links_anywhere_when_asked_for() {
        let (_temp, root) = tree();
        for path in ["out", "absolute", "parent/secret", "near"] {
            assert!(matches!(open(root.as_fd(), path.as_bytes(), Links::Anywhere), Ok(Found::File(..))), "{path}");
            let beneath = open(root.as_fd(), path.as_bytes(), Links::Beneath).is_ok();
            assert_eq!(beneath, path == "near", "{path}");
        }
    }

    #[test]
    fn dot_segments_backslashes_and_nul_are_not_plain() {
        for path in ["..", "../x", "a/../b", "a/..", ".", "./a", "a/./b", "a\\b", "..\\x", "a\0b"] {
            assert!(!is_plain(path.as_bytes()), "{path:?}");
        }
        for path in ["", "a", "a/b", "...", ".well-known/x", "a..b", "..a", "a.."] {
            assert!(is_plain(path.as_bytes()), "{path:?}");
        }
    }
}
