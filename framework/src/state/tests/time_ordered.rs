//! Buffers of records in the order of time.

use super::*;

fn buffer(settings: &StateSettings) -> TaskStores {
    let spec = StoreSpec { kind: StoreKind::TimeOrderedBuffer, ..spec("waiting", true) };
    TaskStores::open(settings, TASK, [spec].into()).expect("new stores")
}

fn take(stores: &mut TaskStores, from_ms: i64, to_ms: i64, limit: usize) -> Vec<String> {
    let taken = stores.take_in_order(A, from_ms, to_ms, limit).expect("a readable store");
    taken.into_iter().map(|(key, value)| String::from_utf8([key, value].concat()).expect("text")).collect()
}

#[test]
fn records_come_out_by_time_key_and_their_coming() {
    on_each_backend(|settings| {
        let mut stores = buffer(settings);
        assert_eq!(stores.buffer_time_ms(A).expect("a readable store"), -1);
        for (time_ms, key, value) in [(20, b"b", b"1"), (10, b"b", b"2"), (20, b"a", b"3"), (20, b"b", b"4")] {
            stores.add_in_order(A, time_ms, key, value).expect("a readable store");
        }
        freeze(&mut stores);
        stores.commit(&point(&[(A, 4)], 4)).expect("a writable store");
        stores.add_in_order(A, 20, b"b", b"5").expect("a readable store");
        stores.add_in_order(A, 30, b"a", b"6").expect("a readable store");
        assert_eq!(take(&mut stores, 0, 9, 10), [""; 0]);
        assert_eq!(take(&mut stores, 11, 20, 2), ["a3", "b1"]);
        assert_eq!(take(&mut stores, 0, 20, 10), ["b2", "b4", "b5"]);
        assert_eq!(stores.buffer_time_ms(A).expect("a readable store"), 30);

        stores.discard();
        assert_eq!(take(&mut stores, 0, i64::MAX, 10), ["b2", "a3", "b1", "b4"]);
        assert_eq!(stores.buffer_time_ms(A).expect("a readable store"), 20);
    });
}

#[test]
fn a_restored_buffer_goes_on_where_it_was() {
    on_each_backend(|settings| {
        let mut log: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
        let mut stores = buffer(&StateSettings::default());
        for interval in [(3, b"1"), (3, b"2"), (7, b"3")] {
            stores.add_in_order(A, interval.0, b"k", interval.1).expect("a readable store");
            if interval.0 == 7 {
                assert_eq!(take(&mut stores, 0, 3, 1), ["k1"]);
            }
            let Ok(()) = stores.freeze(|dirty| {
                log.push((dirty.key.to_vec(), dirty.value.map(<[u8]>::to_vec)));
                Ok::<_, Infallible>(())
            });
            stores.commit(&point(&[(A, 1)], 1)).expect("a writable store");
        }
        assert_eq!(
            log[0],
            (b"\0\0\0\0\0\0\0\0\x03k\0\0\0\x01".to_vec(), Some(b"1".to_vec())),
            "as Kafka Streams logs it"
        );
        assert_eq!(log.iter().filter(|(_, value)| value.is_none()).count(), 1);

        let mut restored = buffer(settings);
        let records: Vec<Rec<'_>> = log.iter().map(|(key, value)| (Some(&**key), value.as_deref(), 1)).collect();
        let batch = batch(TopicPartition::new("app-waiting-changelog", TASK.partition), &records);
        restored.restore(A, &batch, 4).expect("a writable store");
        assert_eq!(restored.buffer_time_ms(A).expect("a readable store"), 7);
        restored.add_in_order(A, 3, b"k", b"4").expect("a readable store");
        assert_eq!(take(&mut restored, 0, 7, 10), ["k2", "k4", "k3"]);
    });
}
