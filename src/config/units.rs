//! Durations and sizes as people write them: a whole number and a unit, nothing between.

use std::time::Duration;

use super::diagnostics::Complaint;

/// Milliseconds in each unit of time.
const TIME: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Bytes in each unit of size.
const SIZE: &[(&str, u64)] =
    &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// A century. Whoever adds a duration to the present need not fear that the clock overflows.
const LONGEST: u64 = 36_525 * 86_400_000;

/// Reads "10s", "500ms", "2d".
pub(super) fn duration(text: &str) -> Result<Duration, Complaint> {
    let complaint = || Complaint::new(format!("expected a duration, found \"{text}\""));
    let general = "write a whole number and one of ms, s, m, h, d, such as \"10s\" or \"2d\"";
    let Some((number, unit)) = split(text) else {
        return Err(complaint().hint(general));
    };
    let Some(factor) = factor(TIME, unit) else {
        return Err(complaint().hint(match unit.trim().to_ascii_lowercase().as_str() {
            "" => format!("it needs a unit: \"{number}s\" if seconds are meant"),
            "ms" | "msec" | "msecs" | "milliseconds" => format!("write \"{number}ms\""),
            "s" | "sec" | "secs" | "second" | "seconds" => format!("write \"{number}s\""),
            "m" | "min" | "mins" | "minute" | "minutes" => format!("write \"{number}m\""),
            "h" | "hr" | "hrs" | "hour" | "hours" => format!("write \"{number}h\""),
            "d" | "day" | "days" => format!("write \"{number}d\""),
            "w" | "week" | "weeks" if number < LONGEST => format!("write \"{}d\"", number * 7),
            _ => general.to_owned(),
        }));
    };
    match number.checked_mul(factor) {
        Some(milliseconds) if milliseconds <= LONGEST => Ok(Duration::from_millis(milliseconds)),
        _ => {
            Err(Complaint::new(format!("\"{text}\" is longer than a century"))
                .hint("the longest is \"36525d\""))
        }
    }
}

/// Reads "200MiB", "512B", as bytes.
pub(super) fn size(text: &str) -> Result<u64, Complaint> {
    let complaint = || Complaint::new(format!("expected a size, found \"{text}\""));
    let general = "write a whole number and one of B, KiB, MiB, GiB, TiB, such as \"200MiB\"";
    let Some((number, unit)) = split(text) else {
        return Err(complaint().hint(general));
    };
    let Some(factor) = factor(SIZE, unit) else {
        let meant = match unit.trim().to_ascii_lowercase().as_str() {
            "" => return Err(complaint().hint(format!("it needs a unit: \"{number}B\" if bytes are meant"))),
            "b" | "byte" | "bytes" => "B",
            "k" | "kb" | "ki" | "kib" => "KiB",
            "m" | "mb" | "mi" | "mib" => "MiB",
            "g" | "gb" | "gi" | "gib" => "GiB",
            "t" | "tb" | "ti" | "tib" => "TiB",
            _ => return Err(complaint().hint(general)),
        };
        return Err(complaint().hint(format!("units are powers of 1024: write \"{number}{meant}\"")));
    };
    number.checked_mul(factor).ok_or_else(|| {
        Complaint::new(format!("\"{text}\" is more bytes than can be counted")).hint("use a smaller size")
    })
}

/// The number and what follows it, or `None` where no countable number begins the text.
fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_and_a_unit() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("2d", 172_800_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn a_size_is_a_whole_number_and_a_binary_unit() {
        for (text, bytes) in [
            ("0B", 0),
            ("512B", 512),
            ("64KiB", 65_536),
            ("200MiB", 209_715_200),
            ("1GiB", 1 << 30),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn a_unit_of_another_habit_is_refused_with_the_right_spelling() {
        for (text, spelling) in [
            ("10", "\"10s\""),
            ("10 s", "\"10s\""),
            ("10sec", "\"10s\""),
            ("3H", "\"3h\""),
            ("2w", "\"14d\""),
            ("2 weeks", "\"14d\""),
        ] {
            assert!(hint(duration(text)).contains(spelling), "{text}");
        }
        for (text, spelling) in [
            ("200MB", "\"200MiB\""),
            ("200M", "\"200MiB\""),
            ("4g", "\"4GiB\""),
            ("1kib", "\"1KiB\""),
            ("77", "\"77B\""),
        ] {
            assert!(hint(size(text)).contains(spelling), "{text}");
        }
    }

    #[test]
    fn what_is_neither_number_nor_unit_is_refused_and_never_overflows() {
        let huge = u64::MAX.to_string();
        for text in [
            "",
            "s",
            "-1s",
            "1.5h",
            "1h30m",
            "١s",
            "1s ",
            " 1s",
            &huge,
            &format!("{huge}d"),
            &format!("{huge}w"),
            &format!("{huge}0s"),
            "36526d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "MiB", "-1B", "1.5GiB", "1MiBB", &huge, &format!("{huge}KiB"), "16777216TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert!(size("16777215TiB").is_ok());
    }

    fn hint<T: std::fmt::Debug>(result: Result<T, Complaint>) -> String {
        format!("{:?}", result.expect_err("refused")).replace('\\', "")
    }
}
