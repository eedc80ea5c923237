//! Reading an envelope: it prints to bytes that read as the same; nothing but V is believed; both forms agree.
#![no_main]

use ice_fuzz::believed_is_v;
use ice_registry::{Envelope, Signed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = Envelope::parse(bytes) {
        let printed = envelope.to_bytes();
        let again = Envelope::parse(&printed).expect("what was printed is read");
        assert_eq!(again, envelope);
        assert_eq!(again.to_bytes(), printed);
        believed_is_v(&envelope, None);
    }
    if let Ok(envelope) = Envelope::from_inline(bytes) {
        let inline = envelope.to_inline().expect("it was inline").to_string();
        let again = Envelope::from_inline(inline.as_bytes()).expect("what was printed is read");
        assert_eq!(again.statement(), envelope.statement());
        believed_is_v(&envelope, None);
    }
    if let Ok(signed) = Signed::parse(bytes) {
        let printed = signed.to_bytes();
        assert_eq!(Signed::parse(&printed).expect("what was printed is read").to_bytes(), printed);
    }
});
