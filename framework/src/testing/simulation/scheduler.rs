//! Who has the next turn: all loops of all instances on one thread, at a time that passes only here.
//!
//! A loop that has to wait (for a slow call, for what another loop sends) is put aside where it is, and goes on when its time has come. So
//! a call may take as long as it likes, and anything may happen meanwhile.
//!
//! A crash takes the loops of an instance away: one that waits is unwound from there, and makes no call any more.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    here,
    life::{Life, VirtualTime},
    rng::Rng,
    routine::{Making, Paused, Routine},
    trace::Trace,
};

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
    /// What has its turns without ever waiting.
    fate: Option<Box<dyn FnMut()>>,
    /// Whose turn it is.
    current: Option<Arc<Life>>,
    turns: u64,
    /// How much slower than usual the loops go.
    slowness: u64,
    trace: Trace,
    violation: Option<String>,
    watch: Option<Rc<dyn Fn()>>,
}

/// A loop.
struct Actor {
    life: Arc<Life>,
    kind: Kind,
    is_waiting: bool,
    /// What it is made of, until it begins.
    making: Option<Making>,
    /// `None` while it goes on.
    routine: Option<Routine>,
    is_finished: Arc<AtomicBool>,
}

/// What a loop does, by which it has its turns more or less often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Control,
    Worker,
    Commit,
    Other,
}

/// Who is next.
enum Due {
    Fate(Box<dyn FnMut()>),
    Loop(u64, Routine),
}

/// How often to look whether what holds a loop up is over.
const HELD: Duration = Duration::from_millis(300);

/// The number of fate among the loops.
const FATE: u64 = 0;
/// How often it has its turn, in µs.
const FATES_TURNS: (u64, u64) = (20_000, 80_000);

// === impl Scheduler ===

impl Scheduler {
    /// Makes the simulation of this thread. It ends with [`Scheduler::end`].
    pub(super) fn begin(seed: u64, trace: Trace) -> Rc<Self> {
        let state = State {
            rng: Rng::new(seed),
            actors: BTreeMap::new(),
            queue: BTreeSet::new(),
            actors_made: 0,
            fate: None,
            current: None,
            turns: 0,
            slowness: 1,
            trace,
            violation: None,
            watch: None,
        };
        let scheduler = Rc::new(Self { time: VirtualTime::default(), state: RefCell::new(state) });
        here::begin(&scheduler);
        scheduler
    }

    /// Ends the simulation: nothing runs any more.
    pub(super) fn end(&self) -> (Trace, Option<String>, u64) {
        self.state.borrow_mut().watch = None;
        self.take_away(|_| true);
        here::end();
        let mut state = self.state.borrow_mut();
        state.fate = None;
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

    /// Writes down what whoever has its turn says. That is no event.
    pub(super) fn tell(&self, what: impl fmt::Display) {
        let now = self.now();
        let Ok(mut state) = self.state.try_borrow_mut() else { return };
        let name = state.current.as_ref().map(|life| life.to_string()).unwrap_or_default();
        state.trace.tell(now, format_args!("  {name} {what}"));
    }

    /// Something is wrong: nothing goes on.
    pub(super) fn violated(&self, what: impl fmt::Display) {
        self.note(format_args!("VIOLATION: {what}"));
        self.state.borrow_mut().violation.get_or_insert_with(|| what.to_string());
    }

    pub(super) fn is_violated(&self) -> bool {
        self.state.borrow().violation.is_some()
    }

    /// Has this called now and then from now on. It does not wait.
    pub(super) fn add_fate(&self, fate: Box<dyn FnMut()>) {
        self.state.borrow_mut().fate = Some(fate);
        self.schedule_fate();
    }

    /// Adds a loop; gives what says when it has ended.
    pub(super) fn add(&self, life: &Arc<Life>, kind: Kind, making: Making) -> Arc<AtomicBool> {
        let now = self.now();
        let mut state = self.state.borrow_mut();
        state.actors_made += 1;
        let (number, is_finished) = (state.actors_made, Arc::new(AtomicBool::new(false)));
        let making_of = move || here::current().state.borrow_mut().actors.get_mut(&number)?.making.take();
        let actor = Actor {
            life: Arc::clone(life),
            kind,
            is_waiting: false,
            making: Some(making),
            routine: Some(Routine::new(Arc::clone(life), making_of)),
            is_finished: Arc::clone(&is_finished),
        };
        state.actors.insert(number, actor);
        state.schedule(number, kind, now);
        is_finished
    }

    /// The instance crashes: its loops are no more. Nobody's turn it is but fate's.
    pub(super) fn kill(&self, life: &Arc<Life>) {
        life.die();
        self.take_away(|of| Arc::ptr_eq(of, life));
    }

    fn take_away(&self, is_gone: impl Fn(&Arc<Life>) -> bool) {
        let gone: Vec<Actor> = {
            let mut state = self.state.borrow_mut();
            let numbers: Vec<u64> =
                state.actors.iter().filter(|(_, actor)| is_gone(&actor.life)).map(|(number, _)| *number).collect();
            numbers.iter().filter_map(|number| state.actors.remove(number)).collect()
        };
        gone.iter().for_each(|actor| actor.life.die());
        for mut actor in gone {
            actor.is_finished.store(true, Ordering::Relaxed);
            // One that waits or is between two turns goes on from there to its end: what it owns goes on the stack that it was made on.
            if let (Some(routine), None) = (&mut actor.routine, &actor.making) {
                while !matches!(routine.go_on(), Paused::Ended | Paused::Panicked(_)) {}
            }
        }
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
        match self.take_due(until) {
            None => return false,
            Some(Due::Fate(mut fate)) => {
                fate();
                self.state.borrow_mut().fate = Some(fate);
                self.schedule_fate();
            }
            Some(Due::Loop(number, mut routine)) => {
                let paused = routine.go_on();
                self.put_aside(number, routine, paused);
            }
        }
        self.look();
        true
    }

    fn put_aside(&self, number: u64, routine: Routine, paused: Paused) {
        let now = self.now();
        let mut state = self.state.borrow_mut();
        state.current = None;
        let Some(actor) = state.actors.get_mut(&number) else { return };
        let kind = actor.kind;
        match paused {
            Paused::Turn | Paused::Until(_) => {
                actor.routine = Some(routine);
                actor.is_waiting = matches!(paused, Paused::Until(_));
                match paused {
                    Paused::Until(time) => state.schedule_at(number, time),
                    _ => state.schedule(number, kind, now),
                }
            }
            Paused::Ended | Paused::Panicked(_) => {
                actor.is_finished.store(true, Ordering::Relaxed);
                let name = actor.life.name.clone();
                state.actors.remove(&number);
                drop(state);
                if let Paused::Panicked(message) = paused {
                    self.violated(format_args!("{kind:?} of {name} panicked: {message}"));
                }
            }
        }
    }

    fn schedule_fate(&self) {
        let now = self.now();
        let mut state = self.state.borrow_mut();
        let wait = Duration::from_micros(state.rng.between(FATES_TURNS.0, FATES_TURNS.1) * state.slowness);
        state.schedule_at(FATE, now + wait);
    }

    /// Has everything looked at now, in the middle of a turn.
    pub(super) fn look(&self) {
        let watch = self.state.borrow().watch.clone();
        if let Some(watch) = watch.filter(|_| !self.is_violated()) {
            watch();
        }
    }

    fn take_due(&self, until: Duration) -> Option<Due> {
        let mut state = self.state.borrow_mut();
        loop {
            let first = *state.queue.first().filter(|(at, ..)| *at <= until)?;
            state.queue.remove(&first);
            let (at, _, number) = first;
            self.time.move_to(at);
            let now = self.time.now();
            if number == FATE {
                let Some(fate) = state.fate.take() else { continue };
                state.count_turn(now, number);
                return Some(Due::Fate(fate));
            }
            let Some(actor) = state.actors.get_mut(&number) else { continue };
            let life = Arc::clone(&actor.life);
            let held_until = match actor.kind {
                Kind::Worker if !actor.is_waiting => life.paused.get().max(life.stuck.get()),
                _ => life.paused.get(),
            };
            if held_until > now {
                // It may be well before.
                state.schedule_at(number, held_until.min(now + HELD));
                continue;
            }
            let Some(routine) = actor.routine.take() else { continue };
            state.count_turn(now, number);
            state.current = Some(life);
            return Some(Due::Loop(number, routine));
        }
    }
}

// === impl State ===

impl State {
    fn schedule(&mut self, number: u64, kind: Kind, now: Duration) {
        let (least, most) = match kind {
            Kind::Control => (2_000, 60_000),
            Kind::Worker => (1_000, 50_000),
            Kind::Commit => (500, 30_000),
            Kind::Other => (1_000, 80_000),
        };
        let slowness = if kind == Kind::Commit { 1 } else { self.slowness };
        let wait = Duration::from_micros(self.rng.between(least, most) * slowness);
        self.schedule_at(number, now + wait);
    }

    fn schedule_at(&mut self, number: u64, time: Duration) {
        let tie = self.rng.next();
        self.queue.insert((time, tie, number));
    }

    fn count_turn(&mut self, now: Duration, number: u64) {
        self.turns += 1;
        self.trace.turn(now, number);
    }
}
