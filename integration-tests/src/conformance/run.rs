//! Replays many files.

use std::{
    any::Any,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};

use millpond::Topology;

use super::{
    decisions,
    folder::Files,
    report::{Failure, Report, Verdict},
    vectors::{Difference, Dropped, Vector},
};
use crate::topologies;

/// Replays files, each against the topology it is of, on all processors.
#[must_use]
pub fn run(files: &Files, dropped: Dropped) -> Report {
    let waiting = Mutex::new(files.iter());
    let verdicts = Mutex::new(Vec::with_capacity(files.len()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZeroUsize::get) {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("nothing panics with it").next();
                    let Some((name, files)) = next else { break };
                    let verdict = verdict(name, files, dropped);
                    verdicts.lock().expect("nothing panics with it").push(verdict);
                }
            });
        }
    });
    let mut topologies = verdicts.into_inner().expect("nothing panics with it");
    topologies.sort_by(|a, b| a.topology.cmp(&b.topology));
    Report { topologies }
}

fn verdict(name: &str, files: &[PathBuf], dropped: Dropped) -> Verdict {
    let topology = topology(name);
    let (mut steps, mut failures) = (0, Vec::new());
    for path in files {
        let replayed = match &topology {
            Ok(topology) => replay(name, topology, path, dropped, &mut steps),
            Err(reason) => Err(Difference::Unusable(reason.clone())),
        };
        if let Err(difference) = replayed {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            failures.push(Failure { file, difference });
        }
    }
    let decision = decisions::all().get(name).copied();
    Verdict { topology: name.to_owned(), files: files.len(), steps, failures, decision }
}

fn topology(name: &str) -> Result<Topology, String> {
    let case = topologies::all().find(|case| case.name == name);
    let case = case.ok_or_else(|| format!("there is no topology named {name} in integration-tests/src/topologies"))?;
    let built = catch_unwind(|| case.topology()).map_err(|panic| panicked(&*panic))?;
    built.map_err(|error| error.to_string())
}

/// Replays a file. One that makes the topology panic does not keep the others from being replayed.
fn replay(name: &str, topology: &Topology, path: &Path, dropped: Dropped, steps: &mut usize) -> Result<(), Difference> {
    let vector = Vector::read(path)?;
    if vector.topology() != name {
        return Err(Difference::Unusable(format!("it is of the topology {}, not of {name}", vector.topology())));
    }
    *steps += vector.steps();
    catch_unwind(AssertUnwindSafe(|| vector.replay(topology, dropped)))
        .unwrap_or_else(|panic| Err(Difference::Unusable(panicked(&*panic))))
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it panics: {}", text.unwrap_or("for no reason"))
}
