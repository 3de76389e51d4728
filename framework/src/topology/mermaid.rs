//! A topology as a picture.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::Arc,
};

use super::{Description, NodeDescription, NodeKind};

/// What a picture is drawn of, with the names that its parts have in Mermaid's text.
struct Picture<'d> {
    description: &'d Description,
    topics: BTreeMap<&'d str, String>,
    stores: BTreeMap<&'d str, String>,
}

// === impl Description ===

impl Description {
    /// The topology as a flowchart for [Mermaid](https://mermaid.js.org), which GitHub and mdBook draw: topics as stadiums, nodes as
    /// boxes within their sub-topology, stores as cylinders. Internal topics stand between the sub-topologies.
    #[must_use]
    pub fn mermaid(&self) -> String {
        let mut text = String::new();
        Picture::of(self).draw(&mut text).expect("writing to a string does not fail");
        text
    }
}

// === impl Picture ===

impl<'d> Picture<'d> {
    fn of(description: &'d Description) -> Self {
        let nodes = description.sub_topologies.iter().flat_map(|part| &part.nodes);
        let globals = &description.globals;
        let topics = nodes.clone().flat_map(topics).chain(globals.iter().map(|global| &global.topic));
        let stores = nodes.flat_map(|node| &node.stores).chain(globals.iter().map(|global| &global.store));
        Self { description, topics: numbered("t", topics), stores: numbered("s", stores) }
    }

    fn draw(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "flowchart TD")?;
        for (topic, id) in &self.topics {
            writeln!(out, "    {id}([\"{topic}\"])")?;
        }
        for part in &self.description.sub_topologies {
            writeln!(out, "    subgraph p{0} [\"sub-topology {0}\"]", part.id)?;
            let ids: BTreeMap<&str, String> = (0..)
                .zip(&part.nodes)
                .map(|(index, node): (usize, _)| (&*node.name, format!("n{}_{index}", part.id)))
                .collect();
            for node in &part.nodes {
                writeln!(out, "        {}[\"{}\"]", ids[&*node.name], node.name)?;
            }
            for node in &part.nodes {
                for child in &node.children {
                    writeln!(out, "        {} --> {}", ids[&*node.name], ids[&**child])?;
                }
            }
            writeln!(out, "    end")?;
            part.nodes.iter().try_for_each(|node| self.surroundings(out, node, &ids[&*node.name]))?;
        }
        for (store, id) in &self.stores {
            writeln!(out, "    {id}[(\"{store}\")]")?;
        }
        for global in &self.description.globals {
            writeln!(out, "    {} --> {}", self.topics[&*global.topic], self.stores[&*global.store])?;
        }
        Ok(())
    }

    /// The topics and stores of a node.
    fn surroundings(&self, out: &mut String, node: &NodeDescription, id: &str) -> fmt::Result {
        match &node.kind {
            NodeKind::Source { topics } => {
                topics.iter().try_for_each(|topic| writeln!(out, "    {} --> {id}", self.topics[&**topic]))?;
            }
            NodeKind::Processor => {}
            NodeKind::Sink { topic } => writeln!(out, "    {id} --> {}", self.topics[&**topic])?,
        }
        node.stores.iter().try_for_each(|store| writeln!(out, "    {id} -.- {}", self.stores[&**store]))
    }
}

/// The topics of a node.
fn topics(node: &NodeDescription) -> &[Arc<str>] {
    match &node.kind {
        NodeKind::Source { topics } => topics,
        NodeKind::Processor => &[],
        NodeKind::Sink { topic } => std::slice::from_ref(topic),
    }
}

/// Gives each name an id that Mermaid takes.
fn numbered<'d>(prefix: &str, names: impl Iterator<Item = &'d Arc<str>>) -> BTreeMap<&'d str, String> {
    let mut ids: BTreeMap<&str, String> = names.map(|name| (&**name, String::new())).collect();
    for (index, id) in ids.values_mut().enumerate() {
        *id = format!("{prefix}{index}");
    }
    ids
}
