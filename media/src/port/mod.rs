//! A media port: what one leg of a call hears and says, as a machine.

mod plan;

pub use plan::{
    CodecSpec, Detect, Direction, PortKey, PortPlan, PortState, RecordTap, SendDigits, Source,
};
