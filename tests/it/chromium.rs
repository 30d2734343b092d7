//! A real browser, with what `farmgate admin issue` wrote in its certificate store. Chromium on Debian keeps that in
//! NSS, below `$HOME/.pki/nssdb`; here `HOME` is a folder of the test's own. Which certificate to send is a setting of
//! the browser's profile (see `tests/drivers/chromium.py`): no policy file of the system is written.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::admin::{Desk, password};
use super::support::config::Config;
use super::support::farm::Farm;
use super::support::pki::{Authority, scratch};
use super::support::{eventually, need, patience, run, tests_folder};

const SITE: &str = "localhost";

/// Longer than the driver itself waits for the browser, which takes seconds to start on a busy machine.
const AT_MOST: Duration = Duration::from_secs(90);

/// False when something is missing and the environment allows to go without.
pub(super) fn equipped() -> bool {
    ["chromium", "certutil", "pk12util", "python3"].into_iter().all(need)
}

/// A farm at `https://localhost`, with an admin CA, and the authority that a browser has to trust to see it.
pub(super) fn scene() -> (Desk, Authority) {
    scene_with(|config| config)
}

/// The same with a changed configuration.
pub(super) fn scene_with(change: impl FnOnce(Config) -> Config) -> (Desk, Authority) {
    let authority = Authority::new(&scratch("browser"), "/CN=CA of the server");
    let server = authority.server(SITE);
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let farm = Farm::with_site(
        |site| site.also(SITE).certificate(&server),
        |config| change(Desk::configured(config, &state)),
    );
    let desk = Desk::at(farm, folder);
    desk.ok(&["init"]);
    desk.wait_until_open();
    (desk, authority)
}

/// A browser of its own, with a home of its own. Gone when dropped.
pub(super) struct Chromium {
    folder: TempDir,
    origin: String,
    driver: Option<(Child, ChildStdin)>,
    answers: Option<Receiver<Value>>,
}

impl Chromium {
    /// Not started yet; trusts `authority` for servers.
    pub(super) fn new(desk: &Desk, authority: &Authority) -> Chromium {
        let folder = tempfile::tempdir().expect("a folder");
        let origin = format!("https://{SITE}:{}", desk.farm.gate.https_addr().port());
        let browser = Chromium { folder, origin, driver: None, answers: None };
        fs::create_dir_all(browser.path("home/.pki/nssdb")).expect("a folder for the store");
        run(&mut browser.certutil(&["-N", "--empty-password"]));
        run(browser.certutil(&["-A", "-n", "server", "-t", "C,,", "-i"]).arg(&authority.cert));
        browser
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn store(&self) -> String {
        format!("sql:{}", self.path("home/.pki/nssdb").display())
    }

    fn certutil(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("certutil");
        command.args(["-d", &self.store()]).args(arguments);
        command
    }

    /// As the person does it who was sent the file and, on another way, the password.
    pub(super) fn import(&self, p12: &Path, password: &str) {
        let file = self.path("password");
        fs::write(&file, password).expect("write");
        let mut pk12util = Command::new("pk12util");
        pk12util.args(["-d", &self.store(), "-K", "", "-w"]).arg(&file).arg("-i").arg(p12);
        let told = run(&mut pk12util);
        assert!(told.contains("IMPORT SUCCESSFUL"), "{told}");
    }

    pub(super) fn start(mut self) -> Chromium {
        let mut command = Command::new("python3");
        command.arg(tests_folder().join("drivers/chromium.py")).arg("chromium");
        command.arg(self.folder.path()).arg(&self.origin);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(self.path("driver.log")).expect("a file for stderr"))
            .spawn()
            .expect("start the driver");
        let (stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let answer = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(answer).is_err() {
                    return;
                }
            }
        });
        (self.driver, self.answers) = (Some((child, stdin)), Some(receiver));
        self
    }

    /// Types the address.
    pub(super) fn open(&mut self, path: &str) -> Shown {
        let url = format!("{}{path}", self.origin);
        self.shown("OPEN", &url)
    }

    /// Has the page that is open fetch another.
    fn fetch(&mut self, path: &str) -> Shown {
        let url = format!("{}{path}", self.origin);
        self.shown("FETCH", &url)
    }

    /// Clicks on what the selector finds; the page that it leads to.
    pub(super) fn click(&mut self, selector: &str) -> Shown {
        self.shown("CLICK", selector)
    }

    /// Anything else that the driver can do; what it came to.
    pub(super) fn tell(&mut self, what: &str, argument: &str) -> Value {
        let (_, stdin) = self.driver.as_mut().expect("it was started");
        writeln!(stdin, "{what} {argument}").expect("the driver listens");
        let answers = self.answers.as_ref().expect("it was started");
        answers.recv_timeout(patience(AT_MOST)).expect("the driver answers")
    }

    /// The same, for what gives a value.
    pub(super) fn value(&mut self, what: &str, argument: &str) -> Value {
        let mut answer = self.tell(what, argument);
        assert!(answer.get("value").is_some(), "{what} {argument}: {answer}");
        answer["value"].take()
    }

    fn shown(&mut self, what: &str, argument: &str) -> Shown {
        let answer = self.tell(what, argument);
        let number =
            |key: &str| answer[key].as_i64().unwrap_or_else(|| panic!("{what} {argument}: {answer}"));
        Shown {
            status: number("status"),
            connection: number("connection"),
            protocol: answer["protocol"].as_str().unwrap_or_default().to_owned(),
            text: answer["text"].as_str().unwrap_or_default().to_lowercase(),
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        if let Some((mut child, stdin)) = self.driver.take() {
            // At the end of its stdin the driver closes the browser, and its folder can go.
            drop(stdin);
            if !thread::panicking() {
                eventually("the browser closes", AT_MOST, || child.try_wait().expect("a child to ask"));
                return;
            }
            let _ = child.wait();
            for log in ["driver.log", "browser.log"] {
                eprintln!("--- {log}\n{}", fs::read_to_string(self.path(log)).unwrap_or_default());
            }
        }
    }
}

/// What the browser got, by its own account.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) status: i64,
    /// The same number, the same connection.
    connection: i64,
    protocol: String,
    pub(super) text: String,
}

#[test]
fn a_browser_with_the_p12_enters_until_the_revocation_and_not_on_the_connection_that_is_open() {
    if !equipped() {
        return;
    }
    let (desk, authority) = scene();
    for (name, options) in [("modern", &[][..]), ("legacy", &["--legacy"])] {
        let password = password(&desk.ok(&[&["issue", name][..], options].concat()));
        let browser = Chromium::new(&desk, &authority);
        browser.import(&desk.here(&format!("{name}.p12")), &password);
        let mut browser = browser.start();

        let first = browser.open("/admin/");
        assert_eq!((first.status, first.text.trim()), (200, "admin"), "{name}: {first:?}");
        assert_eq!(first.protocol, "h2", "{first:?}");
        let again = browser.fetch("/admin");
        assert_eq!((again.status, again.connection), (200, first.connection), "{name}: {again:?}");
        let line = desk.farm.gate.wait_for_access("https", &format!(" {name} ["));
        assert!(line.contains("\"GET /admin/ HTTP/2.0\" 200"), "{line}");

        desk.ok(&["revoke", name]);
        let refused = browser.fetch("/admin");
        assert_eq!((refused.status, refused.connection), (403, first.connection), "{name}: {refused:?}");
        let page = browser.open("/admin/");
        assert_eq!((page.status, page.connection), (403, first.connection), "{name}: {page:?}");
        assert!(page.text.contains("has been revoked"), "{name}: {page:?}");
        let public = browser.open("/jobset/x");
        assert_eq!((public.status, public.connection), (200, first.connection), "{name}: {public:?}");
    }
}

#[test]
fn a_browser_without_a_certificate_sees_the_public_pages_and_what_it_lacks() {
    if !equipped() {
        return;
    }
    let (desk, authority) = scene();
    let mut browser = Chromium::new(&desk, &authority).start();
    let public = browser.open("/jobset/x");
    assert_eq!((public.status, public.text.trim()), (200, "jobset x"), "{public:?}");
    let refused = browser.open("/admin/");
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.text.contains("your browser sent none"), "{refused:?}");
}
