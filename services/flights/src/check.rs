//! Compares what instances answer with the [`Truth`].

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, value::RawValue};
use tokio::{task::JoinSet, time};

use crate::{
    client::{QueryClient, Reply},
    model::stores,
    truth::Truth,
};

/// Requests under way at a time: enough to keep every instance busy, few enough to stay below its limits.
const IN_FLIGHT: usize = 32;

/// Differences that a report shows; the others are only counted.
const SHOWN: usize = 10;

/// Keys that no flight has: unknown ones, ones of another form, and ones that need encoding in a path.
const ABSENT: [(&str, &str); 8] = [
    (stores::DELAYS_BY_CARRIER, "XX"),
    (stores::DELAYS_BY_CARRIER, "ua"),
    (stores::FLIGHTS_BY_ROUTE, "LAX-JFK"),
    (stores::FLIGHTS_BY_ROUTE, "JFK/LAX ?#%ü"),
    (stores::DELAYS_BY_PLANE, "NA"),
    (stores::DELAYS_BY_PLANE, "N3ALAA"),
    (stores::FLIGHTS_PER_DAY, "2014-01-01"),
    (stores::FLIGHTS_PER_DAY, "2013-02-29"),
];

/// What came out of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// How many keys were asked for, over all instances.
    pub asked: usize,
    /// How many of the answers were not the truth.
    pub wrong: usize,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// How many values each instance was asked for (by URL) and which instance served them (by id).
    pub served: BTreeMap<(String, String), usize>,
}

/// An answer that is not the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The instance that was asked.
    pub url: String,
    /// The store.
    pub store: String,
    /// The key.
    pub key: String,
    /// What it should have answered.
    pub expected: String,
    /// What it did.
    pub got: String,
}

/// Asks every instance for every key of the stores (`None`: all of them), and for some that are not there.
///
/// An answer that does not come is a difference like any other.
///
/// # Errors
/// When a URL or the name of a store is none.
pub async fn check(urls: &[String], truth: &Truth, stores: Option<&[&str]>) -> anyhow::Result<CheckReport> {
    ensure!(!urls.is_empty(), "there is no instance to check");
    let client = QueryClient::new()?;
    let mut report = CheckReport::default();
    let mut running = JoinSet::new();
    for question in questions(urls, truth, stores)? {
        if running.len() == IN_FLIGHT {
            report.take(running.join_next().await.context("no request is under way")??);
        }
        running.spawn(question.ask(client.clone()));
    }
    while let Some(outcome) = running.join_next().await {
        report.take(outcome?);
    }
    Ok(report)
}

/// Waits until one instance answers everything as the truth has it, that is, until all that was fed is processed.
///
/// It asks for few keys at a time, and for the next only when those are right. `progress` is told how many are, and of how many.
///
/// # Errors
/// When answers stay wrong and do not change for as long as `patience`: names one of them.
pub async fn wait_until_right(
    url: &str,
    truth: &Truth,
    stores: Option<&[&str]>,
    patience: Duration,
    mut progress: impl FnMut(usize, usize),
) -> anyhow::Result<()> {
    const PAUSE: Duration = Duration::from_millis(100);
    let client = QueryClient::new()?;
    let mut waiting: VecDeque<Question> = questions(&[url.to_owned()], truth, stores)?.into();
    let total = waiting.len();
    let mut wrong = Vec::new();
    let mut changed = time::Instant::now();

    while !waiting.is_empty() {
        progress(total - waiting.len(), total);
        let asked = waiting.drain(..IN_FLIGHT.min(waiting.len())).map(|question| question.ask(client.clone()));
        let mut outcomes = asked.collect::<JoinSet<Outcome>>().join_all().await;
        outcomes.sort_by(|a, b| a.question.cmp_place(&b.question));
        outcomes.retain(|outcome| outcome.difference().is_some());

        let still: Vec<Difference> = outcomes.iter().filter_map(Outcome::difference).collect();
        for outcome in outcomes.into_iter().rev() {
            waiting.push_front(outcome.question);
        }
        let Some(first) = still.first() else {
            changed = time::Instant::now();
            continue;
        };
        if still != wrong {
            changed = time::Instant::now();
        } else if changed.elapsed() >= patience {
            bail!("answers stay wrong for {} s and do not change:\n{first}", patience.as_secs());
        }
        wrong = still;
        time::sleep(PAUSE).await;
    }
    progress(total, total);
    Ok(())
}

// === Questions and their outcomes ===

/// A key to ask an instance for.
#[derive(Debug, Clone)]
struct Question {
    url: Arc<str>,
    store: Arc<str>,
    key: String,
    /// `None`: the key is not there.
    expected: Option<Value>,
}

#[derive(Debug)]
struct Outcome {
    question: Question,
    reply: anyhow::Result<Reply>,
}

/// All questions to all instances; instance by instance within a key, so that they are busy alike.
fn questions(urls: &[String], truth: &Truth, stores: Option<&[&str]>) -> anyhow::Result<Vec<Question>> {
    let urls: Vec<Arc<str>> = urls.iter().map(|url| url.as_str().into()).collect();
    let mut questions = Vec::new();
    for store in stores.unwrap_or(&stores::ALL) {
        let Some(entries) = truth.store(store) else { bail!("there is no store `{store}`") };
        let name: Arc<str> = (*store).into();
        let absent = ABSENT.iter().filter(|(of, key)| of == store && !entries.contains_key(*key));
        let present = entries.iter().map(|(key, value)| (key.as_str(), Some(value)));
        for (key, expected) in present.chain(absent.map(|(_, key)| (*key, None))) {
            questions.extend(urls.iter().map(|url| Question {
                url: Arc::clone(url),
                store: Arc::clone(&name),
                key: key.to_owned(),
                expected: expected.cloned(),
            }));
        }
    }
    Ok(questions)
}

// === impl Question ===

impl Question {
    async fn ask(self, client: QueryClient) -> Outcome {
        let reply = client.get(&self.url, &self.store, &self.key).await;
        Outcome { question: self, reply }
    }

    fn cmp_place(&self, other: &Self) -> std::cmp::Ordering {
        (&self.store, &self.key).cmp(&(&other.store, &other.key))
    }
}

// === impl Outcome ===

impl Outcome {
    fn difference(&self) -> Option<Difference> {
        let Question { url, store, key, expected } = &self.question;
        let got = match (expected, &self.reply) {
            (Some(value), Ok(Reply::Found(answer))) if answer.key == *key && is(&answer.value, value) => return None,
            (None, Ok(Reply::Refused(refusal))) if refusal.status == 404 && refusal.code == "NotFound" => return None,
            (_, Ok(Reply::Found(answer))) => format!("{} = {}, from {}", answer.key, answer.value, answer.served_by),
            (_, Ok(Reply::Refused(refusal))) => format!("{} {}: {}", refusal.status, refusal.code, refusal.detail),
            (_, Err(error)) => format!("no answer: {error:#}"),
        };
        let expected = expected.as_ref().map_or_else(|| "404 NotFound".into(), |value| format!("\"{key}\" = {value}"));
        Some(Difference { url: url.to_string(), store: store.to_string(), key: key.clone(), expected, got })
    }
}

fn is(answer: &RawValue, expected: &Value) -> bool {
    serde_json::from_str::<Value>(answer.get()).is_ok_and(|value| value == *expected)
}

// === impl CheckReport ===

impl CheckReport {
    /// Whether something was asked, and every answer was the truth.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.asked > 0 && self.wrong == 0
    }

    fn take(&mut self, outcome: Outcome) {
        self.asked += 1;
        if let Some(difference) = outcome.difference() {
            self.wrong += 1;
            if self.differences.len() < SHOWN {
                self.differences.push(difference);
            }
        }
        if let Ok(Reply::Found(answer)) = outcome.reply {
            *self.served.entry((outcome.question.url.to_string(), answer.served_by)).or_default() += 1;
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} answers compared with the truth, {} differ", self.asked, self.wrong)?;
        for ((url, served_by), values) in &self.served {
            writeln!(f, "  {values:>5} values asked at {url} were served by {served_by}")?;
        }
        for difference in &self.differences {
            writeln!(f, "{difference}")?;
        }
        if self.wrong > self.differences.len() {
            writeln!(f, "… and {} more", self.wrong - self.differences.len())?;
        }
        Ok(())
    }
}

// === impl Difference ===

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, store, key, expected, got } = self;
        write!(f, "{store} `{key}` asked at {url}\n  expected {expected}\n  got      {got}")
    }
}

#[cfg(test)]
mod tests;
