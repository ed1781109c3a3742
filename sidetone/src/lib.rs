//! One binary for everything: the demo, the services in one process, and the speech models.

pub mod model;
