//! Dashboards and alerts use only metrics that running instances expose.

use std::{collections::BTreeSet, net::TcpListener, sync::Arc, time::Duration};

use anyhow::ensure;
use integration_tests::{checkout, dashboards::metrics_used, service::until};
use millpond::{
    App, Config, Serdes, Topology,
    log::{Append, Headers, Log, NewTopic, embedded::EmbeddedLog},
};

/// The names of all metrics in Prometheus' text format.
fn exposed(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|rest| rest.split(' ').next())
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_of_a_dashboard_is_exposed() -> anyhow::Result<()> {
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::new());
    let topic: Arc<str> = "words".into();
    log.admin()?.create_topics(&[NewTopic {
        name: topic.to_string(),
        partitions: 1,
        replication_factor: None,
        config: [].into(),
    }])?;
    let mut producer = log.producer()?;
    // A count leaves out the null, which makes the metric of dropped records appear.
    for (value, timestamp_ms) in [(Some(&b"\"a\""[..]), 1), (None, 2)] {
        let (key, headers) = (Some(&b"k"[..]), &Headers::default());
        producer.append(Append { topic: &topic, partition: 0, key, value, timestamp_ms, headers })?;
    }
    producer.flush(Duration::from_secs(5))?;

    let topology = Topology::builder("dashboards");
    let words = topology.stream(&*topic, Serdes::<String, Option<String>>::json());
    words.group_by_key().count().materialized("counts").queryable();
    let topology = topology.build()?;
    let folder = tempfile::tempdir()?;
    let start = async |id: &str| {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = Config {
            instance_id: id.into(),
            http: ([127, 0, 0, 1], port).into(),
            state_dir: folder.path().join(id),
            threads: 1,
            ..Config::default()
        };
        anyhow::Ok(App::new(topology.clone(), config).with_log(Arc::clone(&log)).start().await?)
    };
    // One processes, the other follows.
    let (a, b) = (start("a").await?, start("b").await?);
    let url = a.url().to_owned();
    until("the count is visible", Duration::from_secs(30), async || {
        Ok(reqwest::get(format!("{url}/stores/counts/keys/k")).await?.status().is_success())
    })
    .await?;
    let mut missing = BTreeSet::new();
    until("all metrics have samples", Duration::from_secs(10), async || {
        let mut text = String::new();
        for instance in [&a, &b] {
            text += &reqwest::get(format!("{}/metrics", instance.url())).await?.text().await?;
        }
        let exposed = exposed(&text);
        let used = metrics_used(&checkout::root())?;
        ensure!(used.len() > 10, "found only {used:?}");
        missing = used.difference(&exposed).cloned().collect();
        Ok(missing.is_empty())
    })
    .await
    .map_err(|error| error.context(format!("used but not exposed: {missing:?}")))?;
    b.stop().await?;
    a.stop().await?;
    Ok(())
}
