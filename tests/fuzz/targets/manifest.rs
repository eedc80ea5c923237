//! Reading a manifest: accepted bytes are the one spelling of their document, and what is read keeps the rules that
//! others rely on.
#![no_main]

use ice_core::manifest::{Manifest, canonical, check_name, hidden, parse_canonical, parse_strict};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = parse_canonical(bytes) {
        assert_eq!(canonical(&document), bytes, "two spellings of one document");
    }
    // A mutation rarely stays canonical; the document behind it is worth a try all the same.
    let Ok(document) = parse_strict(bytes) else { return };
    let spelled = canonical(&document);
    let Ok(manifest) = Manifest::parse(&spelled) else { return };
    let printed = manifest.canonical_bytes();
    let again = Manifest::parse(&printed).expect("what was printed is read");
    assert_eq!(again, manifest);
    assert_eq!(again.canonical_bytes(), printed);
    assert!(manifest.check().is_empty());
    check_name(&manifest.name).expect("a name was read");
    let artifacts = manifest.artifacts();
    assert!(manifest.components.iter().all(|component| artifacts.contains(&(component.artifact, component.size))));
    for file in &manifest.files {
        let odd = |part: &str| part.is_empty() || part == "." || part == "..";
        assert!(!file.path.split('/').any(odd) && !file.path.contains('\\'), "{}", file.path);
    }
    let texts = manifest.components.iter().map(|component| &component.description);
    assert!(texts.chain([&manifest.description]).all(|text| hidden(text).is_none()));
});
