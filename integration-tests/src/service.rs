//! Services as real processes: started, killed, stopped, asked. `flights serve`, and the `ledger` of the tests of faults.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context as _, bail};
use millpond::{state::TaskId, testing::Failpoint};
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// The application id of the instances.
pub const APPLICATION: &str = "flights";
/// How long an instance may take for an answer: longer than any deadline of its own.
const ANSWER: Duration = Duration::from_secs(10);
/// How often a condition is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// One instance: a name, a port and a state directory that survive its process.
#[derive(Debug)]
pub struct Instance {
    /// The instance id.
    pub id: String,
    program: Program,
    port: u16,
    folder: PathBuf,
    state_dir: PathBuf,
    bootstrap: String,
    environment: BTreeMap<String, String>,
    /// Bytes of the disk of its own that its state lies on; `None`: the machine's.
    disk: Option<u64>,
    process: Option<Child>,
    starts: usize,
}

/// What an instance is one of.
#[derive(Debug)]
enum Program {
    Flights,
    /// The application id is the prefix of its topics.
    Ledger {
        application: String,
    },
}

/// A metric's samples, by their labels as Prometheus writes them.
pub type Samples = BTreeMap<String, f64>;

/// The `flights` binary that this build made.
///
/// # Errors
/// When it is not there: `cargo build --release --workspace` makes it.
pub fn flights_binary() -> anyhow::Result<PathBuf> {
    binary("flights")
}

fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().find(|folder| folder.join(name).is_file());
    folder.map(|folder| folder.join(name)).with_context(|| {
        format!("no `{name}` beside {}: run `cargo build --release --workspace` first", test.display())
    })
}

// === impl Instance ===

impl Instance {
    /// An instance that is not started yet; its files go below `folder`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn new(id: &str, bootstrap: &str, folder: &Path) -> anyhow::Result<Self> {
        Self::of(Program::Flights, id, bootstrap, folder)
    }

    /// An instance of the [ledger](crate::ledger) with this application id, as above.
    ///
    /// # Errors
    /// When no port is free.
    pub fn ledger(application: &str, id: &str, bootstrap: &str, folder: &Path) -> anyhow::Result<Self> {
        Self::of(Program::Ledger { application: application.into() }, id, bootstrap, folder)
    }

    fn of(program: Program, id: &str, bootstrap: &str, folder: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            id: id.into(),
            program,
            port: TcpListener::bind("127.0.0.1:0")?.local_addr()?.port(),
            folder: folder.to_owned(),
            state_dir: folder.join(id),
            bootstrap: bootstrap.into(),
            environment: [("MILLPOND_LOG".to_owned(), "info".to_owned())].into(),
            disk: None,
            process: None,
            starts: 0,
        })
    }

    /// Three of them: `a`, `b` and `c`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn three(bootstrap: &str, folder: &Path) -> anyhow::Result<[Self; 3]> {
        let [a, b, c] = ["a", "b", "c"].map(|id| Self::new(id, bootstrap, folder));
        Ok([a?, b?, c?])
    }

    /// The same with an environment variable.
    #[must_use]
    pub fn with(mut self, variable: &str, value: &str) -> Self {
        self.environment.insert(variable.to_owned(), value.to_owned());
        self
    }

    /// Sets an environment variable of its next starts.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.environment.insert(variable.to_owned(), value.to_owned());
    }

    /// Puts the state of its next starts on a disk of so many bytes that lives as long as the process; `None`: on the machine's.
    pub fn set_disk(&mut self, bytes: Option<u64>) {
        self.disk = bytes;
    }

    /// The same with another state directory.
    #[must_use]
    pub fn with_state_dir(mut self, state_dir: &Path) -> Self {
        self.state_dir = state_dir.to_owned();
        self
    }

    /// Where it is asked.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its state directory.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The log of its last start.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.{}.log", self.id, self.starts))
    }

    /// The command that starts it.
    ///
    /// # Errors
    /// When the binary is not built.
    pub fn command(&self) -> anyhow::Result<Command> {
        let http = format!("127.0.0.1:{}", self.port);
        let mut command = match &self.program {
            Program::Flights => {
                let mut command = Command::new(flights_binary()?);
                command
                    .args(["serve", "--bootstrap", &self.bootstrap, "--application-id", APPLICATION, "--threads", "1"])
                    .args(["--instance-id", &self.id, "--http", &http])
                    .arg("--state-dir")
                    .arg(&self.state_dir)
                    .stdin(Stdio::null());
                command
            }
            Program::Ledger { application } => {
                let mut command = Command::new(binary("ledger")?);
                command
                    .env("MILLPOND_BOOTSTRAP", &self.bootstrap)
                    .env("MILLPOND_APPLICATION_ID", application)
                    .env("MILLPOND_THREADS", "1")
                    .env("MILLPOND_INSTANCE_ID", &self.id)
                    .env("MILLPOND_HTTP", &http)
                    .env("MILLPOND_STATE_DIR", &self.state_dir)
                    .stdin(Stdio::piped());
                command
            }
        };
        command.envs(&self.environment);
        match self.disk {
            Some(bytes) => self.on_own_disk(&command, bytes),
            None => Ok(command),
        }
    }

    /// The command with a file system in memory over the state directory, which nobody else sees.
    fn on_own_disk(&self, command: &Command, bytes: u64) -> anyhow::Result<Command> {
        std::fs::create_dir_all(&self.state_dir)?;
        let mut own = Command::new("unshare");
        own.args(["--user", "--map-root-user", "--mount", "sh", "-c"])
            .arg(format!("mount -t tmpfs -o size={bytes} none \"$0\" && exec \"$@\""))
            .arg(&self.state_dir)
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            own.env(name, value.unwrap_or_default());
        }
        Ok(own)
    }

    /// Starts its process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.starts += 1;
        let log = File::create(self.log())?;
        let process = self.command()?.stdout(log.try_clone()?).stderr(log).spawn()?;
        self.process = Some(process);
        Ok(())
    }

    /// Starts its process, which dies at a failpoint. For a ledger.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_to_die(&mut self, at: Failpoint) -> anyhow::Result<()> {
        self.environment.insert(crate::ledger::FAILPOINT.into(), at.to_string());
        let started = self.start();
        self.environment.remove(crate::ledger::FAILPOINT);
        started
    }

    /// Lets its process die at a failpoint, which is counted from now on. For a ledger.
    ///
    /// # Errors
    /// When it is not running, or does not listen.
    pub fn arm(&mut self, at: Failpoint) -> anyhow::Result<()> {
        let process = self.process.as_mut().with_context(|| format!("{} is not running", self.id))?;
        let input = process.stdin.as_mut().context("only a ledger listens for failpoints")?;
        Ok(writeln!(input, "{at}")?)
    }

    /// How its process ended, if it has.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn has_ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let status = process.try_wait()?;
        if status.is_some() {
            self.process = None;
        }
        Ok(status)
    }

    /// Whether it was started, and was not seen to end.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The id of its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().with_context(|| format!("{} is not running", self.id))?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Asks it to stop with SIGTERM.
    ///
    /// # Errors
    /// When it is not running.
    pub fn terminate(&mut self) -> anyhow::Result<()> {
        self.signal("TERM")
    }

    /// Lets it stand still, with SIGSTOP.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pause(&mut self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// Lets it go on after [`Instance::pause`], with SIGCONT.
    ///
    /// # Errors
    /// When it is not running.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let process = self.process.as_ref().with_context(|| format!("{} is not running", self.id))?;
        let status = Command::new("kill").args([&format!("-{name}"), &process.id().to_string()]).status()?;
        anyhow::ensure!(status.success(), "kill -{name} of {} failed", self.id);
        Ok(())
    }

    /// Waits until its process has ended.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub async fn ended(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + within;
        let mut process = self.process.take().with_context(|| format!("{} is not running", self.id))?;
        loop {
            if let Some(status) = process.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                process.kill()?;
                bail!("{} still ran after {} s; its log ends:\n{}", self.id, within.as_secs(), self.end_of_log()?);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn end_of_log(&self) -> anyhow::Result<String> {
        let log = self.read_log()?;
        let lines: Vec<&str> = log.lines().collect();
        Ok(lines[lines.len().saturating_sub(20)..].join("\n"))
    }

    /// Its whole log so far.
    ///
    /// # Errors
    /// When it was never started.
    pub fn read_log(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.log())?)
    }

    /// The logs of all its starts so far.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read_logs(&self) -> anyhow::Result<String> {
        let log = |start| std::fs::read_to_string(self.folder.join(format!("{}.{start}.log", self.id)));
        Ok((1..=self.starts).map(log).collect::<Result<_, _>>()?)
    }

    /// Status and JSON body of `GET path`.
    ///
    /// # Errors
    /// When there is no answer, or it is not JSON.
    pub async fn get(&self, path: &str) -> anyhow::Result<(u16, Value)> {
        let answer = self.fetch(path).await?;
        Ok((answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await?)?))
    }

    /// The samples of one metric.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn metric(&self, name: &str) -> anyhow::Result<Samples> {
        Ok(samples(&self.fetch("/metrics").await?.text().await?, name))
    }

    async fn fetch(&self, path: &str) -> reqwest::Result<reqwest::Response> {
        http().get(format!("{}{path}", self.url())).timeout(ANSWER).send().await
    }

    /// A metric by task.
    ///
    /// # Errors
    /// When there is no answer, or the metric is not by task.
    pub async fn by_task(&self, name: &str) -> anyhow::Result<BTreeMap<TaskId, f64>> {
        let samples = self.metric(name).await?.into_iter();
        samples.map(|(labels, value)| Ok((task(&labels)?, value))).collect()
    }

    /// How many records it has processed since its process began.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn processed(&self) -> anyhow::Result<f64> {
        Ok(self.metric("millpond_task_records_total").await?.values().sum())
    }

    /// How many commits it has made since its process began.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn commits(&self) -> anyhow::Result<f64> {
        let commits = self.metric("millpond_commits_total").await?;
        Ok(commits.get(r#"{outcome="ok"}"#).copied().unwrap_or(0.0))
    }

    /// How many changelog records it has restored since its process began.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn restored(&self) -> anyhow::Result<f64> {
        Ok(self.metric("millpond_restore_records_total").await?.values().sum())
    }

    /// How many changelog records its standbys and warm-ups have read since its process began.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn followed(&self) -> anyhow::Result<f64> {
        Ok(self.metric("millpond_standby_records_total").await?.values().sum())
    }

    /// How many tasks it runs.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn active_tasks(&self) -> anyhow::Result<f64> {
        let tasks = self.metric("millpond_tasks").await?;
        Ok(tasks.get(r#"{role="active",state="running"}"#).copied().unwrap_or(0.0))
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready `within`: shows what `/readyz` says and the end of its log.
    pub async fn ready(&mut self, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let answer = self.get("/readyz").await;
            if matches!(answer, Ok((200, _))) {
                return Ok(());
            }
            let ended = self.process.as_mut().map_or(Ok(None), Child::try_wait)?;
            if ended.is_some() || Instant::now() > deadline {
                let answer = answer.map_err(|error| format!("{error:#}"));
                bail!("{} is not ready ({ended:?}): {answer:?}; its log ends:\n{}", self.id, self.end_of_log()?);
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A client that keeps no connections: whoever is asked may be another process by then, and one that is to end should not wait for it.
fn http() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build();
        client.expect("a client without TLS needs nothing that could be missing")
    })
}

/// Looks at a condition until it holds.
///
/// # Errors
/// When it does not hold `within`: says `what` was waited for.
pub async fn until(
    what: &str,
    within: Duration,
    mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + within;
    loop {
        let outcome = holds().await;
        if matches!(outcome, Ok(true)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return outcome.and(Err(anyhow::anyhow!("not within {} s", within.as_secs()))).context(what.to_owned());
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// The sum of a metric's samples in Prometheus' text format.
#[must_use]
pub fn sum_of_metric(text: &str, name: &str) -> f64 {
    samples(text, name).values().sum()
}

/// The samples of a metric in Prometheus' text format.
fn samples(text: &str, name: &str) -> Samples {
    text.lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter_map(|rest| rest.rsplit_once(' '))
        .filter_map(|(labels, value)| Some((labels.to_owned(), value.parse().ok()?)))
        .collect()
}

/// The task that labels name, and nothing else.
fn task(labels: &str) -> anyhow::Result<TaskId> {
    let id = labels.strip_prefix("{task=\"").and_then(|rest| rest.strip_suffix("\"}"));
    id.and_then(|id| id.parse().ok()).with_context(|| format!("`{labels}` is not a task alone"))
}

#[cfg(test)]
mod tests {
    use super::samples;

    #[test]
    fn samples_are_those_of_the_metric_alone() {
        let text = "# HELP m x\nm{task=\"0_1\"} 3\nm_total 9\nm 4.5\n";
        assert_eq!(samples(text, "m"), [("{task=\"0_1\"}".to_owned(), 3.0), (String::new(), 4.5)].into());
    }
}
