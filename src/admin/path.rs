//! From a client's certificate to the client CA.

use rustls::pki_types::CertificateDer;

use super::ca::RevokedSerials;
use super::certificate::Certificate;
use super::revocation::Revocations;
use super::verdict::Refusal;

/// Intermediates between the leaf and the client CA: four signatures in a row at most.
const MOST_INTERMEDIATES: usize = 3;
/// Certificates that are looked at, of those that the client sent after its own.
const MOST_CANDIDATES: usize = 8;
/// Signatures verified for one verdict. A client chooses its chain, so without an end it would
/// choose our work.
const MOST_SIGNATURES: u32 = 16;

/// What a leaf is judged by.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) anchors: &'a [Certificate],
    pub(super) revocations: &'a Revocations,
    /// By the CA that is run here.
    pub(super) own: &'a RevokedSerials,
    /// Seconds since 1970.
    pub(super) now: i64,
}

impl Rules<'_> {
    /// Looks for a path from `leaf` to an anchor, until one holds. `sent` is what the client sent along, in
    /// any order.
    ///
    /// Signatures come first. Only a path that is signed all the way is judged, so that what a refusal says
    /// is about a certificate our CA made. When several paths are signed and none holds, the first reason is
    /// given.
    pub(super) fn judge(self, leaf: &Certificate, sent: &[CertificateDer<'_>]) -> Result<(), Refusal> {
        // What does not parse cannot be on the path either: it is left out, not held against the rest.
        let candidates: Vec<_> =
            sent.iter().take(MOST_CANDIDATES).filter_map(|der| Certificate::parse(der).ok()).collect();
        let mut search =
            Search { rules: self, candidates: &candidates, signatures: 0, refusal: Refusal::UnknownIssuer };
        if search.climb(&mut vec![leaf]) { Ok(()) } else { Err(search.refusal) }
    }

    /// Judges a path whose signatures are verified: the leaf, its issuer, and so on, without the anchor.
    fn check(self, path: &[&Certificate], anchor: &Certificate) -> Result<(), Refusal> {
        let [leaf, intermediates @ ..] = path else { return Err(Refusal::UnknownIssuer) };
        self.check_leaf(leaf)?;
        for (below, issuer) in intermediates.iter().enumerate() {
            check_intermediate(issuer)?;
            check_path_length(issuer, below)?;
        }
        check_path_length(anchor, intermediates.len())?;

        for certificate in path.iter().copied().chain([anchor]) {
            // An anchor too: a root in the file may have revoked the intermediate next to it.
            if self.revocations.contains(certificate) || self.own.contains(certificate) {
                return Err(Refusal::Revoked);
            }
        }
        for certificate in path.iter().copied().chain([anchor]) {
            if self.now < certificate.not_before {
                return Err(Refusal::NotYetValid);
            }
            if self.now > certificate.not_after {
                return Err(Refusal::Expired);
            }
        }
        Ok(())
    }

    fn check_leaf(self, leaf: &Certificate) -> Result<(), Refusal> {
        if leaf.not_understood.is_some() {
            return Err(Refusal::Malformed);
        }
        // A CA is nobody: who holds its key can make a certificate for somebody, who can then be told apart
        // and revoked. In whatever certificate the key comes, an anchor's own, a renewed one, or a version 1
        // that does not say "CA".
        let is_ca = leaf.basic_constraints.as_ref().is_some_and(|constraints| constraints.ca);
        if is_ca || self.anchors.iter().any(|anchor| anchor.public_key == leaf.public_key) {
            return Err(Refusal::NotForClients);
        }
        if leaf.key_usage.is_some_and(|usage| !usage.digital_signature())
            || leaf.allows_client_auth == Some(false)
        {
            return Err(Refusal::NotForClients);
        }
        Ok(())
    }
}

/// One depth-first search.
struct Search<'a> {
    rules: Rules<'a>,
    candidates: &'a [Certificate],
    signatures: u32,
    refusal: Refusal,
}

impl<'a> Search<'a> {
    /// Whether `path`, which is never empty, can be carried on to an anchor and holds. Calls itself as often
    /// as there may be intermediates.
    fn climb(&mut self, path: &mut Vec<&'a Certificate>) -> bool {
        let Some(&last) = path.last() else { return false };
        for anchor in self.rules.anchors {
            if self.issued(anchor, last) {
                match self.rules.check(path, anchor) {
                    Ok(()) => return true,
                    Err(refusal) if self.refusal == Refusal::UnknownIssuer => self.refusal = refusal,
                    Err(_) => {}
                }
            }
        }
        if path.len() > MOST_INTERMEDIATES {
            return false;
        }
        for candidate in self.candidates {
            let used = path.iter().any(|certificate| std::ptr::eq(*certificate, candidate));
            if !used && self.issued(candidate, last) {
                path.push(candidate);
                if self.climb(path) {
                    return true;
                }
                path.pop();
            }
        }
        false
    }

    /// Names first, byte by byte, then the signature. Key identifiers are not looked at: they are hints, and
    /// where two issuers share a name, trying both is as good.
    fn issued(&mut self, issuer: &Certificate, subject: &Certificate) -> bool {
        if issuer.subject != subject.issuer || self.signatures == MOST_SIGNATURES {
            return false;
        }
        self.signatures += 1;
        issuer.public_key.made(&subject.signed)
    }
}

/// Whether a certificate from the client may have issued another. Nothing older than version 3 may: it cannot
/// say that it is a CA. Name constraints are not processed, so an intermediate that has them is not followed.
fn check_intermediate(issuer: &Certificate) -> Result<(), Refusal> {
    let is_ca = issuer.basic_constraints.as_ref().is_some_and(|constraints| constraints.ca);
    let may_sign = issuer.key_usage.is_none_or(|usage| usage.key_cert_sign());
    if !is_ca || !may_sign || issuer.not_understood.is_some() {
        return Err(Refusal::UnknownIssuer);
    }
    if issuer.allows_client_auth == Some(false) {
        return Err(Refusal::NotForClients);
    }
    Ok(())
}

/// `below` counts the intermediates between the issuer and the leaf. RFC 5280 does not count those that
/// issued themselves; counting them too is stricter and simpler.
fn check_path_length(issuer: &Certificate, below: usize) -> Result<(), Refusal> {
    let longest = issuer.basic_constraints.as_ref().and_then(|constraints| constraints.path_len_constraint);
    match longest {
        Some(longest) if below > longest as usize => Err(Refusal::UnknownIssuer),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests::openssl::Authority;

    #[test]
    fn a_maze_of_intermediates_is_given_up_soon() {
        let ca = Authority::quick();
        let subject = "/CN=Same";
        ca.key("a", "P-256");
        ca.run(&["req", "-x509", "-key", "a.key", "-out", "a.crt", "-subj", subject]);
        // Each of them has issued each of them.
        let same: Vec<_> =
            (0..8).map(|_| ca.issue_as("a", subject, "a", "basicConstraints=CA:TRUE", &[])).collect();
        let same: Vec<_> = same.iter().map(|der| Certificate::parse(der).expect("openssl made it")).collect();
        let root = Certificate::parse(&ca.der("ca")).expect("openssl made it");

        let (revocations, own) = (Revocations::default(), RevokedSerials::default());
        let rules = Rules { anchors: &[root], revocations: &revocations, own: &own, now: 0 };
        let mut search = Search { rules, candidates: &same, signatures: 0, refusal: Refusal::UnknownIssuer };

        assert!(!search.climb(&mut vec![&same[0]]));
        assert_eq!(search.signatures, MOST_SIGNATURES);
    }
}
