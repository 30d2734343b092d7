//! `curl`, for what only a real other client can show.

use std::process::Command;

/// What curl got.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// `1.1` or `2`.
    pub version: String,
    pub body: String,
    pub exit: Option<i32>,
}

/// Runs curl without verification and with the path as it is.
pub fn curl(arguments: &[&str]) -> Answer {
    assert!(super::need("curl"), "this needs curl");
    let fixed =
        ["-q", "-k", "-s", "--path-as-is", "--max-time", "15", "-w", "\n%{http_code} %{http_version}"];
    let output = super::output(Command::new("curl").args(fixed).args(arguments));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, last) = text.rsplit_once('\n').unwrap_or(("", &text));
    let (status, version) = last.split_once(' ').unwrap_or(("0", ""));
    Answer {
        status: status.parse().unwrap_or(0),
        version: version.to_string(),
        body: body.to_string(),
        exit: output.status.code(),
    }
}
