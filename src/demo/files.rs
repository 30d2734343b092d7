//! The files that the gate is run on.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    net::{Ipv6Addr, TcpListener},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use super::{AcmeServer, Choices, Farm, certificates::Certificates};

/// Certificates, keys and configuration; keys are for the owner's eyes only.
pub fn write(farm: &Farm, certificates: &Certificates, choices: &Choices) -> io::Result<()> {
    let public = |name: &str, text: &str| File::create(farm.folder.join(name))?.write_all(text.as_bytes());
    let secret = |name: &str, text: &str| {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(farm.folder.join(name))?.write_all(text.as_bytes())
    };

    public("ca.crt", &certificates.ca)?;
    // Of two CAs: the one that is gone issued the files for curl, the other one has a register.
    let register = fs::read_to_string(farm.folder.join("state/admin/ca.crt"))?;
    public("client-ca.crt", &(certificates.ca.clone() + &register))?;
    public("server.crt", &certificates.server.certificate)?;
    secret("server.key", &certificates.server.key)?;
    public("admin.crt", &certificates.admin.certificate)?;
    secret("admin.key", &certificates.admin.key)?;
    public("farmgate.toml", &config(farm, choices)?)?;
    for name in ["state", "cache"] {
        DirBuilder::new().recursive(true).mode(0o700).create(farm.folder.join(name))?;
    }
    Ok(())
}

fn config(farm: &Farm, choices: &Choices) -> io::Result<String> {
    let path = |name: &str| quote(&farm.folder.join(name));
    Ok(format!(
        r#"# Written by `farmgate demo`. A real farm needs little more than the [[site]].

[listen]
http  = {http}
https = {https}

[paths]
state   = {state}
cache   = {cache}
control = {control}
pid     = {pid}

[[site]]
names       = ["localhost"]
publish     = "http://{publish}"
ci          = "http://{ci}"
certificate = {certificate}
{acme}
[admin]
client_ca = {client_ca}

[access_log]
http  = {http_log}
https = {https_log}

[metrics]
listen = "127.0.0.1:0"
"#,
        http = listen(choices.http),
        https = listen(choices.https),
        state = path("state")?,
        cache = path("cache")?,
        control = path("control.sock")?,
        pid = path("pid")?,
        publish = farm.publish,
        ci = farm.ci,
        certificate = match &choices.acme {
            Some(_) => quoted("acme"),
            None => format!("{{ chain = {}, key = {} }}", path("server.crt")?, path("server.key")?),
        },
        acme = choices.acme.as_ref().map(acme).transpose()?.unwrap_or_default(),
        client_ca = path("client-ca.crt")?,
        http_log = path("http.access.log")?,
        https_log = path("https.access.log")?,
    ))
}

/// Where the certificate is ordered.
fn acme(server: &AcmeServer) -> io::Result<String> {
    let ca_file = match &server.ca_file {
        Some(path) => format!("ca_file   = {}\n", quote(&std::path::absolute(path)?)?),
        None => String::new(),
    };
    Ok(format!("\n[acme]\ndirectory = {}\n{ca_file}", quoted(&server.directory)))
}

/// Loopback only. Both families where there are two, as browsers try `[::1]` first for `localhost`;
/// with port 0 they could not share a number, so then there is one.
fn listen(port: u16) -> String {
    let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if port != 0 && has_ipv6 {
        format!(r#"["127.0.0.1:{port}", "[::1]:{port}"]"#)
    } else {
        format!(r#"["127.0.0.1:{port}"]"#)
    }
}

fn quote(path: &Path) -> io::Result<String> {
    let Some(text) = path.to_str() else {
        let reason = format!("{} is not UTF-8, and TOML must be: choose another TMPDIR", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    };
    Ok(quoted(text))
}

/// As a TOML string. JSON's escapes are among TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn the_configuration_is_toml_that_names_files_which_are_there() {
        let folder = tempfile::Builder::new().prefix("far\"m \\").tempdir().unwrap();
        let farm =
            super::super::start(folder.path(), &Choices { http: 8080, ..Choices::default() }).await.unwrap();

        let text = fs::read_to_string(&farm.config).unwrap();
        let config: toml::Table = text.parse().unwrap();
        let certificate = &config["site"][0]["certificate"];
        for file in [&certificate["chain"], &certificate["key"], &config["admin"]["client_ca"]] {
            assert!(Path::new(file.as_str().unwrap()).is_file(), "{file:?}");
        }
        assert_eq!(config["listen"]["http"][0].as_str(), Some("127.0.0.1:8080"));
        assert_eq!(config["listen"]["https"].as_array().unwrap().len(), 1);
        assert_eq!(config["site"][0]["ci"].as_str(), Some(&*format!("http://{}", farm.ci)));
    }

    #[tokio::test]
    async fn with_an_acme_server_the_certificate_is_ordered_there() {
        let folder = tempfile::tempdir().unwrap();
        let acme = AcmeServer { directory: "https://ca.test/\"dir".into(), ca_file: Some("root.pem".into()) };
        let choices = Choices { acme: Some(acme), ..Choices::default() };
        let farm = super::super::start(folder.path(), &choices).await.unwrap();
        let config: toml::Table = fs::read_to_string(&farm.config).unwrap().parse().unwrap();
        assert_eq!(config["site"][0]["certificate"].as_str(), Some("acme"));
        assert_eq!(config["acme"]["directory"].as_str(), Some("https://ca.test/\"dir"));
        // The file was named from where the command was given.
        let here = std::env::current_dir().unwrap().join("root.pem");
        assert_eq!(config["acme"]["ca_file"].as_str(), here.to_str());
    }

    #[tokio::test]
    async fn keys_are_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let farm = super::super::start(folder.path(), &Choices::default()).await.unwrap();

        for key in [farm.admin_key, farm.folder.join("server.key")] {
            assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
