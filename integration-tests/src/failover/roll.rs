//! A rolling restart under questions: none may fail, and no state may be read from the beginning of a changelog.

use std::time::Duration;

use anyhow::ensure;
use millpond::query::Consistency;

use super::{
    Bars, Options,
    bed::{Bed, NOW_AND_THEN, Scale},
    gaps,
    readers::{Readers, keys},
    restored::Restored,
    service::Service,
};
use crate::{
    faults::{fleet::PATIENCE, plan::name},
    ledger::PARTITIONS,
};

/// Questions per second that only the owner may answer, and that a standby may.
const READS: (u32, u32) = (750, 250);
/// Transfers per second.
const RATE: u64 = 400;
/// So long after it was told to stop an instance is still asked: readiness and endpoints take their time.
const LAG: Duration = Duration::from_millis(300);
/// Before the first and after the last.
const PAUSE: Duration = Duration::from_secs(2);

/// Restarts so many of the three, one after the other, as often as asked for.
///
/// # Errors
/// When something was lost, done twice or answered wrongly, or took much too long.
pub async fn roll(options: &Options, instances: usize, bars: &mut Bars) -> anyhow::Result<()> {
    let scale = Scale { instances: 3, at_first: 3, partitions: PARTITIONS, rate: RATE, asking: NOW_AND_THEN };
    let mut bed = Bed::start(scale, options).await?;
    let (keys, service) = (keys(&bed.topics), Service::of(&bed.fleet.urls()));
    let active = Readers::start(&service, &keys, READS.0, Consistency::Active, bed.clock)?;
    let any = Readers::start(&service, &keys, READS.1, Consistency::Any, bed.clock)?;
    bed.pass(PAUSE).await?;
    let mut restored = Restored::count(&bed).await?;
    let began = bed.now();
    let (mut stops, mut starts) = (Vec::new(), Vec::new());
    for _ in 0..options.times {
        for number in 0..instances.min(bed.fleet.instances.len()) {
            restored.look(&bed, number).await?;
            let (url, told) = (bed.fleet.instances[number].url(), bed.now());
            service.remove_after(LAG, url.clone());
            bed.fleet.stop(number).await?;
            let (stopped, started) = (bed.now() - told, bed.now());
            restored.is_down(&bed, number)?;
            bed.fleet.start(number, None)?;
            bed.fleet.instances[number].ready(PATIENCE).await?;
            service.add(&url);
            let ready = bed.now() - started;
            bars.note(&format!(
                "{:.1} s: {} stopped in {:.2} s and was ready after {:.2} s",
                (told - began).as_secs_f64(),
                name(number),
                stopped.as_secs_f64(),
                ready.as_secs_f64()
            ));
            stops.push(stopped);
            starts.push(ready);
        }
    }
    let end = bed.now();
    bed.settled().await?;
    bed.pass(PAUSE).await?;
    let (active, any) = (active.stop().await?, any.stop().await?);
    for number in 0..bed.fleet.instances.len() {
        restored.look(&bed, number).await?;
    }
    let pauses = bed.watch.look(|books| {
        let arrivals = books.page().arrivals.values();
        arrivals.map(|times| gaps::longest(times, began..end)).collect::<Vec<_>>()
    });
    ensure!(bed.fleet.ended.is_empty(), "instances ended by themselves: {:?}", bed.fleet.ended);
    let (checked, transfers) = bed.finish().await?;
    bars.times("SIGTERM to the end", &stops, None);
    bars.times("start to ready", &starts, None);
    bars.times("tasks: longest time without outputs", &pauses, None);
    bars.note(&format!("only the owner may answer: {}", active.show(began)));
    bars.note(&format!("a standby may answer: {}", any.show(began)));
    bars.count("failed reads", active.failures() + any.failures(), 0);
    bars.note(&restored.show());
    bars.count("records restored from the beginning of a changelog", restored.anew(), 0);
    bars.note(&format!(
        "{transfers} transfers, nothing lost, nothing twice; {} answers right, {} of them by standbys",
        checked.answers, checked.of_standbys
    ));
    Ok(())
}
