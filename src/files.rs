//! Files that are there in full or not at all, whatever the power does, and that belong to whom their folder does.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// The mode of keys, and of what only the gate needs.
pub(crate) const SECRET: u32 = 0o600;
/// The mode of certificates and lists.
pub(crate) const PUBLIC: u32 = 0o644;

/// Replaces the file at `path`: whoever reads it, and whatever the power does, finds the old contents or the new.
/// Not for two at once: the caller holds a lock, or is alone with the file.
///
/// The temporary file has one fixed name, so that interrupted writes do not pile up.
pub(crate) fn replace(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let temporary = temporary_name(path);
    // Opening what an interrupted write left would keep its mode and its owner.
    remove(&temporary)?;
    let written = create(&temporary, contents, mode, folder_of(path));
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, path)) {
        // A full disk is glad of the space.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_folder_of(path)
}

/// The name of a file, or folder, that is not finished yet.
pub(crate) fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// Writes a file that must not be there yet down to the disk, with the owner of `model`. Its name is not on disk before
/// its folder is.
pub(crate) fn create(path: &Path, contents: &[u8], mode: u32, model: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(contents)?;
    own_like(&file, model);
    file.sync_all()
}

/// Makes `folder` and those above it that are missing, for their owner only: who has the folder that they are made in.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder_of(folder);
    make_folder(above)?;
    match DirBuilder::new().mode(0o700).create(folder) {
        // Somebody else was faster, and it is theirs to give.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => return Ok(()),
        other => other?,
    }
    own_like(&open_folder(folder)?, above);
    sync(above)
}

/// Opens a folder that was just made: not what a link leads to that somebody has put in its place.
pub(crate) fn open_folder(folder: &Path) -> io::Result<File> {
    Ok(open(folder, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?.into())
}

/// Opens a file to lock, and makes it where it is missing. A link is refused: whoever owns the folder could have root
/// open, and give away, any file of the system.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::from_raw_mode(SECRET))?);
    own_like(&file, folder_of(path));
    Ok(file)
}

/// Gives `file` the owner of `model`. The gate may run as a user of its own and has to read what root writes into its
/// state folder. Who may not give files away owns both already.
///
/// By the open file and not by its name: whoever owns the folder could put a link there meanwhile, and be given any
/// file of the system. For the same reason a file with a second name stays whose it is.
pub(crate) fn own_like(file: &impl AsFd, model: &Path) {
    let is_elsewhere_too =
        fstat(file).map_or(true, |file| file.st_nlink > 1 && !FileType::from_raw_mode(file.st_mode).is_dir());
    if !is_elsewhere_too && let Ok(model) = fs::metadata(model) {
        let _ = fchown(file, Some(model.uid()), Some(model.gid()));
    }
}

/// Brings the names in `folder` to disk.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Brings the names in the folder of `path` to disk.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    sync(folder_of(path))
}

/// Removes a file; one that is not there counts as removed.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What a JSON file holds.
pub(crate) enum Content<T> {
    /// There is no such file.
    Missing,
    /// What it says.
    Good(T),
    /// It says nothing that can be understood, and why.
    Damaged(String),
    /// It may say what it should, and cannot be read now: usually it is somebody else's.
    Unreadable(String),
}

/// Reads a JSON file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Content<T> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Content::Missing,
        Err(error) => Content::Unreadable(error.to_string()),
        Ok(bytes) => match serde_json::from_slice(&Zeroizing::new(bytes)) {
            Ok(value) => Content::Good(value),
            Err(error) => Content::Damaged(error.to_string()),
        },
    }
}

/// Writes a JSON file that people may want to read, and makes the folder for it. Not for two at once.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    // Of an account or an order, the key is in it.
    let mut json = Zeroizing::new(serde_json::to_vec_pretty(value)?);
    json.push(b'\n');
    make_folder(folder_of(path))?;
    replace(path, &json, SECRET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interrupted_write_left_is_in_nobody_s_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(temporary_name(&path), "half").unwrap();
        replace(&path, b"whole", SECRET).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, SECRET);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_put_in_its_place_is_not_left_lying_about() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::create_dir_all(path.join("in the way")).unwrap();
        assert!(replace(&path, b"whole", SECRET).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_root_makes_belongs_to_whom_the_folder_does() {
        let folder = tempfile::tempdir().unwrap();
        // Only root can; for others there is one owner anyway.
        let _ = std::os::unix::fs::chown(folder.path(), Some(4242), Some(4243));
        let path = folder.path().join("a/b/file");
        write_json(&path, &1).unwrap();
        let owner = |path: &Path| fs::metadata(path).map(|file| (file.uid(), file.gid())).unwrap();
        for made in [&path, path.parent().unwrap(), &folder.path().join("a")] {
            assert_eq!(owner(made), owner(folder.path()), "{}", made.display());
        }
    }

    #[test]
    fn whoever_owns_the_folder_is_given_no_file_from_elsewhere() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = outside.path().join("file");
        fs::write(&target, "").unwrap();
        let owner = fs::metadata(&target).unwrap().uid();
        // Only root can; for others there is one owner anyway.
        let _ = std::os::unix::fs::chown(folder.path(), Some(4242), Some(4243));
        let path = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink(&target, path("link")).unwrap();
        std::os::unix::fs::symlink(path("new"), path("dangling")).unwrap();
        std::os::unix::fs::symlink(outside.path(), path("folder")).unwrap();
        fs::hard_link(&target, path("second")).unwrap();
        for name in ["link", "dangling"] {
            assert!(open_lock(&path(name)).is_err(), "{name}");
        }
        assert!(!path("new").exists());
        assert!(open_folder(&path("folder")).is_err());
        assert!(make_folder(&path("dangling")).is_err());
        open_lock(&path("second")).unwrap();
        assert_eq!(fs::metadata(&target).unwrap().uid(), owner);
        open_lock(&path("lock")).unwrap();
        assert_eq!(fs::metadata(path("lock")).unwrap().uid(), fs::metadata(folder.path()).unwrap().uid());
    }

    #[test]
    fn folders_are_for_their_owner_only_and_a_file_in_the_way_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        make_folder(&folder.path().join("a/b")).unwrap();
        make_folder(&folder.path().join("a/b")).unwrap();
        assert_eq!(fs::metadata(folder.path().join("a/b")).unwrap().mode() & 0o777, 0o700);
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(make_folder(&folder.path().join("file")).is_err());
        assert!(make_folder(&folder.path().join("file/below")).is_err());
    }
}
