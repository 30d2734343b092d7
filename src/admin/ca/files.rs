//! Files that an operator names, and those that are written where he stands: never over something that is there.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::error::CaError;
use crate::files::sync_folder_of;

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
