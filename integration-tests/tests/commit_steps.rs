//! A fault at every step of the commit, in one process on the embedded log: whatever fails where and however, nothing is lost, and with
//! exactly once nothing is done twice.
//!
//! One instance for each way to fail: the steps come one after the other, and all checks after each.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use integration_tests::ledger::bed::Bed;
use millpond::{
    config::Guarantee::{self, AtLeastOnce, ExactlyOnce},
    log::LogError,
    testing::{
        Failpoint, Fault,
        Moment::{self, After, Before},
        Step,
    },
};

/// How long the call takes that a fault happens at: some commit intervals, in which more transfers come.
const STALL: Duration = Duration::from_millis(150);
/// Lives that end in a crash, one after the other on the same disk.
const LIVES: usize = 2;

/// The ways to fail, but for crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Unavailable,
    Timeout,
    Abortable,
    Fenced,
    Fatal,
    /// Not a failure: the call takes long.
    Stall,
}

// === The steps ===

/// The steps of a commit, in its order.
fn steps(guarantee: Guarantee) -> Vec<Step> {
    match guarantee {
        ExactlyOnce => vec![
            Step::Begin,
            Step::AppendOutput,
            Step::AppendChangelog,
            Step::Flush,
            Step::SendOffsets,
            Step::Commit,
            Step::Read,
        ],
        AtLeastOnce => {
            vec![Step::AppendOutput, Step::AppendChangelog, Step::Flush, Step::CommitOffsets, Step::Read]
        }
    }
}

fn moments(step: Step) -> &'static [Moment] {
    if step == Step::Read { &[After] } else { &[Before, After] }
}

/// Steps that a commit has many of are failed at in their midst.
fn place(step: Step, moment: Moment) -> Failpoint {
    let nth = if matches!(step, Step::AppendOutput | Step::AppendChangelog) { 7 } else { 1 };
    Failpoint { step, moment, nth }
}

/// Whether the port's contract lets the call fail like this.
fn may_fail(guarantee: Guarantee, step: Step, moment: Moment, failure: Failure) -> bool {
    match failure {
        Failure::Stall => true,
        // Says that it was not committed.
        Failure::Abortable => {
            guarantee == ExactlyOnce
                && step != Step::Begin
                && (step, moment) != (Step::Commit, After)
                && step != Step::Read
        }
        // Between two transactions nothing waits for the log.
        Failure::Unavailable | Failure::Timeout => step != Step::Begin,
        Failure::Fenced => step != Step::Read && (guarantee == ExactlyOnce || step == Step::CommitOffsets),
        Failure::Fatal => true,
    }
}

// === impl Failure ===

impl Failure {
    fn fault(self) -> Fault {
        let (what, reason) = ("a call".to_owned(), "on purpose".to_owned());
        let error = match self {
            Self::Unavailable => LogError::Unavailable { what, reason },
            Self::Timeout => LogError::Timeout { what, after: STALL },
            Self::Abortable => LogError::Abortable { reason },
            Self::Fenced => LogError::Fenced { reason },
            Self::Fatal => LogError::Fatal { reason },
            Self::Stall => return Fault::Stall(STALL),
        };
        // Late, so that the worker is in the next interval when it hears of it.
        Fault::StallAndFail(STALL, error)
    }
}

// === The tests ===

/// Lets the failure happen at every step that may fail so.
async fn fail_everywhere(guarantee: Guarantee, failure: Failure) -> anyhow::Result<()> {
    let mut bed = Bed::new(guarantee).await?;
    for step in steps(guarantee) {
        for &moment in moments(step) {
            if may_fail(guarantee, step, moment, failure) {
                let at = place(step, moment);
                bed.fault(at, failure.fault()).await.with_context(|| format!("{guarantee:?}: {failure:?} at {at}"))?;
            }
        }
    }
    bed.stop().await
}

/// Lets the instance die at every step. A new life takes some seconds, so several beds have a part of the steps each.
async fn crash_everywhere(guarantee: Guarantee) -> anyhow::Result<()> {
    let steps = steps(guarantee).into_iter();
    let places: Vec<(Step, Moment)> =
        steps.flat_map(|step| moments(step).iter().map(move |moment| (step, *moment))).collect();
    let mut beds = tokio::task::JoinSet::new();
    for places in places.chunks(LIVES).map(<[_]>::to_vec) {
        let play = async move || {
            let mut bed = Bed::new(guarantee).await?;
            for (step, moment) in places {
                let at = place(step, moment);
                bed.fault(at, Fault::Crash).await.with_context(|| format!("{guarantee:?}: a crash at {at}"))?;
            }
            bed.stop().await
        };
        let runtime = tokio::runtime::Handle::current();
        beds.spawn_blocking(move || runtime.block_on(play()));
    }
    while let Some(bed) = beds.join_next().await {
        bed??;
    }
    Ok(())
}

/// While the group has a newer generation that the cluster has not confirmed, commits wait: nothing is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_waits_for_the_group() -> anyhow::Result<()> {
    let mut bed = Bed::new(ExactlyOnce).await?;
    let at = Failpoint { step: Step::GroupMetadata, moment: Before, nth: 1 };
    for _ in 0..3 {
        bed.fault(at, Fault::Fail(LogError::Fenced { reason: "a newer generation".into() })).await?;
    }
    let metrics = reqwest::get(format!("{}/metrics", bed.url())).await?.text().await?;
    let given_up = |line: &&str| line.starts_with("millpond_commits_total") && !line.contains("outcome=\"ok\"");
    let given_up: Vec<&str> = metrics.lines().filter(given_up).collect();
    ensure!(metrics.contains("millpond_commits_total"), "no commits are counted");
    ensure!(given_up.is_empty(), "{given_up:?}");
    bed.stop().await
}

macro_rules! at_every_step {
    ($($name:ident: $run:expr;)*) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() -> anyhow::Result<()> {
            $run.await
        }
    )* };
}

at_every_step! {
    a_crash_exactly_once: crash_everywhere(ExactlyOnce);
    a_crash_at_least_once: crash_everywhere(AtLeastOnce);
    the_log_is_away_exactly_once: fail_everywhere(ExactlyOnce, Failure::Unavailable);
    the_log_is_away_at_least_once: fail_everywhere(AtLeastOnce, Failure::Unavailable);
    a_timeout_exactly_once: fail_everywhere(ExactlyOnce, Failure::Timeout);
    a_timeout_at_least_once: fail_everywhere(AtLeastOnce, Failure::Timeout);
    an_abort_exactly_once: fail_everywhere(ExactlyOnce, Failure::Abortable);
    fenced_exactly_once: fail_everywhere(ExactlyOnce, Failure::Fenced);
    fenced_at_least_once: fail_everywhere(AtLeastOnce, Failure::Fenced);
    a_client_that_failed_for_good_exactly_once: fail_everywhere(ExactlyOnce, Failure::Fatal);
    a_client_that_failed_for_good_at_least_once: fail_everywhere(AtLeastOnce, Failure::Fatal);
    a_call_that_takes_long_exactly_once: fail_everywhere(ExactlyOnce, Failure::Stall);
    a_call_that_takes_long_at_least_once: fail_everywhere(AtLeastOnce, Failure::Stall);
}
