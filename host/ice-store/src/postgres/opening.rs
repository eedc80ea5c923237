//! Opens connections and brings a database to the newest schema. One that is not ours is left untouched.

use std::time::Duration;

use ice_core::problem::{Code, Problem};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection};

use super::{STATEMENT_MAX, migrate, nearest};
use crate::fault::Fault;
use crate::fault::postgres::no_answer;
use crate::{Durability, Options};

/// Connections of one store beside the writer's. A server has 100 by default and gives each a process: a few processes
/// of `ice` share them, and more than cores gain little.
const CONNECTIONS_MAX: u32 = 8;

/// A server that has not let us in by then is not there.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Whoever waits longer than this for a connection meets an overload, or a server that is down.
const QUEUE_WAIT: Duration = Duration::from_secs(30);

/// A connection that was idle for longer is asked whether it is still there before it is used.
pub(super) const FRESH: Duration = Duration::from_secs(1);

/// The oldest server on which the tests run.
const OLDEST: i32 = 150_000;

/// An open database.
pub(super) struct Opened {
    pub(super) writer: PgConnection,
    /// How the writer connects again.
    pub(super) writing: PgConnectOptions,
    pub(super) pool: PgPool,
    /// How everybody else connects.
    pub(super) connect: PgConnectOptions,
    pub(super) pgvector: bool,
}

/// Connects, recognises and migrates.
pub(super) async fn open(options: PgConnectOptions, settings: &Options) -> Result<Opened, Fault> {
    let connect = options.options(session(settings)).disable_statement_logging();
    // The writer has one statement, and each of its tables is asked by primary key: one plan is right however the
    // tables grow, and planning anew would take longer than the work.
    let writing = connect.clone().options([("enable_seqscan", "off"), ("plan_cache_mode", "force_generic_plan")]);
    let mut writer = self::connect(&writing).await?;
    suits(&mut writer).await?;
    if migrate::recognise(&mut writer).await? < migrate::newest() {
        migrate::apply(&mut writer).await?;
    }
    let pgvector = nearest::pgvector(&mut writer).await?;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(QUEUE_WAIT)
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move { Ok(about.idle_for < FRESH || connection.ping().await.is_ok()) })
        })
        .connect_lazy_with(connect.clone());
    Ok(Opened { writer, writing, pool, connect, pgvector })
}

/// A connection, or why there is none.
pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Fault> {
    match tokio::time::timeout(CONNECT_MAX, options.connect()).await {
        Ok(connection) => Ok(connection?),
        Err(_) => Err(no_answer()),
    }
}

/// What every session is set to. Names with a dot are pgvector's; without it the server keeps and ignores them.
fn session(settings: &Options) -> Vec<(&'static str, String)> {
    let mut session = vec![
        ("lock_timeout", settings.lock_wait.as_millis().max(1).to_string()),
        ("statement_timeout", STATEMENT_MAX.as_millis().to_string()),
        // A session whose process is gone lets go of its rows.
        ("idle_in_transaction_session_timeout", STATEMENT_MAX.as_millis().to_string()),
        ("tcp_keepalives_idle", "30".to_owned()),
        // Goes on until enough rows pass the filter, instead of stopping with too few.
        ("hnsw.iterative_scan", "strict_order".to_owned()),
        // Candidates looked at by one search: of 100 the best ten are nearly always the true ones.
        ("hnsw.ef_search", "100".to_owned()),
    ];
    if settings.durability == Durability::Power {
        // Otherwise the server's own setting stands, which is this one unless somebody changed it.
        session.push(("synchronous_commit", "on".to_owned()));
    }
    session
}

/// Refuses what our statements do not suit.
async fn suits(connection: &mut PgConnection) -> Result<(), Fault> {
    const LOOK: &str = "select current_setting('server_version_num')::int4, current_setting('server_encoding'), \
                        current_schema()::text";
    let (version, encoding, schema): (i32, String, Option<String>) = sqlx::query_as(LOOK).fetch_one(connection).await?;
    let refuse = |message: String, help: &str| Err(Problem::new(Code::C040, message).help(help).into());
    if version < OLDEST {
        return refuse(format!("Postgres {} is too old", version / 10_000), "use Postgres 15 or newer");
    }
    if encoding != "UTF8" {
        let help = "make it anew: `createdb --template=template0 --encoding=UTF8 DATABASE`";
        return refuse(format!("the database keeps texts as {encoding}"), help);
    }
    if schema.is_none() {
        let help = "create the schema that `search_path` names, or correct `options` in the URL";
        return refuse("there is no schema to keep tables in".into(), help);
    }
    Ok(())
}
