//! The wire, version 1: what travels between agents, operators and the controller, and a typed client for both sides.
//! Types and calls only; what an answer means is decided elsewhere.

pub mod attack;
pub mod ca;
pub mod client;
pub mod dns;
pub mod enroll;
pub mod hooks;
pub mod identities;
pub mod keys;
pub mod node;
pub mod openapi;
pub mod operator;
pub mod operators;
pub mod paths;
pub mod plans;
pub mod probe;
pub mod problem;
pub mod shield;
pub mod validators;

pub use client::{AgentClient, ApiError, Newer, OperatorClient};
pub use enroll::{EnrollInfo, EnrollRequest, EnrollResponse, Proof};
pub use node::ConfigAnswer;
pub use problem::{Problem, ProblemKind};
