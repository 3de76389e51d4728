//! Settings of internal topics that the configuration changes.

use std::collections::{BTreeMap, BTreeSet};

use super::topics::TopicsError;
use crate::{log::NewTopic, topology::InternalTopic};

/// Settings by the pattern of names that they are for: a full name, or one with a `*` for any text.
pub(super) type Overrides = BTreeMap<String, BTreeMap<String, String>>;

/// The settings of each topic that were asked for: one that exists has to have them.
pub(super) type Asked = BTreeMap<String, BTreeSet<String>>;

/// Changes the settings of topics, and adds to `asked` which. `needed` are the same topics as the topology needs them.
///
/// # Errors
/// When a pattern fits no topic, or a setting is one that the framework relies on.
pub(super) fn change(
    topics: &mut [NewTopic],
    needed: &[InternalTopic],
    overrides: &Overrides,
    asked: &mut Asked,
) -> Result<(), TopicsError> {
    for (pattern, settings) in overrides {
        let mut fits = false;
        for (topic, needed) in topics.iter_mut().zip(needed).filter(|(topic, _)| is_like(&topic.name, pattern)) {
            fits = true;
            for (setting, value) in settings {
                check(pattern, needed, setting, value)?;
                topic.config.insert(setting.clone(), value.clone());
                asked.entry(topic.name.clone()).or_default().insert(setting.clone());
            }
        }
        // An application without internal topics may still be configured like the others.
        if !fits && pattern != "*" {
            let there = topics.iter().map(|topic| format!("`{}`", topic.name)).collect();
            return Err(TopicsError::NoneLike { pattern: pattern.clone(), there });
        }
    }
    Ok(())
}

fn check(pattern: &str, topic: &InternalTopic, setting: &str, value: &str) -> Result<(), TopicsError> {
    let Some(problem) = topic.refuses(setting, value) else { return Ok(()) };
    let (pattern, setting) = (pattern.to_owned(), format!("{setting}={value}"));
    Err(TopicsError::Setting { pattern, topic: topic.name.to_string(), setting, problem })
}

/// Whether a name is like a pattern with at most one `*`.
fn is_like(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern,
        Some((start, end)) => name.len() >= pattern.len() - 1 && name.starts_with(start) && name.ends_with(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed(name: &str, settings: &[(&str, &str)]) -> InternalTopic {
        let config = settings.iter().map(|(setting, value)| ((*setting).to_owned(), (*value).to_owned())).collect();
        InternalTopic { name: name.into(), partitions: 1, config, asked: BTreeMap::new() }
    }

    fn wanted(needed: &[InternalTopic]) -> Vec<NewTopic> {
        let topic = |topic: &InternalTopic| NewTopic {
            name: topic.name.to_string(),
            partitions: topic.partitions,
            replication_factor: None,
            config: topic.config.clone(),
        };
        needed.iter().map(topic).collect()
    }

    fn overrides(given: &[(&str, &str, &str)]) -> Overrides {
        let mut overrides = Overrides::new();
        for (pattern, setting, value) in given {
            overrides.entry((*pattern).into()).or_default().insert((*setting).into(), (*value).into());
        }
        overrides
    }

    #[test]
    fn a_name_goes_before_a_pattern() {
        let needed = [
            needed("app-a-changelog", &[("cleanup.policy", "compact")]),
            needed("app-b-repartition", &[("cleanup.policy", "delete")]),
        ];
        let mut topics = wanted(&needed);
        let given =
            [("*", "segment.ms", "1"), ("*-changelog", "segment.ms", "2"), ("app-b-repartition", "segment.ms", "3")];
        let mut asked = Asked::new();
        change(&mut topics, &needed, &overrides(&given), &mut asked).expect("allowed");
        let segments: Vec<_> = topics.iter().map(|topic| topic.config["segment.ms"].as_str()).collect();
        assert_eq!(segments, ["2", "3"]);
        assert_eq!(asked.len(), 2);
    }

    #[test]
    fn what_the_application_relies_on_stays_and_what_fits_nothing_is_named() {
        let needed = [
            needed("app-a-changelog", &[("cleanup.policy", "compact")]),
            needed("app-w-changelog", &[("cleanup.policy", "compact,delete"), ("retention.ms", "5000")]),
            needed("app-r-repartition", &[("cleanup.policy", "delete"), ("retention.ms", "-1")]),
        ];
        let change = |pattern, setting, value| {
            let overrides = overrides(&[(pattern, setting, value)]);
            change(&mut wanted(&needed), &needed, &overrides, &mut Asked::new())
        };
        for (pattern, setting, value, says) in [
            ("*", "cleanup.policy", "delete", "part of how the application works"),
            ("*-changelog", "delete.retention.ms", "1000", "86400000 or more"),
            ("*-changelog", "retention.ms", "4999", "`app-w-changelog` is like: the changelog has to keep"),
            ("app-w-changelog", "retention.bytes", "1000", "of any size"),
            ("app-r-repartition", "retention.ms", "604800000", "not processed, however old and of any size: -1"),
            ("app-r-repartition", "retention.bytes", "1000000", "of any size: -1"),
            ("app-c-changelog", "segment.ms", "1", "`app-a-changelog`"),
        ] {
            let error = change(pattern, setting, value).expect_err("refused").to_string();
            assert!(error.contains(pattern) && error.contains(says), "{error}");
        }
        change("app-w-changelog", "retention.ms", "5000").expect("it keeps as much");
        for setting in ["retention.ms", "retention.bytes"] {
            change("*", setting, "-1").expect("all keep everything");
        }
    }
}
