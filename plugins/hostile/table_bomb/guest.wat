;; Grows two tables by turns until the host refuses both. Tables count like memory, so the memory limit of the call holds
;; for them. It gives up by a trap.
;;
;; A core module for the world `kit`; `describe` returns the empty list at address 16.
(module
  (memory (export "memory") 1)
  (table $one 0 funcref)
  (table $two 0 funcref)
  (global $free (mut i32) (i32.const 1024))

  (func (export "cabi_realloc") (param i32 i32 i32) (param $bytes i32) (result i32)
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (i32.and (i32.add (local.get $bytes) (i32.const 15)) (i32.const -16)))))

  (func (export "ice:plugin/tools@0.1.0#describe") (result i32)
    (i32.const 16))

  (func (export "ice:plugin/tools@0.1.0#call")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64) (result i32)
    (loop $again
      (br_if $again
        (i32.or
          (i32.ne (i32.const -1) (table.grow $one (ref.null func) (i32.const 1024)))
          (i32.ne (i32.const -1) (table.grow $two (ref.null func) (i32.const 1024))))))
    unreachable))
