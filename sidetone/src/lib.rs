//! sidetone
