//! Chaos: five instances, transfers and questions all the time, and everything that can go wrong at random, several things at once. In between it is
//! calm, and everything has to come right by itself.

mod disorder;
mod event;

use std::{fmt, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use millpond::{
    config::{Guarantee, MemoryShares},
    query::Consistency,
    time::{Clock as _, SystemClock},
};
use tokio::task::block_in_place;

use self::disorder::Disorder;
use super::{
    Rng,
    fleet::{Fleet, Kind, PATIENCE},
    round::connect,
    wire::Wires,
};
use crate::{
    broker::{Broker, unique},
    failover::placement,
    ledger::{
        Topics,
        audit::{Audit, Checked},
        books::{Books, Progress},
        feeder::Feeder,
        observer::{Asking, Observer, ask_for_everything},
        watch::Watch,
    },
};

/// How many instances there are, and how many of them from the beginning.
const INSTANCES: usize = 5;
const AT_FIRST: usize = 3;
const PARTITIONS: i32 = 12;
const STANDBYS: usize = 1;
/// Transfers per second.
const RATE: u64 = 200;
/// Some 400 questions per second.
const ASKING: Asking = Asking {
    pause: Duration::from_millis(20),
    consistencies: &[Consistency::Active, Consistency::Active, Consistency::Any, Consistency::Standby],
};
/// State that nobody uses is deleted after so long: never, as what an instance restores is compared with what it had.
const STATE_CLEANUP_DELAY_MS: &str = "7200000";
/// Answers of before are all kept.
const KEPT: Duration = Duration::from_secs(1);

/// What to play.
#[derive(Debug, Clone)]
pub struct Chaos {
    /// What happens follows from it; when, also from how long things take.
    pub seed: u64,
    /// For how long.
    pub time: Duration,
    /// More settings of the instances, by the names of their environment variables.
    pub settings: Vec<(String, String)>,
}

/// What it came to, when nothing was wrong.
#[derive(Debug)]
pub struct Outcome {
    events: usize,
    calms: usize,
    longest_calm: Duration,
    transfers: usize,
    rows: usize,
    checked: Checked,
    evictions: usize,
    ended: Vec<String>,
    elapsed: Duration,
}

/// Everything there is.
struct World {
    broker: Broker,
    fleet: Fleet,
    wires: Wires,
    watch: Watch,
    audit: Audit,
    clock: SystemClock,
}

/// Plays it; logs and state go below `folder`.
///
/// # Errors
/// Says which invariant does not hold, or what took too long.
pub async fn chaos(plan: &Chaos, folder: &Path) -> anyhow::Result<Outcome> {
    let clock = SystemClock::new();
    let broker = Broker::private_to_crash()?;
    let topics = Topics::of(&unique("ledger")).with_partitions(PARTITIONS);
    let log = connect(broker.bootstrap())?;
    block_in_place(|| topics.create(&*log))?;
    let mut settings = vec![("MILLPOND_STATE_CLEANUP_DELAY_MS".to_owned(), STATE_CLEANUP_DELAY_MS.to_owned())];
    settings.extend(plan.settings.iter().cloned());
    // Little memory, so that there are tables on disk.
    let kind = Kind {
        instances: INSTANCES,
        guarantee: Guarantee::ExactlyOnce,
        standbys: STANDBYS,
        memory: Some(MemoryShares::least(1)),
        settings,
    };
    let mut fleet = Fleet::new(&kind, &topics, broker.bootstrap(), Arc::clone(&log), folder, clock)?;
    let urls = fleet.urls();
    let addresses: Vec<SocketAddr> =
        urls.iter().map(|url| url.trim_start_matches("http://").parse()).collect::<Result<_, _>>()?;
    let wires = Wires::lay(&addresses).await?;
    for (number, instance) in fleet.instances.iter_mut().enumerate() {
        instance.set("MILLPOND_ADVERTISED_URL", wires.url(number));
    }
    let feeder = block_in_place(|| Feeder::new(&*log, &topics, plan.seed))?;
    for number in 0..AT_FIRST {
        fleet.start(number, None)?;
    }
    wires.set_pids(fleet.pids());
    fleet.all_ready().await?;
    let books = block_in_place(|| Books::open(&*log, &topics, kind.guarantee, clock))?;
    let observer = Observer::start(&urls, plan.seed, clock, ASKING)?;
    let audit = Audit::new(observer.answers(), kind.guarantee);
    let feeding = feeder.run(RATE);
    let mut world = World { broker, fleet, wires, watch: Watch::start(books), audit, clock };

    let mut disorder = Disorder::new(Rng::new(plan.seed), INSTANCES);
    let (mut calms, mut longest_calm) = (0, Duration::ZERO);
    while world.clock.monotonic() < plan.time {
        disorder.burst(&mut world).await?;
        disorder.end(&mut world).await?;
        let calm = world.calm().await.with_context(|| format!("in the calm after {}", disorder.last_burst()))?;
        println!("{:7.1} s: calm after {:.1} s", world.clock.monotonic().as_secs_f64(), calm.as_secs_f64());
        (calms, longest_calm) = (calms + 1, longest_calm.max(calm));
    }
    block_in_place(|| feeding.stop())?;
    disorder.start_all(&mut world)?;

    let World { mut fleet, watch, audit, .. } = world;
    fleet.all_ready().await?;
    let mut books = block_in_place(|| watch.stop())?;
    let settled = fleet
        .until("all transfers are through", async || {
            block_in_place(|| books.read())?;
            Ok(books.are_settled())
        })
        .await;
    books.check_outputs()?;
    settled.with_context(|| books.missing())?;
    books.check()?;
    fleet.until("all answers are right", async || ask_for_everything(&urls, books.page()).await.map(|()| true)).await?;
    observer.stop().await?;
    for number in 0..INSTANCES {
        fleet.stop(number).await?;
    }
    // What comes after all was done would have been done twice.
    block_in_place(|| books.read())?;
    books.check()?;
    let checked = audit.finish(books.page())?;
    let rows = block_in_place(|| fleet.check_rows(kind.guarantee))?;
    let evictions = fleet.count_in_logs(" evicting ")?;
    let (events, transfers) = (disorder.events(), books.page().transfers.len());
    let mut ended = std::mem::take(&mut fleet.ended);
    ended.append(&mut fleet.not_started);
    let elapsed = clock.monotonic();
    Ok(Outcome { events, calms, longest_calm, transfers, rows, checked, evictions, ended, elapsed })
}

// === impl World ===

impl World {
    /// Waits until everything has come right: all instances are ready, all tasks have an owner and a standby, and what was fed until now is done.
    /// Says how long that took.
    async fn calm(&mut self) -> anyhow::Result<Duration> {
        let began = self.clock.monotonic();
        self.fleet.all_ready().await?;
        let running: Vec<String> =
            self.fleet.instances.iter().filter(|instance| instance.is_running()).map(|one| one.url()).collect();
        let standbys = STANDBYS.min(running.len() - 1);
        self.fleet
            .until("all tasks have an owner and a standby", async || placement::is_settled(&running, standbys).await)
            .await?;
        let done = |progress: &Progress, fed: (u64, u64)| progress.done.0 >= fed.0 && progress.done.1 >= fed.1;
        let fed = block_in_place(|| self.watch.look(|books| books.page().progress())).fed;
        let Self { fleet, watch, .. } = self;
        fleet
            .until("what was fed is done", async || {
                Ok(done(&block_in_place(|| watch.look(|books| books.page().progress())), fed))
            })
            .await?;
        let calm = self.clock.monotonic() - began;
        ensure!(calm < PATIENCE, "it took {calm:?}");
        let (audit, before) = (&mut self.audit, self.clock.monotonic().saturating_sub(KEPT));
        block_in_place(|| {
            self.watch.look(|books| {
                books.check_outputs()?;
                audit.check(books.page(), before)
            })
        })?;
        ensure!(self.fleet.count_in_logs("panicked at")? == 0, "an instance panicked: see the logs");
        Ok(calm)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, calms, longest_calm, transfers, rows, checked, evictions, ended, elapsed } = self;
        let Checked { answers, of_standbys, refused } = checked;
        write!(
            f,
            "{events} events in {:.0} s, {calms} calms after {:.1} s at the most, {evictions} evictions; {transfers} transfers, {answers} answers \
             ({of_standbys} of standbys) and {rows} rows right; refused {refused:?}",
            elapsed.as_secs_f64(),
            longest_calm.as_secs_f64()
        )?;
        for ended in ended {
            write!(f, "; {ended}")?;
        }
        Ok(())
    }
}
