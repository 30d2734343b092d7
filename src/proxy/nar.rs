//! Nars, of which publish compresses some while it sends them: see [`crate::backend::nars`].

use std::pin::pin;

use bytes::Bytes;
use http::{Method, header};
use pingora::Result;
use pingora::http::ResponseHeader;

use super::ask::{AS_LONG_AS_IT_TAKES, MakeRequest};
use super::pace::{self, Pace};
use super::relay::{Body, Exchange, send_head, while_client_waits};
use super::session::Session;
use crate::backend::{Asked, Incoming, Joined, NarSlot, Outcome, Whole};
use crate::metrics::waiting;

impl Exchange<'_> {
    /// Answers with a nar or a file. `key` names all that makes a difference to the answer.
    pub async fn run_nar(
        &self,
        session: &mut Session,
        make: &MakeRequest<'_, Session>,
        key: Vec<u8>,
        body: Option<Body>,
        mut pace: Option<Box<Pace>>,
    ) -> Result<()> {
        let pace = &mut pace;
        self.spent.asked.increment();
        // No body of the answer is wanted, or one of the request may make a difference: there is nothing to share.
        if session.req_header().method == Method::HEAD || body.is_some() {
            let bytes = body.as_ref().map(|body| &body.bytes);
            let (incoming, asked, _slot) = self.ask_for_nar(session, make, bytes).await?;
            drop(body);
            return self.pass_on(session, incoming, asked, pace).await;
        }
        let patience = self.question.patience();
        let mut slot = None;
        loop {
            let first = match self.question.peers.live_nars().join(key.clone()) {
                Joined::First(first) => first,
                Joined::Later(later) => {
                    slot = None;
                    let outcome = {
                        let outcome =
                            pin!(async { Ok(tokio::time::timeout(patience, later.outcome()).await) });
                        let outcome = while_client_waits(session, outcome, AS_LONG_AS_IT_TAKES);
                        waiting(&self.spent.backend, pin!(outcome)).await?
                    };
                    match outcome {
                        Ok(Some(Outcome::Whole(whole))) => {
                            return self.send_whole(session, &whole, pace).await;
                        }
                        // Whoever asked has left, or has failed: that need not mean anything for this one.
                        Ok(None) => continue,
                        // Also when it took too long: one that is slow must not hold up others for ever.
                        Ok(Some(_)) | Err(_) => {
                            let (incoming, asked, _slot) = self.ask_for_nar(session, make, None).await?;
                            return self.pass_on(session, incoming, asked, pace).await;
                        }
                    }
                }
            };
            let Some(slot) = slot.take().or_else(|| self.try_nar_slot()) else {
                // Who has to wait for a slot of its own must not have others wait behind it.
                drop(first);
                slot = Some(self.nar_slot(session).await?);
                continue;
            };
            let (incoming, asked) = self.ask(session, make, None).await?;
            let head = incoming.head().filter(|head| is_live(head)).cloned();
            let Some(head) = head else {
                first.each_alone();
                return self.pass_on(session, incoming, asked, pace).await;
            };
            let mut reader = first.share(head.clone(), incoming, patience, (asked, slot));
            send_head(session, head).await?;
            loop {
                let part = {
                    let part = pin!(reader.next());
                    let part = while_client_waits(session, part, AS_LONG_AS_IT_TAKES);
                    waiting(&self.spent.backend, pin!(part)).await?
                };
                let Some(part) = part else { break };
                pace::send(session, part, false, pace, self.spent).await?;
            }
            return session.finish_response_body().await.map_err(|error| error.into_down());
        }
    }

    /// A nar holds a slot of its own to its end.
    async fn ask_for_nar(
        &self,
        session: &mut Session,
        make: &MakeRequest<'_, Session>,
        body: Option<&Bytes>,
    ) -> Result<(Incoming, Asked, NarSlot)> {
        let slot = match self.try_nar_slot() {
            Some(slot) => slot,
            None => self.nar_slot(session).await?,
        };
        let (incoming, asked) = self.ask(session, make, body).await?;
        Ok((incoming, asked, slot))
    }

    fn try_nar_slot(&self) -> Option<NarSlot> {
        self.question.peers.try_nar_slot(self.question.client)
    }

    async fn nar_slot(&self, session: &mut Session) -> Result<NarSlot> {
        let slot = pin!(self.question.peers.nar_slot(self.question.client, self.question.worker));
        waiting(&self.spent.backend, pin!(while_client_waits(session, slot, AS_LONG_AS_IT_TAKES))).await
    }

    async fn send_whole(
        &self,
        session: &mut Session,
        whole: &Whole,
        pace: &mut Option<Box<Pace>>,
    ) -> Result<()> {
        let mut head = whole.head.clone();
        // Now it is known, and tells the client whether it got all of it.
        head.insert_header(header::CONTENT_LENGTH, whole.length)?;
        send_head(session, head).await?;
        for part in &whole.parts {
            pace::send(session, part.clone(), false, pace, self.spent).await?;
        }
        session.finish_response_body().await.map_err(|error| error.into_down())
    }
}

/// Whether publish compresses while it sends: such an answer ends with its connection.
fn is_live(head: &ResponseHeader) -> bool {
    let has = |name| head.headers.contains_key(name);
    head.status == http::StatusCode::OK && !has(header::CONTENT_LENGTH) && !has(header::TRANSFER_ENCODING)
}
