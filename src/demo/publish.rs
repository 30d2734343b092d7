//! What stands in for `guix publish`: one store item, with the paths and headers of the real one.

use std::sync::Arc;

use super::{
    http::{Request, Response},
    store_item::{SIGNING_KEY, STORE, StoreItem},
};

/// What `guix publish --ttl=1d` would say of a narinfo and of a compressed nar.
const TTL: u32 = 86_400;

/// How long an item may be thought absent: `guix publish --negative-ttl=5m`.
const NEGATIVE_TTL: u32 = 300;

/// The backend's answers.
pub fn answers(item: Arc<StoreItem>) -> impl Fn(&Request) -> Response + Send + Sync + 'static {
    move |request| {
        let segments: Vec<_> = request.segments.iter().map(String::as_str).collect();
        answer(&item, &segments)
    }
}

fn answer(item: &StoreItem, segments: &[&str]) -> Response {
    match segments {
        ["nix-cache-info"] => Response::ok(
            "text/plain;charset=utf-8",
            format!("StoreDir: {STORE}\nWantMassQuery: 0\nPriority: 100\n"),
        ),
        ["signing-key.pub"] => Response::ok("text/plain;charset=UTF-8", SIGNING_KEY),
        ["nar", "gzip", base] if *base == item.base => {
            Response::ok("application/octet-stream;charset=ISO-8859-1", item.gzip.clone()).max_age(TTL)
        }
        ["nar", base] if *base == item.base => {
            Response::ok("application/octet-stream;charset=ISO-8859-1", item.nar.clone()).max_age(TTL)
        }
        [file] => match file.strip_suffix(".narinfo") {
            Some(hash) if hash == item.hash_part => {
                Response::ok("application/x-nix-narinfo;charset=utf-8", item.narinfo.clone()).max_age(TTL)
            }
            Some(_) => Response::not_found().max_age(NEGATIVE_TTL),
            None => Response::not_found(),
        },
        _ => Response::not_found(),
    }
}
