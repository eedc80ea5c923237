//! Reading a lock: it prints to a text that reads as the same packages, sorted, with no entry twice.
#![no_main]

use ice_core::lock::Lock;
use ice_core::manifest::check_name;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(lock) = Lock::parse(text) else { return };
    let printed = lock.print();
    let again = Lock::parse(&printed).expect("what was printed is read");
    assert_eq!(again, lock);
    assert_eq!(again.print(), printed);
    let keys: Vec<_> = lock.packages().iter().map(|package| (&package.name, &package.version)).collect();
    assert!(keys.is_sorted_by(|a, b| a < b), "sorted, and none twice");
    assert!(lock.packages().iter().all(|package| check_name(&package.name).is_ok()));
});
