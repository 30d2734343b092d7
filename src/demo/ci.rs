//! What stands in for Cuirass: a few pages, a log, a download, and an admin action that changes
//! something.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    http::{Request, Response},
    pages,
    store_item::{STORE, StoreItem},
};

/// What Cuirass says of `/static` and `/download`.
const HALF_A_DAY: u32 = 43_200;

/// How long a restarted build takes: time to reload the page and see it.
const BUILD_TIME: Duration = Duration::from_secs(8);

const STYLE: &str = include_str!("assets/demo.css");
const README: &[u8] = include_bytes!("assets/item/README");

/// A build as the pages show it.
pub struct Build {
    /// Its number, which is also its place in the list, counted from 1.
    pub id: usize,
    /// What it is built for.
    pub system: &'static str,
    /// How it went when the farm began.
    first_outcome: Status,
    /// When it was last started again, and by whom.
    pub restarted: Option<(Instant, String)>,
}

/// How a build stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// It ran and there is something to show for it.
    Succeeded,
    /// It ran and there is not.
    Failed,
    /// It runs.
    Running,
}

impl Build {
    /// How it stands now. A second try always succeeds: it is a demo.
    pub fn status(&self) -> Status {
        match &self.restarted {
            None => self.first_outcome,
            Some((at, _)) if at.elapsed() < BUILD_TIME => Status::Running,
            Some(_) => Status::Succeeded,
        }
    }

    fn log(&self, base: &str) -> String {
        let end = match self.status() {
            Status::Succeeded => {
                format!("build of /gnu/store/{base} succeeded after 0.1 seconds\n")
            }
            Status::Failed => "gzip: stdout: No space left on device\nphase `install' failed\n".to_owned(),
            Status::Running => return "starting phase `unpack'\n".to_owned(),
        };
        format!("starting phase `unpack'\nstarting phase `build'\nstarting phase `install'\n{end}")
    }
}

/// The backend's answers.
pub fn answers(item: Arc<StoreItem>) -> impl Fn(&Request) -> Response + Send + Sync + 'static {
    let build = |id, system, first_outcome| Build { id, system, first_outcome, restarted: None };
    let builds = Mutex::new(vec![
        build(1, "aarch64-linux", Status::Failed),
        build(2, "x86_64-linux", Status::Succeeded),
    ]);
    move |request| {
        // Nothing panics while it holds the lock; if something ever does, the list is still whole.
        let mut builds = builds.lock().unwrap_or_else(PoisonError::into_inner);
        answer(&item, &mut builds, request)
    }
}

fn answer(item: &StoreItem, builds: &mut [Build], request: &Request) -> Response {
    let segments: Vec<_> = request.segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        [] => html(pages::builds(builds, item)),
        ["admin"] => html(pages::admin(builds, admin(request))),
        ["admin", "build", id, "restart"] => match position(builds, id) {
            Some(position) => restart(&mut builds[position], admin(request)),
            None => Response::not_found(),
        },
        ["build", id, "log", "raw"] => match position(builds, id) {
            Some(position) => text(builds[position].log(&item.base)),
            None => Response::not_found(),
        },
        ["api", "latestbuilds"] => Response::ok("application/json", latest_builds(builds, item)),
        ["log", base] if *base == item.base => {
            text(format!("starting phase `build'\nbuild of /gnu/store/{base} succeeded after 0.1 seconds\n"))
        }
        ["static", "demo.css"] => Response::ok("text/css;charset=utf-8", STYLE).max_age(HALF_A_DAY),
        ["download", "1"] => Response::ok("text/plain;charset=utf-8", README)
            .with("Content-Disposition", "attachment; filename=farmgate-demo.txt")
            .max_age(HALF_A_DAY),
        _ => Response::new("404 Not Found", "text/html;charset=utf-8", pages::not_found()),
    }
}

/// What is built, and where it is: as much of Cuirass's list as `farmgate doctor` looks at.
fn latest_builds(builds: &[Build], item: &StoreItem) -> String {
    let builds = builds.iter().map(|build| {
        serde_json::json!({
            "id": build.id,
            "system": build.system,
            "buildoutputs": { "out": { "path": format!("{STORE}/{}", item.base) } },
        })
    });
    serde_json::Value::from_iter(builds).to_string()
}

/// Who the gate says is at the other end.
fn admin(request: &Request) -> &str {
    request.header("x-client-cert-cn").unwrap_or("somebody that no gate has checked")
}

/// On a GET, because that is what Cuirass does, and what makes the gate in front matter.
fn restart(build: &mut Build, admin: &str) -> Response {
    build.restarted = Some((Instant::now(), admin.to_owned()));
    let text = format!("Build {} restarted by {admin}.\n", build.id);
    Response::new("302 Found", "text/plain;charset=utf-8", text).with("Location", "/admin")
}

fn position(builds: &[Build], id: &str) -> Option<usize> {
    builds.iter().position(|build| build.id.to_string() == id)
}

fn html(page: String) -> Response {
    Response::ok("text/html;charset=utf-8", page)
}

fn text(text: String) -> Response {
    Response::ok("text/plain;charset=utf-8", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(first_outcome: Status) -> Build {
        Build { id: 1, system: "x86_64-linux", first_outcome, restarted: None }
    }

    #[test]
    fn a_restarted_build_runs_and_then_succeeds() {
        let mut build = build(Status::Failed);
        assert_eq!(build.status(), Status::Failed);

        restart(&mut build, "someone");
        assert_eq!(build.status(), Status::Running);

        // Monotonic clocks may begin at boot, so go back only where there is room to.
        if let Some(earlier) = Instant::now().checked_sub(BUILD_TIME) {
            build.restarted = Some((earlier, "someone".into()));
            assert_eq!(build.status(), Status::Succeeded);
        }
    }

    #[test]
    fn builds_are_found_by_exactly_their_number() {
        let builds = [build(Status::Succeeded)];

        assert_eq!(position(&builds, "1"), Some(0));
        assert_eq!(position(&builds, "01"), None);
        assert_eq!(position(&builds, "2"), None);
    }
}
