//! Uses every capability a kit may import, whether or not it was granted one.
//! Answers with a JSON object: capability → what the host said.
#![cfg(target_arch = "wasm32")]

use exports::ice::plugin::tools::{CallContext, Error, Guest, Tool};

wit_bindgen::generate!({ path: "../../../wit", world: "kit", generate_all });

struct AskUngranted;

export!(AskUngranted);

impl Guest for AskUngranted {
    fn describe() -> Vec<Tool> {
        vec![Tool {
            name: "ask_ungranted".to_owned(),
            description: "Uses every capability.".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: "{}".to_owned(),
            tags: Vec::new(),
        }]
    }

    fn call(_: String, _: String, _: CallContext) -> Result<String, Error> {
        let said = [
            ("llm", llm()),
            ("embeddings", embeddings()),
            ("memory_read", memory_read()),
            ("memory_write", memory_write()),
            ("secrets", format!("exists: {}", ice::secrets::secrets::exists("API_KEY"))),
            ("http", http()),
        ];
        let members: Vec<String> = said
            .iter()
            .map(|(name, text)| format!("\"{name}\":\"{}\"", text.replace(['"', '\\', '\n'], "'")))
            .collect();
        Ok(format!("{{{}}}", members.join(",")))
    }
}

fn llm() -> String {
    use ice::llm::chat::{Message, Request, Role, complete};
    let question = Message { role: Role::User, content: "hello".to_owned(), tool_calls: Vec::new(), answers: None };
    let request = Request {
        model: String::new(),
        messages: vec![question],
        tools: Vec::new(),
        output_schema: None,
        max_tokens: Some(1),
        temperature: None,
    };
    format!("{:?}", complete(&request))
}

fn embeddings() -> String {
    format!("{:?}", ice::llm::embeddings::embed("", &["hello".to_owned()]))
}

fn memory_read() -> String {
    format!("{:?}", ice::memory::memory::read("notes", "key"))
}

fn memory_write() -> String {
    use ice::memory::memory::{Item, write};
    let item = Item { key: "key".to_owned(), text: "text".to_owned(), metadata: "{}".to_owned() };
    format!("{:?}", write("notes", &item))
}

fn http() -> String {
    use wasi::http::outgoing_handler::handle;
    use wasi::http::types::{Fields, OutgoingRequest, Scheme};
    let request = OutgoingRequest::new(Fields::new());
    let set = request
        .set_scheme(Some(&Scheme::Https))
        .and_then(|()| request.set_authority(Some("ungranted.example")))
        .and_then(|()| request.set_path_with_query(Some("/")));
    if set.is_err() {
        return "the request could not be made".to_owned();
    }
    match handle(request, None) {
        Err(error) => format!("{error:?}"),
        Ok(pending) => {
            pending.subscribe().block();
            match pending.get() {
                Some(Ok(Ok(response))) => format!("status {}", response.status()),
                other => format!("{:?}", other.map(|inner| inner.map(|reply| reply.map(|_| ())))),
            }
        }
    }
}
