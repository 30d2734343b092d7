//! What a restart finds.

use std::fs::{self, File};
use std::io;
use std::time::SystemTime;

use super::files::{Files, Name};
use super::read::read_end;
use crate::cache::meta::Meta;

/// A file that looks good from its end; its body is verified when it is read.
pub struct Found {
    /// Which one.
    pub name: Name,
    /// What it says of itself.
    pub meta: Meta,
    /// The bytes of its body.
    pub length: u64,
    /// The bytes of the file.
    pub file_length: u64,
    /// When it was last used, give or take.
    pub used: SystemTime,
}

impl Files {
    /// Gives each file there is to `each`, in no order, until that says to stop. What is no good is removed.
    pub fn scan(&self, mut each: impl FnMut(Found) -> bool) -> io::Result<()> {
        self.remove_half_made();
        let folders = match fs::read_dir(self.root()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for folder in folders {
            let folder = folder?;
            if folder.file_name().len() != 3 {
                continue;
            }
            for entry in fs::read_dir(folder.path())?.flatten() {
                let Some(name) = entry.file_name().to_str().and_then(Name::parse) else { continue };
                match self.look_at(name) {
                    Ok(found) => {
                        if !each(found) {
                            return Ok(());
                        }
                    }
                    Err(error) if is_no_good(&error) => {
                        let _ = self.remove(&name);
                    }
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }

    fn look_at(&self, name: Name) -> io::Result<Found> {
        let file = File::open(self.path(&name))?;
        let about = file.metadata()?;
        let (used, file_length) = (about.modified()?, about.len());
        let (footer, meta) = read_end(&file)?;
        if meta.key.digest() != name.digest {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Found { name, meta, length: footer.body, file_length, used })
    }
}

fn is_no_good(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}
