//! Certificates that reach the client CA through others.

use rustls::pki_types::CertificateDer;

use super::openssl::Authority;
use super::{DAY, Gate, Refusal, gate, now, refused};

const CA: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign,cRLSign";

#[test]
fn a_client_of_an_intermediate_is_let_in_in_whatever_order_the_chain_comes() {
    let ca = Authority::quick();
    let upper = ca.intermediate("upper", CA);
    ca.key("lower", "P-256");
    let lower = ca.issue("lower", "upper", CA, &[]);
    ca.key("alice", "P-256");
    let alice = ca.issue("alice", "lower", "", &[]);
    let gate = gate(&ca);
    let root = ca.der("ca");
    let garbage = CertificateDer::from(vec![0x30, 0x82]);
    for others in [vec![&lower, &upper], vec![&upper, &lower], vec![&root, &garbage, &upper, &upper, &lower]]
    {
        let chain: Vec<_> = [&alice].into_iter().chain(others).cloned().collect();
        assert_eq!(gate.judge(&chain, now()).expect("alice").common_name, "alice");
    }
    assert_eq!(refused(gate.judge(&[alice.clone(), lower], now())), Refusal::UnknownIssuer);
    assert_eq!(refused(gate.judge(&[alice.clone(), upper], now())), Refusal::UnknownIssuer);
    assert_eq!(refused(gate.judge(&[alice], now())), Refusal::UnknownIssuer);
}

#[test]
fn who_is_no_ca_for_clients_cannot_vouch_for_any() {
    let ca = Authority::quick();
    let gate = gate(&ca);
    for (extensions, expected) in [
        ("basicConstraints=CA:TRUE", Ok(())),
        ("basicConstraints=CA:TRUE,pathlen:0\nextendedKeyUsage=clientAuth", Ok(())),
        ("", Err(Refusal::UnknownIssuer)),
        ("subjectKeyIdentifier=hash", Err(Refusal::UnknownIssuer)),
        ("basicConstraints=CA:FALSE\nkeyUsage=keyCertSign", Err(Refusal::UnknownIssuer)),
        ("basicConstraints=CA:TRUE\nkeyUsage=digitalSignature,cRLSign", Err(Refusal::UnknownIssuer)),
        ("basicConstraints=CA:TRUE\nextendedKeyUsage=serverAuth", Err(Refusal::NotForClients)),
        (
            "basicConstraints=CA:TRUE\nnameConstraints=critical,excluded;email:a.org",
            Err(Refusal::UnknownIssuer),
        ),
        ("basicConstraints=CA:TRUE\nnameConstraints=permitted;email:a.org", Err(Refusal::UnknownIssuer)),
        (
            "basicConstraints=CA:TRUE\npolicyConstraints=critical,requireExplicitPolicy:0",
            Err(Refusal::UnknownIssuer),
        ),
        ("basicConstraints=CA:TRUE\n1.2.3.4=critical,ASN1:NULL", Err(Refusal::UnknownIssuer)),
    ] {
        let between = ca.intermediate("between", extensions);
        ca.key("alice", "P-256");
        let alice = ca.issue("alice", "between", "", &[]);
        assert_eq!(gate.judge(&[alice, between], now()).map(drop), expected, "{extensions}");
    }
}

#[test]
fn a_client_cannot_issue_to_others() {
    let ca = Authority::like_cuirass();
    let alice = ca.client("alice", "P-256");
    ca.key("eve", "P-256");
    let eve = ca.issue("eve", "alice", "", &[]);
    assert_eq!(refused(gate(&ca).judge(&[eve, alice], now())), Refusal::UnknownIssuer);
}

#[test]
fn path_lengths_are_kept_to_the_anchor_s_too() {
    for (anchor, upper, allowed) in [
        ("CA:TRUE", "CA:TRUE", true),
        ("CA:TRUE,pathlen:2", "CA:TRUE,pathlen:1", true),
        ("CA:TRUE", "CA:TRUE,pathlen:0", false),
        ("CA:TRUE,pathlen:1", "CA:TRUE", false),
    ] {
        let anchored = format!("basicConstraints=critical,{anchor}");
        // Not `req -x509`, which adds a basicConstraints of its own.
        let ca = Authority::quick();
        ca.key("root", "P-256");
        ca.run(&["req", "-new", "-key", "root.key", "-out", "root.csr", "-subj", "/CN=Root"]);
        std::fs::write(ca.path("root.ext"), anchored).expect("a writable folder");
        ca.run(&[
            "x509", "-req", "-in", "root.csr", "-signkey", "root.key", "-out", "root.crt", "-extfile",
            "root.ext",
        ]);
        let gate = Gate::load(&ca.path("root.crt"), &[]);
        assert_eq!(gate.closed_because(), None);

        ca.key("upper", "P-256");
        let above = ca.issue("upper", "root", &format!("basicConstraints={upper}"), &[]);
        ca.key("lower", "P-256");
        let below = ca.issue("lower", "upper", "basicConstraints=CA:TRUE", &[]);
        ca.key("alice", "P-256");
        let alice = ca.issue("alice", "lower", "", &[]);
        let expected = if allowed { Ok(()) } else { Err(Refusal::UnknownIssuer) };
        assert_eq!(gate.judge(&[alice, below, above], now()).map(drop), expected, "{anchor}, {upper}");
    }
}

#[test]
fn four_signatures_are_followed_and_a_fifth_is_not() {
    let ca = Authority::quick();
    let mut chain = Vec::new();
    let mut issuer = "ca".to_owned();
    for (level, expected) in [(1, Ok(())), (2, Ok(())), (3, Ok(())), (4, Err(Refusal::UnknownIssuer))] {
        let name = format!("level{level}");
        ca.key(&name, "P-256");
        chain.insert(0, ca.issue(&name, &issuer, "basicConstraints=CA:TRUE", &[]));
        issuer = name;
        ca.key("alice", "P-256");
        let alice = ca.issue("alice", &issuer, "", &[]);
        let sent: Vec<_> = [alice].into_iter().chain(chain.iter().cloned()).collect();
        assert_eq!(gate(&ca).judge(&sent, now()).map(drop), expected, "{level} intermediates");
    }
}

#[test]
fn an_expired_intermediate_vouches_for_nobody() {
    let ca = Authority::quick();
    ca.key("between", "P-256");
    let between = ca.issue("between", "ca", CA, &["-days", "10"]);
    ca.key("alice", "P-256");
    let alice = ca.issue("alice", "between", "", &[]);
    let gate = gate(&ca);
    let at = |when| gate.judge(&[alice.clone(), between.clone()], when).map(drop);
    assert_eq!(at(now()), Ok(()));
    assert_eq!(at(now() + 11 * DAY), Err(Refusal::Expired));
    assert_eq!(at(now() - DAY), Err(Refusal::NotYetValid));
}

#[test]
fn a_second_path_counts_when_the_first_does_not_hold() {
    let ca = Authority::quick();
    ca.key("between", "P-256");
    let expired = ca.issue("between", "ca", CA, &["-days", "10"]);
    let renewed = ca.issue("between", "ca", CA, &["-days", "100"]);
    ca.key("alice", "P-256");
    let alice = ca.issue("alice", "between", "", &[]);
    let gate = gate(&ca);
    let then = now() + 11 * DAY;
    assert!(gate.judge(&[alice.clone(), expired.clone(), renewed], then).is_ok());
    assert_eq!(refused(gate.judge(&[alice, expired], then)), Refusal::Expired);
}
