//! A panic in one request, kept to that request.
//!
//! It is a fault of ours or of a library's, and others on the same connection, thread and process have nothing to do
//! with it. The log has it from the panic hook, once, with the request's id.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use crate::log::RequestId;

/// There was a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

/// Awaits the work on the request `id`. Costs nothing but the note of whose work this thread is at: the work stays where
/// it is, as room for it here would be room for it twice.
pub async fn contain<T>(id: RequestId, mut work: Pin<&mut impl Future<Output = T>>) -> Result<T, Panicked> {
    poll_fn(|cx| {
        // What the work had borrowed is looked at only to tell the client and the log, and then given up.
        let polled = id.at_work(|| catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}
