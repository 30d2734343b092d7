//! What the gate serves itself: robots.txt and the files of `webroot`.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

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
    let root = webroot.canonicalize()?;
    let mut path: PathBuf = root.join(".well-known");
    path.extend(segments.iter().map(|segment| std::ffi::OsStr::from_bytes(segment)));
    // Links are followed first, and what they lead to is then judged and opened by its real name.
    let path = path.canonicalize()?;
    if !path.starts_with(&root) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // Looked at before it is opened: opening a pipe would wait for its other end.
    if !path.symlink_metadata()?.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut content = Vec::new();
    File::open(path)?.take(MOST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MOST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content.into())
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
    }
}
