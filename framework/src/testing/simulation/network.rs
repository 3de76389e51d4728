//! What goes wrong on the way to the log, and that calls take their time.

use std::{fmt, sync::Arc, sync::atomic::Ordering, time::Duration};

use super::{here, life::Life, routine::unwind, scheduler::Scheduler};
use crate::log::LogError;

/// What is called. It says how likely it goes wrong, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// Records are fetched.
    Poll,
    /// The log is asked something, or a client is made.
    Ask,
    /// Records, offsets or an end of a transaction are sent.
    Send,
    /// A producer is initialised.
    Init,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// It takes long before it gets to the log, or its answer does.
    Slow(Duration, Duration),
    /// It does not get there.
    LostOnTheWay,
    /// Its answer does not come back.
    AnswerLost,
    /// The instance crashes before it or after it.
    CrashBefore,
    CrashAfter,
}

/// How long a call may take that has no timeout of its own.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// How long a waiting call lets pass between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(40);

/// Makes a call that may take so long, with what goes wrong with it.
pub(super) fn call<T>(
    life: &Arc<Life>,
    (call, what): (Call, &str),
    timeout: Duration,
    make: impl FnOnce() -> Result<T, LogError>,
) -> Result<T, LogError> {
    if std::thread::panicking() {
        return Err(LogError::Fatal { reason: "the instance is dead".into() });
    }
    let scheduler = here::current();
    here::breathe(life, &scheduler);
    let trouble = trouble(life, &scheduler, call);
    if trouble != Trouble::None {
        scheduler.note(format_args!("{life} {what}: {trouble:?}"));
    }
    let lost = || Err(LogError::Unavailable { what: what.to_owned(), reason: "a simulated fault".into() });
    match trouble {
        Trouble::None => make(),
        Trouble::Slow(before, after) => {
            let late = |time| {
                here::sleep(life, timeout.min(time));
                (time > timeout).then(|| LogError::Timeout { what: what.to_owned(), after: timeout })
            };
            if let Some(error) = late(before) {
                return Err(error);
            }
            let result = make()?;
            late(after).map_or(Ok(result), Err)
        }
        Trouble::LostOnTheWay => lost(),
        Trouble::AnswerLost => make().and_then(|_| lost()),
        Trouble::CrashBefore => crash(life, &scheduler),
        Trouble::CrashAfter => {
            let _ = make();
            crash(life, &scheduler)
        }
    }
}

/// Makes a call again and again until it does not time out any more, or its time is up.
pub(super) fn patiently<T>(
    life: &Arc<Life>,
    timeout: Duration,
    mut make: impl FnMut() -> Result<T, LogError>,
) -> Result<T, LogError> {
    let scheduler = here::current();
    let until = scheduler.now() + timeout;
    loop {
        match make() {
            Err(LogError::Timeout { .. }) if scheduler.now() < until => here::sleep(life, LOOK_AGAIN),
            result => return result,
        }
    }
}

/// Looks for something until it is there, or the time is up.
pub(super) fn wait_for<T>(
    life: &Arc<Life>,
    timeout: Duration,
    mut look: impl FnMut() -> Result<T, LogError>,
    is_there: impl Fn(&T) -> bool,
) -> Result<T, LogError> {
    let scheduler = here::current();
    let until = scheduler.now() + timeout;
    loop {
        let found = look()?;
        if is_there(&found) || scheduler.now() >= until {
            return Ok(found);
        }
        here::sleep(life, LOOK_AGAIN);
    }
}

fn crash<T>(life: &Arc<Life>, scheduler: &Scheduler) -> T {
    scheduler.note(format_args!("{life} crashes there"));
    life.die();
    unwind()
}

fn trouble(life: &Life, scheduler: &Scheduler, call: Call) -> Trouble {
    if call != Call::Poll && life.crashes_now() {
        return if scheduler.chance(|rng| rng.permille(500)) { Trouble::CrashBefore } else { Trouble::CrashAfter };
    }
    if !life.flaky.is_after(scheduler.now()) {
        return Trouble::None;
    }
    let permille = life.flaky_permille.load(Ordering::Relaxed);
    scheduler.chance(|rng| {
        // Who fetches looks into a queue, and waits no longer than it wants to.
        let likely = match call {
            Call::Poll => permille / 20,
            Call::Ask => permille / 4,
            Call::Send | Call::Init => permille,
        };
        if !rng.permille(likely) {
            return Trouble::None;
        }
        let time = |rng: &mut super::rng::Rng| {
            let most = if rng.permille(150) { 12_000 } else { 600 };
            Duration::from_millis(rng.between(1, most))
        };
        match if call == Call::Poll { 7 } else { rng.below(10) } {
            0..=4 => Trouble::Slow(time(rng), Duration::ZERO),
            5..=6 => Trouble::Slow(Duration::ZERO, time(rng)),
            7..=8 => Trouble::LostOnTheWay,
            _ => Trouble::AnswerLost,
        }
    })
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.number)
    }
}
