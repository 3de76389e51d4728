//! What happens in the chaos.

use std::{fmt, time::Duration};

use super::super::{Rng, plan::name, wire::Cut};

/// Something that goes wrong. Instances are numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// SIGKILL; it comes back after some time, perhaps without its state.
    Kill { victim: usize, down: Duration, wiped: bool },
    /// SIGTERM; the same.
    Stop { victim: usize, down: Duration, wiped: bool },
    /// SIGSTOP, and SIGCONT.
    Freeze { victim: usize, time: Duration },
    /// One that was never there, or is not there now, comes.
    Join { newcomer: usize },
    /// The broker is killed, or stopped, and started again.
    Broker { down: Duration, kill: bool },
    /// Links between instances are cut.
    Cut { links: Vec<(usize, usize)>, how: Cut, time: Duration },
}

/// What an instance is like at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// At work, or about to be.
    Up,
    /// It stands still.
    Frozen,
    /// It was asked to stop.
    Stopping,
    /// There is no process.
    Down,
}

// === impl Event ===

impl Event {
    /// What happens next to instances in these conditions. At least one is left that is up.
    pub(super) fn any(rng: &mut Rng, instances: &[Condition]) -> Option<Self> {
        let which = |may: &dyn Fn(Condition) -> bool| -> Vec<usize> {
            (0..instances.len()).filter(|number| may(instances[*number])).collect()
        };
        let (up, down) = (which(&|it| it == Condition::Up), which(&|it| it == Condition::Down));
        let victims = |may: &dyn Fn(Condition) -> bool| {
            let victims = which(may);
            if up.len() > 1 { victims } else { victims.into_iter().filter(|victim| !up.contains(victim)).collect() }
        };
        let pick = |rng: &mut Rng, from: &[usize]| if from.is_empty() { None } else { Some(*rng.pick(from)) };
        let away = |rng: &mut Rng| {
            // Back before anybody has noticed, before the session is over, or long after.
            let (from, to) = *rng.pick(&[(0, 500), (1_000, 4_000), (7_000, 10_000)]);
            Duration::from_millis(rng.within(from, to))
        };
        Some(match rng.below(16) {
            0..=3 => {
                let victim = pick(rng, &victims(&|it| it != Condition::Down))?;
                Self::Kill { victim, down: away(rng), wiped: rng.below(4) == 0 }
            }
            4..=6 => {
                let victim = pick(rng, &victims(&|it| it == Condition::Up))?;
                Self::Freeze { victim, time: away(rng) + Duration::from_millis(200) }
            }
            7..=9 => {
                let victim = pick(rng, &victims(&|it| it == Condition::Up))?;
                Self::Stop { victim, down: away(rng), wiped: rng.below(4) == 0 }
            }
            10 | 11 => Self::Join { newcomer: pick(rng, &down)? },
            12 => Self::Broker { down: Duration::from_millis(rng.within(0, 4_000)), kill: rng.below(3) > 0 },
            _ => {
                let how = *rng.pick(&[Cut::Silent, Cut::Silent, Cut::Closed]);
                let time = away(rng) + Duration::from_millis(500);
                Self::Cut { links: links(rng, instances.len()), how, time }
            }
        })
    }
}

/// One way between two, all of one instance, or all between two parts.
fn links(rng: &mut Rng, instances: usize) -> Vec<(usize, usize)> {
    let one = rng.below(instances as u64) as usize;
    let other = (one + 1 + rng.below(instances as u64 - 1) as usize) % instances;
    let inside: Vec<usize> = match rng.below(4) {
        0 => return vec![(one, other)],
        1 | 2 => vec![one],
        _ => vec![one, other],
    };
    let outside = (0..instances).filter(|number| !inside.contains(number));
    outside.flat_map(|outside| inside.iter().flat_map(move |inside| [(*inside, outside), (outside, *inside)])).collect()
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = |wiped: &bool| if *wiped { ", its state is lost" } else { "" };
        match self {
            Self::Kill { victim, down, wiped } => {
                write!(f, "kill {} ({} ms down{})", name(*victim), down.as_millis(), state(wiped))
            }
            Self::Stop { victim, down, wiped } => {
                write!(f, "stop {} ({} ms down{})", name(*victim), down.as_millis(), state(wiped))
            }
            Self::Freeze { victim, time } => write!(f, "freeze {} for {} ms", name(*victim), time.as_millis()),
            Self::Join { newcomer } => write!(f, "{} joins", name(*newcomer)),
            Self::Broker { down, kill } => {
                write!(f, "{} the broker ({} ms down)", if *kill { "kill" } else { "stop" }, down.as_millis())
            }
            Self::Cut { links, how, time } => {
                let links: Vec<_> = links.iter().map(|(from, to)| format!("{}>{}", name(*from), name(*to))).collect();
                write!(f, "cut {} ({how:?}) for {} ms", links.join(" "), time.as_millis())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_left_and_everything_happens() {
        let mut rng = Rng::new(1);
        let mut kinds = [0; 6];
        for round in 0..2_000 {
            let conditions = [Condition::Up, Condition::Frozen, Condition::Stopping, Condition::Down, Condition::Up];
            let instances = if round % 2 == 0 { &conditions[..4] } else { &conditions[..] };
            let kind = match Event::any(&mut rng, instances) {
                Some(Event::Kill { victim, .. }) => {
                    assert!(instances[victim] != Condition::Down && (victim > 0 || instances.len() == 5));
                    0
                }
                Some(Event::Stop { victim, .. } | Event::Freeze { victim, .. }) => {
                    assert!(instances[victim] == Condition::Up && instances.len() == 5, "{victim}");
                    1
                }
                Some(Event::Join { newcomer }) => {
                    assert_eq!(instances[newcomer], Condition::Down);
                    2
                }
                Some(Event::Broker { .. }) => 3,
                Some(Event::Cut { links, .. }) => {
                    assert!(links.iter().all(|(from, to)| from != to && *to < instances.len()));
                    4
                }
                None => 5,
            };
            kinds[kind] += 1;
        }
        assert!(kinds.iter().all(|times| *times > 0), "{kinds:?}");
    }
}
