//! Who has a certificate for the admin pages.

use super::dashboard::Scene;
use super::html::{Html, html};
use crate::admin::ca::{Row, State};

pub(super) fn section(scene: &Scene<'_>) -> Html {
    let content = match scene.admins {
        Ok(rows) => register(scene, rows),
        // Without a CA of our own there is nothing to list: the gate goes by certificates of somebody else's.
        Err(reason) => html!("<p class=\"soft\">There is no register of them here: {}.</p>", reason),
    };
    html!(
        "<section id=\"admins\" data-part aria-labelledby=\"admins-title\">\n\
         <h2 id=\"admins-title\">Admin certificates</h2>\n{}\n</section>\n",
        content
    )
}

fn register(scene: &Scene<'_>, rows: &[Row]) -> Html {
    let (good, gone): (Vec<&Row>, Vec<&Row>) =
        rows.iter().rev().partition(|row| matches!(row.state, State::Valid | State::Unlisted));
    let list = |rows: &[&Row]| {
        let mut items = Html::default();
        for row in rows {
            html!(items, "<li>{}</li>\n", item(scene, row));
        }
        html!("<ul class=\"rows\">{}</ul>", items)
    };
    let mut html = match good[..] {
        [] => html!("<p class=\"soft\">None is valid.</p>"),
        _ => list(&good),
    };
    if !gone.is_empty() {
        html!(
            html,
            "<details id=\"gone-admins\"><summary>{} revoked or expired</summary>{}</details>",
            gone.len(),
            list(&gone),
        );
    }
    html
}

fn item(scene: &Scene<'_>, row: &Row) -> Html {
    let is_viewer = row.serial == scene.viewer.serial;
    let mut html = html!("<div><strong>{}</strong>", name(row));
    if is_viewer {
        html!(html, "<span class=\"tag\">yours</span>");
    }
    let facts = if is_viewer { format!("until {} · in use now", row.last_day()) } else { facts(row) };
    html!(html, "<span class=\"soft\">{}<br><code>{}</code></span></div>", facts, row.serial);
    match row.state {
        State::Valid => html!(
            html,
            "<div class=\"end\"><a class=\"button danger\" href=\"{}/revoke/{}\">Revoke<span class=\"hidden\"> the \
             certificate of {}, serial number {}</span></a></div>",
            scene.base,
            row.serial,
            name(row),
            row.serial,
        ),
        State::Unlisted => html!(
            html,
            "<div class=\"end note\">issued elsewhere; to revoke it:<br><code>farmgate admin revoke {} \
             --unlisted</code></div>",
            row.serial
        ),
        State::Revoked | State::Expired => {}
    }
    html
}

/// Whose it is.
pub(super) fn name(row: &Row) -> &str {
    if row.name.is_empty() { "(unknown)" } else { &row.name }
}

/// State, dates and the last visit, in words.
pub(super) fn facts(row: &Row) -> String {
    let state = match row.state {
        State::Valid => format!("until {}", row.last_day()),
        State::Unlisted => "not in the register".into(),
        State::Expired => format!("expired on {}", row.last_day()),
        State::Revoked => {
            let reason = row.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            format!("revoked on {}{reason}", row.revoked_day().unwrap_or_default())
        }
    };
    let seen = row.last_seen.as_ref().map_or("not seen yet".into(), |day| format!("last seen on {day}"));
    format!("{state} · {seen}")
}
