//! A real Kafka for tests: one broker, started by the script `kafka/kafka` of this crate.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use integration_tests::broker::{Broker, broker, unique};
//!
//! let topic = unique("orders"); // the shared broker is used by other tests too
//! let bootstrap = broker()?.bootstrap();
//!
//! let mut own = Broker::private()?; // for tests that stop it or change what others rely on
//! own.stop()?;
//! own.start()?;
//! let mut fragile = Broker::private_to_crash()?; // for tests that kill it while transactions are open
//! fragile.kill()?;
//! fragile.start()?;
//! # Ok(()) }
//! ```
//!
//! No test leaves a broker behind, not even one that is killed: a *guard* process holds the other end of a pipe, and
//! wipes the broker when the pipe closes, which the operating system does in any case.

use std::{
    hash::{BuildHasher, RandomState},
    net::TcpListener,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context, anyhow, bail, ensure};
use tempfile::TempDir;

use crate::checkout::crate_folder;

/// The script that installs and runs Kafka, in the folder of this crate.
const SCRIPT: &str = "kafka/kafka";

/// Names a running broker to be used as the shared one, `host:port`.
const RUNNING: &str = "MILLPOND_TEST_KAFKA";

/// Below the range that systems give to outgoing connections; the controller listens 10,000 above.
const PORTS: std::ops::Range<u16> = 15_000..22_000;

/// How many ports are tried when another process takes the one that was just free.
const ATTEMPTS: usize = 5;

/// A Kafka broker for tests.
#[derive(Debug)]
pub struct Broker {
    bootstrap: String,
    /// `None`: somebody else runs it.
    node: Option<Node>,
}

/// A broker that this process runs. Its guard wipes it when this value, or the process, ends.
#[derive(Debug)]
struct Node {
    port: u16,
    controller: Controller,
    settings: String,
    // Dropped after `drop` has waited for the guard.
    data: TempDir,
    guard: Child,
}

/// Where a node's controller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Controller {
    /// In the broker's process.
    Inside,
    /// In one of its own, which lives until the node is wiped.
    Apart,
}

/// The broker that all tests of this process share: [`Broker::shared`].
pub fn broker() -> anyhow::Result<&'static Broker> {
    Broker::shared()
}

/// A name that no other test uses, on whatever broker: for topics, groups and transactional ids.
#[must_use]
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{:012x}", random() >> 16)
}

// === impl Broker ===

impl Broker {
    /// The broker that all tests of this process share, started at the first call. With `MILLPOND_TEST_KAFKA=host:port`
    /// it is the one that runs there.
    ///
    /// # Errors
    /// When it could not be started; every later call says the same.
    pub fn shared() -> anyhow::Result<&'static Self> {
        static SHARED: OnceLock<Result<Broker, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| match std::env::var(RUNNING) {
                Ok(bootstrap) if !bootstrap.is_empty() => Ok(Self { bootstrap, node: None }),
                _ => Self::private().map_err(|error| format!("{error:#}")),
            })
            .as_ref()
            .map_err(|error| anyhow!("no Kafka for tests: {error}"))
    }

    /// A broker of one's own, which may be stopped.
    ///
    /// # Errors
    /// When it could not be started.
    pub fn private() -> anyhow::Result<Self> {
        Self::private_with(&[])
    }

    /// [`Broker::private`] with more broker settings, e.g. `("log.retention.ms", "1000")`.
    ///
    /// # Errors
    /// When it could not be started.
    pub fn private_with(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Self::run(Controller::Inside, &settings.join(" "))
    }

    /// A broker of one's own, which may be killed while transactions are open: its controller is a process of its own. With both in one
    /// process Kafka 4.3 may leave a transaction open for good that was about to end when it was killed.
    ///
    /// # Errors
    /// When it could not be started.
    pub fn private_to_crash() -> anyhow::Result<Self> {
        Self::run(Controller::Apart, "")
    }

    fn run(controller: Controller, settings: &str) -> anyhow::Result<Self> {
        let mut attempt = 1;
        loop {
            let node = Node::new(free_port()?, controller, settings.to_owned())?;
            match node.run("start") {
                Ok(()) => return Ok(Self { bootstrap: format!("127.0.0.1:{}", node.port), node: Some(node) }),
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Its address, `host:port`.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Starts it again after [`Broker::stop`] or [`Broker::kill`], on the same port, with its data.
    ///
    /// # Errors
    /// When it is not this process's broker, or does not start.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.node()?.run("start")
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// When it is not this process's broker.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.node()?.run("stop")
    }

    /// Kills it, as a crash would. Its data stays.
    ///
    /// # Errors
    /// When it is not this process's broker.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.node()?.run("kill")
    }

    /// Lets it stand still, with SIGSTOP: connections stay, and nobody answers.
    ///
    /// # Errors
    /// When it is not this process's broker, or does not run.
    pub fn pause(&mut self) -> anyhow::Result<()> {
        self.node()?.signal("STOP")
    }

    /// Lets it go on after [`Broker::pause`], with SIGCONT.
    ///
    /// # Errors
    /// When it is not this process's broker, or does not run.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        self.node()?.signal("CONT")
    }

    fn node(&self) -> anyhow::Result<&Node> {
        self.node.as_ref().with_context(|| format!("the broker at {} ({RUNNING}) is not ours to stop", self.bootstrap))
    }
}

// === impl Node ===

impl Node {
    /// A node that does not run yet; its guard does.
    fn new(port: u16, controller: Controller, settings: String) -> anyhow::Result<Self> {
        let data = TempDir::with_prefix("millpond-kafka-").context("no folder for the broker's data")?;
        let guard = command("guard", port, controller, &data, &settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0) // an interrupt at the terminal ends the tests, not the guard
            .spawn()
            .with_context(|| format!("cannot run {SCRIPT}"))?;
        Ok(Self { port, controller, settings, data, guard })
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let process =
            std::fs::read_to_string(self.data.path().join("broker.pid")).context("the broker does not run")?;
        let status = Command::new("kill").args([&format!("-{name}"), process.trim()]).status()?;
        ensure!(status.success(), "kill -{name} of the broker failed");
        Ok(())
    }

    fn run(&self, verb: &str) -> anyhow::Result<()> {
        let output = command(verb, self.port, self.controller, &self.data, &self.settings)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {SCRIPT}"))?;
        ensure!(output.status.success(), "kafka {verb}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        if let Err(error) = self.guard.wait() {
            eprintln!("the guard of the broker on port {} is gone: {error}", self.port);
        }
    }
}

fn command(verb: &str, port: u16, controller: Controller, data: &TempDir, settings: &str) -> Command {
    let mut command = Command::new(crate_folder().join(SCRIPT));
    command.arg(verb).arg(port.to_string());
    command.env("MILLPOND_TEST_KAFKA_DATA", data.path()).env("MILLPOND_TEST_KAFKA_PROPS", settings);
    command.env("MILLPOND_TEST_KAFKA_CONTROLLER", if controller == Controller::Apart { "apart" } else { "" });
    command
}

/// A port that is free, and so is its controller's.
fn free_port() -> anyhow::Result<u16> {
    for _ in 0..1_000 {
        let port = PORTS.start + u16::try_from(random() % PORTS.len() as u64)?;
        if [port, port + 10_000].iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()) {
            return Ok(port);
        }
    }
    bail!("no free port in {PORTS:?}")
}

/// The standard library's one source of randomness: the seed of its hash maps.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpStream, path::PathBuf};

    use super::*;

    fn answers(broker: &Broker) -> bool {
        TcpStream::connect(broker.bootstrap()).is_ok()
    }

    fn stops_dies_comes_back_and_leaves_nothing_behind(mut broker: Broker) -> anyhow::Result<()> {
        let data: PathBuf = broker.node()?.data.path().into();
        assert!(answers(&broker));
        broker.kill()?;
        assert!(!answers(&broker));
        broker.start()?;
        assert!(answers(&broker));
        broker.stop()?;
        assert!(!answers(&broker));
        broker.start()?;

        let port = broker.node()?.port;
        drop(broker);
        for port in [port, port + 10_000] {
            assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "{port}");
        }
        assert!(!data.exists());
        Ok(())
    }

    #[test]
    fn a_private_broker_dies_and_comes_back_and_leaves_nothing_behind() -> anyhow::Result<()> {
        stops_dies_comes_back_and_leaves_nothing_behind(Broker::private()?)
    }

    #[test]
    fn so_does_one_with_a_controller_that_survives_it() -> anyhow::Result<()> {
        let broker = Broker::private_to_crash()?;
        let controller = broker.node()?.port + 10_000;
        broker.node()?.run("kill")?;
        assert!(TcpStream::connect(("127.0.0.1", controller)).is_ok());
        broker.node()?.run("start")?;
        stops_dies_comes_back_and_leaves_nothing_behind(broker)
    }

    #[test]
    fn the_shared_broker_is_one() -> anyhow::Result<()> {
        assert_eq!(broker()?.bootstrap(), Broker::shared()?.bootstrap());
        assert!(answers(broker()?));
        Ok(())
    }
}
