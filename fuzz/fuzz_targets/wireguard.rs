//! Any bytes as a datagram at the embedded WireGuard's port, as what a TUN interface hands over, and as packets inside a tunnel.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| picket_wireguard::strangers::offer(bytes));
