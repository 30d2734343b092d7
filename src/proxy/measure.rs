//! What is counted about a request, gathered from where it is known.

use super::context::{Context, connection};
use super::error_page::Problem;
use super::plan::{self, Plan, Planned, Which};
use super::session::Session;
use crate::metrics::{Compression, Protocol, Request, Role, Route, Verdict, Worker};
use crate::route::Target;

/// Counts the verdict, if a request needed one.
pub fn planned(worker: &Worker, planned: &Planned) {
    let verdict = match &planned.plan {
        Plan::Admin(..) | Plan::Page(..) => Verdict::Admitted,
        Plan::Refuse(Problem::NotAdmitted(refusal)) => Verdict::from(*refusal),
        Plan::Refuse(Problem::CrossSite) => Verdict::CrossSite,
        Plan::Refuse(Problem::AdminOverPlainHttp) => Verdict::PlainHttp,
        _ => return,
    };
    worker.verdicts[verdict.index()].increment();
}

/// Counts a request whose backend gave no answer that could be sent on. `why` may quote nobody.
pub fn backend_failed(worker: &Worker, ctx: &Context, problem: &Problem, why: impl FnOnce() -> String) {
    let (Some(upstream), Problem::BadGateway | Problem::GatewayTimeout) = (ctx.upstream, problem) else {
        return;
    };
    let backend = ctx.site().metrics.backend(role(upstream.backend));
    backend.shard(worker).errors.increment();
    backend.health.failed(why());
}

/// Counts a request that is over. `status` is as the access log has it.
pub fn answered(worker: &Worker, session: &Session, ctx: &Context, status: u16) {
    let head = session.req_header();
    ctx.site().metrics.record(
        worker,
        &Request {
            route: ctx.route,
            protocol: Protocol::of(head.version, connection(session).tls.is_some()),
            status,
            bytes_in: session.body_bytes_read() as u64,
            bytes_out: session.body_bytes_sent() as u64,
            compression: (ctx.route == Route::Nar).then(|| compression(plan::target_of(head))),
            took: Some(ctx.began.elapsed()),
            spent: &ctx.spent,
        },
    );
}

fn compression(target: &[u8]) -> Compression {
    Target::parse(target).map_or(Compression::None, |parsed| Compression::of_path(parsed.path))
}

fn role(which: Which) -> Role {
    match which {
        Which::Publish => Role::Publish,
        Which::Ci => Role::Ci,
    }
}
