//! Showing the CA that the names are ours (RFC 8555 sections 7.5 and 8.3), and finding out which were not.

use std::collections::HashMap;

use instant_acme::{AuthorizationStatus, ChallengeStatus, ChallengeType, Error, Order};

use super::challenges::Presented;
use super::failure::{Failure, in_words, is, patiently};
use super::order::Job;

impl Job<'_> {
    /// Answers the challenge of each name that the CA has not validated yet (RFC 8555 section 7.5.1).
    pub(super) async fn answer(
        &self,
        order: &mut Order,
        presented: &mut HashMap<String, Presented>,
    ) -> Result<(), Failure> {
        let mut left = 6;
        loop {
            match self.try_to_answer(order, presented).await {
                Ok(()) => return Ok(()),
                Err(Trouble::Acme(error)) if is(&error, "badNonce") && left > 0 => left -= 1,
                Err(Trouble::Acme(error)) => return Err(self.http.failed("a challenge", &error)),
                Err(Trouble::Ours(failure)) => return Err(failure),
            }
        }
    }

    async fn try_to_answer(
        &self,
        order: &mut Order,
        presented: &mut HashMap<String, Presented>,
    ) -> Result<(), Trouble> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            // One that failed is told of by the order.
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let name = authorization.identifier().to_string();
            let Some(mut challenge) = authorization.challenge(ChallengeType::Http01) else {
                return Err(Trouble::Ours(Failure::ca(format!(
                    "{name}: the CA offers no http-01 challenge"
                ))));
            };
            if presented.contains_key(&challenge.token) {
                continue;
            }
            let token = challenge.token.clone();
            let answer =
                self.challenges.present(&token, challenge.key_authorization().as_str()).map_err(|error| {
                    Trouble::Ours(Failure::us(format!("{name}: no challenge answered: {error}")))
                })?;
            // Presented first: the CA may look before it has answered us.
            let looked_in_vain = challenge.status == ChallengeStatus::Processing && challenge.error.is_some();
            if challenge.status == ChallengeStatus::Pending || looked_in_vain {
                match challenge.set_ready().await {
                    // Asked again, it may say what it found before (RFC 8555 section 8.2); whether that was the end
                    // of it, the order tells.
                    Err(Error::Api(_)) if self.http.heard().status == 200 => {}
                    other => other?,
                }
                let again = if looked_in_vain { " again" } else { "" };
                self.progress.tell(format!("{name}: the CA is asked to look{again}"));
            }
            presented.insert(token, answer);
        }
        Ok(())
    }

    /// Which name failed, and why.
    pub(super) async fn explain(&self, order: &mut Order) -> String {
        let mut reasons: Vec<String> = order.state().error.iter().map(in_words).collect();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let Ok(state) = patiently!(authorization.refresh()) else { continue };
            let errors = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            match errors.map(in_words).next() {
                Some(why) => reasons.push(format!("{}: {why}", state.identifier())),
                None if state.status == AuthorizationStatus::Invalid => {
                    reasons.push(format!("{}: not validated", state.identifier()));
                }
                None => {}
            }
        }
        if reasons.is_empty() { "the CA does not say why".into() } else { reasons.join("; ") }
    }
}

/// What can go wrong with a challenge.
enum Trouble {
    Acme(Error),
    Ours(Failure),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Acme(error)
    }
}
