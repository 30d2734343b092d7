//! What the gate serves itself: robots.txt and the files of `webroot`.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{CWD, Mode, OFlags, openat};

/// Crawlers may look at the front page. A farm has a page for every build it ever made.
pub const ROBOTS: &str = "User-agent: *\nAllow: /$\nDisallow: /\n";

/// Challenges and policies are short. What is larger does not belong here.
const MOST: u64 = 1024 * 1024;

/// Reads the file at `segments` below `webroot/.well-known`.
///
/// None where there is no such file, or where a link on the way leads out of `webroot`.
pub async fn read_well_known(webroot: &Path, segments: Vec<Vec<u8>>) -> Option<Bytes> {
    let webroot = webroot.to_owned();
    // File systems have no asynchronous open; these requests are rare.
    tokio::task::spawn_blocking(move || read_below(&webroot, &segments).ok()).await.ok().flatten()
}

fn read_below(webroot: &Path, segments: &[Vec<u8>]) -> io::Result<Bytes> {
    // What begins with a dot is an editor's, a version control system's, or another server's.
    if segments.iter().any(|segment| segment.starts_with(b".")) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let root = webroot.canonicalize()?;
    let mut path: PathBuf = root.join(".well-known");
    path.extend(segments.iter().map(|segment| std::ffi::OsStr::from_bytes(segment)));
    // Links are followed first, and what they lead to is then judged and opened by its real name.
    let path = path.canonicalize()?;
    let below = path.strip_prefix(&root).map_err(|_| io::Error::from(io::ErrorKind::PermissionDenied))?;
    let file = open_below(&root, below)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut content = Vec::new();
    file.take(MOST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MOST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content.into())
}

/// Opens `root/below` without following a link on the way: whoever may write to the webroot could have put one there
/// after it was judged, to a key that only we can read.
fn open_below(root: &Path, below: &Path) -> io::Result<File> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut opened = openat(CWD, root, folder, Mode::empty())?;
    let mut names = below.iter().peekable();
    while let Some(name) = names.next() {
        // Opening a pipe would wait for its other end.
        let last = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let flags = if names.peek().is_some() { folder } else { last };
        opened = openat(&opened, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(opened.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn segments(path: &str) -> Vec<Vec<u8>> {
        path.split('/').map(|segment| segment.as_bytes().to_vec()).collect()
    }

    #[test]
    fn files_below_the_folder_are_served_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("www");
        std::fs::create_dir_all(root.join(".well-known/acme-challenge")).unwrap();
        std::fs::write(root.join(".well-known/acme-challenge/token"), "answer").unwrap();
        std::fs::write(root.join("private"), "no").unwrap();
        std::fs::write(folder.path().join("outside"), "no").unwrap();
        symlink(folder.path().join("outside"), root.join(".well-known/link")).unwrap();
        symlink(folder.path(), root.join(".well-known/up")).unwrap();

        assert_eq!(read_below(&root, &segments("acme-challenge/token")).unwrap(), "answer");
        assert!(read_below(&root, &segments("acme-challenge/none")).is_err());
        assert!(read_below(&root, &segments("acme-challenge")).is_err());
        assert!(read_below(&root, &segments("link")).is_err());
        assert!(read_below(&root, &segments("up/outside")).is_err());
        assert!(read_below(&root, &segments("../../outside")).is_err());
        assert!(read_below(&root, &segments("")).is_err());
        assert!(read_below(&root, &[b"acme-challenge".to_vec(), b"token\0".to_vec()]).is_err());
        let absolute = folder.path().join("outside").into_os_string().into_encoded_bytes();
        assert!(read_below(&root, &[absolute]).is_err());
    }

    #[test]
    fn hidden_files_and_what_is_no_file_are_not_served() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(".well-known");
        std::fs::create_dir_all(folder.join(".git")).unwrap();
        std::fs::write(folder.join(".git/config"), "no").unwrap();
        std::fs::write(folder.join(".htpasswd"), "no").unwrap();
        std::fs::write(folder.join("large"), vec![b'x'; 1024 * 1024 + 1]).unwrap();
        let pipe = folder.join("pipe");
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for path in [".git/config", ".htpasswd", "large", "pipe"] {
            assert!(read_below(root.path(), &segments(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn a_link_within_the_folder_leads_on_and_one_that_comes_after_the_judgement_does_not() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(".well-known");
        std::fs::create_dir_all(folder.join("real")).unwrap();
        std::fs::write(folder.join("real/token"), "answer").unwrap();
        symlink(folder.join("real"), folder.join("link")).unwrap();
        symlink("real/token", folder.join("file")).unwrap();
        assert_eq!(read_below(root.path(), &segments("link/token")).unwrap(), "answer");
        assert_eq!(read_below(root.path(), &segments("file")).unwrap(), "answer");
        let open = |below: &str| open_below(root.path(), Path::new(below));
        assert!(open(".well-known/real/token").is_ok());
        assert!(open(".well-known/link/token").is_err());
        assert!(open(".well-known/file").is_err());
    }
}
