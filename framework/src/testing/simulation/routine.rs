//! A loop on a stack of its own, so that it can be put aside wherever it waits.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::Duration,
};

use generator::{Generator, Gn, co_yield_with};

use super::life::Life;
use crate::runtime::{MakeTurns, Turns};

/// A loop that can be put aside.
pub(super) struct Routine(Generator<'static, (), Paused>);

/// What a loop is made of.
pub(super) enum Making {
    /// By what makes it, in its first turn.
    By(MakeTurns),
    Made(Box<dyn Turns>),
}

/// Why a loop is put aside.
#[derive(Debug)]
pub(super) enum Paused {
    /// Its turn is over.
    Turn,
    /// In the middle of a turn it waits until then.
    Until(Duration),
    /// That was the last turn.
    Ended,
    /// It panicked.
    Panicked(String),
}

/// With what the loops of a dead instance are unwound.
struct Killed;

/// How large a stack is, in words of eight bytes. Pages that nothing uses take no memory.
const STACK_WORDS: usize = 128 << 10;

// === impl Routine ===

impl Routine {
    /// A loop of this life that has not begun. It asks for what it is made of when it does: that need not go from thread to thread.
    pub(super) fn new(life: Arc<Life>, making: impl FnOnce() -> Option<Making> + Send + 'static) -> Self {
        let mut generator = Gn::new_opt(STACK_WORDS, move || {
            let turns = || {
                let mut turns = match making()? {
                    Making::Made(turns) => turns,
                    Making::By(make) => make()?,
                };
                while turns.turn(Duration::ZERO) {
                    co_yield_with(Paused::Turn);
                    if life.is_dead() {
                        return None;
                    }
                }
                turns.end();
                None
            };
            let panicked: Option<Box<dyn Any + Send>> = catch_unwind(AssertUnwindSafe(turns)).unwrap_or_else(Some);
            match panicked {
                Some(payload) if !payload.is::<Killed>() => Paused::Panicked(message_of(&*payload)),
                _ => Paused::Ended,
            }
        });
        // Any pointer at all: only a generator that has one can be put aside from inside of its calls.
        generator.set_local_data(std::ptr::dangling_mut());
        Self(generator)
    }

    /// Goes on with the loop until it is put aside.
    pub(super) fn go_on(&mut self) -> Paused {
        self.0.resume().unwrap_or(Paused::Ended)
    }
}

/// Puts the loop that has its turn aside until then.
pub(super) fn pause_until(time: Duration) {
    co_yield_with(Paused::Until(time));
}

/// Ends the loop that has its turn.
pub(super) fn unwind() -> ! {
    resume_unwind(Box::new(Killed))
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
