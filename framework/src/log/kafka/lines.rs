//! Lines of librdkafka's log that say the same of the same broker: one of them is told, the others are counted.
//!
//! librdkafka leaves out what a broker connection of one client says again within 30 s. An instance has many clients, each with several
//! connections, and two failures in turn are not "again": of a broker that is away they tell many lines a second.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::time::Clock;

/// The lines of all clients of one log.
#[derive(Debug)]
pub(super) struct Lines {
    clock: Arc<dyn Clock>,
    /// Locked for a look into a small map.
    heard: Mutex<Heard>,
}

/// What was heard lately, by [`kind`].
#[derive(Debug, Default)]
struct Heard(BTreeMap<String, Last>);

/// Lines of one kind since one of them was told.
#[derive(Debug, Clone, Copy)]
struct Last {
    told: Duration,
    left_out: u64,
}

/// A line to be told, and what was left out since the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    left_out: u64,
    since: Duration,
}

/// How often lines of one kind are told.
const INTERVAL: Duration = Duration::from_secs(30);
/// How many kinds are remembered: some for each of more brokers than a cluster has.
const MOST_KINDS: usize = 256;
/// How much of a kind is remembered, in characters.
const KIND_CHARS: usize = 256;

// === impl Lines ===

impl Lines {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, heard: Mutex::default() }
    }

    /// What to tell of a line that comes now; `None` when one that says the same was told a short while ago.
    pub(super) fn sift(&self, facility: &str, line: &str) -> Option<String> {
        let now = self.clock.monotonic();
        let told = self.heard.lock().unwrap_or_else(PoisonError::into_inner).hear(kind(facility, line), now)?;
        Some(match told {
            Told { left_out: 0, .. } => line.to_owned(),
            Told { left_out, since } => {
                format!("{line}; {left_out} more of the same in the {} s before were left out", since.as_secs())
            }
        })
    }
}

// === impl Heard ===

impl Heard {
    /// Whether a line of this kind that comes `now` is to be told.
    fn hear(&mut self, kind: String, now: Duration) -> Option<Told> {
        if let Some(last) = self.0.get_mut(&kind) {
            let since = now.saturating_sub(last.told);
            if since < INTERVAL {
                last.left_out += 1;
                return None;
            }
            let left_out = last.left_out;
            *last = Last { told: now, left_out: 0 };
            return Some(Told { left_out, since });
        }
        if self.0.len() >= MOST_KINDS {
            self.forget(now);
        }
        self.0.insert(kind, Last { told: now, left_out: 0 });
        Some(Told { left_out: 0, since: Duration::ZERO })
    }

    /// Makes room: forgets what nobody says any more, else the kind that was told first, with what was left out of it.
    fn forget(&mut self, now: Duration) {
        self.0.retain(|_, last| now.saturating_sub(last.told) < INTERVAL || last.left_out > 0);
        if self.0.len() >= MOST_KINDS
            && let Some(oldest) = self.0.iter().min_by_key(|(_, last)| last.told).map(|(kind, _)| kind.clone())
        {
            self.0.remove(&oldest);
        }
    }
}

/// What a line says, and of which broker: the same whichever client and connection tells it, and whenever.
///
/// Lines look like `[thrd:<thread>]: <broker>: <what> (after 3ms in state CONNECT)`, where the broker is `host:port/id`, `host:port/bootstrap`
/// or, of a coordinator, `GroupCoordinator: host:port`.
fn kind(facility: &str, line: &str) -> String {
    let line = line.strip_prefix("[thrd:").and_then(|line| line.split_once("]: ")).map_or(line, |(_, rest)| rest);
    let (mut broker, mut what) = ("", line);
    let mut rest = line;
    while let Some((part, behind)) = rest.split_once(": ") {
        if let Some(address) = address(part) {
            (broker, what) = (address, behind);
            break;
        }
        rest = behind;
    }
    let what = what.split(" (after ").next().unwrap_or(what);
    // Of a broker: how many requests timed out, and after how long. Otherwise numbers may be what it is about.
    let says = |character: &char| broker.is_empty() || !character.is_ascii_digit();
    [facility, broker].join(" ").chars().chain([' ']).chain(what.chars().filter(says)).take(KIND_CHARS).collect()
}

/// `host:port` of a broker's name; `None` when it is none.
fn address(name: &str) -> Option<&str> {
    let address = name.split_once('/').map_or(name, |(address, _)| address);
    let (host, port) = address.rsplit_once(':')?;
    (!host.is_empty() && !host.contains(' ') && port.parse::<u16>().is_ok()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ManualClock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_line_is_told_then_one_in_30_s_with_the_number_left_out() {
        let mut heard = Heard::default();
        let mut hear = |kind: &str, second: u32| heard.hear(kind.into(), second * SECOND);
        let first = Some(Told { left_out: 0, since: Duration::ZERO });
        assert_eq!(hear("refused", 100), first);
        assert_eq!((hear("refused", 100), hear("refused", 129)), (None, None));
        assert_eq!(hear("timed out", 129), first, "it says something else");
        assert_eq!(hear("refused", 130), Some(Told { left_out: 2, since: 30 * SECOND }));
        assert_eq!(hear("refused", 159), None);
        assert_eq!(hear("refused", 190), Some(Told { left_out: 1, since: 60 * SECOND }));
        assert_eq!(hear("refused", 500), Some(Told { left_out: 0, since: 310 * SECOND }));
    }

    #[test]
    fn few_kinds_are_remembered() {
        let mut heard = Heard::default();
        for number in 0..10 * MOST_KINDS {
            assert!(heard.hear(format!("{number}"), SECOND).is_some(), "each is the first of its kind");
            assert!(heard.hear(format!("{number}"), SECOND).is_none());
        }
        assert_eq!(heard.0.len(), MOST_KINDS);
        assert!(kind("FAIL", &"x".repeat(10_000)).len() <= KIND_CHARS);
    }

    #[test]
    fn lines_of_all_clients_say_the_same_of_a_broker() {
        let of = |line: &str| kind("FAIL", line);
        let refused = "Connect to ipv4#10.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)";
        let bootstrap = of(&format!("[thrd:kafka-1:9092/bootstrap]: kafka-1:9092/bootstrap: {refused}"));
        for same in [
            format!("[thrd:kafka-1:9092/bootstrap]: kafka-1:9092/1: {refused}"),
            format!("[thrd:GroupCoordinator]: GroupCoordinator: kafka-1:9092: {refused}"),
            "[thrd:kafka-1:9092/1]: kafka-1:9092/1: Connect to ipv4#10.0.0.1:9092 failed: Connection refused (after 7ms in \
             state CONNECT, 5 identical error(s) suppressed)"
                .to_owned(),
        ] {
            assert_eq!(of(&same), bootstrap, "{same}");
        }
        for other in [
            format!("[thrd:kafka-2:9092/2]: kafka-2:9092/2: {refused}"),
            "[thrd:kafka-1:9092/1]: kafka-1:9092/1: Disconnected (after 61000ms in state UP)".to_owned(),
            "[thrd:app]: 1/3 brokers are down".to_owned(),
        ] {
            assert_ne!(of(&other), bootstrap, "{other}");
        }
        let down = |count| of(&format!("[thrd:kafka-1:9092/1]: {count}/3 brokers are down"));
        assert_ne!(down(1), down(3));
        let timed_out = |count| of(&format!("[thrd:k:1/1]: k:1/1: Timed out {count} in-flight, 0 retry-queued"));
        assert_eq!(timed_out(1), timed_out(20));
        assert_ne!(kind("FAIL", "x"), kind("ERROR", "x"));
    }

    #[test]
    fn what_was_left_out_is_told_with_the_next_line() {
        let clock = ManualClock::new(0);
        let lines = Lines::new(Arc::new(clock.clone()));
        let line = "[thrd:k:1/1]: k:1/1: Disconnected (after 5ms in state UP)";
        assert_eq!(lines.sift("FAIL", line).as_deref(), Some(line));
        assert_eq!(lines.sift("FAIL", line), None);
        clock.advance(31 * SECOND);
        let told = lines.sift("FAIL", line).unwrap_or_default();
        assert_eq!(told, format!("{line}; 1 more of the same in the 31 s before were left out"));
    }
}
