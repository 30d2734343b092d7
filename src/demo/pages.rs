//! The HTML of the stand-in for Cuirass.

use super::{
    ci::{Build, Status},
    store_item::StoreItem,
};

/// The list of builds, for everybody.
pub fn builds(builds: &[Build], item: &StoreItem) -> String {
    let body = format!(
        "<h1>Builds</h1>\n{}\n\
         <h2>Substitute</h2>\n\
         <p><a class=item href=\"/{hash}.narinfo\">{base}</a></p>\n\
         <p class=links><a href=\"/log/{base}\">build log</a> <a href=\"/download/1\">download</a> \
         <a href=\"/nar/gzip/{base}\">nar</a> <a href=\"/signing-key.pub\">signing key</a></p>",
        table(builds, "log", |build| format!("/build/{}/log/raw", build.id)),
        hash = item.hash_part,
        base = item.base,
    );
    page("Builds", &body)
}

/// What admins see: the list with a way to start a build again.
pub fn admin(builds: &[Build], who: &str) -> String {
    let body = format!(
        "<h1>Admin</h1>\n\
         <p>Your certificate says that you are <strong>{}</strong>.</p>\n{}",
        escape(who),
        table(builds, "restart", |build| format!("/admin/build/{}/restart", build.id)),
    );
    page("Admin", &body)
}

/// For paths that lead nowhere.
pub fn not_found() -> String {
    page("Not found", "<h1>Not found</h1>\n<p>The made-up farm has no such page.</p>")
}

fn table(builds: &[Build], action: &str, target: impl Fn(&Build) -> String) -> String {
    let rows: String = builds.iter().map(|build| row(build, action, &target(build))).collect();
    format!(
        "<table>\n\
         <thead><tr><th>Build</th><th>Package</th><th>System</th><th>Status</th><th></th></tr>\
         </thead>\n<tbody>\n{rows}</tbody>\n</table>"
    )
}

fn row(build: &Build, action: &str, target: &str) -> String {
    let (class, status) = match build.status() {
        Status::Succeeded => ("succeeded", "succeeded"),
        Status::Failed => ("failed", "failed"),
        Status::Running => ("running", "running\u{2026}"),
    };
    let restarted = match &build.restarted {
        Some((_, who)) => format!("<small>restarted by {}</small>", escape(who)),
        None => String::new(),
    };
    format!(
        "<tr><td>{}</td><td>farmgate-demo 1.0</td><td>{}</td>\
         <td><span class=\"status {class}\">{status}</span>{restarted}</td>\
         <td><a href=\"{target}\">{action}</a></td></tr>\n",
        build.id, build.system,
    )
}

fn page(title: &str, body: &str) -> String {
    // The body last: nothing in it is a place to fill any more.
    include_str!("assets/page.html").replace("@TITLE@", title).replace("@BODY@", body)
}

/// Names come from certificates, and anyone may have put anything into one.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_bring_markup_into_the_page() {
        let page = admin(&[], "<script>\"alert('&')");

        assert!(page.contains("&lt;script&gt;&quot;alert(&#39;&amp;&#39;)"), "{page}");
    }
}
