;; Answers at once, then spins for ever in the clean-up that the host calls after it has read the answer.
;; Stopped by the processor-time or wall-clock limit of the call.
;;
;; A core module for the world `kit`; `describe` returns the empty list at address 16, `call` the result `ok("{}")`.
(module
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
    (i32.const 32))

  (func (export "cabi_post_ice:plugin/tools@0.1.0#call") (param i32)
    (loop $for_ever (br $for_ever))))
