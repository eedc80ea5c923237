//! What wit-bindgen makes of `wit/`: imports once, and one export macro per world.
//!
//! Nothing is written by hand here; the capability modules are the interface for people.
//! Each world's types come from [`agent`], the widest one, so that a kit and an agent share the same wrappers.

/// World `agent`: every capability, and the export macro of agents.
#[expect(clippy::allow_attributes, reason = "generated code")]
pub mod agent {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "ice:plugin/agent",
        pub_export_macro: true,
        export_macro_name: "export_agent",
        runtime_path: "ice_sdk::__private::wit_bindgen::rt",
        generate_all,
    });
}

/// World `kit`: the export macro of kits.
pub mod kit {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "ice:plugin/kit",
        pub_export_macro: true,
        export_macro_name: "export_kit",
        runtime_path: "ice_sdk::__private::wit_bindgen::rt",
        with: {
            "ice:types/types@0.1.0": super::agent::ice::types::types,
            "ice:log/log@0.1.0": super::agent::ice::log::log,
            "ice:llm/types@0.1.0": super::agent::ice::llm::types,
            "ice:llm/chat@0.1.0": super::agent::ice::llm::chat,
            "ice:llm/embeddings@0.1.0": super::agent::ice::llm::embeddings,
            "ice:memory/memory@0.1.0": super::agent::ice::memory::memory,
            "ice:secrets/secrets@0.1.0": super::agent::ice::secrets::secrets,
            "wasi:io/error@0.2.12": super::agent::wasi::io::error,
            "wasi:io/poll@0.2.12": super::agent::wasi::io::poll,
            "wasi:io/streams@0.2.12": super::agent::wasi::io::streams,
            "wasi:clocks/monotonic-clock@0.2.12": super::agent::wasi::clocks::monotonic_clock,
            "wasi:http/types@0.2.12": super::agent::wasi::http::types,
            "wasi:http/outgoing-handler@0.2.12": super::agent::wasi::http::outgoing_handler,
        },
    });
}

/// World `bundle`: the export macro of bundles.
pub mod bundle {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "ice:plugin/bundle",
        pub_export_macro: true,
        export_macro_name: "export_bundle",
        runtime_path: "ice_sdk::__private::wit_bindgen::rt",
        with: { "ice:types/types@0.1.0": super::agent::ice::types::types },
    });
}
