//! The last errors.

use super::dashboard::Scene;
use super::html::{Html, html};
use super::units::{Count, Utc};

/// How many are shown at once; the others are folded away.
const SHOWN: usize = 8;

pub(super) fn section(scene: &Scene<'_>) -> Html {
    let rows = |errors: &[(crate::history::Failed, u64)]| {
        let mut rows = Html::default();
        for (error, times) in errors {
            let times = match times {
                1 => Html::default(),
                many => html!(" <span class=\"soft\">and {} before, the same</span>", Count(many - 1)),
            };
            html!(
                rows,
                "<li><div><strong><span class=\"bad\">{}</span> {}</strong>{}<span class=\"soft\">{} · {}</span></div>\
                 <div class=\"end\"><time datetime=\"{}\">{}</time><code>{}</code></div></li>\n",
                error.status,
                error.reason,
                times,
                error.site,
                error.route,
                Utc(error.at).rfc_3339(),
                Utc(error.at),
                error.id,
            );
        }
        html!("<ul class=\"rows\">{}</ul>", rows)
    };
    let list = match scene.errors {
        [] => html!("<p class=\"soft\">None since the start.</p>"),
        errors if errors.len() <= SHOWN => rows(errors),
        errors => {
            let (shown, folded) = errors.split_at(SHOWN);
            html!(
                "{}<details id=\"more-errors\"><summary>{} earlier ones</summary>{}</details>",
                rows(shown),
                folded.len(),
                rows(folded),
            )
        }
    };
    html!(
        "<section id=\"errors\" data-part aria-labelledby=\"errors-title\">\n\
         <h2 id=\"errors-title\">Recent errors</h2>\n{}\n</section>\n",
        list
    )
}
