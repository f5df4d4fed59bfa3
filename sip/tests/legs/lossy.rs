//! Two legs talk to each other over a link that loses.
