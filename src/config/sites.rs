//! The farms behind the gate.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;

use super::diagnostics::Complaint;
use super::settings::{Certificate, LogRoute, PlainHttp, Site};
use super::values::{backend, one_of, path, site_name};
use super::wire::{Reader, bare};

/// All sites, each with its names, backends and policies.
pub(super) fn sites(file: &mut Reader<'_, '_>, folder: &Path) -> Vec<Site> {
    let mut taken = BTreeMap::new();
    let sites = file.tables("site", |table| site(table, folder, &mut taken));
    if sites.is_empty() {
        // Whoever forgot the heading wrote the keys elsewhere, and is to be told where they belong.
        let mut unheard = file.findings.rehearsal();
        site(&mut Reader::of_nothing(&mut unheard, "site"), folder, &mut taken);
        file.findings.known.append(&mut unheard.known);

        if file.has("site") && file.empty_list("site").is_none() {
            return sites; // something else than tables, which has been reported
        }
        let hint = "write [[site]], and below it names = [\"ci.example.org\"] and publish = \"http://localhost:3000\"";
        let end = file.findings.source.end();
        file.error(end, "site", Complaint::new("there is no site").hint(hint));
    }
    sites
}

/// `taken` has the names of the sites before, and where in the file they stand.
fn site(table: &mut Reader<'_, '_>, folder: &Path, taken: &mut BTreeMap<String, usize>) -> Site {
    let names = site_names(table, taken);
    let publish = table.get("publish", backend);
    let ci = table.get("ci", backend);
    let (has_publish, has_ci) = (table.has("publish"), table.has("ci"));
    if !has_publish && !has_ci {
        let hint = "add publish = \"http://localhost:3000\" or ci = \"http://localhost:8081\"";
        table.missing("publish", Complaint::new("this site has neither publish nor ci").hint(hint));
    }

    let policies = [
        ("serve", PlainHttp::Serve),
        ("substitutes", PlainHttp::Substitutes),
        ("redirect", PlainHttp::Redirect),
    ];
    let plain_http = table.find("plain_http", one_of(&policies));
    if let Some(policy) =
        plain_http.as_ref().filter(|policy| *policy.get_ref() == PlainHttp::Substitutes && !has_publish)
    {
        let complaint = Complaint::new("this site has no publish, and so no substitutes to serve");
        table.warning(policy.span(), "plain_http", complaint.hint("\"redirect\" says the same"));
    }

    let log_route = table.find("log_route", one_of(&[("ci", LogRoute::Ci), ("publish", LogRoute::Publish)]));
    if let Some(route) = &log_route {
        let (has, name) = match route.get_ref() {
            LogRoute::Ci => (has_ci, "ci"),
            LogRoute::Publish => (has_publish, "publish"),
        };
        if !has {
            let complaint = Complaint::new(format!("this site has no {name} to answer /log/"));
            table.error(
                route.span(),
                "log_route",
                complaint.hint(format!("add {name}, or leave log_route out")),
            );
        }
    }

    Site {
        names,
        publish,
        ci,
        certificate: certificate(table, folder),
        plain_http: plain_http.map_or(PlainHttp::Serve, Spanned::into_inner),
        log_route: match log_route {
            Some(route) => route.into_inner(),
            None if has_ci => LogRoute::Ci,
            None => LogRoute::Publish,
        },
        webroot: table.get("webroot", path(folder)),
    }
}

fn site_names(table: &mut Reader<'_, '_>, taken: &mut BTreeMap<String, usize>) -> Vec<String> {
    let Some(names) = table.list("names", site_name) else {
        if !table.has("names") {
            let hint = "add the names that clients use: names = [\"ci.example.org\"]";
            table.missing("names", Complaint::new("this site has no names").hint(hint));
        }
        return Vec::new();
    };
    if let Some(span) = table.empty_list("names") {
        let hint = "list the names that clients use: [\"ci.example.org\"]";
        table.error(span, "names", Complaint::new("a site needs a name at least").hint(hint));
    }
    for name in &names {
        if let Some(earlier) = taken.insert(name.get_ref().clone(), name.span().start) {
            let line = table.findings.source.line(earlier);
            let complaint =
                Complaint::new(format!("\"{}\" is named already, in line {line}", name.get_ref()));
            table.error(name.span(), "names", complaint.hint("a name belongs to one site, once"));
        }
    }
    bare(names)
}

fn certificate(table: &mut Reader<'_, '_>, folder: &Path) -> Certificate {
    // Read in any case, so that the keys are known.
    let is_table = table.has_table("certificate");
    let part = |files: &mut Reader<'_, '_>, key: &str, example: &str| {
        if is_table && !files.has(key) {
            let complaint = Complaint::new(format!("`{key}` is missing"));
            files.missing(key, complaint.hint(format!("add {key} = \"{example}\"")));
        }
        files.get(key, path(folder)).unwrap_or_default()
    };
    let files = table.table_or_nothing("certificate", |files| Certificate::Files {
        chain: part(files, "chain", "/etc/…/fullchain.pem"),
        key: part(files, "key", "/etc/…/privkey.pem"),
    });
    if is_table {
        return files;
    }
    let words = one_of(&[("acme", Certificate::Acme), ("self-signed", Certificate::SelfSigned)]);
    let of_files = "for files write { chain = \"…/fullchain.pem\", key = \"…/privkey.pem\" }";
    let word =
        table.get("certificate", |value| words(value).map_err(|complaint| complaint.or_hint(of_files)));
    word.unwrap_or(Certificate::Acme)
}
