//! Stores in memory through a restart: what has a changelog is found again.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use integration_tests::{
    in_process::{PATIENCE, Place, Text},
    service::until,
};
use millpond::{
    App, Serdes, Topology,
    dsl::StoreBuilder,
    log::embedded::EmbeddedLog,
    processor::{
        GlobalRows, KeyValueStore, LruMap, PlainKeyValueStore, PlainWindowStore, Processor, ProcessorContext,
        ProcessorResult, Record, SessionStore, WindowStore,
    },
};

/// Adds each record to a store of every kind, and passes on what they have then.
struct Everything {
    values: KeyValueStore<String, String>,
    plain: PlainKeyValueStore<String, i64>,
    windows: WindowStore<String, String>,
    plain_windows: PlainWindowStore<String, String>,
    sessions: SessionStore<String, String>,
    recent: LruMap<String, String>,
    forgotten: PlainKeyValueStore<String, i64>,
    names: GlobalRows<String, String>,
}

type Context<'a> = ProcessorContext<'a, String, String>;

fn topology() -> anyhow::Result<Topology> {
    let topology = Topology::builder("memory");
    let serdes = Serdes::<String, String>::default;
    let minute = Duration::from_secs(60);
    let values = topology.add_store(StoreBuilder::key_value("values", serdes()).in_memory().queryable());
    let plain = topology.add_store(StoreBuilder::plain_key_value("plain", Serdes::default()).in_memory());
    let windows = topology.add_store(StoreBuilder::window("windows", serdes(), minute).in_memory());
    let plain_windows = topology.add_store(StoreBuilder::plain_window("plain-windows", serdes(), minute).in_memory());
    let sessions = topology.add_store(StoreBuilder::session("sessions", serdes(), minute).in_memory());
    let recent = topology.add_store(StoreBuilder::lru_map("recent", serdes(), 2));
    let forgotten = StoreBuilder::plain_key_value("forgotten", Serdes::default()).in_memory().without_changelog();
    let forgotten = topology.add_store(forgotten);
    let names = topology.global_table("names", serdes()).materialized("names").in_memory().store();
    let stream = topology.stream("in", serdes());
    let stores = ((values, plain, windows, plain_windows), (sessions, recent, forgotten), names);
    let everything = stream.process(stores, |(first, second, names)| {
        let ((values, plain, windows, plain_windows), (sessions, recent, forgotten)) = (first, second);
        Everything { values, plain, windows, plain_windows, sessions, recent, forgotten, names }
    });
    everything.to("out");
    stream.group_by_key().count().materialized("counts").in_memory().queryable();
    Ok(topology.build()?)
}

// === impl Everything ===

impl Processor<String, String> for Everything {
    type Key = String;
    type Value = String;

    fn process(&mut self, ctx: &mut Context<'_>, record: Record<String, String>) -> ProcessorResult {
        let Record { key, value, timestamp_ms: at, .. } = &record;
        let values = self.values.get(ctx, key)?.unwrap_or_default() + value;
        self.values.put(ctx, key, &values, *at)?;
        let plain = self.plain.get(ctx, key)?.unwrap_or(0) + 1;
        self.plain.put(ctx, key, &plain)?;
        self.windows.put(ctx, key, *at, value, *at)?;
        self.plain_windows.put(ctx, key, *at, value)?;
        self.sessions.put(ctx, key, *at, *at + 5, value)?;
        self.recent.put(ctx, value, value)?;
        let forgotten = self.forgotten.get(ctx, key)?.unwrap_or(0) + 1;
        self.forgotten.put(ctx, key, &forgotten)?;

        let windows: String = self.windows.fetch(ctx, key, .., 9)?.into_iter().map(|(_, value, _)| value).collect();
        let plain_windows = self.plain_windows.reverse_fetch(ctx, key, .., 9)?;
        let plain_windows: String = plain_windows.into_iter().map(|(_, value)| value).collect();
        let sessions: String = self.sessions.fetch(ctx, key, 9)?.into_iter().map(|(_, _, value)| value).collect();
        let mut recent = String::new();
        for used in ["a", "b", "c", "d"] {
            recent += &self.recent.get(ctx, &used.to_owned())?.unwrap_or_default();
        }
        let name = self.names.get(ctx, key)?.unwrap_or_default();
        let all = format!("{values} {plain} {windows} {plain_windows} {sessions} {recent} {forgotten} {name}");
        Ok(ctx.forward(record.with_value(all))?)
    }
}

fn values(records: &[Text]) -> Vec<&str> {
    records.iter().map(Text::value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_in_memory_are_restored_at_each_start() -> anyhow::Result<()> {
    let place = Place::new(Arc::new(EmbeddedLog::new()), &[("in", &[]), ("out", &[]), ("names", &[])])?;
    place.append("names", [("k", "K", 0)])?;
    let instance = place.start(App::new(topology()?, place.config())).await?;
    place.append("in", [("k", "a", 1_000), ("k", "b", 2_000), ("k", "c", 70_000)])?;
    let out = place.committed("out", 3).await?;
    // Of windows and sessions, a minute can be read; of the bounded map two entries.
    ensure!(values(&out) == ["a 1 a a a a 1 K", "ab 2 ab ba ab ab 2 K", "abc 3 c c c bc 3 K"], "{out:?}");
    instance.stop().await?;
    let tasks = place.config().state_dir.join("memory/tasks/0_0/rocksdb");
    ensure!(!tasks.exists(), "nothing is on disk, but {} is", tasks.display());

    place.append("names", [("k", "Kay", 0)])?;
    let instance = place.start(App::new(topology()?, place.config())).await?;
    let read = async |path: &str| anyhow::Ok(place.get(path).await?.1);
    let restored = async || anyhow::Ok(read("/stores/values/keys/k").await?.contains("\"value\":\"abc\""));
    until("the values are restored", PATIENCE, restored).await?;
    ensure!(read("/stores/counts/keys/k").await?.contains("\"value\":3"));
    let counted = async || anyhow::Ok(place.memory_bytes("in_memory").await.is_ok_and(|bytes| bytes > 500));
    until("their memory is counted", PATIENCE, counted).await?;
    place.append("in", [("k", "d", 71_000)])?;
    let out = place.committed("out", 4).await?;
    ensure!(out[3].value() == "abcd 4 cd dc cd cd 1 Kay", "{:?}", out[3]);
    Ok(instance.stop().await?)
}
