//! HTTP and the agents' WebSocket: what people and programs outside may ask of the node.
//!
//! Read [`backend`] first: it is all that this module knows of the node. [`events`] is the
//! memory that lets clients resume. [`frame`], [`happened`], [`view`] and [`words`] are the JSON.
//! `server` starts it, `openapi` has the table of routes, `routes` and
//! `recordings` answer them, `cti` is the
//! WebSocket, `commands` turns wishes into commands. `login` and [`token`] say who is there.

mod alarm_feed;
pub mod backend;
pub mod cdr_view;
mod commands;
mod cti;
mod desks;
pub mod error;
pub mod events;
pub mod frame;
pub mod happened;
mod login;
mod members;
pub mod memory;
mod nodes;
mod openapi;
pub mod page;
mod recordings;
mod records;
mod routes;
mod scrape;
mod server;
mod snapshot;
pub mod token;
mod trunks;
pub mod view;
mod wishes;
pub mod words;

pub use login::hash as hash_password;
pub use members::MemberView;
pub use nodes::NodeView;
pub use recordings::{PartView, RecordingView};
pub use routes::{LoginAnswer, Status};
pub use server::{ApiConfig, ApiHandle, Patience, serve};
pub use trunks::{Load, TrunkView};
