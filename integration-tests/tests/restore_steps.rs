//! A crash at every step in which restored rows become tables on disk, in one process on the embedded log: the next life goes on from there, and
//! nothing is lost or counted twice.

use anyhow::Context as _;
use integration_tests::ledger::bed::Bed;
use millpond::{
    config::Guarantee::{self, AtLeastOnce, ExactlyOnce},
    testing::{Failpoint, Moment, Step},
};

const STEPS: [Step; 3] = [Step::WriteTable, Step::AddTable, Step::FlushTables];

/// Lets an instance that restores four tasks die at each step: of the first table, and when there are some.
async fn crash_everywhere(guarantee: Guarantee, moment: Moment) -> anyhow::Result<()> {
    let mut bed = Bed::new(guarantee).await?;
    bed.visit().await?;
    for (step, nth) in STEPS.into_iter().zip([4, 1, 3]) {
        let at = Failpoint { step, moment, nth };
        bed.crash_in_restore(at).await.with_context(|| format!("{guarantee:?}: a crash at {at} of a restore"))?;
    }
    bed.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_before_a_step_exactly_once() -> anyhow::Result<()> {
    crash_everywhere(ExactlyOnce, Moment::Before).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_after_a_step_exactly_once() -> anyhow::Result<()> {
    crash_everywhere(ExactlyOnce, Moment::After).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_after_a_step_at_least_once() -> anyhow::Result<()> {
    crash_everywhere(AtLeastOnce, Moment::After).await
}
