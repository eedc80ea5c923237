//! The socket: accepts within bounds, lets go of clients that send nothing, stops without tearing answers.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ice_core::problem::{Code, Problem};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::app::Api;
use crate::auth::Access;

/// Connections at once; the next one waits in the kernel's queue.
const CONNECTIONS_MAX: usize = 2_048;

/// How long a client may take to send the head of a request, or keep a connection on which it asks nothing.
const HEAD: Duration = Duration::from_secs(30);

/// How long nothing is accepted after the system refused to: it is out of file descriptors.
const PAUSE_MS: u64 = 100;

/// A socket that listens, before anybody is answered.
pub struct Server {
    listener: TcpListener,
    /// Where it listens; the port is the one it got.
    pub address: SocketAddr,
}

impl Server {
    /// Listens on `address`; port 0 takes any free one. A013 when `access` must not be given there, C003 when it cannot
    /// be had.
    pub async fn bind(address: SocketAddr, access: &Access) -> Result<Self, Problem> {
        access.fits(address.ip())?;
        let refuse = |error: std::io::Error| {
            Problem::new(Code::C003, format!("the server cannot listen on {address}: {error}"))
                .help("choose another port, or 0 for any free one")
        };
        let listener = TcpListener::bind(address).await.map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        Ok(Self { listener, address })
    }

    /// Answers until `stop` returns. Executions that another process left are taken up at the start and while it runs,
    /// and those whose waits run out are woken. Then nobody waits any longer, and executions have `grace_ms` to come to
    /// rest. Returns how many have not: the next process goes on with them.
    pub async fn serve(self, api: &Api, stop: impl Future<Output = ()>, grace_ms: u64) -> usize {
        let mut connections = JoinSet::new();
        tokio::select! {
            () = accept(&self.listener, api, &mut connections) => {}
            never = api.0.parts.engine.tend(api.0.options.executions_max, |problem| (api.0.options.log)(problem)) => match never {},
            () = stop => {}
        }
        drop(self.listener);
        let left = api.stop(grace_ms).await;
        let answered = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            () = answered => {}
            () = api.0.parts.clock.sleep(grace_ms) => {}
        }
        left
    }
}

/// Never returns.
async fn accept(listener: &TcpListener, api: &Api, connections: &mut JoinSet<()>) {
    let router = api.router();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = converse(stream, router.clone(), api.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                let problem = Problem::new(Code::C003, format!("a connection could not be accepted: {error}"));
                (api.0.options.log)(&problem.help("raise the limit of open files"));
                api.0.parts.clock.sleep(PAUSE_MS).await;
            }
        }
        // Those that ended must not pile up.
        while connections.try_join_next().is_some() {}
    }
}

/// One connection, until the client leaves or the server stops; then what is being answered is finished.
async fn converse(stream: TcpStream, router: Router, api: Api) {
    // Answers are small and complete: nothing is gained by waiting for more. A socket that cannot do it works too.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move {
            Ok::<_, Infallible>(router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {}))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // A client that breaks off is its own concern.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = api.0.stopped() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
