//! Looks for what another call left behind: in a static, and in memory it never wrote.
//! `{"leave": "MARKER"}` leaves the input in a static and all over eight megabytes; every other input only looks.
//! Answers `{"static": …, "dirty_bytes": …}`; in a fresh instance the first is empty and the second 0.
#![cfg(target_arch = "wasm32")]

use std::sync::Mutex;

use exports::ice::plugin::tools::{CallContext, Error, Guest, Tool};

wit_bindgen::generate!({ path: "../../../wit", world: "kit", generate_all });

struct ReadOther;

export!(ReadOther);

impl Guest for ReadOther {
    fn describe() -> Vec<Tool> {
        vec![Tool {
            name: "read_other".to_owned(),
            description: "Looks for what another call left behind.".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: "{}".to_owned(),
            tags: Vec::new(),
        }]
    }

    fn call(_: String, input: String, _: CallContext) -> Result<String, Error> {
        let mut seen = SEEN.lock().map_err(|_| Error::Failed("the static is poisoned".to_owned()))?;
        let found = seen.clone();
        let fresh = grown_pages();
        let dirty = fresh.iter().filter(|byte| **byte != 0).count();
        if input.contains("leave") {
            seen.clone_from(&input);
            for (byte, mark) in fresh.iter_mut().zip(input.bytes().cycle()) {
                *byte = mark;
            }
        }
        Ok(format!("{{\"static\":\"{}\",\"dirty_bytes\":{dirty}}}", found.escape_default()))
    }
}

static SEEN: Mutex<String> = Mutex::new(String::new());

/// New pages of linear memory, as the host handed them out.
fn grown_pages() -> &'static mut [u8] {
    const PAGE: usize = 64 << 10;
    const PAGES: usize = (8 << 20) / PAGE;
    let first = core::arch::wasm32::memory_grow::<0>(PAGES);
    if first == usize::MAX {
        return &mut [];
    }
    // SAFETY: the pages were added by the line above, so nothing else points into them.
    unsafe { core::slice::from_raw_parts_mut((first * PAGE) as *mut u8, PAGES * PAGE) }
}
