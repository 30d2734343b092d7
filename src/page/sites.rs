//! Certificates, backends, and what came of the last reload.

use super::attention;
use super::dashboard::Scene;
use super::html::{Html, html};
use super::units::Utc;
use crate::control::{BackendFailure, BackendStatus, CertificateStatus};

/// What a full bar stands for: most certificates are good for so long.
const FULL: i64 = 90 * 86_400;
const DAY: i64 = 86_400;

pub(super) fn sections(scene: &Scene<'_>) -> Html {
    html!("<div class=\"columns\">\n{}{}</div>\n", backends(scene), certificates(scene))
}

fn certificates(scene: &Scene<'_>) -> Html {
    let mut rows = Html::default();
    for site in &scene.status.sites {
        html!(rows, "<li>{}</li>\n", certificate(&site.certificate, &site.names, scene.now));
    }
    html!(
        "<section id=\"certificates\" data-part aria-labelledby=\"certificates-title\">\n\
         <h2 id=\"certificates-title\">Certificates</h2>\n<ul class=\"rows\">{}</ul>\n</section>\n",
        rows
    )
}

fn certificate(certificate: &CertificateStatus, names: &[String], now: u64) -> Html {
    let left = attention::left(certificate.not_after, now);
    let days = left / DAY;
    let (class, words) = match days {
        // Made here, for want of one that browsers trust: its dates say nothing.
        _ if certificate.source == "self-signed" => ("warn", "not trusted by browsers".to_owned()),
        _ if left <= 0 => ("bad", "expired".to_owned()),
        0 => ("warn", "ends today".to_owned()),
        1 => ("warn", "1 day left".to_owned()),
        2..10 => ("warn", format!("{days} days left")),
        _ => ("good", format!("{days} days left")),
    };
    let mut about = html!("{}", source(&certificate.source));
    let mut meter = Html::default();
    if certificate.source != "self-signed" {
        if let Some(issuer) = &certificate.issuer {
            html!(about, ", by {}", issuer);
        }
        html!(about, ", until {}", Utc(u64::try_from(certificate.not_after).unwrap_or(0)).date());
        html!(
            meter,
            "<svg class=\"meter {}\" viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
             <rect class=\"track\" width=\"100\" height=\"6\" rx=\"3\"/>\
             <rect class=\"fill\" width=\"{}\" height=\"6\" rx=\"3\"/></svg>",
            class,
            (left.clamp(0, FULL) * 100 / FULL).max(1),
        );
    }
    html!(
        "<div><strong>{}</strong><span class=\"soft\">{}</span></div>\
         <div class=\"end\"><span class=\"{}\">{}</span>{}</div>",
        names.join(", "),
        about,
        class,
        words,
        meter,
    )
}

/// Where a certificate is from, in words.
fn source(source: &str) -> &str {
    match source {
        "acme" => "ordered by the gate",
        "file" => "from files",
        other => other,
    }
}

fn backends(scene: &Scene<'_>) -> Html {
    let mut rows = Html::default();
    for site in &scene.status.sites {
        let name = site.names.first().map_or("", String::as_str);
        for backend in &site.backends {
            html!(rows, "<li>{}</li>\n", self::backend(backend, name));
        }
    }
    html!(
        "<section id=\"backends\" data-part aria-labelledby=\"backends-title\">\n\
         <h2 id=\"backends-title\">Backends</h2>\n<ul class=\"rows\">{}</ul>\n</section>\n",
        rows
    )
}

fn backend(backend: &BackendStatus, site: &str) -> Html {
    let (class, words) = match backend.up {
        Some(true) => ("good", "answers"),
        Some(false) => ("bad", "does not answer"),
        None => ("soft", "not asked yet"),
    };
    let mut failure = Html::default();
    if let Some(BackendFailure { at, why }) = &backend.last_error {
        html!(failure, "<p class=\"whole note\">Last failed {}: {}</p>", Utc(*at), why);
    }
    html!(
        "<div><strong>{}</strong><span class=\"soft\">{} for {}</span></div>\
         <div class=\"end\"><span class=\"{}\">{}</span></div>{}",
        program(&backend.role),
        backend.url,
        site,
        class,
        words,
        failure,
    )
}

/// What runs at a backend, by its role.
pub(super) fn program(role: &str) -> &str {
    match role {
        "publish" => "guix publish",
        "ci" => "Cuirass",
        other => other,
    }
}

pub(super) fn reload(scene: &Scene<'_>) -> Html {
    let text = match &scene.status.last_reload {
        None => html!("<p class=\"soft\">The configuration is the one of the start.</p>"),
        Some(reload) => {
            let mut text = html!("<p>{} ", Utc(reload.at));
            match &reload.error {
                None => html!(text, "<span class=\"good\">took effect</span></p>"),
                Some(error) => html!(text, "<span class=\"bad\">refused</span></p>\n<pre>{}</pre>", error),
            }
            for note in &reload.notes {
                html!(text, "<p class=\"note\">{}</p>", note);
            }
            text
        }
    };
    html!(
        "<section id=\"reload\" data-part aria-labelledby=\"reload-title\">\n\
         <h2 id=\"reload-title\">Last reload</h2>\n{}\n</section>\n",
        text
    )
}
