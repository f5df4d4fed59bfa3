//! A media port: what one leg of a call hears and says, as a machine.
