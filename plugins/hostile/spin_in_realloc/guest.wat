;; Spins for ever when the host asks it for room to put the arguments into: the host is inside the guest before `call`
;; has even begun. Stopped by the processor-time or wall-clock limit of the call.
;;
;; A core module for the world `kit`; `describe` returns the empty list at address 16.
(module
  (memory (export "memory") 1)

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (loop $for_ever (br $for_ever))
    unreachable)

  (func (export "ice:plugin/tools@0.1.0#describe") (result i32)
    (i32.const 16))

  (func (export "ice:plugin/tools@0.1.0#call")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64) (result i32)
    unreachable))
