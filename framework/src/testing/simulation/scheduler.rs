//! Who has the next turn: all loops of all instances on one thread, at a time that passes only here.
//!
//! A loop that has to wait (for a slow call, for what another loop sends) sleeps, and while it sleeps the others have their turns, from
//! inside of its call. So a call may take as long as it likes and anything may happen meanwhile; what sleeps goes on when its time has come
//! and those that began to sleep after it are done.
//!
//! A crash takes the loops of an instance away as they are. One of them that sleeps is unwound when it goes on, and makes no call any more.

use std::{
    any::Any,
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    life::{Life, VirtualTime},
    rng::Rng,
    trace::Trace,
};
use crate::runtime::{MakeTurns, Thread, Threads, Turns};

thread_local! {
    /// The simulation that runs on this thread.
    static CURRENT: RefCell<Option<Rc<Scheduler>>> = const { RefCell::new(None) };
}

/// The loops of a simulation, and its time.
pub(super) struct Scheduler {
    pub(super) time: VirtualTime,
    state: RefCell<State>,
}

struct State {
    rng: Rng,
    actors: BTreeMap<u64, Actor>,
    /// When which loop has its next turn; of two at the same time chance decides.
    queue: BTreeSet<(Duration, u64, u64)>,
    actors_made: u64,
    /// Whose turn is going on, innermost last.
    stack: Vec<u64>,
    turns: u64,
    /// How much slower than usual the loops go.
    slowness: u64,
    trace: Trace,
    violation: Option<String>,
    watch: Option<Rc<dyn Fn()>>,
}

/// A loop.
struct Actor {
    life: Option<Arc<Life>>,
    kind: Kind,
    /// `None` while it has its turn.
    turns: Option<Box<dyn Turns>>,
    is_finished: Arc<AtomicBool>,
}

/// What a loop does, by which it has its turns more or less often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    World,
    Control,
    Worker,
    Commit,
    Other,
}

/// Runs the loops of one life.
#[derive(Debug)]
pub(super) struct LifeThreads(pub(super) Arc<Life>);

/// A loop, for who started it.
#[derive(Debug)]
struct Loop {
    life: Arc<Life>,
    actor: u64,
    is_finished: Arc<AtomicBool>,
}

/// How often to look whether what holds a loop up is over.
const HELD: Duration = Duration::from_millis(300);

/// With what the loops of a dead instance are unwound.
struct Killed;

// === impl Scheduler ===

impl Scheduler {
    /// Makes the simulation of this thread. It ends with [`Scheduler::end`].
    pub(super) fn begin(seed: u64, trace: Trace) -> Rc<Self> {
        let state = State {
            rng: Rng::new(seed),
            actors: BTreeMap::new(),
            queue: BTreeSet::new(),
            actors_made: 0,
            stack: Vec::new(),
            turns: 0,
            slowness: 1,
            trace,
            violation: None,
            watch: None,
        };
        let scheduler = Rc::new(Self { time: VirtualTime::default(), state: RefCell::new(state) });
        CURRENT.with(|current| *current.borrow_mut() = Some(Rc::clone(&scheduler)));
        scheduler
    }

    /// Ends the simulation: nothing runs any more.
    pub(super) fn end(&self) -> (Trace, Option<String>, u64) {
        self.state.borrow_mut().watch = None;
        let actors = std::mem::take(&mut self.state.borrow_mut().actors);
        for actor in actors.values() {
            actor.life.iter().for_each(|life| life.die());
        }
        drop(actors);
        CURRENT.with(|current| current.borrow_mut().take());
        let mut state = self.state.borrow_mut();
        (std::mem::take(&mut state.trace), state.violation.take(), state.turns)
    }

    /// Is called after every turn. It may look, and give no turns.
    pub(super) fn watch(&self, watch: Rc<dyn Fn()>) {
        self.state.borrow_mut().watch = Some(watch);
    }

    pub(super) fn now(&self) -> Duration {
        self.time.now()
    }

    pub(super) fn chance<T>(&self, of: impl FnOnce(&mut Rng) -> T) -> T {
        of(&mut self.state.borrow_mut().rng)
    }

    /// Lets the loops go so many times slower: they have less to do.
    pub(super) fn set_slowness(&self, slowness: u64) {
        self.state.borrow_mut().slowness = slowness;
    }

    /// Writes an event down.
    pub(super) fn note(&self, event: impl fmt::Display) {
        let now = self.now();
        self.state.borrow_mut().trace.note(now, event);
    }

    /// Something is wrong: nothing goes on.
    pub(super) fn violated(&self, what: impl fmt::Display) {
        self.note(format_args!("VIOLATION: {what}"));
        self.state.borrow_mut().violation.get_or_insert_with(|| what.to_string());
    }

    pub(super) fn is_violated(&self) -> bool {
        self.state.borrow().violation.is_some()
    }

    /// Adds a loop.
    pub(super) fn add(&self, life: Option<Arc<Life>>, kind: Kind, turns: Box<dyn Turns>) -> (u64, Arc<AtomicBool>) {
        let now = self.now();
        let mut state = self.state.borrow_mut();
        state.actors_made += 1;
        let (number, is_finished) = (state.actors_made, Arc::new(AtomicBool::new(false)));
        let actor = Actor { life, kind, turns: Some(turns), is_finished: Arc::clone(&is_finished) };
        state.actors.insert(number, actor);
        state.schedule(number, kind, now);
        (number, is_finished)
    }

    /// The instance crashes: its loops are no more.
    pub(super) fn kill(&self, life: &Arc<Life>) {
        life.die();
        let mut gone = Vec::new();
        {
            let mut state = self.state.borrow_mut();
            let is_gone = |actor: &Actor| actor.life.as_ref().is_some_and(|of| Arc::ptr_eq(of, life));
            let numbers: Vec<u64> =
                state.actors.iter().filter(|(_, actor)| is_gone(actor)).map(|(number, _)| *number).collect();
            for number in numbers {
                // One that has its turn is unwound.
                if !state.stack.contains(&number) {
                    gone.extend(state.actors.remove(&number));
                }
            }
        }
        // What they own looks at the time when it goes.
        gone.iter().for_each(|actor| actor.is_finished.store(true, Ordering::Relaxed));
        drop(gone);
    }

    /// Gives turns until then, or until something is wrong.
    pub(super) fn run_until(&self, until: Duration) {
        while !self.is_violated() && self.run_one(until) {}
        if !self.is_violated() {
            self.time.move_to(until);
        }
    }

    /// Gives a turn to the loop that is due first, if one is by then.
    fn run_one(&self, until: Duration) -> bool {
        let Some((number, mut turns, life, kind)) = self.take_due(until) else { return false };
        let goes_on = catch_unwind(AssertUnwindSafe(|| {
            let goes_on = turns.turn(Duration::ZERO);
            if !goes_on {
                turns.end();
                return None;
            }
            Some(turns)
        }));
        let is_dead = life.as_ref().is_some_and(|life| life.is_dead());
        let panicked = match &goes_on {
            Err(payload) if !payload.is::<Killed>() => Some(message_of(&**payload)),
            _ => None,
        };
        let left = goes_on.ok().flatten();
        let now = self.now();
        let mut state = self.state.borrow_mut();
        state.stack.pop();
        let dropped = match left {
            Some(turns) if !is_dead => {
                if let Some(actor) = state.actors.get_mut(&number) {
                    actor.turns = Some(turns);
                    state.schedule(number, kind, now);
                }
                None
            }
            left => {
                let actor = state.actors.remove(&number);
                actor.iter().for_each(|actor| actor.is_finished.store(true, Ordering::Relaxed));
                Some((left, actor))
            }
        };
        drop(state);
        drop(dropped);
        if let Some(message) = panicked {
            let name = life.map(|life| life.name.clone()).unwrap_or_default();
            self.violated(format_args!("{kind:?} of {name} panicked: {message}"));
        }
        self.look();
        true
    }

    /// Has everything looked at now, in the middle of a turn.
    pub(super) fn look(&self) {
        let watch = self.state.borrow().watch.clone();
        if let Some(watch) = watch.filter(|_| !self.is_violated()) {
            watch();
        }
    }

    fn take_due(&self, until: Duration) -> Option<(u64, Box<dyn Turns>, Option<Arc<Life>>, Kind)> {
        let mut state = self.state.borrow_mut();
        loop {
            let first = *state.queue.first().filter(|(at, ..)| *at <= until)?;
            state.queue.remove(&first);
            let (at, _, number) = first;
            self.time.move_to(at);
            let now = self.time.now();
            let Some(actor) = state.actors.get_mut(&number) else { continue };
            let kind = actor.kind;
            let held_until = actor.life.as_ref().map_or(Duration::ZERO, |life| match kind {
                Kind::Worker => life.paused.get().max(life.stuck.get()),
                _ => life.paused.get(),
            });
            if held_until > now {
                let tie = state.rng.next();
                // It may be well before.
                state.queue.insert((held_until.min(now + HELD), tie, number));
                continue;
            }
            let life = actor.life.clone();
            let Some(turns) = actor.turns.take() else { continue };
            state.turns += 1;
            state.trace.turn(now, number);
            state.stack.push(number);
            return Some((number, turns, life, kind));
        }
    }
}

// === impl State ===

impl State {
    fn schedule(&mut self, number: u64, kind: Kind, now: Duration) {
        let (least, most) = match kind {
            Kind::World => (20_000, 80_000),
            Kind::Control => (2_000, 60_000),
            Kind::Worker => (1_000, 50_000),
            Kind::Commit => (500, 30_000),
            Kind::Other => (1_000, 80_000),
        };
        let slowness = if kind == Kind::Commit { 1 } else { self.slowness };
        let wait = Duration::from_micros(self.rng.between(least, most) * slowness);
        let tie = self.rng.next();
        self.queue.insert((now + wait, tie, number));
    }
}

// === the simulation of this thread ===

/// The simulation that runs on this thread.
pub(super) fn current() -> Rc<Scheduler> {
    let current = CURRENT.with(|current| current.borrow().clone());
    current.expect("what a simulation is made of is used while it runs, on its thread")
}

/// Whoever has its turn says something.
pub(super) fn told(what: impl fmt::Display) {
    let Some(scheduler) = CURRENT.with(|current| current.borrow().clone()) else { return };
    let now = scheduler.now();
    let Ok(mut state) = scheduler.state.try_borrow_mut() else { return };
    let actor = state.stack.last().and_then(|number| state.actors.get(number));
    let life = actor.and_then(|actor| actor.life.clone());
    let name = life.map(|life| life.to_string()).unwrap_or_default();
    state.trace.tell(now, format_args!("  {name} {what}"));
}

/// Lets time pass for a loop of this life; others have their turns meanwhile.
pub(super) fn sleep(life: &Life, time: Duration) {
    if std::thread::panicking() {
        return;
    }
    let scheduler = current();
    let end = scheduler.now() + time;
    loop {
        breathe(life, &scheduler);
        let until = end.max(life.paused.get());
        if !scheduler.run_one(until) {
            if end.max(life.paused.get()) <= until {
                scheduler.time.move_to(until);
                break;
            }
        }
    }
    breathe(life, &scheduler);
}

/// A call is made; it ends here if the instance is dead, or if nothing is to go on.
pub(super) fn breathe(life: &Life, scheduler: &Scheduler) {
    if (life.is_dead() || scheduler.is_violated()) && !std::thread::panicking() {
        life.die();
        unwind();
    }
}

/// Ends the loop that has its turn.
pub(super) fn unwind() -> ! {
    resume_unwind(Box::new(Killed))
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

// === impl LifeThreads ===

impl Threads for LifeThreads {
    fn run(&self, name: String, make: MakeTurns) -> io::Result<Box<dyn Thread>> {
        let scheduler = current();
        let kind = match name.as_str() {
            name if name.contains("worker") => Kind::Worker,
            name if name.contains("commit") => Kind::Commit,
            _ => Kind::Other,
        };
        let (actor, is_finished) = match make() {
            Some(turns) => scheduler.add(Some(Arc::clone(&self.0)), kind, turns),
            None => (0, Arc::new(AtomicBool::new(true))),
        };
        Ok(Box::new(Loop { life: Arc::clone(&self.0), actor, is_finished }))
    }
}

// === impl Loop ===

impl Thread for Loop {
    fn is_finished(&self) -> bool {
        self.is_finished.load(Ordering::Relaxed)
    }

    fn join(self: Box<Self>) -> bool {
        // One that sleeps below this call would never go on: it is left behind.
        while !self.is_finished() && !current().state.borrow().stack.contains(&self.actor) {
            sleep(&self.life, Duration::from_millis(2));
        }
        true
    }
}
