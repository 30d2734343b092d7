//! A server of one substitute, signed by libgcrypt and compressed by the programs themselves; a test has it say
//! something else at one place.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::pki::scratch;
use crate::support::recorder::{Recorder, Request, Then};
use crate::support::{need, output, pattern, run, tests_folder};

/// What stands before `.narinfo`.
pub const HASH: &str = "0123456789abcdfghijklmnpqrsvwxyz";
const NAR_SIZE: usize = 300_000;
pub const FORMS: [&str; 4] = ["gzip", "lzip", "zstd", "none"];

/// An answer: status, further header lines, body.
pub type Answer = (u16, String, Vec<u8>);

pub fn ok(body: impl Into<Vec<u8>>) -> Answer {
    (200, String::new(), body.into())
}

pub fn status(status: u16) -> Answer {
    (status, String::new(), b"so".to_vec())
}

/// Whether it is one of the ways in which the admin pages are asked for.
pub fn is_admin(target: &str) -> bool {
    // Among a thousand random hashes some have that in them.
    !target.ends_with(".narinfo") && (target.contains("dmin") || target.contains("%6D"))
}

/// What a farm has of the item.
pub struct Item {
    folder: PathBuf,
    pub key: Vec<u8>,
    /// Up to the signature.
    pub signed: String,
    /// In the order of `FORMS`.
    pub nars: Vec<Vec<u8>>,
}

impl Item {
    /// Narinfos with other numbers, each with its key and libgcrypt's verdict.
    pub fn altered(&self) -> Vec<(String, Vec<u8>, bool)> {
        let read = |name: String| fs::read(self.folder.join(name)).expect("what the script wrote");
        let verdicts = String::from_utf8(read("verdicts".into())).expect("words");
        let each = verdicts.lines().enumerate();
        each.map(|(at, verdict)| {
            let narinfo = String::from_utf8(read(format!("{at}.narinfo"))).expect("text");
            (narinfo + &self.forms(), read(format!("{at}.key")), verdict == "good")
        })
        .collect()
    }

    pub fn narinfo(&self) -> String {
        self.signed.clone() + &self.forms()
    }

    fn forms(&self) -> String {
        let forms = FORMS.iter().zip(&self.nars);
        forms
            .map(|(form, nar)| {
                format!("URL: nar/{form}/item\nCompression: {form}\nFileSize: {}\n", nar.len())
            })
            .collect()
    }

    /// As a farm answers.
    pub fn answer(&self, target: &str) -> Answer {
        match target {
            "/nix-cache-info" => ok("StoreDir: /gnu/store\nWantMassQuery: 0\nPriority: 100\n"),
            "/signing-key.pub" => ok(self.key.clone()),
            target if target == format!("/{HASH}.narinfo") => ok(self.narinfo()),
            target => match FORMS.iter().position(|form| target == format!("/nar/{form}/item")) {
                Some(form) => ok(self.nars[form].clone()),
                None => status(404),
            },
        }
    }
}

/// Made once for all tests of a process.
pub fn item() -> &'static Item {
    static ITEM: OnceLock<Item> = OnceLock::new();
    ITEM.get_or_init(|| {
        for program in ["guile", "gzip", "lzip", "zstd"] {
            assert!(need(program), "an item is signed and compressed; there is no test without {program}");
        }
        let folder = scratch("item");
        let nar = folder.join("nar");
        let bytes: Vec<u8> = (0..).flat_map(|at: u32| pattern(&format!("{at}"), 50)).take(NAR_SIZE).collect();
        fs::write(&nar, &bytes).expect("write a nar");
        let script = tests_folder().join("drivers").join("sign.scm");
        // Debian has the module in guile-gcrypt.
        run(Command::new("guile").arg("--no-auto-compile").arg(script).arg(&nar).arg(&folder));
        let key = fs::read(folder.join("key")).expect("a key");
        let signed = fs::read_to_string(folder.join("narinfo")).expect("a narinfo");
        let nars = FORMS.iter().map(|form| match *form {
            "none" => bytes.clone(),
            program => compressed(program, &nar),
        });
        Item { key, signed, nars: nars.collect(), folder }
    })
}

/// What `program` makes of a file.
pub fn compressed(program: &str, file: &Path) -> Vec<u8> {
    output(Command::new(program).args(["-q", "-c"]).arg(file)).stdout
}

/// A server of it that says something else where `change` has something.
pub fn serve(change: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static) -> Recorder {
    let item = item();
    Recorder::start(move |request, tcp| {
        let answer = change(request.target()).unwrap_or_else(|| item.answer(request.target()));
        write(request, tcp, &answer)
    })
}

pub fn write(request: &Request, tcp: &mut TcpStream, (status, headers, body): &Answer) -> Then {
    let mut answer =
        format!("HTTP/1.1 {status} So\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    if !request.line().starts_with("HEAD ") {
        answer.extend(body);
    }
    let written = tcp.write_all(&answer);
    match request.header("connection") == Some("close") || written.is_err() {
        true => Then::Close,
        false => Then::Keep,
    }
}
