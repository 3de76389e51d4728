//! Asks each instance for keys that another one owns, and prints what came back.

use std::{io::Write, time::Duration};

use anyhow::{Context as _, bail, ensure};
use millpond::time::Clock;

use super::Instance;
use crate::{
    client::{Answer, QueryClient, Reply, key_url},
    model::stores,
    truth::Truth,
};

/// A question to an instance that another one answered.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The instance that was asked.
    pub instance: Instance,
    /// The store.
    pub store: &'static str,
    /// The key.
    pub key: String,
    /// What came back.
    pub answer: Answer,
    /// How long it took.
    pub took: Duration,
}

/// Asks each instance for one key of each store that it does not own itself.
///
/// # Errors
/// When an instance does not answer, or answers every key of a store itself.
pub async fn ask_around(instances: &[Instance], truth: &Truth, clock: &dyn Clock) -> anyhow::Result<Vec<Asked>> {
    ensure!(instances.len() > 1, "one instance owns every key");
    let client = QueryClient::new()?;
    let mut asked = Vec::new();
    for instance in instances {
        for store in stores::ALL {
            asked.push(ask_for_foreign_key(&client, instance, store, truth, clock).await?);
        }
    }
    Ok(asked)
}

async fn ask_for_foreign_key(
    client: &QueryClient,
    instance: &Instance,
    store: &'static str,
    truth: &Truth,
    clock: &dyn Clock,
) -> anyhow::Result<Asked> {
    let keys = truth.store(store).into_iter().flat_map(|entries| entries.keys());
    for key in well_known(store).chain(keys.map(String::as_str)) {
        let start = clock.monotonic();
        let reply = client.get(&instance.url, store, key).await;
        let took = clock.monotonic().saturating_sub(start);
        match reply.with_context(|| format!("asking {} at {} for {store} `{key}`", instance.name, instance.url))? {
            Reply::Found(answer) if answer.served_by != instance.name => {
                return Ok(Asked { instance: instance.clone(), store, key: key.to_owned(), answer, took });
            }
            Reply::Found(_) => {}
            Reply::Refused(refusal) if refusal.status == 404 => {}
            Reply::Refused(refusal) => {
                bail!("{} answered {store} `{key}` with {} {}", instance.name, refusal.status, refusal.detail)
            }
        }
    }
    bail!("{} answered every key of store `{store}` itself, as if it were alone", instance.name)
}

/// Keys that a reader knows, to be asked for first.
fn well_known<'a>(store: &str) -> impl Iterator<Item = &'a str> {
    let keys: &[&str] = match store {
        stores::DELAYS_BY_CARRIER => &["UA", "DL", "AA", "B6", "WN"],
        stores::FLIGHTS_BY_ROUTE => &["JFK-LAX", "LGA-ORD", "EWR-SFO", "JFK-SFO", "EWR-BOS"],
        stores::DELAYS_BY_PLANE => &["N14228", "N24211", "N804JB", "N668DN", "N39463"],
        stores::FLIGHTS_PER_DAY => &["2013-01-01", "2013-07-04", "2013-12-24", "2013-02-09", "2013-11-28"],
        _ => &[],
    };
    keys.iter().copied()
}

/// Prints questions and answers as a table, and how to ask by hand.
///
/// # Errors
/// When `out` does not take it.
pub fn print(asked: &[Asked], out: &mut dyn Write) -> anyhow::Result<()> {
    let width = |column: fn(&Asked) -> usize, title: &str| {
        asked.iter().map(column).chain([title.len()]).max().unwrap_or_default()
    };
    let name = width(|asked| asked.instance.name.len().max(asked.answer.served_by.len()), "answered by");
    let store = width(|asked| asked.store.len(), "store");
    let key = width(|asked| asked.key.len(), "key");

    writeln!(out, "\nKeys that the asked instance does not own:\n")?;
    writeln!(
        out,
        "{:name$}  {:store$}  {:key$}  {:name$}  {:>9}  {:>8}  value",
        "asked", "store", "key", "answered by", "partition", "ms"
    )?;
    for Asked { instance, store: of, key: asked_for, answer, took } in asked {
        let partition = answer.partition.map_or_else(|| "-".into(), |partition| partition.to_string());
        writeln!(
            out,
            "{:name$}  {of:store$}  {asked_for:key$}  {:name$}  {partition:>9}  {:>8.1}  {}",
            instance.name,
            answer.served_by,
            took.as_secs_f64() * 1_000.0,
            answer.value
        )?;
    }
    if let Some(first) = asked.first() {
        writeln!(out, "\nTry:\n  curl {}\n", key_url(&first.instance.url, first.store, &first.key)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use millpond::time::SystemClock;

    use super::*;
    use crate::{
        data,
        standin::{start, truthful},
    };

    #[tokio::test]
    async fn each_instance_is_asked_for_what_another_owns() -> anyhow::Result<()> {
        let truth = Arc::new(Truth::compute_from(data::flights()?.step_by(500))?);
        let instances = start(3, &truth, truthful).await?;
        let asked = ask_around(&instances, &truth, &SystemClock::new()).await?;
        assert_eq!(asked.len(), instances.len() * stores::ALL.len());
        assert!(asked.iter().all(|asked| asked.answer.served_by != asked.instance.name), "{asked:?}");

        let mut out = Vec::new();
        print(&asked, &mut out)?;
        let text = String::from_utf8(out)?;
        assert!(text.contains("United Air Lines Inc."), "{text}");
        assert!(text.contains(&format!("curl {}/stores/", instances[0].url)), "{text}");
        Ok(())
    }

    #[tokio::test]
    async fn an_instance_that_owns_everything_is_no_demo() -> anyhow::Result<()> {
        let truth = Arc::new(Truth::compute_from(data::flights()?.step_by(500))?);
        let mut instances = start(1, &truth, truthful).await?;
        instances.push(instances[0].clone());
        let error = ask_around(&instances, &truth, &SystemClock::new()).await.expect_err("`a` serves all");
        assert!(error.to_string().starts_with("a answered every key of store `delays-by-carrier` itself"), "{error}");
        Ok(())
    }
}
