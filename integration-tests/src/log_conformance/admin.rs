//! Topics and their settings.

use std::collections::BTreeMap;

use anyhow::ensure;
use millpond::log::{Isolation, LogError, NewTopic, TopicInfo};

use super::{
    Bed,
    tools::{Patience, ensure_error, numbered, partition, read, topic, write},
};

fn new(name: &str, partitions: i32, config: &[(&str, &str)]) -> NewTopic {
    let config: BTreeMap<_, _> = config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    NewTopic { name: name.to_owned(), partitions, replication_factor: Some(1), config }
}

/// It is left as it is; the others of the call are created. `topics` tells those that exist.
pub fn creating_a_topic_that_exists_is_no_error(bed: &dyn Bed) -> anyhow::Result<()> {
    let (old, fresh, missing) = (topic(bed, 3, &[])?, bed.unique("fresh"), bed.unique("missing"));
    write(bed, &partition(&old, 0), numbered("k", 1))?;
    let log = bed.log();
    let mut admin = log.admin()?;
    admin.create_topics(&[new(&old, 5, &[]), new(&fresh, 2, &[])])?;
    let mut found = admin.topics(&[&fresh, &missing, &old])?;
    found.sort_by_key(|topic| topic.partitions);
    let [TopicInfo { name: first, partitions: 2, id: Some(_) }, TopicInfo { name: second, partitions: 3, id: Some(_) }] =
        &found[..]
    else {
        anyhow::bail!("{found:?}")
    };
    ensure!((first, &**second) == (&fresh, &*old), "{found:?}");
    ensure!(read(bed, Isolation::ReadCommitted, &partition(&old, 0))? == ["k0"], "its records are there");
    Ok(())
}

/// What was set, and the defaults of the rest.
pub fn settings_are_read_back_with_defaults(bed: &dyn Bed) -> anyhow::Result<()> {
    let set = [("cleanup.policy", "compact"), ("segment.ms", "12345")];
    let topic = topic(bed, 1, &set)?;
    let log = bed.log();
    let config = log.admin()?.topic_config(&topic)?;
    for (name, value) in set.into_iter().chain([("min.compaction.lag.ms", "0"), ("max.message.bytes", "1048588")]) {
        ensure!(config.get(name).map(String::as_str) == Some(value), "{name}={:?}", config.get(name));
    }
    ensure_error!(log.admin()?.topic_config(&bed.unique("missing")), LogError::UnknownTopic { .. });
    Ok(())
}

/// A bad name, number of partitions or setting: the error says which topic.
pub fn what_cannot_be_created_is_refused_by_name(bed: &dyn Bed) -> anyhow::Result<()> {
    let log = bed.log();
    let mut admin = log.admin()?;
    let name = bed.unique("topic");
    let bad = [
        new(&format!("{name}/slash"), 1, &[]),
        new(&name, 0, &[]),
        new(&name, 1, &[("no.such.setting", "1")]),
        new(&name, 1, &[("cleanup.policy", "shred")]),
    ];
    for topic in bad {
        match admin.create_topics(std::slice::from_ref(&topic)) {
            Err(error @ LogError::Refused { .. }) => {
                ensure!(error.to_string().contains(&topic.name), "{error} names {topic:?}");
            }
            other => anyhow::bail!("a refusal expected, not {other:?}: {topic:?}"),
        }
    }
    ensure!(admin.topics(&[&name])?.is_empty(), "nothing was created");
    Ok(())
}

/// Deleting one that does not exist is no error; one that is made anew is empty and has another id.
pub fn deleted_topics_are_gone(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 1, &[])?;
    write(bed, &partition(&topic, 0), numbered("k", 3))?;
    let log = bed.log();
    let mut admin = log.admin()?;
    let before = admin.topics(&[&topic])?;
    ensure!(before == admin.topics(&[&topic, &topic])?, "it keeps its id, and is told once");
    admin.delete_topics(&[&topic, &bed.unique("missing")])?;
    let patience = Patience::new("the topic to be gone");
    while !admin.topics(&[&topic])?.is_empty() {
        patience.check()?;
    }
    admin.create_topics(&[new(&topic, 1, &[])])?;
    let patience = Patience::new("the topic to be there");
    let after = loop {
        match &admin.topics(&[&topic])?[..] {
            [] => patience.check()?,
            found => break found.to_vec(),
        }
    };
    ensure!(after[0].id.is_some() && after[0].id != before[0].id, "{before:?}, then {after:?}");
    ensure!(read(bed, Isolation::ReadCommitted, &partition(&topic, 0))?.is_empty(), "made anew, it is empty");
    Ok(())
}

/// The beginning moves up, the end stays; an offset beyond the end is refused.
pub fn deleted_records_are_gone(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 2, &[])?;
    let (some, all) = (partition(&topic, 0), partition(&topic, 1));
    write(bed, &some, numbered("k", 10))?;
    write(bed, &all, numbered("k", 10))?;
    let log = bed.log();
    let mut admin = log.admin()?;
    admin.delete_records(&[(some.clone(), 7), (all.clone(), 10)])?;
    ensure!(read(bed, Isolation::ReadCommitted, &some)? == ["k7", "k8", "k9"]);
    ensure!(read(bed, Isolation::ReadCommitted, &all)?.is_empty());
    let mut reader = log.reader(Isolation::ReadCommitted)?;
    ensure!((reader.beginning_offset(&some)?, reader.end_offset(&some)?) == (7, 10));
    ensure!((reader.beginning_offset(&all)?, reader.end_offset(&all)?) == (10, 10));
    admin.delete_records(&[(some.clone(), 2)])?;
    ensure!(reader.beginning_offset(&some)? == 7, "what is gone does not come back");
    ensure_error!(admin.delete_records(&[(some, 11)]), LogError::Refused { .. });
    Ok(())
}
