//! The command line.

use std::{path::PathBuf, str::FromStr};

use clap::{ArgGroup, Args, Parser, Subcommand};

/// Looks into services that are built on millpond.
#[derive(Debug, Parser)]
#[command(name = "millpond", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show where the tasks of a service belong, and why; also if instances came or left.
    ///
    /// Nothing is changed. What is shown is what the leader of the cluster plans from what it knows, first for now, then in
    /// the end, when everyone has caught up.
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(PlanArgs),
}

const PLAN_EXAMPLES: &str = "\
A live service, as one of its instances sees it:
  millpond plan http://localhost:8081

What if one more instance came, and another one left?
  millpond plan http://localhost:8081 --add flights-3,zone=b,capacity=2 --remove flights-0

The same of a cluster that was written down; `curl http://localhost:8081/cluster` writes one:
  millpond plan --from cluster.json --add flights-3";

/// Flags of `millpond plan`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("cluster").required(true).args(["url", "from"]))]
pub struct PlanArgs {
    /// Any instance of a live service.
    #[arg(value_name = "URL")]
    pub url: Option<String>,
    /// A description of a cluster in JSON; `-` reads it from the standard input.
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// As if this instance had come; may be given several times.
    #[arg(long, value_name = "ID[,zone=ZONE][,capacity=N]")]
    pub add: Vec<NewInstance>,
    /// As if this instance were gone; may be given several times.
    #[arg(long, value_name = "ID")]
    pub remove: Vec<String>,
    /// As if this instance had been asked to drain; may be given several times.
    #[arg(long, value_name = "ID")]
    pub drain: Vec<String>,
    /// Only the tasks that move.
    #[arg(long)]
    pub moves: bool,
    /// For programs.
    #[arg(long)]
    pub json: bool,
}

/// An instance that might come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInstance {
    /// Its name.
    pub id: String,
    /// Its failure domain.
    pub zone: Option<String>,
    /// Its weight.
    pub capacity: u32,
}

impl FromStr for NewInstance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let id = parts.next().unwrap_or_default().to_owned();
        if id.is_empty() || id.contains('=') {
            return Err("expected the name of an instance first: ID[,zone=ZONE][,capacity=N]".to_owned());
        }
        let mut instance = Self { id, zone: None, capacity: 1 };
        for part in parts {
            match part.split_once('=') {
                Some(("zone", zone)) if !zone.is_empty() => instance.zone = Some(zone.to_owned()),
                Some(("capacity", capacity)) => {
                    let capacity = capacity.parse().ok().filter(|capacity| *capacity > 0);
                    instance.capacity = capacity.ok_or("expected a capacity above 0, for example capacity=2")?;
                }
                _ => return Err(format!("`{part}` is neither zone=ZONE nor capacity=N")),
            }
        }
        Ok(instance)
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
    fn a_new_instance_has_a_name_and_may_have_a_zone_and_a_capacity() {
        let new =
            |zone: Option<&str>, capacity| NewInstance { id: "d".to_owned(), zone: zone.map(str::to_owned), capacity };
        for (text, expected) in
            [("d", new(None, 1)), ("d,zone=b", new(Some("b"), 1)), ("d,capacity=3,zone=b", new(Some("b"), 3))]
        {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", ",zone=b", "zone=b", "d,zone=", "d,capacity=0", "d,capacity=x", "d,rack=1", "d,"] {
            assert!(text.parse::<NewInstance>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_plan_is_of_a_live_cluster_or_of_a_description() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parse("millpond plan http://localhost:8081 --add d --add e --json").is_ok());
        assert!(parse("millpond plan --from cluster.json --remove a").is_ok());
        assert!(parse("millpond plan").is_err());
        assert!(parse("millpond plan http://localhost:8081 --from cluster.json").is_err());
    }
}
