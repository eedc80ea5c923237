//! Names, digests and what is shown of foreign text: one spelling each, and nothing that could be a path or a trick.
#![no_main]

use ice_core::id::Digest;
use ice_core::manifest::{
    check_name, hidden, near_names, nearest, parse_date, print_date, printable, qualified, short,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if check_name(text).is_ok() {
        let (scope, name) = text.split_once('/').expect("two parts");
        for part in [scope, name] {
            let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
            assert!((1..=64).contains(&part.len()) && part.bytes().all(plain), "{part}");
            assert!(!part.starts_with(['_', '-']), "{part}");
        }
        assert_eq!((qualified(text).as_str(), short(text)), (text, name));
        assert!(near_names(text, [text]).is_empty(), "a name is not near itself");
        let doubled = format!("{text}_");
        assert!(!near_names(&doubled, [text]).is_empty(), "`_` makes no difference");
    }
    if let Ok(digest) = Digest::parse(text) {
        assert_eq!(digest.to_string(), text);
        assert_eq!(Digest::from_bytes(*digest.as_bytes()), digest);
    }
    let shown = printable(text);
    assert!(hidden(&shown).is_none(), "{shown:?}");
    assert_eq!(printable(&shown), shown, "what is fit to be shown stays as it is");
    if let Some(seconds) = parse_date(text) {
        assert_eq!(parse_date(&print_date(seconds)), Some(seconds));
    }
    if let Some((a, b)) = text.split_once('\n') {
        assert_eq!(near_names(a, [b]).len(), near_names(b, [a]).len(), "near is near from both sides");
        assert!(nearest(a, [b]).is_none_or(|found| found == b));
    }
});
