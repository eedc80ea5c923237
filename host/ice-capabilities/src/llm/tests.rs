use std::net::IpAddr;

use ice_core::ports::Role;

use super::*;
use crate::http::{EgressOptions, Resolver};
use crate::secrets::{Secret, Secrets};

struct Nowhere;

#[async_trait]
impl Resolver for Nowhere {
    async fn resolve(&self, _host: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(Vec::new())
    }
}

fn egress() -> Arc<Egress> {
    Arc::new(Egress::new(EgressOptions::default(), Secrets::default(), Arc::new(Nowhere)).unwrap())
}

fn with(providers: &[(&str, Option<&str>, Option<&str>)]) -> LlmOptions {
    let settings = |(name, key, url): &(&str, Option<&str>, Option<&str>)| {
        let key = key.map(Secret::new);
        ((*name).to_owned(), ProviderOptions { key, base_url: url.map(str::to_owned), default_model: None })
    };
    LlmOptions { providers: providers.iter().map(settings).collect(), ..LlmOptions::default() }
}

fn models(options: LlmOptions) -> Models {
    Models::new(options, egress()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn route(models: &Models, provider: &str, model: &str) -> Result<String, (Code, String)> {
    let request = LlmRequest { provider: provider.into(), model: model.into(), ..LlmRequest::default() };
    let answer = models.resolve(&request).map(|info| format!("{}/{}", info.provider, info.model));
    answer.map_err(|failure| (failure.problem.code, failure.problem.to_string()))
}

#[test]
fn without_keys_the_offline_provider_answers_and_costs_nothing() {
    let models = models(LlmOptions::default());
    assert!(models.offline());
    assert_eq!(models.default_model(), "echo/extractive");
    for model in ["", "default", "echo", "echo/extractive"] {
        assert_eq!(route(&models, "", model).unwrap(), "echo/extractive");
    }
    let info = models.resolve(&LlmRequest::default()).unwrap();
    assert_eq!((info.estimate.cost_micro_usd, info.estimate.unpriced_calls), (0, 0));
}

#[test]
fn an_unknown_model_says_what_to_configure() {
    let models = models(LlmOptions::default());
    let (code, text) = route(&models, "", "gpt-4o").unwrap_err();
    assert!(code == Code::X070 && text.contains("`gpt-4o`") && text.contains("set `OPENAI_API_KEY`"), "{text}");
    let (_, text) = route(&models, "anthropic", "").unwrap_err();
    assert!(text.contains("set `ANTHROPIC_API_KEY`"), "{text}");
    let (_, text) = route(&models, "", "llama3").unwrap_err();
    assert!(text.contains("`openai/…`"), "{text}");
    let (_, text) = route(&models, "ollama", "llama3").unwrap_err();
    assert!(text.contains("llm.base_urls.ollama"), "{text}");
    assert_eq!(route(&models, "", "a\nb").unwrap_err().0, Code::X078);
}

#[test]
fn finds_the_provider_by_name_prefix_or_default() {
    let models = models(with(&[("openai", Some("key"), None), ("deepseek", Some("key"), None)]));
    assert_eq!(models.default_model(), "openai/gpt-4o-mini");
    let table = [
        ("", "", "openai/gpt-4o-mini"),
        ("", "default", "openai/gpt-4o-mini"),
        ("", "gpt-4o", "openai/gpt-4o"),
        ("", "openai/gpt-4o", "openai/gpt-4o"),
        ("openai", "openai/gpt-4o", "openai/gpt-4o"),
        ("openai", "", "openai/gpt-4o-mini"),
        ("", "deepseek-chat", "deepseek/deepseek-chat"),
        ("deepseek", "", "deepseek/deepseek-chat"),
        ("", "deepseek", "deepseek/deepseek-chat"),
        ("", "o3-mini", "openai/o3-mini"),
    ];
    for (provider, model, expected) in table {
        assert_eq!(route(&models, provider, model).unwrap(), expected, "{provider} {model}");
    }
    // A provider's own address serves its own models only.
    assert_eq!(route(&models, "", "llama3").unwrap_err().0, Code::X070);
    assert_eq!(route(&models, "", "claude-sonnet-4-5").unwrap_err().0, Code::X070);
}

#[test]
fn a_server_of_ones_own_serves_any_name() {
    let models = models(with(&[("openai", None, Some("http://localhost:8080/v1/"))]));
    for model in ["llama3", "meta-llama/Llama-3-8B", "claude-sonnet-4-5"] {
        assert_eq!(route(&models, "", model).unwrap(), format!("openai/{model}"));
    }
    // What it costs there only the operator can know.
    let request = LlmRequest { model: "gpt-4o".into(), ..LlmRequest::default() };
    assert_eq!(models.resolve(&request).unwrap().estimate.unpriced_calls, 1);
}

#[test]
fn a_provider_of_ones_own_has_a_name() {
    let mut options = with(&[("ollama", None, Some("http://localhost:11434/v1"))]);
    options.default_model = Some("ollama/llama3".into());
    let models = models(options);
    assert_eq!(models.default_model(), "ollama/llama3");
    assert_eq!(route(&models, "ollama", "").unwrap(), "ollama/llama3");
}

#[test]
fn legacy_models_are_refused_everywhere() {
    let models = models(with(&[("openai", Some("key"), Some("http://localhost:1/v1"))]));
    for (provider, model) in [("", "gpt-3.5-turbo"), ("openai", "gpt-3.5-turbo-0125"), ("", "openai/gpt-3.5-turbo")] {
        assert_eq!(route(&models, provider, model).unwrap_err().0, Code::X071);
    }
}

#[test]
fn an_estimate_is_priced_and_bounds_the_output() {
    let models = models(with(&[("openai", Some("key"), None)]));
    let mut request = LlmRequest { model: "gpt-4o".into(), ..LlmRequest::default() };
    request.messages.push(Message { role: Role::User, content: "x".repeat(3000), tool_calls: vec![], answers: None });
    let estimate = models.resolve(&request).unwrap().estimate;
    assert_eq!((estimate.input_tokens, estimate.output_tokens), (1024, 4096));
    assert_eq!(estimate.cost_micro_usd, 1024 * 5 / 2 + 4096 * 10);
    request.max_tokens = Some(10);
    assert_eq!(models.resolve(&request).unwrap().estimate.output_tokens, 10);
}

#[test]
fn the_operator_may_price_even_the_offline_provider() {
    let prices = "[[price]]\nmodel='echo/extractive'\ninput=1\noutput=2\nas_of='2025-01-01'\nsource='a test'";
    let models = models(LlmOptions { prices_toml: Some(prices.into()), max_tokens: 100, ..LlmOptions::default() });
    let estimate = models.resolve(&LlmRequest::default()).unwrap().estimate;
    assert_eq!(estimate.cost_micro_usd, 16 + 200);
}

#[test]
fn says_every_wrong_setting() {
    let mut options = with(&[
        ("echo", Some("key"), None),
        ("ollama", Some("key"), None),
        ("openai", None, Some("localhost:8080")),
        ("deepseek", Some("a key\n"), None),
        ("x", None, Some("http://user:pw@h/v1")),
    ]);
    options.default_model = Some("nobody/nothing".into());
    let problems = Models::new(options, egress()).map(|_| ()).unwrap_err();
    assert_eq!(problems.len(), 6, "{problems:#?}");
    assert!(problems.iter().all(|problem| problem.code == Code::C022));
    assert!(!format!("{problems:?}").contains("a key"));
    let options = LlmOptions { prices_toml: Some("x".into()), ..LlmOptions::default() };
    assert_eq!(Models::new(options, egress()).map(|_| ()).unwrap_err()[0].code, Code::C022);
}

#[tokio::test]
async fn refuses_questions_that_cannot_be_sent() {
    let models = models(LlmOptions::default());
    let good = LlmRequest {
        messages: vec![Message { role: Role::User, content: "hi".into(), tool_calls: vec![], answers: None }],
        ..LlmRequest::default()
    };
    let reply = models.complete(&good, None).await.unwrap();
    assert!(reply.offline && reply.model == "echo/extractive" && reply.usage.unpriced_calls == 0);
    let mut large = good.clone();
    large.messages[0].content = "x".repeat(REQUEST_BYTES_MAX + 1);
    for bad in [
        LlmRequest { messages: vec![], ..good.clone() },
        LlmRequest { max_tokens: Some(0), ..good.clone() },
        LlmRequest { temperature: Some(2.5), ..good.clone() },
        LlmRequest { temperature: Some(f32::NAN), ..good.clone() },
        large,
    ] {
        assert_eq!(models.complete(&bad, None).await.unwrap_err().problem.code, Code::X078);
    }
}

#[tokio::test]
async fn without_embedder_there_are_no_vectors() {
    let models = models(LlmOptions::default());
    assert_eq!(models.embedder(), None);
    for model in ["", "default", "echo"] {
        assert_eq!(models.embed(model, &["a".into()]).await.unwrap_err().problem.code, Code::X079);
    }
}

#[test]
fn vectors_are_estimated_at_their_price_and_unknown_ones_counted() {
    let key = [("openai", Some("sk-x"), None)];
    let options = LlmOptions { embedder: Some("openai/text-embedding-3-small".into()), ..with(&key) };
    let models = models(options);
    // 3,000 bytes are at most 1,001 tokens, at 0.02 micro-USD each, rounded up.
    let known = models.embedding("", 3_000).unwrap();
    assert_eq!((known.input_tokens, known.output_tokens, known.cost_micro_usd), (1_001, 0, 21));
    assert_eq!(models.embedding("openai/some-other", 3).unwrap().unpriced_calls, 1);
    assert_eq!(models.embedding("echo/echo", 3).unwrap().unpriced_calls, 0);
    assert!(models.embedding("nobody/none", 3).is_err());
}
