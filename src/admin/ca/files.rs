//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::error::CaError;

/// For keys, and for what only the gate needs.
pub(super) const SECRET: u32 = 0o600;
/// For certificates and lists.
pub(super) const PUBLIC: u32 = 0o644;
/// More than any key, certificate or request.
const LARGEST: u64 = 1 << 20;

/// Reads a file that somebody named.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CaError> {
    let mut contents = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut contents))
        .map_err(CaError::file(path, "read"))?;
    if contents.len() as u64 > LARGEST {
        return Err(CaError::refused(path, "it is larger than 1 MiB"));
    }
    Ok(contents)
}

/// A file that is written, and not there yet under its name.
pub(super) struct Pending {
    file: NamedTempFile,
    path: PathBuf,
}

impl Pending {
    /// Writes `contents` to disk, beside `folder/name`, where nothing must be yet.
    pub(super) fn write(folder: &Path, name: &str, contents: &[u8], mode: u32) -> Result<Self, CaError> {
        let path = folder.join(name);
        must_not_exist(&path)?;
        let file = tempfile::Builder::new()
            .prefix(".farmgate-")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(folder)
            .and_then(|mut file| {
                file.write_all(contents)?;
                file.as_file().sync_all()?;
                Ok(file)
            });
        Ok(Self { file: file.map_err(CaError::file(&path, "written"))?, path })
    }

    /// Gives it its name, unless something has that by now.
    pub(super) fn publish(self) -> Result<PathBuf, CaError> {
        let Self { file, path } = self;
        file.persist_noclobber(&path).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => CaError::Exists(path.clone()),
            _ => CaError::file(&path, "written")(error.error),
        })?;
        sync_folder_of(&path).map_err(CaError::file(&path, "written"))?;
        Ok(path)
    }
}

/// Refuses when something has this name, a dangling link included.
pub(super) fn must_not_exist(path: &Path) -> Result<(), CaError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(CaError::file(path, "looked at")(error)),
        Ok(_) => Err(CaError::Exists(path.to_owned())),
    }
}

/// Replaces `folder/name`: whoever reads it, and whatever the power does, finds the old contents or the new.
/// Not for two at once: the caller holds a lock, or is alone with the file.
///
/// The temporary file has one fixed name, so that interrupted writes do not pile up.
pub(super) fn replace(folder: &Path, name: &str, contents: &[u8], mode: u32) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.new"));
    // Opening what an interrupted write left would keep its mode and its owner.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(contents)?;
    own_like(&file, folder);
    file.sync_all()?;
    let path = folder.join(name);
    fs::rename(&temporary, &path)?;
    sync_folder_of(&path)
}

/// Writes a new file in a folder that nobody else uses yet, with the owner of `model`.
pub(super) fn create(folder: &Path, name: &str, contents: &[u8], mode: u32, model: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(folder.join(name))?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(contents)?;
    own_like(&file, model);
    file.sync_all()
}

/// Gives `file` the owner of `folder`. The gate may run as a user of its own and has to read what root writes
/// into its state folder. Who may not give files away owns both already.
///
/// By the open file and not by its name: whoever owns the folder could put a link there meanwhile, and be given
/// any file of the system.
pub(super) fn own_like(file: &impl AsFd, folder: &Path) {
    if let Ok(model) = fs::metadata(folder) {
        let _ = std::os::unix::fs::fchown(file, Some(model.uid()), Some(model.gid()));
    }
}

/// Brings the names in the folder of `path` to disk.
pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
