//! Keys that nobody asked for, and what their writer may have meant.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::diagnostics::Complaint;
use super::wire::{Findings, join};

/// Reports what `file` has beyond the known names, and returns the known ones it does have.
///
/// To be called when all has been read: then the known names are complete.
pub(super) fn report(file: &DeTable<'_>, findings: &mut Findings<'_>) -> BTreeSet<String> {
    let mut given = BTreeSet::new();
    walk("", file, findings, &mut given);
    given
}

fn walk(name: &str, table: &DeTable<'_>, findings: &mut Findings<'_>, given: &mut BTreeSet<String>) {
    for (key, value) in table.iter() {
        let dotted = join(name, key.get_ref());
        if !findings.known.contains(&dotted) {
            let complaint = complaint(name, key.get_ref(), &findings.known);
            findings.error(key.span(), dotted, complaint);
            continue;
        }
        // Below a key that holds no table there is nothing to know; that a table stands there has been
        // reported.
        if !children(&dotted, &findings.known).is_empty() {
            for below in tables(value.get_ref()) {
                walk(&dotted, below, findings, given);
            }
        }
        given.insert(dotted);
    }
}

/// The table that `value` is, or those it is a list of.
fn tables<'v, 'd>(value: &'v DeValue<'d>) -> Vec<&'v DeTable<'d>> {
    match value {
        DeValue::Table(table) => vec![table],
        DeValue::Array(elements) => {
            elements.iter().filter_map(|element| element.get_ref().as_table()).collect()
        }
        _ => Vec::new(),
    }
}

fn complaint(table: &str, key: &str, known: &BTreeSet<String>) -> Complaint {
    let place =
        if table.is_empty() { "at the top of the file".to_owned() } else { format!("in {}", heading(table)) };
    let message = format!("unknown key `{key}` {place}");
    let here = children(table, known);
    let elsewhere = tables_with(key, known);
    let nearest = closest(key, here.iter().copied());

    let hint = match nearest {
        // A slip of one letter is likelier than a wrong table, a wrong table likelier than two slips.
        Some((near, 0..=1)) => format!("did you mean `{near}`?"),
        _ if known.contains(key) => {
            format!("`{key}` is a table of its own: write {} with its keys below", heading(key))
        }
        _ if !elsewhere.is_empty() => format!("`{key}` belongs in {}", elsewhere.join(" or ")),
        Some((near, _)) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", here.join(", ")),
    };
    Complaint::new(message).hint(hint)
}

/// Names that stand directly in `table`.
fn children<'k>(table: &str, known: &'k BTreeSet<String>) -> Vec<&'k str> {
    let below = join(table, "");
    known.iter().filter_map(|name| name.strip_prefix(&below)).filter(|rest| !rest.contains('.')).collect()
}

/// Headings of all tables that have a `key`.
fn tables_with(key: &str, known: &BTreeSet<String>) -> Vec<String> {
    known
        .iter()
        .filter_map(|name| name.rsplit_once('.'))
        .filter(|(_, last)| *last == key)
        .map(|(table, _)| heading(table))
        .collect()
}

fn heading(table: &str) -> String {
    let is_list = matches!(table, "site" | "limits.requests" | "timeouts.route");
    if is_list { format!("[[{table}]]") } else { format!("[{table}]") }
}

/// The candidate most like `word` and how many slips lie between them, unless it is so unlike that to suggest
/// it would be silly.
pub(super) fn closest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<(&'c str, usize)> {
    // Beyond this no candidate can be near, and the distance takes the product of the lengths.
    if word.chars().count() > 64 {
        return None;
    }
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let bearable = (word.len() / 3).max(1);
    candidates
        .map(|candidate| (candidate, distance(&word, &candidate.chars().collect::<Vec<_>>())))
        .filter(|(_, slips)| *slips <= bearable)
        .min_by_key(|(_, slips)| *slips)
}

/// How many letters were left out, put in, mistaken or swapped with their neighbour ("optimal string
/// alignment").
///
/// Twenty lines here, in place of a crate there for one call.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_a_letter_left_out_put_in_mistaken_or_swapped() {
        for (a, b, slips) in [
            ("", "", 0),
            ("", "abc", 3),
            ("names", "name", 1),
            ("nmaes", "names", 1),
            ("reed", "read", 1),
            ("webrooot", "webroot", 1),
            ("kitten", "sitting", 3),
        ] {
            let distance = distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
            assert_eq!(distance, slips, "{a} {b}");
        }
    }

    #[test]
    fn nothing_is_suggested_for_a_word_unlike_all() {
        assert_eq!(closest("upstream", ["names", "publish"].into_iter()), None);
        assert_eq!(closest(&"names".repeat(1000), ["names"].into_iter()), None);
        assert_eq!(closest("Names", ["names"].into_iter()), Some(("names", 0)));
    }
}
