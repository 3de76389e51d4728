use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::http::StatusCode;
use serde_json::json;

use super::*;
use crate::{
    data, demo,
    standin::{not_found, start, truthful},
};

fn small_truth() -> anyhow::Result<Arc<Truth>> {
    Ok(Arc::new(Truth::compute_from(data::flights()?.take(500))?))
}

fn urls(instances: &[demo::Instance]) -> Vec<String> {
    instances.iter().map(|instance| instance.url.clone()).collect()
}

#[tokio::test]
async fn every_key_is_asked_everywhere() -> anyhow::Result<()> {
    let truth = small_truth()?;
    let instances = start(2, &truth, truthful).await?;
    let report = check(&urls(&instances), &truth, None).await?;
    assert!(report.is_right(), "{report}");
    assert_eq!(report.asked, 2 * (truth.keys() + ABSENT.len()));
    assert_eq!(report.served.values().sum::<usize>(), 2 * truth.keys());
    assert_eq!(report.served.len(), 4, "each served what itself and the other were asked for: {report}");

    let days = check(&urls(&instances), &truth, Some(&[stores::FLIGHTS_PER_DAY])).await?;
    assert_eq!((days.asked, days.is_right()), (2 * (1 + 2), true));
    let error = check(&urls(&instances), &truth, Some(&["weather"])).await.expect_err("no such store");
    assert_eq!(error.to_string(), "there is no store `weather`");
    Ok(())
}

#[tokio::test]
async fn every_kind_of_wrong_answer_is_told() -> anyhow::Result<()> {
    let truth = small_truth()?;
    let instances = start(1, &truth, |store, key, truth| match key {
        "2013-01-01" => (StatusCode::OK, json!({"scheduled": 1})),
        "2014-01-01" => (StatusCode::OK, json!(null)),
        "JFK-LAX" => not_found(),
        "UA" => (StatusCode::SERVICE_UNAVAILABLE, json!({"code": "StoreRestoring", "detail": "wait"})),
        "AA" => (StatusCode::INTERNAL_SERVER_ERROR, json!("oops")),
        "XX" => (StatusCode::NOT_FOUND, json!({"code": "UnknownStore", "detail": "no such store"})),
        _ => truthful(store, key, truth),
    })
    .await?;
    let mut all = urls(&instances);
    all.push("http://127.0.0.1:9".into());
    let report = check(&all, &truth, None).await?;
    let nobody = truth.keys() + ABSENT.len();
    assert_eq!(report.wrong, nobody + 6, "{report}");
    assert_eq!(report.differences.len(), SHOWN);
    assert!(!report.is_right());

    let report = check(&all[..1], &truth, None).await?;
    let text = report.to_string();
    for part in [
        "6 differ",
        "flights-per-day `2013-01-01`",
        r#"got      "2013-01-01" = {"scheduled":1}, from a"#,
        "got      404 NotFound: the key is not in the store",
        "got      503 StoreRestoring: wait",
        "got      500 : \"oops\"",
        "expected 404 NotFound\n  got      404 UnknownStore",
    ] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    Ok(())
}

#[tokio::test]
async fn waiting_ends_when_the_answers_are_right() -> anyhow::Result<()> {
    let truth = small_truth()?;
    let early = AtomicUsize::new(0);
    let instances = start(1, &truth, move |store, key, truth| {
        if early.fetch_add(1, Ordering::Relaxed) < 2 * IN_FLIGHT { not_found() } else { truthful(store, key, truth) }
    })
    .await?;
    let mut seen = Vec::new();
    wait_until_right(&instances[0].url, &truth, None, Duration::from_secs(20), |right, total| {
        seen.push((right, total));
    })
    .await?;
    let total = truth.keys() + ABSENT.len();
    assert_eq!((seen.first(), seen.last()), (Some(&(0, total)), Some(&(total, total))));
    assert!(seen.is_sorted(), "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn waiting_ends_when_nothing_changes() -> anyhow::Result<()> {
    let truth = small_truth()?;
    let instances = start(1, &truth, |store, key, truth| match key {
        "JFK-LAX" => not_found(),
        _ => truthful(store, key, truth),
    })
    .await?;
    let error = wait_until_right(&instances[0].url, &truth, None, Duration::from_millis(200), |_, _| ())
        .await
        .expect_err("a key stays wrong");
    assert!(error.to_string().contains("flights-by-route `JFK-LAX`"), "{error}");
    Ok(())
}
