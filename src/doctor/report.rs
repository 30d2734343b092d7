//! What was found, and how it is shown.

use serde::Serialize;

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and could be better; or it could not be looked at.
    Warning,
    /// Somebody is not served, or is let in who should not be.
    Failure,
}

impl Verdict {
    /// As it stands at the beginning of a line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Its name, such as `port-443`: the same each time, for programs.
    pub check: String,
    /// How it went.
    pub verdict: Verdict,
    /// What was seen. Nothing in it can move a terminal, whatever a server sends.
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// All that was found about a server.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whom it is about.
    pub url: String,
    /// In the order of the checks.
    pub checks: Vec<Finding>,
}

impl Report {
    /// How many checks went that way.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|finding| finding.verdict == verdict).count()
    }
}

/// Who is told while it goes on.
pub trait Audience {
    /// A check has ended.
    fn found(&mut self, finding: &Finding);

    /// `what` goes on; so many bytes of so many have come.
    fn progress(&mut self, what: &str, done: u64, of: Option<u64>);
}

/// Where a report is shown, line by line.
#[derive(Clone, Copy, Debug)]
pub struct Paper {
    /// It has colours, and they are wanted.
    pub colour: bool,
    /// Characters in a line; longer ones go on below. What reads it instead of a person wants whole lines.
    pub width: usize,
}

/// The columns for verdict and name.
const VERDICT: usize = 8;
const CHECK: usize = 17;
/// Too narrow to break lines.
const NARROW: usize = 50;

impl Paper {
    /// One finding, with a newline at the end.
    pub fn line(self, finding: &Finding) -> String {
        let mut text = finding.found.clone();
        if let Some(advice) = &finding.advice {
            text = format!("{}. {advice}", text.trim_end_matches('.'));
        }
        let indent = VERDICT + CHECK + 2;
        let mut lines = match self.width {
            width if width >= NARROW => wrapped(&text, width - indent),
            _ => vec![text],
        }
        .into_iter();
        let code = match finding.verdict {
            Verdict::Ok => "32",
            Verdict::Warning => "33",
            Verdict::Failure => "1;31",
        };
        let name = format!("{:<VERDICT$}", finding.verdict.name());
        let name = if self.colour { format!("\x1b[{code}m{name}\x1b[0m") } else { name };
        let mut page = format!("{name} {:<CHECK$} {}\n", finding.check, lines.next().unwrap_or_default());
        for line in lines {
            page.push_str(&format!("{:indent$}{line}\n", ""));
        }
        page
    }

    /// The last line.
    pub fn summary(self, report: &Report) -> String {
        let many = |number: usize, what: &str| match number {
            1 => format!("1 {what}"),
            number => format!("{number} {what}s"),
        };
        format!(
            "{}: {} ok, {}, {}\n",
            report.url,
            report.count(Verdict::Ok),
            many(report.count(Verdict::Warning), "warning"),
            many(report.count(Verdict::Failure), "failure")
        )
    }
}

/// Broken between words. A word that is longer than a line stays whole.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> Finding {
        Finding {
            check: "signature".into(),
            verdict: Verdict::Failure,
            found: "it was made for another text: something was changed after it was signed".into(),
            advice: Some("Look at what is between guix publish and this door".into()),
        }
    }

    #[test]
    fn a_program_gets_one_line_for_each_check() {
        let line = Paper { colour: false, width: 0 }.line(&finding());
        assert_eq!(line.lines().count(), 1);
        assert!(
            line.starts_with("failure  signature         it was made") && line.contains("signed. Look at"),
            "{line}"
        );
    }

    #[test]
    fn on_a_terminal_no_line_is_wider_than_it() {
        for width in [50, 60, 80, 200] {
            let text = Paper { colour: false, width }.line(&finding());
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}: {text}");
            let words: Vec<_> = text.split_whitespace().collect();
            assert!(words.ends_with(&["this", "door"]) && words.len() == 25, "{words:?}");
        }
        assert!(Paper { colour: true, width: 80 }.line(&finding()).starts_with("\x1b[1;31mfailure "));
    }
}
