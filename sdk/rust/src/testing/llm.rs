//! The scripted model: the answer a test gave, and a record of what was asked.

use crate::llm::{Error, Message, Reply, Request, Role, Usage};

pub(crate) fn reply(content: &str, offline: bool) -> Reply {
    Reply {
        message: Message::new(Role::Assistant, content),
        usage: Usage::default(),
        model: if offline { "echo/echo" } else { "test/model" }.to_owned(),
        offline,
    }
}

pub(crate) fn complete(request: &Request) -> Result<Reply, Error> {
    // The script is taken out while it runs, so that it may use the host itself.
    let script = super::with(|state| {
        state.llm_requests.push(request.clone());
        state.llm.take()
    });
    let Some(mut script) = script else {
        return Err(Error::Denied("no model was scripted: call `host.answer_llm(…)`".to_owned()));
    };
    let answer = script(request);
    super::with(|state| {
        state.llm.get_or_insert(script);
    });
    answer
}

pub(crate) fn embed(_model: &str, _texts: &[String]) -> Result<Vec<Vec<f32>>, Error> {
    Err(Error::UnknownModel("the scripted host has no embedder".to_owned()))
}
