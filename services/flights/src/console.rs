//! What a person sees of a run: the log and progress bars, both on stderr.

use std::{
    io::{self, IsTerminal as _, Write},
    sync::LazyLock,
    time::Duration,
};

use anyhow::Context as _;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing::info;
use tracing_subscriber::EnvFilter;

/// Every bar of the process, so that a log line can go above them. Bars are hidden when stderr is no terminal.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Sends the log to stderr: what `filter` says in the syntax of [`EnvFilter`].
///
/// # Errors
/// When the filter does not parse.
pub fn start_logging(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("MILLPOND_LOG={filter:?} is not a log filter"))?;
    tracing_subscriber::fmt()
        .compact()
        .with_ansi(io::stderr().is_terminal())
        .with_env_filter(filter)
        .with_writer(|| AboveBars)
        .init();
    Ok(())
}

/// The progress of one thing after the other: a bar on a terminal, a log line for every tenth elsewhere.
#[derive(Debug, Default)]
pub struct Progress {
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    what: String,
    bar: ProgressBar,
    tenths: u64,
}

/// Writes to stderr without tearing a bar apart.
#[derive(Debug)]
struct AboveBars;

// === impl Progress ===

impl Progress {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `done` of `total` steps of `what` are done. Another `what` than before begins anew.
    pub fn set(&mut self, what: &str, done: u64, total: u64) {
        if self.current.as_ref().is_none_or(|current| current.what != what) {
            self.finish();
            self.current = Some(Current::new(what, total));
        }
        if let Some(current) = &mut self.current {
            current.set(done, total);
        }
    }

    /// Puts a log line in the place of the bar; the next [`Progress::set`] begins a new one.
    pub fn finish(&mut self) {
        if let Some(current) = self.current.take() {
            current.finish();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

// === impl Current ===

impl Current {
    fn new(what: &str, total: u64) -> Self {
        let style = ProgressStyle::with_template("{msg:24} {bar:40} {human_pos:>8} of {human_len}, {eta} left")
            .expect("the template is a constant that parses");
        let bar = BARS.add(ProgressBar::new(total).with_style(style).with_message(what.to_owned()));
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { what: what.to_owned(), bar, tenths: 0 }
    }

    fn set(&mut self, done: u64, total: u64) {
        self.bar.set_position(done);
        let tenths = (done * 10).checked_div(total).unwrap_or(10);
        if self.bar.is_hidden() && tenths > self.tenths {
            info!(done, total, "{}", self.what);
        }
        self.tenths = tenths;
    }

    fn finish(&self) {
        if !self.bar.is_hidden() {
            self.bar.finish_and_clear();
            BARS.remove(&self.bar);
            info!(done = self.bar.position(), total = self.bar.length(), "{}", self.what);
        }
    }
}

// === impl AboveBars ===

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        BARS.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
