//! A crash or a failure at every step in which restored rows become tables.

use std::{collections::BTreeMap, io, sync::Mutex};

use super::{
    gathering::{Changelogs, MANY, Random, begun, committed, crashed, many, offset},
    *,
};

/// What a test does at a step, by whether it was made already. An error of it is what a crash there is: nothing behind it is done.
struct Watch(Mutex<Box<Meddle>>);

type Meddle = dyn FnMut(TableStep, bool) -> io::Result<()> + Send;
/// A step, and whether it was made already.
type Place = (TableStep, bool);
/// A record: its value, or that it deletes; its offset.
type Logged<'a> = (Option<&'a [u8]>, i64);

// === impl Watch ===

impl Watch {
    fn new(meddle: impl FnMut(TableStep, bool) -> io::Result<()> + Send + 'static) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Box::new(meddle))))
    }

    fn come(&self, step: TableStep, made: bool) -> io::Result<()> {
        let meddle = &mut *self.0.lock().expect("no test panics here");
        meddle(step, made)
    }
}

impl TableWatch for Watch {
    fn before(&self, step: TableStep) -> io::Result<()> {
        self.come(step, false)
    }

    fn after(&self, step: TableStep) -> io::Result<()> {
        self.come(step, true)
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

fn watched(state_dir: &Path, watch: Arc<Watch>) -> StateSettings {
    let dir = StateDir::open(state_dir, "app").expect("a state directory of its own").watched_by(watch);
    StateSettings { dir: Some(Arc::new(dir)), memory: MemoryBudget::new(0) }
}

/// Ends a life at the n-th time that a step begins or is over. Says where that was.
fn end_at(nth: usize) -> (Arc<Watch>, Arc<Mutex<Option<Place>>>) {
    let (mut seen, place) = (0, Arc::<Mutex<Option<_>>>::default());
    let told = Arc::clone(&place);
    let watch = Watch::new(move |step, made| {
        seen += 1;
        if seen != nth {
            return Ok(());
        }
        *told.lock().expect("no test panics here") = Some((step, made));
        Err(io::Error::other("the end"))
    });
    (watch, place)
}

/// Restores what is missing, in batches of any size, until it is done or fails.
fn restore(stores: &mut TaskStores, changelogs: &Changelogs, random: &mut Random) -> Result<(), StateError> {
    let mut next = [A, B].map(|store| offset(stores, store));
    while let Some(store) =
        [A, B].into_iter().filter(|store| next[store.index()] < changelogs.end(*store)).max_by_key(|_| random.below(9))
    {
        let from = next[store.index()];
        let to = changelogs.end(store).min(from + 1 + i64::try_from(random.below(2500)).expect("small"));
        stores.gather(store, &changelogs.batch(store, from, to), to)?;
        next[store.index()] = to;
        if random.below(40) == 0 {
            stores.apply_gathered()?;
        }
    }
    stores.apply_gathered()
}

/// Whether a store has, of each key, its row at the store's offset or a newer one, and nothing else.
fn assert_not_behind(stores: &TaskStores, store: StoreId, changelogs: &Changelogs) {
    let (at, found) = (offset(stores, store), committed(stores, store));
    assert!(found.is_empty() || at > 0, "{store:?}: rows of no offset");
    // Per key its last record before the offset, and all behind it.
    let mut may_be: BTreeMap<&[u8], Vec<Logged<'_>>> = BTreeMap::new();
    for ((key, value), offset) in changelogs.0[store.index()].iter().zip(0..) {
        let may_be = may_be.entry(key).or_insert_with(|| vec![(None, -1)]);
        if offset < at {
            may_be.clear();
        }
        may_be.push((value.as_deref(), offset));
    }
    for (key, may_be) in &may_be {
        let is = match found.get(*key) {
            Some((value, timestamp)) => may_be.contains(&(Some(value), *timestamp)),
            None => may_be.iter().any(|(value, _)| value.is_none()),
        };
        assert!(is, "{store:?} at {at}: {key:?} is {:?}, which it was before", found.get(*key));
    }
    assert!(found.keys().all(|key| may_be.contains_key(&**key)), "{store:?}: rows from nowhere");
}

/// Lets the first life of two stores end at its n-th step, and later ones anywhere, until all is restored; by a crash of the process or an
/// error that it goes on behind. Says where the first one ended.
fn lives(seed: u64, first: usize, records: [usize; 2], crash: bool) -> Option<Place> {
    let mut random = Random(seed);
    let changelogs = Changelogs::new(&mut random, records);
    let mut state_dir = tempfile::tempdir().expect("a temporary directory");
    let mut first_end = None;
    for life in 0.. {
        let (watch, end) = end_at(if life == 0 { first } else { 1 + random.below(16) });
        let settings = watched(state_dir.path(), watch);
        let mut stores = open(&settings, &["a", "b"]).expect("stores that were left so");
        let mut restored = restore(&mut stores, &changelogs, &mut random);
        let end = *end.lock().expect("no test panics here");
        first_end = if life == 0 { end } else { first_end };
        if let Err(error) = &restored {
            let task_dir = settings.dir.as_ref().expect("on disk").task_dir(TASK);
            assert!(end.is_some() && matches!(error, StateError::Io { path, .. } if *path == task_dir), "{error}");
            for store in [A, B] {
                assert_not_behind(&stores, store, &changelogs);
            }
            if crash {
                (stores, state_dir) = crashed(stores);
                for store in [A, B] {
                    assert_not_behind(&stores, store, &changelogs);
                }
            } else if random.below(2) == 0 {
                restored = restore(&mut stores, &changelogs, &mut random);
                assert!(restored.is_ok(), "{restored:?}: it happens once");
            } else {
                stores.close().expect("what waits can be written");
                continue;
            }
        }
        if restored.is_ok() {
            for store in [A, B] {
                let end = changelogs.end(store);
                assert_eq!(offset(&stores, store), end);
                assert!(committed(&stores, store) == changelogs.rows(store, end), "seed {seed}, {first}: {store:?}");
            }
            return first_end;
        }
    }
    unreachable!("lives are not counted so far")
}

/// Each step of a restore in its turn. Gives how often there was which.
fn each_step(seed: u64, records: [usize; 2], crash: bool) -> BTreeMap<Place, usize> {
    let mut places = BTreeMap::new();
    for place in (1..).map_while(|first| lives(seed, first, records, crash)) {
        *places.entry(place).or_default() += 1;
    }
    let all = [TableStep::Write, TableStep::Add, TableStep::Flush].map(|step| [(step, false), (step, true)]);
    assert_eq!(places.keys().copied().collect::<Vec<_>>(), all.concat());
    places
}

#[test]
fn whatever_step_is_the_last_a_restore_goes_on_from_there() {
    let places = each_step(1, [26_000, 13_000], true);
    assert!(places[&(TableStep::Add, true)] > 3, "{places:?}: too few tables");
}

#[test]
fn any_of_many_steps_may_be_the_last() {
    // More tables than are added between two flushes.
    let ended = (0..3).filter_map(|seed| lives(seed, 20 + 13 * seed as usize, [110_000, 40_000], true)).count();
    assert_eq!(ended, 3);
}

#[test]
fn a_step_that_fails_can_be_made_again() {
    each_step(7, [20_000, 11_000], false);
}

/// Stores to which something is done at a step of each table, while the flag is set, with the path of the table.
fn meddled(
    state_dir: &Path,
    at: Place,
    meddle: impl Fn(&Path) -> io::Result<()> + Send + 'static,
) -> (TaskStores, Arc<AtomicBool>, std::path::PathBuf) {
    let on = Arc::new(AtomicBool::new(true));
    let table = state_dir.join("app/tasks").join(TASK.to_string()).join("restored.sst");
    let (is_on, path) = (Arc::clone(&on), table.clone());
    let watch = Watch::new(move |step, made| {
        let here = (step, made) == at && is_on.load(Ordering::Relaxed);
        if here { meddle(&path) } else { Ok(()) }
    });
    (begun(&watched(state_dir, watch)), on, table)
}

/// The rows at hand do not become a table; the store is as it was, and goes on when the disk is well again.
fn assert_fails_and_goes_on(mut stores: TaskStores, on: &AtomicBool, table: &Path) -> StateError {
    stores.gather(A, &many(Some(b"v")), MANY).expect("waiting");
    let error = stores.apply_gathered().expect_err("the table is not whole");
    assert!(matches!(&error, StateError::TableFile { path, .. } if path == table), "{error}");
    assert!(error.to_string().contains(table.to_str().expect("UTF-8")), "{error}");
    assert_eq!((offset(&stores, A), committed(&stores, A).len()), (1, 1));
    assert!(table.symlink_metadata().is_err(), "what is left of it takes space");
    on.store(false, Ordering::Relaxed);
    stores.gather(A, &many(Some(b"v")), MANY).expect("waiting");
    stores.apply_gathered().expect("a disk that is well");
    assert_eq!((offset(&stores, A), committed(&stores, A).len() as i64), (MANY, MANY + 1));
    stores.close().expect("a disk that is well");
    error
}

#[test]
fn a_full_disk_is_told_and_leaves_the_store_whole() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let full = |table: &Path| std::os::unix::fs::symlink("/dev/full", table);
    let (stores, on, table) = meddled(state_dir.path(), (TableStep::Write, false), full);
    let error = assert_fails_and_goes_on(stores, &on, &table);
    assert!(error.is_disk_full() && !error.is_damage(), "{error}");
}

#[test]
fn a_table_that_is_not_whole_is_not_added() {
    fn cut(table: &Path, len: impl Fn(u64) -> u64) -> io::Result<()> {
        let file = fs::OpenOptions::new().write(true).open(table)?;
        file.set_len(len(file.metadata()?.len()))
    }
    let ways: [fn(&Path) -> io::Result<()>; 4] = [
        |table| cut(table, |_| 0),
        |table| cut(table, |len| len / 2),
        |table| cut(table, |len| len - 1),
        |table| fs::remove_file(table),
    ];
    for way in ways {
        let state_dir = tempfile::tempdir().expect("a temporary directory");
        let (stores, on, table) = meddled(state_dir.path(), (TableStep::Write, true), way);
        let error = assert_fails_and_goes_on(stores, &on, &table);
        assert!(error.is_damage() && !error.is_disk_full(), "{error}");
    }
}

#[test]
fn rows_that_were_changed_in_a_table_are_not_read() {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let change = |table: &Path| {
        let mut bytes = fs::read(table)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(table, bytes)
    };
    let (mut stores, ..) = meddled(state_dir.path(), (TableStep::Write, true), change);
    stores.gather(A, &many(Some(&[7; 100])), MANY).expect("waiting");
    let read = stores.apply_gathered().and_then(|()| stores.view().scan(A, .., usize::MAX, usize::MAX).map(drop));
    let error = read.expect_err("a row was changed");
    assert!(error.is_damage(), "{error}");
}
