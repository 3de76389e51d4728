//! What the dashboard and the alerts ask of Prometheus, to be compared with what an instance exposes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

/// Every metric of ours has a name that begins so.
const PREFIX: &str = "millpond_";

/// Series that Prometheus makes of one histogram.
const HISTOGRAM_SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Names of all metrics that stand in `dashboards/*.json` and `dashboards/alerts.yaml` below `root`, the root of the
/// repository. A histogram counts once, by its own name.
///
/// # Errors
/// When a file cannot be read, or when no metric is found at all.
pub fn metrics_used(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let folder = root.join("dashboards");
    let mut files = vec![folder.join("alerts.yaml")];
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }

    let mut used = BTreeSet::new();
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        used.extend(metric_names(&text).map(String::from));
    }
    ensure!(!used.is_empty(), "no metric in {}: {files:?}", folder.display());
    Ok(used)
}

/// The metrics named anywhere in `text`, in order, as often as they occur.
fn metric_names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with(PREFIX))
        .map(|word| HISTOGRAM_SUFFIXES.iter().find_map(|suffix| word.strip_suffix(suffix)).unwrap_or(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_queries_and_histograms_count_once() {
        let query = r#"histogram_quantile(0.9, sum by (le) (rate(millpond_commit_duration_seconds_bucket{job="a"}[5m])))
            / on (task) millpond_commit_duration_seconds_count + my_millpond_x - millpond_tasks{state="millpond"}"#;
        let names: Vec<&str> = metric_names(query).collect();
        assert_eq!(names, ["millpond_commit_duration_seconds", "millpond_commit_duration_seconds", "millpond_tasks"]);
    }

    #[test]
    fn the_repository_uses_metrics_of_dashboard_and_alerts() {
        let used = metrics_used(&crate::checkout::root()).expect("dashboards are readable");
        for name in ["millpond_build_info", "millpond_query_duration_seconds", "millpond_worker_busy_seconds_total"] {
            assert!(used.contains(name), "{name} is missing in {used:?}");
        }
        assert!(used.iter().all(|name| !name.ends_with("_bucket")), "{used:?}");
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_it() {
        let error = metrics_used(Path::new("/nowhere")).expect_err("there is no such folder");
        assert!(error.to_string().contains("/nowhere/dashboards"), "{error}");
    }
}
