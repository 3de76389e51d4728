//! What a join of two streams is: the definition, as naive as can be.

/// What is joined.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) left_is_outer: bool,
    pub(super) right_is_outer: bool,
    pub(super) before_ms: i64,
    pub(super) after_ms: i64,
    pub(super) grace_ms: i64,
}

/// Key, value and timestamp of a result.
type Output = (Option<String>, String, i64);

/// A record that came. The right side is less than the left one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Came {
    at: i64,
    left: bool,
    key: String,
    number: usize,
    value: String,
}

/// Everything that came, and everything that waits.
#[derive(Debug)]
pub(super) struct Model {
    shape: Shape,
    interval_ms: i64,
    now_ms: i64,
    next_look_ms: i64,
    stream_time: i64,
    earliest: i64,
    kept: Vec<Came>,
    waiting: Vec<Came>,
    dropped: u64,
    outputs: Vec<Output>,
}

// === impl Shape ===

impl Shape {
    fn is_outer(&self, left: bool) -> bool {
        if left { self.left_is_outer } else { self.right_is_outer }
    }

    /// How much earlier and later than a record those of the other side may be.
    fn reach(&self, left: bool) -> (i64, i64) {
        if left { (self.before_ms, self.after_ms) } else { (self.after_ms, self.before_ms) }
    }

    fn retention_ms(&self) -> i64 {
        self.before_ms + self.after_ms + self.grace_ms
    }
}

// === impl Model ===

impl Model {
    pub(super) fn new(shape: Shape, interval_ms: i64) -> Self {
        let (kept, waiting, outputs) = Default::default();
        let (now_ms, next_look_ms, stream_time, earliest, dropped) = (0, 0, -1, i64::MAX, 0);
        Self { shape, interval_ms, now_ms, next_look_ms, stream_time, earliest, kept, waiting, dropped, outputs }
    }

    pub(super) fn wait(&mut self, by_ms: i64) {
        self.now_ms += by_ms;
    }

    pub(super) fn take_results(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn emit(&mut self, key: Option<&str>, left: Option<&str>, right: Option<&str>, at: i64) {
        let value = format!("{}+{}", left.unwrap_or("-"), right.unwrap_or("-"));
        self.outputs.push((key.map(str::to_owned), value, at));
    }

    fn emit_alone(&mut self, left: bool, key: Option<&str>, value: &str, at: i64) {
        if left { self.emit(key, Some(value), None, at) } else { self.emit(key, None, Some(value), at) }
    }

    pub(super) fn record(&mut self, left: bool, key: Option<&str>, value: Option<&str>, at: i64) {
        self.stream_time = self.stream_time.max(at);
        let (key, value) = match (key, value) {
            (Some(key), Some(value)) => (key, value),
            (None, Some(value)) if self.shape.is_outer(left) => return self.emit_alone(left, None, value, at),
            _ => {
                self.dropped += 1;
                return;
            }
        };
        self.emit_closed(left, at);

        let (before, after) = self.shape.reach(left);
        let is_of_others = |came: &&Came| came.left != left;
        let latest = self.kept.iter().filter(is_of_others).map(|other| other.at).max().unwrap_or(-1);
        let kept_from = latest - self.shape.retention_ms() + 1;
        let mut matches: Vec<Came> = self.kept.iter().filter(is_of_others).cloned().collect();
        matches.retain(|other| {
            let within = ((at - before).max(0)..=(at + after).max(0)).contains(&other.at);
            other.key == key && within && other.at >= kept_from
        });
        matches.sort_by_key(|other| (other.at, other.number));
        for other in &matches {
            self.waiting.retain(|entry| (entry.at, entry.left, &entry.key) != (other.at, other.left, &other.key));
            let (left, right) = if left { (value, other.value.as_str()) } else { (other.value.as_str(), value) };
            self.emit(Some(key), Some(left), Some(right), at.max(other.at));
        }
        let number = self.kept.len();
        let came = Came { at, left, key: key.to_owned(), number, value: value.to_owned() };
        if matches.is_empty() && self.shape.is_outer(left) {
            if (at + after).max(0) < self.stream_time {
                self.emit_alone(left, Some(key), value, at);
            } else {
                self.earliest = self.earliest.min(at);
                self.waiting.push(came.clone());
                self.waiting.sort();
            }
        }
        self.kept.push(came);
    }

    /// What nobody will join any more.
    fn emit_closed(&mut self, left: bool, at: i64) {
        let (_, after) = self.shape.reach(left);
        let is_due = self.earliest.wrapping_add(after + self.shape.grace_ms) < self.stream_time;
        let is_outer = self.shape.left_is_outer || self.shape.right_is_outer;
        if !is_outer || at != self.stream_time || !is_due || self.now_ms < self.next_look_ms {
            return;
        }
        self.next_look_ms = self.now_ms + self.interval_ms;
        self.earliest = i64::MAX;
        let (mut left_is_open, mut right_is_open, mut stays) = (false, false, Vec::new());
        let waiting = std::mem::take(&mut self.waiting);
        let mut rest = waiting.into_iter();
        while let Some(entry) = rest.next() {
            self.earliest = entry.at;
            let (_, after) = self.shape.reach(entry.left);
            if left_is_open && right_is_open {
                stays.push(entry);
                stays.extend(rest);
                break;
            }
            if entry.at + after + self.shape.grace_ms >= self.stream_time {
                *(if entry.left { &mut left_is_open } else { &mut right_is_open }) = true;
                stays.push(entry);
            } else {
                self.emit_alone(entry.left, Some(&entry.key), &entry.value, entry.at);
            }
        }
        self.waiting = stays;
    }
}
