//! `flights demo`: three instances in one process on an embedded log. They are fed, waited for, asked and checked.

mod ask;

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use millpond::{
    App, app,
    config::{Config, MemoryShares},
    log::{Log, embedded::EmbeddedLog},
    time::{Clock as _, SystemClock},
};
use tokio::{
    signal::ctrl_c,
    sync::watch,
    task::{self, JoinSet},
};

pub use self::ask::{Asked, ask_around, print};
use crate::{
    check::{self, CheckReport},
    cli::DemoArgs,
    console::Progress,
    feed::{FeedOptions, FeedReport, Part, feed},
    topology::topology,
    truth::Truth,
};

/// How many instances there are.
const INSTANCES: u16 = 3;

/// How long answers may stand still, and wrong, before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its instance id.
    pub name: String,
    /// Where its REST interface is.
    pub url: String,
}

/// The instances' tasks: each ends when its instance does.
#[derive(Debug)]
struct Running {
    tasks: JoinSet<anyhow::Result<()>>,
    stop: watch::Sender<bool>,
}

/// Runs the demo: with `--exit` until everything is checked, else until Ctrl-C. Tells whether what was checked is right.
///
/// # Errors
/// When an instance cannot start or fails, the feed fails, or the answers stop changing before they are right.
pub async fn demo(args: &DemoArgs, out: &mut (dyn Write + Send)) -> anyhow::Result<bool> {
    check_ports(args.first_port)?;
    let state = tempfile::tempdir().context("making a folder for the state of the instances")?;
    let log = EmbeddedLog::new();
    feed_part(Arc::new(log.clone()), Part::Tables).await?;
    let (mut running, instances) = start(&log, args.first_port, state.path()).await?;

    let right = tokio::select! {
        report = run(Arc::new(log), &instances, args.exit, out) => report?.is_none_or(|report| report.is_right()),
        failure = running.failure() => return Err(failure),
        signal = ctrl_c() => {
            signal?;
            bail!("interrupted");
        }
    };
    if !args.exit {
        writeln!(out, "Serving until Ctrl-C.")?;
        tokio::select! {
            failure = running.failure() => return Err(failure),
            signal = ctrl_c() => signal?,
        }
    }
    running.stop().await?;
    Ok(right)
}

/// Whether the instances will be able to listen: asked first, and not after a minute of work.
fn check_ports(first_port: u16) -> anyhow::Result<()> {
    for port in first_port..first_port + INSTANCES {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("port {port} cannot be used; choose other ports with --first-port"))?;
    }
    Ok(())
}

async fn start(log: &EmbeddedLog, first_port: u16, state: &Path) -> anyhow::Result<(Running, Vec<Instance>)> {
    let (stop, stopped) = watch::channel(false);
    let mut running = Running { tasks: JoinSet::new(), stop };
    let mut instances = Vec::new();
    for index in 0..INSTANCES {
        let app = App::new(topology()?, config(index, first_port, state)?).with_log(Arc::new(log.connect()));
        let instance = app.start().await?;
        instances.push(Instance { name: instance.instance_id().to_owned(), url: instance.url().to_owned() });
        running.tasks.spawn(until_stopped(instance, stopped.clone()));
    }
    Ok((running, instances))
}

/// Settings of one instance: the environment's, but a name, a port and a folder of its own, and a share of the machine.
fn config(index: u16, first_port: u16, state: &Path) -> anyhow::Result<Config> {
    let from_env = Config::from_env()?;
    let name = format!("flights-{}", index + 1);
    Ok(Config {
        application_id: None,
        http: SocketAddr::from((Ipv4Addr::LOCALHOST, first_port + index)),
        advertised_url: None,
        state_dir: state.join(&name),
        instance_id: name,
        threads: 1,
        memory_bytes: (from_env.memory_bytes / usize::from(INSTANCES)).max(MemoryShares::least(from_env.threads)),
        ..from_env
    })
}

async fn until_stopped(mut instance: app::Instance, mut stopped: watch::Receiver<bool>) -> anyhow::Result<()> {
    let name = instance.instance_id().to_owned();
    tokio::select! {
        _ = stopped.changed() => instance.stop().await.with_context(|| format!("stopping {name}")),
        error = instance.failed() => match error {
            Some(error) => Err(error).with_context(|| format!("{name} failed")),
            None => bail!("{name} ended by itself"),
        },
    }
}

// === impl Running ===

impl Running {
    /// Waits until an instance ends by itself.
    async fn failure(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(panicked)) => panicked.into(),
            Some(Ok(Ok(()))) | None => anyhow!("an instance ended without being asked to"),
        }
    }

    /// Stops all instances at once, and waits until they have.
    async fn stop(mut self) -> anyhow::Result<()> {
        let _ = self.stop.send(true); // fails when all have ended already
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

// === Feeding and asking ===

/// Feeds a part of the data, off the async runtime, and shows the progress.
///
/// The tables are fed before instances start, so that the answers do not depend on scheduling; the flights while they run.
///
/// # Errors
/// Those of [`feed`].
pub async fn feed_part(log: Arc<dyn Log>, part: Part) -> anyhow::Result<FeedReport> {
    let options = FeedOptions { only: Some(part), ..FeedOptions::default() };
    task::spawn_blocking(move || {
        let mut progress = Progress::new();
        feed(&*log, &options, |now| progress.set(&format!("feeding {}", now.topic), now.written, now.total))
    })
    .await?
}

/// Feeds the flights to running instances, waits until they are processed, asks around and prints what came back. With
/// `check_all`, compares every key on every instance with the truth: the report tells whether all are right.
///
/// # Errors
/// When the feed fails, an instance does not answer, or the answers stop changing before they are right. With `check_all`
/// the last is left to the report.
pub async fn run(
    log: Arc<dyn Log>,
    instances: &[Instance],
    check_all: bool,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<Option<CheckReport>> {
    let first = instances.first().context("a demo has at least one instance")?;
    for Instance { name, url } in instances {
        writeln!(out, "{name} runs at {url}")?;
    }
    let clock = SystemClock::new();
    let truth = task::spawn_blocking(Truth::compute);
    let report = feed_part(log, Part::Flights).await?;
    let truth = truth.await??;
    writeln!(out, "{} flights are on the log after {:.1} s", report.records(), report.elapsed.as_secs_f32())?;

    let mut progress = Progress::new();
    let processed = check::wait_until_right(&first.url, &truth, None, PATIENCE, |right, total| {
        progress.set("keys are right", right as u64, total as u64);
    })
    .await;
    drop(progress);
    match processed {
        Ok(()) => {
            writeln!(out, "All of them are processed after {:.1} s", clock.monotonic().as_secs_f32())?;
            print(&ask_around(instances, &truth, &clock).await?, out)?;
        }
        Err(error) if check_all => writeln!(out, "{error:#}\n")?, // the check below shows what else is wrong
        Err(error) => return Err(error),
    }
    if !check_all {
        return Ok(None);
    }
    let urls: Vec<String> = instances.iter().map(|instance| instance.url.clone()).collect();
    let report = check::check(&urls, &truth, None).await?;
    writeln!(out, "{report}")?;
    Ok(Some(report))
}
