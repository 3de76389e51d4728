//! Who has which task, as the instances say.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use millpond::state::TaskId;
use serde::Deserialize;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);

/// Who has which task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// Who processes it.
    pub actives: BTreeMap<TaskId, String>,
    /// Who follows it.
    pub standbys: BTreeMap<TaskId, BTreeSet<String>>,
    /// Which assignment that is.
    order: (i32, u64),
}

/// The body of `GET /cluster`.
#[derive(Debug, Deserialize)]
struct Body {
    generation: Option<i32>,
    version: Option<u64>,
    instances: Vec<Instance>,
    tasks: Vec<Task>,
}

#[derive(Debug, Deserialize)]
struct Instance {
    live: bool,
}

#[derive(Debug, Deserialize)]
struct Task {
    task: TaskId,
    owner: Option<String>,
    assigned: Option<String>,
    hosts: Vec<Host>,
}

#[derive(Debug, Deserialize)]
struct Host {
    instance: String,
    role: String,
    state: String,
}

/// Who has which task as the instance there sees it; `None` when it is changing. Settled is: every task has an owner that runs it, who shall have
/// it, so many standbys that have caught up, and nobody else; there are as many live instances as said.
///
/// # Errors
/// When the instance does not say.
pub async fn look(url: &str, instances: usize, standbys: usize) -> anyhow::Result<Option<Placement>> {
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER).build()?;
    let body: Body = client.get(format!("{url}/cluster")).send().await?.json().await?;
    Ok(body.settled(instances, standbys))
}

/// Whether all of these instances, and no others, agree on a placement that is settled.
///
/// # Errors
/// When one does not say.
pub async fn is_settled(urls: &[String], standbys: usize) -> anyhow::Result<bool> {
    Ok(agreed(urls, standbys).await?.is_some())
}

/// What all of these instances, and no others, agree on, if it is settled.
pub(super) async fn agreed(urls: &[String], standbys: usize) -> anyhow::Result<Option<Placement>> {
    let mut agreed = None;
    for url in urls {
        let Some(placement) = look(url, urls.len(), standbys).await? else { return Ok(None) };
        if agreed.get_or_insert_with(|| placement.clone()) != &placement {
            return Ok(None);
        }
    }
    Ok(agreed)
}

/// Who owns each task, as far as the instance there knows.
pub(super) async fn owners(url: &str) -> anyhow::Result<BTreeMap<TaskId, Option<String>>> {
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER).build()?;
    let body: Body = client.get(format!("{url}/cluster")).send().await?.json().await?;
    Ok(body.tasks.into_iter().map(|task| (task.task, task.owner)).collect())
}

// === impl Placement ===

impl Placement {
    /// The tasks that an instance processes.
    #[must_use]
    pub fn actives_of(&self, instance: &str) -> BTreeSet<TaskId> {
        self.actives.iter().filter(|(_, owner)| *owner == instance).map(|(task, _)| *task).collect()
    }

    /// How many tasks each instance processes.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for owner in self.actives.values() {
            *counts.entry(&**owner).or_default() += 1;
        }
        counts
    }

    /// Who has it where another placement has it elsewhere.
    ///
    /// # Errors
    /// When they are not of the same tasks.
    pub fn moved_to(&self, later: &Self) -> anyhow::Result<BTreeMap<TaskId, String>> {
        ensure!(self.actives.len() == later.actives.len(), "there are other tasks now");
        let mut moved = BTreeMap::new();
        for (task, owner) in &self.actives {
            let now = later.actives.get(task).with_context(|| format!("task {task} is gone"))?;
            if now != owner {
                moved.insert(*task, now.clone());
            }
        }
        Ok(moved)
    }
}

// === impl Body ===

impl Body {
    fn settled(self, instances: usize, standbys: usize) -> Option<Placement> {
        let order = (self.generation?, self.version?);
        let mut placement = Placement { order, ..Placement::default() };
        if self.tasks.is_empty() || self.instances.iter().filter(|instance| instance.live).count() != instances {
            return None;
        }
        for Task { task, owner, assigned, hosts } in self.tasks {
            let owner = owner.filter(|_| owner_is_assigned(&assigned, &hosts))?;
            let followers = hosts.iter().filter(|host| host.role == "standby" && host.state == "running");
            let followers: BTreeSet<String> = followers.map(|host| host.instance.clone()).collect();
            if assigned.as_ref() != Some(&owner) || followers.len() != standbys || hosts.len() != 1 + standbys {
                return None;
            }
            placement.actives.insert(task, owner);
            placement.standbys.insert(task, followers);
        }
        Some(placement)
    }
}

/// Whether who shall have a task has it.
fn owner_is_assigned(assigned: &Option<String>, hosts: &[Host]) -> bool {
    let runs =
        |host: &Host| host.role == "active" && host.state == "running" && Some(&host.instance) == assigned.as_ref();
    hosts.iter().any(runs)
}
