//! At-least-once with real processes on a real Kafka: without a crash every count is right, with one none is too low.

use anyhow::{Context as _, bail, ensure};
use flights::{
    client::{QueryClient, Reply},
    data,
    model::stores,
    truth::Truth,
};
use integration_tests::{
    broker::Broker,
    job::{PATIENCE, all_right, feed, feed_tables, flights_read, start_all},
    service::{Instance, until},
};
use serde_json::{Value, json};

/// Some 80,000 flights.
const MONTHS: u32 = 3;
/// Flights per second of the feed with the kill in its middle.
const RATE: &str = "10000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_through_a_kill_and_nothing_counted_twice_without() -> anyhow::Result<()> {
    let broker = Broker::private()?;
    let folder = tempfile::tempdir()?;
    let in_months =
        |row: &anyhow::Result<data::ScheduledFlight>| row.as_ref().is_ok_and(|row| row.flight.month <= MONTHS);
    let truth = Truth::compute_from(data::flights()?.filter(in_months))?;
    let months = MONTHS.to_string();
    let flights = ["--only", "flights", "--months", &months];
    feed_tables(broker.bootstrap())?;
    let mut instances = Instance::three(broker.bootstrap(), folder.path())?
        .map(|instance| instance.with("MILLPOND_GUARANTEE", "at-least-once"));
    start_all(&mut instances).await?;

    let mut feeding = feed(broker.bootstrap(), &flights)?.spawn()?;
    ensure!(tokio::task::spawn_blocking(move || feeding.wait()).await??.success(), "the flights were not fed");
    all_right(&instances.each_ref(), &truth).await.context("without a kill")?;

    // The same flights once more: a flight is an event, so every count doubles.
    let mut feeding = feed(broker.bootstrap(), &[&flights[..], &["--rate", RATE]].concat())?.spawn()?;
    until("half of the flights are read again", PATIENCE, async || {
        let half = flights_read(&instances).await? > 1.5 * truth.flights() as f64;
        ensure!(half || feeding.try_wait()?.is_none(), "the feed ended early");
        Ok(half)
    })
    .await?;
    let [a, b, c] = &mut instances;
    b.kill()?;
    ensure!(tokio::task::spawn_blocking(move || feeding.wait()).await??.success(), "the flights were not fed again");
    let (counted, again) = tokio::try_join!(at_least_twice(a, &truth), at_least_twice(c, &truth))?;

    // Only what the killed instance had not committed is counted once more: a commit interval's work, not the feed.
    let fed = 2 * truth.flights();
    for counted in [counted, again] {
        println!("{} of {fed} flights were counted more than once", counted.saturating_sub(fed));
        ensure!(counted < fed + truth.flights() / 10, "{counted} flights counted, of {fed}");
    }
    Ok(())
}

/// Waits until an instance counts every key at least twice as often as the truth. Counts only grow, so each key is waited for once. Gives
/// the number of flights that all carriers have.
async fn at_least_twice(instance: &Instance, truth: &Truth) -> anyhow::Result<u64> {
    let client = QueryClient::new()?;
    let mut flights = 0;
    for (store, rows) in truth.stores() {
        for (key, expected) in rows {
            let mut got = Value::Null;
            until(&format!("{store} `{key}` is counted twice on {}", instance.id), PATIENCE, async || {
                match client.get(&instance.url(), store, key).await? {
                    Reply::Found(answer) => got = serde_json::from_str(answer.value.get())?,
                    Reply::Refused(refusal) => bail!("{refusal:?}"),
                }
                Ok(is_at_least_twice(&got, expected))
            })
            .await
            .with_context(|| format!("expected twice {expected} or more, got {got}"))?;
            if *store == stores::DELAYS_BY_CARRIER {
                flights += got["flights"].as_u64().context("a carrier has flights")?;
            }
        }
    }
    Ok(flights)
}

/// Counts are at least double; what is no count is the same. Sums of delays may go down, and tell nothing.
fn is_at_least_twice(got: &Value, expected: &Value) -> bool {
    let (Some(got), Some(expected)) = (got.as_object(), expected.as_object()) else { return got == expected };
    got.len() == expected.len()
        && expected.iter().all(|(field, expected)| match (field.as_str(), got.get(field)) {
            (_, None) => false,
            ("sum_minutes" | "departure_delay_minutes", Some(_)) => true,
            ("max_minutes", Some(got)) => got == expected,
            (_, Some(got)) => match (got.as_u64(), expected.as_u64()) {
                (Some(got), Some(expected)) => got >= 2 * expected,
                _ => is_at_least_twice(got, expected),
            },
        })
}

#[test]
fn counts_may_be_higher_and_names_may_not_differ() {
    let truth = json!({"name": "UA", "flights": 3, "delay": {"count": 2, "sum_minutes": -5, "max_minutes": null}});
    let got = |name, flights, count| json!({"name": name, "flights": flights, "delay": {"count": count, "sum_minutes": -12, "max_minutes": null}});
    assert!(is_at_least_twice(&got("UA", 6, 4), &truth) && is_at_least_twice(&got("UA", 7, 5), &truth));
    assert!(!is_at_least_twice(&got("UA", 5, 4), &truth) && !is_at_least_twice(&got("UA", 6, 3), &truth));
    assert!(!is_at_least_twice(&got("DL", 6, 4), &truth) && !is_at_least_twice(&json!({"flights": 6}), &truth));
}
