//! Passwords of PKCS#12 files.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use aws_lc_rs::rand;
use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use zeroize::{Zeroize, Zeroizing};

use super::error::CaError;
use super::files;

/// 32 characters, five bits each, none of which looks like another: no l, o, 0 and 1.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A password, not empty.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// A new one of 120 random bits: `abcd-efgh-…`, 24 characters and the dashes.
    ///
    /// # Errors
    ///
    /// Where the system has no random numbers.
    pub fn generate() -> Result<Self, CaError> {
        let mut random = [0_u8; 24];
        rand::fill(&mut random).map_err(CaError::crypto("make a random number"))?;
        let groups = random.chunks(4).map(|group| {
            group.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect::<String>()
        });
        let password = Zeroizing::new(groups.collect::<Vec<_>>().join("-"));
        random.zeroize();
        Ok(Self(password))
    }

    /// The first line of a file.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, or makes no password.
    pub fn read(path: &Path) -> Result<Self, CaError> {
        let contents = Zeroizing::new(files::read(path)?);
        let text = std::str::from_utf8(&contents).map_err(|_| CaError::refused(path, "expected UTF-8"))?;
        Self::new(text.lines().next().unwrap_or_default()).map_err(|reason| CaError::refused(path, reason))
    }

    /// Asks the person at the terminal, twice, without showing what is typed.
    ///
    /// # Errors
    ///
    /// Where there is no terminal, or what was typed makes no password.
    pub fn ask(what_for: &str) -> Result<Self, CaError> {
        let first = prompt(&format!("Password for {what_for}: "))?;
        if first != prompt("The same again: ")? {
            return Err(CaError::Argument("the two passwords are not the same".into()));
        }
        Self::new(&first).map_err(CaError::Argument)
    }

    /// Whatever somebody chose.
    fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the password is empty".into());
        }
        // The file has it in UTF-16 without surrogates in one place, and in UTF-8 in another.
        if text.chars().any(|character| character.is_control() || character > '\u{ffff}') {
            return Err("the password has characters that not every importer can read".into());
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// To be shown once.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One line from the terminal, wherever the standard streams go.
fn prompt(text: &str) -> Result<Zeroizing<String>, CaError> {
    let path = Path::new("/dev/tty");
    let ask = || -> io::Result<Zeroizing<String>> {
        let mut terminal = OpenOptions::new().read(true).write(true).open(path)?;
        let quiet = Quiet::new(terminal.try_clone()?)?;
        terminal.write_all(text.as_bytes())?;
        let mut line = Zeroizing::new(String::new());
        BufReader::new(&terminal).read_line(&mut line)?;
        drop(quiet);
        terminal.write_all(b"\n")?;
        Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
    };
    ask().map_err(CaError::file(path, "asked for the password"))
}

/// A terminal that shows nothing, until dropped.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn new(terminal: File) -> io::Result<Self> {
        let before = termios::tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        termios::tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // What cannot be put back cannot be reported either: the person sees it.
        let _ = termios::tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}
