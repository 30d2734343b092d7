//! HTML in which nothing from outside can be markup.

use std::fmt::{self, Display, Write};

/// Markup that was put together here. A template is text of this program; what is filled in is escaped, unless it is
/// markup of this type itself. There is no third way to make one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Html(String);

impl Html {
    /// Appends `template`, each `{}` in it replaced by the next of `values`. Attributes are to be written in quotes.
    ///
    /// Use [`html!`](super::html!), which counts for you.
    pub(super) fn fill<const N: usize>(&mut self, template: &'static str, values: [&dyn Part; N]) {
        let mut pieces = template.split("{}");
        self.0.push_str(pieces.next().unwrap_or_default());
        debug_assert_eq!(template.matches("{}").count(), N, "{template}");
        for (value, piece) in values.into_iter().zip(pieces) {
            value.put(&mut self.0);
            self.0.push_str(piece);
        }
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// `html!(out, "<p>{}</p>", text)` appends to `out`; `html!("<p>{}</p>", text)` makes a new piece.
macro_rules! html {
    ($template:literal $(, $value:expr)* $(,)?) => {{
        let mut html = $crate::page::html::Html::default();
        html.fill($template, [$(&$value as &dyn $crate::page::html::Part),*]);
        html
    }};
    ($out:expr, $template:literal $(, $value:expr)* $(,)?) => {
        $out.fill($template, [$(&$value as &dyn $crate::page::html::Part),*])
    };
}
pub(super) use html;

/// What can be filled in.
pub(super) trait Part {
    fn put(&self, out: &mut String);
}

impl Part for Html {
    fn put(&self, out: &mut String) {
        out.push_str(&self.0);
    }
}

impl<T: Display> Part for T {
    fn put(&self, out: &mut String) {
        // Writing to a string cannot fail.
        let _ = write!(Escaped(out), "{self}");
    }
}

/// Escapes what is written to it, for text and for attributes in quotes of either kind.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // No document may have these. The second kind turns the direction of what follows, so that a name could
                // pass for another's.
                '\t' | '\n' => self.0.push(character),
                control if control.is_control() => self.0.push('\u{fffd}'),
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => {
                    self.0.push('\u{fffd}')
                }
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[test]
    fn values_are_escaped_and_markup_of_our_own_is_not() {
        let inner = html!("<b>{}</b>", "<i>");
        let mut outer = html!("<p title=\"{}\">{}", "\"'&", inner);
        html!(outer, "{} {}</p>", 3, '\u{202e}');
        assert_eq!(outer.into_string(), "<p title=\"&quot;&#39;&amp;\"><b>&lt;i&gt;</b>3 \u{fffd}</p>");
    }

    proptest! {
        #[test]
        fn no_text_has_a_character_that_means_something(text in any::<String>()) {
            let escaped = html!("{}", text).into_string();
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
            let stripped = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"].iter().fold(escaped, |text, escape| {
                text.replace(escape, "")
            });
            prop_assert!(!stripped.contains('&'));
        }
    }
}
