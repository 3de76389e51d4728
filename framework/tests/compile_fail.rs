//! Mistakes that the compiler finds: each file of `compile_fail` must not compile, and what the compiler says must have the lines of
//! the file's `.stderr`, in this order.
//!
//! The files are compiled against the library that this test is linked with. Lines are compared without what depends on the version of the
//! compiler: a `.stderr` file holds only those that users need to find their way.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail")
}

/// The folder of compiled libraries, and ours: the latest, since cargo has just made it for this test.
fn library() -> (PathBuf, PathBuf) {
    let test = env::current_exe().expect("the path of this test");
    let folder = test.parent().expect("it lies in a folder").to_owned();
    let files = fs::read_dir(&folder).expect("the folder of this test").map(|entry| entry.expect("an entry").path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libmillpond-") && name.ends_with(".rlib")
    };
    let made = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified()).expect("the time of a file");
    let latest = files.filter(is_ours).max_by_key(made).expect("the library lies beside its tests");
    (folder, latest)
}

/// What the compiler says of a file; `None` when it compiles.
fn compile(file: &Path) -> Option<String> {
    let (folder, library) = library();
    let out = tempfile::tempdir().expect("a folder");
    let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition", "2024", "--emit", "metadata", "--color", "never", "-L"])
        .arg(format!("dependency={}", folder.display()))
        .arg("--extern")
        .arg(format!("millpond={}", library.display()))
        .arg("--out-dir")
        .arg(out.path())
        .arg(file)
        .output()
        .expect("rustc runs");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The first line that is not there, at or behind the one before it.
fn missing<'e>(expected: &'e str, found: &str) -> Option<&'e str> {
    let mut found = found.lines();
    expected.lines().find(|line| !found.any(|found| found.trim().contains(line.trim())))
}

/// Without it, everything would fail if nothing could be compiled.
#[test]
fn what_is_right_compiles() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("right.rs");
    let program = r#"
        fn main() {
            let topology = millpond::Topology::builder("words");
            let words = topology.stream("words", millpond::Serdes::<String, String>::default());
            words.group_by_key().count().materialized("counts").queryable();
        }
    "#;
    fs::write(&file, program).expect("a file can be written");
    assert_eq!(compile(&file), None);
}

#[test]
fn the_compiler_finds_mistakes_and_says_what_they_are() {
    let files = fs::read_dir(folder()).expect("the folder of mistakes").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect();
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let Some(found) = compile(&file) else { panic!("{} compiles", file.display()) };
        let expected = fs::read_to_string(file.with_extension("stderr")).unwrap_or_default();
        let missing = if expected.is_empty() { Some("everything") } else { missing(&expected, &found) };
        assert_eq!(missing, None, "{}: the compiler says\n{found}", file.display());
    }
}

#[test]
fn lines_must_be_there_in_their_order() {
    assert_eq!(missing("b\nd", "a\n  b\nc\nd"), None);
    assert_eq!(missing("d\nb", "a\nb\nc\nd"), Some("b"));
}
