//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use millpond::config::{Config, ConfigError};
use reqwest::Url;

use crate::feed::{FeedOptions, Part};

/// Delays of the 336,776 flights that left New York in 2013, readable by key from any instance.
#[derive(Debug, Parser)]
#[command(name = "flights", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// What to log, e.g. `info` or `warn,flights=debug` [default: info; of the demo: warn].
    #[arg(long = "log", env = "MILLPOND_LOG", value_name = "FILTER", global = true)]
    pub log_filter: Option<String>,
}

const EXAMPLES: &str = "\
Without a broker:
  flights demo

With one:
  flights feed --bootstrap localhost:9092 --only tables
  flights serve --bootstrap localhost:9092 --instance-id a --http 127.0.0.1:8081 --state-dir state/a &
  flights serve --bootstrap localhost:9092 --instance-id b --http 127.0.0.1:8082 --state-dir state/b &
  flights feed --bootstrap localhost:9092 --only flights
  curl http://127.0.0.1:8082/stores/delays-by-carrier/keys/UA";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one instance of the service.
    ///
    /// Instances with the same application id share the work. Further settings are read from the environment as
    /// `MILLPOND_<NAME>`.
    Serve(ServeArgs),
    /// Write the reference tables, then all flights, to Kafka.
    ///
    /// Creates the topics airlines, airports, planes and flights where they do not exist. Flights are written in the order
    /// of their scheduled departure, which is their event time.
    Feed(FeedArgs),
    /// Run three instances in one process on an embedded log, feed them, and ask them: no broker needed.
    ///
    /// Asks each instance for keys that another one owns, then serves until Ctrl-C.
    Demo(DemoArgs),
}

/// Flags of `flights serve`. What is not given comes from the environment, or is the framework's default.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// Kafka's bootstrap servers, host:port, several separated by commas [default: 127.0.0.1:9092].
    #[arg(long, env = "MILLPOND_BOOTSTRAP", value_name = "HOST:PORT")]
    pub bootstrap: Option<String>,
    /// The application: instances with the same id share the work [default: flights].
    #[arg(long, env = "MILLPOND_APPLICATION_ID", value_name = "ID")]
    pub application_id: Option<String>,
    /// The name of this instance: unique in the application, stable over restarts [default: the host's name].
    #[arg(long, env = "MILLPOND_INSTANCE_ID", value_name = "ID")]
    pub instance_id: Option<String>,
    /// Where the REST interface listens [default: 0.0.0.0:8080].
    #[arg(long, env = "MILLPOND_HTTP", value_name = "ADDRESS")]
    pub http: Option<SocketAddr>,
    /// Where other instances reach the REST interface [default: from --http and --instance-id].
    #[arg(long, env = "MILLPOND_ADVERTISED_URL", value_name = "URL", value_parser = instance_url)]
    pub advertised_url: Option<String>,
    /// The folder for local state [default: millpond-state].
    #[arg(long, env = "MILLPOND_STATE_DIR", value_name = "PATH")]
    pub state_dir: Option<PathBuf>,
    /// Worker threads [default: one per processor].
    #[arg(long, env = "MILLPOND_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
}

/// Flags of `flights feed`.
#[derive(Debug, Args)]
pub struct FeedArgs {
    /// Kafka's bootstrap servers, host:port, several separated by commas [default: 127.0.0.1:9092].
    #[arg(long, env = "MILLPOND_BOOTSTRAP", value_name = "HOST:PORT")]
    pub bootstrap: Option<String>,
    /// Feed only a part.
    #[arg(long, value_enum, value_name = "PART")]
    pub only: Option<Part>,
    /// Feed the flights of the first N months only.
    #[arg(long, default_value_t = 12, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=12))]
    pub months: u32,
    /// The most records per second; 0 is as fast as the broker takes them.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub rate: u32,
    /// Partitions of the topics: created with, or checked for where they exist.
    #[arg(long, default_value_t = 6, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: i32,
}

/// Flags of `flights demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Check every key of every store on every instance and end, with status 0 only if all answers are right.
    #[arg(long)]
    pub exit: bool,
    /// The port of the first instance; the others have the next ones.
    #[arg(long, default_value_t = 8081, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65_533))]
    pub first_port: u16,
}

/// What other instances can forward to.
fn instance_url(url: &str) -> Result<String, String> {
    let parsed = Url::parse(url).map_err(|error| format!("{error}: expected http://host[:port]"))?;
    if !["http", "https"].contains(&parsed.scheme()) || !parsed.has_host() {
        return Err("expected http://host[:port] or https://host[:port]".into());
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err("expected no `?` and no `#`: paths are put behind it".into());
    }
    Ok(url.into())
}

// === impl Cli ===

impl Cli {
    /// What to log: what was asked for, else enough to follow an instance, and little beside the demo's own story.
    #[must_use]
    pub fn log_filter(&self) -> &str {
        let default = if matches!(self.command, Command::Demo(_)) { "warn" } else { "info" };
        self.log_filter.as_deref().unwrap_or(default)
    }
}

// === impl ServeArgs ===

impl ServeArgs {
    /// The configuration: flags over environment over defaults.
    ///
    /// # Errors
    /// When a variable `MILLPOND_*` has a value that cannot be used.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let mut config = Config::from_env()?;
        let Self { bootstrap, application_id, instance_id, http, advertised_url, state_dir, threads } = self;
        set(&mut config.bootstrap, bootstrap);
        set(&mut config.instance_id, instance_id);
        set(&mut config.http, http);
        set(&mut config.state_dir, state_dir);
        set(&mut config.threads, &threads.map(usize::from));
        config.application_id = application_id.clone().or(config.application_id);
        config.advertised_url = advertised_url.clone().or(config.advertised_url);
        Ok(config)
    }
}

fn set<T: Clone>(setting: &mut T, value: &Option<T>) {
    if let Some(value) = value {
        setting.clone_from(value);
    }
}

// === impl FeedArgs ===

impl FeedArgs {
    /// How to reach Kafka: flags over environment over defaults.
    ///
    /// # Errors
    /// When a variable `MILLPOND_*` has a value that cannot be used.
    pub fn config(&self) -> Result<Config, ConfigError> {
        ServeArgs { bootstrap: self.bootstrap.clone(), ..ServeArgs::default() }.config()
    }

    /// What to feed; the replication factor of new topics comes from the configuration.
    #[must_use]
    pub fn options(&self, config: &Config) -> FeedOptions {
        FeedOptions {
            only: self.only,
            months: self.months,
            rate: self.rate,
            partitions: self.partitions,
            replication_factor: config.replication_factor,
            ..FeedOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_override_the_defaults() -> anyhow::Result<()> {
        let cli = Cli::try_parse_from(
            "flights serve --bootstrap kafka:1 --instance-id a --http 127.0.0.1:81 --threads 3".split(' '),
        )?;
        let Command::Serve(args) = cli.command else { anyhow::bail!("{cli:?}") };
        let config = args.config()?;
        assert_eq!((config.bootstrap.as_str(), config.instance_id.as_str(), config.threads), ("kafka:1", "a", 3));
        assert_eq!(config.url(), "http://127.0.0.1:81");
        assert!(Cli::try_parse_from(["flights", "serve", "--threads", "0"]).is_err());
        assert!(Cli::try_parse_from(["flights", "feed", "--only", "weather"]).is_err());
        Ok(())
    }

    #[test]
    fn an_advertised_url_is_one_that_others_can_ask() {
        for url in ["http://a:8080", "https://flights-0.flights.svc.cluster.local", "http://[::1]:81/"] {
            assert_eq!(instance_url(url), Ok(url.to_owned()));
        }
        for url in ["", "a", "a:8080", "10.0.0.7:8080", "ftp://a", "http://", "http://:81", "http://a:x", "http://a?b"]
        {
            let error = instance_url(url).expect_err(url);
            assert!(error.contains("expected"), "{url}: {error}");
        }
    }
}
