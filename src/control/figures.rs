//! Figures and other people's words as a terminal shows them.

use std::time::Duration;

/// What others chose: nothing in it may move the terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// The two largest units: "3 d 4 h".
pub fn humanly(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Groups of three digits: "1,234,567".
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// With a decimal, in the largest unit that leaves something in front of it: "1.5 GiB".
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// So many in a second, with a decimal while they are few.
pub fn rate(per_second: f64) -> String {
    if per_second < 100.0 { format!("{per_second:.1}") } else { count(per_second.round() as u64) }
}

/// With a decimal, and neither 0 nor 100 unless it is all or nothing.
pub fn percent(part: u64, whole: u64) -> String {
    let share = part as f64 * 100.0 / whole.max(1) as f64;
    match part {
        0 => "0.0".into(),
        part if part >= whole => format!("{share:.1}"),
        _ => format!("{:.1}", share.clamp(0.1, 99.9)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_do_not_round_a_failure_away() {
        assert_eq!(
            (count(0).as_str(), count(1_234_567).as_str(), count(999).as_str()),
            ("0", "1,234,567", "999")
        );
        assert_eq!(percent(0, 0), "0.0");
        assert_eq!(percent(1, 1_000_000), "0.1");
        assert_eq!(percent(999_999, 1_000_000), "99.9");
        assert_eq!(percent(5, 5), "100.0");
        assert_eq!((rate(0.04).as_str(), rate(12_345.6).as_str()), ("0.0", "12,346"));
    }
}
