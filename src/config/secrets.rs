//! Secrets that stand in a configuration file, and should stand nowhere else: what is wrong with a file is shown on
//! terminals and in logs, with the line that it is about.

/// What the name of a key has in it whose value is nobody's business.
const TELLING: [&str; 4] = ["hmac", "secret", "password", "token"];
/// What stands in the place of each character, so that carets stay where they are.
const STAR: char = '*';

/// A line of the file with stars in place of secrets, character for character: the strings behind a key that sounds
/// secret (a misspelt one too, but none that names a file), and what URLs have of them.
pub(super) fn without_secrets(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(equals) = rest.find('=') {
        let (before, after) = rest.split_at(equals + 1);
        out.push_str(before);
        let key = before[..equals].rsplit(['{', ',', '[', '.', '\n']).next().unwrap_or_default();
        let key = key.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
        let is_secret = TELLING.iter().any(|word| key.contains(word)) && !key.ends_with("file");
        let gap = after.len() - after.trim_start().len();
        out.push_str(&after[..gap]);
        rest = &after[gap..];
        let value = value_length(rest, is_secret);
        match is_secret {
            true => out.extend(rest[..value].chars().map(|c| if "\"'".contains(c) { c } else { STAR })),
            false => out.push_str(&rest[..value]),
        }
        rest = &rest[value..];
    }
    out.push_str(rest);
    without_url_secrets(&out)
}

/// The bytes of the value that `text` begins with: a string to its end, which may be missing. Of another value nothing,
/// unless it is a secret: then somebody forgot the quotes.
fn value_length(text: &str, is_secret: bool) -> usize {
    match text.chars().next() {
        // Of more than one line: all there is of it here.
        _ if text.starts_with("\"\"\"") || text.starts_with("'''") => text.len(),
        Some(quote @ ('"' | '\'')) => {
            let mut escaped = false;
            for (at, c) in text.char_indices().skip(1) {
                match c {
                    '\\' if quote == '"' && !escaped => escaped = true,
                    c if c == quote && !escaped => return at + 1,
                    _ => escaped = false,
                }
            }
            text.len()
        }
        _ if is_secret => text.find([',', '}', '#']).unwrap_or(text.len()),
        _ => 0,
    }
}

/// `text` with stars in place of what URLs in it have of secrets, character for character: the user and password, and
/// what is behind a question mark.
pub(crate) fn without_url_secrets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        out.push_str(before);
        let ends = |c: char| c.is_whitespace() || "\"'<>`".contains(c);
        let (url, after) = url.split_at(url.find(ends).unwrap_or(url.len()));
        let authority = url.find(['/', '?', '#']).unwrap_or(url.len());
        let user = url[..authority].rfind('@').unwrap_or(0);
        let query = url.find('?').map_or(url.len(), |mark| mark + 1);
        for (at, c) in url.char_indices() {
            out.push(if at < user || at >= query { STAR } else { c });
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sounds_secret_is_starred_and_nothing_moves() {
        for (line, shown) in [
            (
                r#"eab = { kid = "k", hmac_key = "c2VjcmV0" }"#,
                r#"eab = { kid = "k", hmac_key = "********" }"#,
            ),
            (r#"hmac_kee='a"b' # c"#, r#"hmac_kee='*"*' # c"#),
            (r#""hmac_key" = "a\"b", kid = 1"#, r#""hmac_key" = "**"*", kid = 1"#),
            (r#"hmac_key = "not clos"#, r#"hmac_key = "********"#),
            ("hmac_key = naked, kid = 1", "hmac_key = *****, kid = 1"),
            ("acme.eab.hmac_key = \"a\"", "acme.eab.hmac_key = \"*\""),
            (r#"hmac_key_file = "/run/a""#, r#"hmac_key_file = "/run/a""#),
            (r#"certificate = { chain = "c", key = "k" }"#, r#"certificate = { chain = "c", key = "k" }"#),
            (r#"ci = "http://me:pw@localhost""#, r#"ci = "http://*****@localhost""#),
            (
                r#"directory = "https://ca/dir?key=1#f" # why?"#,
                r#"directory = "https://ca/dir?*******" # why?"#,
            ),
            (r#"names = ["a=b", "c"]"#, r#"names = ["a=b", "c"]"#),
            (r#"hmac_key = """abc"#, r#"hmac_key = """***"#),
            ("hmac_key =", "hmac_key ="),
        ] {
            assert_eq!(without_secrets(line), shown);
            assert_eq!(without_secrets(line).chars().count(), line.chars().count());
        }
        assert_eq!(
            without_url_secrets("did you mean this? http://a/?b c?"),
            "did you mean this? http://a/?* c?"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_line_keeps_its_length(line in "[a-z_='\"{},.?@:/ é#\\\\]{0,60}") {
            proptest::prop_assert_eq!(without_secrets(&line).chars().count(), line.chars().count());
        }
    }
}
