;; Uses a host resource that it was never given: it waits on timer number 1, the number every instance's first resource
;; gets. Numbers mean something within one instance only, so this is a trap.
;;
;; A core module for the world `kit`; `describe` returns the empty list at address 16, `call` the result `ok("{}")`.
(module
  (import "wasi:io/poll@0.2.12" "[method]pollable.block" (func $block (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 32) "\00\00\00\00\40\00\00\00\02\00\00\00") ;; ok, 2 bytes at 64
  (data (i32.const 64) "{}")
  (global $free (mut i32) (i32.const 1024))

  (func (export "cabi_realloc") (param i32 i32 i32) (param $bytes i32) (result i32)
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (i32.and (i32.add (local.get $bytes) (i32.const 15)) (i32.const -16)))))

  (func (export "ice:plugin/tools@0.1.0#describe") (result i32)
    (i32.const 16))

  (func (export "ice:plugin/tools@0.1.0#call")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64) (result i32)
    (call $block (i32.const 1))
    (i32.const 32)))
