//! `millpond plan`: where tasks belong, and why.

use std::{fs, io, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use millpond::cluster::{Acceptance, ClusterDescription, PlanInput, PlanMember, forecast};

use crate::cli::{NewInstance, PlanArgs};

mod report;
mod table;

pub use self::report::{Count, InstanceReport, PlaceReport, Presence, Report, TaskReport, Why};

/// How long an instance may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads the cluster, changes it as asked, and tells the plan.
///
/// # Errors
///
/// If the cluster cannot be read or has nobody, or the instances that come or go do not fit it.
pub fn run(args: &PlanArgs) -> anyhow::Result<String> {
    let description = match (&args.url, &args.from) {
        (Some(url), _) => ask(url)?,
        (None, Some(path)) => read(path)?,
        (None, None) => bail!("say the URL of an instance, or --from FILE"),
    };
    let before = begin(description.plan_input()?);
    let after = what_if(before.clone(), args)?;
    let report = Report::new(&before, &after);
    if args.json {
        return Ok(serde_json::to_string_pretty(&report)? + "\n");
    }
    Ok(table::render(&report, args.moves))
}

/// `GET /cluster` of a live instance.
fn ask(url: &str) -> anyhow::Result<ClusterDescription> {
    let url = match url.split_once("://") {
        Some(("http", _)) => url.to_owned(),
        Some((scheme, _)) => bail!("{url}: instances speak http, not {scheme}"),
        None => format!("http://{url}"),
    };
    let url = format!("{}/cluster", url.trim_end_matches('/').trim_end_matches("/cluster"));
    let answer = async {
        let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
        let text = client.get(&url).send().await?.error_for_status()?.text().await?;
        anyhow::Ok(text)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let text = runtime.block_on(answer).with_context(|| format!("cannot read the cluster from {url}"))?;
    parse(&text).with_context(|| format!("the answer of {url} is not that of an instance of millpond"))
}

fn read(path: &Path) -> anyhow::Result<ClusterDescription> {
    let text = match path.to_str() {
        Some("-") => io::read_to_string(io::stdin()).context("cannot read the standard input")?,
        _ => fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
    };
    parse(&text).with_context(|| format!("{} does not describe a cluster", path.display()))
}

fn parse(text: &str) -> anyhow::Result<ClusterDescription> {
    Ok(serde_json::from_str(text)?)
}

/// Where nobody has anything yet, what is planned first is taken for what there is.
fn begin(mut input: PlanInput) -> PlanInput {
    let is_new = input.previous.is_empty() && input.members.values().all(|member| member.held.is_empty());
    if is_new && let Some(last) = forecast(&input).plans.pop() {
        input.carry_out(&last);
    }
    input
}

/// The cluster with the instances that come, without those that go.
fn what_if(mut input: PlanInput, args: &PlanArgs) -> anyhow::Result<PlanInput> {
    let names = input.members.keys().map(|id| &**id).collect::<Vec<_>>().join(", ");
    for id in &args.remove {
        if input.members.remove(id.as_str()).is_none() {
            bail!("cannot remove `{id}`: there is no such instance; there are: {names}");
        }
    }
    for id in &args.drain {
        let Some(member) = input.members.get_mut(id.as_str()) else {
            bail!("cannot drain `{id}`: there is no such instance; there are: {names}");
        };
        member.acceptance = Acceptance::Draining;
    }
    for new in &args.add {
        if input.members.insert(new.id.as_str().into(), member(new)).is_some() {
            bail!("cannot add `{}`: there is an instance of this name", new.id);
        }
    }
    if input.members.is_empty() {
        bail!("there is no instance left to plan for");
    }
    Ok(input)
}

fn member(new: &NewInstance) -> PlanMember {
    PlanMember {
        capacity: new.capacity,
        zone: new.zone.clone(),
        acceptance: Acceptance::Open,
        held: Default::default(),
        caught_up: Default::default(),
        state: Default::default(),
        failed: Default::default(),
    }
}
