//! The made-up farm of `farmgate demo`: embedded backends on loopback, certificates, and a
//! configuration file.
//!
//! Nothing here knows the gate. It writes what an operator would write, in a folder of its own, and
//! the gate is then run on that as on any other configuration.

mod certificates;
mod ci;
mod files;
mod http;
mod nar;
mod pages;
mod publish;
mod register;
mod store_item;
mod welcome;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::net::TcpListener;

use self::{certificates::Certificates, store_item::StoreItem};

/// A farm that is up, and the files that were written for it.
pub struct Farm {
    /// Where its files are: an absolute path.
    pub folder: PathBuf,
    /// The gate's configuration.
    pub config: PathBuf,
    /// The certificate of the CA that issued the server's and the admin's, PEM.
    pub ca: PathBuf,
    /// The admin's certificate, PEM.
    pub admin_certificate: PathBuf,
    /// The admin's key, PEM.
    pub admin_key: PathBuf,
    /// Where the stand-in for `guix publish` listens.
    pub publish: SocketAddr,
    /// Where the stand-in for Cuirass listens.
    pub ci: SocketAddr,
    item: Arc<StoreItem>,
    /// Where the server's certificate is ordered, if it is.
    directory: Option<String>,
}

/// What can be chosen.
#[derive(Debug, Default)]
pub struct Choices {
    /// The gate's port for plain HTTP; with 0 the system chooses.
    pub http: u16,
    /// The gate's port for HTTPS; with 0 the system chooses.
    pub https: u16,
    /// Who issues the server's certificate, in the place of the demo's own CA.
    pub acme: Option<AcmeServer>,
}

/// An ACME server that is running.
#[derive(Debug)]
pub struct AcmeServer {
    /// The URL of its directory.
    pub directory: String,
    /// PEM file of the root to trust when talking to it, in place of the system's.
    pub ca_file: Option<PathBuf>,
}

/// Starts the backends on the current tokio runtime and writes the gate's files into `folder`,
/// which must exist.
///
/// The backends run until that runtime is dropped.
pub async fn start(folder: &Path, choices: &Choices) -> io::Result<Farm> {
    let item = Arc::new(StoreItem::pack()?);
    let certificates = Certificates::make().map_err(io::Error::other)?;
    let publish = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let ci = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;

    let folder = std::path::absolute(folder)?;
    register::make(&folder.join("state"), &folder).map_err(io::Error::other)?;
    let farm = Farm {
        config: folder.join("farmgate.toml"),
        ca: folder.join("ca.crt"),
        admin_certificate: folder.join("admin.crt"),
        admin_key: folder.join("admin.key"),
        publish: publish.local_addr()?,
        ci: ci.local_addr()?,
        item: Arc::clone(&item),
        directory: choices.acme.as_ref().map(|server| server.directory.clone()),
        folder,
    };
    files::write(&farm, &certificates, choices)?;
    farm.write_lookup_script()?;

    tokio::spawn(http::serve(publish, publish::answers(Arc::clone(&item))));
    tokio::spawn(http::serve(ci, ci::answers(item)));
    Ok(farm)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    async fn get(backend: SocketAddr, path: &str, header: &str) -> String {
        let mut stream = TcpStream::connect(backend).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\n{header}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn the_item_is_published_as_guix_publish_would() {
        let folder = tempfile::tempdir().unwrap();
        let farm = start(folder.path(), &Choices::default()).await.unwrap();
        let StoreItem { base, hash_part, gzip, .. } = &*farm.item;

        let narinfo = get(farm.publish, &format!("/{hash_part}.narinfo"), "").await;
        assert!(narinfo.contains("Content-Type: application/x-nix-narinfo;charset=utf-8\r\n"));
        assert!(narinfo.contains("Cache-Control: max-age=86400\r\n"));
        assert!(narinfo.contains(&format!("\nURL: nar/gzip/{base}\n")));

        let nar = get(farm.publish, &format!("/nar/gzip/{base}"), "").await;
        assert!(nar.contains(&format!("Content-Length: {}\r\n", gzip.len())), "{nar}");

        let absent = get(farm.publish, "/00000000000000000000000000000000.narinfo", "").await;
        assert!(absent.starts_with("HTTP/1.1 404 "), "{absent}");
        assert!(absent.contains("Cache-Control: max-age=300\r\n"), "{absent}");
    }

    #[tokio::test]
    async fn an_admin_action_shows_who_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let farm = start(folder.path(), &Choices::default()).await.unwrap();
        assert!(!get(farm.ci, "/", "").await.contains("restarted by"));

        let header = "X-Client-Cert-CN: someone\r\n";
        let answer = get(farm.ci, "//%61dmin/build/1/restart", header).await;
        assert!(answer.ends_with("Build 1 restarted by someone.\n"), "{answer}");
        assert!(get(farm.ci, "/", "").await.contains("restarted by someone"));
    }
}
