//! The configuration of a gate under test.

use std::collections::BTreeMap;
use std::path::Path;

use super::pki::Identity;

/// The name that most tests' site has.
pub const HOST: &str = "farm.example";

/// One `[[site]]`.
#[derive(Clone, Default)]
pub struct Site {
    names: Vec<String>,
    keys: BTreeMap<String, String>,
}

impl Site {
    /// Self-signed, until told otherwise.
    pub fn new(name: &str) -> Site {
        Site { names: vec![name.into()], keys: BTreeMap::new() }.set("certificate", "\"self-signed\"")
    }

    pub fn also(mut self, name: &str) -> Site {
        self.names.push(name.into());
        self
    }

    pub fn publish(self, url: &str) -> Site {
        self.set("publish", &quoted(url))
    }

    pub fn ci(self, url: &str) -> Site {
        self.set("ci", &quoted(url))
    }

    pub fn certificate(self, identity: &Identity) -> Site {
        let text = format!(
            "{{ chain = {}, key = {} }}",
            quoted(&identity.chain.display().to_string()),
            quoted(&identity.key.display().to_string())
        );
        self.set("certificate", &text)
    }

    pub fn plain_http(self, policy: &str) -> Site {
        self.set("plain_http", &quoted(policy))
    }

    /// Any key, its value as TOML.
    pub fn set(mut self, key: &str, value: &str) -> Site {
        self.keys.insert(key.into(), value.into());
        self
    }
}

/// A configuration on its way to a file.
#[derive(Clone)]
pub struct Config {
    tables: BTreeMap<String, BTreeMap<String, String>>,
    sites: Vec<Site>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) through: Vec<String>,
}

impl Config {
    pub fn new(site: Site) -> Config {
        let config = Config {
            tables: BTreeMap::new(),
            sites: vec![site],
            environment: Vec::new(),
            through: Vec::new(),
        };
        config
            .set("listen.http", "[\"127.0.0.1:0\"]")
            .set("listen.https", "[\"127.0.0.1:0\"]")
            .set("metrics.listen", "\"off\"")
    }

    pub fn site(mut self, site: Site) -> Config {
        self.sites.push(site);
        self
    }

    pub fn client_ca(self, path: &Path) -> Config {
        self.set("admin.client_ca", &quoted(&path.display().to_string()))
    }

    /// Any key, its value as TOML: `set("limits.body", "\"1KiB\"")`.
    pub fn set(mut self, key: &str, value: &str) -> Config {
        let (table, key) = key.rsplit_once('.').expect("table.key");
        self.tables.entry(table.into()).or_default().insert(key.into(), value.into());
        self
    }

    /// Leaves a key out again.
    pub fn without(mut self, key: &str) -> Config {
        let (table, key) = key.rsplit_once('.').expect("table.key");
        if let Some(keys) = self.tables.get_mut(table) {
            keys.remove(key);
        }
        self
    }

    /// For the program's environment.
    pub fn environment(mut self, name: &str, value: &str) -> Config {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Another program that starts it, with these arguments before its own.
    pub fn through(mut self, command: &[&str]) -> Config {
        self.through = command.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// As TOML, with everything that is written kept below `folder`.
    pub fn text(&self, folder: &Path) -> String {
        let inside = |name: &str| quoted(&folder.join(name).display().to_string());
        let mut config = self.clone();
        for (key, value) in [
            ("paths.state", inside("state")),
            ("paths.cache", inside("cache")),
            ("paths.control", inside("control.sock")),
            ("paths.pid", inside("pid")),
            ("access_log.http", inside("http.log")),
            ("access_log.https", inside("https.log")),
        ] {
            let (table, name) = key.split_once('.').expect("table.key");
            if !config.tables.get(table).is_some_and(|table| table.contains_key(name)) {
                config = config.set(key, &value);
            }
        }
        let mut text = String::new();
        for (table, keys) in config.tables.iter().filter(|(_, keys)| !keys.is_empty()) {
            text.push_str(&format!("[{table}]\n"));
            keys.iter().for_each(|(key, value)| text.push_str(&format!("{key} = {value}\n")));
        }
        for site in &config.sites {
            let names: Vec<String> = site.names.iter().map(|name| quoted(name)).collect();
            text.push_str(&format!("[[site]]\nnames = [{}]\n", names.join(", ")));
            site.keys.iter().for_each(|(key, value)| text.push_str(&format!("{key} = {value}\n")));
        }
        text
    }
}

/// As a TOML string.
pub fn quoted(text: &str) -> String {
    format!("{text:?}")
}
