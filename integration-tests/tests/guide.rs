//! The guide is whole: every page is in the table of contents, every link leads somewhere, every Rust block is a test.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

use integration_tests::checkout;

/// What is on the web is in this checkout, too.
const REPOSITORY: [&str; 2] =
    ["https://github.com/millpond/millpond/blob/main/", "https://github.com/millpond/millpond/tree/main/"];

/// Pages beside the guide whose links are checked.
const OTHERS: [&str; 5] =
    ["README.md", "CONTRIBUTING.md", "dashboards/README.md", "k8s/README.md", "k8s/millpond/README.md"];

/// The folders of the repository.
const FOLDERS: [&str; 6] = ["framework/", "services/", "k8s/", "dashboards/", "integration-tests/", "docs/"];

/// A page without its blocks of code.
fn without_blocks(text: &str) -> String {
    let mut fenced = false;
    let mut outside = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            outside.push_str(line);
            outside.push('\n');
        }
    }
    assert!(!fenced, "a block of code does not end:\n{text}");
    outside
}

/// The targets of a page's links, in order. What stands in code is none.
fn links(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    let text = without_blocks(text);
    let mut rest = text.as_str();
    while let Some(at) = rest.find(['`', ']']) {
        let (what, behind) = rest[at..].split_at(1);
        rest = match (what, behind.strip_prefix('(').and_then(|link| link.split_once(')'))) {
            ("`", _) => behind.split_once('`').map_or("", |(_, behind)| behind),
            (_, Some((target, behind))) => {
                targets.push(target.to_owned());
                behind
            }
            _ => behind,
        };
    }
    targets.retain(|target| !target.is_empty());
    targets
}

/// The files and folders of this repository that a page names in code, in order: what begins with the name of one of its folders.
fn named_files(text: &str) -> Vec<String> {
    let outside = without_blocks(text);
    // Spans of code are every second part.
    let code = outside.split('`').skip(1).step_by(2).flat_map(str::split_whitespace);
    let is_file = |word: &&str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
        word.chars().all(legal) && FOLDERS.iter().any(|folder| word.starts_with(folder))
    };
    code.filter(is_file).map(str::to_owned).collect()
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings
        .map(|heading| {
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.collect::<String>().to_lowercase().replace(' ', "-")
        })
        .collect()
}

/// A path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::CurDir => {}
            part => parts.push(part),
        }
    }
    parts.iter().collect()
}

/// All pages below a folder.
fn pages(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.insert(path);
        }
    }
}

/// The pages of the guide.
fn guide() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    pages(&checkout::root().join("docs"), &mut found);
    assert!(found.len() > 20, "{found:?}");
    found
}

fn read(page: &Path) -> String {
    fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

/// What is wrong with a link of a page.
fn problem(page: &Path, target: &str) -> Option<String> {
    let root = checkout::root();
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let inside = REPOSITORY.iter().find_map(|prefix| path.strip_prefix(prefix));
    let file = match inside {
        Some(path) => root.join(path),
        None if path.starts_with("http") => return None,
        None if path.is_empty() => page.to_owned(),
        None => normal(&page.parent().expect("a page lies in a folder").join(path)),
    };
    let docs = root.join("docs");
    if !file.exists() {
        return Some("does not exist".to_owned());
    }
    if inside.is_none() && page.starts_with(&docs) && !file.starts_with(&docs) {
        return Some("is not part of the book: link to it by its address on the web".to_owned());
    }
    let known = anchor.is_empty() || anchors(&read(&file)).contains(anchor);
    (!known).then(|| "has no such heading".to_owned())
}

#[test]
fn every_link_leads_somewhere() {
    let root = checkout::root();
    let others = OTHERS.iter().map(|page| root.join(page));
    let mut wrong = Vec::new();
    for page in guide().into_iter().chain(others) {
        for target in links(&read(&page)) {
            wrong.extend(problem(&page, &target).map(|problem| format!("{}: {target} {problem}", page.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_that_a_page_names_is_there() {
    let root = checkout::root();
    let others = OTHERS.iter().map(|page| root.join(page));
    let (mut missing, mut found) = (Vec::new(), 0);
    for page in guide().into_iter().chain(others) {
        for file in named_files(&read(&page)) {
            found += 1;
            if !root.join(&file).exists() {
                missing.push(format!("{}: {file}", page.display()));
            }
        }
    }
    assert!(found > 30, "{found}");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let docs = checkout::root().join("docs");
    let contents = docs.join("SUMMARY.md");
    let listed: BTreeSet<PathBuf> = links(&read(&contents)).iter().map(|page| normal(&docs.join(page))).collect();
    let written: BTreeSet<PathBuf> = guide().into_iter().filter(|page| *page != contents).collect();
    assert_eq!(listed, written);
}

#[test]
fn every_rust_block_is_a_test() {
    let root = checkout::root();
    let tested = read(&root.join("framework/src/guide.rs"));
    let docs = root.join("docs");
    for page in guide() {
        let text = read(&page);
        let name = page.strip_prefix(&docs).expect("a page of the guide").display().to_string();
        let fences: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("```rust")).collect();
        assert!(!fences.iter().any(|fence| fence.contains("ignore")), "{name}: a block is not compiled");
        assert!(
            fences.is_empty() || tested.contains(&format!("\"{name}\"")),
            "{name} is not in framework/src/guide.rs"
        );
    }
}

#[test]
fn links_are_found_and_code_is_not() {
    let text = "[a](b.md) and `[c](d.md)`, [`e`](f.md#g-h)\n```text\n[i](j.md)\n```\n## G h: `i`!\n";
    assert_eq!(links(text), ["b.md", "f.md#g-h"]);
    assert_eq!(anchors(text), BTreeSet::from(["g-h-i".to_owned()]));
    let text = "`Worker::run` in `framework/src/a.rs`, framework/src/b.rs, `see docs/c.md`, `docs/*.md`";
    assert_eq!(named_files(text), ["framework/src/a.rs", "docs/c.md"]);
}
