//! Members of a group that are not what they should be: one whose worker stands still in user code, one that runs another topology.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use anyhow::ensure;
use integration_tests::{
    in_process::{PATIENCE, Place},
    service::until,
};
use millpond::{
    App, Config, Serdes, Topology,
    app::{AppError, Instance},
    log::{Isolation, Log, embedded::EmbeddedLog},
};

const SESSION: Duration = Duration::from_millis(500);
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Holds up who comes, and says whether somebody is held up.
#[derive(Debug, Default)]
struct Barrier {
    state: Mutex<BarrierState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct BarrierState {
    is_closed: bool,
    held_up: usize,
}

// === impl Barrier ===

impl Barrier {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.held_up += 1;
        while state.is_closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.held_up -= 1;
    }

    fn set_closed(&self, is_closed: bool) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_closed = is_closed;
        self.changed.notify_all();
    }

    fn holds_somebody_up(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).held_up > 0
    }
}

/// Counts the records of each key, once they have passed the barrier.
fn counts(barrier: &Arc<Barrier>) -> anyhow::Result<Topology> {
    let (topology, barrier) = (Topology::builder("counts"), Arc::clone(barrier));
    let passed = topology.stream("in", Serdes::<String, i64>::json()).map_values(move |_, value| {
        barrier.pass();
        *value
    });
    passed.group_by_key().count().materialized("count").queryable().to_stream().to("out");
    Ok(topology.build()?)
}

async fn start(place: &Place, name: &str, topology: Topology) -> anyhow::Result<Instance> {
    let times = Config { session_timeout: SESSION, max_poll_interval: MAX_POLL_INTERVAL, ..place.config() };
    place.start(App::new(topology, Config { instance_id: name.into(), ..times })).await
}

async fn ready(place: &Place) -> anyhow::Result<()> {
    until("it is ready", PATIENCE, async || Ok(place.get("/readyz").await?.0 == 200)).await
}

async fn counted(place: &Place, times: u32) -> anyhow::Result<()> {
    until(&format!("it is counted {times} times"), PATIENCE, async || {
        let (status, body) = place.get("/stores/count/keys/%22k%22").await?;
        ensure!(status == 200 && body.contains(&format!("\"value\":{times},")), "{status} {body}");
        Ok(true)
    })
    .await
}

/// Each count was passed on once.
fn passed_on(place: &Place, times: u8) -> anyhow::Result<()> {
    let out = place.read("out", Isolation::ReadCommitted)?;
    let counts: Vec<_> = out.iter().map(|record| record.value().bytes().last()).collect();
    ensure!(counts.iter().copied().eq((1..=times).map(Some)), "{counts:?}");
    Ok(())
}

/// The one whose worker stands still leaves; when it goes on, it forgets what it had not committed, and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_stuck_in_user_code_costs_its_instance_the_tasks_and_no_record() -> anyhow::Result<()> {
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::new());
    let (at_a, at_b) = (Place::new(Arc::clone(&log), &[("in", &[]), ("out", &[])])?, Place::new(log, &[])?);
    let (of_a, of_b) = (Arc::new(Barrier::default()), Arc::new(Barrier::default()));
    let a = start(&at_a, "a", counts(&of_a)?).await?;
    ready(&at_a).await?;
    at_a.append("in", [("\"k\"", "1", 0)])?;
    counted(&at_a, 1).await?;
    let b = start(&at_b, "b", counts(&of_b)?).await?;
    ready(&at_b).await?;

    of_a.set_closed(true);
    at_a.append("in", [("\"k\"", "1", 0)])?;
    until("a stands still", PATIENCE, async || Ok(of_a.holds_somebody_up())).await?;
    until("a says that it stands still", PATIENCE, async || {
        let (status, body) = at_a.get("/livez").await?;
        Ok(status == 503 && body.contains("max_poll_interval"))
    })
    .await?;
    counted(&at_b, 2).await?;

    of_a.set_closed(false);
    ready(&at_a).await?;
    at_a.append("in", [("\"k\"", "1", 0)])?;
    counted(&at_a, 3).await?;
    counted(&at_b, 3).await?;
    a.stop().await?;
    counted(&at_b, 3).await?;
    b.stop().await?;
    passed_on(&at_b, 3)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_same_topology_joins_and_another_topology_is_refused_by_name() -> anyhow::Result<()> {
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::new());
    let place = || Place::new(Arc::clone(&log), &[]);
    let (at_a, at_b, at_c) = (Place::new(Arc::clone(&log), &[("in", &[]), ("out", &[])])?, place()?, place()?);
    let barrier = Arc::new(Barrier::default());
    let a = start(&at_a, "a", counts(&barrier)?).await?;
    ready(&at_a).await?;
    at_a.append("in", [("\"k\"", "1", 0)])?;

    // The function is another one; what it is for in the topology is the same.
    let newer = Topology::builder("counts");
    let tripled = newer.stream("in", Serdes::<String, i64>::json()).map_values(|_, value| value * 3);
    tripled.group_by_key().count().materialized("count").queryable().to_stream().to("out");
    let b = start(&at_b, "b", newer.build()?).await?;
    ready(&at_b).await?;
    counted(&at_b, 1).await?;

    let other = Topology::builder("counts");
    let all = other.stream("in", Serdes::<String, i64>::json()).filter(|_, value| *value > 0);
    all.group_by_key().count().materialized("count").to_stream().to("out");
    let mut c = start(&at_c, "c", other.build()?).await?;
    let error = c.failed().await;
    let Some(AppError::Cluster(error)) = error else { anyhow::bail!("{error:?}") };
    let said = error.to_string();
    ensure!(said.contains("instance `c` runs topology") && said.contains("the cluster led by `"), "{said}");

    at_a.append("in", [("\"k\"", "1", 0)])?;
    counted(&at_a, 2).await?;
    b.stop().await?;
    a.stop().await?;
    Ok(())
}

/// Records of nobody, of other versions and of a leader that there is not, before anybody comes and while all are there.
#[tokio::test(flavor = "multi_thread")]
async fn a_metadata_topic_full_of_what_nobody_understands_is_survived() -> anyhow::Result<()> {
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::new());
    let topics: [(&str, &[(&str, &str)]); 3] =
        [("in", &[]), ("out", &[]), ("counts-metadata", &[("cleanup.policy", "compact")])];
    let (at_a, at_b) = (Place::new(Arc::clone(&log), &topics)?, Place::new(Arc::clone(&log), &[])?);
    let of_nobody = r#"{"v": 1, "term": 0, "generation": 9000, "version": 1, "leader": "z", "leader_member_id": "z-1",
        "topology_fingerprint": "00000000", "members": {"z": {"member_id": "z-1", "transactional_ids": []}},
        "tasks": {"0_0": {"active": "z", "reason": "state"}}}"#;
    let garbage = [
        ("", "", 0),
        ("else", "{}", 0),
        ("assignment", "not JSON", 0),
        ("assignment", of_nobody, 0),
        ("assignment", r#"{"v": 0, "tasks": []}"#, 0),
        ("host/a", r#"{"v": 2, "instance_id": "a"}"#, 0),
        ("host/z", r#"{"v": 1, "instance_id": "y"}"#, 0),
        ("eviction/a", "[]", 0),
        ("eviction/z", r#"{"v": 1}"#, 0),
    ];
    at_a.append("counts-metadata", garbage)?;
    let a = start(&at_a, "a", counts(&Arc::default())?).await?;
    ready(&at_a).await?;
    at_a.append("in", [("\"k\"", "1", 0)])?;
    counted(&at_a, 1).await?;
    at_a.append("counts-metadata", garbage)?;
    let b = start(&at_b, "b", counts(&Arc::default())?).await?;
    ready(&at_b).await?;
    at_a.append("counts-metadata", garbage)?;
    // The task changes its place, so that a plan is made and carried out.
    a.stop().await?;
    at_b.append("in", [("\"k\"", "1", 0)])?;
    counted(&at_b, 2).await?;
    b.stop().await?;
    passed_on(&at_b, 2)
}
