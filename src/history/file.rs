//! The history as a file.
//!
//! Lines of JSON, so that anybody can see what is in it. The first says which figures there are; then each window has
//! a line of its own, followed by its buckets, oldest first; the last line has the SHA-256 of all before it:
//!
//! ```text
//! {"farmgate_history":1,"figures":["2xx","3xx",…]}
//! {"window":"hour","step":10}
//! [179538000,10000,12,4711,0,…]
//! {"sha256":"…"}
//! ```
//!
//! A bucket is its number (of steps since 1970), how many milliseconds of it were counted, the most connections open at
//! once, and the figures. There are 984 of them at the most.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::figures::{Counts, Figure};
use super::series::{Bucket, Series, Window};

const FORMAT: u32 = 1;
/// Twice of what the largest numbers would need.
const LARGEST: u64 = 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Header {
    farmgate_history: u32,
    figures: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct WindowLine {
    window: String,
    step: u64,
}

#[derive(Serialize)]
struct Footer {
    sha256: String,
}

/// What was kept; none where there is no file.
pub(super) fn read(path: &Path) -> Result<Option<[Series; Window::ALL.len()]>, String> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes)) {
        Ok(length) if length as u64 > LARGEST => Err("it is larger than any history".into()),
        Ok(_) => decode(&bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn encode(series: &[Series]) -> Result<String, serde_json::Error> {
    let figures = Figure::ALL.map(|figure| figure.name().to_owned()).to_vec();
    let mut text = line(&Header { farmgate_history: FORMAT, figures })?;
    for series in series {
        let window = series.window();
        text += &line(&WindowLine { window: window.name().into(), step: window.step() })?;
        for (number, bucket) in series.written() {
            let covered = u64::try_from(bucket.covered.as_millis()).unwrap_or(u64::MAX);
            let mut row = vec![*number, covered, bucket.connections];
            row.extend(Figure::ALL.map(|figure| bucket.counts[figure]));
            text += &line(&row)?;
        }
    }
    let footer = line(&Footer { sha256: sha256(text.as_bytes()) })?;
    Ok(text + &footer)
}

/// Reads what `encode` wrote, or says what is wrong with it.
pub(super) fn decode(bytes: &[u8]) -> Result<[Series; Window::ALL.len()], String> {
    let mut lines = checked(bytes)?.lines();
    let header: Header = parse(lines.next().unwrap_or_default())?;
    if header.farmgate_history != FORMAT {
        return Err(format!(
            "its format is {}, and this farmgate knows {FORMAT} only",
            header.farmgate_history
        ));
    }
    let figures: Vec<Option<Figure>> = header
        .figures
        .iter()
        .map(|name| Figure::ALL.into_iter().find(|figure| figure.name() == name))
        .collect();
    let mut buckets = Window::ALL.map(|_| Vec::new());
    let mut current = None;
    for text in lines {
        if text.starts_with('{') {
            let line: WindowLine = parse(text)?;
            // A window that is kept in other steps by now is as good as unknown.
            current = Window::ALL
                .into_iter()
                .find(|known| known.name() == line.window && known.step() == line.step);
        } else if let Some(window) = current {
            buckets[window as usize].push(bucket(&parse::<Vec<u64>>(text)?, &figures)?);
        }
    }
    let [hour, day, week] = buckets;
    let restore = |window, buckets| {
        Series::restore(window, buckets).ok_or_else(|| "its buckets are not in order".to_owned())
    };
    Ok([restore(Window::Hour, hour)?, restore(Window::Day, day)?, restore(Window::Week, week)?])
}

fn bucket(row: &[u64], figures: &[Option<Figure>]) -> Result<(u64, Bucket), String> {
    let [number, covered, connections, values @ ..] = row else {
        return Err("a bucket is too short".into());
    };
    if values.len() != figures.len() {
        return Err("a bucket has not as many figures as the first line names".into());
    }
    let mut counts = Counts::default();
    for (figure, value) in figures.iter().zip(values) {
        if let Some(figure) = *figure {
            counts[figure] = *value;
        }
    }
    Ok((*number, Bucket { covered: Duration::from_millis(*covered), counts, connections: *connections }))
}

/// The lines that the checksum vouches for.
fn checked(bytes: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    let end = text.strip_suffix('\n').and_then(|text| text.rfind('\n')).ok_or("it was cut off")? + 1;
    let (contents, last) = text.split_at(end);
    let expected =
        line(&Footer { sha256: sha256(contents.as_bytes()) }).map_err(|error| error.to_string())?;
    if last == expected { Ok(contents) } else { Err("its contents do not go with its checksum".into()) }
}

fn line(value: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string(value).map(|json| json + "\n")
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}
