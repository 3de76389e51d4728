//! Asks a ledger's instances all the time, and remembers what they said.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use flights::client::{QueryClient, Reply};
use millpond::{
    config::Guarantee,
    query::Consistency,
    time::{Clock as _, SystemClock},
};

use super::{
    ACCOUNTS, BALANCES, Balance, COUNTS, account,
    answers::Answers,
    audit::{Audit, Checked},
    books::Page,
    client::Client,
    is_visitor,
};
use crate::faults::Rng;

/// How many ask each instance at the same time. They ask no other: one may wait long for an instance that stands still, and asks at once
/// when it goes on.
const ASKERS: usize = 2;

/// Of visitors, who are many, each of so many is asked for.
const EACH_VISITOR: usize = 397;

/// How instances are asked.
#[derive(Debug, Clone, Copy)]
pub struct Asking {
    /// Between two questions of one asker.
    pub pause: Duration,
    /// Which copies may answer: one of these each time.
    pub consistencies: &'static [Consistency],
}

/// Askers at work.
#[derive(Debug)]
pub struct Observer {
    stop: Arc<AtomicBool>,
    askers: Vec<tokio::task::JoinHandle<()>>,
    answers: Answers,
}

// === impl Asking ===

impl Asking {
    /// For the latest committed state.
    pub const FOR_THE_LATEST: Self = Self { pause: Duration::from_millis(4), consistencies: &[Consistency::Active] };
    /// For whatever may answer, more often for the latest.
    pub const FOR_ALL: Self = Self {
        consistencies: &[Consistency::Active, Consistency::Active, Consistency::Any, Consistency::Standby],
        ..Self::FOR_THE_LATEST
    };
}

// === impl Observer ===

impl Observer {
    /// Begins to ask the instances at these addresses.
    ///
    /// # Errors
    /// When there is no client.
    pub fn start(urls: &[String], seed: u64, clock: SystemClock, asking: Asking) -> anyhow::Result<Self> {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Answers::default());
        let mut askers = Vec::new();
        for (at, asker) in urls.iter().cloned().flat_map(|at| vec![at; ASKERS]).zip(1..) {
            let mut rng = Rng::new(seed ^ (asker << 32));
            let (stop, answers, client) = (Arc::clone(&stop), answers.clone(), Client::new()?);
            askers.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let number = rng.below(u64::from(ACCOUNTS)) as u32;
                    let consistency = *rng.pick(asking.consistencies);
                    let asked = clock.monotonic();
                    let told = client.ask(&at, BALANCES, &account(number), consistency).await;
                    answers.keep(&at, number, asked, clock.monotonic(), &told);
                    tokio::time::sleep(asking.pause).await;
                }
            }));
        }
        Ok(Self { stop, askers, answers })
    }

    /// What is answered.
    #[must_use]
    pub fn answers(&self) -> Answers {
        self.answers.clone()
    }

    /// Stops asking.
    ///
    /// # Errors
    /// When an asker panicked.
    pub async fn stop(self) -> anyhow::Result<Answers> {
        self.stop.store(true, Ordering::Relaxed);
        for asker in self.askers {
            asker.await.context("an asker panicked")?;
        }
        Ok(self.answers)
    }
}

/// Whether every answer was of state that is committed, and none older than it says.
///
/// # Errors
/// Shows the first answer that is wrong.
pub fn check(answers: Answers, page: &Page, guarantee: Guarantee) -> anyhow::Result<Checked> {
    Audit::new(answers, guarantee).finish(page)
}

/// Asks every instance for every account and teller, but for most of the visitors, and compares with the changelogs.
///
/// # Errors
/// Names the first answer that is wrong, or does not come.
pub async fn ask_for_everything(urls: &[String], page: &Page) -> anyhow::Result<()> {
    let client = QueryClient::new()?;
    let found = async |url: &str, store: &str, key: &str| match client.get(url, store, key).await? {
        Reply::Found(answer) => Ok(answer),
        Reply::Refused(refusal) => Err(anyhow::anyhow!("{store} `{key}` on {url}: {refusal:?}")),
    };
    for url in urls {
        for (account, expected) in &page.balances {
            let got: Balance = serde_json::from_str(found(url, BALANCES, account).await?.value.get())?;
            ensure!(got == *expected, "{account} on {url}: {got:?}, and the changelog has {expected:?}");
        }
        let visitors = page.counts.iter().filter(|(teller, _)| is_visitor(teller)).step_by(EACH_VISITOR);
        let tellers = page.counts.iter().filter(|(teller, _)| !is_visitor(teller));
        for (teller, expected) in tellers.chain(visitors) {
            let got: i64 = serde_json::from_str(found(url, COUNTS, teller).await?.value.get())?;
            ensure!(got == *expected, "{teller} on {url}: {got}, and the changelog has {expected}");
        }
    }
    Ok(())
}
