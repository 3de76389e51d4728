//! Settings of internal topics that the configuration changes.

use std::collections::{BTreeMap, BTreeSet};

use super::topics::{DELETE_RETENTION_MS, TopicsError};
use crate::log::NewTopic;

/// Settings by the pattern of names that they are for: a full name, or one with a `*` for any text.
pub(super) type Overrides = BTreeMap<String, BTreeMap<String, String>>;

/// The settings of each topic that were asked for: one that exists has to have them.
pub(super) type Asked = BTreeMap<String, BTreeSet<String>>;

/// What the framework relies on.
const FIXED: [&str; 2] = ["cleanup.policy", "message.timestamp.type"];

/// Changes the settings of topics.
///
/// # Errors
/// When a pattern fits no topic, or a setting is one that the framework relies on.
pub(super) fn change(topics: &mut [NewTopic], overrides: &Overrides) -> Result<Asked, TopicsError> {
    let mut asked = Asked::new();
    for (pattern, settings) in overrides {
        let mut fits = false;
        for topic in topics.iter_mut().filter(|topic| is_like(&topic.name, pattern)) {
            fits = true;
            for (setting, value) in settings {
                check(pattern, topic, setting, value)?;
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
    Ok(asked)
}

fn check(pattern: &str, topic: &NewTopic, setting: &str, value: &str) -> Result<(), TopicsError> {
    let refused = |problem: String| {
        let (pattern, setting) = (pattern.to_owned(), format!("{setting}={value}"));
        Err(TopicsError::Setting { pattern, topic: topic.name.clone(), setting, problem })
    };
    if FIXED.contains(&setting) {
        return refused("how records are cleaned up and stamped is part of how the application works".into());
    }
    let compacted = topic.config.get("cleanup.policy").is_some_and(|policy| policy.contains("compact"));
    if setting == "delete.retention.ms" && compacted && !value.parse().is_ok_and(|ms: i64| ms >= DELETE_RETENTION_MS) {
        return refused(format!("a changelog has to remember deletions for a day: {DELETE_RETENTION_MS} or more"));
    }
    Ok(())
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

    fn topic(name: &str, policy: &str) -> NewTopic {
        let config = [("cleanup.policy".to_owned(), policy.to_owned())].into();
        NewTopic { name: name.into(), partitions: 1, replication_factor: None, config }
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
        let mut topics = [topic("app-a-changelog", "compact"), topic("app-b-repartition", "delete")];
        let given =
            [("*", "segment.ms", "1"), ("*-changelog", "segment.ms", "2"), ("app-b-repartition", "segment.ms", "3")];
        let asked = change(&mut topics, &overrides(&given)).expect("allowed");
        assert_eq!(topics.each_ref().map(|topic| topic.config["segment.ms"].as_str()), ["2", "3"]);
        assert_eq!(asked.len(), 2);
    }

    #[test]
    fn what_the_application_relies_on_stays_and_what_fits_nothing_is_named() {
        for (pattern, setting, value, says) in [
            ("*", "cleanup.policy", "delete", "part of how the application works"),
            ("*-changelog", "delete.retention.ms", "1000", "86400000 or more"),
            ("app-c-changelog", "segment.ms", "1", "`app-a-changelog`"),
        ] {
            let mut topics = [topic("app-a-changelog", "compact")];
            let error = change(&mut topics, &overrides(&[(pattern, setting, value)])).expect_err("refused").to_string();
            assert!(error.contains(pattern) && error.contains(says), "{error}");
        }
    }
}
