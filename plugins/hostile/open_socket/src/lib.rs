//! Opens sockets and looks up names beside the http capability.
//! Input `{"port": N}` names a port that really listens on this machine. Answers with what worked; nothing may.
//! Its world asks for `wasi:sockets`, which no world of `wit/` offers.
#![cfg(target_arch = "wasm32")]

use exports::ice::plugin::tools::{CallContext, Error, Guest, Tool};
use wasi::sockets::instance_network::instance_network;
use wasi::sockets::ip_name_lookup::resolve_addresses;
use wasi::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Network};
use wasi::sockets::tcp_create_socket::create_tcp_socket;
use wasi::sockets::udp_create_socket::create_udp_socket;

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package hostile:open-socket;

        world guest {
            import wasi:sockets/instance-network@0.2.12;
            import wasi:sockets/ip-name-lookup@0.2.12;
            import wasi:sockets/tcp-create-socket@0.2.12;
            import wasi:sockets/udp-create-socket@0.2.12;
            export ice:plugin/tools@0.1.0;
        }
    ",
    world: "hostile:open-socket/guest",
    generate_all,
});

struct OpenSocket;

export!(OpenSocket);

impl Guest for OpenSocket {
    fn describe() -> Vec<Tool> {
        vec![Tool {
            name: "open_socket".to_owned(),
            description: "Opens sockets and looks up names.".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: "{}".to_owned(),
            tags: Vec::new(),
        }]
    }

    fn call(_: String, input: String, _: CallContext) -> Result<String, Error> {
        let digits: String = input.chars().filter(char::is_ascii_digit).collect();
        let port: u16 = digits.parse().map_err(|_| Error::InvalidInput("`port` is not a port".to_owned()))?;
        let network = instance_network();
        let attempts = [
            ("connect", connect(&network, port)),
            ("listen", listen(&network)),
            ("send", send(&network, port)),
            ("look up", look_up(&network)),
        ];
        let worked: Vec<String> =
            attempts.iter().filter(|(_, worked)| worked.is_some()).map(|(name, _)| format!("\"{name}\"")).collect();
        Ok(format!("{{\"worked\":[{}]}}", worked.join(",")))
    }
}

fn loopback(port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) })
}

fn connect(network: &Network, port: u16) -> Option<()> {
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).ok()?;
    socket.start_connect(network, loopback(port)).ok()?;
    socket.subscribe().block();
    socket.finish_connect().ok().map(|_| ())
}

fn listen(network: &Network) -> Option<()> {
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).ok()?;
    socket.start_bind(network, loopback(0)).ok()?;
    socket.subscribe().block();
    socket.finish_bind().ok()
}

fn send(network: &Network, port: u16) -> Option<()> {
    let socket = create_udp_socket(IpAddressFamily::Ipv4).ok()?;
    socket.start_bind(network, IpSocketAddress::Ipv4(Ipv4SocketAddress { port: 0, address: (0, 0, 0, 0) })).ok()?;
    socket.subscribe().block();
    socket.finish_bind().ok()?;
    socket.stream(Some(loopback(port))).ok().map(|_| ())
}

fn look_up(network: &Network) -> Option<()> {
    let addresses = resolve_addresses(network, "localhost").ok()?;
    addresses.subscribe().block();
    addresses.resolve_next_address().ok().map(|_| ())
}
