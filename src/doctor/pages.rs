//! What crawlers and CAs look at.

use super::door::Door;
use super::stream::in_words;
use super::{Doctor, status_in_words};
use crate::nix_base32;

impl Doctor<'_> {
    pub(super) fn look_at_robots(&mut self, door: &Door) {
        let advice = "Crawlers then follow every link of the CI, and each page costs it a query";
        match door.get("/robots.txt") {
            Ok(answer) if answer.head.status == 200 => {
                if shuts_out(&answer.text()) {
                    self.ok("robots", "crawlers are told to stay out");
                } else {
                    self.broken_promise("robots", "/robots.txt keeps nobody out", advice);
                }
            }
            Ok(answer) if answer.head.status == 404 && !self.has_ci && !self.settings.own => {
                self.ok("robots", "there is no robots.txt, and no CI to crawl");
            }
            Ok(answer) => {
                let found = format!("/robots.txt is answered {}", status_in_words(answer.head.status));
                self.broken_promise("robots", found, advice);
            }
            Err(error) => {
                let found = format!("/robots.txt: no answer: {}", in_words(&error));
                self.broken_promise("robots", found, "See what the server's log says");
            }
        }
    }

    /// What a CA would ask for on port 80 (RFC 8555 section 8.3), with a token that nobody has.
    pub(super) fn look_at_challenges(&mut self, door: &Door) {
        let mut token = [0; 16];
        // Any name will do that is not a token.
        let _ = aws_lc_rs::rand::fill(&mut token);
        let target = format!("/.well-known/acme-challenge/doctor-{}", nix_base32::encode(&token));
        match door.get(&target) {
            Ok(answer) if answer.head.status == 404 => {
                self.ok("acme", "a CA that looks for a challenge over plain HTTP is answered here");
            }
            Ok(answer) if answer.head.is_redirect() => {
                let to = answer.head.header("location").unwrap_or("nowhere").to_owned();
                let found = format!("a CA that looks for a challenge is sent to {to}");
                let advice = "It goes there only if it wants to: answer /.well-known/acme-challenge/ on port 80 itself";
                self.broken_promise("acme", found, advice);
            }
            Ok(answer) if answer.head.status == 200 => {
                let advice = "That is no trouble for a CA, but odd: see who answers /.well-known/";
                self.warning("acme", "a challenge that nobody has set is answered 200", advice);
            }
            Ok(answer) => {
                let found = format!("a challenge is answered {}", status_in_words(answer.head.status));
                self.failure(
                    "acme",
                    found,
                    "No CA will issue then by http-01: let /.well-known/acme-challenge/ through",
                );
            }
            Err(error) => {
                let found = format!("a challenge is not answered: {}", in_words(&error));
                self.failure(
                    "acme",
                    found,
                    "No CA will issue then by http-01: see what the server's log says",
                );
            }
        }
    }
}

/// Whether all crawlers are kept from anything (RFC 9309): a `Disallow` with a path, in the group for `*`.
fn shuts_out(text: &str) -> bool {
    let (mut for_all, mut in_head) = (false, false);
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "user-agent" => {
                for_all = (in_head && for_all) || value == "*";
                in_head = true;
            }
            name => {
                in_head = false;
                if name == "disallow" && for_all && !value.is_empty() {
                    return true;
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_robots_file_that_keeps_everybody_out_is_told_from_others() {
        for good in
            ["User-agent: *\nDisallow: /\n", "user-agent: x\nUser-Agent: *\nAllow: /$\nDISALLOW : /log # x"]
        {
            assert!(shuts_out(good), "{good}");
        }
        for bad in
            ["", "User-agent: *\nDisallow:\n", "User-agent: Bad\nDisallow: /\n", "<html>Disallow: /</html>"]
        {
            assert!(!shuts_out(bad), "{bad}");
        }
    }
}
