//! All works in turn, ours and Kafka Streams', on the same broker and the same input.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};
use clap::Args;
use integration_tests::broker::{Broker, unique};
use serde_json::Value;

use super::load::{Load, connect, read_through};

/// Measures all works, in turn with Kafka Streams.
#[derive(Debug, Args)]
pub(super) struct Compare {
    /// The folder of the peer's `run`; without it only our side is measured.
    #[arg(long)]
    peer: Option<PathBuf>,
    /// Which works, by the names of the output; default: all.
    #[arg(long, value_delimiter = ',')]
    works: Vec<String>,
    /// Which guarantees.
    #[arg(long, value_delimiter = ',', default_values_t = ["eos".to_owned(), "alo".to_owned()])]
    modes: Vec<String>,
    /// How often each work is measured.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// A running broker; default: the peer's, or one of its own.
    #[arg(long)]
    bootstrap: Option<String>,
    /// Records of the input.
    #[arg(long, default_value_t = 5_000_000)]
    records: u64,
    /// Appends every line of JSON to this file.
    #[arg(long)]
    results: Option<PathBuf>,
}

/// A work and what the peer calls it.
struct Work {
    name: &'static str,
    topic: &'static str,
    ours: &'static [&'static str],
    peer: &'static [&'static str],
    /// The record cache is of use to it: it is measured with and without.
    cached: bool,
}

const TABLE: &str = "once-4";
const MILLION: u64 = 1_000_000;

const WORKS: &[Work] = &[
    Work {
        name: "stateless",
        topic: "in-1M",
        ours: &["stateless"],
        peer: &["stateless", "--output", "out-stateless"],
        cached: false,
    },
    Work { name: "count-1M", topic: "in-1M", ours: &["count"], peer: &["count"], cached: true },
    Work { name: "count-10k", topic: "in-10k", ours: &["count"], peer: &["count"], cached: true },
    Work { name: "window-1M", topic: "in-1M", ours: &["window"], peer: &["window"], cached: true },
    Work { name: "window-10k", topic: "in-10k", ours: &["window"], peer: &["window"], cached: true },
    Work {
        name: "join",
        topic: "in-1M",
        ours: &["join", "--table", TABLE],
        peer: &["join", "--table", TABLE, "--output", "out-join"],
        cached: false,
    },
    Work { name: "restore", topic: TABLE, ours: &["latest"], peer: &["restore", "--store", "latest"], cached: false },
];

/// What is compared, and whether more of it is better.
const FIGURES: [(&str, bool); 4] =
    [("cpu_s_per_million", false), ("per_s", true), ("rss_peak_mib", false), ("start_to_running_s", false)];

/// Our figure over another, by what it is of: one of each round.
type Ratios = BTreeMap<String, Vec<f64>>;

// === impl Compare ===

impl Compare {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let (bootstrap, _own) = self.broker()?;
        let works: Vec<&Work> = WORKS
            .iter()
            .filter(|work| self.works.is_empty() || self.works.iter().any(|name| name == work.name))
            .collect();
        ensure!(
            !works.is_empty(),
            "no such work; there are {:?}",
            WORKS.iter().map(|work| work.name).collect::<Vec<_>>()
        );
        self.load(&bootstrap, &works)?;
        let folder = tempfile::tempdir()?;
        eprintln!("warming up the broker");
        self.ours(works[0], &self.modes[0], &bootstrap, &folder.path().join("ours"))?;
        let mut ratios = Ratios::new();
        for round in 1..=self.rounds {
            for work in &works {
                let mut cpu_by_mode = Vec::new();
                for mode in &self.modes {
                    eprintln!("round {round}: {}, {mode}", work.name);
                    let ours = self.ours(work, mode, &bootstrap, &folder.path().join("ours"))?;
                    cpu_by_mode.extend(ours["cpu_s_per_million"].as_f64());
                    let Some(peer) = &self.peer else { continue };
                    let theirs = self.theirs(peer, work, mode, &bootstrap, &folder.path().join("peer"))?;
                    compare(work.name, mode, &ours, &theirs, &mut ratios);
                }
                if let ([first, second], [cpu, other_cpu]) = (&self.modes[..], &cpu_by_mode[..]) {
                    let what = format!("{} {first} of {second}, cpu_s_per_million", work.name);
                    println!("{what}: {cpu:.2} of {other_cpu:.2} = {:.3}", cpu / other_cpu);
                    ratios.entry(what).or_default().push(cpu / other_cpu);
                }
            }
        }
        if self.rounds > 1 {
            ratios.iter().for_each(|(what, of_rounds)| print_median(what, of_rounds));
        }
        Ok(())
    }

    fn broker(&self) -> anyhow::Result<(String, Option<Broker>)> {
        if let Some(peer) = &self.peer {
            output(Command::new(peer.join("run")).arg("broker"))?;
        }
        Ok(match (&self.bootstrap, &self.peer) {
            (Some(bootstrap), _) => (bootstrap.clone(), None),
            (None, Some(_)) => {
                let part = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
                (format!("{}:{}", part("PEER_HOST", "127.0.0.2"), part("PEER_PORT", "29092")), None)
            }
            (None, None) => {
                let broker = Broker::private()?;
                (broker.bootstrap().to_owned(), Some(broker))
            }
        })
    }

    fn load(&self, bootstrap: &str, works: &[&Work]) -> anyhow::Result<()> {
        let load = |topic: &str, records, keys, each_once| {
            Load { bootstrap: bootstrap.to_owned(), topic: topic.to_owned(), partitions: 4, records, keys, each_once }
                .run()
        };
        let uses = |topic| works.iter().any(|work| work.topic == topic);
        if uses("in-1M") {
            load("in-1M", self.records, MILLION, false)?;
        }
        if uses("in-10k") {
            load("in-10k", self.records, 10_000, false)?;
        }
        if works.iter().any(|work| work.topic == TABLE || work.name == "join") {
            load(TABLE, MILLION, MILLION, true)?;
        }
        Ok(())
    }

    fn ours(&self, work: &Work, mode: &str, bootstrap: &str, state: &Path) -> anyhow::Result<Value> {
        let application = unique("bench");
        let run = |phase: &str, keep: bool| {
            let mut command = Command::new(env::current_exe()?);
            // As in the image of a service.
            command.env("MALLOC_ARENA_MAX", "3");
            // 192 MiB: none of these works is faster with more.
            command.env("MILLPOND_MEMORY_BYTES", "201326592");
            command.arg("run").args(work.ours).args(["--bootstrap", bootstrap, "--topic", work.topic]);
            command.args(["--mode", mode, "--phase", phase, "--application", &application]);
            command.args(["--label", &format!("{}-{mode}", work.name)]).arg("--state-dir").arg(state);
            if keep {
                command.arg("--keep");
            }
            read_through(&connect(bootstrap)?, work.topic)?;
            self.line(&mut command)
        };
        match work.name {
            "join" => {
                run("table", true)?;
                run("stream", false)
            }
            "restore" => {
                run("all", true)?;
                run("restore", false)
            }
            _ => run("all", false),
        }
    }

    /// The best of the peer's settings: least CPU.
    fn theirs(&self, peer: &Path, work: &Work, mode: &str, bootstrap: &str, state: &Path) -> anyhow::Result<Value> {
        let once = |extra: &[&str]| {
            let mut command = Command::new(peer.join("run"));
            command.env("LABEL", format!("{}-{mode}", work.name)).arg("once").args(work.peer);
            command.args(["--topic", work.topic, "--mode", mode]).args(extra).arg("--state-dir").arg(state);
            read_through(&connect(bootstrap)?, work.topic)?;
            self.line(&mut command)
        };
        match work.name {
            "join" => {
                once(&["--phase", "table", "--keep"])?;
                once(&["--phase", "stream"])
            }
            "restore" => {
                once(&["--prepare"])?;
                once(&[])
            }
            _ => {
                let with = once(&[])?;
                if !work.cached {
                    return Ok(with);
                }
                let without = once(&["--set", "statestore.cache.max.bytes=0"])?;
                let cpu = |line: &Value| line["cpu_s_per_million"].as_f64().unwrap_or(f64::MAX);
                Ok(if cpu(&without) < cpu(&with) { without } else { with })
            }
        }
    }

    /// Runs a command and takes the line of JSON that it prints last.
    fn line(&self, command: &mut Command) -> anyhow::Result<Value> {
        let text = output(command)?;
        let line = text.lines().rev().find(|line| line.starts_with('{')).context("no line of JSON was printed")?;
        println!("{line}");
        if let Some(path) = &self.results {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(path)?;
            writeln!(file, "{line}")?;
        }
        Ok(serde_json::from_str(line)?)
    }
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{command:?} ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Our figure over the peer's, one line each.
fn compare(work: &str, mode: &str, ours: &Value, theirs: &Value, ratios: &mut Ratios) {
    let figure = |line: &Value, name: &str| match name {
        "per_s" => line["restored_per_s"].as_f64().or_else(|| line["committed_per_s"].as_f64()),
        name => line[name].as_f64(),
    };
    for (name, more_is_better) in FIGURES {
        if let (Some(ours), Some(theirs)) = (figure(ours, name), figure(theirs, name)) {
            let better = if more_is_better { "more is better" } else { "less is better" };
            let what = format!("{work} {mode} {name}");
            println!("{what}: {ours:.2} of {theirs:.2} = {:.3} ({better})", ours / theirs);
            ratios.entry(what).or_default().push(ours / theirs);
        }
    }
}

fn print_median(what: &str, of_rounds: &[f64]) {
    let mut sorted = of_rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
    println!("{what}: median of {} rounds {:.3} ({least:.3} to {most:.3})", sorted.len(), sorted[sorted.len() / 2]);
}
