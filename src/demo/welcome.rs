//! What `farmgate demo` says when it is up.

use std::{fs, io, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path};

use super::Farm;

impl Farm {
    /// The text for the screen: where everything is, and lines to copy into a second terminal.
    ///
    /// The addresses are those that the gate really listens on; only their ports are shown, with
    /// the name `localhost`, which the server's certificate is for.
    pub fn welcome(&self, http: SocketAddr, https: SocketAddr) -> String {
        let port = http.port();
        let http = format!("http://localhost:{port}");
        let https = format!("https://localhost:{}", https.port());
        // The CA is one for tests, and who it trusts to sign is not known here.
        let trust = if self.directory.is_some() { "--insecure" } else { "--cacert ca.crt" };
        format!(
            r"
  A made-up farm is up, with a real gate in front of it.

    pages      {http}/
               {https}/
    backends   {publish}  in the place of guix publish
               {ci}  in the place of Cuirass
    files      {folder}
               farmgate.toml, certificates, access logs; gone when the demo ends
{ordered}
  Lines to try in another terminal:

    cd {quoted}

  A substitute: what the cache is, what it has, and the thing itself
    curl {http}/nix-cache-info
    curl {http}/{hash}.narinfo
    curl -s {http}/nar/gzip/{base} \
      | gunzip | sha256sum
      # {sha256}
      # is what the signed narinfo says, in another alphabet

  A thousand lookups before the first answer is read, on one connection, as Guix does it
    bash ./thousand-lookups {port}

  The pages, over TLS and HTTP/2
    curl {trust} {https}/

  The admin pages: closed without a certificate, open with one
    curl {trust} {https}/admin
    curl {trust} --cert admin.crt --key admin.key {https}/admin
    curl {trust} --cert admin.crt --key admin.key \
      {https}/admin/build/1/restart

  The gate's own page, with what is served, what fails, and certificates to revoke
    curl {trust} --cert zoe.crt --key zoe.key {https}/admin/gate/
  In a browser: have a bundle made, import it, and revoke zoe
    {program} admin bundle yusuf
    {https}/admin/gate/

  Ctrl-C ends it.
",
            ordered = self.directory.as_deref().map(|url| self.about_the_order(url)).unwrap_or_default(),
            publish = self.publish,
            ci = self.ci,
            folder = self.folder.display(),
            quoted = shell_word(&self.folder),
            program = program(),
            hash = self.item.hash_part,
            base = self.item.base,
            sha256 = self.item.nar_sha256,
        )
    }

    /// Where the certificate comes from; until it is there, a self-signed one is shown.
    fn about_the_order(&self, directory: &str) -> String {
        let config = shell_word(&self.config);
        format!(
            "    ordered    its certificate, from {directory}\n               farmgate cert list --config {config}\n"
        )
    }

    /// The script that the text above speaks of: curl has given up pipelining, and Guix has not.
    pub(super) fn write_lookup_script(&self) -> io::Result<()> {
        let path = self.folder.join("thousand-lookups");
        let script = include_str!("assets/thousand-lookups").replace("@HASH@", &self.item.hash_part);
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
    }
}

/// This program, as it is started here.
fn program() -> String {
    std::env::current_exe().map_or_else(|_| "farmgate".into(), |path| shell_word(&path))
}

/// As one word for a POSIX shell; quoted only where that is needed.
fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte)) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::super::Choices;
    use super::*;

    #[tokio::test]
    async fn the_text_fits_a_terminal_and_speaks_of_files_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let farm = super::super::start(folder.path(), &Choices::default()).await.unwrap();
        let text = farm.welcome(([127, 0, 0, 1], 18080).into(), ([127, 0, 0, 1], 18443).into());

        // Wherever the program is.
        for line in text.replace(&program(), "farmgate").lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        for file in
            ["ca.crt", "admin.crt", "admin.key", "zoe.crt", "zoe.key", "thousand-lookups", "farmgate.toml"]
        {
            assert!(text.contains(file) && farm.folder.join(file).is_file(), "{file}");
        }
        assert!(text.contains("https://localhost:18443/admin\n"));
    }

    #[test]
    fn a_folder_with_odd_letters_is_one_word() {
        assert_eq!(shell_word(Path::new("/tmp/a-b.c")), "/tmp/a-b.c");
        assert_eq!(shell_word(Path::new("/tmp/it's a")), r"'/tmp/it'\''s a'");
    }
}
