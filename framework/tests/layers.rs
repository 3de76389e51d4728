//! The architecture, enforced: a module of `framework/src` uses only what stands below it.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Top to bottom. Modules of one row stand side by side and do not use each other, but for the leaves.
const LAYERS: &[&[&str]] = &[
    &["app"],
    &["query"],
    &["cluster"],
    &["runtime"],
    &["dsl"],
    &["topology"],
    &["processor"],
    &["state"],
    &["log"],
    &["serde", "time", "metrics", "config"],
];

/// May use everything, and nothing uses it.
const TESTING: &str = "testing";

/// Has no code: the pages whose blocks are doc tests.
const GUIDE: &str = "guide";

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

/// The modules of this crate that a source text names, by `crate::<module>` or in a `use crate::{<module>…}` list.
fn used_modules(source: &str) -> Vec<String> {
    let code: String =
        source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut used = Vec::new();
    for (start, _) in code.match_indices("crate::") {
        if code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[start + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => used.push(identifier(rest)),
            Some(list) => {
                let mut depth = 1;
                let mut at_item = true;
                for (index, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' => at_item |= depth == 1,
                        c if at_item && c.is_alphabetic() => {
                            used.push(identifier(&list[index..]));
                            at_item = false;
                        }
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
        }
    }
    used
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn violations(module: &str, source: &str) -> Vec<String> {
    let Some(own) = layer(module) else { return Vec::new() };
    used_modules(source)
        .into_iter()
        .filter(|used| used != module)
        .filter(|used| used == TESTING || layer(used).is_some_and(|other| other < own))
        .collect()
}

/// A source without the items that are only there for tests: these may use `testing`, which stands above everything.
fn without_tests(source: &str) -> String {
    let mut code = String::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line.trim_start() != "#[cfg(test)]" {
            code.push_str(line);
            code.push('\n');
            continue;
        }
        // The item ends at the first line of its own indentation that closes it; rustfmt sees to that.
        let indentation = line.len() - line.trim_start().len();
        for line in lines.by_ref() {
            let ends = line.len() - line.trim_start().len() == indentation
                && (line.ends_with(';') || line.ends_with(',') || line.trim_end().ends_with('}'));
            if ends {
                break;
            }
        }
    }
    code
}

/// Asked for when the test runs: checkouts may share a target directory, and so what was compiled.
fn source_folder() -> PathBuf {
    let folder = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    folder.join("src")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the source folder can be read") {
        let path = entry.expect("the source folder can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn modules_use_only_what_stands_below_them() {
    let root = source_folder();
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    for file in &files {
        let inside = file.strip_prefix(&root).expect("found under the root");
        let first = inside.iter().next().expect("a file has a name").to_string_lossy();
        let module = first.trim_end_matches(".rs").to_owned();
        if ["lib", GUIDE, TESTING].contains(&module.as_str()) {
            continue;
        }
        assert!(layer(&module).is_some(), "module `{module}` has no place in LAYERS: give it one");
        let source = fs::read_to_string(file).expect("a source file can be read");
        let is_test = inside.iter().any(|part| part == "tests" || part == "tests.rs");
        if is_test {
            continue;
        }
        wrong.extend(
            violations(&module, &without_tests(&source))
                .into_iter()
                .map(|used| format!("{}: uses `{used}`", inside.display())),
        );
    }
    assert!(wrong.is_empty(), "modules that use what stands above them:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_adapters_import_the_clients() {
    let root = source_folder();
    let mut files = Vec::new();
    sources(&root, &mut files);
    let allowed = [("rdkafka", "log/kafka"), ("rocksdb", "state/rocks"), ("axum", "query"), ("reqwest", "query")];
    for file in &files {
        let inside = file.strip_prefix(&root).expect("found under the root").to_string_lossy().into_owned();
        let source = fs::read_to_string(file).expect("a source file can be read");
        for (client, home) in allowed {
            let used = source.lines().any(|line| {
                let line = line.trim_start();
                !line.starts_with("//")
                    && (line.contains(&format!("use {client}")) || line.contains(&format!("{client}::")))
            });
            assert!(!used || inside.starts_with(home), "{inside} uses {client}, which belongs to {home} alone");
        }
    }
}

#[test]
fn a_use_of_a_higher_module_is_found() {
    assert_eq!(violations("state", "use crate::{log::{Batch, x}, dsl::Stream};"), ["dsl"]);
    assert_eq!(violations("log", "fn f() -> crate::runtime::Task { }"), ["runtime"]);
    assert_eq!(violations("time", "use crate::testing::Sim;"), ["testing"]);
    assert!(violations("app", "use crate::{log, query::Router}; // crate::app").is_empty());
}

#[test]
fn code_behind_a_test_is_looked_at_and_the_test_is_not() {
    let source =
        "use crate::log::Batch;\n#[cfg(test)]\nmod tests {\n    use crate::testing::Sim;\n}\nuse crate::dsl::Stream;\n";
    assert_eq!(violations("state", &without_tests(source)), ["dsl"]);
}
