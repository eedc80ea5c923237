//! Guests in WAT. The canonical ABI is written out: a string is a pointer and a length, a result is in memory.

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

/// Turns a core module into a component that exports `ice:plugin/<export>` and may import what `imports` says.
pub(super) fn component(export: &str, imports: &str, core: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit")).unwrap();
    let text = format!(
        "package test:guest;
         interface foreign {{ reach: func(); }}
         world guest {{ {imports} export ice:plugin/{export}@0.1.0; }}"
    );
    let package = resolve.push_str("test.wit", &text).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    let mut module = wat::parse_str(core).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

/// Parameters of `tools.call`: name, input, execution, node, attempt, session, deadline.
const PARAMETERS: &str = "(param $name i32) (param $name_len i32) (param $in i32) (param $in_len i32)
    (param i32 i32 i32 i32 i32) (param i32 i32 i32) (param i64) (result i32)";

/// Functions every guest here has. `$heap` is a bump allocator that grows; `$ok` and `$failed` make results at 64.
const RUNTIME: &str = r#"
    (memory (export "memory") 2)
    (global $heap (mut i32) (i32.const 65536))
    (func $alloc (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
        (global.set $heap (i32.add (local.get $at) (local.get $size)))
        (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
            (then (if (i32.eq (memory.grow (i32.add (i32.div_u (local.get $size) (i32.const 65536)) (i32.const 1)))
                (i32.const -1)) (then unreachable))))
        (local.get $at))
    (func $ok (param $at i32) (param $len i32) (result i32)
        (i32.store8 (i32.const 64) (i32.const 0))
        (i32.store (i32.const 68) (local.get $at))
        (i32.store (i32.const 72) (local.get $len))
        (i32.const 64))
    (func $error (param $case i32) (param $at i32) (param $len i32) (result i32)
        (i32.store8 (i32.const 64) (i32.const 1))
        (i32.store8 (i32.const 68) (local.get $case))
        (i32.store (i32.const 72) (local.get $at))
        (i32.store (i32.const 76) (local.get $len))
        (i32.const 64))
"#;

/// A kit whose `call` has this body; `imports` are core imports, `more` further functions and data.
fn kit_with(wit: &str, imports: &str, more: &str, body: &str) -> Vec<u8> {
    let core = format!(
        r#"(module {imports} {RUNTIME} {more}
            (func (export "ice:plugin/tools@0.1.0#describe") (result i32)
                (i32.store (i32.const 48) (i32.const 0)) (i32.store (i32.const 52) (i32.const 0)) (i32.const 48))
            (func (export "ice:plugin/tools@0.1.0#call") {PARAMETERS} {body}))"#
    );
    component("tools", wit, &core)
}

/// A kit without imports.
pub(super) fn kit(body: &str) -> Vec<u8> {
    kit_with("", "", "", body)
}

/// Answers with its input.
pub(super) fn echo() -> Vec<u8> {
    kit("(call $ok (local.get $in) (local.get $in_len))")
}

/// Fails with case `case` of `tools.error` and its input as the text (or the milliseconds, for `retry`).
pub(super) fn failing(case: u32) -> Vec<u8> {
    let payload = if case == 3 { "(i32.const 250)" } else { "(local.get $in)" };
    kit(&format!("(call $error (i32.const {case}) {payload} (local.get $in_len))"))
}

/// Adds one to a number in its memory and answers with it.
pub(super) fn counter() -> Vec<u8> {
    kit("(i32.store8 (i32.const 16) (i32.add (i32.load8_u (i32.const 16)) (i32.const 1)))
         (i32.store8 (i32.const 17) (i32.add (i32.load8_u (i32.const 16)) (i32.const 48)))
         (call $ok (i32.const 17) (i32.const 1))")
}

const LOG: &str = r#"(import "ice:log/log@0.1.0" "write" (func $log (param i32 i32 i32)))"#;

/// Logs its input, then never comes back.
pub(super) fn spin() -> Vec<u8> {
    let body = "(call $log (i32.const 1) (local.get $in) (local.get $in_len)) (loop $l (br $l)) unreachable";
    kit_with("import ice:log/log@0.1.0;", LOG, "", body)
}

/// Spins in `describe`.
pub(super) fn spin_in_describe() -> Vec<u8> {
    let core = format!(
        r#"(module {RUNTIME}
            (func (export "ice:plugin/tools@0.1.0#describe") (result i32) (loop $l (br $l)) unreachable)
            (func (export "ice:plugin/tools@0.1.0#call") {PARAMETERS} unreachable))"#
    );
    component("tools", "", &core)
}

/// Logs its input as often as the host lets it.
pub(super) fn log_flood() -> Vec<u8> {
    let body = "(loop $l (call $log (i32.const 1) (local.get $in) (local.get $in_len)) (br $l)) unreachable";
    kit_with("import ice:log/log@0.1.0;", LOG, "", body)
}

/// Logs its input 100 times and succeeds.
pub(super) fn log_100() -> Vec<u8> {
    let body = "(local $n i32)
        (loop $l (call $log (i32.const 1) (local.get $in) (local.get $in_len))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $l (i32.lt_u (local.get $n) (i32.const 100))))
        (call $ok (local.get $in) (local.get $in_len))";
    kit_with("import ice:log/log@0.1.0;", LOG, "", body)
}

/// Calls a WASI function, which cannot fail, as often as the host lets it.
pub(super) fn wasi_flood() -> Vec<u8> {
    let import = r#"(import "wasi:clocks/monotonic-clock@0.2.12" "now" (func $now (result i64)))"#;
    let body = "(loop $l (drop (call $now)) (br $l)) unreachable";
    kit_with("import wasi:clocks/monotonic-clock@0.2.12;", import, "", body)
}

/// Calls itself without end.
pub(super) fn recurse() -> Vec<u8> {
    let more = "(func $deeper (param i32) (result i32) (i32.add (call $deeper (local.get 0)) (i32.const 1)))";
    kit_with("", "", more, "(drop (call $deeper (i32.const 0))) unreachable")
}

/// Grows its memory by one MiB until it may not, then gives up.
pub(super) fn bomb() -> Vec<u8> {
    kit("(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable")
}

/// Grows a table until it may not, then gives up.
pub(super) fn table_bomb() -> Vec<u8> {
    let body = "(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))))
        unreachable";
    kit_with("", "", "(table $t 0 funcref)", body)
}

/// Answers with 20 MiB of text.
pub(super) fn huge() -> Vec<u8> {
    kit("(drop (memory.grow (i32.const 400))) (call $ok (i32.const 0) (i32.const 20971520))")
}

/// Crashes.
pub(super) fn trap() -> Vec<u8> {
    kit("unreachable")
}

/// Answers with something that is not JSON.
pub(super) fn not_json() -> Vec<u8> {
    kit_with("", "", r#"(data (i32.const 32) "{oops")"#, "(call $ok (i32.const 32) (i32.const 5))")
}

/// Writes its input to memory scope `notes`, key `k`; fails with the text of `denied` when it is.
pub(super) fn remember() -> Vec<u8> {
    let import = r#"(import "ice:memory/memory@0.1.0" "write"
        (func $write (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#;
    let body = "(call $write (i32.const 32) (i32.const 5) (i32.const 38) (i32.const 1)
            (local.get $in) (local.get $in_len) (i32.const 40) (i32.const 2) (i32.const 128))
        (if (result i32) (i32.load8_u (i32.const 128))
            (then (call $error (i32.const 2) (i32.load (i32.const 136)) (i32.load (i32.const 140))))
            (else (call $ok (local.get $in) (local.get $in_len))))";
    kit_with("import ice:memory/memory@0.1.0;", import, r#"(data (i32.const 32) "notes-k-{}")"#, body)
}

/// Like [`remember`], but answers with its input although it was denied.
pub(super) fn remember_if_possible() -> Vec<u8> {
    let import = r#"(import "ice:memory/memory@0.1.0" "write"
        (func $write (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#;
    let body = "(call $write (i32.const 32) (i32.const 5) (i32.const 38) (i32.const 1)
            (local.get $in) (local.get $in_len) (i32.const 40) (i32.const 2) (i32.const 128))
        (call $ok (local.get $in) (local.get $in_len))";
    kit_with("import ice:memory/memory@0.1.0;", import, r#"(data (i32.const 32) "notes-k-{}")"#, body)
}

/// Asks the default model with one message, its input, and answers with `true`, or fails with the text of the error.
pub(super) fn ask_model() -> Vec<u8> {
    // request: model at 0, messages at 8, tools at 16, output-schema at 24, max-tokens at 36, temperature at 44.
    // message: role at 0, content at 4, tool-calls at 12, answers at 20; 32 bytes.
    let import = r#"(import "ice:llm/chat@0.1.0" "complete" (func $complete
        (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 f32 i32)))"#;
    let body = "(i32.store8 (i32.const 256) (i32.const 1))
        (i32.store (i32.const 260) (local.get $in)) (i32.store (i32.const 264) (local.get $in_len))
        (i32.store (i32.const 268) (i32.const 0)) (i32.store (i32.const 272) (i32.const 0))
        (i32.store8 (i32.const 276) (i32.const 0))
        (call $complete (i32.const 0) (i32.const 0) (i32.const 256) (i32.const 1) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 9000) (i32.const 0) (f32.const 0)
            (i32.const 512))
        (if (result i32) (i32.load8_u (i32.const 512))
            (then (call $error (i32.const 2) (i32.load (i32.const 524)) (i32.load (i32.const 528))))
            (else (call $ok (i32.const 32) (i32.const 4))))";
    kit_with("import ice:llm/chat@0.1.0;", import, r#"(data (i32.const 32) "true")"#, body)
}

/// Writes two pieces to standard output, the second without a line end, then exits with code 1.
pub(super) fn print_and_exit() -> Vec<u8> {
    let wit = "import wasi:cli/exit@0.2.12; import wasi:cli/stdout@0.2.12; import wasi:cli/stderr@0.2.12;
        import wasi:io/streams@0.2.12;";
    let imports = r#"
        (import "wasi:cli/exit@0.2.12" "exit" (func $exit (param i32)))
        (import "wasi:cli/stdout@0.2.12" "get-stdout" (func $stdout (result i32)))
        (import "wasi:cli/stderr@0.2.12" "get-stderr" (func $stderr (result i32)))
        (import "wasi:io/streams@0.2.12" "[method]output-stream.blocking-write-and-flush"
            (func $write (param i32 i32 i32 i32)))"#;
    let body = "(local $out i32) (local.set $out (call $stdout))
        (call $write (local.get $out) (i32.const 32) (i32.const 9) (i32.const 128))
        (call $write (call $stderr) (i32.const 41) (i32.const 6) (i32.const 128))
        (call $exit (i32.const 1)) unreachable";
    kit_with(wit, imports, r#"(data (i32.const 32) "one\n\ntwo\00broken\00")"#, body)
}

/// Imports an interface that no host offers.
pub(super) fn foreign() -> Vec<u8> {
    let import = r#"(import "test:guest/foreign" "reach" (func $reach))"#;
    kit_with("import foreign;", import, "", "(call $reach) unreachable")
}

/// An agent that calls tool `other_tool` with its task and answers with what the tool answered.
pub(super) fn delegate() -> Vec<u8> {
    let import = r#"(import "ice:orchestrator/tools@0.1.0" "call" (func $tool (param i32 i32 i32 i32 i32)))"#;
    let core = format!(
        r#"(module {import} {RUNTIME} (data (i32.const 32) "other_tool")
            (func (export "ice:plugin/tasks@0.1.0#describe") (result i32) unreachable)
            (func (export "ice:plugin/tasks@0.1.0#run")
                (param $in i32) (param $in_len i32) (param i32 i32 i32 i32 i32) (param i32 i32 i32) (param i64)
                (result i32)
                (call $tool (i32.const 32) (i32.const 10) (local.get $in) (local.get $in_len) (i32.const 128))
                (if (result i32) (i32.load8_u (i32.const 128))
                    (then (call $error (i32.const 2) (i32.load (i32.const 136)) (i32.load (i32.const 140))))
                    (else (call $ok (i32.load (i32.const 132)) (i32.load (i32.const 136)))))))"#
    );
    component("tasks", "import ice:orchestrator/tools@0.1.0;", &core)
}

/// A component of a world of `wit/plugin.wit` that imports every function the world and WASI have, and does nothing.
pub(super) fn importing_everything(world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit")).unwrap();
    let text = format!(
        "package test:guest; world guest {{ include ice:plugin/{world}@0.1.0; include wasi:cli/imports@0.2.12; }}"
    );
    let package = resolve.push_str("test.wit", &text).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}
