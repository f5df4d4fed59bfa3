//! The node: the only place with tokio, sockets, files and clocks.

pub mod actors;
pub mod address;
pub mod alarms;
pub mod api;
pub mod audit;
pub mod backend;
pub mod cli;
pub mod config;
pub mod drain;
mod drill;
pub mod flows;
pub mod ivr_http;
pub mod measure;
pub mod media_engine;
pub mod metrics;
pub mod node;
pub mod recordings;
pub mod records;
pub mod registrations;
pub mod replica;
pub mod routes;
pub mod shared;
pub mod sounds;
pub mod speech;
pub mod start;
pub mod stations;
pub mod trunks;
