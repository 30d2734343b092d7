//! From when, until when.

use super::*;
use crate::admin::ca::dates::{Validity, day, now};

const DAY: i64 = 24 * 60 * 60;

/// 2050-01-01 00:00:00.
const Y2050: i64 = 2_524_608_000;

#[test]
fn dates_are_right_on_both_sides_of_2050() {
    // UTCTime has two digits for the year, and 50 is 1950 there (RFC 5280 section 4.1.2.5).
    let days_to_2050 = u32::try_from((Y2050 - now()) / DAY).expect("it is not 2050 yet");
    let farm = Farm::with(KeyType::P256, 36_500);
    let csr = farm.path("x.csr");
    farm.certify("x");
    for (days, kind, year) in [
        (days_to_2050, "UTCTIME", "2049"),
        (days_to_2050 + 1, "GENERALIZEDTIME", "2050"),
        (20_000, "GENERALIZEDTIME", "2081"),
    ] {
        let who = format!("d{days}");
        let done = farm.authority().sign(&csr, Some(&name(&who)), days, farm.here()).expect("a certificate");
        let crt = format!("{who}.crt");
        let raw = farm.openssl(&["asn1parse", "-in", &crt]);
        let times: Vec<_> = raw.lines().filter(|line| line.contains("TIME")).collect();
        assert!(
            times[0].contains("UTCTIME") && times[1].contains(&format!("{kind:<18}")),
            "{days}: {times:?}"
        );
        let end = farm.openssl(&["x509", "-in", &crt, "-noout", "-enddate"]);
        assert!(end.trim().ends_with(&format!(" {year} GMT")), "{days}: {end}");
        assert!(done.made.last_day().starts_with(year), "{}", done.made.last_day());
        let at = (done.made.not_after - 1).to_string();
        farm.verify(&crt, &["-attime", &at]).expect("valid to the end");
        let after = (done.made.not_after + 1).to_string();
        assert!(farm.verify(&crt, &["-attime", &after]).is_err());
        let gate = farm.gate();
        let chain = [der(&farm.path(&crt))];
        let at = |seconds: i64| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds as u64);
        assert!(gate.judge(&chain, at(done.made.not_after)).is_ok());
        assert_eq!(gate.judge(&chain, at(done.made.not_after + 1)), Err(Refusal::Expired));
    }
}

#[test]
fn a_certificate_begins_a_little_in_the_past_and_not_before_its_ca() {
    let farm = Farm::new();
    farm.certify("alice");
    let start = |file: &str| farm.openssl(&["x509", "-in", file, "-noout", "-startdate"]);
    // Both begin five minutes before they were made; the CA was made first.
    assert!(start("alice.crt").starts_with("notBefore="));
    let five_minutes_ago = (now() - 4 * 60).to_string();
    farm.verify("alice.crt", &["-attime", &five_minutes_ago]).expect("valid already");
    let own = Validity { not_before: 1000, not_after: 2000 };
    let within = |not_before, not_after| Validity { not_before, not_after }.within(own);
    assert_eq!(within(900, 1500), Some((Validity { not_before: 1000, not_after: 1500 }, false)));
    assert_eq!(within(1100, 2500), Some((Validity { not_before: 1100, not_after: 2000 }, true)));
    assert_eq!(within(2100, 2500), None);
}

#[test]
fn a_certificate_ends_with_its_ca_and_says_so() {
    let farm = Farm::with(KeyType::P256, 30);
    farm.certify("x");
    let done = farm
        .authority()
        .sign(&farm.path("x.csr"), Some(&name("alice")), 365, farm.here())
        .expect("a certificate");
    assert!(done.notes[0].contains("the CA itself ends then"), "{:?}", done.notes);
    let end = |file: &str| farm.openssl(&["x509", "-in", file, "-noout", "-enddate"]);
    assert_eq!(end("alice.crt"), end("state/admin/ca.crt"));
    farm.verify("alice.crt", &[]).expect("a good certificate");
}

#[test]
fn days_beyond_what_a_certificate_can_say_are_refused() {
    let now = now();
    for bad in [0, 3_000_000, u32::MAX] {
        assert!(Validity::days(now, bad).is_err(), "{bad}");
    }
    assert!(Validity::days(now, 2_900_000).is_ok());
    assert_eq!(
        (day(0), day(Y2050 - 1), day(Y2050)),
        ("1970-01-01".into(), "2049-12-31".into(), "2050-01-01".into())
    );
    let farm = Farm::with(KeyType::P256, 2_900_000);
    farm.certify("alice");
    farm.verify("alice.crt", &[]).expect("a good certificate");
}
