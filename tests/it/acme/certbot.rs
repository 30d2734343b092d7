//! From files that certbot keeps to certificates of the gate's own, as the README describes it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::pebble::Ways;
use super::{Farm, leaf, shown};
use crate::support::config::quoted;
use crate::support::pki::{Authority, Identity, Kind};
use crate::support::{need, output};

#[test]
fn a_reload_from_files_to_acme_goes_on_showing_them_until_the_first_certificate_of_its_own() {
    if !need("pebble") {
        return;
    }
    let mut farm = Farm::new(Ways::default());
    farm.pebble.stop();
    let files = as_certbot_leaves_it(farm.folder.path(), &farm.folder.path().join("live/the-farm"));
    let of_files = leaf(&files.chain);
    let written = format!("{{ chain = {}, key = {} }}", path(&files.chain), path(&files.key));
    let gate = farm.config_with(&written).start();
    assert_eq!(Some(shown(&gate)), of_files);
    gate.rewrite(&farm.config());
    gate.reload();
    gate.wait_for_stderr("next try");
    assert_eq!(Some(shown(&gate)), of_files);
    farm.pebble.go_on();
    let output = gate.command(&["cert", "renew"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(Some(shown(&gate)), leaf(&farm.chain()));
    // Its own is what counts from now on, and certbot's may go.
    fs::remove_dir_all(farm.folder.path().join("live")).expect("a folder");
    gate.reload();
    assert_eq!(Some(shown(&gate)), leaf(&farm.chain()));
}

#[test]
fn what_certbot_has_is_shown_from_the_start_until_the_first_certificate_of_its_own() {
    if !need("pebble") {
        return;
    }
    let mut farm = Farm::new(Ways::default());
    farm.pebble.stop();
    // An /etc of the gate's own, in which certbot has been at work: nobody else sees it.
    let etc = farm.folder.path().join("etc");
    let files = as_certbot_leaves_it(farm.folder.path(), &etc.join("letsencrypt/live/the-farm"));
    let of_certbot = leaf(&files.chain);
    let script =
        format!("cp -a /etc/. {etc} && mount --bind {etc} /etc && exec \"$0\" \"$@\"", etc = etc.display());
    let namespace = ["unshare", "--mount", "sh", "-c"];
    let possible = output(Command::new("unshare").args(["--mount", "mount", "--bind", "/etc", "/etc"]));
    if !possible.status.success() {
        eprintln!("skipped: no file system can be mounted here");
        return;
    }
    let through: Vec<&str> = namespace.into_iter().chain([script.as_str()]).collect();
    let gate = farm.config().through(&through).start();
    assert_eq!(Some(shown(&gate)), of_certbot);
    gate.wait_for_stderr("next try");
    farm.pebble.go_on();
    let output = gate.command(&["cert", "renew"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(Some(shown(&gate)), leaf(&farm.chain()));
}

/// What certbot has in `folder`: links into an archive, as it makes them.
fn as_certbot_leaves_it(scratch: &Path, folder: &Path) -> Identity {
    let authority = Authority::new(&scratch.join("another-ca"), "/CN=Root of certbot's certificates");
    // As openssl lists names.
    let made = authority.issue("certbot", Kind::Server("acme.test,DNS:www.acme.test"));
    let archive = scratch.join("archive");
    for folder in [folder, &archive] {
        fs::create_dir_all(folder).expect("a folder");
    }
    for (from, name) in [(&made.chain, "fullchain"), (&made.key, "privkey")] {
        let stored = archive.join(format!("{name}1.pem"));
        fs::copy(from, &stored).expect("a copy");
        symlink(&stored, folder.join(format!("{name}.pem"))).expect("a link");
    }
    Identity { chain: folder.join("fullchain.pem"), key: folder.join("privkey.pem") }
}

fn path(path: &Path) -> String {
    quoted(&path.display().to_string())
}
