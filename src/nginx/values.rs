//! Times and sizes as nginx writes them, and the same as this gate's configuration writes them.

/// Milliseconds in nginx's units, longest first: no unit may begin another that stands before it.
const TIME: [(&str, u64); 8] = [
    ("ms", 1),
    ("y", 365 * 86_400_000),
    ("M", 30 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
];

/// "60", "60s", "1h30m", "500ms", as milliseconds. A number without a unit is seconds.
pub(super) fn time(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start_matches(' ');
        let (unit, factor) = match TIME.iter().find(|(unit, _)| rest.starts_with(unit)) {
            Some(found) => *found,
            None if rest.is_empty() => ("", 1_000),
            None => return None,
        };
        rest = rest[unit.len()..].trim_start_matches(' ');
        total = total.checked_add(number.checked_mul(factor)?)?;
    }
    Some(total)
}

/// "128k", "1m", "10g", "1024", as bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match &text[digits..] {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(factor)
}

/// Milliseconds in the largest unit that loses nothing.
pub(super) fn duration_in_toml(milliseconds: u64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let whole = units.iter().find(|(_, factor)| milliseconds.is_multiple_of(*factor));
    match whole {
        // Zero is a multiple of everything, and "0d" is an odd thing to read. A minute and a half is "90s".
        _ if milliseconds == 0 => "\"0s\"".to_owned(),
        Some(("m", _)) if milliseconds < 600_000 => format!("\"{}s\"", milliseconds / 1_000),
        Some((unit, factor)) => format!("\"{}{unit}\"", milliseconds / factor),
        None => format!("\"{milliseconds}ms\""),
    }
}

/// Bytes in the largest unit that loses nothing.
pub(super) fn size_in_toml(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("\"{}{unit}\"", bytes / factor),
        None => format!("\"{bytes}B\""),
    }
}

/// As a TOML string.
pub(super) fn text_in_toml(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
