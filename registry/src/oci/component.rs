//! What a component says it imports and exports, for tools that read it in the config without fetching the layer.
//!
//! Only names. Whether imports are allowed is judged by whoever can run the component.

use wasmparser::{Parser, Payload};

/// Names as the component has them, in its order.
pub(super) struct Interfaces {
    pub(super) imports: Vec<String>,
    pub(super) exports: Vec<String>,
}

/// Reads the outermost import and export sections. `None` when these bytes are no component.
pub(super) fn interfaces(bytes: &[u8]) -> Option<Interfaces> {
    let mut found = Interfaces { imports: Vec::new(), exports: Vec::new() };
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.ok()? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    found.imports.push(import.ok()?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    found.exports.push(export.ok()?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Some(found)
}
