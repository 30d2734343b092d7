//! Servers that are broken in one way each.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::substitutes::{Answer, FORMS, HASH, item, ok, serve, status, write};
use super::{Said, examined};
use crate::support::config::HOST;
use crate::support::recorder::{Recorder, Then};

fn with_narinfo(narinfo: String) -> Said {
    let target = format!("/{HASH}.narinfo");
    examined(&serve(move |asked| (asked == target).then(|| ok(narinfo.clone()))), &[])
}

fn with_nar(form: &'static str, nar: Vec<u8>) -> Said {
    let target = format!("/nar/{form}/item");
    examined(&serve(move |asked| (asked == target).then(|| ok(nar.clone()))), &[])
}

fn nar(form: &str) -> Vec<u8> {
    item().nars[FORMS.iter().position(|one| *one == form).expect("a form")].clone()
}

#[test]
fn a_nar_is_read_in_every_form_that_guix_publish_has() {
    let said = examined(&serve(|_| None), &[]);
    said.assert_well();
    for form in FORMS {
        assert!(said.of("ok", &format!("nar-{form}")).contains("as the narinfo says"));
    }
}

#[test]
fn signatures_are_judged_as_libgcrypt_judges_them() {
    let altered = item().altered();
    assert!(altered.iter().any(|(_, _, good)| *good) && altered.iter().any(|(_, _, good)| !good));
    for (narinfo, key, good) in altered {
        let server = serve(move |target| match target {
            "/signing-key.pub" => Some(ok(key.clone())),
            target if target == format!("/{HASH}.narinfo") => Some(ok(narinfo.clone())),
            _ => None,
        });
        let said = examined(&server, &["--no-download"]);
        match good {
            true => said.assert_well(),
            false => assert!(said.only_failure("signature").contains("the key did not make it")),
        }
    }
}

#[test]
fn a_narinfo_that_was_changed_after_it_was_signed_is_told_so() {
    let changed = item().narinfo().replace("NarSize: ", "NarSize: 0");
    assert!(with_narinfo(changed).only_failure("signature").contains("it was made for another text"));
    let below = item().narinfo().replacen("References", "Reference", 1) + "References: \n";
    assert!(with_narinfo(below).only_failure("signature").contains("References is not among what is signed"));
    let unsigned = item().narinfo().replace("Signature: ", "Signatur: ");
    assert!(with_narinfo(unsigned).only_failure("signature").contains("not signed"));
    let garbled = item().narinfo().replace("Signature: 1;test;K", "Signature: 1;test;L");
    assert!(with_narinfo(garbled).only_failure("signature").contains("it cannot be checked"));
}

#[test]
fn a_narinfo_that_cannot_be_relied_on_is_told_which_line_it_is() {
    for (from, to, says) in [
        ("NarHash: sha256:", "NarHash: md5:", "NarHash: expected sha256"),
        ("StorePath: /gnu/store", "StorePath: /nix/store", "StorePath: expected /gnu/store/"),
        ("Compression: lzip\n", "", "4 × URL, but 3 × Compression"),
        (HASH, &HASH.replace('0', "1"), "that of another item"),
        ("References", "\u{1b}[2J", "control character"),
    ] {
        let found = with_narinfo(item().narinfo().replace(from, to)).only_failure("narinfo");
        assert!(found.contains(says) && !found.contains('\u{1b}'), "{found}");
    }
    let long = with_narinfo("x".repeat(200_000)).only_failure("narinfo");
    assert!(long.contains("line 1: expected NAME: VALUE") && long.len() < 1000, "{}", long.len());
    let absent = format!("/{HASH}.narinfo");
    let server = serve(move |target| (target == absent).then(|| (404, "X-Baking: 1\r\n".into(), vec![])));
    assert!(examined(&server, &[]).only_failure("narinfo").contains("its nar is being made"));
}

#[test]
fn a_nar_that_is_not_what_was_signed_is_told_how_it_differs() {
    for form in FORMS {
        let check = format!("nar-{form}");
        let whole = nar(form);
        let shorter = with_nar(form, whole[..whole.len() - 7].to_vec());
        let told = shorter.of("failure", &check);
        let says = if form == "none" {
            "unpacked it has 299993 bytes, NarSize is 300000"
        } else {
            "does not decompress"
        };
        assert!(told.contains(says), "{told}");
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x10;
        let told = with_nar(form, flipped).only_failure(&check);
        assert!(
            told.contains("SHA-256 is") || told.contains("does not decompress") || told.contains("bytes"),
            "{told}"
        );
        let told = with_nar(form, [&whole[..], b"behind it"].concat()).of("failure", &check);
        assert!(told.contains("does not decompress") || told.contains("300001 bytes or more"), "{told}");
    }
    // The last twenty bytes of lzip are the sum, the size, and the size compressed.
    for at in [20, 16, 8] {
        let mut lzip = nar("lzip");
        let place = lzip.len() - at;
        lzip[place] ^= 1;
        let told = with_nar("lzip", lzip).only_failure("nar-lzip");
        assert!(told.contains("does not decompress as lzip"), "{told}");
    }
    let twice = [nar("gzip"), nar("gzip")].concat();
    assert!(with_nar("gzip", twice).of("failure", "nar-gzip").contains("300001 bytes or more"));
}

#[test]
fn a_nar_that_is_not_there_or_ends_early_is_told_so() {
    let gone = serve(|target| (target == "/nar/zstd/item").then(|| status(504)));
    assert!(examined(&gone, &[]).only_failure("nar-zstd").contains("it is answered 504 Gateway Timeout"));
    let cut = Recorder::start(|request, tcp| {
        if request.target() == "/nar/gzip/item" {
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
            let _ = tcp.write_all(&nar("gzip")[..1000]);
            return Then::Close;
        }
        write(request, tcp, &item().answer(request.target()))
    });
    let told = examined(&cut, &[]).only_failure("nar-gzip");
    assert!(told.contains("closed with 4000 bytes still to come"), "{told}");
}

#[test]
fn nars_are_followed_where_a_redirect_leads_and_not_in_circles() {
    let moved = |to: &'static str| -> Answer { (302, format!("Location: {to}\r\n"), vec![]) };
    let server = serve(move |target| match target {
        "/nar/gzip/item" => Some(moved("/elsewhere/../x?y")),
        "/elsewhere/../x?y" => Some(ok(nar("gzip"))),
        "/nar/lzip/item" => Some(moved("item")),
        "/nar/zstd/item" => Some(moved("ftp://x/")),
        _ => None,
    });
    let said = examined(&server, &[]);
    assert!(said.of("ok", "nar-gzip").contains("as the narinfo says"));
    assert!(said.of("failure", "nar-lzip").contains("more than 5 redirects"));
    assert!(said.of("failure", "nar-zstd").contains("expected http or https"));
}

#[test]
fn lookups_that_are_lost_are_counted() {
    // It closes with requests unread, as a proxy that does not know of pipelining.
    let resets = Recorder::start(|request, tcp| {
        let then = write(request, tcp, &item().answer(request.target()));
        match request.header("user-agent") {
            Some("GNU Guile") => {
                socket2::SockRef::from(&*tcp).set_linger(Some(Duration::ZERO)).expect("a reset at the close");
                Then::Close
            }
            _ => then,
        }
    });
    let told = examined(&resets, &["--no-download"]).only_failure("pipelining-http");
    assert!(told.contains("of 1000 lookups") && told.contains("reset"), "{told}");

    let busy = serve(|target| (target.ends_with(".narinfo") && !target.contains(HASH)).then(|| status(503)));
    let told = examined(&busy, &["--no-download"]).only_failure("pipelining-http");
    assert!(told.contains("989 of 1000 lookups") && told.contains("503"), "{told}");

    let mixes = serve(|target| (target.ends_with(".narinfo")).then(|| ok(item().narinfo())));
    let told = examined(&mixes, &["--no-download"]).only_failure("pipelining-http");
    assert!(told.contains("the answer to request 1 is that to another"), "{told}");
}

#[test]
fn a_server_that_closes_in_good_order_loses_nothing_and_is_told_what_it_costs() {
    let count = AtomicUsize::new(0);
    let server = Recorder::start(move |request, tcp| {
        let answer = item().answer(request.target());
        let last = request.header("user-agent") == Some("GNU Guile")
            && count.fetch_add(1, Ordering::SeqCst) % 100 == 99;
        match last {
            true => {
                let _ = write(request, tcp, &(answer.0, "Connection: close\r\n".into(), answer.2));
                // The lingering close: what still comes is read and dropped.
                let _ = tcp.shutdown(std::net::Shutdown::Write);
                let _ = std::io::copy(tcp, &mut std::io::sink());
                Then::Close
            }
            false => write(request, tcp, &answer),
        }
    });
    let told = examined(&server, &["--no-download"]).only_warning("pipelining-http");
    assert!(told.contains("on 10 connections") && told.contains("keepalive_requests"), "{told}");
}

#[test]
fn a_narinfo_without_a_length_is_told_what_that_costs() {
    let server = Recorder::start(|request, tcp| {
        if request.target() != format!("/{HASH}.narinfo") {
            return write(request, tcp, &item().answer(request.target()));
        }
        let narinfo = item().narinfo();
        let chunked = format!("{:x}\r\n{narinfo}\r\n0\r\n\r\n", narinfo.len());
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = tcp.write_all((head.to_owned() + &chunked).as_bytes());
        if request.header("connection") == Some("close") { Then::Close } else { Then::Keep }
    });
    let told = examined(&server, &[]).only_warning("narinfo");
    assert!(told.contains("Content-Length"), "{told}");
}

#[test]
fn a_clock_that_is_off_is_told_by_how_much() {
    let date = |time: std::time::SystemTime| {
        let date = httpdate::fmt_http_date(time);
        serve(move |target| {
            let info = item().answer(target);
            (target == "/nix-cache-info").then(|| (200, format!("Date: {date}\r\n"), info.2))
        })
    };
    let now = std::time::SystemTime::now();
    let told = examined(&date(now - Duration::from_secs(3 * 3600)), &["--no-download"]).only_failure("clock");
    assert!(told.contains("3 h behind"), "{told}");
    let told = examined(&date(now + Duration::from_secs(200)), &["--no-download"]).only_warning("clock");
    assert!(told.contains("3 min ahead of"), "{told}");
    examined(&date(now), &["--no-download"]).assert_well();
}

#[test]
fn what_is_no_cache_is_told_so() {
    for (answer, says) in [
        (status(404), "no cache of substitutes"),
        (status(502), "guix publish does not answer"),
        (ok("<html>"), "names no StoreDir"),
    ] {
        let server = serve(move |target| (target == "/nix-cache-info").then(|| answer.clone()));
        let said = examined(&server, &[]);
        assert!(said.of("failure", "cache-info").contains(says), "{said:?}");
    }
    let nix = serve(|target| (target == "/nix-cache-info").then(|| ok("StoreDir: /nix/store\n")));
    assert!(examined(&nix, &[]).of("warning", "cache-info").contains("/nix/store"));
}

/// A server that writes this again and again, whatever it is asked.
fn endless(bytes: &'static [u8]) -> Recorder {
    Recorder::start(move |_, tcp| {
        while tcp.write_all(bytes).is_ok() {}
        Then::Close
    })
}

#[test]
fn nothing_that_a_server_sends_keeps_it_for_ever() {
    let servers = [
        endless(b"\0\xff garbage \x1b[2J\r\n\r\n"),
        endless(b"x"),
        endless(b"HTTP/1.1 200 OK\r\n"),
        endless(b"HTTP/1.1 200 OK\r\n\r\n"),
        endless(b"HTTP/1.1 100 Continue\r\n\r\n"),
        endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"),
        endless(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"),
        endless(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n"),
    ];
    for server in servers {
        let said = examined(&server, &["--timeout", "500ms"]);
        assert!(said.exit == Some(1) && said.of("failure", "cache-info").contains("no answer"), "{said:#?}");
        assert!(!format!("{said:?}").contains('\u{1b}'));
    }
    // One byte now and then is no answer either.
    let slow = Recorder::start(|request, tcp| {
        if request.target() == "/nix-cache-info" {
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nX: ");
            // Until the client leaves, which ends the wait for the next one.
            tcp.set_read_timeout(Some(Duration::from_millis(50))).expect("a read timeout");
            while tcp.read(&mut [0]).is_err() && tcp.write_all(b"x").is_ok() {}
            return Then::Close;
        }
        write(request, tcp, &item().answer(request.target()))
    });
    // For one byte twenty times as long as it takes, for all of them three times that.
    let said = examined(&slow, &["--timeout", "1s"]);
    assert!(said.of("failure", "cache-info").contains("too long altogether"), "{said:#?}");
    let silent = Recorder::start(|_, tcp| {
        let _ = std::io::copy(tcp, &mut std::io::sink());
        Then::Close
    });
    let said = examined(&silent, &["--timeout", "100ms"]);
    assert!(said.of("failure", "cache-info").contains("nothing came for 0.1 s"), "{said:#?}");
}

#[test]
fn a_port_where_nobody_listens_is_told_so() {
    let port = crate::support::free_port();
    let said = super::doctor(&[&format!("http://127.0.0.1:{port}")]);
    let told = said.only_failure(&format!("port-{port}"));
    assert!(told.contains("127.0.0.1: the connection was refused"), "{told}");
    // RFC 6761: never there.
    let said = super::doctor(&["http://farm.invalid:80", "--timeout", "2s"]);
    assert!(said.only_failure("name").contains("does not resolve"), "{HOST}");
}
