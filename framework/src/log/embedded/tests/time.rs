//! What becomes due by the log's clock.

use super::*;

#[test]
fn a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced() {
    let (log, clock) = simulated();
    create(&log, "out", 1, &[]);
    let mut producer = transactional(&log, "id");
    producer.begin().expect("begun");
    append(&mut *producer, "out", "hidden", None).expect("appended");
    producer.flush(SHORT).expect("flushed");
    write(&log, "out", &[("behind", None)]);

    clock.advance(Duration::from_secs(59));
    assert_eq!(read(&log, &partition("out", 0), Isolation::ReadCommitted), (vec![], 0), "the stable end stands");
    clock.advance(Duration::from_secs(1));
    let (seen, end) = read(&log, &partition("out", 0), Isolation::ReadCommitted);
    assert_eq!((keys(&seen), end), (vec!["behind"], 3), "aborted, with a marker at offset 2");

    assert!(matches!(producer.commit(SHORT), Err(LogError::Fenced { .. })));
    assert!(matches!(producer.begin(), Err(LogError::Fenced { .. })));
    let mut next = transactional(&log, "id");
    next.begin().expect("a new producer is not fenced");
}

#[test]
fn a_transaction_without_effect_does_not_time_out() {
    let (log, clock) = simulated();
    let mut producer = transactional(&log, "id");
    producer.begin().expect("begun");
    clock.advance(Duration::from_secs(3_600));
    producer.commit(SHORT).expect("nothing was open on the log");
}

#[test]
fn a_simulated_log_never_waits() {
    let (log, _) = simulated();
    create(&log, "in", 1, &[]);
    let started = SystemClock::new();
    let for_long = Duration::from_secs(3_600);
    let mut reader = log.reader(Isolation::ReadCommitted).expect("reader");
    reader.assign(&partition("in", 0), ReadFrom::End).expect("assigned");
    reader.poll(1, for_long).expect("the end");
    assert!(reader.poll(1, for_long).expect("nothing").events.is_empty());
    let mut member = join(&log, "a");
    member.poll(for_long).expect("joined");
    assert_eq!(member.poll(for_long).expect("nothing"), None);
    log.set_available(false);
    let mut producer = log.producer().expect("producer");
    append(&mut *producer, "in", "k", None).expect("queued");
    assert!(matches!(producer.flush(for_long), Err(LogError::Timeout { .. })));
    assert!(started.monotonic() < Duration::from_secs(60));
}

#[test]
fn waiting_polls_wake_up_for_what_they_wait_for() {
    let log = EmbeddedLog::new();
    create(&log, "in", 1, &[]);
    let mut reader = log.reader(Isolation::ReadCommitted).expect("reader");
    reader.assign(&partition("in", 0), ReadFrom::End).expect("assigned");
    reader.poll(1, Duration::ZERO).expect("the end");
    let mut member = join(&log, "a");
    assert_eq!(event(&mut member), "joined a-1 in 1 as leader");
    let for_long = Duration::from_secs(60);
    let started = SystemClock::new();
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || reader.poll(1, for_long));
        let polling = scope.spawn(move || (member.poll(for_long), member));
        write(&log, "in", &[("k", None)]);
        assert_eq!(event(&mut join(&log, "b")), "joined b-2 in 2");
        let fetched = reading.join().expect("no panic").expect("polled");
        assert_eq!(fetched.batches.len(), 1);
        let (event, _member) = polling.join().expect("no panic");
        assert!(matches!(event, Ok(Some(MembershipEvent::Joined { .. }))), "{event:?}");
    });
    assert!(started.monotonic() < for_long / 2);
}

#[test]
fn a_member_that_waits_in_a_poll_is_polling() {
    let log = EmbeddedLog::new();
    let mut member = join_with(&log, "a", Duration::from_millis(500));
    assert_eq!(event(&mut member), "joined a-1 in 1 as leader");
    assert_eq!(member.poll(Duration::from_millis(600)).expect("polled"), None, "not voted out meanwhile");
}

#[test]
fn a_member_that_does_not_poll_is_voted_out_and_comes_back_as_another() {
    let (log, clock) = simulated();
    let (mut a, mut b) = (join(&log, "a"), join(&log, "b"));
    assert_eq!(event(&mut a), "joined a-1 in 1 as leader");
    assert_eq!(event(&mut b), "joined b-2 in 2");
    assert_eq!(event(&mut a), "joined a-1 in 2 as leader");
    let stale = epoch_of(&*a);

    clock.advance(Duration::from_secs(59));
    assert_eq!(event(&mut b), "nothing");
    clock.advance(Duration::from_secs(1));
    assert_eq!(event(&mut b), "joined b-2 in 3 as leader");
    let refused = a.group().commit(&stale, &[]);
    assert!(matches!(refused, Err(LogError::Fenced { .. })), "{refused:?}");
    assert_eq!(event(&mut a), "lost");
    assert_eq!(a.group().epoch(), None);
    assert_eq!(event(&mut a), "joined a-4 in 4");
    assert_eq!(event(&mut b), "joined b-2 in 4 as leader");
}

#[test]
fn a_member_that_was_dropped_is_voted_out_by_the_session_timeout() {
    let (log, clock) = simulated();
    let (mut a, mut b) = (join(&log, "a"), join(&log, "b"));
    assert_eq!((event(&mut a), event(&mut b)), ("joined a-1 in 1 as leader".into(), "joined b-2 in 2".into()));
    drop(a);
    clock.advance(Duration::from_secs(9));
    assert_eq!(event(&mut b), "nothing");
    clock.advance(Duration::from_secs(1));
    assert_eq!(event(&mut b), "joined b-2 in 3 as leader");
}

#[test]
fn a_member_behind_a_cut_link_is_voted_out_and_learns_of_it() {
    let (log, clock) = simulated();
    let isolated = log.connect();
    let (mut a, mut b) = (join(&isolated, "a"), join(&log, "b"));
    assert_eq!((event(&mut a), event(&mut b)), ("joined a-1 in 1 as leader".into(), "joined b-2 in 2".into()));
    assert_eq!(event(&mut a), "joined a-1 in 2 as leader");

    isolated.set_connected(false);
    clock.advance(Duration::from_secs(9));
    assert_eq!((event(&mut a), event(&mut b)), ("unavailable".into(), "nothing".into()));
    isolated.set_connected(true);
    for _ in 0..2 {
        clock.advance(Duration::from_secs(9));
        assert_eq!((event(&mut a), event(&mut b)), ("nothing".into(), "nothing".into()), "heard in time");
    }

    isolated.set_connected(false);
    clock.advance(Duration::from_secs(10));
    assert_eq!(event(&mut b), "joined b-2 in 3 as leader");
    assert_eq!((event(&mut a), event(&mut a)), ("lost".into(), "unavailable".into()), "by its own session timer");
    isolated.set_connected(true);
    assert_eq!(event(&mut a), "joined a-4 in 4");
}

#[test]
fn nobody_is_voted_out_because_the_log_was_away() {
    let (log, clock) = simulated();
    let (mut a, mut dead) = (join(&log, "a"), join(&log, "dead"));
    assert_eq!((event(&mut a), event(&mut dead)), ("joined a-1 in 1 as leader".into(), "joined dead-2 in 2".into()));
    assert_eq!(event(&mut a), "joined a-1 in 2 as leader");
    drop(dead);
    log.set_available(false);
    for _ in 0..10 {
        clock.advance(Duration::from_secs(10));
        assert_eq!(event(&mut a), "unavailable");
    }
    log.set_available(true);
    assert_eq!(event(&mut a), "nothing", "sessions begin anew");
    clock.advance(Duration::from_secs(10));
    assert_eq!(event(&mut a), "joined a-1 in 3 as leader");
}
