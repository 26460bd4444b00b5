//! How wide a firewall may be opened at the most, whoever orders it: the controller's lint and every host's guard start
//! from the same numbers, so that no plan is committed that every host refuses.

/// Widest network that may be let in, as prefix lengths of IPv4 and IPv6: 1/256 of IPv4; 1/65536 of IPv6.
pub const WIDEST_NETWORK: (u8, u8) = (8, 16);
/// Widest that all networks let in for one purpose may be together: 64 million and 2^116 addresses, room for an
/// operator's private ranges and far from everybody.
pub const WIDEST_TOTAL: (u8, u8) = (6, 12);
/// Most entries in all allow sets of a host together.
pub const MOST_ALLOW_ENTRIES: usize = 100_000;
/// Shortest time after which grants may end by themselves, in seconds: a day, in which somebody notices that agent and
/// controller are both gone.
pub const SHORTEST_GRANT: u32 = 24 * 3600;
/// The longest, a year; whoever wants longer does not want it.
pub const LONGEST_GRANT: u32 = 366 * 24 * 3600;
/// Most tunnels of a host.
pub const MOST_PEERS: usize = 1000;
/// Ports that hosts let a controller guard unless their guard says more: goloop's P2P and JSON-RPC.
pub const GUARDABLE: [u16; 3] = [7100, 9000, 9080];
/// Most entries that a host lets in within an hour unless its guard says less: a mesh of as many sentries as there may be
/// comes and goes twice in it, with both addresses of each, and still a stolen controller has days to go to open a host
/// to many single addresses.
pub const MOST_ADDITIONS_PER_HOUR: usize = 4 * MOST_PEERS;
