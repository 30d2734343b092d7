//! The program's own log, on stderr.

use super::support::config::{Config, HOST, Site};
use super::support::guile::Guile;

fn farm(publish: &Guile) -> Config {
    Config::new(Site::new(HOST).publish(&publish.url()))
}

#[test]
fn on_demand_there_is_a_line_for_each_request_with_the_id_that_the_access_log_has() {
    let publish = Guile::publish();
    let gate = farm(&publish).environment("FARMGATE_LOG", "debug").start();
    assert_eq!(gate.http().get("/nix-cache-info").status, 200);
    let line = gate.wait_for_stderr("route=\"nix-cache-info\" status=200");
    let id = gate.wait_for_access("http", "/nix-cache-info").split(' ').nth(1).expect("an id").to_owned();
    assert!(line.contains(&format!("request{{id={id} ")) && line.contains("time.idle="), "{line}");
    assert!(gate.stderr().iter().any(|line| line.contains("backend{name=") && line.contains(&id)));
}

#[test]
fn otherwise_requests_leave_no_line_and_a_level_that_is_none_is_told() {
    let publish = Guile::publish();
    let gate = farm(&publish).environment("FARMGATE_LOG", "loud").start();
    assert_eq!(gate.http().get("/nix-cache-info").status, 200);
    gate.wait_for_access("http", "/nix-cache-info");
    let told = gate.stderr();
    assert!(told.iter().any(|line| line.contains("\"loud\"") && line.contains("error, warn, info or debug")));
    assert!(!told.iter().any(|line| line.contains("request{")), "{told:?}");
}
