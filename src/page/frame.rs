//! What is around every page.

use super::html::{Html, html};
use super::{Answer, Ask};
use crate::history::Window;

/// A document: head, header, and what `main` is made of.
pub(super) struct Frame<'a> {
    pub(super) base: &'a str,
    pub(super) title: &'a str,
    /// Where the plots are, the time they go back; such a page is kept fresh.
    pub(super) window: Option<Window>,
}

impl Frame<'_> {
    pub(super) fn around(&self, content: &Html) -> Html {
        let mut page = html!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{} · farmgate</title>\n\
             <link rel=\"icon\" type=\"image/svg+xml\" href=\"{}/icon.svg\">\n\
             <link rel=\"stylesheet\" href=\"{}/style.css\">\n",
            self.title,
            self.base,
            self.base,
        );
        if self.window.is_some() {
            html!(page, "<script src=\"{}/script.js\" defer></script>\n", self.base);
        }
        html!(
            page,
            "</head>\n<body>\n<a class=\"skip\" href=\"#main\">To the content</a>\n<header>\n\
             <a class=\"brand\" href=\"{}/\"><svg viewBox=\"0 0 24 24\" aria-hidden=\"true\">\
             <path d=\"M3 21V9l9-6 9 6v12M8 21V12h8v9M12 12v9\"/></svg>farmgate</a>\n",
            self.base
        );
        if let Some(window) = self.window {
            html!(page, "<nav aria-label=\"Time shown\"><ul>");
            for other in Window::ALL {
                let current = if other == window { html!(" aria-current=\"page\"") } else { Html::default() };
                let (name, base) = (other.name(), self.base);
                html!(page, "<li><a href=\"{}/{}\"{}>{}</a></li>", base, name, current, name);
            }
            html!(page, "</ul></nav>\n<div id=\"live-controls\"></div>\n");
        }
        let source = match self.window {
            Some(window) => html!(" data-source=\"{}/live/{}\"", self.base, window.name()),
            None => Html::default(),
        };
        html!(
            page,
            "</header>\n<main id=\"main\" tabindex=\"-1\"{}>\n{}</main>\n</body>\n</html>\n",
            source,
            *content
        );
        page
    }
}

/// A page with something to say and a way back.
pub(super) fn message(ask: &Ask, status: u16, title: &str, text: Html) -> Answer {
    let content = html!(
        "<div class=\"message\">\n<h1>{}</h1>\n{}\n<p><a class=\"button\" href=\"{}/\">Back to the overview</a></p>\n\
         </div>\n",
        title,
        text,
        ask.base,
    );
    Answer::page(status, Frame { base: &ask.base, title, window: None }.around(&content))
}
