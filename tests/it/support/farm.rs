//! The usual scene: a publish, a Cuirass, an admin authority, and a gate in front of them.

use super::config::{Config, HOST, Site};
use super::gate::Gate;
use super::guile::Guile;
use super::pki::{World, world};
use super::recorder::Recorder;

pub struct Farm {
    // Dropped, and so stopped, in this order.
    pub gate: Gate,
    pub publish: Guile,
    pub cuirass: Guile,
    pub world: &'static World,
}

impl Farm {
    pub fn start() -> Farm {
        Farm::with(|config| config)
    }

    /// The usual scene with a changed configuration.
    pub fn with(change: impl FnOnce(Config) -> Config) -> Farm {
        Farm::with_site(|site| site, change)
    }

    pub fn with_site(site: impl FnOnce(Site) -> Site, change: impl FnOnce(Config) -> Config) -> Farm {
        let (publish, cuirass, world) = (Guile::publish(), Guile::cuirass(), world());
        let site = site(Site::new(HOST).publish(&publish.url()).ci(&cuirass.url()));
        let gate = change(Config::new(site).client_ca(&world.authority.cert)).start();
        Farm { gate, publish, cuirass, world }
    }
}

/// A gate whose publish and CI are both this recorder.
pub fn recorded(recorder: &Recorder, change: impl FnOnce(Config) -> Config) -> Gate {
    let site = Site::new(HOST).publish(&recorder.url()).ci(&recorder.url());
    change(Config::new(site).client_ca(&world().authority.cert)).start()
}
