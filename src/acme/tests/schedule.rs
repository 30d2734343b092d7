use std::time::Duration;

use super::super::clock::Time;
use super::super::schedule::*;

const NOW: Time = Time::from_unix(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn lifetime(days: u32, age: Duration) -> Lifetime {
    let not_before = NOW.minus(age);
    Lifetime { not_before, not_after: not_before.plus(DAY * days), complete: true, seed: u64::MAX / 2 }
}

fn with(certificate: Lifetime) -> Known {
    Known { certificate: Some(certificate), ..Known::default() }
}

#[test]
fn without_a_certificate_or_with_one_that_lacks_a_name_it_is_now() {
    assert_eq!(next(&Known::default(), NOW), Due { at: NOW, why: Why::None });
    let lacking = Lifetime { complete: false, ..lifetime(90, DAY) };
    assert_eq!(next(&with(lacking), NOW), Due { at: NOW, why: Why::Names });
}

#[test]
fn two_thirds_of_the_lifetime_whatever_it_is_and_never_later() {
    for (length, earliest, latest) in [
        (DAY * 90, DAY * 55, DAY * 60),
        (DAY * 45, DAY * 27, DAY * 30),
        (DAY * 6, HOUR * 88, HOUR * 96),
        (HOUR * 24, HOUR * 14, HOUR * 16),
        (Duration::from_secs(60), Duration::from_secs(37), Duration::from_secs(40)),
    ] {
        for seed in [0, 1, u64::MAX / 3, u64::MAX] {
            let certificate = Lifetime { not_before: NOW, not_after: NOW.plus(length), complete: true, seed };
            let due = next(&with(certificate), NOW);
            assert_eq!(due.why, Why::Lifetime);
            let after = due.at.since(NOW);
            assert!(earliest <= after && after <= latest, "{length:?}, seed {seed}: {after:?}");
        }
    }
}

#[test]
fn jitter_is_the_same_for_the_same_certificate_and_spreads_others() {
    let at = |seed| next(&with(Lifetime { seed, ..lifetime(90, Duration::ZERO) }), NOW).at;
    assert_eq!(at(7), at(7));
    let spread = at(0).since(at(u64::MAX));
    assert!(spread > DAY * 4, "{spread:?}");
}

#[test]
fn a_window_has_the_say_and_its_moment_is_inside() {
    let window = Window { start: NOW.plus(DAY), end: NOW.plus(DAY * 3) };
    for seed in [0, u64::MAX / 2, u64::MAX] {
        let known = Known { window: Some(window), ..with(Lifetime { seed, ..lifetime(90, DAY * 10) }) };
        let due = next(&known, NOW);
        assert_eq!(due.why, Why::Suggested);
        assert!(window.start <= due.at && due.at < window.end, "{}", due.at);
    }
}

#[test]
fn a_window_in_the_past_is_now_and_one_beyond_the_end_is_before_it() {
    let past = Window { start: NOW.minus(DAY * 3), end: NOW.minus(DAY) };
    let certificate = lifetime(90, DAY * 10);
    assert!(next(&Known { window: Some(past), ..with(certificate) }, NOW).at <= NOW);
    let late = Window { start: NOW.plus(DAY * 500), end: NOW.plus(DAY * 501) };
    let due = next(&Known { window: Some(late), ..with(certificate) }, NOW);
    assert!(due.at < certificate.not_after.minus(DAY * 7) && due.at > NOW.plus(DAY * 70));
    let backwards = Window { start: NOW.plus(DAY), end: NOW };
    assert_eq!(next(&Known { window: Some(backwards), ..with(certificate) }, NOW).why, Why::Lifetime);
}

#[test]
fn a_ca_that_wants_each_certificate_renewed_at_once_gets_one_in_six_hours() {
    let past = Window { start: NOW.minus(DAY * 3), end: NOW.minus(DAY) };
    let known = Known { window: Some(past), succeeded: Some(NOW), ..with(lifetime(90, HOUR)) };
    assert_eq!(next(&known, NOW).at, NOW.plus(HOUR * 6));
    // And a short-lived one is not waited to death.
    let known = Known { certificate: Some(lifetime(1, Duration::ZERO)), ..known };
    assert_eq!(next(&known, NOW).at, NOW.plus(HOUR * 4));
}

#[test]
fn failures_wait_as_the_table_says_and_then_daily() {
    let minutes = [1, 5, 15, 60, 180, 360, 720, 1440, 1440, 1440];
    for (failures, minutes) in (1..).zip(minutes) {
        let known = Known { failures, failed: Some(NOW), ..Known::default() };
        let wait = Duration::from_secs(minutes * 60);
        assert_eq!(next(&known, NOW), Due { at: NOW.plus(wait), why: Why::Backoff }, "{failures}");
    }
    let known = Known { failures: u32::MAX, failed: Some(NOW), ..Known::default() };
    assert_eq!(next(&known, NOW).at, NOW.plus(DAY));
}

#[test]
fn the_longest_of_the_waits_counts() {
    let known = Known {
        failures: 1,
        failed: Some(NOW),
        retry_after: Some(NOW.plus(HOUR * 3)),
        capped_until: Some(NOW.plus(HOUR)),
        ..Known::default()
    };
    assert_eq!(next(&known, NOW), Due { at: NOW.plus(HOUR * 3), why: Why::RetryAfter });
    let known = Known { capped_until: Some(NOW.plus(HOUR * 20)), ..known };
    assert_eq!(next(&known, NOW), Due { at: NOW.plus(HOUR * 20), why: Why::Cap });
}

#[test]
fn who_asks_is_held_back_by_the_caps_alone() {
    let known = Known { failures: 9, failed: Some(NOW), ..with(lifetime(90, DAY)) };
    assert_eq!(next_if_asked(&known, NOW), Due { at: NOW, why: Why::Asked });
    let known = Known { retry_after: Some(NOW.plus(HOUR)), ..known };
    assert_eq!(next_if_asked(&known, NOW), Due { at: NOW.plus(HOUR), why: Why::RetryAfter });
    let known = Known { capped_until: Some(NOW.plus(HOUR * 2)), ..known };
    assert_eq!(next_if_asked(&known, NOW), Due { at: NOW.plus(HOUR * 2), why: Why::Cap });
}

#[test]
fn a_clock_set_back_by_years_makes_no_wait_of_years() {
    let before = NOW.plus(DAY * 1000);
    let known = Known {
        failures: 20,
        failed: Some(before),
        retry_after: Some(before),
        succeeded: Some(before),
        ..Known::default()
    };
    assert!(next(&known, NOW).at <= NOW.plus(LONGEST_RETRY_AFTER));
    assert!(window_is_due(Some(before), NOW));
    let known = Known { window: Some(Window { start: NOW.minus(DAY), end: NOW }), ..known };
    let known = Known { certificate: Some(lifetime(90, DAY)), failures: 0, retry_after: None, ..known };
    assert!(next(&known, NOW).at <= NOW.plus(HOUR * 6));
}

#[test]
fn a_clock_set_ahead_by_years_makes_it_now_as_often_as_is_allowed() {
    let known = with(lifetime(90, DAY * 2000));
    assert!(next(&known, NOW).at <= NOW);
    let orders = [NOW; ORDERS_PER_DAY];
    assert_eq!(capped_until(&orders, NOW), Some(NOW.plus(DAY)));
    assert_eq!(capped_until(&orders, NOW.plus(DAY)), None);
    assert_eq!(capped_until(&orders[1..], NOW), None);
}

#[test]
fn the_cap_slides() {
    let orders: Vec<Time> = (0..8).map(|hour| NOW.minus(HOUR * hour)).collect();
    assert_eq!(capped_until(&orders, NOW), Some(NOW.minus(HOUR * 7).plus(DAY)));
    // Ten in the past day, made while the cap was higher: three have to go.
    let orders: Vec<Time> = (0..10).map(|hour| NOW.minus(HOUR * hour)).collect();
    assert_eq!(capped_until(&orders, NOW), Some(NOW.minus(HOUR * 7).plus(DAY)));
}

#[test]
fn certificates_with_absurd_dates_are_no_trouble() {
    let (first, last) = (Time::from_unix(i64::MIN), Time::from_unix(i64::MAX));
    for (not_before, not_after) in [(first, last), (last, first), (NOW, NOW), (NOW.plus(DAY), NOW)] {
        for seed in [0, u64::MAX] {
            let certificate = Lifetime { not_before, not_after, complete: true, seed };
            for window in
                [None, Some(Window { start: first, end: last }), Some(Window { start: last, end: first })]
            {
                for now in [first, NOW, last] {
                    next(&Known { window, succeeded: Some(last), ..with(certificate) }, now);
                    next_if_asked(&Known { retry_after: Some(last), ..Known::default() }, now);
                    capped_until(&[first, NOW, last], now);
                }
            }
        }
    }
}

#[test]
fn renewal_information_is_asked_for_between_hourly_and_daily() {
    assert_eq!(window_asked_again(NOW, Duration::ZERO), NOW.plus(HOUR));
    assert_eq!(window_asked_again(NOW, HOUR * 6), NOW.plus(HOUR * 6));
    assert_eq!(window_asked_again(NOW, Duration::MAX), NOW.plus(DAY));
    assert!(window_is_due(None, NOW) && window_is_due(Some(NOW), NOW));
    assert!(!window_is_due(Some(NOW.plus(HOUR)), NOW));
}

#[test]
fn the_second_ca_is_asked_every_other_time_after_four_failures() {
    let asked = |patience: &[Duration]| -> Vec<usize> {
        (0..9).map(|failures| directory(failures, patience)).collect()
    };
    assert_eq!(asked(&[HOUR, HOUR]), [0, 0, 0, 0, 1, 0, 1, 0, 1]);
    assert_eq!(asked(&[DAY * 7]), [0; 9]);
    assert_eq!(asked(&[]), [0; 9]);
    // And at once when the first one wants a week's patience; then whichever can be asked before the other.
    assert_eq!(asked(&[DAY * 7, Duration::ZERO]), [1; 9]);
    assert_eq!(asked(&[DAY * 7, DAY]), [1; 9]);
    assert_eq!(asked(&[DAY, DAY * 7]), [0; 9]);
    assert_eq!(asked(&[Duration::ZERO, DAY * 7]), [0; 9]);
}
