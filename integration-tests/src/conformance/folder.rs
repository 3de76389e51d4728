//! Folders of vectors.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::checkout::crate_folder;

/// The files of a folder, by the name of their topology.
pub type Files = BTreeMap<String, Vec<PathBuf>>;

/// Where our own files are.
#[must_use]
pub fn own() -> PathBuf {
    crate_folder().join("vectors")
}

/// The files `<topology>.<seed>.json` of a folder; others, and what lies deeper, are left out.
///
/// # Errors
///
/// When it cannot be read.
pub fn files(folder: &Path) -> io::Result<Files> {
    let mut files = Files::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some(topology) = topology(&path)
            && path.is_file()
        {
            files.entry(topology).or_default().push(path);
        }
    }
    files.values_mut().for_each(|of_one| of_one.sort());
    Ok(files)
}

/// The topology whose file has this name.
fn topology(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_suffix(".json")?;
    let (topology, seed) = name.rsplit_once('.')?;
    (!topology.is_empty() && !seed.is_empty()).then(|| topology.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_their_names() {
        let found = |name: &str| topology(&Path::new("folder").join(name));
        assert_eq!(found("table_source.17.json"), Some("table_source".to_owned()));
        assert_eq!(["bytes.json", ".1.json", "README.md", "table_source.1.txt"].map(found), [None, None, None, None]);
    }
}
