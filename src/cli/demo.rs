//! `farmgate demo`

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::server::{self, Beginning, Hooks};
use crate::{config, demo};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The port for plain HTTP; 0 takes any that is free.
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    http: u16,
    /// The port for HTTPS; 0 takes any that is free.
    #[arg(long, default_value_t = 8443, value_name = "PORT")]
    https: u16,
    /// Order the certificate from this ACME server, such as a Pebble that is running.
    ///
    /// It has to look for challenges at the port of --http, under the name localhost: with `"httpPort": 8080` in
    /// Pebble's configuration it does.
    #[arg(long, value_name = "URL")]
    acme: Option<String>,
    /// The root to trust when talking to that server, PEM.
    #[arg(long, value_name = "FILE", requires = "acme")]
    acme_ca: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    // Removed when the gate has ended, however it did.
    let folder = tempfile::Builder::new().prefix("farmgate-demo-").tempdir().map_err(failed)?;
    // The backends live on this runtime, beside the gate's own threads, which it does not have to know of.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(failed)?;
    let choices = demo::Choices {
        http: arguments.http,
        https: arguments.https,
        acme: arguments
            .acme
            .clone()
            .map(|directory| demo::AcmeServer { directory, ca_file: arguments.acme_ca.clone() }),
    };
    let farm = runtime.block_on(demo::start(folder.path(), &choices)).map_err(failed)?;
    let loaded = config::load(&farm.config)?;
    let _logging = server::logging::to_stderr();
    let ready = Box::new(move |listening: &crate::control::Listening| {
        if let (Some(&http), Some(&https)) = (listening.http.first(), listening.https.first()) {
            println!("{}", farm.welcome(http, https));
        }
    });
    let hooks = Hooks { ready: Some(ready), shared_process: true };
    server::run(loaded, Beginning::Alone, hooks).map_err(|error| {
        Failure::Failed(format!("{error}\nOther ports: farmgate demo --http PORT --https PORT"))
    })
}

fn failed(error: std::io::Error) -> Failure {
    Failure::Failed(format!("the demo cannot start: {error}"))
}
