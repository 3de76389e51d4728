//! Asks a ledger's instances all the time, and remembers what they said.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use flights::client::{QueryClient, Reply};
use millpond::{
    config::Guarantee,
    time::{Clock as _, SystemClock},
};

use super::{ACCOUNTS, BALANCES, Balance, COUNTS, account, books::Page, is_visitor};
use crate::faults::Rng;

/// Between two questions of one asker.
const PAUSE: Duration = Duration::from_millis(4);
/// How many ask each instance at the same time. They ask no other: one may wait long for an instance that stands still, and asks at once
/// when it goes on.
const ASKERS: usize = 2;

/// Of visitors, who are many, each of so many is asked for.
const EACH_VISITOR: usize = 397;

/// What was answered for an account.
#[derive(Debug, Clone)]
pub struct Observation {
    /// When it was asked, and when the answer was there.
    pub asked: Duration,
    /// See above.
    pub answered: Duration,
    /// Who was asked.
    pub at: String,
    /// Who looked it up.
    pub served_by: String,
    /// The account.
    pub account: String,
    /// What it had.
    pub balance: Balance,
}

/// Askers at work.
#[derive(Debug)]
pub struct Observer {
    stop: Arc<AtomicBool>,
    askers: Vec<tokio::task::JoinHandle<()>>,
    seen: Arc<Mutex<Vec<Observation>>>,
    refused: Arc<Mutex<BTreeMap<String, u64>>>,
}

/// What was seen.
#[derive(Debug)]
pub struct Seen {
    /// All answers, in the order they came.
    pub observations: Vec<Observation>,
    /// How often there was none, by the error's code.
    pub refused: BTreeMap<String, u64>,
}

// === impl Observer ===

impl Observer {
    /// Begins to ask the instances at these addresses.
    ///
    /// # Errors
    /// When there is no client.
    pub fn start(urls: &[String], seed: u64, clock: SystemClock) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, refused) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<BTreeMap<_, _>>>::default());
        let mut askers = Vec::new();
        for (at, asker) in urls.iter().cloned().flat_map(|at| vec![at; ASKERS]).zip(1..) {
            let mut rng = Rng::new(seed ^ (asker << 32));
            let (stop, seen, refused) = (Arc::clone(&stop), Arc::clone(&seen), Arc::clone(&refused));
            let client = QueryClient::new()?;
            askers.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let account = account(rng.below(u64::from(ACCOUNTS)) as u32);
                    let asked = clock.monotonic();
                    let reply = client.get(&at, BALANCES, &account).await;
                    let answered = clock.monotonic();
                    match answer(reply) {
                        Ok((served_by, balance)) => {
                            let observation =
                                Observation { asked, answered, at: at.clone(), served_by, account, balance };
                            seen.lock().unwrap_or_else(PoisonError::into_inner).push(observation);
                        }
                        Err(code) => {
                            *refused.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
                        }
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }));
        }
        Ok(Self { stop, askers, seen, refused })
    }

    /// Stops asking.
    ///
    /// # Errors
    /// When an asker panicked.
    pub async fn stop(self) -> anyhow::Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        for asker in self.askers {
            asker.await.context("an asker panicked")?;
        }
        let observations = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        let refused = std::mem::take(&mut *self.refused.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Seen { observations, refused })
    }
}

// === impl Seen ===

impl Seen {
    /// Whether every answer was of state that is committed, and no answer was older than one that was there before it was asked for.
    ///
    /// # Errors
    /// Shows the first answer that is wrong.
    pub fn check(&self, page: &Page, guarantee: Guarantee) -> anyhow::Result<()> {
        for seen in self.observations.iter().filter(|seen| seen.balance != Balance::default()) {
            ensure!(seen.balance.is_whole(), "garbled: {seen:?}");
            let statements = page.statements.get(&seen.account).map_or(&[][..], Vec::as_slice);
            let committed = match guarantee {
                Guarantee::ExactlyOnce => {
                    let nth = usize::try_from(seen.balance.postings)?.checked_sub(1);
                    nth.and_then(|nth| statements.get(nth)) == Some(&seen.balance)
                }
                Guarantee::AtLeastOnce => statements.contains(&seen.balance),
            };
            ensure!(committed, "answered, and never committed: {seen:?}");
        }
        let stale = self.stale();
        if guarantee == Guarantee::ExactlyOnce
            && let (Some((older, newer)), Some((last, _))) = (stale.first(), stale.last())
        {
            anyhow::bail!(
                "{} answers within {:?} are older than one that was there before they were asked for; the first is {} postings older \
                 than one of {:?} before:\n{older:?}\n{newer:?}",
                stale.len(),
                last.answered.saturating_sub(older.asked),
                newer.balance.postings - older.balance.postings,
                older.asked.saturating_sub(newer.answered),
            );
        }
        Ok(())
    }

    /// Answers that are older than one that was there before they were asked for, with that one.
    #[must_use]
    pub fn stale(&self) -> Vec<(&Observation, &Observation)> {
        let mut by_account: BTreeMap<&str, Vec<&Observation>> = BTreeMap::new();
        for seen in &self.observations {
            by_account.entry(&seen.account).or_default().push(seen);
        }
        let mut stale = Vec::new();
        for answers in by_account.values() {
            for older in answers {
                let before = answers.iter().filter(|newer| newer.answered < older.asked);
                if let Some(newer) = before.max_by_key(|newer| newer.balance.postings)
                    && newer.balance.postings > older.balance.postings
                {
                    stale.push((*older, *newer));
                }
            }
        }
        stale.sort_by_key(|(older, _)| older.asked);
        stale
    }
}

/// Who answered what; or why there is no answer.
fn answer(reply: anyhow::Result<Reply>) -> Result<(String, Balance), String> {
    match reply {
        Ok(Reply::Found(answer)) => match serde_json::from_str(answer.value.get()) {
            Ok(balance) => Ok((answer.served_by, balance)),
            // It is not whole, so the check will show it.
            Err(error) => {
                Ok((answer.served_by, Balance { postings: 1, memo: error.to_string(), ..Balance::default() }))
            }
        },
        // That there is no such account is an answer too, and after the first deposit a wrong one.
        Ok(Reply::Refused(refusal)) if refusal.code == "NotFound" => Ok((refusal.detail, Balance::default())),
        Ok(Reply::Refused(refusal)) => Err(refusal.code),
        Err(_) => Err("no answer".to_owned()),
    }
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
