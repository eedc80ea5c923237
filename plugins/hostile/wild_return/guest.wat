;; Returns an answer that lies outside its own memory, where it hopes that another instance's begins.
;; The host reads answers within the guest's memory only, so this is a trap.
;;
;; A core module for the world `kit`; `describe` returns the empty list at address 16.
(module
  (memory (export "memory") 1)
  (data (i32.const 32) "\00\00\00\00\00\00\01\00\00\00\01\00") ;; ok, 65536 bytes at 65536: one page past the end
  (global $free (mut i32) (i32.const 1024))

  (func (export "cabi_realloc") (param i32 i32 i32) (param $bytes i32) (result i32)
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (i32.and (i32.add (local.get $bytes) (i32.const 15)) (i32.const -16)))))

  (func (export "ice:plugin/tools@0.1.0#describe") (result i32)
    (i32.const 16))

  (func (export "ice:plugin/tools@0.1.0#call")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64) (result i32)
    (i32.const 32)))
