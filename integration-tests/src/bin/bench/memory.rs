//! Whether memory stays within its budget, whatever the number of tasks and stores: while they are loaded, and while they are
//! restored from their changelogs.

use std::{
    env,
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};
use clap::Args;
use integration_tests::broker::{Broker, unique};
use serde_json::{Value, json};

use super::load::Load;

/// Loads and restores many tasks with many stores; fails when memory goes beyond its budget.
#[derive(Debug, Args)]
pub(super) struct Memory {
    /// Partitions of the input, and so tasks.
    #[arg(long, default_value_t = 64)]
    tasks: i32,
    /// Stores of each task. Many make many changelogs: 64 of 64 tasks have 4096 partitions, which take a broker minutes to make.
    #[arg(long, default_value_t = 1)]
    stores: usize,
    /// Records of the input, each with a key of its own and a value of 100 bytes, kept in every store.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// A running broker; default: one of its own.
    #[arg(long)]
    bootstrap: Option<String>,
}

/// What the process may take beside the budget, in bytes.
const BESIDE: f64 = 60e6;
const MIB: f64 = (1 << 20) as f64;

// === impl Memory ===

impl Memory {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let (bootstrap, _own) = match &self.bootstrap {
            Some(bootstrap) => (bootstrap.clone(), None),
            None => {
                let broker = Broker::private()?;
                (broker.bootstrap().to_owned(), Some(broker))
            }
        };
        let topic = format!("once-{}-{}", self.tasks, self.records);
        let load = Load {
            bootstrap: bootstrap.clone(),
            topic: topic.clone(),
            partitions: self.tasks,
            records: self.records,
            keys: self.records,
            each_once: true,
        };
        load.run()?;
        let (folder, application) = (tempfile::tempdir()?, unique("memory"));
        let mut failed = Vec::new();
        for phase in ["all", "restore"] {
            let mut command = Command::new(env::current_exe()?);
            command.args(["run", "latest", "--bootstrap", &bootstrap, "--topic", &topic, "--phase", phase]);
            command.args(["--stores", &self.stores.to_string(), "--application", &application, "--label", phase]);
            command.arg("--state-dir").arg(folder.path().join("state"));
            if phase == "all" {
                command.arg("--keep");
            }
            let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
            ensure!(output.status.success(), "{command:?} ended with {}", output.status);
            let text = String::from_utf8(output.stdout)?;
            let line = text.lines().rev().find(|line| line.starts_with('{')).context("no line of JSON was printed")?;
            let line: Value = serde_json::from_str(line)?;
            let figure = |name: &str| line[name].as_f64().with_context(|| format!("no {name}"));
            let (peak, budget) = (figure("rss_peak_mib")?, figure("memory_budget_mib")?);
            let limit = budget + BESIDE / MIB;
            println!(
                "{}",
                json!({
                    "label": format!("memory-{phase}"), "tasks": self.tasks, "stores": self.stores,
                    "rss_peak_mib": peak, "memory_budget_mib": budget, "limit_mib": limit,
                })
            );
            if peak > limit {
                failed.push(format!("{phase}: {peak:.0} MiB of {limit:.0}"));
            }
        }
        ensure!(failed.is_empty(), "memory went beyond its budget: {}", failed.join(", "));
        Ok(())
    }
}
