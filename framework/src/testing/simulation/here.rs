//! The simulation that runs on this thread, for what has its turn in it.

use std::{cell::RefCell, fmt, rc::Rc, time::Duration};

use super::{
    life::Life,
    routine::{pause_until, unwind},
    scheduler::Scheduler,
};

thread_local! {
    /// The simulation that runs on this thread.
    static CURRENT: RefCell<Option<Rc<Scheduler>>> = const { RefCell::new(None) };
}

/// Makes this the simulation of this thread.
pub(super) fn begin(scheduler: &Rc<Scheduler>) {
    CURRENT.with(|current| *current.borrow_mut() = Some(Rc::clone(scheduler)));
}

/// Nothing runs on this thread any more.
pub(super) fn end() {
    CURRENT.with(|current| current.borrow_mut().take());
}

/// The simulation that runs on this thread.
pub(super) fn current() -> Rc<Scheduler> {
    let current = CURRENT.with(|current| current.borrow().clone());
    current.expect("what a simulation is made of is used while it runs, on its thread")
}

/// Whoever has its turn says something.
pub(super) fn told(what: impl fmt::Display) {
    if let Some(scheduler) = CURRENT.with(|current| current.borrow().clone()) {
        scheduler.tell(what);
    }
}

/// Lets time pass for a loop of this life; others have their turns meanwhile.
pub(super) fn sleep(life: &Life, time: Duration) {
    if std::thread::panicking() {
        return;
    }
    let scheduler = current();
    breathe(life, &scheduler);
    pause_until(scheduler.now() + time);
    breathe(life, &scheduler);
}

/// A call is made; it ends here if the instance is dead, or if nothing is to go on.
pub(super) fn breathe(life: &Life, scheduler: &Scheduler) {
    if (life.is_dead() || scheduler.is_violated()) && !std::thread::panicking() {
        life.die();
        unwind();
    }
}
