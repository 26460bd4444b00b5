//! The real moto server.
