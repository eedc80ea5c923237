//! The list of crates a component was built from, as `cargo auditable` writes it: the custom section `.dep-v0`.
//!
//! Finds and adds the section; what is in it (zlib, JSON) is the callers' to read and write.

use ice_core::problem::Problem;
use wasm_encoder::{ComponentSection as _, CustomSection};
use wasmparser::{Parser, Payload};

use crate::inspect::{broken, check_form};

/// The name that `auditable-extract`, `wasm-tools` and `cargo audit bin` look for.
const SECTION: &str = ".dep-v0";

/// Magic number, version and layer of a component; sections follow.
const PREAMBLE_BYTES: usize = 8;

/// Returns every list in a component: its own, and those of the modules and components inside it. Empty when there is
/// none.
///
/// Fails with T013, T014 and T036 like [`inspect`](crate::inspect::inspect), without validating the code.
pub fn dependency_lists(component: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    check_form(component)?;
    let mut lists = Vec::new();
    // The parser goes into what is nested by itself.
    for payload in Parser::new(0).parse_all(component) {
        if let Payload::CustomSection(section) = payload.map_err(|error| broken(&error))?
            && section.name() == SECTION
        {
            lists.push(section.data());
        }
    }
    Ok(lists)
}

/// Returns the component with `list` as its own list. The section stands in front of all others: `auditable-extract` looks
/// no further than the end of the first module inside a component. A component that carries a list already, because
/// `cargo auditable` built it, is returned as it is.
///
/// Fails like [`dependency_lists`].
pub fn with_dependency_list(component: &[u8], list: &[u8]) -> Result<Vec<u8>, Problem> {
    if !dependency_lists(component)?.is_empty() {
        return Ok(component.to_vec());
    }
    let (preamble, sections) = component.split_at(PREAMBLE_BYTES);
    let mut bytes = preamble.to_vec();
    CustomSection { name: SECTION.into(), data: list.into() }.append_to_component(&mut bytes);
    bytes.extend_from_slice(sections);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use ice_core::problem::Code;

    use super::*;
    use crate::inspect::inspect;

    const KIT: &str = r#"(component (core module (@custom ".dep-v0" "inner")) (instance $e)
        (export "ice:plugin/tools@0.1.0" (instance $e)))"#;

    fn kit(text: &str) -> Vec<u8> {
        wat::parse_str(text).expect("the text is a component")
    }

    #[test]
    fn a_list_is_found_again_and_the_component_is_still_the_same() {
        let plain = kit(&KIT.replace(".dep-v0", "other"));
        assert!(dependency_lists(&plain).expect("a component").is_empty());
        let with = with_dependency_list(&plain, b"list").expect("a component");
        assert_eq!(dependency_lists(&with), Ok(vec![&b"list"[..]]));
        assert_eq!(inspect(&with), inspect(&plain));
        let first = Parser::new(0).parse_all(&with).nth(1).expect("a section").expect("a good one");
        assert!(matches!(first, Payload::CustomSection(_)), "other readers stop at the end of the first module");
        assert!(with.ends_with(&plain[PREAMBLE_BYTES..]), "nothing else changed");
        assert_eq!(with_dependency_list(&plain, b"list"), Ok(with.clone()), "the same list gives the same bytes");
        assert_eq!(with_dependency_list(&with, b"another"), Ok(with));
    }

    #[test]
    fn lists_of_inner_modules_are_found() {
        assert_eq!(dependency_lists(&kit(KIT)), Ok(vec![&b"inner"[..]]));
    }

    #[test]
    fn what_is_no_component_is_refused() {
        assert_eq!(dependency_lists(b"(component)").unwrap_err().code, Code::T014);
        assert_eq!(with_dependency_list(b"\0asm\x01\0\0\0", b"").unwrap_err().code, Code::T036);
        let whole = kit(KIT);
        assert_eq!(dependency_lists(&whole[..whole.len() - 1]).unwrap_err().code, Code::T036);
    }
}
