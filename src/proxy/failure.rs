//! What an error means for the client, and how it is told without quoting anybody.

use pingora::{Error, ErrorSource, ErrorType};

use super::error_page::Problem;

/// How the contexts begin that we give to errors.
const OUR_CONTEXT: &str = "backend ";

/// What to tell the client about `error`; none when the client itself is the one that failed.
pub(super) fn problem_of(error: &Error) -> Option<Problem> {
    match (error.etype(), error.esource()) {
        (ErrorType::HTTPStatus(status), _) => Some(Problem::from_status(*status)),
        (
            ErrorType::ConnectionClosed | ErrorType::WriteError | ErrorType::WriteTimedout,
            ErrorSource::Downstream,
        ) => None,
        (ErrorType::ReadError, ErrorSource::Downstream) => None,
        (ErrorType::ReadTimedout, ErrorSource::Downstream) => Some(Problem::RequestTimeout),
        (_, ErrorSource::Downstream) => Some(Problem::BadRequest),
        (ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout, _) => {
            Some(Problem::GatewayTimeout)
        }
        (_, ErrorSource::Upstream) => Some(Problem::BadGateway),
        _ => Some(Problem::Internal),
    }
}

/// The error in words that quote nothing a client or a backend sent: its kind, what we said of it ourselves, and
/// what the system said. The engine's own explanations may hold a whole head, addresses included.
pub(super) fn reason(error: &Error) -> String {
    let mut reason = error.etype().as_str().to_owned();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(context) = error.context.as_ref().map(|context| context.as_str())
            && context.starts_with(OUR_CONTEXT)
        {
            reason = format!("{reason}: {context}");
        }
        let cause = error.cause.as_deref();
        if let Some(system) = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>()) {
            reason = format!("{reason}: {}", system.kind());
        }
        // `more_context` boxes what is boxed already.
        next = cause.and_then(|cause| cause.downcast_ref::<Box<Error>>()).map(|boxed| &**boxed);
    }
    reason
}
