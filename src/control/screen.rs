//! How things are, for a terminal: what `farmgate status` prints.

use std::fmt::Write;
use std::time::Duration;

use super::figures::{count, humanly, percent, printable, rate, size};
use super::status::{BackendStatus, LastReload, SiteStatus, Status};
use crate::cache::SpaceStats;
use crate::metrics;

/// The line for a bar, in characters.
const BAR: usize = 20;
/// The first column.
const LABEL: usize = 12;
/// A certificate that has fewer days left is worth a look: renewals come a good deal earlier.
const FEW_DAYS: i64 = 14;

/// Where a status is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// It has colours, and they are wanted.
    pub colour: bool,
    /// Characters in a line; longer lines are cut.
    pub width: usize,
}

/// What a colour means. It is never the only thing that says so.
#[derive(Clone, Copy)]
enum Tone {
    Plain,
    Strong,
    Quiet,
    Good,
    Warning,
    Bad,
}

impl Screen {
    /// `status` as text, as of `now` in seconds since 1970.
    pub fn show(self, status: &Status, now: i64) -> String {
        let mut page = Page { screen: self, text: String::new() };
        page.heading(status);
        page.traffic(status);
        page.cache(status);
        page.gate(status);
        if let Some(reload) = &status.last_reload {
            page.reload(reload, now);
        }
        for site in &status.sites {
            page.site(site, now);
        }
        page.text
    }
}

/// A text being written. Writing to a string cannot fail.
struct Page {
    screen: Screen,
    text: String,
}

impl Page {
    fn heading(&mut self, status: &Status) {
        let name = self.toned(Tone::Strong, &format!("farmgate {}", status.version));
        let up = humanly(Duration::from_secs(status.uptime));
        self.line(&format!("{name}   up {up}   process {}", status.pid));
        self.text.push('\n');
        let listening = [("http", &status.listen.http), ("https", &status.listen.https)];
        for (protocol, addresses) in listening.into_iter().filter(|(_, addresses)| !addresses.is_empty()) {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            self.row(protocol, &addresses.join("  "));
        }
        if let Some(address) = status.listen.metrics {
            self.row("metrics", &address.to_string());
        }
    }

    fn traffic(&mut self, status: &Status) {
        let totals = &status.totals;
        self.text.push('\n');
        let per_second = format!("{:>9} /s", rate(status.requests_per_second));
        let mut rest = format!("{} in all", count(totals.requests));
        if totals.requests > 0 {
            let errors = totals.by_status[metrics::Status::ServerError.index()];
            let share = format!("{} % errors", percent(errors, totals.requests));
            let tone = if errors == 0 { Tone::Quiet } else { Tone::Warning };
            let _ = write!(rest, ", {}", self.toned(tone, &share));
        }
        self.row("requests", &format!("{per_second}   {rest}"));
        let sent = format!("{:>9}/s", size(status.bytes_per_second as u64));
        self.row("sent", &format!("{sent}   {} in all", size(totals.bytes_out)));
        let narinfos = totals.narinfos;
        let asked = narinfos.found.saturating_add(narinfos.absent);
        self.meter("narinfos", narinfos.found, asked, &format!("found, of {}", count(asked)));
    }

    fn cache(&mut self, status: &Status) {
        let totals = &status.totals;
        let hits = totals.cache_hits.saturating_add(totals.cache_stale);
        let asked = hits.saturating_add(totals.cache_misses);
        self.meter("cache", hits, asked, &format!("from the cache, of {}", count(asked)));
        for space in &status.cache.spaces {
            self.space(space);
        }
        if !status.cache.indexed {
            self.row("", "what was there at the start is still being read");
        }
    }

    fn space(&mut self, space: &SpaceStats) {
        let SpaceStats { name, count: responses, bytes, max_size, .. } = space;
        let responses = match responses {
            1 => "1 response".to_owned(),
            more => format!("{} responses", count(*more)),
        };
        let used = format!("{} of {}, {responses}", size(*bytes), size(*max_size));
        self.meter(&format!("  {name}"), *bytes, *max_size, &used);
    }

    fn gate(&mut self, status: &Status) {
        self.text.push('\n');
        let mut connections = format!("{} open", count(status.connections as u64));
        if status.connections_refused > 0 {
            let refused = format!("{} refused by the limits", count(status.connections_refused));
            let _ = write!(connections, ", {}", self.toned(Tone::Warning, &refused));
        }
        if status.totals.handshakes > 0 {
            let _ = write!(connections, ", {} TLS handshakes", count(status.totals.handshakes));
        }
        self.row("connections", &connections);
        for gate in &status.finishing {
            let left = format!("process {} finishes {}", gate.pid, count(gate.connections as u64));
            self.row("", &format!("{left}, from before an upgrade"));
        }
        if status.log_lines_dropped > 0 {
            let dropped = format!("{} lines dropped", count(status.log_lines_dropped));
            self.toned_row("access log", Tone::Warning, &dropped);
        }
        match &status.admin_closed {
            None => self.row("admin", "open to certificate holders"),
            Some(why) => self.reason("admin", Tone::Warning, &format!("closed: {why}")),
        }
    }

    fn reload(&mut self, reload: &LastReload, now: i64) {
        let when = ago(i64::try_from(reload.at).unwrap_or(now), now);
        match &reload.error {
            None => self.row("last reload", &format!("{when}: done")),
            Some(error) => {
                self.toned_row("last reload", Tone::Bad, &format!("{when}: refused"));
                error.lines().for_each(|line| self.reason("", Tone::Plain, line));
            }
        }
        reload.notes.iter().for_each(|note| self.reason("", Tone::Plain, note));
    }

    fn site(&mut self, site: &SiteStatus, now: i64) {
        self.text.push('\n');
        let names = self.toned(Tone::Strong, &site.names.join(" "));
        self.line(&names);
        for backend in &site.backends {
            self.backend(backend, now);
        }
        let certificate = &site.certificate;
        let left = certificate.not_after.saturating_sub(now);
        let (tone, left) = match u64::try_from(left) {
            Err(_) => (Tone::Bad, "EXPIRED".to_owned()),
            Ok(seconds) => {
                let tone = if left < FEW_DAYS * 86_400 { Tone::Warning } else { Tone::Good };
                (tone, format!("{} left", humanly(Duration::from_secs(seconds))))
            }
        };
        let left = self.toned(tone, &left);
        let by = certificate.issuer.as_deref().filter(|_| certificate.source != "self-signed");
        let by = by.map(|issuer| format!(", {}", printable(issuer))).unwrap_or_default();
        self.row("certificate", &format!("{left}, {}{by}", certificate.source));
        // What is shown should be for the names it is shown under.
        let missing: Vec<&str> = site
            .names
            .iter()
            .filter(|name| !certificate.names.is_empty() && !covers(&certificate.names, name))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            self.toned_row("", Tone::Bad, &format!("not for {}", missing.join(" ")));
        }
    }

    fn backend(&mut self, backend: &BackendStatus, now: i64) {
        let state = match backend.up {
            Some(true) => self.toned(Tone::Good, "up"),
            Some(false) => self.toned(Tone::Bad, "DOWN"),
            None => self.toned(Tone::Quiet, "not asked yet"),
        };
        let mut text = format!("{:<32} {state}", backend.url);
        if backend.requests > 0 {
            let _ = write!(text, ", {} in flight", count(backend.requests));
        }
        self.row(&backend.role, &text);
        if backend.waiting > 0 {
            let waiting = format!("{} of them waiting for their turn", count(backend.waiting));
            self.toned_row("", Tone::Warning, &waiting);
        }
        if let Some(last) = &backend.last_error {
            let when = ago(i64::try_from(last.at).unwrap_or(now), now);
            let text = format!("last error {when}: {}", printable(&last.why));
            self.toned_row("", if backend.up == Some(false) { Tone::Bad } else { Tone::Quiet }, &text);
        }
    }

    /// How much of `whole` `part` is, as a bar and in numbers.
    fn meter(&mut self, label: &str, part: u64, whole: u64, text: &str) {
        // Full only when it is all of it, and empty only when it is nothing.
        let filled = (u128::from(part) * BAR as u128 / u128::from(whole.max(1))).min(BAR as u128) as usize;
        let filled = filled.max(usize::from(part > 0));
        let bar = self.toned(Tone::Good, &"█".repeat(filled));
        let rest = self.toned(Tone::Quiet, &"░".repeat(BAR - filled));
        let share = if whole == 0 { "–".to_owned() } else { format!("{} %", percent(part, whole)) };
        self.row(label, &format!("{bar}{rest} {share:>7} {text}"));
    }

    fn row(&mut self, label: &str, text: &str) {
        let label = self.toned(Tone::Quiet, &format!("{label:<LABEL$}"));
        self.line(&format!("  {label} {text}"));
    }

    fn toned_row(&mut self, label: &str, tone: Tone, text: &str) {
        let text = self.toned(tone, text);
        self.row(label, &text);
    }

    /// A text to be read to its end, over as many lines as it takes. A word that is longer than a line, such as the
    /// name of a file, stays whole.
    fn reason(&mut self, mut label: &str, tone: Tone, text: &str) {
        let room = self.screen.width.saturating_sub(LABEL + 3);
        let mut words = text.split_whitespace().peekable();
        while let Some(first) = words.next() {
            let mut line = first.to_owned();
            while let Some(next) =
                words.next_if(|next| line.chars().count() + 1 + next.chars().count() <= room)
            {
                line.push(' ');
                line.push_str(next);
            }
            let label = self.toned(Tone::Quiet, &format!("{:<LABEL$}", std::mem::take(&mut label)));
            let line = self.toned(tone, &line);
            self.text.push_str(format!("  {label} {line}").trim_end());
            self.text.push('\n');
        }
    }

    fn line(&mut self, line: &str) {
        cut(line.trim_end(), self.screen.width, &mut self.text);
        self.text.push('\n');
    }

    fn toned(&self, tone: Tone, text: &str) -> String {
        if !self.screen.colour || text.trim().is_empty() {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Strong => "1",
            Tone::Quiet => "2",
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "1;31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Appends as much of `line` as has room in `width` characters. What sets colours takes none.
fn cut(line: &str, width: usize, text: &mut String) {
    let visible = |line: &str| {
        let mut in_code = false;
        line.chars()
            .filter(|&character| {
                let code = in_code || character == '\x1b';
                in_code = code && character != 'm';
                !code
            })
            .count()
    };
    if visible(line) <= width {
        text.push_str(line);
        return;
    }
    let (mut left, mut in_code) = (width.saturating_sub(1), false);
    for character in line.chars() {
        if in_code || character == '\x1b' {
            in_code = character != 'm';
            text.push(character);
        } else if left > 0 {
            left -= 1;
            text.push(character);
        }
    }
    text.push('…');
}

/// Whether one of `certified` is `name`, or a wildcard for it (RFC 6125 section 6.4.3).
fn covers(certified: &[String], name: &str) -> bool {
    let parent = name.split_once('.').map(|(_, parent)| parent);
    certified.iter().any(|one| one == name || one.strip_prefix("*.").is_some_and(|of| Some(of) == parent))
}

fn ago(then: i64, now: i64) -> String {
    u64::try_from(now.saturating_sub(then)).map_or("just now".into(), |past| match past {
        0..2 => "just now".into(),
        past => format!("{} ago", humanly(Duration::from_secs(past))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{BackendFailure, CertificateStatus};

    const NOW: i64 = 1_800_000_000;

    fn status() -> Status {
        Status {
            version: "1.2.3".into(),
            pid: 7,
            uptime: 3 * 86_400 + 4 * 3600,
            requests_per_second: 128.4,
            connections: 42,
            sites: vec![SiteStatus {
                names: vec!["farm.example".into(), "ci.farm.example".into()],
                publish: None,
                ci: None,
                backends: vec![BackendStatus {
                    role: "ci".into(),
                    url: "http://localhost:8081".into(),
                    up: Some(false),
                    requests: 3,
                    waiting: 0,
                    last_error: Some(BackendFailure {
                        at: NOW as u64 - 120,
                        why: "connection\x1b refused".into(),
                    }),
                }],
                certificate: CertificateStatus {
                    source: "acme".into(),
                    not_after: NOW + 61 * 86_400,
                    names: vec!["farm.example".into()],
                    issuer: Some("CN=R3".into()),
                },
            }],
            last_reload: Some(LastReload {
                at: NOW as u64 - 60,
                error: Some("line 3: no\nand line 4".into()),
                notes: Vec::new(),
            }),
            ..Status::default()
        }
    }

    fn shown(status: &Status) -> String {
        Screen { colour: false, width: 80 }.show(status, NOW)
    }

    #[test]
    fn it_says_what_an_operator_looks_for() {
        let text = shown(&status());
        for part in [
            "farmgate 1.2.3   up 3 d 4 h   process 7",
            "128 /s",
            "42 open",
            "1 min 0 s ago: refused",
            "line 3: no",
            "farm.example ci.farm.example",
            "http://localhost:8081            DOWN, 3 in flight",
            "last error 2 min 0 s ago: connection\u{fffd} refused",
            "61 d 0 h left, acme, CN=R3",
            "not for ci.farm.example",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
    }

    #[test]
    fn requests_that_wait_for_a_backend_are_shown_where_there_are_any() {
        let mut status = status();
        assert!(!shown(&status).contains("waiting"));
        status.sites[0].backends[0].requests = 1_064;
        status.sites[0].backends[0].waiting = 1_000;
        let text = shown(&status);
        assert!(
            text.contains("1,064 in flight\n") && text.contains(" 1,000 of them waiting for their turn\n"),
            "{text}"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_screen_and_colours_take_no_room() {
        let mut status = status();
        status.sites[0].names = vec!["a-very-long-name-of-a-farm.example".into(); 9];
        let plain = shown(&status);
        assert!(plain.lines().all(|line| line.chars().count() <= 80), "{plain}");
        assert!(!plain.contains('\x1b'));
        let coloured = Screen { colour: true, width: 80 }.show(&status, NOW);
        let mut without = coloured.clone();
        for code in ["1", "2", "32", "33", "1;31", "0"] {
            without = without.replace(&format!("\x1b[{code}m"), "");
        }
        assert!(without != coloured && without == plain, "{without}\n{plain}");
    }

    #[test]
    fn why_the_admin_pages_are_closed_is_told_to_its_end() {
        let long = format!("/{}/register", "folder/".repeat(15));
        let why = format!(
            "{long} cannot be used: its third line is not one of a register; restore it from a backup"
        );
        let text = shown(&Status { admin_closed: Some(why.clone()), ..status() });
        let told: Vec<&str> = text.split_whitespace().collect();
        assert!(told.join(" ").contains(&format!("admin closed: {why}")), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80 || line.contains(&long)), "{text}");
    }

    #[test]
    fn a_bar_is_full_or_empty_only_when_it_is_all_or_nothing() {
        let bar = |part: u64, whole: u64| {
            let mut page = Page { screen: Screen { colour: false, width: 80 }, text: String::new() };
            page.meter("x", part, whole, "");
            page.text.matches('█').count()
        };
        assert_eq!([bar(0, 0), bar(0, 9), bar(1, 1_000_000), bar(5, 10)], [0, 0, 1, BAR / 2]);
        assert_eq!(
            [bar(999_999, 1_000_000), bar(7, 7), bar(u64::MAX, u64::MAX), bar(9, 7)],
            [19, BAR, BAR, BAR]
        );
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        let certified = ["*.farm.example".to_owned()];
        assert!(covers(&certified, "ci.farm.example"));
        assert!(!covers(&certified, "farm.example") && !covers(&certified, "a.ci.farm.example"));
    }
}
