//! Dates of the Gregorian calendar.

/// Year, month (1 to 12) and day of a count of days since 1970-01-01.
///
/// Years are counted from March, so that the day that leap years add is the last one; 400 of them have 146 097 days.
pub(crate) fn civil_date(days: u64) -> (u64, usize, u64) {
    let days = days.saturating_add(719_468); // since 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153; // 0 to 11
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month as usize, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_at_the_ends_of_months_and_leap_years() {
        assert_eq!(civil_date(0), (1970, 1, 1));
        assert_eq!(civil_date(11_016), (2000, 2, 29));
        assert_eq!(civil_date(11_017), (2000, 3, 1));
        assert_eq!(civil_date(19_722), (2023, 12, 31));
        assert_eq!(civil_date(47_540), (2100, 2, 28));
        assert_eq!(civil_date(47_541), (2100, 3, 1));
        // Every day follows the one before, for eight centuries.
        let mut before = civil_date(0);
        for days in 1..8 * 36_525 {
            let date = civil_date(days);
            let follows = date.2 == before.2 + 1 && date.1 == before.1
                || date.2 == 1
                    && (date.1 == before.1 + 1 || date.1 == 1 && before.1 == 12 && date.0 == before.0 + 1);
            assert!(follows, "{before:?} {date:?}");
            before = date;
        }
    }
}
