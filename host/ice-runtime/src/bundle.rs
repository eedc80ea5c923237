//! Makes a component of the world `bundle` out of blueprint documents, without a compiler.
//!
//! The component is a table of texts and two functions that point into it; it imports no function. Reading and checking
//! blueprints belongs to ice-core, calling the component to [`call`](crate::call).

use std::collections::BTreeSet;

use ice_core::problem::{Code, Problem};
use serde_json::Value;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, InstructionSink, MemArg, MemArgTarget, MemorySection, MemoryType, Module, TypeSection,
    ValType,
};

use crate::contract;
use crate::inspect::COMPONENT_BYTES_MAX;

/// The blueprints of one bundle, in the order in which `list` returns them.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct BundleSource {
    /// The blueprints.
    pub entries: Vec<BlueprintSource>,
}

/// One blueprint of a bundle.
#[derive(Clone, PartialEq, Debug)]
pub struct BlueprintSource {
    /// Unique within the bundle.
    pub name: String,
    /// For a person.
    pub description: String,
    /// Whether the bundle starts here when no name is given.
    pub entrypoint: bool,
    /// The checked blueprint.
    pub document: Value,
}

/// Returns the bytes of a component whose `list` and `get` answer with the blueprints of `bundle`.
/// The same blueprints give the same bytes.
///
/// Fails with M030 when two blueprints have one name, or when the texts do not fit into a component.
pub fn encode(bundle: &BundleSource) -> Result<Vec<u8>, Problem> {
    let mut names = BTreeSet::new();
    if let Some(twice) = bundle.entries.iter().find(|entry| !names.insert(&entry.name)) {
        return Err(Problem::new(Code::M030, format!("the bundle has two blueprints named `{}`", twice.name))
            .help("rename one of them: a blueprint is found by its name"));
    }
    let image = Image::lay_out(bundle)?;
    let component = contract::componentize(&image.module(), "bundle")?;
    if component.len() > COMPONENT_BYTES_MAX {
        return Err(too_large(component.len()));
    }
    Ok(component)
}

fn too_large(bytes: usize) -> Problem {
    Problem::new(
        Code::M030,
        format!("the blueprints of the bundle take {bytes} bytes; a component has at most {COMPONENT_BYTES_MAX}"),
    )
    .help("split the bundle, or move long texts out of the blueprints")
}

const PAGE: u32 = 64 << 10;
/// Where the image begins. Zero stays free, so that no text has the address of nothing.
const BASE: u32 = 16;
/// One row of the table that `get` searches: name address, name length, result address.
const ROW: u32 = 12;

/// Linear memory as the component finds it, in the canonical ABI's layout: texts, the records of `list`, the results of
/// `get`, and the table that leads from a name to its result.
struct Image {
    bytes: Vec<u8>,
    /// Address of `list`'s return value: the list's address and length.
    list: u32,
    /// Address of the first and one past the last row of the table.
    rows: (u32, u32),
    /// Address of the result `err(unknown-blueprint)`.
    unknown: u32,
}

impl Image {
    fn lay_out(bundle: &BundleSource) -> Result<Self, Problem> {
        let documents: Vec<String> = bundle.entries.iter().map(|entry| entry.document.to_string()).collect();
        let texts = bundle.entries.iter().zip(&documents);
        let total: usize =
            texts.clone().map(|(entry, document)| entry.name.len() + entry.description.len() + document.len()).sum();
        // Bounds every address below, so that none of the sums can overflow.
        if total > COMPONENT_BYTES_MAX {
            return Err(too_large(total));
        }

        let mut image = Self { bytes: Vec::with_capacity(total + 4096), list: 0, rows: (0, 0), unknown: 0 };
        let placed: Vec<[(u32, u32); 3]> = texts
            .map(|(entry, document)| [image.text(&entry.name), image.text(&entry.description), image.text(document)])
            .collect();
        image.bytes.resize(image.bytes.len().next_multiple_of(4), 0);

        let records = image.here();
        for ([name, description, _], entry) in placed.iter().zip(&bundle.entries) {
            image.words(&[name.0, name.1, description.0, description.1, u32::from(entry.entrypoint)]);
        }
        image.list = image.here();
        image.words(&[records, u32::try_from(placed.len()).expect("fewer entries than bytes")]);

        // result<json, error>: case, then the payload; the error's own case and text take three words.
        let results: Vec<u32> =
            placed.iter().map(|[_, _, document]| image.words(&[0, document.0, document.1, 0])).collect();
        image.unknown = image.words(&[1, 0, 0, 0]);

        let first = image.here();
        for ([name, ..], result) in placed.iter().zip(results) {
            image.words(&[name.0, name.1, result]);
        }
        image.rows = (first, image.here());
        Ok(image)
    }

    /// The address of the next byte.
    fn here(&self) -> u32 {
        BASE + u32::try_from(self.bytes.len()).expect("the texts were bounded")
    }

    /// Appends a text; returns its address and length.
    fn text(&mut self, text: &str) -> (u32, u32) {
        let at = self.here();
        self.bytes.extend_from_slice(text.as_bytes());
        (at, self.here() - at)
    }

    /// Appends words; returns their address.
    fn words(&mut self, words: &[u32]) -> u32 {
        let at = self.here();
        self.bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        at
    }

    /// The core module: memory with this image, an allocator for arguments, and the two functions.
    fn module(&self) -> Vec<u8> {
        let end = self.here().next_multiple_of(16);
        let mut types = TypeSection::new();
        types.ty().function([ValType::I32; 4], [ValType::I32]); // cabi_realloc
        types.ty().function([], [ValType::I32]); // list
        types.ty().function([ValType::I32; 2], [ValType::I32]); // get
        let mut functions = FunctionSection::new();
        for index in 0..3 {
            functions.function(index);
        }
        let mut memories = MemorySection::new();
        let minimum = u64::from(end.div_ceil(PAGE));
        memories.memory(MemoryType { minimum, maximum: None, memory64: false, shared: false, page_size_log2: None });
        let mut globals = GlobalSection::new();
        let free = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        globals.global(free, &ConstExpr::i32_const(end.cast_signed()));
        let mut exports = ExportSection::new();
        exports.export("memory", ExportKind::Memory, 0);
        exports.export("cabi_realloc", ExportKind::Func, 0);
        exports.export("ice:plugin/blueprints@0.1.0#list", ExportKind::Func, 1);
        exports.export("ice:plugin/blueprints@0.1.0#get", ExportKind::Func, 2);
        let mut code = CodeSection::new();
        code.function(&realloc()).function(&self.list()).function(&self.get());
        let mut data = DataSection::new();
        data.active(0, &ConstExpr::i32_const(BASE.cast_signed()), self.bytes.iter().copied());

        let mut module = Module::new();
        module.section(&types).section(&functions).section(&memories).section(&globals).section(&exports);
        module.section(&code).section(&data);
        module.finish()
    }

    fn list(&self) -> Function {
        let mut body = Function::new([]);
        constant(&mut body.instructions(), self.list).end();
        body
    }

    /// Compares the name with each row's name, first the length, then byte by byte.
    fn get(&self) -> Function {
        const NAME: u32 = 0;
        const LENGTH: u32 = 1;
        const ROW_AT: u32 = 2;
        const INDEX: u32 = 3;
        let mut body = Function::new([(2, ValType::I32)]);
        let mut code = body.instructions();
        constant(&mut code, self.rows.0).local_set(ROW_AT);
        code.block(BlockType::Empty).loop_(BlockType::Empty); // not found; rows
        constant(code.local_get(ROW_AT), self.rows.1).i32_eq().br_if(1);
        code.block(BlockType::Empty); // the next row
        code.local_get(ROW_AT).i32_load(word(4)).local_get(LENGTH).i32_ne().br_if(0);
        code.i32_const(0).local_set(INDEX).loop_(BlockType::Empty); // bytes
        code.local_get(INDEX).local_get(LENGTH).i32_eq().if_(BlockType::Empty);
        code.local_get(ROW_AT).i32_load(word(8)).return_().end();
        code.local_get(NAME).local_get(INDEX).i32_add().i32_load8_u(byte());
        code.local_get(ROW_AT).i32_load(word(0)).local_get(INDEX).i32_add().i32_load8_u(byte());
        code.i32_ne().br_if(1);
        code.local_get(INDEX).i32_const(1).i32_add().local_set(INDEX).br(0);
        code.end().end();
        constant(code.local_get(ROW_AT), ROW).i32_add().local_set(ROW_AT).br(0);
        code.end().end();
        constant(&mut code, self.unknown).end();
        body
    }
}

/// `cabi_realloc`: hands out memory behind the image and never takes it back, because an instance lives for one call.
fn realloc() -> Function {
    const OLD: u32 = 0;
    const OLD_BYTES: u32 = 1;
    const ALIGN: u32 = 2;
    const BYTES: u32 = 3;
    const AT: u32 = 4;
    const END: u32 = 5;
    const PAGES: u32 = 6;
    const FREE: u32 = 0;
    let mut body = Function::new([(3, ValType::I32)]);
    let mut code = body.instructions();
    // at = round up (free, align); end = at + bytes; more than the address space is a trap.
    code.global_get(FREE).local_get(ALIGN).i32_add().i32_const(1).i32_sub();
    code.i32_const(0).local_get(ALIGN).i32_sub().i32_and().local_tee(AT);
    code.local_get(BYTES).i32_add().local_tee(END);
    code.local_get(AT).i32_lt_u().if_(BlockType::Empty).unreachable().end();
    // Grow by the pages that are missing; a refusal is a trap.
    code.local_get(END).i32_const(1).i32_sub().i32_const(16).i32_shr_u().i32_const(1).i32_add();
    code.memory_size(0).i32_sub().local_tee(PAGES).i32_const(0).i32_gt_s().if_(BlockType::Empty);
    code.local_get(PAGES).memory_grow(0).i32_const(-1).i32_eq().if_(BlockType::Empty).unreachable().end();
    code.end();
    code.local_get(END).global_set(FREE);
    // Keep what was there, up to the smaller of both sizes.
    code.local_get(AT).local_get(OLD);
    code.local_get(OLD_BYTES).local_get(BYTES).local_get(OLD_BYTES).local_get(BYTES).i32_lt_u().select();
    code.memory_copy(0, 0);
    code.local_get(AT).end();
    body
}

fn constant<'a, 'b>(code: &'a mut InstructionSink<'b>, value: u32) -> &'a mut InstructionSink<'b> {
    code.i32_const(value.cast_signed())
}

const fn word(offset: u64) -> MemArg {
    MemArg { offset, align: 2, target: MemArgTarget::Memory(0), ordering: None }
}

const fn byte() -> MemArg {
    MemArg { offset: 0, align: 0, target: MemArgTarget::Memory(0), ordering: None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wasmtime::component::{Component, Instance, Linker, Val};
    use wasmtime::{Engine, Store};

    use super::*;
    use crate::inspect::{World, inspect};

    fn entry(name: &str, entrypoint: bool, document: Value) -> BlueprintSource {
        BlueprintSource { name: name.into(), description: format!("what {name} does"), entrypoint, document }
    }

    struct Running {
        store: Store<()>,
        instance: Instance,
    }

    impl Running {
        fn new(bytes: &[u8]) -> Self {
            let engine = Engine::default();
            let mut store = Store::new(&engine, ());
            let component = Component::from_binary(&engine, bytes).unwrap();
            let instance = Linker::new(&engine).instantiate(&mut store, &component).unwrap();
            Self { store, instance }
        }

        fn call(&mut self, function: &str, arguments: &[Val]) -> Val {
            let interface = self.instance.get_export_index(&mut self.store, None, "ice:plugin/blueprints@0.1.0");
            let index = self.instance.get_export_index(&mut self.store, interface.as_ref(), function).unwrap();
            let function = self.instance.get_func(&mut self.store, index).unwrap();
            let mut results = [Val::Bool(false)];
            function.call(&mut self.store, arguments, &mut results).unwrap();
            let [result] = results;
            result
        }

        fn get(&mut self, name: &str) -> Val {
            self.call("get", &[Val::String(name.into())])
        }
    }

    fn found(text: impl Into<String>) -> Val {
        Val::Result(Ok(Some(Box::new(Val::String(text.into())))))
    }

    fn unknown() -> Val {
        Val::Result(Err(Some(Box::new(Val::Variant("unknown-blueprint".into(), None)))))
    }

    fn record(name: &str, entrypoint: bool) -> Val {
        Val::Record(vec![
            ("name".into(), Val::String(name.into())),
            ("description".into(), Val::String(format!("what {name} does"))),
            ("entrypoint".into(), Val::Bool(entrypoint)),
        ])
    }

    #[test]
    fn list_and_get_answer_with_the_blueprints() {
        let bundle = BundleSource {
            entries: vec![
                entry("rag_chat", true, json!({"id": "rag_chat", "nodes": [{"z": 1, "a": 2.5}]})),
                entry("größe_日本", false, json!({"text": "naïve 🧊 \"quoted\"\n"})),
                entry("rag_chap", false, json!(null)),
                entry("", false, json!([])),
            ],
        };
        let mut running = Running::new(&encode(&bundle).unwrap());
        let records = [("rag_chat", true), ("größe_日本", false), ("rag_chap", false), ("", false)];
        let records = records.map(|(name, entrypoint)| record(name, entrypoint)).to_vec();
        assert_eq!(running.call("list", &[]), Val::List(records));
        for entry in &bundle.entries {
            assert_eq!(running.get(&entry.name), found(entry.document.to_string()), "{}", entry.name);
        }
        for name in ["rag_cha", "rag_chatt", "RAG_CHAT", "größe_日", "missing"] {
            assert_eq!(running.get(name), unknown(), "{name}");
        }
    }

    #[test]
    fn an_empty_bundle_lists_nothing() {
        let mut running = Running::new(&encode(&BundleSource::default()).unwrap());
        assert_eq!(running.call("list", &[]), Val::List(vec![]));
        assert_eq!(running.get("any"), unknown());
    }

    #[test]
    fn long_documents_and_long_names_pass() {
        let document = json!({"text": "x".repeat(1 << 20)});
        let bundle =
            BundleSource { entries: vec![entry("short", true, json!({})), entry("long", false, document.clone())] };
        let mut running = Running::new(&encode(&bundle).unwrap());
        // A name of several pages makes the allocator grow the memory.
        for round in 1..4 {
            assert_eq!(running.get(&"n".repeat(round * 200_000)), unknown());
            assert_eq!(running.get("long"), found(document.to_string()));
        }
    }

    #[test]
    fn the_component_is_a_bundle_that_asks_for_nothing() {
        let bytes = encode(&BundleSource { entries: vec![entry("a", true, json!({}))] }).unwrap();
        let inspection = inspect(&bytes).unwrap();
        assert_eq!(inspection.world, World::Bundle);
        assert!(inspection.capabilities.is_empty(), "{:?}", inspection.capabilities);
        // Words only: the interface it exports is written with them.
        assert_eq!(inspection.imports, std::collections::BTreeSet::from(["ice:types/types@0.1.0".to_owned()]));
    }

    #[test]
    fn the_same_blueprints_give_the_same_bytes() {
        let bundle = |text: &str| BundleSource { entries: vec![entry("a", true, json!({"k": text}))] };
        assert_eq!(encode(&bundle("x")), encode(&bundle("x")));
        assert_ne!(encode(&bundle("x")), encode(&bundle("y")));
    }

    #[test]
    fn two_blueprints_of_one_name_are_refused() {
        let bundle = BundleSource { entries: vec![entry("a", true, json!({})), entry("a", false, json!({}))] };
        let problem = encode(&bundle).unwrap_err();
        assert_eq!(problem.code, Code::M030);
        assert!(problem.message.contains("`a`"), "{problem}");
    }

    #[test]
    fn more_text_than_a_component_holds_is_refused() {
        let long = json!("x".repeat(COMPONENT_BYTES_MAX));
        assert_eq!(encode(&BundleSource { entries: vec![entry("a", true, long)] }).unwrap_err().code, Code::M030);
    }
}
