//! The house behind a socket.

use std::sync::Arc;

use ice_api::{Access, Api, ApiOptions, Parts, Rate};
use ice_core::problem::Problem;
use ice_engine::Timetable;

use super::Host;

impl Host {
    /// The API over this host. `log` is told what no answer shows.
    pub(crate) fn api(&self, access: Access, rate: Option<Rate>, log: Arc<dyn Fn(&Problem) + Send + Sync>) -> Api {
        let parts = Parts {
            engine: self.engine.clone(),
            components: Arc::clone(&self.runtime) as _,
            events: Arc::clone(&self.storage.store) as _,
            documents: Arc::clone(&self.storage.store) as _,
            clock: Arc::clone(&self.storage.clock),
        };
        let options = ApiOptions {
            access,
            identity: self.identity.clone(),
            budget: self.budget,
            rate,
            executions_max: ice_api::app::EXECUTIONS_MAX,
            log,
        };
        Api::new(parts, options)
    }

    /// The schedules of this host's store, run by its engine.
    pub(crate) fn timetable(&self) -> Timetable {
        Timetable::new(self.engine.clone(), Arc::clone(&self.storage.store) as _)
    }

    /// Folds what was written into the database file and closes it.
    pub(crate) async fn close(&self) {
        self.storage.store.close().await;
    }
}
