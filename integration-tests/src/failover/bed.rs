//! Three ledgers, or some more, that are fed, watched and asked.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use millpond::{
    config::Guarantee,
    query::Consistency,
    time::{Clock as _, SystemClock},
};
use tokio::{task::block_in_place, time::sleep};

use super::{
    Options,
    placement::{self, Placement},
};
use crate::{
    broker::{Broker, unique},
    faults::{
        fleet::{Fleet, Kind, PATIENCE},
        round::connect,
    },
    ledger::{
        Topics,
        audit::{Audit, Checked},
        books::Books,
        feeder::{Feeder, Feeding},
        observer::{Asking, Observer, ask_for_everything},
        watch::Watch,
    },
};

/// The setting of how many standbys there are.
const STANDBYS: &str = "MILLPOND_NUM_STANDBY_REPLICAS";
/// How often to look whether the placement has settled, and how often in a row it must have.
const LOOK: Duration = Duration::from_millis(200);
const TIMES: usize = 5;

/// What there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// How many instances, and how many of them from the beginning.
    pub(super) instances: usize,
    pub(super) at_first: usize,
    /// Partitions of each topic.
    pub(super) partitions: i32,
    /// Transfers per second.
    pub(super) rate: u64,
    /// How each instance is asked, by two askers of its own.
    pub(super) asking: Asking,
}

/// Ledgers at work.
pub(super) struct Bed {
    pub(super) fleet: Fleet,
    pub(super) topics: Topics,
    pub(super) watch: Watch,
    pub(super) clock: SystemClock,
    standbys: usize,
    feeding: Feeding,
    observer: Observer,
    // Ends after those who use it.
    _broker: Broker,
}

/// Mostly for the latest, at a rate that leaves the machine to the instances.
pub(super) const NOW_AND_THEN: Asking = Asking {
    pause: Duration::from_millis(25),
    consistencies: &[Consistency::Active, Consistency::Any, Consistency::Standby],
};

// === impl Bed ===

impl Bed {
    /// Starts everything, and waits until the placement has settled.
    pub(super) async fn start(scale: Scale, options: &Options) -> anyhow::Result<Self> {
        let clock = SystemClock::new();
        let broker = Broker::private()?;
        let topics = Topics::of(&unique("ledger")).with_partitions(scale.partitions);
        let log = connect(broker.bootstrap())?;
        block_in_place(|| topics.create(&*log))?;
        let named = options.settings.iter().rev().find(|(name, _)| name == STANDBYS);
        let standbys = named.map_or(Ok(1), |(_, value)| value.parse()).context(STANDBYS)?;
        let kind = Kind {
            instances: scale.instances,
            guarantee: Guarantee::ExactlyOnce,
            standbys,
            memory: None,
            settings: options.settings.clone(),
        };
        let mut fleet = Fleet::new(&kind, &topics, broker.bootstrap(), Arc::clone(&log), &options.folder, clock)?;
        let feeder = block_in_place(|| Feeder::new(&*log, &topics, 1))?;
        for number in 0..scale.at_first {
            fleet.start(number, None)?;
        }
        fleet.all_ready().await?;
        let books = block_in_place(|| Books::open(&*log, &topics, kind.guarantee, clock))?;
        let observer = Observer::start(&fleet.urls(), 1, clock, scale.asking)?;
        let feeding = feeder.run(scale.rate);
        let watch = Watch::start(books);
        let mut bed = Self { fleet, topics, watch, clock, standbys, feeding, observer, _broker: broker };
        bed.settled().await?;
        Ok(bed)
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Lets time pass.
    pub(super) async fn pass(&mut self, time: Duration) -> anyhow::Result<()> {
        self.fleet.pass(time).await?;
        ensure!(self.fleet.ended.is_empty(), "instances ended by themselves: {:?}", self.fleet.ended);
        Ok(())
    }

    /// Waits until all running instances agree on a placement that stays; says which.
    pub(super) async fn settled(&mut self) -> anyhow::Result<Placement> {
        let running: Vec<_> =
            self.fleet.instances.iter().filter(|instance| instance.is_running()).map(|one| one.url()).collect();
        let (standbys, deadline) = (self.standbys.min(running.len() - 1), self.now() + PATIENCE);
        let mut last: Option<(Placement, usize)> = None;
        loop {
            let agreed = placement::agreed(&running, standbys).await.unwrap_or_default();
            last = match (agreed, last) {
                (Some(now), Some((before, times))) if now == before => Some((now, times + 1)),
                (Some(now), _) => Some((now, 1)),
                (None, _) => None,
            };
            if let Some((placement, _)) = last.take_if(|(_, times)| *times >= TIMES) {
                return Ok(placement);
            }
            ensure!(self.now() < deadline, "the placement has not settled after {PATIENCE:?}");
            sleep(LOOK).await;
            self.fleet.tend()?;
        }
    }

    /// Ends everything, and checks that nothing was lost, done twice or answered wrongly.
    pub(super) async fn finish(self) -> anyhow::Result<(Checked, usize)> {
        let Self { mut fleet, watch, feeding, observer, .. } = self;
        block_in_place(|| feeding.stop())?;
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
        let running = fleet.instances.iter().filter(|instance| instance.is_running()).map(|one| one.url());
        let running: Vec<_> = running.collect();
        fleet
            .until("all answers are right", async || ask_for_everything(&running, books.page()).await.map(|()| true))
            .await?;
        let answers = observer.stop().await?;
        for number in 0..fleet.instances.len() {
            if fleet.instances[number].is_running() {
                fleet.stop(number).await?;
            }
        }
        // What comes after all was done would have been done twice.
        block_in_place(|| books.read())?;
        books.check()?;
        let checked = Audit::new(answers, books.guarantee()).finish(books.page())?;
        block_in_place(|| fleet.check_rows(books.guarantee()))?;
        ensure!(fleet.count_in_logs("panicked at")? == 0, "an instance panicked: see its log");
        ensure!(fleet.ended.is_empty(), "instances ended by themselves: {:?}", fleet.ended);
        Ok((checked, books.page().transfers.len()))
    }
}
