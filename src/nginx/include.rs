//! The main file and what it includes.

use std::cell::OnceCell;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::syntax::{Directive, parse};
use super::{Reason, Refusal};

/// Files that include files.
const DEEPEST: usize = 16;
/// More than anybody has in sites-enabled.
const MOST_FILES: usize = 1000;
/// Of all files together.
const MOST_BYTES: u64 = 16 << 20;

/// A configuration with everything that it includes in place.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) directives: Vec<Directive>,
    /// The folder that relative names count from: the main file's.
    pub(super) folder: PathBuf,
    /// Lists of file name extensions that are not there. They say nothing about who answers.
    pub(super) without: Vec<Directive>,
}

impl Tree {
    /// What stands in the `http` block. A file of sites-available has none around it, and is read as if it had.
    pub(super) fn http(&self) -> &[Directive] {
        self.directives.iter().find(|one| one.name == "http").map_or(&self.directives, Directive::inside)
    }
}

/// Reads the main file.
///
/// # Errors
///
/// Where a file cannot be read, and where nginx would not understand it.
pub(super) fn read(path: &Path) -> Result<Tree, Refusal> {
    let folder = std::path::absolute(path)
        .ok()
        .and_then(|path| path.parent().map(Path::to_owned))
        .unwrap_or_else(|| PathBuf::from("/"));
    // Places are shown as the caller named the file.
    let shown = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut next_id = 0;
    let mut reader = Reader { folder: shown, files: 0, bytes: 0, without: Vec::new() };
    let directives = reader.file(path, None, 0, 0, &mut next_id)?;
    Ok(Tree { directives, folder, without: reader.without })
}

struct Reader {
    folder: PathBuf,
    files: usize,
    bytes: u64,
    without: Vec<Directive>,
}

impl Reader {
    /// `by` is the directive that includes it.
    fn file(
        &mut self,
        path: &Path,
        by: Option<&Directive>,
        includes: usize,
        blocks: usize,
        next_id: &mut usize,
    ) -> Result<Vec<Directive>, Reason> {
        let place = by.map(|directive| &directive.place);
        let text = self
            .text(path)
            .map_err(|problem| Reason::new(place, format!("{} cannot be read: {problem}", path.display())))?;
        let file: Arc<Path> = path.into();
        parse(&text, &file, blocks, next_id, &mut |include, blocks, next_id| {
            self.include(include, includes + 1, blocks, next_id)
        })
    }

    fn text(&mut self, path: &Path) -> Result<String, String> {
        self.files += 1;
        if self.files > MOST_FILES {
            return Err(format!("these are more than {MOST_FILES} files"));
        }
        // What is no file may never end.
        if !fs::metadata(path).map_err(|error| error.to_string())?.is_file() {
            return Err("it is not a file".into());
        }
        let file = fs::File::open(path).map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        let room = MOST_BYTES - self.bytes;
        file.take(room + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if bytes.len() as u64 > room {
            return Err(format!("these are more than {} MiB altogether", MOST_BYTES >> 20));
        }
        self.bytes += bytes.len() as u64;
        String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            format!("line {line} is not UTF-8")
        })
    }

    fn include(
        &mut self,
        include: &Directive,
        includes: usize,
        blocks: usize,
        next_id: &mut usize,
    ) -> Result<Vec<Directive>, Reason> {
        let refuse = |message: String| Reason::new(Some(&include.place), message);
        if include.args.len() != 1 {
            return Err(refuse("include takes one file, or one pattern".into()));
        }
        if includes > DEEPEST {
            return Err(refuse(format!(
                "more than {DEEPEST} files include each other: does one include itself?"
            )));
        }
        let pattern = self.folder.join(include.arg());
        if !include.arg().contains(['*', '?', '[']) {
            if !pattern.exists() && pattern.file_name().is_some_and(|name| name == "mime.types") {
                self.without.push(Directive {
                    id: include.id,
                    name: include.name.clone(),
                    args: include.args.clone(),
                    block: None,
                    place: include.place.clone(),
                    regex: OnceCell::new(),
                });
                return Ok(Vec::new());
            }
            return self.file(&pattern, Some(include), includes, blocks, next_id);
        }
        // As nginx: sorted, and nothing at all is fine.
        let found = glob::glob(&pattern.to_string_lossy())
            .map_err(|error| refuse(format!("{} is no pattern: {error}", include.arg())))?;
        let mut directives = Vec::new();
        for path in found {
            let path = path.map_err(|error| refuse(error.to_string()))?;
            directives.extend(self.file(&path, Some(include), includes, blocks, next_id)?);
        }
        Ok(directives)
    }
}
