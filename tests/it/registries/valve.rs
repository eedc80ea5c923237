//! A line to a registry that holds after so many bytes, so that a test knows where an installation stands.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// Passes on what comes, in both directions.
pub(super) struct Valve {
    address: SocketAddr,
    flow: Arc<Flow>,
}

#[derive(Default)]
struct Flow {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes that may still come back from the registry; all of them when there is no number.
    left: Option<usize>,
    /// The beginning of a request whose answer is held back, and how many of them pass before.
    awaited: Option<(String, usize)>,
    /// Somebody waits for bytes that may not come.
    holding: bool,
    ended: bool,
}

impl Valve {
    /// In front of `registry`, open.
    pub(super) fn before(registry: &str) -> Self {
        let registry: SocketAddr = registry.parse().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let valve = Self { address: listener.local_addr().unwrap(), flow: Arc::default() };
        let flow = Arc::clone(&valve.flow);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if flow.state.lock().unwrap().ended {
                    return;
                }
                // A client that comes too late for the registry is one whose test is over.
                let Ok(server) = TcpStream::connect(registry) else { continue };
                let flow = Arc::clone(&flow);
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let asked = Arc::clone(&flow);
                thread::spawn(move || pass(from, to, |bytes| asked.see(bytes)));
                thread::spawn(move || pass(server, client, |bytes| flow.take(bytes.len())));
            }
        });
        valve
    }

    /// `127.0.0.1:port`.
    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Lets this many more bytes of the registry through, then none.
    pub(super) fn hold_after(&self, bytes: usize) {
        self.set(Some(bytes));
    }

    /// Lets everything through until a request that begins like this was sent for the `nth` time; not its answer.
    pub(super) fn hold_answer(&self, nth: usize, request: &str) {
        self.flow.state.lock().unwrap().awaited = Some((request.to_owned(), nth - 1));
    }

    /// Lets everything through.
    pub(super) fn open(&self) {
        self.set(None);
    }

    /// Whether somebody waits for what is held back.
    pub(super) fn is_holding(&self) -> bool {
        self.flow.state.lock().unwrap().holding
    }

    fn set(&self, left: Option<usize>) {
        let mut state = self.flow.state.lock().unwrap();
        (state.left, state.holding) = (left, false);
        self.flow.changed.notify_all();
    }
}

impl Flow {
    /// Looks at what a client sends; all of it passes. A client sends a request when the one before is answered.
    fn see(&self, bytes: &[u8]) -> usize {
        let mut state = self.state.lock().unwrap();
        match &mut state.awaited {
            Some((request, 0)) if bytes.starts_with(request.as_bytes()) => {
                (state.left, state.awaited) = (Some(0), None);
            }
            Some((request, before)) if bytes.starts_with(request.as_bytes()) => *before -= 1,
            _ => {}
        }
        bytes.len()
    }

    /// Waits until something may pass; returns how much of it.
    fn take(&self, length: usize) -> usize {
        let mut state = self.state.lock().unwrap();
        loop {
            match state.left {
                _ if state.ended => return 0,
                None => return length,
                Some(0) => {
                    state.holding = true;
                    state = self.changed.wait(state).unwrap();
                }
                Some(left) => {
                    let now = left.min(length);
                    state.left = Some(left - now);
                    return now;
                }
            }
        }
    }
}

impl Drop for Valve {
    fn drop(&mut self) {
        self.flow.state.lock().unwrap().ended = true;
        self.flow.changed.notify_all();
        // Wakes who waits for the next client.
        let _ = TcpStream::connect(self.address);
    }
}

/// Copies until one side ends or nothing may pass any more.
fn pass(mut from: TcpStream, mut to: TcpStream, may: impl Fn(&[u8]) -> usize) {
    let mut buffer = [0; 8 << 10];
    'reading: while let Ok(length @ 1..) = from.read(&mut buffer) {
        let mut sent = 0;
        while sent < length {
            let now = may(&buffer[sent..length]);
            if now == 0 || to.write_all(&buffer[sent..sent + now]).is_err() {
                break 'reading;
            }
            sent += now;
        }
    }
    // Either may be closed already.
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
