//! The few calls of librdkafka that rdkafka's safe wrapper hides or makes dear. The one file of this crate with `unsafe` code.
//!
//! * Consuming in batches, and reading a consumed message in place.
//! * Producing by topic handle, and delivery reports without an allocation per record.
//! * The generation and member id of a group member; offsets sent to a transaction under a given epoch.
//! * A commit of offsets that does not wait forever.
//! * Many topics looked up by one request, with their ids.
//!
//! Two facts carry most of the safety comments below: librdkafka's handles may be used from any thread, and what it gives
//! out (a queue, a topic, a message) must be given back once, before its client is destroyed. So every handle here owns what
//! it gives back, and stands in front of its client in the struct that owns both: fields are dropped in order.
#![allow(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{CStr, CString, c_char, c_int, c_void},
    fmt,
    ptr::{self, NonNull},
    slice,
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext, TopicPartitionList,
    client::Client,
    config::RDKafkaLogLevel,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
    producer::{BaseProducer, Producer},
};
use rdkafka_sys as sys;

use super::context::{Context, log};
use crate::log::{Append, Epoch, TopicId};

/// Messages taken over in one call at most; who asks for more gets them by the next.
const MAX_BATCH: usize = 16_384;

/// A consumer of manually assigned partitions.
pub(super) struct RawConsumer {
    messages: Messages,
    queue: Queue,
    client: Client<Context>,
}

/// A consumed message.
#[derive(Clone, Copy)]
pub(super) struct Consumed<'a>(&'a sys::rd_kafka_message_t);

/// A producer with its topics and its event queue.
pub(super) struct RawProducer {
    topics: Vec<Topic>,
    queue: Queue,
    producer: BaseProducer<Context>,
}

/// The fate of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivery {
    /// What [`RawProducer::produce`] was given.
    pub(super) tag: usize,
    /// Its offset, where it is known.
    pub(super) offset: Option<i64>,
    /// Why it was not appended.
    pub(super) error: Option<Code>,
}

/// A topic as the controller describes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Described {
    pub(super) partitions: i32,
    /// None of brokers that know no ids.
    pub(super) id: Option<TopicId>,
}

/// An error with librdkafka's advice.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) code: Code,
    pub(super) reason: String,
    pub(super) fatal: bool,
    pub(super) retriable: bool,
    pub(super) must_abort: bool,
}

/// A queue of events.
struct Queue(NonNull<sys::rd_kafka_queue_t>);

/// A topic of a producer.
struct Topic(NonNull<sys::rd_kafka_topic_t>);

/// Room for a batch of messages; empty but for the time of one call.
struct Messages(Vec<*mut sys::rd_kafka_message_t>);

/// An event, given back when dropped.
struct Event(NonNull<sys::rd_kafka_event_t>);

// SAFETY: librdkafka's queues, topics and messages may be used from any thread.
unsafe impl Send for Queue {}
unsafe impl Send for Topic {}
unsafe impl Send for Messages {}

// === impl RawConsumer ===

impl RawConsumer {
    /// Creates the client. Its logs and errors arrive while [`RawConsumer::consume`] serves its queue.
    pub(super) fn new(config: &ClientConfig, context: Context) -> KafkaResult<Self> {
        let client = new_client(config, sys::types::RDKafkaType::RD_KAFKA_CONSUMER, context)?;
        // SAFETY: the client is alive and a consumer. Its events go to the consumer queue from now on, so that one queue
        // serves everything.
        let queue = unsafe {
            sys::rd_kafka_poll_set_consumer(client.native_ptr());
            sys::rd_kafka_queue_get_consumer(client.native_ptr())
        };
        let queue = NonNull::new(queue).ok_or_else(|| KafkaError::ClientCreation("it has no group.id".into()))?;
        Ok(Self { messages: Messages(Vec::new()), queue: Queue(queue), client })
    }

    /// The client.
    pub(super) fn client(&self) -> &Client<Context> {
        &self.client
    }

    /// Takes up to `max` messages off the queue and shows each to `each`; returns how many there were.
    ///
    /// It returns early only when there are `max`: librdkafka waits the whole timeout for a full batch.
    pub(super) fn consume(&mut self, max: usize, timeout: Duration, mut each: impl FnMut(Consumed<'_>)) -> usize {
        let max = max.min(MAX_BATCH);
        let messages = &mut self.messages.0;
        messages.clear();
        messages.reserve(max);
        // SAFETY: the queue is alive, and there is room for `max` pointers behind the vector's.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue.0.as_ptr(), to_ms(timeout), messages.as_mut_ptr(), max)
        };
        let count = usize::try_from(count).unwrap_or(0);
        // SAFETY: librdkafka has written so many pointers, and not more than `max`.
        unsafe { messages.set_len(count) };
        for message in messages.drain(..) {
            // SAFETY: the message is alive until it is given back behind the call, and nobody else has it.
            unsafe {
                each(Consumed(&*message));
                sys::rd_kafka_message_destroy(message);
            }
        }
        count
    }

    /// Adds partitions, each from the offset in the list.
    pub(super) fn assign(&self, partitions: &TopicPartitionList) -> Result<(), Failure> {
        // SAFETY: both pointers are alive; the list is copied.
        failure(unsafe { sys::rd_kafka_incremental_assign(self.client.native_ptr(), partitions.ptr()) })
    }

    /// Removes partitions. What was fetched of them is outdated from now on: librdkafka drops it as it meets it.
    pub(super) fn unassign(&self, partitions: &TopicPartitionList) -> Result<(), Failure> {
        // SAFETY: both pointers are alive; the list is copied.
        failure(unsafe { sys::rd_kafka_incremental_unassign(self.client.native_ptr(), partitions.ptr()) })
    }

    /// Replaces the times in the list (in ms) by the offsets of the first records that are not older.
    pub(super) fn offsets_for_times(&self, times: &mut TopicPartitionList, timeout: Duration) -> Result<(), Code> {
        // SAFETY: both pointers are alive for the call, which changes the list in place.
        let code = Code::from(unsafe {
            sys::rd_kafka_offsets_for_times(self.client.native_ptr(), times.ptr(), to_ms(timeout))
        });
        if code == Code::NoError { Ok(()) } else { Err(code) }
    }

    /// The high watermark as the last fetch told it.
    pub(super) fn high_watermark(&self, topic: &str, partition: i32) -> Option<i64> {
        let topic = CString::new(topic).ok()?;
        let (mut low, mut high) = (-1, -1);
        // SAFETY: all pointers are alive for the call.
        let error = unsafe {
            let client = self.client.native_ptr();
            sys::rd_kafka_get_watermark_offsets(client, topic.as_ptr(), partition, &raw mut low, &raw mut high)
        };
        (Code::from(error) == Code::NoError && high >= 0).then_some(high)
    }
}

impl Drop for RawConsumer {
    fn drop(&mut self) {
        // SAFETY: the client is alive; it is destroyed after this by its own drop.
        let error = Code::from(unsafe { sys::rd_kafka_consumer_close(self.client.native_ptr()) });
        if error != Code::NoError {
            tracing::debug!(%error, "a reader did not close in good order");
        }
    }
}

/// A client that neither consumes nor produces. Its logs and errors arrive with [`serve_events`].
pub(super) fn client(config: &ClientConfig, context: Context) -> KafkaResult<Client<Context>> {
    new_client(config, sys::types::RDKafkaType::RD_KAFKA_PRODUCER, context)
}

fn new_client(config: &ClientConfig, kind: sys::types::RDKafkaType, context: Context) -> KafkaResult<Client<Context>> {
    let native = config.create_native_config()?;
    // SAFETY: the configuration is alive, and the callbacks are what librdkafka expects: they find the context by the
    // client's opaque pointer, which `Client` sets to the context that it keeps.
    unsafe {
        sys::rd_kafka_conf_set_error_cb(native.ptr(), Some(on_error));
        sys::rd_kafka_conf_set_log_cb(native.ptr(), Some(on_log));
        sys::rd_kafka_conf_set_stats_cb(native.ptr(), Some(on_statistics));
    }
    Client::new(config, native, kind, context)
}

unsafe extern "C" fn on_statistics(
    _: *mut sys::rd_kafka_t,
    json: *mut c_char,
    len: usize,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: the text is alive for the call and as long as that; `opaque` is the context that the client keeps alive.
    unsafe {
        if let (Some(json), Some(context)) = (bytes(json.cast(), len), opaque.cast::<Context>().as_ref()) {
            context.statistics(json);
        }
    }
    0
}

unsafe extern "C" fn on_error(_: *mut sys::rd_kafka_t, code: c_int, reason: *const c_char, opaque: *mut c_void) {
    let code = sys::types::RDKafkaRespErr::try_from(code).map_or(Code::Unknown, Code::from);
    // SAFETY: `opaque` is the context that the client keeps alive; the reason is a C string or null.
    unsafe { (*opaque.cast::<Context>()).trouble(code, &text(reason)) };
}

unsafe extern "C" fn on_log(
    client: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    // SAFETY: both are C strings or null.
    let (facility, line) = unsafe { (text(facility), text(line)) };
    // SAFETY: a client that logs is alive, and keeps the context that its opaque pointer is; lines about a configuration have no client.
    let context = unsafe { client.as_ref().and_then(|client| sys::rd_kafka_opaque(client).cast::<Context>().as_ref()) };
    match context {
        Some(context) => context.log(log_level(level), &facility, &line),
        None => log(log_level(level), &facility, &line),
    }
}

// === impl Consumed ===

impl<'a> Consumed<'a> {
    /// The code of what is not a record: the end of a partition, an error.
    pub(super) fn error(&self) -> Option<Code> {
        match Code::from(self.0.err) {
            Code::NoError => None,
            code => Some(code),
        }
    }

    /// What librdkafka says of the error.
    pub(super) fn reason(&self) -> String {
        self.value().map_or_else(String::new, |reason| String::from_utf8_lossy(reason).into_owned())
    }

    /// Whether both are of one partition. Cheaper than comparing names.
    pub(super) fn same_partition(&self, topic: usize, partition: i32) -> bool {
        self.topic_address() == topic && self.0.partition == partition
    }

    /// Where the topic lies in memory: identifies it among messages that are alive at the same time.
    pub(super) fn topic_address(&self) -> usize {
        self.0.rkt.addr()
    }

    /// The topic; none with errors that concern no topic.
    pub(super) fn topic(&self) -> Option<&'a str> {
        if self.0.rkt.is_null() {
            return None;
        }
        // SAFETY: the message keeps its topic alive, and that its name.
        unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(self.0.rkt)) }.to_str().ok()
    }

    /// The partition.
    pub(super) fn partition(&self) -> i32 {
        self.0.partition
    }

    /// The offset of the record, or of the end, or the position that an error is about.
    pub(super) fn offset(&self) -> i64 {
        self.0.offset
    }

    /// Event time in ms, -1 where there is none.
    pub(super) fn timestamp_ms(&self) -> i64 {
        // SAFETY: the message is alive, and a null type is allowed.
        unsafe { sys::rd_kafka_message_timestamp(self.0, ptr::null_mut()) }
    }

    /// The key.
    pub(super) fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: the message owns so many bytes there, or the pointer is null.
        unsafe { bytes(self.0.key, self.0.key_len) }
    }

    /// The value.
    pub(super) fn value(&self) -> Option<&'a [u8]> {
        // SAFETY: as the key.
        unsafe { bytes(self.0.payload, self.0.len) }
    }

    /// The headers in order. One whose name is not UTF-8 has U+FFFD in its place.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive. It owns the headers, which are parsed at the first call.
        let error = unsafe { sys::rd_kafka_message_headers(self.0, &raw mut headers) };
        let found = Code::from(error) == Code::NoError;
        (0..).map_while(move |index| {
            if !found {
                return None;
            }
            let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers are alive with the message; an index behind the last is an error.
            unsafe {
                let error = sys::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut len);
                (Code::from(error) == Code::NoError)
                    .then(|| (CStr::from_ptr(name).to_str().unwrap_or("\u{fffd}"), bytes(value, len)))
            }
        })
    }
}

// === impl RawProducer ===

impl RawProducer {
    /// Creates the client.
    pub(super) fn new(config: &ClientConfig, context: Context) -> KafkaResult<Self> {
        let producer: BaseProducer<Context> = config.create_with_context(context)?;
        let queue = Queue::main(producer.client());
        Ok(Self { topics: Vec::new(), queue, producer })
    }

    /// The safe wrapper, for transactions.
    pub(super) fn safe(&self) -> &BaseProducer<Context> {
        &self.producer
    }

    /// Opens a topic; returns its index for [`RawProducer::produce`].
    pub(super) fn open_topic(&mut self, name: &str) -> KafkaResult<usize> {
        let name = CString::new(name)?;
        // SAFETY: the client is alive; null settings are the defaults.
        let topic = unsafe { sys::rd_kafka_topic_new(self.native(), name.as_ptr(), ptr::null_mut()) };
        let topic = NonNull::new(topic).ok_or(KafkaError::MessageProduction(Code::InvalidTopic))?;
        self.topics.push(Topic(topic));
        Ok(self.topics.len() - 1)
    }

    /// Queues a copy of a record. `tag` comes back with its [`Delivery`].
    pub(super) fn produce(&self, topic: usize, tag: usize, record: &Append<'_>) -> Result<(), Failure> {
        use sys::rd_kafka_vtype_t as Kind;
        let headers = RawHeaders::new(record);
        let member = |kind, u| sys::rd_kafka_vu_t { vtype: kind, u };
        let value = Value { mem: memory(record.value) };
        let key = Value { mem: memory(record.key) };
        let fields = [
            member(Kind::RD_KAFKA_VTYPE_RKT, Value { rkt: self.topics[topic].0.as_ptr() }),
            member(Kind::RD_KAFKA_VTYPE_PARTITION, Value { i32_: record.partition }),
            member(Kind::RD_KAFKA_VTYPE_MSGFLAGS, Value { i: sys::RD_KAFKA_MSG_F_COPY }),
            member(Kind::RD_KAFKA_VTYPE_VALUE, value),
            member(Kind::RD_KAFKA_VTYPE_KEY, key),
            member(Kind::RD_KAFKA_VTYPE_TIMESTAMP, Value { i64_: record.timestamp_ms }),
            member(Kind::RD_KAFKA_VTYPE_OPAQUE, Value { ptr: ptr::without_provenance_mut(tag) }),
            member(Kind::RD_KAFKA_VTYPE_HEADERS, Value { headers: headers.0 }),
        ];
        let fields_used = fields.len() - usize::from(headers.0.is_null());
        // SAFETY: each field holds the member of the union that its kind says. Key and value are alive for the call, which
        // copies them. The topic is alive and of this client.
        failure(unsafe { sys::rd_kafka_produceva(self.native(), fields.as_ptr(), fields_used) })?;
        headers.given_away();
        Ok(())
    }

    /// Waits up to `timeout` for events, then serves all that are there and shows each delivery to `each`.
    pub(super) fn serve(&self, timeout: Duration, each: impl FnMut(Delivery)) {
        serve(self.producer.client(), &self.queue, timeout, each);
    }

    /// Sends what lingers. Takes up to a millisecond: the client's threads must see that it is asked for, and waiting for the
    /// deliveries themselves would be in vain, as only [`RawProducer::serve`] takes them.
    pub(super) fn send_at_once(&self) {
        // SAFETY: the client is alive and a producer. That not all is delivered when it returns is expected.
        unsafe { sys::rd_kafka_flush(self.native(), 1) };
    }

    /// Records that are not delivered yet, or whose delivery was not shown yet.
    pub(super) fn outstanding(&self) -> bool {
        self.producer.in_flight_count() > 0
    }

    /// Adds input positions to the transaction, fenced by an epoch of a group.
    pub(super) fn send_offsets(
        &self,
        offsets: &TopicPartitionList,
        group_id: &str,
        epoch: &Epoch,
        timeout: Duration,
    ) -> Result<(), Failure> {
        let nul = |_| Failure::local(Code::InvalidArgument, "a group or member id with a NUL byte");
        let group_id = CString::new(group_id).map_err(nul)?;
        let member_id = CString::new(&*epoch.member_id).map_err(nul)?;
        // SAFETY: the strings are alive and copied by the first call. What it returns is used and then given back here.
        failure(unsafe {
            let (group, member) = (group_id.as_ptr(), member_id.as_ptr());
            let member =
                sys::rd_kafka_consumer_group_metadata_new_with_genid(group, epoch.generation, member, ptr::null());
            let error = sys::rd_kafka_send_offsets_to_transaction(self.native(), offsets.ptr(), member, to_ms(timeout));
            sys::rd_kafka_consumer_group_metadata_destroy(member);
            error
        })
    }

    fn native(&self) -> *mut sys::rd_kafka_t {
        self.producer.client().native_ptr()
    }
}

/// The member of librdkafka's union of argument types.
use sys::rd_kafka_vu_s__bindgen_ty_1 as Value;

fn memory(bytes: Option<&[u8]>) -> sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
    let (ptr, size) = bytes.map_or((ptr::null_mut(), 0), |bytes| (bytes.as_ptr().cast_mut().cast(), bytes.len()));
    sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr, size }
}

/// Headers on their way to the producer, which takes them when it takes the record. Null when there are none.
struct RawHeaders(*mut sys::rd_kafka_headers_t);

impl RawHeaders {
    fn new(record: &Append<'_>) -> Self {
        if record.headers.is_empty() {
            return Self(ptr::null_mut());
        }
        // SAFETY: names and values are alive for the calls, which copy them; a null value is a null header value.
        unsafe {
            let headers = sys::rd_kafka_headers_new(4);
            for (name, value) in record.headers.iter() {
                let value = memory(value);
                let (name_len, value_len) = (name.len().cast_signed(), value.size.cast_signed());
                sys::rd_kafka_header_add(headers, name.as_ptr().cast(), name_len, value.ptr, value_len);
            }
            Self(headers)
        }
    }

    fn given_away(mut self) {
        self.0 = ptr::null_mut();
    }
}

impl Drop for RawHeaders {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: they are still ours: the producer did not take them.
            unsafe { sys::rd_kafka_headers_destroy(self.0) };
        }
    }
}

// === impl Queue ===

impl Queue {
    fn main<C: ClientContext>(client: &Client<C>) -> Self {
        // SAFETY: the client is alive.
        let queue = unsafe { sys::rd_kafka_queue_get_main(client.native_ptr()) };
        Self(NonNull::new(queue).expect("every client has a main queue"))
    }

    fn temporary<C: ClientContext>(client: &Client<C>) -> Self {
        // SAFETY: the client is alive.
        let queue = unsafe { sys::rd_kafka_queue_new(client.native_ptr()) };
        Self(NonNull::new(queue).expect("a queue is only memory, and librdkafka aborts when there is none"))
    }

    fn poll(&self, timeout: Duration) -> Option<Event> {
        // SAFETY: the queue is alive.
        NonNull::new(unsafe { sys::rd_kafka_queue_poll(self.0.as_ptr(), to_ms(timeout)) }).map(Event)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the queue is ours, and its client is alive (see the head of this file).
        unsafe { sys::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the topic is ours, and its client is alive (see the head of this file).
        unsafe { sys::rd_kafka_topic_destroy(self.0.as_ptr()) };
    }
}

impl Event {
    fn kind(&self) -> c_int {
        // SAFETY: the event is alive.
        unsafe { sys::rd_kafka_event_type(self.0.as_ptr()) }
    }

    fn error(&self) -> Code {
        // SAFETY: the event is alive.
        unsafe { sys::rd_kafka_event_error(self.0.as_ptr()) }.into()
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is ours.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

/// Waits until a broker answers a question; asks for nothing but the list of brokers.
pub(super) fn reach<C: ClientContext>(client: &Client<C>, timeout: Duration) -> Result<(), Code> {
    let mut metadata = ptr::null();
    // SAFETY: the client is alive; no topics are asked for. What it returns is given back here.
    unsafe {
        let error = sys::rd_kafka_metadata(client.native_ptr(), 0, ptr::null_mut(), &raw mut metadata, to_ms(timeout));
        success(error.into())?;
        sys::rd_kafka_metadata_destroy(metadata);
    }
    Ok(())
}

/// Gives a client bootstrap servers; those that it has stay as they are.
pub(super) fn add_brokers<C: ClientContext>(client: &Client<C>, servers: &str) {
    // The client was made with them: they have no zero byte.
    let Ok(servers) = CString::new(servers) else { return };
    // SAFETY: the client is alive; the text is, for the time of the call.
    unsafe { sys::rd_kafka_brokers_add(client.native_ptr(), servers.as_ptr()) };
}

/// Serves the logs and errors that wait on the main queue of a client that nothing else polls.
pub(super) fn serve_events<C: ClientContext>(client: &Client<C>) {
    serve(client, &Queue::main(client), Duration::ZERO, |_| {});
}

fn serve<C: ClientContext>(client: &Client<C>, queue: &Queue, timeout: Duration, mut each: impl FnMut(Delivery)) {
    let mut next = queue.poll(timeout);
    while let Some(event) = next {
        match event.kind() {
            sys::RD_KAFKA_EVENT_DR => deliveries(&event, &mut each),
            sys::RD_KAFKA_EVENT_LOG => {
                let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
                // SAFETY: the event is alive and a log event; it owns the strings.
                unsafe {
                    let event = event.0.as_ptr();
                    sys::rd_kafka_event_log(event, &raw mut facility, &raw mut line, &raw mut level);
                    client.context().log(log_level(level), &text(facility), &text(line));
                }
            }
            sys::RD_KAFKA_EVENT_ERROR => {
                // SAFETY: the event is alive; it owns the string.
                let reason = unsafe { text(sys::rd_kafka_event_error_string(event.0.as_ptr())) };
                client.context().error(KafkaError::Global(event.error()), &reason);
            }
            _ => {}
        }
        next = queue.poll(Duration::ZERO);
    }
}

fn deliveries(event: &Event, each: &mut impl FnMut(Delivery)) {
    // SAFETY: the event is alive and a delivery report; it owns the messages, and gives null behind the last.
    while let Some(message) = unsafe { sys::rd_kafka_event_message_next(event.0.as_ptr()).as_ref() } {
        let error = Code::from(message.err);
        each(Delivery {
            tag: message._private.addr(),
            offset: (message.offset >= 0).then_some(message.offset),
            error: (error != Code::NoError).then_some(error),
        });
    }
}

// === Topics ===

/// What the controller knows of topics, or why it does not, by their names.
pub(super) fn describe_topics<C: ClientContext>(
    client: &Client<C>,
    names: &[&str],
    timeout: Duration,
) -> Result<BTreeMap<String, Result<Described, Code>>, Code> {
    // Two of one name are refused.
    let names: BTreeSet<&str> = names.iter().copied().collect();
    let names: Result<Vec<_>, _> = names.into_iter().map(CString::new).collect();
    let names = names.map_err(|_| Code::InvalidTopic)?;
    let mut names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let queue = Queue::temporary(client);
    // SAFETY: all pointers are alive. The names and the options are copied, and given back here; the reply holds the queue by itself.
    unsafe {
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = sys::rd_kafka_AdminOptions_new(client.native_ptr(), operation);
        sys::rd_kafka_AdminOptions_set_request_timeout(options, to_ms(timeout), ptr::null_mut(), 0);
        sys::rd_kafka_DescribeTopics(client.native_ptr(), topics, options, queue.0.as_ptr());
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_TopicCollection_destroy(topics);
    }
    // It answers within the timeout, if only that there is no answer.
    let reply = queue.poll(timeout * 2).ok_or(Code::OperationTimedOut)?;
    success(reply.error())?;
    let mut count = 0;
    // SAFETY: the event is alive and owns what it returns; null when it is no answer to this question.
    let topics = unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(reply.0.as_ptr());
        if result.is_null() {
            return Err(Code::Fail);
        }
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if topics.is_null() { &[] } else { slice::from_raw_parts(topics, count) }
    };
    // SAFETY: the topics are alive with the event; one that the broker says nothing of is null.
    Ok(topics.iter().filter(|topic| !topic.is_null()).map(|topic| unsafe { described(*topic) }).collect())
}

/// # Safety
/// `topic` is alive.
unsafe fn described(topic: *const sys::rd_kafka_TopicDescription_t) -> (String, Result<Described, Code>) {
    // SAFETY: by the caller's promise; the topic owns what it returns. Without an error it has an id, which is all zeros of old brokers.
    unsafe {
        let name = text(sys::rd_kafka_TopicDescription_name(topic));
        let error = sys::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() {
            return (name, Err(sys::rd_kafka_error_code(error).into()));
        }
        let mut partitions = 0;
        sys::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let most_significant = sys::rd_kafka_Uuid_most_significant_bits(id).cast_unsigned();
        let least_significant = sys::rd_kafka_Uuid_least_significant_bits(id).cast_unsigned();
        let is_known = (most_significant, least_significant) != (0, 0);
        let id = is_known.then(|| TopicId::new(most_significant, least_significant));
        (name, Ok(Described { partitions: i32::try_from(partitions).unwrap_or(i32::MAX), id }))
    }
}

// === Groups ===

/// Generation and member id as the client has them now. Outside a group the generation is negative or the id is empty.
pub(super) fn epoch<C: ClientContext>(client: &Client<C>) -> Epoch {
    // SAFETY: the client is alive. What it returns is a snapshot, used and then given back here; null without a group.
    unsafe {
        let metadata = sys::rd_kafka_consumer_group_metadata(client.native_ptr());
        if metadata.is_null() {
            return Epoch { generation: -1, member_id: "".into() };
        }
        let generation = sys::rd_kafka_consumer_group_metadata_generation_id(metadata);
        let member_id = text(sys::rd_kafka_consumer_group_metadata_member_id(metadata)).into();
        sys::rd_kafka_consumer_group_metadata_destroy(metadata);
        Epoch { generation, member_id }
    }
}

/// Commits offsets under the member's present epoch; librdkafka's own synchronous commit has no timeout.
pub(super) fn commit<C: ClientContext>(
    client: &Client<C>,
    offsets: &TopicPartitionList,
    timeout: Duration,
) -> Result<(), Code> {
    let queue = Queue::temporary(client);
    // SAFETY: all pointers are alive; the list is copied, and the reply holds the queue by itself.
    let error = unsafe {
        let (client, queue) = (client.native_ptr(), queue.0.as_ptr());
        sys::rd_kafka_commit_queue(client, offsets.ptr(), queue, None, ptr::null_mut())
    };
    success(error.into())?;
    let reply = queue.poll(timeout).ok_or(Code::OperationTimedOut)?;
    success(reply.error())?;
    // SAFETY: the event is alive; it owns the list, or gives null.
    let partitions = unsafe {
        match sys::rd_kafka_event_topic_partition_list(reply.0.as_ptr()).as_ref() {
            Some(list) if list.cnt > 0 => slice::from_raw_parts(list.elems, usize::try_from(list.cnt).unwrap_or(0)),
            _ => &[],
        }
    };
    partitions.iter().try_for_each(|partition| success(partition.err.into()))
}

fn success(code: Code) -> Result<(), Code> {
    if code == Code::NoError { Ok(()) } else { Err(code) }
}

// === impl Failure ===

impl Failure {
    fn local(code: Code, reason: &str) -> Self {
        Self { code, reason: reason.into(), fatal: false, retriable: false, must_abort: false }
    }
}

fn failure(error: *mut sys::rd_kafka_error_t) -> Result<(), Failure> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the error is ours until it is given back here.
    unsafe {
        let failure = Failure {
            code: sys::rd_kafka_error_code(error).into(),
            reason: text(sys::rd_kafka_error_string(error)),
            fatal: sys::rd_kafka_error_is_fatal(error) != 0,
            retriable: sys::rd_kafka_error_is_retriable(error) != 0,
            must_abort: sys::rd_kafka_error_txn_requires_abort(error) != 0,
        };
        sys::rd_kafka_error_destroy(error);
        Err(failure)
    }
}

// === Small things ===

/// A duration as librdkafka takes it: rounded up, so that a short wait does not become a busy loop.
fn to_ms(duration: Duration) -> c_int {
    c_int::try_from(duration.as_micros().div_ceil(1_000)).unwrap_or(c_int::MAX)
}

/// # Safety
/// `text` is null or a C string.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: by the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// # Safety
/// `ptr` is null, or there are `len` bytes that live as long as `'a`.
unsafe fn bytes<'a>(ptr: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: by the caller's promise.
    (!ptr.is_null()).then(|| unsafe { slice::from_raw_parts(ptr.cast(), len) })
}

fn log_level(level: c_int) -> RDKafkaLogLevel {
    match level {
        0 => RDKafkaLogLevel::Emerg,
        1 => RDKafkaLogLevel::Alert,
        2 => RDKafkaLogLevel::Critical,
        3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 => RDKafkaLogLevel::Notice,
        6 => RDKafkaLogLevel::Info,
        _ => RDKafkaLogLevel::Debug,
    }
}

impl fmt::Debug for RawConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawConsumer").field("context", self.client.context()).finish_non_exhaustive()
    }
}

impl fmt::Debug for RawProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawProducer").field("topics", &self.topics.len()).finish_non_exhaustive()
    }
}
