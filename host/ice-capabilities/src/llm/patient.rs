//! Asking a busy provider again for components: they cannot sleep, and nobody above them would ask again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use ice_core::ports::{Clock, DeltaSink, Embeddings, Failure, Llm, LlmReply, LlmRequest, ModelInfo, Patience};

/// Models that are asked again while they are busy, within the bounds of [`Patience`].
pub struct Patient {
    llm: Arc<dyn Llm>,
    clock: Arc<dyn Clock>,
}

impl Patient {
    /// Asks `llm`, and sleeps by `clock`.
    pub fn new(llm: Arc<dyn Llm>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { llm, clock })
    }
}

#[async_trait]
impl Llm for Patient {
    fn resolve(&self, request: &LlmRequest) -> Result<ModelInfo, Failure> {
        self.llm.resolve(request)
    }

    async fn complete(&self, request: &LlmRequest, deltas: Option<DeltaSink<'_>>) -> Result<LlmReply, Failure> {
        let said = AtomicBool::new(false);
        let pass = |text: &str| {
            said.store(true, Ordering::Relaxed);
            if let Some(deltas) = deltas {
                deltas(text);
            }
        };
        let mut patience = Patience::default();
        loop {
            let failure = match self.llm.complete(request, deltas.is_some().then_some(&pass as _)).await {
                // What was said cannot be taken back: whoever listens would hear it twice.
                Err(failure) if !said.load(Ordering::Relaxed) => failure,
                answered => return answered,
            };
            let Some(ms) = patience.pause_ms(&failure) else { return Err(failure) };
            self.clock.sleep(ms).await;
        }
    }

    async fn embed(&self, model: &str, texts: &[String]) -> Result<Embeddings, Failure> {
        self.llm.embed(model, texts).await
    }
}
