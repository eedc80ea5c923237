//! Reads what a component is and asks for from its bytes: imports, exports, world, capabilities, effects.
//!
//! Executes nothing and compiles nothing. Whether what is asked for was granted belongs to the gate; whether the types
//! of imports and exports fit is checked when the component is linked.

use std::collections::BTreeSet;

use ice_core::catalog::Effects;
use ice_core::grant::Capability;
use ice_core::problem::{Code, Problem};
use wasmparser::{ComponentExternalKind, ComponentTypeRef, Parser, Payload, Validator};

/// The largest component that is read: Python and JavaScript components carry their interpreter and take 12 to 18 MB.
pub const COMPONENT_BYTES_MAX: usize = 64 << 20;

/// What a component is, by what it exports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum World {
    /// Exports `ice:plugin/tools`.
    Kit,
    /// Exports `ice:plugin/tasks`.
    Agent,
    /// Exports `ice:plugin/blueprints`.
    Bundle,
}

impl World {
    /// The name of the world in `wit/plugin.wit`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kit => "kit",
            Self::Agent => "agent",
            Self::Bundle => "bundle",
        }
    }
}

/// What was read from a component.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inspection {
    /// What it is.
    pub world: World,
    /// Interfaces it imports, with versions, for example `ice:log/log@0.1.0`. Sorted.
    pub imports: BTreeSet<String>,
    /// Interfaces and other items it exports, with versions. Sorted.
    pub exports: BTreeSet<String>,
    /// What it asks for: each of its imports that is a capability.
    pub capabilities: BTreeSet<Capability>,
    /// [`Effects::None`] when it can reach nothing but its log.
    pub effects: Effects,
}

/// One interface, or all interfaces of one package, that a component may import.
struct Offer {
    /// `namespace:package/interface`, or `namespace:package/*`.
    interface: &'static str,
    /// Versions that are linked: those on this semver track. `0.2` means every `0.2.x`.
    track: &'static str,
    /// What importing it asks for; `None` for words, and for the part of WASI that leads nowhere.
    capability: Option<Capability>,
    /// Who may import it.
    worlds: &'static [World],
}

const EVERYONE: &[World] = &[World::Kit, World::Agent, World::Bundle];
const CALLABLE: &[World] = &[World::Kit, World::Agent];
const AGENT: &[World] = &[World::Agent];

const fn offer(
    interface: &'static str,
    track: &'static str,
    capability: Option<Capability>,
    worlds: &'static [World],
) -> Offer {
    Offer { interface, track, capability, worlds }
}

/// Everything that can be imported. WASI is linked closed: no folder, no variable, no socket, no name; it is here because
/// compilers import it whether or not the source uses it.
const OFFERS: &[Offer] = &[
    offer("ice:types/types", "0.1", None, EVERYONE),
    offer("ice:log/log", "0.1", Some(Capability::Log), CALLABLE),
    offer("ice:llm/types", "0.1", None, CALLABLE),
    offer("ice:llm/chat", "0.1", Some(Capability::Llm), CALLABLE),
    offer("ice:llm/embeddings", "0.1", Some(Capability::Llm), CALLABLE),
    offer("ice:memory/memory", "0.1", Some(Capability::Memory), CALLABLE),
    offer("ice:secrets/secrets", "0.1", Some(Capability::Secrets), CALLABLE),
    offer("ice:orchestrator/tools", "0.1", Some(Capability::Tools), AGENT),
    offer("ice:orchestrator/executions", "0.1", Some(Capability::Executions), AGENT),
    offer("wasi:http/types", "0.2", None, CALLABLE),
    offer("wasi:http/outgoing-handler", "0.2", Some(Capability::Http), CALLABLE),
    offer("wasi:io/*", "0.2", None, EVERYONE),
    offer("wasi:clocks/*", "0.2", None, EVERYONE),
    offer("wasi:random/*", "0.2", None, EVERYONE),
    offer("wasi:cli/*", "0.2", None, EVERYONE),
    offer("wasi:filesystem/*", "0.2", None, EVERYONE),
    offer("wasi:sockets/*", "0.2", None, EVERYONE),
];

/// Which export makes a component what it is.
const WORLDS: &[(&str, World)] = &[
    ("ice:plugin/tools@0.1.", World::Kit),
    ("ice:plugin/tasks@0.1.", World::Agent),
    ("ice:plugin/blueprints@0.1.", World::Bundle),
];

/// Reads `bytes` as a component.
///
/// Fails with T013 for native code, T014 for text and other things that are not WebAssembly, T035 for an import that is
/// not offered to this kind of component, T036 for a core module, an invalid or too large component, or one that
/// exports none or several of the interfaces that make a kit, an agent or a bundle.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, Problem> {
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(Problem::new(
            Code::T036,
            format!("the component has {} bytes; at most {COMPONENT_BYTES_MAX} are read", bytes.len()),
        )
        .help("build it with `opt-level = \"s\"`, `lto = true` and `strip = true`"));
    }
    check_form(bytes)?;
    Validator::new().validate_all(bytes).map_err(|error| broken(&error))?;
    let (imports, exports) = names(bytes).map_err(|error| broken(&error))?;
    let world = world(&exports)?;

    let mut capabilities = BTreeSet::new();
    for import in &imports {
        capabilities.extend(check_import(import, world)?);
    }
    let pure = capabilities.iter().all(|capability| *capability == Capability::Log);
    let effects = if pure { Effects::None } else { Effects::External };
    let plain = |items: Vec<Item>| items.into_iter().map(|item| item.name).collect();
    Ok(Inspection { world, imports: plain(imports), exports: plain(exports), capabilities, effects })
}

pub(crate) fn broken(error: &wasmparser::BinaryReaderError) -> Problem {
    Problem::new(
        Code::T036,
        format!("the bytes are not a valid component: {} at byte {}", error.message(), error.offset()),
    )
    .help("build it again; a download may be incomplete")
}

/// Tells components from everything else that might be handed in, by the first bytes.
pub(crate) fn check_form(bytes: &[u8]) -> Result<(), Problem> {
    // ELF (also wasmtime's own precompiled files), Mach-O in both byte orders and widths, universal Mach-O, PE.
    const NATIVE: &[&[u8]] = &[
        b"\x7fELF",
        b"\xfe\xed\xfa\xce",
        b"\xfe\xed\xfa\xcf",
        b"\xce\xfa\xed\xfe",
        b"\xcf\xfa\xed\xfe",
        b"\xca\xfe\xba\xbe",
        b"MZ",
    ];
    if NATIVE.iter().any(|magic| bytes.starts_with(magic)) {
        return Err(Problem::new(Code::T013, "the bytes are native code, not WebAssembly")
            .help("give the component that was compiled from, not what was made of it"));
    }
    if !bytes.starts_with(b"\0asm") {
        let text =
            bytes.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|byte| matches!(byte, b'(' | b';'));
        let (what, help) = match text {
            true => ("WebAssembly text", "translate it first: `wasm-tools parse guest.wat -o guest.wasm`"),
            false => ("not WebAssembly", "give the `.wasm` file that `ice plugins build` or your compiler wrote"),
        };
        return Err(Problem::new(Code::T014, format!("the bytes are {what}")).help(help));
    }
    if Parser::is_core_wasm(bytes) {
        return Err(Problem::new(Code::T036, "the bytes are a core module, not a component")
            .help("build for `wasm32-wasip2`, or wrap it: `wasm-tools component new core.wasm -o component.wasm`"));
    }
    Ok(())
}

/// One import or export of the component itself, not of the modules and components inside it.
struct Item {
    name: String,
    /// Whether it is an instance under its own name, as interfaces are.
    interface: bool,
}

fn names(bytes: &[u8]) -> wasmparser::Result<(Vec<Item>, Vec<Item>)> {
    let mut imports = Vec::new();
    let mut exports = Vec::new();
    // The component itself is at depth 1; what it contains is its own business.
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    let import = import?;
                    let interface =
                        matches!(import.ty, ComponentTypeRef::Instance(_)) && import.name.implements.is_none();
                    imports.push(Item { name: import.name.full_name().into_owned(), interface });
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    let export = export?;
                    let interface = export.kind == ComponentExternalKind::Instance && export.name.implements.is_none();
                    exports.push(Item { name: export.name.full_name().into_owned(), interface });
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

fn world(exports: &[Item]) -> Result<World, Problem> {
    let found: Vec<World> = WORLDS
        .iter()
        .filter(|(prefix, _)| exports.iter().any(|export| export.interface && export.name.starts_with(prefix)))
        .map(|(_, world)| *world)
        .collect();
    match found[..] {
        [world] => Ok(world),
        [] => Err(Problem::new(
            Code::T036,
            "the component exports none of `tools`, `tasks` and `blueprints` of `ice:plugin@0.1`",
        )
        .help("build it for the world `kit`, `agent` or `bundle` of `wit/plugin.wit`")),
        _ => {
            let names: Vec<String> = found.iter().map(|world| format!("`{}`", world.name())).collect();
            Err(Problem::new(Code::T036, format!("the component is {} at once", names.join(" and ")))
                .help("make one component of each"))
        }
    }
}

/// Returns the capability that an import asks for, if it is one.
fn check_import(import: &Item, world: World) -> Result<Option<Capability>, Problem> {
    let refuse = |why: String, help: String| Err(Problem::new(Code::T035, why).help(help));
    let name = &import.name;
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    let package = interface.split('/').next().unwrap_or_default();
    let offer = OFFERS.iter().find(|offer| {
        offer.interface == interface || offer.interface.strip_suffix("/*").is_some_and(|offered| offered == package)
    });
    let Some(offer) = offer.filter(|_| import.interface) else {
        return refuse(
            format!("the component imports `{name}`, which no host of this version offers"),
            "import only what the worlds of `wit/plugin.wit` and WASI 0.2 list".into(),
        );
    };
    // A pre-release is a version of its own: it says nothing about the ones that follow.
    let on_track =
        version.strip_prefix(offer.track).is_some_and(|rest| rest.starts_with('.')) && !version.contains('-');
    if !on_track {
        return refuse(
            format!("the component imports `{name}`; this host speaks `{interface}@{}`", offer.track),
            format!("build it against version {} of `{package}`", offer.track),
        );
    }
    if !offer.worlds.contains(&world) {
        let worlds: Vec<&str> = offer.worlds.iter().map(|world| world.name()).collect();
        return refuse(
            format!(
                "the component is of world `{}` and imports `{name}`, which only `{}` may",
                world.name(),
                worlds.join("` and `")
            ),
            format!("remove the import, or build it for the world `{}`", worlds.join("` or `")),
        );
    }
    Ok(offer.capability)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component with these instances as imports and exports, all empty.
    fn component(imports: &[&str], exports: &[&str]) -> Vec<u8> {
        let mut text = String::from("(component\n");
        for import in imports {
            text += &format!("  (import \"{import}\" (instance))\n");
        }
        for (index, export) in exports.iter().enumerate() {
            text += &format!("  (instance $e{index})\n  (export \"{export}\" (instance $e{index}))\n");
        }
        wat::parse_str(text + ")").unwrap()
    }

    const TOOLS: &str = "ice:plugin/tools@0.1.0";

    fn code(bytes: &[u8]) -> (Code, String) {
        let problem = inspect(bytes).unwrap_err();
        assert!(problem.help.is_some(), "{problem}");
        (problem.code, problem.message)
    }

    #[test]
    fn imports_become_capabilities() {
        let bytes = component(
            &["ice:log/log@0.1.0", "ice:llm/chat@0.1.0", "wasi:http/types@0.2.6", "wasi:http/outgoing-handler@0.2.6"],
            &[TOOLS],
        );
        let inspection = inspect(&bytes).unwrap();
        assert_eq!(inspection.world, World::Kit);
        assert_eq!(inspection.capabilities, BTreeSet::from([Capability::Log, Capability::Llm, Capability::Http]));
        assert_eq!(inspection.effects, Effects::External);
        assert!(inspection.imports.contains("wasi:http/types@0.2.6"));
        assert_eq!(inspection.exports, BTreeSet::from([TOOLS.to_owned()]));
    }

    #[test]
    fn log_and_closed_wasi_leave_a_component_without_effects() {
        let bytes = component(
            &["ice:types/types@0.1.0", "ice:log/log@0.1.0", "wasi:cli/exit@0.2.6", "wasi:io/poll@0.2.12"],
            &[TOOLS],
        );
        assert_eq!(inspect(&bytes).unwrap().effects, Effects::None);
    }

    #[test]
    fn exports_say_what_a_component_is() {
        let of = |exports: &[&str]| inspect(&component(&[], exports)).map(|inspection| inspection.world);
        assert_eq!(of(&["ice:plugin/tasks@0.1.0"]), Ok(World::Agent));
        assert_eq!(of(&["ice:plugin/blueprints@0.1.3", "other:own/thing@1.0.0"]), Ok(World::Bundle));
        assert_eq!(of(&["ice:plugin/tools@0.2.0"]).unwrap_err().code, Code::T036);
        assert_eq!(of(&[]).unwrap_err().code, Code::T036);
        let both = of(&[TOOLS, "ice:plugin/tasks@0.1.0"]).unwrap_err();
        assert!(both.message.contains("`kit` and `agent` at once"), "{both}");
    }

    #[test]
    fn an_import_that_is_not_offered_is_refused() {
        for import in ["other:thing/api@1.0.0", "ice:files/files@0.1.0", "wasi:nn/graph@0.2.0", "tools"] {
            let (code, message) = code(&component(&[import], &[TOOLS]));
            assert_eq!(code, Code::T035, "{import}");
            assert!(message.contains(&format!("`{import}`")), "{message}");
        }
    }

    #[test]
    fn an_import_of_another_version_is_refused() {
        for import in [
            "ice:log/log@0.2.0",
            "ice:log/log@0.10.0",
            "ice:log/log",
            "wasi:io/poll@0.3.0",
            "wasi:io/poll@0.2.0-rc-2023-11-10",
        ] {
            assert_eq!(code(&component(&[import], &[TOOLS])).0, Code::T035, "{import}");
        }
    }

    #[test]
    fn a_kit_may_not_call_tools_and_a_bundle_may_ask_for_nothing() {
        let orchestrator = &["ice:orchestrator/tools@0.1.0"];
        assert_eq!(code(&component(orchestrator, &[TOOLS])).0, Code::T035);
        assert!(inspect(&component(orchestrator, &["ice:plugin/tasks@0.1.0"])).is_ok());
        for import in ["ice:log/log@0.1.0", "ice:llm/chat@0.1.0", "wasi:http/outgoing-handler@0.2.12"] {
            assert_eq!(code(&component(&[import], &["ice:plugin/blueprints@0.1.0"])).0, Code::T035, "{import}");
        }
    }

    #[test]
    fn a_function_in_place_of_an_interface_is_refused() {
        let text = format!(r#"(component (import "run" (func)) (instance $e) (export "{TOOLS}" (instance $e)))"#);
        assert_eq!(code(&wat::parse_str(text).unwrap()).0, Code::T035);
    }

    #[test]
    fn imports_of_inner_components_do_not_count() {
        let text = format!(
            r#"(component (component (import "other:thing/api@1.0.0" (instance)))
                (instance $e) (export "{TOOLS}" (instance $e)))"#
        );
        assert!(inspect(&wat::parse_str(text).unwrap()).unwrap().imports.is_empty());
    }

    #[test]
    fn what_is_no_component_is_refused_by_its_kind() {
        let valid = component(&[], &[TOOLS]);
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(256, 0);
        for (bytes, expected) in [
            (&b""[..], Code::T014),
            (b"hello", Code::T014),
            (b"\n (component)", Code::T014),
            (b";; a comment\n(module)", Code::T014),
            (&elf, Code::T013),
            (b"MZ\x90\x00", Code::T013),
            (b"\xcf\xfa\xed\xfe", Code::T013),
            (b"\0asm", Code::T036),
            (b"\0asm\x01\0\0\0", Code::T036),
            (b"\0asm\x0d\0\x01\0", Code::T036),
            (b"\0asm\xff\xff\xff\xff", Code::T036),
            (&valid[..valid.len() - 1], Code::T036),
        ] {
            assert_eq!(code(bytes).0, expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_changed_byte_never_panics() {
        let valid = component(&["ice:log/log@0.1.0"], &[TOOLS]);
        for index in 0..valid.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = valid.clone();
                bytes[index] = value;
                let _ = inspect(&bytes);
            }
        }
    }

    #[test]
    fn a_component_over_the_size_limit_is_refused() {
        let (code, message) = code(&vec![0; COMPONENT_BYTES_MAX + 1]);
        assert_eq!(code, Code::T036);
        assert!(message.contains("67108865"), "{message}");
    }
}
