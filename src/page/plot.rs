//! Plots: SVG for the eye, a sentence and a table for everybody else.
//!
//! The SVG is stretched to the room there is, so there is no text in it; what stands at the axes is HTML beside it.

use std::fmt::Write;

use super::html::{Html, html};
use super::units::{Amount, Bytes, Count, Percent, Utc};
use crate::history::{Bucket, Window};

/// The SVG's own units. What they come to on the screen is the style sheet's to say.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 160.0;

/// What the numbers of a plot are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// So many a second.
    Rate,
    /// Bytes a second.
    Bandwidth,
    /// 0 to 1.
    Share,
}

/// One plot.
pub(super) struct Plot<'a> {
    /// For anchors; unlike that of any other on the page.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// A sentence on what is shown.
    pub(super) about: &'static str,
    pub(super) unit: Unit,
    pub(super) lines: &'a [Line],
    /// As [`History::view`](crate::history::History::view) has them.
    pub(super) buckets: &'a [Option<Bucket>],
    pub(super) window: Window,
    /// Seconds since 1970.
    pub(super) now: u64,
}

/// One line of a plot. The first one of a plot has the ground below it filled, the others are dashed, each in a way
/// of its own.
pub(super) struct Line {
    pub(super) name: &'static str,
    /// What a bucket has of it; none where there is nothing to say.
    pub(super) value: fn(&Bucket) -> Option<f64>,
}

impl Plot<'_> {
    /// The plot, its legend, and the table.
    pub(super) fn figure(&self) -> Html {
        let top = self.top();
        let mut drawn = Html::default();
        let mut legend = Html::default();
        // Later ones are less; they go on top.
        for (at, line) in self.lines.iter().enumerate() {
            let values: Vec<Option<f64>> = self.values(line).collect();
            let number = at + 1;
            if at == 0 {
                html!(drawn, r#"<path class="area" d="{}"/>"#, path(&values, top, true));
            }
            html!(drawn, r#"<path class="line line-{}" d="{}"/>"#, number, path(&values, top, false));
            html!(
                legend,
                "<li><svg class=\"key\" viewBox=\"0 0 28 8\" aria-hidden=\"true\"><path class=\"line line-{}\" \
                 d=\"M1 4H27\"/></svg>{} <b>{}</b></li>",
                number,
                line.name,
                self.now_of(line),
            );
        }
        html!(
            "<figure class=\"plot\" id=\"{}\">\n<figcaption><h3>{}</h3><p>{}</p></figcaption>\n\
             <div class=\"chart\">\n<div class=\"y\" aria-hidden=\"true\">{}</div>\n\
             <svg class=\"drawing\" role=\"img\" aria-labelledby=\"{}-title {}-desc\" viewBox=\"0 0 720 160\" \
             preserveAspectRatio=\"none\"><title id=\"{}-title\">{}</title><desc id=\"{}-desc\">{}</desc>\
             <path class=\"grid\" d=\"M0 0.5H720M0 80H720M0 159.5H720\"/>{}</svg>\n\
             <div class=\"x\" aria-hidden=\"true\">{}</div>\n</div>\n<ul class=\"legend\">{}</ul>\n{}</figure>\n",
            self.id,
            self.title,
            self.about,
            self.y_labels(top),
            self.id,
            self.id,
            self.id,
            self.title,
            self.id,
            self.description(),
            drawn,
            self.x_labels(),
            legend,
            self.table(),
        )
    }

    /// The values of a line, one for each bucket; or for a few of them together, where it is a share: of two requests
    /// it says little, and where few come the line would be all gaps.
    fn values<'a>(&'a self, line: &'a Line) -> impl Iterator<Item = Option<f64>> + 'a {
        let together = match (self.unit, self.window) {
            (Unit::Rate | Unit::Bandwidth, _) => 1,
            (Unit::Share, Window::Hour) => 6, // a minute
            (Unit::Share, Window::Day) => 3,  // a quarter of an hour
            (Unit::Share, Window::Week) => 2, // an hour
        };
        self.buckets.chunks(together).map(|chunk| {
            let mut sum = Bucket::default();
            chunk.iter().flatten().for_each(|bucket| sum.merge(bucket));
            (line.value)(&sum)
        })
    }

    /// The value at the upper edge.
    fn top(&self) -> f64 {
        if self.unit == Unit::Share {
            return 1.0;
        }
        let most = self.lines.iter().flat_map(|line| self.values(line)).flatten().fold(0.0, f64::max);
        round_up(most)
    }

    fn y_labels(&self, top: f64) -> Html {
        html!(
            "<span>{}</span><span>{}</span><span>{}</span>",
            self.round(top),
            self.round(top / 2.0),
            self.round(0.0)
        )
    }

    fn x_labels(&self) -> Html {
        let labels: &[&str] = match self.window {
            Window::Hour => &["60 min", "45", "30", "15", "now"],
            Window::Day => &["24 h", "18", "12", "6", "now"],
            Window::Week => &["7 days", "5¼", "3½", "1¾", "now"],
        };
        let mut html = Html::default();
        for label in labels {
            html!(html, "<span>{}</span>", label);
        }
        html
    }

    fn amount(&self, value: f64) -> String {
        match self.unit {
            Unit::Rate => format!("{}/s", Amount(value)),
            Unit::Bandwidth => format!("{}/s", Bytes(value)),
            Unit::Share => Percent(value).to_string(),
        }
    }

    /// The same of a number that is round, without the digits that say nothing.
    fn round(&self, value: f64) -> String {
        let text = self.amount(value);
        let Some((whole, rest)) = text.split_once('.') else { return text };
        let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, unit) = rest.split_at(digits);
        match digits.trim_end_matches('0') {
            "" => format!("{whole}{unit}"),
            digits => format!("{whole}.{digits}{unit}"),
        }
    }

    /// The last bucket that has anything to say, if it is one of the last ones.
    fn now_of(&self, line: &Line) -> String {
        let last = self.values(line).collect::<Vec<_>>().into_iter().rev().take(3).flatten().next();
        last.map_or_else(|| "–".into(), |value| self.amount(value))
    }

    /// What the eye would take from the drawing, in words.
    fn description(&self) -> String {
        let mut text = format!("Over the last {}. ", self.window.name());
        for line in self.lines {
            let values = || self.values(line).flatten();
            let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
            // Writing to a string cannot fail.
            let _ = if values().next().is_none() {
                write!(text, "{}: nothing to show. ", line.name)
            } else if (least - most).abs() < f64::EPSILON {
                write!(text, "{}: {} throughout. ", line.name, self.amount(most))
            } else {
                write!(
                    text,
                    "{}: between {} and {}, now {}. ",
                    line.name,
                    self.amount(least),
                    self.amount(most),
                    self.now_of(line)
                )
            };
        }
        if self.buckets.iter().any(Option::is_none) {
            text.push_str("There are gaps, in which nothing was counted.");
        }
        text.trim_end().to_owned()
    }

    fn table(&self) -> Html {
        let per_row = match self.window {
            Window::Hour => 30, // five minutes
            Window::Day => 12,  // an hour
            Window::Week => 12, // six hours
        };
        let step = self.window.step();
        let first = (self.now / step + 1).saturating_sub(self.buckets.len() as u64);
        let mut head = Html::default();
        for line in self.lines {
            html!(head, "<th scope=\"col\">{}</th>", line.name);
        }
        let mut rows = Html::default();
        for (at, chunk) in self.buckets.chunks(per_row).enumerate() {
            let mut sum = Bucket::default();
            chunk.iter().flatten().for_each(|bucket| sum.merge(bucket));
            let begin = Utc((first + (at * per_row) as u64) * step);
            let is_gap = chunk.iter().all(Option::is_none);
            let mut cells = Html::default();
            for line in self.lines {
                let value = (line.value)(&sum).filter(|_| !is_gap);
                html!(cells, "<td>{}</td>", value.map_or_else(|| "–".into(), |value| self.amount(value)));
            }
            let day = if self.window == Window::Hour { String::new() } else { format!("{} ", begin.date()) };
            html!(
                rows,
                "<tr><th scope=\"row\"><time datetime=\"{}\">{}{}</time></th>{}<td>{}</td></tr>\n",
                begin.rfc_3339(),
                day,
                begin.time(),
                cells,
                if is_gap { "–".to_owned() } else { Count(sum.counts.requests()).to_string() },
            );
        }
        html!(
            "<details id=\"{}-table\"><summary>{} as a table</summary>\n\
             <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{} as a table\"><table>\n\
             <thead><tr><th scope=\"col\">From (UTC)</th>{}<th scope=\"col\">Requests in all</th></tr></thead>\n\
             <tbody>\n{}</tbody></table></div></details>\n",
            self.id,
            self.title,
            self.title,
            head,
            rows,
        )
    }
}

/// The next larger number that is a round one of some power of ten: halves of them read well too.
fn round_up(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0];
    let fits = steps.into_iter().map(|step| step * power).find(|step| *step >= value);
    fits.unwrap_or(10.0 * power)
}

/// The values as a path: from the middle of one bucket to that of the next, interrupted where there is none. A value
/// with none beside it is a stroke as wide as its bucket.
fn path(values: &[Option<f64>], top: f64, filled: bool) -> String {
    let width = WIDTH / values.len().max(1) as f64;
    let y = |value: f64| (1.0 - (value / top).clamp(0.0, 1.0)) * (HEIGHT - 3.0) + 1.5;
    let mut path = String::new();
    let mut at = 0;
    while at < values.len() {
        let run: Vec<f64> = values[at..].iter().map_while(|value| *value).collect();
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            at += 1;
            continue;
        };
        let x = |bucket: f64| (at as f64 + bucket) * width;
        let (left, right) = (x(0.0), x(run.len() as f64));
        // Writing to a string cannot fail.
        let _ = write!(path, "M{left:.1} {:.1}", y(*first));
        for (place, value) in run.iter().enumerate() {
            let _ = write!(path, "L{:.1} {:.1}", x(place as f64 + 0.5), y(*value));
        }
        let _ = write!(path, "L{right:.1} {:.1}", y(*last));
        if filled {
            let _ = write!(path, "V{HEIGHT}H{left:.1}Z");
        }
        at += run.len();
    }
    path
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::history::Figure;

    fn bucket(requests: u64) -> Bucket {
        let mut bucket = Bucket { covered: Duration::from_secs(10), ..Bucket::default() };
        bucket.counts[Figure::Success] = requests;
        bucket
    }

    fn requests(bucket: &Bucket) -> Option<f64> {
        bucket.rate(bucket.counts.requests())
    }

    fn figure(buckets: &[Option<Bucket>]) -> String {
        let lines = [Line { name: "all", value: requests }];
        let plot = Plot {
            id: "requests",
            title: "Requests",
            about: "",
            unit: Unit::Rate,
            lines: &lines,
            buckets,
            window: Window::Hour,
            now: 1_795_380_905,
        };
        plot.figure().into_string()
    }

    #[test]
    fn a_gap_interrupts_the_line_and_the_table_says_so() {
        assert_eq!(path(&[Some(1.0), Some(0.0), None, Some(1.0)], 1.0, false).matches('M').count(), 2);
        assert_eq!(path(&[None, None], 1.0, false), "");
        // Alone, it is still to be seen.
        assert_eq!(path(&[None, Some(1.0), None], 1.0, false), "M240.0 1.5L360.0 1.5L480.0 1.5");
        assert!(path(&[Some(1.0)], 1.0, true).ends_with("V160H0.0Z"));

        let mut buckets = vec![None; 360];
        buckets[359] = Some(bucket(50));
        buckets[358] = Some(bucket(100));
        let figure = figure(&buckets);
        assert!(figure.contains("between 5/s and 10/s, now 5/s. There are gaps"), "{figure}");
        assert_eq!(figure.matches("<tr>").count(), 1 + 12);
        assert!(
            figure.contains("20:50</time></th><td>–</td>") || figure.contains("<td>7.50/s</td><td>150</td>")
        );
        assert!(figure.contains("<td>–</td><td>–</td>"));
    }

    #[test]
    fn without_anything_to_show_it_says_that() {
        assert!(figure(&vec![None; 360]).contains("all: nothing to show."));
        assert!(figure(&vec![Some(bucket(0)); 360]).contains("all: 0/s throughout."));
    }

    #[test]
    fn the_upper_edge_is_a_round_number() {
        let edges = [0.0, 1.0, 1.1, 5.0, 6.5, 9.0, 220.0, 999.0, f64::NAN].map(round_up);
        assert_eq!(edges, [1.0, 1.0, 1.5, 5.0, 8.0, 10.0, 300.0, 1000.0, 1.0]);
    }

    proptest! {
        #[test]
        fn no_numbers_break_the_drawing(values in prop::collection::vec(prop::option::of(any::<u64>()), 0..40)) {
            let top = round_up(values.iter().flatten().map(|value| *value as f64).fold(0.0, f64::max));
            let values: Vec<_> = values.iter().map(|value| value.map(|value| value as f64)).collect();
            let path = path(&values, top, true);
            prop_assert!(!path.contains("NaN") && !path.contains("inf"));
            for number in path.split(['M', 'L', 'V', 'H', 'Z', ' ']).filter(|text| !text.is_empty()) {
                let number: f64 = number.parse().unwrap();
                prop_assert!((-0.1..=WIDTH + 0.1).contains(&number), "{}", path);
            }
        }
    }
}
