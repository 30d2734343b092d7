//! `farmgate status`

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use crate::config;
use crate::control::{self, Request, Screen, Status};

/// How often `--watch` looks again.
const AGAIN: Duration = Duration::from_secs(1);
/// What a page is made for, where nobody says how wide it may be.
const USUAL: (usize, usize) = (80, usize::MAX);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print JSON; with --watch, a line each time.
    #[arg(long)]
    json: bool,
    /// Look again every second, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(config: &Path, arguments: &Arguments) -> Result<(), Failure> {
    let socket = config::control_socket(config)?;
    if arguments.watch {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        return runtime.map_err(failed)?.block_on(watch(&socket, arguments.json));
    }
    let status = ask(&socket)?;
    if !arguments.json {
        return super::print(&screen().show(&status, now()));
    }
    let json = serde_json::to_string_pretty(&status).map_err(failed)?;
    super::print(&format!("{json}\n"))
}

fn ask(socket: &Path) -> Result<Status, Failure> {
    match control::call(socket, Request::Status).map_err(failed)? {
        control::Reply::Status(status) => Ok(*status),
        _ => Err(Failure::Failed("the gate sent no status".into())),
    }
}

/// Shows the status again and again. A gate that is gone may come back: it is waited for.
async fn watch(socket: &Path, json: bool) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let whole_screen = !json && std::io::stdout().is_terminal();
    let _restored = whole_screen.then(WholeScreen::take).transpose().map_err(failed)?;
    // Nobody has looked yet: a gate that is not there is an error, as without --watch.
    let mut known = false;
    let mut again = tokio::time::interval(AGAIN);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = again.tick() => {}
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        }
        let text = match ask(socket) {
            Ok(status) if json => serde_json::to_string(&status).map_err(failed)? + "\n",
            Ok(status) => screen().show(&status, now()),
            Err(error) if !known => return Err(error),
            Err(error) => format!("{error}\n"),
        };
        known = true;
        if whole_screen {
            repaint(&text).map_err(failed)?;
        } else if let Err(error) = std::io::stdout().lock().write_all(text.as_bytes()) {
            // A reader that has seen enough, such as `head`.
            let done = error.kind() == std::io::ErrorKind::BrokenPipe;
            return if done { Ok(()) } else { Err(failed(error)) };
        }
    }
}

/// Writes over what is there: a screen that is cleared first would flicker.
fn repaint(text: &str) -> std::io::Result<()> {
    let (_, height) = size();
    let mut painted = String::from("\x1b[H");
    let lines: Vec<&str> = text.lines().take(height.saturating_sub(1)).collect();
    for line in lines {
        painted.push_str(line);
        painted.push_str("\x1b[K\r\n");
    }
    painted.push_str("\x1b[J");
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(painted.as_bytes())?;
    stdout.flush()
}

/// The terminal's other screen, without a cursor. Dropped, what was there before is there again.
struct WholeScreen;

impl WholeScreen {
    fn take() -> std::io::Result<Self> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(b"\x1b[?1049h\x1b[?25l\x1b[2J")?;
        stdout.flush().map(|()| Self)
    }
}

impl Drop for WholeScreen {
    fn drop(&mut self) {
        let mut stdout = std::io::stdout().lock();
        // The terminal may be gone.
        let _ = stdout.write_all(b"\x1b[?25h\x1b[?1049l").and_then(|()| stdout.flush());
    }
}

fn screen() -> Screen {
    let is_terminal = std::io::stdout().is_terminal();
    // What reads it instead of a person wants whole lines.
    let width = if is_terminal { size().0 } else { usize::MAX };
    Screen { colour: is_terminal && super::colours_are_wanted(), width }
}

/// Columns and lines of the terminal.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => USUAL,
    }
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}
