//! IVR flows: the model, its check when loaded, and the interpreter that walks it.
