//! From names to a certificate: one order (RFC 8555 section 7.4), new or taken up again.

use std::collections::HashMap;
use std::sync::Arc;

use instant_acme::{Account, CertificateIdentifier, Error, Identifier, NewOrder, Order, OrderStatus};
use zeroize::Zeroizing;

use super::account::Accounts;
use super::challenges::{Challenges, Presented};
use super::clock::Time;
use super::failure::{Failure, in_words, is, is_refusal, patiently, status};
use super::http::Http;
use super::key;
use super::ledger::Ledger;
use super::pending::{Pending, PendingFile};
use super::preflight;
use super::progress::Progress;
use super::settings::{Directory, Settings, Site};
use super::wait::Wait;

/// Everything that an order needs.
pub(super) struct Job<'a> {
    pub settings: &'a Settings,
    pub site: &'a Site,
    pub ca: &'a Directory,
    pub http: &'a Http,
    pub accounts: &'a Accounts,
    pub challenges: &'a Arc<Challenges>,
    pub ledger: &'a Ledger,
    pub pending: &'a PendingFile,
    pub progress: &'a Progress,
    /// The certificate that the new one is for, in the CA's words (RFC 9773 section 5).
    pub replaces: Option<CertificateIdentifier<'static>>,
    /// Whether the names' own port 80 has a say before an order is made.
    pub ask_port_80: bool,
}

/// What comes out of an order: both in PEM.
pub(super) struct Issued {
    pub chain: String,
    pub key: Zeroizing<String>,
}

impl Job<'_> {
    /// Gets the certificate, by the order that is under way or by a new one.
    pub(super) async fn obtain(&self, account: Account) -> Result<Issued, Failure> {
        let (pending, order) = match self.resume(&account).await? {
            Some(resumed) => resumed,
            None => self.order(account).await?,
        };
        self.complete(pending, order).await
    }

    /// The order that was under way when we were stopped.
    async fn resume(&self, account: &Account) -> Result<Option<(Pending, Order)>, Failure> {
        let Some(pending) = self.pending.read()? else { return Ok(None) };
        let (ca, names) = (&self.ca.url, &self.site.names);
        if pending.directory != *ca {
            // It may come to something yet, when that CA is asked again.
            return Ok(None);
        }
        let profile = self.profile(account);
        if !pending.is_for(ca, names, self.settings.key_type, profile, Time::now())
            || pending.account != account.id()
        {
            self.pending.remove();
            return Ok(None);
        }
        match patiently!(account.order(pending.url.clone())) {
            Ok(mut order) => {
                if order.state().status == OrderStatus::Invalid {
                    let why = self.explain(&mut order).await;
                    self.progress.tell(format!("the order of {} has failed: {why}", pending.ordered));
                    self.pending.remove();
                    return Ok(None);
                }
                self.progress.tell(format!("going on with the order of {}", pending.ordered));
                Ok(Some((pending, order)))
            }
            // A CA that answers "no" has forgotten it; one that does not answer may still have it.
            Err(Error::Api(problem)) if is_refusal(&Error::Api(problem.clone())) => {
                self.progress.tell(format!(
                    "the CA has no order of {}: {}",
                    pending.ordered,
                    in_words(&problem)
                ));
                self.pending.remove();
                Ok(None)
            }
            Err(error) => Err(self.http.failed("the order under way", &error)),
        }
    }

    /// Makes a new order, and remembers it.
    async fn order(&self, account: Account) -> Result<(Pending, Order), Failure> {
        // A private CA may have a DNS of its own, and look at another port.
        let is_private = self.ca.ca_file.is_some();
        if self.ask_port_80 && (self.settings.challenge_port_is_ours || !is_private) {
            self.progress.tell("asking our own port 80");
            let Settings { challenge_port, timings, .. } = self.settings;
            let dns_counts = !is_private;
            let (names, challenges) = (&self.site.names, self.challenges);
            preflight::check_names(names, challenges, *challenge_port, timings, dns_counts).await?;
        }
        let key_type = self.settings.key_type;
        let key = tokio::task::spawn_blocking(move || key::generate(key_type))
            .await
            .map_err(|error| Failure::us(format!("no key: {error}")))?
            .map_err(|error| Failure::us(format!("no key: {error}")))?;
        let now = Time::now();
        if let Some(until) = self.ledger.capped_until(&self.site.names, now) {
            return Err(Failure::us(format!(
                "enough was ordered for these names in a day: not before {until}"
            )));
        }
        self.ledger.count(&self.site.names, now).map_err(|error| {
            Failure::us(format!("orders cannot be counted: {error}; nothing was ordered"))
        })?;
        let (account, order) = self.place(account).await?;
        let pending = Pending {
            directory: self.ca.url.clone(),
            account: account.id().to_owned(),
            url: order.url().to_owned(),
            names: self.site.names.clone(),
            key_type: key_type.name().to_owned(),
            profile: self.profile(&account).map(str::to_owned),
            key,
            ordered: now,
        };
        self.pending.write(&pending).map_err(|error| Failure::file(&self.pending.0, &error))?;
        self.progress.tell(format!("ordered {}", self.site.names.join(" ")));
        Ok((pending, order))
    }

    /// Places the order, without what the CA will not have: `replaces`, or an account that it has closed.
    async fn place(&self, mut account: Account) -> Result<(Account, Order), Failure> {
        let names: Vec<Identifier> = self.site.names.iter().cloned().map(Identifier::Dns).collect();
        let mut replaces = self.replaces.clone();
        let mut account_is_new = false;
        loop {
            let mut order = NewOrder::new(&names);
            if let Some(certificate) = &replaces {
                order = order.replaces(certificate.clone());
            }
            if let Some(profile) = self.profile(&account) {
                order = order.profile(profile);
            }
            match patiently!(account.new_order(&order)) {
                Ok(order) => return Ok((account, order)),
                Err(error) if replaces.is_some() && may_be_about_replaces(&error) => {
                    self.progress.tell(format!("ordering without `replaces`, which the CA refused: {error}"));
                    replaces = None;
                }
                Err(error) if !account_is_new && self.accounts.is_gone(self.ca, &error) => {
                    self.progress.tell(format!("the CA does not serve our account any more: {error}"));
                    account = self.accounts.replace(self.ca, &self.settings.contact, self.http).await?;
                    account_is_new = true;
                }
                Err(error) => return Err(self.http.failed("a new order", &error)),
            }
        }
    }

    /// Brings an order to its end.
    async fn complete(&self, pending: Pending, mut order: Order) -> Result<Issued, Failure> {
        let mut wait = Wait::new(self.settings);
        // What is in here is being answered on port 80; also after a failure, for the CA may yet look.
        let mut presented: HashMap<String, Presented> = HashMap::new();
        let mut answered = false;
        loop {
            match order.state().status {
                OrderStatus::Pending if !answered => {
                    self.answer(&mut order, &mut presented).await?;
                    answered = true;
                }
                OrderStatus::Pending | OrderStatus::Processing => {
                    wait.pause(self.http.heard().retry_after).await?;
                    self.look_again(&mut order).await?;
                }
                OrderStatus::Ready => {
                    self.progress.tell("the CA has validated every name");
                    presented.drain().for_each(|(_, answer)| answer.withdraw());
                    self.finalize(&pending, &mut order, &mut wait).await?;
                }
                OrderStatus::Valid => {
                    presented.drain().for_each(|(_, answer)| answer.withdraw());
                    break;
                }
                OrderStatus::Invalid => {
                    let why = self.explain(&mut order).await;
                    self.pending.remove();
                    presented.drain().for_each(|(_, answer)| answer.withdraw());
                    return Err(Failure::ca(format!("the order has failed: {why}")));
                }
            }
        }
        self.progress.tell("fetching the certificate");
        let chain =
            patiently!(order.certificate()).map_err(|error| self.http.failed("the certificate", &error))?;
        let chain =
            chain.ok_or_else(|| Failure::ca("the CA has a certificate, and does not hand it over"))?;
        Ok(Issued { chain, key: pending.key })
    }

    async fn look_again(&self, order: &mut Order) -> Result<(), Failure> {
        patiently!(order.refresh())
            .map(|_| ())
            .map_err(|error| self.http.failed("the order under way", &error))
    }

    /// Sends the request for the certificate (RFC 8555 section 7.4).
    async fn finalize(&self, pending: &Pending, order: &mut Order, wait: &mut Wait) -> Result<(), Failure> {
        let request = key::request(&pending.names, &pending.key).map_err(|error| {
            // A key that is no use today is none tomorrow.
            self.pending.remove();
            Failure::us(format!("no request can be made: {error}"))
        })?;
        match patiently!(order.finalize_csr(&request)) {
            Ok(()) => self.progress.tell("asked for the certificate"),
            Err(error) if is(&error, "orderNotReady") => {
                wait.pause(self.http.heard().retry_after).await?;
                self.look_again(order).await?;
            }
            Err(error) => {
                // What it refuses now it would refuse again.
                if is_refusal(&error) {
                    self.pending.remove();
                }
                return Err(self.http.failed("the request for a certificate", &error));
            }
        }
        if order.state().status == OrderStatus::Ready {
            wait.pause(self.http.heard().retry_after).await?;
            self.look_again(order).await?;
        }
        Ok(())
    }

    /// The kind of certificate to ask for: what is configured, where the CA offers it.
    fn profile(&self, account: &Account) -> Option<&str> {
        let wanted = self.ca.profile.as_deref()?;
        if account.profiles().any(|offered| offered.name == wanted) {
            return Some(wanted);
        }
        let offered: Vec<&str> = account.profiles().map(|offered| offered.name).collect();
        tracing::warn!("acme.profile: the CA does not offer \"{wanted}\", but: {}", offered.join(" "));
        None
    }
}

/// 409 and alreadyReplaced are what RFC 9773 section 5 has for it; CAs have others.
fn may_be_about_replaces(error: &Error) -> bool {
    match error {
        Error::Unsupported(_) => true,
        Error::Api(_) if is(error, "accountDoesNotExist") || is(error, "userActionRequired") => false,
        Error::Api(_) => status(error) == Some(409) || is_refusal(error),
        // The CA took the order and did not say `replaces` back, which instant-acme will not have.
        Error::Other(other) => other.to_string().starts_with("replaces"),
        _ => false,
    }
}
