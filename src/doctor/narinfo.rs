//! What a narinfo says, strictly: what some client may read otherwise than the next is an error here.

use crate::nix_base32;

/// Digits of the hash in a store item's name, which are 160 bits.
pub(super) const ITEM_DIGITS: usize = 32;
/// Digits of a SHA-256.
const HASH_DIGITS: usize = 52;
/// The longest name of a store item, hash and dash among it (nix/libstore/store-api.cc).
const LONGEST_ITEM: usize = 211 + ITEM_DIGITS + 1;
/// More ways to fetch one nar than anybody offers.
const MOST_FORMS: usize = 16;

/// One narinfo. It borrows from the text it was read from.
#[derive(Debug)]
pub(super) struct Narinfo<'a> {
    /// `/gnu/store/HASH-NAME`.
    pub(super) store_path: &'a str,
    /// At least one.
    pub(super) forms: Vec<Form<'a>>,
    /// SHA-256 of the nar in base 32.
    pub(super) nar_hash: &'a str,
    /// Bytes of the nar.
    pub(super) nar_size: u64,
    /// What the line of that name says.
    pub(super) signature: Option<&'a str>,
    /// All that the signature is for: what stands above it.
    pub(super) signed: &'a str,
}

/// A way to fetch the nar.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form<'a> {
    /// From where; relative to the URL of the cache, or absolute.
    pub(super) url: &'a str,
    /// How it is compressed, by name.
    pub(super) compression: &'a str,
    /// Bytes of what is fetched. `guix publish` says so once it has them.
    pub(super) file_size: Option<u64>,
}

impl<'a> Narinfo<'a> {
    /// Reads `text`, of items in the store `store`.
    ///
    /// # Errors
    ///
    /// In words: what was expected, and in which line.
    pub(super) fn parse(text: &'a str, store: &str) -> Result<Self, String> {
        let mut fields = Fields::read(text)?;
        let store_path = fields.one("StorePath")?;
        let item = store_path.strip_prefix(store).and_then(|rest| rest.strip_prefix('/'));
        if !item.is_some_and(is_item) {
            return Err(format!("StorePath: expected {store}/HASH-NAME"));
        }
        let nar_hash = fields.one("NarHash")?.strip_prefix("sha256:");
        let nar_hash = nar_hash.filter(|digits| nix_base32::is_digits(digits) && digits.len() == HASH_DIGITS);
        let nar_hash = nar_hash.ok_or("NarHash: expected sha256: and 52 digits in base 32")?;
        let nar_size = number("NarSize", fields.one("NarSize")?)?;
        let references = fields.one("References")?;
        if let Some(wrong) = references.split_ascii_whitespace().find(|item| !is_item(item)) {
            return Err(format!("References: expected names of store items, found {wrong:?}"));
        }
        // Guix ends the signed part here, wherever in a line it is.
        let end = text.find("Signature:").unwrap_or(text.len());
        Ok(Self {
            store_path,
            forms: forms(&mut fields)?,
            nar_hash,
            nar_size,
            signature: fields.at_most_one("Signature")?,
            signed: &text[..end],
        })
    }

    /// What to ask for in front of `.narinfo`.
    pub(super) fn hash_part(&self) -> Option<&'a str> {
        hash_part(self.store_path)
    }
}

/// Of `/gnu/store/HASH-NAME`, `HASH-NAME` or `HASH`, the hash.
pub(super) fn hash_part(item: &str) -> Option<&str> {
    let base = item.trim_end_matches('/').rsplit('/').next()?;
    let hash = base.split('-').next()?;
    (hash.len() == ITEM_DIGITS && nix_base32::is_digits(hash)).then_some(hash)
}

/// Whether Guix takes `name` for the name of a store item.
pub(super) fn is_item(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._?=".contains(&byte);
    let hash = name.get(..ITEM_DIGITS).is_some_and(nix_base32::is_digits);
    let name = name.get(ITEM_DIGITS..).and_then(|rest| rest.strip_prefix('-')).filter(|_| hash);
    name.is_some_and(|name| {
        !name.is_empty() && name.len() + ITEM_DIGITS < LONGEST_ITEM && name.bytes().all(good)
    })
}

/// What stands before the first colon of a line, and what behind it.
pub(super) fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_name.then(|| (name, value.strip_prefix(' ').unwrap_or(value)))
}

/// All lines, in order.
struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Result<Self, String> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
        let read = |(at, line): (usize, &'a str)| {
            if let Some(odd) = line.chars().find(|c| c.is_control()) {
                return Err(format!("line {}: a control character, {odd:?}", at + 1));
            }
            field(line).ok_or_else(|| format!("line {}: expected NAME: VALUE, found {line:?}", at + 1))
        };
        Ok(Self(lines.map(read).collect::<Result<_, _>>()?))
    }

    fn all(&self, name: &str) -> Vec<&'a str> {
        self.0.iter().filter(|(field, _)| *field == name).map(|(_, value)| *value).collect()
    }

    fn at_most_one(&self, name: &str) -> Result<Option<&'a str>, String> {
        match self.all(name)[..] {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            _ => Err(format!("{name}: there are several")),
        }
    }

    fn one(&mut self, name: &str) -> Result<&'a str, String> {
        self.at_most_one(name)?.ok_or_else(|| format!("{name}: it is missing"))
    }
}

/// Guix reads the values of each of these fields into a list of its own, and puts the lists side by side: one value
/// that is missing would move all that follow to another URL.
fn forms<'a>(fields: &mut Fields<'a>) -> Result<Vec<Form<'a>>, String> {
    let (urls, compressions, sizes) = (fields.all("URL"), fields.all("Compression"), fields.all("FileSize"));
    match urls.len() {
        0 => return Err("URL: it is missing".into()),
        count if count > MOST_FORMS => return Err(format!("URL: there are {count}")),
        count if count != compressions.len() => {
            return Err(format!("{count} × URL, but {} × Compression", compressions.len()));
        }
        count if !sizes.is_empty() && count != sizes.len() => {
            return Err(format!("{count} × URL, but {} × FileSize", sizes.len()));
        }
        _ => {}
    }
    let sizes = sizes.iter().map(|size| number("FileSize", size)).collect::<Result<Vec<_>, _>>()?;
    let each = urls.iter().zip(&compressions).enumerate();
    Ok(each
        .map(|(at, (url, compression))| Form { url, compression, file_size: sizes.get(at).copied() })
        .collect())
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| format!("{name}: expected a number of bytes, found {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEM: &str = "0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-hello-2.12.1";
    const HASH: &str = "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73";

    fn good() -> String {
        format!(
            "StorePath: /gnu/store/{ITEM}\nNarHash: sha256:{HASH}\nNarSize: 226560\nReferences: {ITEM} {ITEM}\n\
             Deriver: {ITEM}.drv\nSystem: x86_64-linux\nSignature: 1;host;KGE=\n\
             URL: nar/lzip/{ITEM}\nCompression: lzip\nFileSize: 50\nURL: nar/{ITEM}\nCompression: none\nFileSize: 60\n"
        )
    }

    fn error(text: &str) -> String {
        Narinfo::parse(text, "/gnu/store").expect_err("refused")
    }

    #[test]
    fn what_guix_publish_writes_is_read() {
        let text = good();
        let narinfo = Narinfo::parse(&text, "/gnu/store").unwrap();
        assert_eq!(narinfo.hash_part(), Some(&ITEM[..32]));
        assert_eq!((narinfo.nar_hash, narinfo.nar_size), (HASH, 226_560));
        assert_eq!(narinfo.signature, Some("1;host;KGE="));
        assert!(narinfo.signed.ends_with("System: x86_64-linux\n"));
        let forms: Vec<_> = narinfo.forms.iter().map(|form| (form.compression, form.file_size)).collect();
        assert_eq!(forms, [("lzip", Some(50)), ("none", Some(60))]);
    }

    #[test]
    fn not_yet_baked_and_unsigned_are_no_errors_of_form() {
        let text = good().replace("FileSize: 50\n", "").replace("FileSize: 60\n", "");
        let text = text.replace("Signature: 1;host;KGE=\n", "");
        let narinfo = Narinfo::parse(&text, "/gnu/store").unwrap();
        assert_eq!((narinfo.forms[0].file_size, narinfo.signature), (None, None));
        assert_eq!(narinfo.signed, text);
    }

    #[test]
    fn each_thing_that_is_wrong_is_named() {
        for (from, to, says) in [
            ("StorePath: /gnu", "StorePath: /nix", "StorePath: expected /gnu/store/HASH-NAME"),
            ("StorePath", "storePath", "StorePath: it is missing"),
            ("hello-2.12.1\nNarHash", "hello/../x\nNarHash", "StorePath"),
            ("NarHash: sha256:0", "NarHash: sha256:", "NarHash"),
            ("NarHash: sha256:0", "NarHash: sha256:e", "NarHash"),
            ("NarHash: sha256:", "NarHash: sha512:", "NarHash"),
            ("NarSize: 226560", "NarSize: -1", "NarSize: expected a number"),
            ("NarSize: 226560", "NarSize: 99999999999999999999", "NarSize"),
            ("NarSize: 226560", "NarSize: 1\nNarSize: 2", "NarSize: there are several"),
            ("References: ", "References: x", "References"),
            ("System: ", "System ", "line 6"),
            ("System: ", "System: \u{7}", "control character"),
            ("Compression: none\n", "", "2 × URL, but 1 × Compression"),
            ("FileSize: 50\n", "", "2 × URL, but 1 × FileSize"),
            ("FileSize: 50", "FileSize: x", "FileSize"),
        ] {
            let text = good().replacen(from, to, 1);
            assert_ne!(text, good(), "{from}");
            assert!(error(&text).contains(says), "{from} -> {to}: {}", error(&text));
        }
        assert!(error("").contains("StorePath"));
        assert!(error("<html>\n<body>").contains("line 1"));
    }

    #[test]
    fn the_hash_is_found_in_whatever_way_an_item_is_named() {
        let hash = &ITEM[..32];
        for text in [hash, ITEM, &format!("/gnu/store/{ITEM}"), &format!("/gnu/store/{ITEM}/")] {
            assert_eq!(hash_part(text), Some(hash), "{text}");
        }
        for text in
            ["", "/gnu/store", "/gnu/store/hello-2.12", &ITEM[1..], "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"]
        {
            assert_eq!(hash_part(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_change_to_a_narinfo_makes_it_panic(at in 0..600_usize, with in "\\PC{0,3}|\n|Signature:") {
            let mut text = good();
            if at < text.len() {
                text.replace_range(at..=at, &with);
            }
            if let Ok(narinfo) = Narinfo::parse(&text, "/gnu/store") {
                proptest::prop_assert!(text.starts_with(narinfo.signed) && !narinfo.forms.is_empty());
                let _ = crate::doctor::signature::verify(&narinfo, None);
            }
        }
    }
}
