//! One measured run: an instance does the work on topics that lie ready, in a process that does nothing else.

use std::{collections::BTreeMap, net::TcpListener, path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use integration_tests::{broker::unique, service::sum_of_metric};
use millpond::{
    App, Config, Topology,
    app::Instance,
    config::Guarantee,
    log::{Isolation, Log, MembershipEvent, MembershipOptions, NewTopic, TopicPartition, kafka::KafkaLog},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    load::{Size, connect, count, read_through, recreate},
    meter::{Reading, memory_mib, threads},
    work::{OUTPUT, Work},
};

/// Looking costs the process CPU time too, since it serves its own metrics.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(600);

/// Measures one piece of work.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The work.
    work: Work,
    /// Kafka, `host:port`.
    #[arg(long)]
    bootstrap: String,
    /// The input.
    #[arg(long)]
    topic: String,
    /// The input of the table, for joins.
    #[arg(long, default_value = "")]
    table: String,
    #[arg(long, value_enum, default_value_t = Mode::Eos)]
    mode: Mode,
    #[arg(long, value_enum, default_value_t = Phase::All)]
    phase: Phase,
    /// The application; a phase that goes on where another one stopped names it.
    #[arg(long)]
    application: Option<String>,
    /// Where state is kept.
    #[arg(long)]
    state_dir: PathBuf,
    /// In how many stores values are kept.
    #[arg(long, default_value_t = 1)]
    stores: usize,
    /// Worker threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Leave topics and state as they are at the end.
    #[arg(long)]
    keep: bool,
    /// What the line of JSON is called.
    #[arg(long, default_value = "")]
    label: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// Exactly once.
    Eos,
    /// At least once.
    Alo,
}

/// What of the work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Phase {
    /// Everything from the beginning.
    All,
    /// Only the table is read; the stream is left at its end.
    Table,
    /// The stream is read from its beginning, beside the table of an earlier run.
    Stream,
    /// Nothing is read: the store of an earlier run is restored from its changelog.
    Restore,
}

// === impl Run ===

impl Run {
    pub(super) async fn run(&self) -> anyhow::Result<()> {
        let application = self.application.clone().unwrap_or_else(|| unique("bench"));
        let log = connect(&self.bootstrap)?;
        let topology = self.work.topology(&self.topic, &self.table, self.stores)?;
        let topics = internal_topics(&topology, &application);
        self.prepare(&log, &application)?;
        let expected = match self.phase {
            Phase::All => count(&log, &self.topic)?,
            Phase::Table => count(&log, &self.table)?,
            Phase::Stream => count(&log, &self.topic)?,
            Phase::Restore => {
                topics.iter().filter(|topic| topic.ends_with("-changelog")).try_fold(Some(0), |sum, topic| {
                    anyhow::Ok(sum.zip(count(&log, topic)?).map(|(sum, count)| sum + count))
                })?
            }
        };
        let expected = expected.context("the input does not exist: `bench load` makes it")? as f64;

        let boot = Reading::now()?;
        let config = self.config(&application)?;
        let budget = config.memory_bytes;
        let instance = App::new(topology, config).start().await?;
        let (first, head_start) = match self.phase {
            Phase::Restore => (restore_began(&instance).await?, 0.0),
            _ => first_record(&instance).await?,
        };
        let last = self.all_done(&instance, expected).await?;
        let by_thread = threads()?;
        let peak = memory_mib("VmHWM")?;
        let rss = memory_mib("VmRSS")?;
        let end = match self.phase {
            Phase::Restore => {
                let end = Reading::now()?;
                instance.stop().await?;
                end
            }
            // What was processed last is committed by the stop.
            _ => {
                instance.stop().await?;
                Reading::now()?
            }
        };

        let mut line = json!({
            "label": self.label,
            "system": "millpond",
            "bench": format!("{:?}", self.work).to_lowercase(),
            "phase": format!("{:?}", self.phase).to_lowercase(),
            "mode": format!("{:?}", self.mode).to_lowercase(),
            "topic": self.topic,
            "records": expected,
            "threads": self.threads,
            "committed_per_s": expected / first.until(&end).wall.as_secs_f64(),
            "processed_per_s": expected / first.until(&last).wall.as_secs_f64(),
            "cpu_s_per_million": boot.until(&end).cpu_s * 1e6 / expected,
            "start_to_first_s": boot.until(&first).wall.as_secs_f64(),
            "processed_before_first_look": head_start,
            "rss_peak_mib": peak,
            "rss_mib": rss,
            "memory_budget_mib": budget as f64 / f64::from(1 << 20),
            "thread_cpu_s": by_thread.into_iter().collect::<BTreeMap<_, _>>(),
        });
        let mut changelogs = Size::default();
        for topic in topics.iter().filter(|topic| topic.ends_with("-changelog")) {
            let Size { records, bytes } = read_through(&log, topic)?;
            changelogs = Size { records: changelogs.records + records, bytes: changelogs.bytes + bytes };
        }
        line["changelog_records"] = Value::from(changelogs.records);
        line["changelog_bytes"] = Value::from(changelogs.bytes);
        if self.phase == Phase::Restore {
            line["restored_per_s"] = line["committed_per_s"].take();
            line["start_to_running_s"] = Value::from(boot.until(&last).wall.as_secs_f64());
        }
        if self.work.has_output() {
            line["output_records"] = Value::from(count(&log, OUTPUT)?);
        }
        println!("{line}");
        self.clean_up(&log, &topics)
    }

    /// Output topic, offsets and state as the phase expects them.
    fn prepare(&self, log: &KafkaLog, application: &str) -> anyhow::Result<()> {
        if self.work.has_output() && self.phase != Phase::Restore {
            let partitions = log.admin()?.topics(&[&self.topic])?.first().map_or(4, |topic| topic.partitions);
            recreate(log, OUTPUT, partitions)?;
        }
        if matches!(self.phase, Phase::All | Phase::Table | Phase::Restore) && self.state_dir.exists() {
            std::fs::remove_dir_all(&self.state_dir)?;
        }
        match self.phase {
            Phase::All | Phase::Restore => Ok(()),
            Phase::Table => set_offsets(log, application, &self.topic, false),
            Phase::Stream => set_offsets(log, application, &self.topic, true),
        }
    }

    fn config(&self, application: &str) -> anyhow::Result<Config> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Config {
            bootstrap: self.bootstrap.clone(),
            application_id: Some(application.to_owned()),
            instance_id: "bench".into(),
            http: ([127, 0, 0, 1], port).into(),
            state_dir: self.state_dir.clone(),
            threads: self.threads,
            // The records are dated 2023: the broker would delete changelogs of windows while they are written.
            window_changelog_additional_retention: Duration::from_secs(10 * 366 * 24 * 3600),
            guarantee: match self.mode {
                Mode::Eos => Guarantee::ExactlyOnce,
                Mode::Alo => Guarantee::AtLeastOnce,
            },
            // There is nobody to wait for; the peer's broker does not let a group wait either.
            state_wait: Duration::ZERO,
            ..Config::from_env()?
        })
    }

    async fn all_done(&self, instance: &Instance, expected: f64) -> anyhow::Result<Reading> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let done = match self.phase {
                Phase::Restore => reqwest::get(format!("{}/readyz", instance.url())).await?.status().is_success(),
                _ => processed(instance).await? >= expected,
            };
            if done {
                return Reading::now();
            }
            ensure!(Instant::now() < deadline, "not done after {} s", PATIENCE.as_secs());
            // A restore is over soon, and asking whether it is costs little.
            sleep(if self.phase == Phase::Restore { LOOK_AGAIN / 5 } else { LOOK_AGAIN }).await;
        }
    }

    fn clean_up(&self, log: &KafkaLog, topics: &[String]) -> anyhow::Result<()> {
        if self.keep {
            return Ok(());
        }
        std::fs::remove_dir_all(&self.state_dir)?;
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        Ok(log.admin()?.delete_topics(&names)?)
    }
}

async fn first_record(instance: &Instance) -> anyhow::Result<(Reading, f64)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let processed = processed(instance).await?;
        if processed > 0.0 {
            return Ok((Reading::now()?, processed));
        }
        ensure!(Instant::now() < deadline, "no record was processed after {} s", PATIENCE.as_secs());
        sleep(Duration::from_millis(10)).await;
    }
}

/// When the first task's restore began, as the instance says while it restores.
async fn restore_began(instance: &Instance) -> anyhow::Result<Reading> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let body: Value = reqwest::get(format!("{}/restores", instance.url())).await?.json().await?;
        let restores = body["restores"].as_array().context("no list of restores")?;
        if let Some(elapsed_ms) = restores.iter().filter_map(|restore| restore["elapsed_ms"].as_u64()).max() {
            return Ok(Reading::now()?.before(Duration::from_millis(elapsed_ms)));
        }
        ensure!(Instant::now() < deadline, "no restore began within {} s", PATIENCE.as_secs());
        sleep(Duration::from_millis(5)).await;
    }
}

async fn processed(instance: &Instance) -> anyhow::Result<f64> {
    let text = reqwest::get(format!("{}/metrics", instance.url())).await?.text().await?;
    Ok(sum_of_metric(&text, "millpond_task_records_total"))
}

fn internal_topics(topology: &Topology, application: &str) -> Vec<String> {
    let resolved = topology.resolve(application);
    let stores = resolved.sub_topologies.iter().flat_map(|sub_topology| sub_topology.stores.iter());
    let mut topics: Vec<String> = stores.filter_map(|store| store.changelog.as_deref().map(str::to_owned)).collect();
    topics.extend(["metadata", "coordination"].map(|topic| format!("{application}-{topic}")));
    topics
}

/// Sets the committed offsets of an application that does not run: of the whole topic to its beginning, or to its end.
fn set_offsets(log: &KafkaLog, application: &str, topic: &str, to_beginning: bool) -> anyhow::Result<()> {
    let coordination = format!("{application}-coordination");
    if log.admin()?.topics(&[&coordination])?.is_empty() {
        let config = BTreeMap::new();
        let topic = NewTopic { name: coordination.clone(), partitions: 1, replication_factor: None, config };
        log.admin()?.create_topics(&[topic])?;
    }
    let mut membership = log.join(MembershipOptions {
        group_id: application.to_owned(),
        client_id: "bench".into(),
        coordination_topic: coordination,
        session_timeout: Duration::from_secs(6),
        max_poll_interval: Duration::from_secs(60),
    })?;
    let deadline = Instant::now() + Duration::from_secs(60);
    let epoch = loop {
        if let Some(MembershipEvent::Joined { epoch, .. }) = membership.poll(Duration::from_millis(100))? {
            break epoch;
        }
        ensure!(Instant::now() < deadline, "cannot join {application}");
    };
    let partitions = log.admin()?.topics(&[topic])?.first().context("no input")?.partitions;
    let mut reader = log.reader(Isolation::ReadUncommitted)?;
    let mut offsets = Vec::new();
    for partition in 0..partitions {
        let partition = TopicPartition::new(topic, partition);
        let offset = if to_beginning { reader.beginning_offset(&partition)? } else { reader.end_offset(&partition)? };
        offsets.push((partition, offset));
    }
    membership.group().commit(&epoch, &offsets)?;
    Ok(membership.leave()?)
}
