//! The router and its layers: host name, body, token, rate, in this order, then the routes.

use std::sync::Arc;

use axum::Router;
use ice_core::budget::Budget;
use ice_core::id::Identity;
use ice_core::ports::{Clock, Components, Documents, Events};
use ice_core::problem::Problem;
use ice_engine::Engine;
use tokio::sync::watch;

use crate::auth::Access;
use crate::limits::{Rate, Rates};
use crate::plans::Plans;
use crate::routes;

/// What the routes ask.
pub struct Parts {
    /// Runs executions.
    pub engine: Engine,
    /// What is installed.
    pub components: Arc<dyn Components>,
    /// Lists of events.
    pub events: Arc<dyn Events>,
    /// Stored blueprints.
    pub documents: Arc<dyn Documents>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Settings of the API.
pub struct ApiOptions {
    /// Who may ask.
    pub access: Access,
    /// Whom executions run for, unless a request names somebody in `X-Org-Id` and `X-User-Id`.
    pub identity: Identity,
    /// What one execution may spend at most.
    pub budget: Budget,
    /// How many requests a route takes in a while; any number without.
    pub rate: Option<Rate>,
    /// Executions that run at once; beyond it nothing is started.
    pub executions_max: usize,
    /// Told what the host did wrong, which no answer shows.
    pub log: Arc<dyn Fn(&Problem) + Send + Sync>,
}

/// Executions that run at once unless the operator says otherwise: each keeps some tens of kilobytes.
pub const EXECUTIONS_MAX: usize = 4_096;

/// The API of one host. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Api(pub(crate) Arc<Shared>);

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) parts: Parts,
    pub(crate) options: ApiOptions,
    pub(crate) plans: Plans,
    pub(crate) rates: Rates,
    /// True once the server is about to stop: whoever waits is answered with what is known.
    pub(crate) stopping: watch::Sender<bool>,
}

impl Api {
    /// An API over these parts.
    pub fn new(parts: Parts, options: ApiOptions) -> Self {
        let (stopping, _) = watch::channel(false);
        let rates = Rates::new(options.rate);
        Self(Arc::new(Shared { parts, options, plans: Plans::default(), rates, stopping }))
    }

    /// Everything that can be asked for.
    pub fn router(&self) -> Router {
        let guarded = routes::guarded().layer(axum::middleware::from_fn_with_state(self.clone(), crate::auth::check));
        let open = routes::open();
        open.merge(guarded)
            .method_not_allowed_fallback(crate::answer::no_method)
            .fallback(crate::answer::no_route)
            .layer(axum::middleware::from_fn_with_state(self.clone(), crate::limits::bound))
            .with_state(self.clone())
    }

    /// Answers everybody who waits, starts nothing more, and leaves what this process runs to the next one: see
    /// [`Engine::drain`]. Returns how many executions that were.
    pub async fn stop(&self, grace_ms: u64) -> usize {
        self.0.stopping.send_replace(true);
        self.0.parts.engine.drain(grace_ms).await
    }
}

impl Shared {
    /// Whether nothing more is started.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Returns when the server is about to stop.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives in `self`.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }
}
