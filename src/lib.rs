//! The node: the only place with tokio, sockets, files and clocks.

pub mod actors;
pub mod api;
pub mod cli;
pub mod config;
pub mod flows;
pub mod ivr_http;
pub mod media_engine;
pub mod metrics;
pub mod replica;
pub mod speech;
