//! WASI 0.2, closed: coarse clocks, random numbers, standard output and error as log lines, and nothing else.
//!
//! Every interface links, so that any language's standard library loads. There are no files, no environment, no
//! arguments and no standard input; opening a socket or resolving a name is refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock, WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{LinkOptions, cli, clocks, filesystem, random, sockets};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};
use wasmtime_wasi::{WasiCtx, WasiView as _};
use wasmtime_wasi_io::bindings::wasi::io;

use crate::call::Guest;
use crate::gate::{Gate, Stdio};

/// Resolution of both clocks. Fine clocks measure caches and other guests.
const CLOCK_RESOLUTION: Duration = Duration::from_millis(1);

/// Most random bytes of one call.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

/// What a guest may write to standard output at once.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// Handles (streams, pollables, headers, requests) that one call may hold on the host at once.
pub(crate) const HANDLES_MAX: usize = 10_000;

/// Links closed WASI.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    type G = Guest;
    let options = LinkOptions::default();
    io::error::add_to_linker::<G, Io>(linker, |guest| guest.ctx().table)?;
    io::poll::add_to_linker::<G, Io>(linker, |guest| guest.ctx().table)?;
    io::streams::add_to_linker::<G, Io>(linker, |guest| guest.ctx().table)?;
    clocks::wall_clock::add_to_linker::<G, WasiClocks>(linker, G::clocks)?;
    clocks::monotonic_clock::add_to_linker::<G, WasiClocks>(linker, G::clocks)?;
    random::random::add_to_linker::<G, WasiRandom>(linker, |guest| guest.ctx().ctx.random())?;
    random::insecure::add_to_linker::<G, WasiRandom>(linker, |guest| guest.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<G, WasiRandom>(linker, |guest| guest.ctx().ctx.random())?;
    cli::exit::add_to_linker::<G, WasiCli>(linker, G::cli)?;
    cli::environment::add_to_linker::<G, WasiCli>(linker, G::cli)?;
    cli::stdin::add_to_linker::<G, WasiCli>(linker, G::cli)?;
    cli::stdout::add_to_linker::<G, WasiCli>(linker, G::cli)?;
    cli::stderr::add_to_linker::<G, WasiCli>(linker, G::cli)?;
    cli::terminal_input::add_to_linker::<G, WasiCli>(linker, G::cli)?;
    cli::terminal_output::add_to_linker::<G, WasiCli>(linker, G::cli)?;
    cli::terminal_stdin::add_to_linker::<G, WasiCli>(linker, G::cli)?;
    cli::terminal_stdout::add_to_linker::<G, WasiCli>(linker, G::cli)?;
    cli::terminal_stderr::add_to_linker::<G, WasiCli>(linker, G::cli)?;
    filesystem::preopens::add_to_linker::<G, WasiFilesystem>(linker, G::filesystem)?;
    filesystem::types::add_to_linker::<G, WasiFilesystem>(linker, G::filesystem)?;
    sockets::network::add_to_linker::<G, WasiSockets>(linker, &(&options).into(), G::sockets)?;
    sockets::instance_network::add_to_linker::<G, WasiSockets>(linker, G::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<G, WasiSockets>(linker, G::sockets)?;
    sockets::tcp::add_to_linker::<G, WasiSockets>(linker, G::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<G, WasiSockets>(linker, G::sockets)?;
    sockets::udp::add_to_linker::<G, WasiSockets>(linker, G::sockets)?;
    sockets::udp_create_socket::add_to_linker::<G, WasiSockets>(linker, G::sockets)?;
    Ok(())
}

/// Makes the context of one call. Only guests that use WASI pay for it.
pub(crate) fn context(gate: &Arc<Gate>) -> WasiCtx {
    let started = Instant::now();
    WasiCtx::builder()
        .stdout(LogPipe { gate: Arc::clone(gate), to: Stdio::Out })
        .stderr(LogPipe { gate: Arc::clone(gate), to: Stdio::Err })
        .wall_clock(CoarseWall(Arc::clone(gate)))
        .monotonic_clock(CoarseMonotonic(started))
        .max_random_size(RANDOM_BYTES_MAX)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}

struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

struct CoarseWall(Arc<Gate>);

impl HostWallClock for CoarseWall {
    fn resolution(&self) -> Duration {
        CLOCK_RESOLUTION
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.ports.clock.now_ms())
    }
}

struct CoarseMonotonic(Instant);

impl HostMonotonicClock for CoarseMonotonic {
    fn resolution(&self) -> u64 {
        CLOCK_RESOLUTION.as_nanos() as u64
    }

    fn now(&self) -> u64 {
        let ticks = self.0.elapsed().as_millis() / CLOCK_RESOLUTION.as_millis();
        u64::try_from(ticks).unwrap_or(u64::MAX).saturating_mul(self.resolution())
    }
}

/// Standard output or error: each line becomes a log line of the execution.
#[derive(Clone)]
struct LogPipe {
    gate: Arc<Gate>,
    to: Stdio,
}

impl IsTerminal for LogPipe {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogPipe {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this form, and it is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for LogPipe {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl OutputStream for LogPipe {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.gate.write(self.to, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}
