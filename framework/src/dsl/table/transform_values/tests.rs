use std::{error::Error, time::Duration};

use crate::{
    Topology,
    dsl::StoreBuilder,
    processor::{KeyValueStore, ProcessorResult, PunctuationId, PunctuationKind, TransformContext, ValueTransformer},
    serde::Serdes,
    testing::{TestTopic, TopologyTestDriver},
};

type Text = Serdes<String, String>;

/// Says how often a row was changed since the last minute began; ends counting after three of them.
struct PerMinute {
    changes: KeyValueStore<String, i64>,
    minutes: u32,
}

impl ValueTransformer<String, String> for PerMinute {
    type Value = String;

    fn init(&mut self, ctx: &mut TransformContext<'_>) -> ProcessorResult {
        assert_eq!(ctx.origin(), None);
        ctx.schedule(PunctuationKind::WallClock, Duration::from_secs(60));
        Ok(())
    }

    fn transform(
        &mut self,
        ctx: &mut TransformContext<'_>,
        key: &String,
        value: Option<&String>,
    ) -> Result<Option<String>, Box<dyn Error + Send + Sync>> {
        let offset = ctx.origin().map(|origin| origin.offset);
        let changes = self.changes.get(ctx, key)?.unwrap_or(0) + 1;
        self.changes.put(ctx, key, &changes, 7)?;
        Ok(value.map(|value| format!("{value} {changes} {offset:?}")))
    }

    fn punctuate(
        &mut self,
        ctx: &mut TransformContext<'_>,
        punctuation: PunctuationId,
        now_ms: i64,
    ) -> ProcessorResult {
        self.minutes += 1;
        assert_eq!(now_ms, i64::from(self.minutes) * 60_000);
        for (key, _, timestamp_ms) in self.changes.all(ctx, 100)? {
            self.changes.delete(ctx, &key, timestamp_ms)?;
        }
        if self.minutes == 3 {
            ctx.cancel(punctuation);
        }
        Ok(())
    }
}

#[test]
fn transformers_are_called_for_their_punctuations() {
    let topology = Topology::builder("test");
    let changes = topology.add_store(StoreBuilder::key_value("changes", Serdes::default()));
    let table = topology.table("in", Text::default());
    let transformed = table.transform_values(changes, |changes| PerMinute { changes, minutes: 0 });
    transformed.to_stream().to("out");
    let mut driver = TopologyTestDriver::new(&topology.build().expect("a correct topology")).expect("state in memory");
    let input = TestTopic::<String, String>::new("in", Serdes::default());
    let mut seen = Vec::new();
    for _ in 0..5 {
        for value in ["x", "y"] {
            driver.pipe(&input, &"a".to_owned(), &value.to_owned(), 0).expect("processed");
        }
        driver.advance_wall_clock(Duration::from_secs(60)).expect("called");
        seen.extend(driver.read(&TestTopic::<String, String>::new("out", Serdes::default())).expect("text"));
    }
    let seen: Vec<_> = seen.into_iter().map(|record| record.value).collect();
    let expected = [
        "x 1 Some(0)",
        "y 2 Some(1)",
        "x 1 Some(2)",
        "y 2 Some(3)",
        "x 1 Some(4)",
        "y 2 Some(5)",
        "x 1 Some(6)",
        "y 2 Some(7)",
        "x 3 Some(8)",
        "y 4 Some(9)",
    ];
    assert_eq!(seen, expected);
}
