//! kill -9 in the middle of it.
//!
//! The tests run themselves as other processes: [`the_killed`] does nothing unless it is told where to work.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;

use super::*;
use crate::admin::ca::store::Folder;
use crate::admin::ca::{Reason, State, list};

const WORK: &str = "FARMGATE_TEST_KILLED_AT_WORK";

/// The other process: says what it has finished, a line each, until it is killed.
#[test]
fn the_killed() -> Result<(), Box<dyn std::error::Error>> {
    let Ok(work) = std::env::var(WORK) else { return Ok(()) };
    let (folder, round) = work.rsplit_once('#').ok_or("FOLDER#ROUND")?;
    let here = Path::new(folder);
    // Written at once, past the buffer of the test harness.
    let say = |line: String| std::io::stderr().write_all(format!("\n{line}\n").as_bytes());
    if round == "init" {
        // The first random number of a process takes longer than all the rest.
        drop(Farm::new());
        say("begun".into())?;
        init(&here.join("state"), &Init { subject: "CA".into(), days: 9, key_type: KeyType::P256 })?;
        return Ok(());
    }
    let password = Password::generate()?;
    for number in 0.. {
        let who = name(&format!("r{round}-{number}"));
        let authority = Authority::open(&here.join("state"))?;
        say("begun".into())?;
        let done = if number == 1 && round.ends_with('0') {
            authority.issue(&who, 365, KeyType::P256, (&password, Format::Modern), here)?
        } else {
            authority.sign(&here.join("x.csr"), Some(&who), 365, here)?
        };
        say(format!("issued {}", done.made.serial))?;
        if number % 2 == 1 {
            authority.revoke(who.as_str(), Reason::Superseded, false)?;
            say(format!("revoked {}", done.made.serial))?;
        }
    }
    Ok(())
}

/// Starts it, lets it begin so many things, and kills it at some moment of the last. Gives what it said.
fn killed(farm: &Farm, round: &str, begun: u32, lasting: Option<Duration>) -> Vec<String> {
    // `crate::…::kill` without the crate, as the test harness names it.
    let test = module_path!().split_once("::").map_or("", |(_, path)| path);
    let mut child: Child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", &format!("{test}::the_killed"), "--nocapture", "--test-threads=1"])
        .env(WORK, format!("{}#{round}", farm.here().display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test runs");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut text = Vec::new();
    let mut first = Instant::now();
    for number in 0..begun {
        while !text.ends_with(b"begun\n") && said.read_until(b'\n', &mut text).expect("a pipe") > 0 {}
        text.push(b'\n');
        if number == 0 {
            first = Instant::now();
        }
    }
    // As long as one of them takes, on this machine at this load.
    let one = lasting.unwrap_or_else(|| first.elapsed() / (begun - 1).max(1));
    thread::sleep(one.mul_f64(f64::from(random(1000)) / 1000.0));
    child.kill().expect("it was running");
    child.wait().expect("it ended");
    said.read_to_end(&mut text).expect("a pipe");
    let text = String::from_utf8(text).expect("text");
    // What has no newline was not said.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    assert!(!whole.contains("Error"), "{whole}");
    whole.lines().map(str::to_owned).collect()
}

fn random(below: u32) -> u32 {
    let mut random = [0; 4];
    rand::fill(&mut random).expect("random numbers");
    u32::from_ne_bytes(random) % below
}

#[test]
fn two_hundred_kills_lose_no_certificate_that_was_handed_out_and_no_revocation() {
    let farm = Farm::new();
    farm.certify("x");
    let (mut issued, mut revoked) = (BTreeSet::new(), BTreeSet::new());
    let gate = farm.gate();
    let mut unfinished = 0;
    for round in 0..200 {
        for line in killed(&farm, &round.to_string(), 2 + random(4), None) {
            match line.split_once(' ') {
                Some(("issued", serial)) => issued.insert(serial.to_owned()),
                Some(("revoked", serial)) => revoked.insert(serial.to_owned()),
                _ => continue,
            };
        }
        assert_eq!(gate.closed_because(), None, "round {round}");
        let rows = list(&farm.state()).expect("a whole register");
        let listed: BTreeSet<_> = rows.iter().map(|row| row.serial.clone()).collect();
        let dead: BTreeSet<_> =
            rows.iter().filter(|row| row.state == State::Revoked).map(|row| row.serial.clone()).collect();
        assert!(issued.is_subset(&listed), "round {round}");
        assert!(revoked.is_subset(&dead), "round {round}");
        unfinished = listed.len() - 1 - issued.len();
    }
    // Every file that has its name is whole, and its certificate recorded, whether that was said or not.
    let rows = list(&farm.state()).expect("a whole register");
    let mut handed_out = 0;
    for file in fs::read_dir(farm.here()).expect("a folder").flatten() {
        let path = file.path();
        if path.extension().is_none_or(|extension| extension != "crt") {
            continue;
        }
        handed_out += 1;
        let certificate = der(&path);
        let serial = crate::admin::certificate::Certificate::parse(&certificate).expect("whole").serial_hex();
        let row = rows.iter().find(|row| row.serial == serial).expect("recorded");
        let expected = if row.state == State::Revoked { Err(Refusal::Revoked) } else { Ok(()) };
        assert_eq!(judge(&gate, &certificate).map(drop), expected, "{serial}");
    }
    assert!(handed_out > 50 && revoked.len() > 10, "the point of this test: {handed_out}, {}", revoked.len());
    eprintln!(
        "{handed_out} .crt, {} acknowledged, {} revoked, {unfinished} recorded and not acknowledged",
        issued.len(),
        revoked.len()
    );

    // And the next command works, and brings the list for others up to date.
    farm.authority().revoke("x", Reason::Superseded, false).expect("revoked");
    let text = farm.openssl(&[
        "crl",
        "-in",
        "state/admin/ca.crl",
        "-noout",
        "-text",
        "-verify",
        "-CAfile",
        "state/admin/ca.crt",
    ]);
    let dead = list(&farm.state()).expect("a list").iter().filter(|row| row.state == State::Revoked).count();
    assert!(text.contains("verify OK"), "{text}");
    assert_eq!(text.matches("Serial Number:").count(), dead);
    assert!(!farm.admin("register.new").exists(), "what interrupted writes leave is reused");
}

#[test]
fn killing_init_leaves_a_whole_ca_or_none() {
    let (mut whole, mut none) = (0, 0);
    for _ in 0..60 {
        let farm = Farm::empty();
        let before = Instant::now();
        let elsewhere = Farm::new();
        killed(&farm, "init", 1, Some(before.elapsed() * 3));
        drop(elsewhere);
        if farm.admin("").exists() {
            whole += 1;
            farm.authority();
            assert!(Folder::below(&farm.state()).register().is_ok());
            assert_eq!(farm.gate().closed_because(), None);
            farm.openssl(&["crl", "-in", "state/admin/ca.crl", "-noout"]);
        } else {
            none += 1;
            init(&farm.state(), &Init { subject: "CA".into(), days: 9, key_type: KeyType::P256 })
                .expect("a CA");
        }
    }
    eprintln!("{whole} whole, {none} none");
}
